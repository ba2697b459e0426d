"""Our RetinaNet with torchvision's weights: the same detections, losses and gradients.

torchvision's model gets random weights, spread so that scores differ and many are high, and
statistics of batch normalisation that are not the initial ones. For each anchor its head has a row
for the background, which never learns anything but "no"; here it says so from the start.
"""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FrozenBatchNorm2d as TheirFrozenBatchNorm2d

from detlearn import pretrained
from detlearn.models import retinanet
from detlearn.nets.resnet import FrozenBatchNorm2d

pytestmark = pytest.mark.slow  # the published size

NAME = "retinanet_resnet50_fpn"
SIZES = {"min_size": 128, "max_size": 224}
SHAPES = [(96, 130), (200, 111), (128, 128)]


def theirs(frozen=False, num_classes=6):
    torch.manual_seed(1)
    model = detection.retinanet_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=num_classes, **SIZES
    )
    if frozen:  # as in the published weights
        freeze_norms(model.backbone.body)
    return spread(model)


def freeze_norms(module: nn.Module) -> None:
    """Replace batch normalisation by torchvision's frozen one."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, TheirFrozenBatchNorm2d(child.num_features))
        else:
            freeze_norms(child)


def spread(model: nn.Module) -> nn.Module:
    """Give a model scores and boxes that differ and are certain, but do not saturate.

    The towers have no normalisation, and their initial weights let nearly nothing through; so every
    layer of the head gets weights for which, on one image, its outputs have a known spread.
    """
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if hasattr(module, "running_var"):
            module.running_mean.normal_(0, 0.05, generator=generator)
            module.running_var.uniform_(0.7, 1.4, generator=generator)

    classes, boxes = model.head.classification_head, model.head.regression_head
    towers = [layer[0] for tower in (classes.conv, boxes.conv) for layer in tower]
    layers = dict.fromkeys(towers, (1.0, 0.0))
    layers |= {classes.cls_logits: (2.0, -2.0), boxes.bbox_reg: (0.4, 0.0)}
    image = torch.rand(3, 128, 128, generator=generator)
    for layer, (wanted, mean) in layers.items():
        layer.weight.data.normal_(generator=generator)
        layer.bias.data.fill_(0)
        seen = []
        hook = layer.register_forward_hook(
            lambda module, args, output, seen=seen: seen.append(output.std(correction=0))
        )
        with torch.no_grad():
            model.eval()([image])
        hook.remove()
        layer.weight.data *= wanted / max(seen)
        layer.bias.data.fill_(mean)

    background = slice(None, None, classes.num_classes)  # the first row of each anchor
    classes.cls_logits.weight.data[background] = 0
    classes.cls_logits.bias.data[background] = -100
    return model


def images_and_targets():
    generator = torch.Generator().manual_seed(2)
    images = [torch.rand(3, *shape, generator=generator) for shape in SHAPES]
    targets = []
    for i, (height, width) in enumerate(SHAPES):
        corner = torch.rand(i * 3, 2, generator=generator) * torch.tensor([width, height]) * 0.6
        size = 12 + torch.rand(i * 3, 2, generator=generator) * torch.tensor([width, height]) * 0.3
        labels = torch.randint(5, (i * 3,), generator=generator)
        targets.append({"boxes": torch.cat((corner, corner + size), 1), "labels": labels})
    return images, targets


@pytest.mark.parametrize("limit", [100, 5000])
def test_same_detections(limit):
    oracle = theirs().eval()
    ours = pretrained.from_torchvision(NAME, oracle.state_dict(), **SIZES)
    assert not ours.training and ours.num_classes == 5 and ours.max_detections == 300
    ours.max_detections = limit
    oracle.detections_per_img = 5000

    images, _ = images_and_targets()
    with torch.no_grad():
        expected, found = oracle(images), ours(images)
    for mine, wanted in zip(found, expected, strict=True):
        # Anchors in the padding find boxes without area there, which ours drops.
        boxes = wanted["boxes"]
        large = (boxes[:, 2:] - boxes[:, :2] >= 0.02).all(dim=1)
        wanted = {key: value[large][:limit] for key, value in wanted.items()}
        assert len(wanted["scores"]) > 90 and wanted["scores"].max() > 0.5
        assert len(wanted["labels"].unique()) >= 3
        assert_close(mine["scores"], wanted["scores"], rtol=0, atol=1e-4)

        # Of a thousand scores two may be so close that rounding decides which comes first.
        scores = (mine["scores"][:, None] - wanted["scores"]).abs() <= 1e-4
        labels = mine["labels"][:, None] + 1 == wanted["labels"]
        boxes = (mine["boxes"][:, None] - wanted["boxes"]).abs().amax(dim=-1) <= 0.01
        same = scores & labels & boxes
        assert same.any(dim=0).all() and same.any(dim=1).all()
        if limit == 100:
            assert same.diagonal().all()


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
