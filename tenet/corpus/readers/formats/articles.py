"""XML of books and articles, told by the root element: JATS (journals), TEI (editions), CNXML (OpenStax); and, where a
table's column holds it, any other element.

Titles and abstract, sections, lists, tables ("a | b") and formulas (TeX between dollars) are kept; references, notes on
rights and what describes the file are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tenet.corpus.readers.decoding import NotRead
from tenet.corpus.readers.formats.licence_files import licence_of_page
from tenet.corpus.readers.formats.mathml import local, tex
from tenet.corpus.readers.web.blocks import BLOCKS

#: Root element -> kind.
ROOTS = {"article": "JATS", "TEI": "TEI", "TEI.2": "TEI", "teiCorpus": "TEI", "document": "CNXML", "module": "CNXML"}
_TITLES = frozenset({"title", "article-title", "head", "subtitle"})
_SECTIONS = frozenset({"sec", "section", "div", "div1", "div2", "div3", "div4", "chapter"})
_FORMULAS = frozenset({"math", "tex-math", "formula"})
_LINES = frozenset({"tr", "row"})
_CELLS = frozenset({"td", "th", "entry", "cell"})
_CODE = frozenset({"code", "preformat", "programlisting"})
_MORE_BLOCKS = frozenset(
    {
        *(
            "l",
            "lg",
            "sp",
            "speaker",
            "stage",
            "quote",
            "disp-quote",
            "disp-formula",
            "list-item",
            "def",
            "term-sec",
            "body",
            "text",
        ),
        *(
            "fig",
            "table-wrap",
            "label",
            "boxed-text",
            "statement",
            "verse-group",
            "verse-line",
            "front",
            "group",
            "trailer",
            "cit",
        ),
    }
)
_BLOCKS = (BLOCKS | _MORE_BLOCKS | _TITLES | _SECTIONS | _LINES) - _CELLS - {"list", "row", "tr"}
#: Left out with all below them.
_SILENT = frozenset(
    {
        *("ref-list", "ref", "listBibl", "biblStruct", "references", "fn-group", "supplementary-material", "permissions"),
        *("object-id", "metadata", "teiHeader", "journal-meta", "contrib-group", "aff", "author-notes", "history", "pub-date"),
        *("article-id", "article-categories", "kwd-group", "funding-group", "custom-meta-group", "counts", "self-uri"),
        *("related-article", "related-object", "volume", "issue", "elocation-id", "fpage", "lpage", "sub-article", "response"),
        *("graphic", "media", "inline-graphic", "notes", "glossary-data", "script", "style", "featured-links", "fw", "pb"),
        *("counter", "title-footnote", "alt-title", "trans-title-group", "facsimile", "standOff", "processing-meta"),
    }
)


@dataclass(frozen=True)
class Article:
    """What an article says, and what it says of itself."""

    text: str
    kind: str
    licence: str = ""
    url: str = ""


def parsed(data: bytes | str) -> Any:
    """The root element; entities of strangers are not resolved and nothing is fetched.

    Raises:
        NotRead: it is no XML.
    """
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True, huge_tree=False, remove_comments=True)
    if isinstance(data, str):  # lxml takes no text that declares an encoding
        data, parser = (
            data.encode("utf-8"),
            etree.XMLParser(resolve_entities=False, no_network=True, recover=True, remove_comments=True, encoding="utf-8"),
        )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise NotRead(f"not valid XML ({str(error).splitlines()[0][:100]})") from None
    if root is None:
        raise NotRead("not valid XML (no element)")
    return root


def read_article(data: bytes) -> Article:
    """An article of a kind that is known.

    Raises:
        NotRead: it is no XML, XML of another kind, or an article without text.
    """
    root = parsed(data)
    name = local(root.tag)
    kind = ROOTS.get(name, "")
    space = root.tag.partition("}")[0] if "}" in str(root.tag) else ""
    if kind == "CNXML" and "cnx" not in space:
        kind = ""
    if kind == "JATS" and not any(local(child.tag) in ("front", "body") for child in root):
        kind = ""
    if not kind:
        raise NotRead(f"XML of another kind (root element {name})")
    text = element_text(root)
    if not text:
        raise NotRead(f"{kind} without text")
    return Article(text + "\n", kind, _licence(root), _address(root))


def _licence(root: Any) -> str:
    for element in root.iter():
        if local(element.tag) in ("license", "licence", "license-ref", "license_ref"):
            said = " ".join([*element.attrib.values(), "".join(element.itertext())])
            for child in element.iter():
                said += " " + " ".join(child.attrib.values())
            if found := licence_of_page(said):
                return found
    return ""


def _address(root: Any) -> str:
    for element in root.iter():
        if local(element.tag) in ("article-id", "idno") and "doi" in (
            element.get("pub-id-type"),
            (element.get("type") or "").lower(),
        ):
            return f"https://doi.org/{(element.text or '').strip()}"
        if local(element.tag) == "body":
            break
    return ""


def element_text(root: Any) -> str:
    """The text of an element, a blank line between blocks, titles as Markdown has them by their depth."""
    writer = _Writer()
    header = next((child for child in root if local(child.tag) == "teiHeader"), None)
    for element in _of_header(header) if header is not None else []:
        writer.visit(element, 1)
    # CNXML has its abstract in what it says of itself
    for element in root.iter() if local(root.tag) in ("document", "module") else ():
        if local(element.tag) == "abstract" and local(element.getparent().tag) == "metadata":
            writer.visit(element, 1)
    writer.visit(root, 1)
    writer.flush()
    return "\n\n".join(writer.blocks)


def _of_header(header: Any) -> list[Any]:
    """Title and abstract of TEI's header."""
    found = [element for element in header.iter() if local(element.tag) == "abstract"]
    titles = [e for e in header.iter() if local(e.tag) == "title" and local(e.getparent().tag) == "titleStmt"]
    return titles[:1] + found


