"""The view that a sandbox has of the package: no answer is in it, and what is allowed works.

All exercises' views are looked at by `tests/fuzz/fuzz_views.py`; here are some.
"""

import ast
import builtins
import functools
import inspect
import re
import symtable
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
from detlearn.grading.missing import WRITE_IT, Missing, NotYours, anything
from detlearn.grading.view import make_view, visible_packages
from detlearn.nbgrader.course import read_chapter

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
    assert "from detlearn.allowed.box_iou import box_iou" in files["detlearn/boxes.py"]
    assert "def box_iou(boxes1, boxes2" in files["detlearn/allowed/box_iou.py"]
    assert '"""' not in files["detlearn/allowed/box_iou.py"]


def test_whoever_calls_a_stub_reads_who_has_to_write_it():
    stub = Missing("nms", "belongs to exercise 1.4 (nms)")
    said = f"detlearn's own nms belongs to exercise 1.4 (nms); {WRITE_IT}"
    with pytest.raises(NotYours, match=f"^{re.escape(said)}$"):
        stub(1, key=2)
    with pytest.raises(NotYours, match=f"^{re.escape(said)}$"):
        stub.from_boxes  # noqa: B018
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


def test_not_every_view_is_kept():
    """Submissions choose which exercises are given: there may be one of each for each."""
    assert make_view.cache_info().maxsize == 256


def test_functions_that_are_given_are_there_and_the_answer_is_not(tmp_path):
    files = made(tmp_path, "soft_nms", given=("nms", "mirror_boxes"))
    assert "from detlearn.allowed.naive_nms import naive_nms" in files["detlearn/nms.py"]
    assert "def naive_nms(" in files["detlearn/allowed/naive_nms.py"]
    assert "def mirror_boxes(" in files["detlearn/allowed/mirror_boxes.py"]
    assert not any("def soft_nms(" in text or "def _cases(" in text for text in files.values())


def test_what_may_be_called_is_there_and_stands_on_its_own():
    """Also where all other exercises were wrong, so that the package's functions are given."""
    for name, exercise in EXERCISES.items():
        answer = exercise.reference.__name__
        given = {each: pieces.home(EXERCISES[each].reference) for each in EXERCISES.keys() - {name}}
        without = {part[1] for part in given.values() if f"def {answer}(" not in pieces.code(part)}

        texts = make_view(name, frozenset(given))
        may = {each.removeprefix("detlearn.allowed.") for each in texts if ".allowed." in each}
        assert may == exercise.allowed | without
        for each in may:
            text = texts[f"detlearn.allowed.{each}"]
            assert f"def {each}(" in text and f"def {answer}(" not in text
            assert "detlearn" not in text and undefined(text) == set()


@functools.cache
def undefined(source):
    """The names that a source reads and nobody defines."""
    scopes = [symtable.symtable(source, "source", "exec")]
    defined = {
        symbol.get_name()
        for symbol in scopes[0].get_symbols()
        if symbol.is_assigned() or symbol.is_imported()
    }
    read = set()
    for scope in scopes:
        scopes += scope.get_children()
        read |= {s.get_name() for s in scope.get_symbols() if s.is_referenced() and s.is_global()}
    return read - defined - set(dir(builtins))


def test_two_views_share_what_a_sandbox_loads_once(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = made(tmp_path / "one", "nms"), made(tmp_path / "two", "propose")
    shared = {file for file in one if file.startswith(("detlearn/check/eng", "detlearn/grading/"))}
    assert "detlearn/check/engine/sandbox.py" in shared
    for file in shared | {"detlearn/__init__.py", "detlearn/check/__init__.py"}:
        assert one[file] == two[file]


def test_no_file_of_the_base_stands_for_one_of_a_view():
    """It would lie on the sandbox's disk as it is, answers and all."""
    assert view.base().keys() & make_view("nms").keys() == {"detlearn"}


def test_an_exercise_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="no exercise is called 'noms'"):
        make_view("noms")
    with pytest.raises(ValueError, match="no exercise is called 'noms'"):
        make_view("nms", frozenset(["noms"]))


def test_torchvisions_functions_that_are_allowed_are_the_packages_which_say_the_same(tmp_path):
    ops = made(tmp_path, "propose")["torchvision/ops/__init__.py"]
    assert "from detlearn.allowed.batched_nms import batched_nms" in ops
    assert "from detlearn.allowed.box_iou import box_iou" in ops
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
        for word in re.findall(r"\w+", ast.get_docstring(ast.parse(stub.source).body[0]))
        if word in functions
        and word != stub.exercise.name
        and word not in inspect.signature(stub.exercise.reference).parameters
    }
    assert ("propose", "clip_boxes_to_image") in named and ("nms", "box_iou") in named

    allowed = {(name, each) for name, asked in EXERCISES.items() for each in asked.allowed}
    assert named - allowed == ONLY_NAMED


# ---- how it is decided: a small package ----

