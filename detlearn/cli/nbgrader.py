"""``detlearn nbgrader``."""

from __future__ import annotations

import argparse
from pathlib import Path

ABOUT = "Write a course folder for nbgrader."
EXAMPLES = """\
examples:
  detlearn nbgrader course
  cd course && nbgrader generate_assignment 01_foundations"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command understands."""
    parser.add_argument("course", type=Path, help="folder to write")
    parser.add_argument("--chapters", type=Path, help="folder of the book's notebooks")
    parser.add_argument("--seed", type=int, help="of the hidden tests (default: drawn)")


def run(options: argparse.Namespace) -> int:
    """Write the folder and print what was written."""
    from detlearn.nbgrader.course import write_course

    chapters = options.chapters or _default_chapters()
    for path in write_course(options.course, chapters, options.seed):
        print(path)
    return 0


def _default_chapters() -> Path:
    """Return the chapters of the repository in which this file lies, or those of the folder."""
    beside = Path(__file__).resolve().parents[2] / "chapters"
    return beside if beside.is_dir() else Path("chapters")
