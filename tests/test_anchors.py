"""Anchors: by hand, against torchvision's generator and loops, and what they promise."""

import pytest
import torch
from torch.testing import assert_close
from torchvision.models.detection.anchor_utils import AnchorGenerator as Oracle
from torchvision.models.detection.image_list import ImageList

from detlearn.anchors import AnchorGenerator, fill_empty_groups, kmeans_anchors, shape_iou
from detlearn.boxes import box_iou


def test_one_anchor_by_hand():
    (anchors,) = AnchorGenerator([[32]], [[1.0]]).cell_anchors
    assert anchors.tolist() == [[-16, -16, 16, 16]]


def test_aspect_ratio_is_height_over_width_and_keeps_the_area():
    (anchors,) = AnchorGenerator([[32, 64]], [[0.5, 1.0, 2.0]]).cell_anchors
    width, height = (anchors[:, 2:] - anchors[:, :2]).unbind(1)
    assert_close(height / width, torch.tensor([0.5, 0.5, 1.0, 1.0, 2.0, 2.0]))
    assert_close(height * width, torch.tensor([32.0, 64] * 3) ** 2)
    assert height[0] < width[0], "a ratio of 0.5 is a wide box"
    assert_close(anchors[0], torch.tensor([-22.6274, -11.3137, 22.6274, 11.3137]))


def test_rounding_is_torchvisions():
    (anchors,) = AnchorGenerator([[32]], [[0.5]], round_anchors=True).cell_anchors
    assert anchors.tolist() == [[-23, -11, 23, 11]]


def test_grid_by_hand():
    generator = AnchorGenerator([[10]], [[1.0]], centre_offset=0.5)
    (anchors,) = generator.grid_anchors([(2, 3)], [(4, 8)])
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres.tolist() == [[4, 2], [12, 2], [20, 2], [4, 6], [12, 6], [20, 6]]
    corner = AnchorGenerator([[10]], [[1.0]]).grid_anchors([(2, 3)], [(4, 8)])[0]
    assert_close(anchors - corner, torch.tensor([4.0, 2, 4, 2]).expand(6, 4))


