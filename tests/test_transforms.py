"""Augmentation: the boxes follow the picture, compared with torchvision's transforms."""

import pickle

import pytest
import torch
import torch.nn.functional as F
from torchvision import tv_tensors
from torchvision.transforms import v2

from detlearn.data import transforms


def sample(height=20, width=30, num_objects=5, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = (torch.rand(num_objects, 2, generator=random) * width).sort(dim=-1).values
    y = (torch.rand(num_objects, 2, generator=random) * height).sort(dim=-1).values
    boxes = torch.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1]), dim=-1)
    image = torch.rand(3, height, width, generator=random)
    return image, {"boxes": boxes, "labels": torch.arange(num_objects)}


def as_tv(image, target):
    boxes = tv_tensors.BoundingBoxes(
        target["boxes"], format="XYXY", canvas_size=tuple(image.shape[-2:])
    )
    return tv_tensors.Image(image), boxes


class TestFlips:
    def test_by_hand(self):
        image = torch.arange(6.0).view(1, 2, 3).expand(3, 2, 3)
        target = {"boxes": torch.tensor([[0.0, 0.0, 1.0, 2.0]]), "labels": torch.tensor([4])}
        flipped, moved = transforms.horizontal_flip(image, target)
        assert flipped[0].tolist() == [[2, 1, 0], [5, 4, 3]]
        assert moved["boxes"].tolist() == [[2.0, 0.0, 3.0, 2.0]]
        flipped, moved = transforms.vertical_flip(
            image, {"boxes": torch.tensor([[0.0, 0, 1, 0.5]])}
        )
        assert flipped[0].tolist() == [[3, 4, 5], [0, 1, 2]]
        assert moved["boxes"].tolist() == [[0.0, 1.5, 1.0, 2.0]]

    @pytest.mark.parametrize(
        ("ours", "oracle"),
        [
            (transforms.horizontal_flip, v2.functional.horizontal_flip),
            (transforms.vertical_flip, v2.functional.vertical_flip),
        ],
    )
    def test_equal_torchvision(self, ours, oracle):
        for seed in range(5):
            image, target = sample(17 + seed, 40 - seed, seed, seed)
            wanted_image, wanted_boxes = (oracle(x) for x in as_tv(image, target))
            flipped, moved = ours(image, target)
            assert torch.equal(flipped, wanted_image)
            torch.testing.assert_close(moved["boxes"], wanted_boxes.as_subclass(torch.Tensor))
            assert torch.equal(moved["labels"], target["labels"])
            again, back = ours(flipped, moved)
            assert torch.equal(again, image)
            torch.testing.assert_close(back["boxes"], target["boxes"], rtol=0, atol=1e-5)

    def test_leave_the_sample_alone(self):
        image, target = sample()
        before = image.clone(), target["boxes"].clone()
        transforms.horizontal_flip(image, target)
        transforms.vertical_flip(image, target)
        assert torch.equal(image, before[0]) and torch.equal(target["boxes"], before[1])


class TestResize:
    @pytest.mark.parametrize(
        ("shape", "size", "new"),
        [((20, 40), 60, (30, 60)), ((40, 20), 10, (10, 5)), ((33, 517), 100, (6, 100))],
    )
    def test_longer_side(self, shape, size, new):
        image, target = sample(*shape)
        target["area"] = torch.full((5,), 8.0)
        resized, moved = transforms.resize(image, target, size)
        assert resized.shape == (3, *new)
        torch.testing.assert_close(
            resized, v2.functional.resize(image, list(new), antialias=True), rtol=0, atol=1e-5
        )
        wanted = v2.functional.resize(as_tv(image, target)[1], list(new))
        torch.testing.assert_close(moved["boxes"], wanted.as_subclass(torch.Tensor))
        scale = new[0] * new[1] / (shape[0] * shape[1])
        torch.testing.assert_close(moved["area"], torch.full((5,), 8.0 * scale))
        assert target["area"].tolist() == [8.0] * 5

    def test_a_side_never_vanishes(self):
        assert transforms.resize(*sample(2, 400), 50)[0].shape == (3, 1, 50)


class TestRandom:
    def test_share(self):
        torch.manual_seed(0)
        image, target = sample(2, 2, 1)
        half = transforms.random_apply(lambda image, target: (image + 10, target), 0.25)
        count = sum(float(half(image, target)[0].min()) >= 10 for _ in range(2000))
        assert 400 < count < 600
        never = transforms.random_apply(transforms.horizontal_flip, 0.0)
        always = transforms.random_apply(transforms.horizontal_flip, 1.0)
        assert torch.equal(never(image, target)[0], image)
        assert torch.equal(always(image, target)[0], image.flip(-1))

    def test_the_default_mirrors_half_of_the_samples(self):
        torch.manual_seed(0)
        image, target = sample(2, 2, 1)
        mirrored = image.flip(-1)
        count = sum(torch.equal(transforms.flip(image, target)[0], mirrored) for _ in range(2000))
        assert 920 < count < 1080  # four standard deviations of 22 on either side, nearly

    def test_compose_applies_in_order(self):
        add = lambda image, target: (image + 1, target)  # noqa: E731
        double = lambda image, target: (image * 2, target)  # noqa: E731
        image, target = torch.ones(3, 1, 1), {}
        assert transforms.compose(add, double)(image, target)[0].max() == 4
        assert transforms.compose(double, add)(image, target)[0].max() == 3
        assert transforms.compose()(image, target) == (image, target)

    def test_all_can_be_sent_to_a_loading_process(self):
        """Where processes are spawned, not forked, a closure could not be pickled."""
        both = transforms.compose(
            transforms.flip, transforms.from_torchvision(v2.RandomHorizontalFlip(1.0))
        )
        copy = pickle.loads(pickle.dumps(both))
        image, target = sample()
        torch.manual_seed(3)
        a = both(image, target)
        torch.manual_seed(3)
        b = copy(image, target)
        assert torch.equal(a[0], b[0]) and torch.equal(a[1]["boxes"], b[1]["boxes"])


