"""Near duplicates of a corpus that need not fit in memory: the first text of a given order stays, what is like a text
that stays goes.

Three passes over files of a scratch folder:

1. Words and MinHash signatures are written as texts come in (`add`).
2. Texts that share a band are brought together by a partitioned sort (`spill`).
3. In the order of the texts, each one that met others is compared with those of them that were kept, by `alike.Rule`.

The decisions are those of a search in memory. Only kept texts are compared with, so a chain of small changes does not
eat a whole family. Where a text has met many (thousands of pages of one form), the signatures say first which of them
can be alike at all.
"""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tenet.corpus.dedup.alike import Rule, Text
from tenet.corpus.dedup.budget import Plan, check_memory
from tenet.corpus.dedup.signature import bands_of, estimates, signatures_of
from tenet.corpus.dedup.spill import Column, Partitioned, group_starts
from tenet.corpus.ngrams import Hashes

_MET = np.dtype([("key", "<u8"), ("text", "<u4")])
_PLACE = np.dtype([("key", "<u8"), ("text", "<u4"), ("bucket", "<u8")])
#: From so many candidates on the signatures are asked first.
MANY = 8
#: A candidate is passed over when its estimate lies so many standard errors below what is needed.
ERRORS = 6
#: Bytes a text takes for good: where its words lie, which one it is like, and whether it is prose.
RESIDENT = 8 + 8 + 1
#: Bytes in memory for each word of a batch (words, shingles, what sorting needs) and for each number of a signature.
BATCH_WORD, BATCH_NUMBER = 40, 48
LARGEST_BATCH = 4000


