"""Exercise 5.7: answers."""

import torch
import torch.nn.functional as F

from answers import right, slightly_off, wrong


@right
def with_grid_sample(maps, locations):
    grid = 2 * locations.reshape(len(maps), 1, -1, 2) - 1
    values = F.grid_sample(maps, grid, align_corners=False)[:, :, 0]  # (B, C, M)
    return values.permute(0, 2, 1).reshape(*locations.shape[:-1], maps.shape[1])


@right
def four_cells(maps, locations):
    batch, channels, height, width = maps.shape
    places = locations.reshape(batch, -1, 2)
    x, y = places[..., 0] * width - 0.5, places[..., 1] * height - 0.5
    left, top = torch.floor(x), torch.floor(y)
    image = torch.arange(batch).view(-1, 1)
    total = torch.zeros(*places.shape[:2], channels)
    for dy in (0, 1):
        for dx in (0, 1):
            i, j = top + dy, left + dx
            inside = (i >= 0) & (i <= height - 1) & (j >= 0) & (j <= width - 1)
            share = (1 - (x - j).abs()) * (1 - (y - i).abs()) * inside
            i, j = i.clamp(0, height - 1).long(), j.clamp(0, width - 1).long()
            total = total + share[..., None] * maps[image, :, i, j]
    return total.view(*locations.shape[:-1], channels)


@right
def with_hat_functions(maps, locations):
    """Every cell counts, most of them with 0."""
    _, _, height, width = maps.shape
    x = locations[..., 0].flatten(1) * width - 0.5
    y = locations[..., 1].flatten(1) * height - 0.5
    across = (1 - (x[..., None] - torch.arange(width)).abs()).clamp(min=0)  # (B, M, W)
    down = (1 - (y[..., None] - torch.arange(height)).abs()).clamp(min=0)  # (B, M, H)
    values = torch.einsum("bchw,bmh,bmw->bmc", maps, down, across)
    return values.reshape(*locations.shape[:-1], -1) if values.numel() else values


@right
def on_a_padded_map(maps, locations):
    batch, channels, height, width = maps.shape
    padded = F.pad(maps, (1, 2, 1, 2)).flatten(2)  # a border of zeros
    x = (locations[..., 0] * width + 0.5).clamp(0, width + 1).reshape(batch, -1)
    y = (locations[..., 1] * height + 0.5).clamp(0, height + 1).reshape(batch, -1)
    j, i = x.detach().long(), y.detach().long()
    fx, fy = (x - j)[:, None], (y - i)[:, None]

    def cell(row, column):
        index = (row * (width + 3) + column)[:, None].expand(-1, channels, -1)
        return padded.gather(2, index)

    upper = torch.lerp(cell(i, j), cell(i, j + 1), fx)
    lower = torch.lerp(cell(i + 1, j), cell(i + 1, j + 1), fx)
    values = upper + fy * (lower - upper)
    return values.movedim(1, 2).reshape(*locations.shape[:-1], channels)


@right
def image_by_image(maps, locations):
    """A loop over images, none over places."""
    images = []
    for one, places in zip(maps, locations):
        grid = places.reshape(1, -1, 1, 2) * 2 - 1
        values = F.grid_sample(one[None], grid, padding_mode="zeros", align_corners=False)
        images.append(values[0, :, :, 0].T.reshape(*places.shape[:-1], len(one)))
    return torch.stack(images)


@slightly_off
def a_thousandth_more(maps, locations):
    return 1.001 * four_cells(maps, locations)


@wrong("align_corners=False")
def corners_aligned(maps, locations):
    grid = 2 * locations.reshape(len(maps), 1, -1, 2) - 1
    values = F.grid_sample(maps, grid, align_corners=True)[:, :, 0]
    return values.permute(0, 2, 1).reshape(*locations.shape[:-1], maps.shape[1])


@wrong("yours hands it 0 … 1")
def shares_for_grid_sample(maps, locations):
    grid = locations.reshape(len(maps), 1, -1, 2)
    values = F.grid_sample(maps, grid, align_corners=False)[:, :, 0]
    return values.permute(0, 2, 1).reshape(*locations.shape[:-1], maps.shape[1])


