"""Makes the built pages light: what a chapter loads before the reader scrolls.

The theme brings an icon library of 1.5 MB for a dozen icons, all of its style rules, and MathJax as
one file with what no page of ours needs. When the pages are written, this extension

* takes the icon library out (`site.css` draws the icons that are used),
* keeps of the theme's style sheets the rules whose classes occur in some page or script,
* loads of MathJax only TeX, its HTML output and the MathML that screen readers read,
* draws each letter of the charts once a page, wherever it is used,
* gives large pictures that stand in the page's own text a file, so that they need not come first,
* marks images as lazy, with their sizes, so that nothing jumps when they arrive,
* leaves out the theme's search engine (`sections.py` has the book's own), and MathJax where a page
  has no formula.

`tests/browser/test_weight.py` measures the result.
"""

import base64
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from sphinx.application import Sphinx
from sphinx.config import Config

# Of MathJax's components those that our formulas need; together 0.7 MB instead of 1.2.
MATHJAX = {
    "loader": {
        "load": [
            "core",
            "input/tex-base",
            "[tex]/ams",
            "output/chtml",
            "a11y/assistive-mml",
        ]
    },
    "tex": {"packages": {"[+]": ["ams"]}},
}
# Scripts and style sheets that no page of the book uses, by a part of their name.
UNUSED = ("design-tabs", "sphinx-design", "sphinx-thebe", "fontawesome")
SEARCH_ENGINE = ("searchtools.js", "language_data.js", "searchindex.js")
# The theme settles on light or dark in a script that waits for the whole page; this one does not,
# so that a reader at night sees no white page first.
LIGHT_OR_DARK = (
    "<script>if (!/^(light|dark)$/.test(document.documentElement.dataset.theme))"
    " document.documentElement.dataset.theme ="
    ' matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";</script>\n'
)
# A letter as `detlearn.plotting` defines it in a chart: by the chart's name and a number.
LETTER = re.compile(
    r'<path id="(c[0-9a-f]{8}-[\w-]+)" (d="[^"]+" transform="scale\(0\.015625\)")\s*/>'
)
FEW_CHARACTERS = 10_000  # of a picture in a page's text
# Style sheets that are cut down; the book's own are left alone.
THEME_SHEETS = ("pydata-sphinx-theme.css", "sphinx-book-theme.css", "basic.css", "mystnb.")
# Scripts with so many words in them that nothing could be cut.
NOT_READ = ("mathjax", "locales", "fontawesome", "searchindex")


def reduce_mathjax(app: Sphinx, config: Config) -> None:
    """Points at MathJax's loader with a list of components, instead of one file with all."""
    config.mathjax_path = "mathjax/startup.js"
    config.mathjax3_config = MATHJAX | (config.mathjax3_config or {})


def drop_unused(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Leaves unused scripts and style sheets out of the lists that the page's template writes."""
    for kind in ("script_files", "css_files"):
        context[kind] = [
            file for file in context.get(kind, []) if not any(part in str(file) for part in UNUSED)
        ]


def lighten(app: Sphinx, error: Exception | None) -> None:
    """Goes over the written pages, then over the theme's style sheets."""
    if error is not None or app.builder.format != "html":
        return

    site = Path(app.outdir)
    pages = sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)
    for path in pages:
        text = path.read_text(encoding="utf-8")
        light = lighter_page(text, path)
        if light != text:
            path.write_text(light, encoding="utf-8")

    used = used_words(pages, site)
    for sheet in sorted((site / "_static").rglob("*.css")):
        if any(name in sheet.name for name in THEME_SHEETS):
            css = source_of(sheet, app).read_text(encoding="utf-8")
            sheet.write_text(kept_rules(css, used), encoding="utf-8")


