"""Exercise 2.4: answers."""

import math

import torch
from torchvision.ops import box_convert

from answers import right, slightly_off, wrong

CLIP = math.log(1000.0 / 16)


@right
def with_unbind(deltas, anchors):
    dx, dy, dw, dh = deltas.unbind(1)
    x1, y1, x2, y2 = anchors.unbind(1)
    w, h = x2 - x1, y2 - y1
    x, y = x1 + w / 2 + dx * w, y1 + h / 2 + dy * h
    w, h = w * dw.clamp(max=CLIP).exp(), h * dh.clamp(max=CLIP).exp()
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1)


@right
def limits_the_factor(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * wh
    factor = torch.clamp(torch.exp(deltas[:, 2:]), max=62.5)
    return torch.cat([centre - wh * factor / 2, centre + wh * factor / 2], dim=1)


@right
def with_minimum_and_columns(deltas, anchors):
    columns = []
    for sign in (-1, 1):
        for k in (0, 1):
            size = anchors[:, 2 + k] - anchors[:, k]
            middle = anchors[:, k] + size * (0.5 + deltas[:, k])
            stretch = torch.minimum(deltas[:, 2 + k], torch.tensor(CLIP))
            columns.append(middle + sign * 0.5 * torch.exp(torch.log(size) + stretch))
    return torch.stack(columns, dim=-1)


@right
def with_repeats(deltas, anchors):
    limited = torch.where(deltas[:, 2:] > CLIP, CLIP, deltas[:, 2:])
    wh = (anchors[:, 2:] - anchors[:, :2]).repeat(1, 2)
    c = (0.5 * (anchors[:, :2] + anchors[:, 2:])).repeat(1, 2)
    signs = torch.tensor([-0.5, -0.5, 0.5, 0.5])
    return c + wh * (deltas[:, :2].repeat(1, 2) + signs * math.e ** limited.repeat(1, 2))


@slightly_off
def off_by_a_thousandth(deltas, anchors):
    return 1.001 * with_unbind(deltas, anchors)


@slightly_off
def limit_off_by_a_thousandth(deltas, anchors):
    return with_unbind(deltas.clamp(max=CLIP * 0.999), anchors)


@wrong("limit dw and dh from above")
def without_a_limit(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = anchors[:, :2] + wh / 2 + deltas[:, :2] * wh
    wh = wh * torch.exp(deltas[:, 2:])
    return torch.cat([c - wh / 2, c + wh / 2], dim=1)


@wrong("limit dw and dh from above")
def limit_without_its_logarithm(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = anchors[:, :2] + wh / 2 + deltas[:, :2] * wh
    wh = wh * torch.exp(deltas[:, 2:].clamp(max=1000 / 16))
    return torch.cat([c - wh / 2, c + wh / 2], dim=1)


@wrong("there is no lower limit")
def limits_both_sides(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = anchors[:, :2] + wh / 2 + deltas[:, :2] * wh
    wh = wh * torch.exp(deltas[:, 2:].clamp(-CLIP, CLIP))
    return torch.cat([c - wh / 2, c + wh / 2], dim=1)


@wrong("dx and dy may be as large")
def limits_all_four(deltas, anchors):
    deltas = torch.clamp(deltas, max=CLIP)
    wh = anchors[:, 2:] - anchors[:, :2]
    c = anchors[:, :2] + wh / 2 + deltas[:, :2] * wh
    wh = wh * deltas[:, 2:].exp()
    return torch.cat([c - wh / 2, c + wh / 2], dim=1)


@wrong("yours limits exp(dw)")
def limits_too_late(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = anchors[:, :2] + wh / 2 + deltas[:, :2] * wh
    wh = wh * deltas[:, 2:].exp().clamp(max=CLIP)
    return torch.cat([c - wh / 2, c + wh / 2], dim=1)


@wrong("yours is w_a · (1 + dw)")
def grows_by_a_share(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = anchors[:, :2] + wh / 2 + deltas[:, :2] * wh
    wh = wh + wh * deltas[:, 2:].clamp(max=CLIP)
    return torch.cat([c - wh / 2, c + wh / 2], dim=1)


@wrong("yours is w_a · dw")
def multiplies_by_the_delta(deltas, anchors):
    x1, y1, x2, y2 = anchors.T
    w, h = x2 - x1, y2 - y1
    x, y = (x1 + x2) / 2 + deltas[:, 0] * w, (y1 + y2) / 2 + deltas[:, 1] * h
    w, h = w * deltas[:, 2], h * deltas[:, 3]
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1)


@wrong("multiply them by its width and height")
def moves_in_pixels(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = anchors[:, :2] + wh / 2 + deltas[:, :2]
    wh = wh * torch.exp(deltas[:, 2:].clamp(max=CLIP))
    return torch.cat([c - wh / 2, c + wh / 2], dim=1)


@wrong("not of the new one")
def shares_of_the_new_size(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    new = wh * torch.exp(deltas[:, 2:].clamp(max=CLIP))
    c = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * new
    return torch.cat([c - new / 2, c + new / 2], dim=1)


@wrong("yours starts at its upper left corner")
def moves_the_corner(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = anchors[:, :2] + deltas[:, :2] * wh
    new = wh * torch.exp(deltas[:, 2:].clamp(max=CLIP))
    return torch.cat([c - new / 2, c + new / 2], dim=1)


@wrong("these are centre and size")
def returns_cxcywh(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = anchors[:, :2] + wh / 2 + deltas[:, :2] * wh
    return torch.cat([c, wh * torch.exp(deltas[:, 2:].clamp(max=CLIP))], dim=1)


@wrong("yours goes a whole one")
def forgets_the_half(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = anchors[:, :2] + wh / 2 + deltas[:, :2] * wh
    new = wh * torch.exp(deltas[:, 2:].clamp(max=CLIP))
    return torch.cat([c - new, c + new], dim=1)


@wrong("the centre is not the corner")
def centre_as_corner(deltas, anchors):
    x1, y1, x2, y2 = anchors.T
    w, h = x2 - x1, y2 - y1
    x, y = (x1 + x2) / 2 + deltas[:, 0] * w, (y1 + y2) / 2 + deltas[:, 1] * h
    w, h = w * torch.exp(deltas[:, 2].clamp(max=CLIP)), h * torch.exp(deltas[:, 3].clamp(max=CLIP))
    return torch.stack([x, y, x + w, y + h], dim=1)


@wrong("in yours dw and dh are exchanged")
def reads_dh_before_dw(deltas, anchors):
    dx, dy, dh, dw = deltas.T
    x1, y1, x2, y2 = anchors.T
    w, h = x2 - x1, y2 - y1
    x, y = (x1 + x2) / 2 + dx * w, (y1 + y2) / 2 + dy * h
    w, h = w * torch.exp(dw.clamp(max=CLIP)), h * torch.exp(dh.clamp(max=CLIP))
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1)


@wrong("dh has the same limit")
def limits_the_width_only(deltas, anchors):
    dx, dy, dw, dh = deltas.T
    x1, y1, x2, y2 = anchors.T
    w, h = x2 - x1, y2 - y1
    x, y = (x1 + x2) / 2 + dx * w, (y1 + y2) / 2 + dy * h
    w, h = w * torch.exp(dw.clamp(max=CLIP)), h * torch.exp(dh)
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1)


@wrong("clipped later")
def clips_to_the_image(deltas, anchors):
    return with_unbind(deltas, anchors).clamp(min=0)


@wrong("all cut it")
def without_gradient(deltas, anchors):
    with torch.no_grad():
        return with_unbind(deltas, anchors)


@wrong("the natural logarithm")
def limit_with_log10(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = anchors[:, :2] + wh / 2 + deltas[:, :2] * wh
    wh = wh * torch.exp(deltas[:, 2:].clamp(max=math.log10(1000 / 16)))
    return torch.cat([c - wh / 2, c + wh / 2], dim=1)


@wrong("there is a loop over boxes")
def box_by_box(deltas, anchors):
    boxes = torch.zeros_like(deltas)
    for i in range(len(deltas)):
        boxes[i] = with_unbind(deltas[i : i + 1], anchors[i : i + 1])[0]
    return boxes


@wrong("(.clone())")
def clamps_in_place(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = anchors[:, :2] + wh / 2 + deltas[:, :2] * wh
    wh = wh * deltas[:, 2:].clamp_(max=CLIP).exp_()
    return torch.cat([c - wh / 2, c + wh / 2], dim=1)


# ---- written later, by people who had seen the stub and nothing of the checks ----


@right
def with_torchvisions_conversion(deltas, anchors):
    xy, wh = box_convert(anchors, "xyxy", "cxcywh").split(2, dim=1)
    xy = xy + deltas[:, :2] * wh
    wh = wh * deltas[:, 2:].clamp_max(CLIP).exp()
    return box_convert(torch.cat([xy, wh], dim=1), "cxcywh", "xyxy")


@right
def corner_and_size(deltas, anchors):
    w = anchors[:, 2] - anchors[:, 0]
    h = anchors[:, 3] - anchors[:, 1]
    limit = math.log(62.5)
    new_w = w * torch.exp(torch.where(deltas[:, 2] < limit, deltas[:, 2], limit))
    new_h = h * torch.exp(torch.where(deltas[:, 3] < limit, deltas[:, 3], limit))
    x1 = anchors[:, 0] + w * (deltas[:, 0] + 0.5) - new_w / 2
    y1 = anchors[:, 1] + h * (deltas[:, 1] + 0.5) - new_h / 2
    return torch.stack((x1, y1, x1 + new_w, y1 + new_h), dim=1)


@right
def with_einsum(deltas, anchors):
    to_centre = torch.tensor([[0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5], [-1, 0, 1, 0], [0, -1, 0, 1]])
    centre, size = torch.einsum("ij,nj->ni", to_centre, anchors).chunk(2, dim=1)
    size_now = size * torch.exp(-torch.relu(deltas[:, 2:] - CLIP) + deltas[:, 2:])
    centre = torch.addcmul(centre, deltas[:, :2], size)
    return torch.cat((centre - 0.5 * size_now, centre + 0.5 * size_now), dim=1)


@wrong("has dtype float64; expected float32")
def stays_in_double(deltas, anchors):
    return with_unbind(deltas.double(), anchors.double())


@wrong("a box may be narrower than 1")
def sides_of_one_at_least(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = anchors[:, :2] + wh / 2 + deltas[:, :2] * wh
    new = (wh * deltas[:, 2:].clamp(max=CLIP).exp()).clamp(min=1)
    return torch.cat([c - new / 2, c + new / 2], dim=1)


@wrong("a box may be narrower than 1")
def anchors_of_one_at_least(deltas, anchors):
    wh = (anchors[:, 2:] - anchors[:, :2]).clamp(min=1)
    c = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * wh
    new = wh * deltas[:, 2:].clamp(max=CLIP).exp()
    return torch.cat([c - new / 2, c + new / 2], dim=1)


@wrong("yours limits the side itself")
def limits_the_side(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * wh
    new = (wh * deltas[:, 2:].exp()).clamp(max=1000 / 16)
    return torch.cat([c - new / 2, c + new / 2], dim=1)


@wrong("4.135 is rounded")
def limit_as_printed(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * wh
    new = wh * deltas[:, 2:].clamp(max=4.135).exp()
    return torch.cat([c - new / 2, c + new / 2], dim=1)


@wrong("yours moves the corners")
def moves_each_corner(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    return anchors + deltas * wh.repeat(1, 2)


@wrong("yours multiplies both by the width")
def width_for_both(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * wh[:, :1]
    new = wh * deltas[:, 2:].clamp(max=CLIP).exp()
    return torch.cat([c - new / 2, c + new / 2], dim=1)


@wrong("yours begins with y")
def y_before_x(deltas, anchors):
    x1, y1, x2, y2 = with_unbind(deltas, anchors).unbind(1)
    return torch.stack([y1, x1, y2, x2], dim=1)


@wrong("the values are right, their gradient is not")
def size_without_gradient(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * wh
    new = wh * deltas[:, 2:].detach().clamp(max=CLIP).exp()
    return torch.cat([c - new / 2, c + new / 1.0 - new / 2], dim=1)


@wrong("there is no lower limit")
def limits_to_plus_minus(deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    c = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * wh
    new = wh * torch.exp(torch.clip(deltas[:, 2:], -math.log(1000 / 16), math.log(1000 / 16)))
    return torch.hstack([c - new / 2, c + new / 2])


@wrong("there is a loop over boxes")
def with_a_comprehension(deltas, anchors):
    rows = [with_unbind(d[None], a[None]) for d, a in zip(deltas, anchors)]
    return torch.cat(rows) if rows else deltas[:, :4]


def decode_with(centre, growth, deltas, anchors):
    wh = anchors[:, 2:] - anchors[:, :2]
    middle = centre((anchors[:, :2] + anchors[:, 2:]) / 2, deltas[:, :2], wh)
    half = wh * growth(deltas[:, 2:]) / 2
    return torch.cat((middle - half, middle + half), dim=1)


def moved(middle, move, wh):
    return middle + move * wh


@wrong("with min=… every box grows")
def limits_with_min(deltas, anchors):
    return decode_with(moved, lambda d: d.clamp(min=CLIP).exp(), deltas, anchors)


@wrong("yours is divided by it")
def divides_by_the_exponential(deltas, anchors):
    return decode_with(moved, lambda d: 1 / d.clamp(max=CLIP).exp(), deltas, anchors)


@wrong("limit dw and dh from above")
def limits_at_the_factor(deltas, anchors):
    return decode_with(moved, lambda d: d.clamp(max=1000 / 16).exp(), deltas, anchors)


@wrong("yours multiplies both by the height")
def moves_by_the_height(deltas, anchors):
    def centre(middle, move, wh):
        return middle + move * wh[:, 1:]

    return decode_with(centre, lambda d: d.clamp(max=CLIP).exp(), deltas, anchors)


@wrong("yours moves by half of it")
def moves_by_half_the_size(deltas, anchors):
    def centre(middle, move, wh):
        return middle + move * wh / 2

    return decode_with(centre, lambda d: d.clamp(max=CLIP).exp(), deltas, anchors)


@wrong("only dw and dh go through the exponential")
def exponential_of_all(deltas, anchors):
    def centre(middle, move, wh):
        return middle + move.clamp(max=CLIP).exp() * wh

    return decode_with(centre, lambda d: d.clamp(max=CLIP).exp(), deltas, anchors)


@wrong("yours starts at the corner of the image")
def forgets_the_anchors_centre(deltas, anchors):
    def centre(middle, move, wh):
        return move * wh

    return decode_with(centre, lambda d: d.clamp(max=CLIP).exp(), deltas, anchors)


@wrong("yours keeps the anchor's sides")
def forgets_the_stretch(deltas, anchors):
    return decode_with(moved, lambda d: 1, deltas, anchors)
