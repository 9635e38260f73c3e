"""Word documents (.docx): paragraphs, headings by their style, lists, tables and notes, straight from the XML in the
package; deletions, comments, headers and footers are left out."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from tenet.corpus.readers.decoding import NotRead
from tenet.corpus.readers.formats.archives import BROKEN, LARGEST
from tenet.corpus.readers.formats.articles import parsed
from tenet.corpus.readers.formats.mathml import local

_MAIN = "word/document.xml"
_NOTES = ("word/footnotes.xml", "word/endnotes.xml")
#: Drawn twice for old programs, deleted, or instructions to Word.
_SILENT = frozenset({"del", "moveFrom", "Fallback", "instrText", "pPr", "rPr", "tblPr", "sectPr", "tcPr", "trPr"})


def part(archive: zipfile.ZipFile, name: str) -> bytes:
    """A part of a package, within bounds.

    Raises:
        NotRead: it is too large once unpacked.
    """
    with archive.open(name) as file:
        data = file.read(LARGEST // 4 + 1)
    if len(data) > LARGEST // 4:
        raise NotRead(f"a part of it ({name}) unpacks to more than {LARGEST // 4:,} bytes")
    return data


def docx_text(data: bytes) -> str:
    """The text of a document, a blank line between paragraphs.

    Raises:
        NotRead: it is no such package, is encrypted, or has no text.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
            if _MAIN not in names:
                raise NotRead("not a Word document (no word/document.xml)")
            roots = [parsed(part(archive, name)) for name in (_MAIN, *(name for name in _NOTES if name in names))]
    except (RuntimeError, NotImplementedError, *BROKEN) as error:
        raise NotRead(f"not a Word document ({error})") from None
    blocks: list[str] = []
    for root in roots:
        body = next((child for child in root if local(child.tag) == "body"), root)
        for child in body:
            _block(child, blocks)
    text = "\n\n".join(block for block in blocks if block.strip())
    if not text:
        raise NotRead("Word document without text")
    return text + "\n"


def _block(element: Any, blocks: list[str]) -> None:
    name = local(element.tag)
    if name == "p":
        mark, text = _paragraph(element)
        if text and mark == "- " and blocks and blocks[-1].startswith("- "):
            blocks[-1] += f"\n- {text}"
        elif text:
            blocks.append(mark + text)
    elif name == "tbl":
        rows = [_row(row) for row in element if local(row.tag) == "tr"]
        blocks.append("\n".join(row for row in rows if row.strip(" |")))
    elif name in ("sdt", "sdtContent", "footnote", "endnote", "ins", "customXml", "smartTag"):
        for child in element:
            _block(child, blocks)


def _row(row: Any) -> str:
    cells = []
    for cell in row.iter():
        if local(cell.tag) == "tc":
            texts = [_paragraph(p)[1] for p in cell if local(p.tag) == "p"]
            cells.append(" ".join(text.replace("\n", " ") for text in texts if text))
    return " | ".join(cells)


def _paragraph(paragraph: Any) -> tuple[str, str]:
    """Mark ("## ", "- " or "") and text."""
    style, listed = "", False
    for element in paragraph:
        if local(element.tag) == "pPr":
            for entry in element:
                if local(entry.tag) == "pStyle":
                    style = next(iter(entry.attrib.values()), "")
                listed = listed or local(entry.tag) == "numPr"
    parts: list[str] = []
    _runs(paragraph, parts)
    lower = style.lower().replace(" ", "")
    mark = "- " if listed or lower.startswith("listparagraph") or lower.startswith("listbullet") else ""
    if lower == "title":
        mark = "# "
    elif lower.startswith("heading") and lower[7:8].isdigit():
        mark = "#" * min(6, int(lower[7])) + " "
    return mark, "\n".join(" ".join(line.split()) for line in "".join(parts).split("\n")).strip()


def _runs(element: Any, parts: list[str]) -> None:
    for child in element:
        name = local(child.tag)
        if name in _SILENT or not name:
            continue
        if name == "t":
            parts.append(child.text or "")
        elif name in ("br", "cr"):
            parts.append("\n")
        elif name in ("tab", "ptab"):
            parts.append(" ")
        elif name in ("noBreakHyphen",):
            parts.append("-")
        else:
            _runs(child, parts)
