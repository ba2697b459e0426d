"""RetinaNet: its head, who learns what, the losses with both assignments, detections."""

import math

import pytest
import torch
import torch.nn.functional as F
from detectors import check_contract, check_two_colours, target, two_colours
from torch import nn
from torch.testing import assert_close

from detlearn import models
from detlearn.anchors import AnchorGenerator
from detlearn.boxes import box_iou, clip_boxes_to_image
from detlearn.coders import decode_deltas, encode_deltas
from detlearn.data import ToyTown
from detlearn.losses import focal_classification_loss, giou_loss
from detlearn.matching import atss_assign, match_anchors
from detlearn.models import images as batching
from detlearn.models import retinanet
from detlearn.models.fcos import FCOSHead, centerness
from detlearn.models.retinanet import (
    RetinaNet,
    RetinaNetHead,
    RetinaNetOutputs,
    default_anchors,
    flatten_anchors,
)
from detlearn.models.small import retinanet_small
from detlearn.nets.fpn import PyramidBackbone
from detlearn.nets.small import SmallBackbone
from detlearn.nms import nms
from detlearn.training import fit

# The RetinaNets that the chapter compares: its own, and the two of the four cells.
OPTIONS = [{}, {"like_fcos": True}, {"like_fcos": True, "assign_by": "atss"}]


def group_norm(channels):
    return nn.GroupNorm(2, channels)


def small_detector(
    num_classes=2, *, like_fcos=False, assign_by="iou", batcher=None, thresholds=(0.5, 0.4), **rest
):
    torch.manual_seed(0)
    body = SmallBackbone((8, 8, 8, 8))
    backbone = PyramidBackbone(body, 8, extra_level=False, norm_layer=nn.BatchNorm2d, num_levels=3)
    shapes = (1.0,) if like_fcos else (0.5, 1.0, 2.0)
    anchors = AnchorGenerator(((16,), (32,), (64,)), [shapes] * 3, centre_offset=0.5)
    head = RetinaNetHead(
        8, len(shapes), num_classes, 1, norm_layer=group_norm,
        num_levels=3 if like_fcos else None, centerness=like_fcos,
    )  # fmt: skip
    model = RetinaNet(
        num_classes, backbone, anchors, head, assign_by=assign_by, thresholds=thresholds,
        box_loss="giou" if like_fcos else "l1", batcher=batcher,
    )  # fmt: skip
    for name, value in rest.items():
        assert hasattr(model, name)
        setattr(model, name, value)
    return model


def logit(p):
    return math.log(p / (1 - p))


# ---- the head ------------------------------------------------------------------------------------


