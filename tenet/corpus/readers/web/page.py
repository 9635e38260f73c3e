"""A page's text: what `markup.html_text` and the WARC reader call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenet.corpus.readers.decoding import NotRead
from tenet.corpus.readers.web.blocks import Block, Walk
from tenet.corpus.readers.web.boilerplate import UNSEEN
from tenet.corpus.readers.web.content import content
from tenet.corpus.readers.web.optout import refuse_reserved_page


def page_text(text: str, everything: bool = False, title: bool = True) -> str:
    """The content of a page, a blank line between blocks, headings and lists as Markdown has them, rows of tables as
    "a | b", code verbatim, formulas as TeX between dollars.

    Args:
        text: the page.
        everything: all visible text, menus too.
        title: put the page's title on top where no heading says it.

    Raises:
        NotRead: the page shows no text, or says that it is not to be trained on.
    """
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(text)
    refuse_reserved_page(tree)
    head = tree.css_first("head title")
    name = " ".join(head.text().split()) if head is not None else ""
    _formulas(tree, text)
    tree.strip_tags(list(UNSEEN), recursive=True)
    root = tree.body if tree.body is not None else tree.root
    page = Walk().run(root)
    blocks = page.blocks if everything else content(page)
    shown = written(blocks)
    if not shown:
        raise NotRead("HTML without visible text")
    return f"{name}\n\n{shown}\n" if title and name and not _said(name, blocks) else f"{shown}\n"


def written(blocks: Sequence[Block]) -> str:
    """Blocks as text; the items of a list stand on lines without a blank one between."""
    parts: list[str] = []
    for before, block in zip([None, *blocks], blocks, strict=False):
        if before is not None:
            parts.append("\n" if _tight(before, block) else "\n\n")
        parts.append(block.mark + block.text)
    return "".join(parts)


def _tight(before: Block, block: Block) -> bool:
    """Whether a block goes on the line below: the next item of the same list."""
    return (
        block.kind == before.kind == "li" and bool(block.mark and before.mark) and (block.mark == "- ") == (before.mark == "- ")
    )


def _said(name: str, blocks: Sequence[Block]) -> bool:
    """Whether the beginning of the page says its title anyway ("Waves", where the title is "Waves - A site")."""
    plain = name.casefold()
    for block in blocks[:3]:
        text = block.text.casefold()
        if text.startswith(plain) or (block.kind == "h" and text and text in plain):
            return True
    return False


def _formulas(tree: Any, text: str) -> None:
    if "<math" in text or "math/tex" in text:
        from tenet.corpus.readers.formats.mathml import replace_formulas

        replace_formulas(tree)
