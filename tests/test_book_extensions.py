"""What the book's extensions make of a small chapter: figures, folds, frames, numbers, lines."""

import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

EXTENSIONS = Path(__file__).resolve().parents[1] / "book" / "_extensions"
sys.path.insert(0, str(EXTENSIONS))

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAAB"
    "JRU5ErkJggg=="
)
ALT = {"mystnb": {"image": {"alt": "A street with six boxes"}}}
LONG = "value = function_with_a_long_name(first_argument, second_argument)"
THREE = (
    r"L = 1 - U + \frac{d^2}{c^2} + a v, \qquad v = \frac{4}{\pi^2}"
    r"\left(\arctan \frac{w}{h}\right)^2, \qquad a = \frac{v}{(1 - U) + v \text{ or \qquad 0}}"
)
CHECK = '<div class="detlearn-check"><svg></svg> not attempted</div>'
SOLUTION = (
    "<details><summary>Solution: <code>nms</code></summary><pre>def nms(a):\n"
    "    return a &lt; 1</pre></details>"
)


def shows(source: str, kind: str = "", data: str = "", **metadata: object):
    """A code cell that displayed something, or nothing."""
    outputs = [new_output("display_data", {kind: data})] if kind else []
    return new_code_cell(source, outputs=outputs, metadata=metadata, execution_count=1)


CELLS = [
    new_markdown_cell("# Losses\n\nThe promise."),
    shows("#@title Set up the page\nimport math", tags=["hide-input"], cellView="form"),
    shows("#@title Draw the scenes\nshow()", "image/png", PNG, tags=["hide-input"], **ALT),
    new_markdown_cell("*Scenes with their **boxes**.*\n\n## First\n\nText.\n\n*Not a caption.*"),
    shows("show()", "image/png", PNG, **ALT),
    shows("# Counts them: twice\nassert True", tags=["hide-input"]),
    shows("assert True", tags=["hide-input"]),
    new_markdown_cell("*Moved up.*\n\n## Second"),
    shows("chart()", "text/html", '<div class="detlearn-chart"><svg></svg></div>'),
    new_markdown_cell("*A chart.*"),
    shows("f = check.f(f)", "text/html", CHECK),
    new_markdown_cell("*No figure above this.*"),
    new_markdown_cell(
        "### Exercise 6.1: a loss\nLevel ●●○ · 15 minutes\n\nWrite it.\n\n"
        "**Guess first.** Which is larger?\n\n<details><summary>Answer</summary>\n\nBoth.\n\n"
        "</details>\n\nThen go on."
    ),
    shows("def nms(a):\n    raise NotImplementedError"),
    shows("nms = check.nms(nms)", "text/html", CHECK),
    shows('check.solution("nms")', "text/html", SOLUTION),
    new_markdown_cell("After the exercise."),
    shows(f"if True:\n    {LONG}"),
    new_markdown_cell(f"Three formulas:\n\n$${THREE}$$\n\nTwo short ones:\n\n$$a,\\qquad b$$"),
    shows('say("✅")', "text/html", '<div class="detlearn-check">⏳ to do</div>'),
    new_markdown_cell("A ✅ in the text, `❌` in code."),
    new_markdown_cell("### A small heading\n\nText."),
]
CONF = """
extensions = ["myst_nb", "chapter_numbers", "code_lines", "drawn_signs", "exercise_frames",
              "figure_captions", "folded_code", "formula_lines"]
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "off"
html_theme = "basic"
html_secnumber_suffix = " "
numfig = True
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The HTML of a small chapter 6, the only chapter of its book."""
    from sphinx.application import Sphinx

    source = tmp_path_factory.mktemp("book")
    (source / "chapters").mkdir()
    (source / "conf.py").write_text(CONF)
    (source / "index.md").write_text("# Book\n\n```{toctree}\nchapters/06_losses\n```\n")
    metadata = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    nbformat.write(
        new_notebook(cells=CELLS, metadata=metadata), source / "chapters" / "06_losses.ipynb"
    )

    out = source / "out"
    Sphinx(source, source, out, source / "trees", "html", status=None, warning=sys.stderr).build()
    return (out / "chapters" / "06_losses.html").read_text()


