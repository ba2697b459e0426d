"""How a figure starts, follows its page, and is worked by keys: on a small figure made here."""

from pathlib import Path

import pytest

from detlearn.explore import Explorable

SCRIPT = """
explorable("small", (figure, data) => {
  if (data.broken) throw new Error("broken on purpose");
  const state = { x: data.x, y: 50 };

  const dot = svg("g", {}, svg("circle", { r: 10 }), svg("circle", { class: "ring", r: 14 }));
  const picture = svg("svg", { viewBox: "0 0 100 100", width: 200 }, dot);
  const handle = movable(dot, {
    label: "the dot",
    space: picture,
    place: () => state,
    move: ({ x, y }) => set({ x: clamp(Math.round(x), 0, 100), y: clamp(Math.round(y), 0, 100) }),
    describe: () => `x ${state.x}, y ${state.y}`,
  });
  const across = slider({
    label: "across", min: 0, max: 100, step: 0.5, digits: 1, onInput: (x) => set({ x }),
  });

  function set(changes) {
    Object.assign(state, changes);
    change(dot, { transform: `translate(${state.x} ${state.y})` });
    across.show(state.x);
    handle.tell();
    figure.announce(`now at ${state.x}`);
  }

  figure.stage.append(picture, across.element);
  set({});
  return { set, get: () => ({ ...state }) };
});
"""


@pytest.fixture
def small(tmp_path: Path):
    """A function that makes the small figure."""
    file = tmp_path / "small.js"
    file.write_text(SCRIPT, encoding="utf-8")

    def make(**data) -> Explorable:
        still = '<svg width="20" height="20"><title>still</title></svg>'
        data = {"x": 20, **data}
        return Explorable("small", "A dot", "Move the dot.", data, still, [str(file)])

    return make


def test_two_on_a_page_live_apart(open_figures, small) -> None:
    figure = open_figures(small(), small(x=70))
    figure.set({"x": 0.1 + 0.2}, 0)
    assert figure.get(0) == {"x": 0.1 + 0.2, "y": 50}
    assert figure.get(1) == {"x": 70, "y": 50}

    ids = figure.page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids)) >= 2


def test_the_still_picture_stands_until_the_script_has_worked(open_figures, small) -> None:
    shown = "document.querySelector('.stage title')?.textContent ?? null"
    assert open_figures(small()).page.evaluate(shown) is None
    assert open_figures(small(), scripts=False).page.locator(".stage title").count() == 1

    broken = open_figures(small(broken=True))
    assert broken.page.evaluate(shown) == "still"
    assert "broken on purpose" in broken.faults.pop()


@pytest.mark.parametrize("kind", ["plain", "book", "jupyter", "colab"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_follows_the_page(open_figures, small, kind: str, theme: str) -> None:
    page = open_figures(small(), kind=kind, theme=theme).page
    assert page.evaluate("document.querySelector('.detlearn-explore').matches('[data-dark]')") == (
        theme == "dark"
    )


def test_it_follows_a_change_of_the_page(open_figures, small) -> None:
    page = open_figures(small()).page
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_selector(".detlearn-explore[data-dark]", timeout=2000)
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    page.wait_for_selector(".detlearn-explore:not([data-dark])", timeout=2000)


def test_it_is_moved_by_keys(open_figures, small) -> None:
    figure = open_figures(small())
    figure.page.keyboard.press("Tab")
    figure.page.keyboard.press("ArrowRight")
    figure.page.keyboard.press("Shift+ArrowDown")
    assert figure.get() == {"x": 21, "y": 60}

    dot = figure.page.locator(".movable")
    assert dot.get_attribute("aria-valuetext") == "x 21, y 60"
    assert dot.get_attribute("aria-valuenow") == "21"

    figure.page.keyboard.press("Tab")
    figure.page.keyboard.press("ArrowLeft")
    assert figure.get()["x"] == 20.5
    figure.page.keyboard.press("Shift+ArrowRight")
    assert figure.get()["x"] == 25.5
    assert figure.page.locator("input").get_attribute("aria-valuetext") == "25.5"


def test_the_focus_is_seen(open_figures, small) -> None:
    page = open_figures(small()).page
    ring = "getComputedStyle(document.querySelector('.ring')).stroke"
    assert page.evaluate(ring) == "none"
    page.keyboard.press("Tab")
    assert page.evaluate(ring) != "none"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_it_is_dragged_by_the_mouse(open_figures, small) -> None:
    figure = open_figures(small())
    box = figure.page.locator(".movable circle").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    figure.page.mouse.move(x + 4, y + 4)  # not its middle: the thing must not jump
    figure.page.mouse.down()
    figure.page.mouse.move(x + 64, y - 16)
    assert figure.get() == {"x": 50, "y": 40}  # two pixels are one unit
    figure.page.mouse.up()
    figure.page.mouse.move(x, y)
    assert figure.get() == {"x": 50, "y": 40}


def test_it_says_what_changed(open_figures, small) -> None:
    figure = open_figures(small())
    figure.set({"x": 33})
    figure.page.wait_for_function(
        "document.querySelector('[aria-live]').textContent === 'now at 33'", timeout=3000
    )


def test_a_script_may_run_away_from_where_it_stands(open_figures, small) -> None:
    """As in a notebook that puts the output's HTML first and then runs its scripts itself."""
    figure = open_figures(small())
    figure.page.evaluate(
        """(made) => {
          const output = document.createElement("div");
          output.innerHTML = made;
          document.body.append(output);
          const scripts = [...output.querySelectorAll("script:not([type])")];
          for (const script of scripts) (0, eval)(script.textContent);
        }""",
        small(x=70)._repr_html_(),
    )
    assert figure.get(0)["x"] == 20
    assert figure.get(1)["x"] == 70
