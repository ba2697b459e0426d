"""Exercise 3.9: answers."""

import numpy as np
import torch
import torch.nn.functional as F

from answers import right, slightly_off, wrong


def new_sides(image, size):
    h, w = image.shape[-2:]
    scale = size / max(h, w)
    return max(1, round(h * scale)), max(1, round(w * scale))


def paint(image, h, w):
    return F.interpolate(image[None], (h, w), mode="bilinear", antialias=True)[0]


def followed(image, new, boxes):
    x, y = new.shape[2] / image.shape[2], new.shape[1] / image.shape[1]
    return boxes * torch.tensor([x, y, x, y])


def scaled(anchors, images, size):
    return None if anchors is None else anchors * size / max(images[0].shape[-2:])


@right
def image_by_image(images, targets, anchors, size):
    new_images, new_targets = [], []
    for image, target in zip(images, targets):
        new = paint(image, *new_sides(image, size))
        new_images.append(new)
        new_targets.append({**target, "boxes": followed(image, new, target["boxes"])})
    return new_images, new_targets, scaled(anchors, images, size)


@right
def with_copies(images, targets, anchors, size):
    images, targets = list(images), [dict(target) for target in targets]
    longer = max(images[0].shape[-2:])
    for i, image in enumerate(images):
        h, w = image.shape[-2:]
        new_h, new_w = new_sides(image, size)
        images[i] = F.interpolate(
            image.unsqueeze(0), size=(new_h, new_w), mode="bilinear", antialias=True
        ).squeeze(0)
        boxes = targets[i]["boxes"].clone()
        boxes[:, 0::2] *= new_w / w
        boxes[:, 1::2] *= new_h / h
        targets[i]["boxes"] = boxes
    if anchors is not None:
        anchors = anchors / longer * size
    return images, targets, anchors


@right
def with_comprehensions(images, targets, anchors, size):
    new = [paint(image, *new_sides(image, size)) for image in images]
    boxes = [followed(*three) for three in zip(images, new, [t["boxes"] for t in targets])]
    moved = [{**t, "boxes": b} for t, b in zip(targets, boxes)]
    return tuple(new), tuple(moved), scaled(anchors, images, size)


@right
def boxes_by_numpy(images, targets, anchors, size):
    new_images = [paint(image, *new_sides(image, size)) for image in images]
    new_targets = []
    for old, new, target in zip(images, new_images, targets):
        ratio = np.array(new.shape[:0:-1]) / np.array(old.shape[:0:-1])
        boxes = target["boxes"].numpy() * np.tile(ratio, 2).astype(np.float32)
        copy = target.copy()
        copy["boxes"] = torch.from_numpy(boxes)
        new_targets.append(copy)
    return [new_images, new_targets, scaled(anchors, images, size)]


@slightly_off
def boxes_a_thousandth_too_large(images, targets, anchors, size):
    images, targets, anchors = image_by_image(images, targets, anchors, size)
    return images, [{**t, "boxes": 1.001 * t["boxes"]} for t in targets], anchors


@slightly_off
def anchors_a_thousandth_too_small(images, targets, anchors, size):
    images, targets, anchors = image_by_image(images, targets, anchors, size)
    return images, targets, None if anchors is None else 0.999 * anchors


@slightly_off
def images_a_hundredth_too_dark(images, targets, anchors, size):
    images, targets, anchors = image_by_image(images, targets, anchors, size)
    return [0.99 * image for image in images], targets, anchors


@wrong("they must be resized with the image")
def forgets_the_boxes(images, targets, anchors, size):
    new = [paint(image, *new_sides(image, size)) for image in images]
    return new, targets, scaled(anchors, images, size)


@wrong("they grow and shrink with the images")
def forgets_the_anchors(images, targets, anchors, size):
    new_images, new_targets, _ = image_by_image(images, targets, None, size)
    return new_images, new_targets, anchors


@wrong("boxes and anchors are in pixels as well")
def images_only(images, targets, anchors, size):
    return [paint(image, *new_sides(image, size)) for image in images], targets, anchors


@wrong("yours makes every image a square")
def squares(images, targets, anchors, size):
    new = [paint(image, size, size) for image in images]
    moved = [{**t, "boxes": followed(i, n, t["boxes"])} for i, n, t in zip(images, new, targets)]
    return new, moved, scaled(anchors, images, size)


@wrong("yours gives them to the shorter one")
def shorter_side(images, targets, anchors, size):
    new = []
    for image in images:
        h, w = image.shape[-2:]
        new.append(paint(image, round(h * size / min(h, w)), round(w * size / min(h, w))))
    moved = [{**t, "boxes": followed(i, n, t["boxes"])} for i, n, t in zip(images, new, targets)]
    return new, moved, scaled(anchors, images, size)


@wrong("F.interpolate takes the height first")
def width_first(images, targets, anchors, size):
    new = [paint(image, *new_sides(image, size)[::-1]) for image in images]
    moved = [{**t, "boxes": followed(i, n, t["boxes"])} for i, n, t in zip(images, new, targets)]
    return new, moved, scaled(anchors, images, size)


