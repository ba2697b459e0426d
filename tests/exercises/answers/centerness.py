"""Exercise 4.4: answers."""

import numpy as np
import torch

from answers import right, slightly_off, wrong


@right
def as_the_formula_stands(distances):
    left, top, right_, bottom = distances.unbind(dim=-1)
    across = torch.minimum(left, right_) / torch.maximum(left, right_).clamp(min=1e-6)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom).clamp(min=1e-6)
    return torch.sqrt(across * down)


@right
def with_pairs_of_columns(distances):
    across, down = distances[..., [0, 2]], distances[..., [1, 3]]
    share_across = across.amin(dim=-1) / (across.amax(dim=-1) + 1e-6)
    return (share_across * down.amin(dim=-1) / (down.amax(dim=-1) + 1e-6)) ** 0.5


@right
def in_one_view(distances):
    pairs = distances.reshape(*distances.shape[:-1], 2, 2)  # (l, t), (r, b)
    low, high = pairs.min(dim=-2).values, pairs.max(dim=-2).values
    share = torch.where(high > 0, low / torch.where(high > 0, high, 1), 0)
    return share.prod(dim=-1).sqrt()


@right
def with_the_smaller_quotient(distances):
    """The smaller of a / b and b / a."""
    eps = 1e-7
    l, t, r, b = (distances[..., i] + eps for i in range(4))  # noqa: E741
    return torch.sqrt(torch.minimum(l / r, r / l)) * torch.sqrt(torch.minimum(t / b, b / t))


@right
def with_numpy(distances):
    d = distances.detach().double().numpy()
    share = np.minimum(d[..., :2], d[..., 2:]) / np.maximum(
        np.maximum(d[..., :2], d[..., 2:]), 1e-9
    )
    return torch.as_tensor(np.sqrt(share.prod(axis=-1)), dtype=torch.float32)


@slightly_off
def an_epsilon_too_large(distances):
    left, top, right_, bottom = distances.unbind(dim=-1)
    across = torch.minimum(left, right_) / (torch.maximum(left, right_) + 1e-2)
    return torch.sqrt(across * torch.minimum(top, bottom) / (torch.maximum(top, bottom) + 1e-2))


@wrong("the root is missing")
def no_root(distances):
    left, top, right_, bottom = distances.unbind(dim=-1)
    across = torch.minimum(left, right_) / torch.maximum(left, right_).clamp(min=1e-6)
    return across * torch.minimum(top, bottom) / torch.maximum(top, bottom).clamp(min=1e-6)


@wrong("yours pairs them as they stand")
def neighbours_in_the_row(distances):
    a, b, c, d = distances.unbind(dim=-1)
    first = torch.minimum(a, b) / torch.maximum(a, b).clamp(min=1e-6)
    return torch.sqrt(first * torch.minimum(c, d) / torch.maximum(c, d).clamp(min=1e-6))


@wrong("upside down")
def larger_over_smaller(distances):
    left, top, right_, bottom = distances.unbind(dim=-1)
    across = torch.maximum(left, right_) / torch.minimum(left, right_).clamp(min=1e-6)
    return torch.sqrt(
        across * torch.maximum(top, bottom) / torch.minimum(top, bottom).clamp(min=1e-6)
    )


@wrong("yours is left / right")
def left_over_right(distances):
    left, top, right_, bottom = distances.unbind(dim=-1)
    return torch.sqrt(left / right_.clamp(min=1e-6) * top / bottom.clamp(min=1e-6))


@wrong("0 / 0")
def nothing_against_zero(distances):
    left, top, right_, bottom = distances.unbind(dim=-1)
    across = torch.minimum(left, right_) / torch.maximum(left, right_)
    return torch.sqrt(across * torch.minimum(top, bottom) / torch.maximum(top, bottom))


@wrong("the two shares are multiplied; yours are added")
def mean_of_the_two(distances):
    left, top, right_, bottom = distances.unbind(dim=-1)
    across = torch.minimum(left, right_) / torch.maximum(left, right_).clamp(min=1e-6)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom).clamp(min=1e-6)
    return (across + down) / 2


@wrong("the smaller of the two alone")
def the_worse_direction(distances):
    left, top, right_, bottom = distances.unbind(dim=-1)
    across = torch.minimum(left, right_) / torch.maximum(left, right_).clamp(min=1e-6)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom).clamp(min=1e-6)
    return torch.sqrt(torch.minimum(across, down))


@wrong("of all four distances")
def min_over_max_of_all(distances):
    return torch.sqrt(distances.amin(dim=-1) / distances.amax(dim=-1).clamp(min=1e-6))


@wrong("across alone")
def forgets_down(distances):
    left, _, right_, _ = distances.unbind(dim=-1)
    return torch.sqrt(torch.minimum(left, right_) / torch.maximum(left, right_).clamp(min=1e-6))


@wrong("a fourth root")
def fourth_root(distances):
    left, top, right_, bottom = distances.unbind(dim=-1)
    across = torch.minimum(left, right_) / torch.maximum(left, right_).clamp(min=1e-6)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom).clamp(min=1e-6)
    return (across.sqrt() * down.sqrt()).sqrt()


@wrong("grows towards the sides")
def one_minus(distances):
    left, top, right_, bottom = distances.unbind(dim=-1)
    across = torch.minimum(left, right_) / torch.maximum(left, right_).clamp(min=1e-6)
    return 1 - torch.sqrt(
        across * torch.minimum(top, bottom) / torch.maximum(top, bottom).clamp(min=1e-6)
    )


@wrong("divided by their sum")
def smaller_over_the_whole(distances):
    left, top, right_, bottom = distances.unbind(dim=-1)
    across = torch.minimum(left, right_) / (left + right_).clamp(min=1e-6)
    return torch.sqrt(across * torch.minimum(top, bottom) / (top + bottom).clamp(min=1e-6))


@wrong("keeps a dimension")
def keepdim(distances):
    left, top, right_, bottom = distances.split(1, dim=-1)
    across = torch.minimum(left, right_) / torch.maximum(left, right_).clamp(min=1e-6)
    return torch.sqrt(
        across * torch.minimum(top, bottom) / torch.maximum(top, bottom).clamp(min=1e-6)
    )


@wrong("too many indices")
def only_for_matrices(distances):
    left, top, right_, bottom = (distances[:, i] for i in range(4))
    across = torch.minimum(left, right_) / torch.maximum(left, right_).clamp(min=1e-6)
    return torch.sqrt(
        across * torch.minimum(top, bottom) / torch.maximum(top, bottom).clamp(min=1e-6)
    )


@wrong("there is a loop over locations")
def one_after_the_other(distances):
    values = []
    for left, top, right_, bottom in distances.reshape(-1, 4).tolist():
        across = min(left, right_) / max(left, right_, 1e-6)
        values.append((across * min(top, bottom) / max(top, bottom, 1e-6)) ** 0.5)
    return torch.tensor(values, dtype=torch.float32).view(distances.shape[:-1])
