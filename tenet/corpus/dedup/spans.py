"""Passages that several documents have (Lee et al., arXiv:2107.06499), at any size.

That paper sorts all suffixes of the corpus. Only repeats of a fixed least length are asked for, though, and then the
hashes of all runs of that many words say the same: a run is a repeat if its hash occurs before. Neighbouring runs make
up a passage. It is sorted by parts on disk (`spill`), takes 16 bytes a word instead of 9 bytes of memory a byte, and a
text that stands there a thousand times costs no more than any other, because each run is only held against its first
occurrence. (Measured beside pydivsufsort: 3.5 MB a CPU second for suffixes and common prefixes.)

The first occurrence in the order of the documents is never marked. So held-out documents go first.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tenet.corpus.dedup.budget import Plan, check_memory
from tenet.corpus.dedup.signature import mixed
from tenet.corpus.dedup.spill import Partitioned, group_starts
from tenet.corpus.ngrams import Hashes

#: Words that a passage has at least: two or three sentences. A licence line, a heading, a stock phrase is shorter.
LEAST_WORDS = 50
_RUN = np.dtype([("key", "<u8"), ("at", "<u8")])
_SEEN = np.dtype([("key", "<u8"), ("at", "<u8"), ("first", "<u8")])
_BATCH = 1 << 19
_BASE = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Span:
    """Words `begin` to `end` (exclusive) of a document, which stood in document `source` before, from its word `at`
    on."""

    begin: int
    end: int
    source: int
    at: int


class RepeatedSpans:
    """Documents go in by `add`, in their order; `spans` gives the passages of each that an earlier one has.

    Args:
        folder: scratch; made here, deleted by `close`.
        memory: most bytes to hold beside what the process has already.
        least: words of a passage.
        within: whether a passage that one document repeats in itself counts too.

    Raises:
        ConfigError: `memory` is too small for anything.
    """

    def __init__(self, folder: Path, memory: int, least: int = LEAST_WORDS, within: bool = False) -> None:
        check_memory(memory)
        self.folder, self.memory, self.least, self.within = folder, memory, least, within
        shutil.rmtree(folder, ignore_errors=True)
        self._runs = Partitioned(folder / "runs", _RUN)
        self._lengths: list[int] = []
        self._batch: list[npt.NDArray[np.void]] = []
        self._held = self._words = 0

    def add(self, words: Hashes) -> None:
        """Word hashes of the next document."""
        if len(words) >= self.least:
            keys = runs(words, self.least)
            rows = np.empty(len(keys), dtype=_RUN)
            rows["key"], rows["at"] = keys, np.arange(self._words, self._words + len(keys))
            self._batch.append(rows)
            self._held += len(rows)
            if self._held > min(_BATCH, self.memory // 8 // _RUN.itemsize):
                self._flush()
        self._lengths.append(len(words))
        self._words += len(words)

    def _flush(self) -> None:
        if self._batch:
            self._runs.add(np.concatenate(self._batch))
        self._batch, self._held = [], 0

    def spans(self) -> dict[int, list[Span]]:
        """Document -> its passages in their order; documents without one are not named."""
        self._flush()
        starts = np.concatenate(([0], np.cumsum(np.array(self._lengths, dtype=np.int64))))
        seen = Partitioned(self.folder / "seen", _SEEN)
        step = np.uint64(2**64 // max(2, self._words) - 1)
        for rows in self._runs.repeated(self.memory // 2):
            begins = group_starts(rows["key"])
            first = np.repeat(rows["at"][begins], np.diff(np.append(begins, len(rows))))
            later = rows["at"] != first
            if not self.within:
                of = np.searchsorted(starts, rows["at"][later], side="right")
                later[later] = of != np.searchsorted(starts, first[later], side="right")
            found = np.empty(int(later.sum()), dtype=_SEEN)
            found["key"], found["at"], found["first"] = rows["at"][later] * step, rows["at"][later], first[later]
            seen.add(found)
        self._runs.close()
        result: dict[int, list[Span]] = {}
        for rows in seen.slices(self.memory // 4):
            self._joined(rows[np.argsort(rows["at"])], starts, result)
        seen.close()
        return result

    def _joined(self, rows: npt.NDArray[np.void], starts: npt.NDArray[np.int64], result: dict[int, list[Span]]) -> None:
        """Runs that touch become a passage; it is of the document that has its first run. A passage that two slices
        share is joined again."""
        if not len(rows):
            return
        at, first = rows["at"].astype(np.int64), rows["first"].astype(np.int64)
        document = np.searchsorted(starts, at, side="right") - 1
        new = np.concatenate(([True], (document[1:] != document[:-1]) | (at[1:] > at[:-1] + self.least)))
        begins = np.flatnonzero(new)
        ends = np.append(begins[1:], len(rows)) - 1
        sources = np.searchsorted(starts, first[begins], side="right") - 1
        for begin, end, source in zip(begins, ends, sources, strict=True):
            number = int(document[begin])
            offset, origin = int(starts[number]), int(first[begin] - starts[source])
            span = Span(int(at[begin]) - offset, int(at[end]) - offset + self.least, int(source), origin)
            held = result.setdefault(number, [])
            if held and held[-1].end >= span.begin:
                held[-1] = Span(held[-1].begin, span.end, held[-1].source, held[-1].at)
            else:
                held.append(span)

    def close(self) -> None:
        """Delete the scratch folder."""
        self._runs.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def runs(words: Hashes, n: int) -> Hashes:
    """Hash of every n words in a row: a polynomial, put together from those of half as many words, so that 50 words
    take 8 steps."""
    bits = bin(n)[3:]
    held, length, power = words, 1, _BASE
    with np.errstate(over="ignore"):
        for bit in bits:
            held = held[: len(held) - length] * np.uint64(power) + held[length:]
            length, power = 2 * length, power * power % 2**64
            if bit == "1":
                held = held[:-1] * np.uint64(_BASE) + words[length : length + len(held) - 1]
                length, power = length + 1, power * _BASE % 2**64
    return mixed(held)


def plan(documents: int, size: int, memory: int) -> Plan:
    """What the search takes, before anything is read; see `near.plan`."""
    return Plan("repeated passages", documents, size, memory + 32 * documents, size // 5 * (_RUN.itemsize + _SEEN.itemsize))
