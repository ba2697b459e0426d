"""The repository's own promises: pins, versions, names and licences that must agree."""

import ast
import os
import pkgutil
import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml
from bootstrap_cell import SOURCE as BOOTSTRAP
from notebooks import all_notebooks, current_status_table
from packaging.requirements import Requirement
from test_architecture import FLOORS

import detlearn


def read(root: Path, name: str) -> str:
    """A file of the repository as text."""
    return (root / name).read_text(encoding="utf-8")


def requirements(text: str) -> list[Requirement]:
    """The requirements in a requirements file, comments left out."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return [Requirement(line) for line in lines if line]


@pytest.fixture(scope="module")
def project(root: Path) -> dict:
    """pyproject.toml."""
    return tomllib.loads(read(root, "pyproject.toml"))


@pytest.fixture(scope="module")
def locked(root: Path) -> list[Requirement]:
    """requirements.txt."""
    return requirements(read(root, "requirements.txt"))


# ---- what is installed ----


def test_requirements_are_locked(locked: list[Requirement]) -> None:
    for requirement in locked:
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        assert "*" not in specifier.version
        assert requirement.url is None


def test_requirements_name_no_index(root: Path) -> None:
    for name in ("requirements.txt", "requirements.in"):
        assert not re.search(r"https?:|file:|--\w+-url|find-links|index", read(root, name)), name


@pytest.mark.parametrize("python", ["3.11.9", "3.12.8", "3.13.1"])
def test_the_lock_gives_one_version_for_each_python(locked: list[Requirement], python: str) -> None:
    marks = {"python_full_version": python, "python_version": python.rsplit(".", 1)[0]}
    linux = marks | {"sys_platform": "linux", "platform_machine": "x86_64"}
    chosen = [item for item in locked if item.marker is None or item.marker.evaluate(linux)]
    names = [item.name.lower() for item in chosen]
    assert len(names) == len(set(names))
    assert {"torch", "torchvision", "numpy", "jupyter-book", "pytest"} <= set(names)


def test_what_is_asked_for_is_locked(root: Path, locked: list[Requirement]) -> None:
    versions = {item.name.lower(): next(iter(item.specifier)).version for item in locked}
    for wanted in requirements(read(root, "requirements.in")):
        assert wanted.specifier.contains(versions[wanted.name.lower()]), wanted


def test_the_package_declares_lower_bounds_only(project: dict, locked: list[Requirement]) -> None:
    versions = {item.name.lower(): next(iter(item.specifier)).version for item in locked}
    for text in project["project"]["dependencies"]:
        requirement = Requirement(text)
        assert [specifier.operator for specifier in requirement.specifier] == [">="], text
        assert requirement.specifier.contains(versions[requirement.name.lower()]), text


def test_every_dependency_has_its_reason(root: Path) -> None:
    table = read(root, "CONTRIBUTING.md")
    for requirement in requirements(read(root, "requirements.in")):
        assert f"`{requirement.name}`" in table, f"CONTRIBUTING.md: why {requirement.name}?"


# ---- names, versions, licences ----


def test_one_version_everywhere(root: Path, project: dict) -> None:
    version = project["project"]["version"]
    assert detlearn.__version__ == version
    assert yaml.safe_load(read(root, "CITATION.cff"))["version"] == version
    assert f"/v{version}.tar.gz" in BOOTSTRAP


def test_one_address_everywhere(root: Path) -> None:
    config = yaml.safe_load(read(root, "_config.yml"))
    address = config["sphinx"]["config"]["html_theme_options"]["repository_url"]
    assert f'REPOSITORY = "{address}"' in BOOTSTRAP
    assert yaml.safe_load(read(root, "CITATION.cff"))["repository-code"] == address
    assert address in read(root, "LICENSE-text")
    slug = address.removeprefix("https://github.com/")
    for name in ("book/intro.md", "README.md"):
        for found in re.findall(r"github(?:\.com)?/(detlearn/\w+)", read(root, name)):
            assert found == slug, name


def test_licences_are_the_named_ones(root: Path, project: dict) -> None:
    apache = read(root, "LICENSE")
    assert "Apache License" in apache
    assert "Version 2.0, January 2004" in apache
    assert "END OF TERMS AND CONDITIONS" in apache
    assert project["project"]["license"] == "Apache-2.0"
    assert "creativecommons.org/licenses/by/4.0/legalcode" in read(root, "LICENSE-text")


# ---- the rooms ----

PATH = re.compile(r"(?<![\w/.-])(?:chapters|detlearn|book|tests|benchmarks|scripts)/[\w./-]*")
IN_PACKAGE = re.compile(r"`(\w+/[\w/]+\.py)`")  # `models/base.py`
NAME = re.compile(r"(?<![\w/.])detlearn(?:\.\w+)+")


def texts(root: Path) -> list[Path]:
    """The pages that tell somebody where to look."""
    return [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "book").glob("*.md"))]


def test_the_paths_in_the_texts_exist(root: Path) -> None:
    for text in texts(root):
        for path in PATH.findall(text.read_text(encoding="utf-8")):
            assert (root / path.rstrip(".")).exists(), f"{text.name}: {path}"

        for path in IN_PACKAGE.findall(text.read_text(encoding="utf-8")):
            found = (root / path).is_file() or (root / "detlearn" / path).is_file()
            assert found, f"{text.name}: {path}"


def test_the_names_in_the_texts_exist(root: Path) -> None:
    for text in texts(root):
        for name in NAME.findall(text.read_text(encoding="utf-8")):
            try:
                pkgutil.resolve_name(name)
            except (ImportError, AttributeError):
                pytest.fail(f"{text.name}: {name}")


def test_the_table_of_floors_is_the_house(root: Path) -> None:
    listed = {}
    for floor, rooms in re.findall(r"^\| (\d) \| ([^|]+) \|", read(root, "CONTRIBUTING.md"), re.M):
        for room in re.findall(r"\w+", rooms):
            listed[room] = int(floor)

    assert listed == FLOORS
    for room in listed:
        folder = root / "detlearn" / room
        assert folder.is_dir() or folder.with_suffix(".py").is_file(), room


def test_everything_in_the_package_is_installed(root: Path, project: dict) -> None:
    package = root / "detlearn"
    patterns = project["tool"]["setuptools"]["package-data"]["detlearn"]
    data = {path for pattern in patterns for path in package.glob(pattern)}
    for path in package.rglob("*"):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        assert path.suffix == ".py" or path in data, f"package-data leaves out {path}"
        assert (path.parent / "__init__.py").is_file(), f"{path.parent} is no package"


def private_names(path: Path) -> set[str]:
    """The private names of the package that a test file uses: ``detlearn.cli._parser``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules, found = {}, set()

    # What an import calls by which name, and the private names among it.
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("detlearn"):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                modules[alias.asname or alias.name] = full
                if alias.name.startswith("_"):
                    found.add(full)

    # A private name that is reached through a module or a class.
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            is_private = node.attr.startswith("_") and not node.attr.startswith("__")
            if is_private and node.value.id in modules:
                found.add(f"{modules[node.value.id]}.{node.attr}")
    return found


