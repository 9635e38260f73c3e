"""Rows that people hand over in plain files, which of them are meant, and which side each one is held out to.

Prompts of a constitution and goals of a red team come from here: text (one entry a line), JSON Lines, JSON, CSV, each
also as `.gz`.
"""

from __future__ import annotations

import csv
import functools
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError

Row = dict[str, Any]
SPLITS = ("train", "test")
#: Held out where the file does not say which rows are: enough to measure on, most of it left to train on.
HELDOUT = 0.3
KINDS = (".txt", ".jsonl", ".json", ".csv")


def read_rows(path: Path, text: str = "prompt") -> list[Row]:
    """The rows of a file.

    Args:
        text: the key under which a line of text, or a plain string in JSON, is handed over.

    Raises:
        ConfigError: no such file, of another kind, empty or broken; names file and line.
    """
    kind = "".join(path.suffixes[-2:]).removesuffix(".gz").lower()
    kind = kind[kind.rfind(".") :] if "." in kind else kind
    if kind not in KINDS:
        raise ConfigError(f"{path}: ends in {kind or 'nothing'}; kinds that can be read are {', '.join(KINDS)}, each also as .gz")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: {(error.strerror or 'cannot be read').lower()}; give the path of a file that exists"
        ) from None
    try:
        content = (gzip.decompress(raw) if path.suffix.lower() == ".gz" else raw).decode("utf-8-sig")
    except (UnicodeDecodeError, OSError, EOFError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error}); save it as UTF-8") from None
    rows = [value if isinstance(value, dict) else {text: value} for value in _values(path, kind, content)]
    if not rows:
        raise ConfigError(f"{path}: holds no rows; write one {text} a line")
    return rows


def _values(path: Path, kind: str, content: str) -> list[Any]:
    if kind == ".txt":
        return [line.strip() for line in content.splitlines() if line.strip()]
    if kind == ".csv":
        return [dict(row) for row in csv.DictReader(io.StringIO(content, newline=""))]
    # Not splitlines: U+2028 inside a text ends no line of JSON.
    pieces = [(1, content)] if kind == ".json" else list(enumerate(content.split("\n"), 1))
    values: list[Any] = []
    for number, piece in pieces:
        if not piece.strip():
            continue
        try:
            value = json.loads(piece)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path}:{number}: not valid JSON ({error.msg}); mend the line") from None
        values += value if kind == ".json" and isinstance(value, list) else [value]
    for number, value in enumerate(values, 1):
        if not isinstance(value, (str, dict)):
            raise ConfigError(f"{path}: row {number} is {value!r}; a row is a text or an object with named values")
    return values


def split_of(keys: Sequence[str], share: float = HELDOUT) -> dict[str, str]:
    """Which of these texts are held out: the share with the smallest hash, at least one and never all.

    Raises:
        ConfigError: fewer than two of them; one cannot be trained on and held out.
    """
    unique = sorted(set(keys), key=lambda key: hashlib.sha256(f"tenet held out {key}".encode()).digest())
    if len(unique) < 2:
        raise ConfigError("there is only one, which cannot be both trained on and held out; give at least two")
    held = min(max(1, round(share * len(unique))), len(unique) - 1)
    return {key: "test" if place < held else "train" for place, key in enumerate(unique)}


def of_split(rows: Sequence[Row], split: str, by: str = "") -> list[Row]:
    """Rows of a split: as their column `split` says, else by hash of the column `by` (rows that share it stay together)
    or of the row.

    Raises:
        ConfigError: a row names another split, or only one group is there.
    """
    for number, row in enumerate(rows, 1):
        if row.get("split") not in (None, "", *SPLITS):
            raise ConfigError(f"row {number} has split {row['split']!r}; there are {', '.join(SPLITS)}, or leave the column out")
    keys = [str(row.get(by)) if by else json.dumps(row, sort_keys=True, ensure_ascii=False) for row in rows]
    open_keys = [key for row, key in zip(rows, keys, strict=True) if not row.get("split")]
    said = len(open_keys) < len(rows)
    side = dict.fromkeys(open_keys, "train") if said and len(set(open_keys)) < 2 else split_of(open_keys) if open_keys else {}
    return [row for row, key in zip(rows, keys, strict=True) if (row.get("split") or side[key]) == split]


def columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of all columns, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def matching(rows: Sequence[Row], where: str, place: str) -> list[Row]:
    """Rows for which an expression over their columns is true, e.g. `level > 2 and kind == 'recipe'`; "" takes all.

    Args:
        place: file and key, for messages.

    Raises:
        ConfigError: the expression is broken or names a column that a row does not have.
    """
    if not where:
        return list(rows)
    from jinja2 import TemplateError, Undefined

    try:
        test = _expression(where)
        kept = []
        for row in rows:
            value = test(**row)
            if isinstance(value, Undefined):
                str(value)  # complains by name
            if value:
                kept.append(row)
        return kept
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        known = ", ".join(columns(rows)) or "none"
        raise ConfigError(f"{place} is {where!r}, which fails ({error}); columns are {known}") from None


@functools.cache
def _expression(source: str) -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    environment.tests["matching"] = _matches
    return environment.compile_expression(source, undefined_to_none=False)


def _matches(value: object, pattern: str) -> bool:
    """`name is matching '^Delete'`."""
    import re

    return re.search(pattern, str(value)) is not None
