"""Running notebooks in place: what is stored, what is left out, what a failure leaves behind."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import notebooks
import pytest
import run_tests
import torch
from notebook_rules import code_hash, load
from PIL import Image
from sample_notebook import code, shown, text

LOOKS_AROUND = """\
import os
print(sorted(os.listdir()), os.environ["CUDA_VISIBLE_DEVICES"] == "", os.environ.get("MPLBACKEND"))
for step in range(3):
    print(f"\\rstep {step}", end="")"""


def write(path: Path, *sources: str) -> Path:
    """A notebook with these code cells, none of which ran."""
    cells = [code(source, number) for number, source in enumerate(sources, start=1)]
    for cell in cells:
        cell["execution_count"] = None
    content = {"cells": [text("# A title"), *cells], "metadata": {}}
    path.write_text(json.dumps(content | {"nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.mark.slow
def test_a_run_stores_outputs_hash_and_times(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    path = write(tmp_path / "a.ipynb", LOOKS_AROUND, "1 + 1")
    notebooks.run(path)  # says that there is no bootstrap cell, which is not the point here

    notebook = load(path)
    assert [cell.get("execution_count") for cell in notebook["cells"][1:]] == [1, 2]
    (output,) = notebook["cells"][1]["outputs"]
    # An empty folder, no GPU, matplotlib's backend as Jupyter sets it, the last state of the bar.
    backend = "module://matplotlib_inline.backend_inline"
    assert "".join(output["text"]) == f"[] True {backend}\nstep 2"
    facts = notebook["metadata"]["detlearn"]
    assert facts["code_hash"] == code_hash(notebook)
    assert facts["seconds"] > 0
    assert {item["cell"] for item in facts["slowest_cells"]} == {1, 2}
    assert all("execution" not in cell["metadata"] for cell in notebook["cells"])
    assert os.listdir(tmp_path) == ["a.ipynb"]
    assert os.environ["MPLBACKEND"] == "agg"


@pytest.mark.slow
def test_a_notebook_that_raises_is_left_as_it_was(tmp_path: Path, capsys) -> None:
    path = write(tmp_path / "a.ipynb", "raise ValueError('no such box')")
    before = path.read_bytes()
    assert not notebooks.run(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.ipynb"]
    assert "no such box" in capsys.readouterr().err


def test_shortened_trainings_are_not_stored(tmp_path: Path, monkeypatch, capsys) -> None:
    path = write(tmp_path / "a.ipynb", "1 + 1")
    before = path.read_bytes()
    monkeypatch.setenv("DETLEARN_FAST", "1")
    monkeypatch.setattr(sys, "argv", ["notebooks.py", "run", str(path)])
    assert notebooks.main() == 2
    assert path.read_bytes() == before
    assert "Unset DETLEARN_FAST" in capsys.readouterr().err


def test_a_broken_write_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "table.md"
    path.write_text("old")

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(notebooks.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        notebooks.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.md"]


def test_the_status_table_by_hand() -> None:
    facts = {
        "seconds": 184.6,
        "slowest_cells": [{"cell": 9, "seconds": 59.4}, {"cell": 2, "seconds": 3.0}],
        "processor": "Abacus, 2 cores",
        "python": "3.11.7",
        "torch": "2.14.1",
    }
    ran = {"metadata": {"detlearn": facts}, "cells": [text("# Foundations\n\nText")]}
    fresh = {"metadata": {}, "cells": [text("# Two stages")]}
    rows = notebooks.status_table([("01_a", ran), ("02_b", fresh)]).splitlines()[2:]
    assert rows == [
        "| [Foundations](../chapters/01_a.ipynb) | 3~min 5~s | 59~s ".replace("~", "\u00a0")
        + "| Abacus, 2 cores | Python 3.11.7, torch 2.14.1 |",
        "| [Two stages](../chapters/02_b.ipynb) | not run yet | | | |",
    ]


def test_of_a_widget_with_a_picture_the_picture_is_stored() -> None:
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}}
    notebook = nbformat.v4.new_notebook()
    for data in ({"text/html": "<p>", **view}, {"text/plain": "Slider", **view}):
        output = nbformat.v4.new_output("display_data", data)
        notebook.cells.append(nbformat.v4.new_code_cell(outputs=[output]))

    notebooks.strip_volatile(notebook)
    assert notebook.cells[0].outputs[0]["data"] == {"text/html": "<p>"}
    assert set(view) < set(notebook.cells[1].outputs[0]["data"])  # which the book's rules refuse


def test_what_the_page_folds_is_folded_in_jupyter() -> None:
    notebook = nbformat.v4.new_notebook()
    for tags in ([], ["hide-input", "x"], ["hide-cell"], ["hide-output"]):
        notebook.cells.append(nbformat.v4.new_code_cell(metadata={"tags": tags}))
    notebook.cells[0].metadata["jupyter"] = {"source_hidden": True}  # what is open is opened

    notebooks.fold_in_jupyter(notebook)
    assert [cell.metadata.get("jupyter") for cell in notebook.cells] == [
        None,
        {"source_hidden": True},
        {"source_hidden": True, "outputs_hidden": True},
        {"outputs_hidden": True},
    ]


@pytest.mark.parametrize(("alpha", "mode"), [(255, "RGB"), (128, "RGBA")])
def test_images_shrink_and_keep_every_pixel(alpha: int, mode: str) -> None:
    pixels = torch.randint(0, 256, (9, 7, 4), generator=torch.Generator().manual_seed(0))
    pixels[..., 3] = alpha
    before = Image.fromarray(pixels.byte().numpy())
    file = io.BytesIO()
    before.save(file, "PNG")
    output = shown("image/png", base64.b64encode(file.getvalue()).decode())
    notebook = nbformat.from_dict({"cells": [code("1", 1, [output])], "metadata": {}})

    notebooks.shrink_images(notebook)
    stored = notebook.cells[0].outputs[0]["data"]["image/png"]
    after = Image.open(io.BytesIO(base64.b64decode(stored)))
    assert after.mode == mode
    assert after.convert("RGBA").tobytes() == before.tobytes()


# Each sample tells something else of how nbval runs a notebook: its cells, what came of them.
FINE = {
    # Its stored output is 2, and marked to be compared.
    "same": [("print(1 + 1)", ["nbval-check-output"])],
}
WRONG = {
    "raises": [("assert 1 + 1 == 3", [])],
    "differs": [("print(1 + 2)", ["nbval-check-output"])],
}
# Every cell needs the one before it, in a kernel with one thread and no other notebook.
FIRST = 'import os\nfound = [os.environ["OMP_NUM_THREADS"]]'
for name in "abc":
    grow, last = [f"found.append({name!r})"] * 3, f"assert found == ['1', *3 * {name!r}]"
    FINE[name] = [(source, []) for source in (FIRST, *grow, last)]


@pytest.mark.slow
def test_nbval_runs_cells_compares_marked_outputs_and_keeps_notebooks_apart(tmp_path: Path) -> None:
    """All samples in one run of what `make test` runs: to start it takes ten seconds."""
    stored = {"output_type": "stream", "name": "stdout", "text": "2\n"}
    for name, cells in (FINE | WRONG).items():
        made = [
            code(source, number, [stored] if tags else [], tags=tags)
            for number, (source, tags) in enumerate(cells, start=1)
        ]
        content = {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(content))

    (part,) = run_tests.parts("notebooks", [f"{name}.ipynb" for name in FINE | WRONG])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *part.arguments],
        cwd=tmp_path,
        env=run_tests.environment() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    shown = done.stdout
    failed = re.findall(r"^FAILED (\w+)\.ipynb", shown, re.MULTILINE)
    assert sorted(failed) == sorted(WRONG), shown
    assert "2 failed, 16 passed" in shown, shown
