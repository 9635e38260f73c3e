"""A page as a list of blocks: paragraphs, headings, list items, rows of tables and code, each with what helps to judge
it.

One walk over the tree that lexbor (by selectolax) has parsed; nothing here decides what is content.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tenet.corpus.readers.web.boilerplate import FURNITURE, is_furniture, is_hidden

#: Elements that begin and end on a line of their own: HTML's, and those of XML for books and articles.
BLOCKS = frozenset(
    {
        *("address", "article", "aside", "blockquote", "body", "center", "dd", "details", "div", "dl", "dt", "fieldset"),
        *("figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "html"),
        *("li", "main", "menu", "nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th"),
        *("thead", "title", "tr", "ul", "caption", "abstract", "chapter", "content", "definition", "entry", "equation"),
        *("example", "exercise", "item", "list", "note", "para", "problem", "row", "sec", "solution", "listing", "xmp"),
    }
)
_HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6, "title": 2}
#: What there is to undo at the end of an element: nothing (inline), a link, a block, a block that is furniture; and that
#: nothing below it is visited.
_INLINE, _LINK, _BLOCK, _FURNITURE, _CLOSED = range(5)
_CODE = frozenset({"pre", "listing", "xmp"})
#: Links to the heading that they stand behind.
_ANCHORS = ("¶", "#", "§", "\uf0c1", "🔗")
#: A table with more characters a cell than this lays out a page.
LONGEST_CELL = 300
#: Deeper elements are read as one text: no author nests like that, and every loop over containers is bounded.
DEEPEST = 400


@dataclass(slots=True)
class Block:
    """One block.

    Args:
        text: what it shows.
        kind: p, h, li, row or pre.
        links: characters of it in links.
        furniture: how many elements around it are furniture by their name.
        place: number of its innermost container.
        mark: what goes before the text ("## ", "- ", "2. ").
    """

    text: str
    kind: str
    links: int
    furniture: int
    place: int
    mark: str = ""


@dataclass(slots=True)
class Container:
    """An element with blocks in it: `first` to `end` of the list of blocks; `above` is its parent's number."""

    tag: str
    above: int
    first: int
    end: int = 0


@dataclass(slots=True)
class Page:
    """What a walk finds."""

    blocks: list[Block] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)


