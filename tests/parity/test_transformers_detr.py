"""Our DETR and transformers', with the same weights: the same logits, boxes, losses and gradients.

The weights are drawn at random under the names of the published ones (facebookresearch/detr), as
plain parts of torch and torchvision have them: a ResNet-50 with frozen statistics,
``nn.MultiheadAttention``, linear layers and normalisations. Ours takes them as they are;
transformers' gets them renamed.

With ``auxiliary_loss=True`` transformers' decoder (5.24) hands the *normalised* queries on to the
next layer, which the published code does not, and so gives other predictions. It is switched off
here, and the earlier layers' losses are computed by transformers' loss from its queries after each
layer.
"""

import copy
import re
from collections import OrderedDict

import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close
from torchvision.ops.misc import FrozenBatchNorm2d

from detlearn import models, pretrained

pytestmark = pytest.mark.slow  # the published size

C = 256
SIZES = [(96, 128), (64, 96), (90, 120)]  # of the images in a batch of 96 × 128


def under(prefix, module):
    """A module's weights with names that begin with the prefix."""
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def official_weights(num_classes=91, num_queries=100):
    """Random weights under the names of the published file."""
    torch.manual_seed(0)
    body = torchvision.models.resnet50(norm_layer=FrozenBatchNorm2d)
    body.fc = nn.Identity()
    for name, buffer in body.named_buffers():
        # Statistics that are not the initial ones, and variances above 0.
        spread = 0.1 * torch.randn_like(buffer)
        buffer.copy_(spread.exp() if name.endswith(("weight", "var")) else spread)
    weights = under("backbone.0.body", body)

    def attention():
        module = nn.MultiheadAttention(C, 8)
        nn.init.normal_(module.in_proj_bias, std=0.1)
        nn.init.normal_(module.out_proj.bias, std=0.1)
        return module

    def norm():
        module = nn.LayerNorm(C)
        nn.init.normal_(module.weight, mean=1.0, std=0.1)
        nn.init.normal_(module.bias, std=0.1)
        return module

    for part, attentions, num_norms in (
        ("encoder", ["self_attn"], 2),
        ("decoder", ["self_attn", "multihead_attn"], 3),
    ):
        for i in range(6):
            layer = f"transformer.{part}.layers.{i}"
            for name in attentions:
                weights |= under(f"{layer}.{name}", attention())
            weights |= under(f"{layer}.linear1", nn.Linear(C, 2048))
            weights |= under(f"{layer}.linear2", nn.Linear(2048, C))
            for k in range(num_norms):
                weights |= under(f"{layer}.norm{k + 1}", norm())
    weights |= under("transformer.decoder.norm", norm())

    weights |= under("class_embed", nn.Linear(C, num_classes + 1))
    for k, width in enumerate((C, C, 4)):
        weights |= under(f"bbox_embed.layers.{k}", nn.Linear(C, width))
    weights["query_embed.weight"] = torch.randn(num_queries, C)
    weights |= under("input_proj", nn.Conv2d(2048, C, 1))
    return OrderedDict(weights)


RENAMES = [
    (r"^backbone\.0\.body\.", "model.backbone.model."),
    (r"^input_proj\.", "model.input_projection."),
    (r"^query_embed\.", "model.query_position_embeddings."),
    (r"^class_embed\.", "class_labels_classifier."),
    (r"^bbox_embed\.", "bbox_predictor."),
    (r"^transformer\.decoder\.norm\.", "model.decoder.layernorm."),
    (r"^transformer\.", "model."),
    (r"\.linear(\d)\.", r".mlp.fc\1."),
    (r"\.multihead_attn\.", ".encoder_attn."),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"(decoder.*)\.norm2\.", r"\1.encoder_attn_layer_norm."),
    (r"\.norm[23]\.", ".final_layer_norm."),
]


def renamed(weights):
    """The published names turned into those of transformers."""
    found = {}
    for name, value in weights.items():
        for pattern, theirs in RENAMES:
            name = re.sub(pattern, theirs, name)
        if "in_proj_" in name:
            for which, part in zip("qkv", value.chunk(3)):
                found[name.replace("in_proj_", f"{which}_proj.")] = part
        else:
            found[name] = value
    return found


@pytest.fixture(scope="module")
def weights():
    return official_weights()


@pytest.fixture(scope="module")
def oracle(weights):
    """transformers' detector with these weights."""
    transformers = pytest.importorskip("transformers")
    config = transformers.DetrConfig(num_labels=91, dropout=0.0)
    model = transformers.DetrForObjectDetection(config)
    model.load_state_dict(renamed(weights))
    return model.eval()


@pytest.fixture
def ours(weights):
    model = models.detr_resnet50()
    pretrained.load_detr(model, weights)
    for module in model.modules():  # as transformers' are built here
        if hasattr(module, "dropout"):
            module.dropout = nn.Identity() if isinstance(module.dropout, nn.Module) else 0.0
    return model.eval()


