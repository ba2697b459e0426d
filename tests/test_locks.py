"""Locks: one process at a time, and nobody waits for one that is dead."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from detlearn.machine import locks
from detlearn.machine.locks import hold


def test_a_second_one_is_refused_and_the_next_is_not(tmp_path):
    path = tmp_path / "folder" / ".lock"
    for _ in range(2):
        with hold(path, wait=False):
            with pytest.raises(BlockingIOError), hold(path, wait=False):
                pass
            assert path.exists()
        assert os.listdir(path.parent) == []


def test_what_the_block_raises_sets_it_free(tmp_path):
    with pytest.raises(KeyError), hold(tmp_path / ".lock", wait=False):
        raise KeyError
    with hold(tmp_path / ".lock", wait=False):
        pass


def test_who_waits_has_it_afterwards(tmp_path):
    """Ten threads add to a number without looking whether another one does."""
    number = [0]

    def add():
        for _ in range(20):
            with hold(tmp_path / ".lock", wait=True):
                before = number[0]
                time.sleep(0)  # somebody else's turn
                number[0] = before + 1

    threads = [threading.Thread(target=add) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number == [200] and os.listdir(tmp_path) == []


def test_a_file_that_was_removed_meanwhile_is_not_taken(tmp_path, monkeypatch):
    """Who held it removed it between our opening and our locking: then another has its name."""
    path, opened = tmp_path / ".lock", []
    plain_open = os.open

    def late(*arguments):
        opened.append(plain_open(*arguments))
        if len(opened) == 1:
            path.unlink()
        return opened[-1]

    monkeypatch.setattr(locks.os, "open", late)
    with hold(path, wait=False):
        assert len(opened) == 2
        monkeypatch.undo()
        with pytest.raises(BlockingIOError), hold(path, wait=False):
            pass


# Holds a lock, has a fork that lives longer, as a training has those that load its images; waits.
# The fork is the one that speaks: on a busy machine it may begin to run long after its parent.
HOLDER = """
import os, sys, time
from pathlib import Path
from detlearn.machine.locks import hold

with hold(Path(sys.argv[1]), wait=False):
    if not os.fork():
        print("held", flush=True)
    time.sleep(20)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_kill_9_sets_it_free_though_a_fork_lives_on(tmp_path, root):
    path = tmp_path / ".lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError), hold(path, wait=False):
            pass

        process.send_signal(signal.SIGKILL)
        process.wait()
        assert path.exists()
        with hold(path, wait=False):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the fork
        process.stdout.close()


def test_without_locks_nobody_is_kept_out(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)  # Windows
    with hold(tmp_path / ".lock", wait=False), hold(tmp_path / ".lock", wait=False):
        pass
