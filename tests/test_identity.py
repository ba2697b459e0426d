"""What tells one training's data, augmentation and model from another's."""

import json
import random as python_random

import pytest
import torch
from test_training import Samples, foreign
from torch.utils.data import ConcatDataset, Dataset, Subset
from torchvision.transforms import v2

from detlearn import models
from detlearn.data import ToyTown, transforms
from detlearn.data.reading import AnnotatedObject, AnnotatedPictures, Record, pack
from detlearn.training.identity import (
    PROBES,
    _digest,
    describe,
    describe_data,
    describe_model,
)


class Pictures(AnnotatedPictures):
    """Two pictures that do not exist: their annotations are all that is asked for."""

    def __init__(self, folder, **changed):
        box, label, iscrowd, name, size, self.class_names = {
            "box": (1, 2, 30, 40),
            "label": 0,
            "iscrowd": 0,
            "name": "a.jpg",
            "size": (64, 48),
            "class_names": ["cat", "dog"],
            **changed,
        }.values()
        objects = [AnnotatedObject(box, label, area=5.0, iscrowd=iscrowd)]
        self._records = [
            Record(7, folder / name, size, pack(objects)),
            Record(8, folder / "b.jpg", (64, 48), pack([])),
        ]


class TestData:
    def test_in_words(self, tmp_path):
        words = describe_data(Pictures(tmp_path))
        assert words.startswith("2 images, 1 objects, 2 classes, digest ")
        assert len(words.split()[-1]) == 12

    def test_the_same_bytes_cut_elsewhere_are_others(self):
        assert _digest(["ab", "c"]) != _digest(["a", "bc"])

    @pytest.mark.parametrize(
        "changed",
        [
            {"box": (1, 2, 30, 41)},
            {"label": 1},
            {"iscrowd": 1},
            {"name": "c.jpg"},
            {"size": (48, 64)},
            {"class_names": ["dog", "cat"]},
        ],
    )
    def test_every_part_counts(self, tmp_path, changed):
        assert describe_data(Pictures(tmp_path)) != describe_data(Pictures(tmp_path, **changed))

    def test_where_the_files_lie_does_not(self, tmp_path):
        assert describe_data(Pictures(tmp_path)) == describe_data(Pictures(tmp_path / "moved"))

    def test_their_order_does(self, tmp_path):
        data = Pictures(tmp_path)
        before = describe_data(data)
        data._records.reverse()
        assert describe_data(data) != before

    def test_towns(self):
        towns = [
            ToyTown(3, size=32),
            ToyTown(3, size=32, seed=1),
            ToyTown(3, size=32, clutter=(0, 0)),  # the same boxes
            ToyTown(3, size=48),
            ToyTown(4, size=32),
        ]
        assert len({describe_data(town) for town in towns}) == 5
        assert describe_data(towns[0]) == describe_data(ToyTown(3, size=32))

    def test_somebody_elses_data_are_looked_at(self):
        class Large(Samples):
            reads = 0

            def __getitem__(self, index):
                self.reads += 1
                return super().__getitem__(index)

        data = Large(100_000)
        words = describe_data(data)
        assert words.startswith(f"100000 images, {PROBES} of them looked at, digest ")
        assert data.reads == 2 * PROBES
        assert describe_data(Samples(100_000)) == words
        assert describe_data(Samples(100_000, size=9)) != words
        assert describe_data(list(Samples(3))) == describe_data(Samples(3))

    def test_the_last_of_them_is_looked_at(self):
        samples = list(Samples(50))
        before = describe_data(samples)
        samples[-1][1]["labels"][0] = 1 - samples[-1][1]["labels"][0]
        assert describe_data(samples) != before

    @pytest.mark.parametrize("draw", [lambda: float(torch.rand(())), python_random.random])
    def test_what_is_drawn_anew_each_time_has_a_length_only(self, draw):
        class Drawn(Samples):
            def __getitem__(self, index):
                image, target = super().__getitem__(index)
                return image, {**target, "boxes": target["boxes"] + draw()}

        state = torch.get_rng_state()
        assert describe_data(Drawn()) == "10 images, other ones each time they are read"
        assert torch.equal(torch.get_rng_state(), state)

    def test_parts_of_others(self):
        data = Samples(10)
        parts = [Subset(data, [0, 1]), Subset(data, [1, 0]), ConcatDataset([data, data]), data]
        assert len({describe_data(part) for part in parts}) == 4
        words = describe_data(Subset(data, [0, 1]))
        assert words.startswith("2 images (digest ") and words.endswith(describe_data(data))

    def test_a_sample_that_cannot_be_read_is_left_to_its_step(self):
        class Broken(Dataset):
            def __len__(self):
                return 5

            def __getitem__(self, index):
                raise OSError("gone")

        assert describe_data(Broken()) != describe_data(Samples(5))


class TestTransforms:
    def test_in_words(self):
        assert describe(None) is None
        assert describe(transforms.flip) == ["_apply_randomly", "horizontal_flip", 0.5]

    def test_each_setting_counts(self):
        def colours(strength):
            return transforms.from_torchvision(v2.RandomIoUCrop(), v2.ColorJitter(strength))

        several = [
            None,
            transforms.flip,
            transforms.random_apply(transforms.horizontal_flip, 0.4),
            transforms.random_apply(transforms.vertical_flip),
            transforms.compose(transforms.flip, colours(0.1)),
            transforms.compose(colours(0.1), transforms.flip),
            transforms.compose(transforms.flip, colours(0.2)),
            colours(0.1),
        ]
        words = [json.dumps(describe(transform)) for transform in several]
        assert len(set(words)) == len(several)
        assert describe(colours(0.1)) == describe(colours(0.1))
        assert not any(" at 0x" in word for word in words)  # an address is another one each time

    def test_what_goes_round_in_a_circle_has_an_end(self):
        circle = []
        circle.append(circle)
        assert "list" in json.dumps(describe(circle))


class TestModels:
    @pytest.mark.parametrize("name", sorted(models.BUILDERS))
    def test_of_the_book(self, name):
        """The same in each process, short, and through a file and back."""
        model = models.create(name, 3)
        words = describe_model(model)
        assert words == json.loads(json.dumps(words)) == describe_model(models.create(name, 3))
        assert len(json.dumps(words)) < 5000 and " at 0x" not in json.dumps(words)

        # What is asked when it detects may change between two runs.
        model.score_threshold, model.nms_threshold, model.max_detections = 0.9, 0.9, 9
        assert describe_model(model.eval()) == words

    def test_each_setting_counts(self):
        words = describe_model(models.create("fcos", 3))
        model = models.create("fcos", 3)
        model.radius = 9.0
        changed = describe_model(model)
        assert {k for k in words if words[k] != changed[k]} == {"radius"}

        resized = describe_model(models.create("fcos", 3, min_size=40, max_size=60))
        differing = {k for k in words if words[k] != resized[k]}
        assert differing == {"batcher.min_size", "batcher.max_size"}

    def test_dropout_and_frozen_weights(self):
        words = describe_model(foreign(dropout=0.1))
        assert words == {"class": "Foreign", "dropout.p": 0.1}
        model = foreign()
        model.score.requires_grad_(False)
        assert describe_model(model)["frozen weights"] == 2