class _CropLeftHalf(v2.Transform):
    def transform(self, inpt, params):
        return v2.functional.crop(inpt, 0, 0, 20, 15)


class TestFromTorchvision:
    def test_equals_torchvision(self):
        image, target = sample()
        flipped, moved = transforms.from_torchvision(v2.RandomHorizontalFlip(1.0), min_size=0.0)(
            image, target
        )
        wanted = transforms.horizontal_flip(image, target)
        assert torch.equal(flipped, wanted[0]) and type(flipped) is torch.Tensor
        torch.testing.assert_close(moved["boxes"], wanted[1]["boxes"])
        assert type(moved["boxes"]) is torch.Tensor

    def test_drops_what_a_crop_cut_away(self):
        """Of width 15: one object is kept, one clipped to 15, one to 1 pixel, one is outside."""
        boxes = [[2.0, 2, 9, 9], [10, 2, 20, 9], [14, 2, 20, 9], [20, 2, 25, 9]]
        target = {
            "boxes": torch.tensor(boxes),
            "labels": torch.arange(4),
            "area": torch.arange(4) * 10.0,
            "iscrowd": torch.tensor([0, 1, 0, 1]),
            "image_id": torch.tensor([7, 7, 7, 7]),  # as many entries as objects, yet no row
            "note": "kept",
        }
        image, cut = transforms.from_torchvision(_CropLeftHalf())(torch.rand(3, 20, 30), target)
        assert image.shape == (3, 20, 15)
        assert cut["boxes"].tolist() == [[2.0, 2, 9, 9], [10, 2, 15, 9]]
        assert cut["labels"].tolist() == [0, 1]
        assert cut["area"].tolist() == [0.0, 10.0]
        assert cut["iscrowd"].tolist() == [0, 1]
        assert cut["image_id"].tolist() == [7, 7, 7, 7]
        assert cut["note"] == "kept"
        assert len(target["labels"]) == 4

    def test_boxes_over_the_border_are_clipped(self):
        target = {"boxes": torch.tensor([[-5.0, 2, 4, 6], [8, 3, 12, 7]])}
        _, clipped = transforms.from_torchvision(v2.Identity())(torch.rand(3, 9, 10), target)
        assert clipped["boxes"].tolist() == [[0.0, 2, 4, 6], [8, 3, 10, 7]]

    def test_both_sides_must_reach_the_smallest_size(self):
        target = {"boxes": torch.tensor([[0.0, 0, 9, 2], [0, 0, 2, 9], [0, 0, 9, 1.9]])}
        _, kept = transforms.from_torchvision(v2.Identity())(torch.rand(3, 9, 9), target)
        assert len(kept["boxes"]) == 2

    def test_crops_of_torchvision_give_boxes_that_training_accepts(self):
        from detlearn.samples import check_targets

        crop = transforms.from_torchvision(v2.RandomIoUCrop(min_scale=0.3))
        torch.manual_seed(0)
        for seed in range(30):
            image, target = crop(*sample(64, 48, seed % 6, seed))
            check_targets([image], [target], 6)
            assert len(target["labels"]) == len(target["boxes"])

    def test_the_seed_decides(self):
        """All randomness comes from torch's generator, which the trainer seeds."""
        image, target = sample(64, 64)
        for transform in (v2.RandomPhotometricDistort(p=0.9), v2.RandomIoUCrop()):
            ours = transforms.from_torchvision(transform)
            results = []
            for seed in (1, 1, 2, 3, 4, 5, 6):
                torch.manual_seed(seed)
                results.append(ours(image, target)[0])
            assert torch.equal(results[0], results[1])
            assert any(
                r.shape != results[0].shape or not torch.equal(r, results[0]) for r in results[2:]
            )


def test_antialias_matters():
    """A fine checkerboard shrinks to grey, not to a coarse checkerboard."""
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * torch.ones(3, 1, 1)
    small, _ = transforms.resize(board, {"boxes": torch.zeros(0, 4)}, 13)
    assert (small - 0.5).abs().max() < 0.1
    coarse = F.interpolate(board[None], size=(13, 13), mode="bilinear")
    assert (coarse - 0.5).abs().max() > 0.3
