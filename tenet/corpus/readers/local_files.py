"""The source kind `folder`: a file, or a folder with all below it. Every file is looked at by its content as well as by
its name; what is not read is named with the reason.

Text, Markdown and reStructuredText as they are, pages (HTML), notebooks, Python modules (docstrings), JSON lines, JSON
and Parquet with a text column; each also packed with gzip, bzip2 or xz. Files are read in the order of their paths.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from tenet.corpus.documents import Document, document, piece_size, pieces
from tenet.corpus.readers import markup
from tenet.corpus.readers.decoding import HEAD, NotRead, decode, mark_of, refuse_binary
from tenet.corpus.readers.records import Tally, check_refused, json_rows, parquet_rows, row_documents
from tenet.errors import ConfigError
from tenet.settings.corpus import SourceConfig

#: Kind of file -> suffixes, in lower case.
SUFFIXES = {
    "text": (".txt", ".text", ".md", ".markdown", ".rst"),
    "html": (".html", ".htm", ".xhtml"),
    "notebook": (".ipynb",),
    "python": (".py",),
    "json": (".jsonl", ".ndjson", ".json"),
    "parquet": (".parquet",),
}
_KIND_OF = {suffix: kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes}
#: Suffix and first bytes -> opener.
_PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_PACKED_MAGIC: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ", lzma.open),
)
#: One file may not be larger than this where it must be held whole (everything but JSON lines and Parquet).
LARGEST = 2_000_000_000


@dataclass
class FileNote:
    """What became of one file.

    Args:
        file: its path below the source, behind the source's name.
        kind: how it was read; "" for a file that was skipped.
        reason: why it was skipped.
        bytes: its size on disk.
        documents: how many it gave.
        encoding: where it was not UTF-8: what was guessed.
        empty, refused: rows without text, and rows that could not be read.
        rows: number and reason of the first refused ones.
    """

    file: str
    kind: str = ""
    reason: str = ""
    bytes: int = 0
    documents: int = 0
    encoding: str = ""
    empty: int = 0
    refused: int = 0
    rows: list[tuple[int, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


# --- which files there are --------------------------------------------------------------------------------------------


def root_of(source: SourceConfig) -> Path:
    """The folder or file that a source names.

    Raises:
        ConfigError: there is none.
    """
    root = Path(source.name).expanduser()
    if not source.name or not root.exists():
        raise ConfigError(
            f"corpus.sources name {source.name!r}: no such file or folder; give the path of one, or take the source out"
        )
    return root


def files_of(root: Path) -> tuple[list[Path], list[FileNote]]:
    """All files below a root in the order of their paths, and what is passed over without a look (hidden, links to
    folders)."""
    if root.is_file():
        return [root], []
    found, notes = [], []
    for folder, names, files in os.walk(root):
        here = Path(folder)
        for name in sorted(names):
            if name.startswith(".") or name == "__pycache__" or (here / name).is_symlink():
                names.remove(name)
                why = "link to a folder" if (here / name).is_symlink() else "hidden folder"
                notes.append(FileNote(f"{(here / name).relative_to(root).as_posix()}/", reason=why))
        for name in files:
            path = here / name
            if name.startswith("."):
                notes.append(FileNote(path.relative_to(root).as_posix(), reason="hidden file"))
            else:
                found.append(path)
    return sorted(found), notes


def suffix_of(path: Path) -> str:
    """The suffix in lower case, behind those of packers."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def kind_of(path: Path, named: bool) -> str:
    """How a file is read, by its name.

    Args:
        path: the file.
        named: the settings name this very file: then text without a known suffix is read too.

    Raises:
        NotRead: there is no reader.
    """
    suffix = suffix_of(path)
    if suffix in _KIND_OF:
        return _KIND_OF[suffix]
    if named and not suffix:
        return "text"
    raise NotRead(f"no reader for {suffix}" if suffix else "no suffix that says what it is")


