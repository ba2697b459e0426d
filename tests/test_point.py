"""The simplest detector that works."""

import math

import pytest
import torch
from detectors import check_contract, check_two_colours, target, two_colours
from torch import nn

from detlearn import models
from detlearn.losses import giou_loss
from detlearn.models import images as batching
from detlearn.models import point
from detlearn.models.point import (
    PointDetector,
    PointOutputs,
    grid_points,
    heatmap_targets,
    point_targets,
)
from detlearn.nets.small import SmallBackbone
from detlearn.training import fit


def naive_targets(boxes, labels, num_classes, height, width, stride):
    """The same, one location and one object at a time, in double precision."""
    heatmap = torch.zeros(num_classes, height, width, dtype=torch.float64)
    assigned = torch.full((height, width), -1)
    for row in range(height):
        for column in range(width):
            smallest = math.inf
            for n, ((x1, y1, x2, y2), label) in enumerate(zip(boxes.tolist(), labels.tolist())):
                peak_column = min(max(math.floor((x1 + x2) / 2 / stride), 0), width - 1)
                peak_row = min(max(math.floor((y1 + y2) / 2 / stride), 0), height - 1)
                dx = (column - peak_column) * stride / (point.SPREAD * (x2 - x1))
                dy = (row - peak_row) * stride / (point.SPREAD * (y2 - y1))
                gaussian = math.exp(-(dx**2 + dy**2) / 2)
                heatmap[label, row, column] = max(heatmap[label, row, column], gaussian)
                area = (x2 - x1) * (y2 - y1)
                if gaussian >= point.NEAR and area < smallest:
                    smallest, assigned[row, column] = area, n
    return heatmap, assigned


def random_boxes(number, height, width, random):
    """Boxes from one pixel to more than the image, some reaching over its border."""
    sides = 2 ** (torch.rand(number, 2, generator=random) * math.log2(1.5 * max(height, width)))
    centres = torch.rand(number, 2, generator=random) * torch.tensor([width, height])
    return torch.cat((centres - sides / 2, centres + sides / 2), dim=-1)


def small_detector(num_classes=2, batcher=None, **thresholds):
    torch.manual_seed(0)
    backbone = SmallBackbone((8, 8, 8, 8))
    model = PointDetector(num_classes, backbone, channels=8, batcher=batcher)
    for name, value in thresholds.items():
        assert hasattr(model, name)
        setattr(model, name, value)
    return model


def targets_of_one(boxes, labels, *map_and_classes):
    """Heat map (K, h, w) and assignment (h, w) of a single image."""
    one = point_targets([{"boxes": boxes, "labels": labels}], *map_and_classes)
    return one.heatmap[0], one.assigned[0].view(one.heatmap.shape[-2:])


class TestGridPoints:
    def test_x_comes_first_and_points_are_centres_of_cells(self):
        points = grid_points(2, 3, 4)
        assert points.shape == (2, 3, 2)
        assert points[0].tolist() == [[2, 2], [6, 2], [10, 2]]
        assert points[1].tolist() == [[2, 6], [6, 6], [10, 6]]

    def test_other_stride(self):
        assert grid_points(1, 2, 8)[0, 1].tolist() == [12, 4]