class TestHead:
    @pytest.mark.parametrize("like_fcos", [False, True])
    def test_shapes_and_places(self, like_fcos):
        model = small_detector(3, like_fcos=like_fcos).eval()
        with torch.no_grad():
            outputs = model.predict(torch.rand(2, 3, 64, 96), [(64, 96), (50, 90)])
        per_location = 1 if like_fcos else 3
        sizes = [16 * 24 * per_location, 8 * 12 * per_location, 4 * 6 * per_location]
        count = sum(sizes)
        assert outputs.level_sizes == sizes
        assert outputs.class_logits.shape == (2, count, 3)
        assert outputs.deltas.shape == (2, count, 4)
        assert outputs.anchors.shape == (count, 4) and outputs.strides.shape == (count,)
        if like_fcos:
            assert outputs.centerness_logits.shape == (2, count)
        else:
            assert outputs.centerness_logits is None
        assert outputs.sizes == [(64, 96), (50, 90)]
        assert model.predict(torch.rand(1, 3, 32, 64)).sizes == [(32, 64)]

        # Anchors stand in the middle of their cells, with areas of four strides squared.
        assert outputs.strides.tolist() == [
            s for s, n in zip((4.0, 8.0, 16.0), sizes) for _ in range(n)
        ]
        sides = outputs.anchors[:, 2:] - outputs.anchors[:, :2]
        assert_close(sides.prod(dim=1), (4 * outputs.strides) ** 2)
        centres = (outputs.anchors[:, :2] + outputs.anchors[:, 2:]) / 2
        assert_close(centres[0], torch.tensor([2.0, 2.0]))
        assert_close(centres[per_location], torch.tensor([6.0, 2.0]))
        assert_close(centres[-1], torch.tensor([88.0, 56.0]))

    def test_flatten_by_hand(self):
        """Channel a·n + j of the cell in row y and column x is number j of its anchor a."""
        x = torch.zeros(1, 2 * 3, 2, 4)  # two anchors, three numbers
        for c in range(6):
            for i in range(2):
                for j in range(4):
                    x[0, c, i, j] = 100 * i + 10 * j + c
        flat = flatten_anchors(x, 3)
        expected = [
            [100 * i + 10 * j + 3 * a + n for n in range(3)]
            for i in range(2)
            for j in range(4)
            for a in range(2)
        ]
        assert flat[0].tolist() == expected
        assert flatten_anchors(x.bfloat16(), 3).dtype == torch.float32

    def test_each_anchor_is_predicted_where_it_stands(self):
        """A head of 1 × 1 kernels in effect: what it says must be that of the anchor's cell."""
        head = RetinaNetHead(1, 2, 3, num_convs=0)
        for conv in (head.cls_logits, head.bbox_reg):
            nn.init.zeros_(conv.weight)
            conv.weight.data[:, 0, 1, 1] = 1.0
            conv.bias.data = 1000.0 * torch.arange(conv.out_channels)
        maps = [torch.arange(6.0).view(1, 1, 2, 3), 10 + torch.arange(2.0).view(1, 1, 1, 2)]
        with torch.no_grad():
            classes, deltas, centers = head(maps)
        assert centers is None
        cells = torch.tensor([0.0, 1, 2, 3, 4, 5, 10, 11]).repeat_interleave(2)  # two anchors each
        anchor = torch.tensor([0.0, 1]).repeat(8)
        for found, numbers in ((classes, 3), (deltas, 4)):
            channel = anchor[:, None] * numbers + torch.arange(numbers)
            assert_close(found[0], cells[:, None] + 1000 * channel)

    def test_the_same_weights_at_every_level(self):
        head = RetinaNetHead(4, 1, 2, norm_layer=group_norm, centerness=True)
        x = torch.randn(1, 4, 5, 5)
        for out in head([x, x, x]):
            for level in out.split(25, dim=1)[1:]:
                assert torch.equal(level, out[:, :25])

    def test_scales_are_a_level_s_own_and_of_the_deltas_only(self):
        head = RetinaNetHead(4, 1, 2, 1, norm_layer=group_norm, num_levels=2, centerness=True)
        nn.init.normal_(head.bbox_reg.weight)
        x = torch.randn(1, 4, 3, 3)
        before = head([x, x])
        head.scales.data = torch.tensor([1.0, 2.5])
        after = head([x, x])
        assert torch.equal(before[0], after[0]) and torch.equal(before[2], after[2])
        assert_close(after[1][:, :9], before[1][:, :9])
        assert_close(after[1][:, 9:], 2.5 * before[1][:, 9:])
        with pytest.raises(ValueError, match="3 maps came to a head of 2 levels"):
            head([x, x, x])

    def test_initial_weights(self):
        head = RetinaNetHead(64, 9, 5, centerness=True)
        for module in head.modules():
            if isinstance(module, nn.Conv2d):
                assert module.weight.std().item() == pytest.approx(0.01, rel=0.1)
                if module is not head.cls_logits:
                    assert module.bias.abs().max() == 0
        assert_close(head.cls_logits.bias.sigmoid(), torch.full((45,), 0.01))
        assert len(head.class_tower) == len(head.box_tower) == 8  # four convolutions, four ReLU
        # Before a normalisation towers start with PyTorch's weights: uniform up to 1 / √(9 · 64).
        normed = RetinaNetHead(64, 9, 5, norm_layer=group_norm)
        weight = normed.class_tower[0].weight
        assert weight.abs().max() <= 1 / 24 and weight.std() > 0.02
        assert normed.bbox_reg.weight.std().item() == pytest.approx(0.01, rel=0.1)
        with torch.no_grad():
            classes, _, _ = head([torch.randn(1, 64, 8, 8)])
        assert 0.009 < classes.sigmoid().min() and classes.sigmoid().max() < 0.011

    def test_it_is_fcos_head_but_for_what_the_box_is_measured_from(self):
        """Equal conditions: the same layers by the same names, and the same numbers from them."""
        torch.manual_seed(0)
        ours = RetinaNetHead(8, 1, 3, 2, norm_layer=group_norm, num_levels=2, centerness=True)
        theirs = FCOSHead(8, 3, 2, norm_layer=group_norm, num_levels=2)
        theirs.load_state_dict(ours.state_dict())
        maps = [torch.randn(2, 8, 6, 4), torch.randn(2, 8, 3, 2)]
        found, expected = ours(maps), theirs(maps)
        assert torch.equal(found[0], expected[0]) and torch.equal(found[2], expected[2])
        assert_close(theirs.to_positive(found[1]), expected[1])

    def test_gradients_reach_every_weight(self):
        for options in OPTIONS:
            model = retinanet_small(3, **options)
            everywhere = [[2, 2, 12, 12], [20, 20, 50, 50], [0, 0, 62, 64]]
            losses = model([torch.rand(3, 64, 64)] * 2, [target(everywhere)] * 2)
            sum(losses.values()).backward()
            for name, parameter in model.named_parameters():
                assert parameter.grad.isfinite().all(), name
                assert parameter.grad.count_nonzero() > 0, name


