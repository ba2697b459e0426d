"""Deformable DETR: where queries start and look, refinement, proposals, losses, detections."""

import math

import pytest
import torch
from detectors import check_contract, check_two_colours, target, two_colours
from torch import nn
from torch.testing import assert_close
from torchvision.ops import sigmoid_focal_loss

from detlearn import models, plotting
from detlearn.data import ToyTown
from detlearn.matching import HungarianMatcher
from detlearn.models import deformable_detr
from detlearn.models.dab_detr import IoUAwareCriterion
from detlearn.models.deformable_detr import (
    DeformableDecoderLayer,
    DeformableDETR,
    DeformableEncoderLayer,
    DeformableOutputs,
    DeformableTransformer,
    FocalCriterion,
    Proposals,
    PyramidMemory,
    deformable_detr_resnet50,
    location_centres,
    on_padded_maps,
)
from detlearn.models.detr import box_losses, relative_targets
from detlearn.models.images import ImageBatcher
from detlearn.models.small import deformable_detr_small, small_norm
from detlearn.nets.resnet import FrozenBatchNorm2d
from detlearn.nets.small import SmallBackbone
from detlearn.nets.transformer import sine_code
from detlearn.training import fit


class Patches(nn.Module):
    """A backbone whose locations see their own pixels and nothing else: strides 4, 8 and 16."""

    def __init__(self):
        super().__init__()
        self.out_channels, self.strides = [4, 8, 12], [4, 8, 16]
        self.convolutions = nn.ModuleList(
            (nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(4, 8, 2, stride=2), nn.Conv2d(8, 12, 2, 2))
        )

    def forward(self, x):
        maps = {}
        for stride, convolution in zip(self.strides, self.convolutions):
            x = convolution(x).relu()
            maps[str(stride)] = x
        return maps


def tiny(num_classes=3, *, refine=True, two_stage=True, num_levels=2, seed=0, **options):
    """A detector with random weights in eval mode, that keeps the size of its images."""
    torch.manual_seed(seed)
    transformer = DeformableTransformer(16, 2, 1, 3, 24, 0.0, num_levels, 2, two_stage)
    options = {"num_queries": 5, "norm_layer": lambda c: nn.GroupNorm(2, c)} | options
    model = DeformableDETR(
        num_classes,
        Patches(),
        transformer,
        iterative_refinement=refine,
        batcher=ImageBatcher(size_divisible=16),
        **options,
    )
    # Nothing keeps its first value, where boxes are not corrected and points do not move.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "backbone" not in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


VARIANTS = {
    "plain": {"refine": False, "two_stage": False},
    "refined": {"refine": True, "two_stage": False},
    "two_stages": {"refine": True, "two_stage": True},
}


@pytest.fixture(params=VARIANTS)
def variant(request):
    return VARIANTS[request.param]


# ---- places on padded maps -----------------------------------------------------------------------


def test_location_centres_by_hand():
    """A map of 2 × 4 and one of 1 × 2; of the second image only the left half is no padding."""
    valid = torch.tensor([[[1.0, 1.0], [1.0, 1.0]], [[0.5, 1.0], [0.5, 1.0]]])
    found = location_centres([(2, 4), (1, 2)], valid)
    fine = [(x, y) for y in (0.25, 0.75) for x in (0.125, 0.375, 0.625, 0.875)]
    coarse = [(0.25, 0.5), (0.75, 0.5)]
    assert_close(found[0], torch.tensor(fine + coarse))
    assert_close(found[1], torch.tensor([(2 * x, y) for x, y in fine + coarse]))


def test_on_padded_maps_by_hand():
    valid = torch.tensor([[[0.5, 1.0], [0.25, 0.5]]])
    points = on_padded_maps(torch.tensor([[[0.8, 0.4]]]), valid)
    assert_close(points, torch.tensor([[[[0.4, 0.4], [0.2, 0.2]]]]))
    boxes = on_padded_maps(torch.tensor([[[0.8, 0.4, 0.2, 0.6]]]), valid)
    assert_close(boxes, torch.tensor([[[[0.4, 0.4, 0.1, 0.6], [0.2, 0.2, 0.05, 0.3]]]]))


# ---- layers --------------------------------------------------------------------------------------