@pytest.mark.parametrize(
    ("sizes", "ratios"),
    [
        (((128, 256, 512),), ((0.5, 1.0, 2.0),)),
        (((32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 3),
        (((32, 40, 50), (64, 80, 101)), ((0.3, 1.0), (3.0, 7.0))),
        ((32, 64), (0.5, 1.0, 2.0)),  # torchvision's short form: one size per level
    ],
)
def test_equals_torchvision(sizes, ratios):
    ours, theirs = AnchorGenerator(sizes, ratios, round_anchors=True), Oracle(sizes, ratios)
    assert ours.num_anchors_per_location() == theirs.num_anchors_per_location()
    images = torch.zeros(2, 3, 96, 160)
    maps = [torch.zeros(2, 8, 96 // s, 160 // s) for s in (4, 8, 16)[: len(sizes)]]
    batch = ImageList(images, [(96, 160), (90, 100)])
    expected = theirs(batch, maps)
    for found in (ours(images, maps), ours(batch, maps)):
        assert len(found) == 2
        assert all(torch.equal(a, b) for a, b in zip(found, expected))


def test_anchors_are_no_weights_and_lie_where_the_maps_do():
    generator = AnchorGenerator([[10]], [[1.0]])
    assert not generator.state_dict()
    maps = [torch.zeros(1, 8, 4, 4, device="meta")]
    (anchors,) = generator(torch.zeros(1, 3, 16, 16), maps)
    assert anchors.device.type == "meta"


@pytest.mark.parametrize(
    ("sizes", "ratios", "words"),
    [
        ([[10], [20]], [[1.0]], "2 levels, aspect_ratios for 1"),
        ([[0]], [[1.0]], "sizes are .0.0.: expected positive"),
        ([[10]], [[-2.0]], "aspect ratios are .-2.0."),
        ([[10]], [[]], "expected positive"),
        ([[]], [[1.0]], "expected positive"),
    ],
)
def test_errors(sizes, ratios, words):
    with pytest.raises(ValueError, match=words):
        AnchorGenerator(sizes, ratios)


def test_error_for_the_wrong_number_of_maps():
    with pytest.raises(ValueError, match=r"2 feature maps and 2 strides .* 1 levels"):
        AnchorGenerator([[10]], [[1.0]]).grid_anchors([(1, 1)] * 2, [(4, 4)] * 2)


# ---- shapes that a data set's objects group around


def one_iou(a, b):
    inside = min(a[0], b[0]) * min(a[1], b[1])
    return inside / (a[0] * a[1] + b[0] * b[1] - inside)


def naive_kmeans(sides, k, seed):
    """The same, one object and one anchor at a time; how often a group was empty, too."""
    distinct = sorted({tuple(row) for row in sides.double().tolist()})
    random = torch.Generator().manual_seed(seed)
    anchors = [distinct[i] for i in torch.randperm(len(distinct), generator=random)[:k]]
    objects = [tuple(row) for row in sides.double().tolist()]
    group, filled = None, 0
    for _ in range(300):
        before = group
        ious = [[one_iou(o, a) for a in anchors] for o in objects]
        group = [row.index(max(row)) for row in ious]
        own = [max(row) for row in ious]
        for a in range(k):
            if a not in group:
                filled += 1
                can_leave = [n for n in range(len(objects)) if group.count(group[n]) > 1]
                worst = min(can_leave, key=lambda n: own[n])
                group[worst], own[worst] = a, 2.0
        if group == before:
            break
        members = [[o for o, g in zip(objects, group) if g == a] for a in range(k)]
        anchors = [tuple(sum(side) / len(m) for side in zip(*m)) for m in members]
    return sorted(anchors, key=lambda a: a[0] * a[1]), filled


def random_sides(number, seed):
    random = torch.Generator().manual_seed(seed)
    return 2 ** (1 + 5 * torch.rand(number, 2, generator=random))


def test_shape_iou_is_that_of_boxes_on_one_centre():
    first, second = random_sides(7, 0), random_sides(5, 1)
    boxes = [torch.cat((-sides / 2, sides / 2), dim=1) for sides in (first, second)]
    assert_close(shape_iou(first, second), box_iou(*boxes))
    lying, standing = torch.tensor([[4.0, 2]]), torch.tensor([[2.0, 4]])
    assert shape_iou(lying, standing).item() == pytest.approx(4 / 12)
    assert shape_iou(first.view(7, 1, 2), second).shape == (7, 1, 5)


def test_two_obvious_groups_by_hand():
    sides = torch.tensor([[10.0, 10], [10, 12], [11, 11], [40, 20], [44, 22]])
    for seed in range(5):
        found = kmeans_anchors(sides, 2, seed=seed)
        assert found.dtype == torch.float32
        assert_close(found, torch.tensor([[31 / 3, 11.0], [42, 21]]))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("number", "k"), [(40, 3), (60, 9), (12, 12), (9, 1)])
def test_kmeans_equals_the_loop(seed, number, k):
    sides = random_sides(number, seed)
    wanted, _ = naive_kmeans(sides, k, seed)
    assert_close(kmeans_anchors(sides, k, seed=seed), torch.tensor(wanted))


def test_an_empty_group_takes_the_object_least_like_its_own_anchor():
    iou = torch.tensor([[0.9, 0.1, 0.1], [0.3, 0.2, 0.1], [0.5, 0.4, 0.1], [0.2, 0.6, 0.1]])
    nearest = iou.argmax(dim=1)
    assert nearest.tolist() == [0, 0, 0, 1]
    assert fill_empty_groups(nearest, iou).tolist() == [0, 2, 0, 1]
    # The only object of a group stays, however little it is like its anchor.
    iou[3, 1] = 0.21
    assert fill_empty_groups(nearest, iou).tolist() == [0, 2, 0, 1]
    # Two empty groups take two objects.
    iou = torch.tensor([[0.9, 0.0, 0.0], [0.8, 0.0, 0.0], [0.7, 0.0, 0.0]])
    assert fill_empty_groups(torch.zeros(3).long(), iou).tolist() == [0, 2, 1]


def test_kmeans_is_decided_by_the_seed_and_leaves_the_global_one_alone():
    sides = random_sides(50, 0)
    state = torch.get_rng_state()
    same = [kmeans_anchors(sides, 5, seed=3) for _ in range(2)]
    assert torch.equal(*same) and torch.equal(torch.get_rng_state(), state)
    assert any(not torch.equal(same[0], kmeans_anchors(sides, 5, seed=s)) for s in range(5))
    areas = same[0].prod(dim=1)
    assert (areas[1:] >= areas[:-1]).all()


def test_more_anchors_fit_better_and_as_many_as_objects_fit_wholly():
    sides = random_sides(30, 4)
    fits = [shape_iou(sides, kmeans_anchors(sides, k)).amax(dim=1).mean() for k in (1, 3, 9, 30)]
    assert fits[0] < fits[1] < fits[2] < fits[3]
    assert fits[3] == pytest.approx(1)


def test_many_equal_objects():
    sides = torch.tensor([[8.0, 8]] * 50 + [[30, 10]])
    assert kmeans_anchors(sides, 2).tolist() == [[8, 8], [30, 10]]
    with pytest.raises(ValueError, match=r"num_anchors is 3: expected 1 … 2, the number of obj"):
        kmeans_anchors(sides, 3)


@pytest.mark.parametrize(
    ("sides", "k", "words"),
    [
        (torch.zeros(3, 4), 1, r"shape \(3, 4\): expected \(N, 2\).*boxes\[:, 2:\]"),
        (torch.tensor([[1.0, 2], [0, 3]]), 1, r"sides\[1\] is \[0.0, 3.0\]: expected"),
        (torch.tensor([[1.0, float("nan")]]), 1, r"sides\[0\] is"),
        (torch.tensor([[1.0, float("inf")]]), 1, r"sides\[0\] is"),
        (torch.ones(2, 2), 0, r"num_anchors is 0: expected 1 … 1"),
        (torch.zeros(0, 2), 1, r"num_anchors is 1: expected 1 … 0"),
    ],
)
def test_kmeans_errors(sides, k, words):
    with pytest.raises(ValueError, match=words):
        kmeans_anchors(sides, k)