# ---- who learns what -----------------------------------------------------------------------------


def places(model, height=64, width=64):
    with torch.no_grad():
        return model.predict(torch.zeros(1, 3, height, width))


class TestAssign:
    def test_by_hand(self):
        """Objects that are anchors, or that overlap them by a known share."""
        model = small_detector(like_fcos=True, thresholds=(0.5, 0.4))
        model.head.bbox_ctrness = None  # the rule without the one of FCOS
        outputs = places(model)._replace(centerness_logits=None)
        anchor = 5 * 16 + 7  # row 5, column 7 of the finest map: centre 30, 22
        box = outputs.anchors[anchor].tolist()
        assert box == [22.0, 14, 38, 30]
        goal = model.assign(outputs, [target([box])])
        # A cell further the IoU is 12 / 20 = .6, two further 8 / 24; one down and right 144 / 368.
        positive = [anchor - 16, anchor - 1, anchor, anchor + 1, anchor + 16]
        assert (goal.assigned[0] >= 0).nonzero()[:, 0].tolist() == positive
        assert not (goal.assigned == -2).any()

        # With thresholds .6 and .39 the diagonal ones come between.
        model.thresholds = (0.61, 0.39)
        goal = model.assign(outputs, [target([box])])
        assert (goal.assigned[0] >= 0).nonzero()[:, 0].tolist() == [anchor]
        between = sorted(anchor + d for d in (-17, -16, -15, -1, 1, 15, 16, 17))
        assert (goal.assigned[0] == -2).nonzero()[:, 0].tolist() == between

        assert torch.equal(goal.anchors, outputs.anchors)
        assert torch.equal(goal.strides, outputs.strides)
        assert goal.points[anchor].tolist() == [30, 22]

    def test_an_object_that_no_anchor_reaches_has_its_best_ones(self):
        model = small_detector(like_fcos=False)
        outputs = places(model)
        goal = model.assign(outputs, [target([[22.5, 22.5, 26, 26]])])
        mine = goal.assigned[0] == 0
        iou = box_iou(torch.tensor([[22.5, 22.5, 26, 26]]), outputs.anchors)[0]
        assert mine.any() and iou.max() < 0.4
        assert torch.equal(mine, iou == iou.max())

    @pytest.mark.parametrize("options", OPTIONS)
    def test_a_batch_equals_its_images(self, options):
        model = small_detector(3, **options)
        outputs = places(model, 64, 96)
        generator = torch.Generator().manual_seed(0)
        targets = []
        for count in (3, 0, 9, 1):
            corner = torch.rand(count, 2, generator=generator) * torch.tensor([80.0, 50])
            size = 3 + 60 * torch.rand(count, 2, generator=generator) ** 2
            targets.append(target(torch.cat((corner, corner + size), dim=1).tolist()))
        goal = model.assign(outputs, targets)
        assert goal.assigned.shape == (4, len(outputs.anchors))
        assert goal.assigned.dtype == torch.int64
        assert (goal.assigned[1] == -1).all()

        for mine, one in zip(goal.assigned, targets):
            boxes = one["boxes"]
            if options.get("assign_by") == "atss":
                real = torch.ones(1, len(boxes), dtype=torch.bool)
                wanted = atss_assign(outputs.anchors, outputs.level_sizes, boxes[None], real)[0]
            else:
                wanted = match_anchors(box_iou(boxes, outputs.anchors), 0.5, 0.4)
            for p, n in enumerate(wanted.tolist()):
                if n >= 0 and options:  # inside, or it has nothing to say of the centre
                    (x, y), (x1, y1, x2, y2) = goal.points[p].tolist(), boxes[n].tolist()
                    wanted[p] = n if x1 < x < x2 and y1 < y < y2 else -1
            assert torch.equal(mine, wanted)

    def test_with_centerness_a_place_outside_its_object_is_background(self):
        model = small_detector(like_fcos=True)
        outputs = places(model)
        boxes = [[23.0, 20, 25, 38]]  # no column of cells has its centre in 23 … 25
        assert (model.assign(outputs, [target(boxes)]).assigned == -1).all()
        without = outputs._replace(centerness_logits=None)
        assert (model.assign(without, [target(boxes)]).assigned >= 0).any()

    def test_no_gradient_flows(self):
        model = small_detector()
        goal = model.assign(model.predict(torch.rand(1, 3, 64, 64)), [target([[5, 5, 30, 30]])])
        assert not goal.assigned.requires_grad


