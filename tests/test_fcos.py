"""FCOS: who learns what, the three losses, and detections."""

import math

import pytest
import torch
from detectors import check_contract, check_two_colours, target, two_colours
from torch import nn

from detlearn import models, plotting
from detlearn.data import ToyTown
from detlearn.losses import focal_classification_loss, giou_loss
from detlearn.matching import atss_assign
from detlearn.models import images as batching
from detlearn.models.fcos import (
    FCOS,
    FCOSHead,
    FCOSOutputs,
    best_of_levels,
    centerness,
    distances_to_boxes,
    fcos_candidates,
    fcos_targets,
    learnt_distances,
)
from detlearn.models.small import fcos_small
from detlearn.models.yolov8 import pyramid_points
from detlearn.nets.fpn import PyramidBackbone
from detlearn.nets.small import SmallBackbone
from detlearn.training import fit

INF = math.inf


def naive_targets(points, strides, size_ranges, boxes, radius):
    """The same for one image, one location and one object at a time, in double precision."""
    assigned, distances = [], []
    for (x, y), stride, (low, high) in zip(points.tolist(), strides.tolist(), size_ranges.tolist()):
        best, best_area, best_sides = -1, INF, [0.0] * 4
        for n, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
            sides = [x - x1, y - y1, x2 - x, y2 - y]
            if min(sides) <= 0 or not low <= max(sides) <= high:
                continue
            if radius is not None:
                reach = radius * stride
                if abs(x - (x1 + x2) / 2) >= reach or abs(y - (y1 + y2) / 2) >= reach:
                    continue
            area = (x2 - x1) * (y2 - y1)
            if area < best_area:
                best, best_area, best_sides = n, area, [side / stride for side in sides]
        assigned.append(best)
        distances.append(best_sides)
    return torch.tensor(assigned), torch.tensor(distances, dtype=torch.float64)


