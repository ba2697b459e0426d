"""CenterNet: the radius, the heat map, peaks as detections, the losses, and the whole."""

import itertools
import math

import pytest
import torch
from detectors import check_contract, check_two_colours, target, two_colours
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from detlearn import models, plotting
from detlearn.boxes import paired_iou
from detlearn.data import ToyTown
from detlearn.losses import heatmap_focal_loss
from detlearn.models import centernet
from detlearn.models import images as batching
from detlearn.models.base import pad_targets
from detlearn.models.centernet import (
    CenterNet,
    CenterNetOutputs,
    centre_locations,
    decode_detections,
    draw_gaussians,
    gaussian_radius,
    objects_of_locations,
    official_gaussian_radius,
)
from detlearn.nets.fpn import PyramidBackbone
from detlearn.nets.small import SmallBackbone
from detlearn.training import fit


def small_detector(num_classes=2, batcher=None, size_weight=2.0, radius=gaussian_radius, **set_to):
    torch.manual_seed(0)
    body = SmallBackbone((8, 8, 8, 8))
    backbone = PyramidBackbone(body, 8, extra_level=False, norm_layer=nn.BatchNorm2d, num_levels=1)
    model = CenterNet(
        backbone, num_classes, 16, size_weight=size_weight, radius=radius, batcher=batcher
    )
    for name, value in set_to.items():
        assert hasattr(model, name)
        setattr(model, name, value)
    return model


def outputs_of(height, width, num_images=1, num_classes=2, stride=4):
    """Maps of zeros; scores are a half everywhere."""
    return CenterNetOutputs(
        torch.zeros(num_images, num_classes, height, width),
        torch.zeros(num_images, 2, height, width),
        torch.zeros(num_images, 2, height, width),
        [(height * stride, width * stride)] * num_images,
    )


def random_targets(seed, counts, height, width, num_classes=3):
    """Boxes from one pixel to more than the image, some over its border, some centres shared."""
    random = torch.Generator().manual_seed(seed)
    targets = []
    for count in counts:
        sides = 2 ** (torch.rand(count, 2, generator=random) * math.log2(1.5 * max(height, width)))
        centres = torch.rand(count, 2, generator=random) * torch.tensor([width, height])
        if count > 2:
            centres[1] = centres[0]
        boxes = torch.cat((centres - sides / 2, centres + sides / 2), dim=-1)
        labels = torch.randint(num_classes, (count,), generator=random)
        targets.append({"boxes": boxes, "labels": labels})
    return targets


# ---- the radius ----------------------------------------------------------------------------------

# How the corners move: both inward, both outward, both alike.
CASES = torch.tensor([[1, 1, -1, -1], [-1, -1, 1, 1], [1, 1, 1, 1]], dtype=torch.float64)


def overlaps_after(sides, radii):
    """IoU (N, 3) of boxes with themselves after their corners moved by r, in the three cases."""
    boxes = torch.cat((torch.zeros_like(sides), sides), dim=-1)[:, None]  # (N, 1, 4)
    moved = boxes + radii[:, None, None] * CASES  # (N, 3, 4)
    return paired_iou(boxes.expand_as(moved), moved)


def random_sides(seed, count=2000):
    """Widths and heights from a hundredth to a thousand, each for itself: every aspect."""
    random = torch.Generator().manual_seed(seed)
    return 10 ** (5 * torch.rand(count, 2, generator=random, dtype=torch.float64) - 2)


