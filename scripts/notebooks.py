"""Run the book's notebooks in place, and keep the table of what was run.

    python scripts/notebooks.py run [NOTEBOOK ...]     # run, store the outputs, refresh the table
    python scripts/notebooks.py check [NOTEBOOK ...]   # say what is wrong with stored notebooks
    python scripts/notebooks.py label [NOTEBOOK ...]   # give charts the alt text of their cells
    python scripts/notebooks.py status                 # refresh book/status_table.md alone

A run is one clean pass from top to bottom on the CPU, in an empty folder, so that a notebook which
needs a file beside it fails here and not at the reader's. Besides the outputs it stores, in the
notebook's metadata under ``detlearn``, the hash of the code that made them, the time it took, and
on what. Everything volatile (time stamps, versions of the Jupyter tools, widget state) is left out,
so that two runs of the same code differ only where their outputs do. A notebook that raises is left
as it was, and a run that is broken off leaves no half-written file.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import os
import platform
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from notebook_rules import (
    CHART_LABEL,
    alt_of,
    code_cells,
    code_hash,
    faults_in,
    load,
    source_of,
    text_cells,
)
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
STATUS_TABLE = ROOT / "book" / "status_table.md"
CELL_TIMEOUT = 900  # seconds; the longest live training of the book is meant to take 150
SLOWEST_KEPT = 3
NO_BREAK = "\u00a0"  # a blank at which no line ends


def all_notebooks() -> list[Path]:
    """Return the chapters, in the order of the book."""
    return sorted((ROOT / "chapters").glob("*.ipynb"))


def write_atomically(path: Path, text: str) -> None:
    """Replace the file in one step; on any failure the old one stays."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp makes files that only their owner may read
        os.replace(name, path)
    except BaseException:  # Ctrl-C, too, leaves nothing behind
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def plain_cpu_environment() -> Iterator[None]:
    """Hide GPUs from the kernel, and a matplotlib backend that somebody chose for their shell."""
    before = dict(os.environ)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TQDM_DISABLE"] = "1"  # a stored progress bar would be a dead widget on the page
    os.environ.pop("MPLBACKEND", None)

    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def execute(notebook: nbformat.NotebookNode) -> None:
    """Run every cell in a fresh kernel in an empty folder; the outputs go into ``notebook``."""
    with tempfile.TemporaryDirectory() as folder, plain_cpu_environment():
        NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            startup_timeout=300,  # a cold disk or a busy machine; the usual 60 s are not enough
            kernel_name="python3",
            record_timing=True,
            coalesce_streams=True,  # one text per stream; of a progress bar only its last state
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": folder}},
        ).execute()


def labelled(text: str, alt: str) -> str:
    """Return some HTML with `alt` as the label of the charts in it."""
    words = html.escape(alt, quote=True)
    return CHART_LABEL.sub(lambda match: match[0].replace(f'"{match[1]}"', f'"{words}"'), text)


def label_charts(notebook: nbformat.NotebookNode) -> None:
    """Give every chart the alt text of its cell, which the code that draws it cannot see."""
    for cell in code_cells(notebook):
        alt = alt_of(cell)
        for output in cell["outputs"]:
            data = output.get("data", {})
            if alt and "text/html" in data:
                data["text/html"] = labelled("".join(data["text/html"]), alt)


def fold_in_jupyter(notebook: nbformat.NotebookNode) -> None:
    """Fold in Jupyter what the page and Colab fold: a folded cell shows its title line there."""
    for cell in code_cells(notebook):
        tags = set(cell["metadata"].get("tags", []))
        folds = {
            "source_hidden": bool(tags & {"hide-input", "hide-cell"}),
            "outputs_hidden": bool(tags & {"hide-output", "hide-cell"}),
        }
        cell["metadata"].pop("jupyter", None)
        if any(folds.values()):
            cell["metadata"]["jupyter"] = {name: True for name, fold in folds.items() if fold}


def label(path: Path) -> None:
    """Label the charts of a stored notebook, after an edit of its alt texts."""
    notebook = nbformat.read(path, as_version=4)
    label_charts(notebook)
    write_atomically(path, nbformat.writes(notebook) + "\n")


def seconds_of(cell: dict) -> float:
    """Return how long a code cell ran, by the time stamps that nbclient left in its metadata."""
    stamps = cell["metadata"].get("execution", {})
    start, end = stamps.get("iopub.status.busy"), stamps.get("iopub.status.idle")
    if start is None or end is None:
        return 0.0

    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def processor() -> str:
    """Name the processor: its model where the system tells, and how many cores we may use."""
    model = platform.machine()

    # Linux says which model it is; elsewhere the kind of machine has to do.
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        if names:
            model = names[0].replace("(R)", "").replace("(TM)", "")

    # A container often may use fewer cores than the machine has.
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()
    return f"{model}, {cores} cores"


def record_run(notebook: nbformat.NotebookNode, seconds: float) -> None:
    """Write into the metadata which code ran, for how long, on what, and its slowest cells."""
    times = [
        {"cell": number, "seconds": round(seconds_of(cell), 1)}
        for number, cell in enumerate(code_cells(notebook), start=1)
    ]

    notebook.metadata["detlearn"] = {
        "code_hash": code_hash(notebook),
        "seconds": round(seconds, 1),
        "slowest_cells": sorted(times, key=lambda item: -item["seconds"])[:SLOWEST_KEPT],
        "processor": processor(),
        "python": platform.python_version(),
        "torch": version("torch").split("+")[0],
    }


