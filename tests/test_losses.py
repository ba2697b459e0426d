"""Losses: hand-computed numbers, torchvision as oracle, gradients, and boxes without extent."""

import math

import pytest
import torch
import torch.nn.functional as F
import torchvision.ops as oracle
from torch.testing import assert_close

from detlearn import losses
from detlearn.losses import (
    ciou_loss,
    diou_loss,
    distribution_focal_loss,
    focal_classification_loss,
    giou_loss,
    heatmap_focal_loss,
    iou_loss,
    set_classification_loss,
    sigmoid_focal_loss,
    varifocal_loss,
)

BOX_LOSSES = (iou_loss, giou_loss, diou_loss, ciou_loss)
ORACLES = (
    (giou_loss, oracle.generalized_box_iou_loss),
    (diou_loss, oracle.distance_box_iou_loss),
    (ciou_loss, oracle.complete_box_iou_loss),
)

SQUARE = [0.0, 0, 10, 10]
LYING, STANDING, THICKER = [0.0, 0, 40, 10], [0.0, 0, 10, 40], [0.0, 0, 40, 16]


def random_boxes(count: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 60 - 30
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) ** 2 * 80 + 0.5
    return torch.cat((corner, corner + size), dim=1).to(dtype)


def values_and_gradients(function, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The result, and the gradient of a sum in which each entry has a weight of its own."""
    inputs = [t.detach().clone().requires_grad_() for t in inputs]
    result = function(*inputs)
    weights = torch.linspace(0.5, 1.5, result.numel(), dtype=result.dtype).view_as(result)
    return result.detach(), *torch.autograd.grad((result * weights).sum(), inputs)


# --- box losses by hand ----------------------------------------------------------------------


def test_shifted_squares_by_hand():
    pred, target = torch.tensor(SQUARE), torch.tensor([5.0, 5, 15, 15])
    # I = 25, U = 175, C = 225, ρ² = 50, c² = 450; squares have v = 0.
    assert_close(iou_loss(pred, target).item(), 1 - 25 / 175)
    assert_close(giou_loss(pred, target).item(), 1 - 25 / 175 + 50 / 225)
    assert_close(diou_loss(pred, target).item(), 1 - 25 / 175 + 50 / 450)
    assert_close(ciou_loss(pred, target).item(), 1 - 25 / 175 + 50 / 450)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (STANDING, 1.166235),  # IoU 1/7: a CIoU gated by IoU > 0.5 would give 0.998
        (THICKER, 0.379994),  # IoU 5/8; DIoU's loss is 0.379849
    ],
)
def test_ciou_of_elongated_boxes_by_hand(target, expected):
    loss = ciou_loss(torch.tensor(LYING), torch.tensor(target))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_eps_reaches_every_term():
    square = torch.tensor(SQUARE)
    assert_close(iou_loss(square, square, eps=100.0).item(), 0.5)  # 1 − 100 / (100 + 100)
    apart = torch.tensor([20.0, 0, 30, 10])  # I = 0, U = 200, C = 300, ρ² = 400, c² = 1000
    assert_close(giou_loss(square, apart, eps=100.0).item(), 1 + 100 / 400)
    for loss in (diou_loss, ciou_loss):
        assert_close(loss(square, apart, eps=100.0).item(), 1 + 400 / 1100)


# --- box losses against torchvision ----------------------------------------------------------

AWKWARD = torch.tensor(
    [
        [LYING, STANDING],
        [LYING, THICKER],
        [LYING, [10.0, 2, 20, 8]],  # nested
        [LYING, [100.0, 100, 130, 160]],  # far apart in both directions
        [[-30.0, -20, -5, -10], [-28.0, -25, -4, -12]],  # negative
        [[1e5, 1e5, 3e5, 2e5], [1.5e5, 1e5, 3e5, 4e5]],  # huge
        [[0.2, 0.1, 0.21, 0.2], [0.2, 0.11, 0.22, 0.19]],  # as fractions of the image
        [SQUARE, SQUARE],  # identical
        [[0.0, 0, 0.01, 300], [0.0, 0, 0.02, 250]],  # very elongated
    ],
    dtype=torch.float64,
)


@pytest.mark.parametrize(("ours", "theirs"), ORACLES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_values_and_gradients_equal_torchvision(ours, theirs, dtype, reduction):
    random = (random_boxes(200, seed=1, dtype=dtype), random_boxes(200, seed=2, dtype=dtype))
    for pred, target in (random, AWKWARD.to(dtype).unbind(1)):
        mine = values_and_gradients(lambda p, t: ours(p, t, reduction), pred, target)
        oracles = values_and_gradients(lambda p, t: theirs(p, t, reduction), pred, target)
        for a, b in zip(mine, oracles, strict=True):
            assert_close(a, b, rtol=1e-5, atol=1e-5 * max(1, b.abs().max().item()))


@pytest.mark.parametrize("loss", BOX_LOSSES)
@pytest.mark.parametrize("shape", [(4,), (1, 4), (6, 4), (2, 3, 4)])
def test_shapes(loss, shape):
    count = math.prod(shape) // 4
    pred, target = random_boxes(count, 3), random_boxes(count, 4)
    flat = loss(pred, target)
    assert flat.shape == (count,)
    shaped = loss(pred.view(shape), target.view(shape))
    assert shaped.shape == shape[:-1]
    assert torch.equal(shaped.flatten(), flat)


@pytest.mark.parametrize("loss", BOX_LOSSES)
def test_no_boxes_have_zero_loss_that_carries_a_gradient(loss):
    pred = torch.zeros(0, 4, requires_grad=True)
    assert loss(pred, torch.zeros(0, 4)).shape == (0,)
    for reduction in ("mean", "sum"):
        total = loss(pred, torch.zeros(0, 4), reduction)
        total.backward()
        assert total.item() == 0
        assert pred.grad.shape == (0, 4)


# --- gradients -------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [iou_loss, giou_loss, diou_loss])
def test_gradients_numerically(loss):
    pred = random_boxes(12, 5, torch.float64).requires_grad_()
    target = random_boxes(12, 6, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(loss, (pred, target))


def test_ciou_treats_alpha_as_a_constant():
    """Against the formula with α frozen at its value; with α alive the gradient differs visibly."""

    def written_out(pred: torch.Tensor, target: torch.Tensor, frozen: bool) -> torch.Tensor:
        def angle(box: torch.Tensor) -> torch.Tensor:
            return torch.atan((box[2] - box[0]) / (box[3] - box[1]))

        v = 4 / math.pi**2 * (angle(target) - angle(pred)) ** 2
        alpha = v / (iou_loss(pred, target) + v)
        return diou_loss(pred, target) + (alpha.detach() if frozen else alpha) * v

    pred, target = torch.tensor(LYING).double(), torch.tensor(THICKER).double()
    _, mine, _ = values_and_gradients(ciou_loss, pred, target)
    _, frozen, _ = values_and_gradients(lambda p, t: written_out(p, t, True), pred, target)
    _, alive, _ = values_and_gradients(lambda p, t: written_out(p, t, False), pred, target)
    assert_close(mine, frozen, rtol=1e-5, atol=1e-9)
    assert (mine - alive).abs().max() > 1e-5


@pytest.mark.parametrize("loss", BOX_LOSSES[1:])
def test_boxes_apart_are_pulled_together(loss):
    pred = torch.tensor([SQUARE], requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(pred, torch.tensor([[30.0, 0, 40, 10]]), "sum"), pred)
    assert gradient[0, 2] < 0  # descent moves the right edge to the right


DEGENERATE = torch.tensor(
    [
        [5.0, 5, 5, 5],  # a point
        [0, 0, 0, 0],  # the point at the origin
        [0, 5, 10, 5],  # no height: torchvision's CIoU loss is NaN against another of no height
        [5, 0, 5, 10],  # no width
        [10, 10, 4, 2],  # both corners swapped
        [0, 8, 10, 3],  # upside down
        SQUARE,
    ]
)


@pytest.mark.parametrize("loss", BOX_LOSSES)
@pytest.mark.parametrize("eps", [1e-7, 0.0])
def test_degenerate_boxes_have_finite_values_and_gradients(loss, eps):
    count = len(DEGENERATE)
    pred = DEGENERATE.repeat_interleave(count, dim=0)  # each with each
    target = DEGENERATE.repeat(count, 1)
    for result in values_and_gradients(lambda p, t: loss(p, t, eps=eps), pred, target):
        assert result.isfinite().all()


@pytest.mark.parametrize("eps", [1e-7, 0.0])
def test_atan2_is_never_asked_for_the_angle_of_a_point(monkeypatch, eps):
    """Its gradient there is 0/0, for which torch 2.6 returns NaN."""
    asked = []
    monkeypatch.setattr(torch, "atan2", lambda w, h: asked.append((w, h)) or torch.arctan2(w, h))
    ciou_loss(DEGENERATE, DEGENERATE.flip(0), eps=eps)
    assert len(asked) == 2
    assert all((w**2 + h**2 > 0).all() for w, h in asked)


def test_torchvision_fails_where_we_do_not():
    point, square = torch.tensor([[5.0, 5, 5, 5]]), torch.tensor([SQUARE])
    assert oracle.complete_box_iou_loss(point, square).isnan().all()
    # IoU 0, ρ = 0; a point has no aspect ratio, its angle counts as 0: v = 4/π² (π/4)² = 1/4
    assert_close(ciou_loss(point, square).item(), 1 + 1 / 20)


# --- precision -------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", BOX_LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32])
def test_small_dtypes_are_computed_in_float32(loss, dtype):
    pred, target = (random_boxes(50, seed) * 10 for seed in (7, 8))  # areas beyond float16's range
    pred, target = pred.to(dtype), target.to(dtype)
    mine = loss(pred, target)
    assert mine.dtype == torch.float32
    assert_close(mine, loss(pred.float(), target.float()), rtol=0, atol=0)


def test_losses_under_autocast():
    pred, target = random_boxes(20, 9), random_boxes(20, 10)
    logits, classes = torch.randn(20, generator=torch.Generator().manual_seed(0)), torch.ones(20)
    expected = [loss(pred.bfloat16(), target) for loss in BOX_LOSSES]
    expected += [f(logits.bfloat16(), classes) for f in (sigmoid_focal_loss, heatmap_focal_loss)]
    with torch.autocast("cpu", torch.bfloat16):
        mine = [loss(pred.bfloat16(), target) for loss in BOX_LOSSES]
        mine += [f(logits.bfloat16(), classes) for f in (sigmoid_focal_loss, heatmap_focal_loss)]
    for a, b in zip(mine, expected, strict=True):
        assert a.dtype == torch.float32
        assert_close(a, b, rtol=0, atol=0)


# --- focal loss ------------------------------------------------------------------------------


def test_focal_loss_by_hand():
    # p = 1/2 and 3/4; −log(1/2) = 0.693147, −log(3/4) = 0.287682, −log(1/4) = 1.386294
    logits = torch.tensor([0.0, 0.0, math.log(3), math.log(3)])
    targets = torch.tensor([1.0, 0, 1, 0])
    expected = torch.tensor(
        [0.25 / 4 * 0.693147, 0.75 / 4 * 0.693147, 0.25 / 16 * 0.287682, 0.75 * 9 / 16 * 1.386294]
    )
    assert_close(sigmoid_focal_loss(logits, targets), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.25, 0.0, 1.0, -1])
@pytest.mark.parametrize("gamma", [2.0, 0, 1, 3.5])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_focal_loss_equals_torchvision(alpha, gamma, reduction):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 50, generator=generator) * 4
    hard = (torch.rand(3, 50, generator=generator) < 0.2).float()
    soft = torch.rand(3, 50, generator=generator)
    for targets in (hard, soft):
        options = (targets, alpha, gamma, reduction)
        mine = values_and_gradients(lambda x, o=options: sigmoid_focal_loss(x, *o), logits)
        theirs = values_and_gradients(lambda x, o=options: oracle.sigmoid_focal_loss(x, *o), logits)
        assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_focal_loss_takes_whole_number_targets():
    logits, targets = torch.tensor([0.3, -2.0, 5.0]), torch.tensor([1, 0, 1])
    expected = oracle.sigmoid_focal_loss(logits, targets.float())
    assert_close(sigmoid_focal_loss(logits, targets), expected)
    assert_close(sigmoid_focal_loss(logits, targets.bool()), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_of_extreme_logits(gamma):
    logits = torch.tensor([-1e4, -200.0, 200.0, 1e4]).repeat(2)
    targets = torch.tensor([0.0, 1.0]).repeat_interleave(4)
    value, gradient = values_and_gradients(
        lambda x: sigmoid_focal_loss(x, targets, alpha=-1, gamma=gamma), logits
    )
    assert value.tolist() == [0, 0, 200, 1e4, 1e4, 200, 0, 0]
    assert gradient.isfinite().all()


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_focal_loss_of_nothing(reduction):
    empty = torch.zeros(0, 3)
    mine = sigmoid_focal_loss(empty, empty, reduction=reduction)
    assert_close(mine, oracle.sigmoid_focal_loss(empty, empty, reduction=reduction), equal_nan=True)


# --- focal loss of a batch's places -----------------------------------------------------------


def test_classification_loss_by_hand():
    # Scores of 0.9, 0.1 for class 0; 0.5, 0.2 for background; the third place is in no loss.
    logits = torch.tensor([[0.9, 0.1], [0.5, 0.2], [0.7, 0.7]]).logit()
    labels = torch.tensor([0, -1, -2])
    yes = 0.25 * 0.1**2 * -math.log(0.9)
    no = 0.75 * (0.1**2 * -math.log(0.9) + 0.5**2 * -math.log(0.5) + 0.2**2 * -math.log(0.8))
    assert_close(focal_classification_loss(logits, labels), torch.tensor(yes + no))

    # Three positives divide the sum by three; α = None and γ = 0 make it plain cross-entropy.
    loss = focal_classification_loss(logits, torch.tensor([0, 1, 1]), alpha=None, gamma=0)
    right = (0.9 * 0.9) * (0.5 * 0.2) * (0.3 * 0.7)
    assert_close(loss, torch.tensor(-math.log(right) / 3))


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (None, 0.0), (0.6, 0.5), (None, 3.0)])
@pytest.mark.parametrize("shape", [(), (7,), (3, 40), (2, 3, 5)])
def test_classification_loss_equals_the_loop(shape, alpha, gamma):
    generator = torch.Generator().manual_seed(len(shape))
    for classes in (1, 4):
        logits = torch.randn(*shape, classes, generator=generator, dtype=torch.float64) * 4
        logits.requires_grad_()
        labels = torch.randint(-2, classes, shape, generator=generator)

        total = logits.sum() * 0
        for place, label in zip(logits.reshape(-1, classes), labels.flatten().tolist()):
            for k in range(classes if label != -2 else 0):
                p = place[k].sigmoid() if k == label else 1 - place[k].sigmoid()
                weight = 1 if alpha is None else alpha if k == label else 1 - alpha
                total = total - weight * (1 - p) ** gamma * p.log()
        expected = total / max(sum(label >= 0 for label in labels.flatten().tolist()), 1)

        loss = focal_classification_loss(logits, labels, alpha=alpha, gamma=gamma)
        assert_close(loss, expected)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert_close(gradient, torch.autograd.grad(expected, logits)[0])


def test_classification_loss_without_positives_or_places():
    logits = torch.zeros(5, 3, requires_grad=True)
    loss = focal_classification_loss(logits, torch.full((5,), -1))
    assert_close(loss, torch.tensor(15 * 0.75 * 0.25 * math.log(2)))  # divided by 1

    for labels in (torch.full((5,), -2), torch.zeros(0, dtype=torch.int64)):
        logits = torch.zeros(len(labels), 3, requires_grad=True)
        loss = focal_classification_loss(logits, labels)
        loss.backward()
        assert loss.item() == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_classification_loss_of_extreme_logits():
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0], [200.0, 200.0]], requires_grad=True)
    loss = focal_classification_loss(logits, torch.tensor([0, 0, -1]))
    loss.backward()
    assert_close(loss, torch.tensor((0.25 * 200 + 0.75 * 200 * 3) / 2))
    assert logits.grad.isfinite().all()

    # What is in no loss stays out, even where the network went astray.
    lost = torch.tensor([[0.0], [math.inf]])
    assert focal_classification_loss(lost, torch.tensor([0, -2])).isfinite()


def test_classification_loss_widens_half_precision():
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.tensor([0, 1, 2, -1, -1, -2])
    loss = focal_classification_loss(logits, labels)
    assert loss.dtype == torch.float32
    assert_close(loss, focal_classification_loss(logits.float(), labels))


def test_classification_loss_leaves_its_input_alone():
    labels = torch.tensor([-1, 1, -2])
    logits = torch.ones(3, 2)
    focal_classification_loss(logits, labels)
    assert labels.tolist() == [-1, 1, -2]
    assert torch.equal(logits, torch.ones(3, 2))


PLACES = (torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize(
    ("logits", "labels", "error", "says"),
    [
        (PLACES[0].tolist(), PLACES[1], TypeError, "logits must be a torch.Tensor, got list"),
        (PLACES[0], [0, 0, 0, 0], TypeError, "labels must be a torch.Tensor, got list"),
        (PLACES[0], PLACES[1].float(), TypeError, "int64, got torch.float32"),
        (PLACES[0], PLACES[1].int(), TypeError, "int64, got torch.int32"),
        (PLACES[0], PLACES[1][:3], ValueError, r"labels \(3,\) and logits \(4, 3\)"),
        (torch.tensor(0.0), PLACES[1], ValueError, r"labels \(4,\) and logits \(\)"),
        (PLACES[0], PLACES[1] + 3, ValueError, "labels hold 3: expected a class, 0 … 2"),
        (PLACES[0], PLACES[1] - 3, ValueError, "labels hold -3"),
    ],
)
def test_classification_loss_refuses(logits, labels, error, says):
    with pytest.raises(error, match=says):
        focal_classification_loss(logits, labels)


def test_classification_loss_refuses_bad_numbers():
    with pytest.raises(ValueError, match=r"alpha 1\.5"):
        focal_classification_loss(*PLACES, alpha=1.5)
    with pytest.raises(ValueError, match="gamma -1"):
        focal_classification_loss(*PLACES, gamma=-1)


# --- scores that say how well a box fits --------------------------------------------------------


def test_varifocal_loss_by_hand():
    # p = 1/2 everywhere: log p = log (1 − p) = −0.693147
    targets = torch.tensor([1.0, 0.5, 0.2, 0.0])
    loss = varifocal_loss(torch.zeros(4), targets)
    log2 = 0.693147
    assert_close(
        loss, torch.tensor([log2, 0.5 * log2, 0.2 * log2, 0.75 * 0.25 * log2]), rtol=1e-5, atol=1e-6
    )

    # p = 3/4: −log p = 0.287682, −log (1 − p) = 1.386294
    loss = varifocal_loss(torch.full((2,), math.log(3)), torch.tensor([0.6, 0.0]))
    wanted = [0.6 * (0.6 * 0.287682 + 0.4 * 1.386294), 0.75 * 0.5625 * 1.386294]
    assert_close(loss, torch.tensor(wanted), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.75, 2.0), (1.0, 0.0), (0.3, 1.5)])
def test_varifocal_loss_equals_the_loop(alpha, gamma):
    """Score by score, as the paper writes it; and the gradient goes through p^γ as well."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, generator=generator, dtype=torch.float64) * 3
    targets = torch.rand(40, generator=generator, dtype=torch.float64)
    targets[::2] = 0

    def by_score(x):
        losses = []
        for one, q in zip(x.sigmoid(), targets.tolist()):
            if q > 0:
                losses.append(-q * (q * one.log() + (1 - q) * (1 - one).log()))
            else:
                losses.append(-alpha * one**gamma * (1 - one).log())
        return torch.stack(losses)

    mine = values_and_gradients(lambda x: varifocal_loss(x, targets, alpha, gamma), logits)
    for ours, wanted in zip(mine, values_and_gradients(by_score, logits)):
        assert_close(ours, wanted)
    assert torch.autograd.gradcheck(
        lambda x: varifocal_loss(x, targets, alpha, gamma), (logits.requires_grad_(),)
    )


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9, 1.0])
def test_varifocal_loss_is_least_where_the_score_is_the_iou(q):
    scores = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    loss = varifocal_loss(scores.logit(), torch.full_like(scores, q))
    assert scores[loss.argmin()].item() == pytest.approx(min(q, 0.99))