def test_a_picture_and_its_caption_are_one_numbered_figure(page: str) -> None:
    figures = re.findall(r"<figure.*?</figure>", page, re.S)
    captions = [re.sub(r"<a.*?</a>|<[^>]+>", "", figure).strip() for figure in figures]
    assert captions == [
        "Figure 6.1. Scenes with their boxes.",
        "Figure 6.2. Moved up.",
        "Figure 6.3. A chart.",
    ]
    assert [figure.count("<figcaption>") for figure in figures] == [1, 1, 1]
    assert 'id="figure-6-1"' in figures[0] and 'alt="A street with six boxes"' in figures[0]
    assert "<strong>boxes</strong>" in figures[0]
    assert "<svg>" in figures[2]


def test_other_italics_stay_where_they_are(page: str) -> None:
    assert "<p><em>Not a caption.</em></p>" in page
    assert "<p><em>No figure above this.</em></p>" in page


def test_a_fold_has_the_cell_s_title_and_the_code_has_it_no_more(page: str) -> None:
    summaries = re.findall(r'<details class="hide[^>]*>\s*<summary>(.*?)</summary>', page)
    assert summaries == [
        "Code: Set up the page",
        "Code: Draw the scenes",
        "Code: Counts them",
        "Code",
    ]
    assert "@title" not in page


def test_an_exercise_reaches_to_its_solution(page: str) -> None:
    (frame,) = re.findall(r'<section class="exercise".*?</section>', page, re.S)
    assert "Exercise 6.1: a loss" in frame
    assert "not attempted" in frame and "Solution:" in frame
    assert "After the exercise." not in frame
    assert "After the exercise." in page and "A small heading" in page


def test_level_and_minutes_are_small_and_said_in_words(page: str) -> None:
    facts = re.search(r'<p class="exercise-facts">(.*?)</p>', page, re.S)[1]
    assert 'role="img" aria-label="level 2 of 3">●●○</span>' in facts
    assert facts.endswith(" 15 minutes")
    assert "<p>Write it.</p>" in page


def test_a_solution_is_folded_and_highlighted(page: str) -> None:
    fold = re.search(r'<details class="solution">(.*?)</details>', page, re.S)[1]
    assert '<span class="k">def</span>' in fold
    assert "&lt;" in fold and "&amp;lt;" not in fold


def test_a_guess_is_framed_with_its_answer(page: str) -> None:
    frame = re.search(r'<div class="[^"]*\bguess\b[^>]*>(.*?)</div>', page, re.S)[1]
    assert "Guess first." in frame and "<p>Both.</p>" in frame and "</details>" in frame
    assert "Then go on." not in frame


def test_headings_are_numbered_by_the_file_s_name(page: str) -> None:
    headings = re.findall(r"<h[1-4]>(.*?)<a class=\"headerlink\"", page)
    plain = [re.sub(r"<[^>]+>", "", heading) for heading in headings]
    assert plain == [
        "6 Losses",
        "6.1 First",
        "6.2 Second",
        "Exercise 6.1: a loss",
        "A small heading",
    ]
    assert 'href="#first"' in page and 'id="first"' in page


def test_a_long_line_hangs_below_its_beginning(page: str) -> None:
    line = re.search(r'<span class="line" style="--indent:(\d+)">(.*?)\n</span>', page, re.S)
    assert line[1] == "4"
    assert re.sub(r"<[^>]+>", "", line[2]).strip() == LONG


def test_code_is_the_same_text_as_before(page: str) -> None:
    blocks = re.findall(r"<pre>(.*?)</pre>", page, re.S)
    texts = [re.sub(r"<[^>]+>", "", block) for block in blocks]
    assert f"if True:\n    {LONG}\n" in texts