def grid(height, width, strides=(4, 8, 16), ranges=((0, 32), (32, 64), (64, INF))):
    """Locations in double precision, and the range of each one's level."""
    maps = [torch.zeros(1, 1, -(-height // s), -(-width // s)) for s in strides]
    points, steps = pyramid_points(maps, strides)
    levels = torch.tensor([strides.index(int(step)) for step in steps])
    return points.double(), steps.double(), torch.tensor(ranges).double()[levels]


def random_boxes(seed, count, height=48, width=64):
    """Objects of all sizes, some wider than the image; some on whole pixels, some twice."""
    random = torch.Generator().manual_seed(seed)
    sides = 2 ** (torch.rand(count, 2, generator=random) * math.log2(2.5 * width))
    centres = torch.rand(count, 2, generator=random) * torch.tensor([width, height])
    boxes = torch.cat((centres - sides / 2, centres + sides / 2), dim=-1).double()
    boxes[::3] = (boxes[::3] / 2).round() * 2  # locations stand on even numbers
    boxes[1::5] = boxes[: len(boxes[1::5])]
    return boxes


def one_level(points, boxes, stride=4.0, size_range=(0.0, INF), **options):
    """Targets of locations of one level, from lists."""
    points = torch.tensor(points).view(-1, 2)
    assigned, distances = fcos_targets(
        points,
        torch.full((len(points),), stride),
        torch.tensor(size_range).expand(len(points), 2),
        torch.tensor(boxes).view(-1, 4),
        **options,
    )
    return assigned.tolist(), distances.tolist()


# ---- who learns what -----------------------------------------------------------------------------


def fours(points):
    """Strides of 4 for all locations."""
    return torch.full((len(points),), 4.0)


class TestCandidates:
    BOX = torch.tensor([[0.0, 0, 20, 8]])

    def test_by_hand(self):
        """A box 20 wide about (10, 4): the square of radius 1.5 · 4 reaches from x = 4 to 16."""
        points = torch.tensor([[2.0, 2], [6, 2], [10, 2], [14, 6], [18, 6], [10, 10]])
        found = fcos_candidates(points, self.BOX, fours(points))
        assert found.tolist() == [[False], [True], [True], [True], [False], [False]]

    def test_the_whole_box(self):
        points = torch.tensor([[2.0, 2], [18, 6], [10, 10], [22, 2]])
        found = fcos_candidates(points, self.BOX, fours(points), radius=None)
        assert found.tolist() == [[True], [True], [False], [False]]

    @pytest.mark.parametrize("point", [(0, 4), (20, 4), (10, 0), (10, 8)])
    @pytest.mark.parametrize("radius", [None, 100])
    def test_a_border_is_outside(self, point, radius):
        point = torch.tensor([point]).float()
        found = fcos_candidates(point, self.BOX, fours(point), radius)
        assert not found.any()

    @pytest.mark.parametrize(("offset", "expected"), [(5.99, True), (6, False), (6.01, False)])
    @pytest.mark.parametrize("axis", [0, 1])
    @pytest.mark.parametrize("sign", [-1, 1])
    def test_the_square_ends_at_radius_strides(self, offset, expected, axis, sign):
        point = torch.tensor([[50.0, 50]])
        point[0, axis] += sign * offset
        found = fcos_candidates(point, torch.tensor([[0.0, 0, 100, 100]]), fours(point))
        assert found.item() is expected

    def test_each_location_has_its_stride(self):
        points = torch.tensor([[10.0, 50], [10.0, 50]])
        boxes = torch.tensor([[0.0, 0, 100, 100]])
        found = fcos_candidates(points, boxes, torch.tensor([16.0, 32.0]))  # 24 and 48 from 50
        assert found.tolist() == [[False], [True]]

    def test_no_objects(self):
        points = torch.rand(5, 2)
        assert fcos_candidates(points, torch.zeros(0, 4), fours(points)).shape == (5, 0)

    def test_a_batch(self):
        points, strides, _ = grid(48, 64)
        boxes = torch.stack([random_boxes(0, 5), random_boxes(1, 5)])
        found = fcos_candidates(points, boxes, strides)
        assert found.shape == (2, len(points), 5)
        for i in range(2):
            assert found[i].equal(fcos_candidates(points, boxes[i], strides))


class TestTargets:
    def test_by_hand(self):
        """A box 8 wide and 16 high: two locations of stride 4 inside near its centre."""
        points = [[2.0, 2], [6, 6], [6, 10], [14, 6]]
        assigned, distances = one_level(points, [[4.0, 0, 12, 16]])
        assert assigned == [-1, 0, 0, -1]
        assert distances == [[0] * 4, [0.5, 1.5, 1.5, 2.5], [0.5, 2.5, 1.5, 1.5], [0] * 4]

    def test_the_smallest_object_wins(self):
        boxes = [[0.0, 0, 12, 12], [1, 1, 11, 11], [0, 1, 12, 11]]
        assert one_level([[6.0, 6]], boxes) == ([1], [[1.25] * 4])

    def test_the_smallest_by_area_not_by_its_longest_side(self):
        boxes = [[2.0, 2, 10, 10], [0, 4, 12, 8]]  # 64 and 48
        assert one_level([[6.0, 6]], boxes)[0] == [1]

    def test_of_equal_areas_the_first(self):
        wide, high = [2.0, 4, 10, 8], [4.0, 2, 8, 10]
        assert one_level([[6.0, 6]], [wide, high])[1] == [[1, 0.5, 1, 0.5]]
        assert one_level([[6.0, 6]], [high, wide])[1] == [[0.5, 1, 0.5, 1]]
        assert one_level([[6.0, 6]], [wide] * 3)[0] == [0]

    def test_the_smallest_among_candidates_only(self):
        """The smaller object's centre is too far away."""
        boxes = [[0.0, 0, 40, 40], [14, 14, 38, 28]]
        assert one_level([[18.0, 18]], boxes)[0] == [0]

    def test_an_object_between_the_locations_has_none(self):
        assert one_level([[2.0, 2], [6, 2]], [[2.5, 0, 5.5, 4]])[0] == [-1, -1]

    @pytest.mark.parametrize(
        ("side", "expected"), [(31.9, -1), (32, 0), (40, 0), (64, 0), (64.1, -1)]
    )
    @pytest.mark.parametrize("which", range(4))
    def test_the_range_is_of_the_largest_distance_its_ends_included(self, side, expected, which):
        box = torch.tensor([48.0, 48, 52, 52])  # 2 to each side
        box[which] = 50 + (side if which >= 2 else -side)
        assigned, _ = one_level([[50.0, 50]], box.tolist(), size_range=(32.0, 64.0), radius=None)
        assert assigned == [expected]

    def test_a_distance_on_a_bound_belongs_to_both_levels(self):
        points, strides, ranges = grid(128, 128)
        box = torch.tensor([[32.0, 32, 96, 96]], dtype=torch.float64)
        at_centre = (points - 64).abs().amax(dim=-1) < strides
        assigned, distances = fcos_targets(points, strides, ranges, box, radius=1)
        # Those of stride 4 next to the centre are 34 from a side, too far for their level; those
        # of stride 8 are 36 and those of stride 16 are 40 away.
        assert (assigned[at_centre & (strides == 8)] == 0).all()
        assert (assigned[strides != 8] == -1).all()
        assert (distances[assigned == 0].amax(dim=-1) == 36 / 8).all()

        box = torch.tensor([[34.0, 34, 94, 94]], dtype=torch.float64)  # 32 for stride 4
        assigned, _ = fcos_targets(points, strides, ranges, box, radius=1)
        assert [(assigned[strides == s] == 0).sum().item() for s in (4, 8, 16)] == [4, 4, 0]

    def test_a_huge_object_is_the_last_levels(self):
        points, strides, ranges = grid(64, 64)
        box = torch.tensor([[-1e6, -1e6, 1e6, 1e6]], dtype=torch.float64)
        assigned, distances = fcos_targets(points, strides, ranges, box, radius=None)
        assert assigned.equal((strides == 16).long() - 1)
        assert distances[strides == 16].min() > 1e6 / 17

    @pytest.mark.parametrize("batch", [(), (3,)])
    def test_no_objects(self, batch):
        points, strides, ranges = grid(16, 16)
        assigned, distances = fcos_targets(points, strides, ranges, torch.zeros(*batch, 0, 4))
        assert assigned.dtype == torch.int64
        assert assigned.equal(torch.full((*batch, len(points)), -1))
        assert distances.equal(torch.zeros(*batch, len(points), 4))

    @pytest.mark.parametrize("radius", [1.5, 0.6, 4, None])
    @pytest.mark.parametrize("seed", range(6))
    def test_equals_the_naive_twin(self, seed, radius):
        points, strides, ranges = grid(48, 64)
        for count in (1, 2, 15):
            boxes = random_boxes(100 * seed + count, count)
            expected = naive_targets(points, strides, ranges, boxes, radius)
            found = fcos_targets(points, strides, ranges, boxes, radius=radius)
            assert found[0].equal(expected[0])
            assert torch.allclose(found[1], expected[1], rtol=0, atol=1e-12)

    def test_a_padded_batch_equals_its_images(self):
        points, strides, ranges = grid(48, 64)
        images = [random_boxes(seed, count) for seed, count in enumerate((4, 0, 9))]
        padded = torch.zeros(3, 9, 4, dtype=torch.float64)
        for row, boxes in zip(padded, images):
            row[: len(boxes)] = boxes
        assigned, distances = fcos_targets(points, strides, ranges, padded)
        for i, boxes in enumerate(images):
            one = fcos_targets(points, strides, ranges, boxes)
            assert assigned[i].equal(one[0]) and distances[i].equal(one[1])
        assert (assigned[1] == -1).all() and (assigned[0] >= 0).any() and (assigned[2] >= 4).any()

    def test_float32_is_enough(self):
        points, strides, ranges = grid(48, 64)
        boxes = random_boxes(7, 15)
        wide = fcos_targets(points, strides, ranges, boxes)
        found = fcos_targets(points.float(), strides.float(), ranges.float(), boxes.float())
        assert found[0].equal(wide[0]) and found[1].dtype == torch.float32
        assert torch.allclose(found[1].double(), wide[1], rtol=0, atol=1e-4)


class TestCenterness:
    def test_by_hand(self):
        """√(1/3 · 2/4); in the middle 1; a quarter of the way from side to side √(1/3)."""
        distances = torch.tensor([[1.0, 4, 3, 2], [5, 2, 5, 2], [1, 2, 3, 2]])
        expected = torch.tensor([1 / 6, 1, 1 / 3]).sqrt()
        assert torch.allclose(centerness(distances), expected)

    def test_the_unit_does_not_matter(self):
        distances = torch.rand(50, 4, generator=torch.Generator().manual_seed(0)) + 0.01
        assert torch.allclose(centerness(distances), centerness(distances * 8))

    def test_equals_the_naive_twin(self):
        distances = torch.rand(3, 40, 4, generator=torch.Generator().manual_seed(1)).double()
        expected = [
            math.sqrt(min(left, right) / max(left, right) * (min(t, b) / max(t, b)))
            for left, t, right, b in distances.view(-1, 4).tolist()
        ]
        assert centerness(distances).shape == (3, 40)
        assert centerness(distances).view(-1).tolist() == pytest.approx(expected)

    def test_on_a_side_and_without_extent(self):
        distances = torch.tensor([[0.0, 1, 2, 1], [0, 0, 0, 0], [0, 0, 5, 5], [1, 0, 1, 0]])
        assert centerness(distances).tolist() == [0, 0, 0, 0]

    def test_no_locations(self):
        assert centerness(torch.zeros(0, 4)).shape == (0,)


# ---- the network ---------------------------------------------------------------------------------


def norm(channels):
    return nn.GroupNorm(2, channels)


def small_detector(num_classes=2, batcher=None, centerness=True, conventions=False, **options):
    torch.manual_seed(0)
    body = SmallBackbone((8, 8, 8, 8))
    backbone = PyramidBackbone(body, 16, extra_level=False, norm_layer=nn.BatchNorm2d, num_levels=3)
    head = FCOSHead(
        16, num_classes, 1, num_levels=3, norm_layer=norm, centerness=centerness,
        torchvision_conventions=conventions,
    )  # fmt: skip
    given = {name: options.pop(name) for name in ("score_threshold",) if name in options}
    model = FCOS(
        num_classes, backbone, head, batcher=batcher, torchvision_conventions=conventions, **options
    )
    for name, value in given.items():
        setattr(model, name, value)
    return model


class TestHead:
    def test_shapes_and_places(self):
        model = small_detector(3).eval()
        with torch.no_grad():
            outputs = model.predict(torch.rand(2, 3, 64, 96), [(64, 96), (50, 90)])
        sizes = [16 * 24, 8 * 12, 4 * 6]
        assert outputs.level_sizes == sizes
        assert outputs.class_logits.shape == (2, sum(sizes), 3)
        assert outputs.distances.shape == (2, sum(sizes), 4)
        assert outputs.centerness_logits.shape == (2, sum(sizes))
        points, strides, _ = grid(64, 96)
        assert outputs.points.equal(points.float()) and outputs.strides.equal(strides.float())
        assert outputs.sizes == [(64, 96), (50, 90)]
        assert model.predict(torch.rand(1, 3, 32, 64)).sizes == [(32, 64)]

    def test_starts_with_low_scores_and_short_distances(self):
        outputs = small_detector(5).predict(torch.randn(2, 3, 64, 64))
        assert 0.009 < outputs.class_logits.sigmoid().median() < 0.011
        assert outputs.distances.median().item() == pytest.approx(math.log(2), abs=0.2)

    def test_predictions_stand_at_their_location(self):
        """The maps are read row by row; each level has a scale of its own."""
        head = FCOSHead(1, 2, 0, num_levels=2)
        for layer in (head.cls_logits, head.bbox_reg, head.bbox_ctrness):
            nn.init.zeros_(layer.weight)
            layer.weight.data[:, :, 1, 1] = 1.0
            layer.bias.data = 100 * torch.arange(layer.out_channels).float()
        head.scales.data = torch.tensor([1.0, 10.0])
        maps = [torch.arange(6.0).view(1, 1, 2, 3), torch.tensor([0.1, -0.2]).view(1, 1, 1, 2)]
        with torch.no_grad():
            classes, distances, centers = head(maps)

        values = torch.tensor([0.0, 1, 2, 3, 4, 5, 0.1, -0.2])
        torch.testing.assert_close(centers[0], values)
        torch.testing.assert_close(classes[0], values[:, None] + torch.tensor([0.0, 100]))
        scales = torch.tensor([1.0] * 6 + [10.0] * 2)
        wanted = (values[:, None] + 100 * torch.arange(4)) * scales[:, None]
        torch.testing.assert_close(distances[0], nn.functional.softplus(wanted))

    def test_the_papers_head(self):
        """Four convolutions a tower with group normalisation, centerness beside the distances."""
        head = FCOSHead(64, 3)
        for tower in (head.class_tower, head.box_tower):
            kinds = [type(layer) for layer in tower]
            assert kinds == [nn.Conv2d, nn.GroupNorm, nn.ReLU] * 4
            assert all(layer.num_groups == 32 for layer in tower if type(layer) is nn.GroupNorm)
        assert head.scales.tolist() == [1] * 5
        assert not set(head.class_tower.parameters()) & set(head.box_tower.parameters())
        for layer in (head.cls_logits, head.bbox_reg, head.bbox_ctrness):
            assert 0.008 < layer.weight.std() < 0.012 and layer.out_channels in (1, 3, 4)
        assert head.cls_logits.bias.tolist() == pytest.approx([-math.log(99)] * 3)

        nn.init.constant_(head.box_tower[-2].weight, 0)
        nn.init.constant_(head.box_tower[-2].bias, 0)
        maps = [torch.rand(1, 64, 2**i, 2**i) for i in range(5, 0, -1)]
        _, distances, centers = head(maps)
        torch.testing.assert_close(distances, torch.full_like(distances, math.log(2)))
        assert centers.count_nonzero() == 0

    def test_another_number_of_levels_is_named(self):
        with pytest.raises(ValueError, match=r"2 maps came to a head of 3 levels: .*num_levels=2"):
            FCOSHead(32, 3, num_levels=3)([torch.rand(1, 32, 4, 4)] * 2)

    def test_another_number_of_classes_is_named(self):
        model = small_detector(2)
        with pytest.raises(ValueError, match="the detector has 3 classes, its head 2"):
            FCOS(3, model.backbone, model.head)

    def test_an_unknown_assignment_is_named(self):
        with pytest.raises(ValueError, match="assign_by is 'iou': expected one of fcos, atss"):
            small_detector(assign_by="iou")

    def test_the_default_head_fits_the_backbone(self):
        backbone = PyramidBackbone(SmallBackbone((8, 8)), 32, extra_level=False)
        model = FCOS(4, backbone)
        assert model.head.scales.shape == (2,) and model.head.cls_logits.out_channels == 4
        assert model.predict(torch.rand(1, 3, 16, 16)).class_logits.shape == (1, 16 + 4, 4)


class TestGradientsOfDistances:
    LOGITS = torch.tensor([-8.0, -4, -1, 0, 1, 8, 30])

    def gradient(self, conventions):
        """Of the loss of a box with respect to what leads to its distances, for each side."""
        head = FCOSHead(32, 1, torchvision_conventions=conventions)
        logits = self.LOGITS[:, None].repeat(1, 4).requires_grad_()
        points, strides = torch.tensor([[40.0, 40]]).expand(7, 2), torch.full((7,), 8.0)
        boxes = distances_to_boxes(head.to_positive(logits), points, strides)
        wanted = torch.tensor([[20.0, 20, 70, 70]]).expand(7, 4)
        giou_loss(boxes, wanted, reduction="sum").backward()
        return logits.grad

    def test_no_location_is_dead(self):
        gradient = self.gradient(conventions=False)
        assert gradient.isfinite().all() and (gradient != 0).all()
        # Whoever is too short grows, whoever is too long shrinks.
        assert (gradient[:4] < 0).all() and (gradient[5:] > 0).all()

    def test_with_relu_it_is(self):
        gradient = self.gradient(conventions=True)
        assert (gradient[:3] == 0).all() and (gradient[4:] != 0).all()

    def test_the_slope_lies_between_0_and_1(self):
        logits = torch.linspace(-80, 80, 1001, requires_grad=True)
        FCOSHead(32, 1).to_positive(logits).sum().backward()
        assert (logits.grad > 0).all() and (logits.grad <= 1).all()

    def test_every_learning_location_of_a_new_detector_gets_one(self):
        model = small_detector()
        outputs = model.predict(torch.rand(2, 3, 64, 64))
        outputs.distances.retain_grad()
        targets = [target([[4, 4, 40, 40], [30, 2, 60, 20]]), target([])]
        losses = model.compute_loss(outputs, targets)
        losses["box"].backward()
        learning = model.assign(outputs, targets).assigned >= 0
        gradient = outputs.distances.grad
        assert learning.sum() > 10
        assert (gradient[learning] != 0).all() and (gradient[~learning] == 0).all()
        assert all(p.grad.count_nonzero() for p in model.head.box_tower.parameters())
        assert model.head.scales.grad[0] != 0


# ---- who learns what: the detector ---------------------------------------------------------------


class TestAssign:
    TARGETS = (
        target([[4, 4, 40, 40], [30, 2, 60, 20], [0, 0, 64, 64]]),
        target([]),
        target([[10, 10, 14, 15]]),
    )

    def outputs(self, model, height=64, width=64):
        with torch.no_grad():
            return model.eval().predict(torch.rand(3, 3, height, width))

    @pytest.mark.parametrize(("reach", "radius"), [(8, 1.5), (2, 1.5), (4, None)])
    def test_its_own_rule(self, reach, radius):
        model = small_detector(reach=reach, radius=radius)
        goal = model.assign(self.outputs(model), self.TARGETS)
        ranges = ((0, 4 * reach), (4 * reach, 8 * reach), (8 * reach, INF))
        points, strides, size_ranges = grid(64, 64, ranges=ranges)
        for i, one in enumerate(self.TARGETS):
            boxes = one["boxes"].double()
            assigned, distances = naive_targets(points, strides, size_ranges, boxes, radius)
            assert goal.assigned[i].equal(assigned)
            torch.testing.assert_close(goal.distances[i].double(), distances)
        assert len(goal.assigned[0].unique()) == 4 and goal.anchors is None

    def test_the_papers_ranges(self):
        """64, 128, 256 and 512 pixels at strides 8 to 128."""
        backbone = PyramidBackbone(SmallBackbone(), 32, extra_level=False)
        backbone.strides = [8, 16, 32, 64, 128]
        model = FCOS(2, backbone)
        found = model.size_ranges(torch.tensor([8.0, 128, 16, 64, 32, 8]))
        assert found.tolist() == [
            [0, 64], [512, INF], [64, 128], [256, 512], [128, 256], [0, 64]
        ]  # fmt: skip

    @pytest.mark.parametrize("side", [8, 4])
    def test_atss(self, side):
        model = small_detector(assign_by="atss", atss_side=side)
        outputs = self.outputs(model)
        goal = model.assign(outputs, self.TARGETS)
        half = side / 2 * outputs.strides[:, None]
        squares = torch.cat((outputs.points - half, outputs.points + half), dim=1)
        assert (goal.assigned[1] == -1).all() and (goal.distances[1] == 0).all()
        for i in (0, 2):
            boxes = self.TARGETS[i]["boxes"]
            real = torch.ones(1, len(boxes), dtype=torch.bool)
            wanted = atss_assign(squares, outputs.level_sizes, boxes[None], real)[0]
            assert goal.assigned[i].equal(wanted)
            distances = learnt_distances(outputs.points, outputs.strides, boxes, wanted)
            assert goal.distances[i].equal(distances)
            assert (distances[wanted >= 0] > 0).all()
        assert (goal.assigned[0] >= 0).sum() > 5

    def test_atss_differs(self):
        model = small_detector()
        outputs = self.outputs(model)
        own = model.assign(outputs, self.TARGETS).assigned
        model.assign_by = "atss"
        assert not model.assign(outputs, self.TARGETS).assigned.equal(own)

    @pytest.mark.parametrize("rule", ["fcos", "atss"])
    def test_a_batch_without_objects(self, rule):
        model = small_detector(assign_by=rule)
        goal = model.assign(self.outputs(model), [target([])] * 3)
        assert (goal.assigned == -1).all() and goal.distances.count_nonzero() == 0

    def test_learnt_distances_by_hand(self):
        points, strides = torch.tensor([[6.0, 10], [8, 8]]), torch.tensor([4.0, 8])
        boxes = torch.tensor([[0.0, 0, 1, 1], [4, 4, 16, 12]])
        found = learnt_distances(points, strides, boxes, torch.tensor([1, -1]))
        assert found.tolist() == [[0.5, 1.5, 2.5, 0.5], [0, 0, 0, 0]]


# ---- the loss ------------------------------------------------------------------------------------


def by_hand_outputs(class_logits, distances, centers, **changes):
    """Four locations of stride 4 in a row, at x = 2, 6, 10 and 14."""
    points = torch.tensor([[2.0, 2], [6, 2], [10, 2], [14, 2]])
    outputs = FCOSOutputs(
        torch.tensor(class_logits)[None],
        torch.tensor([*distances])[None],
        None if centers is None else torch.tensor(centers)[None],
        points,
        torch.full((4,), 4.0),
        [4],
        [(4, 16)],
    )
    return outputs._replace(**changes)


class TestLoss:
    TARGETS = (target([[0, 0, 8, 4]], [1]),)
    # The first location knows its box, the second leaves out a quarter of it.
    DISTANCES = ([0.5, 0.5, 1.5, 0.5], [1, 0.5, 0.5, 0.5], [9.0] * 4, [9.0] * 4)

    def losses(self, distances=DISTANCES, centers=(0.0, 0, 0, 0), conventions=False):
        model = small_detector(conventions=conventions)
        centers = None if centers is None else list(centers)
        outputs = by_hand_outputs([[0.0, 0]] * 4, distances, centers)
        return {key: x.item() for key, x in model.compute_loss(outputs, self.TARGETS).items()}

    def test_by_hand(self):
        """Both have centerness √(1/3). One in eight scores is to be yes, twice; GIoU 1 and ¾."""
        found = self.losses()
        assert found["class"] == pytest.approx((2 * 0.25 + 6 * 0.75) * 0.25 * math.log(2) / 2)
        assert found["box"] == pytest.approx(0.125, abs=1e-6)
        assert found["centerness"] == pytest.approx(math.log(2))
        assert list(found) == ["class", "box", "centerness"]

    def test_centerness_has_its_target(self):
        right = math.log(math.sqrt(1 / 3) / (1 - math.sqrt(1 / 3)))
        assert self.losses(centers=(right, right, 9, -9))["centerness"] == pytest.approx(
            -(1 / 3**0.5) * math.log(1 / 3**0.5) - (1 - 1 / 3**0.5) * math.log(1 - 1 / 3**0.5)
        )
        assert self.losses(centers=(right, right + 1, 9, -9))["centerness"] > 0.7

    def test_boxes_count_by_their_centerness(self):
        """At (6, 2) of a box 12 wide it is 1, at (2, 2) and (10, 2) √(1/5)."""
        model = small_detector()
        distances = [[0.5, 0.5, 1.5, 0.5], [1.5, 0.5, 0.5, 0.5], [2.5, 0.5, 0.5, 0.5], [9.0] * 4]
        outputs = by_hand_outputs([[0.0, 0]] * 4, distances, [0.0] * 4)
        found = model.compute_loss(outputs, [target([[0, 0, 12, 4]], [0])])
        side = math.sqrt(1 / 5)
        # Two boxes 8 wide, IoU 2/3, and the last one right.
        wanted = (side / 3 + 1 / 3 + 0) / (1 + 2 * side)
        assert found["box"].item() == pytest.approx(wanted, abs=1e-6)

    def test_without_centerness_they_count_alike(self):
        found = self.losses(centers=None)
        assert list(found) == ["class", "box"]
        assert found["box"] == pytest.approx(0.125, abs=1e-6)
        model = small_detector()
        distances = [[0.5, 0.5, 1.5, 0.5], [1.5, 0.5, 0.5, 0.5], [2.5, 0.5, 0.5, 0.5], [9.0] * 4]
        outputs = by_hand_outputs([[0.0, 0]] * 4, distances, None)
        found = model.compute_loss(outputs, [target([[0, 0, 12, 4]], [0])])
        assert found["box"].item() == pytest.approx(2 / 9, abs=1e-6)

    def test_torchvisions_boxes_count_alike(self):
        model = small_detector(conventions=True)
        distances = [[0.5, 0.5, 1.5, 0.5], [1.5, 0.5, 0.5, 0.5], [2.5, 0.5, 0.5, 0.5], [9.0] * 4]
        outputs = by_hand_outputs([[0.0, 0]] * 4, distances, [0.0] * 4)
        found = model.compute_loss(outputs, [target([[0, 0, 12, 4]], [0])])
        assert found["box"].item() == pytest.approx(2 / 9, abs=1e-6)

    def test_its_focal_loss(self):
        """With α ½ and γ 1 each of eight scores of ½ costs ½ · ½ · ln 2."""
        outputs = by_hand_outputs([[0.0, 0]] * 4, self.DISTANCES, [0.0] * 4)
        found = small_detector(alpha=0.5, gamma=1.0).compute_loss(outputs, self.TARGETS)
        assert found["class"].item() == pytest.approx(8 * 0.25 * math.log(2) / 2)

    def test_equals_the_naive_twin(self):
        """Location by location, for a batch of three images of which one is empty."""
        model = small_detector(3)
        generator = torch.Generator().manual_seed(3)
        outputs = model.predict(torch.rand(3, 3, 64, 64, generator=generator))
        shape = outputs.class_logits.shape
        outputs = outputs._replace(
            class_logits=torch.randn(shape, generator=generator),
            distances=3 * torch.rand(*shape[:2], 4, generator=generator),
            centerness_logits=torch.randn(shape[:2], generator=generator),
        )
        targets = [
            target([[4, 4, 40, 40], [30, 2, 60, 20], [0, 0, 64, 64]], [2, 0, 1]),
            target([]),
            target([[10, 30, 34, 45]], [2]),
        ]
        found = model.compute_loss(outputs, targets)

        points, strides, ranges = grid(64, 64)
        labels, boxes, centers, weights = [], 0.0, 0.0, 0.0
        for i, one in enumerate(targets):
            goal = naive_targets(points, strides, ranges, one["boxes"].double(), 1.5)
            for p, (n, sides) in enumerate(zip(goal[0].tolist(), goal[1])):
                labels.append(int(one["labels"][n]) if n >= 0 else -1)
                if n < 0:
                    continue
                left, top, right, bottom = sides.tolist()
                weight = math.sqrt(
                    min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom)
                )
                x, y = points[p].tolist()
                d = (outputs.distances[i, p] * strides[p]).tolist()
                box = torch.tensor([[x - d[0], y - d[1], x + d[2], y + d[3]]])
                boxes += weight * giou_loss(box, one["boxes"][n : n + 1].double()).item()
                logit = outputs.centerness_logits[i, p].item()
                score = 1 / (1 + math.exp(-logit))
                centers -= weight * math.log(score) + (1 - weight) * math.log(1 - score)
                weights += weight

        count = sum(label >= 0 for label in labels)
        assert count > 20
        assert found["box"].item() == pytest.approx(boxes / weights, rel=1e-5)
        assert found["centerness"].item() == pytest.approx(centers / count, rel=1e-5)
        wanted = focal_classification_loss(
            outputs.class_logits, torch.tensor(labels).view(shape[:2])
        )
        torch.testing.assert_close(found["class"], wanted)

    def test_without_objects_only_classes_learn(self):
        model = small_detector()
        losses = model([torch.rand(3, 32, 32)] * 2, [target([])] * 2)
        assert losses["class"] > 0 and losses["box"] == 0 and losses["centerness"] == 0
        sum(losses.values()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        assert all(p.grad.count_nonzero() == 0 for p in model.head.box_tower.parameters())

    def test_the_order_of_objects_does_not_matter(self):
        model = small_detector()
        outputs = model.predict(torch.rand(1, 3, 64, 64))
        boxes = [[4, 4, 40, 40], [30, 2, 60, 20], [0, 0, 64, 64]]
        one = model.compute_loss(outputs, [target(boxes, [0, 1, 1])])
        other = model.compute_loss(outputs, [target(boxes[::-1], [1, 1, 0])])
        torch.testing.assert_close(one, other)


# ---- detecting -----------------------------------------------------------------------------------


SHAPES = [(33, 517), (64, 64), (1, 1), (7, 100), (128, 31)]


def logit(p):
    return math.log(p / (1 - p))


class TestDetect:
    @pytest.mark.parametrize("sizes", [{}, {"min_size": 40, "max_size": 70}])
    @pytest.mark.parametrize("centerness", [True, False])
    def test_odd_sizes_in_one_batch(self, sizes, centerness):
        batcher = batching.ImageBatcher(**sizes)
        model = small_detector(3, batcher, centerness, score_threshold=0.0)
        images = [torch.rand(3, *shape) for shape in SHAPES]
        with torch.no_grad():
            results = model.eval()(images)
        for found, (height, width) in zip(results, SHAPES, strict=True):
            check_contract(found, height, width, 3)
            assert len(found["scores"]) > 0

    def outputs(self, centers=(0.25, 0.01, 0.99, 0.5)):
        """Four locations, two classes; boxes of one stride to each side, the last in padding."""
        scores = torch.tensor([[0.81, 0.03], [0.06, 0.001], [0.04, 0.001], [0.9, 0.9]])
        logits = None if centers is None else torch.tensor([centers]).logit()
        points = torch.tensor([[4.0, 4], [20, 4], [36, 4], [60, 4]])
        distances, strides = torch.ones(1, 4, 4), torch.full((4,), 4.0)
        return FCOSOutputs(
            scores.logit()[None], distances, logits, points, strides, [3, 1], [(8, 48)]
        )

    def test_by_hand(self):
        """√(.81 · .25); √(.06 · .01), below the threshold, but the class alone is above it, as that
        of the third is not. The fourth lies in the padding."""
        (found,) = small_detector().decode(self.outputs())
        torch.testing.assert_close(found["scores"], torch.tensor([0.45, 0.0006**0.5]))
        assert found["labels"].tolist() == [0, 0]
        assert found["boxes"].tolist() == [[0, 0, 8, 8], [16, 0, 24, 8]]

    def test_without_centerness(self):
        (found,) = small_detector(centerness=False).decode(self.outputs(None))
        torch.testing.assert_close(found["scores"], torch.tensor([0.81, 0.06]))

    def test_torchvisions_threshold_is_for_the_product(self):
        """.2: √(.04 · .99) is just below, √(.81 · .25) above."""
        model = small_detector(conventions=True)
        (found,) = model.decode(self.outputs())
        torch.testing.assert_close(found["scores"], torch.tensor([0.45]))
        model.score_threshold = 0.19
        assert len(model.decode(self.outputs())[0]["scores"]) == 2

    def test_thresholds(self):
        model = small_detector()
        assert (model.score_threshold, model.nms_threshold, model.max_detections) == (
            0.05,
            0.6,
            100,
        )
        assert small_detector(conventions=True).score_threshold == 0.2

    def test_nms_is_of_a_class(self):
        """Of two boxes of IoU 2/3 one stays, unless they are of two classes."""
        points = torch.tensor([[8.0, 8], [8, 8], [40, 8]])
        distances = torch.tensor([[[1.0, 1, 1, 1], [1, 1, 0.5, 1], [1, 1, 1, 1]]])
        centers, strides = torch.full((1, 3), 9.0), torch.full((3,), 8.0)
        for other, count in ((0, 2), (1, 3)):
            logits = torch.full((1, 3, 2), -9.0)
            logits[0, 0, 0], logits[0, 1, other], logits[0, 2, 0] = 2.0, 1.0, 0.0
            outputs = FCOSOutputs(logits, distances, centers, points, strides, [3], [(16, 48)])
            (found,) = small_detector().decode(outputs)
            assert len(found["scores"]) == count

    def test_best_of_levels(self):
        scores = torch.tensor([[0.9, 0.1], [0.5, 0.7], [0.8, 0.2], [0.3, 0.4]])
        candidates = scores > 0.15
        chosen = best_of_levels(scores, candidates, [2, 2], 2)
        assert chosen.tolist() == [[True, False], [False, True], [True, False], [False, True]]
        assert candidates.sum() == 7  # as it was
        assert best_of_levels(scores, candidates, [2, 2], 4).equal(candidates)
        few = scores > 0.6
        assert best_of_levels(scores, few, [2, 2], 2).equal(few)
        assert not best_of_levels(scores, scores > 1, [2, 2], 1).any()

    def test_only_the_best_thousand_of_a_level_go_into_nms(self, monkeypatch):
        monkeypatch.setattr("detlearn.models.fcos.MAX_CANDIDATES", 2)
        logits = torch.tensor([[0.9], [0.8], [0.7], [0.6]]).logit()[None]
        points = 20.0 * torch.arange(1, 5)[:, None].expand(4, 2)
        outputs = FCOSOutputs(
            logits, torch.ones(1, 4, 4), None, points, torch.full((4,), 4.0), [3, 1], [(90, 90)]
        )
        (found,) = small_detector(1, centerness=False).decode(outputs)
        torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.8, 0.6]))

    def test_distances_to_boxes(self):
        points, strides = torch.tensor([[10.0, 20], [8, 8]]), torch.tensor([4.0, 16])
        distances = torch.tensor([[[1.0, 2, 3, 4], [0.5, 0.25, 0.125, 1]]])
        found = distances_to_boxes(distances, points, strides)
        assert found.tolist() == [[[6, 12, 22, 36], [0, 4, 10, 24]]]

    def test_decoding_what_is_to_be_learnt_gives_the_objects(self):
        """Targets turned into outputs: every object that some location learns is found."""
        model = small_detector(3)
        targets = [target([[4, 4, 40, 40], [30, 2, 60, 20], [8, 44, 20, 60]], [2, 0, 1])]
        outputs = model.predict(torch.rand(1, 3, 64, 64))
        goal = model.assign(outputs, targets)
        logits = torch.full_like(outputs.class_logits, -9)
        places = (goal.assigned[0] >= 0).nonzero()[:, 0]
        logits[0, places, targets[0]["labels"][goal.assigned[0, places]]] = 9
        centers = centerness(goal.distances).clamp(1e-4, 1 - 1e-4).logit()
        (found,) = model.decode(
            outputs._replace(
                class_logits=logits, distances=goal.distances, centerness_logits=centers
            )
        )
        order = found["labels"].argsort(stable=True)
        wanted = targets[0]["boxes"][targets[0]["labels"].argsort()]
        torch.testing.assert_close(found["boxes"][order], wanted, rtol=0, atol=1e-4)

    def test_nothing_found(self):
        model = small_detector(score_threshold=0.999).eval()
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
    @pytest.mark.parametrize("rule", ["fcos", "atss"])
    def test_hard_targets(self, shape, boxes, rule):
        model = small_detector(assign_by=rule)
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
        with pytest.raises(TypeError, match="give a list"):
            model(image[None], [target([])])
        with pytest.raises((TypeError, ValueError), match="targets"):
            model([image])

    def test_wild_predictions_stay_finite(self):
        model = small_detector()
        nn.init.constant_(model.head.bbox_reg.bias, 1e6)
        losses = model([torch.rand(3, 32, 32)] * 2, [target([[4, 4, 20, 20]])] * 2)
        sum(losses.values()).backward()
        assert all(loss.isfinite() for loss in losses.values())
        assert all(p.grad.isfinite().all() for p in model.parameters())

    def test_bfloat16_stays_close(self):
        model, images = small_detector(), [torch.rand(3, 64, 64)] * 2
        targets = [target([[8, 8, 40, 40]])] * 2
        exact = model(images, targets)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(images, targets)
            outputs = model.predict(torch.rand(2, 3, 64, 64))
        assert {tensor.dtype for tensor in outputs[:3]} == {torch.float32}
        for name in exact:
            assert rough[name].dtype == torch.float32
            assert rough[name].item() == pytest.approx(exact[name].item(), rel=0.2)

    @pytest.mark.parametrize("options", [{}, {"assign_by": "atss"}, {"centerness": False}])
    def test_overfits_one_batch(self, options):
        """Eight objects of two colours on grey are learnt by heart."""
        samples = two_colours()
        model = small_detector(**options)
        fit(
            model, samples, steps=120, batch_size=4, lr=1e-2, amp=False, augment=None,
            ema=0.9, progress=False,
        )  # fmt: skip
        with torch.no_grad():
            results = model([image for image, _ in samples])
        for found, (_, wanted) in zip(results, samples):
            check_two_colours(found, wanted)

    def test_one_class(self):
        model = small_detector(1)
        losses = model([torch.rand(3, 48, 80)], [target([[4, 4, 40, 40], [30, 2, 60, 20]])])
        assert all(loss.isfinite() for loss in losses.values())
        (found,) = model.eval()([torch.rand(3, 48, 80)])
        check_contract(found, 48, 80, 1)


