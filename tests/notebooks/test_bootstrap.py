"""The first cell of every notebook, run where detlearn is missing, broken, or does not fit."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from bootstrap_cell import SOURCE


def run_cell(
    tmp_path: Path, *first_on_path: Path, **environment: str
) -> subprocess.CompletedProcess:
    """Runs the cell in a Python that has every package of this environment except detlearn.

    With ``-S`` no ``.pth`` file is read, which is how an editable installation makes itself known.
    pip installs into a folder of its own (``PIP_TARGET``) and may not look at any index.
    """
    installed = tmp_path / "installed"
    path = [*first_on_path, installed, Path(sysconfig.get_paths()["purelib"])]
    cell = tmp_path / "cell.py"
    cell.write_text(SOURCE + "\nprint('imported', detlearn.__file__)\n")
    return subprocess.run(
        [sys.executable, "-S", str(cell)],
        cwd=tmp_path,
        env=dict(os.environ)
        | {"PYTHONPATH": os.pathsep.join(map(str, path)), "PIP_TARGET": str(installed)}
        | {"PIP_NO_INDEX": "1", "DETLEARN_SPEC": ""}
        | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def make_module(folder: Path, name: str, source: str) -> Path:
    """A package of one file; returns the folder to put on the path."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(source)
    return folder


def make_wheel(root: Path, folder: Path) -> Path:
    """A wheel of the package as it stands, made without a build tool."""
    wheel = folder / "detlearn-0.1.0-py3-none-any.whl"
    info = "detlearn-0.1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in sorted((root / "detlearn").rglob("*.py")):
            archive.write(path, path.relative_to(root).as_posix())
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: detlearn\nVersion: 0.1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.mark.slow
def test_a_missing_detlearn_is_installed(root: Path, tmp_path: Path) -> None:
    done = run_cell(tmp_path, DETLEARN_SPEC=str(make_wheel(root, tmp_path)))
    assert done.returncode == 0, done.stderr
    assert f"imported {tmp_path / 'installed' / 'detlearn'}" in done.stdout
    # --no-deps: nothing but detlearn was installed
    assert {path.name.split("-")[0] for path in (tmp_path / "installed").iterdir()} == {"detlearn"}


@pytest.mark.slow
def test_a_failed_installation_ends_in_one_sentence(tmp_path: Path) -> None:
    modules = make_module(tmp_path / "modules", "torchvision", "")
    done = run_cell(tmp_path, modules, DETLEARN_SPEC=str(tmp_path / "gone-1.0-py3-none-any.whl"))
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == (
        "ImportError: detlearn does not start (No module named 'detlearn'); "
        "install detlearn as the book's start page says, then restart."
    )
    assert done.stderr.count("Traceback") == 1  # not one exception during the handling of another


def test_a_present_detlearn_is_left_alone(tmp_path: Path) -> None:
    modules = make_module(tmp_path / "modules", "detlearn", "")
    make_module(tmp_path / "modules", "torchvision", "")
    done = run_cell(tmp_path, modules, DETLEARN_SPEC="must-not-be-touched")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "installed").exists()


def test_a_torchvision_that_does_not_fit_is_named(tmp_path: Path) -> None:
    modules = make_module(tmp_path / "modules", "detlearn", "")
    mismatch = "raise RuntimeError('operator torchvision::nms does not exist')"
    make_module(tmp_path / "modules", "torchvision", mismatch)
    done = run_cell(tmp_path, modules)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == (
        "ImportError: detlearn does not start (operator torchvision::nms does not exist); "
        "install a torch and a torchvision that belong together, then restart."
    )