class TestTargets:
    def test_by_hand(self):
        """A box of 50 × 25 around (18, 6): its centre lies in row 1, column 4 of a stride-4 map."""
        box = torch.tensor([[-7.0, -6.5, 43.0, 18.5]])
        heatmap, assigned = targets_of_one(box, torch.tensor([1]), 2, 5, 8, 4)
        assert heatmap.shape == (2, 5, 8) and assigned.shape == (5, 8)
        assert heatmap[0].max() == 0
        assert heatmap[1, 1, 4] == 1
        one_right = math.exp(-0.5 * (4 / (point.SPREAD * 50)) ** 2)
        one_down = math.exp(-0.5 * (4 / (point.SPREAD * 25)) ** 2)
        assert heatmap[1, 1, 5].item() == pytest.approx(one_right, rel=1e-5)
        assert heatmap[1, 1, 3].item() == pytest.approx(one_right, rel=1e-5)
        assert heatmap[1, 2, 4].item() == pytest.approx(one_down, rel=1e-5)
        assert heatmap[1, 2, 5].item() == pytest.approx(one_right * one_down, rel=1e-5)
        assert one_down < one_right < 1  # the box is wide: so is its bump
        assert torch.equal(assigned >= 0, heatmap[1] >= point.NEAR)
        assert set(assigned.unique().tolist()) == {-1, 0}

    @pytest.mark.parametrize("seed", range(6))
    @pytest.mark.parametrize("stride", [4, 8])
    def test_equals_the_loop(self, seed, stride):
        random = torch.Generator().manual_seed(seed)
        height, width = torch.randint(1, 12, (2,), generator=random).tolist()
        boxes = random_boxes(3 * seed, height * stride, width * stride, random)
        labels = torch.randint(3, (3 * seed,), generator=random)
        self.compare(boxes, labels, 3, height, width, stride)

    @pytest.mark.parametrize(
        "boxes",
        [
            [[0, 0, 1, 1]],  # one pixel in the corner
            [[31, 31, 32, 32]],
            [[14, 14, 18, 18]],  # centre on an edge between cells: the next cell's
            [[12, 14, 18, 18]],
            [[-10, -10, 10, 10]],  # centre on the border of the image
            [[22, 22, 42, 42]],  # … and on the other: beyond the last cell
            [[-40, 4, 2, 30]],  # centre outside
            [[30, -80, 90, 5]],
            [[-100, -100, 200, 200]],  # larger than the image
            [[0, 15, 32, 17], [15, 0, 17, 32]],  # a very wide and a very tall one
            [[2, 2, 30, 30], [10, 10, 22, 22]],  # one centre
            [[10, 10, 22, 22], [2, 2, 30, 30]],
            [[0, 0, 20, 20], [1, 1, 20, 20], [4, 2, 21, 19]],
        ],
    )
    def test_hard_cases_equal_the_loop(self, boxes):
        boxes = torch.tensor(boxes, dtype=torch.float32)
        heatmap, _ = self.compare(boxes, torch.zeros(len(boxes)).long(), 1, 8, 8, 4)
        assert (heatmap == 1).sum() >= 1

    def compare(self, boxes, labels, num_classes, height, width, stride):
        heatmap, assigned = targets_of_one(boxes, labels, num_classes, height, width, stride)
        wanted, owners = naive_targets(boxes, labels, num_classes, height, width, stride)
        torch.testing.assert_close(heatmap.double(), wanted, rtol=1e-4, atol=1e-6)
        assert torch.equal(heatmap == 1, wanted == 1)
        assert torch.equal(assigned, owners)
        return heatmap, assigned

    def test_the_smaller_of_two_with_one_centre_has_the_location(self):
        boxes = torch.tensor([[2.0, 2, 30, 30], [10, 10, 22, 22]])
        for order in ([0, 1], [1, 0]):
            _, assigned = targets_of_one(boxes[order], torch.tensor([0, 1]), 2, 8, 8)
            assert assigned[4, 4] == order.index(1)
            # the larger one keeps what is near its centre only
            assert (assigned == order.index(0)).any() == (
                math.exp(-0.5 * (4 / (point.SPREAD * 28)) ** 2) >= point.NEAR
            )

    def test_without_objects(self):
        heatmap, assigned = targets_of_one(torch.zeros(0, 4), torch.zeros(0).long(), 3, 4, 5)
        assert heatmap.shape == (3, 4, 5) and heatmap.count_nonzero() == 0
        assert assigned.shape == (4, 5) and (assigned == -1).all()

    def test_the_batch_has_the_heat_maps_of_its_images(self):
        random = torch.Generator().manual_seed(4)
        images = []
        for number in (5, 0, 9):
            boxes = random_boxes(number, 64, 48, random)
            images.append({"boxes": boxes, "labels": torch.randint(3, (number,), generator=random)})
        together = point_targets(images, 3, 12, 16).heatmap
        for one, heatmap in zip(images, together):
            assert torch.equal(heatmap_targets(one["boxes"], one["labels"], 3, 12, 16), heatmap)

    def test_the_peak_is_exactly_1(self):
        """The loss looks for ones: none may be lost to rounding."""
        random = torch.Generator().manual_seed(0)
        boxes = random_boxes(100, 128, 128, random)
        for box in boxes[:, None]:
            heatmap, assigned = targets_of_one(box, torch.tensor([0]), 1, 32, 32)
            assert (heatmap == 1).sum() == 1
            assert assigned[heatmap[0] == 1] == 0

    def test_a_batch_is_its_images_side_by_side(self):
        """Objects are numbered in their image, which learns nothing of its neighbours."""
        random = torch.Generator().manual_seed(3)
        images = []
        for number in (4, 0, 1, 7):
            boxes = random_boxes(number, 64, 48, random)
            images.append({"boxes": boxes, "labels": torch.randint(3, (number,), generator=random)})
        heatmap, assigned, *_ = point_targets(images, 3, 16, 12)
        assert heatmap.shape == (4, 3, 16, 12) and assigned.shape == (4, 16 * 12)
        for i, image in enumerate(images):
            alone = targets_of_one(image["boxes"], image["labels"], 3, 16, 12)
            assert torch.equal(heatmap[i], alone[0])
            assert torch.equal(assigned[i].view(16, 12), alone[1])


