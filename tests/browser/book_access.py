"""What a page is for those who do not see it, or have no mouse: axe-core, rings of the focus."""

from __future__ import annotations

import pytest

STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"

# A chapter has thousands of coloured words of code, and axe-core measures the contrast of each for
# a millisecond or more. Of those that look alike on a like ground one is enough, and of those that
# nobody sees none: the others become plain text.
ONE_OF_EACH = """
() => {
  // How an element looks, and the ground on which it does: its style and that of all around it.
  const known = new Map();
  const looks = (element) => {
    if (!element) return "";
    if (!known.has(element)) {
      const { color, backgroundColor, backgroundImage, opacity, fontSize, fontWeight } =
        getComputedStyle(element);
      known.set(element, looks(element.parentElement) +
        [color, backgroundColor, backgroundImage, opacity, fontSize, fontWeight].join());
    }
    return known.get(element);
  };

  // First all are looked at, then they are replaced: in turns, the page would be styled each time.
  // (To ask for the style of what is folded away has the same price.)
  const seen = new Set();
  const unneeded = [];
  for (const word of document.querySelectorAll("pre span:not(:has(*))")) {
    const hidden = word.closest("details:not([open])") || !word.getClientRects().length;
    if (hidden || seen.has(looks(word))) unneeded.push(word);
    else seen.add(looks(word));
  }
  for (const word of unneeded) word.replaceWith(word.textContent);
}
"""


def faults_by_axe(page) -> list[str]:
    """What axe-core calls critical or serious, one sentence a rule; code loses its colours."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.evaluate(ONE_OF_EACH)
    found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{fault['impact']} {fault['id']}: {[node['html'][:120] for node in fault['nodes'][:3]]}"
        for fault in found
        if fault["impact"] in ("critical", "serious")
    ]


# Goes through every control that the Tab key reaches and measures the ring around it: its width and
# its contrast with the ground behind it.
RINGS = """
() => {
  const numbers = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const part = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = numbers(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.9) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  let seen = 0;
  const all = document.querySelectorAll(
    "a[href], button, input, select, textarea, summary, [tabindex='0'], [role=button]");
  for (const element of all) {
    if (!element.checkVisibility({visibilityProperty: true}) || element.disabled) continue;
    element.focus({preventScroll: true, focusVisible: true});
    if (document.activeElement !== element) continue;
    seen += 1;
    const style = getComputedStyle(element);
    const a = light(numbers(style.outlineColor));
    const b = light(ground(element.parentElement));
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2 || contrast < 3) {
      poor.push(`${element.outerHTML.slice(0, 90)}: ${style.outline}, ${contrast.toFixed(1)} : 1`);
    }
  }
  return [seen, poor];
}
"""


def poor_rings(page) -> tuple[int, list[str]]:
    """How many controls the Tab key reaches, and those whose focus is hard to see."""
    page.keyboard.press("Tab")  # from now on the focus is the keyboard's
    seen, poor = page.evaluate(RINGS)
    return seen, poor
