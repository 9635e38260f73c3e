"""Tables with a text column: CSV and TSV, Parquet, and Arrow (files and streams, also as `datasets` saves them)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from tenet.corpus.readers.decoding import NotRead, decode, mark_of
from tenet.corpus.readers.filenotes import Tally
from tenet.corpus.readers.formats.archives import read_whole

#: Columns that are read beside the text.
OTHER = ("id", "url", "licence", "license", "metadata", "group", "source", "kind")
#: Rows that are held at once.
BATCH = 1024
#: Longest field of a CSV, in characters: a whole book.
LONGEST_FIELD = 50_000_000
_DELIMITERS = ",;\t|"


def no_column(column: str, there: list[str]) -> str:
    """The reason of a row or file without the text column."""
    return f"no column {column!r} (there are {', '.join(map(str, there)) or 'none'})"


def parquet_rows(file: Path | IO[bytes], column: str, tally: Tally) -> Iterator[tuple[int, Any]]:
    """(number, row) of a Parquet file, a batch at a time.

    Raises:
        NotRead: it is no Parquet, or has no such column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise NotRead(f"not valid Parquet ({str(error).splitlines()[0]})") from None
    wanted = _wanted(column, table.schema_arrow.names)
    number = 0
    try:
        for batch in table.iter_batches(BATCH, columns=wanted):
            yield from _batch(batch, number, tally)
            number += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise NotRead(f"Parquet is broken behind row {number:,} ({str(error).splitlines()[0]})") from None


def arrow_rows(file: IO[bytes], column: str, tally: Tally) -> Iterator[tuple[int, Any]]:
    """(number, row) of an Arrow file or stream, a batch at a time.

    Raises:
        NotRead: it is no Arrow, is cut, or has no such column.
    """
    import pyarrow as pa

    number = 0
    try:
        stream = not (hasattr(file, "peek") and file.peek(6).startswith(b"ARROW1"))
        on_disk = isinstance(getattr(file, "raw", None), io.FileIO)  # a packed file cannot jump to the footer at its end
        source = file if on_disk else pa.BufferReader(read_whole(file))
        batches: Iterable[Any]
        if stream:
            reader = batches = pa.ipc.open_stream(source)
        else:
            reader = pa.ipc.open_file(source)
            batches = map(reader.get_batch, range(reader.num_record_batches))
        wanted = _wanted(column, reader.schema.names)
        for batch in batches:
            for start in range(0, batch.num_rows, BATCH):
                part = batch.select(wanted).slice(start, BATCH)
                yield from _batch(part, number, tally)
                number += part.num_rows
    except (pa.ArrowException, OSError) as error:
        broken = f"broken behind row {number:,}" if number else "not valid Arrow"
        raise NotRead(f"{broken} ({(str(error).splitlines() or [''])[0]})") from None


def _batch(batch: Any, before: int, tally: Tally) -> Iterator[tuple[int, Any]]:
    """Numbered rows; where one is broken, the others are still read.

    Arrow trusts offsets and text as they stand in a file: unchecked, a flipped bit there ends the process.
    """
    import pyarrow as pa

    try:
        batch.validate(full=True)
        yield from enumerate(batch.to_pylist(), before + 1)
    except (pa.ArrowException, UnicodeDecodeError):
        for place in range(batch.num_rows):
            one = batch.slice(place, 1)
            try:
                one.validate(full=True)
                row = one.to_pylist()[0]
            except (pa.ArrowException, UnicodeDecodeError) as error:
                tally.rows += 1
                tally.refuse(before + place + 1, f"broken value ({str(error).splitlines()[0][:100]})")
            else:
                yield before + place + 1, row


def _wanted(column: str, there: list[str]) -> list[str]:
    if column not in there:
        raise NotRead(no_column(column, there))
    return [column, *(name for name in OTHER if name in there and name != column)]


def csv_rows(file: IO[bytes], column: str, tally: Tally, encoding: str = "", tabs: bool = False) -> Iterator[tuple[int, Any]]:
    """(line, row) of a CSV with a header; rows with too few or too many fields are refused.

    Args:
        file: its bytes.
        column: that holds the text.
        tally: counts what is refused.
        encoding: what the settings say.
        tabs: the name says that fields end with tabs.

    Raises:
        NotRead: it has no header with such a column, or is no text.
    """
    lines, delimiter = _lines(file, encoding, tabs)
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(lines, delimiter=delimiter, strict=False)
    header = next(reader, [])
    if column not in header:
        raise NotRead(no_column(column, header))
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as error:
            tally.rows += 1
            tally.refuse(number, f"not valid CSV ({error})")
            if isinstance(error, UnicodeDecodeError):
                raise NotRead(f"not UTF-8 behind line {number:,}; set the source's `encoding`") from None
            continue
        if len(fields) == len(header):
            plain = (field.replace("\r\n", "\n").replace("\r", "\n") for field in fields)
            yield number, dict(zip(header, plain, strict=True))
        elif fields:
            tally.rows += 1
            tally.refuse(number, f"{len(fields)} fields where the header has {len(header)}")


def _lines(file: IO[bytes], encoding: str, tabs: bool) -> tuple[Iterator[str], str]:
    """Lines of text and what is between the fields; UTF-8 is read as a stream, anything else whole."""
    head = file.peek(65_536)[:65_536] if hasattr(file, "peek") else b""
    shown = head[: head.rfind(b"\n") + 1] or head
    known = encoding or ("utf-8-sig" if mark_of(head) in ("", "utf-8-sig") and _is_utf8(shown) else "")
    if known and mark_of(head) in ("", "utf-8-sig"):
        text: IO[str] = io.TextIOWrapper(file, encoding="utf-8-sig" if known == "utf-8" else known, newline="")
        first = shown.decode(known, "replace")
    else:
        whole = decode(file.read(), encoding).text
        text, first = io.StringIO(whole, newline=""), whole[:65_536]
    line = first.lstrip("\ufeff").partition("\n")[0]
    best = max(_DELIMITERS, key=line.count)
    return iter(text), "\t" if tabs else best if line.count(best) else ","


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
