"""One reader for everything that a setting names as data: a file or a public data set becomes a table of rows of one
kind.

    table = read_table("pairs.jsonl.gz", "preferences")
    table.rows, table.format, table.refused

What cannot be used is counted by file and line; where that is more than a stated share, the table is an error that
shows the first of them. A name that looks like a path is never looked for on a hub, and no other data set takes the
place of one that cannot be had.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError
from tenet.files import sha256
from tenet.rows.conversations import conversation_rows
from tenet.rows.kinds import KINDS, Kind, Row
from tenet.rows.locate import data_files, hub_records, not_read
from tenet.rows.messages import Unusable, from_json
from tenet.rows.preferences import preference_rows
from tenet.rows.prompts import document_rows, prompt_rows
from tenet.rows.ratings import rating_rows
from tenet.rows.records import Record, records
from tenet.verifiers import Verifier, function_place, registry

_Maker = Callable[[Row, "Counter[str]", Path | None], tuple[str, list[Row]]]


@dataclass(frozen=True)
class Refused:
    """A record that makes no row."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass(frozen=True)
class Table:
    """Rows of one kind from one source.

    Args:
        name: as the setting gives it.
        format: the shape that was seen; several with their counts.
        sha256: of the file, or of all their hashes; "" on the hub.
        refused: in the order of the file.
        licences: rows by licence; "" is one that nobody stated.
        unused: what was read and has no meaning here, by name (a key of a turn, a turn after the last answer).
    """

    rows: list[Row]
    name: str
    format: str
    sha256: str
    refused: list[Refused] = field(default_factory=list)
    licences: dict[str, int] = field(default_factory=dict)
    unused: dict[str, int] = field(default_factory=dict)

    @property
    def refused_share(self) -> float:
        """Of the records, those that made no row."""
        return len(self.refused) / max(1, len(self.refused) + len(self.rows))


def read_table(
    data: str,
    kind: Kind,
    *,
    most_refused: float = 0.05,
    verifiers: Mapping[str, Verifier] | None = None,
    functions: Path | None = None,
) -> Table:
    """Read a file (.jsonl .json .csv .parquet, each also .gz or .zst), a folder of such files, or a public data set
    ("owner/name", "owner/name:split").

    Args:
        most_refused: more than this share of records that make no row is an error.
        verifiers: kinds that a domain adds to those of tenet/verifiers, for prompts.
        functions: folder of the files that `python:` verifiers name; the one that the data lies in when left out.

    Raises:
        ConfigError: names the data, what is wrong with it, and the way out.
    """
    paths = data_files(data)
    if paths is None:
        return _table(data, kind, [(data, None, hub_records(data))], "", most_refused, verifiers)
    table = read_files(data, paths, kind, most_refused=most_refused, verifiers=verifiers, functions=functions)
    return replace(table, unused={**table.unused, **not_read(data)})


def read_files(
    name: str,
    paths: Sequence[Path],
    kind: Kind,
    *,
    most_refused: float = 0.05,
    verifiers: Mapping[str, Verifier] | None = None,
    functions: Path | None = None,
) -> Table:
    """Files as one table, each in the shape that it has: one file, a folder of them, a local copy of a public data
    set."""
    hashes = [sha256(path) for path in paths]
    digest = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    parts = [(str(path), functions or path.parent, records(path)) for path in paths]
    return _table(name, kind, parts, digest, most_refused, verifiers)


def function_files(data: str) -> list[Path]:
    """Files of code that the `python:` verifiers of prompts name: what an answer is paid depends on them."""
    found = set()
    for path in data_files(data) or ():
        for record in records(path):
            place = function_place(from_json((record.value or {}).get("verifier")))
            if place.endswith(".py"):
                found.add(path.parent / place)
    return sorted(path for path in found if path.is_file())


