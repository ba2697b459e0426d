"""The image batcher and the checks at a detector's door."""

import math

import pytest
import torch
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from detlearn.models import ImageBatcher
from detlearn.models.base import Detector

BOX = [[2.0, 3.0, 10.0, 12.0]]


def plain(**options):
    return ImageBatcher(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), **options)


def target(boxes=BOX, labels=(0,)):
    return {"boxes": torch.tensor(boxes).view(-1, 4), "labels": torch.tensor(labels).long()}


class TestBatch:
    def test_normalises_and_pads_at_the_right_and_at_the_bottom(self):
        batcher = ImageBatcher(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0), size_divisible=4)
        images = [torch.ones(3, 5, 3), torch.ones(3, 2, 9)]
        batch, targets = batcher(images)
        assert batch.images.shape == (2, 3, 8, 12)
        assert batch.sizes == batch.original_sizes == [(5, 3), (2, 9)]
        assert targets is None
        # (1 − 0.5) / 0.5, (1 − 0.25) / 0.25, 1 / 2 in the image, 0 in the padding
        for image, values in zip(batch.images, batch.images[:, :, 0, 0]):
            assert values.tolist() == [1.0, 3.0, 0.5]
            assert image[0].count_nonzero() in (15, 18)
        assert (batch.images[0, :, 5:] == 0).all() and (batch.images[0, :, :, 3:] == 0).all()
        assert (batch.images[1, 0, :2, :9] == 1).all()

    def test_no_padding_where_the_size_fits(self):
        assert plain()([torch.rand(3, 64, 32)])[0].images.shape == (1, 3, 64, 32)

    def test_settings_are_not_weights(self):
        assert ImageBatcher().state_dict() == {}

    def test_one_of_the_two_sizes_is_refused(self):
        with pytest.raises(ValueError, match=r"min_size=100 and max_size=None: give both"):
            ImageBatcher(min_size=100)
        with pytest.raises(ValueError, match="max_size=7"):
            ImageBatcher(max_size=7)

    @pytest.mark.parametrize(("min_size", "max_size"), [(0, 0), (-5, 50), (64, 50)])
    def test_sizes_that_no_picture_can_have(self, min_size, max_size):
        with pytest.raises(ValueError, match=rf"min_size={min_size} and max_size={max_size}: exp"):
            ImageBatcher(min_size=min_size, max_size=max_size)


class TestResize:
    def test_by_hand(self):
        """The shorter side 10 → 20, unless the longer would pass 30."""
        batcher = plain(min_size=20, max_size=30)
        batch, (first, second) = batcher(
            [torch.rand(3, 10, 12), torch.rand(3, 40, 10)], [target(), target()]
        )
        assert batch.sizes == [(20, 24), (30, 7)]  # 10 · 30 / 40 = 7.5 rounds down
        assert first["boxes"].tolist() == [[4.0, 6.0, 20.0, 24.0]]
        torch.testing.assert_close(
            second["boxes"], torch.tensor([[2 * 0.7, 3 * 0.75, 10 * 0.7, 12 * 0.75]])
        )

    @pytest.mark.parametrize(("min_size", "max_size"), [(80, 133), (64, 96), (50, 50)])
    def test_equals_torchvision(self, min_size, max_size):
        oracle = GeneralizedRCNNTransform(
            min_size, max_size, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
        ).eval()
        ours = ImageBatcher(
            mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), min_size=min_size, max_size=max_size
        )
        random = torch.Generator().manual_seed(min_size)
        for _ in range(12):
            shapes = torch.randint(9, 200, (3, 2), generator=random).tolist()
            images = [torch.rand(3, *shape, generator=random) for shape in shapes]
            targets = [
                target([[1.0, 2.0, w - 1.5, h - 0.5], [0.0, 0.0, w, h]], [0, 1]) for h, w in shapes
            ]
            batch, scaled = ours(images, targets)
            wanted, wanted_targets = oracle(
                [image.clone() for image in images], [dict(t) for t in targets]
            )
            assert batch.sizes == wanted.image_sizes
            assert torch.equal(batch.images, wanted.tensors)
            for a, b in zip(scaled, wanted_targets):
                torch.testing.assert_close(a["boxes"], b["boxes"], rtol=1e-5, atol=1e-4)
            found = [{"boxes": t["boxes"], "scores": torch.ones(2)} for t in scaled]
            back = oracle.postprocess(
                [dict(f) for f in found], wanted.image_sizes, batch.original_sizes
            )
            for a, b in zip(ours.undo(found, batch), back):
                torch.testing.assert_close(a["boxes"], b["boxes"], rtol=1e-5, atol=1e-4)

    def test_undo_is_the_inverse(self):
        batcher = plain(min_size=37, max_size=90)
        images = [torch.rand(3, 50, 61), torch.rand(3, 33, 517), torch.rand(3, 7, 5)]
        targets = [target([[0.5, 1.0, w - 0.25, h]]) for h, w in ((50, 61), (33, 517), (7, 5))]
        batch, scaled = batcher(images, targets)
        back = batcher.undo(scaled, batch)
        for before, after in zip(targets, back):
            torch.testing.assert_close(after["boxes"], before["boxes"])
            assert torch.equal(after["labels"], before["labels"])

    def test_undo_clips_to_the_original_image(self):
        batcher = plain()
        batch, _ = batcher([torch.rand(3, 20, 30)])
        (found,) = batcher.undo([{"boxes": torch.tensor([[-3.0, -4.0, 31.0, 28.0]])}], batch)
        assert found["boxes"].tolist() == [[0.0, 0.0, 30.0, 20.0]]

    def test_the_callers_targets_and_images_stay_as_they_are(self):
        images, targets = [torch.rand(3, 10, 10)], [target()]
        before = images[0].clone()
        plain(min_size=50, max_size=50)(images, targets)
        assert targets[0]["boxes"].tolist() == BOX
        assert torch.equal(images[0], before)

    def test_a_target_without_objects(self):
        _, (scaled,) = plain(min_size=50, max_size=50)([torch.rand(3, 9, 9)], [target([], [])])
        assert scaled["boxes"].shape == (0, 4)

    def test_gradients_reach_the_image(self):
        image = torch.rand(3, 9, 9, requires_grad=True)
        plain(min_size=18, max_size=18)([image])[0].images.sum().backward()
        # 18 × 18 pixels, each a mean of old ones: nothing lost, nothing won
        assert image.grad.sum().item() == pytest.approx(3 * 18 * 18)