# ---- builders and figures ------------------------------------------------------------------------


class TestBuilders:
    def test_create(self):
        model = models.create("fcos", 7, min_size=32, max_size=64)
        assert isinstance(model, FCOS) and model.num_classes == 7
        assert (model.batcher.min_size, model.batcher.max_size) == (32, 64)
        assert model.backbone.strides == [4, 8, 16] and model.assign_by == "fcos"

    def test_variants(self):
        model = fcos_small(3, assign_by="atss", centerness=False)
        assert model.assign_by == "atss" and model.head.bbox_ctrness is None
        losses = model([torch.rand(3, 64, 64)] * 2, [target([[8, 8, 40, 40]])] * 2)
        assert list(losses) == ["class", "box"]
        sum(losses.values()).backward()
        assert all(p.grad is not None for p in model.parameters())

    @pytest.mark.parametrize("rule", ["fcos", "atss"])
    def test_the_assignment_is_drawn(self, rule):
        torch.manual_seed(0)
        model = fcos_small(10, assign_by=rule)
        scene, objects = ToyTown(7, seed=0)[6]
        ax = plotting.show_assignment(model, scene, objects)
        panels = ax.child_axes or [ax]
        words = [panel.get_title().replace("\n", " ").split() for panel in panels]
        outputs = model.predict(scene[None])
        learning = (model.assign(outputs, [objects]).assigned >= 0).sum()
        assert sum(int(word[-4]) for word in words) == learning > 0
