"""Of a notebook, only the statements that an exercise needs."""

import ast
import json
from pathlib import Path

import pytest

from detlearn.check import EXERCISES
from detlearn.grading.exports import read_chapter
from detlearn.grading.slicing import handed_in, slice_for, syntax_trouble
from detlearn.grading.statements import parse

NAMES = ("giou_loss", "box_iou", "nms")
CHAPTERS = sorted((Path(__file__).parents[2] / "chapters").glob("*.ipynb"))


def taken(*cells, exercise="giou_loss", whole=False):
    """The first lines of the statements of a slice, the argument, and the names not found."""
    piece = slice_for(parse("a.ipynb", cells), exercise, NAMES, whole=whole)
    lines = [ast.unparse(node).split("\n")[0] for _, node in piece.statements]
    return lines, ast.unparse(piece.argument[1]), piece.missing


def test_only_what_the_argument_needs():
    cells = (
        "import torch\nimport os\nfrom detlearn import check",
        "model = train()\nloss = model(torch.ones(1))",
        "def giou_loss(a, b):\n    loss = iou(a, b)\n    return loss",
        # Defined after the function that calls it:
        "def iou(a, b):\n    return torch.min(a, b) * EPS",
        "EPS = 1e-7",
        "check.giou_loss(giou_loss)",
        "EPS = 2",
    )
    lines = ["import torch", "def giou_loss(a, b):", "def iou(a, b):", "EPS = 1e-07"]
    assert taken(*cells) == (lines, "giou_loss", set())


def test_all_bindings_in_order():
    cells = ("k = 1\nk = k + 1\nt = {}\nt['a'] = k\nt.name = 3", "check.nms(lambda: t)", "k = 9")
    lines = ["k = 1", "k = k + 1", "t = {}", "t['a'] = k", "t.name = 3"]
    assert taken(*cells, exercise="nms") == (lines, "lambda: t", set())


def test_names_of_other_scopes_are_not_needed():
    code = """
loss = train()
x = train()
self = train()
class Box:
    x = 1
    def area(self): return [x for x in self.sides]
def nms(loss, *, k=lambda x: x):
    try: pass
    except ValueError as loss: pass
    import os as x
    return Box, loss, x
"""
    lines, _, missing = taken(code, "check.nms(nms)", exercise="nms")
    assert lines == ["x = train()", "class Box:", "def nms(loss, *, k=lambda x: x):"] or lines == [
        *("class Box:", "def nms(loss, *, k=lambda x: x):")
    ]
    assert "loss" not in missing


def test_globals_bound_by_functions_and_blocks():
    code = """
def setup():
    global EPS
    EPS = 1
setup()
for i in range(3):
    T = i
try:
    import fast
except ImportError:
    fast = None
with open('x') as FILE: pass
def nms(): return EPS, T, fast
"""
    lines, _, _ = taken(code, "check.nms(nms)", exercise="nms")
    assert lines == ["def setup():", "setup()", "for i in range(3):", "try:", "def nms():"]


def test_star_imports_may_bind_anything():
    lines, _, missing = taken(
        "from torch import *\nx = 1", "check.nms(lambda: ones)", exercise="nms"
    )
    assert lines == ["from torch import *"] and missing == set()


@pytest.mark.parametrize(
    "call",
    [
        "from detlearn import check\ncheck.nms(f)",
        "from detlearn import check as c\nc.nms(f)",
        "import detlearn\ndetlearn.check.nms(f)",
        "import detlearn.check\ndetlearn.check.nms(f)",
        "import detlearn.check as c\nc.nms(f)",
        "import detlearn as d\nd.check.nms(f)",
        "from detlearn.check import nms as done\ndone(f)",
        "check.nms(f)",  # the import may stand in a cell that was deleted
        "nms = check.nms(function=f)",
        "display(check.nms(f))",
        "if True:\n    out = [check.nms(f)]",
    ],
)
def test_ways_to_hand_in(call):
    (found,) = handed_in(parse("a.ipynb", ["def f(): pass", call]), NAMES).items()
    assert found[0] == "nms" and ast.unparse(found[1][1]) == "f"


@pytest.mark.parametrize(
    "call",
    ["nms(f)", "check.nms", "check.nms()", "check.other(f)", "other.nms(f)", "# check.nms(f)"],
)
def test_what_hands_nothing_in(call):
    assert handed_in(parse("a.ipynb", ["def f(): pass", call]), NAMES) == {}


