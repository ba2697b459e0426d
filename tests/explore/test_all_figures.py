"""What holds of every figure that lives in the page."""

import html
import re

import pytest
from from_models import figure_named

from detlearn import explore

OTHERS = ("Explorable", "Player", "play", "source")  # no figures that live without a kernel
FIGURES = tuple(name for name in explore.__all__ if name not in OTHERS)
SERIOUS = ("critical", "serious")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", FIGURES)
def test_axe_finds_nothing_serious(open_figures, name: str, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    figure = open_figures(figure_named(name), theme=theme, width=390)
    figure.page.wait_for_timeout(500)  # until the ink has been looked at twice

    found = axe.run(figure.page, context=".detlearn-explore").response["violations"]
    assert [fault["id"] for fault in found if fault["impact"] in SERIOUS] == []


@pytest.mark.parametrize("name", FIGURES)
def test_what_screen_readers_say_first(name: str) -> None:
    figure = figure_named(name)
    made = figure._repr_html_()
    assert f'aria-label="{html.escape(figure.title)}"' in made
    assert len(figure.description) > 100
    assert made.count("<svg") >= 1


def test_all_of_them_live_on_one_page(open_figures) -> None:
    """No name, no id and no group of radio buttons of one is another's."""
    made = [figure_named(name) for name in FIGURES]
    figure = open_figures(*made, *made)
    page = figure.page
    for i in range(len(FIGURES)):
        before = figure.get(i)
        assert figure.get(i + len(FIGURES)) == before

    # Their shared names stay in their scripts.
    leaked = "['explorable', 'svg', 'clamp', 'boxIou', 'LOOKS'].filter((n) => n in window)"
    assert page.evaluate(leaked) == []
    assert page.evaluate("(() => { try { return LOOKS } catch { return null } })()") is None

    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids)) > 10

    # A group of radio buttons lies in one figure, and one of it is chosen.
    groups = page.evaluate(
        """() => {
          const groups = {};
          for (const input of document.querySelectorAll("input[type=radio]")) {
            const group = (groups[input.name] ??= { figures: new Set(), chosen: 0 });
            group.figures.add(input.closest(".detlearn-explore"));
            group.chosen += input.checked;
          }
          return Object.values(groups).map(({ figures, chosen }) => [figures.size, chosen]);
        }"""
    )
    assert len(groups) > 10 and all(group == [1, 1] for group in groups)


@pytest.mark.parametrize("name", FIGURES)
def test_the_still_picture_gives_way_to_the_living_one(open_figures, name: str) -> None:
    """Without scripts there is the still picture and nothing to work; with them, the other way."""
    still = open_figures(figure_named(name), scripts=False).page
    assert still.locator(".stage svg").first.is_visible()
    assert still.locator("input, button, [role=slider]").count() == 0

    living = open_figures(figure_named(name)).page
    assert living.locator(".stage").count() == 1
    assert living.locator("input:visible").count() > 0


def test_all_of_them_are_spoken(open_figures) -> None:
    """A screen reader says in a sentence what is to be seen, once the reader's hand is at rest."""
    page = open_figures(*[figure_named(name) for name in FIGURES]).page
    page.wait_for_timeout(1000)
    spoken = page.locator("[aria-live]").all_text_contents()
    assert {name: len(said) > 20 for name, said in zip(FIGURES, spoken, strict=True)} == {
        name: True for name in FIGURES
    }


@pytest.mark.parametrize("name", FIGURES)
def test_no_comment_of_the_source_travels_along(name: str) -> None:
    made = figure_named(name)._repr_html_()
    assert not re.search(r"^[ \t]*(//|/\*)", made, re.M)


@pytest.mark.parametrize("name", FIGURES)
def test_lines_are_drawn_from_their_first_point(open_figures, name: str) -> None:
    page = open_figures(figure_named(name)).page
    paths = "[...document.querySelectorAll('path.line')].map((path) => path.getAttribute('d'))"
    for path in filter(None, page.evaluate(paths)):
        assert re.fullmatch(r"M[^M]*", path)