class TestLayers:
    """Both layers, on maps of 2 × 2 and of one location."""

    def memory(self):
        tokens, positions = torch.randn(2, 2, 5, 16)
        return PyramidMemory(tokens, positions, None, torch.ones(2, 2, 2), [(2, 2), (1, 1)])

    def make(self, kind, dropout):
        torch.manual_seed(0)
        layer = kind(16, 2, 24, dropout, 2, 2)
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.3)
        return layer

    def test_an_encoder_layer_step_by_step(self):
        layer, memory = self.make(DeformableEncoderLayer, 0.0), self.memory()
        references = torch.rand(2, 5, 2, 2)
        tokens, positions = memory.tokens, memory.positions
        found = layer(memory, references)

        answers = layer.self_attn(tokens + positions, references, tokens, memory.map_sizes)
        x = layer.norm1(tokens + answers)
        hidden = layer.linear1(x).clamp(min=0)
        assert_close(found.tokens, layer.norm2(x + layer.linear2(hidden)))
        assert found.positions is positions

    def test_a_decoder_layer_step_by_step(self):
        layer, memory = self.make(DeformableDecoderLayer, 0.0), self.memory()
        queries, positions = torch.randn(2, 2, 3, 16)
        references = torch.rand(2, 3, 2, 4)
        found = layer(queries, positions, references, memory)

        answers, _ = layer.self_attn(queries, positions, queries, positions)
        x = layer.norm2(queries + answers)
        x = layer.norm1(
            x + layer.cross_attn(x + positions, references, memory.tokens, memory.map_sizes)
        )
        hidden = layer.linear1(x).clamp(min=0)
        assert_close(found, layer.norm3(x + layer.linear2(hidden)))

    def test_what_is_dropped(self):
        """The result of each step, and the hidden channels: without all only the norms are left."""
        memory, dropped = self.memory(), []

        def note(module, given, left):
            dropped.append(given[0].shape[-1])

        layer = self.make(DeformableEncoderLayer, 1.0)
        layer.dropout.register_forward_hook(note)
        found = layer(memory, torch.rand(2, 5, 2, 2)).tokens
        assert_close(found, layer.norm2(layer.norm1(memory.tokens)))
        assert dropped == [16, 24, 16]

        layer = self.make(DeformableDecoderLayer, 1.0)
        layer.dropout.register_forward_hook(note)
        queries, positions = torch.randn(2, 2, 3, 16)
        found = layer(queries, positions, torch.rand(2, 3, 2, 2), memory)
        assert_close(found, layer.norm3(layer.norm1(layer.norm2(queries))))
        assert dropped[3:] == [16, 16, 24, 16] and layer.self_attn.dropout == 1.0


# ---- the network ---------------------------------------------------------------------------------


