"""What a page of the built book loads before the reader scrolls, in bytes, uncompressed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from book_pages import html_files
from book_visit import loaded_files, serve, visiting

LIMIT = 2_500_000  # of a page, at a desk and on a phone


def heaviest(files: dict[str, int]) -> str:
    """The sum and the ten largest, for a message."""
    largest = sorted(files.items(), key=lambda item: -item[1])[:10]
    return f"{sum(files.values()):,} bytes: " + ", ".join(f"{n} {s:,}" for n, s in largest)


# The tests of one width and scheme ask the same worker, which opens every page once.
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "width",
    [pytest.param(each, marks=pytest.mark.xdist_group(f"{each}-light")) for each in (390, 1280)],
)
def test_first_load_is_light(site: Path, found_on: Callable, width: int) -> None:
    heavy = []
    for path in html_files(site):
        name = path.relative_to(site).as_posix()
        files = found_on(name, width, "light").files  # the start page leads on to another
        print(name, heaviest(files))
        if sum(files.values()) > LIMIT:
            heavy.append(f"{name}: {heaviest(files)}")
    assert not heavy, "\n".join(heavy)


def test_images_know_their_size_and_wait(site: Path, book_address: str, browser: object) -> None:
    """Or the text jumps under the reader's eyes; only a page's first image loads at once."""
    page = browser.new_page()
    for path in sorted((site / "chapters").glob("*.html")):
        page.goto(f"{book_address}/chapters/{path.name}", wait_until="load")
        images = page.eval_on_selector_all(
            "article img[src*='_images']",
            "all => all.map(i => [i.getAttribute('width'), i.getAttribute('height'), i.loading])",
        )
        assert images
        assert all(width and height for width, height, _ in images)
        assert [loading for _, _, loading in images].count("lazy") >= len(images) - 1
    page.close()


def test_images_arrive_before_printing(site: Path, book_address: str, browser: object) -> None:
    page = browser.new_page()
    page.goto(f"{book_address}/chapters/01_foundations.html", wait_until="networkidle")
    waiting = "[...document.images].filter(i => i.loading === 'lazy' && !i.complete).length"
    assert page.evaluate(waiting) > 0
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.wait_for_load_state("networkidle")
    page.wait_for_function(f"{waiting} === 0")
    page.close()


@pytest.mark.parametrize("way", ["Control+p", "the theme's button"])
def test_printing_at_once_has_all_images(
    site: Path, book_address: str, browser: object, way: str
) -> None:
    """Before the reader has scrolled to them: printing waits until they are there."""
    page = browser.new_page()
    page.add_init_script(
        "window.print = () => { window.blank = [...document.querySelectorAll('.bd-article img')]"
        ".filter(i => !i.complete || !i.naturalWidth).length }"
    )
    page.goto(f"{book_address}/chapters/02_two_stage.html", wait_until="load")
    if way == "Control+p":
        page.keyboard.press(way)
    else:
        page.evaluate("window.print()")
    page.wait_for_function("window.blank !== undefined")
    assert page.evaluate("window.blank") == 0
    page.close()


def test_icons_are_drawn(site: Path, book_address: str, browser: object) -> None:
    """Every icon that a page names has a drawing: the icon library is not there."""
    page = browser.new_page()
    page.goto(f"{book_address}/chapters/01_foundations.html", wait_until="load")
    icons = page.eval_on_selector_all(
        "i[class*='fa-'], span[class*='fa-']",
        "all => all.map(i => [i.className, getComputedStyle(i).maskImage.slice(0, 9)])",
    )
    assert len(icons) >= 8
    assert not [name for name, drawing in icons if drawing != 'url("data']
    page.close()


# ---- the tests themselves ----


@pytest.fixture
def heavy_site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A page with a picture at its top and one far below."""
    for name in ("near", "far"):
        drawing = f"<svg xmlns='http://www.w3.org/2000/svg' id='{name}'/>"
        (tmp_path / f"{name}.svg").write_text(drawing + " " * 1000)
    server = serve(tmp_path)
    yield tmp_path, f"http://127.0.0.1:{server.server_port}/page.html"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("loading", "counted"), [("eager", True), ("lazy", False)])
def test_a_lazy_image_is_not_counted(
    heavy_site: tuple[Path, str], browser: object, loading: str, counted: bool
) -> None:
    folder, address = heavy_site
    (folder / "page.html").write_text(
        "<!doctype html><link rel='icon' href='data:,'><img src='near.svg' width=9 height=9>"
        f"<div style='height: 9000px'></div><img src='far.svg' loading='{loading}' height=9>"
    )
    with visiting(browser, address, 1280, "light", folder) as visit:
        files = loaded_files(visit)
    assert files["near.svg"] > 1000
    assert ("far.svg" in files) == counted
