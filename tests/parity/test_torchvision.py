"""Our Faster R-CNN with torchvision's weights: the same detections, the same losses.

torchvision's models get random weights, spread so that scores differ and many are high, and
statistics of batch normalisation that are not the initial ones.
"""

from urllib.error import URLError

import pytest
import torch
from dense import freeze_norms
from torch import nn
from torch.testing import assert_close
from torchvision.models import detection
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.image_list import ImageList

from detlearn import pretrained
from detlearn.models import faster_rcnn
from detlearn.nets.resnet import FrozenBatchNorm2d

pytestmark = pytest.mark.slow  # the published sizes

SIZES = {"min_size": 128, "max_size": 224}
SHAPES = [(96, 130), (200, 111), (128, 128)]
NAMES = ["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"]
# The head of v2 convolves every RoI four times, which takes seconds for a thousand of them. So it
# gets a few; that the usual numbers are torchvision's shows in the other detector.
PROPOSED, SAMPLED = 200, 64


def spread(model: nn.Module) -> nn.Module:
    """Give a model scores and boxes that differ and are certain, but do not saturate.

    With their initial weights all scores are alike and below the threshold. So the last layers get
    weights for which, on one image, logits have a standard deviation of about 2.
    """
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if hasattr(module, "running_var"):
            module.running_mean.normal_(0, 0.05, generator=generator)
            module.running_var.uniform_(0.7, 1.4, generator=generator)
    layers = {
        model.rpn.head.cls_logits: 2.0,
        model.rpn.head.bbox_pred: 0.3,
        model.roi_heads.box_predictor.cls_score: 2.0,
        model.roi_heads.box_predictor.bbox_pred: 1.0,
    }
    image = torch.rand(3, 128, 128, generator=generator)
    for layer, wanted in layers.items():
        layer.weight.data.normal_(generator=generator)
        seen = []
        hook = layer.register_forward_hook(
            lambda module, args, output, seen=seen: seen.append(output.std())
        )
        with torch.no_grad():
            model.eval()([image])
        hook.remove()
        layer.weight.data *= wanted / max(seen)
    return model


def theirs(name, num_classes=6, frozen=False):
    torch.manual_seed(1)
    build = getattr(detection, name)
    few = {"rpn_post_nms_top_n_test": PROPOSED, "box_batch_size_per_image": SAMPLED}
    how = SIZES if name == NAMES[0] else SIZES | few
    model = build(weights=None, weights_backbone=None, num_classes=num_classes, **how)
    if frozen:  # as in the published weights
        freeze_norms(model.backbone.body)
    return spread(model)


def loaded(name, oracle):
    """Our detector with the weights of another, and as few RoIs."""
    ours = pretrained.from_torchvision(name, oracle.state_dict(), **SIZES)
    if name == NAMES[1]:
        ours.rpn.post_nms_top_n = (2000, PROPOSED)
        ours.roi_heads.sampler.batch_size_per_image = SAMPLED
    return ours


def images_and_targets():
    generator = torch.Generator().manual_seed(2)
    images = [torch.rand(3, *shape, generator=generator) for shape in SHAPES]
    targets = []
    for i, (height, width) in enumerate(SHAPES):
        corner = torch.rand(i * 2, 2, generator=generator) * torch.tensor([width, height]) * 0.6
        size = 12 + torch.rand(i * 2, 2, generator=generator) * torch.tensor([width, height]) * 0.3
        labels = torch.randint(5, (i * 2,), generator=generator)
        targets.append({"boxes": torch.cat((corner, corner + size), 1), "labels": labels})
    return images, targets


@pytest.mark.parametrize("name", NAMES)
def test_same_detections(name):
    oracle = theirs(name).eval()
    ours = loaded(name, oracle)
    assert not ours.training and ours.num_classes == 5
    images, _ = images_and_targets()
    with torch.no_grad():
        expected, found = oracle(images), ours(images)
    for mine, wanted in zip(found, expected, strict=True):
        assert len(wanted["scores"]) > 20 and wanted["scores"].max() > 0.5
        assert_close(mine["scores"], wanted["scores"], rtol=0, atol=1e-4)
        assert torch.equal(mine["labels"] + 1, wanted["labels"])
        assert_close(mine["boxes"], wanted["boxes"], rtol=0, atol=0.01)


