"""Training at several image sizes: sizes, batches, and what is resized together."""

import itertools
from collections import Counter

import pytest
import torch
from test_training import Samples, foreign, numbers, same_weights, train

from detlearn import models, training
from detlearn.data import transforms
from detlearn.machine import distributed
from detlearn.training import MultiScale, batch_size_for, multi_scale_batch
from detlearn.training.multi_scale import complete, sizes_between
from detlearn.training.steps import StepBatches

SIZES = (8, 16, 24, 32)


class TestBatchSize:
    @pytest.mark.parametrize(
        ("size", "base_size", "base_batch", "wanted"),
        [
            (128, 128, 16, 16),
            (64, 128, 16, 64),
            (256, 128, 16, 4),
            (160, 128, 16, 10),  # 10.24
            (96, 128, 16, 28),  # 28.4
            (608, 416, 2, 1),  # .94: never none
            (1000, 10, 3, 1),
            (30, 10, 9, 1),  # exactly 1
            (160, 224, 25, 49),  # exactly 49, of which floats make 48.99…
            (224, 64, 49, 4),
            (7, 21, 5, 45),
            (49, 7, 49, 1),
        ],
    )
    def test_by_hand(self, size, base_size, base_batch, wanted):
        found = batch_size_for(size, base_size, base_batch)
        assert found == wanted and isinstance(found, int)

    def test_memory_stays_level(self):
        """The pixels of a batch never exceed the base's, and one more image would."""
        for size, base, batch in itertools.product(range(32, 641, 32), (96, 128, 416), (1, 8, 16)):
            found, most = batch_size_for(size, base, batch), batch * base**2
            assert (found + 1) * size**2 > most
            if found > 1:
                assert found * size**2 <= most


class TestMultiScaleBatch:
    def batch(self, *shapes):
        images = [torch.rand(3, *shape) for shape in shapes]
        targets = [
            {"boxes": torch.tensor([[2.0, 4, 10, 8]]) * n, "labels": torch.tensor([n])}
            for n in range(1, len(shapes) + 1)
        ]
        return images, targets

    def test_by_hand(self):
        images, targets = self.batch((16, 32), (32, 32))
        anchors = torch.tensor([[4.0, 6], [10, 3]])
        new_images, new_targets, new_anchors = multi_scale_batch(images, targets, anchors, 48)
        assert [tuple(image.shape) for image in new_images] == [(3, 24, 48), (3, 48, 48)]
        assert new_targets[0]["boxes"].tolist() == [[3, 6, 15, 12]]
        assert new_targets[1]["boxes"].tolist() == [[6, 12, 30, 24]]
        assert [int(target["labels"]) for target in new_targets] == [1, 2]
        assert new_anchors.tolist() == [[6, 9], [15, 4.5]]
        # nothing that was given has changed
        assert targets[0]["boxes"].tolist() == [[2, 4, 10, 8]] and images[0].shape == (3, 16, 32)
        assert anchors.tolist() == [[4, 6], [10, 3]]

    def test_boxes_follow_their_pixels(self):
        """A white rectangle on black is still where its box says it is."""
        for size in (32, 48, 96, 100):
            image = torch.zeros(3, 64, 64)
            image[:, 16:48, 8:24] = 1
            target = {"boxes": torch.tensor([[8.0, 16, 24, 48]]), "labels": torch.tensor([0])}
            (new,), (moved,), _ = multi_scale_batch([image], [target], None, size)
            x1, y1, x2, y2 = moved["boxes"][0].tolist()
            rows, columns = (new[0] >= 0.5).nonzero(as_tuple=True)
            edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert [float(edge) for edge in edges] == pytest.approx([x1, y1, x2, y2], abs=0.51)

    def test_a_smaller_image_averages_what_it_drops(self):
        stripes = torch.zeros(3, 64, 64)
        stripes[:, :, ::4] = 1  # every fourth column is white; no fourth pixel would see one
        (new,), _, _ = multi_scale_batch([stripes], [{"boxes": torch.zeros(0, 4)}], None, 16)
        assert (new[:, 2:-2, 2:-2] - 0.25).abs().max() < 0.05

    def test_without_anchors_sizes_may_differ(self):
        images, targets = self.batch((40, 30), (10, 20))
        new, _, anchors = multi_scale_batch(images, targets, None, 20)
        assert [tuple(image.shape[1:]) for image in new] == [(20, 15), (10, 20)] and anchors is None
        with pytest.raises(ValueError, match=r"longer sides have \[20, 40\] pixels: anchors"):
            multi_scale_batch(images, targets, torch.ones(1, 2), 20)

    def test_an_image_and_its_target_come_in_pairs(self):
        images, targets = self.batch((8, 8), (8, 8))
        with pytest.raises(ValueError, match="zip"):
            multi_scale_batch(images, targets[:1], None, 16)