class TestRadius:
    def test_by_hand(self):
        """(100 − 2r)² = 7000 where both corners move inward."""
        radius = gaussian_radius(torch.tensor([[100.0, 100.0]]))
        assert radius.tolist() == pytest.approx([(100 - math.sqrt(7000)) / 2])
        assert radius.shape == (1,)
        # At 8 whole pixels: 84² / 100², 100² / 116², 92² / (2 · 100² − 92²).
        found = overlaps_after(torch.tensor([[100.0, 100.0]]).double(), torch.tensor([8.0]))
        assert found[0].tolist() == pytest.approx([0.7056, 1 / 1.3456, 8464 / 11536])

    def test_the_official_one_by_hand(self):
        """√(280² + 4 · 2.8 · 3000) = 334.66: (−280 + 334.66) / 2, where 2a = 5.6 should divide."""
        sides = torch.tensor([[100.0, 100.0], [10.0, 10.0]])
        assert official_gaussian_radius(sides).tolist() == pytest.approx([27.332, 2.7332], rel=1e-4)
        assert gaussian_radius(sides).floor().tolist() == [8, 0]
        assert official_gaussian_radius(sides).floor().tolist() == [27, 2]
        found = overlaps_after(sides[:1].double(), torch.tensor([27.0]))
        assert found[0].tolist() == pytest.approx([0.2116, 1 / 2.3716, 5329 / 14671])

    @pytest.mark.parametrize("min_overlap", [0.05, 0.3, 0.5, 0.7, 0.9, 0.99])
    def test_corners_moved_by_it_leave_the_overlap_and_no_less(self, min_overlap):
        sides = random_sides(seed=0)
        radii = gaussian_radius(sides, min_overlap)
        found = overlaps_after(sides, radii)
        assert (found >= min_overlap - 1e-7).all()  # in all three cases
        torch.testing.assert_close(  # and in the worst there is nothing to spare
            found.amin(dim=1), torch.full_like(radii, min_overlap), rtol=0, atol=1e-6
        )
        # A little more is too much.
        assert (overlaps_after(sides, 1.01 * radii).amin(dim=1) < min_overlap).all()

    @given(st.floats(1e-2, 1e3), st.floats(1e-2, 1e3), st.floats(0.01, 0.999))
    def test_property(self, width, height, min_overlap):
        sides = torch.tensor([[width, height]], dtype=torch.float64)
        radius = gaussian_radius(sides, min_overlap)
        found = overlaps_after(sides, radius)
        assert found.min().item() == pytest.approx(min_overlap, abs=1e-6)

    @pytest.mark.parametrize("min_overlap", [0.1, 0.5, 0.7, 0.9])
    def test_both_inward_always_decides(self, min_overlap):
        """Said in the docstring; the other two cases have overlap to spare."""
        sides = random_sides(seed=1)
        found = overlaps_after(sides, gaussian_radius(sides, min_overlap))
        assert (found.argmin(dim=1) == 0).all()

    def test_whatever_the_corners_do_within_it_the_overlap_stays(self):
        """Not only in the three cases: each of the four sides moves by −r, 0 or r for itself."""
        sides = random_sides(seed=2, count=500)
        moves = torch.tensor(list(itertools.product((-1, 0, 1), repeat=4)), dtype=torch.float64)
        for min_overlap in (0.3, 0.7, 0.9):
            radii = gaussian_radius(sides, min_overlap)
            boxes = torch.cat((torch.zeros_like(sides), sides), dim=-1)[:, None]
            moved = boxes + radii[:, None, None] * moves  # (N, 81, 4)
            assert (paired_iou(boxes.expand_as(moved), moved) >= min_overlap - 1e-7).all()

    @pytest.mark.parametrize("min_overlap", [0.3, 0.7])
    def test_how_much_larger_the_official_one_is(self, min_overlap):
        sides = random_sides(seed=3)
        official = official_gaussian_radius(sides, min_overlap)
        # 4t times the radius of "both outward", where (w + 2r)(h + 2r) = w·h / t.
        outward = official / (4 * min_overlap)
        area = (sides + 2 * outward[:, None]).prod(dim=1)
        torch.testing.assert_close(area, sides.prod(dim=1) / min_overlap, rtol=1e-6, atol=1e-9)
        if min_overlap == 0.7:
            ratio = official / gaussian_radius(sides)
            square = torch.tensor([[5.0, 5.0]], dtype=torch.float64)
            at_square = official_gaussian_radius(square) / gaussian_radius(square)
            assert at_square.item() == pytest.approx(3.35, abs=5e-3)
            assert (ratio > 3.34).all() and (ratio < 4).all()

    def test_forms(self):
        for radius in (gaussian_radius, official_gaussian_radius):
            assert radius(torch.zeros(0, 2)).shape == (0,)
            assert radius(torch.zeros(3, 2)).tolist() == [0, 0, 0]
            assert radius(torch.tensor([5.0, 3.0])).shape == ()
            assert radius(torch.ones(2, 3, 2)).shape == (2, 3)
            assert radius(torch.tensor([[10, 10]])).dtype == torch.float32
            assert radius(torch.ones(1, 2).double()).dtype == torch.float64
            assert radius(torch.ones(1, 2).bfloat16()).dtype == torch.float32
            one = torch.tensor([[7.0, 31.0]])
            torch.testing.assert_close(radius(one), radius(one.flip(1)))
            torch.testing.assert_close(radius(3 * one), 3 * radius(one))
            torch.testing.assert_close(radius(one, 1.0), torch.zeros(1), atol=1e-5, rtol=0)

    def test_bad_input(self):
        for radius in (gaussian_radius, official_gaussian_radius):
            with pytest.raises(TypeError, match=r"sides must be a torch.Tensor .*got list"):
                radius([[1, 2]])
            for shape in ((3,), (2, 4), ()):
                with pytest.raises(ValueError, match=r"sides has shape .*expected \(\.\.\., 2\)"):
                    radius(torch.ones(shape))
            for bad in (-1.0, math.nan):
                with pytest.raises(ValueError, match="negative number or NaN"):
                    radius(torch.tensor([[1.0, bad]]))
            for bad in (0, -0.1, 1.1, math.nan):
                with pytest.raises(ValueError, match=f"min_overlap is {bad}"):
                    radius(torch.ones(1, 2), bad)


# ---- the heat map --------------------------------------------------------------------------------


def naive_gaussians(centres, radii, labels, num_classes, height, width):
    """One object and one location at a time."""
    heatmap = torch.zeros(num_classes, height, width, dtype=torch.float64)
    for (column, row), r, label in zip(centres.tolist(), radii.tolist(), labels.tolist()):
        reach = math.floor(r)
        sigma = (2 * reach + 1) / 6
        for i in range(row - reach, row + reach + 1):
            for j in range(column - reach, column + reach + 1):
                if 0 <= i < height and 0 <= j < width:
                    away = (i - row) ** 2 + (j - column) ** 2
                    value = math.exp(-away / (2 * sigma**2))
                    heatmap[label, i, j] = max(float(heatmap[label, i, j]), value)
    return heatmap