def test_varifocal_loss_puts_no_gradient_into_the_iou():
    iou = torch.tensor([0.5, 0.8], requires_grad=True)
    logits = torch.zeros(2, requires_grad=True)
    varifocal_loss(logits, iou, reduction="sum").backward()
    assert iou.grad is None and logits.grad is not None


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_varifocal_loss_of_extreme_logits(gamma):
    logits = torch.tensor([-200.0, 200.0, -200.0, 200.0], requires_grad=True)
    targets = torch.tensor([0.0, 0.0, 1.0, 1.0])
    loss = varifocal_loss(logits, targets, gamma=gamma)
    assert_close(loss.detach(), torch.tensor([0.0, 150.0, 200.0, 0.0]))
    loss.sum().backward()
    assert logits.grad.isfinite().all()


def test_varifocal_loss_widens_half_precision():
    logits = torch.linspace(-2, 2, 5).bfloat16()
    targets = torch.tensor([0, 0.5, 0, 1, 0])
    loss = varifocal_loss(logits, targets.bfloat16())
    assert loss.dtype == torch.float32
    assert_close(loss, varifocal_loss(logits.float(), targets))


def test_varifocal_loss_reductions():
    logits, targets = torch.linspace(-2, 2, 6).view(2, 3), torch.linspace(0, 1, 6).view(2, 3)
    each = varifocal_loss(logits, targets)
    assert each.shape == (2, 3)
    assert_close(varifocal_loss(logits, targets, reduction="sum"), each.sum())
    assert_close(varifocal_loss(logits, targets, reduction="mean"), each.mean())