def shrink_images(notebook: nbformat.NotebookNode) -> None:
    """Encode figures again, pixel for pixel the same, without an alpha channel that is all opaque.

    That saves an eighth of the chapters' size, of which figures are nearly everything.
    """
    for cell in code_cells(notebook):
        for output in cell.outputs:
            encoded = output.get("data", {}).get("image/png")
            if encoded is None:
                continue

            image = Image.open(io.BytesIO(base64.b64decode(encoded)))
            if image.mode == "RGBA" and image.getextrema()[3] == (255, 255):
                image = image.convert("RGB")

            output["data"]["image/png"] = base64.b64encode(as_png(image)).decode()


def as_png(image: Image.Image) -> bytes:
    """Return the shorter of two files of the same pixels.

    Pillow stores each row as differences to its neighbours. A scene drawn larger than it is has
    long runs of equal pixels, and then the pixels as they are take an eighth less.
    """
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    if image.mode != "RGB":
        return file.getvalue()

    # A PNG is a signature and chunks: length, name, content, checksum. The zero before a row says
    # that its pixels stand there as they are.
    width, height = image.size
    pixels = image.tobytes()
    rows = [b"\0" + pixels[3 * width * y : 3 * width * (y + 1)] for y in range(height)]
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),  # 8 bits, RGB
        b"IDAT": zlib.compress(b"".join(rows), 9),
        b"IEND": b"",
    }
    as_they_are = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks.items()
    )
    return min(file.getvalue(), as_they_are, key=len)


def strip_volatile(notebook: nbformat.NotebookNode) -> None:
    """Drop what changes from run to run, or from machine to machine, without meaning."""
    for cell in notebook.cells:
        for key in ("execution", "ExecuteTime", "lines_to_next_cell"):
            cell.metadata.pop(key, None)

    for key in ("widgets", "jupytext"):
        notebook.metadata.pop(key, None)

    # A widget is dead on the page; the picture that came along with it stands there instead.
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if "text/html" in output.get("data", {}):
                output["data"].pop("application/vnd.jupyter.widget-view+json", None)

    # Whatever kernel ran it here, the reader's is called python3.
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata["language_info"] = {"name": "python"}


def run(path: Path) -> bool:
    """Run one notebook and store it; False where it raises or breaks a rule of the book."""
    notebook = nbformat.read(path, as_version=4)
    print(f"{path.name}: running", flush=True)
    start = time.perf_counter()
    try:
        execute(notebook)
    except (CellExecutionError, CellTimeoutError, RuntimeError) as error:
        print(f"{path.name}: left as it was, because it failed\n{error}", file=sys.stderr)
        return False

    # The run is recorded before the time stamps, from which the seconds come, are dropped.
    record_run(notebook, time.perf_counter() - start)
    strip_volatile(notebook)
    shrink_images(notebook)
    label_charts(notebook)
    fold_in_jupyter(notebook)
    write_atomically(path, nbformat.writes(notebook) + "\n")

    facts = notebook.metadata["detlearn"]
    slowest = [f"cell {item['cell']} {item['seconds']:.1f} s" for item in facts["slowest_cells"]]
    print(f"{path.name}: {facts['seconds']:.1f} s, the slowest: {', '.join(slowest)}")
    return check(path)


def check(path: Path) -> bool:
    """Print what is wrong with a stored notebook; True where nothing is."""
    faults = faults_in(load(path))
    for fault in faults:
        print(f"{path.name}: {fault}", file=sys.stderr)
    return not faults


def in_words(seconds: float) -> str:
    """Return a duration as a reader would say it: ``48 s`` or ``3 min 5 s``.

    A number and its unit stand on one line.
    """
    whole = round(seconds)
    words = f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"
    return words.replace(" min", f"{NO_BREAK}min").replace(" s", f"{NO_BREAK}s")


def title_of(notebook: dict) -> str:
    """Return the chapter's title: the first heading in its text."""
    for cell in text_cells(notebook):
        for line in source_of(cell).splitlines():
            if line.startswith("# "):
                return line[2:].strip()
    return "(no title)"


def status_table(notebooks: list[tuple[str, dict]]) -> str:
    """Return the table of the status page, from pairs of a chapter's file name and its notebook."""
    lines = [
        "| Chapter | Whole run | Slowest cell | Processor | Software |",
        "|---|--:|--:|---|---|",
    ]
    for name, notebook in notebooks:
        link = f"[{title_of(notebook)}](../chapters/{name}.ipynb)"
        facts = notebook["metadata"].get("detlearn")
        if facts is None:
            lines.append(f"| {link} | not run yet | | | |")
            continue

        lines.append(
            f"| {link} | {in_words(facts['seconds'])} "
            f"| {in_words(facts['slowest_cells'][0]['seconds'])} "
            f"| {facts['processor']} | Python {facts['python']}, torch {facts['torch']} |"
        )

    return "\n".join(lines) + "\n"


def current_status_table() -> str:
    """Return the table as the notebooks in ``chapters/`` have it now."""
    return status_table([(path.stem, load(path)) for path in all_notebooks()])


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "check", "label", "status"])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all chapters")
    return parser.parse_args()


def main() -> int:
    """Run the command; return 0 where every notebook is in order."""
    arguments = parse_arguments()
    if arguments.command == "status":
        write_atomically(STATUS_TABLE, current_status_table())
        return 0

    if arguments.command == "label":
        for path in arguments.notebooks or all_notebooks():
            label(path)
        return 0

    # Lists, so that every notebook has its turn after one that failed.
    paths = arguments.notebooks or all_notebooks()
    if arguments.command == "check":
        return 0 if all([check(path) for path in paths]) else 1

    if os.environ.get("DETLEARN_FAST"):
        print("Unset DETLEARN_FAST: shortened trainings must not be stored.", file=sys.stderr)
        return 2

    fine = all([run(path) for path in paths])
    write_atomically(STATUS_TABLE, current_status_table())
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
