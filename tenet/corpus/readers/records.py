"""Documents in the rows of a table: JSON lines, JSON arrays and Parquet with a text column.

A row that cannot be a document (no JSON, no text, something else in its place) is refused with its number and counted;
the file is refused when more than `most_refused` of its rows are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

from tenet.corpus.documents import ROW_PIECES, Document, document, pieces
from tenet.corpus.readers.deadline import within
from tenet.corpus.readers.decoding import NotRead, decode, mark_of
from tenet.corpus.readers.filenotes import Tally
from tenet.corpus.readers.formats.columns import no_column
from tenet.corpus.readers.markup import is_markup, markup_text
from tenet.corpus.readers.web.optout import OPTED_OUT, host_of
from tenet.errors import StageError
from tenet.settings.corpus import SourceConfig


def json_rows(file: IO[bytes], tally: Tally) -> Iterator[tuple[int, Any]]:
    """(line, value) of JSON lines; a byte order mark, CRLF and empty lines are passed over, what is no JSON is refused.

    A file that is one array gives its entries, a file that is one object over several lines gives that.
    """
    head = file.peek(4)[:4] if hasattr(file, "peek") else b""
    if mark_of(head) in ("utf-16", "utf-32"):
        yield from _whole(decode(file.read()).text, tally)
        return
    first = file.readline()
    start = first.removeprefix(b"\xef\xbb\xbf").strip()
    if start.startswith(b"[") or start == b"{":
        yield from _whole(decode(first + file.read()).text, tally)
        return
    for number, line in enumerate(_and_rest(start, file), 1):
        if line := line.strip():
            yield from _parsed(number, line, tally)


def _and_rest(first: bytes, file: IO[bytes]) -> Iterator[bytes]:
    yield first
    yield from file


def _parsed(number: int, line: bytes | str, tally: Tally) -> Iterator[tuple[int, Any]]:
    try:
        yield number, json.loads(line.decode("utf-8") if isinstance(line, bytes) else line)
    except UnicodeDecodeError as error:
        tally.rows += 1
        tally.refuse(number, f"not UTF-8 at byte {error.start}")
    except (json.JSONDecodeError, RecursionError) as error:
        tally.rows += 1
        tally.refuse(number, f"not valid JSON ({error})")


def _whole(text: str, tally: Tally) -> Iterator[tuple[int, Any]]:
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) < 2:
            raise NotRead(f"not valid JSON ({error})") from None
        for number, line in lines:
            yield from _parsed(number, line, tally)
        return
    yield from enumerate(content if isinstance(content, list) else [content], 1)


def row_documents(
    rows: Iterator[tuple[int, Any]], name: str, source: SourceConfig, tally: Tally, piece: int, origin: str
) -> Iterator[Document]:
    """The rows as documents, named by file, number and their own id; very long ones in pieces.

    Args:
        rows: (number, row).
        name: of the file, without its folder.
        source: column and licence.
        tally: counts what is left out.
        piece: characters of a piece.
        origin: name of the source.
    """
    for number, row in rows:
        tally.rows += 1
        reason = _fault(row, source.column)
        if reason:
            tally.refuse(number, reason)
            continue
        try:
            parts = list(_row(row, number, name, source, piece, origin)) if row[source.column].strip() else []
        except NotRead as error:
            if str(error) == OPTED_OUT:  # no fault of the row
                tally.leave(OPTED_OUT)
                tally.opt_out(host_of(str(row.get("url") or "")))
            else:
                tally.refuse(number, str(error))
            continue
        tally.empty += not parts
        yield from parts


def _fault(row: Any, column: str) -> str:
    if not isinstance(row, dict):
        return f"a {type(row).__name__} instead of an object"
    if column not in row:
        return no_column(column, list(row))
    value = row[column]
    if value is None:
        return f"{column} is null"
    if not isinstance(value, str):
        return f"{column} is a {type(value).__name__}, not text"
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"{column} holds half a surrogate pair"
    return ""


def _row(row: dict[str, Any], number: int, name: str, source: SourceConfig, piece: int, origin: str) -> Iterator[Document]:
    own = "" if row.get("id") in (None, "") else str(row["id"])[:200]
    label = f"{origin}/{name}:{number}" + (f"/{own}" if own else "")
    said = _metadata(row)
    group = str(said.get("group") or row.get("group") or "") or own or str(number)
    text = _visible(row[source.column])
    if not text:
        return
    parts = list(pieces(text, piece)) if len(text) > ROW_PIECES * piece else [text]
    for place, part in enumerate(parts, 1):
        yield document(
            part,
            label + (f"#{place}" if place > 1 else ""),
            str(said.get("source") or origin),
            str(
                row.get("licence")
                or row.get("license")
                or said.get("licence")
                or said.get("license")
                or source.licence
                or "unknown"
            ),
            url=str(said.get("url") or row.get("url") or ""),
            kind=_kind(said.get("kind"), source),
            group=f"{origin}/{name}/{group}",
            _at=number if len(parts) == 1 else place,
            _file=f"{origin}/{name}",
        )


def _visible(text: str) -> str:
    """Text as it is; of a page or an XML article in a column, what can be read."""
    if not is_markup(text):
        return text
    try:
        return within(len(text), markup_text, text)
    except NotRead as error:
        if "without" in str(error):
            return ""
        raise


def _kind(said: Any, source: SourceConfig) -> str:
    return source.text or (said if said in ("prose", "reference", "source") else "prose")


def _metadata(row: dict[str, Any]) -> dict[str, Any]:
    """The row's metadata, also where it is written as JSON text; anything else says nothing that we read."""
    found = row.get("metadata")
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except json.JSONDecodeError:
            found = None
    return found if isinstance(found, dict) else {}


def check_refused(tally: Tally, path: str, most: float) -> None:
    """End the stage when too many rows of a file were refused.

    Raises:
        StageError: shows the first three.
    """
    if tally.refused > most * max(tally.rows, 1):
        shown = "; ".join(f"{path}:{number}: {reason}" for number, reason in tally.reasons[:3])
        raise StageError(
            f"corpus: {tally.refused:,} of {tally.rows:,} rows of {path} cannot be read, more than corpus.most_refused ({most:.0%}): {shown}. "
            "Mend them, set the source's `column`, or raise corpus.most_refused"
        )
