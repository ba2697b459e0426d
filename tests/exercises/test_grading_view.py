"""The view that a sandbox has of the package: no answer is in it, and what is allowed works.

All exercises' views are looked at by `tests/fuzz/fuzz_views.py`; here are some.
"""

import ast
import inspect
import os
import re
import stat
import textwrap
from dataclasses import replace

import pytest
import torch
import torchvision
from grading_samples import notebook, on_linux
from views import Beside, trouble, write_view

from detlearn import boxes, nms
from detlearn.check import EXERCISES
from detlearn.grading import pieces, view
from detlearn.grading.exports import read_chapter
from detlearn.grading.missing import WRITE_IT, Missing, NotYours, anything
from detlearn.grading.view import make_view, visible_packages, write_base

# One whose solution has pieces that are allowed, and one that lies in check.
SAMPLE = ("giou_loss", "mirror_boxes")


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    with Beside(tmp_path_factory.mktemp("beside")) as process:
        yield process


@on_linux
@pytest.mark.parametrize("name", SAMPLE)
def test_no_answer_is_in_a_view_and_right_answers_stay_right(name, beside, tmp_path):
    assert trouble(name, tmp_path, beside) == []


# ---- what stands in place of an answer ----


def made(folder, exercise, *, given=()):
    """The texts of a view's files, by their path."""
    write_view(folder, exercise, frozenset(given))
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.py")}


def test_a_stub_says_which_exercise_it_belongs_to(tmp_path):
    files = made(tmp_path, "match_anchors")
    matching = files["detlearn/matching.py"]
    assert (
        "match_anchors = Missing('match_anchors', 'belongs to exercise 2.2 (match_anch" in matching
    )
    assert (
        "atss_positives = Missing('atss_positives', 'belongs to exercise 4.5 (atss_pos" in matching
    )
    assert "Matcher = Missing('Matcher', 'is not for exercise 2.2 (match_anchors)')" in matching
    assert "IGNORED = -2" in matching

    # What is allowed is there, without its docstring.
    assert "def box_iou(boxes1, boxes2" in files["detlearn/boxes.py"]
    assert '"""' not in files["detlearn/boxes.py"]


def test_whoever_calls_a_stub_reads_who_has_to_write_it():
    stub = Missing("nms", "belongs to exercise 1.4 (nms)")
    said = f"detlearn's own nms belongs to exercise 1.4 (nms); {WRITE_IT}"
    with pytest.raises(NotYours, match=f"^{re.escape(said)}$"):
        stub(1, key=2)
    with pytest.raises(NotYours, match=f"^{re.escape(said)}$"):
        stub.from_boxes(1)
    with pytest.raises(NotYours, match="own nms"):
        stub["one"]
    with pytest.raises(NotYours, match="own nms"):
        list(stub)


def test_a_stub_can_be_named_where_nothing_of_it_is_used():
    stub = Missing("FCOS", "is not for exercise 1.4 (nms)")

    class Mine(stub):
        def area(self, boxes: torch.Tensor | stub) -> stub | None:
            return boxes

    assert not isinstance(3, stub)
    assert not hasattr(stub, "__wrapped__")
    with pytest.raises(NotYours, match="own FCOS"):
        Mine()


