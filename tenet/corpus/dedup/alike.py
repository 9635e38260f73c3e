"""When two texts are the same text: the rule that decides a pair, whoever proposed it.

Two measures, because one is not enough:

1. The Jaccard similarity of the word 5-grams, from a threshold (0.8) on. It takes in edits of up to about 2 % of the
   words, and a paragraph more or less.
2. An *edited copy*: at least 83 % of the words of either text lie in 5-grams that the other has, and hardly a word that
   one of them repeats is missing in the other. Five words in a hundred changed leave a Jaccard similarity of 0.6, which
   two pages of one form have too; but whoever fills in a form anew changes its subject wherever it is named, while
   edits fall here and there. That is what the second condition tells apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tenet.corpus.ngrams import Hashes, grams

SHINGLE = 5
#: Texts of fewer words can only be alike by the first measure: three edits leave nothing to judge by.
FEWEST_WORDS = 50
#: In so many words one repeated word may be missing in the other text, with two occurrences: a substitute can fall twice.
WORDS_A_LOSS = 150
#: Below this Jaccard similarity no pair has 83 % of its words in common 5-grams (the least that was met is 0.49).
LEAST_JACCARD = 0.3


def unique(values: Hashes) -> Hashes:
    """Sorted, each once. (`np.unique` goes through a hash table, which takes thirty times as long on 64-bit
    numbers.)"""
    ordered = np.sort(values)
    if not len(ordered):
        return ordered
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))]


@dataclass(frozen=True)
class Rule:
    """What counts as a near duplicate.

    Args:
        threshold: Jaccard similarity of the word 5-grams from which on two texts are; above 1 switches it off.
        edited: share of the words of either text that must lie in common 5-grams for an edited copy; 0 switches that
            off.
    """

    threshold: float = 0.8
    edited: float = 0.83

    @property
    def least(self) -> float:
        """No pair of a smaller Jaccard similarity is a near duplicate."""
        return min(self.threshold, LEAST_JACCARD) if self.edited else self.threshold

    def __call__(self, one: Text, other: Text) -> bool:
        """Whether they are; the order of the two does not matter."""
        sizes = len(one.shingles), len(other.shingles)
        if min(sizes) / max(*sizes, 1) < self.least:  # no similarity is above that of their sizes
            return False
        similarity = jaccard(one.shingles, other.shingles)
        if similarity >= self.threshold:
            return True
        both = self.edited > 0 and one.prose and other.prose
        return both and similarity >= LEAST_JACCARD and edited_copy(one, other, self.edited)


class Text:
    """A text as the rule sees it.

    Args:
        words: hashes of its words in their order.
        prose: False: it is a page of a form (an API, a manual); only the Jaccard similarity counts.
    """

    def __init__(self, words: Hashes, prose: bool = True) -> None:
        self.words, self.prose = words, prose

    @cached_property
    def shingles(self) -> Hashes:
        """Its word 5-grams, sorted."""
        return unique(grams(self.words, SHINGLE))

    @property
    def nbytes(self) -> int:
        """Memory, both arrays."""
        return 16 * len(self.words) + 200


def jaccard(a: Hashes, b: Hashes) -> float:
    """Similarity of two sorted sets: |A and B| / |A or B|."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / max(len(a) + len(b) - common, 1)


def inside(values: Hashes, table: Hashes) -> npt.NDArray[np.bool_]:
    """Which values a sorted table has."""
    if not len(table):
        return np.zeros(len(values), dtype=np.bool_)
    result: npt.NDArray[np.bool_] = table[np.searchsorted(table, values).clip(max=len(table) - 1)] == values
    return result


def covered(words: Hashes, shingles: Hashes) -> float:
    """Share of the words that lie inside a 5-gram of a sorted table."""
    hit = np.flatnonzero(inside(grams(words, SHINGLE), shingles))
    edges = np.zeros(len(words) + 1, dtype=np.int64)  # +1 where a common 5-gram begins, -1 behind its end
    edges[hit] += 1
    edges[hit + min(SHINGLE, len(words))] -= 1
    return float((np.cumsum(edges)[:-1] > 0).mean()) if len(words) else 0.0


def lost_words(a: Hashes, b: Hashes) -> int:
    """Occurrences in `a` of words that stand there at least twice and in `b` never."""
    ordered = np.sort(a)
    return int((~inside(_repeated(ordered), np.sort(b))).sum())


def _repeated(ordered: Hashes) -> Hashes:
    """The values of a sorted array that occur more than once, each as often as it does."""
    same = ordered[1:] == ordered[:-1]
    return ordered[np.concatenate((same, [False])) | np.concatenate(([False], same))] if len(ordered) else ordered


def edited_copy(a: Text, b: Text, share: float) -> bool:
    """Whether one text is the other with scattered changes (see the module)."""
    fewer = min(len(a.words), len(b.words))
    if fewer < FEWEST_WORDS or fewer < share * max(len(a.words), len(b.words)):
        return False
    if covered(a.words, b.shingles) < share or covered(b.words, a.shingles) < share:
        return False
    return max(lost_words(a.words, b.words), lost_words(b.words, a.words)) <= 2 * (fewer // WORDS_A_LOSS)
