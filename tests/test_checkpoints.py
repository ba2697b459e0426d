"""Files that survive a crash, show damage and cannot run code."""

import json
import os
import resource
import signal
import subprocess
import sys
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
    with pytest.raises(ValueError, match=r"state.safetensors is no checkpoint.*remove it if it is"):
        load_tensors(path)


def test_a_file_of_somebody_else(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.randn(3)}, path)
    with pytest.raises(ValueError, match=r"no checkpoint of this package.*no entry 'detlearn'"):
        load_tensors(path)
    for text, reason in {"{no json": "property name", "3": "checksum", "": "checksum"}.items():
        save_file({"weight": torch.randn(3)}, path, metadata={"detlearn": text})
        with pytest.raises(ValueError, match=f"no checkpoint of this package.*{reason}"):
            load_tensors(path)


def test_a_file_of_an_older_version_has_no_checksum_and_is_read(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "state"
    save_file({"weight": torch.ones(3)}, path, metadata={"detlearn": json.dumps({"a": 1})})
    tensors, info = load_tensors(path)
    assert tensors["weight"].tolist() == [1, 1, 1] and info == {"a": 1}


def test_every_flipped_bit_is_found(tmp_path):
    """Wherever it lies: in a weight, a name, a shape, a setting, or the checksum itself."""
    path = tmp_path / "state"
    save_tensors(path, {"a": torch.randn(2, 3), "step": torch.tensor(3)}, {"lr": 0.002, "k": "ä"})
    content = path.read_bytes()
    for bit in range(0, 8 * len(content), 7):  # each of the eight bits of a byte has its turn
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"state is no checkpoint") as caught:
            load_tensors(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("old", "new"), [(b'"F32"', b'"I32"'), (b"[2,3]", b"[3,2]")])
def test_the_same_bytes_read_in_another_way_are_found(tmp_path, old, new):
    path = tmp_path / "state"
    save_tensors(path, {"a": torch.randn(2, 3)}, {})
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(ValueError, match=r"state is no checkpoint.*its checksum is not that"):
        load_tensors(path)


def test_a_dictionary_is_expected(tmp_path):
    path = tmp_path / "state"
    save_tensors(path, {"a": torch.ones(2)}, [1, 2])
    with pytest.raises(ValueError, match=r"no checkpoint of this package.*no dictionary"):
        load_tensors(path)


def test_the_same_content_gives_the_same_file(tmp_path):
    tensors = {name: torch.ones(2) for name in "abcdefg"}
    for k in range(10):
        save_tensors(tmp_path / str(k), tensors, {"x": 1, "y": 2})
    assert len({(tmp_path / str(k)).read_bytes() for k in range(10)}) == 1


def test_every_cut_is_found(tmp_path):
    path = tmp_path / "state"
    save_tensors(path, {"a": torch.randn(2, 3)}, {"lr": 0.002})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"state is no checkpoint"):
            load_tensors(path)


def test_what_was_read_does_not_hang_on_the_file(tmp_path):
    """A file that somebody has mapped into memory cannot be replaced on Windows."""
    path = tmp_path / "state"
    save_tensors(path, {"a": torch.ones(50_000)}, {})
    tensors, _ = load_tensors(path)
    with open(path, "r+b") as file:  # in place, where a mapping would see it
        file.seek(-200_000, os.SEEK_END)
        file.write(bytes(200_000))
    assert tensors["a"].sum() == 50_000
    if Path("/proc/self/maps").exists():
        assert str(path) not in Path("/proc/self/maps").read_text()


# Stores one checkpoint after the other, each of another size, until it is killed.
STORING = """
import itertools, sys, torch
from detlearn.machine.checkpoints import save_tensors

for k in itertools.count():
    save_tensors(sys.argv[1], {"a": torch.full((1 + k % 3 * 100,), float(k))}, {"k": k})
"""


def test_reading_while_a_training_stores_the_next_one(tmp_path):
    """Every reader has one checkpoint, the last or the next, and never parts of both."""
    path = tmp_path / "state"
    process = subprocess.Popen([sys.executable, "-c", STORING, path])
    try:
        while not path.exists():
            assert process.poll() is None
        seen = set()
        for _ in range(4000):
            tensors, info = load_tensors(path)
            assert tensors["a"].unique().tolist() == [info["k"]]
            seen.add(info["k"])
    finally:
        process.kill()
        process.wait()
    assert len(seen) > 10, "too few were stored in that time to say anything"


# -------------------------------------------------------------------- killed, and out of space

# Writes half of the content, says so, and waits to be killed.
HALF = """
import os, sys, time
from pathlib import Path
from detlearn.machine import checkpoints

def stop(descriptor):
    print("half", flush=True)
    time.sleep(60)

checkpoints.os.fsync = stop
checkpoints.write_atomically(sys.argv[1], b"new")
"""


@pytest.mark.alone
def test_leftovers_go_when_their_process_is_dead_and_not_before(tmp_path):
    path = tmp_path / "state"
    write_atomically(path, b"old")
    (tmp_path / ".state.mine.tmp").write_text("of another program")
    (tmp_path / ".state.0123abcd.tmp.txt").write_text("of another program")
    kept = {"state", ".state.mine.tmp", ".state.0123abcd.tmp.txt"}

    process = subprocess.Popen([sys.executable, "-c", HALF, path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"half\n"
    (temporary,) = set(os.listdir(tmp_path)) - kept

    # It lives and works on its file, which we leave alone.
    checkpoints.remove_leftovers.cache_clear()
    write_atomically(tmp_path / "other", b"1")
    assert set(os.listdir(tmp_path)) == kept | {temporary, "other"}

    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (tmp_path / temporary).read_bytes() == b"new" and path.read_bytes() == b"old"
    checkpoints.remove_leftovers.cache_clear()
    write_atomically(tmp_path / "other", b"2")
    assert set(os.listdir(tmp_path)) == kept | {"other"}


def test_a_leftover_that_cannot_be_removed_stops_nobody(tmp_path):
    (tmp_path / ".a.0123abcd.tmp").symlink_to("nowhere")
    os.mkfifo(tmp_path / ".b.0123abcd.tmp")  # opening it would wait for a writer
    folder = tmp_path / ".c.0123abcd.tmp"
    folder.mkdir()
    (folder / "part").write_text("1")
    write_atomically(tmp_path / "state", b"new")
    assert sorted(os.listdir(tmp_path)) == [".a.0123abcd.tmp", ".b.0123abcd.tmp", "state"]


def test_swept_before_it_was_locked(tmp_path, monkeypatch):
    """Another process may sweep between the making of a file and its lock: a new one is made."""
    lock, asked = checkpoints._lock, []

    def late(path, wait):
        asked.append(path)
        if len(asked) == 1:
            path.unlink()
        return lock(path, wait)

    monkeypatch.setattr(checkpoints, "_lock", late)
    write_atomically(tmp_path / "state", b"new")
    assert len(set(asked)) == 2 and os.listdir(tmp_path) == ["state"]


def test_a_full_disk_is_named_and_the_old_file_stays(tmp_path):
    """A limit on the size of files stops a write in the middle, as a full disk does."""
    path = tmp_path / "state"
    save_tensors(path, {"a": torch.zeros(1000)}, {})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"too large: '.*state'"):
            save_tensors(path, {"a": torch.zeros(5000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["state"]


def test_a_long_name(tmp_path):
    name = "ä" * 120  # 240 bytes of 255
    write_atomically(tmp_path / name, b"1")
    assert os.listdir(tmp_path) == [name]