def test_of_torchvision_any_name_is_there_and_its_submodules(monkeypatch, tmp_path):
    (tmp_path / "others" / "ops").mkdir(parents=True)
    (tmp_path / "others" / "__init__.py").touch()
    (tmp_path / "others" / "ops" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    find = anything("others", "is not for exercise 1.4 (nms)")
    assert find("ops").__name__ == "others.ops"
    with pytest.raises(NotYours, match="others's own nms is not for"):
        find("nms")()
    with pytest.raises(AttributeError):
        find("__path__")


# ---- what is kept ----


def test_functions_that_are_given_are_there_and_the_answer_is_not(tmp_path):
    files = made(tmp_path, "soft_nms", given=("nms", "mirror_boxes"))
    assert "def naive_nms(" in files["detlearn/nms.py"]
    assert "def soft_nms(" not in files["detlearn/nms.py"]
    assert "def mirror_boxes(" in files["detlearn/check/debugging/mirror_boxes.py"]
    assert "_cases" not in files["detlearn/check/debugging/mirror_boxes.py"]


def test_two_views_share_what_a_sandbox_loads_once(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = made(tmp_path / "one", "nms"), made(tmp_path / "two", "propose")
    shared = {file for file in one if file.startswith(("detlearn/check/eng", "detlearn/grading/"))}
    assert "detlearn/check/engine/sandbox.py" in shared
    for file in shared | {"detlearn/__init__.py", "detlearn/check/__init__.py"}:
        assert one[file] == two[file]


def test_every_user_may_read_the_base(tmp_path):
    before = os.umask(0o077)
    try:
        write_base(tmp_path)
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


def test_an_exercise_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="no exercise is called 'noms'"):
        make_view("noms")
    with pytest.raises(ValueError, match="no exercise is called 'noms'"):
        make_view("nms", frozenset(["noms"]))


def test_torchvisions_functions_that_are_allowed_are_the_packages_which_say_the_same(tmp_path):
    ops = made(tmp_path, "propose")["torchvision/ops/__init__.py"]
    assert "from detlearn.nms import batched_nms" in ops
    assert "from detlearn.boxes import box_iou" in ops
    assert "import nms" not in made(tmp_path, "giou_loss")["torchvision/ops/boxes.py"]

    torch.manual_seed(0)
    corners = 50 * torch.rand(60, 2)
    some = torch.cat((corners, corners + 1 + 30 * torch.rand(60, 2)), dim=1)
    scores, classes = torch.rand(60), torch.randint(3, (60,))
    theirs = torchvision.ops
    torch.testing.assert_close(boxes.box_iou(some, some), theirs.box_iou(some, some))
    torch.testing.assert_close(
        boxes.generalized_box_iou(some, some), theirs.generalized_box_iou(some, some)
    )
    assert nms.nms(some, scores, 0.3).tolist() == theirs.nms(some, scores, 0.3).tolist()
    kept = theirs.batched_nms(some, scores, classes, 0.3).tolist()
    assert nms.batched_nms(some, scores, classes, 0.3).tolist() == kept
    for fmt in ("xywh", "cxcywh"):
        wanted = theirs.box_convert(some, "xyxy", fmt)
        torch.testing.assert_close(boxes.box_convert(some, "xyxy", fmt), wanted)


def test_packages_that_hold_answers_are_not_visible():
    paths = visible_packages()
    names = {path.name for path in paths}
    assert {"torch", "numpy", "scipy", "PIL", "matplotlib", "safetensors"} <= names
    hidden = {"torchvision", "torchvision.libs", "transformers", "timm", "pycocotools"}
    assert not names & {*hidden, "faster_coco_eval", "detlearn", "nbgrader", "pytest"}
    assert all(path.exists() for path in paths)


# Stubs that name one of the package's functions without saying that it may be called.
ONLY_NAMED = {
    ("average_precision", "precision_recall"),  # whose result it takes
    ("decode_deltas", "encode_deltas"),  # whose inverse it is
    ("sample_anchors", "match_anchors"),  # whose result it takes
    ("flatten_predictions", "make_anchors"),  # whose order it keeps
}


def test_what_a_stub_names_may_be_called(root, tmp_path):
    """However the text says so: "at hand", "you may call", "a loop is fine, and so is box_iou"."""
    paths = sorted((root / "chapters").glob("*.ipynb"))
    for script in (root / "chapters").glob("*.py"):
        # The source of a chapter that is no notebook yet is read as one cell.
        paths.append(tmp_path / f"{script.stem}.ipynb")
        paths[-1].write_text(notebook(script.read_text()))
    stubs = [stub for path in paths for stub in read_chapter(path).stubs]
    assert len(stubs) == len(EXERCISES)

    # Functions whose names are no plain words of English.
    functions = {
        name
        for module in pieces.modules().values()
        for name in module.parts
        if name.islower() and ("_" in name.strip("_") or name in EXERCISES)
    }
    named = {
        (stub.exercise.name, word)
        for stub in stubs
        for word in re.findall(r"\w+", ast.get_docstring(stub.node))
        if word in functions
        and word != stub.exercise.name
        and word not in inspect.signature(stub.exercise.reference).parameters
    }
    assert ("propose", "clip_boxes_to_image") in named and ("nms", "box_iou") in named

    allowed = {(name, each) for name, asked in EXERCISES.items() for each in asked.allowed}
    assert named - allowed == ONLY_NAMED


# ---- how it is decided: a small package ----

PACKAGE = {
    "ideas.py": """
        import torchvision
        from math import inf
        SIZE = 3
        WORDS = ("one", "two")
        def answer(x): return helper(x) + SIZE
        def helper(x): return x
        def leads(x): return answer(x)
        def sees(x): return torchvision.ops.nms(x)
        def allowed(x):
            answer = helper(x)  # a name of its own
            return answer
        """,
    "nets/__init__.py": "from detlearn.ideas import answer as respond\nfrom detlearn import ideas",
    "data/__init__.py": "from detlearn.data.tools import *\nfrom detlearn.data.tools import plain",
    "data/tools.py": '''
        from __future__ import annotations
        import torchvision
        from detlearn import ideas, nets
        from detlearn.ideas import answer as theirs, allowed
        from detlearn.nets import respond
        def plain(x: theirs) -> theirs:
            """See `answer`."""
            return allowed(x) + ideas.SIZE
        def piece(x): return x
        def by_alias(x): return theirs(x)
        def by_module(x): return ideas.answer(x)
        def by_reexport(x): return respond(x)
        def by_two_modules(x): return nets.ideas
        def by_a_whole_module(x): return vars(ideas)["answer"](x)
        def by_an_inner_import(x):
            from detlearn.ideas import answer
            return answer(x)
        def by_default(x, f=theirs): return f(x)
        @theirs
        def decorated(x): return x
        def inside_a_lambda(x): return map(lambda y: theirs(y), x)
        class Base:
            def method(self): return by_alias
        class Derived(Base): pass
        class Clean:
            def method(self): return plain(3)
        TABLE = {"answer": by_alias}
        try:
            maybe = theirs
        except NameError:
            maybe = None
        def uses_a_chain(x): return Derived()
        def uses_torchvision(x): return torchvision.ops.nms(x)
        def recursive(x): return recursive(x - 1) if x else plain(x)
        ''',
}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A package of a few lines, whose exercise asks for `answer` and allows `allowed`."""
    package = tmp_path / "detlearn"
    for name, text in PACKAGE.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(textwrap.dedent(text))

    def answer(x):
        return x

    def piece(x):
        return x

    # A piece of the solution lies in a room that is open, and of what is allowed one needs the
    # answer, one what no view has.
    answer.__module__, piece.__module__ = "detlearn.ideas", "detlearn.data.tools"
    allowed = frozenset({"allowed", "leads", "sees"})
    exercise = replace(EXERCISES["nms"], reference=answer, solution=(piece,), allowed=allowed)
    caches = (pieces.modules, pieces.needs, view._open, view._answers, view.make_view)
    monkeypatch.setattr(pieces, "PACKAGE", package)
    monkeypatch.setattr(view, "PACKAGE", package)
    monkeypatch.setattr(view, "OPEN", ("detlearn.data",))
    monkeypatch.setattr(view, "EXERCISES", {"nms": exercise})
    for cache in caches:
        cache.cache_clear()
    yield exercise
    for cache in caches:
        cache.cache_clear()


def test_whatever_leads_to_an_answer_is_cut(small):
    kept = view._kept(small, view._allowed(small, ()))
    names = {f"{module.removeprefix('detlearn.')}.{name}" for module, name in kept}
    assert names == {
        *("ideas.allowed", "ideas.helper", "ideas.SIZE", "ideas.WORDS"),
        *("data.tools.plain", "data.tools.Clean", "data.tools.recursive"),
    }


def test_the_text_of_a_small_view(small, tmp_path):
    (tmp_path / "view").mkdir()
    files = made(tmp_path / "view", "nms")
    ideas = files["detlearn/ideas.py"]
    assert "answer = Missing('answer', 'belongs to exercise 1.4 (nms)')" in ideas
    assert "SIZE = 3" in ideas and "WORDS = ('one', 'two')" in ideas
    assert "def allowed(x):\n    answer = helper(x)\n    return answer" in ideas
    assert "#" not in ideas

    tools = files["detlearn/data/tools.py"]
    assert "def plain(x):\n    return allowed(x) + ideas.SIZE" in tools
    assert "TABLE = Missing" in tools and "maybe = Missing" in tools
    assert "theirs" not in tools and "torchvision" not in tools.replace("uses_torchvision", "")
    assert files["detlearn/nets.py"].endswith(
        "from detlearn.ideas import answer as respond\nfrom detlearn import ideas\n"
    )
