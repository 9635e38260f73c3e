"""Rows on disk that are brought together by an equal key, with memory that does not grow with their number.

Rows go into files by the top bits of their key. Equal keys lie in one file, so each file is sorted alone, and a file
that is larger than what may be held is read in slices of its keys. That is the partitioned sort behind all searches for
duplicates here.
"""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tenet.errors import StageError

Rows = npt.NDArray[Any]
#: Files that one set of rows is spread over, a power of two: 64 open files are within every system's limit.
PARTS = 64
#: Bytes in memory for each byte of a slice while it is sorted: the rows, their keys twice, and what repeats.
SORTING = 4
#: Rows read at once while a file is looked through.
CHUNK = 1 << 18


class Partitioned:
    """Rows of one dtype, spread over files by their key.

    Args:
        folder: where the files lie; made here, deleted by `close`.
        dtype: of a row; the field `key` is a uint64 whose top bits are spread evenly.
    """

    def __init__(self, folder: Path, dtype: npt.DTypeLike) -> None:
        self.folder, self.dtype = folder, np.dtype(dtype)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        #: Opened when the first row comes: a small set has few.
        self._files: dict[int, BinaryIO] = {}
        self.rows = 0

    def _path(self, part: int) -> Path:
        return self.folder / f"{part:02}"

    def add(self, rows: Rows) -> None:
        """Append rows.

        Raises:
            StageError: the disk is full.
        """
        parts = (rows["key"] >> np.uint64(64 - PARTS.bit_length() + 1)).astype(np.uint8)
        order = np.argsort(parts, kind="stable")
        edges = np.searchsorted(parts[order], np.arange(PARTS + 1))
        ordered = rows[order]
        try:
            for part in np.flatnonzero(np.diff(edges)).tolist():
                if part not in self._files:
                    self._files[part] = open(self._path(part), "wb")  # noqa: SIM115, closed by close()
                self._files[part].write(ordered[edges[part] : edges[part + 1]].tobytes())
        except OSError as error:
            raise StageError(f"{self.folder}: {error.strerror}; free space and run again") from error
        self.rows += len(rows)

    def slices(self, memory: int) -> Iterator[Rows]:
        """All rows, in slices of ascending keys that take at most about `memory` bytes while they are sorted; rows of
        one key are never parted."""
        most = max(1, memory // (SORTING * self.dtype.itemsize))
        for part in sorted(self._files):
            self._files[part].flush()
            path = self._path(part)
            count = path.stat().st_size // self.dtype.itemsize
            if count <= most:
                yield np.fromfile(path, dtype=self.dtype)
                continue
            pieces = -(-count // most)
            low, width = part << 58, 1 << 58
            bounds = [low + width * i // pieces for i in range(pieces + 1)]
            for begin, end in pairwise(bounds):
                found = [rows[_between(rows["key"], begin, end)] for rows in _chunks(path, self.dtype)]
                yield np.concatenate(found)

    def repeated(self, memory: int) -> Iterator[Rows]:
        """Rows whose key occurs more than once, by key, those of one key in the order in which they came."""
        for rows in self.slices(memory):
            keys = np.sort(rows["key"])
            twice = keys[1:][keys[1:] == keys[:-1]]
            if not len(twice):
                continue
            at = np.searchsorted(twice, rows["key"]).clip(max=len(twice) - 1)
            again = rows[twice[at] == rows["key"]]
            yield again[np.argsort(again["key"], kind="stable")]

    def close(self) -> None:
        """Delete the files."""
        for file in self._files.values():
            file.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _between(keys: Rows, begin: int, end: int) -> npt.NDArray[np.bool_]:
    result: npt.NDArray[np.bool_] = (keys >= np.uint64(begin)) & (keys <= np.uint64(end - 1))
    return result


def _chunks(path: Path, dtype: np.dtype[Any]) -> Iterator[Rows]:
    with open(path, "rb") as file:
        while len(rows := np.fromfile(file, dtype=dtype, count=CHUNK)):
            yield rows


def group_starts(keys: Rows) -> npt.NDArray[np.int64]:
    """Where each run of equal keys begins."""
    if not len(keys):
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))


class Column:
    """An array of fixed-size rows in a file, written row by row and read anywhere: held in memory where it fits, mapped
    where it does not. Mapped pages are given back every so often, so that they do not count for ever.

    Args:
        path: of the file.
        dtype, width: of a row.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike, width: int = 1) -> None:
        self.path, self.dtype, self.width = path, np.dtype(dtype), width
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "wb")  # noqa: SIM115, closed by open() and close()
        self._touched = self._often = 0
        self.array: Rows = np.zeros(0, dtype=self.dtype)

    def add(self, rows: Rows) -> None:
        """Append.

        Raises:
            StageError: the disk is full.
        """
        try:
            self._file.write(np.ascontiguousarray(rows, dtype=self.dtype).tobytes())
        except OSError as error:
            raise StageError(f"{self.path}: {error.strerror}; free space and run again") from error

    def open(self, memory: int) -> Rows:
        """The array for reading and writing, of shape (rows, width) or (rows,); `memory`: most bytes to hold."""
        self._file.close()
        size = self.path.stat().st_size
        if not size:
            self.array = np.zeros(0, dtype=self.dtype)
        elif size <= memory:
            self.array = np.fromfile(self.path, dtype=self.dtype)
        else:
            self.array = np.memmap(self.path, dtype=self.dtype, mode="r+")
            # A fault brings up to 16 pages; at most half of the memory's worth of faults between two clean-ups.
            self._often = max(1, memory // 2 // (16 * mmap.PAGESIZE))
        if self.width > 1:
            self.array = self.array.reshape(-1, self.width)
        return self.array

    def touch(self, count: int) -> None:
        """Say that about `count` places were looked at."""
        self._touched += count
        if self._often and self._touched >= self._often:
            self._touched = 0
            base = self.array if isinstance(self.array, np.memmap) else self.array.base
            mapped = getattr(base, "_mmap", None)
            if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)  # a shared mapping of a file: nothing written is lost

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
        self.array = np.zeros(0, dtype=self.dtype)
        self.path.unlink(missing_ok=True)
