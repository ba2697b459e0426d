"""Links citations to the references, and the references back to where they are cited.

Notebooks use plain Markdown, so a citation there is plain words: "(Bodla et al. 2017)", "Zheng et
al. (2020)". This extension makes a link of each whose author and year belong to an item of the
chapter's own list under the heading *References*; else to the entry of the references page. The
item gets an arrow back to each citation, and an entry of the references page says which chapters
cite it.

Where an author has two papers of one year, the one is meant whose title shares more words with the
text before the citation; the first in the list if none does.
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.osutil import relative_uri

REFERENCES = "book/references"
NAME = r"(?:(?:Van |van |de |De )?[A-Z][\w’'-]+)"
# The first author, others, and the year, in parentheses or not.
CITATION = re.compile(
    rf"(?P<author>{NAME})(?P<others> et al\.| and {NAME}|, {NAME}(?:, {NAME})*(?:,? and {NAME})?)?"
    r"(?:,? |,? \()(?P<year>(?:19|20)\d\d)[a-z]?\b\)?"
)
# An item of a chapter's list: "Bodla, Singh, Chellappa, Davis 2017: Soft-NMS".
ITEM = re.compile(rf"(?P<author>{NAME})[^:\d]*(?P<year>(?:19|20)\d\d)[a-z]?: (?P<title>.+)", re.S)
NOT_IN = (nodes.reference, nodes.literal, nodes.literal_block, nodes.title, nodes.raw)


@dataclass
class Source:
    """One thing to cite, on a page."""

    author: str
    year: str
    title: str
    page: str
    anchor: str
    node: nodes.Element
    cited_at: list[str] = field(default_factory=list)  # anchors of the citations


class Found(NamedTuple):
    """A citation in a text: where, and what is cited."""

    start: int
    end: int
    source: Source


def list_of_references(doctree: nodes.document, page: str) -> list[Source]:
    """The items under the chapter's heading *References*, each given an anchor."""
    sources = []
    for section in doctree.findall(nodes.section):
        if not section.children or not re.search(r"References$", section.children[0].astext()):
            continue
        for item in section.findall(nodes.list_item):
            parts = ITEM.match(item.astext().strip())
            if parts:
                anchor = f"ref-{len(sources) + 1}"
                item["ids"].append(anchor)
                sources.append(
                    Source(parts["author"], parts["year"], parts["title"], page, anchor, item)
                )
    return sources


def bibliography(env: BuildEnvironment) -> list[Source]:
    """The entries of the references page."""
    sources = []
    for citation in env.get_domain("cite").citations:
        entry = citation.entry
        people = entry.persons.get("author") or []
        name = " ".join(people[0].prelast_names + people[0].last_names) if people else ""
        # Two papers of one first author and year are told apart by their titles and other authors.
        others = " ".join(" ".join(person.last_names) for person in people[1:])
        title = re.sub(r"[{}]", "", f"{entry.fields.get('title', '')} {others}")
        sources.append(
            Source(
                author=name.replace("{", "").replace("}", ""),
                year=entry.fields.get("year", ""),
                title=title,
                page=REFERENCES,
                anchor=citation.citation_id,
                node=nodes.inline(),
            )
        )
    return sources


def words_of(text: str) -> set[str]:
    """The words of three letters or more, in small letters."""
    return set(re.findall(r"[\w]{3,}", text.lower()))


def choose(sources: list[Source], author: str, year: str, before: str) -> Source | None:
    """The source that an author and a year mean, after the given text."""
    fitting = [source for source in sources if (source.author, source.year) == (author, year)]
    near = words_of(before[-120:])
    return max(fitting, key=lambda source: len(words_of(source.title) & near), default=None)


def citations_in(text: str, before: str, sources: list[Source]) -> list[Found]:
    """The citations in a text that belong to a source."""
    found = []
    for match in CITATION.finditer(text):
        source = choose(sources, match["author"], match["year"], before + text[: match.start()])
        if source is not None:
            # A closing parenthesis belongs to the link only if the opening one does.
            end = match.end() - (match.group().endswith(")") and "(" not in match.group())
            found.append(Found(match.start(), end, source))
    return found


