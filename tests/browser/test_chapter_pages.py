"""What a chapter looks like: figures, folds, frames, numbers, nothing cut off, printing.

``make book`` must have run. Each test opens the chapters as they are built; the last ones look at
pages that are wrong on purpose, so that the measuring itself is tested.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHAPTERS = (
    "01_foundations",
    "02_two_stage",
    "03_yolo",
    "04_anchor_free",
    "05_detr",
    "06_iou_losses",
    "07_comparison",
    "08_debugging",
)
WIDTHS = (390, 1280, 1440, 1920)

# What is wider than its place, as a reader sees it: cut off, or to be scrolled sideways.
TOO_WIDE = """
() => {
  const found = [];
  for (const element of document.querySelectorAll(".bd-article *")) {
    // What is spoken alone is cut off on purpose.
    if (element.closest("svg, mjx-container, th, td, .spoken") || !element.clientWidth) continue;
    const over = element.scrollWidth - element.clientWidth;
    const { display, overflowX } = getComputedStyle(element);

    // On a phone figures go beyond the text, into the margin of the page, and are not cut off.
    const figures = element.querySelector(".cell_output:has(figure.numbered, .detlearn-explore)");
    const edge = figures && figures.getBoundingClientRect().right;
    if (figures && overflowX === "visible" && over <= 13 && edge < window.innerWidth) continue;

    if (over > 1 && display !== "inline")
      found.push([element.tagName, String(element.className), over, element.textContent.trim()]);
  }

  // A formula reports no width of its own that scrolls; it must end where the text does.
  const edge = document.querySelector(".bd-article").getBoundingClientRect().right;
  for (const formula of document.querySelectorAll(".bd-article mjx-math")) {
    const over = formula.getBoundingClientRect().right - edge;
    if (over > 1) found.push(["FORMULA", "", over, formula.textContent.trim()]);
  }
  return found.map(([tag, kind, over, text]) => ({
    what: `${tag} ${kind}`, over, text: text.slice(0, 60)
  }));
}
"""
SETTLED = """
async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  await new Promise((done) => setTimeout(done, 200));
}
"""


# The tests of a chapter ask the same worker, which opens it once at each width.
EACH_CHAPTER = pytest.mark.parametrize(
    "chapter", [pytest.param(each, marks=pytest.mark.xdist_group(each)) for each in CHAPTERS]
)


def open_page(browser: object, address: str, width: int = 1280, scheme: str = "light") -> object:
    """Opens an address in a context of its own, and waits until its formulas are set."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, is_mobile=width < 600
    )
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(address)
    page.evaluate(SETTLED)
    return page


@pytest.fixture
def visit(browser: object) -> Iterator[Callable]:
    """Opens an address at a width and in a scheme, for a test that touches what it sees."""
    pages = []

    def visit(address: str, width: int = 1280, scheme: str = "light") -> object:
        pages.append(open_page(browser, address, width, scheme))
        return pages[-1]

    yield visit
    for page in pages:
        page.context.close()


@pytest.fixture(scope="module")
def chapter_page(browser: object, book_address: str) -> Iterator[Callable]:
    """Gives a chapter's page at a width to tests that only read it: opened once, kept a while."""
    kept: dict[tuple[str, int], object] = {}

    def chapter_page(chapter: str, width: int = 1280) -> object:
        if (chapter, width) not in kept:
            if len(kept) == len(WIDTHS):  # a page takes 100 MB
                kept.pop(next(iter(kept))).context.close()
            kept[chapter, width] = open_page(
                browser, f"{book_address}/chapters/{chapter}.html", width
            )
        return kept[chapter, width]

    yield chapter_page
    for page in kept.values():
        page.context.close()


def too_wide(page: object, phone: bool) -> list[str]:
    """Faults: what does not fit; on a phone a table may scroll in its own box."""
    return [
        f"{item['what']}: {item['over']} px too wide: {item['text']}"
        for item in page.evaluate(TOO_WIDE)
        if not (phone and re.search(r"table|TABLE", item["what"]))
    ]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("width", WIDTHS)
@EACH_CHAPTER
def test_nothing_is_cut_off(chapter_page: Callable, chapter: str, width: int) -> None:
    page = chapter_page(chapter, width)
    faults = too_wide(page, phone=width < 600)
    assert not faults, "\n".join(faults)


@EACH_CHAPTER
def test_figures_are_numbered_and_said_in_words(site: Path, chapter: str) -> None:
    text = (site / "chapters" / f"{chapter}.html").read_text(encoding="utf-8")
    figures = re.findall(r'<figure class="[^"]*numbered.*?</figure>', text, re.S)
    number = int(chapter[:2])
    captions = [re.search(r'caption-number">Figure (\d+\.\d+)\.<', figure) for figure in figures]
    assert [caption and caption[1] for caption in captions] == [
        f"{number}.{index}" for index in range(1, len(figures) + 1)
    ]
    # Chapter 8 shows most of its findings as small tables of numbers.
    assert len(figures) >= (7 if chapter == "08_debugging" else 10)

    # An image has an alt text and a drawing a label, of some length.
    for figure in figures:
        words = re.findall(r'\b(?:alt|aria-label)="([^"]*)"', figure)
        assert any(len(word) > 15 for word in words), figure[:300]


