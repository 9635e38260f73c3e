"""Every number that the rules on quality and repetition look at, from one split of the texts.

The rules are Gopher's (arXiv:2112.11446, table A1), C4's (arXiv:1910.10683) and FineWeb's (arXiv:2406.17557) as
datatrove has them, with words split at blanks in the place of its splitter; which number may be how large is said in
`thresholds.py`. A document keeps its numbers, so that a threshold can be moved without reading again.

Quality is counted twice: among words with a letter or digit, and, under names that begin with "signed_", among all
that stands between blanks (bullets, bars of a table), as the limits of an API reference were set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tenet.corpus.filters.characters import ALNUM, ALPHA, UNPUNCTUATED, Places, Words, places_of
from tenet.corpus.filters.pagelines import both_lines, c4, fineweb, gopher_lines, layout_of
from tenet.corpus.filters.stopwords import stop_hashes
from tenet.corpus.filters.thresholds import SETS
from tenet.corpus.ngrams import Hashes

TOP_GRAMS, REPEATED_GRAMS = (2, 3, 4), (5, 6, 7, 8, 9, 10)
#: Texts that are counted together: their number stands in the top eight bits of a key.
MOST_TEXTS = 256
_JOIN = np.uint64(0x9E3779B97F4A7C15)
_LAST = np.uint64((1 << 56) - 1)
#: One value a text.
Numbers = npt.NDArray[Any] | list[Any]
_PARAGRAPHS = re.compile(r"\n{2,}")


def statistics(text: str, language: str = "en", sets: Sequence[str] = SETS, layout: bool = True) -> dict[str, float]:
    """The numbers of one document; see `statistics_of`."""
    return statistics_of([text], language, sets, layout)[0]


def statistics_of(
    texts: Sequence[str], language: str = "en", sets: Sequence[str] = SETS, layout: bool = True
) -> list[dict[str, float]]:
    """The numbers of some documents, counted together: short ones cost a tenth of what they cost alone.

    Args:
        texts: of the documents; their number is free, and about a million characters at a time are quick.
        language: ISO 639-1; whose stop words are counted. Without a list of them there is no such number.
        sets: rule sets whose numbers are wanted; those of Gopher's always are. layout: those that tell the kind of text.

    Returns:
        of each document name -> value; shares lie between 0 and 1, and where there is nothing to count the value is 0.
    """
    found: list[dict[str, float]] = []
    for begin in range(0, len(texts), MOST_TEXTS):
        found += _together(texts[begin : begin + MOST_TEXTS], language, sets, layout)
    return found


def _together(texts: Sequence[str], language: str, sets: Sequence[str], layout: bool) -> list[dict[str, float]]:
    words = Words(texts)
    by_break, lines = both_lines(words)
    parts = [text.split("\n") for text in texts]
    columns: dict[str, Numbers] = {
        "characters": [len(text) for text in texts],
        **_quality(words),
        **_stop_words(words, language),
        **gopher_lines(words, lines),
        **_repeated_parts(texts, parts),
        **_repeated_words(words),
    }
    if "c4" in sets:
        columns |= c4(words, lines)
    if "fineweb" in sets:
        columns |= fineweb(words, by_break, parts)
    if layout:
        columns |= layout_of(words, by_break)
    values = [column.tolist() if isinstance(column, np.ndarray) else column for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


# --- quality ---------------------------------------------------------------------------------------------------------


def _quality(words: Words) -> dict[str, Numbers]:
    has, of = words.has, words.of
    hashes = np.array([text.count("#") for text in words.texts])
    dots = np.array([text.count("...") + text.count("…") for text in words.texts])
    plain = (has & UNPUNCTUATED) != 0
    spelt, alphabetic = (has & ALNUM) != 0, words.counts(of[(has & ALPHA) != 0])
    numbers: dict[str, Numbers] = {}
    for prefix, all_of_them, chosen in (
        ("", words.counts(of[spelt]), spelt & plain),
        ("signed_", words.count, plain),
    ):
        count, total = words.counts(of[chosen]), np.maximum(all_of_them, 1)
        numbers[f"{prefix}words"] = count
        numbers[f"{prefix}word_length"] = words.sums(of[chosen], words.lengths[chosen]) / np.maximum(count, 1)
        numbers[f"{prefix}hashes_per_word"] = hashes / total
        numbers[f"{prefix}ellipses_per_word"] = dots / total
        numbers[f"{prefix}alphabetic_words"] = alphabetic / total
    return numbers


def _stop_words(words: Words, language: str) -> dict[str, Numbers]:
    """How many different ones each text has."""
    wanted = stop_hashes(language)
    if wanted is None:
        return {}
    found = places_of(_among(words.hashes, wanted))
    which = wanted.searchsorted(words.hashes.take(found))
    there = np.zeros((len(words.texts), len(wanted)), dtype=np.bool_)
    there[words.of.take(found), which] = True
    return {"stop_words": np.count_nonzero(there, axis=1)}


# --- repetition ------------------------------------------------------------------------------------------------------


def _repeated_parts(texts: Sequence[str], parts: Sequence[list[str]]) -> dict[str, Numbers]:
    """Paragraphs and lines that came before in the text, as shares of their number and of all characters."""
    rows = [_parts_of(text, lines) for text, lines in zip(texts, parts, strict=True)]
    names = ("repeated_paragraphs", "repeated_paragraph_share", "repeated_lines", "repeated_line_share")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _parts_of(text: str, parts: list[str]) -> tuple[float, float, float, float]:
    size, bare = max(len(text), 1), text.strip()
    paragraphs = _PARAGRAPHS.split(bare) if "\n\n\n" in text else bare.split("\n\n")
    unique = set(paragraphs)
    again = sum(map(len, paragraphs)) - sum(map(len, unique)) if len(unique) < len(paragraphs) else 0
    # Between lines any number of breaks counts as one, so an empty line stands at most before the first and behind
    # the last of them.
    once = set(parts)
    edges = int(text.startswith("\n")) + int(text.endswith("\n"))
    filled, different = len(parts) - parts.count(""), len(once) - ("" in once)
    return (
        (len(paragraphs) - len(unique)) / len(paragraphs),
        again / size,
        (filled - different + max(edges - 1, 0)) / max(filled + edges, 1),
        (sum(map(len, parts)) - sum(map(len, once))) / size if len(once) < len(parts) else 0.0,
    )


def _repeated_words(words: Words) -> dict[str, Numbers]:
    """Characters of the most frequent 2- to 4-gram and of all repeated 5- to 10-grams, as shares of all characters."""
    size = np.maximum(words.ends - words.starts, 1)
    found: dict[str, Numbers] = {}
    hashes = words.hashes
    for n in TOP_GRAMS:  # each from the one before; unlike `Words.runs`, "a bc" is not "ab c"
        hashes = hashes[:-1] * _JOIN + words.hashes[n - 1 :]
        found[f"top_{n}_gram"] = _top(words, hashes, n) / size
    return {**found, **{f"repeated_{n}_grams": _repeated(words, n) / size for n in REPEATED_GRAMS}}


def _keys(words: Words, hashes: Hashes, inside: Places) -> Hashes:
    """Hashes of runs, the last 56 bits of each behind the number of its text: sorted, every text's stand together. (The
    first bits of a short word's hash are all alike.)"""
    return (words.of.take(inside).astype(np.uint64) << np.uint64(56)) | (hashes.take(inside) & _LAST)


