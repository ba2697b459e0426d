"""The built book, served on this machine."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from book_found import Found, found_by_a_visit
from book_visit import serve
from chromium import skip_or_fail


@pytest.fixture(scope="session")
def site(root: Path) -> Path:
    """The folder of the built book."""
    folder = root / "_build" / "html"
    if not (folder / "index.html").is_file():
        skip_or_fail("the book is not built: run `make book`")
    return folder


@pytest.fixture(scope="session")
def book_address(site: Path) -> Iterator[str]:
    """The address of the built book, without a closing slash."""
    server = serve(site)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def found_on(site: Path, book_address: str, browser: object) -> Callable[[str, int, str], Found]:
    """Visits a page of the book at a width and in a scheme, once for all tests that ask.

    To open a chapter and set its formulas takes seconds, and four tests look at the same.
    """

    @cache
    def found_on(name: str, width: int, scheme: str) -> Found:
        return found_by_a_visit(browser, f"{book_address}/{name}", width, scheme, site)

    return found_on