@pytest.mark.parametrize(
    ("targets", "options", "error", "says"),
    [
        ([0.0] * 4, {}, TypeError, "targets must be a torch.Tensor, got list"),
        (torch.zeros(3), {}, ValueError, r"same shape, got \(4,\) and \(3,\)"),
        (torch.full((4,), 1.5), {}, ValueError, r"targets hold 1\.5: expected an IoU in \[0, 1\]"),
        (torch.full((4,), -0.25), {}, ValueError, r"targets hold -0\.25"),
        (torch.full((4,), math.nan), {}, ValueError, "targets hold nan"),
        (torch.zeros(4), {"alpha": -1}, ValueError, "alpha is -1"),
        (torch.zeros(4), {"gamma": -2}, ValueError, "gamma -2: expected numbers of at least 0"),
        (torch.zeros(4), {"reduction": "all"}, ValueError, "Invalid reduction 'all'"),
    ],
)
def test_varifocal_loss_refuses(targets, options, error, says):
    with pytest.raises(error, match=says):
        varifocal_loss(torch.zeros(4), targets, **options)


# --- heat maps -------------------------------------------------------------------------------


def test_heatmap_loss_by_hand():
    # p = 1/2 everywhere: (1/2)² log 2 = 0.173287, times (1 − target)⁴ away from the centres
    loss = heatmap_focal_loss(torch.zeros(4), torch.tensor([1.0, 0.0, 0.5, 0.9]), reduction="none")
    expected = torch.tensor([0.173287, 0.173287, 0.173287 / 16, 0.173287e-4])
    assert_close(loss, expected, rtol=1e-5, atol=1e-8)
    # A confident hit is cheap, a confident miss is dear: p = 3/4.
    sure = torch.full((2,), math.log(3))
    loss = heatmap_focal_loss(sure, torch.tensor([1.0, 0.0]), reduction="none")
    assert_close(loss, torch.tensor([0.287682 / 16, 9 / 16 * 1.386294]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 4.0), (1.0, 3.0)])
