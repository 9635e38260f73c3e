"""Exact duplicates of a corpus of any size: texts with the same letters and digits in the same order.

A text is known by 16 bytes. They go to disk, 20 bytes a document with its number, and are brought together by a
partitioned sort, so that memory does not grow with their number. The chance that any two of 10^9 different texts have
the same 16 bytes is 10^-21.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tenet.corpus.dedup.budget import Plan, check_memory
from tenet.corpus.dedup.spill import Partitioned, group_starts

DIGEST = 16
_ROW = np.dtype([("key", "<u8"), ("rest", "<u8"), ("text", "<u4")])
_WORD = re.compile(r"\w+")
_BATCH = 1 << 14


def digest(text: str) -> bytes:
    """16 bytes of a text in lower case, each run of anything but letters and digits as one blank."""
    return digest_of(_WORD.findall(text.lower()))


def digest_of(words: list[str]) -> bytes:
    """`digest` of the text in which `\\w+` found these words in small letters."""
    return hashlib.blake2b(" ".join(words).encode(), digest_size=DIGEST).digest()


class ExactDuplicates:
    """Digests go in by `add`, in the order of their texts; `twins` says which of them came before.

    Args:
        folder: scratch; made here, deleted by `close`.
        memory: most bytes to hold beside what the process has already; what `twins` returns comes on top.

    Raises:
        ConfigError: `memory` is too small for anything.
    """

    def __init__(self, folder: Path, memory: int) -> None:
        check_memory(memory)
        self.memory = memory
        self._rows = Partitioned(folder, _ROW)
        self._batch: list[bytes] = []
        self._count = 0

    def add(self, one: bytes) -> None:
        """The digest of the next text."""
        self._batch.append(one)
        if len(self._batch) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        rows = np.empty(len(self._batch), dtype=_ROW)
        halves = np.frombuffer(b"".join(self._batch), dtype="<u8").reshape(-1, 2)
        rows["key"], rows["rest"] = halves[:, 0], halves[:, 1]
        rows["text"] = np.arange(self._count, self._count + len(rows))
        self._rows.add(rows)
        self._count += len(rows)
        self._batch = []

    def twins(self) -> npt.NDArray[np.int64]:
        """For each text the number of the first one that is the same, or -1."""
        self._flush()
        found = np.full(self._count, -1, dtype=np.int64)
        for rows in self._rows.repeated(self.memory):
            rows = rows[np.lexsort((rows["text"], rows["rest"], rows["key"]))]
            begins = group_starts(np.stack((rows["key"], rows["rest"]), axis=1).view("V16").ravel())
            first = np.repeat(rows["text"][begins], np.diff(np.append(begins, len(rows))))
            later = first != rows["text"]
            found[rows["text"][later]] = first[later]
        return found

    def close(self) -> None:
        """Delete the scratch folder."""
        self._rows.close()


def exact_duplicates(texts: Iterable[str], folder: Path, memory: int) -> npt.NDArray[np.int64]:
    """`ExactDuplicates` for texts that are at hand: for each the number of the first one that is the same, or -1."""
    search = ExactDuplicates(folder, memory)
    try:
        for text in texts:
            search.add(digest(text))
        return search.twins()
    finally:
        search.close()


def plan(documents: int, size: int, memory: int) -> Plan:
    """What the search takes, before anything is read; see `near.plan`."""
    return Plan("exact duplicates", documents, size, memory + 8 * documents, _ROW.itemsize * documents)
