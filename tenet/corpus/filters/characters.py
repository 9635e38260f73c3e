"""Texts as arrays of characters and words: one split that every statistic shares.

Splitting with `str.split` and looking each word up costs ten times more than all arithmetic on what comes out. Here
a text is one array of code points, a table says what each of them is, and words are the places where it changes.
A word's hash is a polynomial of its code points, the same in every process, so that hashes of any run of words follow
from two prefix sums (Karp and Rabin, 1987) without a string being made.

Letters of shapes: T = texts, C = characters of all of them, S = characters that are no blanks, W = words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tenet.corpus.ngrams import UNSPACED, Hashes

Places = npt.NDArray[np.int64]
#: What a character is, as bits. CUT: a letter of a script without blanks behind which `ngrams.words_of` cuts.
SPACE, ALPHA, ALNUM, WORD, UNPUNCTUATED, TERMINAL, CUT, BREAK, SENTENCE, WIDE, CLOSING, OPENING, CODE, STATEMENT, BAR, UPPER = (
    1 << i for i in range(16)
)
#: Bit -> signs that have it. SENTENCE: ends a sentence before a blank, WIDE: anywhere; CLOSING: how C4 wants a line to
#: end; OPENING: of speech; CODE: signs that are frequent in code; STATEMENT: how its lines end; BAR: between columns.
_SIGNS = {
    SENTENCE: ".!?",
    WIDE: "。！？",
    CLOSING: ".?!\"'",
    OPENING: "\"'“‘„«»「『—",
    CODE: "{}()[];=<>_\\#$&|*+/",
    STATEMENT: "{}();:=,[]\\",
    BAR: "|\t",
}
_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # where str.splitlines cuts
_BASE = 0xD6E8FEB86659FD93  # odd, so that it has an inverse modulo 2^64
_INVERSE = pow(_BASE, -1, 1 << 64)
#: Powers are kept up to this length of text; a longer one computes its own (16 bytes a character).
_KEPT = 1 << 22


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """Characters of a text as numbers, [C]; lone surrogates are kept."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


@lru_cache(maxsize=1)
def kinds() -> npt.NDArray[np.uint16]:
    """Table: code point -> bits, as Python's `str` methods and datatrove's sets of signs have them."""
    from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION

    table = np.full(0x110000, UNPUNCTUATED, dtype=np.uint16)
    every = np.arange(0x110000, dtype=np.uint32).tobytes().decode("utf-32-le", "surrogatepass")

    def mark(bit: int, letters: Iterable[str]) -> None:
        table[[ord(letter) for letter in letters]] |= bit

    for bit, pattern in ((SPACE, r"\s+"), (WORD, r"\w+"), (CUT, f"[{UNSPACED}]+")):
        for found in re.finditer(pattern, every):
            table[found.start() : found.end()] |= bit
    table[1::2] &= ~CUT & 0xFFFF  # words_of cuts behind even code points
    letters = [every[i] for i in places_of(table & WORD)]
    mark(ALNUM, (letter for letter in letters if letter != "_"))
    mark(ALPHA, filter(str.isalpha, letters))
    table[[ord(sign) for sign in PUNCTUATION_SET]] &= ~UNPUNCTUATED & 0xFFFF
    mark(UPPER, filter(str.isupper, letters))
    for bit, signs in (*_SIGNS.items(), (TERMINAL, TERMINAL_PUNCTUATION), (BREAK, _BREAKS)):
        mark(bit, signs)
    return table


def places_of(mask: npt.NDArray[Any]) -> Places:
    """Where a flat array is not zero; `np.flatnonzero` without its two wrappers, which cost more than the search."""
    return mask.nonzero()[0]