def _top(words: Words, hashes: Hashes, n: int) -> Places:
    """[T] letters of the most frequent n-gram with one blank between its words, times its number; of several that are
    as frequent the one that comes first."""
    letters = np.zeros(len(words.texts), dtype=np.int64)
    inside = words.inside(n)
    if not len(inside):
        return letters
    keys = _keys(words, hashes, inside)
    ordered = np.sort(keys)
    begins = np.concatenate(([0], places_of(ordered[1:] != ordered[:-1]) + 1))
    counts = np.diff(begins, append=len(ordered))
    of = (ordered.take(begins) >> np.uint64(56)).astype(np.int64)
    there = np.concatenate(([0], places_of(of[1:] != of[:-1]) + 1))  # the first gram of every text that has one
    most = np.ones(len(words.texts), dtype=np.int64)
    most[of.take(there)] = np.maximum.reduceat(counts, there)
    # Where no gram returns, the first one it is; elsewhere one of those that are as frequent as any.
    places = inside.take(words.of.take(inside).searchsorted(of.take(there)))
    top = ordered.take(begins[(counts > 1) & (counts == most.take(of))])
    if len(top):
        found = inside.take(places_of(_among(keys, top)))
        first = np.concatenate(([True], np.diff(words.of.take(found)) > 0))
        places[of.take(there).searchsorted(words.of.take(found[first]))] = found[first]
    numbers = of.take(there)
    letters[numbers] = (words.last.take(places + n - 1) - words.first.take(places) + n - 1) * most.take(numbers)
    return letters


def _among(hashes: Hashes, values: Hashes) -> npt.NDArray[np.bool_]:
    """Which of the hashes are among sorted values."""
    if len(values) <= 4:
        few: npt.NDArray[np.bool_] = hashes == values[0]
        for value in values[1:]:
            few |= hashes == value
        return few
    # Most hashes are none of them: one look into a small table by their last bits tells that of nearly all.
    table = np.zeros(1 << max(12, (8 * len(values)).bit_length()), dtype=np.bool_)
    table[values & np.uint64(len(table) - 1)] = True
    found: npt.NDArray[np.bool_] = table.take(hashes & np.uint64(len(table) - 1), mode="wrap")
    maybe = places_of(found)
    wanted = hashes.take(maybe)
    found[maybe] = values.take(np.searchsorted(values, wanted), mode="clip") == wanted
    return found


def _repeated(words: Words, n: int) -> Places:
    """[T] letters of the n-grams that were there before in their text, read from left to right; behind a repeated one
    reading goes on after its last word, so no letter counts twice."""
    letters = np.zeros(len(words.texts), dtype=np.int64)
    inside = words.inside(n)
    keys = _keys(words, words.runs(n), inside)
    ordered = np.sort(keys)
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(again):
        return letters
    # Only grams that occur twice can count, so only their places are walked through.
    which = places_of(_among(keys, again[np.concatenate(([True], again[1:] != again[:-1]))]))
    places = inside.take(which)
    lengths = words.last.take(places + n - 1) - words.first.take(places)
    of = words.of.take(places)
    seen: set[int] = set()
    free = 0
    counted = []
    for at, (place, gram) in enumerate(zip(places.tolist(), keys.take(which).tolist(), strict=True)):
        if place < free:
            continue
        if gram in seen:
            counted.append(at)
            free = place + n
        else:
            seen.add(gram)
    return letters + words.sums(of.take(counted), lengths.take(counted)) if counted else letters
