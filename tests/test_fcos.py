"""FCOS: who learns what, the three losses, and detections."""

import math

import pytest
import torch

from detlearn.models.fcos import centerness, fcos_candidates, fcos_targets
from detlearn.models.yolov8 import pyramid_points

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


class TestCandidates:
    BOX = torch.tensor([[0.0, 0, 20, 8]])

    def test_by_hand(self):
        """A box 20 wide about (10, 4): the square of radius 1.5 · 4 reaches from x = 4 to 16."""
        points = torch.tensor([[2.0, 2], [6, 2], [10, 2], [14, 6], [18, 6], [10, 10]])
        found = fcos_candidates(points, self.BOX, 4)
        assert found.tolist() == [[False], [True], [True], [True], [False], [False]]

    def test_the_whole_box(self):
        points = torch.tensor([[2.0, 2], [18, 6], [10, 10], [22, 2]])
        found = fcos_candidates(points, self.BOX, 4, radius=None)
        assert found.tolist() == [[True], [True], [False], [False]]

    @pytest.mark.parametrize("point", [(0, 4), (20, 4), (10, 0), (10, 8)])
    @pytest.mark.parametrize("radius", [None, 100])
    def test_a_border_is_outside(self, point, radius):
        found = fcos_candidates(torch.tensor([point]).float(), self.BOX, 4, radius)
        assert not found.any()

    @pytest.mark.parametrize(("offset", "expected"), [(5.99, True), (6, False), (6.01, False)])
    @pytest.mark.parametrize("axis", [0, 1])
    @pytest.mark.parametrize("sign", [-1, 1])
    def test_the_square_ends_at_radius_strides(self, offset, expected, axis, sign):
        point = torch.tensor([[50.0, 50]])
        point[0, axis] += sign * offset
        found = fcos_candidates(point, torch.tensor([[0.0, 0, 100, 100]]), 4)
        assert found.item() is expected

    def test_each_location_has_its_stride(self):
        points = torch.tensor([[10.0, 50], [10.0, 50]])
        boxes = torch.tensor([[0.0, 0, 100, 100]])
        found = fcos_candidates(points, boxes, torch.tensor([16.0, 32.0]))  # 24 and 48 from 50
        assert found.tolist() == [[False], [True]]

    def test_no_objects(self):
        assert fcos_candidates(torch.rand(5, 2), torch.zeros(0, 4), 4).shape == (5, 0)

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