class Watch(nn.Module):
    """A layer of the encoder that changes nothing and notes from where it was to look."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, memory, references):
        self.seen.append(references)
        return memory


class TestPredict:
    def test_shapes(self, variant):
        outputs = tiny(**variant).predict(torch.rand(2, 3, 32, 48))
        assert outputs.class_logits.shape == (2, 5, 3)
        assert outputs.pred_boxes.shape == (2, 5, 4)
        assert outputs.earlier_logits.shape == (2, 2, 5, 3)
        assert outputs.earlier_boxes.shape == (2, 2, 5, 4)
        assert outputs.sizes == [(32, 48)] * 2
        assert outputs.pred_boxes.min() >= 0 and outputs.pred_boxes.max() <= 1

        first = 4 if variant["two_stage"] else 2
        later = 4 if variant["refine"] else 2
        assert [x.shape for x in outputs.references] == [(2, 5, first)] + [(2, 5, later)] * 2

    def test_padding_changes_nothing(self, variant):
        """What stands in the padding is of no account, and a padded image gets its own boxes."""
        # The projected maps are not normalised: that would be over all locations, padding too.
        model = tiny(**variant, norm_layer=lambda c: nn.Identity())
        images = torch.rand(2, 3, 48, 64)
        sizes = [(48, 64), (32, 32)]
        outputs = model.predict(images, sizes)

        images[1, :, 32:] = 9.0
        images[1, :, :, 32:] = 9.0
        other = model.predict(images, sizes)
        assert_close(outputs.class_logits, other.class_logits)
        assert_close(outputs.pred_boxes, other.pred_boxes)

        alone = model.predict(images[1:, :, :32, :32], [(32, 32)])
        if variant["two_stage"]:
            # Of the padding something may be chosen; what the image's own locations say is equal.
            inside = ~model.encode(images, sizes).padding[1]
            assert_close(outputs.proposals.logits[1, inside], alone.proposals.logits[0])
            assert_close(outputs.proposals.boxes[1, inside], alone.proposals.boxes[0])
        else:
            assert_close(outputs.pred_boxes[1], alone.pred_boxes[0], atol=1e-5, rtol=1e-4)
            assert_close(outputs.class_logits[1], alone.class_logits[0], atol=1e-5, rtol=1e-4)

    def test_further_levels_are_made_from_the_coarsest(self):
        model = tiny(num_levels=4, two_stage=False)
        memory = model.encode(torch.rand(1, 3, 64, 64), [(64, 64)])
        assert memory.map_sizes == [(8, 8), (4, 4), (2, 2), (1, 1)]
        assert memory.tokens.shape == (1, 64 + 16 + 4 + 1, 16)
        # The third of the backbone's coarsest map, the fourth of the third.
        assert [x[0].in_channels for x in model.input_proj] == [8, 12, 12, 16]

    def test_a_backbone_may_keep_its_finest_map_to_itself(self):
        for skip in (0, 1):
            backbone = SmallBackbone((16, 16, 32), skip=skip)
            transformer = DeformableTransformer(16, 2, 0, 1, 24, 0.0, 2, 2, True)
            model = DeformableDETR(
                2, backbone, transformer, iterative_refinement=True, norm_layer=small_norm
            )
            memory = model.eval().encode(torch.rand(1, 3, 64, 32), [(64, 32)])
            assert memory.map_sizes == [(8, 4), (4, 2)]

    def test_levels_are_told_apart(self):
        model = tiny()
        with torch.no_grad():
            model.transformer.level_embed.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 16))
        memory = model.encode(torch.rand(1, 3, 32, 32), [(32, 32)])
        fine = model.position_encoding(torch.zeros(1, 16, 4, 4)).flatten(2).mT
        coarse = model.position_encoding(torch.zeros(1, 16, 2, 2)).flatten(2).mT
        assert_close(memory.positions[:, :16], fine + 1)
        assert_close(memory.positions[:, 16:], coarse - 1)
        assert model.position_encoding.centred

    def test_the_temperature_is_that_of_the_positions(self):
        assert tiny(temperature=20.0).position_encoding.temperature == 20.0

    def test_fewer_levels_than_maps(self):
        """The finest are taken."""
        memory = tiny(num_levels=1).encode(torch.rand(1, 3, 64, 32), [(64, 32)])
        assert memory.map_sizes == [(8, 4)]

    def test_all_encoder_layers_look_about_from_the_same_places(self):
        model = tiny()
        seen = []
        model.transformer.encoder.layers = nn.ModuleList([Watch(seen) for _ in range(3)])
        memory = model.encode(torch.rand(2, 3, 32, 64), [(32, 64), (32, 32)])
        centres = location_centres(memory.map_sizes, memory.valid)
        for references in seen:
            assert_close(references, on_padded_maps(centres, memory.valid))
        assert len(seen) == 3

    def test_learnt_queries_by_hand(self):
        """A row of the table: first the position, of which the point is made, then the query."""
        model = tiny(two_stage=False)
        rows = model.query_embed.weight
        queries, positions, points = model.learnt_queries(3)
        assert queries.shape == positions.shape == (3, 5, 16) and points.shape == (3, 5, 2)
        for i in range(3):
            assert positions[i].equal(rows[:, :16]) and queries[i].equal(rows[:, 16:])
            assert_close(points[i], model.transformer.reference_points(rows[:, :16]).sigmoid())

    def test_two_stages_need_refinement(self):
        with pytest.raises(ValueError, match="needs iterative_refinement=True"):
            tiny(refine=False, two_stage=True)

    def test_bfloat16(self, variant):
        model = tiny(**variant)
        images = torch.rand(2, 3, 32, 48)
        with torch.autocast("cpu", torch.bfloat16):
            found = model.predict(images, [(32, 48), (20, 48)])
        assert found.class_logits.dtype == found.pred_boxes.dtype == torch.float32
        assert found.pred_boxes.isfinite().all()
        if variant["two_stage"]:
            assert found.proposals.logits.dtype == found.proposals.boxes.dtype == torch.float32


class TestStart:
    """Weights before the first step, as the published code has them."""

    def make(self, refine, two_stage):
        torch.manual_seed(0)
        transformer = DeformableTransformer(16, 2, 1, 3, 24, 0.0, 2, 2, two_stage)
        options = {"num_queries": 5, "norm_layer": lambda c: nn.GroupNorm(2, c)}
        return DeformableDETR(
            3, Patches(), transformer, iterative_refinement=refine, **options
        ).eval()

    def test_scores_start_at_the_prior(self, variant):
        for head in self.make(**variant).class_embed:
            assert_close(head.bias.sigmoid(), torch.full((3,), 0.01))

    def test_projections_of_the_maps(self, variant):
        for convolution, _ in self.make(**variant).input_proj:
            channels, inputs = convolution.weight.shape[:2]
            bound = math.sqrt(6 / (channels + inputs))
            assert 0.9 * bound < convolution.weight.abs().max() <= bound
            assert not convolution.bias.any()

    def test_boxes_start_where_the_references_are(self, variant):
        model = self.make(**variant)
        outputs = model.predict(torch.rand(1, 3, 32, 32))
        first = outputs.earlier_boxes[0]
        assert_close(first[..., :2], outputs.references[0][..., :2], atol=1e-5, rtol=0)
        if variant["two_stage"]:
            assert_close(first, outputs.references[0], atol=1e-5, rtol=0)
        else:  # σ(−2)
            assert_close(first[..., 2:], torch.full((1, 5, 2), 1 / (1 + math.exp(2))))
        # No layer corrects yet.
        assert_close(outputs.pred_boxes, first, atol=1e-4, rtol=0)

    def test_only_the_first_layer_has_small_boxes_to_start_from(self, variant):
        biases = [head.layers[-1].bias.tolist() for head in self.make(**variant).bbox_embed]
        small = [0.0, 0, -2, -2]
        if variant["two_stage"]:
            assert biases == [[0.0] * 4] * 4
        elif variant["refine"]:
            assert biases == [small, [0.0] * 4, [0.0] * 4]
        else:
            assert biases == [small] * 3

    def test_heads_are_shared_or_apart(self, variant):
        model = self.make(**variant)
        count = 4 if variant["two_stage"] else 3
        for heads in (model.class_embed, model.bbox_embed):
            assert len(heads) == count
            assert len({id(head) for head in heads}) == (count if variant["refine"] else 1)

    def test_transformer(self):
        transformer = DeformableTransformer(hidden_dim=64, num_levels=3)
        assert not transformer.reference_points.bias.any()
        assert transformer.level_embed.std().item() == pytest.approx(1, abs=0.2)
        layer = transformer.decoder.layers[0]
        assert layer.linear1.weight.abs().max() <= math.sqrt(6 / (64 + 1024))
        # Xavier came before the star of points, not after.
        assert not layer.cross_attn.sampling_offsets.weight.any()
        assert not transformer.encoder.layers[0].self_attn.attention_weights.weight.any()


# ---- refinement ----------------------------------------------------------------------------------


class TestRefinement:
    def test_each_layer_starts_from_the_box_before(self):
        outputs = tiny().predict(torch.rand(2, 3, 32, 48))
        for layer in (1, 2):
            assert_close(outputs.references[layer], outputs.earlier_boxes[layer - 1])

    def test_without_it_all_layers_start_from_the_same_points(self):
        outputs = tiny(refine=False, two_stage=False).predict(torch.rand(2, 3, 32, 48))
        for layer in (1, 2):
            assert outputs.references[layer].equal(outputs.references[0])

    @pytest.mark.parametrize("two_stage", [False, True])
    def test_reference_points_are_detached_between_layers(self, two_stage):
        """The last layer's boxes teach neither the heads of the layers before nor their boxes."""
        model = tiny(two_stage=two_stage)
        outputs = model.predict(torch.rand(2, 3, 32, 48))
        assert not any(x.requires_grad for x in outputs.references[1:])

        outputs.pred_boxes.sum().backward()
        for layer, head in enumerate(model.bbox_embed[:3]):
            for parameter in head.parameters():
                assert parameter.grad.any() == (layer == 2)

    def test_learnt_points_learn(self):
        model = tiny(two_stage=False)
        model.predict(torch.rand(2, 3, 32, 48)).earlier_boxes[0].sum().backward()
        assert model.transformer.reference_points.weight.grad.abs().max() > 0

    def test_a_layer_looks_where_the_box_is(self):
        """The decoder's points follow the reference; here it is moved by hand."""
        model = tiny()
        memory = model.encode(torch.rand(1, 3, 32, 32), [(32, 32)])
        queries, positions, references = model.queries_from(model.propose(memory))
        heads = (model.class_embed, model.bbox_embed)
        here, _, _ = model.transformer.decoder(queries, positions, references, memory, *heads, True)
        there, _, _ = model.transformer.decoder(
            queries, positions, references.flip(1), memory, *heads, True
        )
        assert (here[0] - there[0]).abs().max() > 1e-3