class TestPredict:
    def test_geometry(self):
        """Heads that say log 2, log 3, log 4, log 5 everywhere: that many strides to each side."""
        model = small_detector().eval()
        nn.init.zeros_(model.box_head[-1].weight)
        model.box_head[-1].bias.data = torch.tensor([2.0, 3.0, 4.0, 5.0]).log()
        with torch.no_grad():
            logits, boxes, _ = model.predict(torch.rand(2, 3, 64, 32))
        assert logits.shape == (2, 2, 16, 8) and boxes.shape == (2, 16, 8, 4)
        # row 3, column 1: the point (6, 14), stride 4
        torch.testing.assert_close(boxes[1, 3, 1], torch.tensor([-2.0, 2.0, 22.0, 34.0]))
        points = grid_points(16, 8, 4)
        torch.testing.assert_close(
            boxes[0] - points.repeat(1, 1, 2),
            torch.tensor([-8.0, -12.0, 16.0, 20.0]).expand(16, 8, 4),
        )

    def test_boxes_contain_their_location(self):
        model = small_detector().eval()
        nn.init.normal_(model.box_head[-1].weight, std=3.0)
        with torch.no_grad():
            boxes = model.predict(3 * torch.randn(1, 3, 96, 64)).boxes
        points = grid_points(24, 16, 4)
        assert (boxes[..., :2] < points).all() and (boxes[..., 2:] > points).all()
        assert torch.isfinite(boxes).all()

    def test_every_map_of_the_pyramid_counts(self):
        model = small_detector().eval()
        images = torch.rand(1, 3, 64, 64)
        before = model.predict(images).heatmap_logits
        for lateral in model.lateral:
            kept = lateral.weight.data.clone()
            lateral.weight.data.zero_()
            assert not torch.equal(model.predict(images).heatmap_logits, before)
            lateral.weight.data = kept


def logit(p):
    return math.log(p / (1 - p))


