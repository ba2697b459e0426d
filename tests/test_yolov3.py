"""YOLOv3: decoding, who learns what, the loss and the detector, each against loops of its own."""

import math
from itertools import pairwise

import pytest
import torch
from detectors import check_two_colours, target, two_colours
from torch import nn
from torch.testing import assert_close

from detlearn import models
from detlearn.anchors import choose_start, kmeans_anchors
from detlearn.data import ToyTown
from detlearn.models import yolov3
from detlearn.models.images import ImageBatcher
from detlearn.models.small import SMALL_YOLO_ANCHORS
from detlearn.models.yolov3 import (
    YOLOv3,
    YOLOv3Head,
    YOLOv3Neck,
    YOLOv3Outputs,
    decode_grid,
    encode_boxes,
    naive_decode_grid,
    responsible_places,
    yolov3_targets,
)
from detlearn.nets.small import SmallBackbone
from detlearn.training import fit

STRIDES = [4, 8, 16]
ANCHORS = [[(6, 10), (16, 10), (10, 21)], [(26, 18), (15, 38)], [(33, 33), (25, 53), (51, 49)]]
IGNORED, BACKGROUND = -2, -1


# ---- loops, written for these tests


def sig(t):
    return 1 / (1 + math.exp(-t))


def bce(t, wanted):
    return -wanted * math.log(sig(t)) - (1 - wanted) * math.log(1 - sig(t))


def naive_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inside = max(width, 0) * max(height, 0)
    return inside / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside)


def naive_places(map_sizes, anchors=ANCHORS, strides=STRIDES):
    """All places as (level, row, column, anchor), in their order."""
    return [
        (level, row, column, a)
        for level, (height, width) in enumerate(map_sizes)
        for row in range(height)
        for column in range(width)
        for a in range(len(anchors[level]))
    ]


def naive_responsible(box, map_sizes, anchors=ANCHORS, strides=STRIDES):
    """The one place that learns an object."""
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    best, found = -1.0, None
    for level, shapes in enumerate(anchors):
        for a, (anchor_w, anchor_h) in enumerate(shapes):
            inside = min(w, anchor_w) * min(h, anchor_h)
            iou = inside / (w * h + anchor_w * anchor_h - inside)
            if iou > best:
                height, width = map_sizes[level]
                row = min(max(math.floor((y1 + y2) / 2 / strides[level]), 0), height - 1)
                column = min(max(math.floor((x1 + x2) / 2 / strides[level]), 0), width - 1)
                best, found = iou, (level, row, column, a)
    return found


def naive_targets(gt_boxes, pred_boxes, map_sizes, threshold):
    """What each place learns, one after the other."""
    owners = [naive_responsible(box, map_sizes) for box in gt_boxes]
    assigned = []
    for place, pred in zip(naive_places(map_sizes), pred_boxes):
        learns = BACKGROUND
        for n, (box, owner) in enumerate(zip(gt_boxes, owners)):
            if owner == place:
                learns = n  # the last one stays
            elif learns == BACKGROUND and naive_iou(pred, box) > threshold:
                learns = IGNORED
        assigned.append(learns)
    return assigned


def naive_losses(outputs, targets, num_classes, threshold):
    """All four terms, one place after the other, from the raw maps."""
    sums = dict.fromkeys(("xy", "wh", "objectness", "class"), 0.0)
    count = 0
    anchors = [level.tolist() for level in outputs.anchors]
    map_sizes = [tuple(x.shape[-2:]) for x in outputs.raw]
    levels = zip(outputs.raw, outputs.anchors, outputs.strides)
    boxes = torch.cat([naive_decode_grid(*level)[0] for level in levels], dim=1).tolist()
    for b, one in enumerate(targets):
        objects = one["boxes"].tolist()
        assigned = naive_targets(objects, boxes[b], map_sizes, threshold)
        for (level, row, column, a), n in zip(naive_places(map_sizes), assigned):
            first = a * (5 + num_classes)
            t = outputs.raw[level][b, first : first + 5 + num_classes, row, column].tolist()
            if n != IGNORED:
                sums["objectness"] += bce(t[4], float(n >= 0))
            if n < 0:
                continue
            count += 1
            x1, y1, x2, y2 = objects[n]
            image_height, image_width = outputs.sizes[b]
            weight = max(2 - (x2 - x1) * (y2 - y1) / (image_height * image_width), 1)
            stride, (anchor_w, anchor_h) = outputs.strides[level], anchors[level][a]
            in_x = min(max((x1 + x2) / 2 / stride - column, 0), 1)
            in_y = min(max((y1 + y2) / 2 / stride - row, 0), 1)
            sums["xy"] += weight * (bce(t[0], in_x) + bce(t[1], in_y))
            error = (t[2] - math.log((x2 - x1) / anchor_w)) ** 2
            error += (t[3] - math.log((y2 - y1) / anchor_h)) ** 2
            sums["wh"] += weight * error / 2
            label = int(one["labels"][n])
            sums["class"] += sum(bce(t[5 + k], float(k == label)) for k in range(num_classes))
    return {name: value / max(count, 1) for name, value in sums.items()}


