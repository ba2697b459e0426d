"""What holds of every figure that lives in the page."""

import html

import pytest

from detlearn import explore

OTHERS = ("Explorable", "Player", "play", "source")  # no figures that live without a kernel
FIGURES = tuple(name for name in explore.__all__ if name not in OTHERS)
SERIOUS = ("critical", "serious")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", FIGURES)
def test_axe_finds_nothing_serious(open_figures, name: str, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    figure = open_figures(getattr(explore, name)(), theme=theme, width=390)
    figure.page.wait_for_timeout(500)  # until the ink has been looked at twice

    found = axe.run(figure.page, context=".detlearn-explore").response["violations"]
    assert [fault["id"] for fault in found if fault["impact"] in SERIOUS] == []


@pytest.mark.parametrize("name", FIGURES)
def test_what_screen_readers_say_first(name: str) -> None:
    figure = getattr(explore, name)()
    made = figure._repr_html_()
    assert f'aria-label="{html.escape(figure.title)}"' in made
    assert len(figure.description) > 100
    assert made.count("<svg") >= 1