class TestLoss:
    def outputs(self, scores, boxes):
        """Of one image with a map of 1 × 2 locations and 1 class."""
        logits = torch.tensor([logit(p) for p in scores]).view(1, 1, 1, 2).requires_grad_()
        boxes = torch.tensor(boxes).view(1, 1, 2, 4).requires_grad_()
        return PointOutputs(logits, boxes, [(4, 8)])

    def test_by_hand(self):
        """One object in the left location; at the right one its Gaussian has all but vanished."""
        model = small_detector(1)
        outputs = self.outputs([0.8, 0.1], [[0.0, 0, 4, 2], [0.0, 0, 9, 9]])
        losses = model.compute_loss(outputs, [target([[0, 0, 4, 4]])])
        assert losses.keys() == {"heatmap", "box"}
        beside = math.exp(-0.5 * (4 / (point.SPREAD * 4)) ** 2)
        assert beside < 1e-6
        # (1 − p)² (−log p) at the centre, p² (−log(1 − p)) elsewhere
        heatmap = 0.2**2 * -math.log(0.8) + 0.1**2 * -math.log(0.9)
        assert losses["heatmap"].item() == pytest.approx(heatmap, rel=1e-4)
        # IoU = 8 / 16, enclosing box = the target: GIoU loss = 0.5; weight 2
        assert losses["box"].item() == pytest.approx(1.0, rel=1e-4)

    def test_normalisers(self):
        """Doubling the batch changes nothing: sums are divided by counts of the whole batch."""
        model = small_detector(1)
        outputs = self.outputs([0.8, 0.1], [[0.0, 0, 4, 2], [0.0, 0, 9, 9]])
        one = model.compute_loss(outputs, [target([[0, 0, 4, 4]])])
        logits, boxes, sizes = outputs
        twice = PointOutputs(torch.cat((logits, logits)), torch.cat((boxes, boxes)), sizes * 2)
        two = model.compute_loss(twice, [target([[0, 0, 4, 4]])] * 2)
        for name in one:
            assert two[name].item() == pytest.approx(one[name].item(), rel=1e-5)
        # An image without objects adds its false alarms, and no object to the count.
        half = model.compute_loss(twice, [target([[0, 0, 4, 4]]), target([])])
        alarms = sum(p**2 * -math.log(1 - p) for p in (0.8, 0.1))
        assert half["heatmap"].item() == pytest.approx(one["heatmap"].item() + alarms, rel=1e-4)
        assert half["box"].item() == pytest.approx(one["box"].item(), rel=1e-5)

    def test_the_heat_map_is_divided_by_objects_and_the_boxes_by_locations(self):
        """An object whose box two locations learn counts once for the heat map, twice for boxes."""
        model = small_detector(1)
        outputs = self.outputs([0.8, 0.7], [[0.0, 0, 20, 2], [0.0, 0, 20, 4]])
        goal = target([[-8, 0, 12, 4]])  # 20 wide: its Gaussian is .25 one cell away, .7 with 40
        wide = target([[-18, 0, 22, 4]])
        assert (model.assign(outputs, [goal]).assigned >= 0).sum() == 1
        assert (model.assign(outputs, [wide]).assigned >= 0).sum() == 2
        beside = math.exp(-0.5 * (4 / (point.SPREAD * 40)) ** 2)
        losses = model.compute_loss(outputs, [wide])
        heatmap = 0.2**2 * -math.log(0.8) + (1 - beside) ** 4 * 0.7**2 * -math.log(0.3)
        assert losses["heatmap"].item() == pytest.approx(heatmap, rel=1e-4)
        pairs = zip(outputs.boxes.view(-1, 4), wide["boxes"].expand(2, 4))
        mean = sum(giou_loss(a[None], b[None]).item() for a, b in pairs) / 2
        assert losses["box"].item() == pytest.approx(2 * mean, rel=1e-4)

    def test_boxes_are_paired_with_the_objects_of_their_image_and_location(self):
        """A perfect prediction has a box loss of 0, whatever the order of objects."""
        model = small_detector(2)
        random = torch.Generator().manual_seed(1)
        targets = []
        for number in (3, 0, 5):
            boxes = random_boxes(number, 64, 64, random)
            labels = torch.randint(2, (number,), generator=random)
            targets.append({"boxes": boxes, "labels": labels})
        boxes = torch.zeros(3, 16, 16, 4)
        for image, t in zip(boxes, targets):
            _, assigned = targets_of_one(t["boxes"], t["labels"], 2, 16, 16)
            image[assigned >= 0] = t["boxes"][assigned[assigned >= 0]]
        outputs = PointOutputs(torch.zeros(3, 2, 16, 16), boxes, [(64, 64)] * 3)
        assert model.compute_loss(outputs, targets)["box"].item() == pytest.approx(0, abs=1e-5)
        outputs = PointOutputs(torch.zeros(3, 2, 16, 16), boxes.flip(0), [(64, 64)] * 3)
        assert model.compute_loss(outputs, targets)["box"].item() > 0.5

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
    def test_boxes_of_another_precision_are_learnt_alike(self, dtype):
        """The area of 300 × 300 pixels does not fit into half precision."""
        model = small_detector(1)
        outputs = model.predict(torch.rand(1, 3, 320, 320))
        plain = target([[8, 8, 308, 308], [40, 40, 60, 60]])
        other = {**plain, "boxes": plain["boxes"].to(dtype)}
        one, same = model.assign(outputs, [plain]), model.assign(outputs, [other])
        assert torch.equal(one.assigned, same.assigned) and (one.assigned == 0).any()
        losses, again = (model.compute_loss(outputs, [t]) for t in (plain, other))
        torch.testing.assert_close(losses, again)

    def test_without_objects_the_box_loss_is_0_and_gradients_are_finite(self):
        model = small_detector()
        losses = model([torch.rand(3, 32, 32)] * 2, [target([]), target([])])
        assert losses["box"].item() == 0
        assert 0 < losses["heatmap"].item() < 10
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
        assert all(p.grad.count_nonzero() == 0 for p in model.box_head.parameters())

    def test_gradients_reach_every_weight(self):
        model = small_detector()
        model.train()([torch.rand(3, 64, 64)] * 2, [target([[8, 8, 40, 40]])] * 2)
        losses = model([torch.rand(3, 64, 64)] * 2, [target([[8, 8, 40, 40]])] * 2)
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad.count_nonzero() > 0, name


