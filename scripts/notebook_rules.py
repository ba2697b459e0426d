"""What must hold of every committed notebook, as functions that return the faults they find.

The committed notebooks are the source of the book and hold their outputs, so a reader of the HTML
sees exactly what is in the file. Each rule takes a notebook as a plain dictionary (nbformat 4) and
returns one sentence per fault; the sentences count code cells from 1, as the execution counts do.
``tests/notebooks`` runs every rule over every notebook, and proves on broken notebooks that every
rule finds what it is there for.
"""

from __future__ import annotations

import ast
import hashlib
import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from bootstrap_cell import SOURCE as BOOTSTRAP

Notebook = dict

MAX_BYTES = 3_000_000
CHART_LABEL = re.compile(r'class="detlearn-chart" role="img" aria-label="([^"]*)"')
TITLE_LINE = re.compile(r"^#@title [^\n]+\n")  # by which Colab and the page fold a cell
MIN_ALT_LENGTH = 15  # characters: "a figure" says nothing, "a scene with six boxes" does

SKIPPING_TAGS = {"nbval-skip", "skip-execution", "nbval-raises-exception", "raises-exception"}
SKIPPING_COMMENT = re.compile(r"^\s*#\s*(NBVAL_SKIP|NBVAL_RAISES|PYTEST_VALIDATE)", re.M)
REACHES_FOR_SHELL = re.compile(r"\bget_ipython\(|\bos\.system\(")
WARNING = re.compile(r"\b\w*Warning\b\s*:")
OBJECT_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")
MACHINE_PATH = re.compile(
    r"(?<![\w./:-])/(?:home|root|tmp|work|usr|opt|var|mnt|srv|Users|private|content)/[\w.-]+"
    r"|\b[A-Z]:\\+Users\\+\w+"
)
DATA_FILE = r"png|jpe?g|svg|json|csv|xml|txt|pt|npz|py|zip|safetensors"
RELATIVE_PATH = re.compile(rf"^(\.{{1,2}}/|[\w.-]+/[\w./-]*\.\w{{1,11}}$|[\w-]+\.({DATA_FILE})$)")
IMAGE_TYPES = {"image/png", "image/jpeg", "image/svg+xml", "image/gif"}
MARKDOWN_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]*)")  # alt text, target
HTML_IMAGE = re.compile(r"<img\b[^>]*>")
SRC_ATTRIBUTE = re.compile(r"\bsrc=[\"']([^\"']*)")
ALT_ATTRIBUTE = re.compile(r"\balt=(?:\"\s*[^\"\s]|'\s*[^'\s])")  # with something in it


def code_cells(notebook: Notebook) -> list[dict]:
    """Return the notebook's code cells, in order."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def text_cells(notebook: Notebook) -> list[dict]:
    """Return the notebook's Markdown cells, in order."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def source_of(cell: dict) -> str:
    """Return a cell's source as one string (the file format allows a list of lines)."""
    return "".join(cell["source"])


def alt_of(cell: dict) -> str:
    """Return the text that stands for a cell's picture; empty where there is none."""
    return cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "").strip()


def code_hash(notebook: Notebook) -> str:
    """Return the SHA-256 of the code cells' sources: any edit of code changes it, and only that."""
    sources = [source_of(cell) for cell in code_cells(notebook)]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def outputs_of(notebook: Notebook) -> Iterator[tuple[int, dict]]:
    """Yield every output, with the number of its code cell."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        for output in cell.get("outputs", []):
            yield number, output


def text_of(output: dict) -> str:
    """Return all text of an output: a stream, a traceback, the textual forms of a shown object."""
    parts = [output.get("text", ""), output.get("traceback", "")]
    parts += [data for kind, data in output.get("data", {}).items() if kind.startswith("text/")]
    return "\n".join("".join(part) for part in parts)


def strings_in(code: str) -> Iterator[str]:
    """Yield the string constants of some code, without docstrings; none where it does not parse."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except SyntaxError:
        return

    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in docstrings:
            yield node.value


