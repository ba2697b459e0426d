"""The region proposal network, step by step: shapes and order, proposals, assignment, loss."""

import pytest
import torch
import torchvision.ops as oracle
from torch import nn
from torch.testing import assert_close

from detlearn.boxes import box_iou
from detlearn.coders import BoxCoder
from detlearn.models import RegionProposalNetwork
from detlearn.models.rpn import RPNOutputs, flatten_predictions


def target(boxes):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    return {"boxes": boxes, "labels": torch.zeros(len(boxes), dtype=torch.int64)}


def small_rpn(**options):
    torch.manual_seed(0)
    defaults = {"anchor_sizes": ((8, 12), (16, 24)), "strides": (4, 8)}
    return RegionProposalNetwork(6, **(defaults | options))


def pyramid(images=2, height=40, width=56):
    generator = torch.Generator().manual_seed(0)
    return {
        str(s): torch.randn(images, 6, height // s, width // s, generator=generator) for s in (4, 8)
    }


# --- predictions and anchors -----------------------------------------------------------------


def test_flattened_predictions_are_sorted_by_place():
    """Each prediction says which place it comes from."""
    b, a, i, j = torch.meshgrid(*map(torch.arange, (2, 3, 4, 5)), indexing="ij")
    places = (1000 * b + 100 * i + 10 * j + a).float()  # (B, A, h, w)
    deltas = (places[:, :, None] + torch.arange(4)[:, None, None] / 10).flatten(1, 2)
    flat, moves = flatten_predictions(places, deltas)
    assert torch.equal(flat, flat.sort(dim=1).values)
    assert_close(moves, flat[..., None] + torch.arange(4) / 10)
    assert flat[1, (2 * 5 + 3) * 3 + 1] == 1231


SCORES, DELTAS = torch.zeros(2, 3, 4, 5), torch.zeros(2, 12, 4, 5)


@pytest.mark.parametrize(
    ("scores", "deltas", "error", "words"),
    [
        (None, DELTAS, TypeError, "scores must be a torch.Tensor, got NoneType"),
        (SCORES, [DELTAS], TypeError, "deltas must be a torch.Tensor, got list"),
        (SCORES[0], DELTAS[0], ValueError, r"scores must have .* \(B, A, h, w\), got \(3, 4, 5\)"),
        (SCORES, DELTAS[0], ValueError, r"deltas must have shape \(2, 12, 4, 5\), .* \(12, 4, 5\)"),
        (
            SCORES,
            SCORES,
            ValueError,
            r"four channels for each .* 3, got \(2, 3, 4, 5\)",
        ),
        (SCORES, DELTAS.mT, ValueError, r"got \(2, 12, 5, 4\)"),
        (SCORES, DELTAS[:1], ValueError, r"got \(1, 12, 4, 5\)"),
        (DELTAS, SCORES, ValueError, r"deltas must have shape \(2, 48, 4, 5\)"),
    ],
)
def test_predictions_of_different_maps_are_refused(scores, deltas, error, words):
    with pytest.raises(error, match=words):
        flatten_predictions(scores, deltas)


def test_one_map_is_the_paper():
    rpn = RegionProposalNetwork(6)
    objectness, deltas, anchors, *_ = rpn(torch.randn(2, 6, 5, 7))
    assert objectness.shape == (2, 5 * 7 * 9) and deltas.shape == (2, 5 * 7 * 9, 4)
    centres, sizes = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]
    assert_close(centres[::9][:3], torch.tensor([[8.0, 8], [24, 8], [40, 8]]))  # stride 16
    expected = torch.tensor([128.0, 256, 512]).repeat(3)
    assert_close(sizes[:9].prod(1).sqrt(), expected)
    assert_close(sizes[:9, 1] / sizes[:9, 0], torch.tensor([0.5, 1, 2]).repeat_interleave(3))


@pytest.mark.parametrize("kind", [dict, list])
def test_a_pyramid_as_dict_or_list(kind):
    rpn, maps = small_rpn(), pyramid()
    features = maps if kind is dict else list(maps.values())
    objectness, deltas, anchors, level_sizes, _ = rpn(features)
    assert level_sizes == [10 * 14 * 6, 5 * 7 * 6]
    count = (10 * 14 + 5 * 7) * 6
    assert objectness.shape == (2, count) and anchors.shape == (count, 4)
    assert deltas.shape == (2, count, 4)


def test_plain_sizes_are_used_at_every_level():
    rpn = RegionProposalNetwork(6, anchor_sizes=(32, 64), strides=(4, 8, 16))
    first, second, third = rpn.anchors([torch.zeros(1, 6, n, n) for n in (8, 4, 2)])
    for anchors, stride in ((first, 4), (second, 8), (third, 16)):
        centres = (anchors[::6, :2] + anchors[::6, 2:]) / 2
        assert_close(centres[0], torch.full((2,), stride / 2))
        assert_close(centres[1] - centres[0], torch.tensor([float(stride), 0]))