SHAPES = [(33, 517), (64, 64), (1, 1), (7, 100), (128, 31)]


class TestDetect:
    @pytest.mark.parametrize("sizes", [{}, {"min_size": 40, "max_size": 70}])
    def test_odd_sizes_in_one_batch(self, sizes):
        model = small_detector(3, batcher=batching.ImageBatcher(**sizes), score_threshold=0.0)
        nn.init.normal_(model.heatmap_head[-1].weight, std=1.0)
        images = [torch.rand(3, *shape) for shape in SHAPES]
        with torch.no_grad():
            results = model.eval()(images)
        assert len(results) == len(SHAPES)
        for found, (height, width) in zip(results, SHAPES):
            check_contract(found, height, width, 3)
            assert len(found["scores"]) > 0

    def test_decode_by_hand(self):
        model = small_detector(2, score_threshold=0.3, nms_threshold=0.5, max_detections=3)
        logits = torch.full((1, 2, 2, 3), -9.0)
        logits[0, 0, 0, 0] = logit(0.6)
        logits[0, 0, 0, 1] = logit(0.9)  # same class and box: removes the one before
        logits[0, 1, 0, 1] = logit(0.5)  # same box, other class: stays
        logits[0, 0, 1, 0] = logit(0.4)
        logits[0, 1, 1, 1] = logit(0.35)  # the fourth
        logits[0, 1, 1, 2] = logit(0.25)  # below the threshold
        boxes = torch.tensor([1.0, 1, 7, 7]).repeat(1, 2, 3, 1)
        boxes[0, 1, 0] = torch.tensor([1.0, 4, 9, 20])
        (found,) = model.decode(PointOutputs(logits, boxes, [(8, 12)]))
        torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.5, 0.4]))
        assert found["labels"].tolist() == [0, 1, 0]
        assert found["boxes"].tolist() == [[1, 1, 7, 7], [1, 1, 7, 7], [1, 4, 9, 8]]

    def test_boxes_in_the_padding_are_no_detections(self):
        model = small_detector(1)
        logits = torch.full((1, 1, 2, 2), 3.0)
        boxes = torch.tensor([[[[0.0, 0, 4, 4], [5, 0, 8, 4]], [[0, 4, 4, 8], [5, 5, 8, 8]]]])
        (found,) = model.decode(PointOutputs(logits, boxes, [(4, 5)]))
        assert found["boxes"].tolist() == [[0, 0, 4, 4]]

    def test_nothing_found(self):
        model = small_detector(score_threshold=0.999).eval()
        (found,) = model([torch.rand(3, 32, 32)])
        assert found["boxes"].shape == (0, 4)
        check_contract(found, 32, 32, 2)

    def test_is_repeatable(self):
        images = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))] * 2
        targets = [target([[8, 8, 40, 40]]), target([])]
        losses, results = [], []
        for _ in range(2):
            model = small_detector()
            losses.append(model(images, targets))
            with torch.no_grad():
                results.append(model.eval()(images))
        assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])
        for a, b in zip(*results):
            assert all(torch.equal(a[name], b[name]) for name in a)