class NearDuplicates:
    """Texts go in by `add`, in their order; `twins` says which of them are near duplicates.

    Args:
        folder: scratch; made here, deleted by `close`.
        rule: when two texts are alike.
        seed: of the signatures.
        memory: most bytes to hold beside what the process has already.
        words: number -> word hashes of a text that was added, where they lie on disk already; else they are written here.

    Raises:
        ConfigError: `memory` is too small for anything.
    """

    def __init__(self, folder: Path, rule: Rule, seed: int, memory: int, words: Callable[[int], Hashes] | None = None) -> None:
        check_memory(memory)
        self._words_of = words
        self.folder, self.rule, self.seed, self.memory = folder, rule, seed, memory
        self.bands = bands_of(rule)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._words = open(folder / "words", "wb+")  # noqa: SIM115, closed by close()
        self._bytes = Column(folder / "signatures", np.uint8, self.bands.size)
        self._met = Partitioned(folder / "bands", _MET)
        self._ends, self._prose = _Grown(np.int64), _Grown(np.bool_)
        self._batch: list[Text] = []
        self._held = self._end = 0
        self._cache: OrderedDict[int, Text] = OrderedDict()
        self._cached = 0

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, words: Hashes, prose: bool = True) -> None:
        """The next text; `prose`: see `alike.Text`."""
        self._end += len(words)
        self._ends.append(self._end)
        self._prose.append(prose)
        if self.rule.threshold > 1 and not self.rule.edited:
            return
        self._batch.append(Text(words, prose))
        self._held += BATCH_WORD * len(words) + BATCH_NUMBER * self.bands.size
        if self._held > self.memory // 4 or len(self._batch) == LARGEST_BATCH:
            self._flush()

    def _flush(self) -> None:
        first = len(self) - len(self._batch)
        keys, low = signatures_of([text.words for text in self._batch], self.bands, self.seed)
        rows = np.empty(keys.size, dtype=_MET)
        rows["key"], rows["text"] = keys.ravel(), np.repeat(np.arange(first, len(self)), self.bands.bands)
        self._met.add(rows)
        self._bytes.add(low)
        if self._words_of is None:
            for text in self._batch:
                self._words.write(text.words.tobytes())
        self._batch, self._held = [], 0

    def twins(self) -> npt.NDArray[np.int64]:
        """For each text the number of an earlier, kept one that is alike, or -1."""
        if self._batch:
            self._flush()
        found = np.full(len(self), -1, dtype=np.int64)
        if not self._met.rows:
            return found
        self._words.flush()
        places, members = self._buckets()
        low = self._bytes.open(self.memory // 4)
        for rows in places.slices(self.memory // 8):
            rows = rows[np.argsort(rows["text"], kind="stable")]
            begins = [*group_starts(rows["text"]).tolist(), len(rows)]
            for begin, end in pairwise(begins):
                number, bucket = int(rows["text"][begin]), rows["bucket"][begin:end]
                kept = members.array[bucket]
                members.touch(end - begin)
                met = [members.array[first + 1 : first + 1 + n] for first, n in zip(bucket, kept, strict=True) if n]
                found[number] = twin = self._first_alike(number, _union(met), low)
                if twin < 0:
                    members.array[bucket + kept + 1] = number
                    members.array[bucket] += 1
        for column in (members, self._bytes):
            column.close()
        places.close()
        return found

    def _buckets(self) -> tuple[Partitioned, Column]:
        """Which buckets of two and more texts each text is in, and the buckets: how many kept texts one has, then room
        for their numbers. A bucket is named by the place where it begins."""
        places = Partitioned(self.folder / "places", _PLACE)
        members = Column(self.folder / "members", np.uint32)
        step = np.uint64(2**64 // max(2, len(self)) - 1)  # texts in their order take the whole range of the keys
        room = 0
        for rows in self._met.repeated(self.memory // 4):
            begins = group_starts(rows["key"])
            length = np.diff(np.append(begins, len(rows)))
            first = room + begins + np.arange(len(begins))
            placed = np.empty(len(rows), dtype=_PLACE)
            placed["text"], placed["key"] = rows["text"], rows["text"].astype(np.uint64) * step
            placed["bucket"] = np.repeat(first, length)
            places.add(placed)
            members.add(np.zeros(len(rows) + len(begins), dtype=np.uint32))
            room += len(rows) + len(begins)
        self._met.close()
        members.open(self.memory // 8)
        return places, members

    def _first_alike(self, number: int, candidates: npt.NDArray[np.uint32], low: npt.NDArray[np.uint8]) -> int:
        """The first kept text that is like this one, or -1."""
        if len(candidates) > MANY:
            least = self.rule.least
            floor = least - ERRORS * (max(least * (1 - least), 0.0) / self.bands.size) ** 0.5
            self._bytes.touch(len(candidates))
            candidates = candidates[estimates(low[number], low[candidates]) >= floor]
        if not len(candidates):
            return -1
        text = self._text(number)
        return next((int(other) for other in candidates if self.rule(text, self._text(int(other)))), -1)

    def _text(self, number: int) -> Text:
        """Its words from the disk, or the text as it was used last."""
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        text = Text(self._words_of(number) if self._words_of else self._written(number), bool(self._prose[number]))
        self._cache[number] = text
        self._cached += text.nbytes
        while self._cached > self.memory // 8 and len(self._cache) > 2:
            self._cached -= self._cache.popitem(last=False)[1].nbytes
        return text

    def _written(self, number: int) -> Hashes:
        begin = self._ends[number - 1] if number else 0
        self._words.seek(8 * begin)
        return np.fromfile(self._words, dtype=np.uint64, count=self._ends[number] - begin)

    def close(self) -> None:
        """Delete the scratch folder."""
        self._words.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class _Grown:
    """A one-dimensional array that is appended to; doubling would hold three times what it has, so it grows by an
    eighth."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._array, self._length = np.zeros(1024, dtype=dtype), 0

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: int) -> int:
        return self._array[place].item()  # type: ignore[no-any-return]

    def append(self, value: int) -> None:
        if self._length == len(self._array):
            self._array = np.resize(self._array, self._length + max(1024, self._length // 8))
        self._array[self._length] = value
        self._length += 1


def _union(parts: list[npt.NDArray[np.uint32]]) -> npt.NDArray[np.uint32]:
    if not parts:
        return np.zeros(0, dtype=np.uint32)
    merged = np.sort(np.concatenate(parts))
    result: npt.NDArray[np.uint32] = merged[np.concatenate(([True], merged[1:] != merged[:-1]))]
    return result


def near_duplicates(
    texts: Iterable[Hashes],
    folder: Path,
    rule: Rule,
    seed: int,
    memory: int,
    prose: Iterable[bool] | None = None,
    words: Callable[[int], Hashes] | None = None,
) -> npt.NDArray[np.int64]:
    """`NearDuplicates` for all texts: for each the number of an earlier one that is alike, or -1."""
    search = NearDuplicates(folder, rule, seed, memory, words)
    try:
        if prose is None:
            for text in texts:
                search.add(text)
        else:
            for text, one in zip(texts, prose, strict=True):
                search.add(text, one)
        return search.twins()
    finally:
        search.close()


def plan(documents: int, size: int, memory: int, rule: Rule | None = None) -> Plan:
    """What the search takes, before anything is read.

    Args:
        documents: texts. size: UTF-8 bytes of all of them.
        memory: as `NearDuplicates` is given it.
        rule: that of the defaults where there is none.
    """
    bands = bands_of(rule or Rule())
    resident = documents * RESIDENT * 9 // 8
    words = size // 5  # of English; scripts with longer words take less
    disk = 8 * words + documents * (bands.size + bands.bands * (_MET.itemsize + _PLACE.itemsize + 4))
    return Plan("near duplicates", documents, size, memory + resident, disk)
