"""Deformable attention: where it looks, what it reads there, and the module around both."""

import math

import pytest
import torch
from torch.testing import assert_close

from detlearn.nets.deformable_attention import (
    DeformableAttention,
    sample_at,
    sampling_locations,
)

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


# ---- the module

SIZES = [(4, 6), (2, 3)]


def attention_and_input(ends_in: int = 2, dtype: torch.dtype = torch.float64):
    """A module with random weights and what it is called with: 2 images, 5 queries, 2 levels."""
    attention = DeformableAttention(8, num_heads=4, num_levels=2, num_points=3).to(dtype)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)

    queries = torch.randn(2, 5, 8, dtype=dtype)
    references = torch.rand(2, 5, 2, ends_in, dtype=dtype)
    memory = torch.randn(2, 30, 8, dtype=dtype)
    return attention, queries, references, memory


def attend_by_loop(attention, queries, references, memory, sizes, padding=None):
    """The naive twin: point by point, as equation 3 of the paper reads."""
    values = attention.value_proj(memory)
    output = torch.zeros_like(queries)
    heads, levels, points = attention.num_heads, attention.num_levels, attention.num_points
    channels = queries.shape[-1] // heads

    for b in range(len(queries)):
        maps, start = [], 0
        for height, width in sizes:
            tokens = values[b, start : start + height * width].clone()
            if padding is not None:
                tokens[padding[b, start : start + height * width]] = 0
            maps.append(tokens.T.reshape(-1, height, width))
            start += height * width

        for q, query in enumerate(queries[b]):
            offsets = attention.sampling_offsets(query).view(heads, levels, points, 2)
            weights = attention.attention_weights(query).view(heads, levels * points).softmax(-1)
            for head in range(heads):
                own = slice(head * channels, (head + 1) * channels)
                for level, (height, width) in enumerate(sizes):
                    for point in range(points):
                        dx, dy = offsets[head, level, point]
                        x, y, *size = references[b, q, level]
                        if size:
                            x, y = x + dx / points * size[0] / 2, y + dy / points * size[1] / 2
                        else:
                            x, y = x + dx / width, y + dy / height
                        value = read_one(maps[level][own], x.item(), y.item())
                        output[b, q, own] += weights[head, level * points + point] * value
    return attention.output_proj(output)


@pytest.mark.parametrize("ends_in", [2, 4])
@pytest.mark.parametrize("padded", [False, True])
def test_attention_equals_a_loop(ends_in, padded):
    attention, queries, references, memory = attention_and_input(ends_in)
    padding = torch.rand(2, 30) < 0.3 if padded else None

    with torch.no_grad():
        found = attention(queries, references, memory, SIZES, padding)
        expected = attend_by_loop(attention, queries, references, memory, SIZES, padding)
    assert_close(found, expected)


@pytest.mark.parametrize("ends_in", [2, 4])
def test_attention_has_the_right_gradients(ends_in):
    attention, queries, references, memory = attention_and_input(ends_in)
    padding = torch.rand(2, 30) < 0.3

    def attend(queries, references, memory):
        return attention(queries, references, memory, SIZES, padding)

    inputs = [x[:, :2].requires_grad_() for x in (queries, references)] + [memory.requires_grad_()]
    assert torch.autograd.gradcheck(attend, inputs)


def test_weights_of_the_module_have_gradients():
    attention, queries, references, memory = attention_and_input()
    attention(queries, references, memory, SIZES).square().sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_the_start_is_a_star_of_points():
    attention = DeformableAttention(16, num_heads=8, num_levels=2, num_points=3)
    queries = torch.randn(1, 4, 16)
    references = torch.full((1, 4, 2, 2), 0.5)
    locations, weights = attention.places(queries, references, [(10, 20), (5, 10)])

    # In cells from the reference, whatever the query: head by head, point by point.
    cells = (locations - 0.5) * torch.tensor([[20, 10], [10, 5]])[:, None]
    directions = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for head, direction in enumerate(directions):
        for point in range(3):
            expected = torch.tensor(direction) * (point + 1.0)
            assert_close(cells[0, :, head, :, point], expected.expand(4, 2, 2), atol=1e-5, rtol=0)

    assert_close(weights, torch.full((1, 4, 8, 2, 3), 1 / 6))


def test_the_start_of_the_projections():
    torch.manual_seed(0)
    attention = DeformableAttention(64)
    for projection in (attention.value_proj, attention.output_proj):
        assert not projection.bias.any()
        # Xavier: uniform within ± √(6 / (in + out)).
        bound = math.sqrt(6 / 128)
        assert 0.95 * bound < projection.weight.max() <= bound
        assert projection.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_parameters_have_the_official_names_and_shapes():
    shapes = {name: tuple(p.shape) for name, p in DeformableAttention(256).named_parameters()}
    assert shapes == {
        "sampling_offsets.weight": (256, 256),  # 8 heads × 4 levels × 4 points × 2
        "sampling_offsets.bias": (256,),
        "attention_weights.weight": (128, 256),
        "attention_weights.bias": (128,),
        "value_proj.weight": (256, 256),
        "value_proj.bias": (256,),
        "output_proj.weight": (256, 256),
        "output_proj.bias": (256,),
    }


def test_weights_sum_to_one_over_levels_and_points():
    attention, queries, references, _ = attention_and_input()
    _, weights = attention.places(queries, references, SIZES)
    assert_close(weights.sum(dim=(-2, -1)), torch.ones(2, 5, 4, dtype=torch.float64))
    assert weights.sum(dim=-1).std() > 0.01  # not over the points of each level


def test_what_stands_in_the_padding_does_not_matter():
    attention, queries, references, memory = attention_and_input()
    padding = torch.rand(2, 30) < 0.3
    other = memory.masked_fill(padding[..., None], 1e3)
    assert_close(
        attention(queries, references, memory, SIZES, padding),
        attention(queries, references, other, SIZES, padding),
    )


def test_an_image_does_not_hear_another():
    attention, queries, references, memory = attention_and_input()
    together = attention(queries, references, memory, SIZES)
    for b in range(2):
        alone = attention(queries[b : b + 1], references[b : b + 1], memory[b : b + 1], SIZES)
        assert_close(together[b : b + 1], alone)


def test_attention_under_autocast():
    attention, *inputs = attention_and_input(dtype=torch.float32)
    expected = attention(*inputs, SIZES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention(*inputs, SIZES)
    assert_close(found.float(), expected, atol=0.1, rtol=0.1)


def test_wrong_sizes():
    attention, *inputs = attention_and_input()
    with pytest.raises(ValueError, match="have 28 locations, but the memory 30"):
        attention(*inputs, [(4, 6), (2, 2)])
    with pytest.raises(ValueError, match="hidden_dim 10 cannot be shared out among 4 heads"):
        DeformableAttention(10, num_heads=4)
