"""The book's Sphinx extensions, on small inputs: what they keep, link and write."""

import base64
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("docutils")
pytest.importorskip("sphinx")


@pytest.fixture(autouse=True)
def extensions(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of extensions is no package."""
    monkeypatch.setattr(sys, "path", [str(root / "book" / "_extensions"), *sys.path])


@pytest.mark.parametrize(
    ("css", "kept"),
    [
        (".a{x:1}.b{x:2}", ".a{x:1}"),
        (".a,.b{x:1}", ".a{x:1}"),
        (".a .b,.a > p{x:1}", ".a > p{x:1}"),
        (".a:not(.b){x:1}", ".a:not(.b){x:1}"),
        (".a:is(.b,.c) i{x:1}", ".a:is(.b,.c) i{x:1}"),
        ("[class*='.b']{x:1}", "[class*='.b']{x:1}"),
        ("@media print{.b{x:1}.a{x:2}}", "@media print{.a{x:2}}"),
        ("@media print{.b{x:1}}", ""),
        ('@font-face{font-family:Font Awesome\\ 6 Free}p{content:"}"}', 'p{content:"}"}'),
        ("@import 'x.css';.b{x:1}p{x:url(data:a;b)}", "@import 'x.css';p{x:url(data:a;b)}"),
        ("/* .a{ */p{x:1}", "p{x:1}"),
    ],
)
def test_rules_for_classes_that_occur_are_kept(css: str, kept: str) -> None:
    from light_pages import kept_rules

    assert kept_rules(css, {"a"}) == kept


def test_images_wait_and_know_their_size(tmp_path: Path) -> None:
    from light_pages import lazy_image
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / "p.png")
    first = lazy_image('<img alt="a" src="p.png" />', tmp_path, first=True)
    later = lazy_image('<img alt="a" src="p.png" width="20" />', tmp_path, first=False)
    gone = lazy_image('<img alt="a" src="gone.png">', tmp_path, first=False)

    assert first == '<img alt="a" src="p.png" decoding="async" width="40" height="30">'
    assert later == (
        '<img alt="a" src="p.png" width="20" loading="lazy" decoding="async" height="15">'
    )
    assert gone == '<img alt="a" src="gone.png" loading="lazy" decoding="async">'
    assert lazy_image(later, tmp_path, first=False) == later


def test_a_page_goes_without_icons_and_mathjax() -> None:
    from light_pages import LIGHT_OR_DARK, lighter_page

    library = '<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>'
    formulas = '<script defer="defer" src="../_static/mathjax/startup.js"></script>'
    page = f"<head>{library}{formulas}</head><article>{{}}</article>"
    head = f"<head>{LIGHT_OR_DARK}</head>"

    plain = lighter_page(page.format("text"), Path("a.html"))
    with_formula = lighter_page(page.format('<span class="math">x</span>'), Path("a.html"))
    assert plain == f"{head}<article>text</article>"
    assert "mathjax" in with_formula and "fontawesome" not in with_formula
    assert lighter_page(with_formula, Path("a.html")) == with_formula


def source(author: str, year: str, title: str):
    from citations import Source
    from docutils import nodes

    return Source(author, year, title, "page", f"{author}-{title[:4]}", nodes.inline())


CITED = {
    "as in Soft-NMS (Bodla et al. 2017) it": ["Bodla et al. 2017"],
    "Zheng et al. (2020) penalise": ["Zheng et al. (2020)"],
    "(Girshick 2015) rounds": ["Girshick 2015"],
    "(Cai and Vasconcelos 2018)": ["Cai and Vasconcelos 2018"],
    "(Van Gool 2010)": ["Van Gool 2010"],
    "in Paris 2018 and Bodla et al. 2018": [],
    "(Bodla et al. 2017; Girshick 2015)": ["Bodla et al. 2017", "Girshick 2015"],
}


@pytest.mark.parametrize("text", CITED)
def test_citations_are_found_in_running_text(text: str) -> None:
    from citations import citations_in

    names = [("Bodla", "2017"), ("Zheng", "2020"), ("Girshick", "2015"), ("Cai", "2018")]
    sources = [source(name, year, "Title") for name, year in [*names, ("Van Gool", "2010")]]
    found = citations_in(text, "", sources)
    assert [text[one.start : one.end] for one in found] == CITED[text]


def test_two_papers_of_one_year_are_told_apart_by_the_words_before() -> None:
    from citations import citations_in

    sources = [
        source("Lin", "2017", "Feature pyramid networks"),
        source("Lin", "2017", "Focal loss"),
    ]
    for before, title in [("the focal loss", "Focal loss"), ("the pyramid", sources[0].title)]:
        (one,) = citations_in(f"{before} (Lin et al. 2017)", "", sources)
        assert one.source.title == title


def parse(text: str):
    from docutils.core import publish_doctree

    return publish_doctree(text, settings_overrides={"report_level": 5})


def test_sections_hold_their_own_words_only() -> None:
    from docutils import nodes
    from sections import sections_of

    tree = parse(
        "Book\n====\n\nFirst words.\n\nBoxes\n-----\n\nFour *numbers*.\n\n::\n\n  code()\n\nEnd."
    )
    # docutils lifts a lone title to the document; Sphinx does not.
    top = nodes.section("", nodes.title("", "Book"), *tree.children[1:], ids=["book"])
    document = parse("")
    document += top
    found = sections_of(document, "a/b")
    assert [(s["url"], s["title"], s["text"]) for s in found] == [
        ("a/b.html", "Book", "First words."),
        ("a/b.html#boxes", "Boxes", "Four numbers. End."),
    ]
    assert {s["page"] for s in found} == {"Book"}


@pytest.mark.parametrize(
    ("tex", "words"),
    [
        (r"\rho^2 / c^2", "ρ² / c²"),
        (r"L_\mathrm{IoU} = 1 - \mathrm{IoU}", "LIoU = 1 - IoU"),
        (r"\frac{|C| - U}{|C|}", "|C| - U/|C|"),
        (r"e^{-0.36 / 0.5} \approx 0.49", "e^(-0.36 / 0.5) ≈ 0.49"),
        (r"d_w = \ln 3", "dw = ln 3"),
    ],
)
def test_search_shows_formulas_without_tex(tex: str, words: str) -> None:
    from docutils import nodes
    from sections import text_of

    assert text_of(nodes.math("", tex)) == words


def test_glossary_entries_keep_formulas_and_lose_links() -> None:
    from docutils import nodes
    from glossary_links import entries_of

    link = nodes.reference("", "", nodes.inline("", "IoU"), refuri="x")
    words = nodes.paragraph("", "", link, nodes.Text(" of "), nodes.math("", "a < b"))
    item = nodes.definition_list_item("", nodes.term("", "GIoU", ids=["term-GIoU"]))
    item += nodes.definition("", words)
    document = parse("")
    document += nodes.definition_list("", item)
    formula = '<span class="math notranslate nohighlight">\\(a &lt; b\\)</span>'
    assert entries_of(document) == {"term-GIoU": f"IoU of {formula}"}


def test_a_large_picture_in_the_text_becomes_a_file(tmp_path):
    from light_pages import in_a_file

    (tmp_path / "_static").mkdir()
    (tmp_path / "chapters").mkdir()
    data = bytes(range(256)) * 60
    text = base64.b64encode(data).decode()
    tag = f'<img src="data:image/webp;base64,{text}" width="3" height="4">'

    found = in_a_file(tag, tmp_path / "chapters")
    name = re.fullmatch(r'<img src="(.*)" width="3" height="4">', found)[1]
    assert name.startswith("../_images/") and name.endswith(".webp")
    assert (tmp_path / "chapters" / name).read_bytes() == data

    small = '<img src="data:image/webp;base64,AAAA">'
    assert in_a_file(small, tmp_path / "chapters") == small
