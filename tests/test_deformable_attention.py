"""Deformable attention: where it looks, what it reads there, and the module around both."""

import math

import pytest
import torch
from torch.testing import assert_close

from detlearn.nets.deformable_attention import sample_at, sampling_locations

# ---- where a query looks


def test_offsets_from_a_point_are_counted_in_cells():
    # One query, one head, two levels of 4 × 8 and 2 × 4 cells (height × width), two points.
    references = torch.tensor([0.5, 0.25]).expand(1, 1, 2, 2)
    offsets = torch.tensor([[[1.0, 0], [0, 1]], [[1, 0], [-2, 1]]]).view(1, 1, 1, 2, 2, 2)
    sizes = torch.tensor([[4, 8], [2, 4]])

    expected = torch.tensor(
        [[[0.5 + 1 / 8, 0.25], [0.5, 0.25 + 1 / 4]], [[0.5 + 1 / 4, 0.25], [0, 0.25 + 1 / 2]]]
    )
    assert_close(sampling_locations(references, offsets, sizes)[0, 0, 0], expected)


def test_offsets_from_a_box_are_counted_in_its_halves():
    # The box is .2 wide and .4 high. With four points an offset of 4 reaches its side.
    references = torch.tensor([0.5, 0.5, 0.2, 0.4]).view(1, 1, 1, 4)
    offsets = torch.tensor([[4.0, 0], [0, -4], [2, 1], [8, 8]]).view(1, 1, 1, 1, 4, 2)

    expected = torch.tensor([[0.6, 0.5], [0.5, 0.3], [0.55, 0.55], [0.7, 0.9]])
    for sizes in (torch.tensor([[4, 8]]), torch.tensor([[16, 16]])):  # of no account
        assert_close(sampling_locations(references, offsets, sizes)[0, 0, 0, 0], expected)


@pytest.mark.parametrize("ends_in", [2, 4])
def test_locations_equal_a_loop(ends_in):
    references = torch.rand(2, 3, 2, ends_in)
    offsets = torch.randn(2, 3, 5, 2, 4, 2) * 3  # 5 heads, 2 levels, 4 points
    sizes = torch.tensor([[3, 7], [2, 5]])
    found = sampling_locations(references, offsets, sizes)

    for b, q, head, level, point in torch.cartesian_prod(
        *(torch.arange(n) for n in offsets.shape[:-1])
    ):
        dx, dy = offsets[b, q, head, level, point]
        reference = references[b, q, level]
        if ends_in == 2:
            height, width = sizes[level]
            expected = reference + torch.stack((dx / width, dy / height))
        else:
            expected = reference[:2] + torch.stack((dx, dy)) / 4 * reference[2:] / 2
        assert_close(found[b, q, head, level, point], expected)


def test_references_are_points_or_boxes():
    with pytest.raises(ValueError, match=r"references end in 3: expected \(B, Q, L, 2\) points"):
        sampling_locations(torch.zeros(1, 1, 1, 3), torch.zeros(1, 1, 1, 1, 1, 2), torch.ones(1, 2))


# ---- what it reads there


def read_one(values: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """Read a map (C, H, W) at one place, cell by cell: the naive twin of `sample_at`."""
    _, height, width = values.shape

    # In cells, counted from the middle of the first.
    column, row = x * width - 0.5, y * height - 0.5
    left, top = math.floor(column), math.floor(row)

    total = torch.zeros_like(values[:, 0, 0])
    for i in (top, top + 1):
        for j in (left, left + 1):
            if 0 <= i < height and 0 <= j < width:
                weight = (1 - abs(row - i)) * (1 - abs(column - j))
                total = total + weight * values[:, i, j]
    return total


def test_reading_by_hand():
    # One map of two rows and four columns.
    maps = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]])[None, None]
    locations = torch.tensor(
        [
            [1 / 8, 1 / 4],  # the middle of the first cell
            [1 / 4, 1 / 4],  # on the border of the first two
            [1 / 4, 1 / 2],  # where four meet
            [0.0, 1 / 4],  # on the map's left border: half a cell from its middle, half is outside
            [0.0, 0.0],  # in its corner three quarters are outside
            [1.0, 1.0],
            [-1 / 8, 1 / 4],  # a cell away
            [9.0, -9],
        ]
    )[None]
    expected = torch.tensor([1.0, 1.5, (1 + 2 + 5 + 6) / 4, 0.5, 0.25, 2.0, 0.0, 0.0])
    assert_close(sample_at(maps, locations)[0, :, 0], expected)


@pytest.mark.parametrize("size", [(4, 6), (1, 1), (1, 5), (7, 2)])
def test_reading_equals_a_loop(size):
    maps = torch.randn(2, 3, *size, dtype=torch.float64)
    locations = torch.rand(2, 5, 4, 2, dtype=torch.float64) * 2 - 0.5
    found = sample_at(maps, locations)

    assert found.shape == (2, 5, 4, 3)
    for b in range(2):
        for i in range(5):
            for j in range(4):
                x, y = locations[b, i, j].tolist()
                assert_close(found[b, i, j], read_one(maps[b], x, y))


def test_every_cell_is_read_at_its_middle():
    maps = torch.randn(1, 2, 3, 5)
    rows, columns = torch.meshgrid(torch.arange(3), torch.arange(5), indexing="ij")
    middles = torch.stack(((columns + 0.5) / 5, (rows + 0.5) / 3), dim=-1)[None]  # (1, 3, 5, 2)
    assert_close(sample_at(maps, middles), maps.permute(0, 2, 3, 1))


def test_reading_nowhere():
    assert sample_at(torch.randn(2, 3, 4, 4), torch.zeros(2, 0, 7, 2)).shape == (2, 0, 7, 3)


def test_gradients_of_reading():
    maps = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    # Away from the middles of cells, where the slope jumps.
    cells = torch.randint(-1, 4, (2, 5, 2)) + torch.rand(2, 5, 2, dtype=torch.float64) * 0.8 + 0.1
    locations = ((cells + 0.5) / torch.tensor([4, 3])).requires_grad_()
    assert torch.autograd.gradcheck(sample_at, (maps, locations))