@EACH_CHAPTER
def test_headings_and_sidebars_carry_the_chapter_s_number(
    chapter_page: Callable, chapter: str
) -> None:
    page = chapter_page(chapter)
    number = int(chapter[:2])
    texts = page.locator("article h1, article h2").all_inner_texts()
    assert texts[0].startswith(f"{number} ")
    for index, text in enumerate(texts[1:], start=1):
        assert text.startswith(f"{number}.{index} "), text

    contents = page.locator(".bd-sidebar-secondary").inner_text()
    assert f"{number}.1 " in contents
    assert re.search(rf"^{number} \w", page.locator(".bd-sidebar-primary").inner_text(), re.M)


@EACH_CHAPTER
def test_an_exercise_stands_in_a_frame(chapter_page: Callable, chapter: str) -> None:
    page = chapter_page(chapter)
    frames = page.locator("section.exercise")
    assert frames.count() >= 4
    for index in range(frames.count()):
        frame = frames.nth(index)
        title = frame.locator("h2, h3, h4").first.inner_text()
        assert re.match(rf"Exercise {int(chapter[:2])}\.{index + 1}\b", title), title
        assert frame.locator("div.cell").count() >= 3, title  # stub, check, solution
        assert frame.evaluate("(e) => parseFloat(getComputedStyle(e).borderLeftWidth)") >= 4

        # The solution is there, folded, and its cell's code is not.
        solution = frame.locator("details.solution")
        assert solution.count() == 1 and not solution.evaluate("(e) => e.open"), title
        assert not frame.locator("div.cell.solution > .cell_input").is_visible(), title


@EACH_CHAPTER
def test_folded_code_is_folded_and_named(chapter_page: Callable, chapter: str) -> None:
    page = chapter_page(chapter)
    folds = page.locator("details.hide")
    assert folds.count() >= 5
    assert all(text.startswith("Code") for text in folds.locator("> summary").all_inner_texts())
    assert page.locator("details.hide[open]").count() == 0
    assert "@title" not in page.locator("article").inner_html()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(
    "chapter", [pytest.param(each, marks=pytest.mark.xdist_group(each)) for each in CHAPTERS[:2]]
)
def test_a_table_with_many_columns_fits(chapter_page: Callable, chapter: str, width: int) -> None:
    """COCO's twelve numbers: beside each other at a desk, below each other on a phone."""
    page = chapter_page(chapter, width)
    table = page.locator("article table", has_text="ar_medium").first
    assert table.evaluate("(e) => e.parentElement.scrollWidth - e.parentElement.clientWidth") <= 1
    assert table.locator("tr").count() == (12 if width == 390 else 2)
    words = table.locator("th", has_text="ap_medium").inner_text()
    assert words == "ap_medium"
    assert table.evaluate("(e) => parseFloat(getComputedStyle(e).fontSize)") >= 9


def test_a_printed_table_keeps_its_lines_on_a_phone(visit: Callable, book_address: str) -> None:
    page = visit(f"{book_address}/chapters/02_two_stage.html", 390)
    output = page.locator(".cell_output pre", has_text="anchor  match  in the loss").last
    lines = output.text_content().rstrip("\n").count("\n") + 1
    height, line = output.evaluate(
        """(e) => { const s = getComputedStyle(e);
        return [e.clientHeight - parseFloat(s.paddingTop) - parseFloat(s.paddingBottom),
                parseFloat(s.lineHeight)]; }"""
    )
    assert height < (lines + 0.6) * line
    assert output.evaluate("(e) => parseFloat(getComputedStyle(e).fontSize)") >= 9


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_of_many_points_follow_the_page(
    visit: Callable, book_address: str, scheme: str
) -> None:
    """No picture on a white card: what has no scene in it is drawn."""
    page = visit(f"{book_address}/chapters/02_two_stage.html", 1280, scheme)
    chart = page.locator("figure .detlearn-chart", has=page.locator("svg")).filter(
        has=page.locator("path[d*='zM']")
    )
    assert chart.count() >= 2


@pytest.mark.parametrize("width", [390, 1280])
def test_a_figure_is_enlarged_by_click_and_by_keyboard(
    visit: Callable, book_address: str, width: int
) -> None:
    page = visit(f"{book_address}/chapters/01_foundations.html", width)
    button = page.locator("figure.numbered button.enlarge").first
    dialog = page.locator("dialog.enlarged")
    assert dialog.count() == 0
    assert button.get_attribute("aria-label") == "Enlarge Figure 1.1"

    # By keyboard: Enter opens, Escape closes, the focus is back.
    button.focus()
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    assert dialog.locator(".words").inner_text().startswith("Figure 1.1. ")
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert button.evaluate("(e) => e === document.activeElement")

    # By pointer: the picture opens it, another click closes.
    page.locator("figure.numbered .enlargeable > :first-child").first.click()
    assert dialog.is_visible()
    shown = dialog.locator(".picture > *").first.bounding_box()["width"]
    assert shown > 300
    dialog.click(position={"x": 8, "y": 8})
    assert not dialog.is_visible()


