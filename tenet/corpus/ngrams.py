"""Words in a row as 64-bit numbers: the one tool behind near-duplicate search and decontamination.

A text becomes an array of word hashes, and the hash of each n words in a row is a polynomial of those, computed for the
whole text at once. With 10^8 grams on each side, the chance of a single false match is about 5 in 10,000.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
#: Scripts that write no blanks between words: Chinese, Japanese, Thai, Lao, Burmese, Khmer.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_UNSPACED = re.compile(f"[{UNSPACED}]")
_WORD = re.compile(r"\w+")
_BASE = 0x9E3779B97F4A7C15  # odd, so that multiplication modulo 2^64 loses nothing


def words_of(text: str, pattern: re.Pattern[str]) -> list[str]:
    """What a pattern finds, with runs of a script that has no blanks cut behind each letter with an even number.

    Those pieces are two letters long on average, about a word, and the same letters are cut in the same way wherever
    they stand.
    """
    found = pattern.findall(text)
    if not _UNSPACED.search(text):
        return found
    return [part for word in found for part in (_cut(word) if _UNSPACED.search(word) else [word])]


def _cut(word: str) -> list[str]:
    parts, begin = [], 0
    for end, letter in enumerate(word, 1):
        if ord(letter) % 2 == 0 and _UNSPACED.match(letter):
            parts.append(word[begin:end])
            begin = end
    return [*parts, word[begin:]] if begin < len(word) else parts


class WordHasher:
    """Word -> 64 bits that are the same in every process (Python's own string hash is not)."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def __call__(self, text: str) -> Hashes:
        """Hashes of the words of a text: letters and digits in lower case, punctuation ignored."""
        known = self._known
        words = words_of(text.lower(), _WORD)
        for word in words:
            if word not in known:
                known[word] = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        return np.fromiter((known[word] for word in words), dtype=np.uint64, count=len(words))


def grams(words: Hashes, n: int) -> Hashes:
    """Hash of every n words in a row; a text of fewer words is one gram of all of them."""
    n = max(1, min(n, len(words)))
    size = len(words) - n + 1
    result = np.zeros(max(size, 0), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for i in range(n):
            result = result * np.uint64(_BASE) + words[i : i + size]
    return result


def _grams_up_to(words: Hashes, lengths: set[int]) -> dict[int, Hashes]:
    """The `grams` of several lengths, each made of the shorter one's; those longer than the text are left out."""
    found: dict[int, Hashes] = {}
    result = np.zeros(len(words), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for n in range(1, min(max(lengths, default=0), len(words)) + 1):
            result = result[: len(words) - n + 1] * np.uint64(_BASE) + words[n - 1 :]
            if n in lengths:
                found[n] = result
    return found


class GramIndex:
    """Which n-grams occur in a set of texts, and in which of them.

    Args:
        n: words in a row.
        shortest: texts of fewer than n words are found whole, down to this many words; shorter ones would match
            anything.
    """

    def __init__(self, n: int, shortest: int = 8) -> None:
        self.n, self.shortest = n, min(shortest, n)
        #: Length of the gram -> sorted hashes, and the number of the text that each came from.
        self.tables: dict[int, tuple[Hashes, npt.NDArray[np.int64]]] = {}
        #: Length -> which values the top bits of the hashes take: rules out nine grams in ten with one look, before the
        #: binary search.
        self._prefix: dict[int, npt.NDArray[np.bool_]] = {}

    @classmethod
    def of(cls, texts: Iterable[str], n: int, shortest: int = 8) -> GramIndex:
        """Index texts; they are numbered in their order."""
        return cls.of_words(map(WordHasher(), texts), n, shortest)

    @classmethod
    def of_words(cls, texts: Iterable[Hashes], n: int, shortest: int = 8) -> GramIndex:
        """`of` for texts that are hashed already."""
        index = cls(n, shortest)
        found: dict[int, list[tuple[Hashes, int]]] = {}
        for number, words in enumerate(texts):
            if len(words) >= index.shortest:
                found.setdefault(min(n, len(words)), []).append((grams(words, n), number))
        for length, entries in found.items():
            hashes = np.concatenate([entry[0] for entry in entries])
            owners = np.concatenate([np.full(len(entry[0]), entry[1], dtype=np.int64) for entry in entries])
            unique, first = np.unique(hashes, return_index=True)
            index._add(length, unique, owners[first])
        return index

    def __len__(self) -> int:
        return sum(len(hashes) for hashes, _ in self.tables.values())

    def _hits(self, words: Hashes, length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Positions of the grams that are in a table, and their rows in it."""
        return self._rows(grams(words, length), length)

    def _rows(self, wanted: Hashes, length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """`_hits` of grams that are made already."""
        hashes, prefix = self.tables[length][0], self._prefix[length]
        maybe = np.flatnonzero(prefix[wanted >> np.uint64(65 - len(prefix).bit_length())])
        at = np.searchsorted(hashes, wanted[maybe]).clip(max=len(hashes) - 1)
        true = hashes[at] == wanted[maybe]
        return maybe[true], at[true]

    def split_common(self, texts: Iterable[Hashes], most: int) -> tuple[GramIndex, GramIndex]:
        """This index in two: n-grams that at most `most` of these texts have, and those that more have. What so many
        write is a pattern (a header, a form): whoever has it need not have it from an indexed text."""
        seen = {length: np.zeros(len(hashes), dtype=np.int64) for length, (hashes, _) in self.tables.items()}
        for words in texts:
            for length, count in seen.items():
                if len(words) >= length:
                    count[np.unique(self._hits(words, length)[1])] += 1
        rare, common = GramIndex(self.n, self.shortest), GramIndex(self.n, self.shortest)
        for length, (hashes, owners) in self.tables.items():
            for index, chosen in ((rare, seen[length] <= most), (common, seen[length] > most)):
                if chosen.any():
                    index._add(length, hashes[chosen], owners[chosen])
        return rare, common

    def _add(self, length: int, hashes: Hashes, owners: npt.NDArray[np.int64]) -> None:
        """Sorted hashes without repetition."""
        self.tables[length] = (hashes, owners)
        bits = min(max(len(hashes) * 8, 2).bit_length(), 28)
        self._prefix[length] = np.zeros(1 << bits, dtype=np.bool_)
        self._prefix[length][hashes >> np.uint64(64 - bits)] = True

    def first_match(self, words: Hashes) -> int | None:
        """Number of an indexed text that shares a gram with these words, or None; longer grams first."""
        of_length = _grams_up_to(words, set(self.tables))
        for length in sorted(of_length, reverse=True):
            if len(rows := self._rows(of_length[length], length)[1]):
                return int(self.tables[length][1][rows[0]])
        return None

    def covered(self, words: Hashes) -> npt.NDArray[np.bool_]:
        """Which of the words lie inside an n-gram of the index."""
        if self.n not in self.tables or len(words) < self.n:
            return np.zeros(len(words), dtype=np.bool_)
        hit = self._hits(words, self.n)[0]
        edges = np.zeros(len(words) + 1, dtype=np.int64)  # +1 where a matched gram begins, -1 behind its end
        edges[hit] += 1
        edges[hit + self.n] -= 1
        inside: npt.NDArray[np.bool_] = np.cumsum(edges)[:-1] > 0
        return inside

    def coverage(self, words: Hashes) -> float:
        """Share of the words that lie inside an n-gram of the index."""
        return float(self.covered(words).mean()) if len(words) else 0.0