def test_private_names_are_found(tmp_path: Path) -> None:
    path = tmp_path / "test_a.py"
    path.write_text(
        "from detlearn import cli as c\nfrom detlearn.nms import _greedy, nms\nimport os\n"
        "c._parser(); nms.__name__; os._exit; self._x"
    )
    assert private_names(path) == {"detlearn.cli._parser", "detlearn.nms._greedy"}


def test_no_two_test_files_have_one_name(root: Path) -> None:
    """They are imported by their names alone, so the second would be the first again."""
    names = [path.name for path in (root / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


def test_a_private_name_is_the_business_of_one_test_file(root: Path) -> None:
    """Two files that reach for it say that it wants to be public."""
    users: dict[str, set[str]] = {}
    for path in (root / "tests").rglob("*.py"):
        for name in private_names(path):
            users.setdefault(name, set()).add(path.name)

    shared = {name: files for name, files in users.items() if len(files) > 1}
    assert not shared


# ---- the book ----


def test_every_chapter_is_in_the_book(root: Path) -> None:
    toc = yaml.safe_load(read(root, "_toc.yml"))
    listed = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    for name in [toc["root"], *listed]:
        assert any((root / f"{name}{end}").is_file() for end in (".md", ".ipynb")), name
    for notebook in all_notebooks():
        assert f"chapters/{notebook.stem}" in listed
        assert f"../chapters/{notebook.stem}" in read(root, "book/intro.md")


def test_the_status_table_belongs_to_the_notebooks(root: Path) -> None:
    assert read(root, "book/status_table.md") == current_status_table()


def test_the_glossary_is_in_order(root: Path) -> None:
    body = read(root, "book/glossary.md").split("```{glossary}\n")[1].split("\n```")[0]
    entries = [entry.splitlines() for entry in body.split("\n\n")]
    heads = [[line for line in entry if not line.startswith(" ")] for entry in entries]
    first = [head[0].lower() for head in heads]
    assert first == sorted(first)
    names = [name.lower() for head in heads for name in head]
    assert len(names) == len(set(names))
    assert all(any(line.startswith("  ") for line in entry) for entry in entries)


# ---- the machinery ----


TARGETS = "install book quick test test-versions notebooks bench lint clean".split()


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_every_target(root: Path, target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"#   make {target} " in read(root, "Makefile")  # named in its header


def test_scripts_are_valid_shell(root: Path) -> None:
    subprocess.run(["bash", "-n", str(root / ".ci" / "run")], check=True)
    for path in (root / "scripts").glob("*.sh"):
        subprocess.run(["sh", "-n", str(path)], check=True)
    assert os.access(root / ".ci" / "run", os.X_OK)


def test_workflows_are_valid(root: Path) -> None:
    paths = sorted((root / ".github" / "workflows").glob("*.yml"))
    assert {path.name for path in paths} >= {"ci.yml", "gpu.yml", "weekly.yml"}
    for path in paths:
        workflow = yaml.safe_load(path.read_text())
        assert workflow[True], path.name  # YAML 1.1 reads the key `on` as true
        for job in workflow["jobs"].values():
            assert job["timeout-minutes"] <= 90
            for step in job["steps"]:
                if "uses" in step:
                    assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]), step["uses"]


def test_the_workflows_run_what_make_runs(root: Path) -> None:
    """Not a copy of a command, which would one day say something else."""
    assert "scripts/run_tests.py notebooks" in read(root, ".github/workflows/gpu.yml")
    assert "scripts/run_tests.py all" in read(root, "Makefile")
    assert "make test-versions" in read(root, ".github/workflows/weekly.yml")
    assert "step make test\n" in read(root, ".ci/run")


def test_no_tracked_file_names_this_machine(root: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git repository: no list of the files that belong to it")
    places = [str(root), sysconfig.get_paths()["purelib"]]
    for name in listed.stdout.splitlines():
        path = root / name
        if path.suffix in {".png", ".jpg", ".svg", ".ico"} or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for place in places:
            assert place not in text, f"{name} names {place}"