class TestFixedSize:
    def test_every_image_is_squashed_and_boxes_come_back(self):
        batcher = plain(fixed_size=(64, 96))
        images = [torch.rand(3, 20, 30), torch.rand(3, 100, 25), torch.rand(3, 64, 96)]
        targets = [target([[3.0, 2.0, 15.0, 20.0]]), target([[0.0, 50.0, 25.0, 100.0]]), target()]
        batch, scaled = batcher(images, targets)
        assert batch.images.shape == (3, 3, 64, 96)
        assert batch.sizes == [(64, 96)] * 3 and batch.original_sizes[1] == (100, 25)
        # By hand: 20 × 30 grows by 3.2 in both, 100 × 25 by .64 down and 3.84 across.
        torch.testing.assert_close(scaled[0]["boxes"], torch.tensor([[9.6, 6.4, 48.0, 64.0]]))
        torch.testing.assert_close(scaled[1]["boxes"], torch.tensor([[0.0, 32.0, 96.0, 64.0]]))
        for before, after in zip(targets, batcher.undo(scaled, batch)):
            torch.testing.assert_close(after["boxes"], before["boxes"])
        assert torch.equal(batch.images[2], images[2]), "an image of that size stays as it is"

    def test_a_constant_image_stays_constant_under_its_own_mean_and_std(self):
        batcher = ImageBatcher(
            fixed_size=(32, 64), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), size_divisible=1
        )
        batch, _ = batcher([torch.full((3, 7, 5), 0.75)])
        assert batch.images.shape == (1, 3, 32, 64)
        torch.testing.assert_close(batch.images, torch.ones(1, 3, 32, 64))

    def test_it_excludes_the_two_sizes(self):
        with pytest.raises(ValueError, match=r"squashes every image to 64 × 96 pixels"):
            ImageBatcher(fixed_size=(64, 96), min_size=32, max_size=64)
        with pytest.raises(ValueError, match=r"squashes every image to 64 × 96 pixels"):
            ImageBatcher(fixed_size=(64, 96)).set_sizes(32, 64)

    def test_resizes(self):
        assert not ImageBatcher().resizes
        assert ImageBatcher(min_size=32, max_size=64).resizes
        assert ImageBatcher(fixed_size=(64, 96)).resizes


IMAGE = torch.rand(3, 20, 30)


def test_a_detector_checks_before_it_computes():
    model = Detector(2, ImageBatcher())
    with pytest.raises(TypeError, match="needs targets"):
        model([IMAGE])
    with pytest.raises(ValueError, match=r"targets\[0\]\['labels'\]\[0\] = 2"):
        model([IMAGE], [target(BOX, [2])])
    with pytest.raises(ValueError, match="image 0 holds"):
        model.eval()([IMAGE * math.nan])
    with pytest.raises(ValueError, match="num_classes is 0"):
        Detector(0, ImageBatcher())


class Blind(Detector):
    """Finds nothing and learns nothing."""

    def predict(self, images, sizes=None):
        return sizes

    def compute_loss(self, outputs, targets):
        return {"loss": torch.zeros(())}

    def decode(self, outputs):
        none = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)}
        return [{**none, "labels": torch.zeros(0).long()} for _ in outputs]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([IMAGE, IMAGE * 255], "pixels from .* to .*by 255"),
        ([IMAGE * 65535], "16 bits"),
        ([(IMAGE - 0.45) / 0.22, IMAGE], "normalised already"),
    ],
)
def test_a_detector_warns_once_of_pixels_of_another_range(images, words, training):
    model = Blind(2).train(training)
    targets = [target()] * len(images) if training else None
    model([IMAGE] * len(images), targets)  # no warning

    with pytest.warns(UserWarning, match=words) as caught:
        for _ in range(3):
            model(images, targets)
    assert len(caught) == 1
    assert caught[0].filename == __file__, "it points at the line that called the detector"


@pytest.mark.parametrize("wanted", [torch.channels_last, torch.contiguous_format])
def test_the_memory_format_of_the_batch(wanted):
    """Two of three strides tell the two apart; the numbers are the same."""
    images = [torch.rand(3, 40, 50), torch.rand(3, 33, 64)]
    batch, _ = ImageBatcher(memory_format=wanted)(images)
    assert batch.images.is_contiguous(memory_format=wanted)
    assert torch.equal(batch.images, ImageBatcher()(images)[0].images)
