"""Anchor queries, refinement, IoU-aware scores and denoising, each alone and all together."""

import math
from functools import partial

import pytest
import torch
from detectors import check_contract, check_two_colours, target, two_colours
from test_detr import Patches
from torch import nn
from torch.testing import assert_close
from torchvision.ops import box_iou, generalized_box_iou_loss

from detlearn.boxes import box_convert
from detlearn.coders import refine_boxes
from detlearn.denoising import NoisyObjects, blocked_pairs, noisy_objects
from detlearn.losses import varifocal_loss
from detlearn.models import dab_detr
from detlearn.models.dab_detr import (
    DABDETR,
    AnchorDecoder,
    AnchorDecoderLayer,
    AnchorTransformer,
    IoUAwareCriterion,
    SideBySideAttention,
    anchor_codes,
    iou_goals,
)
from detlearn.models.detr import DETR, SetCriterion
from detlearn.models.group_detr import GroupDETR
from detlearn.models.images import ImageBatcher
from detlearn.models.small import detr_small
from detlearn.nets.transformer import Memory, PositionalEncoding2D
from detlearn.training import fit

ALL = {"iou_aware": True, "denoising_groups": 2}


def tiny(num_classes=3, num_queries=5, num_layers=2, seed=0, refine=False, **options):
    """A detector with random weights in eval mode, that keeps the size of its images."""
    torch.manual_seed(seed)
    transformer = AnchorTransformer(16, 2, 1, num_layers, 24, iterative_refinement=refine)
    return DABDETR(
        num_classes,
        Patches(),
        transformer,
        num_queries=num_queries,
        batcher=ImageBatcher(size_divisible=16),
        **options,
    ).eval()


def some_memory(batch_size=2, rows=3, columns=4, channels=16, padding=None):
    tokens = torch.randn(batch_size, rows * columns, channels)
    encoding = PositionalEncoding2D(channels, dab_detr.ANCHOR_TEMPERATURE, centred=True)
    positions = encoding(torch.zeros(batch_size, channels, rows, columns))
    return Memory(tokens, positions.flatten(2).transpose(1, 2), padding, (rows, columns))