class TestTrain:
    @pytest.mark.parametrize(
        ("shape", "boxes"),
        [
            ((33, 517), [[500, 20, 517, 33]]),
            ((32, 32), [[7, 7, 8, 8]]),  # one pixel
            ((32, 32), [[0, 0, 1, 1], [31, 31, 32, 32]]),
            ((32, 32), [[-20, 10, 3, 20], [30, 30, 90, 90]]),  # over the border
            ((32, 32), [[-90, -90, 90, 90]]),
            ((64, 64), [[i % 25, i // 25, i % 25 + 9, i // 25 + 9] for i in range(500)]),
        ],
    )
    def test_hard_targets(self, shape, boxes):
        model = small_detector()
        images = [torch.rand(3, *shape), torch.rand(3, 40, 40)]
        losses = model(images, [target(boxes), target([])])
        assert all(torch.isfinite(loss) and loss >= 0 for loss in losses.values())
        assert losses["box"] > 0
        sum(losses.values()).backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())

    def test_bfloat16_stays_close(self):
        model, images = small_detector(), [torch.rand(3, 64, 64)] * 2
        targets = [target([[8, 8, 40, 40]])] * 2
        exact = model(images, targets)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(images, targets)
        for name in exact:
            assert rough[name].dtype == torch.float32
            assert rough[name].item() == pytest.approx(exact[name].item(), rel=0.1)

    def test_overfits_one_batch(self):
        """Eight objects of two colours on grey: learnt by heart in a minute's fraction."""
        samples = two_colours()
        model = small_detector()
        history = fit(
            model, samples, steps=70, batch_size=4, lr=1e-2, amp=False, augment=None,
            ema=0.9, progress=False,
        )  # fmt: skip
        assert history.total[-1] < 0.3 * history.total[0]
        with torch.no_grad():
            results = model([image for image, _ in samples])
        for found, (_, wanted) in zip(results, samples):
            check_two_colours(found, wanted)
            assert (found["scores"][2:] < 0.6 * found["scores"][1]).all()


class TestBuilders:
    def test_create(self):
        model = models.create("point", 7, min_size=32, max_size=64)
        assert model.num_classes == 7 and model.training
        assert (model.batcher.min_size, model.batcher.max_size) == (32, 64)
        assert models.create("point", 1).batcher.min_size is None
        with pytest.raises(ValueError, match=r"no detector called 'pint'; there are: .*point"):
            models.create("pint", 3)
        with pytest.raises(ValueError, match="num_classes is 0"):
            models.create("point", 0)

    def test_backbone(self):
        backbone = SmallBackbone((8, 16, 24, 32)).eval()
        maps = backbone(torch.rand(1, 3, 33, 100))
        assert list(maps) == ["4", "8", "16", "32"]
        assert backbone.out_channels == [8, 16, 24, 32] and backbone.strides == [4, 8, 16, 32]
        for x, channels, stride in zip(maps.values(), backbone.out_channels, backbone.strides):
            assert x.shape == (1, channels, math.ceil(33 / stride), math.ceil(100 / stride))

    def test_backbone_has_nine_convolutions(self):
        """Two to stride 4 and one to look there; two for each stride after."""
        convolutions = [m for m in SmallBackbone().modules() if isinstance(m, nn.Conv2d)]
        steps = [(c.in_channels, c.out_channels, c.stride[0]) for c in convolutions]
        assert steps == [
            *((3, 16, 2), (16, 48, 2), (48, 48, 1)),
            *((48, 64, 2), (64, 64, 1)),
            *((64, 128, 2), (128, 128, 1)),
            *((128, 160, 2), (160, 160, 1)),
        ]

    def test_starts_with_low_scores(self):
        """So that the many empty locations do not drown the first steps."""
        model = models.create("point", 3).eval()
        with torch.no_grad():
            scores = model.predict(torch.randn(1, 3, 64, 64)).heatmap_logits.sigmoid()
        assert scores.mean() < 0.05


# --- what comes in ---------------------------------------------------------------------------

BOX, LABEL = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([1])


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"boxes": BOX[0]}, ValueError, r"\['boxes'\] has shape \(4,\); expected \(N, 4\)"),
        ({"boxes": BOX.tolist()}, TypeError, r"\['boxes'\] is a list; expected a tensor"),
        ({"boxes": BOX.long()}, TypeError, r"\['boxes'\] has dtype torch.int64; expected float"),
        ({"boxes": BOX * 0}, ValueError, r"\['boxes'\]\[0\] = \[0.*\] has no area"),
        ({"boxes": BOX.flip(1)}, ValueError, r"\['boxes'\]\[0\] = \[4.*\] has no area"),
        ({"boxes": BOX * torch.nan}, ValueError, r"\['boxes'\]\[0\] = \[nan.*\] is not finite"),
        ({"labels": LABEL.float()}, TypeError, r"\['labels'\] has dtype torch.float32; expected"),
        ({"labels": LABEL.int()}, TypeError, r"\['labels'\] has dtype torch.int32; expected int64"),
        ({"labels": torch.tensor([1, 1])}, ValueError, r"\['labels'\] has shape \(2,\); expected"),
        ({"labels": LABEL + 1}, ValueError, r"\['labels'\]\[0\] = 2 is no label in 0 … 1"),
        ({"labels": LABEL - 2}, ValueError, r"\['labels'\]\[0\] = -1 is no label in 0 … 1"),
        ({"height": 0}, ValueError, "a map of 0 × 9 locations of stride 4: expected at least one"),
        ({"width": -1}, ValueError, "a map of 8 × -1 locations"),
        ({"stride": 0}, ValueError, "a map of 8 × 9 locations of stride 0"),
    ],
)
def test_heat_maps_of_wrong_objects_are_refused(wrong, error, words):
    right = {"boxes": BOX, "labels": LABEL, "num_classes": 2, "height": 8, "width": 9, "stride": 4}
    assert heatmap_targets(**right).shape == (2, 8, 9)
    with pytest.raises(error, match=words):
        heatmap_targets(**right | wrong)


def test_a_label_too_high_is_not_another_images_class():
    """All images share one large heat map: class 2 of the first would be class 0 of the second."""
    images = [{"boxes": BOX, "labels": LABEL + 1}, {"boxes": BOX, "labels": LABEL}]
    assert point_targets(images, 3, 8, 8).heatmap.shape == (2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"\['labels'\]\[0\] = 2 is no label in 0 … 1"):
        point_targets(images, 2, 8, 8)
