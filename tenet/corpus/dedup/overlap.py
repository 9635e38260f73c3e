"""How much of each training document held-out text has word for word, and of held-out text training documents, for a
corpus of any size.

The n-grams of held-out text are looked for in all training documents: by parts of their hashes, as many as memory asks
for, each with one pass over the words. What is found lies on disk, in the order of the documents. So it is known
afterwards how many documents have an n-gram, which of their words it covers, and what is left of that when some of them
have gone, without another look at the text.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tenet.corpus.dedup.alike import inside, unique
from tenet.corpus.dedup.budget import check_memory
from tenet.corpus.dedup.spill import Column
from tenet.corpus.ngrams import Hashes, SortedHashes, grams

Stream = Callable[[], Iterable[Hashes]]
Ints = npt.NDArray[np.int64]
_HIT = np.dtype([("gram", "<u4"), ("text", "<u4"), ("at", "<u4"), ("common", "?")])
#: Bytes in memory for each n-gram of a part: its hash, what sorting needs, the table of first bits, a count.
GRAM = 48
#: Words looked through together.
BATCH = 1 << 18


class HeldoutOverlap:
    """n-grams of held-out text in training documents.

    Args:
        folder: scratch; made here, deleted by `close`.
        n: words in a row.
        memory: most bytes to hold beside what the process has already; on top come 8 bytes a document, and for
            `covered_share` one a word of the texts that it is asked of.

    Raises:
        ConfigError: `memory` is too small for anything.
    """

    def __init__(self, folder: Path, n: int, memory: int) -> None:
        check_memory(memory)
        self.folder, self.n, self.memory = folder, n, memory
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._hits: list[Column] = []
        self._ends: Ints = np.zeros(0, dtype=np.int64)

    def search(self, held: Stream, train: Stream, common: int) -> None:
        """Look for all of them.

        Args:
            held, train: word hashes of the documents of each side; called once for each part.
            common: n-grams that more training documents than this have are marked.
        """
        total = sum(max(0, len(words) - self.n + 1) for words in held())
        parts = max(1, -(-total * GRAM // self.memory))
        for part in range(parts):
            table = SortedHashes(self._grams_of(held, part, parts))
            np.save(self.folder / f"grams-{part}.npy", table.hashes)
            self._look(part, table, train, common)

    def _grams_of(self, held: Stream, part: int, parts: int) -> Hashes:
        """The different n-grams of a part, sorted."""
        low, high = ((2**64 * edge // parts) for edge in (part, part + 1))
        found = [np.zeros(0, dtype=np.uint64)]
        for _, hashes, ends in in_batches(held(), self.n):
            mine = hashes[_whole(np.arange(len(hashes)), ends, self.n)[0]]
            if parts > 1:
                mine = mine[(mine >= np.uint64(low)) & (mine <= np.uint64(high - 1))]
            found.append(unique(mine))
        return unique(np.concatenate(found))

    def _look(self, part: int, table: SortedHashes, train: Stream, common: int) -> None:
        column = Column(self.folder / f"hits-{part}", _HIT)
        counts = np.zeros(len(table), dtype=np.int32)
        lengths = [np.zeros(0, dtype=np.int64)]
        for first, hashes, ends in in_batches(train(), self.n):
            lengths.append(np.diff(ends, prepend=0))
            at, rows = table.find(hashes)
            within, of = _whole(at, ends, self.n)
            at, rows, of = at[within], rows[within], of[within]
            hits = np.zeros(len(at), dtype=_HIT)
            hits["gram"], hits["text"], hits["at"] = rows, first + of, at - (ends[of] - lengths[-1][of])
            column.add(hits)
            once = np.unique(of * np.int64(max(1, len(table))) + rows)
            counts += np.bincount(once % max(1, len(table)), minlength=len(table)).astype(np.int32) if len(once) else 0
        hits = column.open(self.memory // 8)
        for begin in range(0, len(hits), BATCH):
            some = hits[begin : begin + BATCH]
            some["common"] = counts[some["gram"]] > common
            column.touch(len(some))
        self._hits.append(column)
        self._ends = np.cumsum(np.concatenate(lengths))

    def copied_shares(self) -> npt.NDArray[np.float64]:
        """[training documents] of its words, leaving those aside that only marked n-grams cover (the form of such
        documents), the share that held-out text has in the same order."""
        ends = self._ends
        shares = np.zeros(len(ends))
        edges = np.searchsorted(ends, np.arange(BATCH, (int(ends[-1]) if len(ends) else 0) + BATCH, BATCH))
        for begin, end in pairwise(np.unique([0, *edges.tolist(), len(ends)]).tolist()):
            base = int(ends[begin - 1]) if begin else 0
            starts = np.concatenate(([base], ends[begin : end - 1])) - base
            behind = ends[begin:end] - base
            rare, common = (self._covered(begin, end, starts, int(behind[-1]), marked) for marked in (False, True))
            copied, form = (_sums(mask, starts, behind) for mask in (rare, common & ~rare))
            shares[begin:end] = copied / np.maximum(1, behind - starts - form)
        return shares

    def _covered(self, begin: int, end: int, starts: Ints, size: int, marked: bool) -> npt.NDArray[np.bool_]:
        """Which words of some documents lie in n-grams that are marked, or that are not."""
        edges = np.zeros(size + 1, dtype=np.int64)
        for column in self._hits:
            hits = column.array
            first, last = np.searchsorted(hits["text"], [begin, end])
            some = hits[first:last]
            some = some[some["common"] == marked]
            column.touch(last - first)
            places = starts[some["text"] - np.uint32(begin)] + some["at"]
            np.add.at(edges, places, 1)  # +1 where an n-gram begins, -1 behind its end
            np.add.at(edges, places + self.n, -1)
        found: npt.NDArray[np.bool_] = np.cumsum(edges)[:-1] > 0
        return found

    def covered_share(self, texts: Stream, left: npt.NDArray[np.bool_]) -> float:
        """Mean share of the words of some held-out texts that lie in n-grams of the training documents that are left.

        Args:
            texts: among those that were searched for.
            left: [training documents] which are.
        """
        ends = np.cumsum([len(words) for words in texts()], dtype=np.int64)
        if not len(ends):
            return 0.0
        edges = np.zeros(int(ends[-1]) + 1, dtype=np.int8)
        for part, column in enumerate(self._hits):
            there = np.load(self.folder / f"grams-{part}.npy", mmap_mode="r")[self._met(column, left)]
            for first, hashes, inner in in_batches(texts(), self.n):
                at = np.flatnonzero(inside(hashes, there))
                at = at[_whole(at, inner, self.n)[0]] + (ends[first - 1] if first else 0)
                edges[at] = 1
        places = np.flatnonzero(edges)
        held = np.zeros(int(ends[-1]) + 1, dtype=np.int32)
        np.add.at(held, places, 1)
        np.add.at(held, places + self.n, -1)
        covered = np.cumsum(held)[:-1] > 0
        starts = np.concatenate(([0], ends[:-1]))
        return float(np.mean(_sums(covered, starts, ends) / np.maximum(1, ends - starts)))

    def _met(self, column: Column, left: npt.NDArray[np.bool_]) -> Ints:
        """Rows of the n-grams that documents that are left have."""
        found = [np.zeros(0, dtype=np.uint32)]
        for begin in range(0, len(column.array), BATCH):
            some = column.array[begin : begin + BATCH]
            found.append(np.unique(some["gram"][left[some["text"]]]))
            column.touch(len(some))
        return np.unique(np.concatenate(found)).astype(np.int64)

    def close(self) -> None:
        """Delete the scratch folder."""
        for column in self._hits:
            column.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def in_batches(texts: Iterable[Hashes], n: int) -> Iterator[tuple[int, Hashes, Ints]]:
    """Texts one behind the other, `BATCH` words or a little more at a time: number of the first one, the n-grams of all
    of them (also those that begin in one and end in the next), and where each text ends."""
    held: list[Hashes] = []
    first = size = 0
    for words in texts:
        held.append(words)
        size += len(words)
        if size >= BATCH:
            yield first, *_joined(held, n)
            first, held, size = first + len(held), [], 0
    if held:
        yield first, *_joined(held, n)


def _joined(texts: list[Hashes], n: int) -> tuple[Hashes, Ints]:
    flat = np.concatenate(texts)
    ends = np.cumsum([len(words) for words in texts], dtype=np.int64)
    return (grams(flat, n) if len(flat) >= n else flat[:0]), ends


def _whole(at: Ints, ends: Ints, n: int) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Which n-grams that begin there lie in one text, and in which one each begins."""
    of = ends.searchsorted(at, side="right")
    return at + n <= ends.take(of), of


def _sums(mask: npt.NDArray[np.bool_], starts: Ints, ends: Ints) -> Ints:
    """True ones between each start and end."""
    before = np.concatenate(([0], np.cumsum(mask)))
    found: Ints = before[ends] - before[starts]
    return found