def source_of(sheet: Path, app: Sphinx) -> Path:
    """The theme's own copy of a style sheet: the built one may be cut down already."""
    name = sheet.relative_to(Path(app.outdir) / "_static")
    folders = [Path(folder) / "static" for folder in app.builder.theme.get_theme_dirs()]
    return next((folder / name for folder in folders if (folder / name).is_file()), sheet)


# ---- pages ----


def lighter_page(text: str, path: Path) -> str:
    """The page without what it does not need, its images lazy; twice makes no difference."""
    text = re.sub(r"<script[^>]*fontawesome\.js[^>]*></script>\s*", "", text)
    text = re.sub(r'<script type="text/x-thebe-config">.*?</script>\s*', "", text, flags=re.S)
    text = re.sub(r"<script>kernelName = '[^']*'</script>\s*", "", text)

    if LIGHT_OR_DARK not in text:
        text = text.replace("</head>", f"{LIGHT_OR_DARK}</head>", 1)

    # A list of works as a screen reader knows lists, and the sidebar as a landmark.
    text = text.replace('role="doc-biblioentry"', 'role="listitem"')
    text = text.replace(
        '<div id="pst-primary-sidebar" class="',
        '<div id="pst-primary-sidebar" role="navigation" aria-label="Book" class="',
    )

    unused = SEARCH_ENGINE if has_formula(text) else (*SEARCH_ENGINE, "mathjax/startup.js")
    for script in unused:
        text = re.sub(rf'<script[^>]*src="[^"]*{re.escape(script)}[^"]*"></script>\s*', "", text)

    start = text.find("<article")
    head, article = (text[:start], text[start:]) if start >= 0 else (text, "")
    article = with_shared_letters(article)
    images = iter(range(len(article)))
    return head + re.sub(
        r"<img\b[^>]*>",
        lambda tag: lazy_image(
            in_a_file(tag.group(), path.parent), path.parent, first=next(images) == 0
        ),
        article,
    )


def with_shared_letters(article: str) -> str:
    """The text with one SVG before it, in which every letter of its charts stands once."""
    names: dict[str, str] = {}  # of a letter in a chart -> on the page
    letters: dict[str, str] = {}  # what is drawn -> name on the page

    def take(match: re.Match) -> str:
        names[match[1]] = letters.setdefault(match[2], f"g-{len(letters)}")
        return ""

    article = LETTER.sub(take, article)
    if not names:
        return article

    article = re.sub(
        r'href="#(c[0-9a-f]{8}-[\w-]+)"',
        lambda match: f'href="#{names.get(match[1], match[1])}"',
        article,
    )
    paths = "".join(f'<path id="{name}" {drawn}/>' for drawn, name in letters.items())
    hidden = 'width="0" height="0" style="position:absolute" aria-hidden="true"'
    end = article.index(">") + 1
    return f"{article[:end]}<svg {hidden}><defs>{paths}</defs></svg>{article[end:]}"


def in_a_file(tag: str, folder: Path) -> str:
    """The image's tag with a file in place of data in its text, where these are many."""
    found = re.search(r'src="data:image/(webp|png|jpeg);base64,([^"]+)"', tag)
    if found is None or len(found[2]) < FEW_CHARACTERS:
        return tag

    site = next(place for place in (folder, *folder.parents) if (place / "_static").is_dir())
    data = base64.b64decode(found[2])
    file = site / "_images" / f"{hashlib.sha256(data).hexdigest()[:32]}.{found[1]}"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    return tag.replace(found[0], f'src="{os.path.relpath(file, folder)}"')


def has_formula(text: str) -> bool:
    """Whether MathJax has anything to do on the page."""
    return re.search(r'class="math|\\\(|\$\$', text) is not None