def link_citations(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Makes links of the citations of one page, and arrows back."""
    if app.builder.format != "html":
        return
    if page == REFERENCES:
        name_the_citing(app, doctree)
        return

    own = list_of_references(doctree, page)
    general = bibliography(app.env)
    if not own and not page.startswith("chapters/"):
        return
    listed = {id(inside) for source in own for inside in source.node.findall(nodes.Text)}
    number = 0
    for text in list(doctree.findall(nodes.Text)):
        if id(text) in listed or not worth_reading(text):
            continue
        parent, plain = text.parent, str(text)
        before = paragraph_before(text)
        found = citations_in(plain, before, own)
        taken = {(one.start, one.end) for one in found}
        more = citations_in(plain, before, general)
        found += [one for one in more if (one.start, one.end) not in taken]
        if not found:
            continue

        pieces: list[nodes.Node] = []
        end = 0
        for one in sorted(found, key=lambda one: one.start):
            number += 1
            anchor = f"cited-{number}"
            one.source.cited_at.append(anchor)
            pieces += [nodes.Text(plain[end : one.start]), link_to(app, page, one, plain, anchor)]
            end = one.end
        pieces.append(nodes.Text(plain[end:]))
        parent.replace(text, [piece for piece in pieces if piece.astext()])

    for source in own:
        add_arrows(source)


def worth_reading(text: nodes.Text) -> bool:
    """Whether a text may hold citations: not code, not a link, not a cell's output."""
    node = text.parent
    while node is not None:
        if isinstance(node, NOT_IN):
            return False
        if isinstance(node, nodes.container) and "cell" in node.get("classes", []):
            return False
        node = node.parent
    return True


def paragraph_before(text: nodes.Text) -> str:
    """What stands before the text in its paragraph."""
    paragraph = text.parent
    while paragraph is not None and not isinstance(paragraph, nodes.paragraph | nodes.term):
        paragraph = paragraph.parent
    if paragraph is None:
        return ""
    words = []
    for other in paragraph.findall(nodes.Text):
        if other is text:
            break
        words.append(str(other))
    return "".join(words)


def link_to(app: Sphinx, page: str, one: Found, plain: str, anchor: str) -> nodes.reference:
    """The citation as a link that can itself be linked to."""
    where = f"#{one.source.anchor}"
    if one.source.page != page:
        uri = app.builder.get_target_uri(one.source.page)
        where = relative_uri(app.builder.get_target_uri(page), uri) + where
    link = nodes.reference("", plain[one.start : one.end], refuri=where, internal=True)
    link["classes"].append("cited")
    link["ids"].append(anchor)
    return link


def add_arrows(source: Source) -> None:
    """Behind an item of the list: an arrow back to each place that cites it."""
    ends = [node for node in source.node.children if isinstance(node, nodes.paragraph)]
    if not ends:
        return
    for place, anchor in enumerate(source.cited_at, start=1):
        which = "" if len(source.cited_at) == 1 else f", place {place}"
        label = f"Back to the text: {source.author} {source.year}{which}"
        arrow = f'<a class="cited-back" href="#{anchor}" aria-label="{label}">↩</a>'
        ends[-1] += [nodes.Text(" "), nodes.raw("", arrow, format="html")]


def name_the_citing(app: Sphinx, doctree: nodes.document) -> None:
    """On the references page: behind each entry the chapters that list or cite it."""
    entries = {source.anchor: source for source in bibliography(app.env)}
    citing: dict[str, list[tuple[str, str]]] = {}
    for page in sorted(app.env.all_docs):
        if not page.startswith("chapters/"):
            continue
        chapter = app.env.get_doctree(page)
        title = next((node.astext() for node in chapter.findall(nodes.title)), page)
        for item in list_of_references(chapter, page):
            source = choose(list(entries.values()), item.author, item.year, item.node.astext())
            if source is not None:
                uri = app.builder.get_target_uri(page)
                where = relative_uri(app.builder.get_target_uri(REFERENCES), uri)
                citing.setdefault(source.anchor, []).append((title, f"{where}#{item.anchor}"))

    for node in doctree.findall(nodes.citation):
        places = [place for anchor in node["ids"] for place in citing.get(anchor, [])]
        if not places:
            continue
        line = nodes.paragraph("", "Cited in ", classes=["cited-in"])
        for count, (title, where) in enumerate(places):
            line += [
                nodes.Text(", " if count else ""),
                nodes.reference("", title, refuri=where, internal=True),
            ]
        node += line


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-resolved", link_citations, priority=800)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
