"""The built book, served on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
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
