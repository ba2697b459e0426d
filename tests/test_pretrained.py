"""Detectors that were trained before: saved and read again, or made by torchvision."""

import pytest
import torch
from torch import nn

from detlearn import models
from detlearn.machine.checkpoints import save_tensors
from detlearn.pretrained import load_detector, save_detector, wrap_torchvision

NAMES = ["cat", "größer", "car"]
INFO = {"model": "point", "class_names": NAMES, "options": {"min_size": None, "max_size": None}}


def saved(path, **options):
    torch.manual_seed(0)
    model = models.create("point", len(NAMES), **options).eval()
    save_detector(path, model, "point", NAMES)
    return model


@pytest.mark.parametrize("options", [{}, {"min_size": 40, "max_size": 50}])
def test_round_trip(tmp_path, options):
    model = saved(tmp_path / "detector.safetensors", **options)
    loaded = load_detector(tmp_path / "detector.safetensors")
    assert (loaded.name, loaded.class_names) == ("point", NAMES)
    assert not loaded.model.training
    assert loaded.model.batcher.min_size == options.get("min_size")
    image = torch.rand(3, 48, 64)
    with torch.no_grad():
        for detector in (model, loaded.model):
            detector.score_threshold = 0.0
        (before,), (after,) = model([image]), loaded.model([image])
    assert len(before["scores"]) > 0
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_files_that_hold_no_detector(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*none"):
        load_detector(tmp_path / "none")
    save_tensors(tmp_path / "training", {"a": torch.ones(1)}, {"settings": {}})
    with pytest.raises(ValueError, match="holds the state of a training; the detector lies"):
        load_detector(tmp_path / "training")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="no checkpoint of this package"):
        load_detector(tmp_path / "text")
    info = {**INFO, "model": "unheard_of"}
    save_tensors(tmp_path / "unknown", {"a": torch.ones(1)}, info)
    with pytest.raises(ValueError, match="no detector called 'unheard_of'"):
        load_detector(tmp_path / "unknown")


@pytest.mark.parametrize("name", models.WITH_QUERIES)
def test_round_trip_with_another_number_of_queries(tmp_path, name):
    model = models.create(name, len(NAMES), num_queries=7).eval()
    path = tmp_path / "detector.safetensors"
    save_detector(path, model, name, NAMES)
    loaded = load_detector(path).model
    image = torch.rand(1, 3, 64, 64)
    found = loaded.predict(image)
    assert found.pred_boxes.shape == (1, 7, 4)
    assert torch.equal(found.pred_boxes, model.predict(image).pred_boxes)


@pytest.mark.parametrize("key", ["model", "class_names", "options", "min_size", "max_size"])
def test_a_file_that_does_not_say_all(tmp_path, key):
    info = {name: value for name, value in INFO.items() if name != key}
    if "options" in info:
        info["options"] = {name: None for name in INFO["options"] if name != key}
    save_tensors(tmp_path / "part", models.create("point", len(NAMES)).state_dict(), info)
    with pytest.raises(ValueError, match=f"part does not say '{key}': .*train again"):
        load_detector(tmp_path / "part")


def test_weights_of_another_version(tmp_path):
    save_tensors(tmp_path / "old", {"a": torch.ones(1)}, INFO)
    with pytest.raises(ValueError, match="another version of point, train again"):
        load_detector(tmp_path / "old")


class Counts(nn.Module):
    """Stands for a detector of torchvision: labels from 1, 0 is the background."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images, targets=None):
        if self.training:
            self.seen = [t["labels"].tolist() for t in targets]
            return {"loss": self.weight * 1.0}
        labels = torch.tensor([2, 0, 1])
        boxes = torch.arange(12.0).view(3, 4)
        return [{"boxes": boxes, "scores": torch.tensor([0.9, 0.8, 0.7]), "labels": labels}]


class TestWrap:
    def test_labels(self):
        inner = Counts()
        model = wrap_torchvision(inner)
        target = {"boxes": torch.zeros(2, 4), "labels": torch.tensor([0, 4])}
        assert model([torch.rand(3, 8, 8)], [target])["loss"].item() == 1
        assert inner.seen == [[1, 5]]
        assert target["labels"].tolist() == [0, 4]  # the caller's stays
        (found,) = model.eval()([torch.rand(3, 8, 8)])
        assert found["labels"].tolist() == [1, 0]  # the background is gone
        assert found["boxes"].tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]]
        assert found["scores"].tolist() == pytest.approx([0.9, 0.7])

    def test_without_offset(self):
        inner = Counts()
        model = wrap_torchvision(inner, label_offset=0)
        model([torch.rand(3, 8, 8)], [{"labels": torch.tensor([0])}])
        assert inner.seen == [[0]]
        assert model.eval()([torch.rand(3, 8, 8)])[0]["labels"].tolist() == [2, 0, 1]

    def test_shares_weights_and_mode(self):
        inner = Counts()
        model = wrap_torchvision(inner)
        assert next(iter(model.parameters())) is inner.weight
        model.eval()
        assert not inner.training