def lazy_image(tag: str, folder: Path, first: bool) -> str:
    """The image's tag with its size; all but the page's first wait until the reader comes near."""
    added = "" if first or "loading=" in tag else ' loading="lazy"'
    if "decoding=" not in tag:
        added += ' decoding="async"'

    source = re.search(r'src="([^":?#]+)"', tag)
    file = folder / source.group(1) if source else None
    if file is not None and file.is_file() and file.suffix != ".svg" and "height=" not in tag:
        with Image.open(file) as image:
            width, height = image.size
        given = re.search(r'\bwidth="(\d+)"', tag)
        if given:
            added += f' height="{round(height * int(given.group(1)) / width)}"'
        elif "width=" not in tag:
            added += f' width="{width}" height="{height}"'
    return re.sub(r"\s*/?>$", added + ">", tag)


# ---- style sheets ----


def used_words(pages: list[Path], site: Path) -> set[str]:
    """Every class of every page, and every word of the scripts, which may set classes."""
    words: set[str] = set()
    for path in pages:
        text = path.read_text(encoding="utf-8")
        for classes in re.findall(r"\bclass=\"([^\"]*)\"|\bclass='([^']*)'", text):
            words.update("".join(classes).split())
        for script in re.findall(r"<script\b[^>]*>(.*?)</script>", text, flags=re.S):
            words.update(re.findall(r"[\w-]+", script))
    for path in sorted((site / "_static").rglob("*.js")):
        if not any(part in path.as_posix() for part in NOT_READ):
            words.update(re.findall(r"[\w-]+", path.read_text(encoding="utf-8")))
    return words


def kept_rules(css: str, used: set[str]) -> str:
    """The style sheet without rules for classes that do not occur, and without icon fonts."""
    kept = []
    for prelude, body in blocks(re.sub(r"/\*.*?\*/", "", css, flags=re.S)):
        if body is None:
            kept.append(prelude)
        elif prelude.startswith(("@media", "@supports", "@layer", "@container")):
            inner = kept_rules(body, used)
            if inner:
                kept.append(f"{prelude}{{{inner}}}")
        elif prelude.startswith("@"):
            if "Font Awesome" not in body.replace("\\", ""):
                kept.append(f"{prelude}{{{body}}}")
        else:
            selectors = [one for one in split_selectors(prelude) if may_match(one, used)]
            if selectors:
                kept.append(f"{','.join(selectors)}{{{body}}}")
    return "".join(kept)


def blocks(css: str) -> Iterator[tuple[str, str | None]]:
    """Each rule as what stands before its braces and what within; a bare `@import …;` has none."""
    start = opened = depth = 0
    for token in re.finditer(
        r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|url\([^)\"']*\)|[{};]", css, flags=re.S
    ):
        sign = token.group()
        if sign == "{":
            opened = token.start() if depth == 0 else opened
            depth += 1
        elif sign == "}":
            depth -= 1
            if depth == 0:
                yield css[start:opened].strip(), css[opened + 1 : token.start()]
                start = token.end()
        elif sign == ";" and depth == 0:
            yield css[start : token.end()].strip(), None
            start = token.end()


def split_selectors(prelude: str) -> list[str]:
    """`a, b:is(c, d)` as `a` and `b:is(c, d)`."""
    parts, depth, start = [], 0, 0
    for place, sign in enumerate(prelude):
        depth += (sign in "([") - (sign in ")]")
        if sign == "," and depth == 0:
            parts.append(prelude[start:place].strip())
            start = place + 1
    return [*parts, prelude[start:].strip()]


def may_match(selector: str, used: set[str]) -> bool:
    """Whether every class that the selector asks for occurs somewhere."""
    bare = re.sub(r"\[[^\]]*\]", "", selector)
    while (shorter := re.sub(r":[\w-]+\([^()]*\)", "", bare)) != bare:
        bare = shorter
    return all(name in used for name in re.findall(r"\.(-?[_a-zA-Z][\w-]*)", bare))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_css_file("site.css", priority=850)
    app.add_js_file("site.js", priority=850, defer="defer")
    app.connect("config-inited", reduce_mathjax)
    app.connect("html-page-context", drop_unused, priority=910)
    app.connect("build-finished", lighten, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
