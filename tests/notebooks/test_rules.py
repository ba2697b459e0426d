"""Every committed notebook keeps every rule, and every rule finds a notebook that breaks it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from notebook_rules import RULES, Notebook, code_hash, faults_in, load
from notebooks import all_notebooks
from sample_notebook import code, good_notebook, printed, shown, text

NOTEBOOKS = all_notebooks()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebooks_keep_the_rules(path: Path, rule: Callable) -> None:
    faults = rule(load(path))
    assert not faults, "\n".join(faults)


def test_the_good_notebook_keeps_them_too() -> None:
    assert faults_in(good_notebook()) == []


def edit_code(notebook: Notebook) -> None:
    notebook["cells"][2]["source"] += "  # edited"


def forget_hash(notebook: Notebook) -> None:
    del notebook["metadata"]["detlearn"]


def swap_counts(notebook: Notebook) -> None:
    notebook["cells"][2]["execution_count"], notebook["cells"][3]["execution_count"] = 3, 2


def never_ran(notebook: Notebook) -> None:
    notebook["cells"][2]["execution_count"] = None


def grow(notebook: Notebook) -> None:
    notebook["cells"][3]["outputs"] = [shown("image/png", "x" * 3_000_001)]


def drop_bootstrap(notebook: Notebook) -> None:
    del notebook["cells"][1]


def change_bootstrap(notebook: Notebook) -> None:
    notebook["cells"][1]["source"] += "\n"


def title_bootstrap(notebook: Notebook) -> None:
    notebook["cells"][1]["source"] = "#@title Set up\n" + notebook["cells"][1]["source"]
    notebook["metadata"]["detlearn"] = {"code_hash": code_hash(notebook)}


def store_widget_state(notebook: Notebook) -> None:
    notebook["metadata"]["widgets"] = {"state": {}}


def without_alt_text(notebook: Notebook) -> None:
    notebook["cells"][3]["metadata"] = {}


def with_alt_text_of_one_word(notebook: Notebook) -> None:
    notebook["cells"][3]["metadata"]["mystnb"]["image"]["alt"] = "figure"


def runs(source: str, *outputs: dict, **metadata: object) -> Callable[[Notebook], None]:
    """A fourth code cell with this source and these outputs."""

    def change(notebook: Notebook) -> None:
        notebook["cells"].append(code(source, 4, list(outputs), **metadata))
        notebook["metadata"]["detlearn"]["code_hash"] = code_hash(notebook)

    return change


def says(words: str) -> Callable[[Notebook], None]:
    """One more text cell."""
    return lambda notebook: notebook["cells"].append(text(words))


ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": ["no"]}
WIDGET = shown("application/vnd.jupyter.widget-view+json", "{}")

CHART = shown(
    "text/html",
    '<div class="detlearn-chart" role="img" aria-label="A curve from 0 to 1 &amp; back."></div>',
)


# (the rule that must object, what is done to the good notebook)
BREAKS = [
    ("outputs_belong_to_code", edit_code),
    ("outputs_belong_to_code", forget_hash),
    ("cells_ran_in_order", swap_counts),
    ("cells_ran_in_order", never_ran),
    ("is_small", grow),
    ("no_errors", runs("1 / 0", ERROR)),
    ("no_warnings", runs("x = 1", printed("100%|####| 5/5", "stderr"))),
    ("no_warnings", runs("x = 1", printed("a.py:3: UserWarning: slow"))),
    ("no_warnings", runs("x = 1", shown("text/plain", "DeprecationWarning: gone"))),
    ("plain_python", runs("!ls")),
    ("plain_python", runs("%pip install detlearn")),
    ("plain_python", runs("%%time\nx = 1")),
    ("plain_python", runs("x = !ls")),
    ("plain_python", runs("print?")),
    ("plain_python", runs("get_ipython().system('ls')")),
    ("plain_python", runs("import os\nos.system('ls')")),
    ("plain_python", runs("")),
    ("plain_python", runs("# only a comment")),
    ("nothing_skipped", runs("x = 1", tags=["nbval-skip"])),
    ("nothing_skipped", runs("x = 1", tags=["skip-execution"])),
    ("nothing_skipped", runs("x = 1", tags=["raises-exception"])),
    ("nothing_skipped", runs("# NBVAL_SKIP\nx = 1")),
    ("no_relative_paths", runs("open('data/a.json')")),
    ("no_relative_paths", runs("open('../a.json')")),
    ("no_relative_paths", runs("open('weights.pt')")),
    ("no_relative_paths", runs("import sys\nsys.path.insert(0, '../')")),
    ("no_relative_paths", says("![A street with cars](street.png)")),
    ("no_relative_paths", says("<img src='street.png' alt='A street with cars'>")),
    ("images_have_alt_text", without_alt_text),
    ("images_have_alt_text", with_alt_text_of_one_word),
    ("images_have_alt_text", runs("x = 1", shown("image/svg+xml", "<svg/>"))),
    ("images_have_alt_text", runs("x = 1", shown("text/html", "<img src='data:image/png,'>"))),
    ("images_have_alt_text", runs("x = 1", shown("text/html", "<img alt='' src='data:,'>"))),
    ("images_have_alt_text", says("![](data:image/png;base64,AA)")),
    ("charts_are_labelled", runs("x = 1", CHART)),
    (
        "charts_are_labelled",
        runs("x = 1", CHART, mystnb={"image": {"alt": "Another curve, 1 to 0."}}),
    ),
    ("no_trace_of_the_machine", runs("x = 1", printed("saved in /home/ann/book/a.pt"))),
    ("no_trace_of_the_machine", runs("x = 1", printed("saved in /tmp/tmp3k/a.pt"))),
    ("no_trace_of_the_machine", runs("x = 1", shown("text/plain", r"C:\Users\ann\a.pt"))),
    ("no_trace_of_the_machine", runs("x = 1", shown("text/plain", "<Axes at 0x7f3a90aa1d10>"))),
    ("no_trace_of_the_machine", runs("path = '/home/ann/data'")),
    ("starts_with_the_bootstrap", drop_bootstrap),
    ("starts_with_the_bootstrap", change_bootstrap),
    ("no_widgets", store_widget_state),
    ("no_widgets", runs("x = 1", WIDGET)),
]


@pytest.mark.parametrize(("name", "change"), BREAKS)
def test_a_broken_notebook_is_found(name: str, change: Callable[[Notebook], None]) -> None:
    notebook = good_notebook()
    change(notebook)
    rule = next(rule for rule in RULES if rule.__name__ == name)
    assert rule(notebook), f"{name} found nothing"


def test_every_rule_was_broken() -> None:
    assert {name for name, _ in BREAKS} == {rule.__name__ for rule in RULES}


@pytest.mark.parametrize(
    "change",
    [
        runs("print(1)", printed("AP50 0.91 at 120 images/s, 3/4 done\n")),
        runs("url = 'https://example.org/a/b.png'"),
        runs("title = 'precision / recall'"),
        runs("x = 1", shown("text/html", "<img alt='Six boxes' src='data:image/png,'>")),
        runs("x = 1", CHART, mystnb={"image": {"alt": "A curve from 0 to 1 & back."}}),
        title_bootstrap,
        says("Read [the next chapter](02_two_stage.ipynb) or `book/glossary.md`."),
        says("A box is $(x_1, y_1, x_2, y_2)$; see [the paper](https://arxiv.org/abs/1904.07850)."),
    ],
)
def test_harmless_things_are_no_faults(change: Callable[[Notebook], None]) -> None:
    notebook = good_notebook()
    change(notebook)
    assert faults_in(notebook) == []


def test_the_hash_sees_code_and_nothing_else() -> None:
    notebook = good_notebook()
    before = code_hash(notebook)
    notebook["cells"][0]["source"] = "# Another title"
    notebook["cells"][2]["outputs"] = []
    assert code_hash(notebook) == before
    notebook["cells"][2]["source"] = list("abc")  # the file format allows a list of lines
    as_list = code_hash(notebook)
    notebook["cells"][2]["source"] = "abc"
    assert code_hash(notebook) == as_list != before


def test_moving_code_to_the_next_cell_changes_the_hash() -> None:
    first = {"cells": [code("a\n", 1), code("b", 2)]}
    second = {"cells": [code("a", 1), code("\nb", 2)]}
    assert code_hash(first) != code_hash(second)
