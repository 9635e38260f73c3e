"""Documents as sections: a title, the headings above it, and what stands below it, whatever the files are written in.

Headings are those of Markdown and reStructuredText, numbered lines, chapters and lines in capitals; where a text has
none of these, short lines that stand alone (what is left of the headings of a page). Code, tables, lists and directives
are told apart from prose, since only prose answers a question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tenet.domains.documents.sentences import clean, sentences

#: Longest title; longer ones are sentences.
TITLE = 90
_FENCE = re.compile(r"\s*(```+|~~~+)\s*([\w+-]*)")
_ATX = re.compile(r"\s{0,3}(#{1,6})\s+(.+?)\s*#*\s*$")
_RULE = re.compile(r"([=\-~^\"'*+#`:._])\1{2,}\s*$")
_NUMBERED = re.compile(r"(\d+(?:\.\d+)*)\.?\s+([^\W\d_].*[^.,;:!?])$")
_CHAPTER = re.compile(
    r"(chapter|book|part|act|scene|letter|canto|section|appendix|volume|epilogue|prologue|preface|introduction|conclusion)\b[\s.:—–-]*"
    r"(?:the\s+)?([ivxlcdm]+\b|\d+|first|second|third|fourth|fifth|sixth|seventh|last)?[\s.:—–-]*(.{0,60})$",
    re.IGNORECASE,
)
_ROMAN = re.compile(r"[IVXLC]+\.?$")
_LIST = re.compile(r"\s*(?:[-*+•◦]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s+")
_TABLE = re.compile(r"\s*\|.*\|\s*$")
_GRID = re.compile(r"\s*(?:\+[-=]{2,}|={2,}(?:\s+={2,})+\s*$|-{2,}(?:\s+-{2,})+\s*$)")
_DIRECTIVE = re.compile(r"\s*(?:\.\. |:[\w-]+:|<[!/?a-zA-Z]|!\[|\[[^\]]+\]:|@\w+|>>> )")
_NO_LETTER = re.compile(r"[^\w\s]|[\d_]")
_MARKED = re.compile(r"`{1,2}([^`\n]{2,40})`{1,2}|\*\*?([^*\n]{3,40}?)\*\*?")
_META = re.compile(r"(?:title|author|year|date|licen[cs]e|copyright|source|translator)\s*:\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """A table: names of its columns and rows of cells."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass
class Section:
    """One section of a document.

    Args:
        title: without marks; path: titles of the headings above it, outermost first.
        level: 1 is the outermost; document: place of its document in the list of all.
        at: place in the document's text where its prose begins, in characters.
        paragraphs: prose as plain text; marked: words that the author set apart (code, bold, italics).
        code: (language, text) of its code blocks; tables: those that could be read.
    """

    title: str
    level: int
    path: tuple[str, ...] = ()
    document: int = 0
    at: int = 0
    paragraphs: list[str] = field(default_factory=list)
    marked: list[str] = field(default_factory=list)
    code: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    #: Place of each paragraph in the document's text.
    places: list[int] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of its prose."""
        return "\n".join(self.paragraphs)

    def sentences(self) -> list[str]:
        """Sentences of its prose."""
        return [sentence for paragraph in self.paragraphs for sentence in sentences(paragraph)]


@dataclass(frozen=True)
class Line:
    """A line that begins a section, or text."""

    text: str
    at: int


def parse(text: str) -> tuple[str, list[Section]]:
    """The title of a document ("" where it has none) and its sections, in order; the text before the first heading is a
    section without title."""
    lines = _lines(text)
    headings = dict(_headings(lines))
    if not headings:
        headings = dict(_bare_headings(lines))
    sections = [Section("", 0)]
    stack: list[Section] = []
    title = ""
    body: list[Line] = []
    for number, line in enumerate(lines):
        if number not in headings:
            body.append(line)
            continue
        level, name, _ = headings[number]
        _fill(sections[-1], body)
        body = []
        while stack and stack[-1].level >= level:
            stack.pop()
        if _META.match(name):  # "Title: Emma", "Author: Jane Austen": said about the document, no heading in it
            title = title or (_META.sub("", name, count=1) if name.lower().startswith("title") else "")
            continue
        if not title and not stack and len(sections) == 1 and _only_one(headings, level):
            title = name
        section = Section(name, level, tuple(above.title for above in stack))
        stack.append(section)
        sections.append(section)
    _fill(sections[-1], body)
    return title, sections


def _only_one(headings: dict[int, tuple[int, str, int]], level: int) -> bool:
    """Is this heading the only one of its level or above, so that it names the whole?"""
    return sum(other <= level for other, _, _ in headings.values()) == 1


def _lines(text: str) -> list[Line]:
    found, at = [], 0
    for line in text.split("\n"):
        found.append(Line(line.rstrip(), at))
        at += len(line) + 1
    if found and found[0].text == "---":  # front matter
        end = next((i for i, line in enumerate(found[1:40], 1) if line.text in ("---", "...")), 0)
        found = found[end + 1 :] if end else found
    return found


# --- headings ---------------------------------------------------------------------------------------------------------


def _headings(lines: Sequence[Line]) -> Iterator[tuple[int, tuple[int, str, int]]]:
    """Number of a line -> level, title and lines that it takes; underlines and overlines are headings too, with an
    empty title to drop."""
    styles: list[str] = []
    fence = ""
    for i, line in enumerate(lines):
        if opened := _FENCE.match(line.text):
            fence = "" if fence and line.text.strip().startswith(fence) else fence or opened.group(1)
            continue
        if fence:
            continue
        if match := _ATX.match(line.text):
            yield i, (len(match.group(1)), _title(match.group(2)), 1)
        elif style := _underlined(lines, i):
            if style not in styles:
                styles.append(style)
            yield i, (styles.index(style) + 1, _title(line.text), 2)
        elif _alone(lines, i) and (level := _plain_heading(line.text)):
            yield i, (level, _title(line.text), 1)


def _underlined(lines: Sequence[Line], i: int) -> str:
    """The mark under (and over) a title, "" where the next line is none."""
    text = lines[i].text.strip()
    if not text or len(text) > TITLE or i + 1 >= len(lines) or _RULE.match(text):
        return ""
    rule = _RULE.match(lines[i + 1].text)
    before = lines[i - 1].text if i else ""
    over = bool(_RULE.match(before)) and before[:1] == lines[i + 1].text[:1]
    if not rule or not (over or not before.strip()) or len(lines[i + 1].text.strip()) < 0.6 * len(text):
        return ""
    return rule.group(1) * (2 if over else 1) if not _LIST.match(text) and not _TABLE.match(text) else ""


def _alone(lines: Sequence[Line], i: int) -> bool:
    text = lines[i].text
    blank_before = i == 0 or not lines[i - 1].text.strip()
    blank_after = i + 1 < len(lines) and not lines[i + 1].text.strip()
    return bool(text.strip()) and not text.startswith("    ") and blank_before and blank_after and len(text.strip()) <= TITLE


def _plain_heading(text: str) -> int:
    """Level of a heading without marks, 0 for text."""
    text = text.strip()
    if numbered := _NUMBERED.match(text):
        heading = numbered.group(2)[0].isupper() and len(text.split()) <= 12
        return 1 + numbered.group(1).count(".") if heading else 0
    if _ROMAN.match(text):
        return 3
    chapter = _CHAPTER.match(text)
    if chapter and chapter.group(2) and not text.endswith((",", ";", '"', "”")):
        return 1 if chapter.group(1).lower() in ("book", "part", "act", "volume") else 2
    letters = [c for c in text if c.isalpha()]
    capitals = len(letters) >= 4 and all(c.isupper() for c in letters) and not text.endswith((",", "!", "?", '"', "”", ":"))
    return 2 if capitals and len(text.split()) <= 10 else 0


def _bare_headings(lines: Sequence[Line]) -> list[tuple[int, tuple[int, str, int]]]:
    """Short lines that stand alone before a paragraph; two at least, or they are chance."""
    found = []
    for i, line in enumerate(lines):
        text = line.text.strip()
        after = next((other.text.strip() for other in lines[i + 1 : i + 4] if other.text.strip()), "")
        title_like = (
            text[:1].isupper() and len(text.split()) <= 9 and text[-1:] not in ".,;:!?\"'”’-)" and not _LIST.match(line.text)
        )
        if title_like and _alone(lines, i) and len(after) >= 60:
            found.append((i, (2, _title(text), 1)))
    return found if len(found) >= 2 else []


def _title(text: str) -> str:
    return clean(text).replace('"', "'").strip(" .:*#—–-") if not _ROMAN.match(text.strip()) else text.strip().rstrip(".")


# --- what stands below ------------------------------------------------------------------------------------------------


def _fill(section: Section, lines: Iterable[Line]) -> None:
    """Blocks between blank lines become prose, code, tables, or nothing."""
    block: list[Line] = []
    fence, language, colons = "", "", False
    code: list[str] = []
    for line in [*lines, Line("", 0)]:
        marked = _FENCE.match(line.text)
        if fence:
            if marked and line.text.strip().startswith(fence):
                section.code.append((language, "\n".join(code)))
                fence, code = "", []
            else:
                code.append(line.text)
        elif marked:
            colons = _block(section, block, colons)
            block, fence, language = [], marked.group(1)[:3], marked.group(2)
        elif line.text.strip():
            block.append(line)
        else:
            colons = _block(section, block, colons)
            block = []


def _block(section: Section, block: Sequence[Line], after_colons: bool) -> bool:
    """Put a block where it belongs. Returns whether it ends with "::", which makes indented text behind it code."""
    if not block:
        return after_colons
    first = block[0].text
    indented = all(line.text.startswith(("   ", "\t")) for line in block)
    text = "\n".join(line.text for line in block)
    if indented and (after_colons or first.lstrip().startswith(">>>") or first.startswith("    ")):
        if section.code and section.code[-1][0] == "indented":
            section.code[-1] = ("indented", f"{section.code[-1][1]}\n\n{text}")
        elif len(text) > 20:
            section.code.append(("indented", text))
        return after_colons
    if table := _table([line.text for line in block]):
        section.tables.append(table)
    elif not _is_prose(block):
        return False
    else:
        section.marked += [code or strong for code, strong in _MARKED.findall(text)]
        plain = clean(" ".join(line.text.strip() for line in block))
        if plain:
            section.at = section.at or block[0].at
            section.paragraphs.append(plain)
            section.places.append(block[0].at)
    return text.endswith("::")


def _is_prose(block: Sequence[Line]) -> bool:
    texts = [line.text for line in block]
    if any(_GRID.match(text) or _TABLE.match(text) for text in texts) or _DIRECTIVE.match(texts[0]):
        return False
    if _LIST.match(texts[0]) or texts[0].lstrip().startswith((">", "|")) or _RULE.match(texts[0].strip() or "x"):
        return False
    return sum(len(_NO_LETTER.findall(text)) for text in texts) <= 0.3 * sum(map(len, texts))


def _table(lines: Sequence[str]) -> Table | None:
    """A table of Markdown, whose second line is dashes."""
    if len(lines) < 3 or not re.match(r"\s*\|?[\s:|-]*-{3}[\s:|-]*$", lines[1]) or "|" not in lines[0]:
        return None
    rows = [tuple(clean(cell) for cell in line.strip().strip("|").split("|")) for line in lines if "|" in line]
    columns, body = rows[0], [row for row in rows[2:] if len(row) == len(rows[0])]
    return Table(columns, tuple(body)) if len(columns) >= 2 and body else None
