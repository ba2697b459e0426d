"""Our FCOS with torchvision's weights: the same detections, losses and gradients.

torchvision's model gets random weights, spread so that scores differ and many are high, and
statistics of batch normalisation that are not the initial ones. Its head has a row for the
background, which never learns anything but "no"; here it says so from the start.
"""

import pytest
import torch
from dense import SIZES, check_same_detections, images_and_targets, spread_layers, their_model
from torch import nn
from torch.testing import assert_close
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList

from detlearn import pretrained
from detlearn.models import fcos
from detlearn.models.fcos import torchvision_points
from detlearn.nets.resnet import FrozenBatchNorm2d

pytestmark = pytest.mark.slow  # the published size

NAME = "fcos_resnet50_fpn"


def theirs(frozen=False, num_classes=6):
    return their_model(detection.fcos_resnet50_fpn, spread, frozen, num_classes)


def spread(model: nn.Module) -> nn.Module:
    """Give a model scores and boxes that differ and are certain, but do not saturate."""
    classes, boxes = model.head.classification_head, model.head.regression_head
    # The standard deviation and the mean that the last layers' outputs are to have on an image.
    layers = {
        classes.cls_logits: (2.0, -2.0),
        boxes.bbox_reg: (1.0, 2.0),
        boxes.bbox_ctrness: (1.5, 1.0),
    }
    spread_layers(model, layers)

    classes.cls_logits.weight.data[0] = 0
    classes.cls_logits.bias.data[0] = -100
    return model


@pytest.mark.parametrize("limit", [100, 5000])
def test_same_detections(limit):
    oracle = theirs().eval()
    ours = pretrained.from_torchvision(NAME, oracle.state_dict(), **SIZES)
    assert not ours.training and ours.num_classes == 5
    check_same_detections(ours, oracle, limit)


