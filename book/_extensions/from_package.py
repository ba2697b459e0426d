"""Two directives that ask the package while the book is built.

A figure that lives, as `detlearn.explore` makes it:

    ```{explorable} two_boxes
    ```

and what a check says of an answer, with the answer above it:

    ```{verdict} box_iou
    def box_iou(boxes1, boxes2):
        ...
    ```

Neither shows anything that the package does not say today: a changed check changes the page.
"""

from typing import Any

from docutils import nodes
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
        code = nodes.literal_block(answer, f"{answer}\n\n\n{call}", language="python")
        return [code, html_output(verdict._repr_html_(), "verdict")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("explorable", Explorable)
    app.add_directive("verdict", Verdict)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