class TestSettings:
    def test_complete(self):
        assert complete(((96, 128, 160), 5)) == MultiScale((96, 128, 160), 5, 128)
        assert complete([[160, 96, 128, 64], 1]) == MultiScale((160, 96, 128, 64), 1, 96)
        assert complete(MultiScale([64], base_size=100)) == MultiScale((64,), 10, 100)

    @pytest.mark.parametrize(
        "wrong", [5, (), ((64,), 3, 64, 1), (64, 3), ((64, 0), 3), ((64.5,), 3), ((64,), 0),
                  ((), 3), ((64,), 3, 0), (("64",), 3)],
    )  # fmt: skip
    def test_refused(self, wrong):
        with pytest.raises(ValueError, match=r"multi_scale is .*such as \(\(96, 128, 160\), 10\)"):
            complete(wrong)

    def test_sizes_between(self):
        assert sizes_between(96, 160) == [96, 128, 160]
        assert sizes_between(90, 170) == [96, 128, 160]
        assert sizes_between(8, 24, stride=8) == [8, 16, 24]
        assert sizes_between(64, 64) == [64]
        with pytest.raises(ValueError, match="no multiple of 32 between 97 and 127 pixels"):
            sizes_between(97, 127)


class TestSteps:
    def test_the_images_of_a_step_are_those_after_the_batches_before(self):
        """One long row of samples, cut into batches of different lengths."""
        data = StepBatches(Samples(10, size=16), 6, 3, None, MultiScale(SIZES, 2, 16))
        plain = StepBatches(Samples(10, size=16), 1, 3)
        position, sizes = 0, []
        for step in range(40):
            images, _ = data[step]
            size = images[0].shape[-1]
            assert {image.shape[-2:] for image in images} == {(size, size)}
            assert len(images) == batch_size_for(size, 16, 6)
            assert data.first_position(step) == position
            row = [numbers(plain[position + k][0])[0] for k in range(len(images))]
            assert numbers(images) == row
            position += len(images)
            sizes.append(size)
        assert sizes[::2] == sizes[1::2] and set(sizes) == set(SIZES)

    def test_every_step_can_be_asked_first(self):
        options = (Samples(7), 3, 1, transforms.flip, MultiScale(SIZES, 3))
        data = StepBatches(*options)
        in_order = [data[step] for step in range(20)]
        for step in (19, 4, 0, 7, 7):
            images, targets = StepBatches(*options)[step]
            assert len(images) == len(in_order[step][0])
            for image, same in zip(images, in_order[step][0]):
                assert torch.equal(image, same)
            for target, same in zip(targets, in_order[step][1]):
                assert torch.equal(target["boxes"], same["boxes"])

    def test_every_size_is_drawn_equally_often(self):
        """1 200 draws from four sizes: 300 each, give or take five standard deviations of 15."""
        data = StepBatches(Samples(5), 4, 0, None, MultiScale(SIZES, 1))
        drawn = Counter(data._size(group) for group in range(1200))
        assert set(drawn) == set(SIZES)
        assert all(abs(count - 300) < 75 for count in drawn.values())
        # … and what comes next does not follow from what came
        pairs = Counter((data._size(k), data._size(k + 1)) for k in range(1200))
        assert len(pairs) == 16 and min(pairs.values()) > 30
        other = StepBatches(Samples(5), 4, 1, None, MultiScale(SIZES, 1))
        same = sum(data._size(k) == other._size(k) for k in range(1200))
        assert abs(same - 300) < 75

    @pytest.mark.parametrize("world_size", [2, 3])
    def test_processes_share_the_batch_of_one(self, monkeypatch, world_size):
        """Uneven shares: of 5 images one process has 3, or 2, the other 2."""
        options = (Samples(10, size=16), 12, 5, transforms.flip, MultiScale(SIZES, 2, 16))
        whole, parts = StepBatches(*options), []
        monkeypatch.setattr(distributed, "world_size", lambda: world_size)
        for rank in range(world_size):
            monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
            parts.append(StepBatches(*options))
        lengths = set()
        for step in range(16):
            images, _ = whole[step]
            shares = [part[step][0] for part in parts]
            lengths.add(len(images))
            assert sorted(map(len, shares))[0] >= len(images) // world_size
            assert len({image.shape for share in shares for image in share}) == 1
            together = [image for share in shares for image in share]
            assert sorted(numbers(together)) == sorted(numbers(images))
            assert len(together) == len(images)
        assert len(lengths) == 4

    def test_epochs_count_images_not_steps(self):
        data = StepBatches(Samples(30), 6, 0, None, MultiScale((8, 16), 2, 8))
        for epochs in (0.01, 1, 2.5, 10):
            steps = data.num_steps(epochs)
            assert data.first_position(steps) >= 30 * epochs
            assert steps == 1 or data.first_position(steps - 1) < 30 * epochs
        assert StepBatches(Samples(30), 6).num_steps(2) == 10
        assert StepBatches(Samples(30), 60).num_steps(0.1) == 1

    def test_a_loader_in_another_process_gives_the_same(self):
        options = {"steps": 6, "multi_scale": MultiScale(SIZES, 2)}
        alone, loaded = foreign(), foreign()
        one = train(alone, Samples(10), **options)
        two = train(loaded, Samples(10), workers=2, **options)
        assert same_weights(alone, loaded) and one.total == two.total and one.images == two.images


