"""Our RetinaNet with torchvision's weights: the same detections, losses and gradients.

torchvision's model gets random weights, spread so that scores differ and many are high, and
statistics of batch normalisation that are not the initial ones. For each anchor its head has a row
for the background, which never learns anything but "no"; here it says so from the start.
"""

import pytest
import torch
from dense import SIZES, check_same_detections, images_and_targets, spread_layers, their_model
from torch import nn
from torch.testing import assert_close
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList

from detlearn import pretrained
from detlearn.models import retinanet
from detlearn.nets.resnet import FrozenBatchNorm2d

pytestmark = pytest.mark.slow  # the published size

NAME = "retinanet_resnet50_fpn"


def theirs(frozen=False, num_classes=6):
    return their_model(detection.retinanet_resnet50_fpn, spread, frozen, num_classes)


def spread(model: nn.Module) -> nn.Module:
    """Give a model scores and boxes that differ and are certain, but do not saturate.

    The towers have no normalisation, and their initial weights let nearly nothing through; so every
    layer of the head gets weights for which, on one image, its outputs have a known spread.
    """
    classes, boxes = model.head.classification_head, model.head.regression_head
    towers = [layer[0] for tower in (classes.conv, boxes.conv) for layer in tower]
    layers = dict.fromkeys(towers, (1.0, 0.0))
    layers |= {classes.cls_logits: (2.0, -2.0), boxes.bbox_reg: (0.4, 0.0)}
    spread_layers(model, layers)

    background = slice(None, None, classes.num_classes)  # the first row of each anchor
    classes.cls_logits.weight.data[background] = 0
    classes.cls_logits.bias.data[background] = -100
    return model


@pytest.mark.parametrize("limit", [100, 5000])
def test_same_detections(limit):
    oracle = theirs().eval()
    ours = pretrained.from_torchvision(NAME, oracle.state_dict(), **SIZES)
    assert not ours.training and ours.num_classes == 5 and ours.max_detections == 300
    check_same_detections(ours, oracle, limit)


