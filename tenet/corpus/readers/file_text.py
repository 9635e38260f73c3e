"""From the bytes of one file to its documents, whatever kind it is: on disk or inside an archive."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tenet.corpus.documents import PIECE, ROW_PIECES, Document, document, pieces
from tenet.corpus.readers import markup
from tenet.corpus.readers.deadline import within
from tenet.corpus.readers.decoding import HEAD, NotRead, decode, decode_page, mark_of, refuse_binary
from tenet.corpus.readers.filenotes import FileNote, Tally
from tenet.corpus.readers.formats import columns
from tenet.corpus.readers.formats.archives import BROKEN, read_whole
from tenet.corpus.readers.formats.licence_files import spdx_said
from tenet.corpus.readers.records import check_refused, json_rows, row_documents
from tenet.corpus.readers.suffixes import RECORDS
from tenet.errors import TenetError
from tenet.settings.corpus import SourceConfig

_TABLES = ("json", "parquet", "csv", "arrow")
_PACKAGES = ("epub", "pdf", "docx")


@dataclass(frozen=True)
class Reading:
    """What is the same for all files of a source.

    Args:
        source: its settings.
        origin: its name in ids.
        piece: characters of a piece.
        most_refused: largest share of a table's rows that may be refused.
        licence: folder of a file -> SPDX name by the licence file nearest to it, or "".
    """

    source: SourceConfig
    origin: str
    piece: int
    most_refused: float = 1.0
    licence: Callable[[str], str] = field(default=lambda folder: "")


@dataclass(frozen=True)
class _Said:
    """A text and what the file says of itself."""

    text: str
    kind: str = "prose"
    licence: str = ""
    url: str = ""


def file_documents(file: IO[bytes], name: str, note: FileNote, reading: Reading, place: str) -> Iterator[Document]:
    """The documents of one file.

    Args:
        file: its bytes, unpacked (a web archive may come packed).
        name: its path below the source.
        note: has its kind, and gets what was found.
        reading: of the source.
        place: where it lies, for messages.

    Raises:
        NotRead: it is left out; documents that came before are good.
    """
    try:
        if note.kind in _TABLES:
            yield from _table(file, name, note, reading, place)
        elif note.kind == RECORDS:
            yield from _archive_of_pages(file, name, note, reading)
        else:
            data = read_whole(file)
            if not data.strip():
                raise NotRead("empty")
            yield from _documents(within(len(data), _said, data, name, note, reading), name, reading)
    except (NotRead, TenetError):
        raise
    except BROKEN as error:
        raise NotRead(f"cannot be opened ({getattr(error, 'strerror', None) or error or type(error).__name__})") from None
    except Exception as error:  # a library's own word for broken input; one file must not end a run
        raise NotRead(f"cannot be read ({type(error).__name__}: {error})") from None


def _said(data: bytes, name: str, note: FileNote, reading: Reading) -> _Said:
    if note.kind in _PACKAGES:
        return _package(data, note)
    if note.kind == "xml" and not markup.looks_like_html(data[:4096].decode("latin-1")):
        from tenet.corpus.readers.formats.articles import read_article

        article = read_article(data)
        return _Said(article.text, licence=article.licence, url=article.url)
    refuse_binary(data[:HEAD])
    page = note.kind in ("html", "xml")
    decoded = decode_page(data, encoding=reading.source.encoding) if page else decode(data, reading.source.encoding)
    note.encoding, text = decoded.guessed, decoded.text
    if page or (note.kind == "text" and markup.looks_like_html(text)):
        note.kind = "html"
        return _Said(markup.html_text(text))
    if note.kind == "notebook":
        return _Said(markup.notebook_text(text))
    if note.kind == "latex":
        from tenet.corpus.readers.formats.latex import latex_text

        return _Said(latex_text(text))
    if note.kind == "python" and reading.source.text != "source":
        return _Said(markup.docstrings(text, name), "source")
    if note.kind in ("python", "source"):
        note.kind = "source"
        return _Said(text, "source", spdx_said(text) or reading.licence(name.rpartition("/")[0]))
    return _Said(text)


def _package(data: bytes, note: FileNote) -> _Said:
    if note.kind == "pdf":
        from tenet.corpus.readers.formats.pdf import pdf_text

        return _Said(pdf_text(data))
    if note.kind == "docx":
        from tenet.corpus.readers.formats.docx import docx_text

        return _Said(docx_text(data))
    from tenet.corpus.readers.formats.epub import read_epub

    book = read_epub(data)
    note.refused, note.rows = len(book.lost), list(enumerate(book.lost, 1))
    return _Said(book.text, licence=book.licence)


def _documents(said: _Said, name: str, reading: Reading) -> Iterator[Document]:
    """A text in pieces; a program stays whole, where it is not beyond all measure."""
    whole = said.kind == "source" and not said.text.startswith(f"# {name}\n") and len(said.text) <= ROW_PIECES * PIECE
    label = f"{reading.origin}/{name}"
    for number, part in enumerate([said.text] if whole else pieces(said.text, reading.piece), 1):
        yield document(
            part,
            label + (f"#{number}" if number > 1 else ""),
            reading.origin,
            said.licence or reading.source.licence or "unknown",
            **({"url": said.url} if said.url else {}),
            kind=reading.source.text or said.kind,
            group=label,
            section=name.rpartition("/")[0],
            _at=number,
            _file=label,
        )


def _table(file: IO[bytes], name: str, note: FileNote, reading: Reading, place: str) -> Iterator[Document]:
    tally, source = Tally(), reading.source
    head = file.peek(HEAD)[:HEAD]  # type: ignore[attr-defined]
    if head.startswith(b"PAR1") or note.kind == "parquet":
        if not head.startswith(b"PAR1"):
            raise NotRead("not valid Parquet")
        rows = columns.parquet_rows(_jumping(file), source.column, tally)
    elif note.kind == "arrow":
        rows = columns.arrow_rows(file, source.column, tally)
    else:
        if not head.strip():
            raise NotRead("empty")
        if not mark_of(head):
            refuse_binary(head)
        tabs = note.kind == "csv" and ".tsv" in name.lower()
        rows = (
            json_rows(file, tally) if note.kind == "json" else columns.csv_rows(file, source.column, tally, source.encoding, tabs)
        )
    try:
        yield from row_documents(rows, name, source, tally, reading.piece, reading.origin)
    finally:
        tally.onto(note)
    if tally.refused and tally.refused == tally.rows and len({reason for _, reason in tally.reasons}) == 1:
        raise NotRead(tally.reasons[0][1])  # another kind of table: the file is named as one, not row by row
    check_refused(tally, place, reading.most_refused)


def _jumping(file: IO[bytes]) -> Path | IO[bytes]:
    """A file that can be read from its end: on disk as it is, unpacked in memory."""
    raw = getattr(file, "raw", None)
    return Path(str(raw.name)) if isinstance(raw, io.FileIO) else io.BytesIO(read_whole(file))


def _archive_of_pages(file: IO[bytes], name: str, note: FileNote, reading: Reading) -> Iterator[Document]:
    """The pages of a WARC; a broken one is counted, and a file of nothing but broken ones is a skipped file."""
    from tenet.corpus.readers.formats.warc import warc_records

    tally, label = Tally(), f"{reading.origin}/{name}"
    try:
        for record in warc_records(file, tally):
            parts = [record.text] if len(record.text) <= ROW_PIECES * reading.piece else pieces(record.text, reading.piece)
            for number, part in enumerate(parts, 1):
                yield document(
                    part,
                    f"{label}:{record.number}" + (f"#{number}" if number > 1 else ""),
                    reading.origin,
                    reading.source.licence or "unknown",
                    **_of_record(record, reading),
                    group=f"{label}/{record.url or record.number}",
                    _at=record.number if number == 1 else number,
                    _file=label,
                )
    finally:
        tally.onto(note)
    if tally.refused and tally.refused == tally.rows:
        raise NotRead(tally.reasons[0][1])


def _of_record(record: Any, reading: Reading) -> dict[str, str]:
    return {"url": record.url, "kind": reading.source.text or "prose", "time": record.time}