def random_boxes(*shape):
    return torch.cat((torch.rand(*shape, 2), 0.05 + 0.3 * torch.rand(*shape, 2)), dim=-1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


# ---- anchor queries ------------------------------------------------------------------------------


def test_codes_by_hand():
    """A quarter of the image is a right angle: sine 1, cosine 0 in the shortest wavelength."""
    codes = anchor_codes(torch.tensor([0.25, 0.5, 0.75, 1.0]), hidden_dim=4, temperature=20.0)
    assert_close(codes, torch.tensor([[1.0, 0], [0, -1], [-1, 0], [0, 1]]), rtol=0, atol=1e-6)


class TestSideBySideAttention:
    def test_against_a_loop(self):
        """One image, head and query at a time."""
        attention = SideBySideAttention(16, 4).double()
        memory = some_memory()._replace(padding=torch.zeros(2, 12, dtype=torch.bool))
        memory.padding[1, 7:] = True
        memory = memory._replace(tokens=memory.tokens.double(), positions=memory.positions.double())
        queries, where = torch.randn(2, 2, 5, 16, dtype=torch.float64)
        answers, weights = attention(queries, where, memory)

        for image in range(2):
            tokens, places = memory.tokens[image], memory.positions[image]
            for query in range(5):
                taken = []
                for head in range(4):
                    own = slice(4 * head, 4 * head + 4)
                    scores = torch.stack(
                        [
                            attention.query_content(queries[image, query])[own]
                            @ attention.key_content(tokens[s])[own]
                            + attention.query_position(where[image, query])[own]
                            @ attention.key_position(places[s])[own]
                            for s in range(12 if image == 0 else 7)
                        ]
                    )
                    share = (scores / math.sqrt(8)).softmax(dim=0)
                    assert_close(weights[image, head, query, : len(share)], share)
                    taken.append(share @ attention.value(tokens[: len(share)])[:, own])
                assert_close(answers[image, query], attention.out_proj(torch.cat(taken)))
        assert (weights[1, ..., 7:] == 0).all()

    def test_positions_are_in_no_value(self):
        """Where nobody is preferred, it does not matter where anyone stands."""
        attention = SideBySideAttention(16, 4)
        for layer in (attention.query_content, attention.query_position):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        memory = some_memory()
        queries, where = torch.randn(2, 2, 5, 16)
        answers, _ = attention(queries, where, memory)
        moved, _ = attention(queries, where + 1, memory._replace(positions=memory.positions * 3))
        assert_close(answers, moved)


def spread(module):
    """Give every parameter a random value, so that none can be left out unseen."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def test_a_layer_step_by_step():
    layer, memory = spread(AnchorDecoderLayer(16, 2, 24)), some_memory()
    content, positions, looking = torch.randn(3, 2, 5, 16)
    padding = torch.tensor([[False] * 4 + [True]] * 2)
    blocked = torch.eye(5).roll(1, dims=0).bool()
    found = layer(content, positions, looking, memory, padding, blocked)

    answers, _ = layer.self_attn(content, positions, content, positions, padding, blocked)
    x = layer.norm1(content + answers)
    answers, _ = layer.multihead_attn(x, looking, memory)
    x = layer.norm2(x + answers)
    hidden = layer.linear1(x).clamp(min=0)
    assert_close(found, layer.norm3(x + layer.linear2(hidden)))


def decoder(num_layers=2, refine=False):
    layers = [AnchorDecoderLayer(16, 2, 24) for _ in range(num_layers)]
    return AnchorDecoder(layers, 16, iterative_refinement=refine)


class TestWhereToLook:
    def plain(self, model, sides):
        """Let the learnt scale be 1 and the learnt sides be these."""
        for mlp, value in ((model.scale_mlp, torch.ones(16)), (model.side_mlp, sides.logit())):
            nn.init.zeros_(mlp.layers[-1].weight)
            mlp.layers[-1].bias.data = value

    def test_an_anchor_on_a_location_looks_for_its_code(self):
        """Row 1, column 2 of 3 × 4: the same y and x halves in the same order."""
        model, memory = decoder(), some_memory(batch_size=1)
        anchors = torch.tensor([[[2.5 / 4, 1.5 / 3, 0.2, 0.3]]])
        self.plain(model, torch.tensor([0.2, 0.3]))
        codes = anchor_codes(anchors, 16, dab_detr.ANCHOR_TEMPERATURE)
        looking = model.where_to_look(torch.randn(1, 1, 16), codes, anchors)
        assert_close(looking[0, 0], memory.positions[0, 1 * 4 + 2], rtol=0, atol=1e-5)

    def test_a_narrow_anchor_looks_closer_in_x(self):
        model = decoder()
        self.plain(model, torch.tensor([0.2, 0.3]))
        anchors = torch.tensor([[[0.5, 0.5, 0.2, 0.3], [0.5, 0.5, 0.1, 0.3], [0.5, 0.5, 0.2, 0.9]]])
        codes = anchor_codes(anchors, 16, dab_detr.ANCHOR_TEMPERATURE)
        usual, narrow, high = model.where_to_look(torch.randn(1, 3, 16), codes, anchors)[0]
        assert_close(narrow, torch.cat((usual[:8], 2 * usual[8:])))
        assert_close(high, torch.cat((usual[:8] / 3, usual[8:])))

    def test_an_anchor_of_no_width_is_finite(self):
        model = decoder()
        anchors = torch.zeros(1, 1, 4)
        codes = anchor_codes(anchors, 16, dab_detr.ANCHOR_TEMPERATURE)
        assert model.where_to_look(torch.randn(1, 1, 16), codes, anchors).isfinite().all()

    def test_no_anchor_counts_as_narrower_than_a_fiftieth(self):
        model = decoder()
        content = torch.randn(1, 1, 16).expand(1, 4, 16)
        centre = torch.tensor([0.4, 0.7]).expand(1, 4, 2)
        sides = torch.tensor([[[0.02, 0.02], [0.01, 0.001], [0.0, 0.02], [0.03, 0.02]]])
        anchors = torch.cat((centre, sides), dim=-1)
        codes = anchor_codes(anchors, 16, dab_detr.ANCHOR_TEMPERATURE)
        smallest, narrower, none, wider = model.where_to_look(content, codes, anchors)[0]
        assert_close(narrower, smallest)
        assert_close(none, smallest)
        assert_close(wider[:8], smallest[:8])
        assert_close(wider[8:], smallest[8:] * 2 / 3)

    def test_what_is_learnt_comes_from_the_content(self):
        model = decoder()
        anchors = torch.tensor([[[0.5, 0.5, 0.2, 0.3]]])
        codes = anchor_codes(anchors, 16, dab_detr.ANCHOR_TEMPERATURE)
        one, other = (
            model.where_to_look(content, codes, anchors) for content in torch.randn(2, 1, 1, 16)
        )
        assert not torch.allclose(one, other)


class Deltas(nn.Module):
    """A head that says what it was given, one entry a layer, whatever the queries are."""

    def __init__(self, deltas):
        super().__init__()
        self.deltas, self.asked = deltas, 0

    def forward(self, states):
        self.asked += 1
        return self.deltas[self.asked - 1]


class TestDecoder:
    @pytest.mark.parametrize("refine", [False, True])
    def test_layer_by_layer(self, refine):
        """Heads see the queries normalised, the next layer sees them as they are."""
        model, memory = spread(decoder(3, refine)), some_memory()
        content, anchors = torch.randn(2, 5, 16), random_boxes(2, 5)
        head = spread(nn.Linear(16, 4))
        states, boxes = model(content, anchors, memory, head)

        for i, layer in enumerate(model.layers):
            codes = anchor_codes(anchors, 16, dab_detr.ANCHOR_TEMPERATURE)
            positions = model.position_mlp(codes.flatten(-2))
            looking = model.where_to_look(content, codes, anchors)
            content = layer(content, positions, looking, memory)
            assert_close(states[i], model.norm(content))
            assert_close(boxes[i], refine_boxes(head(model.norm(content)), anchors))
            if refine:
                anchors = boxes[i]

    def test_without_refinement_all_layers_start_from_the_anchors(self):
        deltas, anchors = torch.randn(2, 2, 5, 4), random_boxes(2, 5)
        _, boxes = decoder()(torch.zeros(2, 5, 16), anchors, some_memory(), Deltas(deltas))
        for layer in range(2):
            assert_close(boxes[layer], refine_boxes(deltas[layer], anchors))

    def test_with_it_from_the_boxes_before(self):
        deltas, anchors = torch.randn(3, 2, 5, 4), random_boxes(2, 5)
        model = decoder(num_layers=3, refine=True)
        _, boxes = model(torch.zeros(2, 5, 16), anchors, some_memory(), Deltas(deltas))
        for delta in deltas:
            anchors = refine_boxes(delta, anchors)
        assert_close(boxes[2], anchors)

    def test_no_gradient_goes_through_the_box_it_starts_from(self):
        deltas = torch.randn(2, 2, 5, 4, requires_grad=True)
        model = decoder(refine=True)
        states, boxes = model(
            torch.zeros(2, 5, 16), random_boxes(2, 5), some_memory(), Deltas(deltas)
        )
        (boxes[1].sum() + states[1].sum()).backward()
        assert (deltas.grad[0] == 0).all() and (deltas.grad[1] != 0).all()

    def test_a_refined_box_changes_where_the_next_layer_looks(self):
        anchors, memory = random_boxes(2, 5), some_memory()
        model = decoder(refine=True)
        answers = [
            model(torch.zeros(2, 5, 16), anchors, memory, Deltas(deltas))[0]
            for deltas in (torch.zeros(2, 2, 5, 4), torch.ones(2, 2, 5, 4))
        ]
        assert_close(answers[0][0], answers[1][0])
        assert not torch.allclose(answers[0][1], answers[1][1])

    def test_who_is_blocked_is_not_heard(self):
        """Two groups of two: what the second is changes nothing in the first, and back."""
        model, memory = decoder(), some_memory()
        content, anchors = torch.randn(2, 4, 16), random_boxes(2, 4)
        other = content.clone()
        other[:, 2:] += 1
        head = Deltas(torch.zeros(9, 2, 4, 4))
        before, _ = model(content, anchors, memory, head, blocked=blocked_pairs(2, 2))
        after, _ = model(other, anchors, memory, head, blocked=blocked_pairs(2, 2))
        assert_close(before[:, :, :2], after[:, :, :2])
        assert not torch.allclose(before[:, :, 2:], after[:, :, 2:])
        heard, _ = model(other, anchors, memory, head)
        assert not torch.allclose(before[:, :, :2], heard[:, :, :2])

    def test_padding_is_not_heard(self):
        model, memory = decoder(), some_memory()
        content, anchors = torch.randn(2, 4, 16), random_boxes(2, 4)
        padding = torch.tensor([[False, False, False, True]] * 2)
        head = Deltas(torch.zeros(9, 2, 4, 4))
        four, _ = model(content, anchors, memory, head, padding=padding)
        head = Deltas(torch.zeros(9, 2, 3, 4))
        three, _ = model(content[:, :3], anchors[:, :3], memory, head)
        assert_close(four[:, :, :3], three)


class TestNetwork:
    def test_shapes(self):
        outputs = tiny(num_layers=3).predict(torch.rand(2, 3, 32, 48))
        assert outputs.class_logits.shape == (2, 5, 4) and outputs.pred_boxes.shape == (2, 5, 4)
        assert outputs.earlier_logits.shape == (2, 2, 5, 4)
        outputs = tiny(iou_aware=True).predict(torch.rand(2, 3, 32, 48))
        assert outputs.class_logits.shape == (2, 5, 3)

    def test_the_first_boxes_are_the_anchors(self):
        model = tiny(refine=True)
        outputs = model.predict(torch.rand(2, 3, 32, 48))
        anchors = model.query_embed.weight.sigmoid()
        assert_close(outputs.pred_boxes, anchors.expand(2, -1, -1), rtol=0, atol=1e-4)
        assert_close(anchors[:, 2:], torch.full((5, 2), dab_detr.FIRST_SIDE))
        assert len(anchors[:, 0].unique()) == 5

    def test_the_transformer(self):
        """Without dropout; its matrices start as those of DETR do."""
        transformer = AnchorTransformer(64, 4, 1, 2, 128)
        assert transformer.encoder.layers[0].dropout.p == 0
        assert transformer.encoder.layers[0].self_attn.dropout == 0
        assert len(transformer.decoder.layers) == 2
        for name, parameter in transformer.named_parameters():
            if parameter.ndim > 1:
                bound = math.sqrt(6 / sum(parameter.shape))
                assert 0.9 * bound < parameter.abs().max() <= bound, name

    def test_anchors_are_learnt(self):
        assert tiny().query_embed.weight.requires_grad

    def test_what_the_queries_are_at_first(self):
        content, anchors = tiny().first_queries(3)
        assert content.shape == (3, 5, 16) and (content == 0).all() and anchors.shape == (3, 5, 4)

        model = tiny(denoising_groups=1)
        content, _ = model.first_queries(3)
        assert (content == model.label_embed.weight[3]).all(), "unknown comes after the classes"

    def test_the_map_s_positions_are_the_anchors_kind(self):
        model = tiny()
        assert model.position_encoding.centred
        assert model.position_encoding.temperature == dab_detr.ANCHOR_TEMPERATURE

    def test_a_padded_image_says_what_it_says_alone(self):
        model = tiny(refine=True, iou_aware=True)
        nn.init.normal_(model.bbox_embed.layers[-1].weight)
        images = [torch.rand(3, 32, 48), torch.rand(3, 48, 16)]
        batch, _ = model.batcher(images)
        together = model.predict(batch.images, batch.sizes)
        for i, image in enumerate(images):
            alone = model.predict(model.batcher([image])[0].images)
            for name in ("class_logits", "pred_boxes"):
                assert_close(getattr(together, name)[i], getattr(alone, name)[0])

    def test_attention_maps(self):
        maps = tiny().attention_maps(torch.rand(2, 3, 32, 48))
        assert maps.shape == (2, 2, 2, 5, 2, 3)
        assert_close(maps.flatten(-2).sum(-1), torch.ones(2, 2, 2, 5))

    @pytest.mark.parametrize("options", [{}, {"iou_aware": True}])
    def test_the_contract(self, options):
        model = tiny(refine=True, **options)
        model.score_threshold = 0.0
        images = [torch.rand(3, 50, 90), torch.rand(3, 64, 48)]
        for image, found in zip(images, model(images)):
            check_contract(found, *image.shape[-2:], num_classes=3)
            assert len(found["scores"]) == 5

    def test_iou_aware_scores_are_sigmoids(self):
        model = tiny(iou_aware=True)
        model.score_threshold = 0.0
        image = torch.rand(3, 32, 48)
        outputs = model.predict(model.batcher([image])[0].images)
        wanted = outputs.class_logits[0].sigmoid().amax(dim=-1).sort(descending=True).values
        assert_close(model([image])[0]["scores"], wanted)
        assert (wanted < 0.1).all(), "almost every answer is no at first"


# ---- IoU-aware classification --------------------------------------------------------------------


class TestIoUAwareCriterion:
    def test_goals_by_hand(self):
        """Query 2 has object 0 (class 1) with half of its area, query 0 object 1 as it is."""
        gt_boxes = torch.tensor([[[0.5, 0.5, 0.4, 0.4], [0.2, 0.2, 0.1, 0.1]]])
        pred = torch.tensor([[[0.2, 0.2, 0.1, 0.1], [0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.4, 0.2]]])
        assigned = torch.tensor([[1, -1, 0]])
        goals = iou_goals(torch.zeros(1, 3, 2), pred, assigned, torch.tensor([[1, 0]]), gt_boxes)
        assert_close(goals, torch.tensor([[[1.0, 0], [0, 0], [0, 0.5]]]))
        goals = iou_goals(
            torch.zeros(1, 3, 2), pred.requires_grad_(), assigned, torch.tensor([[1, 0]]), gt_boxes
        )
        assert not goals.requires_grad

    def test_against_a_loop(self):
        logits, boxes = torch.randn(2, 6, 3), random_boxes(2, 6).requires_grad_()
        gt_labels, gt_boxes = torch.randint(3, (2, 4)), random_boxes(2, 4)
        assigned = torch.tensor([[-1, 2, 0, -1, 1, -1], [3, -1, -1, -1, -1, 0]])
        criterion = IoUAwareCriterion(class_weight=0.7, l1_weight=3.0, giou_weight=1.5)
        losses = criterion.layer_losses(logits, boxes, assigned, gt_labels, gt_boxes, 5.0)

        goals, l1, giou = torch.zeros(2, 6, 3), 0, 0
        for image in range(2):
            for query in range(6):
                if (k := int(assigned[image, query])) >= 0:
                    box, gt = boxes[image, query], gt_boxes[image, k]
                    corners = [box_convert(b[None], "cxcywh", "xyxy") for b in (box, gt)]
                    goals[image, query, gt_labels[image, k]] = box_iou(*corners).item()
                    l1 += (box - gt).abs().sum()
                    giou += generalized_box_iou_loss(*corners).sum()
        assert_close(losses["class"], 0.7 * varifocal_loss(logits, goals).sum() / 5)
        assert_close(losses["l1"], 3 * l1 / 5)
        assert_close(losses["giou"], 1.5 * giou / 5)

        # What a score is to be is no way to make the box worse.
        losses["class"].backward() if losses["class"].requires_grad else None
        assert boxes.grad is None

    def test_matching_is_deformable_detrs(self):
        matcher = tiny(iou_aware=True).criterion.matcher
        wanted = dab_detr.HungarianMatcher(cost_class=2.0, focal=True)
        assert vars(matcher) == vars(wanted)
        assert IoUAwareCriterion(matcher).matcher is matcher
        assert type(tiny().criterion) is SetCriterion

    def test_a_criterion_of_ones_own(self):
        criterion = SetCriterion(no_object_weight=0.4)
        assert tiny(criterion=criterion).criterion is criterion


# ---- denoising -----------------------------------------------------------------------------------

IMAGES = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
TARGETS = [
    target([[4, 8, 40, 24], [2, 2, 20, 30], [8, 1, 20, 9]], [1, 0, 2]),
    target([[1, 1, 9, 30]], [2]),
]


class TestDenoising:
    def loss(self, model, images=IMAGES, targets=TARGETS):
        return model.denoising_loss(model.predict(images), targets)

    @pytest.fixture
    def noiseless(self, monkeypatch):
        monkeypatch.setattr(
            dab_detr, "noisy_objects", partial(noisy_objects, box_noise=0.0, label_noise=0.0)
        )

    @pytest.mark.parametrize("iou_aware", [False, True])
    def test_without_noise_by_hand(self, noiseless, iou_aware):
        """The objects go in, each answers for itself, image by image and layer by layer."""
        model = tiny(denoising_groups=1, refine=True, iou_aware=iou_aware)
        nn.init.normal_(model.bbox_embed.layers[-1].weight, std=0.1)
        scale = torch.tensor([48.0, 32, 48, 32])

        total = 0
        for image, one in zip(IMAGES, TARGETS):
            boxes = (box_convert(one["boxes"], "xyxy", "cxcywh") / scale)[None]
            labels = one["labels"][None]
            memory = model.predict(image[None]).memory
            logits, predicted = model.ask(model.label_embed(labels), boxes, memory)
            own = torch.arange(labels.numel())[None]
            for layer in range(2):
                losses = model.criterion.layer_losses(
                    logits[layer], predicted[layer], own, labels, boxes, 4.0
                )
                # Cross-entropy is a mean over the queries here, all of weight 1.
                if not iou_aware:
                    losses["class"] = losses["class"] * labels.numel() / 4
                total = total + sum(losses.values())
        assert_close(self.loss(model), total)

    def test_more_groups_are_an_average(self, noiseless):
        one, three = tiny(denoising_groups=1), tiny(denoising_groups=3)
        for model in (one, three):
            nn.init.constant_(model.bbox_embed.layers[-1].bias, 0.3)
        assert_close(self.loss(one), self.loss(three))

    def test_the_other_images_do_not_matter(self, noiseless):
        """Padding up to an image with more objects is heard by nobody."""
        model = tiny(denoising_groups=2)
        alone = [self.loss(model, IMAGES[i : i + 1], TARGETS[i : i + 1]) for i in range(2)]
        assert_close(self.loss(model), (3 * alone[0] + 1 * alone[1]) / 4)

    def test_what_is_asked(self, monkeypatch):
        """The wrong labels and boxes go in, under the mask of the groups; the true ones count."""
        boxes = random_boxes(2, 6)
        made = NoisyObjects(
            torch.tensor([[0, 1, 2, 2, 1, 0], [1, 0, 0, 2, 0, 0]]),
            boxes,
            torch.tensor([[0, 1, 2] * 2, [0, -1, -1] * 2]),
            blocked_pairs(2, 3),
        )
        given, asked = {}, {}

        def fake(*objects, **settings):
            given.update(objects=objects, **settings)
            return made

        monkeypatch.setattr(dab_detr, "noisy_objects", fake)
        model = tiny(denoising_groups=2)
        outputs = model.predict(IMAGES)
        ask = model.ask

        def watch(content, anchors, memory, padding, blocked):
            asked.update(content=content, anchors=anchors, memory=memory)
            asked.update(padding=padding, blocked=blocked)
            return ask(content, anchors, memory, padding, blocked)

        model.ask = watch
        model.denoising_loss(outputs, TARGETS)
        assert_close(asked["content"], model.label_embed.weight[made.labels])
        assert asked["anchors"] is boxes and asked["memory"] is outputs.memory
        assert torch.equal(asked["blocked"], made.blocked)
        assert asked["padding"].tolist() == [[False] * 6, [False, True, True] * 2]

        gt_boxes, gt_labels, real = given["objects"][:3]
        assert given["num_groups"] == 2 and given["objects"][3] == 3
        assert gt_labels.tolist() == [[1, 0, 2], [2, 0, 0]]
        assert_close(gt_boxes[1, 0], torch.tensor([5 / 48, 15.5 / 32, 8 / 48, 29 / 32]))
        assert real.tolist() == [[True] * 3, [True, False, False]]

    def test_true_labels_and_boxes_are_the_goal(self, monkeypatch):
        """With all of it wrong, a network that answers what it was told is told off."""

        def lie(boxes, labels, real, num_classes, *, num_groups):
            made = noisy_objects(
                boxes, labels, real, num_classes, num_groups=num_groups, box_noise=0, label_noise=0
            )
            moved = made.boxes + torch.tensor([0.01, 0, 0, 0])
            return made._replace(labels=(made.labels + 1) % num_classes, boxes=moved)

        model = tiny(denoising_groups=1)

        def repeat(content, anchors, memory, padding=None, blocked=None):
            told = (content[..., None, :] - model.label_embed.weight[:-1]).abs().sum(-1).argmin(-1)
            logits = 20 * nn.functional.one_hot(told, 4).float()
            return logits.expand(2, -1, -1, -1), anchors.expand(2, -1, -1, -1)

        model.ask = repeat
        honest = partial(noisy_objects, box_noise=0.0, label_noise=0.0)
        monkeypatch.setattr(dab_detr, "noisy_objects", honest)
        assert self.loss(model) < 1e-3
        monkeypatch.setattr(dab_detr, "noisy_objects", lie)
        corners = torch.cat([one["boxes"] for one in TARGETS])
        moved = corners + 0.01 * torch.tensor([48.0, 0, 48, 0])
        giou = generalized_box_iou_loss(moved, corners).mean().item()
        assert self.loss(model) == pytest.approx(2 * (20 + 5 * 0.01 + 2 * giou), rel=1e-3)

    @pytest.mark.parametrize("groups", [1, 2])
    def test_it_is_one_more_term_of_the_loss_in_training(self, groups):
        model = tiny(iou_aware=True, denoising_groups=groups).train()
        torch.manual_seed(1)
        losses = model(list(IMAGES), TARGETS)
        assert set(losses) == {"class", "l1", "giou", "auxiliary", "denoising"}
        assert losses["denoising"] > 0

        without = tiny(iou_aware=True).train()
        assert "denoising" not in without(list(IMAGES), TARGETS)

    def test_detecting_has_no_noise(self):
        model = tiny(refine=True, **ALL)
        torch.manual_seed(1)
        first = model.predict(IMAGES)
        state = torch.get_rng_state()
        second = model.predict(IMAGES)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(first.pred_boxes, second.pred_boxes)

    @pytest.mark.parametrize("counts", [(0, 0), (0, 2)])
    def test_images_without_objects(self, counts):
        model = tiny(refine=True, **ALL).train()
        targets = [target([[4.0, 4, 20 + i, 30] for i in range(n)], [1] * n) for n in counts]
        losses = model(list(IMAGES), targets)
        sum(losses.values()).backward()
        assert all(value.isfinite() for value in losses.values())
        assert (losses["denoising"] == 0) == (sum(counts) == 0)
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


# ---- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("refine", [False, True])
def test_every_parameter_gets_a_gradient(refine):
    model = tiny(refine=refine, **ALL).train()
    # Where the last layer is zero, as at first, nothing before it learns in the first step.
    nn.init.normal_(model.bbox_embed.layers[-1].weight, std=0.1)
    sum(model(list(IMAGES), TARGETS).values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if not name.endswith(("key_content.bias", "key_position.bias")):  # the same for all keys
            assert parameter.grad.abs().sum() > 0, name


def test_bfloat16():
    model = tiny(refine=True, **ALL).train()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(list(IMAGES), TARGETS)
    assert all(value.dtype == torch.float32 for value in losses.values())
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model.predict(IMAGES)
    assert outputs.pred_boxes.dtype == outputs.class_logits.dtype == torch.float32


@pytest.mark.slow
def test_learns_a_batch_by_heart():
    torch.manual_seed(0)
    model = detr_small(
        2, num_queries=6, anchor_queries=True, iterative_refinement=True, iou_aware=True,
        denoising_groups=2,
    )  # fmt: skip
    samples = two_colours()
    fit(
        model, samples, steps=200, batch_size=4, lr=1e-3, clip_norm=1.0, augment=None,
        ema=None, progress=False,
    )  # fmt: skip
    images, targets = zip(*samples)
    for found, wanted in zip(model(list(images)), targets):
        check_two_colours(found, wanted)
        assert (found["scores"] > 0.5).sum() == 2, "one query an object, without NMS"


# ---- by argument ---------------------------------------------------------------------------------


class TestSmall:
    def test_off_unless_asked_for(self):
        assert type(detr_small(10, query_groups=1)) is DETR
        assert type(detr_small(10)) is GroupDETR

    def test_each_alone(self):
        model = detr_small(10, anchor_queries=True)
        assert type(model) is DABDETR
        assert not model.transformer.decoder.iterative_refinement and not model.iou_aware
        assert model.denoising_groups == 0 and not hasattr(model, "label_embed")

        model = detr_small(10, anchor_queries=True, iterative_refinement=True)
        assert model.transformer.decoder.iterative_refinement and not model.iou_aware
        model = detr_small(10, anchor_queries=True, iou_aware=True)
        assert model.iou_aware and not model.transformer.decoder.iterative_refinement
        assert type(model.criterion) is IoUAwareCriterion and model.criterion.class_weight == 4
        model = detr_small(10, anchor_queries=True, denoising_groups=3)
        assert model.denoising_groups == 3 and model.label_embed.weight.shape == (11, 128)

    @pytest.mark.parametrize(
        "options", [{"iterative_refinement": True}, {"iou_aware": True}, {"denoising_groups": 2}]
    )
    def test_what_starts_from_anchors_needs_them(self, options):
        with pytest.raises(ValueError, match="need anchor_queries=True"):
            detr_small(10, **options)