# ---- the loss ------------------------------------------------------------------------------------


def outputs_of(scores, deltas, anchors, central=None):
    """Of one image, from lists."""
    class_logits = torch.tensor([[[logit(p) for p in row] for row in scores]])
    return RetinaNetOutputs(
        class_logits,
        torch.tensor([deltas], dtype=torch.float32),
        None if central is None else torch.tensor([[logit(p) for p in central]]),
        torch.tensor(anchors, dtype=torch.float32),
        torch.full((len(anchors),), 4.0),
        [len(anchors)],
        [(64, 64)],
    )


ANCHORS = [[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 9, 5], [30, 30, 40, 40]]


class TestLoss:
    def test_by_hand(self):
        """IoUs with the object 1, .8, .45 and 0: two that learn it, one ignored, one background."""
        outputs = outputs_of(
            [[0.2, 0.9], [0.1, 0.5], [0.9, 0.9], [0.3, 0.1]],
            [[0.1, 0, 0, -0.2], [0, 0.125, 0.3, math.log(1.25)], [9] * 4, [9] * 4],
            ANCHORS,
        )
        losses = small_detector().compute_loss(outputs, [target([[0, 0, 10, 10]], [1])])
        assert list(losses) == ["class", "box"]

        def no(p):
            return 0.75 * p**2 * -math.log(1 - p)

        def yes(p):
            return 0.25 * (1 - p) ** 2 * -math.log(p)

        entropy = yes(0.9) + yes(0.5) + no(0.2) + no(0.1) + no(0.3) + no(0.1)
        assert losses["class"].item() == pytest.approx(entropy / 2, rel=1e-5)
        # The second anchor's object lies .125 of its height lower, and is higher by a quarter.
        assert losses["box"].item() == pytest.approx((0.1 + 0.2 + 0.3) / 2, rel=1e-5)

    def test_cross_entropy_by_hand(self):
        model = small_detector(alpha=None, gamma=0.0)
        outputs = outputs_of(
            [[0.2, 0.9], [0.1, 0.5], [0.9, 0.9], [0.3, 0.1]], [[0] * 4] * 4, ANCHORS
        )
        loss = model.compute_loss(outputs, [target([[0, 0, 10, 10]], [1])])["class"]
        right = 0.8 * 0.9 * 0.9 * 0.5 * 0.7 * 0.9
        assert loss.item() == pytest.approx(-math.log(right) / 2, rel=1e-5)

    def test_with_centerness_by_hand(self):
        """The object covers both anchors' centres; one is in its middle, one off by a quarter."""
        model = small_detector(1, like_fcos=True, thresholds=(0.3, 0.2))
        outputs = outputs_of(
            [[0.5], [0.5], [0.5]],
            [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
            [[0, 0, 8, 8], [2, 0, 10, 8], [30, 30, 38, 38]],
            central=[0.9, 0.6, 0.3],
        )
        losses = model.compute_loss(outputs, [target([[0, 0, 8, 8]])])
        # Distances 4, 4, 4, 4 and 6, 4, 2, 4.
        wanted = [1.0, math.sqrt(2 / 6)]
        giou = giou_loss(torch.tensor([2.0, 0, 10, 8]), torch.tensor([0.0, 0, 8, 8])).item()
        assert losses["box"].item() == pytest.approx(wanted[1] * giou / sum(wanted), rel=1e-4)
        entropy = -math.log(0.9)
        entropy -= wanted[1] * math.log(0.6) + (1 - wanted[1]) * math.log(0.4)
        assert losses["centerness"].item() == pytest.approx(entropy / 2, rel=1e-5)
        focal = 0.25 * 0.25 * math.log(2) * 2 + 0.75 * 0.25 * math.log(2)
        assert losses["class"].item() == pytest.approx(focal / 2, rel=1e-5)

    @pytest.mark.parametrize("options", OPTIONS)
    def test_equals_the_loop_over_images_and_anchors(self, options):
        model = small_detector(3, **options).eval()
        torch.manual_seed(4)
        outputs = model.predict(torch.rand(3, 3, 64, 64))
        spread = outputs._replace(
            class_logits=3 * torch.randn_like(outputs.class_logits),
            deltas=torch.randn_like(outputs.deltas),
        )
        if options:
            spread = spread._replace(centerness_logits=torch.randn_like(outputs.centerness_logits))
        targets = [
            target([[5, 5, 25, 21], [8, 30, 40, 60], [8, 31, 41, 60]], [0, 2, 1]),
            target([]),
            target([[20, 20, 28, 26], [0, 0, 64, 64]], [1, 1]),
        ]
        losses = model.compute_loss(spread, targets)

        goal = model.assign(spread, targets)
        entropy = boxes = weights = central_loss = count = 0.0
        for b, one in enumerate(targets):
            for p, n in enumerate(goal.assigned[b].tolist()):
                if n == -2:
                    continue
                label = int(one["labels"][n]) if n >= 0 else -1
                entropy += focal_classification_loss(
                    spread.class_logits[b, p], torch.tensor(label)
                ).item()
                if n < 0:
                    continue
                count += 1
                anchor, box = spread.anchors[p], one["boxes"][n]
                if not options:
                    wanted = encode_deltas(box, anchor)
                    boxes += F.l1_loss(spread.deltas[b, p], wanted, reduction="sum").item()
                    continue
                (x, y), (x1, y1, x2, y2) = ((anchor[:2] + anchor[2:]) / 2).tolist(), box.tolist()
                sides = torch.tensor([x - x1, y - y1, x2 - x, y2 - y])
                weight = centerness(sides).item()
                pred = decode_deltas(spread.deltas[b, p], anchor)
                boxes += weight * giou_loss(pred, box).item()
                weights += weight
                central_loss += F.binary_cross_entropy_with_logits(
                    spread.centerness_logits[b, p], torch.tensor(weight)
                ).item()
        assert count > 5
        assert losses["class"].item() == pytest.approx(entropy / count, rel=1e-4)
        divisor = max(weights, 1) if options else count
        assert losses["box"].item() == pytest.approx(boxes / divisor, rel=1e-4)
        if options:
            assert losses["centerness"].item() == pytest.approx(central_loss / count, rel=1e-4)

    def test_under_torchvision_s_conventions_each_image_is_divided_by_its_own(self):
        model = small_detector(3, torchvision_conventions=True).eval()
        torch.manual_seed(1)
        outputs = model.predict(torch.rand(3, 3, 64, 64))
        targets = [target([[5, 5, 25, 21], [8, 30, 40, 60]]), target([]), target([[2, 2, 60, 60]])]
        losses = model.compute_loss(outputs, targets)
        model.torchvision_conventions = False
        ones = []
        for i in range(3):
            one = outputs._replace(
                class_logits=outputs.class_logits[i : i + 1], deltas=outputs.deltas[i : i + 1]
            )
            ones.append(model.compute_loss(one, targets[i : i + 1]))
        for name, loss in losses.items():
            assert loss.item() == pytest.approx(sum(o[name].item() for o in ones) / 3, rel=1e-5)
        assert losses["class"] != model.compute_loss(outputs, targets)["class"]

    @pytest.mark.parametrize("options", OPTIONS)
    def test_without_objects_only_the_classes_learn(self, options):
        model = small_detector(**options)
        losses = model([torch.rand(3, 64, 64)] * 2, [target([]), target([])])
        for name, loss in losses.items():
            assert (loss > 0) if name == "class" else (loss == 0), name
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name

    @pytest.mark.parametrize("options", OPTIONS)
    def test_doubling_the_batch_changes_nothing(self, options):
        model = small_detector(**options).eval()
        images, targets = torch.rand(1, 3, 64, 64), [target([[8, 8, 40, 40], [3, 3, 20, 17]])]
        one = model.compute_loss(model.predict(images), targets)
        two = model.compute_loss(model.predict(images.repeat(2, 1, 1, 1)), targets * 2)
        for name in one:
            assert two[name].item() == pytest.approx(one[name].item(), rel=1e-4)

    @pytest.mark.parametrize("options", OPTIONS)
    def test_two_processes_together_have_the_loss_of_one(self, options, monkeypatch):
        """The mean of their losses: each divides by half of what both count."""
        model = small_detector(**options).eval()
        images = torch.rand(2, 3, 64, 64)
        targets = [
            target([[8, 8, 40, 40], [3, 3, 20, 19], [30, 1, 60, 22]]),
            target([[5, 5, 21, 20]]),
        ]
        whole = model.compute_loss(model.predict(images), targets)
        counts = [[], []]

        def counting(count, device=None):
            counts[process].append(float(count))
            return max(float(count), 1.0)

        def half_of_all(count, device=None):
            assert device == torch.device("cpu")
            asked[process] += 1
            return sum(c[asked[process] - 1] for c in counts) / 2

        for stand_in in (counting, half_of_all):
            monkeypatch.setattr(retinanet, "normaliser", stand_in)
            monkeypatch.setattr("detlearn.losses.normaliser", stand_in)
            asked = [0, 0]
            parts = []
            for process in range(2):
                part = slice(process, process + 1)
                parts.append(model.compute_loss(model.predict(images[part]), targets[part]))
        for name in whole:
            mean = (parts[0][name] + parts[1][name]) / 2
            assert mean.item() == pytest.approx(whole[name].item(), rel=1e-4)

    @pytest.mark.parametrize("options", OPTIONS)
    @pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
    def test_boxes_of_another_precision_are_learnt_alike(self, options, dtype):
        model = small_detector(1, **options)
        outputs = model.predict(torch.rand(1, 3, 320, 320))
        plain = target([[8, 8, 308, 308], [40, 40, 60, 60]])
        other = {**plain, "boxes": plain["boxes"].to(dtype)}
        one, same = model.assign(outputs, [plain]), model.assign(outputs, [other])
        assert torch.equal(one.assigned, same.assigned)
        assert_close(model.compute_loss(outputs, [plain]), model.compute_loss(outputs, [other]))


# ---- detecting -----------------------------------------------------------------------------------

SHAPES = [(33, 517), (64, 64), (1, 1), (7, 100), (128, 31)]


class TestDetect:
    @pytest.mark.parametrize("options", OPTIONS[:2])
    @pytest.mark.parametrize("sizes", [{}, {"min_size": 40, "max_size": 70}])
    def test_odd_sizes_in_one_batch(self, options, sizes):
        model = small_detector(
            3, batcher=batching.ImageBatcher(**sizes), score_threshold=0.0, **options
        )
        images = [torch.rand(3, *shape) for shape in SHAPES]
        with torch.no_grad():
            results = model.eval()(images)
        for found, (height, width) in zip(results, SHAPES, strict=True):
            check_contract(found, height, width, 3)
            assert len(found["scores"]) > 0

    def test_by_hand(self):
        """Three anchors: one moved, its double of the same class, one of another class."""
        outputs = outputs_of(
            [[0.9, 0.04], [0.8, 0.3], [0.05, 0.7]],
            [[0.1, 0, 0, math.log(2)], [0, 0, 0, 0], [0, 0, 0, 0]],
            [[10, 10, 20, 20], [11, 5, 21, 24], [40, 40, 80, 90]],
        )
        found = small_detector().decode(outputs)[0]
        # The first is moved by a tenth of its width, and twice as high; the second overlaps it by
        # 190 / 200; 0.05 is no more than the threshold; the third is cut off at the image's edge.
        assert_close(found["scores"], torch.tensor([0.9, 0.7, 0.3]))
        assert found["labels"].tolist() == [0, 1, 1]
        assert_close(
            found["boxes"],
            torch.tensor([[11.0, 5, 21, 25], [40, 40, 64, 64], [11, 5, 21, 24]]),
        )

    def test_scores_with_centerness(self):
        outputs = outputs_of(
            [[0.9], [0.4], [0.06], [0.04]],
            [[0] * 4] * 4,
            [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [0, 20, 10, 30]],
            central=[0.1, 0.9, 0.02, 0.99],
        )
        found = small_detector(1, like_fcos=True).decode(outputs)[0]
        # The threshold holds for the class: .06 stays though its score is .035, .04 goes.
        wanted = [math.sqrt(p) for p in (0.36, 0.09, 0.0012)]
        assert_close(found["scores"], torch.tensor(wanted))
        assert found["boxes"][:, 0].tolist() == [20, 0, 40]
        assert small_detector(1, like_fcos=True).nms_threshold == 0.6  # as FCOS
        assert small_detector(1).nms_threshold == 0.5

    def test_so_many_of_each_level(self, monkeypatch):
        monkeypatch.setattr(retinanet, "MAX_CANDIDATES", 2)
        boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(3)]
        boxes += [[20 * i, 30, 20 * i + 10, 40] for i in range(3)]
        outputs = outputs_of([[0.9], [0.8], [0.7], [0.3], [0.5], [0.4]], [[0] * 4] * 6, boxes)
        found = small_detector(1).decode(outputs._replace(level_sizes=[3, 3]))[0]
        assert_close(found["scores"], torch.tensor([0.9, 0.8, 0.5, 0.4]))

    @pytest.mark.parametrize("options", OPTIONS[:2])
    def test_equals_the_loop(self, options):
        """Level by level, class by class, with the package's NMS for one class."""
        model = small_detector(3, score_threshold=0.3, max_detections=40, **options).eval()
        torch.manual_seed(3)
        outputs = model.predict(torch.rand(2, 3, 48, 64), [(48, 64), (40, 50)])
        outputs = outputs._replace(
            class_logits=torch.randn_like(outputs.class_logits) - 1,
            deltas=0.5 * torch.randn_like(outputs.deltas),
        )
        if options:
            outputs = outputs._replace(
                centerness_logits=torch.randn_like(outputs.centerness_logits)
            )
        for i, (found, size) in enumerate(zip(model.decode(outputs), outputs.sizes)):
            boxes = clip_boxes_to_image(decode_deltas(outputs.deltas[i], outputs.anchors), size)
            wanted = []
            for k in range(3):
                scores = outputs.class_logits[i, :, k].sigmoid()
                mine = (scores > 0.3) & (boxes[:, 2:] - boxes[:, :2] >= 0.01).all(dim=1)
                if options:
                    scores = (scores * outputs.centerness_logits[i].sigmoid()).sqrt()
                kept = nms(boxes[mine], scores[mine], model.nms_threshold)
                for score, box in zip(scores[mine][kept].tolist(), boxes[mine][kept].tolist()):
                    wanted.append((score, k, box))
            wanted = sorted(wanted, reverse=True)[:40]
            assert len(wanted) == 40
            assert_close(found["scores"], torch.tensor([w[0] for w in wanted]))
            assert found["labels"].tolist() == [w[1] for w in wanted]
            assert_close(found["boxes"], torch.tensor([w[2] for w in wanted]))

    def test_nothing_found(self):
        model = small_detector(score_threshold=0.999).eval()
        with torch.no_grad():
            (found,) = model([torch.rand(3, 40, 40)])
        check_contract(found, 40, 40, 2)
        assert len(found["scores"]) == 0

    def test_a_wild_prediction_stays_finite(self):
        outputs = outputs_of([[0.9]], [[0, 0, 500, 500]], [[10, 10, 20, 20]])
        found = small_detector(1).decode(outputs)[0]
        assert_close(found["boxes"], torch.tensor([[0.0, 0, 64, 64]]))


