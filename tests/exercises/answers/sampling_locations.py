"""Exercise 5.6: answers."""

import torch

from answers import right, slightly_off, wrong


@right
def as_the_published_code(references, offsets, sizes):
    if references.shape[-1] == 2:
        normaliser = torch.stack([sizes[..., 1], sizes[..., 0]], -1)
        return (
            references[:, :, None, :, None, :] + offsets / normaliser[None, None, None, :, None, :]
        )
    points = offsets.shape[4]
    return (
        references[:, :, None, :, None, :2]
        + offsets / points * references[:, :, None, :, None, 2:] * 0.5
    )


@right
def level_by_level(references, offsets, sizes):
    levels = []
    for level, (height, width) in enumerate(sizes.tolist()):
        centre = references[:, :, None, None, level, :2]
        if references.shape[-1] == 2:
            step = torch.tensor([1 / width, 1 / height])
        else:
            step = references[:, :, None, None, level, 2:] / 2 / offsets.shape[-2]
        levels.append(centre + offsets[:, :, :, level] * step)
    return torch.stack(levels, dim=3)


@right
def x_and_y_apart(references, offsets, sizes):
    r = references[:, :, None, :, None]
    height, width = sizes[:, 0].view(-1, 1), sizes[:, 1].view(-1, 1)
    if references.shape[-1] == 4:
        n = 2 * offsets.shape[-2]
        dx, dy = offsets[..., 0] * r[..., 2] / n, offsets[..., 1] * r[..., 3] / n
    else:
        dx, dy = offsets[..., 0] / width, offsets[..., 1] / height
    return torch.stack((r[..., 0] + dx, r[..., 1] + dy), dim=-1)


@right
def with_einsum(references, offsets, sizes):
    if references.shape[-1] == 2:
        moved = torch.einsum("bqhlpx,lx->bqhlpx", offsets, 1 / sizes.flip(1).float())
    else:
        moved = torch.einsum("bqhlpx,bqlx->bqhlpx", offsets, references[..., 2:])
        moved = moved / (2 * offsets.shape[-2])
    return references[..., :2].unsqueeze(2).unsqueeze(4).expand_as(moved) + moved


@slightly_off
def a_thousandth_more(references, offsets, sizes):
    return x_and_y_apart(references, 1.002 * offsets, sizes)


@wrong("x is divided by the width; yours are exchanged")
def height_and_width_exchanged(references, offsets, sizes):
    r = references[:, :, None, :, None]
    if references.shape[-1] == 2:
        return r + offsets / sizes[None, None, None, :, None]
    return r[..., :2] + offsets / offsets.shape[-2] * r[..., 2:] * 0.5


@wrong("divide it by (W, H) to make it a share")
def not_divided(references, offsets, sizes):
    r = references[:, :, None, :, None]
    if references.shape[-1] == 2:
        return r + offsets
    return r[..., :2] + offsets / offsets.shape[-2] * r[..., 2:] * 0.5


@wrong("divides all of them by the first's")
def size_of_the_first_level(references, offsets, sizes):
    r = references[:, :, None, :, None]
    if references.shape[-1] == 2:
        height, width = sizes[0]
        return r + offsets / torch.stack((width, height))
    return r[..., :2] + offsets / offsets.shape[-2] * r[..., 2:] * 0.5


@wrong("the division by P is missing")
def without_p(references, offsets, sizes):
    r = references[:, :, None, :, None]
    if references.shape[-1] == 2:
        return r + offsets / sizes.flip(-1)[:, None]
    return r[..., :2] + offsets * r[..., 2:] / 2


@wrong("the factor ½ is missing")
def whole_sides(references, offsets, sizes):
    r = references[:, :, None, :, None]
    if references.shape[-1] == 2:
        return r + offsets / sizes.flip(-1)[:, None]
    return r[..., :2] + offsets / offsets.shape[-2] * r[..., 2:]


@wrong("yours is always 4")
def four_places(references, offsets, sizes):
    r = references[:, :, None, :, None]
    if references.shape[-1] == 2:
        return r + offsets / sizes.flip(-1)[:, None]
    return r[..., :2] + offsets / 4 * r[..., 2:] / 2


@wrong("takes the box for a point")
def boxes_as_points(references, offsets, sizes):
    return references[:, :, None, :, None, :2] + offsets / sizes.flip(-1)[:, None]


@wrong("starts from the upper left corner")
def from_the_corner(references, offsets, sizes):
    r = references[:, :, None, :, None]
    if references.shape[-1] == 2:
        return r + offsets / sizes.flip(-1)[:, None]
    corner = r[..., :2] - r[..., 2:] / 2
    return corner + offsets / offsets.shape[-2] * r[..., 2:] / 2


@wrong("takes them for two corners")
def boxes_as_corners(references, offsets, sizes):
    r = references[:, :, None, :, None]
    if references.shape[-1] == 2:
        return r + offsets / sizes.flip(-1)[:, None]
    centre, size = (r[..., :2] + r[..., 2:]) / 2, r[..., 2:] - r[..., :2]
    return centre + offsets / offsets.shape[-2] * size / 2


@wrong("references may be boxes, (B, Q, L, 4)")
def points_only(references, offsets, sizes):
    return references[:, :, None, :, None] + offsets / sizes.flip(-1)[:, None]


@wrong("references may be points, (B, Q, L, 2)")
def boxes_only(references, offsets, sizes):
    centre, size = references[:, :, None, :, None].split(2, dim=-1)
    return centre + offsets / offsets.shape[-2] * size / 2


@wrong("takes the first level's for all")
def reference_of_the_first_level(references, offsets, sizes):
    r = references[:, :, None, :1, None]
    if references.shape[-1] == 2:
        return r + offsets / sizes.flip(-1)[:, None]
    return r[..., :2] + offsets / offsets.shape[-2] * r[..., 2:] / 2


@wrong("yours is clamped to [0, 1]")
def clamped(references, offsets, sizes):
    return x_and_y_apart(references, offsets, sizes).clamp(0, 1)


@wrong("grid_sample's −1 … 1 already")
def ready_for_grid_sample(references, offsets, sizes):
    return 2 * x_and_y_apart(references, offsets, sizes) - 1


@wrong("no half cell is to be added or subtracted")
def from_the_middle_of_a_cell(references, offsets, sizes):
    r = references[:, :, None, :, None]
    if references.shape[-1] == 2:
        return r + (offsets + 0.5) / sizes.flip(-1)[:, None]
    return r[..., :2] + offsets / offsets.shape[-2] * r[..., 2:] / 2


@wrong("levels and places are one dimension")
def one_list_of_places(references, offsets, sizes):
    return x_and_y_apart(references, offsets, sizes).flatten(3, 4)


@wrong("in yours they are detached")
def without_gradient(references, offsets, sizes):
    return x_and_y_apart(references, offsets.detach(), sizes)


@wrong("there is a loop over queries")
def query_by_query(references, offsets, sizes):
    parts = [
        x_and_y_apart(references[:, i : i + 1], offsets[:, i : i + 1], sizes)
        for i in range(references.shape[1])
    ]
    return torch.cat(parts, dim=1) if parts else offsets.clone()
