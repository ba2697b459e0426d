"""DETR: the loss of a set, padded batches, detections, and whether it can learn."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from detectors import check_contract, check_two_colours, target, two_colours
from torch import nn
from torchvision.ops import box_convert, generalized_box_iou_loss

from detlearn import losses, models, plotting
from detlearn.data import ToyTown
from detlearn.matching import HungarianMatcher, matching_cost
from detlearn.models import detr
from detlearn.models.detr import (
    DETR,
    MLP,
    DETROutputs,
    SetCriterion,
    box_losses,
    detr_resnet50,
    image_scales,
    padding_mask,
    query_labels,
    relative_targets,
)
from detlearn.models.images import ImageBatcher
from detlearn.models.small import detr_small
from detlearn.nets.resnet import FrozenBatchNorm2d
from detlearn.nets.transformer import Memory, Transformer
from detlearn.training import fit


class Patches(nn.Module):
    """A backbone whose locations see their own 16 × 16 pixels and nothing else."""

    def __init__(self):
        super().__init__()
        self.out_channels, self.strides = [8, 12], [8, 16]
        self.fine = nn.Conv2d(3, 8, 8, stride=8)
        self.coarse = nn.Conv2d(8, 12, 2, stride=2)

    def forward(self, images):
        fine = self.fine(images)
        return {"8": fine, "16": self.coarse(fine.relu())}


def tiny_detr(num_classes=3, num_queries=5, num_layers=2, seed=0, **options):
    """A detector with random weights in eval mode, that keeps the size of its images."""
    torch.manual_seed(seed)
    transformer = Transformer(16, 2, 2, num_layers, 24, dropout=0.0)
    return DETR(
        num_classes,
        Patches(),
        transformer,
        num_queries=num_queries,
        batcher=ImageBatcher(size_divisible=16),
        **options,
    ).eval()


def random_outputs(seed, num_layers=3, batch=2, num_queries=6, num_classes=4, size=(40, 80)):
    """Outputs as a network might give them."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num_layers, batch, num_queries, num_classes + 1, generator=random)
    boxes = torch.rand(num_layers, batch, num_queries, 4, generator=random)
    empty = Memory(torch.zeros(batch, 1, 4), torch.zeros(batch, 1, 4), None, (1, 1))
    return DETROutputs(logits[-1], boxes[-1], logits[:-1], boxes[:-1], empty, [size] * batch)


def outputs_of(class_logits, pred_boxes, sizes):
    """Outputs of one layer, from lists."""
    logits, boxes = torch.tensor(class_logits).float(), torch.tensor(pred_boxes).float()
    empty = Memory(torch.zeros(len(sizes), 1, 4), torch.zeros(len(sizes), 1, 4), None, (1, 1))
    return DETROutputs(logits, boxes, logits[None][:0], boxes[None][:0], empty, sizes)


def relative(*counts, seed=0, num_classes=4):
    """Targets with so many objects, boxes cxcywh in [0, 1]."""
    random = torch.Generator().manual_seed(seed)
    return [
        {
            "boxes": torch.rand(count, 4, generator=random),
            "labels": torch.randint(num_classes, (count,), generator=random),
        }
        for count in counts
    ]


# ---- boxes as shares of their image --------------------------------------------------------------


