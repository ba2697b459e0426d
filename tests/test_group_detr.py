"""DETR with groups of queries: DETR in use, and in training several DETRs that share a network."""

import pytest
import torch
from detectors import check_contract, check_two_colours, target, two_colours
from torch import nn

from detlearn import models
from detlearn.models.detr import DETR
from detlearn.models.group_detr import GroupDETR
from detlearn.models.images import ImageBatcher
from detlearn.models.small import detr_small
from detlearn.nets.transformer import Transformer
from detlearn.training import fit

NUM_QUERIES, NUM_GROUPS = 5, 3
SIZES = [(48, 64), (64, 32)]  # the second half of one image, the lower quarter of another: padding


class Patches(nn.Module):
    """A backbone whose locations see their own 16 × 16 pixels and nothing else."""

    out_channels, strides = [12], [16]

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 16, stride=16)

    def forward(self, images):
        return {"16": self.patches(images)}


def build(detector, **options):
    """A detector with random weights that are the same in both classes, but for the queries."""
    torch.manual_seed(0)
    return detector(
        3,
        Patches(),
        Transformer(16, 2, 1, 2, 24, dropout=0.0),
        num_queries=NUM_QUERIES,
        batcher=ImageBatcher(size_divisible=16),
        **options,
    )


@pytest.fixture
def groups():
    model = build(GroupDETR, num_groups=NUM_GROUPS)
    torch.manual_seed(1)
    nn.init.normal_(model.query_embed.weight)
    return model


def one_group(groups, number):
    """DETR with the weights of one group."""
    model = build(DETR)
    weights = dict(groups.state_dict())
    rows = slice(number * NUM_QUERIES, (number + 1) * NUM_QUERIES)
    weights["query_embed.weight"] = weights["query_embed.weight"][rows]
    model.load_state_dict(weights)
    return model


def a_batch(seed=0):
    torch.manual_seed(seed)
    images = torch.randn(2, 3, 64, 64)
    targets = [
        target([[2, 3, 30, 40], [30, 10, 60, 44], [5, 5, 20, 12]], [0, 2, 2]),
        target([[1, 8, 25, 60]], [1]),
    ]
    return images, targets


def test_contract(groups):
    groups.score_threshold = 0.0
    images = [torch.rand(3, 48, 64), torch.rand(3, 64, 32)]
    for found, image in zip(groups.eval()(images), images):
        check_contract(found, *image.shape[-2:], num_classes=3)


@pytest.mark.slow
def test_learns_a_batch_by_heart():
    torch.manual_seed(0)
    samples = two_colours()
    model = detr_small(2, num_queries=6, query_groups=2)
    fit(
        model, samples, steps=300, batch_size=4, lr=1e-3, clip_norm=1.0, augment=None, ema=None,
        progress=False,
    )  # fmt: skip
    images, targets = zip(*samples)
    for found, wanted in zip(model.eval()(list(images)), targets):
        check_two_colours(found, wanted)
        assert (found["scores"] > 0.5).sum() == 2, "one query an object, without NMS"


def test_in_use_it_is_detr_with_the_first_group(groups):
    images, targets = a_batch()
    detr = one_group(groups, 0).eval()
    found, wanted = groups.eval().predict(images, SIZES), detr.predict(images, SIZES)
    assert found.class_logits.shape == (2, NUM_QUERIES, 4)
    for name in ("class_logits", "pred_boxes", "earlier_logits", "earlier_boxes"):
        assert torch.allclose(getattr(found, name), getattr(wanted, name), atol=1e-6)
    assert torch.equal(
        groups.assign(found, targets).assigned, detr.assign(wanted, targets).assigned
    )
    for mine, theirs in zip(groups.decode(found), detr.decode(wanted)):
        assert torch.allclose(mine["boxes"], theirs["boxes"], atol=1e-4)
    maps = groups.attention_maps(images, SIZES)
    assert torch.allclose(maps, detr.attention_maps(images, SIZES), atol=1e-6)


def test_in_training_each_group_says_what_it_would_say_alone(groups):
    images, _ = a_batch()
    found = groups.train().predict(images, SIZES)
    assert found.class_logits.shape == (2, NUM_GROUPS * NUM_QUERIES, 4)
    for number in range(NUM_GROUPS):
        alone = one_group(groups, number).train().predict(images, SIZES)
        rows = slice(number * NUM_QUERIES, (number + 1) * NUM_QUERIES)
        assert torch.allclose(found.class_logits[:, rows], alone.class_logits, atol=1e-5)
        assert torch.allclose(found.pred_boxes[:, rows], alone.pred_boxes, atol=1e-5)
        assert torch.allclose(found.earlier_boxes[:, :, rows], alone.earlier_boxes, atol=1e-5)


def test_losses_are_the_mean_of_the_groups(groups):
    images, targets = a_batch()
    losses = groups.train().compute_loss(groups.predict(images, SIZES), targets)

    of_each = []
    for number in range(NUM_GROUPS):
        alone = one_group(groups, number).train()
        of_each.append(alone.compute_loss(alone.predict(images, SIZES), targets))
    assert losses.keys() == of_each[0].keys() == {"class", "l1", "giou", "auxiliary"}
    for name, loss in losses.items():
        mean = torch.stack([one[name] for one in of_each]).mean()
        assert torch.isclose(loss, mean, rtol=1e-5)


def test_every_group_matches_by_itself(groups):
    images, targets = a_batch()
    outputs = groups.train().predict(images, SIZES)
    found = groups.assign(outputs, targets)
    assert found.assigned.shape == (2, NUM_GROUPS * NUM_QUERIES)
    assert found.points.shape == (2, NUM_GROUPS * NUM_QUERIES, 2)
    assert torch.allclose(
        found.points, outputs.pred_boxes[..., :2] * torch.tensor([[[64, 48.0]], [[32, 64]]])
    )
    assert len(found.strides) == NUM_GROUPS * NUM_QUERIES

    for number in range(NUM_GROUPS):
        alone = one_group(groups, number).train()
        wanted = alone.assign(alone.predict(images, SIZES), targets).assigned
        rows = slice(number * NUM_QUERIES, (number + 1) * NUM_QUERIES)
        assert torch.equal(found.assigned[:, rows], wanted)


def test_images_without_objects(groups):
    images, targets = a_batch()
    losses = groups.train().compute_loss(groups.predict(images, SIZES), [targets[0], target([])])
    assert all(loss.isfinite() for loss in losses.values())
    losses = groups.compute_loss(groups.predict(images, SIZES), [target([]), target([])])
    assert losses["l1"] == losses["giou"] == 0
    sum(losses.values()).backward()
    assert groups.query_embed.weight.grad.abs().amax(dim=1).gt(0).all()


def test_small():
    model = detr_small(10, query_groups=3)
    assert isinstance(model, GroupDETR) and isinstance(model, models.DETR)
    assert (model.num_queries, model.num_groups) == (10, 3)
    assert detr_small(10).num_groups == 3
    assert not isinstance(detr_small(10, query_groups=1), GroupDETR)
    images = torch.rand(1, 3, 128, 128)
    assert model.train().predict(images).pred_boxes.shape == (1, 30, 4)
    assert model.eval().predict(images).pred_boxes.shape == (1, 10, 4)


def test_errors():
    with pytest.raises(ValueError, match="num_groups is 0: the queries are one group at least"):
        build(GroupDETR, num_groups=0)
    with pytest.raises(ValueError, match="num_groups is 0"):
        detr_small(10, query_groups=0)
    with pytest.raises(ValueError, match="query_groups are of DETR's own queries"):
        detr_small(10, query_groups=2, anchor_queries=True)
