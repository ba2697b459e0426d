"""Our Deformable DETR with transformers' weights: the same logits, boxes, proposals and losses.

transformers' model gets random weights, among them offsets and weights of the sampled points that
depend on the query, and heads that differ from layer to layer. The batch is padded: its second
image is smaller than the first in both directions.
"""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.ops import box_convert

from detlearn.models import deformable_detr_resnet50

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow  # the published size

VARIANTS = {
    "plain": {},
    "refined": {"iterative_refinement": True},
    "two stages": {"iterative_refinement": True, "two_stage": True},
}
NUM_CLASSES, NUM_QUERIES = 7, 20
SIZES = [(128, 192), (90, 140)]  # height and width; the batch is 128 × 192

# Their names, and ours.
NAMES = {
    "model.backbone.model.": "backbone.0.body.",
    "model.query_position_embeddings.": "query_embed.",
    "model.input_proj.": "input_proj.",
    "model.": "transformer.",
    ".encoder_attn_layer_norm.": ".norm1.",
    ".encoder_attn.": ".cross_attn.",
    ".o_proj.": ".out_proj.",
    ".mlp.fc1.": ".linear1.",
    ".mlp.fc2.": ".linear2.",
}
# The norms after self-attention and after the last step: encoder, decoder.
NORMS = {
    "encoder": {".self_attn_layer_norm.": ".norm1.", ".final_layer_norm.": ".norm2."},
    "decoder": {".self_attn_layer_norm.": ".norm2.", ".final_layer_norm.": ".norm3."},
}


def theirs(iterative_refinement=False, two_stage=False) -> nn.Module:
    """transformers' model with random weights that matter."""
    torch.manual_seed(0)
    config = transformers.DeformableDetrConfig(
        with_box_refine=iterative_refinement,
        two_stage=two_stage,
        num_labels=NUM_CLASSES,
        num_queries=NUM_QUERIES,
        two_stage_num_proposals=NUM_QUERIES,
        auxiliary_loss=True,
        class_cost=2,
    )
    model = transformers.DeformableDetrForObjectDetection(config)

    # Their heads share weights in all variants; those of a refining decoder are to differ.
    if iterative_refinement:
        model.bbox_embed = nn.ModuleList(copy.deepcopy(head) for head in model.bbox_embed)
        model.class_embed = nn.ModuleList(copy.deepcopy(head) for head in model.class_embed)
        model.model.decoder.bbox_embed = model.bbox_embed
        if two_stage:
            model.model.decoder.class_embed = model.class_embed

    # Nothing keeps its first value, where much is 0 or 1.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "backbone" not in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
        for head in model.class_embed:
            head.weight.add_(0.1 * torch.randn_like(head.weight))
    return model.eval()


def our_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename their state dict."""
    renamed = {}
    for name, value in state.items():
        if name.startswith(("model.decoder.bbox_embed", "model.decoder.class_embed")):
            continue  # a second time

        norms = NORMS.get(name.split(".")[1], {})
        for old, new in {**NAMES, **norms}.items():
            name = name.replace(old, new, 1) if not old.startswith("model") else name
            if old.startswith("model") and name.startswith(old):
                name = new + name[len(old) :]
        renamed[name] = value

    # Three projections in one.
    for name in [name for name in renamed if ".q_proj." in name]:
        parts = [renamed.pop(name.replace("q_proj", f"{x}_proj")) for x in "qkv"]
        renamed[name.replace("q_proj.", "in_proj_")] = torch.cat(parts)
    return renamed


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda name: name.replace(" ", "_"))
def both(request):
    """The options, our model and theirs with the same weights, and a padded batch."""
    options = VARIANTS[request.param]
    oracle = theirs(**options)
    ours = deformable_detr_resnet50(NUM_CLASSES, num_queries=NUM_QUERIES, **options).eval()
    ours.load_state_dict(our_names(oracle.state_dict()))

    torch.manual_seed(1)
    images = torch.zeros(2, 3, *SIZES[0])
    mask = torch.zeros(2, *SIZES[0], dtype=torch.int64)
    for i, (height, width) in enumerate(SIZES):
        images[i, :, :height, :width] = torch.randn(3, height, width)
        mask[i, :height, :width] = 1
    return options, ours, oracle, images, mask


@torch.no_grad()
def test_same_predictions(both):
    options, ours, oracle, images, mask = both
    found = ours.predict(images, SIZES)
    expected = oracle(images, pixel_mask=mask, labels=their_targets())

    # They are worth comparing: queries differ, and so do layers and images.
    assert found.class_logits.std(dim=1).mean() > 0.1
    assert found.pred_boxes.std(dim=1).mean() > 0.01
    assert (found.pred_boxes - found.earlier_boxes[-1]).abs().max() > 0.01

    assert_close(found.class_logits, expected.logits, atol=1e-4, rtol=0)
    assert_close(found.pred_boxes, expected.pred_boxes, atol=1e-4, rtol=0)
    for layer, earlier in enumerate(expected.auxiliary_outputs):
        assert_close(found.earlier_logits[layer], earlier["logits"], atol=1e-4, rtol=0)
        assert_close(found.earlier_boxes[layer], earlier["pred_boxes"], atol=1e-4, rtol=0)

    if options.get("two_stage"):
        logits = expected.enc_outputs_class[..., :1]
        boxes = expected.enc_outputs_coord_logits.sigmoid()
        assert_close(found.proposals.logits, logits, atol=1e-4, rtol=0)
        assert_close(found.proposals.boxes, boxes, atol=1e-4, rtol=0)


def targets():
    return [
        {
            "boxes": torch.tensor([[10.0, 20, 90, 60], [100, 30, 180, 120], [5, 5, 50, 40]]),
            "labels": torch.tensor([2, 0, 6]),
        },
        {"boxes": torch.tensor([[20.0, 10, 100, 80]]), "labels": torch.tensor([3])},
    ]


def their_targets():
    """Boxes cxcywh as shares of the image without its padding."""
    converted = []
    for target, (height, width) in zip(targets(), SIZES):
        boxes = box_convert(target["boxes"], "xyxy", "cxcywh")
        boxes = boxes / torch.tensor([width, height, width, height])
        converted.append({"boxes": boxes, "class_labels": target["labels"]})
    return converted


@torch.no_grad()
def test_same_losses(both):
    """Theirs has no loss for the proposals."""
    _, ours, oracle, images, mask = both
    found = ours.compute_loss(ours.predict(images, SIZES), targets())
    expected = oracle(images, pixel_mask=mask, labels=their_targets()).loss_dict

    weights = {"class": ("loss_ce", 2), "l1": ("loss_bbox", 5), "giou": ("loss_giou", 2)}
    for name, (their_name, weight) in weights.items():
        assert_close(found[name], weight * expected[their_name], atol=1e-4, rtol=1e-4)

    earlier = sum(
        weight * expected[f"{their_name}_{layer}"]
        for their_name, weight in weights.values()
        for layer in range(5)
    )
    assert_close(found["auxiliary"], earlier, atol=1e-4, rtol=1e-4)


def test_number_of_parameters(both):
    _, ours, oracle, _, _ = both
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in oracle.parameters())