# ---- material


def random_boxes(number, height, width, random):
    """Boxes from two pixels to more than the image, some reaching over its border."""
    sides = 2 ** (1 + torch.rand(number, 2, generator=random) * math.log2(max(height, width)))
    centres = torch.rand(number, 2, generator=random) * torch.tensor([width, height])
    return torch.cat((centres - sides / 2, centres + sides / 2), dim=-1)


def random_outputs(batch, size, num_classes, random, spread=1.0):
    raw = []
    for stride, shapes in zip(STRIDES, ANCHORS):
        channels = len(shapes) * (5 + num_classes)
        shape = (batch, channels, math.ceil(size[0] / stride), math.ceil(size[1] / stride))
        raw.append(spread * torch.randn(shape, generator=random, dtype=torch.float64))
    anchors = [torch.tensor(level, dtype=torch.float64) for level in ANCHORS]
    return YOLOv3Outputs(raw, anchors, STRIDES, [size] * batch)


def anchor_tensors(dtype=torch.float32):
    return [torch.tensor(level, dtype=dtype) for level in ANCHORS]


def small_detector(num_classes=2, batcher=None, **settings):
    torch.manual_seed(0)
    backbone = SmallBackbone((8, 8, 8, 8))
    neck = YOLOv3Neck(backbone.out_channels, (8, 8, 8, 8), num_convs=1, num_levels=3)
    head = YOLOv3Head(neck.out_channels, (16, 16, 16), num_classes)
    anchors = [level if len(level) == 3 else [*level, (40, 20)] for level in ANCHORS]
    model = YOLOv3(num_classes, backbone, neck, head, anchors, batcher=batcher)
    for name, value in settings.items():
        assert hasattr(model, name)
        setattr(model, name, value)
    return model


class TestDecode:
    def test_by_hand(self):
        """The second anchor of row 1, column 2 of a map of stride 8."""
        raw = torch.zeros(1, 2 * 7, 2, 3)
        three, two = math.log(3.0), math.log(2.0)
        raw[0, 7:, 1, 2] = torch.tensor([three, -three, two, -two, 0, 2.0, -2.0])
        boxes, objectness, class_scores = decode_grid(raw, torch.tensor([[9.0, 9], [10, 20]]), 8)
        assert boxes.shape == (1, 12, 4) and objectness.shape == (1, 12)
        assert class_scores.shape == (1, 12, 2)
        # σ(log 3) = .75, σ(−log 3) = .25: centre (2.75 · 8, 1.25 · 8) = (22, 10), size 20 × 10
        place = (1 * 3 + 2) * 2 + 1
        assert_close(boxes[0, place], torch.tensor([12.0, 5, 32, 15]))
        assert objectness[0, place] == 0.5
        assert_close(class_scores[0, place], torch.tensor([sig(2), sig(-2)]))
        # All others are their anchors in the middle of their cells.
        assert_close(boxes[0, 0], torch.tensor([4 - 4.5, 4 - 4.5, 4 + 4.5, 4 + 4.5]))
        assert_close(boxes[0, 1], torch.tensor([4.0 - 5, 4 - 10, 4 + 5, 4 + 10]))

    @pytest.mark.parametrize("shape", [(1, 1), (2, 5), (4, 3)])
    @pytest.mark.parametrize("spread", [1.0, 30.0])
    @pytest.mark.parametrize("num_anchors", [1, 3])
    def test_equals_the_naive_twin(self, shape, spread, num_anchors):
        random = torch.Generator().manual_seed(1)
        raw = torch.randn(2, num_anchors * 9, *shape, generator=random, dtype=torch.float64)
        anchors = 3 + 40 * torch.rand(num_anchors, 2, generator=random, dtype=torch.float64)
        found = decode_grid(spread * raw, anchors, 16)
        wanted = naive_decode_grid(spread * raw, anchors, 16)
        for a, b in zip(found, wanted):
            assert_close(a, b, rtol=1e-6, atol=1e-6)
        assert all(x.isfinite().all() for x in found)

    def test_float32_is_as_good(self):
        random = torch.Generator().manual_seed(1)
        raw = torch.randn(4, 3 * 9, 6, 5, generator=random)
        anchors = torch.tensor(ANCHORS[0], dtype=torch.float32)
        for a, b in zip(decode_grid(raw, anchors, 4), naive_decode_grid(raw, anchors, 4)):
            assert_close(a, b, rtol=1e-6, atol=1e-5)

    def test_centres_stay_in_their_cells(self):
        raw = 50 * torch.randn(1, 6, 7, 9)
        boxes, *_ = decode_grid(raw, torch.tensor([[10.0, 10]]), 8)
        centres = ((boxes[..., :2] + boxes[..., 2:]) / 2).view(7, 9, 2)
        column, row = torch.arange(9.0), torch.arange(7.0)[:, None]
        inside = (centres[..., 0] / 8 - column, centres[..., 1] / 8 - row)
        assert all(((x > -1e-2) & (x < 1 + 1e-2)).all() for x in inside)

    @pytest.mark.parametrize("seed", range(3))
    def test_encoding_is_the_way_back(self, seed):
        random = torch.Generator().manual_seed(seed)
        raw = torch.randn(1, 3 * 5, 4, 6, generator=random, dtype=torch.float64)
        anchors = torch.tensor(ANCHORS[0], dtype=torch.float64)
        boxes, *_ = decode_grid(raw, anchors, 4)
        still, *_ = decode_grid(torch.zeros_like(raw), anchors, 4)
        found = encode_boxes(boxes[0], still[0], torch.full((72,), 4.0, dtype=torch.float64))
        t = raw.view(3, 5, 4, 6).permute(2, 3, 0, 1).reshape(72, 5)
        assert_close(found, torch.cat((t[:, :2].sigmoid(), t[:, 2:4]), dim=1))

    def test_a_centre_outside_of_the_image_is_learnt_at_the_edge_of_its_cell(self):
        boxes = torch.tensor([[-15.0, -15, 9, 3], [56, 58, 80, 76]])
        anchors = torch.tensor([[-9.0, -5, 17, 13], [47, 51, 73, 69]])  # cells (0, 0) and (7, 7)
        found = encode_boxes(boxes, anchors, torch.tensor([8.0, 8]))
        assert found[:, :2].tolist() == [[0, 0], [1, 1]]
        assert_close(found[:, 2], torch.full((2,), math.log(24 / 26)))


