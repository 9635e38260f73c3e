"""Text out of pages, notebooks and modules."""

from __future__ import annotations

import ast
import json
import re
import warnings

from tenet.corpus.readers.decoding import NotRead

#: Elements that begin and end on a line of their own: HTML's, and those of XML for books and articles (CNXML, DocBook,
#: JATS).
_BLOCKS = [
    *[
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
    ],
    *["nav", "ol", "p", "pre", "section", "summary", "table", "td", "th", "tr", "ul"],
    *[
        "abstract",
        "caption",
        "chapter",
        "content",
        "definition",
        "entry",
        "equation",
        "example",
        "exercise",
        "item",
        "list",
        "note",
        "para",
        "problem",
        "row",
        "sec",
        "solution",
        "title",
    ],
]
#: Nothing in these is shown as text.
_UNSEEN = ["script", "style", "template", "noscript", "head", "svg", "math", "iframe", "object", "textarea", "select", "button"]
_ONE_ELEMENT = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<([A-Za-z][\w:.-]*)[\s>]", re.DOTALL)
_LOOKS_LIKE_HTML = re.compile(
    r"\s*(?:<!--.*?-->\s*)*(?:<\?xml[^>]*>\s*)?(?:<!doctype\s+html|<html[\s>])", re.IGNORECASE | re.DOTALL
)
#: Shorter docstrings ("Helper.") say nothing.
SHORTEST_DOCSTRINGS = 200


def looks_like_html(text: str) -> bool:
    """Whether a file is a page, whatever its name says."""
    return _LOOKS_LIKE_HTML.match(text[:4096]) is not None


def is_markup(text: str) -> bool:
    """Whether a text is a page or one XML element from its first sign to its last (an article in a column of a
    table)."""
    found = _ONE_ELEMENT.match(text)
    return looks_like_html(text) or (found is not None and text.rstrip().endswith(f"</{found[1]}>"))


def html_text(text: str) -> str:
    """The visible text of a page (or of an article in XML), a blank line between blocks, headings as Markdown has them.

    Raises:
        NotRead: the page shows no text.
    """
    from bs4 import BeautifulSoup, XMLParsedAsHTMLWarning
    from bs4.element import PreformattedString

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)  # XHTML: html.parser reads it too
        soup = BeautifulSoup(text, "html.parser")
    title = soup.head.title.get_text(" ", strip=True) if soup.head and soup.head.title else ""
    for tag in soup(_UNSEEN):
        tag.decompose()
    for unseen in [item for item in soup.find_all(string=True) if isinstance(item, PreformattedString)]:  # comments, doctype
        unseen.extract()
    for kept in soup("pre"):
        kept.replace_with("\n\n" + kept.get_text().strip("\n").replace("\n", "\x01").replace(" ", "\x02") + "\n\n")
    for space in soup.find_all(string=True):
        space.replace_with(re.sub(r"[^\S\n]+|(?<!\n)\n(?!\n)", " ", str(space)))
    for br in soup("br"):
        br.replace_with("\n")
    for heading in soup(["h1", "h2", "h3", "h4", "h5", "h6", "title"]):
        heading.insert(0, "#" * (int(heading.name[1]) if heading.name != "title" else 2) + " ")
    for block in soup(_BLOCKS):
        block.insert_before("\n\n")
        block.insert_after("\n\n")
    lines = [re.sub(r"[ \t\xa0]+", " ", line).strip() for line in soup.get_text().splitlines()]
    shown = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip().replace("\x01", "\n").replace("\x02", " ")
    if not shown:
        raise NotRead("HTML without visible text")
    return (f"{title}\n\n{shown}" if title and not shown.startswith(title) else shown) + "\n"


def notebook_text(text: str) -> str:
    """Text cells as they are and code cells as fenced blocks; outputs are left out.

    Raises:
        NotRead: it is no notebook, or an empty one.
    """
    try:
        content = json.loads(text)
        cells = content["cells"]
        parts = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in cells]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise NotRead("not a notebook of format 4") from None
    shown = [f"```python\n{source}\n```" if kind == "code" else source for kind, source in parts if source]
    if not shown:
        raise NotRead("empty")
    return "\n\n".join(shown) + "\n"


def docstrings(text: str, name: str) -> str:
    """What a Python module says about itself: its docstrings under the names of what they describe, without code and
    comments.

    Raises:
        NotRead: it is no Python, or has next to no docstrings.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in other people's code
            module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise NotRead(f"not valid Python ({type(error).__name__})") from None
    parts = [doc] if (doc := ast.get_docstring(module)) else []
    parts += _members(module, "")
    if sum(map(len, parts)) < SHORTEST_DOCSTRINGS:
        raise NotRead("Python without docstrings to speak of")
    return "\n\n".join([f"# {name}", *parts]) + "\n"


def _members(node: ast.AST, above: str) -> list[str]:
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            name = above + child.name
            shown = name if isinstance(child, ast.ClassDef) else f"{name}({ast.unparse(child.args)})"
            if doc := ast.get_docstring(child):
                found.append(f"## {shown}\n\n{doc}")
            if isinstance(child, ast.ClassDef):
                found += _members(child, name + ".")
    return found