def test_a_call_inside_a_function_does_not_count():
    assert handed_in(parse("a.ipynb", ["def f():\n    check.nms(f)"]), NAMES) == {}


def test_the_last_call_counts():
    cells = ("f = 1\ncheck.nms(f)", "g = 2\nnms = check.nms(g)", "check.box_iou(f)")
    assert taken(*cells, exercise="nms") == (["g = 2"], "g", set())


def test_a_block_that_defines_and_hands_in():
    code = "if True:\n    def f(): pass\n    check.nms(f)"
    lines, argument, missing = taken(code, exercise="nms")
    assert lines == ["if True:"] and argument == "f" and missing == set()


def test_earlier_hand_ins_are_replaced():
    cells = ("def box_iou(): pass", "box_iou = check.box_iou(box_iou)", "check.nms(box_iou)")
    notebook = parse("a.ipynb", cells)
    for _ in range(2):  # the notebook itself stays as it is
        piece = slice_for(notebook, "nms", NAMES)
        assert ast.unparse(piece.statements[-1][1]) == (
            "box_iou = __handed_in__('box_iou', box_iou)"
        )


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ("%matplotlib inline\nx = 1", ["pass", "x = 1"]),
        (
            "if a:\n    !ls\nx = !ls\ntorch.ones?\nx = 1",
            ["if a:\n    pass", "pass", "pass", "x = 1"],
        ),
        ("files, n = %sql select", ["pass"]),
        ("%%time\nx = 1", ["pass", "x = 1"]),
        ("%%bash\nrm -rf /", []),
        ("x = (a\n% b)", ["x = a % b"]),
        ('x = """\n%d\n!ls\n"""', ["x = '\\n%d\\n!ls\\n'"]),
    ],
)
def test_lines_that_are_no_python(source, left):
    notebook = parse("a.ipynb", [source])
    assert notebook.broken == {}
    assert [ast.unparse(s.node) for s in notebook.statements] == left


def test_cells_that_are_no_python():
    cells = ["x = 1", "def helper(:\n  pass", "x = \0", "check.nms(lambda: helper(x))"]
    notebook = parse("a.ipynb", cells)
    assert sorted(notebook.broken) == [1, 2]
    missing = slice_for(notebook, "nms", NAMES).missing
    assert missing == {"helper"}
    said = syntax_trouble(notebook, missing)
    assert said.startswith("code cell 2 of a.ipynb has a syntax error in line 1 (")
    assert said.endswith("; helper is needed from it")
    assert syntax_trouble(notebook, {"help"}) == ""


