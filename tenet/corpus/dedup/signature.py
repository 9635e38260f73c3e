"""MinHash signatures (Broder 1997) of word 5-grams, and the keys by which alike texts meet.

rensa computes the signature. A band is a few of its numbers; texts that share a band are compared (Indyk and Motwani
1998). Of each number the lowest byte is kept as well: two signatures of K such bytes estimate the Jaccard similarity
with a standard error of sqrt(J (1 - J) / K) (b-bit minwise hashing, Li and Koenig, arXiv:0910.3349).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import rensa

from tenet.corpus.dedup.alike import SHINGLE, Rule
from tenet.corpus.ngrams import Hashes, grams

Bytes = npt.NDArray[np.uint8]
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15)  # of splitmix64 (Steele et al. 2014)


@dataclass(frozen=True)
class Bands:
    """How many numbers a signature has, and how they are bundled."""

    bands: int
    rows: int

    @property
    def size(self) -> int:
        """Numbers in a signature."""
        return self.bands * self.rows


#: A pair of Jaccard similarity 0.8 meets in one band at least with probability 0.99995.
EXACT = Bands(25, 5)
#: One of 0.55, which five words in a hundred changed leave, with 0.991.
EDITED = Bands(50, 4)


def bands_of(rule: Rule) -> Bands:
    """The fewest that find what a rule asks for."""
    return EDITED if rule.edited else EXACT


def signatures(shingles: Sequence[Hashes], bands: Bands, seed: int) -> tuple[Hashes, Bytes]:
    """Of each text the keys of its bands, (texts, bands), and the lowest bytes of its signature, (texts, size).

    Args:
        shingles: of each text, in any order; one that is there twice changes nothing.
    """
    ends = np.cumsum([len(one) for one in shingles], dtype=np.uint64)
    return _signed(np.concatenate([*shingles, np.zeros(0, dtype=np.uint64)]), ends, bands, seed)


def signatures_of(texts: Sequence[Hashes], bands: Bands, seed: int) -> tuple[Hashes, Bytes]:
    """`signatures` for texts as word hashes, whose 5-grams are made together."""
    lengths = np.array([len(words) for words in texts], dtype=np.int64)
    if len(texts) and lengths.min() < SHINGLE:  # a short text is one shingle of all of its words
        return signatures([grams(words, SHINGLE) for words in texts], bands, seed)
    ends = np.cumsum(lengths)
    flat = np.concatenate([*texts, np.zeros(0, dtype=np.uint64)])
    whole = np.ones(max(0, len(flat) - SHINGLE + 1), dtype=np.bool_)
    for behind in range(1, SHINGLE):  # those that begin in one text and end in the next
        whole[ends[:-1] - behind] = False
    found = grams(flat, SHINGLE)[whole] if len(flat) else flat
    return _signed(found, (ends - (SHINGLE - 1) * np.arange(1, len(texts) + 1)).astype(np.uint64), bands, seed)


def _signed(flat: Hashes, ends: Hashes, bands: Bands, seed: int) -> tuple[Hashes, Bytes]:
    offsets = np.concatenate(([0], ends)).astype(np.uint64)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(flat, offsets, bands.size, seed % 2**32)
    numbers = np.array(matrix.to_rows(), dtype=np.uint32).reshape(len(ends), bands.bands, bands.rows)
    return band_keys(numbers), numbers.reshape(len(ends), bands.size).astype(np.uint8)


def band_keys(numbers: npt.NDArray[np.unsignedinteger]) -> Hashes:
    """(texts, bands, rows) -> (texts, bands): one 64-bit number a band, different in each band."""
    keys = np.arange(numbers.shape[1], dtype=np.uint64)[None, :].repeat(numbers.shape[0], axis=0)
    with np.errstate(over="ignore"):
        for row in range(numbers.shape[2]):
            keys = keys * np.uint64(_MIX[2]) + numbers[:, :, row]
    return mixed(keys)


def mixed(values: Hashes) -> Hashes:
    """The same numbers shuffled over all 64 bits, one to one."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(_MIX[0])
        values = (values ^ (values >> np.uint64(27))) * np.uint64(_MIX[1])
        return values ^ (values >> np.uint64(31))


def estimates(one: Bytes, others: Bytes) -> npt.NDArray[np.float64]:
    """Jaccard similarity of one signature with each of others, (n, size), from their bytes; one byte in 256 is equal by
    chance."""
    same = (others == one).mean(axis=-1)
    result: npt.NDArray[np.float64] = (same - 1 / 256) / (1 - 1 / 256)
    return result
