"""Anchors: by hand, against torchvision's generator, and what they promise."""

import pytest
import torch
from torch.testing import assert_close
from torchvision.models.detection.anchor_utils import AnchorGenerator as Oracle
from torchvision.models.detection.image_list import ImageList

from detlearn.anchors import AnchorGenerator


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
