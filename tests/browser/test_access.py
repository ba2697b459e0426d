"""The built book for everyone: by keyboard, by finger, by screen reader, and from disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from book_access import STILL, faults_by_axe, poor_rings
from book_found import found_by_a_visit
from book_pages import html_files
from book_visit import SCHEMES, serve

REDIRECT = "index.html"
# The tests of one width and scheme ask the same worker, which opens every page once.
DESK = pytest.mark.parametrize(
    "scheme",
    [pytest.param(each, marks=pytest.mark.xdist_group(f"1280-{each}")) for each in SCHEMES],
)


def open_page(browser, address: str, scheme: str = "light", width: int = 1280, touch: bool = False):
    """A page in a context of its own, without transitions, whose colours would be measured."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, has_touch=touch
    )
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(address, wait_until="load")
    page.wait_for_load_state("networkidle")
    page.add_style_tag(content=STILL)
    return page


# ---- axe-core ----


@pytest.mark.slow
@pytest.mark.timeout(1800)
@DESK
def test_axe_finds_nothing_serious(site: Path, found_on: Callable, scheme: str) -> None:
    pytest.importorskip("axe_playwright_python.sync_playwright")
    faults = []
    for path in html_files(site):
        name = path.relative_to(site).as_posix()
        if name != REDIRECT:
            found = found_on(name, 1280, scheme)
            faults += [f"{name}: {fault}" for fault in found.by_axe]
    assert not faults, "\n".join(faults)


# ---- the keyboard ----


@pytest.mark.slow
@pytest.mark.timeout(1800)
@DESK
def test_every_control_shows_its_focus(site: Path, found_on: Callable, scheme: str) -> None:
    faults = []
    for path in html_files(site):
        name = path.relative_to(site).as_posix()
        if name == REDIRECT:
            continue
        found = found_on(name, 1280, scheme)
        assert found.controls > 15, name
        faults += [f"{name}: {fault}" for fault in found.poor_rings]
    assert not faults, "\n".join(faults)


