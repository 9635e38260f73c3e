"""Where the data that a setting names lies: a file of this machine, or a public data set.

A name that looks like a path is never looked for on a hub: a typing error must not become a download, nor another data
set.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tenet.errors import ConfigError
from tenet.rows.records import PACKED, SUFFIXES, Record, readable

#: How a data set on the hub is named, with its split where that is not `train`.
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?")


def data_files(data: str) -> list[Path] | None:
    """The files that a setting names (one, or those of a folder in the order of their names), or None for a data set on
    the hub.

    Raises:
        ConfigError: a folder without such files, a path with nothing there, or a name that is neither.
    """
    path = Path(data).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        inside = sorted(item for item in path.iterdir() if item.is_file() and readable(item) and item.name[0] not in "._")
        if not inside:
            raise ConfigError(
                f"{data}: the folder holds no file of rows ({', '.join(SUFFIXES)}, each also {' or '.join(PACKED)})"
            )
        return inside
    if _HUB.fullmatch(data) and not _looks_like_path(data):
        return None
    near = _nearest(path)
    raise ConfigError(
        f"{data}: no such file" + (f"; did you mean {near}?" if near else "; give a file or a data set as owner/name")
    )


def not_read(data: str) -> dict[str, int]:
    """Files of a folder of rows that are none, by kind: named, since whoever put them there may miss them."""
    path = Path(data).expanduser()
    others = [item for item in path.iterdir() if item.name[0] not in "._" and not readable(item)] if path.is_dir() else []
    found = Counter("folders" if item.is_dir() else item.suffix or "without an ending" for item in others)
    return {f"files not read ({kind})" if kind != "folders" else "folders not read": count for kind, count in found.items()}


def _looks_like_path(data: str) -> bool:
    name = data.lower()
    return name.endswith((*SUFFIXES, *PACKED, ".txt", ".tsv", ".yaml", ".zip")) or data[0] in "./~" or Path(data).parent.is_dir()


def _nearest(path: Path) -> str:
    """The name in the same folder that is most like the one that was typed."""
    folder = path.parent
    if not folder.is_dir():
        return ""
    names = [item.name for item in folder.iterdir() if item.is_file() and readable(item)]
    close = difflib.get_close_matches(path.name, names, 1)
    return str(folder / close[0]) if close else ""


def hub_records(data: str) -> Iterator[Record]:
    """Records of a public data set, read as they come.

    Raises:
        ConfigError: the package is missing, or the hub cannot be reached.
    """
    name, _, split = data.partition(":")
    try:
        from datasets import load_dataset
    except ImportError:
        raise ConfigError(
            f"data set {data!r} needs the package `datasets` (pip install datasets) and the hub; or give a local file"
        ) from None
    try:
        for number, value in enumerate(load_dataset(name, split=split or "train", streaming=True), 1):
            yield Record(number, dict(value))
    except Exception as error:  # the hub's client raises many kinds of network error
        raise ConfigError(
            f"data set {data!r} could not be read from the hub ({type(error).__name__}: {error}); check name and split, or give a local file"
        ) from error