@wrong("yours is cut off")
def cut_off(images, targets, anchors, size):
    new = []
    for image in images:
        h, w = image.shape[-2:]
        new.append(paint(image, max(1, h * size // max(h, w)), max(1, w * size // max(h, w))))
    moved = [{**t, "boxes": followed(i, n, t["boxes"])} for i, n, t in zip(images, new, targets)]
    return new, moved, scaled(anchors, images, size)


@wrong("averages the pixels that it drops")
def without_antialias(images, targets, anchors, size):
    new = [
        F.interpolate(i[None], new_sides(i, size), mode="bilinear", align_corners=False)[0]
        for i in images
    ]
    _, moved, anchors = image_by_image(images, targets, anchors, size)
    return new, moved, anchors


@wrong("the corners' middles stay in place")
def corners_aligned(images, targets, anchors, size):
    new = [
        F.interpolate(i[None], new_sides(i, size), mode="bilinear", align_corners=True)[0]
        for i in images
    ]
    _, moved, anchors = image_by_image(images, targets, anchors, size)
    return new, moved, anchors


@wrong("the default of F.interpolate takes the nearest pixel")
def default_mode(images, targets, anchors, size):
    new = [F.interpolate(i[None], size=new_sides(i, size))[0] for i in images]
    _, moved, anchors = image_by_image(images, targets, anchors, size)
    return new, moved, anchors


@wrong("x is multiplied by the ratio of the widths")
def ratios_exchanged(images, targets, anchors, size):
    new, _, anchors = image_by_image(images, targets, anchors, size)
    moved = []
    for old, image, target in zip(images, new, targets):
        y, x = image.shape[1] / old.shape[1], image.shape[2] / old.shape[2]
        moved.append({**target, "boxes": target["boxes"] * torch.tensor([y, x, y, x])})
    return new, moved, anchors


@wrong("the rounded side changes the ratio a little")
def one_ratio(images, targets, anchors, size):
    new, _, new_anchors = image_by_image(images, targets, anchors, size)
    moved = [
        {**t, "boxes": t["boxes"] * (size / max(i.shape[-2:]))} for i, t in zip(images, targets)
    ]
    return new, moved, new_anchors


@wrong("the ratio is new / old")
def old_by_new(images, targets, anchors, size):
    new, _, anchors = image_by_image(images, targets, anchors, size)
    moved = [{**t, "boxes": followed(n, i, t["boxes"])} for i, n, t in zip(images, new, targets)]
    return new, moved, anchors


@wrong("yours resizes the second corner alone")
def second_corner(images, targets, anchors, size):
    new, moved, anchors = image_by_image(images, targets, anchors, size)
    for target, old in zip(moved, targets):
        target["boxes"][:, :2] = old["boxes"][:, :2]
    return new, moved, anchors


@wrong("boxes stay in pixels")
def relative_boxes(images, targets, anchors, size):
    new, _, anchors = image_by_image(images, targets, anchors, size)
    moved = [
        {**t, "boxes": t["boxes"] / torch.tensor(i.shape[:0:-1]).repeat(2)}
        for i, t in zip(images, targets)
    ]
    return new, moved, anchors


@wrong("not rounded to whole pixels")
def whole_pixels(images, targets, anchors, size):
    new, moved, anchors = image_by_image(images, targets, anchors, size)
    return new, [{**t, "boxes": t["boxes"].round()} for t in moved], anchors


@wrong("yours takes that of the first")
def ratio_of_the_first(images, targets, anchors, size):
    new, _, anchors = image_by_image(images, targets, anchors, size)
    moved = [{**t, "boxes": followed(images[0], new[0], t["boxes"])} for t in targets]
    return new, moved, anchors


@wrong("yours takes the inverse")
def anchors_upside_down(images, targets, anchors, size):
    new, moved, _ = image_by_image(images, targets, None, size)
    if anchors is not None:
        anchors = anchors * max(images[0].shape[-2:]) / size
    return new, moved, anchors


@wrong("yours takes another side")
def anchors_by_the_width(images, targets, anchors, size):
    new, moved, _ = image_by_image(images, targets, None, size)
    if anchors is not None:
        anchors = anchors * size / images[0].shape[2]
    return new, moved, anchors


@wrong("the targets belong to the caller")
def writes_into_the_targets(images, targets, anchors, size):
    new = [paint(image, *new_sides(image, size)) for image in images]
    for old, image, target in zip(images, new, targets):
        target["boxes"] = followed(old, image, target["boxes"])
    return new, targets, scaled(anchors, images, size)


@wrong("the targets belong to the caller")
def multiplies_in_place(images, targets, anchors, size):
    new = [paint(image, *new_sides(image, size)) for image in images]
    for old, image, target in zip(images, new, targets):
        target["boxes"] *= followed(old, image, torch.ones(1, 4))
    return new, targets, scaled(anchors, images, size)


@wrong("yours has the boxes alone")
def loses_the_labels(images, targets, anchors, size):
    new, moved, anchors = image_by_image(images, targets, anchors, size)
    return new, [{"boxes": t["boxes"]} for t in moved], anchors


@wrong("the images, the targets and the anchors")
def without_anchors(images, targets, anchors, size):
    return image_by_image(images, targets, anchors, size)[:2]


@wrong("unsupported operand type")
def anchors_may_be_none(images, targets, anchors, size):
    new, moved, _ = image_by_image(images, targets, None, size)
    return new, moved, anchors * (size / max(images[0].shape[-2:]))