@wrong("x comes first and counts columns")
def rows_first(maps, locations):
    grid = 2 * locations.flip(-1).reshape(len(maps), 1, -1, 2) - 1
    values = F.grid_sample(maps, grid, align_corners=False)[:, :, 0]
    return values.permute(0, 2, 1).reshape(*locations.shape[:-1], maps.shape[1])


@wrong("the ½ is missing")
def half_a_cell_away(maps, locations):
    _, _, height, width = maps.shape
    x = locations[..., 0].flatten(1) * width
    y = locations[..., 1].flatten(1) * height
    across = (1 - (x[..., None] - torch.arange(width)).abs()).clamp(min=0)
    down = (1 - (y[..., None] - torch.arange(height)).abs()).clamp(min=0)
    values = torch.einsum("bchw,bmh,bmw->bmc", maps, down, across)
    return values.reshape(*locations.shape[:-1], maps.shape[1])


@wrong("yours goes on with the border's values")
def border(maps, locations):
    grid = 2 * locations.reshape(len(maps), 1, -1, 2) - 1
    values = F.grid_sample(maps, grid, padding_mode="border", align_corners=False)[:, :, 0]
    return values.permute(0, 2, 1).reshape(*locations.shape[:-1], maps.shape[1])


@wrong("yours is clamped to [0, 1] and reads the border")
def clamped_places(maps, locations):
    return with_grid_sample(maps, locations.clamp(0, 1))


@wrong("yours is 0 as soon as one is outside")
def all_four_or_nothing(maps, locations):
    _, _, height, width = maps.shape
    x, y = locations[..., 0] * width - 0.5, locations[..., 1] * height - 0.5
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return with_grid_sample(maps, locations) * inside[..., None]


@wrong("this is the nearest cell alone")
def nearest(maps, locations):
    grid = 2 * locations.reshape(len(maps), 1, -1, 2) - 1
    values = F.grid_sample(maps, grid, mode="nearest", align_corners=False)[:, :, 0]
    return values.permute(0, 2, 1).reshape(*locations.shape[:-1], maps.shape[1])


@wrong("the upper left cell alone")
def rounds_down(maps, locations):
    _, _, height, width = maps.shape
    x, y = locations[..., 0] * width - 0.5, locations[..., 1] * height - 0.5
    j, i = x.floor().long(), y.floor().long()
    inside = (j >= 0) & (j < width) & (i >= 0) & (i < height)
    image = torch.arange(len(maps)).view(-1, *[1] * (locations.ndim - 2))
    values = maps[image, :, i.clamp(0, height - 1), j.clamp(0, width - 1)]
    return values * inside[..., None]


@wrong("yours come before the places")
def channels_first(maps, locations):
    grid = 2 * locations.reshape(len(maps), 1, -1, 2) - 1
    values = F.grid_sample(maps, grid, align_corners=False)[:, :, 0]
    return values.reshape(*maps.shape[:2], *locations.shape[1:-1])


@wrong("exchange the two dimensions before the reshape")
def reshape_alone(maps, locations):
    grid = 2 * locations.reshape(len(maps), 1, -1, 2) - 1
    values = F.grid_sample(maps, grid, align_corners=False)
    return values.reshape(*locations.shape[:-1], maps.shape[1])


@wrong("in yours they are one")
def one_dimension_of_places(maps, locations):
    return with_grid_sample(maps, locations).flatten(1, -2)


@wrong("yours reads the first map for all")
def the_first_map(maps, locations):
    return with_grid_sample(maps[:1].expand_as(maps), locations)


@wrong("the places are learned, too")
def places_without_gradient(maps, locations):
    return with_grid_sample(maps, locations.detach())


@wrong("there is a loop over places")
def place_by_place(maps, locations):
    places = locations.reshape(len(maps), -1, 1, 2)
    values = [with_grid_sample(maps, places[:, i]) for i in range(places.shape[1])]
    if not values:
        return maps.new_zeros(*locations.shape[:-1], maps.shape[1])
    return torch.cat(values, dim=1).view(*locations.shape[:-1], maps.shape[1])