def test_heatmap_loss_equals_the_formula_with_clamped_scores(alpha, beta):
    generator = torch.Generator().manual_seed(0)
    logits = torch.rand(2, 3, 8, 8, generator=generator, dtype=torch.float64) * 18 - 9
    targets = torch.rand(2, 3, 8, 8, generator=generator, dtype=torch.float64)
    targets[torch.rand(2, 3, 8, 8, generator=generator) < 0.1] = 1

    def with_clamp(x: torch.Tensor) -> torch.Tensor:
        p = x.sigmoid().clamp(1e-4, 1 - 1e-4)
        positive = targets.eq(1).double()
        at_centre = (1 - p) ** alpha * p.log() * positive
        elsewhere = (1 - targets) ** beta * p**alpha * (1 - p).log() * (1 - positive)
        return -(at_centre + elsewhere).sum()

    mine = values_and_gradients(lambda x: heatmap_focal_loss(x, targets, alpha, beta), logits)
    assert_close(mine, values_and_gradients(with_clamp, logits))
    x = logits[:1, :1].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: heatmap_focal_loss(x, targets[:1, :1], alpha, beta), (x,)
    )


def test_heatmap_loss_keeps_its_gradient_beyond_the_clamp():
    logits = torch.tensor([-20.0, 20.0])  # a centre taken for background, and the reverse
    targets = torch.tensor([1.0, 0.0])
    value, gradient = values_and_gradients(
        lambda x: heatmap_focal_loss(x, targets, reduction="none"), logits
    )
    assert_close(value, torch.tensor([20.0, 20.0]))
    assert_close(gradient, torch.tensor([-0.5, 1.5]))  # weights 0.5 and 1.5 times slope 1


