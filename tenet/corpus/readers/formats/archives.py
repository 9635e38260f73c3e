"""Packed files and archives: their bytes, and their members as if they lay in a folder, within bounds that are set
here."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tenet.corpus.readers.decoding import NotRead

#: One file may not be larger than this where it must be held whole, unpacked.
LARGEST = 2_000_000_000
#: What the members of one archive may unpack to together, and how many there may be: the guard against bombs.
MOST_UNPACKED = 50_000_000_000
MOST_MEMBERS = 2_000_000
#: Most bytes that a byte of an archive may become, behind the first megabytes. Text packs to a fifth, a bomb to a
#: thousandth.
MOST_RATIO = 200
_FREE = 100_000_000
#: Suffixes of packers, and of archives.
PACKED = (".gz", ".bz2", ".xz", ".zst")
ZIPS = (".zip",)
TARS = (".tar", ".tgz", ".tbz2", ".txz", ".tzst")
#: What unpacking raises on broken input.
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile)


def _zst(file: Any, mode: str = "rb") -> IO[bytes]:
    """Zstandard by pyarrow, which reads several frames and says when the end is missing."""
    import pyarrow as pa

    source = str(file) if isinstance(file, Path) else file
    found: IO[bytes] = io.BufferedReader(pa.CompressedInputStream(source, "zstd"))  # type: ignore[arg-type]
    return found


_OPENERS: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ", lzma.open),
    (b"\x28\xb5\x2f\xfd", _zst),
)


@dataclass(frozen=True)
class Member:
    """A file of an archive: its path in it, and its bytes (or why there are none)."""

    name: str
    data: bytes = b""
    reason: str = ""


def open_file(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked where its first bytes say that it is packed."""
    with open(path, "rb") as file:
        head = file.read(6)
    opener: Callable[..., Any] = next((opener for magic, opener in _OPENERS if head.startswith(magic)), open)
    found: IO[bytes] = opener(path, "rb")
    return found


def open_bytes(data: bytes) -> IO[bytes]:
    """The same for bytes in memory."""
    opener = next((opener for magic, opener in _OPENERS if data.startswith(magic)), None)
    return io.BufferedReader(io.BytesIO(data)) if opener is None else opener(io.BytesIO(data), "rb")  # type: ignore[arg-type]


def open_records(place: Path | bytes) -> IO[bytes]:
    """A web archive as fastwarc wants it: packed where it unpacks it itself."""
    head = place[:6] if isinstance(place, bytes) else b""
    if isinstance(place, Path):
        with open(place, "rb") as file:
            head = file.read(6)
    if head.startswith((b"BZh", b"\xfd7zXZ")):
        return open_file(place) if isinstance(place, Path) else open_bytes(place)
    return open(place, "rb") if isinstance(place, Path) else io.BytesIO(place)


def read_whole(file: IO[bytes]) -> bytes:
    """All bytes of a file.

    Raises:
        NotRead: there are more than `LARGEST`.
    """
    data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise NotRead(f"larger than {LARGEST:,} bytes; split it, or make JSON lines of it")
    return data


def is_archive(suffixes: list[str]) -> bool:
    """Whether a file's suffixes (lower case) are those of an archive."""
    bare = [suffix for suffix in suffixes if suffix not in PACKED]
    return bool(suffixes) and (suffixes[-1] in (*ZIPS, *TARS) or (suffixes[-1] in PACKED and bare[-1:] == [".tar"]))


def members(path: Path, wanted: Callable[[str], str]) -> Iterator[Member]:
    """The files of an archive, in its order.

    Args:
        path: a zip, or a tar packed by whatever packs.
        wanted: name -> why a member is not to be unpacked, or "".

    Raises:
        NotRead: it is broken or is a bomb; members that came before are good.
    """
    budget = _Budget(path.stat().st_size)
    try:
        if zipfile.is_zipfile(path):
            yield from _zip(path, wanted, budget)
        else:
            yield from _tar(path, wanted, budget)
    except (RuntimeError, NotImplementedError, *BROKEN) as error:
        raise NotRead(f"archive cannot be read on ({error or type(error).__name__})") from None


class _Budget:
    """Bytes that may still be unpacked."""

    def __init__(self, packed: int) -> None:
        self.left = min(MOST_UNPACKED, max(_FREE, MOST_RATIO * packed))
        self.members = 0

    def take(self, file: IO[bytes]) -> bytes:
        """Bytes of a member.

        Raises:
            NotRead: they are more than are left: the archive is a bomb.
        """
        self.members += 1
        data = file.read(min(self.left, LARGEST) + 1)
        self.left -= len(data)
        if self.left < 0 or self.members > MOST_MEMBERS:
            raise NotRead("archive unpacks to more than it may (a bomb, or pack it in several)")
        return data


def _zip(path: Path, wanted: Callable[[str], str], budget: _Budget) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            reason = wanted(info.filename) or ("encrypted" if info.flag_bits & 1 else "")
            if reason:
                yield Member(info.filename, reason=reason)
                continue
            try:
                with archive.open(info) as file:
                    data = budget.take(file)
            except (RuntimeError, NotImplementedError, *BROKEN) as error:
                yield Member(info.filename, reason=f"cannot be unpacked ({error or type(error).__name__})")
                continue
            yield _member(info.filename, data)


def _tar(path: Path, wanted: Callable[[str], str], budget: _Budget) -> Iterator[Member]:
    with open_file(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
        for info in archive:
            if info.isdir():
                continue
            reason = wanted(info.name) or ("" if info.isfile() else "link or device")
            file = archive.extractfile(info) if not reason else None
            yield Member(info.name, reason=reason) if file is None else _member(info.name, budget.take(file))


def _member(name: str, data: bytes) -> Member:
    return Member(name, data) if len(data) <= LARGEST else Member(name, reason=f"larger than {LARGEST:,} bytes")