class Words:
    """What stands between blanks in one or several texts, with scripts that have no blanks cut as `ngrams.words_of`
    cuts them.

    A short page costs what its few hundred calls of numpy cost, so pages are counted many at a time: the texts stand in
    one array with a line break behind each. That break ends lines and is nothing else: no blank, no sign of a text.

    Args:
        texts: of one document, or of several.

    Attributes:
        texts, text: as they came, and one behind the other. Shape letter T: texts.
        starts, ends: [T] where each begins, and where its own break stands.
        codes, bits: [C] code points, and what they are.
        solid: [S] places of the characters that are no blanks.
        first, last: [W] where each word begins and ends, counted in `solid`.
    """

    def __init__(self, texts: str | Sequence[str]) -> None:
        self.texts = [texts] if isinstance(texts, str) else list(texts)
        self.text = "\n".join([*self.texts, ""])
        sizes = np.fromiter(map(len, self.texts), dtype=np.int64, count=len(self.texts))
        self.ends = np.cumsum(sizes + 1) - 1
        self.starts = self.ends - sizes
        self.codes = code_points(self.text)
        self.bits = kinds().take(self.codes)
        self.solid = places_of((self.bits & SPACE) == 0)
        self.bits[self.ends] = BREAK
        self.first, self.last = _runs(self.solid, self.bits)

    def __len__(self) -> int:
        return len(self.first)

    def text_of(self, places: Places) -> Places:
        """The number of the text that each of these places is in."""
        return self.ends.searchsorted(places)

    def counts(self, of: Places) -> Places:
        """[T] how often each text is named."""
        return np.bincount(of, minlength=len(self.texts))

    def sums(self, of: Places, values: npt.NDArray[Any]) -> Places:
        """[T] sum of whole numbers over the texts that they belong to."""
        return np.bincount(of, weights=values, minlength=len(self.texts)).astype(np.int64)

    @cached_property
    def of(self) -> Places:
        """[W] the text of each word."""
        return self.text_of(self.solid.take(self.first))

    @cached_property
    def count(self) -> Places:
        """[T] words of each text."""
        return self.counts(self.of)

    @cached_property
    def lowered(self) -> str:
        """The texts in small letters."""
        return self.text.lower()

    @cached_property
    def lengths(self) -> Places:
        """[W] characters of each word."""
        return self.last - self.first

    @cached_property
    def has(self) -> npt.NDArray[np.uint16]:
        """[W] bits of all of a word's characters together."""
        return _joined(self.bits.take(self.solid), self.first)

    @cached_property
    def _sums(self) -> tuple[Hashes, Hashes, Hashes]:
        """[W] prefix sums before and behind each word, and the inverse of the power at its beginning."""
        sums = _prefix_sums(self.codes.take(self.solid))
        return sums.take(self.first), sums.take(self.last), _powers(_INVERSE, len(sums)).take(self.first)

    @cached_property
    def hashes(self) -> Hashes:
        """[W] hash of each word as it is written."""
        return self.runs(1)

    def runs(self, n: int) -> Hashes:
        """[W - n + 1] hash of every n words in a row written without blanks between them: "a bc" is "ab c". (Those that
        two texts share are among them: `inside`.)"""
        size = max(len(self) - n + 1, 0)
        before, behind, inverse = self._sums
        return (behind[n - 1 : n - 1 + size] - before[:size]) * inverse[:size]

    def inside(self, n: int) -> Places:
        """First words of the runs of n words that lie in one text."""
        return places_of(self.of[: max(len(self) - n + 1, 0)] == self.of[n - 1 :])

    @cached_property
    def content(self) -> Hashes:
        """Hashes of the words of `ngrams.WordHasher`: letters and digits in lower case, punctuation ignored.

        Equal words have equal hashes in every text and process; the numbers are not those of `WordHasher`.
        """
        codes = code_points(self.lowered)
        bits = kinds().take(codes)
        inside = places_of(bits & WORD)
        first, last = _runs(inside, bits)
        sums = _prefix_sums(codes.take(inside))
        return _mixed((sums.take(last) - sums.take(first)) * _powers(_INVERSE, len(sums)).take(first))


def hash_of(word: str) -> np.uint64:
    """The hash that `Words.hashes` has for this word."""
    sums = _prefix_sums(code_points(word))
    return np.uint64(sums[-1])


def _runs(places: Places, bits: npt.NDArray[np.uint16]) -> tuple[Places, Places]:
    """Begin and end (counted in `places`) of characters that stand together, cut where the bit CUT says so."""
    if not len(places):
        return places, places
    behind = places[1:] != places[:-1] + 1
    cut = bits & CUT
    if cut.any():
        behind |= cut.take(places[:-1]) != 0
    ends = places_of(behind) + 1
    return np.concatenate(([0], ends)), np.append(ends, len(places))


def _joined(bits: npt.NDArray[np.uint16], first: Places) -> npt.NDArray[np.uint16]:
    return np.bitwise_or.reduceat(bits, first) if len(first) else bits[:0]


# --- hashes ----------------------------------------------------------------------------------------------------------


#: Base -> its powers so far; doubled when a longer text comes.
_POWERS: dict[int, Hashes] = {}


def _computed(base: int, size: int) -> Hashes:
    powers = np.full(size, base, dtype=np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _powers(base: int, size: int) -> Hashes:
    """base^0 ... base^(size - 1) modulo 2^64."""
    if size > _KEPT:
        return _computed(base, size)
    known = _POWERS.get(base)
    if known is None or len(known) < size:
        known = _POWERS[base] = _computed(base, max(1 << 16, 1 << (size - 1).bit_length()))
    return known[:size]


def _prefix_sums(codes: npt.NDArray[np.uint32]) -> Hashes:
    """[S + 1] sums of (code + 1) * base^place over all characters before each place."""
    sums = np.zeros(len(codes) + 1, dtype=np.uint64)
    np.cumsum((codes.astype(np.uint64) + np.uint64(1)) * _powers(_BASE, max(len(codes), 1))[: len(codes)], out=sums[1:])
    return sums


def _mixed(hashes: Hashes) -> Hashes:
    """Every bit depends on every other one (the finaliser of splitmix64), as MinHash and tables by top bits need."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))