def test_heatmap_loss_of_extreme_logits_is_finite():
    logits = torch.tensor([-1e4, 1e4, -1e4, 1e4, -1e4, 1e4])
    targets = torch.tensor([1.0, 1, 0, 0, 0.3, 0.3])
    value, gradient = values_and_gradients(
        lambda x: heatmap_focal_loss(x, targets, reduction="none"), logits
    )
    assert_close(value, torch.tensor([1e4, 0, 0, 1e4, 0, 0.7**4 * 1e4]))
    assert gradient.isfinite().all()


def test_heatmap_loss_reductions():
    logits, targets = torch.randn(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    each = heatmap_focal_loss(logits, targets, reduction="none")
    assert each.shape == logits.shape
    assert_close(heatmap_focal_loss(logits, targets), each.sum())
    assert_close(heatmap_focal_loss(logits, targets, reduction="mean"), each.mean())


# --- errors at the door ----------------------------------------------------------------------


@pytest.mark.parametrize("loss", BOX_LOSSES)
def test_box_losses_refuse_bad_input(loss):
    boxes = random_boxes(3, 0)
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 4\)"):
        loss(boxes, boxes[:2])
    with pytest.raises(ValueError, match="same shape"):  # would silently become (3, 3)
        loss(boxes[:, None], boxes[None])
    with pytest.raises(ValueError, match=r"pred_boxes.*\(3, 3\)"):
        loss(boxes[:, :3], boxes[:, :3])
    with pytest.raises(TypeError, match=r"target_boxes.*list"):
        loss(boxes, boxes.tolist())
    with pytest.raises(ValueError, match=r"Invalid reduction 'average'.*none, mean, sum"):
        loss(boxes, boxes, reduction="average")