class TestGaussians:
    def test_by_hand(self):
        """Radius 1.9 counts as 1: σ = 1/2, so e^−2 beside the centre and e^−4 at the corners."""
        heatmap = draw_gaussians(
            torch.tensor([[1, 2]]), torch.tensor([1.9]), torch.tensor([1]), 2, 4, 5
        )
        e2, e4 = math.exp(-2), math.exp(-4)
        wanted = [[0, 0, 0, 0, 0], [e4, e2, e4, 0, 0], [e2, 1, e2, 0, 0], [e4, e2, e4, 0, 0]]
        torch.testing.assert_close(heatmap[1], torch.tensor(wanted))
        assert heatmap[0].count_nonzero() == 0
        assert heatmap[1, 2, 1] == 1  # exactly

    def test_a_radius_below_one_is_a_single_location(self):
        heatmap = draw_gaussians(
            torch.tensor([[0, 0], [4, 3]]), torch.tensor([0.0, 0.99]), torch.tensor([0, 0]), 1, 4, 5
        )
        assert heatmap.sum() == 2 and heatmap[0, 0, 0] == 1 and heatmap[0, 3, 4] == 1

    @pytest.mark.parametrize("seed", range(8))
    def test_equals_the_loop(self, seed):
        random = torch.Generator().manual_seed(seed)
        num_classes, height, width = [(1, 1, 1), (3, 7, 12), (4, 12, 5), (2, 32, 32)][seed % 4]
        count = [1, 2, 6, 40][seed // 2]
        rows = torch.randint(height, (count,), generator=random)
        columns = torch.randint(width, (count,), generator=random)
        centres = torch.stack((columns, rows), dim=1)
        radii = 12 * torch.rand(count, generator=random, dtype=torch.float64) ** 2
        labels = torch.randint(num_classes, (count,), generator=random)
        heatmap = draw_gaussians(centres, radii, labels, num_classes, height, width)
        wanted = naive_gaussians(centres, radii, labels, num_classes, height, width)
        torch.testing.assert_close(heatmap, wanted, rtol=1e-12, atol=1e-14)
        assert (heatmap[labels, rows, columns] == 1).all()
        assert (heatmap >= 0).all() and (heatmap <= 1).all()

    def test_bumps_of_a_class_do_not_add_up(self):
        """Elementwise maximum: the sum would be above 1 − 1e-9 beside two centres."""
        centres, labels = torch.tensor([[2, 2], [4, 2]]), torch.tensor([0, 0])
        heatmap = draw_gaussians(centres, torch.tensor([4.0, 4.0]), labels, 1, 5, 7)
        assert heatmap[0, 2, 3].item() == pytest.approx(math.exp(-1 / (2 * 1.5**2)))
        assert (heatmap == 1).sum() == 2

    def test_centres_outside_reach_in(self):
        heatmap = draw_gaussians(
            torch.tensor([[-1, 1]]), torch.tensor([2.0]), torch.tensor([0]), 1, 3, 4
        )
        wanted = naive_gaussians(
            torch.tensor([[-1, 1]]), torch.tensor([2.0]), torch.tensor([0]), 1, 3, 4
        )
        torch.testing.assert_close(heatmap, wanted.float())
        assert heatmap[0, 1, 1] > 0 and heatmap[0, 1, 2] == 0

    def test_without_objects(self):
        heatmap = draw_gaussians(
            torch.zeros(0, 2).long(), torch.zeros(0), torch.zeros(0).long(), 3, 4, 5
        )
        assert heatmap.shape == (3, 4, 5) and heatmap.count_nonzero() == 0

    def test_bad_input(self):
        one = torch.tensor([[1, 1]]), torch.tensor([1.0]), torch.tensor([0])
        for i, bad in enumerate((torch.tensor([1, 1]), torch.ones(2), torch.zeros(2).long())):
            arguments = list(one)
            arguments[i] = bad
            with pytest.raises(ValueError, match=r"do not fit together.*\(N, 2\), \(N,\)"):
                draw_gaussians(*arguments, 2, 4, 4)
        for label in (-1, 2):
            with pytest.raises(ValueError, match=rf"labels\[0\] = {label} is no label in 0 … 1"):
                draw_gaussians(one[0], one[1], torch.tensor([label]), 2, 4, 4)


# ---- peaks ---------------------------------------------------------------------------------------


def naive_decode(heatmap, wh, offset, k, stride):
    """One image: each location of each class looks at its neighbours. Rows of box, score, label."""
    num_classes, height, width = heatmap.shape
    found = []
    for label, i, j in itertools.product(range(num_classes), range(height), range(width)):
        around = heatmap[label, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
        score = float(heatmap[label, i, j])
        score = score if score == float(around.max()) else 0.0
        x = (j + float(offset[0, i, j])) * stride
        y = (i + float(offset[1, i, j])) * stride
        w, h = float(wh[0, i, j]) * stride, float(wh[1, i, j]) * stride
        found.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2, score, label])
    found.sort(key=lambda row: -row[4])  # sorted is stable
    return torch.tensor(found[:k], dtype=torch.float64)