class Walk:
    """The walk over one page; `page` holds what it found."""

    def __init__(self) -> None:
        self.page = Page()
        self.parts: list[str] = []
        self.links = self.in_link = self.furniture = 0
        self.heading = ""
        self.items: list[int | None] = []  # None: bullets
        self.mark = ""
        self.open: list[int] = []

    def run(self, root: Any) -> Page:
        """Visit every node below `root` in the order of the page."""
        stack: list[tuple[Any, str, int]] = []
        node: Any = root
        while node is not None:
            tag = node.tag
            state = _CLOSED
            if tag == "-text":
                text = node.text_content
                self.parts.append(text)
                if self.in_link:
                    self.links += len(text)
            elif tag[0] != "-":
                state = self.enter(node, tag)
            if state != _CLOSED:
                child = node.child
                if child is not None and len(stack) < DEEPEST:
                    stack.append((node, tag, state))
                    node = child
                    continue
                if child is not None:
                    self.parts.append(node.text(deep=True))
                if state:
                    self.leave(tag, state)
            following = node.next if stack else None
            while following is None and stack:
                node, tag, state = stack.pop()
                if state:
                    self.leave(tag, state)
                following = node.next if stack else None
            node = following
        self.flush()
        return self.page

    def enter(self, node: Any, tag: str) -> int:
        """Begin an element; says what `leave` must undo, or that there is nothing to be seen inside."""
        if tag not in BLOCKS:
            return self._inline(node, tag)
        attributes = node.attributes
        if attributes and is_hidden(attributes):
            return _CLOSED
        furniture = int(tag in FURNITURE or (bool(attributes) and tag not in ("body", "html") and is_furniture(attributes)))
        if tag == "table" and _is_data(node):
            self._table(node, furniture)
            return _CLOSED
        self.flush()
        if tag in _CODE:
            self._code(node, furniture)
            return _CLOSED
        self.furniture += furniture
        self._begin(tag)
        return _FURNITURE if furniture else _BLOCK

    def _inline(self, node: Any, tag: str) -> int:
        if tag == "br":
            self.parts.append("\x01")
        elif tag == "a":
            child = node.child
            if child is not None and child.tag == "-text" and child.text_content in _ANCHORS:
                return _CLOSED
            self.in_link += 1
            return _LINK
        elif tag == "img":
            attributes = node.attributes
            classes = (attributes.get("class") or "").split()
            if "math" in classes or "tex" in classes:
                self.parts.append(attributes.get("alt") or "")
        elif tag in ("span", "sup", "label"):
            attributes = node.attributes
            if attributes and (is_hidden(attributes) or is_furniture(attributes)):
                return _CLOSED
        return _INLINE

    def _begin(self, tag: str) -> None:
        if tag in _HEADINGS:
            self.heading = "#" * _HEADINGS[tag] + " "
        elif tag == "li":
            self.mark = "- "
            if self.items and (number := self.items[-1]) is not None:
                self.mark, self.items[-1] = f"{number}. ", number + 1
        elif tag in ("ul", "ol"):
            self.items.append(1 if tag == "ol" else None)
        above = self.open[-1] if self.open else -1
        self.page.containers.append(Container(tag, above, len(self.page.blocks)))
        self.open.append(len(self.page.containers) - 1)

    def leave(self, tag: str, state: int) -> None:
        """End an element."""
        if state == _LINK:
            self.in_link -= 1
            return
        self.flush()
        self.furniture -= state == _FURNITURE
        if tag in _HEADINGS:
            self.heading = ""
        elif tag == "li":
            self.mark = ""
        elif tag in ("ul", "ol") and self.items:
            self.items.pop()
        self.page.containers[self.open.pop()].end = len(self.page.blocks)

    def flush(self) -> None:
        """The text since the last block as a block."""
        if not self.parts:
            return
        text = _tidy("".join(self.parts))
        self.parts, links, self.links = [], self.links, 0
        if not text:
            return
        kind = "h" if self.heading else "li" if self.mark or self.items else "p"
        place = self.open[-1] if self.open else -1
        self.page.blocks.append(Block(text, kind, links, self.furniture, place, self.heading or self.mark))
        self.mark = ""

    def _code(self, node: Any, furniture: int) -> None:
        text = node.text(deep=True).strip("\n").rstrip()
        if text.strip():
            place = self.open[-1] if self.open else -1
            self.page.blocks.append(Block(text, "pre", 0, self.furniture + furniture, place))

    def _table(self, table: Any, furniture: int) -> None:
        """Rows as "a | b": what stands beside each other stays so."""
        self.flush()
        links = sum(len(link.text(deep=True)) for link in table.css("a"))
        rows = []
        for row in table.css("caption, tr"):
            cells = [_tidy(cell.text(deep=True)).replace("\n", " ") for cell in row.css("td, th")] or [_tidy(row.text(deep=True))]
            if any(cells):
                rows.append(" | ".join(cells))
        if rows:
            place = self.open[-1] if self.open else -1
            self.page.blocks.append(Block("\n".join(rows), "row", links, self.furniture + furniture, place))


def _is_data(table: Any) -> bool:
    """Whether a table holds data: several columns of short cells, none of which is a page of its own."""
    if table.attributes.get("role") == "presentation" or table.css_first("table table, h1, h2, h3, pre, form, ul ul") is not None:
        return False
    rows, cells = len(table.css("tr")), table.css("td, th")
    if len(cells) < 2 or len(cells) <= rows:
        return False
    return sum(len(cell.text(deep=True)) for cell in cells) <= LONGEST_CELL * len(cells) / 2


def _tidy(text: str) -> str:
    """Spaces as a browser shows them; a break stays one."""
    if "\x01" not in text:
        return " ".join(text.split())
    return "\n".join(line for part in text.split("\x01") if (line := " ".join(part.split())))
