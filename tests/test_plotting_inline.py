"""Charts as drawings that follow the page, scenes as sharp PNG, and what a kernel makes of both."""

import base64
import colorsys
import io
import re
from collections.abc import Iterator

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from nbclient import NotebookClient
from PIL import Image

from detlearn import plotting
from detlearn.plotting import inline
from detlearn.plotting.page_colours import (
    from_oklch,
    ground_on_dark,
    line_on_dark,
    linear_light,
    oklch,
)
from detlearn.plotting.style import LINE_COLOURS

DARK_PAGE, DARK_TEXT = "#121212", "#ced6dd"
HARD_BLACK = re.compile(r"#000(?:000)?\b|#111(?:111)?\b|rgb\(0|:black\b")


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    """The book's style, and no figure left open."""
    with plt.rc_context():
        plotting.use_style()
        yield
    plt.close("all")


def chart(**size: object) -> Figure:
    """Lines in the book's colours over a pale ground, words, a grey line, a legend."""
    figure, ax = plt.subplots(**size)
    for index, colour in enumerate(LINE_COLOURS):
        ax.plot([0, 1], [index, index + 1], color=colour, label=f"line {index}")
    ax.axhspan(2, 3, facecolor="#dbe9f4")
    ax.axhline(5, color="#6b6b6b")
    ax.text(0.2, 2.5, "words")
    ax.set(title="A title", xlabel="steps", ylabel="$L_1$ loss")
    ax.legend()
    return figure


def contrast(one: str | tuple, other: str | tuple) -> float:
    """The contrast ratio of WCAG 2.1."""
    weights = (0.2126, 0.7152, 0.0722)
    a, b = (
        sum(w * linear_light(v) for w, v in zip(weights, to_rgb(colour))) for colour in (one, other)
    )
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


# ---- what a chart becomes ----


def test_a_chart_has_no_fixed_black_or_white() -> None:
    text = inline.chart_html(chart())
    assert not HARD_BLACK.search(text)
    assert "#ffffff" not in text
    assert "currentColor" in text and "var(--paper)" in text


def test_a_chart_is_small_and_says_the_same_each_time() -> None:
    text = inline.chart_html(chart())
    assert len(text) < 60_000
    assert text == inline.chart_html(chart())
    for unwanted in ("<?xml", "<!DOCTYPE", "<metadata", "xlink:", "<dc:", "<!--"):
        assert unwanted not in text


def test_names_in_two_charts_differ_and_lead_somewhere() -> None:
    one = inline.chart_html(chart())
    other = inline.chart_html(chart(figsize=(5, 4)))
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, other)]
    assert ids[0] and ids[0].isdisjoint(ids[1])

    used = set(re.findall(r'href="#([^"]+)"', one)) | set(re.findall(r"url\(#([^)]+)\)", one))
    assert used <= ids[0]


def test_no_style_reaches_beyond_the_chart() -> None:
    """matplotlib's own sheet begins with ``*{``, which would be every element of the page."""
    (sheet,) = re.findall(r"<style>(.*?)</style>", inline.chart_html(chart()))
    selectors = [rule.split("{")[0] for rule in sheet.split("}") if rule]
    assert selectors and all(re.search(r"\.c[0-9a-f]{8}", selector) for selector in selectors)


def test_without_drawing_and_style_a_chart_says_what_to_do() -> None:
    """As Jupyter shows what it does not trust."""
    text = inline.chart_html(chart())
    left = re.sub(r"<(style|svg)\b.*?</\1>", "", text, flags=re.S)
    assert re.sub(r"<[^>]*>", "", left) == "Run this cell to see its chart."
    (name,) = re.findall(r'<p class="([^"]+)"', text)
    assert f".{name}{{display:none}}" in text


def test_coordinates_have_two_decimals_and_glyphs_none() -> None:
    text = inline.chart_html(chart())
    paths = re.findall(r'<path d="([^"]*)"', text)
    assert paths and not any(re.search(r"\.\d{3}", path) for path in paths)
    assert "scale(0.015625)" in text  # rounded, this would be a third larger


def test_a_chart_labels_itself_until_it_has_an_alt_text() -> None:
    text = inline.chart_html(chart())
    label = re.search(r'^<div class="detlearn-chart" role="img" aria-label="([^"]*)"', text)[1]
    assert label.startswith("Chart. A title: L_1 loss over steps: line 0, line 1")


def test_words_on_a_coloured_ground_keep_their_colour() -> None:
    figure, ax = plt.subplots()
    ax.text(0.5, 0.5, "tag", bbox={"facecolor": "#fca800"})
    text = inline.chart_html(figure)
    assert 'fill="#000"' in text and "#fca800" in text


def test_panels_come_apart_where_nothing_joins_them() -> None:
    figure, axes = plt.subplots(1, 3, figsize=(7, 3))
    for ax in axes:
        ax.plot([0, 1])
    assert inline.chart_html(figure).count("viewBox") == 3

    # A line drawn on the figure itself joins them.
    figure.add_artist(plt.Line2D([0.1, 0.9], [0.5, 0.5]))
    assert inline.chart_html(figure).count("viewBox") == 1