# ---- proposals -----------------------------------------------------------------------------------


class TestProposals:
    def test_squares_about_the_locations(self):
        """With heads that correct nothing, the squares themselves are proposed."""
        model = tiny()
        for parameter in model.bbox_embed[-1].parameters():
            nn.init.zeros_(parameter)
        memory = model.encode(torch.rand(1, 3, 32, 64), [(32, 64)])
        boxes = model.propose(memory).boxes[0]

        centres = location_centres([(4, 8), (2, 4)], torch.ones(1, 2, 2))[0]
        assert_close(boxes[:, :2], centres)
        assert_close(boxes[:32, 2:], torch.full((32, 2), 0.05))
        assert_close(boxes[32:, 2:], torch.full((8, 2), 0.1))

    def test_the_best_become_queries(self):
        model = tiny()
        memory = model.encode(torch.rand(2, 3, 32, 64), [(32, 64)] * 2)
        proposals = model.propose(memory)
        for i in range(2):
            order = proposals.logits[i, :, 0].argsort(descending=True)[:5]
            assert proposals.chosen[i].tolist() == order.tolist()

        queries, positions, boxes = model.queries_from(proposals)
        assert queries.shape == positions.shape == (2, 5, 16)
        for i in range(2):
            assert boxes[i].equal(proposals.boxes[i, proposals.chosen[i]])
        assert not boxes.requires_grad

    def test_a_query_is_made_of_its_box(self):
        model = tiny(temperature=20.0)
        boxes = torch.rand(1, 40, 4)
        chosen = torch.tensor([[7, 0, 3, 39, 8]])
        proposals = Proposals(torch.zeros(1, 40, 1), boxes, torch.randn(1, 40, 16), chosen)
        queries, positions, _ = model.queries_from(proposals)
        for q, place in enumerate(chosen[0]):
            codes = [sine_code(2 * math.pi * number, 8, 20.0) for number in boxes[0, place]]
            row = model.transformer.pos_trans_norm(model.transformer.pos_trans(torch.cat(codes)))
            assert_close(positions[0, q], row[:16])
            assert_close(queries[0, q], row[16:])

        # Or of its features, too.
        model.queries_know_features = True
        richer, same, _ = model.queries_from(proposals)
        assert_close(richer, queries + proposals.tokens[:, chosen[0]])
        assert same.equal(positions)

    def test_proposals_may_know_classes(self):
        """The best is then the one that is surest of its class, and labels are the objects'."""
        plain, knowing = tiny(), tiny(proposals_know_classes=True)
        memory = plain.encode(torch.rand(2, 3, 32, 64), [(32, 64)] * 2)
        # Tokens for which now one class is the surest, now another.
        memory = memory._replace(tokens=torch.randn(2, 40, 16))
        first, second = plain.propose(memory), knowing.propose(memory)
        assert first.logits.shape == (2, 40, 1) and second.logits.shape == (2, 40, 3)
        assert_close(first.logits, second.logits[..., :1])
        assert_close(second.chosen, second.logits.amax(dim=-1).topk(5).indices)
        assert not second.chosen.equal(first.chosen)

        shares = relative_targets([target([[4, 4, 30, 20]], [2])] * 2, [(32, 64)] * 2)
        found = knowing.proposal_loss(second, shares)
        assigned = HungarianMatcher(2, 5, 2, focal=True).assign(second.logits, second.boxes, shares)
        labels, boxes = torch.full((2, 1), 2), torch.stack([t["boxes"] for t in shares])
        expected = FocalCriterion().layer_losses(
            second.logits, second.boxes, assigned, labels, boxes, 2.0
        )
        assert_close(found, sum(expected.values()))

    def test_in_the_padding_nothing_is_proposed(self):
        model = tiny()
        memory = model.encode(torch.rand(2, 3, 32, 64), [(32, 64), (32, 32)])
        with torch.no_grad():
            proposals = model.propose(memory)
        padded = memory.padding[1]
        assert padded.sum() == 20  # half of 4 × 8 and of 2 × 4
        assert_close(proposals.boxes[1, padded], torch.ones(20, 4))
        assert (proposals.boxes[1, ~padded] < 1).all() and (proposals.boxes[0] < 1).all()
        # They all have the same features: none.
        assert proposals.logits[1, padded].unique().numel() == 1

    def test_nor_at_the_very_border(self):
        """On a map of 51 columns the first stands at .0098 of the width, the last at .9902."""
        model = tiny()
        memory = model.encode(torch.rand(1, 3, 16, 51 * 8), [(16, 51 * 8)])
        boxes = model.propose(memory).boxes[0, : 2 * 51].view(2, 51, 4)
        assert (boxes[:, [0, -1]] == 1).all() and (boxes[:, 1:-1] < 1).all()

    def test_gradients_are_finite_where_nothing_is_proposed(self):
        model = tiny()
        outputs = model.predict(torch.rand(2, 3, 32, 64), [(32, 64), (16, 16)])
        losses = model.compute_loss(outputs, [target([[4, 4, 30, 20]]), target([[2, 2, 12, 14]])])
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all(), name


