"""Anchors: by hand, against torchvision's generator and loops, and what they promise."""

import pytest
import torch
from torch.testing import assert_close
from torchvision.models.detection.anchor_utils import AnchorGenerator as Oracle
from torchvision.models.detection.image_list import ImageList

from detlearn import anchors as anchors_module
from detlearn.anchors import AnchorGenerator, choose_start, kmeans_anchors, shape_iou
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


def naive_kmeans(sides, start):
    """The same, one object and one anchor at a time; the anchors that were ever empty, too."""
    objects, anchors = sides.double().tolist(), start.double().tolist()
    group, empty = None, set()
    for _ in range(300):
        before = group
        ious = [[one_iou(o, a) for a in anchors] for o in objects]
        group = [row.index(max(row)) for row in ious]
        if group == before:
            break
        for a in range(len(anchors)):
            members = [o for o, g in zip(objects, group) if g == a]
            if members:
                anchors[a] = [sum(side) / len(members) for side in zip(*members)]
            else:
                empty.add(a)
    return sorted(anchors, key=lambda a: a[0] * a[1]), empty


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
        found = kmeans_anchors(sides, choose_start(sides, 2, seed=seed))
        assert found.dtype == torch.float32
        assert_close(found, torch.tensor([[31 / 3, 11.0], [42, 21]]))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("number", "k"), [(40, 3), (60, 9), (12, 12), (9, 1)])
def test_kmeans_equals_the_loop(seed, number, k):
    sides = random_sides(number, seed)
    start = choose_start(sides, k, seed=seed)
    wanted, _ = naive_kmeans(sides, start)
    assert_close(kmeans_anchors(sides, start), torch.tensor(wanted))


@pytest.mark.parametrize("seed", range(8))
def test_an_anchor_without_objects_stays(seed):
    sides = random_sides(30, seed)
    # From anywhere: some of these are like no object.
    start = random_sides(6, seed + 100) * torch.tensor([1.0, 1, 1, 1, 5, 50])[:, None]
    wanted, empty = naive_kmeans(sides, start)
    assert 5 in empty
    found = kmeans_anchors(sides, start)
    assert_close(found, torch.tensor(wanted))
    assert_close(found[-1], start[5])


def test_a_start_is_decided_by_the_seed_and_leaves_the_global_one_alone():
    sides = random_sides(50, 0).repeat(2, 1)
    state = torch.get_rng_state()
    same = [choose_start(sides, 5, seed=3) for _ in range(2)]
    assert torch.equal(*same) and torch.equal(torch.get_rng_state(), state)
    assert any(not torch.equal(same[0], choose_start(sides, 5, seed=s)) for s in range(5))
    assert (same[0][:, None] == sides).all(dim=2).any(dim=1).all(), "they are objects"
    assert len(choose_start(sides, 50).unique(dim=0)) == 50, "no two of them alike"


def test_smallest_area_first_in_float32():
    sides = random_sides(50, 0).double()
    found = kmeans_anchors(sides, choose_start(sides, 5))
    areas = found.prod(dim=1)
    assert (areas[1:] >= areas[:-1]).all() and found.dtype == torch.float32


def test_it_ends_when_no_object_changes_and_after_so_many_iterations_at_the_latest(monkeypatch):
    asked = []
    monkeypatch.setattr(
        anchors_module, "shape_iou", lambda *given: asked.append(1) or shape_iou(*given)
    )
    squares = torch.tensor([12.0, 14, 17, 40])[:, None].expand(-1, 2)
    start = torch.tensor([[10.0, 10], [20, 20]])

    # First 17 is more like 20 (289 / 400 of it) than like 10, then more like 13 than like 28.5.
    once = kmeans_anchors(squares, start, max_iterations=1)
    assert once.tolist() == [[13, 13], [28.5, 28.5]] and len(asked) == 1
    found = kmeans_anchors(squares, start)
    assert_close(found, torch.tensor([[43 / 3, 43 / 3], [40, 40]]))
    assert len(asked) == 1 + 3  # the third sees that nobody moved
    assert kmeans_anchors(squares, start.flip(0), max_iterations=0).tolist() == start.tolist()


def test_no_gradient_and_no_rounding_of_long_sums():
    # In float32 the mean of so many is off in its last digits.
    sides = random_sides(100_000, 0) + 1000
    start = sides[:1].clone().requires_grad_()
    found = kmeans_anchors(sides.requires_grad_(), start)
    assert not found.requires_grad
    assert torch.equal(found[0], sides.detach().double().mean(dim=0).float())


def test_more_anchors_fit_better_and_as_many_as_objects_fit_wholly():
    sides = random_sides(30, 4)
    fits = [
        shape_iou(sides, kmeans_anchors(sides, choose_start(sides, k))).amax(dim=1).mean()
        for k in (1, 3, 9, 30)
    ]
    assert fits[0] < fits[1] < fits[2] < fits[3]
    assert fits[3] == pytest.approx(1)


def test_many_equal_objects():
    sides = torch.tensor([[8.0, 8]] * 50 + [[30, 10]])
    assert kmeans_anchors(sides, choose_start(sides, 2)).tolist() == [[8, 8], [30, 10]]
    with pytest.raises(ValueError, match=r"num_anchors is 3: expected 1 … 2, the number of obj"):
        choose_start(sides, 3)


@pytest.mark.parametrize(
    ("sides", "words"),
    [
        (torch.zeros(3, 4), r"shape \(3, 4\): expected \(N, 2\).*boxes\[:, 2:\]"),
        (torch.zeros(0, 2), r"shape \(0, 2\): expected \(N, 2\)"),
        (torch.tensor([[1.0, 2], [0, 3]]), r"\[1\] is \[0.0, 3.0\]: expected"),
        (torch.tensor([[1.0, float("nan")]]), r"\[0\] is"),
        (torch.tensor([[1.0, float("inf")]]), r"\[0\] is"),
    ],
)
def test_kmeans_errors(sides, words):
    good = torch.ones(2, 2)
    with pytest.raises(ValueError, match="sides.*" + words):
        kmeans_anchors(sides, good)
    with pytest.raises(ValueError, match="start.*" + words):
        kmeans_anchors(good, sides)
    with pytest.raises(ValueError, match="sides.*" + words):
        choose_start(sides, 1)
    with pytest.raises(ValueError, match="num_anchors is 0: expected 1 … 1"):
        choose_start(good, 0)
