"""Exercise 4.8: answers."""

import torch
import torch.nn.functional as F

from answers import right, slightly_off, wrong


def peaks_of(heatmap):
    """The scores of peaks, 0 elsewhere; where the mistake is elsewhere."""
    highest = F.max_pool2d(heatmap, 3, stride=1, padding=1)
    return torch.where(heatmap == highest, heatmap, 0.0)


def highest_places(scores, k):
    """Of each image the best k: scores, labels, rows and columns."""
    _, classes, h, w = scores.shape
    best, index = scores.flatten(1).topk(min(k, classes * h * w), dim=1)
    return best, index // (h * w), index % (h * w) // w, index % w


def boxes_at(rows, columns, wh, offset, stride):
    image = torch.arange(len(rows))[:, None]
    x = columns + offset[image, 0, rows, columns]
    y = rows + offset[image, 1, rows, columns]
    w, h = wh[image, 0, rows, columns], wh[image, 1, rows, columns]
    return stride * torch.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2), dim=-1)


@right
def with_topk(heatmap, wh, offset, k=100, *, stride=4):
    scores, labels, rows, columns = highest_places(peaks_of(heatmap), k)
    return boxes_at(rows, columns, wh, offset, stride), scores, labels


@right
def all_boxes_first(heatmap, wh, offset, k=100, *, stride=4):
    """A box for each cell, then the choice."""
    batch, classes, h, w = heatmap.shape
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    centres = offset + torch.stack((x, y))
    boxes = torch.cat((centres - wh / 2, centres + wh / 2), dim=1) * stride  # (B, 4, h, w)
    boxes = boxes[:, None].expand(batch, classes, 4, h, w)
    boxes = boxes.permute(0, 1, 3, 4, 2).reshape(batch, -1, 4)
    keep = F.max_pool2d(heatmap, (3, 3), 1, 1) <= heatmap
    scores = (heatmap * keep.float()).view(batch, -1)
    order = scores.argsort(dim=1, descending=True)[:, :k]
    labels = order // (h * w)
    return boxes.gather(1, order[..., None].expand(-1, -1, 4)), scores.gather(1, order), labels


@right
def of_each_class_first(heatmap, wh, offset, k=100, *, stride=4):
    """The best of each class, then the best of all: the way of the official code."""
    _, classes, h, w = heatmap.shape
    peaks = peaks_of(heatmap).flatten(2)  # (B, K, h·w)
    scores, places = peaks.topk(min(k, h * w), dim=2)
    per_class = scores.shape[2]
    scores, best = scores.flatten(1).topk(min(k, classes * h * w, scores[0].numel()), dim=1)
    labels = best // per_class
    places = places.flatten(1).gather(1, best)
    return boxes_at(places // w, places % w, wh, offset, stride), scores, labels


@right
def with_unfold(heatmap, wh, offset, k=100, *, stride=4):
    """Neighbours without pooling."""
    h, w = heatmap.shape[-2:]
    padded = F.pad(heatmap, (1, 1, 1, 1), value=-1.0)
    around = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2).amax(dim=-1)
    scores = heatmap.masked_fill(heatmap < around, 0)
    values, order = torch.sort(scores.flatten(1), dim=1, descending=True, stable=True)
    values, order = values[:, :k], order[:, :k]
    place = order % (h * w)
    size, shift = (
        maps.flatten(2).gather(2, place[:, None].expand(-1, 2, -1)) * stride
        for maps in (wh, offset)
    )
    corner = torch.stack((place % w, place // w), dim=1) * stride
    middle = corner + shift
    boxes = torch.cat((middle - size / 2, middle + size / 2), dim=1).mT
    return boxes, values, order // (h * w)


@slightly_off
def sizes_a_thousandth_too_large(heatmap, wh, offset, k=100, *, stride=4):
    return with_topk(heatmap, 1.001 * wh, offset, k, stride=stride)


@wrong("not only peaks")
def without_peaks(heatmap, wh, offset, k=100, *, stride=4):
    scores, labels, rows, columns = highest_places(heatmap, k)
    return boxes_at(rows, columns, wh, offset, stride), scores, labels


@wrong("in cells; multiply them by the stride")
def never_multiplied(heatmap, wh, offset, k=100, *, stride=4):
    scores, labels, rows, columns = highest_places(peaks_of(heatmap), k)
    return boxes_at(rows, columns, wh, offset, 1), scores, labels


@wrong("the sizes are in cells, too")
def sizes_left_in_cells(heatmap, wh, offset, k=100, *, stride=4):
    return with_topk(heatmap, wh / stride, offset, k, stride=stride)


@wrong("the offset is in cells, too")
def offset_left_in_cells(heatmap, wh, offset, k=100, *, stride=4):
    return with_topk(heatmap, wh, offset / stride, k, stride=stride)


@wrong("the offset is missing")
def corner_of_the_cell(heatmap, wh, offset, k=100, *, stride=4):
    return with_topk(heatmap, wh, 0 * offset, k, stride=stride)


@wrong("half a cell")
def middle_of_the_cell(heatmap, wh, offset, k=100, *, stride=4):
    return with_topk(heatmap, wh, 0 * offset + 0.5, k, stride=stride)


@wrong("columns go with x")
def rows_for_columns(heatmap, wh, offset, k=100, *, stride=4):
    scores, labels, rows, columns = highest_places(peaks_of(heatmap), k)
    boxes = boxes_at(rows, columns, wh, offset, stride)
    move = stride * (rows - columns)[..., None] * torch.tensor([1.0, -1, 1, -1])
    return boxes + move, scores, labels


@wrong("width comes first, then height")
def height_first(heatmap, wh, offset, k=100, *, stride=4):
    return with_topk(heatmap, wh.flip(1), offset, k, stride=stride)


@wrong("yours is its upper left corner")
def corner_for_centre(heatmap, wh, offset, k=100, *, stride=4):
    boxes, scores, labels = with_topk(heatmap, wh, offset, k, stride=stride)
    half = (boxes[..., 2:] - boxes[..., :2]) / 2
    return boxes + half.repeat(1, 1, 2), scores, labels


@wrong("half of the size to each side")
def the_whole_size_to_each_side(heatmap, wh, offset, k=100, *, stride=4):
    return with_topk(heatmap, 2 * wh, offset, k, stride=stride)


@wrong("centre and size; corners are asked for")
def centre_and_size(heatmap, wh, offset, k=100, *, stride=4):
    boxes, scores, labels = with_topk(heatmap, wh, offset, k, stride=stride)
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2, high - low), dim=-1), scores, labels


