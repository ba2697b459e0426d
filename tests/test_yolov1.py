"""YOLOv1: a grid of numbers, one object a cell."""

import math

import pytest
import torch
from detectors import check_contract, check_two_colours, target, two_colours
from torch import nn

from detlearn import models, plotting
from detlearn.models.images import ImageBatcher
from detlearn.models.yolov1 import (
    YOLOv1,
    YOLOv1Head,
    YOLOv1Outputs,
    cell_objects,
    decode_grid,
    encode_boxes,
    naive_decode_grid,
    responsible_boxes,
    yolov1_loss,
)
from detlearn.nets.small import SmallBackbone
from detlearn.training import fit


def small_detector(num_classes=2, grid_size=4, num_boxes=2, **thresholds):
    """S × S cells of 16 pixels."""
    torch.manual_seed(0)
    backbone = SmallBackbone((8, 8, 16))
    model = YOLOv1(num_classes, backbone, grid_size=grid_size, num_boxes=num_boxes, channels=16)
    for name, value in thresholds.items():
        assert hasattr(model, name)
        setattr(model, name, value)
    return model


def random_targets(counts, num_classes, height, width, random):
    """Objects from a pixel to more than the image, some reaching over its border."""
    targets = []
    for count in counts:
        sides = 2 ** (torch.rand(count, 2, generator=random) * math.log2(1.5 * max(height, width)))
        centres = torch.rand(count, 2, generator=random) * torch.tensor([width, height])
        boxes = torch.cat((centres - sides / 2, centres + sides / 2), dim=-1)
        labels = torch.randint(num_classes, (count,), generator=random)
        targets.append({"boxes": boxes, "labels": labels})
    return targets


# ---- the oracles: plain numbers, one cell and one box at a time ----


