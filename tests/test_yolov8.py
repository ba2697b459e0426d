"""The modern YOLO head: who learns what, the three losses, and both ways to detect."""

import math

import pytest
import torch
from detectors import check_two_colours, target, two_colours
from torch import nn
from torch.testing import assert_close

from detlearn import models, plotting
from detlearn.boxes import box_iou
from detlearn.data import ToyTown
from detlearn.losses import ciou_loss, distribution_focal_loss
from detlearn.models import images as batching
from detlearn.models import yolov8
from detlearn.models.small import small_pyramid, yolov8_small
from detlearn.models.yolov8 import (
    HeadOutputs,
    TaskAlignedTargets,
    YOLOv8,
    YOLOv8Head,
    YOLOv8Outputs,
    boxes_to_distances,
    decode_boxes,
    expected_distances,
    head_loss,
    highest,
    pyramid_points,
    task_aligned_assign,
)
from detlearn.nets.fpn import PyramidBackbone
from detlearn.nets.small import SmallBackbone
from detlearn.training import fit

BOTH = ("one_to_many", "one_to_one")


def naive_assign(
    class_scores, pred_boxes, points, gt_boxes, gt_labels, topk, alpha, beta, smallest=0
):
    """The same for one image, one object and one location at a time, in double precision."""
    num_points, num_objects = len(points), len(gt_boxes)
    iou = [[overlap(gt, pred) for pred in pred_boxes.tolist()] for gt in gt_boxes.tolist()]
    alignment = [[0.0] * num_points for _ in range(num_objects)]
    claims = [[] for _ in range(num_points)]
    for n, ((x1, y1, x2, y2), label) in enumerate(zip(gt_boxes.tolist(), gt_labels.tolist())):
        wide, high = max(x2 - x1, smallest), max(y2 - y1, smallest)
        for p, (x, y) in enumerate(points.tolist()):
            if abs(2 * x - x1 - x2) < wide and abs(2 * y - y1 - y2) < high:
                score = float(class_scores[p, label])
                alignment[n][p] = score**alpha * iou[n][p] ** beta
        order = sorted(range(num_points), key=lambda p: -alignment[n][p])  # sorted is stable
        for p in order[:topk]:
            if alignment[n][p] > 0:
                claims[p].append(n)

    assigned = [max(by, key=lambda n: iou[n][p]) if by else -1 for p, by in enumerate(claims)]
    scores = [0.0] * num_points
    for n in range(num_objects):
        mine = [p for p in range(num_points) if assigned[p] == n]
        for p in mine:
            best = max(alignment[n][q] for q in mine)
            scores[p] = alignment[n][p] / best * max(iou[n][q] for q in mine)
    return torch.tensor(assigned), torch.tensor(scores, dtype=torch.float64)


def overlap(a, b):
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return w * h / (area - w * h) if area > w * h else 0.0