@wrong("of all classes")
def peaks_of_the_highest_class(heatmap, wh, offset, k=100, *, stride=4):
    """One class a place, and peaks among these."""
    best, label = heatmap.max(dim=1, keepdim=True)
    alone = peaks_of(best) * (torch.arange(heatmap.shape[1])[:, None, None] == label)
    return with_topk_of(alone, wh, offset, k, stride)


def with_topk_of(scores, wh, offset, k, stride):
    best, labels, rows, columns = highest_places(scores, k)
    return boxes_at(rows, columns, wh, offset, stride), best, labels


@wrong("four neighbours")
def four_neighbours(heatmap, wh, offset, k=100, *, stride=4):
    down = F.max_pool2d(heatmap, (3, 1), 1, (1, 0))
    across = F.max_pool2d(heatmap, (1, 3), 1, (0, 1))
    peaks = heatmap * (heatmap == torch.maximum(down, across))
    return with_topk_of(peaks, wh, offset, k, stride)


@wrong("5 × 5")
def a_wider_window(heatmap, wh, offset, k=100, *, stride=4):
    peaks = heatmap * (heatmap == F.max_pool2d(heatmap, 5, 1, 2))
    return with_topk_of(peaks, wh, offset, k, stride)


@wrong("two neighbours of the same score")
def higher_than_all_others(heatmap, wh, offset, k=100, *, stride=4):
    padded = F.pad(heatmap, (1, 1, 1, 1), value=-1.0)
    around = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2)
    around = torch.cat((around[..., :4], around[..., 5:]), dim=-1).amax(dim=-1)
    return with_topk_of(heatmap * (heatmap > around), wh, offset, k, stride)


@wrong("there are fewer entries than topk asks for")
def always_k(heatmap, wh, offset, k=100, *, stride=4):
    h, w = heatmap.shape[-2:]
    scores, index = peaks_of(heatmap).flatten(1).topk(k, dim=1)
    labels, rows, columns = index // (h * w), index % (h * w) // w, index % w
    return boxes_at(rows, columns, wh, offset, stride), scores, labels


@wrong("k of each class")
def k_of_each_class(heatmap, wh, offset, k=100, *, stride=4):
    _, classes, h, w = heatmap.shape
    scores, places = peaks_of(heatmap).flatten(2).topk(min(k, h * w), dim=2)
    labels = torch.arange(classes)[:, None].expand_as(scores).flatten(1)
    scores, places = scores.flatten(1), places.flatten(1)
    return boxes_at(places // w, places % w, wh, offset, stride), scores, labels


@wrong("in the order of the map")
def in_the_order_of_the_map(heatmap, wh, offset, k=100, *, stride=4):
    _, classes, h, w = heatmap.shape
    flat = peaks_of(heatmap).flatten(1)
    index = flat.topk(min(k, classes * h * w), dim=1).indices.sort(dim=1).values
    labels, rows, columns = index // (h * w), index % (h * w) // w, index % w
    return boxes_at(rows, columns, wh, offset, stride), flat.gather(1, index), labels


@wrong("always 4")
def stride_four(heatmap, wh, offset, k=100, *, stride=4):
    return with_topk(heatmap, wh, offset, k)


@wrong("yours takes the height for the width")
def height_for_width(heatmap, wh, offset, k=100, *, stride=4):
    """Divides by h where a row has w cells."""
    _, classes, h, w = heatmap.shape
    scores, index = peaks_of(heatmap).flatten(1).topk(min(k, classes * h * w), dim=1)
    place = index % (h * w)
    rows, columns = place // h, place % h
    image = torch.arange(len(rows))[:, None]
    x = columns + offset.flatten(2)[image, 0, place]
    y = rows + offset.flatten(2)[image, 1, place]
    half = wh.flatten(2)[image, :, place] / 2
    centre = torch.stack((x, y), dim=-1)
    boxes = stride * torch.cat((centre - half, centre + half), dim=-1)
    return boxes, scores, index // (h * w)


@wrong("yours is clipped")
def clipped(heatmap, wh, offset, k=100, *, stride=4):
    boxes, scores, labels = with_topk(heatmap, wh, offset, k, stride=stride)
    h, w = heatmap.shape[-2:]
    most = torch.tensor([w, h, w, h]) * stride
    return torch.minimum(boxes.clamp(min=0), most), scores, labels


@wrong("the sigmoid has been taken already")
def sigmoid_again(heatmap, wh, offset, k=100, *, stride=4):
    scores, labels, rows, columns = highest_places(peaks_of(heatmap), k)
    return boxes_at(rows, columns, wh, offset, stride), scores.sigmoid(), labels


@wrong("there is a loop over images")
def image_by_image(heatmap, wh, offset, k=100, *, stride=4):
    parts = [
        with_topk(heatmap[i, None], wh[i, None], offset[i, None], k, stride=stride)
        for i in range(len(heatmap))
    ]
    return tuple(torch.cat(part) for part in zip(*parts))