@pytest.fixture(scope="module")
def batch():
    """Images of three sizes in one padded batch, as pixels and as transformers' mask."""
    random = torch.Generator().manual_seed(1)
    images = torch.zeros(3, 3, 96, 128)
    mask = torch.zeros(3, 96, 128, dtype=torch.int64)
    for i, (height, width) in enumerate(SIZES):
        images[i, :, :height, :width] = torch.randn(3, height, width, generator=random)
        mask[i, :height, :width] = 1
    return images, mask


def targets_of(counts):
    """Per image so many objects, in pixels."""
    random = torch.Generator().manual_seed(2)
    targets = []
    for count, (height, width) in zip(counts, SIZES):
        limit = torch.tensor([width, height, width, height])
        corners = torch.rand(count, 2, 2, generator=random).sort(dim=1).values.flatten(1)
        labels = torch.randint(91, (count,), generator=random)
        targets.append({"boxes": corners * limit, "labels": labels})
    return targets


def in_their_form(targets):
    """Boxes cxcywh as shares of the image, labels under another name."""
    found = []
    for target, (height, width) in zip(targets, SIZES):
        x1, y1, x2, y2 = (target["boxes"] / torch.tensor([width, height, width, height])).unbind(1)
        boxes = torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), dim=1)
        found.append({"boxes": boxes, "class_labels": target["labels"]})
    return found


def test_the_names_are_the_published_ones(weights):
    model = models.detr_resnet50()
    assert model.state_dict().keys() == weights.keys() and len(weights) == 458
    assert sum(p.numel() for p in model.parameters()) == 41_524_768


def test_same_logits_and_boxes_on_a_padded_batch(ours, oracle, batch):
    images, mask = batch
    with torch.no_grad():
        found = ours.predict(images, SIZES)
        expected = oracle(images, pixel_mask=mask)
    assert_close(found.class_logits, expected.logits, atol=1e-4, rtol=1e-4)
    assert_close(found.pred_boxes, expected.pred_boxes, atol=1e-4, rtol=1e-4)

    # The queries and the images differ, so that an equality says something.
    assert found.class_logits.std(dim=1).mean() > 5e-3
    assert found.pred_boxes.std(dim=0).mean() > 1e-3
    assert (found.class_logits - ours.predict(images).class_logits).abs().max() > 1e-2


def test_same_logits_without_padding(ours, oracle, batch):
    images, _ = batch
    with torch.no_grad():
        found, expected = ours.predict(images[:1]), oracle(images[:1])
    assert_close(found.class_logits, expected.logits, atol=1e-4, rtol=1e-4)
    assert_close(found.pred_boxes, expected.pred_boxes, atol=1e-4, rtol=1e-4)


def all_layers_losses(oracle, images, mask, labels):
    """transformers' losses of all decoder layers: their weighted sum, and each as a number."""
    states = []
    hooks = [
        layer.register_forward_hook(lambda module, given, state: states.append(state))
        for layer in oracle.model.decoder.layers
    ]
    expected = oracle(images, pixel_mask=mask)
    for hook in hooks:
        hook.remove()

    states = oracle.model.decoder.layernorm(torch.stack(states))  # (L, B, Q, C)
    logits = oracle.class_labels_classifier(states)
    boxes = oracle.bbox_predictor(states).sigmoid()
    assert_close(logits[-1], expected.logits)

    config = copy.deepcopy(oracle.config)
    config.auxiliary_loss = True
    loss, terms, _ = oracle.loss_function(
        logits[-1], labels, "cpu", boxes[-1], config, logits, boxes
    )
    return loss, {name: value.item() for name, value in terms.items()}


@pytest.mark.parametrize("counts", [(5, 3, 1), (4, 0, 2), (0, 0, 0)])
def test_same_losses(ours, oracle, batch, counts):
    images, mask = batch
    targets = targets_of(counts)
    outputs = ours.predict(images, SIZES)
    losses = ours.compute_loss(outputs, targets)
    their_loss, theirs = all_layers_losses(oracle, images, mask, in_their_form(targets))

    names = {"class": ("loss_ce", 1), "l1": ("loss_bbox", 5), "giou": ("loss_giou", 2)}
    for name, (their_name, weight) in names.items():
        assert losses[name].item() == pytest.approx(weight * theirs[their_name], rel=1e-4), name
    earlier = [
        weight * theirs[f"{their_name}_{layer}"]
        for their_name, weight in names.values()
        for layer in range(5)
    ]
    assert losses["auxiliary"].item() == pytest.approx(sum(earlier), rel=1e-4)
    assert sum(losses.values()).item() == pytest.approx(their_loss.item(), rel=1e-4)