@pytest.mark.parametrize("source", ["(" * 50_000, "-" * 200_000 + "1", "x" + ".y" * 20_000])
def test_absurd_nesting_is_survived(source):
    parse("a.ipynb", [source])


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_name_of_a_chapter_takes_a_students_helper_away(path):
    """Helpers called as everything that the chapter's cells bind: none of these cells runs."""
    cells = json.loads(path.read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]

    for stub in read_chapter(path).stubs:
        name = stub.exercise.name
        at = next(i for i, source in enumerate(sources) if stub.source in source)
        before = parse("before", sources[:at])
        names = sorted(set().union(*(s.now.binds for s in before.statements)) - {name})
        assert len(names) > 10

        helpers = [f"def {helper}(): return 1" for helper in names]
        answer = f"def {name}(): return {', '.join(f'{helper}()' for helper in names)}"
        changed = [*sources[:at], "\n".join([*helpers, answer]), *sources[at + 1 :]]
        piece = slice_for(parse(path.name, changed), name, EXERCISES)
        assert {cell for cell, _ in piece.statements} == {at}
        assert len(piece.statements) == len(names) + 1 and not piece.missing


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        # The last one that surely binds it, and what may bind or change it after that.
        ("k = 1\nk = 2", ["k = 2"]),
        ("k = 1\nif x: k = 2", ["k = 1", "if x:"]),
        ("k = 1\nif x: k = 2\nelse: k = 3", ["if x:"]),
        ("k = 1\nfor k in x: pass", ["k = 1", "for k in x:"]),
        ("k = 1\nwhile x: k = 2", ["k = 1", "while x:"]),
        ("k = 1\nwith x as k: pass", ["with x as k:"]),
        ("k = 1\ntry: k = 2\nexcept x: k = 3", ["try:"]),
        ("k = 1\ntry: k = 2\nexcept x: pass", ["k = 1", "try:"]),
        ("k = 1\ntry: k = 2\nfinally: k = 3", ["try:"]),
        ("k = 1\nmatch x:\n    case [k]: pass", ["k = 1", "match x:"]),
        ("k = 1\nx = [k for k in y]", ["k = 1"]),
        ("k = 1\nx = [k := y for _ in z]", ["k = 1", "x = [(k := y) for _ in z]"]),
        ("k = 1\nx and (k := y)", ["k = 1", "x and (k := y)"]),
        ("k = 1\nk += 1", ["k = 1", "k += 1"]),
        ("k = 1\ndel k", ["k = 1"]),
        ("k: int = 1\nk: int", ["k: int = 1"]),
        ("k = 1\ntry: x()\nexcept y as k: pass", ["k = 1"]),
        ("k = 1\nclass A: k = 2", ["k = 1"]),
        ("k = 1\nclass A:\n    global k\n    k = 2", ["k = 1", "class A:"]),
        ("k = 1\ndef f(k): k = 2", ["k = 1"]),
        ("k = []\nk.append(1)\nprint(k)", ["k = []", "k.append(1)"]),
        ("k = []\nk.append(1)\nk = []", ["k = []"]),
        ("import k\nk.seed(0)\nk.x = 1", ["import k", "k.x = 1"]),
        ("k = {}\nfor i in x: k[i] = 1", ["k = {}", "for i in x:"]),
        ("k = {}\ndel k[1]", ["k = {}", "del k[1]"]),
        ("k = {}\ndef note(f): k[1] = f\n@note\ndef f(): pass", None),
        ("def f():\n    def g():\n        global k\n        k = 1\n    g()\nf()", None),
        ("k = 1\nfor i in x:\n    y = k\n    k = y", ["k = 1", "for i in x:"]),
        # A function reads when it is called.
        ("c = 1\ndef k(): return c\nc = 2", ["def k():", "c = 2"]),
        ("c = 1\ndef f(): return c\nk = f()\nc = 2", None),
        ("c = 1\ndef k(x=c): return x\nc = 2", ["c = 1", "def k(x=c):"]),
        ("c = 1\nclass A:\n    x = c\nc = 2\nk = A", ["c = 1", "class A:", "k = A"]),
        # A block does not take away a definition, unless it brings one.
        ("def k(): pass\nfor k in x: pass", ["def k():"]),
        ("class k: pass\nwith x as k: pass", ["class k:"]),
        ("def k(): pass\nif x:\n    def k(): pass", ["def k():", "if x:"]),
        ("def k(): pass\nk = 1", ["k = 1"]),
    ],
)
def test_which_binding_counts(code, lines):
    everything = [ast.unparse(node).split("\n")[0] for node in ast.parse(code).body]
    assert taken(code, "check.nms(lambda: k)", exercise="nms")[0] == (lines or everything)


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("k = []\nfill(k)", ["fill(k)"]),
        ("k = []\nt = k\nt.append(1)", ["t = k", "t.append(1)"]),
        ("k = [1]\nx = k.pop()", ["x = k.pop()"]),
        ("def k(): pass\nfor k in x: pass", ["for k in x:"]),
        ("k = 1\nprint(k)", []),
        ("import k\nk.show(k)", []),
        ("def k(): pass\nk()", []),
    ],
)
def test_what_is_in_doubt(code, more):
    less = taken(code, "check.nms(lambda: k)", exercise="nms")[0]
    whole = taken(code, "check.nms(lambda: k)", exercise="nms", whole=True)[0]
    assert [line for line in whole if line not in less] == more


def test_a_check_as_a_decorator():
    cells = ("@check.box_iou\ndef f(): pass", "@check.nms\n@twice\ndef nms(): return f")
    notebook = parse("a.ipynb", cells)
    assert list(handed_in(notebook, NAMES)) == ["box_iou", "nms"]
    piece = slice_for(notebook, "nms", NAMES)
    decorators = [ast.unparse(d) for _, node in piece.statements for d in node.decorator_list]
    assert decorators == [
        "lambda f: __handed_in__('box_iou', f)",
        *("lambda f: __handed_in__('nms', f)", "twice"),
    ]
    assert ast.unparse(piece.argument[1]) == "nms" and piece.earlier == {"box_iou"}