class TestRelativeTargets:
    def test_by_hand(self):
        """In an image 40 high and 80 wide, a box from (20, 10) to (60, 20)."""
        (found,) = relative_targets([target([[20, 10, 60, 20]], [2])], [(40, 80)])
        assert found["boxes"].tolist() == [[0.5, 0.375, 0.5, 0.25]]
        assert found["labels"].tolist() == [2]

    def test_the_callers_targets_stay(self):
        given = target([[20, 10, 60, 20]])
        relative_targets([given], [(40, 80)])
        assert given["boxes"].tolist() == [[20, 10, 60, 20]]

    def test_what_else_a_target_holds_stays(self):
        (found,) = relative_targets([target([[20, 10, 60, 20]]) | {"image_id": 7}], [(40, 80)])
        assert found["image_id"] == 7

    def test_shares_are_in_full_precision(self):
        """In float16 a third of an image of 600 pixels is a pixel off."""
        given = target([[0, 0, 400, 400]])
        given["boxes"] = given["boxes"].half()
        (found,) = relative_targets([given], [(600, 600)])
        assert found["boxes"].dtype == torch.float32
        torch.testing.assert_close(found["boxes"], torch.tensor([[1 / 3, 1 / 3, 2 / 3, 2 / 3]]))

    def test_each_image_has_its_size(self):
        both = [target([[0, 0, 8, 8]]), target([[0, 0, 8, 8]])]
        first, second = relative_targets(both, [(8, 16), (32, 8)])
        assert first["boxes"].tolist() == [[0.25, 0.5, 0.5, 1]]
        assert second["boxes"].tolist() == [[0.5, 0.125, 1, 0.25]]

    def test_no_objects(self):
        (found,) = relative_targets([target([])], [(8, 16)])
        assert found["boxes"].shape == (0, 4) and found["labels"].dtype == torch.int64

    def test_scales_are_of_the_dtype_of_the_boxes(self):
        scales = image_scales([(40, 80), (8, 16)], torch.zeros(1, dtype=torch.float64))
        assert scales.dtype == torch.float64
        assert scales.tolist() == [[80, 40, 80, 40], [16, 8, 16, 8]]

    def test_scales_undo_it(self):
        boxes = torch.tensor([[20.0, 10, 60, 20], [0, 0, 80, 40]])
        (found,) = relative_targets([{"boxes": boxes, "labels": torch.zeros(2).long()}], [(40, 80)])
        corners = box_convert(found["boxes"], "cxcywh", "xyxy") * image_scales([(40, 80)], boxes)
        torch.testing.assert_close(corners, boxes)


# ---- the loss of a set ---------------------------------------------------------------------------


def naive_layer_losses(logits, boxes, assigned, targets, no_object_weight=0.1):
    """The three losses of one layer, one query at a time."""
    num_objects = max(sum(len(t["labels"]) for t in targets), 1)
    classes, weights, l1, giou = 0.0, 0.0, 0.0, 0.0
    for i, found in enumerate(targets):
        for q, n in enumerate(assigned[i].tolist()):
            label = logits.shape[-1] - 1 if n < 0 else int(found["labels"][n])
            weight = no_object_weight if n < 0 else 1.0
            classes = classes + weight * F.cross_entropy(logits[i, q], torch.tensor(label))
            weights += weight
            if n >= 0:
                pred, gt = boxes[i, q], found["boxes"][n]
                l1 = l1 + (pred - gt).abs().sum()
                corners = [box_convert(box, "cxcywh", "xyxy") for box in (pred, gt)]
                giou = giou + generalized_box_iou_loss(*corners)
    return {
        "class": classes / weights,
        "l1": 5 * l1 / num_objects,
        "giou": 2 * giou / num_objects,
    }


class TestQueryLabels:
    def test_by_hand(self):
        assigned = torch.tensor([[1, -1, 0], [-1, -1, 1]])
        labels = torch.tensor([[7, 3], [5, 6]])
        assert query_labels(assigned, labels, 9).tolist() == [[3, 9, 7], [9, 9, 6]]

    def test_no_objects(self):
        labels = query_labels(torch.full((2, 3), -1), torch.zeros(2, 0).long(), 9)
        assert labels.tolist() == [[9] * 3] * 2 and labels.dtype == torch.int64


class TestBoxLosses:
    def test_by_hand(self):
        """Boxes of .2 × .2, .1 apart: distance .1, GIoU 1/3; divided by two objects."""
        pred = torch.tensor([[[0.9, 0.9, 0.1, 0.1], [0.5, 0.5, 0.2, 0.2]]])
        gt = torch.tensor([[[0.4, 0.5, 0.2, 0.2]]])
        l1, giou = box_losses(pred, torch.tensor([[-1, 0]]), gt, 2)
        assert l1.item() == pytest.approx(0.05) and giou.item() == pytest.approx(1 / 3)

    def test_giou_is_of_corners(self):
        """Taken as corners, these boxes would be inside each other."""
        pred = torch.tensor([[[0.2, 0.2, 0.3, 0.3]]])
        gt = torch.tensor([[[0.8, 0.8, 0.3, 0.3]]])
        _, giou = box_losses(pred, torch.zeros(1, 1).long(), gt, 1)
        assert giou.item() == pytest.approx(1 + (0.81 - 0.18) / 0.81)

    def test_no_objects_have_a_loss_of_zero_with_a_gradient(self):
        pred = torch.rand(1, 3, 4, requires_grad=True)
        l1, giou = box_losses(pred, torch.full((1, 3), -1), torch.zeros(1, 0, 4), 1)
        assert l1.item() == giou.item() == 0
        (l1 + giou).backward()
        assert (pred.grad == 0).all()