class TestFit:
    def test_the_history_counts_the_images(self, monkeypatch):
        seen = []
        step = training.loop.Trainer.step

        def watch(trainer, images, targets):
            seen.append(len(images))
            step(trainer, images, targets)

        monkeypatch.setattr(training.loop.Trainer, "step", watch)
        history = train(foreign(), steps=12, multi_scale=MultiScale(SIZES, 2))
        assert history.images == sum(seen) and len(set(seen)) > 1
        assert history.images != 12 * 4

    def test_it_learns(self):
        model = models.create("point", 2)
        options = {"steps": 3, "batch_size": 4, "multi_scale": MultiScale((32, 64, 96), 1)}
        history = train(model, Samples(6, size=64), **options)
        assert all(value > 0 for value in history.total)

    def test_sizes_that_would_be_padded(self):
        with pytest.raises(ValueError, match=r"sizes \[80, 100\], .*next multiple of 32: choose"):
            train(models.create("point", 2), multi_scale=((64, 80, 100), 1))

    def test_a_model_that_squashes(self):
        with pytest.raises(ValueError, match="brings every image to its own size again"):
            train(models.create("yolov1", 2), multi_scale=((64, 128), 1))

    def test_too_few_images_for_the_processes(self, monkeypatch):
        monkeypatch.setattr(distributed, "world_size", lambda: 2)
        with pytest.raises(ValueError, match=r"at 32 pixels a batch has 1 image\(s\) for 2 proc"):
            train(foreign(), batch_size=4, multi_scale=MultiScale((8, 32), 1, 8))

    def test_the_draw_is_no_business_of_the_callers_generator(self):
        torch.manual_seed(3)
        before = torch.get_rng_state()
        data = StepBatches(Samples(7), 3, 1, None, MultiScale(SIZES, 3))
        data[11]
        assert torch.equal(before, torch.get_rng_state())
