"""The document that every reader gives and every filter takes, and how a long text becomes several of them.

    {"text": ..., "id": ..., "metadata": {"source", "licence", "url", "kind", "group", ...}}

`kind` is prose, reference (pages of an API or a manual) or source (code) and chooses the limits of the filters. `group`
is what is held out together (a file, an article, a family of services). Keys that begin with "_" are for the stage
alone and are not written:

    _at       place of a piece in its group       _cap     what `group_cap` counts instead of the group
    _fixed    the group must not be split         _source  place of its source in the settings
    _file     the file it is of

and what the pipeline found, under the names below.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Protocol

Document = dict[str, Any]
#: Kind of repair -> how often; kind of personal data -> how often it was masked; [language, probability]; score of the
#: quality classifier; label -> score of the tagger.
REPAIRED, MASKED, LANGUAGE, SCORE, TOXIC = "_repaired", "_masked", "_language", "_score", "_toxic"
#: The numbers that limits look at (`filters.thresholds.numbers_asked` names them), the kind of text whose limits the
#: document got, and whether those for English held.
NUMBERS, KIND, ENGLISH_LIMITS = "_numbers", "_kind", "_english_limits"
#: Longest and shortest piece of a text file, in characters: quality is judged and duplicates are found by the chapter,
#: not by the book (Gopher refuses texts above 100,000 words), but a small corpus must still come in enough pieces to
#: hold some of them out.
PIECE, SMALLEST_PIECE = 20_000, 1_000
#: Pieces that a small corpus should at least give.
PIECES = 40
#: A row of a table is one document up to this many pieces' length: rows are articles, and models learn long contexts
#: from whole ones.
ROW_PIECES = 5
#: Word hashes of a document on its way from decontamination to the disk.
HASHES = "_hashes"
_PARAGRAPH = re.compile(r"(?<=\n)\s*\n")
#: Behind a line, a sentence, a word: where a paragraph that is longer than a piece is cut, best place first.
_CUTS = (re.compile(r"(?<=\n)"), re.compile(r"(?<=[.!?])\s+|(?<=[。！？])"), re.compile(r"\s+"))


def document(text: str, name: str, source: str, licence: str, **more: Any) -> Document:
    """A document with the metadata that all have; `more` keeps its order."""
    metadata: dict[str, Any] = {"source": source, "licence": licence, "url": "", **more}
    for key in ("kind", "group"):
        metadata.setdefault(key, "")
    return {"text": text, "id": name, "metadata": metadata}


class Held(Protocol):
    """A document, in memory or on disk (`storage.stored.Stored`)."""

    def __getitem__(self, key: str, /) -> Any:
        """id, text or metadata."""


def whole(item: Held) -> Document:
    """The document with its text and all of its metadata."""
    if isinstance(item, dict):
        return item
    found: Document = item.whole()  # type: ignore[attr-defined]
    return found


def public(item: Held) -> Document:
    """The document as it is written: without what only the stage wanted to know."""
    item = whole(item)
    return {**item, "metadata": {key: value for key, value in item["metadata"].items() if not key.startswith("_")}}


def size(item: Held) -> int:
    """UTF-8 bytes of the text."""
    held: int | None = getattr(item, "size", None)
    return len(item["text"].encode()) if held is None else held


def text_key(item: Held) -> bytes:
    """16 bytes that only the text decides: by them documents of one id are put in order, whatever the order of reading."""
    held: bytes | None = getattr(item, "key", None)
    return key_of(item["text"].encode()) if held is None else held


def key_of(text: bytes) -> bytes:
    """`text_key` of UTF-8."""
    return hashlib.blake2b(text, digest_size=16).digest()


def piece_size(total: int) -> int:
    """Characters of a piece when `total` bytes are read in all."""
    return max(SMALLEST_PIECE, min(PIECE, total // PIECES))


def pieces(text: str, most: int = PIECE) -> Iterator[str]:
    """A text in pieces of at most about `most` characters, cut between paragraphs; a longer paragraph is cut between
    its lines, its sentences or, where it has none, its words."""
    piece: list[str] = []
    length = 0
    for paragraph in _PARAGRAPH.split(text):
        for part in _parts(paragraph, most, _CUTS):
            if piece and length + len(part) > most:
                yield "\n".join(piece)
                piece, length = [], 0
            if part.strip():
                piece.append(part)
                length += len(part) + 1
    if piece:
        yield "\n".join(piece)


def _parts(text: str, most: int, cuts: tuple[re.Pattern[str], ...]) -> Iterator[str]:
    """A paragraph whole where it fits, else in parts that do."""
    if len(text) <= most:
        yield text
        return
    if not cuts:
        yield from (text[i : i + most] for i in range(0, len(text), most))
        return
    held, joint = "", "" if cuts[0] is _CUTS[0] else " "
    for unit in cuts[0].split(text):
        for part in _parts(unit, most, cuts[1:]):
            if held and len(held) + len(part) + len(joint) > most:
                yield held
                held = ""
            held = f"{held}{joint}{part}" if held else part
    if held:
        yield held
