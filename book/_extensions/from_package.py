"""Three directives that ask the package while the book is built.

A figure that lives, as `detlearn.explore` makes it:

    ```{explorable} two_boxes
    ```

and what a check says of an answer, with the answer above it:

    ```{verdict} box_iou
    def box_iou(boxes1, boxes2):
        ...
    ```

and every exercise of the book with its level and minutes, as its chapter states them:

    ```{exercises}
    ```

None shows anything that package and chapters do not say today: a changed check changes the page.
"""

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def html_output(html: str, kind: str) -> nodes.container:
    """HTML in the same frame as a notebook's output, so that the same style applies."""
    inner = nodes.container("", nodes.raw("", html, format="html"), classes=["output", "text_html"])
    return nodes.container("", inner, classes=["cell_output", kind])


class Explorable(SphinxDirective):
    """A figure of `detlearn.explore`, by its name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the figure with its default arguments."""
        from detlearn import explore

        figure = getattr(explore, self.arguments[0])()
        return [html_output(figure._repr_html_(), "explorable")]


class Verdict(SphinxDirective):
    """An answer to an exercise, and what its check says."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Run the answer and check it, as in a chapter."""
        import torch

        from detlearn import check
        from detlearn.check.engine.exercise import SEED, ask, judge

        name, answer = self.arguments[0], "\n".join(self.content)
        names: dict[str, Any] = {"torch": torch}
        exec(answer, names)  # the book's own text
        exercise = getattr(check, name)
        cases = exercise.ladder(SEED)
        verdict = judge(exercise, cases, ask(names[name], cases))

        call = f"{name} = check.{name}({name})"
        text = f"{answer}\n\n\n{call}"
        code = nodes.literal_block(text, text, language="python")
        return [code, html_output(verdict._repr_html_(), "verdict")]


HEADING = re.compile(
    r"^### Exercise (?P<number>\d+\.\d+): (?P<title>.+)\n+"
    r"(?:Level (?P<level>[●○]+) · (?P<minutes>\d+) minutes)?",
    re.M,
)


def headings(notebook: Path) -> dict[str, dict[str, str]]:
    """The exercises of a chapter by number: title, and level and minutes where they are said."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return {match["number"]: match.groupdict(default="") for match in HEADING.finditer(text)}


class Exercises(SphinxDirective):
    """A table of all exercises that have a check."""

    def run(self) -> list[nodes.Node]:
        """Ask the package for the checks and the chapters for what they say of them."""
        from detlearn import check

        chapters = sorted((Path(self.env.srcdir) / "chapters").glob("*.ipynb"))
        said: dict[str, dict[str, str]] = {}
        where: dict[str, str] = {}
        for chapter in chapters:
            self.env.note_dependency(str(chapter))
            for number, heading in headings(chapter).items():
                said[number] = heading
                where[number] = f"../chapters/{chapter.stem}"

        rows = ["| No. | Exercise | Function | Level | Minutes |", "|--:|---|---|---|--:|"]
        for exercise in sorted(
            check.EXERCISES.values(), key=lambda e: [int(n) for n in e.number.split(".")]
        ):
            heading = said.get(exercise.number)
            if heading is not None:
                rows.append(
                    f"| {exercise.number} | [{heading['title']}]({where[exercise.number]}) "
                    f"| `{exercise.name}` | {heading['level']} | {heading['minutes']} |"
                )
        table = nodes.container()
        self.state.nested_parse(StringList(rows), self.content_offset, table)
        return table.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("explorable", Explorable)
    app.add_directive("verdict", Verdict)
    app.add_directive("exercises", Exercises)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