def test_the_skip_link_skips(book_address: str, browser: object) -> None:
    """The first Tab shows it, Enter leads into the text, the next Tab to a link of the text."""
    page = open_page(browser, f"{book_address}/book/how_to_use.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to main content"
    box = page.locator("#pst-skip-link a").bounding_box()
    assert box["y"] >= 0 and box["height"] > 10

    page.keyboard.press("Enter")
    assert page.url.endswith("#main-content")
    page.keyboard.press("Tab")
    assert page.evaluate("!!document.activeElement.closest('main')")
    page.context.close()


def test_what_scrolls_takes_the_focus(book_address: str, browser: object) -> None:
    """On a phone's width, where formulas, code and tables are wider than the page."""
    page = open_page(browser, f"{book_address}/chapters/02_two_stage.html", width=390)
    unreachable = page.evaluate(
        """() => [...document.querySelectorAll("article *")].filter((e) =>
          e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && e.checkVisibility() &&
          /auto|scroll/.test(getComputedStyle(e).overflowX) && e.tabIndex < 0
        ).map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert not unreachable
    page.context.close()


# ---- terms of the glossary ----

TERM = "article a.term-link[href$='#term-IoU']"


def test_a_term_is_explained_under_the_pointer(book_address: str, browser: object) -> None:
    page = open_page(browser, f"{book_address}/chapters/06_iou_losses.html")
    page.locator(TERM).first.hover()
    note = page.locator("#term-note")
    note.wait_for(state="visible")
    assert "the area two boxes share" in note.inner_text()
    assert note.locator("mjx-container").count() >= 1
    page.mouse.move(5, 800)
    note.wait_for(state="hidden")
    page.context.close()


def test_a_term_is_explained_at_the_keyboards_focus(book_address: str, browser: object) -> None:
    page = open_page(browser, f"{book_address}/chapters/06_iou_losses.html")
    link, note = page.locator(TERM).first, page.locator("#term-note")
    link.focus()
    note.wait_for(state="visible")
    assert link.get_attribute("aria-describedby") == "term-note"
    page.keyboard.press("Escape")
    assert note.is_hidden()
    assert link.get_attribute("aria-describedby") is None

    link.blur()
    link.focus()
    assert note.is_visible()
    page.keyboard.press("Tab")
    assert note.is_hidden() or page.evaluate("document.activeElement.matches('.term-link')")
    page.context.close()


def test_a_first_tap_explains_and_a_second_follows(book_address: str, browser: object) -> None:
    address = f"{book_address}/chapters/06_iou_losses.html"
    page = open_page(browser, address, width=390, touch=True)
    link, note = page.locator(TERM).first, page.locator("#term-note")
    link.tap()
    note.wait_for(state="visible")
    box = note.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert page.url == address

    link.tap()
    page.wait_for_url("**/glossary.html#term-IoU")
    page.context.close()


# ---- citations ----


def test_a_citation_leads_to_the_reference_and_back(book_address: str, browser: object) -> None:
    page = open_page(browser, f"{book_address}/chapters/06_iou_losses.html")
    page.locator("article a.cited", has_text="Rezatofighi").first.click()
    item = page.locator("li:target")
    assert "Generalised IoU" in item.inner_text()
    item.locator(".cited-back").click()
    assert "Rezatofighi" in page.locator("a.cited:target").inner_text()
    page.context.close()


def test_the_references_name_the_chapters_that_cite(book_address: str, browser: object) -> None:
    page = open_page(browser, f"{book_address}/book/references.html")
    entry = page.locator(".citation", has_text="Bodla")
    places = entry.locator(".cited-in a")
    assert places.count() >= 2
    places.and_(page.locator("[href*='06_iou_losses']")).first.click()
    page.wait_for_url("**/chapters/06_iou_losses.html#ref-*")
    assert "Soft-NMS" in page.locator("li:target").inner_text()
    page.context.close()


# ---- from disk ----


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_page_opens_from_disk_without_an_error(site: Path, browser: object) -> None:
    faults: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.on(
        "console",
        lambda message: (
            faults.append(f"{page.url}: {message.type}: {message.text}")
            if message.type in ("error", "warning")
            else None
        ),
    )
    page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))
    # A request that was cut short because the next page was opened is no missing file.
    page.on(
        "requestfailed",
        lambda request: (
            faults.append(f"{page.url}: failed {request.url}: {request.failure}")
            if request.failure != "net::ERR_ABORTED"
            else None
        ),
    )
    for path in html_files(site):
        page.goto(path.as_uri(), wait_until="networkidle")
        # To leave while fonts are on their way would look like a missing file.
        page.evaluate("window.MathJax && MathJax.startup && MathJax.startup.promise.then(() => 0)")
        page.evaluate("document.fonts.ready.then(() => 0)")
    assert not faults, "\n".join(faults)
    page.goto((site / "book" / "glossary.html").as_uri(), wait_until="networkidle")
    assert page.locator(".math mjx-container").count() >= 3
    context.close()


@pytest.mark.parametrize("from_disk", [True, False], ids=["disk", "server"])
def test_search_finds_sections(
    site: Path, book_address: str, browser: object, from_disk: bool
) -> None:
    start = site.as_uri() if from_disk else book_address
    page = open_page(browser, f"{start}/search.html?q=enclosing+boxes")
    results = page.locator(".search-list li")
    assert results.count() >= 2
    assert results.locator("mark").count() >= 2
    texts = results.locator("p").all_inner_texts()
    assert sum(len(text) > 60 for text in texts) >= 2  # more than bare titles

    first = results.first.locator("a")
    assert first.inner_text().lower() == "enclosing box"  # the glossary's entry
    first.click()
    assert page.locator(":target").inner_text().startswith("enclosing box")
    page.context.close()


def test_search_says_when_there_is_nothing(site: Path, browser: object) -> None:
    page = open_page(browser, f"{site.as_uri()}/search.html?q=<b>zyx")
    assert page.locator("[role=status]").inner_text() == "Nothing found for “<b>zyx”."
    page.context.close()


def test_the_dialog_leads_to_the_search_page(site: Path, browser: object) -> None:
    page = open_page(browser, (site / "book" / "intro.html").as_uri())
    page.keyboard.press("Control+k")
    page.keyboard.type("anchor")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=anchor")
    page.locator(".search-list li").first.wait_for()
    assert page.locator("#search-results ~ *, form.bd-search input").first.input_value() == "anchor"
    page.context.close()


# ---- the tests themselves: pages that are wrong on purpose ----


@pytest.fixture
def wrong_page(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder for a page, and its address."""
    server = serve(tmp_path)
    yield tmp_path / "page.html", f"http://127.0.0.1:{server.server_port}/page.html"
    server.shutdown()
    server.server_close()


def test_axe_would_find_it(wrong_page: tuple[Path, str], browser: object) -> None:
    path, address = wrong_page
    path.write_text(
        "<!doctype html><html lang=en><title>t</title><link rel=icon href='data:,'>"
        "<main><button></button><p style='color:#ccc'>pale</p></main>"
    )
    page = open_page(browser, address)
    found = " ".join(faults_by_axe(page))
    assert "button-name" in found and "color-contrast" in found
    page.context.close()


def test_axe_would_find_it_in_code(wrong_page: tuple[Path, str], browser: object) -> None:
    """Of words that look alike one is looked at: not the folded one, and one on each ground."""
    path, address = wrong_page
    fine, pale = "<span style='color:#111'>", "<span style='color:#ccc'>"
    words = f"{fine}fine</span> {pale}pale</span> {fine}fine</span> {pale}again</span>"
    path.write_text(
        "<!doctype html><html lang=en><title>t</title><link rel=icon href='data:,'><main>"
        f"<details><summary>Code</summary><pre>{pale}folded</span></pre></details>"
        f"<details open><summary>Code</summary><pre>{words}</pre></details>"
        f"<pre style='background:#333; color:#fff'>{fine}dark</span></pre></main>"
    )
    page = open_page(browser, address)
    (found,) = faults_by_axe(page)
    assert "color-contrast" in found
    assert all(word in found for word in ("pale", "dark"))
    assert not any(word in found for word in ("fine", "again", "folded"))
    assert page.locator("pre").all_text_contents() == ["folded", "fine pale fine again", "dark"]
    page.context.close()


@pytest.mark.parametrize(
    "style",
    ["outline: none", "outline: 1px solid black", "outline: 2px solid #bbb"],
    ids=["none", "thin", "pale"],
)
def test_a_poor_focus_is_found(wrong_page: tuple[Path, str], browser: object, style: str) -> None:
    path, address = wrong_page
    path.write_text(
        f"<!doctype html><style>a:focus {{ {style} }}</style><link rel=icon href='data:,'>"
        "<a href='#x'>x</a> <button style='outline: 2px solid black'>fine</button>"
    )
    page = open_page(browser, address)
    seen, poor = poor_rings(page)
    assert seen == 2 and len(poor) == 1 and poor[0].startswith("<a")
    page.context.close()


def test_one_visit_finds_it_all(wrong_page: tuple[Path, str], browser: object) -> None:
    path, address = wrong_page
    path.write_text(
        "<!doctype html><html lang=en data-theme=light><title>t</title>"
        "<link rel=icon href='data:,'>"
        "<style>a:focus { outline: none }</style><main><p style='color:#ccc'>pale</p>"
        "<a href='#x'>a link</a><script>console.error('no')</script>"
        "<div style='height: 9000px'></div><img src='page.html' alt='none' loading='lazy'></main>"
    )
    found = found_by_a_visit(browser, address, 1280, "light", path.parent)
    assert list(found.files) == ["page.html"]
    assert any("console error" in fault for fault in found.faults)
    assert any("image does not load" in fault for fault in found.faults)
    assert any("color-contrast" in fault for fault in found.by_axe)
    assert found.controls == 1 and found.poor_rings[0].startswith("<a")

    found = found_by_a_visit(browser, address, 390, "dark", path.parent)
    assert any("shown in the light theme" in fault for fault in found.faults)
    assert (found.by_axe, found.controls, found.poor_rings) == ([], 0, [])