# ---- the whole -----------------------------------------------------------------------------------


class TestWhole:
    @pytest.mark.parametrize("options", OPTIONS)
    def test_learns_one_batch_by_heart(self, options):
        samples = two_colours()
        model = small_detector(2, **options)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        images, targets = (list(part) for part in zip(*samples))
        for _ in range(120):
            loss = sum(model(images, targets).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            results = model(images)
        for found, wanted in zip(results, targets):
            check_two_colours(found, wanted)

    @pytest.mark.parametrize("options", OPTIONS)
    def test_one_class(self, options):
        model = retinanet_small(1, **options)
        losses = model([torch.rand(3, 48, 80)] * 2, [target([[5, 5, 30, 40]]), target([])])
        assert all(loss.isfinite() for loss in losses.values())
        model.score_threshold = 0.0
        with torch.no_grad():
            (found,) = model.eval()([torch.rand(3, 48, 80)])
        check_contract(found, 48, 80, 1)

    def test_a_target_may_name_no_object_in_any_form(self):
        model = small_detector()
        empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
        losses = model([torch.rand(3, 64, 64)] * 2, [empty, target([[5, 5, 30, 30]])])
        assert all(loss.isfinite() for loss in losses.values())

    def test_state_dict_holds_everything(self):
        for options in OPTIONS:
            one, other = retinanet_small(3, **options), retinanet_small(3, **options)
            other.load_state_dict(one.state_dict())
            images = [torch.rand(3, 64, 64)]
            one.score_threshold = other.score_threshold = 0.0
            with torch.no_grad():
                found, same = one.eval()(images), other.eval()(images)
            assert_close(found, same, rtol=0, atol=0)

    def test_builders(self):
        model = models.create("retinanet", 4)
        assert isinstance(model, RetinaNet) and model.num_classes == 4
        assert model.backbone.strides == [4, 8, 16]
        assert model.gamma == 1 and model.alpha == 0.5 and model.assign_by == "iou"
        assert model.thresholds == (0.4, 0.3)
        plain = retinanet_small(4, alpha=None, gamma=0.0)
        assert plain.alpha is None and plain.gamma == 0
        assert plain.state_dict().keys() == model.state_dict().keys()

    def test_the_paper_s_anchors(self):
        generator = default_anchors([8, 16])
        assert generator.num_anchors_per_location() == [9, 9]
        for stride, anchors in zip((8, 16), generator.cell_anchors):
            areas = (anchors[:, 2:] - anchors[:, :2]).prod(dim=1).sort().values
            sizes = [4 * stride * 2 ** (i / 3) for i in (0, 0, 0, 1, 1, 1, 2, 2, 2)]
            assert_close(areas.sqrt(), torch.tensor(sizes))
        (first, *_), _ = generator.grid_anchors([(1, 1), (1, 1)], [(8, 8), (16, 16)])
        assert_close(first[:2] + first[2:], torch.tensor([8.0, 8.0]))  # in the middle of its cell
        theirs = default_anchors([8], torchvision_conventions=True)
        assert theirs.sizes == [(32, 40, 50)]

    def test_trains_by_fit(self):
        history = fit(
            models.create("retinanet", 10), ToyTown(8), steps=2, batch_size=4, progress=False
        )
        assert history.steps[-1] == 2

    def test_without_head_or_anchors_it_is_the_paper_s(self):
        backbone = PyramidBackbone(SmallBackbone((8, 8, 8, 8)), 8, extra_level=False)
        model = RetinaNet(5, backbone)
        assert model.head.num_anchors == 9 and len(model.head.class_tower) == 8
        assert model.thresholds == (0.5, 0.4)
        model([torch.rand(3, 64, 64)] * 2, [target([[5, 5, 30, 30]])] * 2)


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"assign_by": "max"}, "assign_by is 'max': expected one of iou, atss"),
            ({"box_loss": "l2"}, "box_loss is 'l2': expected one of l1, giou"),
            ({"thresholds": (0.4, 0.5)}, r"thresholds are \(0.4, 0.5\)"),
            ({"thresholds": (1.5, 0.5)}, r"thresholds are \(1.5, 0.5\)"),
            ({"assign_by": "atss"}, "there are 3 anchors a location"),
            (
                {"head": RetinaNetHead(8, 3, 2, centerness=True), "torchvision_conventions": True},
                "torchvision's RetinaNet has no centerness",
            ),
            ({"head": RetinaNetHead(8, 3, 4)}, "2 classes, its head 4"),
            ({"head": RetinaNetHead(8, 2, 2)}, r"\[3, 3, 3\] anchors a location, .*for 2"),
            (
                {"anchor_generator": AnchorGenerator(((8,), (16,)), [(0.5, 1.0, 2.0)] * 2)},
                "anchors are for 2 levels, the backbone has 3",
            ),
            (
                {"anchor_generator": AnchorGenerator(((8,), (8,), (8, 16)), [(1.0, 2.0, 3.0)] * 3)},
                r"\[3, 3, 6\] anchors a location",
            ),
        ],
    )
    def test_parts_that_do_not_fit(self, options, words):
        model = small_detector()
        parts = {"anchor_generator": model.anchor_generator, "head": model.head, **options}
        with pytest.raises(ValueError, match=words):
            RetinaNet(2, model.backbone, **parts)
        with pytest.raises(ValueError, match="num_classes is 0"):
            RetinaNet(0, model.backbone)

    @pytest.mark.parametrize(
        ("boxes", "labels", "words"),
        [
            ([[5, 5, 5, 20]], [0], "targets"),
            ([[5, 5, 20, 20]], [2], "label"),
            ([[5, 5, 20, 20]], [-1], "label"),
            ([[5, 5, 20, float("nan")]], [0], "targets"),
        ],
    )
    def test_targets(self, boxes, labels, words):
        with pytest.raises((ValueError, TypeError), match=words):
            small_detector()([torch.rand(3, 32, 32)] * 2, [target(boxes, labels), target([])])

    def test_images(self):
        model = small_detector()
        for images in ([], [torch.rand(32, 32)], [torch.rand(1, 32, 32)], "no image"):
            with pytest.raises((ValueError, TypeError)):
                model(images, [target([])] * len(images))
        with pytest.raises((ValueError, TypeError), match="targets"):
            model([torch.rand(3, 32, 32)])