class TestSetCriterion:
    def test_by_hand(self):
        """Two queries, one object, one class: query 1 fits and has it.

        Query 0 says "object" with ¾, query 1 with ½: (.1 · ln 4 + ln 2) / 1.1.
        """
        outputs = outputs_of(
            [[[math.log(3), 0], [0, 0]]], [[[0.9, 0.1, 0.1, 0.1], [0.5, 0.5, 0.2, 0.2]]], [(8, 8)]
        )
        goal = {"boxes": torch.tensor([[0.4, 0.5, 0.2, 0.2]]), "labels": torch.tensor([0])}
        losses = SetCriterion()(outputs, [goal])
        assert losses.keys() == {"class", "l1", "giou"}
        expected = (0.1 * math.log(4) + math.log(2)) / 1.1
        assert losses["class"].item() == pytest.approx(expected)
        assert losses["l1"].item() == pytest.approx(0.5)
        assert losses["giou"].item() == pytest.approx(2 * 2 / 3)

    @pytest.mark.filterwarnings("ignore:an image has more objects")  # in one of the cases
    @pytest.mark.parametrize("counts", [(3, 1), (0, 4), (0, 0), (9, 2)])
    def test_against_a_loop(self, counts):
        outputs, targets = random_outputs(0), relative(*counts)
        losses = SetCriterion()(outputs, targets)
        assert losses.keys() == {"class", "l1", "giou", "auxiliary"}

        logits = [*outputs.earlier_logits, outputs.class_logits]
        boxes = [*outputs.earlier_boxes, outputs.pred_boxes]
        layers = []
        for layer_logits, layer_boxes in zip(logits, boxes):
            assigned = HungarianMatcher().assign(layer_logits, layer_boxes, targets)
            layers.append(naive_layer_losses(layer_logits, layer_boxes, assigned, targets))
        for name in ("class", "l1", "giou"):
            assert float(losses[name]) == pytest.approx(float(layers[-1][name]), abs=1e-5)
        earlier = sum(float(value) for layer in layers[:-1] for value in layer.values())
        assert float(losses["auxiliary"]) == pytest.approx(earlier, rel=1e-5)

    def test_layers_are_matched_by_themselves(self):
        """The only query that fits is another one after each layer."""
        goal = {"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]), "labels": torch.tensor([0])}
        right, wrong = [0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]
        boxes = torch.tensor([[[right, wrong]], [[wrong, right]]])
        logits = torch.zeros(2, 1, 2, 2)
        memory = random_outputs(0).memory
        outputs = DETROutputs(logits[1], boxes[1], logits[:1], boxes[:1], memory, [(8, 8)])
        losses = SetCriterion()(outputs, [goal])
        assert losses["l1"].item() + losses["giou"].item() == pytest.approx(0, abs=1e-4)
        assert losses["auxiliary"].item() == pytest.approx(math.log(2), abs=1e-4)

    def test_weights_are_those_given(self):
        outputs, targets = random_outputs(1, num_layers=1), relative(2, 3)
        plain = SetCriterion()(outputs, targets)
        weighted = SetCriterion(class_weight=3, l1_weight=10, giou_weight=1)(outputs, targets)
        for name, factor in (("class", 3), ("l1", 2), ("giou", 0.5)):
            torch.testing.assert_close(weighted[name], factor * plain[name])
        other = SetCriterion(no_object_weight=1.0)(outputs, targets)
        assigned = HungarianMatcher().assign(outputs.class_logits, outputs.pred_boxes, targets)
        expected = naive_layer_losses(
            outputs.class_logits, outputs.pred_boxes, assigned, targets, no_object_weight=1.0
        )
        torch.testing.assert_close(other["class"], expected["class"])

    def test_the_matcher_is_the_one_given(self):
        """By the class alone query 0 has the object, by the box alone query 1."""
        outputs = outputs_of(
            [[[5, 0], [0, 5]]], [[[0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0.2, 0.2]]], [(8, 8)]
        )
        goal = [{"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]), "labels": torch.tensor([0])}]
        by_class = SetCriterion(HungarianMatcher(1, 0, 0))(outputs, goal)
        by_box = SetCriterion(HungarianMatcher(0, 1, 0))(outputs, goal)
        assert by_class["l1"] > 1 and by_class["class"] < 0.1
        assert by_box["l1"] == 0 and by_box["class"] > 1

    def test_two_processes_have_the_mean_of_one(self, monkeypatch):
        """Each has an image; the first has three objects, the second one."""
        outputs, targets = random_outputs(5), relative(3, 1)
        whole = SetCriterion()(outputs, targets)
        mean_weight = (4 * 1 + 8 * 0.1) / 2
        monkeypatch.setattr(losses, "mean_over_processes", lambda count, device: mean_weight)
        monkeypatch.setattr(detr, "normaliser", lambda count, device: 4 / 2)

        halves = []
        for i in range(2):
            mine = outputs._replace(
                class_logits=outputs.class_logits[i : i + 1],
                pred_boxes=outputs.pred_boxes[i : i + 1],
                earlier_logits=outputs.earlier_logits[:, i : i + 1],
                earlier_boxes=outputs.earlier_boxes[:, i : i + 1],
            )
            halves.append(SetCriterion()(mine, targets[i : i + 1]))
        for name, value in whole.items():
            torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, value)

    def test_nan_says_where_to_look(self):
        outputs = random_outputs(2)
        outputs.earlier_logits[0, 1, 2, 3] = math.nan
        with pytest.raises(ValueError, match=r"class_logits are not finite.*Look at the loss"):
            SetCriterion()(outputs, relative(2, 1))


# ---- the network ---------------------------------------------------------------------------------


class TestMLP:
    def test_by_hand(self):
        """ReLU between the layers and not after the last: (−1, 2) → (0, 2) → −2 + 1."""
        mlp = MLP(1, 2, 1, num_layers=2)
        with torch.no_grad():
            mlp.layers[0].weight.copy_(torch.tensor([[-1.0], [2.0]]))
            mlp.layers[0].bias.zero_()
            mlp.layers[1].weight.copy_(torch.tensor([[5.0, -1.0]]))
            mlp.layers[1].bias.fill_(1.0)
        assert mlp(torch.tensor([1.0])).item() == -1

    @pytest.mark.parametrize("num_layers", [1, 3])
    def test_shapes(self, num_layers):
        mlp = MLP(5, 7, 4, num_layers)
        assert len(mlp.layers) == num_layers and mlp(torch.zeros(2, 3, 5)).shape == (2, 3, 4)


class TestPaddingMask:
    def test_by_hand(self):
        """Of 4 × 4 locations in 64 × 64 pixels, an image of 20 × 64 has two rows of four.

        One of 16 × 33 has one row of three: a location is judged by its top left pixel.
        """
        mask = padding_mask([(20, 64), (16, 33), (64, 64)], torch.zeros(3, 5, 4, 4), (64, 64))
        assert (~mask).sum(dim=(1, 2)).tolist() == [8, 3, 16]
        assert not mask[0, :2].any() and mask[0, 2:].all()
        assert not mask[1, 0, :3].any() and mask[1, 1:].all() and mask[1, :, 3].all()

    def test_without_padding_there_is_none(self):
        assert padding_mask([(64, 32)] * 2, torch.zeros(2, 5, 4, 2), (64, 32)) is None


class TestNetwork:
    def test_shapes(self):
        model = tiny_detr(num_layers=3)
        outputs = model.predict(torch.rand(2, 3, 32, 48))
        assert outputs.class_logits.shape == (2, 5, 4) and outputs.pred_boxes.shape == (2, 5, 4)
        assert outputs.earlier_logits.shape == (2, 2, 5, 4)
        assert outputs.earlier_boxes.shape == (2, 2, 5, 4)
        assert outputs.memory.tokens.shape == (2, 6, 16) and outputs.memory.map_size == (2, 3)
        assert outputs.memory.padding is None and outputs.sizes == [(32, 48)] * 2
        for boxes in (outputs.pred_boxes, outputs.earlier_boxes):
            assert (boxes > 0).all() and (boxes < 1).all()

    def test_a_padded_image_says_what_it_says_alone(self):
        """Positions, attention and boxes know nothing of the padding."""
        model = tiny_detr()
        images = [torch.rand(3, 32, 48), torch.rand(3, 48, 16), torch.rand(3, 48, 48)]
        batch, _ = model.batcher(images)
        assert batch.images.shape[-2:] == (48, 48)
        together = model.predict(batch.images, batch.sizes)
        for i, image in enumerate(images):
            alone = model.predict(model.batcher([image])[0].images)
            for name in ("class_logits", "pred_boxes"):
                torch.testing.assert_close(getattr(together, name)[i], getattr(alone, name)[0])

    def test_what_lies_in_the_padding_does_not_matter(self):
        model = tiny_detr()
        images = torch.rand(1, 3, 48, 48)
        changed = images.clone()
        changed[:, :, 32:] = 1e3
        changed[:, :, :, 16:] = -1e3
        first = model.predict(images, [(32, 16)])
        second = model.predict(changed, [(32, 16)])
        assert first.class_logits.equal(second.class_logits)
        assert first.pred_boxes.equal(second.pred_boxes)

    def test_queries_start_from_nothing_and_differ_by_their_positions(self):
        model = tiny_detr()
        queries, positions = model.first_queries(3)
        assert (queries == 0).all() and queries.shape == positions.shape == (3, 5, 16)
        assert positions[1].equal(model.query_embed.weight)
        with torch.no_grad():
            model.query_embed.weight[3] = model.query_embed.weight[1]
        boxes = model.predict(torch.rand(1, 3, 32, 32)).pred_boxes[0]
        torch.testing.assert_close(boxes[3], boxes[1])
        assert (boxes[2] - boxes[1]).abs().max() > 1e-4

    def test_every_layer_is_answered_by_the_same_heads(self):
        model = tiny_detr(num_layers=3)
        images = torch.rand(1, 3, 32, 32)
        outputs = model.predict(images)
        states = model.transformer.decoder(*model.first_queries(1), outputs.memory)
        class_logits, pred_boxes = model.answers(states)
        torch.testing.assert_close(class_logits[:2], outputs.earlier_logits)
        torch.testing.assert_close(class_logits[2], outputs.class_logits)
        torch.testing.assert_close(pred_boxes[2], outputs.pred_boxes)
        assert (pred_boxes[0] - pred_boxes[2]).abs().max() > 1e-4

    def test_it_uses_the_coarsest_map(self):
        assert tiny_detr().input_proj.weight.shape == (16, 12, 1, 1)

    def test_the_temperature_is_that_of_the_positions(self):
        assert tiny_detr(temperature=20.0).position_encoding.temperature == 20.0

    def test_bfloat16(self):
        model = tiny_detr()
        images = torch.rand(2, 3, 32, 48)
        with torch.autocast("cpu", torch.bfloat16):
            found = model.predict(images, [(32, 48), (20, 48)])
        exact = model.predict(images, [(32, 48), (20, 48)])
        assert found.class_logits.dtype == found.pred_boxes.dtype == torch.float32
        torch.testing.assert_close(found.pred_boxes, exact.pred_boxes, atol=0.02, rtol=0.05)

    def test_attention_maps(self):
        model = tiny_detr(num_layers=3)
        images = torch.rand(2, 3, 32, 48)
        maps = model.attention_maps(images, [(32, 48), (16, 32)])
        assert maps.shape == (3, 2, 2, 5, 2, 3) and not maps.requires_grad
        torch.testing.assert_close(maps.sum(dim=(-2, -1)), torch.ones(3, 2, 2, 5))
        assert (maps[:, 1, :, :, 1] == 0).all() and (maps[:, 1, :, :, 0, 2] == 0).all()
        for layer in model.transformer.decoder.layers:
            assert not layer.multihead_attn._forward_hooks

        # The first is the first layer's: it is what a decoder of that layer alone has.
        model.transformer.decoder.layers = model.transformer.decoder.layers[:1]
        torch.testing.assert_close(model.attention_maps(images, [(32, 48), (16, 32)]), maps[:1])

    def test_a_question_that_fails_leaves_nothing_behind(self):
        model = tiny_detr()
        model.bbox_embed = nn.Linear(1, 1)
        with pytest.raises(RuntimeError):
            model.attention_maps(torch.rand(1, 3, 32, 48))
        for layer in model.transformer.decoder.layers:
            assert not layer.multihead_attn._forward_hooks


# ---- who learns what -----------------------------------------------------------------------------


class TestAssign:
    def test_by_hand(self):
        """In an image of 40 × 80 the object is nearest to query 1, whose centre is (60, 10)."""
        outputs = outputs_of(
            [[[0, 0], [0, 0]]], [[[0.1, 0.5, 0.2, 0.2], [0.75, 0.25, 0.5, 0.5]]], [(40, 80)]
        )
        found = tiny_detr(num_classes=1).assign(outputs, [target([[40, 0, 80, 20]])])
        assert found.assigned.tolist() == [[-1, 0]]
        assert found.points.tolist() == [[[8, 20], [60, 10]]]
        assert found.strides.tolist() == [math.inf] * 2 and found.anchors is None

    def test_it_has_no_gradient(self):
        outputs = random_outputs(5)._replace(pred_boxes=torch.rand(2, 6, 4, requires_grad=True))
        found = tiny_detr(num_classes=4).assign(outputs, [target([[8, 4, 24, 20]])] * 2)
        assert not found.points.requires_grad

    def test_it_is_what_the_last_layer_is_trained_on(self):
        outputs = random_outputs(3)
        targets = [target([[8, 4, 24, 20], [40, 8, 72, 36]], [0, 3]), target([])]
        model = tiny_detr(num_classes=4)
        found = model.assign(outputs, targets)
        shares = relative_targets(targets, outputs.sizes)
        expected = naive_layer_losses(
            outputs.class_logits, outputs.pred_boxes, found.assigned, shares
        )
        losses = model.compute_loss(outputs, targets)
        for name, value in expected.items():
            torch.testing.assert_close(losses[name], value)

    def test_the_cheapest_of_all_assignments(self):
        outputs = random_outputs(4, batch=1, num_queries=4)
        targets = [target([[8, 4, 24, 20], [40, 8, 72, 36]], [0, 3])]
        assigned = tiny_detr(num_classes=4).assign(outputs, targets).assigned[0].tolist()
        (shares,) = relative_targets(targets, outputs.sizes)
        cost = matching_cost(
            outputs.class_logits[0], outputs.pred_boxes[0], shares["labels"], shares["boxes"]
        )
        totals = {
            pair: float(cost[pair[0], 0] + cost[pair[1], 1])
            for pair in itertools.permutations(range(4), 2)
        }
        best = min(totals, key=totals.get)
        assert [assigned.index(0), assigned.index(1)] == list(best)

    def test_the_criterion_is_the_one_given(self):
        """By the class alone query 0 has the object, by the box alone query 1."""
        outputs = outputs_of(
            [[[5, 0], [0, 5]]], [[[0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0.2, 0.2]]], [(10, 10)]
        )
        objects = [target([[4, 4, 6, 6]])]
        for matcher, wanted in (
            (HungarianMatcher(1, 0, 0), [0, -1]),
            (HungarianMatcher(0, 1, 0), [-1, 0]),
        ):
            model = tiny_detr(num_classes=1, criterion=SetCriterion(matcher, l1_weight=7.0))
            assert model.assign(outputs, objects).assigned.tolist() == [wanted]
            distance = outputs.pred_boxes[0, wanted.index(0)] - torch.tensor([0.5, 0.5, 0.2, 0.2])
            losses = model.compute_loss(outputs, objects)
            assert losses["l1"].item() == pytest.approx(7 * distance.abs().sum().item(), abs=1e-5)

    def test_drawn(self):
        torch.manual_seed(0)
        image, objects = ToyTown(1, seed=0)[0]
        model = models.create("detr", 10)
        ax = plotting.show_assignment(model, image, objects)
        assert ax.get_title() == f"queries: {len(objects['labels'])} of 10 learn"


# ---- detections ----------------------------------------------------------------------------------


def logit(score):
    """The logit of one class against one other of logit 0."""
    return math.log(score / (1 - score))


class TestDecode:
    def test_by_hand(self):
        """40 × 80 pixels; query 0 is unsure, query 1 sure, query 2 says no object."""
        outputs = outputs_of(
            [[[logit(0.6), -99, 0], [-99, logit(0.9), 0], [-99, -99, 9]]],
            [[[0.25, 0.5, 0.25, 0.5], [0.5, 0.5, 0.5, 1.0], [0.5, 0.5, 0.5, 0.5]]],
            [(40, 80)],
        )
        (found,) = tiny_detr(num_classes=2).decode(outputs)
        assert found["labels"].tolist() == [1, 0]
        assert found["scores"].tolist() == pytest.approx([0.9, 0.6])
        torch.testing.assert_close(
            found["boxes"], torch.tensor([[20.0, 0, 60, 40], [10, 10, 30, 30]])
        )

    def test_a_query_is_one_detection_of_its_best_class(self):
        model = tiny_detr(num_classes=2)
        (found,) = model.decode(outputs_of([[[1.0, 0.9, 0]]], [[[0.5] * 4]], [(8, 8)]))
        assert found["labels"].tolist() == [0]
        # Also one that had better say nothing.
        (found,) = model.decode(outputs_of([[[0, 1.0, 1.2]]], [[[0.5] * 4]], [(8, 8)]))
        assert found["labels"].tolist() == [1]
        assert found["scores"].item() == pytest.approx(
            math.exp(1) / (1 + math.exp(1) + math.exp(1.2))
        )

    def test_nothing_is_suppressed(self):
        outputs = outputs_of([[[3, 0, 0]] * 3], [[[0.5] * 4] * 3], [(8, 8)])
        (found,) = tiny_detr(num_classes=2).decode(outputs)
        assert len(found["scores"]) == 3

    def test_each_image_has_its_size_and_boxes_end_at_it(self):
        outputs = outputs_of(
            [[[9.0, 0]]] * 2, [[[0.5, 0.5, 1, 1]], [[0.9, 0.1, 0.4, 0.4]]], [(40, 80), (60, 20)]
        )
        first, second = tiny_detr(num_classes=1).decode(outputs)
        assert first["boxes"].tolist() == [[0, 0, 80, 40]]
        torch.testing.assert_close(second["boxes"], torch.tensor([[14.0, 0, 20, 18]]))

    def test_the_threshold(self):
        model = tiny_detr(num_classes=1)
        outputs = outputs_of([[[logit(0.3), 0], [logit(0.2), 0]]], [[[0.5] * 4] * 2], [(8, 8)])
        model.score_threshold = 0.25
        (found,) = model.decode(outputs)
        assert found["scores"].tolist() == pytest.approx([0.3])

    @pytest.mark.parametrize("size", [(64, 64), (50, 90), (33, 40)])
    def test_the_contract(self, size):
        model = tiny_detr(num_classes=3)
        images = [torch.rand(3, *size), torch.rand(3, 64, 48)]
        model.score_threshold = 0.0
        for image, found in zip(images, model(images)):
            check_contract(found, *image.shape[-2:], num_classes=3)
            assert len(found["scores"]) == 5


# ---- training ------------------------------------------------------------------------------------


FIRST = "transformer.decoder.layers.0"
NOTHING_AT_FIRST = (f"{FIRST}.self_attn", f"{FIRST}.norm1.weight")


class TestTraining:
    def test_boxes_are_measured_in_their_unpadded_image(self):
        """The same scene with and without another, larger one beside it has the same loss."""
        model = tiny_detr().train()
        image, objects = torch.rand(3, 32, 48), target([[4, 8, 40, 24]], [1])
        alone = model([image], [objects])
        both = model([image, torch.rand(3, 64, 64)], [objects, target([])])
        for name in ("l1", "giou"):
            torch.testing.assert_close(both[name], alone[name])

    def test_every_parameter_gets_a_gradient(self):
        model = tiny_detr().train()
        losses = model([torch.rand(3, 32, 48)], [target([[4, 8, 40, 24]], [1])])
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            # The queries are zeros at first: their first self-attention has nothing to hand on, and
            # nothing is what the first normalisation then scales.
            if not name.startswith(NOTHING_AT_FIRST):
                assert parameter.grad.abs().sum() > 0, name

    def test_images_without_objects(self):
        model = tiny_detr().train()
        losses = model([torch.rand(3, 32, 48)] * 2, [target([])] * 2)
        assert losses["l1"] == losses["giou"] == 0 and losses["class"] > 0
        sum(losses.values()).backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)

    def test_more_objects_than_queries(self):
        model = tiny_detr(num_queries=2).train()
        boxes = [[4.0 * i, 4, 4.0 * i + 8, 20] for i in range(6)]
        with pytest.warns(UserWarning, match=r"more objects than there are queries \(2\)"):
            losses = model([torch.rand(3, 32, 48)], [target(boxes)])
        assert all(value.isfinite() for value in losses.values())

        # As many as there are queries are no reason for a warning: here it would be an error.
        model([torch.rand(3, 32, 48)], [target(boxes[:2])])

    def test_ruined_weights_say_where_to_look(self):
        model = tiny_detr().train()
        with torch.no_grad():
            model.class_embed.weight[0, 0] = math.nan
        with pytest.raises(ValueError, match=r"class_logits are not finite.*lower learning rate"):
            model([torch.rand(3, 32, 48)], [target([[4, 8, 40, 24]], [1])])

    @pytest.mark.slow
    def test_learns_a_batch_by_heart(self):
        torch.manual_seed(0)
        model = detr_small(2, num_queries=6)
        samples = two_colours()
        fit(
            model, samples, steps=300, batch_size=4, lr=1e-3, clip_norm=1.0, augment=None,
            ema=None, progress=False,
        )  # fmt: skip
        images, targets = zip(*samples)
        for found, wanted in zip(model(list(images)), targets):
            check_two_colours(found, wanted)
            assert (found["scores"] > 0.5).sum() == 2, "one query an object, without NMS"


class TestSmall:
    def test_what_it_is_made_of(self):
        model = detr_small(10, query_groups=1)
        assert sum(p.numel() for p in model.parameters()) == 1_096_607
        assert model.query_embed.weight.shape == (10, 128)
        assert model.position_encoding.temperature == 1
        outputs = model.eval().predict(torch.rand(1, 3, 128, 128))
        assert outputs.memory.map_size == (8, 8) and len(outputs.earlier_boxes) == 2

    def test_a_number_of_queries(self):
        model = detr_small(10, num_queries=7, query_groups=1)
        assert model.query_embed.weight.shape == (7, 128)


class TestFullSize:
    @pytest.mark.parametrize("pretrained", [False, True])
    def test_what_it_is_made_of(self, monkeypatch, pretrained):
        """With a small backbone in the place of the ResNet, which takes seconds to build."""
        bodies, norms = {False: Patches(), True: Patches()}, []
        monkeypatch.setattr(detr, "resnet50", lambda norm: norms.append(norm) or bodies[False])
        monkeypatch.setattr(
            detr, "pretrained_resnet50", lambda norm: norms.append(norm) or bodies[True]
        )
        model = detr_resnet50(
            3, num_queries=7, min_size=48, max_size=96, pretrained_backbone=pretrained
        )
        assert model.backbone[0]["body"] is bodies[pretrained] and norms == [FrozenBatchNorm2d]
        assert model.query_embed.weight.shape == (7, 256) and model.num_classes == 3
        assert (model.batcher.min_size, model.batcher.max_size) == (48, 96)