# ---- losses --------------------------------------------------------------------------------------


def relative(*counts, num_classes=4, seed=0):
    """Targets with so many objects, boxes cxcywh in [0, 1]."""
    random = torch.Generator().manual_seed(seed)
    return [
        {
            "boxes": torch.rand(count, 4, generator=random) * 0.5 + 0.1,
            "labels": torch.randint(num_classes, (count,), generator=random),
        }
        for count in counts
    ]


def layer_case():
    """One layer of two images with three and one objects: logits, boxes, who learns what."""
    torch.manual_seed(3)
    logits, boxes = torch.randn(2, 6, 4), torch.rand(2, 6, 4) * 0.5 + 0.1
    assigned = torch.tensor([[-1, 2, -1, 0, 1, -1], [0, -1, -1, -1, -1, -1]])
    targets = relative(3, 1)
    padded = nn.utils.rnn.pad_sequence([t["boxes"] for t in targets], batch_first=True)
    labels = nn.utils.rnn.pad_sequence([t["labels"] for t in targets], batch_first=True)
    return logits, boxes, assigned, labels, padded


class TestFocalCriterion:
    def test_a_layer_one_query_at_a_time(self):
        logits, boxes, assigned, labels, gt_boxes = layer_case()
        found = FocalCriterion().layer_losses(logits, boxes, assigned, labels, gt_boxes, 4.0)

        total = 0.0
        for i in range(2):
            for q in range(6):
                wanted = torch.zeros(4)
                n = assigned[i, q]
                if n >= 0:
                    wanted[labels[i, n]] = 1.0
                total += sigmoid_focal_loss(logits[i, q], wanted).sum()  # α ¼, γ 2
        l1, giou = box_losses(boxes, assigned, gt_boxes, 4.0)

        assert_close(found["class"], 2 * total / 4)
        assert_close(found["l1"], 5 * l1)
        assert_close(found["giou"], 2 * giou)

    def test_no_objects(self):
        logits, boxes, assigned, _, _ = layer_case()
        losses = FocalCriterion().layer_losses(
            logits,
            boxes,
            torch.full_like(assigned, -1),
            torch.zeros(2, 0).long(),
            torch.zeros(2, 0, 4),
            1.0,
        )
        assert losses["l1"] == losses["giou"] == 0 and losses["class"] > 0

    def test_weights(self):
        case = layer_case()
        plain = FocalCriterion(class_weight=1, l1_weight=1, giou_weight=1)
        weighted = FocalCriterion(class_weight=3, l1_weight=7, giou_weight=0.5)
        first, second = plain.layer_losses(*case, 4.0), weighted.layer_losses(*case, 4.0)
        for name, weight in {"class": 3, "l1": 7, "giou": 0.5}.items():
            assert_close(second[name], weight * first[name])

    def test_the_published_costs_are_the_default(self):
        matcher = FocalCriterion().matcher
        assert (matcher.cost_class, matcher.cost_bbox, matcher.cost_giou) == (2, 5, 2)