@pytest.mark.parametrize("size", [(800, 1088), (800, 1344), (1088, 800), (224, 192)])
def test_same_anchors(size):
    """Also on the coarsest map, which has 13 rows for 800 pixels: a stride of 61, not 64."""
    oracle = detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    ours = pretrained.from_torchvision(NAMES[0], oracle.state_dict())
    maps = [torch.zeros(1, 1, -(-size[0] // s), -(-size[1] // s)) for s in (4, 8, 16, 32, 64)]
    batch = ImageList(torch.zeros(1, 3, *size), [size])
    (wanted,) = oracle.rpn.anchor_generator(batch, maps)
    assert torch.equal(torch.cat(ours.rpn.anchors(maps, size)), wanted)
    if size[0] == 800:
        # By the backbone's strides the coarsest ones lie up to 36 pixels elsewhere.
        assert (torch.cat(ours.rpn.anchors(maps)) - wanted).abs().max() > 30


@pytest.mark.parametrize("name", NAMES)
def test_without_torchvisions_conventions(name):
    """The builder's default: anchors in the middle of their cell, not rounded; aligned RoIs."""
    ours = getattr(faster_rcnn, name)(3)
    assert ours.roi_heads.box_roi_pool.aligned
    maps = [torch.zeros(1, 1, n, n) for n in (16, 8, 4, 2, 1)]
    for level, stride in zip(ours.rpn.anchors(maps, (64, 64)), (4, 8, 16, 32, 64)):
        centres = (level[:, :2] + level[:, 2:]) / 2
        assert_close(centres[0], torch.full((2,), stride / 2))
        assert_close(level[0, 2:] - level[0, :2], 8 * stride * torch.tensor([2.0, 0.5]).sqrt())


@pytest.mark.parametrize("name", NAMES)
def test_same_losses(name, monkeypatch):
    oracle = theirs(name, frozen=name == NAMES[0])
    ours = loaded(name, oracle)
    # The sampler's choice: the first positives, the first negatives.
    monkeypatch.setattr(torch, "randperm", lambda n, device=None: torch.arange(n, device=device))
    images, targets = images_and_targets()
    shifted = [{**t, "labels": t["labels"] + 1} for t in targets]
    expected, found = oracle.train()(images, shifted), ours.train()(images, targets)
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert value > 0
        # Batch normalisation of random features divides by small variances, 53 times in a row.
        assert_close(found[key], value, rtol=1e-3, atol=1e-5)
    # The same gradient, too. (With statistics of three random images, as in v2, rounding errors
    # grow through 53 normalisations until gradients agree in size only.)
    if name == NAMES[1]:
        return
    for losses in (expected, found):
        sum(losses.values()).backward()
    pairs = [
        (oracle.rpn.head.cls_logits, ours.rpn.head.cls_logits),
        (oracle.roi_heads.box_predictor.bbox_pred, ours.roi_heads.box_predictor.bbox_pred),
        (oracle.backbone.body.layer4[2].conv3, ours.backbone.body.layer4[2].conv3),
    ]
    for their_layer, our_layer in pairs:
        scale = their_layer.weight.grad.abs().max()
        assert_close(
            our_layer.weight.grad / scale, their_layer.weight.grad / scale, rtol=0, atol=1e-3
        )


def test_frozen_weights_and_their_eps(tmp_path, monkeypatch):
    """Frozen normalisation is recognised; eps 0 is for the published file alone."""
    name = NAMES[0]
    oracle = theirs(name, frozen=True).eval()
    oracle.backbone.body.bn1.running_var.mul_(1e-4)  # so small that eps matters
    state = oracle.state_dict()
    weights = detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1
    file = tmp_path / weights.url.rsplit("/", 1)[-1]
    torch.save(state, file)
    torch.save(state, tmp_path / "mine.pth")
    monkeypatch.setattr(type(weights), "get_state_dict", lambda self, **k: state)
    for source, eps in (
        (state, 1e-5),
        (tmp_path / "mine.pth", 1e-5),
        (str(file), 0.0),
        (None, 0.0),
    ):
        ours = pretrained.from_torchvision(name, source, **SIZES)
        norms = [m for m in ours.modules() if isinstance(m, FrozenBatchNorm2d)]
        assert len(norms) == 53 and all(norm.eps == eps for norm in norms)
        # As in torchvision, two parts of the backbone stay as published.
        assert ours.backbone.body.layer1[0].conv1.weight.requires_grad == (eps > 0)
        assert ours.backbone.body.layer2[0].conv1.weight.requires_grad
        overwrite_eps(oracle, eps)
        x = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            assert_close(
                ours.backbone.body(x)["4"], oracle.backbone.body(x)["0"], rtol=1e-3, atol=1e-3
            )


def test_files_older_than_version_2():
    """The published files are said to use older names, which torchvision maps when it loads."""
    name = NAMES[0]
    state = theirs(name).state_dict()
    old = {
        key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        if key.startswith("rpn.head.conv")
        else key.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        if ".fpn." in key
        else key: value
        for key, value in state.items()
    }
    assert "backbone.fpn.inner_blocks.0.weight" in old and "rpn.head.conv.weight" in old
    loaded = pretrained.from_torchvision(name, old).state_dict()
    for key, value in pretrained.from_torchvision(name, state).state_dict().items():
        assert torch.equal(value, loaded[key])


def test_classes_are_read_from_the_weights():
    assert pretrained.from_torchvision(NAMES[0], theirs(NAMES[0], 4).state_dict()).num_classes == 3
    names = pretrained.coco_names()
    assert len(names) == 90 and names[0] == "person" and names[89] == "toothbrush"


def test_wrong_weights_are_named():
    state = dict(theirs(NAMES[0]).state_dict())
    with pytest.raises(ValueError, match="no detector called 'fasterrcnn'; there are: fasterrcnn_"):
        pretrained.from_torchvision("fasterrcnn", state)
    with pytest.raises(ValueError, match=r"not of fasterrcnn_resnet50_fpn_v2: \d+ missing"):
        pretrained.from_torchvision(NAMES[1], state)
    with pytest.raises(ValueError, match=r"no weights of .*cls_score\.weight is missing"):
        pretrained.from_torchvision(NAMES[0], {"a": torch.zeros(1)})
    key = "rpn.head.cls_logits.bias"
    with pytest.raises(ValueError, match=f"1 of another shape .{key}"):
        pretrained.from_torchvision(NAMES[0], state | {key: torch.zeros(9)})
    del state[key]
    with pytest.raises(ValueError, match=f"1 missing .{key}"):
        pretrained.from_torchvision(NAMES[0], state)


def test_offline_it_says_what_was_not_loaded(monkeypatch):
    weights = detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1

    def offline(self, **options):
        raise URLError("no route to host")

    monkeypatch.setattr(type(weights), "get_state_dict", offline)
    with pytest.raises(ConnectionError, match="COCO weights of fasterrcnn_resnet50_fpn were not"):
        pretrained.from_torchvision(NAMES[0])


def test_parameter_counts():
    """Those that torchvision documents for COCO."""
    for name, count in zip(NAMES, (41_808_406, 43_712_278)):
        model = getattr(faster_rcnn, name)()
        assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("name", NAMES)
def test_a_pretrained_backbone_is_frozen_up_to_its_third_part(name, monkeypatch):
    monkeypatch.setattr(faster_rcnn, "load_imagenet", lambda model, weights: True)
    model = getattr(faster_rcnn, name)(3, pretrained_backbone=True)
    trained = {
        n.split(".")[0] for n, p in model.backbone.body.named_parameters() if p.requires_grad
    }
    assert trained == {"layer2", "layer3", "layer4"}


@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_that_stayed_random_is_not_frozen(name, monkeypatch):
    monkeypatch.setattr(faster_rcnn, "load_imagenet", lambda model, weights: False)
    model = getattr(faster_rcnn, name)(3, pretrained_backbone=True)
    assert all(p.requires_grad for p in model.parameters())
    assert not any(isinstance(m, FrozenBatchNorm2d) for m in model.modules())
