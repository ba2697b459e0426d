"""What every figure to explore is made of, as far as it shows without a browser."""

import json
import re

import pytest

from detlearn.explore import page
from detlearn.explore.page import Explorable

HOSTILE = "</script><script>alert(1)</script><!-- & \" ' \u2028"


def small(**changes) -> Explorable:
    given = {
        "name": "small",
        "title": "A small figure",
        "description": "It shows a number.",
        "data": {"number": 0.1},
        "still": "<svg></svg>",
        "scripts": ["common.js"],
    }
    return Explorable(**{**given, **changes})


def data_in(figure: Explorable) -> object:
    found = re.findall(
        r'<script type="application/json">(.*?)</script>', figure._repr_html_(), re.S
    )
    assert len(found) == 1
    return json.loads(found[0])


def test_what_it_says_of_itself() -> None:
    assert repr(small()) == "A small figure: a figure to explore; it shows itself in a notebook."


def test_numbers_come_through_exactly() -> None:
    numbers = [0.1, 1 / 3, 1e-300, 12345678.9, -0.0]
    assert data_in(small(data={"numbers": numbers})) == {"numbers": numbers}


def test_no_text_ends_a_script() -> None:
    figure = small(title=HOSTILE, description=HOSTILE, data={HOSTILE: HOSTILE})
    assert data_in(figure) == {HOSTILE: HOSTILE}
    made = figure._repr_html_()
    assert "alert(1)</script>" not in made
    assert made.count("<script") == made.count("</script>") == 2
    assert page.escape_code("'</script>' + '<!--'") == r"'<\/script>' + '<\!--'"


def test_what_json_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        small(data={"number": float("nan")})


def test_it_is_the_same_whenever_asked_and_has_no_ids() -> None:
    figure = small()
    assert figure._repr_html_() == figure._repr_html_()
    assert not re.search(r"<[^>]+\sid=", figure._repr_html_())


def test_it_asks_for_nothing_else() -> None:
    made = small()._repr_html_()
    assert not re.findall(r"\b(import|fetch|XMLHttpRequest|require)\s*\(", made)
    assert not re.findall(r"^\s*import\b", made, re.M)
    addresses = set(re.findall(r"https?://[^\s\"')]+", made))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a kind of element


def test_the_style_touches_nothing_else() -> None:
    style = (page.FOLDER / "common.css").read_text(encoding="utf-8")
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.S).replace("@media print {", "")
    for selectors in re.findall(r"([^{}]+)\{", style):
        for selector in re.split(r",\s*\n", selectors):
            assert selector.strip().startswith(".detlearn-explore"), selector


def test_comments_of_the_source_stay_there() -> None:
    code = '/** Say\n * it. */\nconst a = "// no"; // yes\n  // gone\n\n\n  b(`\n/no`);\n'
    assert page.without_comments(code) == 'const a = "// no"; // yes\n  b(`\n/no`);\n'
    made = small()._repr_html_()
    assert "What all figures share" not in made
