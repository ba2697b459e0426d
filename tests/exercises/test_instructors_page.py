"""What the page for instructors states in numbers and names is what the grader does."""

from pathlib import Path

from detlearn.check import EXERCISES
from detlearn.grading.submissions import MAX_BYTES, MAX_NOTEBOOKS, MAX_TOGETHER
from detlearn.grading.view import VISIBLE

PAGE = (Path(__file__).parents[2] / "book" / "instructors.md").read_text(encoding="utf-8")


def test_exercises_and_points():
    assert {exercise.points for exercise in EXERCISES.values()} == {10}
    assert f"the list of all {len(EXERCISES)} stands" in PAGE
    assert f"sum of the points; {10 * len(EXERCISES)} if" in PAGE


def test_what_a_notebook_may_import():
    (line,) = [line for line in PAGE.splitlines() if line.startswith("**Imports.**")]
    assert f"standard library, {', '.join(VISIBLE)} and what these require" in line


def test_how_large_a_submission_may_be():
    one, together = MAX_BYTES // 1_000_000, MAX_TOGETHER // 1_000_000
    said = f"{one} MB of a notebook, {together} MB and {MAX_NOTEBOOKS} notebooks of a submission"
    assert f"at most {said} are read" in PAGE