# ---- the rules: notebook -> faults ----


def outputs_belong_to_code(notebook: Notebook) -> list[str]:
    """The hash that was stored when the notebook ran is the hash of the code it holds now."""
    stored = notebook["metadata"].get("detlearn", {}).get("code_hash")
    if stored == code_hash(notebook):
        return []
    return ["the code was edited after its outputs were stored: run `make notebooks`"]


def cells_ran_in_order(notebook: Notebook) -> list[str]:
    """Execution counts are 1, 2, …, n: one clean run from top to bottom."""
    counts = [cell.get("execution_count") for cell in code_cells(notebook)]
    if counts and counts == list(range(1, len(counts) + 1)):
        return []
    return [f"execution counts are {counts}, not 1 to {len(counts)}: run `make notebooks`"]


def is_small(notebook: Notebook) -> list[str]:
    """At most 3 MB as a file."""
    size = len(json.dumps(notebook, ensure_ascii=False, indent=1).encode())
    if size <= MAX_BYTES:
        return []
    return [f"{size / 1e6:.1f} MB is more than 3 MB: store smaller figures"]


def no_errors(notebook: Notebook) -> list[str]:
    """No cell ends in an exception."""
    return [
        f"code cell {number} ends in {output.get('ename')}: {output.get('evalue')}"
        for number, output in outputs_of(notebook)
        if output["output_type"] == "error"
    ]


def no_warnings(notebook: Notebook) -> list[str]:
    """Nothing on the error stream, and no printed warning."""
    faults = []
    for number, output in outputs_of(notebook):
        if output.get("name") == "stderr":
            faults.append(f"code cell {number} writes to stderr: {text_of(output)[:80]!r}")
        elif output["output_type"] != "error" and WARNING.search(text_of(output)):
            faults.append(f"code cell {number} shows a warning")
    return faults


def plain_python(notebook: Notebook) -> list[str]:
    """Every code cell is plain Python: no shell line, no magic, and not empty."""
    faults = []
    for number, cell in enumerate(code_cells(notebook), start=1):
        code = source_of(cell)

        # Python itself says what is none: a magic or a shell line does not parse.
        try:
            statements = ast.parse(code).body
        except SyntaxError as error:
            faults.append(f"code cell {number} is not plain Python, line {error.lineno}")
            continue

        if not statements:
            faults.append(f"code cell {number} is empty")

        # What IPython would make of a magic is plain Python, and no better.
        if REACHES_FOR_SHELL.search(code):
            faults.append(f"code cell {number} reaches for the shell or for IPython")
    return faults


def nothing_skipped(notebook: Notebook) -> list[str]:
    """No cell is left out of a run, and none is expected to fail."""
    faults = []
    for number, cell in enumerate(code_cells(notebook), start=1):
        tags = SKIPPING_TAGS & set(cell["metadata"].get("tags", []))
        if tags or SKIPPING_COMMENT.search(source_of(cell)):
            how = ", ".join(sorted(tags)) or "by a comment"
            faults.append(f"code cell {number} is skipped or expected to fail: {how}")
    return faults


def no_relative_paths(notebook: Notebook) -> list[str]:
    """The notebook needs no file beside it; links from text to other pages are fine."""
    faults = [
        f"code cell {number} names the relative path {text!r}"
        for number, cell in enumerate(code_cells(notebook), start=1)
        for text in strings_in(source_of(cell))
        if RELATIVE_PATH.match(text)
    ]

    # A picture in the text must lie in the notebook itself, as data or as an attachment.
    for text in map(source_of, text_cells(notebook)):
        targets = [target for _, target in MARKDOWN_IMAGE.findall(text)]
        targets += [src for tag in HTML_IMAGE.findall(text) for src in SRC_ATTRIBUTE.findall(tag)]
        faults += [
            f"a text cell shows the file {target!r}, which is not in the notebook"
            for target in targets
            if not target.startswith(("data:", "attachment:"))
        ]
    return faults


