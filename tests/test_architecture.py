"""The house stands: imports go down or along a floor, never up and never in a circle.

The rooms and their floors are those of the project's design: 0 the machine, 1 the ideas and the
samples, 2 the nets, 3 detectors, metrics and data, 4 the workshop, 5 the reader's rooms. Every
import counts, also one inside a function, and one for type checkers only: whoever reads a file has
to know the other.

What counts as an import of what:

* ``from detlearn.plotting import style`` leads to the file ``style.py``; a name that is no file
  (``from detlearn.plotting import show``) leads to the package's ``__init__.py``.
* An import from outside a package also runs the package's ``__init__.py``, so it leads there, too.
  From inside it doesn't: the package is being imported already.
"""

import ast
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import detlearn

PACKAGE = Path(detlearn.__file__).parent

# The rooms: what lies directly in the package, a folder or a file, and its floor.
FLOORS = {
    "machine": 0,
    "boxes": 1,
    "losses": 1,
    "nms": 1,
    "anchors": 1,
    "coders": 1,
    "matching": 1,
    "denoising": 1,
    "roi": 1,
    "samples": 1,
    "nets": 2,
    "models": 3,
    "metrics": 3,
    "data": 3,
    "training": 4,
    "plotting": 4,
    "pretrained": 4,
    "results": 4,
    "explore": 5,
    "check": 5,
    "grading": 5,
    "nbgrader": 5,
    "cli": 5,
}


# ---- reading the imports


def modules_of(package: Path) -> dict[str, Path]:
    """Map module names to files; a package's name to its ``__init__.py``."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        modules[".".join(parts)] = path
    return modules


def ancestors(module: str) -> list[str]:
    """Name the packages in which a module lies: ``a.b.c`` lies in ``a`` and ``a.b``."""
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def imported_names(path: Path, module: str, is_package: bool) -> list[str]:
    """Name all that a file imports, wherever in it, with dots: ``detlearn.boxes.box_iou``."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]

        elif isinstance(node, ast.ImportFrom):
            # One dot is the package in which the file lies, each further dot one above.
            source = node.module or ""
            if node.level:
                home = [*ancestors(module), module] if is_package else ancestors(module)
                source = f"{home[-node.level]}.{source}".rstrip(".")
            names += [f"{source}.{alias.name}" for alias in node.names]

        elif isinstance(node, ast.Call) and node.args:
            # import_module("detlearn.models"), __import__("detlearn.models")
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                names += computed_names(node.args[0], module)
    return names


def computed_names(argument: ast.expr, module: str) -> list[str]:
    """Name what a text says: a constant, or ``f"{__name__}.{x}"``, which is any part: ``a.b.*``."""
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return [argument.value]
    if ast.unparse(argument).startswith(("f'{__name__}.", 'f"{__name__}.')):
        return [f"{module}.*"]
    return []


def arrows_of(package: Path) -> dict[str, set[str]]:
    """Draw the imports: for each module of a package, the modules of it that it leads to."""
    modules = modules_of(package)
    arrows = {}
    for module, path in modules.items():
        inside = {module, *ancestors(module)}
        arrows[module] = set()
        for name in imported_names(path, module, is_package=path.name == "__init__.py"):
            if name.split(".")[0] != package.name:
                continue
            if name.endswith(".*"):
                parts = [m for m in modules if m.rpartition(".")[0] == name[:-2]]
                arrows[module].update(parts)
                continue

            # The file that it names: itself, or the module whose attribute it is.
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules and target != module:
                arrows[module].add(target)
            arrows[module].update(a for a in ancestors(target) if a in modules and a not in inside)
    return arrows


# ---- judging them


def floor_of(module: str, floors: dict[str, int]) -> int:
    """Find a module's floor by its room; the package itself lies below all."""
    parts = module.split(".")
    return -1 if len(parts) == 1 else floors[parts[1]]


def without_floor(arrows: dict[str, set[str]], floors: dict[str, int]) -> list[str]:
    """List the modules that lie in no known room."""
    return [module for module in arrows if "." in module and module.split(".")[1] not in floors]


def upward(arrows: dict[str, set[str]], floors: dict[str, int]) -> list[str]:
    """List the imports that lead to a higher floor."""
    return [
        f"{module} (floor {floor_of(module, floors)}) imports {target} "
        f"(floor {floor_of(target, floors)})"
        for module, targets in arrows.items()
        for target in sorted(targets)
        if floor_of(target, floors) > floor_of(module, floors)
    ]