def test_a_row_of_formulas_becomes_lines_where_it_is_long(page: str) -> None:
    formulas = re.findall(r'<div class="math[^>]*>(.*?)</div>', page, re.S)
    assert formulas[0].count(r"\\[0.4em]") == 2  # the gap inside the braces stays
    assert r"\text{ or \qquad 0}" in formulas[0]
    assert "gathered" not in formulas[1]


def test_signs_are_drawn_except_in_code(page: str) -> None:
    assert re.search(
        r'A <svg class="detlearn-sign" role="img" aria-label="right".*?</svg> in', page
    )
    assert re.search(r'<div class="detlearn-check"><svg [^>]*aria-label="to do"', page)
    assert "⏳" not in page and page.count("✅") == 1


def test_letters_of_all_charts_stand_once():
    from light_pages import with_shared_letters

    def letter(name, drawn):
        return f'<path id="{name}" d="{drawn}" transform="scale(0.015625)"/>'

    first, second = "c0000000a", "c0000000b"
    tick = f'<path id="{second}-9" d="M0 0v3"/>'
    page = (
        f'<article class="x"><p>a</p><svg>{letter(first + "-0", "M0h1")}'
        f'{letter(first + "-1", "M0h2")}<use href="#{first}-0"/><use href="#{first}-1"/></svg>'
        f'<svg>{letter(second + "-3", "M0h2")}{tick}<use x="4" href="#{second}-3"/>'
        f'<use href="#{second}-9"/></svg>'
    )
    shared = with_shared_letters(page)
    assert shared.count("M0h1") == shared.count("M0h2") == 1
    assert shared.index("M0h1") < shared.index("<p>")
    assert shared.endswith(
        '<p>a</p><svg><use href="#g-0"/><use href="#g-1"/></svg>'
        f'<svg>{tick}<use x="4" href="#g-1"/><use href="#{second}-9"/></svg>'
    )
    assert with_shared_letters(shared) == shared
    assert with_shared_letters("<article>plain</article>") == "<article>plain</article>"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("boxes = clip(boxes, size)", "boxes = clip(boxes, size)"),  # blanks enough
        (
            'append<span class="o">(</span>of<span class="o">.</span>autograd(loss[mine])',
            'append<span class="o">(</span>of<span class="o"><wbr>.</span>autograd(<wbr>loss[<wbr>'
            "mine])",
        ),
        ("a_name_that_goes_on.and_on()", "a_name_that_goes_on<wbr>.and_on()"),
        ("x = 0.123456789012345678901234", "x = 0.123456789012345678901234"),  # a number
    ],
)
def test_a_long_piece_of_code_breaks_between_names(line: str, expected: str) -> None:
    from code_lines import LONG_PIECE, TAG, let_break

    long = LONG_PIECE.search(TAG.sub("", line))
    assert (let_break(line) if long else line) == expected


def test_tags_without_a_colour_of_their_own_are_dropped(root):
    """Whatever the highlighter tags as plain must look plain in light and in dark."""
    from code_lines import PLAIN, hang_lines

    code = '<pre><span></span><span class="k">if</span><span class="w"> </span>{}</pre>'
    name = '<span class="n">a</span><span class="p">:</span>\n'
    assert hang_lines(code.format(name)) == (
        '<pre><span></span><span class="k">if</span> a:\n</pre>'
    )

    sheet = root / "_build" / "html" / "_static" / "pygments.css"
    if not sheet.is_file():
        pytest.skip("the book is not built: run `make book`")
    css = sheet.read_text(encoding="utf-8")
    for theme in ("light", "dark"):
        begin = rf'html\[data-theme="{theme}"\] \.highlight'
        plain = re.search(begin + r" \{[^}]*\bcolor: (#\w+)", css)[1]
        for name in PLAIN:
            (rules,) = re.findall(begin + rf" \.{name} \{{([^}}]*)\}}", css)
            assert rules.strip() == f"color: {plain}", name