def iou_of(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / both if both > 0 else 0.0


def distance_of(a, b):
    total = 0.0
    for first, second in ((0, 2), (1, 3)):
        total += ((a[first] + a[second]) / 2 - (b[first] + b[second]) / 2) ** 2
        total += ((a[second] - a[first]) - (b[second] - b[first])) ** 2
    return math.sqrt(total)


def responsible_of(boxes, gt):
    """Darknet's loop: an IoU above the best so far, or while there is none, a shorter distance."""
    best, best_iou, best_distance = 0, 0.0, math.inf
    for k, box in enumerate(boxes):
        iou = iou_of(box, gt)
        if best_iou > 0 or iou > 0:
            if iou > best_iou:
                best, best_iou = k, iou
        elif distance_of(box, gt) < best_distance:
            best, best_distance = k, distance_of(box, gt)
    return best


def cells_of(target, size, height, width):
    """{(row, column): index of the object}."""
    found = {}
    for n, (x1, y1, x2, y2) in enumerate(target["boxes"].double().tolist()):
        column = min(max(math.floor((x1 + x2) / 2 * size / width), 0), size - 1)
        row = min(max(math.floor((y1 + y2) / 2 * size / height), 0), size - 1)
        other = found.get((row, column))
        area = (x2 - x1) * (y2 - y1)
        if other is None or area < other[1]:
            found[row, column] = (n, area)
    return {cell: n for cell, (n, _) in found.items()}


def loss_of(grid, targets, num_classes, height, width):
    """The four terms, summed over the batch, in double precision."""
    terms = dict.fromkeys(("box", "object", "no_object", "class"), 0.0)
    size = grid.shape[1]
    for image, target_of_image in zip(grid.double().tolist(), targets):
        objects = cells_of(target_of_image, size, height, width)
        for i in range(size):
            for j in range(size):
                cell = image[i][j]
                num_boxes = (len(cell) - num_classes) // 5
                classes, confidences = cell[:num_classes], cell[num_classes:][:num_boxes]
                numbers = [cell[num_classes + num_boxes + 4 * k :][:4] for k in range(num_boxes)]
                if (i, j) not in objects:
                    terms["no_object"] += 0.5 * sum(c**2 for c in confidences)
                    continue

                n = objects[i, j]
                gt = target_of_image["boxes"].double().tolist()[n]
                boxes = []
                for x, y, root_w, root_h in numbers:
                    x, y = (j + x) / size * width, (i + y) / size * height
                    w, h = root_w**2 * width, root_h**2 * height
                    boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
                best = responsible_of(boxes, gt)
                for k in range(num_boxes):
                    if k != best:
                        terms["no_object"] += 0.5 * confidences[k] ** 2
                terms["object"] += (confidences[best] - iou_of(boxes[best], gt)) ** 2
                x1, y1, x2, y2 = gt
                wanted = [
                    (x1 + x2) / 2 / width * size - j,
                    (y1 + y2) / 2 / height * size - i,
                    math.sqrt((x2 - x1) / width),
                    math.sqrt((y2 - y1) / height),
                ]
                terms["box"] += 5 * sum((a - b) ** 2 for a, b in zip(numbers[best], wanted))
                label = int(target_of_image["labels"][n])
                terms["class"] += sum((p - (c == label)) ** 2 for c, p in enumerate(classes))
    return terms


class TestDecodeGrid:
    def test_by_hand(self):
        """2 × 4 cells of 30 × 20 pixels, 2 classes, 2 boxes: row 1, column 2 begins at (60, 20)."""
        grid = torch.zeros(1, 2, 4, 12)
        first, second = [0.5, 0.25, 0.5, -0.2], [1.0, -1.0, 0.1, 1.0]
        grid[0, 1, 2] = torch.tensor([0.9, 0.2, 0.7, -0.3, *first, *second])
        found = decode_grid(grid, 2, (40, 120))
        assert found.boxes.shape == (1, 2, 4, 2, 4)
        # centre (60 + .5 · 30, 20 + .25 · 20), width .25 · 120, height .04 · 40
        wanted = torch.tensor([75 - 15, 25 - 0.8, 75 + 15, 25 + 0.8])
        torch.testing.assert_close(found.boxes[0, 1, 2, 0], wanted)
        # centre (90, 0), width .01 · 120, height 40
        torch.testing.assert_close(found.boxes[0, 1, 2, 1], torch.tensor([89.4, -20, 90.6, 20]))
        torch.testing.assert_close(found.class_scores[0, 1, 2], torch.tensor([0.9, 0.2]))
        torch.testing.assert_close(found.confidences[0, 1, 2], torch.tensor([0.7, -0.3]))
        # a cell of zeros: a box without area in its upper left corner
        assert found.boxes[0, 0, 3, 1].tolist() == [90, 0, 90, 0]

    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize(("num_classes", "num_boxes"), [(20, 2), (1, 1), (3, 5), (7, 3)])
    def test_equals_its_naive_twin(self, seed, num_classes, num_boxes):
        random = torch.Generator().manual_seed(seed)
        rows, columns, height, width = torch.randint(1, 9, (4,), generator=random).tolist()
        numbers = num_classes + 5 * num_boxes
        grid = 3 * torch.randn(3, rows, columns, numbers, generator=random).double()
        size = (16 * height, 24 * width)
        found, wanted = (f(grid, num_classes, size) for f in (decode_grid, naive_decode_grid))
        for fast, slow in zip(found, wanted):
            assert fast.shape == slow.shape and fast.dtype == slow.dtype == torch.float64
            torch.testing.assert_close(fast, slow, rtol=0, atol=1e-6)
        single = decode_grid(grid.float(), num_classes, size).boxes
        torch.testing.assert_close(single.double(), wanted.boxes, rtol=1e-5, atol=1e-3)

    def test_encode_is_its_inverse(self):
        random = torch.Generator().manual_seed(0)
        (found,) = random_targets([50], 1, 64, 96, random)
        rows = torch.randint(4, (50,), generator=random)
        columns = torch.randint(6, (50,), generator=random)
        numbers = encode_boxes(found["boxes"], rows, columns, (4, 6), (64, 96))
        grid = torch.zeros(50, 4, 6, 6)
        grid[torch.arange(50), rows, columns, 2:] = numbers
        boxes = decode_grid(grid, 1, (64, 96)).boxes[torch.arange(50), rows, columns, 0]
        torch.testing.assert_close(boxes, found["boxes"], rtol=1e-4, atol=1e-3)

    def test_gradients_reach_the_numbers_of_boxes(self):
        grid = torch.rand(2, 3, 3, 14, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: decode_grid(x, 4, (48, 48)).boxes, grid)


class TestCells:
    def cells(self, targets, size, shape):
        padded = models.base.pad_targets(targets, like=torch.zeros(()))
        return cell_objects(padded.boxes, padded.real, size, shape)

    def test_by_hand(self):
        """Cells of 16 × 8 pixels: rows by y, columns by x."""
        found = self.cells([target([[40, 1, 50, 3], [2, 20, 4, 30]])], 4, (32, 64))
        wanted = torch.full((1, 4, 4), -1)
        wanted[0, 0, 2], wanted[0, 3, 0] = 0, 1
        assert torch.equal(found, wanted) and found.dtype == torch.int64

    def test_of_two_objects_in_a_cell_the_smaller_wins_whatever_the_order(self):
        large, small = [4, 4, 12, 12], [5, 5, 11, 11]
        for boxes, winner in (([large, small], 1), ([small, large], 0)):
            found = self.cells([target(boxes)], 2, (32, 32))
            assert found[0, 0, 0] == winner and (found >= 0).sum() == 1

    def test_of_equally_small_ones_the_first_wins(self):
        found = self.cells([target([[0, 0, 16, 16], [2, 2, 6, 6], [7, 7, 11, 11]])], 2, (32, 32))
        assert found[0, 0, 0] == 1

    @pytest.mark.parametrize(
        ("box", "row", "column"),
        [
            ([15, 15, 17, 17], 1, 1),  # centre on the corner of four cells
            ([14, 3, 18, 5], 0, 1),
            ([-30, 20, 10, 24], 1, 0),  # centre outside of the image, on each side
            ([30, 2, 60, 6], 0, 1),
            ([2, -40, 4, 10], 0, 0),
            ([20, 31, 22, 90], 1, 1),
            ([31, 31, 33, 33], 1, 1),  # centre on the far corner
            ([-90, -90, 130, 130], 1, 1),  # larger than the image
            ([7, 7, 7.5, 7.5], 0, 0),  # smaller than a pixel
        ],
    )
    def test_hard_centres(self, box, row, column):
        found = self.cells([target([box])], 2, (32, 32))
        assert found[0, row, column] == 0 and (found >= 0).sum() == 1

    @pytest.mark.parametrize("seed", range(8))
    def test_equals_the_loop(self, seed):
        random = torch.Generator().manual_seed(seed)
        size = int(torch.randint(1, 9, (), generator=random))
        targets = random_targets([0, 1, 5, 40], 3, 48, 80, random)
        targets[2]["boxes"][3] = targets[2]["boxes"][1]  # twice the same
        found = self.cells(targets, size, (48, 80))
        for image, one in zip(found, targets):
            wanted = cells_of(one, size, 48, 80)
            rows, columns = (image >= 0).nonzero(as_tuple=True)
            got = {(i, j): int(image[i, j]) for i, j in zip(rows.tolist(), columns.tolist())}
            assert got == wanted

    def test_without_objects(self):
        found = self.cells([target([])] * 2, 3, (48, 48))
        assert found.shape == (2, 3, 3) and (found == -1).all()


class TestResponsible:
    def test_by_hand(self):
        gt = torch.tensor([[10.0, 10, 20, 20]])
        # IoU 25/175, 100/400, 0
        boxes = torch.tensor([[[15.0, 15, 25, 25], [5, 5, 25, 25], [30, 30, 40, 40]]])
        assert responsible_boxes(boxes, gt).tolist() == [1]
        assert responsible_boxes(boxes[:, [0, 2]], gt).tolist() == [0]

    def test_without_overlap_the_nearest_is_responsible(self):
        """Distance in x, y, w and h: a box of the right size may be nearer than a close one."""
        gt = torch.tensor([[10.0, 10, 20, 20]])
        close = [21.0, 11, 81, 71]  # centre (51, 41), 60 × 60
        alike = [40.0, 40, 50, 50]  # centre (45, 45), 10 × 10
        assert responsible_boxes(torch.tensor([[close, alike]]), gt).tolist() == [1]
        # touching is no overlap
        beside = [20.0, 10, 30, 20]
        assert responsible_boxes(torch.tensor([[alike, beside]]), gt).tolist() == [1]

    def test_any_overlap_beats_a_shorter_distance(self):
        gt = torch.tensor([[10.0, 10, 12, 12]])
        beside, around = [12.1, 10.0, 14.1, 12], [0.0, 0, 100, 100]
        assert responsible_boxes(torch.tensor([[beside, around]]), gt).tolist() == [1]

    def test_of_equals_the_first(self):
        gt = torch.tensor([[10.0, 10, 20, 20], [60, 60, 70, 70]])
        box = torch.tensor([[8.0, 8, 16, 16]]).expand(2, 3, 4)
        assert responsible_boxes(box, gt).tolist() == [0, 0]

    def test_boxes_without_area(self):
        gt = torch.tensor([[10.0, 10, 20, 20]])
        points = torch.tensor([[[1.0, 1, 1, 1], [14, 14, 14, 14]]])
        assert responsible_boxes(points, gt).tolist() == [1]

    def test_without_cells(self):
        found = responsible_boxes(torch.zeros(0, 2, 4), torch.zeros(0, 4))
        assert found.shape == (0,) and found.dtype == torch.int64

    @pytest.mark.parametrize("seed", range(6))
    def test_equals_darknets_loop(self, seed):
        random = torch.Generator().manual_seed(seed)
        (gt,) = random_targets([200], 1, 100, 100, random)
        (pred,) = random_targets([600], 1, 100, 100, random)
        boxes = pred["boxes"].view(200, 3, 4)
        found = responsible_boxes(boxes, gt["boxes"]).tolist()
        wanted = [
            responsible_of(cell, one)
            for cell, one in zip(boxes.double().tolist(), gt["boxes"].double().tolist())
        ]
        assert found == wanted
        pairs = zip(boxes.tolist(), gt["boxes"].tolist())
        touching = [max(iou_of(box, one) for box in cell) > 0 for cell, one in pairs]
        assert 20 < sum(touching) < 180  # both rules were asked

    def test_no_gradient(self):
        boxes = torch.rand(3, 2, 4, requires_grad=True)
        assert not responsible_boxes(boxes, torch.rand(3, 4)).requires_grad


def dense(targets, size, shape):
    """The object of each cell, as `yolov1_loss` takes it, made by the loop."""
    boxes = torch.full((len(targets), size, size, 4), 7.0)  # anything where there is none
    labels = torch.full((len(targets), size, size), -1)
    for b, one in enumerate(targets):
        for (i, j), n in cells_of(one, size, *shape).items():
            boxes[b, i, j], labels[b, i, j] = one["boxes"][n], one["labels"][n]
    return boxes, labels


class TestLoss:
    def test_by_hand(self):
        """One cell of 8 × 8 pixels, 2 classes, 2 boxes; the object is its right half."""
        first, second = [0.5, 0.5, 1.0, 1.0], [0.75, 0.25, 0.5, 0.5]
        grid = torch.tensor([0.8, 0.3, 0.6, 0.4, *first, *second]).view(1, 1, 1, 12)
        gt = torch.tensor([4.0, 0, 8, 8]).view(1, 1, 1, 4)
        losses = yolov1_loss(grid, gt, torch.tensor([[[1]]]), 2, (8, 8))
        # IoUs: the first box is the image, 32/64; the second (5, 1, 7, 3), 4/32
        roots = (1 - math.sqrt(0.5)) ** 2 + 0
        assert losses["box"].item() == pytest.approx(5 * (0.25**2 + 0 + roots), rel=1e-5)
        assert losses["object"].item() == pytest.approx((0.6 - 0.5) ** 2, rel=1e-4)
        assert losses["no_object"].item() == pytest.approx(0.5 * 0.4**2, rel=1e-5)
        assert losses["class"].item() == pytest.approx(0.8**2 + 0.7**2, rel=1e-5)

    @pytest.mark.parametrize("seed", range(6))
    @pytest.mark.parametrize("num_boxes", [1, 2, 3])
    def test_equals_the_loop(self, seed, num_boxes):
        random = torch.Generator().manual_seed(seed)
        size, shape = int(torch.randint(1, 7, (), generator=random)), (60, 90)
        targets = random_targets([3, 0, 1, 12], 4, *shape, random)
        # Numbers of a trained network, more or less; and of one gone wild.
        spread = 0.3 if seed % 2 else 3.0
        grid = torch.randn(4, size, size, 4 + 5 * num_boxes, generator=random)
        grid = 0.3 + spread * grid
        losses = yolov1_loss(grid, *dense(targets, size, shape), 4, shape)
        wanted = loss_of(grid, targets, 4, *shape)
        assert losses.keys() == wanted.keys()
        for name, value in wanted.items():
            assert losses[name].item() == pytest.approx(value, rel=1e-3, abs=1e-5), name

    def test_the_confidence_learns_the_iou_but_the_box_learns_nothing_from_it(self):
        grid = torch.tensor([0.0, 0.2, 0.5, 0.5, 0.6, 0.6]).view(1, 1, 1, 6).requires_grad_()
        gt = torch.tensor([1.0, 1, 7, 7]).view(1, 1, 1, 4)
        losses = yolov1_loss(grid, gt, torch.tensor([[[0]]]), 1, (8, 8))
        (gradient,) = torch.autograd.grad(losses["object"], grid)
        iou = (0.36 * 8) ** 2 / 36
        assert gradient.flatten()[1].item() == pytest.approx(2 * (0.2 - iou), rel=1e-4)
        assert gradient.count_nonzero() == 1

    def test_only_the_responsible_box_learns_the_object(self):
        """It alone gets coordinates; cells without an object learn no class and no box."""
        random = torch.Generator().manual_seed(0)
        grid = torch.rand(1, 2, 2, 2 + 10, generator=random).requires_grad_()
        gt, labels = dense([target([[2, 2, 10, 12]], [1])], 2, (32, 32))
        losses = yolov1_loss(grid, gt, labels, 2, (32, 32))
        (gradient,) = torch.autograd.grad(sum(losses.values()), grid)
        boxes = gradient[..., 4:].unflatten(-1, (2, 4))
        assert (boxes[0, 0, 0].abs().sum(-1) > 0).sum() == 1
        assert boxes[0, :, 1].count_nonzero() == boxes[0, 1].count_nonzero() == 0
        assert gradient[0, 0, 0, :2].all()
        assert gradient[0, :, 1, :2].count_nonzero() == gradient[0, 1, :, :2].count_nonzero() == 0
        assert (gradient[..., 2:4] != 0).all()  # every box learns how sure to be

    def test_the_roots_make_small_boxes_count_more(self):
        """One pixel too wide costs ten times more at 4 pixels than at 40."""
        costs = []
        for side in (4.0, 40.0):
            root = math.sqrt((side + 1) / 64)
            grid = torch.tensor([1.0, 1.0, 0.5, 0.5, root, math.sqrt(side / 64)]).view(1, 1, 1, 6)
            half = side / 2
            gt = torch.tensor([32 - half, 32 - half, 32 + half, 32 + half]).view(1, 1, 1, 4)
            costs.append(yolov1_loss(grid, gt, torch.tensor([[[0]]]), 1, (64, 64))["box"].item())
        assert costs[0] / costs[1] == pytest.approx(10, rel=0.2)

    def test_double_precision_gradients(self):
        random = torch.Generator().manual_seed(1)
        grid = torch.rand(2, 3, 3, 13, generator=random).double().requires_grad_()
        gt, labels = dense(random_targets([4, 2], 3, 48, 48, random), 3, (48, 48))

        def frozen(x):  # without the IoU, which is a target
            terms = yolov1_loss(x, gt.double(), labels, 3, (48, 48))
            return terms["box"] + terms["no_object"] + terms["class"]

        assert torch.autograd.gradcheck(frozen, grid)

    def test_the_detector_divides_by_images(self):
        model = small_detector()
        one = target([[4, 4, 30, 30]], [1])
        grid = torch.randn(1, 4, 4, 12, generator=torch.Generator().manual_seed(0))
        single = model.compute_loss(YOLOv1Outputs(grid, (64, 64), [(64, 64)]), [one])
        wanted = loss_of(grid, [one], 2, 64, 64)
        for name, value in wanted.items():
            assert single[name].item() == pytest.approx(value, rel=1e-4)
        twice = YOLOv1Outputs(grid.repeat(2, 1, 1, 1), (64, 64), [(64, 64)] * 2)
        double = model.compute_loss(twice, [one, one])
        for name in single:
            assert double[name].item() == pytest.approx(single[name].item(), rel=1e-5)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
    def test_boxes_of_another_precision_are_learnt_alike(self, dtype):
        model = small_detector(1)
        outputs = model.predict(torch.rand(1, 3, 64, 64))
        plain = target([[8, 8, 40, 60], [40, 4, 60, 20]])
        other = {**plain, "boxes": plain["boxes"].to(dtype)}
        assert torch.equal(
            model.assign(outputs, [plain]).assigned, model.assign(outputs, [other]).assigned
        )
        losses, again = (model.compute_loss(outputs, [one]) for one in (plain, other))
        torch.testing.assert_close(losses, again)

    def test_without_objects(self):
        model = small_detector()
        losses = model([torch.rand(3, 32, 32)] * 2, [target([]), target([])])
        assert losses["box"] == losses["object"] == losses["class"] == 0
        assert losses["no_object"] > 0
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name

    def test_gradients_reach_every_weight(self):
        model = small_detector()
        losses = model([torch.rand(3, 64, 64)] * 2, [target([[8, 8, 40, 40]])] * 2)
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad.count_nonzero() > 0, name


class TestAssign:
    def test_it_says_what_the_loss_does(self):
        """Of each object's cell one box, the one that the loss gives coordinates to."""
        model = small_detector(3, grid_size=4)
        random = torch.Generator().manual_seed(2)
        targets = random_targets([5, 0, 2, 9], 3, 64, 64, random)
        grid = torch.rand(4, 4, 4, 13, generator=random).requires_grad_()
        outputs = YOLOv1Outputs(grid, (64, 64), [(64, 64)] * 4)
        goal = model.assign(outputs, targets)
        assert goal.assigned.shape == (4, 32) and goal.points.shape == (32, 2)
        assert goal.anchors is None and (goal.strides == 16).all()

        (gradient,) = torch.autograd.grad(model.compute_loss(outputs, targets)["box"], grid)
        learns = gradient[..., 5:].unflatten(-1, (2, 4)).abs().sum(-1) > 0  # (B, S, S, n)
        assert torch.equal(goal.assigned.view(4, 4, 4, 2) >= 0, learns)
        for image, cells, one in zip(goal.assigned, goal.cells, targets):
            wanted = cells_of(one, 4, 64, 64)
            assert {(i, j): int(cells[i, j]) for i, j in wanted} == wanted
            assert (cells >= 0).sum() == len(wanted)
            assert torch.equal(image.view(4, 4, 2).amax(-1), cells)

    def test_points_are_the_centres_of_cells_each_once_a_box(self):
        points = (
            small_detector()
            .assign(YOLOv1Outputs(torch.zeros(1, 4, 4, 12), (64, 64), [(64, 64)]), [target([])])
            .points
        )
        assert points[:4].tolist() == [[8, 8], [8, 8], [24, 8], [24, 8]]
        assert points[-1].tolist() == [56, 56] and points[8].tolist() == [8, 24]

    def test_no_gradient(self):
        grid = torch.zeros(1, 4, 4, 12, requires_grad=True)
        goal = small_detector().assign(
            YOLOv1Outputs(grid, (64, 64), [(64, 64)]), [target([[0, 0, 9, 9]])]
        )
        assert not goal.assigned.requires_grad and not goal.points.requires_grad

    def test_it_is_drawn(self):
        """Two objects in one cell: the larger is learnt by nobody, and the figure says so."""
        image = torch.rand(3, 64, 128)  # squashed to 64 × 64
        boxes = [[0, 0, 28, 14], [8, 4, 16, 10], [100, 40, 120, 60]]
        axes = plotting.show_assignment(small_detector(), image, target(boxes))
        assert axes.get_title() == "stride 16: 2 of 32 learn"
        tags = [text.get_text() for text in axes.texts]
        assert sum("×0" in tag for tag in tags) == 1 and sum("×1" in tag for tag in tags) == 2


SHAPES = [(33, 517), (64, 64), (1, 1), (7, 100), (128, 31)]


class TestDetect:
    def test_odd_sizes_in_one_batch(self):
        model = small_detector(3, score_threshold=0.0)
        nn.init.normal_(model.head.numbers.weight, std=0.5)
        images = [torch.rand(3, *shape) for shape in SHAPES]
        with torch.no_grad():
            results = model.eval()(images)
        assert len(results) == len(SHAPES)
        for found, (height, width) in zip(results, SHAPES):
            check_contract(found, height, width, 3)
            assert len(found["scores"]) > 0

    def test_decode_by_hand(self):
        """Score = confidence × class score, both kept in [0, 1]."""
        model = small_detector(2, grid_size=2, score_threshold=0.2)
        grid = torch.zeros(1, 2, 2, 12)
        whole, small = [0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.25, 0.25]
        grid[0, 0, 0] = torch.tensor([0.5, 0.9, 0.6, 0.1, *whole, *small])
        grid[0, 1, 1] = torch.tensor([1.5, -3.0, -2.0, 1.2, *whole, *small])
        (found,) = model.decode(YOLOv1Outputs(grid, (32, 32), [(32, 32)]))
        torch.testing.assert_close(found["scores"], torch.tensor([1.0, 0.54, 0.3]))
        assert found["labels"].tolist() == [0, 1, 0]
        assert found["boxes"].tolist() == [[23, 23, 25, 25], [4, 4, 12, 12], [4, 4, 12, 12]]

    def test_boxes_come_back_in_pixels_of_the_given_image(self):
        """A network that always says the middle half of the image."""
        model = small_detector(1, grid_size=1, num_boxes=1).eval()
        nn.init.zeros_(model.head.numbers.weight)
        model.head.numbers.bias.data = torch.tensor([1.0, 1.0, 0.5, 0.5, 0.5**0.5, 0.5**0.5])
        with torch.no_grad():
            (found,) = model([torch.rand(3, 40, 200)])
        torch.testing.assert_close(found["boxes"], torch.tensor([[50.0, 10, 150, 30]]))
        assert found["scores"].tolist() == [1.0]

    def test_nothing_found(self):
        model = small_detector(score_threshold=1.0).eval()
        (found,) = model([torch.rand(3, 32, 32)])
        check_contract(found, 32, 32, 2)
        assert found["boxes"].shape == (0, 4)


class TestTrain:
    @pytest.mark.parametrize(
        ("shape", "boxes"),
        [
            ((33, 517), [[500, 20, 517, 33]]),
            ((64, 64), [[7, 7, 8, 8]]),  # far smaller than a cell
            ((64, 64), [[0, 0, 1, 1], [63, 63, 64, 64]]),
            ((64, 64), [[-20, 10, 3, 20], [30, 30, 90, 90]]),  # over the border
            ((64, 64), [[-90, -90, 90, 90]]),
            ((64, 64), [[i % 25, i // 25, i % 25 + 9, i // 25 + 9] for i in range(500)]),
        ],
    )
    def test_hard_targets(self, shape, boxes):
        model = small_detector()
        images = [torch.rand(3, *shape), torch.rand(3, 40, 40)]
        losses = model(images, [target(boxes), target([])])
        assert all(torch.isfinite(loss) and loss >= 0 for loss in losses.values())
        assert losses["box"] > 0
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
            assert rough[name].item() == pytest.approx(exact[name].item(), rel=0.1, abs=0.02)

    def test_overfits_one_batch(self):
        """Eight objects of two colours on grey, two in each image: learnt by heart."""
        samples = two_colours()
        model = small_detector()
        history = fit(
            model, samples, steps=150, batch_size=4, lr=1e-2, amp=False, augment=None,
            ema=0.9, progress=False,
        )  # fmt: skip
        assert history.total[-1] < 0.05 * history.total[0]
        with torch.no_grad():
            results = model([image for image, _ in samples])
        for found, (_, wanted) in zip(results, samples):
            check_two_colours(found, wanted)
            assert (found["scores"][:2] > 0.5).all()


class TestBuilders:
    def test_the_paper(self):
        """7 × 7 cells, 2 boxes, 20 classes: 1470 numbers."""
        head = YOLOv1Head(in_channels=8, channels=8).eval()
        grid = head(torch.rand(3, 8, 7, 7))
        assert grid.shape == (3, 7, 7, 30) and grid[0].numel() == 1470

    def test_it_starts_in_the_middle_of_the_cell(self):
        head = YOLOv1Head(3, 2, 2, in_channels=8, channels=8).eval()
        nn.init.zeros_(head.numbers.weight)
        with torch.no_grad():
            found = head.decode(head(torch.rand(1, 8, 2, 2)), (64, 64))
        assert found.boxes[0, 1, 0].tolist() == [[8, 40, 24, 56]] * 2
        assert found.confidences.count_nonzero() == found.class_scores.count_nonzero() == 0

    def test_create(self):
        model = models.create("yolov1", 7)
        assert model.num_classes == 7 and model.training and model.batcher.resizes
        for size in ({"min_size": 64, "max_size": 64}, {"min_size": 64}):
            with pytest.raises(ValueError, match=r"squashes every image|give both"):
                models.create("yolov1", 7, **size)

    def test_the_input_is_the_grid_times_the_stride(self):
        """Whether or not the side is a multiple of 32, nothing is padded."""
        model = small_detector(grid_size=7)
        batch, _ = model.batcher([torch.rand(3, 50, 60), torch.rand(3, 500, 30)])
        assert batch.images.shape == (2, 3, 112, 112) and batch.sizes == [(112, 112)] * 2
        assert model.predict(batch.images).grid.shape == (2, 7, 7, 12)

    def test_refusals(self):
        backbone = SmallBackbone((8, 8, 16))
        with pytest.raises(ValueError, match=r"grid_size is 0.*at least one cell"):
            YOLOv1Head(3, 0)
        with pytest.raises(ValueError, match=r"num_boxes 0.*at least one box"):
            YOLOv1Head(3, 7, 0)
        with pytest.raises(ValueError, match=r"fixed_size=None.*fixed_size=\(112, 112\)"):
            YOLOv1(3, backbone, batcher=ImageBatcher())
        with pytest.raises(ValueError, match=r"fixed_size=\(112, 96\).*7 × 7 cells of 16 pixels"):
            YOLOv1(3, backbone, batcher=ImageBatcher(fixed_size=(112, 96)))
        # would be padded to 128 × 128
        with pytest.raises(ValueError, match=r"size_divisible=32: .*and size_divisible=16"):
            YOLOv1(3, backbone, batcher=ImageBatcher(fixed_size=(112, 112)))
        with pytest.raises(ValueError, match=r"2 × 3 cells, the grid 4 × 4.*coarsest stride"):
            small_detector().predict(torch.rand(2, 3, 32, 48))
        with pytest.raises(ValueError, match="num_classes is 0"):
            YOLOv1(0, backbone)