@pytest.mark.parametrize("size", [(800, 1088), (800, 1344), (1088, 800), (224, 192)])
def test_same_anchors(size):
    """Also on the coarsest map, which has 7 rows for 800 pixels: a stride of 114, not 128."""
    oracle = detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None)
    ours = retinanet.retinanet_resnet50_fpn(2, torchvision_conventions=True)
    maps = [torch.zeros(1, 1, -(-size[0] // s), -(-size[1] // s)) for s in (8, 16, 32, 64, 128)]
    batch = ImageList(torch.zeros(1, 3, *size), [size])
    (wanted,) = oracle.anchor_generator(batch, maps)
    assert torch.equal(torch.cat(ours.anchors(maps, size)), wanted)


def test_same_losses_and_gradients():
    oracle = theirs(frozen=True)
    ours = pretrained.from_torchvision(NAME, oracle.state_dict(), **SIZES)
    images, targets = images_and_targets()
    shifted = [{**t, "labels": t["labels"] + 1} for t in targets]
    expected, found = oracle.train()(images, shifted), ours.train()(images, targets)

    names = {"classification": "class", "bbox_regression": "box"}
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
            wanted = wanted.unflatten(0, (9, 6))[:, 1:].flatten(0, 1)
        # A rounding error can move a value across the corner of a ReLU: of those the backbone has
        # many, and each tower four.
        allowed = 1e-2 if "body" in key else 1e-3
        assert wanted.norm() > 0, key
        assert (parameter.grad - wanted).norm() <= allowed * wanted.norm(), key


def test_same_targets_also_at_the_thresholds():
    """Boxes that are anchors or on whole pixels: many ties, and IoUs that equal a threshold."""
    size = (256, 320)
    maps = [torch.zeros(1, 1, size[0] // s, -(-size[1] // s)) for s in (8, 16, 32, 64, 128)]
    model = retinanet.retinanet_resnet50_fpn(2, torchvision_conventions=True)
    anchors = torch.cat(model.anchors(maps, size))
    generator = torch.Generator().manual_seed(0)
    corner = 8 * torch.randint(0, 30, (30, 2), generator=generator).float()
    sides = 8 * 2 ** torch.randint(0, 5, (30, 2), generator=generator).float()
    some = anchors[torch.randint(0, len(anchors), (10,), generator=generator)]
    boxes = torch.cat((torch.cat((corner, corner + sides), dim=1), some))

    oracle = detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3)
    seen = []
    oracle.head.compute_loss = lambda targets, outputs, anchors, matched: seen.append(matched)
    oracle.compute_loss([{"boxes": boxes}], {}, [anchors])
    outputs = retinanet.RetinaNetOutputs(None, None, None, anchors, None, [], [size])
    goal = model.assign(outputs, [{"boxes": boxes, "labels": torch.zeros(40, dtype=torch.int64)}])
    assert (goal.assigned >= 0).sum() > 50 and (goal.assigned == -2).sum() > 50
    assert goal.assigned[0].equal(seen[0][0])


def test_without_torchvisions_conventions():
    """The builder's default: anchors in the middle of their cell, neither rounded nor cut."""
    model = retinanet.retinanet_resnet50_fpn(3).eval()
    assert model.max_detections == 100 and model.nms_threshold == 0.5
    with torch.no_grad():
        outputs = model.predict(torch.rand(1, 3, 128, 128))
    centres = (outputs.anchors[:, :2] + outputs.anchors[:, 2:]) / 2
    assert_close(centres[0], torch.tensor([4.0, 4.0]))
    assert_close(centres[-1], torch.tensor([64.0, 64.0]))
    sides = outputs.anchors[1, 2:] - outputs.anchors[1, :2]
    assert_close(sides.prod(), torch.tensor(32.0**2) * 2 ** (2 / 3))
    assert outputs.level_sizes == [9 * n for n in (256, 64, 16, 4, 1)]


def test_parameter_counts():
    """What torchvision documents for COCO, without the background's rows; its batch normalisation
    is frozen and has no parameters."""
    model = retinanet.retinanet_resnet50_fpn()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    trained = sum(p.numel() for norm in norms for p in norm.parameters())
    background = 9 * (9 * 256 + 1)
    documented = detection.RetinaNet_ResNet50_FPN_Weights.COCO_V1.meta["num_params"]
    assert len(norms) == 53
    assert sum(p.numel() for p in model.parameters()) == documented - background + trained


def test_classes_are_read_from_the_weights():
    state = theirs(num_classes=4).state_dict()
    assert pretrained.from_torchvision(NAME, state).num_classes == 3


def test_files_older_than_version_2():
    """The published files are said to use older names, which torchvision maps when it loads."""
    state = theirs().state_dict()
    old = {}
    for key, value in state.items():
        for i in range(4):
            key = key.replace(f"_head.conv.{i}.0.", f"_head.conv.{2 * i}.")
        if ".fpn." in key:
            key = key.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        old[key] = value
    assert "head.classification_head.conv.6.weight" in old
    assert "backbone.fpn.inner_blocks.0.weight" in old
    loaded = pretrained.from_torchvision(NAME, old).state_dict()
    for key, value in pretrained.from_torchvision(NAME, state).state_dict().items():
        assert torch.equal(value, loaded[key])


def test_wrong_weights_are_named():
    state = dict(theirs().state_dict())
    with pytest.raises(ValueError, match=r"weights of retinanet.*head\.cls_logits\.weight is miss"):
        pretrained.from_torchvision(NAME, {"a": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"not of fcos_resnet50_fpn"):
        pretrained.from_torchvision("fcos_resnet50_fpn", state)
    key = "head.regression_head.bbox_reg.bias"
    del state[key]
    with pytest.raises(ValueError, match=r"1 missing .head\.bbox_reg\.bias"):
        pretrained.from_torchvision(NAME, state)


def test_frozen_weights_and_their_eps(tmp_path):
    """Frozen normalisation is recognised; eps 0 is for the published file alone."""
    state = theirs(frozen=True).state_dict()
    file = tmp_path / detection.RetinaNet_ResNet50_FPN_Weights.COCO_V1.url.rsplit("/", 1)[-1]
    torch.save(state, file)
    for source, eps in ((state, 1e-5), (file, 0.0)):
        ours = pretrained.from_torchvision(NAME, source, **SIZES)
        norms = [m for m in ours.modules() if isinstance(m, FrozenBatchNorm2d)]
        assert len(norms) == 53 and all(norm.eps == eps for norm in norms)
        # As in torchvision, two parts of the published backbone stay as they are.
        assert ours.backbone.body.layer1[0].conv1.weight.requires_grad == (source is state)
        assert ours.backbone.body.layer2[0].conv1.weight.requires_grad


@pytest.mark.parametrize("found", [True, False])
def test_a_pretrained_backbone_is_frozen_up_to_its_third_part(monkeypatch, found):
    from detlearn.models import faster_rcnn

    monkeypatch.setattr(faster_rcnn, "load_imagenet", lambda model, weights: found)
    model = retinanet.retinanet_resnet50_fpn(3, pretrained_backbone=True)
    body = model.backbone.body.named_parameters()
    trained = {name.split(".")[0] for name, p in body if p.requires_grad}
    assert trained == (
        {"layer2", "layer3", "layer4"}
        if found
        else {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    )