class TestResponsiblePlaces:
    MAPS = ((8, 12), (4, 6), (2, 3))  # an image of 32 × 48

    def found(self, box):
        (place,) = responsible_places(torch.tensor([box]), anchor_tensors(), STRIDES, self.MAPS)
        return naive_places(self.MAPS)[place]

    @pytest.mark.parametrize(
        ("box", "place"),
        [
            ((10.0, 10, 16, 20), (0, 3, 3, 0)),  # 6 × 10 around (13, 15)
            ((2.0, 5, 28, 23), (1, 1, 1, 0)),  # 26 × 18 around (15, 14)
            ((-2.0, -10, 49, 39), (2, 0, 1, 2)),  # 51 × 49 around (23.5, 14.5)
            ((20.0, 20, 21, 21), (0, 5, 5, 0)),  # smaller than a cell: the smallest anchor
            ((2.0, 8, 22, 8.5), (0, 2, 3, 1)),  # a hair of a box: the widest of the small
            ((12.0, 12, 20, 20), (0, 4, 4, 0)),  # centre on an edge: the next cell
            ((38.0, 22, 58, 42), (1, 3, 5, 0)),  # centre at the border of the image
            ((-15.0, -15, 9, 3), (1, 0, 0, 0)),  # … outside of it: the nearest cell
            ((-100.0, -100, 400, 400), (2, 1, 2, 2)),  # larger than everything
        ],
    )
    def test_by_hand(self, box, place):
        assert self.found(box) == place == naive_responsible(box, self.MAPS)

    @pytest.mark.parametrize("seed", range(4))
    def test_equals_the_loop(self, seed):
        random = torch.Generator().manual_seed(seed)
        boxes = random_boxes(40, 32, 48, random).view(4, 10, 4)
        found = responsible_places(boxes, anchor_tensors(), STRIDES, self.MAPS)
        assert found.shape == (4, 10) and found.dtype == torch.int64
        places = naive_places(self.MAPS)
        for place, box in zip(found.flatten().tolist(), boxes.view(-1, 4).tolist()):
            assert places[place] == naive_responsible(box, self.MAPS)

    def test_of_equal_anchors_the_first_learns(self):
        anchors = [torch.tensor([[5.0, 5], [9, 9]]), torch.tensor([[9.0, 9], [5, 5]])]
        boxes = torch.tensor([[0.0, 0, 5, 5], [0, 0, 9, 9]])
        assert responsible_places(boxes, anchors, [4, 8], [(2, 2), (1, 1)]).tolist() == [0, 7]