PACKAGE = {
    "__init__.py": "",
    "ideas.py": """
        import torchvision
        from math import inf
        SIZE = 3
        WORDS, OTHERS = ("one", "two"), ()
        DOUBLE = 2 * SIZE
        def answer(x): return helper(x) + SIZE
        def helper(x): return min(x, inf)
        def leads(x): return answer(x)
        def sees(x): return torchvision.ops.nms(x)
        def allowed(x):
            answer = helper(x)  # a name of its own
            return answer
        """,
    # Another one of that name, in a module that comes later.
    "losses.py": "def allowed(x): return 0",
    "heads.py": "from detlearn.nets import respond",
    "nets/__init__.py": "from detlearn.ideas import answer as respond\nfrom detlearn import ideas",
    "data/__init__.py": "from detlearn.data.tools import *\nfrom detlearn.data.tools import plain",
    "data/tools.py": '''
        from __future__ import annotations
        from detlearn import ideas
        from detlearn.ideas import SIZE, answer as theirs, allowed
        from detlearn.heads import respond
        def plain(x: theirs) -> theirs:
            """See `answer`."""
            _check_number(x)
            return allowed(x) + SIZE
        def by_alias(x): return theirs(x)
        def by_reexport(x): return respond(x)
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
        def recursive(x): return other(x - 1) if x > 1 else plain(x)
        def other(x): return recursive(x)
        class Late(Clean): pass
        def by_module(x): return ideas.answer(x)
        ''',
    "data/more.py": "from detlearn.ideas import allowed\ndef helper(x): return allowed(x)",
    "check/debugging/causes.py": "CAUSES = {'loss': 'its terms'}",
    "check/debugging/hunts.py": "WANTED = (1, 2)",
}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A package of a few lines, whose exercise asks for `answer` and allows some functions."""
    package = tmp_path / "detlearn"
    for name, text in PACKAGE.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(textwrap.dedent(text))

    def answer(x):
        return x

    def helper(x):
        return x

    answer.__module__ = helper.__module__ = "detlearn.ideas"
    allowed = frozenset({"allowed", "leads", "sees"})
    exercise = replace(EXERCISES["nms"], reference=answer, solution=(helper,), allowed=allowed)
    caches = (pieces.modules, pieces.together, pieces._needs, view._answers, view.make_view)
    monkeypatch.setattr(pieces, "PACKAGE", package)
    monkeypatch.setattr(view, "PACKAGE", package)
    monkeypatch.setattr(view, "EXERCISES", {"nms": exercise})
    for cache in caches:
        cache.cache_clear()
    yield exercise
    for cache in caches:
        cache.cache_clear()


def test_whatever_leads_to_an_answer_is_not_allowed(small):
    every = pieces.modules()["detlearn.data.tools"].parts.keys() - {"by_module"}
    exercise = replace(small, allowed=small.allowed | every)
    assert view._allowed(exercise, ()).keys() == {
        *("allowed", "sees", "plain", "Clean", "recursive", "other", "Late"),
    }


def test_a_piece_stands_on_its_own(small):
    space = {}
    exec(pieces.code(("detlearn.data.tools", "recursive")), space)
    assert space["recursive"](5) == 4
    late = pieces.code(("detlearn.data.tools", "Late"))
    assert late.index("class Clean") < late.index("class Late") and "_check" not in late


def test_what_cannot_be_taken_apart_is_refused(small):
    with pytest.raises(KeyError, match="ideas"):
        pieces.code(("detlearn.data.tools", "by_module"))
    with pytest.raises(ValueError, match="helper: the package has two different helper"):
        pieces.code(("detlearn.data.more", "helper"))


def test_the_text_of_a_small_view(small, tmp_path):
    (tmp_path / "view").mkdir()
    files = made(tmp_path / "view", "nms")
    assert files["detlearn/ideas.py"].splitlines() == [
        "from detlearn.grading.missing import Missing",
        "SIZE = 3",
        "WORDS, OTHERS = (('one', 'two'), ())",
        "DOUBLE = Missing('DOUBLE', 'is not for exercise 1.4 (nms)')",
        "answer = Missing('answer', 'belongs to exercise 1.4 (nms)')",
        "helper = Missing('helper', 'belongs to exercise 1.4 (nms)')",
        "leads = Missing('leads', 'is not for exercise 1.4 (nms)')",
        "from detlearn.allowed.sees import sees",
        "from detlearn.allowed.allowed import allowed",
    ]
    assert files["detlearn/allowed/allowed.py"].splitlines() == [
        "from math import inf",
        "",
        "def helper(x):",
        "    return min(x, inf)",
        "",
        "def allowed(x):",
        "    answer = helper(x)",
        "    return answer",
    ]
    assert files["detlearn/nets.py"].splitlines()[1:] == [
        "from detlearn.ideas import answer as respond",
        "from detlearn import ideas",
    ]
    assert "CAUSES = {'loss': 'its terms'}" in files["detlearn/check/debugging/causes.py"]
    assert "allowed = Missing('allowed', 'is not for" in files["detlearn/losses.py"]
    assert "WANTED = Missing" in files["detlearn/check/debugging/hunts.py"]