def check_source(source: SourceConfig) -> None:
    """Look at every file's name, and open files until one can be read.

    Raises:
        ConfigError: nothing there can be read; counts why.
    """
    root = root_of(source)
    files, notes = files_of(root)
    reasons: dict[str, int] = {}
    for path in files:
        try:
            note = FileNote(path.name)
            next(_of_file(path, path.name, source, note, piece_size(0), named=root.is_file(), origin=""), None)
            if note.reason:
                raise NotRead(note.reason)
            if note.refused:
                raise NotRead(note.rows[0][1])
            return
        except NotRead as error:
            reasons[str(error)] = reasons.get(str(error), 0) + 1
    for note in notes:
        reasons[note.reason] = reasons.get(note.reason, 0) + 1
    counted = "; ".join(f"{count} x {reason}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1])[:6])
    raise ConfigError(
        f"corpus.sources name {source.name!r}: no files to read there ({counted or 'it is empty'}); kinds that can be read are "
        f"{', '.join(s for suffixes in SUFFIXES.values() for s in suffixes)}, each also as .gz, .bz2 or .xz"
    )


# --- reading ----------------------------------------------------------------------------------------------------------


def documents(
    source: SourceConfig, rank: int = 0, world: int = 1, *, label: str = "", most_refused: float = 0.05
) -> Iterator[Document | FileNote]:
    """Documents of each file of this share, and behind them a note of what became of it.

    Args:
        source: what to read.
        rank, world: this share, and how many there are.
        label: name of the source in ids; its last path component when left out.
        most_refused: largest share of a file's rows that may be refused.
    """
    root = root_of(source)
    files, notes = files_of(root)
    origin = label or root.name
    piece = piece_size(sum(path.stat().st_size for path in files if path.exists()))
    if rank == 0:
        for note in notes:
            note.file = f"{origin}/{note.file}"
            yield note
    for path in files[rank::world]:
        name = path.relative_to(root).as_posix() if path != root else path.name
        note = FileNote(f"{origin}/{name}")
        try:
            for item in _of_file(path, name, source, note, piece, named=path == root, origin=origin, most_refused=most_refused):
                note.documents += 1
                yield item
        except NotRead as error:
            note.kind, note.reason = "", str(error)
        yield note


def _of_file(
    path: Path,
    name: str,
    source: SourceConfig,
    note: FileNote,
    piece: int,
    *,
    named: bool,
    origin: str,
    most_refused: float = 1.0,
) -> Iterator[Document]:
    try:
        note.bytes = path.stat().st_size
        kind = note.kind = kind_of(path, named)
        if kind in ("json", "parquet"):
            yield from _table(path, name, source, note, piece, origin, most_refused)
            return
        with _open(path) as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise NotRead(f"larger than {LARGEST:,} bytes; split it, or make JSON lines of it")
        yield from _text(data, name, source, note, piece, origin)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise NotRead(f"cannot be opened ({getattr(error, 'strerror', None) or error or type(error).__name__})") from None


def _text(data: bytes, name: str, source: SourceConfig, note: FileNote, piece: int, origin: str) -> Iterator[Document]:
    if not data.strip():
        raise NotRead("empty")
    refuse_binary(data[:HEAD])
    decoded = decode(data, source.encoding)
    note.encoding, text = decoded.guessed, decoded.text
    if note.kind == "html" or (note.kind == "text" and markup.looks_like_html(text)):
        note.kind, text = "html", markup.html_text(text)
    elif note.kind == "notebook":
        text = markup.notebook_text(text)
    elif note.kind == "python":
        text = markup.docstrings(text, name)
    kind = source.text or ("source" if note.kind == "python" else "prose")
    section = name.rpartition("/")[0]
    for number, part in enumerate(pieces(text, piece), 1):
        yield document(
            part,
            f"{origin}/{name}" + (f"#{number}" if number > 1 else ""),
            origin,
            source.licence or "unknown",
            kind=kind,
            group=f"{origin}/{name}",
            section=section,
            _at=number,
            _file=f"{origin}/{name}",
        )


def _table(
    path: Path, name: str, source: SourceConfig, note: FileNote, piece: int, origin: str, most_refused: float
) -> Iterator[Document]:
    tally = Tally()
    with _open(path) as file:
        head = file.peek(HEAD)[:HEAD]  # type: ignore[attr-defined]
        if head.startswith(b"PAR1") or note.kind == "parquet":
            if not head.startswith(b"PAR1"):
                raise NotRead("not valid Parquet")
            rows = parquet_rows(path, source.column)
        else:
            if not head.strip():
                raise NotRead("empty")
            if not mark_of(head):
                refuse_binary(head)
            rows = json_rows(file, tally)
        try:
            yield from row_documents(rows, name, source, tally, piece, origin)
        finally:
            note.empty, note.refused, note.rows = tally.empty, tally.refused, tally.reasons
    if tally.refused and tally.refused == tally.rows and len({reason for _, reason in tally.reasons}) == 1:
        raise NotRead(tally.reasons[0][1])  # another kind of table: the file is named as one, not row by row
    check_refused(tally, str(path), most_refused)


def _open(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked where its first bytes say that it is packed."""
    with open(path, "rb") as file:
        head = file.read(6)
    opener: Callable[..., Any] = next((opener for magic, opener in _PACKED_MAGIC if head.startswith(magic)), open)
    found: IO[bytes] = opener(path, "rb")
    return found