def test_signs_are_drawn(site: Path) -> None:
    for path in [*(site / "chapters").glob("*.html"), site / "book" / "how_to_use.html"]:
        text = path.read_text(encoding="utf-8")
        outside_code = re.sub(r"<pre.*?</pre>", "", text, flags=re.S)
        assert not re.search("[⏳✅❌]", outside_code), path.name
    assert 'class="detlearn-sign" role="img" aria-label="to do"' in text


IN_FIGURES = """
() => {
  const found = [];
  const say = (element, pixels) => {
    const figure = element.closest("figure");
    found.push([figure ? figure.querySelector(".caption-number").textContent : "", pixels]);
  };
  // A chart's words are paths: its letters are as large as a point is on the page.
  for (const drawing of document.querySelectorAll("article .detlearn-chart svg")) {
    const width = drawing.getBoundingClientRect().width;
    if (width > 2) say(drawing, 10 * width / drawing.viewBox.baseVal.width);
  }
  for (const word of document.querySelectorAll("article svg text")) {
    const drawn = word.getScreenCTM();
    const size = parseFloat(getComputedStyle(word).fontSize);
    if (word.getBoundingClientRect().width) say(word, Math.hypot(drawn.b, drawn.d) * size);
  }
  for (const image of document.querySelectorAll("article figure img")) {
    const points = Number(image.getAttribute("width")) * 72 / 200; // 200 pixels an inch
    if (!image.alt.includes("blood smears")) // drawn before this was asked for
      say(image, 10 * image.getBoundingClientRect().width / points);
  }
  return found;
}
"""


@EACH_CHAPTER
def test_words_in_figures_can_be_read_on_a_phone(chapter_page: Callable, chapter: str) -> None:
    """Words of ten points, the smallest in a figure, are nine pixels high or more."""
    page = chapter_page(chapter, 390)
    sizes = page.evaluate(IN_FIGURES)
    assert len(sizes) > 20
    assert not [(figure, round(size, 1)) for figure, size in sizes if size < 9]


# ---- printing ----


def test_print_is_light_without_controls_and_fits(visit: Callable, book_address: str) -> None:
    page = visit(f"{book_address}/chapters/06_iou_losses.html", 700, "dark")
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")

    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    for controls in (".bd-sidebar-primary", ".bd-header-article", "button.enlarge", ".headerlink"):
        assert not page.locator(controls).first.is_visible(), controls
    assert not page.locator("details.solution").first.is_visible()
    faults = too_wide(page, phone=False)
    assert not faults, "\n".join(faults)

    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@EACH_CHAPTER
def test_printed_pictures_keep_their_proportions(
    visit: Callable, book_address: str, chapter: str
) -> None:
    page = visit(f"{book_address}/chapters/{chapter}.html")
    page.emulate_media(media="print")
    page.evaluate(
        "Promise.all([...document.querySelectorAll('figure img')].map((image) => "
        "{ image.loading = 'eager'; return image.decode(); }))"
    )
    sides = page.evaluate(
        "[...document.querySelectorAll('figure img')].map((image) => "
        "[image.width, image.height, image.naturalWidth, image.naturalHeight])"
    )
    assert len(sides) >= 3
    for width, height, own_width, own_height in sides:
        assert abs(width / height / (own_width / own_height) - 1) < 0.02
        assert height <= 630  # 165 mm


def test_print_has_the_solutions_by_choice(visit: Callable, book_address: str) -> None:
    page = visit(f"{book_address}/chapters/06_iou_losses.html?solutions")
    page.emulate_media(media="print")
    solution = page.locator("details.solution").first
    assert solution.evaluate("(e) => e.open") and solution.locator("pre").is_visible()


def test_a_chapter_prints_to_pdf(visit: Callable, book_address: str, tmp_path: Path) -> None:
    page = visit(f"{book_address}/chapters/06_iou_losses.html")
    page.pdf(path=tmp_path / "chapter.pdf", format="A4", print_background=True)
    data = (tmp_path / "chapter.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    assert 10 <= len(re.findall(rb"/Type\s*/Page\b", data)) <= 60


# ---- the measuring itself ----


@pytest.mark.parametrize(
    ("content", "fits"),
    [
        ("<pre style='width: 200px; overflow: auto'>" + "x" * 200 + "</pre>", False),
        (
            "<div style='width: 9em; overflow: hidden'><p style='width: 20em'>a</p></div>",
            False,
        ),
        ("<pre style='width: 200px; white-space: pre-wrap'>" + "x " * 100 + "</pre>", True),
    ],
)
def test_what_does_not_fit_is_found(visit: Callable, content: str, fits: bool) -> None:
    page = visit("data:text/html,<article class='bd-article'>" + content + "</article>")
    assert (not too_wide(page, phone=False)) == fits