def images_have_alt_text(notebook: Notebook) -> list[str]:
    """Every picture says in words what is to be seen.

    For a cell's output the words stand in the cell metadata ``mystnb.image.alt``; in HTML and in
    Markdown they are the image's own alt text.
    """
    faults = []

    # Pictures that a cell shows: one text for the cell.
    for number, cell in enumerate(code_cells(notebook), start=1):
        kinds = {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}
        if kinds & IMAGE_TYPES and len(alt_of(cell)) < MIN_ALT_LENGTH:
            faults.append(
                f"code cell {number} shows an image without alt text (metadata mystnb.image.alt)"
            )

    # Pictures inside HTML, and in the text: each has its own.
    shown = [(f"code cell {number}", text_of(output)) for number, output in outputs_of(notebook)]
    shown += [("a text cell", source_of(cell)) for cell in text_cells(notebook)]
    for where, text in shown:
        silent = [tag for tag in HTML_IMAGE.findall(text) if not ALT_ATTRIBUTE.search(tag)]
        if where == "a text cell":
            silent += [target for alt, target in MARKDOWN_IMAGE.findall(text) if not alt.strip()]
        faults += [f"{where} shows an image without alt text: {image[:60]}" for image in silent]

    return faults


def charts_are_labelled(notebook: Notebook) -> list[str]:
    """A chart, which is drawn in HTML, is labelled with its cell's alt text, and has one."""
    faults = []
    for number, cell in enumerate(code_cells(notebook), start=1):
        alt = alt_of(cell)
        for output in cell.get("outputs", []):
            labels = CHART_LABEL.findall(text_of(output))
            if labels and len(alt) < MIN_ALT_LENGTH:
                faults.append(f"code cell {number} shows a chart without alt text")
            elif any(html.unescape(label) != alt for label in labels):
                faults.append(
                    f"code cell {number}: the chart's label is not the cell's alt text: "
                    "run `python scripts/notebooks.py label`"
                )
    return faults


def no_trace_of_the_machine(notebook: Notebook) -> list[str]:
    """No absolute path and no memory address of the machine that ran it."""
    texts = [
        (f"the output of code cell {number}", text_of(out)) for number, out in outputs_of(notebook)
    ]
    texts += [("the source of a cell", source_of(cell)) for cell in notebook["cells"]]

    return [
        f"{where} names {found.group()!r}"
        for where, text in texts
        for found in (MACHINE_PATH.search(text), OBJECT_ADDRESS.search(text))
        if found
    ]


def starts_with_the_bootstrap(notebook: Notebook) -> list[str]:
    """The first code cell is the one of ``bootstrap_cell.py``, a title line above it apart."""
    cells = code_cells(notebook)
    if cells and TITLE_LINE.sub("", source_of(cells[0])) == BOOTSTRAP:
        return []
    return ["the first code cell is not what `python scripts/bootstrap_cell.py` prints"]


def no_widgets(notebook: Notebook) -> list[str]:
    """No stored widgets: they are dead without a kernel, and large."""
    faults = ["widget state is stored in the notebook"] if "widgets" in notebook["metadata"] else []
    return faults + [
        f"code cell {number} shows a widget, which is dead in the HTML"
        for number, output in outputs_of(notebook)
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    ]


RULES: list[Callable[[Notebook], list[str]]] = [
    outputs_belong_to_code,
    cells_ran_in_order,
    is_small,
    no_errors,
    no_warnings,
    plain_python,
    nothing_skipped,
    no_relative_paths,
    images_have_alt_text,
    charts_are_labelled,
    no_trace_of_the_machine,
    starts_with_the_bootstrap,
    no_widgets,
]


def load(path: Path) -> Notebook:
    """Read a notebook as a plain dictionary."""
    return json.loads(path.read_text(encoding="utf-8"))


def faults_in(notebook: Notebook) -> list[str]:
    """Return all faults that all rules find."""
    return [fault for rule in RULES for fault in rule(notebook)]