def test_focal_losses_refuse_bad_input():
    x = torch.zeros(3)
    for loss in (sigmoid_focal_loss, heatmap_focal_loss):
        with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
            loss(x, x[:2])
        with pytest.raises(TypeError, match=r"targets.*list"):
            loss(x, x.tolist())
        with pytest.raises(ValueError, match=r"Invalid reduction 'total'"):
            loss(x, x, reduction="total")
    for alpha in (-0.5, 1.5, math.nan):
        with pytest.raises(ValueError, match=rf"Invalid alpha {alpha}"):
            sigmoid_focal_loss(x, x, alpha=alpha)
    for gamma in (-1.0, math.nan):
        with pytest.raises(ValueError, match=rf"Invalid gamma {gamma}"):
            sigmoid_focal_loss(x, x, gamma=gamma)


# --- distribution focal loss -----------------------------------------------------------------


def naive_distribution_focal_loss(logits, target):
    """One distribution, in double precision, from the formula."""
    weights = [math.exp(value - max(logits)) for value in logits]
    p = [weight / sum(weights) for weight in weights]
    y = min(max(target, 0.0), len(logits) - 1.01)
    j = math.floor(y)
    return -(j + 1 - y) * math.log(p[j]) - (y - j) * math.log(p[j + 1])


def test_distribution_focal_loss_by_hand():
    logits = torch.tensor([0.1, 0.6, 0.3]).log()
    cases = [(0.0, [1, 0, 0]), (0.25, [0.75, 0.25, 0]), (1.0, [0, 1, 0]), (1.5, [0, 0.5, 0.5])]
    for target, shares in cases:
        expected = -sum(s * math.log(p) for s, p in zip(shares, (0.1, 0.6, 0.3)))
        loss = distribution_focal_loss(logits, torch.tensor(target))
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_distribution_focal_loss_clamps_distances_into_the_bins():
    logits = torch.tensor([0.1, 0.6, 0.3]).log()
    last = -0.01 * math.log(0.6) - 0.99 * math.log(0.3)
    for target in (1.99, 2.0, 2.5, 1e9, math.inf):
        loss = distribution_focal_loss(logits, torch.tensor(target))
        assert loss.item() == pytest.approx(last, rel=1e-4)
    first = distribution_focal_loss(logits, torch.tensor(-3.0))
    assert first.item() == pytest.approx(-math.log(0.1), rel=1e-5)


