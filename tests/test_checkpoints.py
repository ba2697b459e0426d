"""Files that survive a crash and cannot run code."""

import os
from pathlib import Path

import pytest
import torch

from detlearn.machine import checkpoints
from detlearn.machine.checkpoints import load_tensors, save_tensors, write_atomically


def test_round_trip(tmp_path):
    tensors = {
        "float": torch.randn(2, 3),
        "double": torch.randn(4, dtype=torch.float64),
        "half": torch.randn(3).bfloat16(),
        "count": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "empty": torch.zeros(0, 4),
        "transposed": torch.randn(3, 5).T,
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "weight": torch.nn.Parameter(torch.randn(2)),
    }
    tensors["alias"] = tensors["float"]  # two names for one tensor
    info = {"name": "größer", "list": [1, None, 2.5], "nested": {"a": True}}
    path = tmp_path / "new" / "folder" / "file.safetensors"
    save_tensors(path, tensors, info)
    loaded, found = load_tensors(path)
    assert found == info
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype and loaded[name].shape == tensor.shape
        assert torch.equal(loaded[name], tensor.detach()), name


def test_a_failure_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "state"
    write_atomically(path, b"old")

    def broken(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(checkpoints.os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state"]


def test_the_new_content_appears_in_one_piece(tmp_path, monkeypatch):
    """Until the very rename the old file is there, and the new one is complete beside it."""
    path = tmp_path / "state"
    write_atomically(path, b"old")
    seen = []
    replace = os.replace

    def watch(source, destination):
        seen.append((path.read_bytes(), Path(source).read_bytes(), os.fspath(destination)))
        assert os.path.dirname(source) == os.path.dirname(destination)  # rename within one disk
        replace(source, destination)

    monkeypatch.setattr(checkpoints.os, "replace", watch)
    write_atomically(path, b"new")
    assert seen == [(b"old", b"new", str(path))]
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["state"]


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*nothing.here"):
        load_tensors(tmp_path / "nothing.here")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_tensors(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "header", "pickle"])
def test_a_damaged_file(tmp_path, damage):
    path = tmp_path / "state.safetensors"
    save_tensors(path, {"weight": torch.randn(100)}, {"a": 1})
    content = path.read_bytes()
    if damage == "pickle":
        torch.save({"weight": torch.randn(3)}, path)
    else:
        path.write_bytes(
            {
                "empty": b"",
                "cut": content[:-40],
                "text": b"hello, this is no checkpoint at all",
                "header": b"\xff" * 8 + content[8:],
            }[damage]
        )
    with pytest.raises(ValueError, match=r"state.safetensors is no checkpoint.*delete it"):
        load_tensors(path)


def test_a_file_of_somebody_else(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.randn(3)}, path)
    with pytest.raises(ValueError, match="no checkpoint of this package"):
        load_tensors(path)
    save_file({"weight": torch.randn(3)}, path, metadata={"detlearn": "{no json"})
    with pytest.raises(ValueError, match="no checkpoint of this package"):
        load_tensors(path)
