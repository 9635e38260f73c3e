"""Where text comes from: a table of kinds of source and their readers, which all give the same plain document.

A reader takes `rank` and `world` and yields its share, so that the same corpus comes out of one process or of a
thousand. A domain adds its own kinds with `register`; this room imports no domain.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenet.corpus.documents import Document
from tenet.corpus.readers import cpython, huggingface, local_files
from tenet.corpus.readers.local_files import FileNote
from tenet.errors import ConfigError
from tenet.settings.corpus import SourceConfig

#: Kind of the note that says where reading stopped because the source's `max_bytes` were there.
LIMIT = "limit"
Read = Callable[..., Iterable[Any]]
Check = Callable[[SourceConfig], None]


@dataclass(frozen=True)
class Reader:
    """One kind of source.

    Args:
        documents: (source, rank, world) -> documents of one share; it may also take `label` and `most_refused` and
            yield notes on files.
        check: raises ConfigError for a source that cannot be read.
    """

    documents: Read
    check: Check = lambda source: None


READERS: dict[str, Reader] = {
    "cpython": Reader(cpython.documents, cpython.check_source),
    "folder": Reader(local_files.documents, local_files.check_source),
    "huggingface": Reader(huggingface.documents, huggingface.check_source),
}


@dataclass(frozen=True)
class Opened:
    """A source with its reader and its name in ids; it travels to the workers, which know nothing of what was
    registered here."""

    source: SourceConfig
    read: Read
    label: str
    most_refused: float = 0.05

    def bytes(self) -> int:
        """Bytes on disk that are to be read, 0 where that is not known."""
        if self.source.kind != "folder" or self.source.max_bytes != "all":
            return 0
        return sum(path.stat().st_size for path in local_files.files_of(local_files.root_of(self.source))[0] if path.exists())

    def items(self, rank: int = 0, world: int = 1) -> Iterator[Document | FileNote]:
        """Documents and notes of a share.

        A source with `max_bytes` is read by the first task alone: a limit that was divided would stop early in uneven
        shares.
        """
        known = inspect.signature(self.read).parameters
        more = {key: getattr(self, key) for key in ("label", "most_refused") if key in known}
        if self.source.max_bytes == "all":
            yield from self.read(self.source, rank, world, **more)
        elif rank == 0:
            yield from _limited(self.read(self.source, 0, 1, **more), int(self.source.max_bytes), self.label or self.source.kind)


def register(kind: str, read: Read, check: Check | None = None) -> None:
    """Add a kind of source, or replace one."""
    READERS[kind] = Reader(read, check) if check is not None else Reader(read)


def reader_of(source: SourceConfig) -> Reader:
    """The reader of a source.

    Raises:
        ConfigError: there is no such kind.
    """
    if source.kind not in READERS:
        raise ConfigError(
            f"corpus.sources kind {source.kind!r}: there are {', '.join(sorted(READERS))} (a domain may bring more)"
        )
    return READERS[source.kind]


def check_source(source: SourceConfig) -> None:
    """Refuse a source that cannot be read, before anything starts.

    Raises:
        ConfigError: names the key, the value and the way out.
    """
    if source.max_bytes != "all" and int(source.max_bytes) <= 0:
        raise ConfigError(
            f"corpus.sources {source.name or source.kind}: max_bytes is {source.max_bytes}, which takes nothing; `all` takes all"
        )
    reader_of(source).check(source)


def opened(wanted: Sequence[SourceConfig], most_refused: float = 0.05) -> list[Opened]:
    """The sources with their readers, each under a name of its own: two folders `texts` are `texts` and `texts-2`."""
    found: list[Opened] = []
    for source in wanted:
        label = Path(source.name).expanduser().resolve().name if source.kind == "folder" else source.name
        taken = {other.label for other in found}
        number = next(n for n in range(1, len(found) + 2) if (label if n == 1 else f"{label}-{n}") not in taken)
        label = label if number == 1 or source.kind not in ("folder", "huggingface") else f"{label}-{number}"
        found.append(Opened(source, reader_of(source).documents, label, most_refused))
    return found


def read(source: SourceConfig, rank: int = 0, world: int = 1) -> Iterator[Document]:
    """The documents of one source that belong to one of `world` tasks."""
    for item in opened([source])[0].items(rank, world):
        if not isinstance(item, FileNote):
            yield item


def preview(wanted: Sequence[SourceConfig]) -> list[str]:
    """What a dry run shows: each source opened, its files counted, and the beginning of its first document.

    Raises:
        ConfigError: a source cannot be read.
    """
    lines = []
    for source, one in zip(wanted, opened(wanted), strict=True):
        check_source(source)
        lines.append(f"source {source.kind} {source.name}".rstrip() + _counted(source))
        first = next((item for item in one.items() if not isinstance(item, FileNote)), None)
        if first is None:
            lines.append("    no document")
            continue
        text = " ".join(first["text"].split())
        lines.append(f"    {first['id']} ({first['metadata']['licence']}): {text[:160]}{' ...' if len(text) > 160 else ''}")
    return lines


def _counted(source: SourceConfig) -> str:
    """Files of a folder by what their names say."""
    if source.kind != "folder":
        return ""
    root = local_files.root_of(source)
    files, notes = local_files.files_of(root)
    kinds: dict[str, int] = {}
    for path in files:
        try:
            kind = local_files.kind_of(path, path == root)
        except local_files.NotRead as error:
            kind = f"not read: {error}"
        kinds[kind] = kinds.get(kind, 0) + 1
    for note in notes:
        kinds[f"not read: {note.reason}"] = kinds.get(f"not read: {note.reason}", 0) + 1
    return ": " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _limited(items: Iterable[Document | FileNote], most: int, label: str) -> Iterator[Document | FileNote]:
    left = most
    for item in items:
        if not isinstance(item, FileNote):
            left -= len(item["text"].encode())
            if left < 0:
                yield FileNote(label, kind=LIMIT)
                return
        yield item
