"""The package's source as the chapters show it."""

import ast
import inspect

import pytest

from detlearn import boxes, nms
from detlearn.explore import source
from detlearn.models.point import PointDetector


def tree_without_docstrings(code):
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


@pytest.mark.parametrize("thing", [boxes.box_iou, nms.naive_nms, nms.soft_nms, PointDetector])
def test_it_is_the_package_code_less_its_docstrings(thing):
    shown = source(thing).code
    assert tree_without_docstrings(shown) == tree_without_docstrings(inspect.getsource(thing))
    assert '"""' not in shown
    assert "\n\n\n" not in shown


class Nested:
    """A docstring."""

    def first(self):
        """Another,

        of several lines."""

        def inside():
            """Deeper."""
            return 1

        return inside

    def second(self):
        """The last, after a deeper one."""
        return "kept"

    def third(self):
        """Nothing but this, and Python needs a body."""


def test_docstrings_of_every_depth_go_and_the_code_stays():
    shown = source(Nested).code
    assert tree_without_docstrings(shown) == tree_without_docstrings(inspect.getsource(Nested))
    assert shown.count('"""') == 2  # of the third, which has nothing else
    assert 'return "kept"' in shown and "return 1" in shown


def test_comments_stay_and_several_functions_are_joined():
    shown = source(nms.naive_nms, nms.nms).code
    assert "# of boxes" not in shown
    assert shown.startswith("@torch.no_grad()\ndef naive_nms(") and "\n\n@torch.no_grad()" in shown
    with_comment = source(PointDetector).code
    assert "# Almost every location is background" in with_comment


def test_it_shows_as_highlighted_code_and_as_plain_text():
    shown = source(boxes.box_area)
    assert shown._repr_markdown_() == f"```python\n{shown.code}\n```"
    assert repr(shown) == shown.code


def test_nothing_to_show_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        source()
