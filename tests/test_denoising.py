"""Denoising queries: how wrong they are, which object is whose, and who sees whom."""

import pytest
import torch
from torch.testing import assert_close

from detlearn import denoising
from detlearn.denoising import blocked_pairs, flip_labels, noisy_objects, shift_and_scale

BOXES = torch.tensor(
    [
        [[0.5, 0.5, 0.2, 0.4], [0.3, 0.7, 0.1, 0.1], [0.0, 0.0, 0.0, 0.0]],
        [[0.4, 0.2, 0.3, 0.2], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]],
    ]
)
LABELS = torch.tensor([[3, 1, 0], [2, 0, 0]])
REAL = torch.tensor([[True, True, False], [True, False, False]])


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_without_noise_the_queries_are_the_objects():
    made = noisy_objects(BOXES, LABELS, REAL, 5, num_groups=2, box_noise=0, label_noise=0)
    assert_close(made.boxes[REAL.repeat(1, 2)], BOXES.repeat(1, 2, 1)[REAL.repeat(1, 2)])
    assert made.labels.tolist() == [[3, 1, 0, 3, 1, 0], [2, 0, 0, 2, 0, 0]]
    assert made.objects.tolist() == [[0, 1, -1, 0, 1, -1], [0, -1, -1, 0, -1, -1]]
    assert made.labels.dtype == made.objects.dtype == torch.int64


def test_each_group_has_noise_of_its_own():
    made = noisy_objects(BOXES, LABELS, REAL, 5, num_groups=3)
    groups = made.boxes.view(2, 3, 3, 4)
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert (groups[:, one] != groups[:, other])[REAL].all()

    many = torch.full((1, 100), 2)
    made = noisy_objects(
        BOXES[:1, :1].expand(1, 100, 4), many, many > 0, 50, num_groups=2, label_noise=0.5
    )
    first, second = (made.labels != 2).view(2, 100)
    assert 0 < (first & second).sum() < min(first.sum(), second.sum())


def test_the_papers_numbers_are_the_defaults():
    """λ of centres and sides .4, γ .2, five groups."""
    usual = noisy_objects(BOXES, LABELS, REAL, 5)
    torch.manual_seed(0)
    wanted = noisy_objects(BOXES, LABELS, REAL, 5, num_groups=5, box_noise=0.4, label_noise=0.2)
    assert usual.boxes.equal(wanted.boxes) and usual.labels.equal(wanted.labels)


def test_noise_by_hand(monkeypatch):
    """Random numbers of 1, 0 and ¾: as far right, as far left, and half of the way to the right."""
    numbers = iter([torch.tensor([[1.0, 0.0]]), torch.tensor([[0.75, 0.0]])])
    monkeypatch.setattr(torch, "rand_like", lambda like: next(numbers))
    noisy = shift_and_scale(torch.tensor([[0.5, 0.5, 0.2, 0.4]]), 0.4)
    # Centre: 0.5 + 0.4 · 0.1 and 0.5 − 0.4 · 0.2; sides: 0.2 · 1.2 and 0.4 · 0.6.
    assert_close(noisy, torch.tensor([[0.54, 0.42, 0.24, 0.24]]))


@pytest.mark.parametrize("noise", [0.1, 0.4, 0.9])
def test_the_noise_fills_its_range_and_no_more(noise):
    box = torch.tensor([0.5, 0.4, 0.2, 0.3])
    noisy = shift_and_scale(box.expand(20_000, 4), noise)
    moved = (noisy[:, :2] - box[:2]) / box[2:]
    grown = noisy[:, 2:] / box[2:] - 1
    for share, most in ((moved, noise / 2), (grown, noise)):
        assert share.abs().max() <= most + 1e-6
        assert (share.amin(0) < -0.99 * most).all() and (share.amax(0) > 0.99 * most).all()
        # Uniform: mean 0, deviation most / √3; and each number is drawn for itself.
        assert_close(share.mean(0), torch.zeros(2), rtol=0, atol=0.02 * most)
        assert_close(share.std(0), torch.full((2,), most / 3**0.5), rtol=0.02, atol=0)
    drawn = torch.cat((moved, grown), dim=1)
    assert_close(torch.corrcoef(drawn.T), torch.eye(4), rtol=0, atol=0.03)


def test_a_noisy_centre_lies_in_the_box():
    boxes = torch.rand(5000, 4) * torch.tensor([1, 1, 0.5, 0.5]) + torch.tensor([0, 0, 0.01, 0.01])
    noisy = shift_and_scale(boxes, 0.999)
    assert ((noisy[:, :2] - boxes[:, :2]).abs() <= boxes[:, 2:] / 2 + 1e-6).all()


