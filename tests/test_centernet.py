"""CenterNet: the radius, the heat map, peaks as detections, the losses, and the whole."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detlearn.boxes import paired_iou
from detlearn.models.centernet import (
    decode_detections,
    draw_gaussians,
    gaussian_radius,
    official_gaussian_radius,
)

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
