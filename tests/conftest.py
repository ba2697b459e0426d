"""What several test files share: where the repository, its notebooks and the real data sets lie."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import pytest
from chromium import chromium

ROOT = Path(__file__).resolve().parents[1]

sys.path.insert(0, str(ROOT / "scripts"))
matplotlib.use("Agg")  # tests draw into memory; no window opens on anybody's screen


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets, named by ``DETLEARN_DATA``; without it the test is skipped."""
    folder = os.environ.get("DETLEARN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set DETLEARN_DATA to the folder of real data sets to run this test")
    return Path(folder)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """The system's Chromium, headless, driven by playwright."""
    with chromium() as instance:
        yield instance


@pytest.fixture
def run(capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """A function that runs a command in this process; it returns what a reader then looks at."""
    from detlearn.cli import main

    def call(*words: object, status: int = 0) -> str:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert code == status, err
        assert "Traceback" not in err
        return err if status in (2, 130) else out  # an error in one sentence, or the answer

    return call


# ---- what workers of pytest-xdist want to be printed at the end, as title → text ----

SECTIONS: dict[str, str] = {}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """A worker has ended."""
    SECTIONS.update(getattr(node, "workeroutput", {}).get("sections", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for title, text in SECTIONS.items():
        terminalreporter.section(title)
        terminalreporter.write_line(text)