def random_outputs(seed=0, num_layers=3, sizes=((40, 80), (32, 64)), proposals=None):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_layers, 2, 6, 4, generator=random)
    boxes = torch.rand(num_layers, 2, 6, 4, generator=random) * 0.5 + 0.1
    return DeformableOutputs(
        logits[-1], boxes[-1], logits[:-1], boxes[:-1], [], proposals, list(sizes)
    )


TARGETS = [target([[8, 4, 24, 20], [40, 8, 72, 36]], [0, 3]), target([[10, 2, 40, 30]], [1])]


class TestLoss:
    def test_terms(self):
        """The last layer's by name, the earlier ones' summed; all by the number of objects."""
        outputs = random_outputs()
        model = tiny(num_classes=4, two_stage=False)
        losses = model.compute_loss(outputs, TARGETS)
        assert list(losses) == ["class", "l1", "giou", "auxiliary"]

        shares = relative_targets(TARGETS, outputs.sizes)
        gt_boxes = nn.utils.rnn.pad_sequence([t["boxes"] for t in shares], batch_first=True)
        labels = nn.utils.rnn.pad_sequence([t["labels"] for t in shares], batch_first=True)
        matcher = HungarianMatcher(2, 5, 2, focal=True)

        def judged(logits, boxes):
            assigned = matcher.assign(logits, boxes, shares)
            return FocalCriterion().layer_losses(logits, boxes, assigned, labels, gt_boxes, 3.0)

        for name, value in judged(outputs.class_logits, outputs.pred_boxes).items():
            assert_close(losses[name], value)
        earlier = [judged(*layer) for layer in zip(outputs.earlier_logits, outputs.earlier_boxes)]
        assert_close(losses["auxiliary"], sum(sum(layer.values()) for layer in earlier))

    @pytest.mark.parametrize("repeats", [1, 3])
    def test_proposals_learn_that_there_is_an_object(self, repeats):
        torch.manual_seed(0)
        logits, boxes = torch.randn(2, 30, 1), torch.rand(2, 30, 4) * 0.5 + 0.1
        proposals = Proposals(logits, boxes, torch.zeros(2, 30, 16), torch.zeros(2, 5).long())
        model = tiny(num_classes=4, proposals_per_object=repeats)
        outputs = random_outputs(proposals=proposals)
        found = model.compute_loss(outputs, TARGETS)["proposals"]

        # Each object as often as it may be learnt, all of class 0.
        repeated = []
        for shares in relative_targets(TARGETS, outputs.sizes):
            boxes_again = torch.cat([shares["boxes"]] * repeats)
            repeated.append({"boxes": boxes_again, "labels": torch.zeros(len(boxes_again)).long()})
        gt_boxes = nn.utils.rnn.pad_sequence([t["boxes"] for t in repeated], batch_first=True)
        assigned = HungarianMatcher(2, 5, 2, focal=True).assign(logits, boxes, repeated)
        assert (assigned >= 0).sum() == 3 * repeats
        expected = FocalCriterion().layer_losses(
            logits,
            boxes,
            assigned,
            torch.zeros(gt_boxes.shape[:2]).long(),
            gt_boxes,
            3.0 * repeats,
        )
        assert_close(found, sum(expected.values()))

    def test_proposals_are_matched_by_the_criterion_given(self):
        """By the class alone proposal 0 has the object, by the box alone proposal 1."""
        goal = {"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]), "labels": torch.tensor([2])}
        boxes = torch.tensor([[[0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0.2, 0.2]]])
        logits = torch.tensor([[[5.0], [-5.0]]])
        proposals = Proposals(logits, boxes, torch.zeros(1, 2, 16), torch.zeros(1, 1).long())
        by_class, by_box = (
            tiny(
                num_classes=4,
                criterion=FocalCriterion(
                    HungarianMatcher(*costs, focal=True), class_weight=0, l1_weight=1, giou_weight=0
                ),
            ).proposal_loss(proposals, [goal])
            for costs in ((1, 0, 0), (0, 1, 0))
        )
        assert by_class.item() == pytest.approx(1) and by_box.item() == 0

    def test_the_callers_targets_stay(self):
        given = [{k: v.clone() for k, v in t.items()} for t in TARGETS]
        model = tiny(num_classes=4)
        model.compute_loss(model.predict(torch.rand(2, 3, 48, 80)), given)
        for before, after in zip(TARGETS, given):
            assert all(before[k].equal(after[k]) for k in before)

    def test_images_without_objects(self, variant):
        model = tiny(**variant).train()
        losses = model([torch.rand(3, 32, 32)] * 2, [target([]), target([])])
        assert all(value.isfinite() for value in losses.values())
        sum(losses.values()).backward()

    def test_every_weight_learns(self, variant):
        model = tiny(**variant).train()
        images = [torch.rand(3, 32, 48), torch.rand(3, 48, 32)]
        objects = [target([[4, 4, 30, 20]], [1]), target([[2, 2, 12, 30], [8, 8, 30, 40]], [0, 2])]
        sum(model(images, objects).values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name

    def test_nan_says_where_to_look(self):
        outputs = random_outputs()
        outputs.class_logits[0, 0, 0] = math.nan
        with pytest.raises(ValueError, match="not finite"):
            tiny(num_classes=4, two_stage=False).compute_loss(outputs, TARGETS)


# ---- who learns what, detections -----------------------------------------------------------------


def test_assign_is_what_the_last_layer_is_trained_on():
    outputs = random_outputs()
    found = tiny(num_classes=4).assign(outputs, TARGETS)
    shares = relative_targets(TARGETS, outputs.sizes)
    expected = HungarianMatcher(2, 5, 2, focal=True).assign(
        outputs.class_logits, outputs.pred_boxes, shares
    )
    assert found.assigned.equal(expected) and found.anchors is None
    assert (found.assigned >= 0).sum() == 3
    centres = outputs.pred_boxes[..., :2] * torch.tensor([[[80.0, 40]], [[64, 32]]])
    assert_close(found.points, centres)


def test_decode_by_hand():
    """40 × 80 pixels. A query may be two detections, of two classes; nothing is suppressed."""
    logits = torch.tensor([[[2.0, 1.0], [-9, 0.5], [-9, -9]]])
    boxes = torch.tensor([[[0.25, 0.5, 0.25, 0.5], [0.25, 0.5, 0.25, 0.5], [0.5] * 4]])
    outputs = DeformableOutputs(
        logits, boxes, logits[None][:0], boxes[None][:0], [], None, [(40, 80)]
    )
    (found,) = tiny(num_classes=2).decode(outputs)
    assert found["labels"].tolist() == [0, 1, 1]
    assert_close(found["scores"], torch.tensor([2.0, 1.0, 0.5]).sigmoid())
    assert_close(found["boxes"], torch.tensor([[10.0, 10, 30, 30]]).repeat(3, 1))


def test_each_image_has_its_size_and_boxes_end_at_it():
    logits = torch.full((2, 1, 1), 9.0)
    boxes = torch.tensor([[[0.5, 0.5, 1.0, 1.0]], [[0.9, 0.1, 0.4, 0.4]]])
    outputs = DeformableOutputs(
        logits, boxes, logits[None][:0], boxes[None][:0], [], None, [(40, 80), (60, 20)]
    )
    first, second = tiny(num_classes=1).decode(outputs)
    assert first["boxes"].tolist() == [[0, 0, 80, 40]]
    assert_close(second["boxes"], torch.tensor([[14.0, 0, 20, 18]]))


def test_contract(variant):
    model = tiny(**variant)
    model.score_threshold = 0.0
    found = model([torch.rand(3, 40, 70), torch.rand(3, 64, 64)])
    check_contract(found[0], 40, 70, 3)
    check_contract(found[1], 64, 64, 3)
    assert len(found[0]["scores"]) > 0


def test_drawn():
    torch.manual_seed(0)
    image, objects = ToyTown(1, seed=0)[0]
    ax = plotting.show_assignment(models.create("deformable_detr", 10), image, objects)
    assert ax.get_title() == f"queries: {len(objects['labels'])} of 20 learn"


# ---- builders ------------------------------------------------------------------------------------


def test_small():
    model = deformable_detr_small(10)
    assert isinstance(model.criterion, IoUAwareCriterion) and model.criterion.class_weight == 2
    assert isinstance(deformable_detr_small(1, iou_aware=False).criterion, FocalCriterion)
    outputs = model.eval().predict(torch.rand(1, 3, 128, 128))
    assert outputs.class_logits.shape == (1, 20, 10)
    assert outputs.proposals.logits.shape[:2] == (1, 16 * 16 + 8 * 8)
    assert isinstance(models.create("deformable_detr", 3), DeformableDETR)


def test_no_more_queries_than_locations():
    # 32 × 32 pixels: 16 locations of stride 8 and 4 of stride 16.
    model = models.create("deformable_detr", 3, num_queries=40).eval()
    assert model.predict(torch.rand(2, 3, 32, 32)).class_logits.shape == (2, 20, 3)
    assert model.predict(torch.rand(2, 3, 64, 64)).class_logits.shape == (2, 40, 3)


@pytest.mark.parametrize("name", models.WITH_QUERIES)
def test_the_number_of_queries(name):
    assert models.create(name, 3, num_queries=7).num_queries == 7
    with pytest.raises(ValueError, match="num_queries is 0: a query finds one object at most"):
        models.create(name, 3, num_queries=0)
    with pytest.raises(ValueError, match=r"num_queries is 9, but 'fcos' has no queries"):
        models.create("fcos", 3, num_queries=9)


@pytest.mark.parametrize(
    "options, millions",
    [({}, 40.1), ({"iterative_refinement": True}, 40.85)],
)
def test_full_size(options, millions):
    model = deformable_detr_resnet50(**options)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.1)
    assert model.num_classes == 91 and model.num_queries == 300
    assert (model.batcher.min_size, model.batcher.max_size) == (800, 1333)


@pytest.mark.parametrize("pretrained", [False, True])
def test_the_arguments_reach_the_parts(monkeypatch, pretrained):
    """With a small backbone in the place of the ResNet."""
    bodies, norms = {False: Patches(), True: Patches()}, []
    for builder, body in (("resnet50", bodies[False]), ("pretrained_resnet50", bodies[True])):
        monkeypatch.setattr(
            deformable_detr, builder, lambda norm, body=body: norms.append(norm) or body
        )
    model = deformable_detr_resnet50(
        3,
        num_queries=7,
        iterative_refinement=True,
        two_stage=True,
        min_size=48,
        max_size=96,
        pretrained_backbone=pretrained,
    )
    assert model.backbone[0]["body"] is bodies[pretrained] and norms == [FrozenBatchNorm2d]
    assert model.num_queries == 7 and model.num_classes == 3
    assert model.iterative_refinement and model.transformer.two_stage
    assert (model.batcher.min_size, model.batcher.max_size) == (48, 96)


@pytest.mark.slow
def test_it_learns_one_batch_by_heart():
    torch.manual_seed(0)
    samples = two_colours()
    model = deformable_detr_small(2)
    fit(
        model,
        samples,
        steps=300,
        batch_size=4,
        lr=1e-3,
        clip_norm=1.0,
        lr_warmup=20,
        augment=None,
        ema=None,
        amp=False,
        progress=False,
    )
    for image, wanted in samples:
        (found,) = model([image])
        check_two_colours(found, wanted)