def circle_in(arrows: dict[str, set[str]]) -> list[str] | None:
    """Find modules that import each other in a circle: ``[a, b, a]``; None if there are none."""
    done = set()

    def follow(module: str, path: list[str]) -> list[str] | None:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return None
        for target in sorted(arrows[module]):
            circle = follow(target, [*path, module])
            if circle:
                return circle
        done.add(module)
        return None

    for module in arrows:
        circle = follow(module, [])
        if circle:
            return circle
    return None


# ---- the house


def test_every_file_has_a_floor():
    arrows = arrows_of(PACKAGE)
    assert len(arrows) > 80
    assert without_floor(arrows, FLOORS) == [], "give the room its floor in FLOORS"
    rooms = {module.split(".")[1] for module in arrows if "." in module}
    assert set(FLOORS) <= rooms, "FLOORS knows a room that is gone"


def test_imports_lead_down_or_along_a_floor():
    assert upward(arrows_of(PACKAGE), FLOORS) == []


def test_imports_make_no_circle():
    assert circle_in(arrows_of(PACKAGE)) is None


# ---- the test can fail


def house(folder: Path, files: dict[str, str]) -> dict[str, set[str]]:
    """Write files into a made-up package ``toy`` and draw its imports."""
    package = folder / "toy"
    for name, code in {"__init__.py": "", **files}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(code))
        if path.parent != package and not (path.parent / "__init__.py").exists():
            (path.parent / "__init__.py").write_text("")
    return arrows_of(package)


TOY = {"low": 1, "middle": 3, "other": 3, "high": 4}
UP = ["toy.low (floor 1) imports toy.high (floor 4)"]


def test_a_sound_house_passes(tmp_path):
    arrows = house(
        tmp_path,
        {
            "low.py": "import torch\nfrom math import pi\n",
            "middle/__init__.py": "from toy.middle.parts import part\n",
            "middle/parts.py": "from toy import low\nfrom toy.middle import rest\n",
            "middle/rest.py": "import toy.low as below\n",
            "high.py": "from toy.middle import part\nfrom toy.low import anything\n",
        },
    )
    assert arrows["toy.high"] == {"toy.middle", "toy.low"}
    assert arrows["toy.middle.parts"] == {"toy.low", "toy.middle.rest"}
    assert arrows["toy.middle.rest"] == {"toy.low"} and arrows["toy.low"] == set()
    assert without_floor(arrows, TOY) == upward(arrows, TOY) == []
    assert circle_in(arrows) is None


@pytest.mark.parametrize(
    "code",
    [
        "import toy.high",
        "import toy.high as h",
        "from toy import high",
        "from toy.high import roof",
        "from . import high",
        "from .high import roof",
        "def f():\n    from toy.high import roof\n",
        "class C:\n    def f(self):\n        import toy.high\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from toy.high import Roof\n",
        "try:\n    import toy.high\nexcept ImportError:\n    pass\n",
        "import importlib\nhigh = importlib.import_module('toy.high')\n",
    ],
)
def test_an_arrow_upward_is_found_wherever_it_stands(tmp_path, code):
    arrows = house(tmp_path, {"low.py": code, "high.py": "roof = 1"})
    assert upward(arrows, TOY) == UP
    assert circle_in(arrows) is None


def test_an_arrow_upward_into_a_package_is_found(tmp_path):
    arrows = house(tmp_path, {"low.py": "from toy.high.attic import x", "high/attic.py": "x = 1"})
    assert len(upward(arrows, TOY)) == 2  # the file, and the package that it lies in


def test_a_circle_of_two_is_found(tmp_path):
    arrows = house(
        tmp_path,
        {"middle.py": "from toy import other", "other.py": "def f():\n    import toy.middle\n"},
    )
    assert upward(arrows, TOY) == []
    assert circle_in(arrows) == ["toy.middle", "toy.other", "toy.middle"]


def test_a_longer_circle_is_found(tmp_path):
    arrows = house(
        tmp_path,
        {
            "low.py": "",
            "middle/one.py": "from toy.middle import two",
            "middle/two.py": "from toy.middle import three\nimport toy.low",
            "middle/three.py": "from toy.middle.one import x",
        },
    )
    circle = circle_in(arrows)
    assert circle[0] == circle[-1] and len(set(circle)) == 3