@pytest.fixture
def in_float64():
    """What is made inside a test is in float64, transformers' weights of classes too."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_same_gradients(ours, oracle, batch, in_float64):
    """In float32 the deepest layers' gradients differ by a thousandth of their norm on some CPUs.

    Ours still takes the loss in float32, hence the tolerance.
    """
    images, mask = batch
    images = images.double()
    ours, oracle = copy.deepcopy(ours).double(), copy.deepcopy(oracle).double()
    targets = [{**t, "boxes": t["boxes"].double()} for t in targets_of((5, 3, 1))]

    outputs = ours.predict(images, SIZES)
    sum(ours.compute_loss(outputs, targets).values()).backward()
    their_loss, _ = all_layers_losses(oracle, images, mask, in_their_form(targets))
    their_loss.backward()

    gradients = {n: p.grad for n, p in ours.named_parameters() if p.grad is not None}
    their_gradients = {n: p.grad for n, p in oracle.named_parameters() if p.grad is not None}
    compared = renamed(gradients)
    assert their_gradients.keys() <= compared.keys()
    assert len(their_gradients) > 200
    for name, gradient in their_gradients.items():
        difference = (compared[name] - gradient).norm()
        assert difference <= 1e-4 * gradient.norm() + 1e-6, name


def test_same_detections(ours, oracle, batch):
    """Softmax, the best class but "no object", and the image's width and height."""
    images, mask = batch
    ours.score_threshold = 0.0
    with torch.no_grad():
        outputs = ours.predict(images, SIZES)
        expected = oracle(images, pixel_mask=mask)
    for i, (found, (height, width)) in enumerate(zip(ours.decode(outputs), SIZES)):
        scores, labels = expected.logits[i].softmax(dim=-1)[:, :-1].max(dim=-1)
        order = scores.argsort(descending=True)
        assert_close(found["scores"], scores[order], atol=1e-5, rtol=1e-4)
        x, y, w, h = expected.pred_boxes[i][order].unbind(dim=-1)
        boxes = torch.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2), dim=-1)
        boxes = boxes * torch.tensor([width, height, width, height])
        boxes = torch.stack(
            [side.clamp(0, limit) for side, limit in zip(boxes.T, (width, height) * 2)], dim=-1
        )
        far_apart = scores[order].diff(append=torch.zeros(1)).abs() > 1e-5
        assert far_apart.sum() > 30
        same = far_apart & far_apart.roll(1)
        assert_close(found["boxes"][same], boxes[same], atol=2e-2, rtol=1e-4)
        assert found["labels"][same].equal(labels[order][same])


@pytest.fixture(scope="module")
def few():
    """The weights of a detector of three classes and seven queries."""
    return official_weights(num_classes=3, num_queries=7)


class TestLoading:
    """In a file, under the key "model", or as they are; what does not fit is named."""

    def model(self, **numbers):
        return models.detr_resnet50(**{"num_classes": 3, "num_queries": 7, **numbers})

    def test_as_it_is_without_our_help(self, few):
        self.model().load_state_dict(few)

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_a_file(self, few, tmp_path, wrapped):
        torch.save({"model": few} if wrapped else few, tmp_path / "detr.pth")
        model = self.model()
        assert pretrained.load_detr(model, tmp_path / "detr.pth") is None
        for name, value in model.state_dict().items():
            assert value.equal(few[name]), name

    def test_another_number_of_classes_or_queries(self, few):
        with pytest.raises(ValueError, match=r"num_classes=3, the model of 91: build it with num_"):
            pretrained.load_detr(models.detr_resnet50(num_queries=7), few)
        with pytest.raises(ValueError, match=r"num_queries=7, the model of 100: .*num_queries=7"):
            pretrained.load_detr(models.detr_resnet50(3), few)

    def test_what_does_not_fit_is_named_and_nothing_is_loaded(self, few):
        model = self.model()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        without = {name: few[name] for name in few if "layers.5" not in name}
        with pytest.raises(ValueError, match=r"missing \(transformer.decoder.layers.5.linear1"):
            pretrained.load_detr(model, without)
        with pytest.raises(ValueError, match=r"1 surplus \(mask_head"):
            pretrained.load_detr(model, {**few, "mask_head": torch.zeros(1)})
        with pytest.raises(ValueError, match=r"1 of another shape \(input_proj.bias"):
            pretrained.load_detr(model, {**few, "input_proj.bias": torch.zeros(3)})
        with pytest.raises(ValueError, match=r"no weights of DETR: class_embed\.weight"):
            pretrained.load_detr(model, {"fc.weight": torch.zeros(3)})
        for name, value in model.state_dict().items():
            assert value.equal(before[name]), name

    def test_no_such_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
            pretrained.load_detr(self.model(), tmp_path / "nowhere.pth")

    def test_a_checkpoint_that_would_run_code(self, few, tmp_path):
        torch.save({"model": few, "args": re.compile("x")}, tmp_path / "checkpoint.pth")
        with pytest.raises(ValueError, match=r"holds more than tensors.*\['model'\]"):
            pretrained.load_detr(self.model(), tmp_path / "checkpoint.pth")