def test_a_title_and_a_legend_for_all_panels_stand_by_themselves() -> None:
    figure, axes = plt.subplots(1, 2, figsize=(7, 3))
    for ax in axes:
        ax.plot([0, 1], label="a line")
    figure.suptitle("one title above all of them, wide enough to lie over the gap between both")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    text = inline.chart_html(figure)
    boxes = [
        [float(number) for number in view.split()]
        for view in re.findall(r'viewBox="([^"]*)"', text)
    ]
    assert len(boxes) == 4

    # From top to bottom, and nothing left out in between.
    title, left, right, legend = boxes
    assert title[1] == 0 and title[3] == left[1] == right[1]
    assert left[0] == 0 and left[2] == right[0]
    assert left[1] + left[3] <= legend[1] + 0.01
    assert title[3] < 40 and legend[3] < 40


def test_a_table_of_panels_stays_together_under_its_title() -> None:
    figure, _ = plt.subplots(4, 4, figsize=(7, 7))
    figure.suptitle("one title above all of them, wide enough to lie over the gaps between panels")
    assert inline.chart_html(figure).count("viewBox") == 1


def test_marks_for_the_drawing_are_taken_off_again() -> None:
    figure = chart()
    before = [artist.get_gid() for artist in figure.findobj()]
    inline.chart_html(figure)
    assert [artist.get_gid() for artist in figure.findobj()] == before


# ---- colours on a dark page ----


@pytest.mark.parametrize("colour", LINE_COLOURS)
def test_lines_can_be_seen_on_a_dark_page(colour: str) -> None:
    assert contrast(line_on_dark(to_rgb(colour)), DARK_PAGE) >= 3


def test_lines_on_a_dark_page_keep_their_hue() -> None:
    for colour in LINE_COLOURS:
        before = colorsys.rgb_to_hls(*to_rgb(colour))[0]
        after = colorsys.rgb_to_hls(*line_on_dark(to_rgb(colour)))[0]
        assert min(abs(before - after), 1 - abs(before - after)) < 0.06, colour


@pytest.mark.parametrize("ground", ["#dbe9f4", "#fdeeda", "#e6f4e6"])
def test_words_can_be_read_on_a_darkened_ground(ground: str) -> None:
    assert contrast(ground_on_dark(to_rgb(ground)), DARK_TEXT) >= 4.5


def test_a_ground_in_a_border_of_its_colour_stays_one_on_a_dark_page() -> None:
    figure, ax = plt.subplots()
    ax.fill_between([0, 1], [1, 1], color="#dbe9f4")
    (style,) = re.findall(r"\{fill:(var\(--c\d+\);stroke:var\(--c\d+\))", inline.chart_html(figure))
    fill, line = style.split(";stroke:")
    assert fill == line


def test_oklch_and_back() -> None:
    generator = np.random.default_rng(0)
    for rgb in generator.random((200, 3)):
        assert np.allclose(from_oklch(*oklch(tuple(rgb))), rgb, atol=2e-3)


# ---- scenes, and what is too large ----


def test_a_scene_is_a_png_of_twice_the_size() -> None:
    figure, ax = plt.subplots(figsize=(4, 3))
    ax.imshow(np.zeros((8, 8)))
    assert inline.chart_html(figure) is None

    data, size = inline.scene_png(figure)
    width, height = Image.open(io.BytesIO(data)).size
    assert size == {"width": width // 2, "height": height // 2}
    assert 300 < size["width"] < 450  # shown as large as ever


def test_an_image_in_an_inset_makes_a_scene_too() -> None:
    figure = chart()
    figure.axes[0].inset_axes([0.5, 0.5, 0.3, 0.3]).imshow(np.zeros((4, 4)))
    assert inline.chart_html(figure) is None


def test_a_chart_of_too_many_points_is_a_png() -> None:
    figure, ax = plt.subplots()
    points = np.random.default_rng(0).random((2, 12_000))
    ax.scatter(*points)
    assert inline.chart_html(figure) is None
    assert inline.scene_png(figure) is not None


def test_a_chart_has_no_png() -> None:
    figure = chart()
    inline.chart_html(figure)
    assert inline.scene_png(figure) is None


# ---- in a kernel ----

SETUP = """\
import matplotlib.pyplot as plt
from detlearn import plotting
plotting.use_style()
figure, ax = plt.subplots()
ax.plot([0, 1]);"""
CELLS = {
    "the cell that sets up": SETUP,
    "implicit": "plt.plot([0, 1]);",
    "plt.show": "plt.plot([0, 1])\nplt.show()",
    "last value": "figure",
    "scene": "plt.imshow([[0, 1]]);",
}


def test_a_terminal_has_nothing_to_install() -> None:
    assert not inline.install()


@pytest.mark.slow
def test_a_kernel_shows_charts_as_html_and_scenes_as_png() -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, startup_timeout=300, kernel_name="python3").execute()

    shown = {
        name: [output.data for output in cell.outputs if "data" in output]
        for name, cell in zip(CELLS, cells)
    }
    for name, outputs in shown.items():
        pictures = [set(data) & {"text/html", "image/png"} for data in outputs]
        assert pictures == [{"image/png"} if name == "scene" else {"text/html"}], name

    (scene,) = (output for output in cells[-1].outputs if "data" in output)
    width = Image.open(io.BytesIO(base64.b64decode(scene.data["image/png"]))).width
    assert scene.metadata["image/png"]["width"] == width // 2