@pytest.mark.parametrize("bins", [2, 3, 16])
def test_distribution_focal_loss_equals_the_loop(bins):
    generator = torch.Generator().manual_seed(bins)
    logits = 4 * torch.randn(40, 4, bins, generator=generator, dtype=torch.float64)
    targets = (bins + 1) * torch.rand(40, 4, generator=generator, dtype=torch.float64) - 1
    targets[:5] = targets[:5].round()  # exactly on a bin
    loss = distribution_focal_loss(logits, targets)
    expected = [
        [naive_distribution_focal_loss(row.tolist(), y.item()) for row, y in zip(rows, ys)]
        for rows, ys in zip(logits, targets)
    ]
    assert_close(loss, torch.tensor(expected, dtype=torch.float64))
    assert_close(distribution_focal_loss(logits, targets, "sum"), loss.sum())
    assert_close(distribution_focal_loss(logits, targets, "mean"), loss.mean())


def test_distribution_focal_loss_is_least_for_a_distribution_with_the_right_mean():
    target = torch.tensor(2.3, dtype=torch.float64)
    logits = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    for _ in range(4000):
        (gradient,) = torch.autograd.grad(distribution_focal_loss(logits, target), logits)
        logits = (logits - 2 * gradient).detach().requires_grad_()
    p = logits.softmax(dim=-1)
    assert_close(p[2:4].tolist(), [0.7, 0.3], rtol=0, atol=2e-3)
    assert (p @ torch.arange(5, dtype=torch.float64)).item() == pytest.approx(2.3, abs=5e-3)


def test_distribution_focal_loss_gradients():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = 4 * torch.rand(6, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: distribution_focal_loss(x, targets), (logits,))

    none = torch.zeros(0, 4, 16, requires_grad=True)
    total = distribution_focal_loss(none, torch.zeros(0, 4), "mean")
    total.backward()
    assert total.item() == 0 and none.grad.shape == (0, 4, 16)


def test_distribution_focal_loss_widens_half_precision():
    logits = torch.randn(8, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    targets = torch.linspace(0, 14.9, 8)
    loss = distribution_focal_loss(logits, targets)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, distribution_focal_loss(logits.float(), targets))
    whole = distribution_focal_loss(logits, torch.arange(8))
    assert torch.equal(whole, distribution_focal_loss(logits, torch.arange(8.0)))


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((torch.zeros(3, 1), torch.zeros(3)), ValueError, r"at least two bins, got \(3, 1\)"),
        ((torch.tensor(1.0), torch.tensor(1.0)), ValueError, r"at least two bins, got \(\)"),
        ((torch.zeros(3, 4, 16), torch.zeros(3)), ValueError, r"\(3, 4\), got \(3,\)"),
        (([0.0, 1.0], torch.tensor(1.0)), TypeError, "logits must be a torch.Tensor, got list"),
        ((torch.zeros(16), 3.0), TypeError, "targets must be a torch.Tensor, got float"),
        ((torch.zeros(16), torch.tensor(3.0), "avg"), ValueError, "Invalid reduction 'avg'"),
    ],
)
def test_distribution_focal_loss_refuses(arguments, error, says):
    with pytest.raises(error, match=says):
        distribution_focal_loss(*arguments)


