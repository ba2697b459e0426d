"""A small notebook that breaks no rule, for the tests to break."""

from bootstrap_cell import SOURCE as BOOTSTRAP
from notebook_rules import Notebook, code_hash


def code(source: str, number: int, outputs: list[dict] | None = None, **metadata: object) -> dict:
    """A code cell that ran as the given number."""
    return {
        "cell_type": "code",
        "id": f"cell-{number}",
        "source": source,
        "execution_count": number,
        "metadata": metadata,
        "outputs": outputs or [],
    }


def text(source: str) -> dict:
    """A Markdown cell."""
    return {"cell_type": "markdown", "id": f"text-{len(source)}", "source": source, "metadata": {}}


def printed(words: str, stream: str = "stdout") -> dict:
    """What a cell printed."""
    return {"output_type": "stream", "name": stream, "text": words}


def shown(kind: str, data: str) -> dict:
    """What a cell displayed."""
    return {"output_type": "display_data", "data": {kind: data}, "metadata": {}}


def good_notebook() -> Notebook:
    """Three code cells that ran in order, one of which shows a picture with alt text."""
    alt = {"image": {"alt": "A curve that rises from 0 to 1."}}
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [
            text("# A chapter\n\nSee the [glossary](../book/glossary.md) for [IoU](#term-iou)."),
            code(BOOTSTRAP, 1),
            code("print(sum([1, 2]) / 2, 'images/s')", 2, [printed("1.5 images/s\n")]),
            code(
                '"""A docstring, not ./a/path."""', 3, [shown("image/png", "iVBORw0=")], mystnb=alt
            ),
        ],
    }
    notebook["metadata"]["detlearn"] = {"code_hash": code_hash(notebook)}
    return notebook
