"""The results as files: a CSV for a class, Gradescope's ``results.json`` for one submission."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence

from detlearn.check import EXERCISES
from detlearn.grading.examiner import Row

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for a program


def csv_table(rows: Mapping[str, Row], exercises: Sequence[str]) -> bytes:
    """Return the table of a class: one line per submission, sorted by name.

    Args:
        rows: submission → row.
        exercises: names, in the order of the columns.

    Returns:
        The file: submission, total, points per exercise, hint per exercise, remark.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")

    hints = [f"{name} hint" for name in exercises]
    writer.writerow(["submission", "total", *exercises, *hints, "remark"])

    for name, row in sorted(rows.items()):
        points = [row.points.get(exercise, 0) for exercise in exercises]
        said = [harmless(row.hints.get(exercise, "")) for exercise in exercises]
        writer.writerow([harmless(name), sum(points), *points, *said, harmless(row.remark)])

    # A name may hold bytes that are no UTF-8.
    return text.getvalue().encode("utf-8", errors="backslashreplace")


def harmless(text: str) -> str:
    """Return a text so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def gradescope_results(row: Row, exercises: Sequence[str]) -> bytes:
    """Return Gradescope's form for one submission.

    Args:
        row: what it earned.
        exercises: names.

    Returns:
        The content of ``results.json``.
    """
    tests = []
    for name in exercises:
        score = row.points.get(name, 0)
        # Without points and without a hint it is the remark that says why.
        output = row.hints.get(name) or ("right" if score else row.remark)

        tests.append(
            {
                "name": name,
                "number": EXERCISES[name].number,
                "score": score,
                "max_score": EXERCISES[name].points,
                "output": output,
            }
        )

    total = sum(test["score"] for test in tests)
    results = {"score": total, "output": row.remark, "tests": tests}
    return json.dumps(results, indent=1).encode()
