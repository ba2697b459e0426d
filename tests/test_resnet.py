"""ResNet: equal to torchvision's with the same weights, frozen normalisation too."""

import copy
import warnings
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close
from torchvision.models import ResNet50_Weights
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops import FrozenBatchNorm2d as OracleNorm

from detlearn.nets.resnet import (
    FrozenBatchNorm2d,
    freeze_batch_norm,
    load_imagenet,
    resnet18,
    resnet50,
)

PAIRS = {"resnet18": resnet18, "resnet50": resnet50}


def fill_statistics(model: nn.Module) -> None:
    """Give normalisations something to do."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.normal_(generator=generator, std=0.1)
            module.running_var.uniform_(0.5, 1.5, generator=generator)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("frozen", [False, True])
def test_equals_torchvision(name, frozen):
    norms = (OracleNorm, FrozenBatchNorm2d) if frozen else (nn.BatchNorm2d, nn.BatchNorm2d)
    theirs = getattr(torchvision.models, name)(norm_layer=norms[0])
    fill_statistics(theirs)
    theirs = IntermediateLayerGetter(theirs, {f"layer{i}": str(2 ** (i + 1)) for i in range(1, 5)})
    ours = PAIRS[name](norms[1])
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 65, 97)
    for training in (False, True):
        ours.train(training)
        theirs.train(training)
        expected, found = theirs(images), ours(images)
        assert list(found) == list(expected) == ["4", "8", "16", "32"]
        for stride in expected:
            # Sums of up to 2048 terms in another order: compared with the map's largest value.
            scale = expected[stride].abs().max()
            assert_close(found[stride] / scale, expected[stride] / scale, rtol=0, atol=1e-5)
    assert ours.out_channels == [x.shape[1] for x in found.values()]


def test_frozen_normalisation_by_hand_and_its_gradient():
    norm = FrozenBatchNorm2d(1, eps=0.0)
    norm.load_state_dict(
        {
            "weight": torch.tensor([3.0]),
            "bias": torch.tensor([1.0]),
            "running_mean": torch.tensor([2.0]),
            "running_var": torch.tensor([4.0]),
        }
    )
    x = torch.tensor([[[[6.0]]]], requires_grad=True)
    y = norm(x)
    y.backward()
    assert y.item() == 7 and x.grad.item() == 1.5
    assert not list(norm.parameters())


def test_frozen_normalisation_keeps_the_dtype():
    """Under autocast maps stay in bfloat16, as with the ordinary one; alone, float32 is exact."""
    frozen = resnet18()
    fill_statistics(frozen)
    ordinary = copy.deepcopy(frozen).eval()
    freeze_batch_norm(frozen)
    images = torch.randn(2, 3, 64, 96)
    exact = frozen(images)
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = frozen(images), ordinary(images)
    for stride, x in exact.items():
        assert x.dtype == torch.float32
        assert found[stride].dtype == wanted[stride].dtype == torch.bfloat16
        # bfloat16 has 8 binary digits, and rounding adds up over the layers.
        assert (found[stride] - x).abs().max() < 0.03 * x.abs().max()

    norm, x = frozen.bn1, torch.randn(2, 64, 5, 7)
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    by_hand = torch.addcmul(shift[:, None, None], x, scale[:, None, None])
    assert torch.equal(norm(x), by_hand)
    assert norm(x.double()).dtype == torch.float64


@pytest.mark.parametrize("trainable", range(6))
def test_freeze(trainable):
    model = resnet18()
    model.freeze(trainable)
    parts = ("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)
    for i, names in enumerate(parts):
        for name in names:
            for parameter in getattr(model, name).parameters():
                assert parameter.requires_grad == (i >= 5 - trainable)
    with pytest.raises(ValueError, match="expected 0 … 5"):
        model.freeze(6)


def test_statistics_move_in_frozen_parts_as_in_torchvision():
    """Unless the normalisation is a frozen one. The weights get no gradient in either case."""
    theirs = torchvision.models.resnet18()
    fill_statistics(theirs)
    theirs = _resnet_fpn_extractor(theirs, trainable_layers=3, norm_layer=nn.BatchNorm2d).body
    ours = resnet18()
    ours.load_state_dict(theirs.state_dict())
    ours.freeze(trainable_layers=3)
    frozen = copy.deepcopy(ours)
    freeze_batch_norm(frozen)
    before = copy.deepcopy(ours.state_dict())

    images = torch.randn(2, 3, 64, 64)
    for model in (theirs, ours, frozen):
        sum(x.mean() for x in model(images).values()).backward()
    for name in ("bn1.running_mean", "layer1.1.bn2.running_var"):
        assert not torch.equal(ours.state_dict()[name], before[name])
        assert torch.equal(ours.state_dict()[name], theirs.state_dict()[name])
        assert torch.equal(frozen.state_dict()[name], before[name])
    assert ours.bn1.weight.grad is None and theirs["bn1"].weight.grad is None


def test_offline_it_says_so_and_goes_on(monkeypatch):
    def offline(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(ResNet50_Weights, "get_state_dict", offline)
    model = resnet50()
    before = model.conv1.weight.clone()
    with pytest.warns(UserWarning, match="IMAGENET1K_V1 was not loaded, the backbone starts"):
        assert load_imagenet(model, ResNet50_Weights.IMAGENET1K_V1) is False
    assert torch.equal(model.conv1.weight, before)


def test_online_the_weights_arrive_without_the_classifier(monkeypatch):
    published = torchvision.models.resnet50().state_dict()
    monkeypatch.setattr(ResNet50_Weights, "get_state_dict", lambda *a, **k: published)
    for norm in (nn.BatchNorm2d, FrozenBatchNorm2d):
        model = resnet50(norm)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load_imagenet(model, ResNet50_Weights.IMAGENET1K_V1) is True
        for name, value in model.state_dict().items():
            assert torch.equal(value, published[name])
