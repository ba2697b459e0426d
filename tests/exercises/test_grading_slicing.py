"""Of a notebook, only the statements that an exercise needs."""

import ast
import builtins
import json
from pathlib import Path

import pytest

from detlearn.check import EXERCISES
from detlearn.grading.slicing import check_names, handed_in, needed_before, parse, places
from detlearn.nbgrader.course import read_chapter

NAMES = ("giou_loss", "box_iou", "nms")
CHAPTERS = sorted((Path(__file__).parents[2] / "chapters").glob("*.ipynb"))


def needed(notebook, exercise="nms", exercises=NAMES):
    """The statements before a check that it needs, and the names that nobody defines."""
    names = check_names(notebook, exercises)
    at = handed_in(notebook, names, exercises)[exercise]
    statements = notebook.statements
    indices, undefined = needed_before(statements[:at], statements[at].reads - names.keys())

    found = [statements[index] for index in indices]
    place = places(notebook, exercises)[exercise]
    assert place["needed"] == [statement.spot for statement in found]
    assert place["at"] == statements[at].spot
    return found, undefined - set(dir(builtins))


def taken(*cells, exercise="nms"):
    """The first lines of the statements that a check needs, and the names that nobody defines."""
    statements, undefined = needed(parse("a.ipynb", cells), exercise)
    lines = [ast.unparse(statement.node).split("\n")[0] for statement in statements]
    return lines, undefined


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
    assert taken(*cells, exercise="giou_loss") == (lines, set())


def test_all_bindings_in_order():
    cells = ("k = 1\nk = k + 1\nk += 2\nt = [k]", "check.nms(lambda: t)", "k = 9")
    lines = ["k = 1", "k = k + 1", "k += 2", "t = [k]"]
    assert taken(*cells) == (lines, set())


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
    lines, undefined = taken(code, "check.nms(nms)")
    assert lines[-2:] == ["class Box:", "def nms(loss, *, k=lambda x: x):"]
    assert not {"loss = train()", "self = train()"} & set(lines) and "loss" not in undefined


def calls(notebook):
    """exercise → index of the statement that hands it in."""
    return handed_in(notebook, check_names(notebook, NAMES), NAMES)


def test_star_imports_may_bind_anything():
    assert taken("from torch import *\nx = 1", "check.nms(lambda: ones)")[0] == [
        "from torch import *"
    ]


def test_a_name_that_a_block_imports_is_defined():
    cells = ("try:\n    import os as k\nexcept ImportError: pass", "check.nms(lambda: k)")
    assert taken(*cells) == (["try:"], set())


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
    notebook = parse("a.ipynb", ["def f(): pass", call])
    assert calls(notebook) == {"nms": len(notebook.statements) - 1}


@pytest.mark.parametrize(
    "call",
    ["nms(f)", "check.nms", "check.nms()", "check.other(f)", "other.nms(f)", "# check.nms(f)"],
)
def test_what_hands_nothing_in(call):
    assert calls(parse("a.ipynb", ["def f(): pass", call])) == {}


def test_a_call_inside_a_function_does_not_count():
    assert calls(parse("a.ipynb", ["def f():\n    check.nms(f)"])) == {}


def test_the_last_call_counts():
    cells = ("f = 1\ncheck.nms(f)", "g = 2\nnms = check.nms(g)", "check.box_iou(f)")
    assert taken(*cells) == (["g = 2"], set())


def test_a_check_as_a_decorator():
    cells = ("@check.box_iou\ndef f(): pass", "@check.nms\n@twice\ndef nms(): return f")
    assert calls(parse("a.ipynb", cells)) == {"box_iou": 0, "nms": 1}


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
    _, undefined = needed(notebook)
    assert undefined == {"helper"}
    said = notebook.trouble(undefined)
    assert said.startswith("code cell 2 of a.ipynb has a syntax error in line 1 (")
    assert said.endswith("; helper is needed from it")
    assert notebook.trouble({"help"}) == ""
    assert places(notebook, NAMES)["nms"]["trouble"] == said
    assert notebook.python() == ["x = 1", "", "", "check.nms(lambda: helper(x))"]


def test_what_python_brings_along_is_not_looked_for():
    notebook = parse("a.ipynb", ["print('no end", "check.nms(lambda x: print(x))"])
    assert notebook.trouble({"print"}) and places(notebook, NAMES)["nms"]["trouble"] == ""


@pytest.mark.parametrize(
    "source",
    ["(" * 50_000, "-" * 200_000 + "1", "x" + ".y" * 20_000, "x = a" + ".b" * 2_000],
)
def test_absurd_nesting_costs_its_statement_alone(source):
    notebook = parse("a.ipynb", [source, "z = 1", "check.nms(lambda: (y, z))"])
    statements, undefined = needed(notebook)
    assert undefined == {"y"} and [ast.unparse(s.node) for s in statements] == ["z = 1"]