def guess_kind(data: str, verifiers: Mapping[str, Verifier] | None = None, most: int = 200) -> Kind:
    """A pair where they say which answer is better, a rating where all have one, a prompt where they name a verifier,
    else the kind that most of the first records make rows of.

    Raises:
        ConfigError: they make rows of no kind.
    """
    paths = data_files(data)
    folder = paths[0].parent if paths else None
    read = itertools.chain.from_iterable(map(records, paths)) if paths else hub_records(data)
    looked = list(itertools.islice(read, most))
    first = [record.value for record in looked if record.value]
    if not first:
        found = f"{data}:{looked[0].line}: {looked[0].problem or 'an empty object'}" if looked else f"{data} is empty"
        raise ConfigError(f"{found}; nothing in it can be read")
    made: dict[Kind, int] = {}
    for kind in ("preferences", "ratings", "conversations", "prompts", "documents"):
        made[kind] = sum(_makes(_maker(kind, verifiers), record, folder) for record in first)
    if any(record.get("verifier") for record in first):
        return "prompts"
    if made["ratings"] == len(first):
        return "ratings"
    best: Kind = "preferences" if made["preferences"] else max(made, key=lambda kind: made[kind])
    if not made[best]:
        columns = ", ".join(map(repr, first[0]))
        raise ConfigError(
            f"{data}: its columns ({columns}) make rows of no kind ({', '.join(KINDS)}); say which it should be with --kind"
        )
    return best


def _makes(make: _Maker, record: Row, folder: Path | None) -> bool:
    try:
        make(record, Counter(), folder)
    except Unusable:
        return False
    return True


def _maker(kind: Kind, verifiers: Mapping[str, Verifier] | None) -> _Maker:
    known = registry(verifiers or {})
    makers: dict[Kind, _Maker] = {
        "conversations": lambda record, unused, folder: conversation_rows(record, unused),
        "preferences": lambda record, unused, folder: preference_rows(record, unused),
        "ratings": lambda record, unused, folder: rating_rows(record, unused),
        "prompts": lambda record, unused, folder: prompt_rows(record, unused, known, folder),
        "documents": lambda record, unused, folder: document_rows(record, unused),
    }
    if kind not in makers:
        raise ConfigError(f"kind {kind!r}: there are {', '.join(KINDS)}")
    return makers[kind]


def _table(
    name: str,
    kind: Kind,
    parts: Iterable[tuple[str, Path | None, Iterable[Record]]],
    digest: str,
    most_refused: float,
    verifiers: Mapping[str, Verifier] | None,
) -> Table:
    make = _maker(kind, verifiers)
    rows: list[Row] = []
    refused: list[Refused] = []
    formats: Counter[str] = Counter()
    unused: Counter[str] = Counter()
    for file, folder, items in parts:
        for record in items:
            if record.value is None:
                refused.append(Refused(file, record.line, record.problem))
                continue
            try:
                form, made = make(record.value, unused, folder)
            except Unusable as error:
                refused.append(Refused(file, record.line, str(error)))
                continue
            formats[form] += 1
            unused["NaN or Infinity, read as null"] += record.nulled
            several = len(made) > 1
            rows += [
                _whole(row, record, Path(file).name if folder else file, f".{i}" if several else "")
                for i, row in enumerate(made, 1)
            ]
    licences = Counter(row["licence"] for row in rows)
    shapes = ", ".join(form if len(formats) == 1 else f"{form} ({count})" for form, count in formats.most_common())
    table = Table(rows, name, shapes, digest, refused, dict(licences.most_common()), {k: n for k, n in unused.items() if n})
    _check(table, kind, most_refused)
    return table


def _whole(row: Row, record: Record, file: str, suffix: str) -> Row:
    """The row with where it comes from and with the columns that its kind does not use."""
    given = record.value or {}
    used = {*row.pop("_used"), "license"}
    kept = {key: value for key, value in given.items() if key not in used and key not in row}
    row = {**kept, **row}
    row["id"] = _text(given.get("id")) + suffix if _text(given.get("id")) else f"{file}:{record.line}{suffix}"
    row["source"] = _text(row.get("source")) or file
    row["licence"] = _text(row.get("licence")) or _text(row.get("license")) or _text(given.get("license"))
    row["group"] = _text(given.get("group"))
    if "kind" in row:
        row["kind"] = _text(row["kind"])
    return row


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _check(table: Table, kind: Kind, most_refused: float) -> None:
    first = "; ".join(map(str, table.refused[:3]))
    total = len(table.rows) + len(table.refused)
    if not total:
        raise ConfigError(f"{table.name} is empty; give {kind}")
    if table.refused_share > most_refused:
        raise ConfigError(
            f"{table.name}: {len(table.refused)} of {total} records make no row of {kind} (at most {most_refused:.0%} may): {first}; "
            f"mend them, or see all with `tenet data check {table.name} --kind {kind}`"
        )