# --- set classification loss -----------------------------------------------------------------


def set_logits(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, generator=generator)


def test_set_loss_by_hand():
    """Two queries, each ½ sure: one has an object, the other, of weight 0.1, has none."""
    logits = torch.zeros(2, 2)
    loss = set_classification_loss(logits, torch.tensor([0, 1]))
    assert_close(loss.item(), math.log(2))

    # ln 4 and ln 2: (1 · 1.3863 + 0.1 · 0.6931) / 1.1
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
    loss = set_classification_loss(logits, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(1.455609 / 1.1, abs=1e-5)


@pytest.mark.parametrize("shape", [(20,), (2, 20), (3, 2, 20)])
@pytest.mark.parametrize("weight", [0.1, 1.0, 0.4])
def test_set_loss_weighs_as_cross_entropy_does(shape, weight):
    logits = set_logits(0, *shape, 5)
    labels = torch.randint(5, shape, generator=torch.Generator().manual_seed(1))
    weights = torch.tensor([1.0, 1, 1, 1, weight])

    def expected(logits):
        return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), weights)

    def found(logits):
        return set_classification_loss(logits, labels, weight)

    for ours, theirs in zip(
        values_and_gradients(found, logits), values_and_gradients(expected, logits)
    ):
        assert_close(ours, theirs)


def test_set_loss_of_the_paper_is_the_default():
    logits, labels = set_logits(2, 30, 4), torch.tensor([0, 1, 2] + [3] * 27)
    weights = torch.tensor([1.0, 1, 1, 0.1])
    expected = F.cross_entropy(logits, labels, weights)
    assert_close(set_classification_loss(logits, labels), expected)
    # And not the mean over the queries.
    assert abs(F.cross_entropy(logits, labels, weights, reduction="sum") / 30 - expected) > 0.1


def test_set_loss_without_objects_counts_as_if_there_were_some():
    """All weights are 0.1, by whose sum the loss is divided: few queries lose nothing."""
    logits, labels = set_logits(3, 4, 3), torch.full((4,), 2)
    assert_close(set_classification_loss(logits, labels), F.cross_entropy(logits, labels))


def test_set_loss_of_nothing_is_zero_and_has_a_gradient():
    logits = set_logits(4, 4, 3).requires_grad_()
    for chosen, labels, weight in ((logits[:0], [], 0.1), (logits, [2] * 4, 0.0)):
        loss = set_classification_loss(chosen, torch.tensor(labels).long(), weight)
        assert loss.item() == 0
        (gradient,) = torch.autograd.grad(loss, logits)
        assert (gradient == 0).all()


def test_set_loss_of_two_processes_has_the_mean_of_one(monkeypatch):
    """The first has two objects, the second none; their gradients are averaged."""
    logits, labels = set_logits(6, 8, 3), torch.tensor([0, 2, 1, 2, 2, 2, 2, 2])
    whole = set_classification_loss(logits, labels)
    mean_weight = (2 * 1 + 6 * 0.1) / 2
    monkeypatch.setattr(losses, "mean_over_processes", lambda count, device: mean_weight)
    halves = [set_classification_loss(logits[i::2], labels[i::2]) for i in range(2)]
    assert_close(sum(halves) / 2, whole)


def test_set_loss_of_extreme_logits():
    logits = torch.tensor([[300.0, -300], [-300.0, 300]]).requires_grad_()
    assert set_classification_loss(logits, torch.tensor([0, 1])).item() == 0
    loss = set_classification_loss(logits, torch.tensor([1, 0]))
    assert loss.item() == pytest.approx(600)
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()


def test_set_loss_widens_half_precision():
    logits, labels = set_logits(5, 6, 3), torch.tensor([0, 1, 2, 2, 2, 2])
    loss = set_classification_loss(logits.bfloat16(), labels)
    assert loss.dtype == torch.float32
    assert_close(loss, set_classification_loss(logits.bfloat16().float(), labels))
    assert set_classification_loss(logits.double(), labels).dtype == torch.float64


@pytest.mark.parametrize(
    ("labels", "weight", "error", "says"),
    [
        ([0, 3], 0.1, ValueError, r"labels hold 3: expected a class, 0 … 2, the last .* no object"),
        ([0, -1], 0.1, ValueError, "labels hold -1: expected a class, 0 … 2, the last"),
        ([0, 1, 2], 0.1, ValueError, "one class for each place"),
        ([0.0, 1.0], 0.1, TypeError, "labels must be int64"),
        ([0, 1], -0.1, ValueError, "no_object_weight is -0.1"),
        ([0, 1], math.nan, ValueError, "no_object_weight is nan"),
    ],
)
def test_set_loss_refuses(labels, weight, error, says):
    with pytest.raises(error, match=says):
        set_classification_loss(torch.zeros(2, 3), torch.tensor(labels), weight)
