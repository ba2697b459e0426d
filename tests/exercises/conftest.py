"""Prints the table of the answers at the end of a run that made it."""

from collections.abc import Iterator
from contextlib import closing

import pytest
import table
from grading_samples import Room, sandbox_trouble

from detlearn.grading.box import Limits

TITLE = "answers of students"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if table.rows.cache_info().currsize:
        terminalreporter.section(TITLE)
        terminalreporter.write_line(table.table())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of pytest-xdist: hands the table to the process that prints."""
    if hasattr(session.config, "workeroutput") and table.rows.cache_info().currsize:
        session.config.workeroutput["sections"] = {TITLE: table.table()}


@pytest.fixture(scope="session")
def sandbox() -> None:
    """Skips a test where no sandbox can be built, and says why."""
    if trouble := sandbox_trouble():
        pytest.skip(trouble)


@pytest.fixture(scope="session")
def room() -> Iterator[Room]:
    """A sandbox with time enough for the busiest machine; right answers take 0.1 s."""
    with closing(Room(Limits(seconds=20))) as made:
        yield made


@pytest.fixture(scope="session")
def hasty() -> Iterator[Room]:
    """A sandbox for what uses up its time."""
    with closing(Room(Limits(seconds=1))) as made:
        yield made