def test_a_circle_through_a_package_is_found(tmp_path):
    """A part of one package wants a part of another, whose ``__init__`` wants the first."""
    arrows = house(
        tmp_path,
        {
            "middle/__init__.py": "from toy.middle.part import part",
            "middle/part.py": "from toy.other.harmless import x",
            "other/__init__.py": "from toy.middle import part",
            "other/harmless.py": "x = 1",
        },
    )
    assert circle_in(arrows) == ["toy.middle", "toy.middle.part", "toy.other", "toy.middle"]


def test_a_part_that_wants_its_own_package_is_a_circle(tmp_path):
    arrows = house(
        tmp_path,
        {
            "middle/__init__.py": "from toy.middle.part import part",
            "middle/part.py": "from toy.middle import elsewhere",
        },
    )
    assert circle_in(arrows) == ["toy.middle", "toy.middle.part", "toy.middle"]


def test_a_package_that_imports_all_its_parts_leads_to_them(tmp_path):
    all_parts = "import importlib\nfor x in 'ab': importlib.import_module(f'{__name__}.{x}')"
    arrows = house(
        tmp_path,
        {"middle/__init__.py": all_parts, "middle/a.py": "", "middle/b.py": "import toy.middle"},
    )
    assert arrows["toy.middle"] == {"toy.middle.a", "toy.middle.b"}
    assert circle_in(arrows) == ["toy.middle", "toy.middle.b", "toy.middle"]


def test_a_file_without_a_floor_is_found(tmp_path):
    arrows = house(tmp_path, {"shed.py": "", "low.py": "", "barn/hay.py": ""})
    assert without_floor(arrows, TOY) == ["toy.barn", "toy.barn.hay", "toy.shed"]


# ---- nothing runs at import

IMPORT_ALL = """
    import importlib, json, os, pkgutil, sys

    # What others do when they are imported is not our business.
    import matplotlib.pyplot, numpy.testing, torch, torchvision
    import torchvision.transforms.v2

    deeds = []
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
    forbidden = ("subprocess.Popen", "socket.connect", "os.mkdir", "os.remove", "os.rename")

    def watch(event, arguments):
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & writing:
            deeds.append(f"open {arguments[0]}")
        elif event in forbidden:
            deeds.append(event)

    def settings():
        return {
            "random numbers": torch.get_rng_state().tolist(),
            "threads": torch.get_num_threads(),
            "gradients": torch.is_grad_enabled(),
            "dtype": str(torch.get_default_dtype()),
            "matplotlib": {key: str(value) for key, value in matplotlib.rcParams.items()},
        }

    before = settings()
    sys.addaudithook(watch)
    import PACKAGE

    for found in pkgutil.walk_packages(PACKAGE.__path__, "PACKAGE."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)

    after = settings()
    deeds += [name for name in before if before[name] != after[name]]
    print(json.dumps(deeds))
"""


def run_python(code: str, path: Path) -> subprocess.CompletedProcess:
    """Run code in a Python of its own, which finds packages under `path`."""
    settings = {"PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "2"}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=120,
    )


def deeds_at_import(package: str, path: Path) -> str:
    """Import all of a package; return what was printed, and what was done as a JSON list."""
    code = IMPORT_ALL.replace("PACKAGE", package)
    done = run_python(code, path)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_nothing_runs_at_import():
    assert deeds_at_import("detlearn", PACKAGE.parent) == "[]\n"


def test_what_runs_at_import_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    house(
        tmp_path,
        {
            "a.py": "print('hello')",
            "b.py": "open('note.txt', 'w').close()",
            "c.py": "import os\nos.mkdir('folder')",
            "d.py": "import subprocess\nsubprocess.run(['true'])",
            "e.py": "import torch\ntorch.rand(1)\ntorch.set_num_threads(1)",
            "f.py": "import matplotlib\nmatplotlib.rcParams['font.size'] = 3",
        },
    )
    printed, done = deeds_at_import("toy", tmp_path).splitlines()
    assert printed == "hello"
    wanted = ["open note.txt", "os.mkdir", "subprocess.Popen", "random numbers", "threads"]
    assert [deed for deed in json.loads(done) if not deed.startswith("open /")] == [
        *wanted,
        "matplotlib",
    ]


def test_help_comes_without_torch():
    done = run_python(
        """
        import sys
        from detlearn.cli import main

        try:
            main(["--help"])
        except SystemExit as end:
            assert not end.code
        heavy = {"torch", "torchvision", "numpy", "matplotlib"} & set(sys.modules)
        assert not heavy, heavy
        """,
        PACKAGE.parent,
    )
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout
