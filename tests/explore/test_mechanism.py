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


def test_a_figure_that_lives_is_not_started_again(open_figures, small) -> None:
    """A notebook that shows a second figure of the same name leaves the first as the reader did."""
    figure = open_figures(small())
    figure.set({"x": 33})
    figure.page.evaluate(
        """(made) => {
          const output = document.createElement("div");
          output.innerHTML = made;
          document.body.append(output);
          (0, eval)(output.querySelector("script:not([type])").textContent);
        }""",
        small(x=70)._repr_html_(),
    )
    assert figure.get(0)["x"] == 33
    assert figure.get(1)["x"] == 70


def test_only_the_last_of_many_changes_is_said(open_figures, small) -> None:
    figure = open_figures(small())
    figure.page.wait_for_timeout(600)  # until it has said how it begins
    figure.page.evaluate(
        """() => {
          window.said = [];
          const element = document.querySelector("[aria-live]");
          const note = () => window.said.push(element.textContent);
          new MutationObserver(note).observe(element, { childList: true });
        }"""
    )
    for x in (31, 32, 33):
        figure.set({"x": x})
    figure.page.wait_for_timeout(700)
    assert figure.page.evaluate("window.said") == ["now at 33"]


def test_it_follows_what_jupyter_writes_on_the_body(open_figures, small) -> None:
    page = open_figures(small(), kind="jupyter").page
    page.wait_for_timeout(600)
    page.evaluate("document.body.setAttribute('data-jp-theme-light', 'false')")
    page.wait_for_selector(".detlearn-explore[data-dark]", timeout=2000)


def test_it_follows_the_system(open_figures, small) -> None:
    page = open_figures(small(), kind="plain").page
    page.wait_for_timeout(600)
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector(".detlearn-explore[data-dark]", timeout=2000)


def test_it_follows_a_theme_that_fades(open_figures, small) -> None:
    """When the page changes, its ink is still the old one for a moment."""
    page = open_figures(small()).page
    page.add_style_tag(content="html { transition: color 250ms }")
    page.wait_for_timeout(600)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_selector(".detlearn-explore[data-dark]", timeout=2000)


def test_a_sliders_value_is_written_beside_it(open_figures, small) -> None:
    figure = open_figures(small())
    output = figure.page.locator("output")
    for x, text in ((20, "20.0"), (62.5, "62.5"), (-2.5, "−2.5"), (-0.04, "0.0")):
        figure.set({"x": x})
        assert output.inner_text() == text
    assert figure.page.locator("input").get_attribute("aria-valuetext") == "0.0"


def test_a_slider_stays_in_its_range(open_figures, small) -> None:
    figure = open_figures(small(x=97))
    figure.page.locator("input").focus()
    figure.page.keyboard.press("Shift+ArrowUp")
    assert figure.get()["x"] == 100  # not 102
    figure.page.keyboard.press("Shift+ArrowDown")
    assert figure.get()["x"] == 95
    figure.set({"x": 2})
    figure.page.keyboard.press("Shift+ArrowLeft")
    assert figure.get()["x"] == 0


def test_arrow_keys_do_not_scroll_the_page(open_figures, small) -> None:
    figure = open_figures(small())
    figure.page.evaluate("document.body.style.height = '4000px'")
    figure.page.locator(".movable").focus()
    figure.page.keyboard.press("ArrowDown")
    figure.page.wait_for_timeout(300)  # scrolling may be smooth
    assert figure.get()["y"] == 51
    assert figure.page.evaluate("scrollY") == 0

    figure.page.keyboard.press("PageDown")  # any other key is the page's
    figure.page.wait_for_function("scrollY > 0", timeout=2000)


def test_a_drag_gives_the_focus_and_selects_nothing(open_figures, small) -> None:
    figure = open_figures(small())
    figure.page.evaluate(
        "document.addEventListener('pointerdown', (e) => (window.kept = e.defaultPrevented))"
    )
    figure.page.locator(".movable circle").first.click()
    assert figure.page.evaluate("document.activeElement.getAttribute('aria-label')") == "the dot"
    assert figure.page.evaluate("window.kept")
    figure.page.keyboard.press("ArrowRight")
    assert figure.get()["x"] == 21


def test_a_drag_that_is_broken_off_lets_go(open_figures, small) -> None:
    """As when the system takes a finger away for a gesture of its own."""
    figure = open_figures(small())
    box = figure.page.locator(".movable circle").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    figure.page.mouse.move(x, y)
    figure.page.mouse.down()
    figure.page.mouse.move(x + 20, y)
    assert figure.get()["x"] == 30
    figure.page.evaluate(
        "document.querySelector('.movable').dispatchEvent(new PointerEvent('pointercancel'))"
    )
    figure.page.mouse.move(x + 80, y)
    assert figure.get()["x"] == 30


def test_it_is_dragged_by_a_finger_while_the_page_stays(open_figures, small) -> None:
    figure = open_figures(small())
    page = figure.page
    page.evaluate("document.body.style.height = '4000px'")
    box = page.locator(".movable circle").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    finger = page.context.new_cdp_session(page)
    finger.send(
        "Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
    )
    for step in range(1, 11):
        point = {"x": x + 4 * step, "y": y - 4 * step}
        finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    assert figure.get() == {"x": 40, "y": 30}  # two pixels are one unit
    assert page.evaluate("scrollY") == 0
