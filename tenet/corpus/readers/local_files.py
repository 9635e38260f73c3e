"""The source kind `folder`: a file, or a folder with all below it. Every file is looked at by its content as well as by
its name; what is not read is named with the reason.

Text, Markdown and reStructuredText as they are, pages (HTML), books (EPUB), PDF, Word, LaTeX, articles in XML, notebooks,
Python modules (docstrings), source code, web archives, and tables with a text column (JSON lines, JSON, CSV, Parquet,
Arrow); each also packed with gzip, bzip2, xz or zstd, and inside zip and tar archives. Files are read in the order of
their paths.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tenet.corpus.documents import Document, piece_size
from tenet.corpus.readers.decoding import NotRead
from tenet.corpus.readers.file_text import Reading, file_documents
from tenet.corpus.readers.filenotes import FileNote
from tenet.corpus.readers.formats.archives import BROKEN, Member, members, open_bytes, open_file, open_records
from tenet.corpus.readers.formats.licence_files import HEAD, Licences, is_licence_file
from tenet.corpus.readers.suffixes import ARCHIVE, RECORDS, kind_of, readable
from tenet.errors import ConfigError
from tenet.settings.corpus import SourceConfig

__all__ = ["FileNote", "NotRead", "check_source", "documents", "files_of", "kind_of", "root_of"]

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


def check_source(source: SourceConfig) -> None:
    """Look at every file's name, and open files until one can be read.

    Raises:
        ConfigError: nothing there can be read; counts why.
    """
    root = root_of(source)
    files, notes = files_of(root)
    reasons: dict[str, int] = {}
    reading = Reading(source, "", piece_size(0))
    for path in files:
        for item in _of_path(path, path.name, path == root, reading):
            if not isinstance(item, FileNote):
                return
            reason = item.reason or (item.rows[0][1] if item.refused else "")
            if not reason and item.kind != ARCHIVE:
                return
            if reason:
                reasons[reason] = reasons.get(reason, 0) + 1
    for note in notes:
        reasons[note.reason] = reasons.get(note.reason, 0) + 1
    counted = "; ".join(f"{count} x {reason}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1])[:6])
    raise ConfigError(
        f"corpus.sources name {source.name!r}: no files to read there ({counted or 'it is empty'}); kinds that can be read are "
        f"{readable()}"
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
        most_refused: largest share of a table's rows that may be refused.
    """
    root = root_of(source)
    files, notes = files_of(root)
    origin = label or root.name
    piece = piece_size(sum(path.stat().st_size for path in files if path.exists()))
    licences = Licences(lambda folder: _licence_in(root / folder if root.is_dir() else root.parent))
    reading = Reading(source, origin, piece, most_refused, licences.nearest)
    if rank == 0:
        for note in notes:
            note.file = f"{origin}/{note.file}"
            yield note
    for path in files[rank::world]:
        yield from _of_path(path, path.relative_to(root).as_posix() if path != root else path.name, path == root, reading)


def _licence_in(folder: Path) -> str:
    """Text of the licence file of a folder, the first by name."""
    try:
        found = sorted(path for path in folder.iterdir() if is_licence_file(path.name) and path.is_file())
        return found[0].read_bytes()[:HEAD].decode("utf-8", "replace") if found else ""
    except OSError:
        return ""


def _of_path(path: Path, name: str, named: bool, reading: Reading) -> Iterator[Document | FileNote]:
    note = FileNote(f"{reading.origin}/{name}")
    try:
        note.bytes = path.stat().st_size
        note.kind = kind_of(path, named)
        if note.kind == ARCHIVE:
            for item in _of_archive(path, name, reading):
                note.documents += not isinstance(item, FileNote)
                yield item
        else:
            with open_records(path) if note.kind == RECORDS else open_file(path) as file:
                for document in file_documents(file, name, note, reading, str(path)):
                    note.documents += 1
                    yield document
    except NotRead as error:
        note.kind, note.reason = "", str(error)
    except BROKEN as error:
        why = getattr(error, "strerror", None) or error or type(error).__name__
        note.kind, note.reason = "", f"cannot be opened ({why})"
    yield note


def _of_archive(path: Path, name: str, reading: Reading) -> Iterator[Document | FileNote]:
    """Every member as a file of its own, `archive.zip!/path`, with the licence files of the archive itself."""
    found: dict[str, str] = {}
    licences = Licences(lambda folder: found.get(folder, ""))
    inside = Reading(reading.source, reading.origin, reading.piece, reading.most_refused, licences.nearest)
    for member in members(path, _not_wanted):
        folder, _, file = member.name.rpartition("/")
        if is_licence_file(file):
            found[f"{name}!/{folder}".rstrip("/")] = member.data[:HEAD].decode("utf-8", "replace")
            licences.known.clear()
        yield from _of_member(member, f"{name}!/{member.name}", inside, f"{path}!/{member.name}")


def _not_wanted(name: str) -> str:
    """Why a member is not even unpacked, or ""."""
    path = PurePosixPath(name)
    if any(part.startswith(".") or part == "__MACOSX" for part in path.parts if part != "."):
        return "hidden file"
    if is_licence_file(path.name):
        return ""
    try:
        return "archive inside an archive (unpack it first)" if kind_of(path, named=False) == ARCHIVE else ""
    except NotRead as error:
        return str(error)


def _of_member(member: Member, name: str, reading: Reading, place: str) -> Iterator[Document | FileNote]:
    note = FileNote(f"{reading.origin}/{name}")
    try:
        if member.reason:
            raise NotRead(member.reason)
        note.kind = kind_of(PurePosixPath(member.name), named=False)
        with open_records(member.data) if note.kind == RECORDS else open_bytes(member.data) as file:
            for document in file_documents(file, name, note, reading, place):
                note.documents += 1
                yield document
    except NotRead as error:
        note.kind, note.reason = "", str(error)
    except BROKEN as error:
        note.kind, note.reason = "", f"cannot be opened ({error or type(error).__name__})"
    yield note
