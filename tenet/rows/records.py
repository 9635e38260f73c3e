"""From files to records: JSON lines, JSON, CSV and Parquet, packed or not, as editors, shells and exporters leave them.

A byte order mark, CRLF and empty lines are passed over, as every reader of these formats does; whatever else cannot be
read is a record with a problem instead of a value, so that the caller can count it by line.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tenet.errors import ConfigError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
PACKED = (".gz", ".zst")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Record:
    """One record.

    Args:
        line: where it begins in the unpacked file; in Parquet its number, from 1.
        value: the object, or None where `problem` says what is wrong.
        nulled: NaN or Infinity stood there, which JSON does not know; they were read as null.
    """

    line: int
    value: dict[str, Any] | None
    problem: str = ""
    nulled: bool = False


def readable(path: Path) -> bool:
    """Does the name end as one of the kinds that can be read?"""
    return _kind(path) in SUFFIXES


def records(path: Path) -> Iterator[Record]:
    """Every record of a file.

    Raises:
        ConfigError: a kind that cannot be read, a packed file that is cut short, a Parquet file that is none.
    """
    kind = _kind(path)
    if kind not in SUFFIXES:
        raise ConfigError(f"{path}: kinds that can be read are {', '.join(SUFFIXES)} (and {', '.join(PACKED)} of them)")
    try:
        if kind == ".parquet":
            yield from _parquet(path)
        else:
            with _open(path) as file:
                yield from _csv(file) if kind == ".csv" else _json(file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ConfigError(f"{path}: cut short or not packed as its name says ({error}); fetch the file again") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: begins as UTF-16 and is none ({error}); save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: could not be read ({error}); mend the file or name another one") from None


def _kind(path: Path) -> str:
    name = path.name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return Path(name).suffix


def _open(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return gzip.open(path, "rb")
    if suffix == ".zst":
        import pyarrow

        return io.BytesIO(pyarrow.input_stream(str(path), compression="zstd").read())
    return open(path, "rb")


def _json(file: IO[bytes]) -> Iterator[Record]:
    """JSON lines, or one array or object: the content decides, because both are found under both names."""
    lines = _lines(file)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        return
    if first[1].lstrip().startswith(b"[") or not _whole(first[1]):
        rest = b"\n" * (first[0] - 1) + b"\n".join([first[1], *(line for _, line in lines)])
        yield from _document(rest)
        return
    for number, line in _chained(first, lines):
        if line.strip():
            yield _record(number, line)


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their ends, as UTF-8."""
    start = file.read(3)
    rest: IO[bytes]
    if start[:2] in _UTF16:
        rest, start = io.BytesIO((start + file.read()).decode("utf-16").encode()), b""
    else:
        rest, start = file, start.removeprefix(b"\xef\xbb\xbf")
    head, number = start, 0
    for line in rest:
        for part in (head + line).splitlines() if head else (line,):
            number += 1
            yield number, part.rstrip(b"\r\n")
        head = b""
    if head:
        yield number + 1, head


def _chained(first: tuple[int, bytes], rest: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    yield first
    yield from rest


def _whole(line: bytes) -> bool:
    """Is a line a value of its own? `{` alone begins an object that is spread over lines; a broken line of many is told
    by its end."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return line.rstrip().endswith(b"}")
    return True


def _record(number: int, line: bytes) -> Record:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return Record(number, None, f"not UTF-8 (byte 0x{line[error.start]:02x}, the {error.start + 1}. of the line)")
    nulled: list[str] = []
    try:
        value = json.loads(text, parse_constant=nulled.append)
    except (ValueError, RecursionError) as error:
        return Record(number, None, f"not valid JSON ({error})")
    return _checked(number, value, bool(nulled))


def _checked(number: int, value: Any, nulled: bool = False) -> Record:
    if not isinstance(value, dict):
        return Record(number, None, f"a JSON {_name(value)}, not an object")
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return Record(number, None, "half a character (a lone surrogate such as \\ud83d) that no text can hold")
    except RecursionError:
        return Record(number, None, "nested too deeply")
    return Record(number, value, nulled=nulled)


def _name(value: Any) -> str:
    return {list: "list", str: "string", bool: "boolean", int: "number", float: "number"}.get(type(value), "null")


def _document(content: bytes) -> Iterator[Record]:
    """An array of records, or an object with one member that is such an array (`data`, `train`, `rows`), item by item
    with its line."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        yield Record(line, None, f"not UTF-8 (byte 0x{content[error.start]:02x})")
        return
    nulled: list[str] = []
    decoder = json.JSONDecoder(parse_constant=nulled.append)
    at = len(text) - len(text.lstrip())
    if text[at] != "[":
        try:
            yield from _member(decoder.decode(text), text.count("\n", 0, at) + 1)
        except (ValueError, RecursionError) as error:
            yield Record(getattr(error, "lineno", 1), None, f"not valid JSON ({error})")
        return
    line, counted, at = 1, 0, at + 1
    while True:
        while at < len(text) and (text[at].isspace() or text[at] == ","):
            at += 1
        line, counted = line + text.count("\n", counted, at), at
        if at >= len(text) or text[at] == "]":
            if at >= len(text):
                yield Record(line, None, "the array is cut short: its ] is missing")
            elif text[at + 1 :].strip():
                yield Record(line, None, "something follows after the end of the array; it is not read")
            return
        nulled.clear()
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            yield Record(line, None, f"not valid JSON ({error}); what follows is not read")
            return
        yield _checked(line, value, bool(nulled))


def _member(value: Any, line: int) -> Iterator[Record]:
    lists = [item for item in value.values() if isinstance(item, list) and item and all(isinstance(i, dict) for i in item)]
    wrapped = len(lists) == 1 and not {"messages", "conversations", "chosen", "prompt"} & value.keys()
    for item in lists[0] if wrapped else [value]:
        yield _checked(line, item)


def _csv(file: IO[bytes]) -> Iterator[Record]:
    """The first line names the columns; commas, semicolons or tabs between them."""
    csv.field_size_limit(1 << 30)
    content = b"\n".join(line for _, line in _lines(file))
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        yield Record(line, None, f"not UTF-8 (byte 0x{content[error.start]:02x}); save the table as UTF-8")
        return
    head = text.lstrip("\n").partition("\n")[0]
    cells = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    columns: list[str] = []
    while True:
        line = cells.line_num + 1
        try:
            row = next(cells, None)
        except csv.Error as error:
            yield Record(line, None, f"not valid CSV ({error}); what follows is not read")
            return
        if row is None:
            return
        if not columns:
            columns = row
        elif row and len(row) != len(columns):
            yield Record(line, None, f"it has {len(row)} columns, the first line names {len(columns)}")
        elif row:
            yield _checked(line, dict(zip(columns, row, strict=True)))


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(1024):
            for value in batch.to_pylist():
                number += 1
                yield _checked(number, value)
    except pyarrow.ArrowException as error:
        raise ConfigError(f"{path}: not a Parquet file that can be read ({error}); write it again") from None
