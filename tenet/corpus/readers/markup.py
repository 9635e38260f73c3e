"""Text out of pages, notebooks and modules."""

from __future__ import annotations

import ast
import json
import re
import warnings

from tenet.corpus.readers.decoding import NotRead
from tenet.corpus.readers.web.page import page_text

_ONE_ELEMENT = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<([A-Za-z][\w:.-]*)[\s>]", re.DOTALL)
_LOOKS_LIKE_HTML = re.compile(
    r"\s*(?:<!--.*?-->\s*)*(?:<\?xml[^>]*>\s*)?(?:<!doctype\s+html|<html[\s>])", re.IGNORECASE | re.DOTALL
)
#: Roots that are a piece of a page and not XML of another kind.
_HTML_ELEMENT = re.compile(
    r"\s*(?:<!--.*?-->\s*)*<(?:body|div|p|main|article(?=[^>]*class)|table|ul|ol|pre|h[1-6]|span)[\s>]", re.IGNORECASE | re.DOTALL
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
    """The content of a page: see `web.page.page_text`.

    Raises:
        NotRead: the page shows no text, or says that it is not to be trained on.
    """
    return page_text(text)


def markup_text(text: str) -> str:
    """A page's content, or the text of one XML element.

    Raises:
        NotRead: there is no text in it.
    """
    if looks_like_html(text) or _HTML_ELEMENT.match(text):
        return page_text(text)
    from tenet.corpus.readers.formats.articles import element_text, parsed

    shown = element_text(parsed(text))
    if not shown:
        raise NotRead("XML without text")
    return shown + "\n"


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