def test_predictions_lie_in_the_order_of_the_anchors():
    """A head that answers with its own position: each anchor must get what was said at its cell."""
    rpn = small_rpn(aspect_ratios=(1.0, 2.0))
    head = rpn.head
    for conv in (*head.conv, head.cls_logits, head.bbox_pred):
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
    nn.init.dirac_(head.conv[0].weight)
    # Channel 0 of the map holds x, channel 1 holds y of the cell's centre, in pixels.
    maps = []
    for stride, (h, w) in ((4, (10, 14)), (8, (5, 7))):
        y, x = torch.meshgrid(*((torch.arange(n) + 0.5) * stride for n in (h, w)), indexing="ij")
        maps.append(torch.stack((x, y, *[torch.zeros(h, w)] * 4))[None])
    with torch.no_grad():
        head.cls_logits.weight[:, 0] = 1  # objectness = x + the anchor's number / 100
        head.cls_logits.bias.copy_(torch.arange(4) / 100)
        head.bbox_pred.weight.view(4, 4, 6)[:, 1, 1] = 1  # the second delta = y
        head.bbox_pred.bias.view(4, 4)[:, 2] = torch.arange(4)  # the third = the anchor's number
        objectness, deltas, anchors, *_ = rpn(maps)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    number = torch.arange(4).repeat(len(anchors) // 4)
    assert_close(objectness[0], centres[:, 0] + number / 100)
    assert_close(deltas[0, :, 1], centres[:, 1])
    assert_close(deltas[0, :, 2], number.float())
    assert deltas[0, :, [0, 3]].abs().max() == 0


def test_errors():
    with pytest.raises(ValueError, match="as many sizes at each"):
        RegionProposalNetwork(6, ((8, 16), (32,)))
    with pytest.raises(ValueError, match=r"2 levels, but strides are .16.: give the backbone's"):
        RegionProposalNetwork(6, ((8, 16), (32, 64)))
    with pytest.raises(ValueError, match="3 feature maps, but strides"):
        small_rpn()([torch.zeros(1, 6, 4, 4)] * 3)
    with pytest.raises(ValueError, match="expected positive"):
        RegionProposalNetwork(6, (8, -1))


# --- proposals -------------------------------------------------------------------------------


def naive_proposals(rpn, objectness, deltas, anchors, counts, sizes, pre, post):
    """Image by image and level by level, with torchvision's NMS."""
    results = []
    for logits, moves, (height, width) in zip(objectness, deltas, sizes):
        boxes, scores, start = [], [], 0
        for count in counts:
            level = slice(start, start + count)
            best = logits[level].argsort(descending=True, stable=True)[:pre]
            b = BoxCoder().decode(moves[level][best], anchors[level][best])
            b = oracle.clip_boxes_to_image(b, (height, width))
            large = oracle.remove_small_boxes(b, rpn.min_size)
            b, s = b[large], logits[level][best][large]
            keep = oracle.nms(b, s, rpn.nms_threshold)
            boxes, scores, start = [*boxes, b[keep]], [*scores, s[keep]], start + count
        order = torch.cat(scores).argsort(descending=True, stable=True)[:post]
        results.append(torch.cat(boxes)[order])
    return results


@pytest.mark.parametrize("training", [False, True])
def test_proposals_equal_the_naive_ones(training):
    rpn = small_rpn(
        pre_nms_top_n=(90, 40), post_nms_top_n=(30, 20), min_size=4.0, nms_threshold=0.5
    ).train(training)
    pre, post = (90, 30) if training else (40, 20)
    sizes = [(40, 56), (21, 50), (40, 9)]
    maps = list(pyramid(images=3).values())
    anchors = rpn.anchors(maps)
    counts = [len(level) for level in anchors]
    anchors = torch.cat(anchors)
    objectness = torch.randn(3, len(anchors))
    deltas = torch.randn(3, len(anchors), 4)
    found = rpn.propose(objectness, deltas, anchors, counts, sizes)
    expected = naive_proposals(rpn, objectness, deltas, anchors, counts, sizes, pre, post)
    assert [len(p) for p in found] == [len(p) for p in expected]
    assert len(found[0]) == post > len(found[2]) > 0
    for ours, theirs, (height, width) in zip(found, expected, sizes):
        assert_close(ours, theirs)
        assert ours.min() >= 0 and ours[:, 2].max() <= width and ours[:, 3].max() <= height


def test_predictions_are_float32_in_reduced_precision():
    """A bfloat16 has 8 binary digits: from 128 pixels on it cannot tell a pixel from the next."""
    rpn, maps = small_rpn().eval(), pyramid()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = rpn(maps)
    assert outputs.objectness.dtype == outputs.deltas.dtype == torch.float32
    assert all(boxes.dtype == torch.float32 for boxes in outputs.proposals)


def test_the_call_proposes_without_gradient():
    rpn = small_rpn()
    objectness, deltas, anchors, counts, proposals = rpn(pyramid(), [(40, 56), (40, 50)])
    assert len(proposals) == 2 and not any(p.requires_grad for p in proposals)
    assert objectness.requires_grad
    again = rpn.propose(objectness, deltas, anchors, counts, [(40, 56), (40, 50)])
    assert all(torch.equal(a, b) for a, b in zip(proposals, again))


# --- who learns what, and the loss -----------------------------------------------------------


def test_assignment_by_hand():
    rpn = RegionProposalNetwork(6, anchor_sizes=(16,), aspect_ratios=(1.0,), strides=(16,))
    (anchors,) = rpn.anchors(torch.zeros(1, 6, 2, 3))
    assert anchors[0].tolist() == [0, 0, 16, 16]
    objects = torch.tensor(
        [
            [0.0, 0, 16, 14],  # IoU .875 with anchor 0
            [16, 0, 32, 9],  # .5625 with anchor 1: too little, but the best there is
            [32.0, 16, 40, 32],  # .5 with anchor 5, the best
            [100, 100, 110, 110],  # no anchor touches it
        ]
    )
    targets = [{"boxes": objects}, {"boxes": objects[1:3]}, {"boxes": objects[:0]}]
    assert rpn.assign(anchors, targets).tolist() == [
        [0, 1, -1, -1, -1, 2],
        [-1, 0, -1, -1, -1, 1],
        [-1] * 6,
    ]


def test_loss_by_hand():
    rpn = RegionProposalNetwork(6, (16,), (1.0,), strides=(16,), batch_size_per_image=256)
    (anchors,) = rpn.anchors(torch.zeros(1, 6, 1, 3))
    targets = [target([[0, 0, 16, 16]]), target([])]
    objectness = torch.zeros(2, 3, requires_grad=True)
    deltas = torch.zeros(2, 3, 4)
    deltas[0, 0] = torch.tensor([0.05, 0, 0, 1.0])
    deltas[0, 1:] = 9.0  # no positive anchors, so in no loss
    outputs = RPNOutputs(objectness, deltas.requires_grad_(), anchors, [3], [])
    losses = rpn.compute_loss(outputs, targets)
    assert_close(losses["loss_objectness"].item(), torch.tensor(2.0).log().item())
    # Smooth L1, β = 1/9: 0.05² · 9 / 2 where small, |x| − 1/18 where large; divided by 6 anchors.
    assert losses["loss_rpn_box_reg"].item() == pytest.approx((0.05**2 * 4.5 + 1 - 1 / 18) / 6)
    sum(losses.values()).backward()
    assert objectness.grad[0, 0] < 0 and (objectness.grad.flatten()[1:] > 0).all()
    assert deltas.grad[0, 1:].abs().max() == 0 and deltas.grad[1].abs().max() == 0


def test_ignored_anchors_are_in_no_loss():
    rpn = RegionProposalNetwork(6, (16,), (1.0,), strides=(16,))
    (anchors,) = rpn.anchors(torch.zeros(1, 6, 1, 2))

    # IoU .5 with the second anchor, but its best.
    forced = target([[0, 0, 16, 16], [16, 0, 24, 16]])
    assert rpn.assign(anchors, [forced]).tolist() == [[0, 1]]
    # .667 with the first anchor (forced), .2 with the second.
    background = target([[0, 0, 24, 16]])
    assert rpn.assign(anchors, [background]).tolist() == [[0, -1]]
    # .615 (forced) and .3125 (ignored).
    wide = target([[0, 0, 26, 16]])
    assert rpn.assign(anchors, [wide]).tolist() == [[0, -2]]

    objectness = torch.zeros(1, 2, requires_grad=True)
    outputs = RPNOutputs(objectness, torch.zeros(1, 2, 4), anchors, [2], [])
    sum(rpn.compute_loss(outputs, [wide]).values()).backward()
    assert objectness.grad[0, 0] != 0 and objectness.grad[0, 1] == 0


def test_empty_targets_give_no_box_loss_and_finite_gradients():
    rpn = small_rpn()
    losses = rpn.compute_loss(rpn(pyramid()), [target([]), target([])])
    assert losses["loss_rpn_box_reg"] == 0 and losses["loss_objectness"] > 0
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in rpn.parameters() if p.grad is not None)


@pytest.mark.slow
def test_overfits_one_batch():
    rpn, maps = small_rpn(post_nms_top_n=(5, 5)), pyramid(images=1)
    goal = target([[3, 5, 15, 17], [20, 10, 50, 30]])
    optimizer = torch.optim.Adam(rpn.parameters(), 0.01)
    for _ in range(150):
        losses = rpn.compute_loss(rpn(maps), [goal])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    (proposals,) = rpn.eval()(maps, [(40, 56)]).proposals
    assert (box_iou(goal["boxes"], proposals).amax(dim=1) > 0.85).all()