class TestDecode:
    def test_by_hand(self):
        """A peak at row 1, column 2 of class 1: centre ((2 + .5)·4, (1 + .25)·4), 12 × 8 pixels."""
        heatmap = torch.tensor(
            [[[0.1, 0.2, 0.1], [0.0, 0.1, 0.0]], [[0.0, 0.3, 0.5], [0, 0.4, 0.9]]]
        )
        wh, offset = torch.zeros(2, 2, 3), torch.zeros(2, 2, 3)
        wh[:, 1, 2] = torch.tensor([3.0, 2.0])
        offset[:, 1, 2] = torch.tensor([0.5, 0.25])
        boxes, scores, labels = decode_detections(heatmap[None], wh[None], offset[None], k=2)
        assert boxes.shape == (1, 2, 4)
        assert boxes[0, 0].tolist() == [10 - 6, 5 - 4, 10 + 6, 5 + 4]
        assert scores[0].tolist() == pytest.approx([0.9, 0.2])
        assert labels[0].tolist() == [1, 0] and labels.dtype == torch.int64
        assert boxes[0, 1].tolist() == [4, 0, 4, 0]  # row 0, column 1, no size

    @pytest.mark.parametrize("seed", range(8))
    def test_equals_the_loop(self, seed):
        random = torch.Generator().manual_seed(seed)
        shape = [(3, 1, 1, 1), (2, 3, 5, 8), (1, 2, 9, 4), (2, 1, 1, 7)][seed % 4]
        num_images, _, height, width = shape
        heatmap = torch.rand(*shape, generator=random, dtype=torch.float64)
        if seed >= 4:  # many ties, also between neighbours
            heatmap = (4 * heatmap).floor() / 4
        wh = 5 * torch.rand(num_images, 2, height, width, generator=random, dtype=torch.float64)
        offset = torch.rand(num_images, 2, height, width, generator=random, dtype=torch.float64)
        for k in (1, 4, 10_000):
            boxes, scores, labels = decode_detections(heatmap, wh, offset, k, stride=8)
            assert scores.shape == (num_images, min(k, heatmap[0].numel()))
            for i in range(num_images):
                wanted = naive_decode(heatmap[i], wh[i], offset[i], k, stride=8)
                torch.testing.assert_close(boxes[i], wanted[:, :4])
                torch.testing.assert_close(scores[i], wanted[:, 4])
                assert torch.equal(labels[i], wanted[:, 5].long())

    def test_k_larger_than_the_map(self):
        maps = torch.rand(2, 3, 2, 2), torch.rand(2, 2, 2, 2), torch.rand(2, 2, 2, 2)
        boxes, scores, labels = decode_detections(*maps, k=100)
        assert boxes.shape == (2, 12, 4) and scores.shape == labels.shape == (2, 12)
        assert (scores > 0).sum() == 6  # in a map of 2 × 2 all are neighbours: one peak a class

    def test_neighbours_that_tie_are_both_peaks(self):
        heatmap = torch.zeros(1, 1, 3, 3)
        heatmap[0, 0, 1, :2] = 0.8
        zeros = torch.zeros(1, 2, 3, 3)
        boxes, scores, _ = decode_detections(heatmap, zeros, zeros, k=3)
        assert scores[0].tolist() == pytest.approx([0.8, 0.8, 0])
        assert boxes[0, :2].tolist() == [[0, 4, 0, 4], [4, 4, 4, 4]]

    def test_diagonal_neighbours_are_neighbours(self):
        heatmap = torch.zeros(1, 1, 3, 3)
        heatmap[0, 0, 0, 0], heatmap[0, 0, 1, 1], heatmap[0, 0, 2, 0] = 0.5, 0.9, 0.6
        zeros = torch.zeros(1, 2, 3, 3)
        assert (decode_detections(heatmap, zeros, zeros)[1] > 0).sum() == 1

    def test_classes_do_not_suppress_each_other(self):
        heatmap = torch.zeros(1, 2, 3, 3)
        heatmap[0, :, 1, 1] = torch.tensor([0.5, 0.9])
        zeros = torch.zeros(1, 2, 3, 3)
        _, scores, labels = decode_detections(heatmap, zeros, zeros, k=2)
        assert scores[0].tolist() == pytest.approx([0.9, 0.5]) and labels[0].tolist() == [1, 0]

    def test_a_drawn_target_is_found_again(self):
        random = torch.Generator().manual_seed(0)
        cells = torch.randperm(64, generator=random)[:6]
        centres = torch.stack((cells % 8, cells // 8), dim=1) * 4 + 2  # four apart
        labels = torch.randint(3, (6,), generator=random)
        heatmap = draw_gaussians(centres, torch.full((6,), 3.0), labels, 3, 32, 32)
        offset = torch.rand(1, 2, 32, 32, generator=random)
        wh = 8 * torch.rand(1, 2, 32, 32, generator=random)
        boxes, scores, found = decode_detections(heatmap[None], wh, offset, k=6, stride=4)
        assert (scores == 1).all()
        column, row = centres.unbind(1)
        middle = 4 * (centres + offset[0][:, row, column].T)
        half = 2 * wh[0][:, row, column].T
        wanted = torch.cat((middle - half, middle + half), dim=1)
        order = (labels * 1024 + row * 32 + column).argsort()
        torch.testing.assert_close(boxes[0], wanted[order])
        assert torch.equal(found[0], labels[order])

    def test_bad_input(self):
        good = torch.zeros(1, 3, 4, 5), torch.zeros(1, 2, 4, 5), torch.zeros(1, 2, 4, 5)
        with pytest.raises(ValueError, match=r"heatmap has shape \(3, 4, 5\)"):
            decode_detections(good[0][0], *good[1:])
        for name, place in (("wh", 1), ("offset", 2)):
            for bad in (torch.zeros(1, 4, 5, 2), torch.zeros(2, 2, 4, 5), torch.zeros(2, 4, 5)):
                maps = list(good)
                maps[place] = bad
                with pytest.raises(ValueError, match=f"{name} has shape .*expected.*1, 2, 4, 5"):
                    decode_detections(*maps)
        with pytest.raises(ValueError, match="k is 0"):
            decode_detections(*good, k=0)
        with pytest.raises(ValueError, match="stride 0"):
            decode_detections(*good, stride=0)


# ---- who learns what -----------------------------------------------------------------------------


class TestAssign:
    def test_by_hand(self):
        """A box of 60 × 52 pixels around (26, 10): column 6, row 2; 15 × 13 strides, r = 1.13."""
        model = small_detector(2)
        outputs = outputs_of(5, 9)
        goal = model.assign(outputs, [target([[-4, -16, 56, 36]], [1])])
        assert goal.heatmap.shape == (1, 2, 5, 9) and goal.assigned.shape == (1, 45)
        assert goal.assigned.dtype == torch.int64 and goal.anchors is None
        assert (goal.assigned >= 0).nonzero().tolist() == [[0, 2 * 9 + 6]]
        assert goal.heatmap[0, 0].count_nonzero() == 0
        assert goal.heatmap[0, 1, 2, 6] == 1
        assert goal.heatmap[0, 1, 2, 7].item() == pytest.approx(math.exp(-2))
        assert goal.heatmap[0, 1].count_nonzero() == 9
        assert goal.points[2 * 9 + 6].tolist() == [26, 10] and goal.points.shape == (45, 2)
        assert goal.strides.tolist() == [4] * 45

    @pytest.mark.parametrize("radius", [gaussian_radius, official_gaussian_radius])
    @pytest.mark.parametrize("seed", range(5))
    def test_equals_the_loop(self, seed, radius):
        counts = [[3], [5, 0, 12], [1, 1], [0, 0], [40, 2]][seed]
        height, width = [(9, 9), (4, 13), (1, 1), (6, 5), (12, 7)][seed]
        targets = random_targets(seed, counts, 4 * height, 4 * width)
        model = small_detector(3, radius=radius)
        goal = model.assign(outputs_of(height, width, len(counts), 3), targets)
        for i, one in enumerate(targets):
            centres, radii = [], []
            assigned = torch.full((height, width), -1)
            areas = torch.full((height, width), math.inf, dtype=torch.float64)
            for n, (x1, y1, x2, y2) in enumerate(one["boxes"].tolist()):
                column = min(max(math.floor((x1 + x2) / 2 / 4), 0), width - 1)
                row = min(max(math.floor((y1 + y2) / 2 / 4), 0), height - 1)
                centres.append([column, row])
                radii.append(float(radius(torch.tensor([(x2 - x1) / 4, (y2 - y1) / 4]))))
                area = (x2 - x1) * (y2 - y1)
                if area < areas[row, column]:
                    areas[row, column], assigned[row, column] = area, n
            centres = torch.tensor(centres).view(-1, 2)
            wanted = naive_gaussians(centres, torch.tensor(radii), one["labels"], 3, height, width)
            torch.testing.assert_close(goal.heatmap[i].double(), wanted, rtol=1e-5, atol=1e-6)
            assert torch.equal(goal.heatmap[i] == 1, wanted == 1)
            assert torch.equal(goal.assigned[i].view(height, width), assigned)

    @pytest.mark.parametrize("labels", [[0, 1], [1, 1]])
    def test_coinciding_centres(self, labels):
        """One location for both: it learns the smaller; of one class, they share a peak, too."""
        boxes = [[2, 2, 30, 30], [10, 10, 22, 22]]
        model, outputs = small_detector(2), outputs_of(8, 8)
        for order in ([0, 1], [1, 0]):
            goal = model.assign(
                outputs, [target([boxes[i] for i in order], [labels[i] for i in order])]
            )
            assert goal.assigned[0, 4 * 8 + 4] == order.index(1)
            assert (goal.assigned >= 0).sum() == 1
            assert (goal.heatmap == 1).sum() == len(set(labels))

    def test_of_equal_ones_the_first(self):
        boxes = torch.tensor([[[0.0, 0, 9, 9], [2, 2, 6, 6], [2, 2, 6, 6], [9, 9, 10, 10]]])
        for count in (4, 3):  # the last is padding, or none
            padded = pad_targets(
                [{"boxes": boxes[0, :count], "labels": torch.zeros(count).long()}], like=boxes
            )
            found = objects_of_locations(torch.tensor([[3, 3, 3, 5]])[:, :count], padded, 6)
            assert found.tolist() == [[-1, -1, -1, 1, -1, 3 if count == 4 else -1]]

    def test_padding_learns_nothing(self):
        """The zeros of an image with fewer objects lie in location 0, and have the least area."""
        targets = [target([[0, 0, 3, 3]]), target([[0, 0, 3, 3], [8, 8, 12, 12]]), target([])]
        goal = small_detector().assign(outputs_of(4, 4, 3), targets)
        found = [row.nonzero().flatten().tolist() for row in goal.assigned + 1]
        assert found == [[0], [0, 10], []]
        assert goal.heatmap.sum(dim=(1, 2, 3)).tolist() == [1, 2, 0]

    def test_centres_outside_belong_to_the_nearest_location(self):
        boxes = torch.tensor(
            [[-40.0, 4, 2, 30], [30, -80, 90, 5], [22, 22, 42, 42], [12, 14, 18, 18.0]]
        )
        found = centre_locations(boxes, 8, 8, 4)
        assert found.tolist() == [[0, 4], [7, 0], [7, 7], [3, 4]]  # on the line: right, lower
        assert found.dtype == torch.int64

    def test_smaller_than_a_location(self):
        goal = small_detector().assign(outputs_of(4, 4), [target([[4.2, 8.1, 5.3, 9.2]])])
        assert goal.assigned[0].nonzero().numel() and goal.assigned[0, 2 * 4 + 1] == 0
        assert goal.heatmap.sum() == 1

    def test_no_gradient(self):
        model = small_detector()
        outputs = model.predict(torch.rand(1, 3, 64, 64))
        goal = model.assign(outputs, [target([[3, 3, 20, 20]])])
        assert not goal.heatmap.requires_grad


# ---- losses --------------------------------------------------------------------------------------


def logit(p):
    return math.log(p / (1 - p))


class TestLoss:
    def test_by_hand(self):
        """An object of 6 × 2 pixels around (5, 1.5) on a map of 1 × 2, one class."""
        outputs = CenterNetOutputs(
            torch.tensor([logit(0.3), logit(0.8)]).view(1, 1, 1, 2),
            torch.tensor([[9.0, 2.0], [9.0, 0.75]]).view(1, 2, 1, 2).log(),
            torch.tensor([[9.0, 0.5], [9.0, 0.5]]).view(1, 2, 1, 2),
            [(4, 8)],
        )
        losses = small_detector(1).compute_loss(outputs, [target([[2, 0.5, 8, 2.5]])])
        assert losses.keys() == {"heatmap", "size", "offset"}
        # The right location, column 1: (1 − p)² (−log p) there, p² (−log(1 − p)) at the left one.
        heatmap = 0.2**2 * -math.log(0.8) + 0.3**2 * -math.log(0.7)
        assert losses["heatmap"].item() == pytest.approx(heatmap, rel=1e-5)
        # 1.5 and .5 strides are wanted, offsets .25 and .375
        logs = math.log(2 / 1.5) + math.log(0.75 / 0.5)
        assert losses["size"].item() == pytest.approx(2 * logs, rel=1e-5)
        assert losses["offset"].item() == pytest.approx(0.25 + 0.125, rel=1e-5)
        outputs = small_detector(1, size_weight=3.0).compute_loss(
            outputs, [target([[2, 0.5, 8, 2.5]])]
        )
        assert outputs["size"].item() == pytest.approx(3 * logs, rel=1e-5)

    def test_all_sums_are_divided_by_the_number_of_objects(self):
        """Of the batch, also where two share a location; an image without any adds none."""
        model = small_detector(2).eval()
        with torch.no_grad():
            outputs = model.predict(torch.rand(3, 3, 64, 64))
        boxes = [[8, 8, 40, 40], [14, 14, 34, 34], [3, 3, 20, 9]]
        targets = [target(boxes, [0, 1, 0]), target([]), target(boxes[:1])]
        goal = model.assign(outputs, targets)
        learnt = (goal.assigned >= 0).nonzero().tolist()
        assert len(learnt) == 3
        losses = model.compute_loss(outputs, targets)
        size = offset = 0.0
        for i, p in learnt:
            x1, y1, x2, y2 = (targets[i]["boxes"][goal.assigned[i, p]] / 4).tolist()
            row, column = divmod(p, 16)
            wh, away = outputs.log_wh[i, :, row, column], outputs.offset[i, :, row, column]
            size += abs(wh[0].item() - math.log(x2 - x1)) + abs(wh[1].item() - math.log(y2 - y1))
            offset += abs(away[0].item() + column - (x1 + x2) / 2)
            offset += abs(away[1].item() + row - (y1 + y2) / 2)
        assert losses["size"].item() == pytest.approx(2 * size / 4, rel=1e-4)
        assert losses["offset"].item() == pytest.approx(offset / 4, rel=1e-4)
        heatmap = heatmap_focal_loss(outputs.heatmap_logits, goal.heatmap)
        assert losses["heatmap"].item() == pytest.approx(heatmap.item() / 4, rel=1e-5)

    @pytest.mark.parametrize("shape", [(16, 16), (5, 23)])
    def test_perfect_outputs_cost_nothing(self, shape):
        """Objects of their image and their location, whatever the order; x before y."""
        height, width = shape
        targets = random_targets(1, [3, 0, 6], 4 * height, 4 * width, 2)
        model, outputs = small_detector(2), outputs_of(*shape, 3)
        for i, one in enumerate(targets):
            order = (-(one["boxes"][:, 2:] - one["boxes"][:, :2]).prod(dim=1)).argsort(stable=True)
            for n in order.tolist():  # the smallest last
                x1, y1, x2, y2 = (one["boxes"][n] / 4).tolist()
                column = min(max(math.floor((x1 + x2) / 2), 0), width - 1)
                row = min(max(math.floor((y1 + y2) / 2), 0), height - 1)
                outputs.log_wh[i, :, row, column] = torch.tensor([x2 - x1, y2 - y1]).log()
                middle = torch.tensor([(x1 + x2) / 2 - column, (y1 + y2) / 2 - row])
                outputs.offset[i, :, row, column] = middle
        losses = model.compute_loss(outputs, targets)
        assert losses["size"].item() == pytest.approx(0, abs=1e-5)
        assert losses["offset"].item() == pytest.approx(0, abs=1e-5)
        other = CenterNetOutputs(*(x.flip(0) for x in outputs[:3]), outputs.sizes)
        assert model.compute_loss(other, targets)["size"].item() > 0.1

    def test_two_processes_together_have_the_loss_of_one(self, monkeypatch):
        """The mean of their losses: each divides by half the number of both's objects."""
        model = small_detector().eval()
        images = torch.rand(2, 3, 64, 64)
        targets = [target([[8, 8, 40, 40], [3, 3, 20, 9], [30, 1, 60, 22]]), target([[5, 5, 9, 9]])]
        whole = model.compute_loss(model.predict(images), targets)
        asked = []

        def half_of_all(count, device):
            asked.append(count)
            assert device == torch.device("cpu")
            return 4 / 2

        monkeypatch.setattr(centernet, "normaliser", half_of_all)
        parts = [
            model.compute_loss(model.predict(images[i : i + 1]), targets[i : i + 1])
            for i in range(2)
        ]
        assert asked == [3, 1]
        for name in whole:
            mean = (parts[0][name] + parts[1][name]) / 2
            assert mean.item() == pytest.approx(whole[name].item(), rel=1e-4)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
    def test_boxes_of_another_precision_are_learnt_alike(self, dtype):
        """The area of 300 × 300 pixels does not fit into half precision."""
        model = small_detector(1)
        outputs = model.predict(torch.rand(1, 3, 320, 320))
        plain = target([[8, 8, 308, 308], [40, 40, 60, 60]])
        other = {**plain, "boxes": plain["boxes"].to(dtype)}
        one, same = model.assign(outputs, [plain]), model.assign(outputs, [other])
        assert torch.equal(one.assigned, same.assigned) and (one.assigned >= 0).sum() == 2
        torch.testing.assert_close(
            model.compute_loss(outputs, [plain]), model.compute_loss(outputs, [other])
        )

    def test_without_objects_only_the_heat_map_learns(self):
        model = small_detector()
        losses = model([torch.rand(3, 64, 64)] * 2, [target([]), target([])])
        assert losses["size"] == 0 and losses["offset"] == 0 and losses["heatmap"] > 0
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        for head in (model.log_wh_head, model.offset_head):
            assert all(p.grad.count_nonzero() == 0 for p in head.parameters())

    def test_gradients_reach_every_weight(self):
        model = small_detector()
        losses = model([torch.rand(3, 64, 64)] * 2, [target([[8, 8, 40, 40]])] * 2)
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad.count_nonzero() > 0, name

    def test_only_locations_of_centres_learn_sides_and_offsets(self):
        model, outputs = small_detector(), outputs_of(8, 8)
        wh, offset = outputs.log_wh.requires_grad_(), outputs.offset.requires_grad_()
        losses = model.compute_loss(outputs, [target([[5, 9, 20, 22], [1, 1, 3, 3]])])
        (losses["size"] + losses["offset"]).backward()
        for tensor in (wh, offset):
            places = tensor.grad.abs().sum(dim=(0, 1)).nonzero().tolist()
            assert places == [[0, 0], [3, 3]]


# ---- predicting and detecting --------------------------------------------------------------------


SHAPES = [(33, 517), (64, 64), (1, 1), (7, 100), (128, 31)]


class TestDetect:
    def test_it_begins_with_low_scores(self):
        model = models.create("centernet", 10)
        for head in (model.heatmap_head, model.log_wh_head):
            nn.init.zeros_(head[-1].weight)
        logits, log_wh, *_ = model.predict(torch.rand(2, 3, 64, 96))
        assert logits.shape == (2, 10, 16, 24)
        assert logits[0, 0, 0, 0].sigmoid().item() == pytest.approx(0.018)
        assert log_wh[0, 0, 0, 0].exp().item() == pytest.approx(4)
        model = small_detector()
        nn.init.zeros_(model.heatmap_head[-1].weight)
        logits = model.predict(torch.rand(2, 3, 64, 96)).heatmap_logits
        torch.testing.assert_close(
            logits.sigmoid(), torch.full_like(logits, 0.1), atol=1e-3, rtol=0
        )

    def test_the_finest_map_is_used(self):
        torch.manual_seed(0)
        model = CenterNet(SmallBackbone((8, 16)), 3, 24, batcher=None)
        assert model.stride == 4
        outputs = model.predict(torch.rand(1, 3, 40, 64))
        assert outputs.log_wh.shape == outputs.offset.shape == (1, 2, 10, 16)
        assert outputs.sizes == [(40, 64)]
        head = model.heatmap_head[0][0]
        assert (head.in_channels, head.out_channels) == (8, 24)

    @pytest.mark.parametrize("sizes", [{}, {"min_size": 40, "max_size": 70}])
    def test_odd_sizes_in_one_batch(self, sizes):
        model = small_detector(3, batcher=batching.ImageBatcher(**sizes), score_threshold=0.0)
        model.log_wh_head[-1].bias.data[:] = 2.0
        images = [torch.rand(3, *shape) for shape in SHAPES]
        with torch.no_grad():
            results = model.eval()(images)
        for found, (height, width) in zip(results, SHAPES, strict=True):
            check_contract(found, height, width, 3)
            assert len(found["scores"]) > 0

    def outputs(self):
        """Two classes on a map of 3 × 4 locations, image of 11 × 14 pixels."""
        logits = torch.full((1, 2, 3, 4), -9.0)
        logits[0, 0, 0, 0] = logit(0.6)
        logits[0, 0, 0, 1] = logit(0.9)  # beside it: the only peak of the two
        logits[0, 1, 0, 1] = logit(0.5)  # same location, other class: stays, with the same box
        logits[0, 0, 2, 0] = logit(0.4)
        logits[0, 1, 2, 3] = logit(0.3)
        wh = torch.ones(1, 2, 3, 4)
        wh[0, :, 0, 1] = torch.tensor([2.0, 1.0])
        wh[0, :, 2, 0] = torch.tensor([3.0, 2.0])  # out of the image on two sides
        wh[0, :, 2, 3] = torch.tensor([1e-4, 1.0])  # no width
        offset = torch.full((1, 2, 3, 4), 0.5)
        offset[0, :, 0, 1] = torch.tensor([0.25, 0.75])
        return CenterNetOutputs(logits, wh.log(), offset, [(11, 14)])

    def test_decode_by_hand(self):
        model = small_detector(2, score_threshold=0.1)
        (found,) = model.decode(self.outputs())
        torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.5, 0.4]))
        assert found["labels"].tolist() == [0, 1, 0]
        first = [5 - 4, 3 - 2, 5 + 4, 3 + 2]
        wanted = torch.tensor([first, first, [0.0, 10 - 4, 2 + 6, 11]])
        torch.testing.assert_close(found["boxes"], wanted)
        model.max_detections = 2
        assert len(model.decode(self.outputs())[0]["scores"]) == 2
        model.max_detections, model.score_threshold = 100, 0.45
        assert len(model.decode(self.outputs())[0]["scores"]) == 2

    def test_the_map_is_rectified(self):
        """A pyramid ends in a convolution: what is below 0 in its map is 0 for the heads."""

        class Itself(nn.Module):
            strides, out_channels = [1], [3]

            def forward(self, images):
                return {"1": images}

        model = CenterNet(Itself(), 2, 4).eval()
        images = torch.randn(2, 3, 8, 8)
        for one, other in zip(model.predict(images)[:3], model.predict(images.relu())[:3]):
            assert torch.equal(one, other)

    def test_stride_of_the_backbone(self):
        class Coarse(nn.Module):
            strides, out_channels = [8], [3]

            def forward(self, images):
                return {"8": images[..., ::8, ::8]}

        model = CenterNet(Coarse(), 2, 4, batcher=batching.ImageBatcher(size_divisible=8))
        outputs = self.outputs()._replace(sizes=[(24, 32)])
        model.score_threshold = 0.1
        (found,) = model.decode(outputs)
        assert found["boxes"][0].tolist() == pytest.approx([10 - 8, 6 - 4, 10 + 8, 6 + 4])
        goal = model.assign(outputs, [target([[10, 8, 20, 20]])])
        assert (goal.assigned >= 0).nonzero().tolist() == [[0, 1 * 4 + 1]]
        assert goal.points[5].tolist() == [12, 12]
        losses = model.compute_loss(outputs, [target([[10, 8, 20, 20]])])
        assert losses["size"].item() == pytest.approx(2 * (math.log(1.25) + math.log(1.5)))
        assert losses["offset"].item() == pytest.approx(abs(0.5 - 0.875) + abs(0.5 - 0.75))

    def test_decode_is_the_inverse_of_what_is_learnt(self):
        """Outputs that cost nothing detect the objects: all that have a location to themselves."""
        model, targets = small_detector(2, score_threshold=0.5), []
        random = torch.Generator().manual_seed(2)
        cells = [(3, 2), (9, 4), (6, 10), (13, 13)]
        for _ in range(3):
            centres = 4 * (torch.tensor(cells) + torch.rand(4, 2, generator=random))
            halves = 1 + 2 * torch.rand(4, 2, generator=random)
            boxes = torch.cat((centres - halves, centres + halves), dim=1)
            targets.append({"boxes": boxes, "labels": torch.tensor([0, 1, 1, 0])})
        outputs = outputs_of(16, 16, 3)
        goal = model.assign(outputs, targets)
        for i, one in enumerate(targets):
            for n, (column, row) in enumerate(cells):
                assert goal.assigned[i, row * 16 + column] == n
                x1, y1, x2, y2 = (one["boxes"][n] / 4).tolist()
                outputs.log_wh[i, :, row, column] = torch.tensor([x2 - x1, y2 - y1]).log()
                middle = torch.tensor([(x1 + x2) / 2 - column, (y1 + y2) / 2 - row])
                outputs.offset[i, :, row, column] = middle
        outputs = outputs._replace(heatmap_logits=20 * goal.heatmap - 10)
        for found, one in zip(model.decode(outputs), targets):
            order = found["boxes"][:, 0].argsort()
            wanted = one["boxes"][:, 0].argsort()
            torch.testing.assert_close(found["boxes"][order], one["boxes"][wanted])
            assert torch.equal(found["labels"][order], one["labels"][wanted])

    def test_no_nms_runs(self, monkeypatch):
        def refuse(*_):
            raise AssertionError("NMS was called")

        monkeypatch.setattr("detlearn.models.base.batched_nms", refuse)
        with torch.no_grad():
            small_detector(score_threshold=0.0).eval()([torch.rand(3, 32, 32)])

    def test_as_many_detections_as_it_is_allowed(self):
        outputs = outputs_of(32, 32, num_classes=1)
        outputs.heatmap_logits[:] = -9
        outputs.heatmap_logits[:, :, ::2, ::2] = torch.linspace(0, 5, 256).view(16, 16)
        for limit in (7, 150):
            (found,) = small_detector(1, max_detections=limit).decode(outputs)
            assert len(found["scores"]) == limit

    def test_wild_sides_stay_finite(self):
        outputs = self.outputs()
        outputs.log_wh[:] = 1e4
        outputs.log_wh[0, :, 0, 1] = -1e4
        (found,) = small_detector(2, score_threshold=0.1).decode(outputs)
        assert found["boxes"].isfinite().all()
        assert found["labels"].tolist() == [0, 1]  # no detection without width or height
        outputs.log_wh.requires_grad_()
        losses = small_detector(2).compute_loss(outputs, [target([[1, 1, 9, 9], [5, 2, 7, 3]])])
        sum(losses.values()).backward()
        assert (outputs.log_wh.grad.abs().sum(dim=(0, 1)) > 0).sum() == 2  # they find back

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
            ((32, 32), [[7.1, 7.1, 7.9, 7.9]]),
            ((32, 32), [[0, 0, 1, 1], [31, 31, 32, 32]]),
            ((32, 32), [[-20, 10, 3, 20], [30, 30, 90, 90]]),  # over the border
            ((32, 32), [[-900, -900, 900, 900]]),
            ((32, 32), [[4, 4, 20, 20]] * 2),
            ((64, 64), [[i % 25, i // 25, i % 25 + 9, i // 25 + 9] for i in range(500)]),
        ],
    )
    @pytest.mark.parametrize("num_classes", [1, 3])
    def test_hard_targets(self, shape, boxes, num_classes):
        model = small_detector(num_classes)
        images = [torch.rand(3, *shape), torch.rand(3, 40, 40)]
        losses = model(images, [target(boxes), target([])])
        assert all(torch.isfinite(loss) and loss >= 0 for loss in losses.values())
        assert losses["size"] > 0
        sum(losses.values()).backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())

    def test_bad_input_is_named(self):
        model, image = small_detector(2), torch.rand(3, 32, 32)
        one = target([[1, 1, 9, 9]])
        with pytest.raises(ValueError, match=r"targets\[0\]\['labels'\]\[0\] = 2 is no label"):
            model([image], [target([[1, 1, 9, 9]], [2])])
        for bad in ([9, 1, 1, 9], [1, 1, 1, 9], [1, 1, math.nan, 9], [40, 1, 50, 9]):
            with pytest.raises(ValueError, match=r"targets\[0\]\['boxes'\]\[0\]"):
                model([image], [target([bad])])
        with pytest.raises(ValueError, match="1 images came with 2 targets"):
            model([image], [one, one])
        with pytest.raises(TypeError, match="needs targets"):
            model([image])
        with pytest.raises(ValueError, match="lacks"):
            model([image], [{"boxes": one["boxes"]}])
        with pytest.raises(TypeError, match="expected int64"):
            model([image], [{**one, "labels": one["labels"].float()}])
        with pytest.raises(TypeError, match=r"image 0 is torch\.uint8"):
            model([(image * 255).byte()], [one])
        with pytest.raises(TypeError, match="images is one tensor"):
            model(image[None], [one])
        with pytest.raises(ValueError, match="image 0 holds pixels that are NaN"):
            model.eval()([image * math.nan])
        with pytest.raises(ValueError, match="images is empty"):
            model([])
        with pytest.raises(ValueError, match="num_classes is 0"):
            small_detector(0)

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

    def test_overfits_one_batch(self):
        """Eight objects of two colours on grey: learnt by heart, with one peak each."""
        samples = two_colours()
        model = small_detector()
        fit(
            model, samples, steps=150, batch_size=4, lr=1e-2, amp=False, augment=None,
            ema=0.9, progress=False,
        )  # fmt: skip
        with torch.no_grad():
            results = model([image for image, _ in samples])
        for found, (_, wanted) in zip(results, samples):
            check_two_colours(found, wanted)
            assert (found["scores"][2:] < 0.6 * found["scores"][1]).all()


# ---- builder and figures -------------------------------------------------------------------------


class TestBuilders:
    def test_create(self):
        model = models.create("centernet", 7, min_size=32, max_size=64)
        assert isinstance(model, CenterNet) and model.num_classes == 7
        assert (model.batcher.min_size, model.batcher.max_size) == (32, 64)
        assert model.stride == 4 and len(model.backbone.strides) == 1

    def test_who_learns_what_is_drawn(self):
        model = models.create("centernet", 10)
        scene, objects = ToyTown(7, seed=0)[6]
        ax = plotting.show_assignment(model, scene, objects)
        assert ax.get_title() == f"stride 4: {len(objects['boxes'])} of 1024 learn"