def grid(height, width, strides=(4, 8, 16)):
    maps = [torch.zeros(1, 1, -(-height // s), -(-width // s)) for s in strides]
    return pyramid_points(maps, strides)


def random_case(seed, counts, height=48, width=64, num_classes=3):
    """Predictions that are somewhat right here and there, and objects of all sizes."""
    random = torch.Generator().manual_seed(seed)
    points, strides = grid(height, width)
    shape = (len(counts), len(points))
    class_scores = torch.rand(*shape, num_classes, generator=random, dtype=torch.float64)
    distances = 3 * torch.rand(*shape, 4, generator=random, dtype=torch.float64)
    distances = distances * strides[:, None]
    pred_boxes = torch.cat((points - distances[..., :2], points + distances[..., 2:]), dim=-1)

    most = max(counts)
    gt_boxes = torch.zeros(len(counts), most, 4, dtype=torch.float64)
    gt_labels = torch.zeros(len(counts), most, dtype=torch.int64)
    for i, count in enumerate(counts):
        sides = 2 ** (torch.rand(count, 2, generator=random) * math.log2(1.5 * width))
        centres = torch.rand(count, 2, generator=random) * torch.tensor([width, height])
        gt_boxes[i, :count] = torch.cat((centres - sides / 2, centres + sides / 2), dim=-1).double()
        gt_labels[i, :count] = torch.randint(num_classes, (count,), generator=random)
    return class_scores, pred_boxes, points, gt_boxes, gt_labels


def small_detector(num_classes=2, batcher=None, heads=("one_to_many",), num_bins=16, **thresholds):
    torch.manual_seed(0)
    body = SmallBackbone((8, 8, 8, 8))
    backbone = PyramidBackbone(body, 8, extra_level=False, norm_layer=nn.BatchNorm2d, num_levels=3)
    model = YOLOv8(
        num_classes, backbone, heads=heads, num_bins=num_bins, class_channels=16,
        box_channels=16, depth=1, batcher=batcher,
    )  # fmt: skip
    for name, value in thresholds.items():
        assert hasattr(model, name)
        setattr(model, name, value)
    return model


# ---- who learns what -----------------------------------------------------------------------------


def assign_one(scores, boxes, points, gt_boxes, gt_labels, **options):
    """Of one image, from lists; scores of one class only."""
    scores = torch.tensor(scores, dtype=torch.float64).view(1, len(points), -1)
    as_boxes = [torch.tensor(b, dtype=torch.float64).view(1, -1, 4) for b in (boxes, gt_boxes)]
    assigned, target_scores = task_aligned_assign(
        scores, as_boxes[0], torch.tensor(points).double(), as_boxes[1],
        torch.tensor(gt_labels).view(1, -1), **options,
    )  # fmt: skip
    return assigned[0].tolist(), target_scores[0].tolist()


class TestTaskAlignedAssign:
    def test_by_hand(self):
        """An object 8 wide, three locations in it and one beside it, whose box is perfect."""
        points = [[2.0, 2], [4, 2], [6, 2], [10, 2]]
        boxes = [[0, 0, 8, 4], [0, 0, 8, 2], [0, 0, 4, 4], [0, 0, 8, 4]]  # IoU 1, 1/2, 1/2, 1
        assigned, scores = assign_one(
            [0.04, 0.25, 0.01, 0.9], boxes, points, [[0, 0, 8, 4]], [0], topk=2
        )
        # √p · IoU⁶: 0.2, 0.5 / 64, 0.1 / 64
        assert assigned == [0, 0, -1, -1]
        assert scores == pytest.approx([1, 0.5 / 64 / 0.2, 0, 0])

    def test_the_exponents(self):
        points = [[2.0, 2], [4, 2]]
        boxes = [[0, 0, 8, 4], [0, 0, 8, 2]]  # IoU 1, 1/2
        found = {}
        for alpha, beta in ((1, 2), (2, 1), (0, 1), (3, 0)):
            _, scores = assign_one(
                [0.1, 0.5], boxes, points, [[0, 0, 8, 4]], [0], alpha=alpha, beta=beta
            )
            found[alpha, beta] = scores
        assert found[1, 2] == pytest.approx([0.1 / 0.125, 1])
        assert found[2, 1] == pytest.approx([0.01 / 0.125, 1])
        assert found[0, 1] == pytest.approx([1, 0.5])
        assert found[3, 0] == pytest.approx([0.001 / 0.125, 1])

    def test_the_score_of_the_object_s_own_class_counts(self):
        points = [[2.0, 2], [4, 2]]
        scores = [[0.9, 0.1], [0.1, 0.9]]
        boxes = [[0, 0, 8, 4]] * 2
        for label, best in ((0, 0), (1, 1)):
            assigned, _ = assign_one(scores, boxes, points, [[0, 0, 8, 4]], [label], topk=1)
            assert [p for p in range(2) if assigned[p] == 0] == [best]

    def test_of_two_claims_the_higher_iou_has_the_location(self):
        """Though the other object is the better aligned: its class has the higher score."""
        points = [[2.0, 1]]
        scores = [[1.0, 1e-9]]
        for order in ([0, 1], [1, 0]):
            gt = [[[0, 0, 8, 2], [0, 0, 8, 3]][i] for i in order]  # IoU 1/2, 3/4
            assigned, target_scores = assign_one(scores, [[0, 0, 8, 4]], points, gt, order)
            assert assigned == [order.index(1)]
            assert target_scores == pytest.approx([0.75])

    def test_who_loses_a_location_gets_no_other(self):
        """Its second-best location was never claimed; the target is of what is left."""
        points = [[2.0, 2], [6, 2], [2, 3]]
        boxes = [[0, 0, 8, 4], [0, 0, 8, 2], [0, 0, 2, 4]]
        gt = [[0, 0, 8, 4], [0, 0, 8, 3.9]]
        assigned, _ = assign_one([0.5] * 3, boxes, points, gt, [0, 0], topk=1)
        assert assigned == [0, -1, -1]
        assigned, scores = assign_one([0.5] * 3, boxes, points, gt, [0, 0], topk=2)
        # IoU with the second location: 16/32 and 16/31.2
        assert assigned == [0, 1, -1]
        assert scores == pytest.approx([1, 16 / 31.2, 0])

    def test_ties_go_to_the_first(self):
        points = [[x, 2.0] for x in (1, 2, 3, 5, 6, 7)]
        boxes = [[0, 0, 8, 4]] * 6
        for k in range(1, 8):
            assigned, scores = assign_one([0.5] * 6, boxes, points, [[0, 0, 8, 4]], [0], topk=k)
            assert assigned == [0] * min(k, 6) + [-1] * (6 - k)
            assert scores == [1] * min(k, 6) + [0] * (6 - k)
        # Two objects alike: the first has all.
        assigned, _ = assign_one([0.5] * 6, boxes, points, [[0, 0, 8, 4]] * 2, [0, 0], topk=3)
        assert assigned == [0, 0, 0, -1, -1, -1]
        # A better one later, and only some of those that tie with the last place.
        scores = [0.5, 0.5, 0.5, 0.5, 0.9, 0.1]
        assigned, _ = assign_one(scores, boxes, points, [[0, 0, 8, 4]], [0], topk=3)
        assert assigned == [0, 0, -1, -1, 0, -1]

    def test_a_location_on_the_border_is_not_inside(self):
        points = [[0.0, 2], [8, 2], [4, 0], [4, 4], [4, 2]]
        assigned, _ = assign_one([0.5] * 5, [[0, 0, 8, 4]] * 5, points, [[0, 0, 8, 4]], [0])
        assert assigned == [-1, -1, -1, -1, 0]

    def test_an_object_without_location_or_overlap_gets_none(self):
        points, boxes = [[2.0, 2], [6, 2]], [[0, 0, 4, 4], [4, 0, 8, 4]]
        assert assign_one([0.5] * 2, boxes, points, [[3, 0, 5, 4]], [0]) == ([-1, -1], [0, 0])
        # Inside, but the predicted boxes lie elsewhere; or the score is 0.
        away = [[4, 0, 8, 4], [0, 0, 4, 4]]
        assert assign_one([0.5] * 2, away, points, [[0, 0, 4, 4]], [0]) == ([-1, -1], [0, 0])
        assert assign_one([0.0] * 2, boxes, points, [[0, 0, 4, 4]], [0]) == ([-1, -1], [0, 0])

    def test_a_small_object_counts_as_wider_where_locations_are_sought(self):
        """An object of 2 × 4 pixels between two locations; a third one is 3 pixels away."""
        points, boxes = [[2.0, 2], [6, 2], [7, 2]], [[2, 0, 5, 4], [3, 0, 6, 4], [3, 0, 5, 4]]
        for smallest, wanted in ((4, [-1, -1, -1]), (5, [0, 0, -1]), (6, [0, 0, -1])):
            assigned, _ = assign_one(
                [0.5] * 3, boxes, points, [[3, 0, 5, 4]], [0], smallest=smallest
            )
            assert assigned == wanted
        assigned, scores = assign_one([0.5] * 3, boxes, points, [[3, 0, 5, 4]], [0], smallest=6.1)
        assert assigned == [
            0,
            0,
            0,
        ]  # the overlap is still with the object itself
        assert scores == pytest.approx([(2 / 3) ** 6, (2 / 3) ** 6, 1.0])

    def test_without_objects(self):
        scores = torch.rand(2, 5, 3)
        assigned, target_scores = task_aligned_assign(
            scores, torch.rand(2, 5, 4), torch.rand(5, 2), torch.zeros(2, 0, 4),
            torch.zeros(2, 0).long(),
        )  # fmt: skip
        assert assigned.shape == (2, 5) and assigned.dtype == torch.int64
        assert (assigned == -1).all() and target_scores.tolist() == [[0] * 5] * 2

    @pytest.mark.parametrize("seed", range(6))
    @pytest.mark.parametrize(
        ("topk", "alpha", "beta", "smallest"),
        [
            (10, 0.5, 6.0, 0),
            (1, 0.5, 6.0, 0),
            (13, 1.0, 6.0, 0),
            (3, 2.0, 0.5, 0),
            (10, 0.5, 6.0, 12.0),
            (4, 1.0, 2.0, 30.0),
        ],
    )
    def test_a_padded_batch_equals_the_loop(self, seed, topk, alpha, beta, smallest):
        counts = [[4, 0, 1], [9, 2, 5], [1], [0, 7], [3, 3], [12, 1]][seed]
        height, width = ((48, 64), (16, 24))[seed % 2]  # where there is no room, objects meet
        scores, boxes, points, gt_boxes, gt_labels = random_case(seed, counts, height, width)
        assigned, target_scores = task_aligned_assign(
            scores, boxes, points, gt_boxes, gt_labels,
            topk=topk, alpha=alpha, beta=beta, smallest=smallest,
        )  # fmt: skip
        for i, count in enumerate(counts):
            wanted, wanted_scores = naive_assign(
                scores[i], boxes[i], points, gt_boxes[i, :count], gt_labels[i, :count],
                topk, alpha, beta, smallest,
            )  # fmt: skip
            assert torch.equal(assigned[i], wanted)
            torch.testing.assert_close(target_scores[i], wanted_scores, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("seed", range(4))
    def test_properties(self, seed):
        scores, boxes, points, gt_boxes, gt_labels = random_case(seed, [8, 8, 8, 8])
        for k in (1, 10):
            assigned, target_scores = task_aligned_assign(
                scores, boxes, points, gt_boxes, gt_labels, topk=k
            )
            iou = box_iou(gt_boxes, boxes)
            for i in range(4):
                for n in range(8):
                    mine = assigned[i] == n
                    assert mine.sum() <= k
                    if mine.any():  # the best target is the best overlap
                        best = target_scores[i][mine].max()
                        assert best.item() == pytest.approx(iou[i, n][mine].max().item())
            assert ((target_scores > 0) == (assigned >= 0)).all()

    def test_both_heads_agree_on_the_best(self):
        """The consistent metric: the one location of an object is the best of its ten."""
        scores, boxes, points, gt_boxes, gt_labels = random_case(5, [1] * 12)
        many, many_scores = task_aligned_assign(scores, boxes, points, gt_boxes, gt_labels)
        one, one_scores = task_aligned_assign(scores, boxes, points, gt_boxes, gt_labels, topk=1)
        learnt = (many >= 0).any(dim=1)
        assert learnt.sum() > 6
        assert torch.equal((one >= 0).sum(dim=1), learnt.long())
        assert torch.equal(many_scores.argmax(dim=1)[learnt], one_scores.argmax(dim=1)[learnt])

    def test_far_below_one_float_s_precision_alignment_still_counts(self):
        """A box a hundred times too large has an IoU of 1e-4, whose sixth power is 1e-24."""
        boxes = torch.tensor([[[-38.0, -38, 42, 42], [-48, -48, 52, 52]]])
        assigned, scores = task_aligned_assign(
            torch.full((1, 2, 1), 1e-4), boxes, torch.tensor([[2.0, 2], [2, 2]]),
            torch.tensor([[[1.5, 1.5, 2.5, 2.5]]]), torch.tensor([[0]]),
        )  # fmt: skip
        assert assigned.tolist() == [[0, 0]]
        assert scores[0].tolist() == pytest.approx([1 / 6400, 0.64**6 / 6400], rel=1e-4)

    def test_no_gradient(self):
        scores, boxes, points, gt_boxes, gt_labels = random_case(1, [3])
        _, target_scores = task_aligned_assign(
            scores.requires_grad_(), boxes.requires_grad_(), points, gt_boxes, gt_labels
        )
        assert not target_scores.requires_grad


def test_highest_equals_sorting():
    random = torch.Generator().manual_seed(0)
    values = torch.randint(0, 5, (50, 4, 9), generator=random).float()  # many ties, and zeros
    for k in (1, 3, 9, 20):
        order = values.argsort(dim=-1, descending=True, stable=True)[..., :k]
        wanted = torch.zeros_like(values, dtype=torch.bool).scatter_(-1, order, True)
        assert torch.equal(highest(values, k), wanted & (values > 0))


# ---- distances -----------------------------------------------------------------------------------


class TestDistances:
    def test_the_mean_of_the_bins(self):
        sure = torch.full((16,), -100.0)
        sure[3] = 100
        assert expected_distances(sure).item() == pytest.approx(3)
        assert expected_distances(torch.zeros(16)).item() == pytest.approx(7.5)
        quarter = torch.tensor([0.25, 0.0, 0.75]).log().clamp(min=-100)
        assert expected_distances(quarter).item() == pytest.approx(1.5)

    def test_one_bin_is_a_logarithm(self):
        logits = torch.tensor([[0.0], [1.0], [-2.0], [99.0]])
        wanted = [1, math.e, math.exp(-2), math.exp(8)]
        assert expected_distances(logits).tolist() == pytest.approx(wanted)

    def test_boxes_by_hand(self):
        """At the point (6, 14) of stride 4: 2, 3, 4, 5 strides to left, top, right, bottom."""
        logits = torch.full((1, 1, 4, 8), -100.0)
        for side, distance in enumerate((2, 3, 4, 5)):
            logits[0, 0, side, distance] = 100
        boxes = decode_boxes(logits, torch.tensor([[6.0, 14]]), torch.tensor([4.0]))
        torch.testing.assert_close(boxes, torch.tensor([[[-2.0, 2, 22, 34]]]))
        back = boxes_to_distances(torch.tensor([6.0, 14]), boxes)
        torch.testing.assert_close(back, torch.tensor([[[8.0, 12, 16, 20]]]))

    def test_points_of_a_pyramid(self):
        points, strides = grid(8, 12, (4, 8))
        assert points.tolist() == [
            *([2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]),
            *([4, 4], [12, 4]),
        ]
        assert strides.tolist() == [4] * 6 + [8] * 2


# ---- the network ---------------------------------------------------------------------------------


class TestPredict:
    @pytest.mark.parametrize("num_bins", [16, 1])
    def test_shapes_and_places(self, num_bins):
        model = small_detector(3, heads=BOTH, num_bins=num_bins).eval()
        with torch.no_grad():
            outputs = model.predict(torch.rand(2, 3, 64, 96), [(64, 96), (50, 90)])
        count = 16 * 24 + 8 * 12 + 4 * 6
        assert list(outputs.heads) == list(BOTH)
        for head in outputs.heads.values():
            assert head.class_logits.shape == (2, count, 3)
            assert head.distance_logits.shape == (2, count, 4, num_bins)
            assert head.boxes.shape == (2, count, 4)
        head = model.predict(torch.rand(1, 3, 32, 64)).heads["one_to_many"]
        assert head.distance_logits.requires_grad and not head.boxes.requires_grad
        points, strides = grid(64, 96)
        assert torch.equal(outputs.points, points) and torch.equal(outputs.strides, strides)
        assert outputs.sizes == [(64, 96), (50, 90)]
        assert model.predict(torch.rand(1, 3, 32, 64)).sizes == [(32, 64)]

    @pytest.mark.parametrize("num_bins", [16, 1])
    def test_the_first_guess_is_three_strides_wide(self, num_bins):
        model = small_detector(num_bins=num_bins)
        for tower in model.heads["one_to_many"].box_towers:
            nn.init.zeros_(tower[-1].weight)
        outputs = model.predict(torch.rand(2, 3, 64, 64))
        boxes = outputs.heads["one_to_many"].boxes
        sides = (boxes[..., 2:] - boxes[..., :2]) / outputs.strides[:, None]
        assert 2.9 < sides.min() and sides.max() < 3.2
        middle = (boxes[..., 2:] + boxes[..., :2]) / 2
        torch.testing.assert_close(middle, outputs.points.expand_as(middle))

    def test_starts_with_low_scores(self):
        outputs = small_detector(5).predict(torch.randn(2, 3, 64, 64))
        scores = outputs.heads["one_to_many"].class_logits.sigmoid()
        assert 0.005 < scores.median() < 0.02

        # Each class at each level by its bias: the score is 0.01 where the features say nothing.
        head = YOLOv8Head([8, 16], 3)
        biases = torch.cat([tower[-1].bias for tower in head.class_towers])
        assert_close(biases.sigmoid(), torch.full((6,), 0.01))

    def test_predictions_stand_at_their_location(self):
        """Each level has towers of its own, whose maps are read row by row."""
        head = YOLOv8Head([1, 1], 2, num_bins=3, class_channels=1, box_channels=1, depth=0)
        for level in range(2):
            for tower in (head.class_towers[level], head.box_towers[level]):
                channels = torch.arange(tower[-1].out_channels).float()
                nn.init.constant_(tower[-1].weight, 1.0)
                tower[-1].bias.data = 100 * channels + 1000 * level
        maps = [torch.arange(6.0).view(1, 1, 2, 3), 10 + torch.arange(2.0).view(1, 1, 1, 2)]
        with torch.no_grad():
            classes, distances = head(maps)
        values = torch.tensor([0.0, 1, 2, 3, 4, 5, 1010, 1011])
        torch.testing.assert_close(classes[0], values[:, None] + torch.tensor([0.0, 100]))
        wanted = values[:, None, None] + 100 * torch.arange(12.0).view(4, 3)
        torch.testing.assert_close(distances[0], wanted)

    def test_depth_and_channels(self):
        head = YOLOv8Head([8, 16], 3, class_channels=32, box_channels=48, depth=2)
        for tower, wide, out in (
            (head.class_towers[1], 32, 3),
            (head.box_towers[1], 48, 4 * 16),
        ):
            convolutions = [m for m in tower.modules() if isinstance(m, nn.Conv2d)]
            assert [(c.in_channels, c.out_channels) for c in convolutions] == [
                *((16, wide), (wide, wide), (wide, out))
            ]

    @pytest.mark.parametrize("depth", [1, 3])
    def test_the_detector_hands_on_what_its_heads_are_made_of(self, depth):
        model = YOLOv8(
            3,
            small_pyramid(),
            heads=BOTH,
            num_bins=8,
            class_channels=24,
            box_channels=40,
            depth=depth,
        )
        for head in model.heads.values():
            for tower, wide, out in (
                (head.class_towers[0], 24, 3),
                (head.box_towers[0], 40, 4 * 8),
            ):
                convolutions = [m for m in tower.modules() if isinstance(m, nn.Conv2d)]
                assert [c.out_channels for c in convolutions] == [*[wide] * depth, out]

    def test_not_detached_the_one_to_one_head_teaches_the_features(self):
        model = yolov8_small(2, heads=BOTH, detached=False)
        outputs = model.predict(torch.rand(2, 3, 64, 64))
        outputs.heads["one_to_one"].class_logits.sum().backward()
        assert any(p.grad.count_nonzero() for p in model.backbone.parameters())

    def test_the_one_to_one_head_leaves_the_features_alone(self):
        model = small_detector(heads=BOTH)
        outputs = model.predict(torch.rand(2, 3, 64, 64))
        outputs.heads["one_to_one"].class_logits.sum().backward()
        assert all(p.grad is None for p in model.backbone.parameters())
        assert all(p.grad is None for p in model.heads["one_to_many"].parameters())
        assert model.heads["one_to_one"].class_towers[0][-1].weight.grad.count_nonzero() > 0

        outputs = model.predict(torch.rand(2, 3, 64, 64))
        outputs.heads["one_to_many"].class_logits.sum().backward()
        assert any(p.grad is not None for p in model.backbone.parameters())

    def test_alone_it_teaches_them(self):
        model = small_detector(heads=("one_to_one",))
        outputs = model.predict(torch.rand(2, 3, 64, 64))
        outputs.heads["one_to_one"].class_logits.sum().backward()
        assert any(p.grad is not None for p in model.backbone.parameters())

    def test_the_heads_do_not_share_weights(self):
        model = small_detector(heads=BOTH[::-1])
        first, second = (set(head.parameters()) for head in model.heads.values())
        assert list(model.heads) == list(BOTH) and not first & second

    @pytest.mark.parametrize("heads", [(), ("one_to_two",), ("one_to_many", "both")])
    def test_unknown_heads_are_refused(self, heads):
        with pytest.raises(ValueError, match=r"heads are \(.*expected .*one_to_many, one_to_one"):
            small_detector(heads=heads)


# ---- the loss ------------------------------------------------------------------------------------


def logit(p):
    return math.log(p / (1 - p))


def head_of(scores, distances, num_bins=5):
    """Outputs of one image with locations (2, 2) and (6, 2) of stride 4, and their places."""
    points, strides = torch.tensor([[2.0, 2], [6, 2]]), torch.tensor([4.0, 4])
    logits = torch.tensor([[[logit(p) for p in row] for row in scores]])  # (1, 2, K)
    shares = torch.zeros(1, 2, 4, num_bins)
    for p, row in enumerate(distances):
        for side, distance in enumerate(row):
            left = int(distance)
            shares[0, p, side, left] += 1 - (distance - left)
            if distance > left:
                shares[0, p, side, left + 1] += distance - left
    distance_logits = shares.log().clamp(min=-100)
    boxes = decode_boxes(distance_logits, points, strides)
    predictions = HeadOutputs(logits.requires_grad_(), distance_logits.requires_grad_(), boxes)
    return predictions, points, strides


class TestLoss:
    def test_by_hand(self):
        """An object of 8 × 4; the left location has its box, the right one half of it."""
        predictions, points, strides = head_of(
            [[0.36, 0.2], [0.25, 0.1]], [[0.5, 0.5, 1.5, 0.5], [0.5, 0.5, 0.5, 0.5]]
        )
        outputs = YOLOv8Outputs({"one_to_many": predictions}, points, strides, [(4, 8)])
        model = small_detector()
        losses = model.compute_loss(outputs, [target([[0, 0, 8, 4]])])
        assert losses.keys() == {"class", "box", "distribution"}

        # √.36 · 1 and √.25 · (1/2)⁶; the best target is IoU 1
        weights = [1.0, 0.5 / 64 / 0.6]
        total = sum(weights)
        goals = [(0.36, weights[0]), (0.2, 0), (0.25, weights[1]), (0.1, 0)]
        entropy = sum(-t * math.log(p) - (1 - t) * math.log(1 - p) for p, t in goals)
        assert losses["class"].item() == pytest.approx(0.5 * entropy / total, rel=1e-5)

        half = ciou_loss(torch.tensor([4.0, 0, 8, 4]), torch.tensor([0.0, 0, 8, 4])).item()
        assert losses["box"].item() == pytest.approx(7.5 * weights[1] * half / total, rel=1e-4)

        # Half and half is as good as it gets for .5: log 2 for every side. The right location
        # should have said 1.5 to the left, and said half 0, half 1: bin 2 has e^-100.
        entropies = [math.log(2)] * 4, [(math.log(2) + 100) / 2, *[math.log(2)] * 3]
        mean = sum(w * sum(e) / 4 for w, e in zip(weights, entropies)) / total
        assert losses["distribution"].item() == pytest.approx(1.5 * mean, rel=1e-4)

    def test_a_box_is_as_large_as_its_own_stride_says(self):
        """The second location alone learns: at stride 8, its half strides make a box of 8 × 8."""
        predictions, points, _ = head_of([[0.5], [0.5]], [[1.0] * 4, [0.5] * 4])
        goal = TaskAlignedTargets(
            torch.tensor([[-1, 0]]), torch.tensor([[0.0, 1.0]]), points, torch.tensor([4.0, 8.0])
        )
        losses = head_loss(predictions, goal, [target([[2, -2, 10, 6]])])
        assert losses["box"].item() == pytest.approx(0, abs=1e-5)
        assert losses["distribution"].item() == pytest.approx(1.5 * math.log(2), rel=1e-4)

    def test_divided_by_at_least_one(self):
        """Early, when nothing overlaps much, a small sum does not blow the loss up."""
        predictions, points, strides = head_of([[0.5], [0.5]], [[1.0] * 4, [1.0] * 4])
        goal = TaskAlignedTargets(
            torch.tensor([[0, -1]]), torch.tensor([[0.25, 0.0]]), points, strides
        )
        losses = head_loss(predictions, goal, [target([[0, 0, 4, 4]])])
        assert losses["class"].item() == pytest.approx(0.5 * 2 * math.log(2), rel=1e-5)
        wanted = ciou_loss(predictions.boxes[0, :1], torch.tensor([[0.0, 0, 4, 4]]))
        assert losses["box"].item() == pytest.approx(7.5 * 0.25 * wanted.item(), rel=1e-5)

    def test_doubling_the_batch_changes_nothing(self):
        model = small_detector().eval()
        images, targets = torch.rand(1, 3, 64, 64), [target([[8, 8, 40, 40], [3, 3, 20, 9]])]
        one = model.compute_loss(model.predict(images), targets)
        two = model.compute_loss(model.predict(images.repeat(2, 1, 1, 1)), targets * 2)
        outputs = model.predict(images)
        total = model.assign(outputs, targets).weights.sum()
        assert total > 0
        for name in one:
            ratio = 2 * max(float(total), 1.0) / max(2 * float(total), 1.0)
            assert two[name].item() == pytest.approx(ratio * one[name].item(), rel=1e-4)

    def test_two_processes_together_have_the_loss_of_one(self, monkeypatch):
        """The mean of their losses: each divides by half the sum of both's target scores."""
        model = small_detector(heads=BOTH).eval()
        images = torch.rand(2, 3, 64, 64)
        targets = [target([[8, 8, 40, 40], [3, 3, 20, 9], [30, 1, 60, 22]]), target([[5, 5, 9, 9]])]
        whole = model.compute_loss(model.predict(images), targets)
        asked = []

        def half_of_all(count, device):
            asked.append(float(count))
            assert device == torch.device("cpu")
            return max(totals[len(asked) % 2], 1) / 2  # each process asks for either head

        totals = [
            float(model.assign(model.predict(images), targets, head).weights.sum())
            for head in BOTH[::-1]
        ]
        monkeypatch.setattr(yolov8, "normaliser", half_of_all)
        parts = [
            model.compute_loss(model.predict(images[i : i + 1]), targets[i : i + 1])
            for i in range(2)
        ]
        assert [asked[0] + asked[2], asked[1] + asked[3]] == pytest.approx(totals[::-1])
        for name in whole:
            mean = (parts[0][name] + parts[1][name]) / 2
            assert mean.item() == pytest.approx(whole[name].item(), rel=1e-4)

    def test_objects_are_those_of_their_image(self):
        """Perfect boxes have no box loss, whatever the order of images and objects."""
        model, (points, strides) = small_detector(3), grid(64, 64)
        random = torch.Generator().manual_seed(3)
        targets, boxes = [], torch.zeros(3, len(points), 4)
        assigned = torch.full((3, len(points)), -1)
        logits = torch.full((3, len(points), 4, 16), -100.0)
        for i, count in enumerate((2, 0, 3)):
            corners = torch.randint(0, 5, (count, 2), generator=random) * 4.0
            sides = torch.randint(3, 8, (count, 2), generator=random) * 4.0
            one = {"boxes": torch.cat((corners, corners + sides), -1)}
            one["labels"] = torch.randint(3, (count,), generator=random)
            targets.append(one)
            for n in range(count):
                distances = boxes_to_distances(points, one["boxes"][n])
                inside = (distances > 0).all(-1) & (strides == 4)
                assigned[i][inside] = n
        for i, p in (assigned >= 0).nonzero().tolist():
            box = targets[i]["boxes"][assigned[i, p]]
            boxes[i, p] = box
            distances = boxes_to_distances(points[p], box) / 4
            for side in range(4):
                left = int(distances[side])
                logits[i, p, side, left] = logits[i, p, side, left + 1] = 0  # all lie half way
        class_logits = torch.full((3, len(points), 3), -30.0)
        for i, p in (assigned >= 0).nonzero().tolist():
            class_logits[i, p, targets[i]["labels"][assigned[i, p]]] = 30
        predictions = HeadOutputs(class_logits, logits, boxes)
        goal = TaskAlignedTargets(assigned, (assigned >= 0).float(), points, strides)
        losses = head_loss(predictions, goal, targets)
        assert losses["class"].item() == pytest.approx(0, abs=1e-6)
        assert losses["box"].item() == pytest.approx(0, abs=1e-5)
        assert losses["distribution"].item() == pytest.approx(1.5 * math.log(2), rel=1e-5)
        # … and the model itself assigns these locations their object.
        outputs = YOLOv8Outputs({"one_to_many": predictions}, points, strides, [(64, 64)] * 3)
        found = model.assign(outputs, targets)
        learnt = found.assigned >= 0
        assert learnt.any() and torch.equal(found.assigned[learnt], assigned[learnt])
        torch.testing.assert_close(found.weights[learnt], torch.ones(int(learnt.sum())))

    def test_distances_are_in_strides_of_their_level(self):
        """Sides 12 pixels away are at bin 1.5 of stride 8 and at bin 3 of stride 4."""
        points, strides = torch.tensor([[12.0, 12], [12, 12]]), torch.tensor([8.0, 4.0])
        logits = torch.randn(1, 2, 4, 6, generator=torch.Generator().manual_seed(0))
        predictions = HeadOutputs(torch.zeros(1, 2, 1), logits, torch.zeros(1, 2, 4))
        goal = TaskAlignedTargets(torch.tensor([[0, 0]]), torch.ones(1, 2), points, strides)
        losses = head_loss(predictions, goal, [target([[0, 0, 24, 24]])])
        bins = torch.tensor([1.5, 3.0])[:, None].expand(2, 4)
        wanted = distribution_focal_loss(logits[0], bins, "mean")
        assert losses["distribution"].item() == pytest.approx(1.5 * wanted.item(), rel=1e-6)

    def test_one_to_one_terms_stand_beside_the_others(self):
        model = small_detector(heads=BOTH)
        images, targets = torch.rand(2, 3, 64, 64), [target([[8, 8, 40, 40]]), target([])]
        outputs = model.predict(images)
        losses = model.compute_loss(outputs, targets)
        names = ["class", "box", "distribution"]
        assert list(losses) == names + [f"one_to_one_{name}" for name in names]
        for head, prefix in (("one_to_many", ""), ("one_to_one", "one_to_one_")):
            goal = model.assign(outputs, targets, head)
            count = {"one_to_many": 10, "one_to_one": 1}[head]
            assert (goal.assigned >= 0).sum() == count
            alone = head_loss(outputs.heads[head], goal, targets)
            for name in names:
                assert torch.equal(losses[prefix + name], alone[name])
        assert torch.equal(
            model.assign(outputs, targets).assigned,
            model.assign(outputs, targets, "one_to_many").assigned,
        )

    def test_alone_its_terms_have_plain_names(self):
        model = small_detector(heads=("one_to_one",), num_bins=1)
        losses = model([torch.rand(3, 64, 64)] * 2, [target([[8, 8, 40, 40]])] * 2)
        assert list(losses) == ["class", "box"]  # and distances without a distribution

    def test_without_objects_only_the_classes_learn(self):
        model = small_detector(heads=BOTH)
        losses = model([torch.rand(3, 64, 64)] * 2, [target([]), target([])])
        for name, loss in losses.items():
            assert (loss > 0) if "class" in name else (loss == 0), name
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name

    @pytest.mark.parametrize("num_bins", [16, 1])
    def test_gradients_reach_every_weight(self, num_bins):
        model = small_detector(heads=BOTH, num_bins=num_bins)
        everywhere = [[2, 2, 12, 12], [20, 20, 50, 50], [0, 0, 64, 64]]
        losses = model([torch.rand(3, 64, 64)] * 2, [target(everywhere)] * 2)
        sum(losses.values()).backward()
        without = [n for n, p in model.named_parameters() if p.grad.count_nonzero() == 0]
        # A level's distances learn only where it has an object: the one-to-one head has two.
        assert all("one_to_one" in name and "box_towers" in name for name in without)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
    def test_boxes_of_another_precision_are_learnt_alike(self, dtype):
        model = small_detector(1)
        outputs = model.predict(torch.rand(1, 3, 320, 320))
        plain = target([[8, 8, 308, 308], [40, 40, 60, 60]])
        other = {**plain, "boxes": plain["boxes"].to(dtype)}
        one, same = model.assign(outputs, [plain]), model.assign(outputs, [other])
        assert torch.equal(one.assigned, same.assigned) and (one.assigned == 0).any()
        torch.testing.assert_close(
            model.compute_loss(outputs, [plain]), model.compute_loss(outputs, [other])
        )


# ---- detecting -----------------------------------------------------------------------------------


def check_contract(found, height, width, num_classes, limit=100):
    assert found.keys() == {"boxes", "scores", "labels"}
    boxes, scores, labels = found["boxes"], found["scores"], found["labels"]
    assert boxes.shape == (len(scores), 4) and labels.shape == scores.shape
    assert len(scores) <= limit and labels.dtype == torch.int64
    assert (scores[:-1] >= scores[1:]).all() and (scores > 0).all() and (scores <= 1).all()
    assert ((labels >= 0) & (labels < num_classes)).all()
    assert (boxes[:, 0] >= 0).all() and (boxes[:, 2] <= width).all()
    assert (boxes[:, 1] >= 0).all() and (boxes[:, 3] <= height).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


SHAPES = [(33, 517), (64, 64), (1, 1), (7, 100), (128, 31)]


class TestDetect:
    @pytest.mark.parametrize("head", BOTH)
    @pytest.mark.parametrize("sizes", [{}, {"min_size": 40, "max_size": 70}])
    def test_odd_sizes_in_one_batch(self, head, sizes):
        model = small_detector(
            3, batcher=batching.ImageBatcher(**sizes), heads=BOTH, score_threshold=0.0
        )
        model.detects_with = head
        images = [torch.rand(3, *shape) for shape in SHAPES]
        with torch.no_grad():
            results = model.eval()(images)
        for found, (height, width) in zip(results, SHAPES, strict=True):
            check_contract(found, height, width, 3)
            assert len(found["scores"]) > 0

    def outputs(self, names):
        """Four locations and two classes; the other head finds nothing."""
        scores = torch.tensor([[[0.6, 0.9], [0.7, 0.01], [0.4, 0.01], [0.01, 0.2]]])
        boxes = torch.tensor([[[1.0, 1, 7, 7], [1, 1, 7, 8], [1, 4, 9, 20], [20, 1, 30, 7]]])
        points, strides = torch.zeros(4, 2), torch.ones(4)
        nothing = torch.zeros(1, 4, 4, 2)
        heads = {name: HeadOutputs(torch.full((1, 4, 2), -9.0), nothing, boxes) for name in BOTH}
        for name in names:
            heads[name] = HeadOutputs(scores.logit(), nothing, boxes)
        return YOLOv8Outputs(heads, points, strides, [(8, 12)])

    def test_one_to_many_by_hand(self):
        """With NMS: of class 0 the second location suppresses the first."""
        model = small_detector(2, heads=BOTH, score_threshold=0.1, detects_with="one_to_many")
        (found,) = model.decode(self.outputs(["one_to_many"]))
        torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.7, 0.4]))
        assert found["labels"].tolist() == [1, 0, 0]
        assert found["boxes"].tolist() == [[1, 1, 7, 7], [1, 1, 7, 8], [1, 4, 9, 8]]
        assert len(model.decode(self.outputs(["one_to_one"]))[0]["scores"]) == 0

    def test_one_to_one_by_hand(self):
        """Without: the duplicate stays. A box in the padding is none in either."""
        model = small_detector(2, heads=BOTH, score_threshold=0.1)
        assert model.detects_with == "one_to_one"
        (found,) = model.decode(self.outputs(["one_to_one"]))
        torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.7, 0.6, 0.4]))
        assert found["labels"].tolist() == [1, 0, 0, 0]
        assert found["boxes"][2].tolist() == [1, 1, 7, 7]
        model.max_detections = 2
        assert len(model.decode(self.outputs(["one_to_one"]))[0]["scores"]) == 2
        assert len(model.decode(self.outputs(["one_to_many"]))[0]["scores"]) == 0

    @pytest.mark.parametrize("head", BOTH)
    def test_so_many_candidates_of_an_image(self, head, monkeypatch):
        """The best two of all classes and locations, before NMS: so the third is not moved up."""
        assert yolov8.MAX_CANDIDATES == 1000
        monkeypatch.setattr(yolov8, "MAX_CANDIDATES", 2)
        model = small_detector(2, heads=BOTH, score_threshold=0.1, detects_with=head)
        (found,) = model.decode(self.outputs([head]))
        assert_close(found["scores"], torch.tensor([0.9, 0.7]))

    def test_without_nms_the_best_come_first(self):
        """Of equal ones the first, whether or not the number of candidates is limited."""
        model = small_detector(1, score_threshold=0.1, max_detections=3)
        boxes = torch.arange(5.0)[:, None] * 10 + torch.tensor([0.0, 0, 5, 5])
        scores = torch.tensor([[0.3], [0.9], [0.05], [0.9], [0.4]])
        for limit in ({}, {"max_candidates": 4}):
            found = model.select_detections(boxes, scores, nms=False, **limit)
            assert found["boxes"][:, 0].sort().values.tolist() == [10, 30, 40]
            torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.9, 0.4]))
        assert model.select_detections(boxes, scores, nms=False)["boxes"][0, 0] == 10

    def test_no_nms_runs_for_the_one_to_one_head(self, monkeypatch):
        def refuse(*_):
            raise AssertionError("NMS was called")

        monkeypatch.setattr("detlearn.models.base.batched_nms", refuse)
        model = small_detector(heads=BOTH).eval()
        with torch.no_grad():
            model([torch.rand(3, 32, 32)])
        model.detects_with = "one_to_many"
        with torch.no_grad(), pytest.raises(AssertionError, match="NMS was called"):
            model([torch.rand(3, 32, 32)])

    def test_a_head_that_is_not_used_can_be_deleted(self):
        model = small_detector(heads=BOTH).eval()
        images = [torch.rand(3, 64, 64)]
        with torch.no_grad():
            (before,) = model(images)
            del model.heads["one_to_many"]
            (after,) = model(images)
        assert all(torch.equal(before[key], after[key]) for key in before)

    def test_a_head_that_is_not_there_is_named(self):
        model = small_detector().eval()
        model.detects_with = "one_to_one"
        with pytest.raises(ValueError, match="'one_to_one'; this detector has: one_to_many"):
            model([torch.rand(3, 32, 32)])
        outputs = model.predict(torch.rand(1, 3, 32, 32))
        with pytest.raises(ValueError, match="no head called 'both'"):
            model.assign(outputs, [target([])], "both")

    def test_what_scores_low_is_kept(self):
        """Average precision counts it; whoever shows detections sets a threshold of his own."""
        assert models.create("yolov8", 2).score_threshold == 0.001

    def test_nothing_found(self):
        for heads in (("one_to_many",), BOTH):
            model = small_detector(heads=heads, score_threshold=0.999).eval()
            (found,) = model([torch.rand(3, 32, 32)])
            assert found["boxes"].shape == (0, 4)
            check_contract(found, 32, 32, 2)