def test_noisy_boxes_can_be_boxes():
    """At the image's edge, as large as the image, and with next to no area."""
    corner = torch.tensor([[0.01, 0.99, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.5, 0.5, 1e-4, 1e-5]])
    noisy = shift_and_scale(corner.repeat(500, 1), 0.9)
    assert (noisy[:, :2] >= 0).all() and (noisy <= 1).all()
    assert (noisy[:, 2:] >= denoising.SMALLEST).all()


def test_labels_are_replaced_as_often_as_asked():
    labels = torch.full((50_000,), 2)
    flipped = flip_labels(labels, 4, 0.2)
    counts = flipped.bincount(minlength=4) / len(flipped)
    # A fifth is drawn anew, and a quarter of these draws gives the true class again.
    assert_close(counts, torch.tensor([0.05, 0.05, 0.85, 0.05]), rtol=0, atol=0.01)
    assert torch.equal(flip_labels(labels, 4, 0.0), labels)
    assert_close(
        flip_labels(labels, 4, 1.0).bincount() / 50_000, torch.full((4,), 0.25), rtol=0, atol=0.01
    )


def test_inputs_stay_as_they_are():
    boxes, labels, real = BOXES.clone(), LABELS.clone(), REAL.clone()
    noisy_objects(boxes, labels, real, 5)
    assert torch.equal(boxes, BOXES) and torch.equal(labels, LABELS) and torch.equal(real, REAL)


def test_no_gradient_goes_into_the_objects():
    made = noisy_objects(BOXES.clone().requires_grad_(), LABELS, REAL, 5)
    assert not made.boxes.requires_grad


def test_a_batch_without_objects():
    made = noisy_objects(
        torch.zeros(2, 0, 4), torch.zeros(2, 0).long(), torch.zeros(2, 0).bool(), 5
    )
    assert made.boxes.shape == (2, 0, 4) and made.labels.shape == (2, 0)
    assert made.objects.shape == (2, 0) and made.blocked.shape == (0, 0)


# ---- who sees whom ----


def test_the_mask_by_hand():
    """Two groups of two objects, and one query that is matched."""
    no, yes = False, True
    assert blocked_pairs(2, 2, 1).tolist() == [
        [no, no, yes, yes, no],
        [no, no, yes, yes, no],
        [yes, yes, no, no, no],
        [yes, yes, no, no, no],
        [yes, yes, yes, yes, no],
    ]


@pytest.mark.parametrize(
    ("groups", "size", "matching"), [(1, 3, 0), (3, 4, 5), (5, 1, 2), (2, 0, 3)]
)
def test_the_mask_equals_the_papers_three_cases(groups, size, matching):
    """Li et al. 2022, §4.4: written for i and j, one pair at a time."""
    total = groups * size
    wanted = torch.zeros(total + matching, total + matching, dtype=torch.bool)
    for i in range(total + matching):
        for j in range(total):  # nobody is kept from seeing a matching query
            other_group = i < total and i // size != j // size
            wanted[i, j] = i >= total or other_group
    assert torch.equal(blocked_pairs(groups, size, matching), wanted)


def test_everyone_sees_someone():
    """A row that is blocked as a whole would have a softmax of nothing."""
    assert not blocked_pairs(4, 3, 2).all(dim=1).any()


def test_the_queries_come_with_the_mask_of_their_groups():
    made = noisy_objects(BOXES, LABELS, REAL, 5, num_groups=4)
    assert torch.equal(made.blocked, blocked_pairs(4, 3))


# ---- what comes in ----


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"boxes": BOXES[0]}, r"boxes must have shape \(B, N, 4\), got \(3, 4\)"),
        ({"boxes": BOXES[..., :3]}, r"got \(2, 3, 3\)"),
        ({"labels": LABELS[:, :2]}, r"\(2, 3\), got \(2, 2\) and \(2, 3\)"),
        ({"real": REAL[:1]}, r"got \(2, 3\) and \(1, 3\)"),
        ({"num_groups": 0}, "num_groups is 0: expected at least one"),
        ({"box_noise": 1.0}, r"box_noise is 1\.0: expected a share"),
        ({"box_noise": -0.1}, r"box_noise is -0\.1"),
        ({"label_noise": 1.1}, r"label_noise is 1\.1: expected a probability"),
    ],
)
def test_refuses(change, says):
    given = {"boxes": BOXES, "labels": LABELS, "real": REAL, "num_classes": 5, **change}
    with pytest.raises(ValueError, match=says):
        noisy_objects(**given)