class _Writer:
    """Collects blocks while it walks."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.parts: list[str] = []
        self.mark = ""

    def flush(self, tight: bool = False) -> None:
        """The text since the last block as a block; a tight one goes on the line below the last."""
        text = " ".join("".join(self.parts).split())
        self.parts = []
        if text and text != "|":
            if tight and self.blocks:
                self.blocks[-1] += "\n" + text
            else:
                self.blocks.append(self.mark + text)
        if text:
            self.mark = ""

    def visit(self, element: Any, depth: int) -> None:
        """Write an element and what follows it inside its parent."""
        name = local(element.tag)
        if name and name not in _SILENT and depth < 400:
            if name in _FORMULAS:
                self._formula(element, name)
            elif name in _CODE:
                self.flush()
                self.blocks.append("".join(element.itertext()).strip("\n"))
            else:
                self._element(element, name, depth)
        if element.tail and depth > 1:
            self.parts.append(element.tail)

    def _element(self, element: Any, name: str, depth: int) -> None:
        block = name in _BLOCKS
        row = name in _LINES
        if block or row:
            self.flush()
        if name in _TITLES and block:
            self.mark = "#" * _level(element) + " "
        elif name in ("item", "list-item", "li"):
            self.mark = "- "
        if element.text:
            self.parts.append(element.text)
        for child in element:
            self.visit(child, depth + 1)
            if row and local(child.tag) in _CELLS and child is not element[-1]:
                self.parts.append(" | ")
        if block or row:
            self.flush(tight=row and _follows(element))
            self.mark = ""

    def _formula(self, element: Any, name: str) -> None:
        math = element if name == "math" else next((e for e in element.iter() if local(e.tag) == "math"), None)
        said = tex(math) if math is not None else _body(" ".join("".join(element.itertext()).split()))
        display = element.get("display") == "block" or local(getattr(element.getparent(), "tag", "")) in (
            "disp-formula",
            "equation",
        )
        if said:
            said = said.strip("$")
            self.parts.append(f" $${said}$$ " if display else f"${said}$")


def _level(title: Any) -> int:
    """1 for the document's own title, then one more for each section that a title stands in."""
    above = title.getparent()
    if above is None or above.getparent() is None or local(above.tag) in ("title-group", "titleStmt"):
        return 1
    return min(6, max(2, 1 + sum(local(one.tag) in _SECTIONS for one in title.iterancestors())))


def _follows(row: Any) -> bool:
    before = row.getprevious()
    return before is not None and local(before.tag) in _LINES


def _body(said: str) -> str:
    """TeX of a formula that is written as a whole LaTeX document (as journals do)."""
    _, begin, rest = said.partition("\\begin{document}")
    return rest.partition("\\end{document}")[0].strip() if begin else said
