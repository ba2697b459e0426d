"""The doctor: one clear sentence for each known trouble. Each is put there by the test."""

import importlib.metadata
import os
import re
import sys

import pytest
import torch

from detlearn.machine import doctor


@pytest.fixture
def quiet(monkeypatch):
    """A machine on which all is well: nobody else computes, as many threads as cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(4), raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.3, 0.3, 0.3), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch.version, "cuda", None)


def the_trouble():
    (sentence,) = doctor.troubles()
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


class TestVersions:
    def test_of_python_and_of_every_package(self):
        found = doctor.versions()
        assert found["python"] == ".".join(map(str, sys.version_info[:3]))
        for name in ("torch", "torchvision", "numpy", "scipy", "pillow", "safetensors", "detlearn"):
            assert found[name] == importlib.metadata.version(name)

    def test_names_what_the_package_depends_on(self):
        declared = importlib.metadata.requires("detlearn") or []
        names = {re.match(r"[\w-]+", line).group() for line in declared if "extra" not in line}
        assert names <= set(doctor.PACKAGES)


def test_all_is_well(quiet):
    assert doctor.troubles() == []
    text, well = doctor.report()
    assert well and text.endswith("All is well.")
    assert f"torch        {importlib.metadata.version('torch')}" in text
    for word in ("device", "threads      4", "bfloat16"):
        assert word in text


class TestTorchvision:
    def check(self):
        sentence = doctor.troubles()[0]
        for name in ("torch", "torchvision"):
            assert f"{name} {importlib.metadata.version(name)}" in sentence
        assert "do not belong together" in sentence
        assert "install both again in one command, pip install torch torchvision." in sentence
        text, well = doctor.report()
        assert not well and f"! {sentence}" in text and "All is well" not in text

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("operator torchvision::nms does not exist"),
            NotImplementedError("Could not run 'torchvision::nms'"),
        ],
    )
    def test_operators_are_missing(self, quiet, monkeypatch, error):
        def broken(*arguments):
            raise error

        monkeypatch.setattr("torchvision.ops.nms", broken)
        self.check()

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("operator torchvision::nms does not exist"),
            AttributeError(
                "partially initialized module 'torchvision' has no attribute 'extension'"
            ),
            ImportError("cannot import name 'x' from 'torch'"),
            OSError("undefined symbol: _ZN3c10"),
        ],
    )
    def test_it_cannot_even_be_imported(self, quiet, monkeypatch, error):
        """What really happens: the import of torchvision raises."""

        class Broken:
            def find_spec(self, name, path=None, target=None):
                if name.startswith("torchvision"):
                    raise error

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
        self.check()

    def test_it_is_not_there(self, quiet, monkeypatch):
        monkeypatch.setitem(sys.modules, "torchvision", None)
        monkeypatch.setitem(sys.modules, "torchvision.ops", None)
        sentence = doctor.troubles()[0]
        assert "torch or torchvision cannot be imported" in sentence
        assert "install both again, together" in sentence

    def test_torch_is_not_there(self, quiet, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "torch", None)
            text, well = doctor.report()
        assert not well and "torch or torchvision cannot be imported" in text


class TestMachine:
    def test_more_threads_than_cores(self, quiet, monkeypatch):
        monkeypatch.setattr(torch, "get_num_threads", lambda: 9)
        assert "torch uses 9 threads on 4 cores" in the_trouble()
        assert "set OMP_NUM_THREADS=4" in the_trouble()

    def test_busy(self, quiet, monkeypatch):
        monkeypatch.setattr(os, "getloadavg", lambda: (3.9, 0.0, 0.0), raising=False)
        assert "Other programs keep this machine busy" in the_trouble()
        assert "OMP_NUM_THREADS=1" in the_trouble()

    def test_our_own_load_is_no_trouble(self, quiet, monkeypatch):
        monkeypatch.setattr(os, "getloadavg", lambda: (1.0, 0.0, 0.0), raising=False)
        assert doctor.troubles() == []

    def test_without_these_functions(self, quiet, monkeypatch):
        """Windows and macOS lack them."""
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        monkeypatch.delattr(os, "getloadavg", raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: 4)
        assert doctor.troubles() == []

    def test_an_old_driver(self, quiet, monkeypatch):
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        assert "driver is too old for this torch: update the driver" in the_trouble()
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        assert doctor.troubles() == []


def test_a_missing_package(quiet, monkeypatch):
    version = importlib.metadata.version

    def without(name):
        if name == "scipy":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    assert doctor.versions()["scipy"] == "missing"
    assert the_trouble() == "scipy is not installed: pip install scipy."
    text, well = doctor.report()
    assert not well and "scipy        missing" in text


def test_the_gravest_trouble_comes_first(quiet, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("torchvision.ops.nms", broken)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 9)
    first, second = doctor.troubles()
    assert "torchvision" in first and "threads" in second
