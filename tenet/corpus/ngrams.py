"""Words in a row as 64-bit numbers: the one tool behind near-duplicate search and decontamination.

A text becomes an array of word hashes, and the hash of each n words in a row is a polynomial of those, computed for the
whole text at once. With 10^8 grams on each side, the chance of a single false match is about 5 in 10,000.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import re2

Hashes = npt.NDArray[np.uint64]
#: Scripts that write no blanks between words: Chinese, Japanese, Thai, Lao, Burmese, Khmer.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_UNSPACED = re.compile(f"[{UNSPACED}]")
#: The same question, asked of UTF-8: RE2 needs a tenth of the time to say that there is none.
_ANY_UNSPACED = re2.compile(f"[{UNSPACED}]")
_WORD = re.compile(r"\w+")
_BASE = 0x9E3779B97F4A7C15  # odd, so that multiplication modulo 2^64 loses nothing


def words_of(text: str, pattern: re.Pattern[str]) -> list[str]:
    """What a pattern finds, with runs of a script that has no blanks cut behind each letter with an even number.

    Those pieces are two letters long on average, about a word, and the same letters are cut in the same way wherever
    they stand.
    """
    return cut_words(text, pattern.findall(text))


def cut_words(text: str, words: list[str]) -> list[str]:
    """`words_of` for the words that a pattern found in a text."""
    if text.isascii() or not _ANY_UNSPACED.search(text.encode("utf-8", "surrogatepass")):
        return words
    return [part for word in words for part in (_cut(word) if _UNSPACED.search(word) else [word])]


def _cut(word: str) -> list[str]:
    parts, begin = [], 0
    for end, letter in enumerate(word, 1):
        if ord(letter) % 2 == 0 and _UNSPACED.match(letter):
            parts.append(word[begin:end])
            begin = end
    return [*parts, word[begin:]] if begin < len(word) else parts


class _Hashes(dict[str, int]):
    """Word -> its hash, made when it is asked for the first time."""

    def __missing__(self, word: str) -> int:
        value = self[word] = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        return value


class WordHasher:
    """Word -> 64 bits that are the same in every process (Python's own string hash is not)."""

    def __init__(self) -> None:
        self._known = _Hashes()

    def __call__(self, text: str) -> Hashes:
        """Hashes of the words of a text: letters and digits in lower case, punctuation ignored."""
        lower = text.lower()
        return self.of(lower, _WORD.findall(lower))

    def of(self, lower: str, words: list[str]) -> Hashes:
        """Hashes of the words that `\\w+` found in a text in small letters."""
        words = cut_words(lower, words)
        return np.fromiter(map(self._known.__getitem__, words), dtype=np.uint64, count=len(words))


def grams(words: Hashes, n: int) -> Hashes:
    """Hash of every n words in a row; a text of fewer words is one gram of all of them."""
    n = max(1, min(n, len(words)))
    size = len(words) - n + 1
    result = np.zeros(max(size, 0), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for i in range(n):
            result = result * np.uint64(_BASE) + words[i : i + size]
    return result


def grams_of_each(texts: Sequence[Hashes], n: int) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """Hashes of every n words in a row of each of these texts, one behind the other, and the text that each is of; made
    together."""
    flat = np.concatenate([*texts, np.zeros(0, dtype=np.uint64)])
    ends = np.cumsum([len(words) for words in texts], dtype=np.int64)
    begins = np.arange(max(0, len(flat) - n + 1))
    of = ends.searchsorted(begins, side="right")
    whole = begins + n <= ends.take(of) if len(begins) else begins.astype(np.bool_)
    return (grams(flat, n)[whole] if len(begins) else flat[:0]), of[whole]


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


class SortedHashes:
    """Sorted, different hashes that are looked up.

    Args:
        hashes: evenly spread over 64 bits.
    """

    def __init__(self, hashes: Hashes) -> None:
        self.hashes = hashes
        #: Which values the top bits take: rules out nine hashes in ten with one look, before the binary search.
        bits = min(max(len(hashes) * 8, 2).bit_length(), 28)
        self._shift = np.uint64(64 - bits)
        self._prefix = np.zeros(1 << bits, dtype=np.bool_)
        self._prefix[hashes >> self._shift] = True

    def __len__(self) -> int:
        return len(self.hashes)

    def find(self, wanted: Hashes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Positions of those of the wanted ones that are there, and their rows."""
        maybe = self._prefix.take(wanted >> self._shift).nonzero()[0]
        wanted = wanted[maybe]
        rows = self.hashes.searchsorted(wanted)
        true = self.hashes.take(rows, mode="clip") == wanted if len(self.hashes) else np.zeros(len(wanted), dtype=np.bool_)
        return maybe[true], rows[true]


class GramIndex:
    """Which n-grams occur in a set of texts, and in which of them.

    Args:
        n: words in a row.
        shortest: texts of fewer than n words are found whole, down to this many words; shorter ones would match
            anything.
    """

    def __init__(self, n: int, shortest: int = 8) -> None:
        self.n, self.shortest = n, min(shortest, n)
        #: Length of the gram -> its hashes, and the number of the text that each came from.
        self.tables: dict[int, tuple[SortedHashes, npt.NDArray[np.int64]]] = {}

    @classmethod
    def of(cls, texts: Iterable[str], n: int, shortest: int = 8) -> GramIndex:
        """Index texts; they are numbered in their order."""
        return cls.of_words(map(WordHasher(), texts), n, shortest)

    @classmethod
    def of_words(cls, texts: Iterable[Hashes], n: int, shortest: int = 8) -> GramIndex:
        """`of` for texts that are hashed already."""
        index = cls(n, shortest)
        members: dict[int, list[tuple[int, Hashes]]] = {}
        for number, words in enumerate(texts):
            if len(words) >= index.shortest:
                members.setdefault(min(n, len(words)), []).append((number, words))
        for length, some in members.items():
            hashes, of = grams_of_each([words for _, words in some], length)
            unique, first = np.unique(hashes, return_index=True)
            index.tables[length] = (SortedHashes(unique), np.array([number for number, _ in some])[of[first]])
        return index

    def __len__(self) -> int:
        return sum(len(hashes) for hashes, _ in self.tables.values())

    def first_match(self, words: Hashes) -> int | None:
        """Number of an indexed text that shares a gram with these words, or None; longer grams first."""
        return self.first_matches([words])[0]

    def first_matches(self, texts: Sequence[Hashes]) -> list[int | None]:
        """`first_match` of several texts, looked for together: short ones cost little more than their words."""
        flat = np.concatenate([*texts, np.zeros(0, dtype=np.uint64)])
        ends = np.cumsum([len(words) for words in texts], dtype=np.int64)
        found: list[int | None] = [None] * len(texts)
        of_length = _grams_up_to(flat, set(self.tables))
        for length in sorted(of_length, reverse=True):
            at, rows = self.tables[length][0].find(of_length[length])
            of = ends.searchsorted(at, side="right")
            within = at + length <= ends.take(of)  # else it is of the end of one text and the beginning of the next
            for text, row in zip(of[within].tolist(), rows[within].tolist(), strict=True):
                if found[text] is None:
                    found[text] = int(self.tables[length][1][row])
        return found

    def covered(self, words: Hashes) -> npt.NDArray[np.bool_]:
        """Which of the words lie inside an n-gram of the index."""
        if self.n not in self.tables or len(words) < self.n:
            return np.zeros(len(words), dtype=np.bool_)
        hit = self.tables[self.n][0].find(grams(words, self.n))[0]
        edges = np.zeros(len(words) + 1, dtype=np.int64)  # +1 where a matched gram begins, -1 behind its end
        edges[hit] += 1
        edges[hit + self.n] -= 1
        inside: npt.NDArray[np.bool_] = np.cumsum(edges)[:-1] > 0
        return inside

    def coverage(self, words: Hashes) -> float:
        """Share of the words that lie inside an n-gram of the index."""
        return float(self.covered(words).mean()) if len(words) else 0.0