class TestTargets:
    def targets(self, gt_boxes, pred_boxes, map_sizes, threshold=0.7):
        return yolov3_targets(
            gt_boxes, pred_boxes, anchor_tensors(gt_boxes.dtype), STRIDES, map_sizes, threshold
        )

    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("size", [(32, 48), (64, 32)])
    @pytest.mark.parametrize("threshold", [0.7, 0.3])
    def test_equals_the_loop(self, seed, size, threshold):
        random = torch.Generator().manual_seed(seed)
        map_sizes = [(size[0] // s, size[1] // s) for s in STRIDES]
        places = naive_places(map_sizes)
        gt_boxes = random_boxes(3 * seed, *size, random).double()
        # Predictions near the objects, so that many are ignored.
        pred_boxes = random_boxes(len(places), *size, random).double()
        if seed:
            near = torch.randint(3 * seed, (len(places) // 2,), generator=random)
            noise = torch.randn(len(near), 4, generator=random, dtype=torch.float64)
            pred_boxes[: len(near)] = gt_boxes[near] + noise
            pred_boxes[..., 2:] = pred_boxes[..., 2:].maximum(pred_boxes[..., :2] + 0.1)
        found = self.targets(gt_boxes, pred_boxes, map_sizes, threshold)
        wanted = naive_targets(gt_boxes.tolist(), pred_boxes.tolist(), map_sizes, threshold)
        assert found.tolist() == wanted
        if seed > 1:
            assert {IGNORED, BACKGROUND} < set(wanted)

    def test_each_object_is_learnt_once_by_one_anchor_of_all(self):
        """Far apart objects: as many places learn as there are objects, on several levels."""
        boxes = torch.tensor(
            [[0.0, 0, 6, 10], [40, 0, 66, 18], [70, 60, 120, 110], [10, 80, 26, 90]]
        )
        map_sizes = [(32, 32), (16, 16), (8, 8)]
        pred = torch.zeros(len(naive_places(map_sizes)), 4)
        assigned = self.targets(boxes, pred, map_sizes)
        assert sorted(assigned[assigned >= 0].tolist()) == [0, 1, 2, 3]
        levels = [naive_places(map_sizes)[p][0] for p in (assigned >= 0).nonzero().flatten()]
        assert set(levels) == {0, 1, 2}

    def test_of_two_objects_with_one_cell_and_anchor_the_last_is_learnt(self):
        boxes = torch.tensor([[8.0, 8, 14, 18], [8.5, 8.5, 14.5, 18.5], [40, 40, 46, 50]])
        map_sizes = [(16, 16), (8, 8), (4, 4)]
        pred = torch.zeros(len(naive_places(map_sizes)), 4)
        for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0]):
            assigned = self.targets(boxes[order], pred, map_sizes)
            assert (assigned >= 0).sum() == 2
            learnt = {order[n] for n in assigned[assigned >= 0].tolist()}
            assert learnt == {2, [o for o in order if o != 2][-1]}

    def test_two_objects_in_one_cell_are_both_learnt_by_their_own_anchors(self):
        boxes = torch.tensor([[8.0, 8, 14, 18], [3, 8, 19, 18]])  # 6 × 10 and 16 × 10
        map_sizes = [(16, 16), (8, 8), (4, 4)]
        assigned = self.targets(boxes, torch.zeros(len(naive_places(map_sizes)), 4), map_sizes)
        places = [naive_places(map_sizes)[p] for p in (assigned >= 0).nonzero().flatten()]
        assert places == [(0, 3, 2, 0), (0, 3, 2, 1)]

    def test_ignored_is_who_predicts_well_and_not_who_stands_well(self):
        """IoU above the threshold of the prediction with any object; the responsible learns on."""
        map_sizes = [(16, 16), (8, 8), (4, 4)]
        places = naive_places(map_sizes)
        gt = torch.tensor([[20.0, 20, 26, 30]])  # 6 × 10
        pred = torch.zeros(len(places), 4)
        pred[7] = gt[0]  # a place far away that predicts it
        pred[8] = gt[0] + torch.tensor([0.0, 0, 0, 4])  # IoU 10 / 14 = .714
        pred[9] = gt[0] + torch.tensor([0.0, 0, 0, 5])  # IoU 10 / 15 = .667
        mine = int(responsible_places(gt, anchor_tensors(), STRIDES, map_sizes)[0])
        pred[mine] = gt[0]
        assigned = self.targets(gt, pred, map_sizes)
        assert (assigned == IGNORED).nonzero().flatten().tolist() == [7, 8]
        assert (assigned >= 0).nonzero().flatten().tolist() == [mine]
        assert self.targets(gt, pred, map_sizes, threshold=0.6)[9] == IGNORED
        exactly = self.targets(gt.double(), pred.double(), map_sizes, threshold=10 / 15)
        assert exactly[9] == BACKGROUND  # more than the threshold, not as much

    def test_padding_is_no_object(self):
        random = torch.Generator().manual_seed(0)
        map_sizes = [(8, 8), (4, 4), (2, 2)]
        pred = random_boxes(len(naive_places(map_sizes)), 32, 32, random).expand(3, -1, 4)
        boxes = random_boxes(5, 32, 32, random)
        padded = torch.zeros(3, 5, 4)
        for i, number in enumerate((5, 0, 2)):
            padded[i, :number] = boxes[:number]
        together = self.targets(padded, pred, map_sizes)
        for i, number in enumerate((5, 0, 2)):
            assert torch.equal(together[i], self.targets(boxes[:number], pred[i], map_sizes))
        assert (together[1] == BACKGROUND).all()


class TestLoss:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("threshold", [0.7, 0.2])
    def test_equals_the_loop(self, seed, threshold):
        random = torch.Generator().manual_seed(seed)
        outputs = random_outputs(3, (32, 64), 3, random)
        outputs = outputs._replace(sizes=[(32, 64), (30, 50), (17, 64)])
        targets = []
        for number, (height, width) in zip((4, 0, 9), outputs.sizes):
            labels = torch.randint(3, (number,), generator=random)
            boxes = random_boxes(number, height, width, random).double()
            targets.append({"boxes": boxes, "labels": labels})
        model = small_detector(3, ignore_threshold=threshold)
        found = model.compute_loss(outputs, targets)
        wanted = naive_losses(outputs, targets, 3, threshold)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert found[name].item() == pytest.approx(value, rel=1e-5), name

    def test_doubling_the_batch_changes_nothing(self):
        random = torch.Generator().manual_seed(0)
        outputs = random_outputs(1, (32, 32), 2, random)
        goal = [target([[4, 4, 20, 20], [10, 2, 30, 9]], [0, 1])]
        model = small_detector()
        one = model.compute_loss(outputs, goal)
        raw = [torch.cat((x, x)) for x in outputs.raw]
        two = model.compute_loss(outputs._replace(raw=raw, sizes=outputs.sizes * 2), goal * 2)
        assert_close(one, two)

    def test_the_right_prediction_has_hardly_a_loss(self):
        """Written into the raw maps by the loop's own account of who learns what."""
        model, size = small_detector(3), (64, 64)
        outputs = random_outputs(1, size, 3, torch.Generator().manual_seed(0))
        maps = [x.zero_() for x in outputs.raw]
        objects = target([[6, 6, 18, 28], [30, 34, 60, 62]], [2, 0])
        for x, level in zip(maps, ANCHORS):
            x.view(len(level), 8, *x.shape[-2:])[:, 4] = -20
        for box, label in zip(objects["boxes"].tolist(), objects["labels"].tolist()):
            level, row, column, a = naive_responsible(box, [x.shape[-2:] for x in maps])
            x = maps[level].view(len(ANCHORS[level]), 8, *maps[level].shape[-2:])[a, :, row, column]
            cx, cy = (box[0] + box[2]) / 2 / STRIDES[level], (box[1] + box[3]) / 2 / STRIDES[level]
            shares = torch.tensor([cx - column, cy - row]).clamp(1e-6, 1 - 1e-6)
            x[:2] = shares.logit()
            anchor = torch.tensor(ANCHORS[level][a])
            x[2:4] = (torch.tensor([box[2] - box[0], box[3] - box[1]]) / anchor).log()
            x[4], x[5:] = 20, -20
            x[5 + label] = 20
        losses = model.compute_loss(outputs, [objects])
        assert losses["objectness"] < 1e-5 and losses["class"] < 1e-5 and losses["wh"] < 1e-9
        (found,) = model.decode(outputs)
        assert found["labels"].sort().values.tolist() == [0, 2]
        order = found["labels"].argsort(descending=True)
        assert_close(found["boxes"][order].float(), objects["boxes"], atol=1e-3, rtol=0)

    def test_without_objects_only_objectness_learns(self):
        model = small_detector()
        losses = model([torch.rand(3, 32, 32)] * 2, [target([]), target([])])
        assert losses["xy"] == losses["wh"] == losses["class"] == 0
        # 256 + 64 + 16 … cells of three anchors in each of two images, each at .01 at first
        assert losses["objectness"].item() == pytest.approx(2 * 3 * 84 * 0.01005, rel=0.3)
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name

    def test_ignored_places_have_no_gradient(self):
        outputs = random_outputs(1, (32, 32), 1, torch.Generator().manual_seed(0))
        goal = target([[8, 8, 24, 24]])
        raw = [x.clone().requires_grad_() for x in outputs.raw]
        outputs = outputs._replace(raw=raw)
        model = small_detector(1, ignore_threshold=0.2)
        assigned = model.assign(outputs, [goal]).assigned
        assert not assigned.requires_grad and (assigned == IGNORED).sum() > 3
        sum(model.compute_loss(outputs, [goal]).values()).backward()
        grads = yolov3.flatten_levels(outputs._replace(raw=[x.grad for x in raw]))
        assert (grads[assigned == IGNORED] == 0).all()
        # Background answers for its objectness alone, the responsible place for all.
        background = grads[assigned == BACKGROUND]
        assert (background[:, 4] != 0).all()
        assert (background[:, :4] == 0).all() and (background[:, 5:] == 0).all()
        assert (grads[assigned >= 0] != 0).all()

    def test_gradients_reach_every_weight(self):
        model = small_detector()
        goal = [target([[8, 8, 20, 28], [2, 2, 40, 50], [10, 30, 16, 40]], [0, 1, 0])] * 2
        sum(model([torch.rand(3, 64, 64)] * 2, goal).values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad.count_nonzero() > 0, name


class TestAssign:
    def test_places_of_the_drawing(self):
        model = small_detector()
        outputs = model.predict(torch.rand(2, 3, 64, 32))
        goal = model.assign(outputs, [target([[4, 4, 20, 20]]), target([])])
        num_places = 3 * (16 * 8 + 8 * 4 + 4 * 2)
        assert goal.assigned.shape == (2, num_places)
        assert goal.points.shape == (num_places, 2) and goal.strides.shape == (num_places,)
        places = naive_places([(16, 8), (8, 4), (4, 2)], model.anchors)
        for p in range(0, num_places, 7):
            level, row, column, a = places[p]
            stride, (w, h) = STRIDES[level], model.anchors[level][a]
            x, y = (column + 0.5) * stride, (row + 0.5) * stride
            assert goal.points[p].tolist() == [x, y] and goal.strides[p] == stride
            assert_close(
                goal.anchors[p], torch.tensor([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
            )
        assert (goal.assigned[0] >= 0).sum() == 1 and not (goal.assigned[1] >= 0).any()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
    def test_boxes_of_another_precision_are_learnt_alike(self, dtype):
        model = small_detector(1)
        outputs = model.predict(torch.rand(1, 3, 320, 320))
        plain = target([[8, 8, 308, 308], [40, 40, 60, 60]])
        other = {**plain, "boxes": plain["boxes"].to(dtype)}
        one, same = model.assign(outputs, [plain]), model.assign(outputs, [other])
        assert torch.equal(one.assigned, same.assigned)
        assert_close(model.compute_loss(outputs, [plain]), model.compute_loss(outputs, [other]))


class TestNetwork:
    def test_neck_by_hand(self):
        """What comes from below stands in front, enlarged to the finer map's exact size."""
        neck = YOLOv3Neck([2, 4], channels=(None, 6), num_convs=1).eval()
        assert neck.out_channels == [5, 6]
        maps = {"8": torch.rand(1, 2, 5, 3), "16": torch.rand(1, 4, 3, 2)}
        found = neck(maps)
        assert list(found) == ["8", "16"]
        assert_close(found["16"], neck.blocks[1](maps["16"]))
        small = neck.laterals[0](found["16"])  # (1, 3, 3, 2)
        enlarged = small[:, :, [0, 0, 1, 1, 2]][..., [0, 0, 1]]
        assert_close(found["8"], torch.cat((enlarged, maps["8"]), dim=1))

    def test_five_convolutions_in_turns(self):
        neck = YOLOv3Neck([256, 512, 1024])
        assert neck.out_channels == [128, 256, 512]
        found = [
            [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in block.modules() if
             isinstance(c, nn.Conv2d)]
            for block in neck.blocks
        ]  # fmt: skip
        for convs, together, c in zip(found, (128 + 256, 256 + 512, 1024), (128, 256, 512)):
            wanted = [(together, c, 1), (c, 2 * c, 3), (2 * c, c, 1), (c, 2 * c, 3), (2 * c, c, 1)]
            assert convs == wanted

    def test_coarse_maps_may_only_feed(self):
        torch.manual_seed(0)
        neck = YOLOv3Neck([4, 4, 4], (8, 8, 8), num_convs=1, num_levels=2).eval()
        maps = {str(s): torch.rand(1, 4, 32 // s, 32 // s) for s in (4, 8, 16)}
        found = neck(maps)
        assert list(found) == ["4", "8"] and neck.out_channels == [8, 8]
        other = neck({**maps, "16": maps["16"] + 1})
        assert all(not torch.equal(found[name], other[name]) for name in found)

    def test_head_shares_nothing_and_starts_low(self):
        head = YOLOv3Head([4, 6], [8, 10], num_classes=3, num_anchors=2)
        found = head({"4": torch.rand(1, 4, 8, 8), "8": torch.rand(1, 6, 4, 4)})
        assert [tuple(x.shape) for x in found.values()] == [(1, 16, 8, 8), (1, 16, 4, 4)]
        for tower in head.towers:
            bias = tower[-1].bias.view(2, 8)
            assert_close(bias[:, 4].sigmoid(), torch.full((2,), 0.01))
            assert (bias[:, [0, 1, 2, 3, 5, 6, 7]].abs() < 1).all()

    @pytest.mark.parametrize(
        ("build", "says"),
        [
            (lambda: YOLOv3Neck([4, 4], (8,)), "in_channels has 2 levels, channels 1"),
            (lambda: YOLOv3Neck([4], (8,), num_convs=2), "num_convs is 2: expected an odd"),
            (lambda: YOLOv3Neck([4], (8,), num_levels=2), "num_levels is 2: expected 1 … 1"),
            (lambda: YOLOv3Neck([4], (8,), num_levels=0), "num_levels is 0: expected 1 … 1"),
            (lambda: detector_with([[(1, 1)]] * 5), r"for 5 levels, the backbone has .*\[4, 8, 16"),
            (lambda: detector_with([]), "for 0 levels"),
            (lambda: detector_with([[(1, 0)]]), "anchor 1 × 0: expected positive"),
            (lambda: detector_with([[(1, float("nan"))]]), "expected positive"),
            (lambda: detector_with([[(8, 8)] * 2] * 3).predict(torch.rand(1, 3, 64, 64)),
             r"predicts 21 numbers in a cell: expected 2 anchors × \(5 \+ 2 classes\) = 14"),
        ],
    )  # fmt: skip
    def test_errors(self, build, says):
        with pytest.raises(ValueError, match=says):
            build()


def detector_with(anchors):
    model = small_detector()
    return YOLOv3(2, model.backbone, model.neck, model.head, anchors)


def check_contract(found, height, width, num_classes, limit=100):
    assert found.keys() == {"boxes", "scores", "labels"}
    boxes, scores, labels = found["boxes"], found["scores"], found["labels"]
    assert boxes.shape == (len(scores), 4) and labels.shape == scores.shape
    assert len(scores) <= limit and labels.dtype == torch.int64
    assert (scores[:-1] >= scores[1:]).all() and (scores > 0).all() and (scores <= 1).all()
    assert ((labels >= 0) & (labels < num_classes)).all()
    assert (boxes[:, 0] >= 0).all() and (boxes[:, 2] <= width).all()
    assert (boxes[:, 1] >= 0).all() and (boxes[:, 3] <= height).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


SHAPES = [(33, 517), (64, 64), (1, 1), (7, 100), (128, 31)]


class TestDetect:
    @pytest.mark.parametrize(
        "sizes", [{}, {"min_size": 40, "max_size": 70}, {"fixed_size": (32, 96)}]
    )
    def test_odd_sizes_in_one_batch(self, sizes):
        model = small_detector(3, batcher=ImageBatcher(**sizes), score_threshold=0.0)
        images = [torch.rand(3, *shape) for shape in SHAPES]
        with torch.no_grad():
            results = model.eval()(images)
        for found, (height, width) in zip(results, SHAPES, strict=True):
            check_contract(found, height, width, 3)
            assert len(found["scores"]) > 0

    def test_decode_by_hand(self):
        """One anchor of 8 × 8 on a map of 1 × 3 cells of stride 8, two classes."""
        model = small_detector(2, score_threshold=0.3)
        raw = torch.zeros(1, 7, 1, 3)
        raw[0, 2:4] = 0
        logit = torch.tensor([0.9, 0.8, 0.5]).logit()
        raw[0, 4, 0] = logit  # objectness
        raw[0, 5, 0] = torch.tensor([0.9, 0.5, 0.5]).logit()  # .81, .40, .25
        raw[0, 6, 0] = torch.tensor([0.4, 0.9, 0.1]).logit()  # .36, .72, .05
        outputs = YOLOv3Outputs([raw], [torch.tensor([[8.0, 8]])], [8], [(8, 20)])
        (found,) = model.decode(outputs)
        assert_close(found["scores"], torch.tensor([0.81, 0.72, 0.4, 0.36]))
        assert found["labels"].tolist() == [0, 1, 0, 1]
        left, middle = [0.0, 0, 8, 8], [8.0, 0, 16, 8]
        assert found["boxes"].tolist() == [left, middle, middle, left]

    def test_of_two_near_copies_the_better_stays(self):
        model = small_detector(1, score_threshold=0.3)
        assert (small_detector().score_threshold, model.nms_threshold) == (0.001, 0.45)
        raw = torch.full((1, 2 * 6, 1, 1), 3.0)
        raw[0, [0, 1, 6, 7]] = 0.0
        raw[0, [2, 3, 8, 9]] = 0.0
        raw[0, 4] = 2.0
        anchors = [torch.tensor([[8.0, 8], [8, 9]])]
        (found,) = model.decode(YOLOv3Outputs([raw], anchors, [16], [(16, 16)]))
        assert len(found["scores"]) == 1 and found["boxes"][0, 3] == 12.5

    def test_nothing_found(self):
        (found,) = small_detector(score_threshold=0.999).eval()([torch.rand(3, 32, 32)])
        assert found["boxes"].shape == (0, 4)

    def test_is_repeatable(self):
        images = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))] * 2
        targets = [target([[8, 8, 40, 40]]), target([])]
        one, two = (small_detector()(images, targets) for _ in range(2))
        assert all(torch.equal(one[name], two[name]) for name in one)


class TestTrain:
    @pytest.mark.parametrize(
        ("shape", "boxes"),
        [
            ((33, 517), [[500, 20, 517, 33]]),
            ((32, 32), [[7, 7, 8, 8]]),  # one pixel
            ((32, 32), [[7, 7, 7.001, 8]]),  # hardly any
            ((32, 32), [[0, 0, 1, 1], [31, 31, 32, 32]]),
            ((32, 32), [[-20, 10, 3, 20], [30, 30, 90, 90]]),  # over the border
            ((32, 32), [[-90, -90, 90, 90]]),
            ((64, 64), [[i % 25, i // 25, i % 25 + 9, i // 25 + 9] for i in range(500)]),
        ],
    )
    def test_hard_targets(self, shape, boxes):
        model = small_detector()
        images = [torch.rand(3, *shape), torch.rand(3, 40, 40)]
        losses = model(images, [target(boxes), target([])])
        assert all(torch.isfinite(loss) and loss >= 0 for loss in losses.values())
        sum(losses.values()).backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())

    def test_bfloat16_stays_close(self):
        model, images = small_detector(), [torch.rand(3, 64, 64)] * 2
        targets = [target([[8, 8, 40, 40]])] * 2
        exact = model(images, targets)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(images, targets)
        for name in exact:
            assert rough[name].dtype == torch.float32
            assert rough[name].item() == pytest.approx(exact[name].item(), rel=0.1)

    def test_overfits_one_batch(self):
        """Eight objects of two colours on grey."""
        samples = two_colours()
        model = small_detector()
        # The neck's running statistics move by a hundredth a step: too slow for so few.
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1
        history = fit(
            model, samples, steps=80, batch_size=4, lr=1e-2, amp=False, augment=None,
            ema=0.9, progress=False,
        )  # fmt: skip
        assert history.total[-1] < 0.3 * history.total[0]  # xy's cross-entropy has a floor
        with torch.no_grad():
            results = model([image for image, _ in samples])
        for found, (_, wanted) in zip(results, samples):
            check_two_colours(found, wanted)
            assert (found["scores"][2:] < 0.6 * found["scores"][1]).all()


class TestBuilders:
    def test_published_anchors(self):
        """Rising in area, three a level, as ``yolov3.cfg`` and ``yolov3-tiny.cfg`` have them."""
        for anchors, levels in ((yolov3.ANCHORS, 3), (yolov3.TINY_ANCHORS, 2)):
            flat = [w * h for level in anchors for w, h in level]
            assert len(anchors) == levels and [len(level) for level in anchors] == [3] * levels
            assert all(a <= b for a, b in pairwise(flat))
        assert yolov3.ANCHORS[2] == ((116, 90), (156, 198), (373, 326))
        assert yolov3.TINY_ANCHORS[0] == ((10, 14), (23, 27), (37, 58))

    @pytest.mark.parametrize("name", ["yolov3_tiny", "yolov3_darknet53"])
    def test_full_size(self, name):
        model = getattr(models, name)(3, size=64)
        assert model.strides == ([16, 32] if name == "yolov3_tiny" else [8, 16, 32])
        assert model.batcher.fixed_size == (64, 64) and model.batcher.resizes
        image = torch.rand(3, 64, 64)
        batch, _ = model.batcher([image])
        assert torch.equal(batch.images[0], image)  # no colour is changed
        outputs = model.eval().predict(batch.images)
        shapes = [tuple(x.shape) for x in outputs.raw]
        assert shapes == [(1, 24, 64 // s, 64 // s) for s in model.strides]

    def test_small(self):
        model = models.create("yolov3", 10, min_size=64, max_size=96)
        assert isinstance(model, YOLOv3) and model.strides == [4, 8, 16]
        assert model.batcher.min_size == 64
        assert sum(p.numel() for p in model.parameters()) < 1_000_000
        flat = [w * h for level in model.anchors for w, h in level]
        assert len(flat) == 9 and all(a < b for a, b in pairwise(flat))

    @pytest.mark.slow
    def test_small_anchors_are_those_of_toytown(self):
        boxes = torch.cat([target["boxes"] for _, target in ToyTown(1000, seed=0)])
        sides = boxes[:, 2:] - boxes[:, :2]
        found = kmeans_anchors(sides, choose_start(sides, 9))
        wanted = torch.tensor(SMALL_YOLO_ANCHORS).flatten(0, 1)
        assert (found - wanted).abs().max() <= 0.5