@pytest.mark.parametrize("size", [(800, 1088), (800, 1344), (1088, 800), (224, 192)])
def test_same_points(size):
    """Also on the coarsest map, which has 7 rows for 800 pixels: a stride of 114, not 128."""
    oracle = detection.fcos_resnet50_fpn(weights=None, weights_backbone=None)
    maps = [torch.zeros(1, 1, -(-size[0] // s), -(-size[1] // s)) for s in (8, 16, 32, 64, 128)]
    batch = ImageList(torch.zeros(1, 3, *size), [size])
    (wanted,) = oracle.anchor_generator(batch, maps)
    points = torchvision_points(maps, size)
    assert torch.equal(points, (wanted[:, :2] + wanted[:, 2:]) / 2)


def test_same_losses_and_gradients():
    oracle = theirs(frozen=True)
    ours = pretrained.from_torchvision(NAME, oracle.state_dict(), **SIZES)
    images, targets = images_and_targets()
    shifted = [{**t, "labels": t["labels"] + 1} for t in targets]
    expected, found = oracle.train()(images, shifted), ours.train()(images, targets)

    names = {"classification": "class", "bbox_regression": "box", "bbox_ctrness": "centerness"}
    assert set(found) == set(names.values())
    for key, value in expected.items():
        assert value > 0
        assert_close(found[names[key]], value, rtol=1e-4, atol=1e-5)

    for losses in (expected, found):
        sum(losses.values()).backward()
    rename = pretrained.torchvision._rename
    their_gradients = {rename(key): p.grad for key, p in oracle.named_parameters()}
    for key, parameter in ours.named_parameters():
        wanted = their_gradients[key]
        if "cls_logits" in key:
            wanted = wanted[1:]
        # In the backbone a rounding error can move a value across the corner of a ReLU.
        allowed = 1e-2 if "body" in key else 1e-4
        assert wanted.norm() > 0, key
        assert (parameter.grad - wanted).norm() <= allowed * wanted.norm(), key


def their_assignment(boxes, maps, size):
    """Which objects torchvision's rule gives to the locations: read off a call of its head."""
    oracle = detection.fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3)
    seen = []
    oracle.head.compute_loss = lambda targets, outputs, anchors, matched: seen.append(matched)
    batch = ImageList(torch.zeros(1, 3, *size), [size])
    anchors = oracle.anchor_generator(batch, maps)
    counts = [x.shape[-2] * x.shape[-1] for x in maps]
    oracle.compute_loss([{"boxes": boxes}], {}, anchors, counts)
    return seen[0][0]


@pytest.mark.parametrize("seed", range(5))
def test_same_targets_also_on_bounds(seed):
    """Boxes on whole pixels: sides on locations, distances on the levels' bounds, centres at the
    very reach of the centre sampling, areas that are equal."""
    size = (256, 320)
    maps = [torch.zeros(1, 1, size[0] // s, -(-size[1] // s)) for s in (8, 16, 32, 64, 128)]
    generator = torch.Generator().manual_seed(seed)
    corner = 8 * torch.randint(0, 30, (40, 2), generator=generator).float()
    sides = 8 * 2 ** torch.randint(0, 5, (40, 2), generator=generator).float()
    boxes = torch.cat((corner, corner + sides), dim=1)
    wanted = their_assignment(boxes, maps, size)

    model = fcos.fcos_resnet50_fpn(2, torchvision_conventions=True)
    points = torchvision_points(maps, size)
    steps = [
        torch.full((x.shape[-2] * x.shape[-1],), s) for x, s in zip(maps, (8, 16, 32, 64, 128))
    ]
    strides = torch.cat(steps).float()
    outputs = fcos.FCOSOutputs(None, None, None, points, strides, [], [size])
    goal = model.assign(outputs, [{"boxes": boxes, "labels": torch.zeros(40, dtype=torch.int64)}])
    assert (wanted >= 0).sum() > 50
    assert goal.assigned[0].equal(wanted)


def test_without_torchvisions_conventions():
    """The builder's default: locations in the middle of their cell, scales, softplus."""
    model = fcos.fcos_resnet50_fpn(3).eval()
    assert model.head.scales.shape == (5,) and model.score_threshold == 0.05
    with torch.no_grad():
        outputs = model.predict(torch.rand(1, 3, 128, 128))
    assert outputs.points[0].tolist() == [4, 4] and outputs.points[-1].tolist() == [64, 64]
    assert outputs.level_sizes == [256, 64, 16, 4, 1]
    assert outputs.distances.min() > 0


def test_parameter_counts():
    """Without the background's row what torchvision has: 32 269 600 are documented (for its names
    the count is 32 322 720), and five scales."""
    oracle = detection.fcos_resnet50_fpn(weights=None, weights_backbone=None)
    theirs = sum(p.numel() for p in oracle.parameters())
    background = 9 * 256 + 1
    model = fcos.fcos_resnet50_fpn(torchvision_conventions=True)
    assert sum(p.numel() for p in model.parameters()) == theirs - background
    assert sum(p.numel() for p in fcos.fcos_resnet50_fpn().parameters()) == theirs - background + 5


def test_classes_are_read_from_the_weights():
    state = theirs(num_classes=4).state_dict()
    assert pretrained.from_torchvision(NAME, state).num_classes == 3


def test_wrong_weights_are_named():
    state = dict(theirs().state_dict())
    with pytest.raises(ValueError, match=r"no weights of fcos_.*head\.cls_logits\.weight is miss"):
        pretrained.from_torchvision(NAME, {"a": torch.zeros(1)})
    key = "head.regression_head.bbox_ctrness.bias"
    del state[key]
    with pytest.raises(ValueError, match=r"1 missing .head\.bbox_ctrness\.bias"):
        pretrained.from_torchvision(NAME, state)


def test_frozen_weights_and_their_eps(tmp_path):
    """Frozen normalisation is recognised; its eps is 1e-5, for the published file too."""
    state = theirs(frozen=True).state_dict()
    file = tmp_path / detection.FCOS_ResNet50_FPN_Weights.COCO_V1.url.rsplit("/", 1)[-1]
    torch.save(state, file)
    for source in (state, file):
        ours = pretrained.from_torchvision(NAME, source, **SIZES)
        norms = [m for m in ours.modules() if isinstance(m, FrozenBatchNorm2d)]
        assert len(norms) == 53 and all(norm.eps == 1e-5 for norm in norms)
        # As in torchvision, two parts of the published backbone stay as they are.
        assert ours.backbone.body.layer1[0].conv1.weight.requires_grad == (source is state)
        assert ours.backbone.body.layer2[0].conv1.weight.requires_grad


@pytest.mark.parametrize("found", [True, False])
def test_a_pretrained_backbone_is_frozen_up_to_its_third_part(monkeypatch, found):
    from detlearn.models import faster_rcnn

    monkeypatch.setattr(faster_rcnn, "load_imagenet", lambda model, weights: found)
    model = fcos.fcos_resnet50_fpn(3, pretrained_backbone=True)
    body = model.backbone.body.named_parameters()
    trained = {name.split(".")[0] for name, p in body if p.requires_grad}
    assert trained == (
        {"layer2", "layer3", "layer4"}
        if found
        else {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    )