# ---- training ------------------------------------------------------------------------------------


class TestTrain:
    @pytest.mark.parametrize(
        ("shape", "boxes"),
        [
            ((33, 517), [[500, 20, 517, 33]]),
            ((32, 32), [[7.1, 7.1, 7.9, 7.9]]),  # between the locations: learnt by none
            ((32, 32), [[0, 0, 3, 3], [29, 29, 32, 32]]),
            ((32, 32), [[-20, 10, 3, 20], [30, 30, 90, 90]]),  # over the border
            ((32, 32), [[-900, -900, 900, 900]]),
            ((32, 32), [[4, 4, 20, 20]] * 2),
            ((64, 64), [[i % 25, i // 25, i % 25 + 9, i // 25 + 9] for i in range(500)]),
        ],
    )
    @pytest.mark.parametrize("num_bins", [16, 1])
    def test_hard_targets(self, shape, boxes, num_bins):
        model = small_detector(heads=BOTH, num_bins=num_bins)
        images = [torch.rand(3, *shape), torch.rand(3, 40, 40)]
        losses = model(images, [target(boxes), target([])])
        assert all(torch.isfinite(loss) and loss >= 0 for loss in losses.values())
        sum(losses.values()).backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())

    def test_bad_targets_are_named(self):
        model, image = small_detector(2), torch.rand(3, 32, 32)
        with pytest.raises(ValueError, match=r"targets\[0\]\['labels'\]\[0\] = 2 is no label"):
            model([image], [target([[1, 1, 9, 9]], [2])])
        with pytest.raises(ValueError, match=r"targets\[0\]\['boxes'\]\[0\]"):
            model([image], [target([[9, 1, 1, 9]])])
        with pytest.raises(TypeError, match=r"image 0 is torch\.uint8"):
            model([(image * 255).byte()], [target([])])

    def test_bfloat16_stays_close(self):
        model, images = small_detector(), [torch.rand(3, 64, 64)] * 2
        targets = [target([[8, 8, 40, 40]])] * 2
        exact = model(images, targets)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(images, targets)
            outputs = model.predict(torch.rand(2, 3, 64, 64)).heads["one_to_many"]
        assert {tensor.dtype for tensor in outputs} == {torch.float32}
        for name in exact:
            assert rough[name].dtype == torch.float32
            assert rough[name].item() == pytest.approx(exact[name].item(), rel=0.2)

    def test_overfits_one_batch(self):
        """Eight objects of two colours on grey: both heads learn them by heart."""
        samples = two_colours()
        model = small_detector(heads=BOTH)
        fit(
            model, samples, steps=120, batch_size=4, lr=1e-2, amp=False, augment=None,
            ema=0.9, progress=False,
        )  # fmt: skip
        for head in BOTH:
            model.detects_with = head
            with torch.no_grad():
                results = model([image for image, _ in samples])
            for found, (_, wanted) in zip(results, samples):
                check_two_colours(found, wanted)
                assert (found["scores"][2:] < 0.6 * found["scores"][1]).all()


# ---- builders and figures ------------------------------------------------------------------------


class TestBuilders:
    def test_create(self):
        model = models.create("yolov8", 7, min_size=32, max_size=64)
        assert isinstance(model, YOLOv8) and model.num_classes == 7
        assert (model.batcher.min_size, model.batcher.max_size) == (32, 64)
        assert model.backbone.strides == [4, 8, 16]
        assert list(model.heads) == ["one_to_many"] and model.heads["one_to_many"].num_bins == 16

    def test_what_differs_from_the_published_detector(self):
        """Fewer locations an object, more for tiny ones, and more weight on the classes."""
        torch.manual_seed(0)
        model = yolov8_small(10, heads=BOTH)
        image = torch.rand(1, 3, 128, 128)
        tiny, large = [61.0, 61, 63, 63], [20.0, 20, 90, 90]  # no location inside the tiny one
        targets = [{"boxes": torch.tensor([tiny, large]), "labels": torch.tensor([3, 4])}]
        with torch.no_grad():
            outputs = model.predict(image)
            counts = {
                head: torch.bincount(model.assign(outputs, targets, head).assigned[0] + 1)[1:]
                for head in BOTH
            }
            ours = model.compute_loss(outputs, targets)
            model.class_weight = 0.5
            published = model.compute_loss(outputs, targets)
        assert counts["one_to_many"].tolist() == [5, 5] and counts["one_to_one"].tolist() == [1, 1]
        for term, loss in ours.items():
            factor = 2 if term.endswith("class") else 1
            assert loss.item() == pytest.approx(factor * published[term].item())

    def test_variants(self):
        both = yolov8_small(3, heads=BOTH)
        assert list(both.heads) == list(BOTH) and both.detects_with == "one_to_one"
        assert yolov8_small(3, num_bins=1).heads["one_to_many"].num_bins == 1

    def test_both_assignments_are_drawn_on_one_image(self):
        torch.manual_seed(0)
        model = yolov8_small(10, heads=BOTH)
        scene, objects = ToyTown(7, seed=0)[6]
        learning = {}
        for head in (None, *BOTH):
            ax = plotting.show_assignment(model, scene, objects, head=head)
            panels = ax.child_axes or [ax]
            words = [panel.get_title().replace("\n", " ").split() for panel in panels]
            learning[head] = sum(int(word[-4]) for word in words)
        assert learning["one_to_one"] <= len(objects["boxes"]) < learning["one_to_many"]
        assert learning[None] == learning["one_to_many"]

    def test_markers_are_as_large_as_the_target_is_high(self):
        torch.manual_seed(0)
        model = yolov8_small(10)
        scene, objects = ToyTown(7, seed=0)[6]
        ax = plotting.show_assignment(model, scene, objects, level=0)
        sizes = torch.cat([torch.tensor(g.get_sizes()) for g in ax.collections[2:]])
        assert len(sizes.unique()) > 3