def test_a_place_is_told_by_cell_and_statement():
    cells = ["k = 1\nx = 2", "%%bash\nls", "import os\ndef f(): return k\ncheck.nms(f)"]
    place = places(parse("a.ipynb", cells), NAMES)["nms"]
    assert place["notebook"] == "a.ipynb" and place["checks"] == ["check"]
    assert place["needed"] == [(0, 0), (2, 1)] and place["at"] == (2, 2)


def test_what_says_how_the_rest_is_read_is_always_needed():
    cells = ("from __future__ import annotations", "def f(a: nobody): return 1", "check.nms(f)")
    assert taken(*cells)[0] == [cells[0], "def f(a: nobody):"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_name_of_a_chapter_takes_a_students_helper_away(path):
    """Helpers called as everything that the chapter's cells bind: none of these cells runs."""
    cells = json.loads(path.read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]

    for stub in read_chapter(path).stubs:
        name = stub.exercise.name
        at = next(i for i, source in enumerate(sources) if stub.source in source)
        before = parse("before", sources[:at])
        names = sorted(set().union(*(s.binds for s in before.statements)) - {name})
        assert len(names) > 10

        helpers = [f"def {helper}(): return 1" for helper in names]
        answer = f"def {name}(): return {', '.join(f'{helper}()' for helper in names)}"
        changed = [*sources[:at], "\n".join([*helpers, answer]), *sources[at + 1 :]]
        statements, _ = needed(parse(path.name, changed), name, EXERCISES)
        assert {statement.spot[0] for statement in statements} <= {at}
        assert len(statements) >= len(names)


@pytest.mark.parametrize(
    ("code", "value"),
    [
        # The last statement that binds it.
        ("k = 1\nk = 2", 2),
        ("k = 1\nk += 1", 2),
        ("k = 1\nx = [k for k in [7]]", 1),
        ("k: int = 1\nk: int", 1),
        ("k = 1\nclass A: k = 2", 1),
        ("k = 1\ndef f(k): k = 2", 1),
        ("k = []\nk.append(1)\nk = []", []),
        ("try: k = 1\nexcept ValueError: pass\nk, *x = 2, 3", 2),
        ("try: import nowhere as k\nexcept ImportError: k = 3", 3),
        ("if True:\n    def f(): return 4\nk = f()", 4),
        # A function reads when it is called.
        ("c = 1\ndef f(): return c\nc = 2\nk = f()", 2),
        ("c = 1\ndef f(): return c\nk = f()\nc = 2", 1),
        ("c = 1\ndef f(): return c\nf, k = f, f()\nc = 2\nk += f()", 3),
        ("c = 1\ndef f(x=c): return x\nc = 2\nk = f()", 1),
        ("c = 1\nclass A:\n    x = c\nc = 2\nk = A.x", 1),
        ("c = 1\nk = sum([c for _ in range(3)])\nc = 2", 3),
        ("def g(): return c\ndef f(): return g()\nc = 5\nk = f()", 5),
        ("c = 3\nclass A:\n    c = staticmethod(lambda: c)\nk = A.c()", 3),
        ("def f(): return 3\nclass A:\n    f = staticmethod(f)\nk = A.f()", 3),
        ("f = lambda: c\nc = 4\nk = f()", 4),
        ("if True:\n    def f(): return c\nc = 5\nk = f()", 5),
        ("def f(): return g()\ndef g(): return h()\nc = 1\ndef h(): return c\nc = 6\nk = f()", 6),
        # A block, or what is deleted, does not take away a definition, unless it brings one.
        ("k = 1\ndel k", 1),
        ("k = 1\nfor k in [2]: pass", 1),
        ("k = 1\nif True: k = 2", 1),
        ("k = 1\nprint(k := 2)", 1),
        ("def f(): return 1\nif True:\n    def f(): return 2\nk = f()", 2),
        ("def f(): return 1\nwith open('/dev/null') as f: pass\nk = f()", 1),
    ],
)
def test_the_value_of_a_name(code, value, capsys):
    """The statements that are taken give `k` a value, alone and in their order."""
    statements = parse("a.ipynb", [code]).statements
    space = {}
    for index in needed_before(statements, {"k"})[0]:
        exec(compile(ast.Module([statements[index].node], []), "cell", "exec"), space)
    assert space["k"] == value


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("k = 1\nk = 2", "k = 1"),
        ("import k\nk.seed(0)", "k.seed(0)"),
        ("k = []\nshow(k)", "show(k)"),
        ("k = []\nx = k.pop()", "x = k.pop()"),
        ("for i in x: k = train()\nk = 3", "for i in x:"),
        ("def f(): return k\nk = 2\nx = f()", "x = f()"),
        # What only changes a value, as trainings do.
        ("k = []\nk.append(1)", "k.append(1)"),
        ("k = {}\nfor i in range(2): k[i] = 1", "for i in range(2):"),
        ("k = {1: 2}\ndel k[1]", "del k[1]"),
        ("k = A()\nk.x = 1", "k.x = 1"),
    ],
)
def test_what_is_left_out(code, line):
    lines, _ = taken(code, "check.nms(lambda: k)")
    assert lines and line not in lines
