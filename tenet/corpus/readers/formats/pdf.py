"""PDF by its text layer (PDFium): lines become paragraphs, words that were cut at the end of a line are whole again, and
what repeats at the top and bottom of the pages is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from tenet.corpus.readers.decoding import NotRead

#: Characters a page below which a document is a scan.
LEAST_A_PAGE = 20
#: Share of the pages on which a first or last line must stand to be a running head.
_RUNNING = 0.4
_NUMBERS = re.compile(r"\d+|\b[ivxlc]+\b")
_CUT_WORD = re.compile(r"(?<=[^\W\d_])[\-\u00ad\u2010]\Z")
#: PDFium's mark for a hyphen at the end of a line, which it takes out together with the line's end.
_HYPHEN = re.compile(r"[\ufffe\x02]\s*")
#: A line of a table of contents.
_LEADERS = re.compile(r"(?:\s?[.·]){6,}\s*[\divxlc]*\s*\Z")
_END = re.compile(r"[.!?:;…。”\"’')\]]\Z")
_STARTS = re.compile(r"(?:[-•·▪–]|\(?\d{1,3}[.)]|\(?[a-z]\))\s")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]|[\ue000-\uf8ff]")


def pdf_text(data: bytes) -> str:
    """The text of a PDF, a blank line between paragraphs.

    Raises:
        NotRead: it is broken, has a password, or is a scan without a text layer.
    """
    pages = _pages(data)
    if sum(len(page.strip()) for page in pages) < LEAST_A_PAGE * len(pages):
        raise NotRead("scanned PDF without a text layer (run OCR on it first)")
    lines = _without_running_heads([_lines(page) for page in pages])
    text = "\n\n".join(paragraphs(lines))
    if not text.strip():
        raise NotRead("PDF without text")
    return text + "\n"


def _lines(page: str) -> list[str]:
    lines = [line.rstrip() for line in _CONTROL.sub("", _HYPHEN.sub("", page)).split("\n")]
    return [line for line in lines if not _LEADERS.search(line)]


def _pages(data: bytes) -> list[str]:
    import pypdfium2 as pdfium

    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise NotRead("PDF with a password") from None
        raise NotRead(f"not a valid PDF ({error})") from None
    found = []
    try:
        for number in range(len(document)):
            try:
                page = document[number]
                layer = page.get_textpage()
            except pdfium.PdfiumError:  # one page that is broken; the count of the others decides
                found.append("")
                continue
            found.append(layer.get_text_range().replace("\r\n", "\n").replace("\r", "\n"))
            layer.close()
            page.close()
    finally:
        document.close()
    if not found:
        raise NotRead("PDF without pages")
    return found


def _without_running_heads(pages: Sequence[list[str]]) -> list[list[str]]:
    """Pages without the first and last lines that, numbers aside, stand on many of them."""
    pages = [_trimmed(page) for page in pages]
    counts: Counter[str] = Counter()
    for page in pages:
        counts.update({_shape(line) for line in (*page[:2], *page[-2:])})
    least = max(3, _RUNNING * len(pages))
    found = []
    for page in pages:
        while page and (counts[_shape(page[0])] >= least or _shape(page[0]) == "0"):
            page = page[1:]
        while page and (counts[_shape(page[-1])] >= least or _shape(page[-1]) == "0"):
            page = page[:-1]
        found.append(page)
    return found


def _trimmed(page: list[str]) -> list[str]:
    return [line for line in page if line.strip()] if not any(page) else page[next(i for i, x in enumerate(page) if x.strip()) :]


def _shape(line: str) -> str:
    return _NUMBERS.sub("0", line.strip().casefold())


def paragraphs(pages: Sequence[list[str]]) -> list[str]:
    """Lines as paragraphs: one ends where a line is empty, or ends a sentence well before the right edge."""
    found: list[str] = []
    held = ""
    lengths = sorted(len(line) for page in pages for line in page if line.strip())
    width = lengths[int(0.8 * (len(lengths) - 1))] if lengths else 0
    for line in (line for page in pages for line in page):
        line = " ".join(line.split())
        if not line or (held and _STARTS.match(line)):
            found.append(held)
            held = ""
        if held and _CUT_WORD.search(held):
            whole = line[:1].islower()
            held = (_CUT_WORD.sub("", held) if whole else held) + line
        else:
            held = f"{held} {line}" if held and line else held or line
        if line and len(line) < 0.75 * width and (_END.search(line) or len(line) < 0.5 * width):
            found.append(held)
            held = ""
    return [text for text in [*found, held] if text.strip()]
