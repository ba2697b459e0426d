"""The built book in a real browser, as a reader on a phone or at a desk sees it, by day or night.

``make book`` must have run. Without Chromium or without the book these tests are skipped, visibly;
under CI both are failures. The last tests open pages that are wrong on purpose.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from book_pages import broken_links, html_files
from book_visit import SCHEMES, faults_of_page, serve

WIDTHS = {"phone": 390, "desk": 1280}
REDIRECT = "index.html"  # sends the reader on to the start page, which is tested itself


# The tests of one width and scheme ask the same worker, which opens every page once.
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        pytest.param(
            width, scheme, id=f"{name}-{scheme}", marks=pytest.mark.xdist_group(f"{width}-{scheme}")
        )
        for name, width in WIDTHS.items()
        for scheme in SCHEMES
    ],
)
def test_every_page_is_in_order(site: Path, found_on: Callable, width: int, scheme: str) -> None:
    faults = []
    for path in html_files(site):
        name = path.relative_to(site).as_posix()
        if name != REDIRECT:
            faults += [f"{name}: {fault}" for fault in found_on(name, width, scheme).faults]
    assert not faults, "\n".join(faults)


def test_the_book_has_its_pages(site: Path) -> None:
    names = {path.relative_to(site).as_posix() for path in html_files(site)}
    assert {"index.html", "book/intro.html", "book/glossary.html", "book/references.html"} <= names


def test_no_link_is_broken(site: Path) -> None:
    faults = broken_links(site)
    assert not faults, "\n".join(faults)


def test_tables_are_tables(site: Path) -> None:
    """A table in Markdown that is not rendered stands as a paragraph that begins with a bar."""
    pages = {path: path.read_text(encoding="utf-8") for path in html_files(site)}
    raw = [path.name for path, text in pages.items() if re.search(r"<p>\s*\|", text)]
    assert not raw
    assert "ap_medium</p></th>" in pages[site / "chapters" / "01_foundations.html"]


def test_formulas_are_typeset(site: Path, book_address: str, browser: object) -> None:
    """The glossary has formulas; a build without them would give the test above nothing to see."""
    page = browser.new_page()
    page.goto(f"{book_address}/book/glossary.html", wait_until="networkidle")
    assert page.locator(".math mjx-container").count() >= 3
    page.close()


# ---- the tests themselves: pages that are wrong on purpose ----

BROKEN = {
    "console error": "<script>console.error('no')</script>",
    "exception": "<script>throw new Error('no')</script>",
    "another host": "<script src='https://cdn.example.org/x.js'></script>",
    "status 404": "<link rel='stylesheet' href='missing.css'>",
    "without alt text": "<img src='dot.svg'>",
    "does not load": "<img src='missing.png' alt='a missing picture'>",
    "wider than the window": "<div style='width: 2000px'>wide</div>",
    "formula not typeset": "<span class='math'>x^2</span>",
    "theme": "<script>document.documentElement.dataset.theme = 'dark'</script>",
}
PAGE = """<!doctype html><html data-theme="light"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>t</title><link rel="icon" href="dot.svg">
</head><body>{}</body></html>"""
DOT = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="4"/></svg>'


@pytest.fixture
def small_site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder with one picture, and the address at which it is served."""
    (tmp_path / "dot.svg").write_text(DOT)
    server = serve(tmp_path)
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("expected", BROKEN)
def test_a_broken_page_is_found(
    small_site: tuple[Path, str], browser: object, expected: str
) -> None:
    folder, address = small_site
    (folder / "page.html").write_text(PAGE.format(BROKEN[expected]))
    faults = faults_of_page(browser, f"{address}/page.html", 390, "light")
    assert any(expected in fault for fault in faults), faults


def test_a_plain_page_has_no_faults(small_site: tuple[Path, str], browser: object) -> None:
    folder, address = small_site
    (folder / "page.html").write_text(PAGE.format("<img src='dot.svg' alt='a dot'>text"))
    assert faults_of_page(browser, f"{address}/page.html", 390, "light") == []


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("gone.html", "no such file"),
        ("b.html#gone", "no such anchor"),
        ("#gone", "no such anchor"),
        ("../outside.html", "leads out of the book"),
        ("file:///etc/hosts", "unexpected kind of link"),
        ("//cdn.example.org/x.js", "unexpected kind of link"),
        ("https:///nowhere", "not a well-formed address"),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, link: str, why: str) -> None:
    (tmp_path / "a.html").write_text(f'<a href="b.html#there">fine</a> <a href="{link}">x</a>')
    (tmp_path / "b.html").write_text('<h1 id="there">here</h1> <a href="a.html">back</a>')
    faults = broken_links(tmp_path)
    assert len(faults) == 1
    assert faults[0].startswith(f"a.html -> {link}: {why}")
