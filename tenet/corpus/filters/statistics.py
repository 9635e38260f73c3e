"""Every number that the rules on quality and repetition look at, from one split of the text.

The rules are Gopher's (arXiv:2112.11446, table A1), C4's (arXiv:1910.10683) and FineWeb's (arXiv:2406.17557) as
datatrove has them, with words split at blanks in the place of its splitter; which number may be how large is said in
`thresholds.py`. A document keeps its numbers, so that a threshold can be moved without reading again.

Quality is counted twice: among words with a letter or digit, and, under names that begin with "signed_", among all
that stands between blanks (bullets, bars of a table), as the limits of an API reference were set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tenet.corpus.filters.characters import ALNUM, ALPHA, UNPUNCTUATED, Words, places_of
from tenet.corpus.filters.pagelines import both_lines, c4, fineweb, gopher_lines, layout_of
from tenet.corpus.filters.stopwords import stop_hashes
from tenet.corpus.filters.thresholds import SETS
from tenet.corpus.ngrams import Hashes

TOP_GRAMS, REPEATED_GRAMS = (2, 3, 4), (5, 6, 7, 8, 9, 10)
_JOIN = np.uint64(0x9E3779B97F4A7C15)
_PARAGRAPHS = re.compile(r"\n{2,}")


def statistics(
    text: str, words: Words | None = None, language: str = "en", sets: Sequence[str] = SETS, layout: bool = True
) -> dict[str, float]:
    """The numbers of one document.

    Args:
        text: of the document.
        words: of the same text, where it is split already.
        language: ISO 639-1; whose stop words are counted. Without a list of them there is no such number.
        sets: rule sets whose numbers are wanted; those of Gopher's always are. layout: those that tell the kind of text.

    Returns:
        name -> value; shares lie between 0 and 1, and where there is nothing to count the value is 0.
    """
    words = words or Words(text)
    by_break, lines = both_lines(words)
    parts = text.split("\n")
    found: dict[str, float] = {
        "characters": len(text),
        **_quality(words),
        **_stop_words(words, language),
        **gopher_lines(words, lines),
        **_repeated_parts(text, parts),
        **_repeated_words(words),
    }
    if "c4" in sets:
        found |= c4(words, lines)
    if "fineweb" in sets:
        found |= fineweb(words, by_break, parts)
    if layout:
        found |= layout_of(words, by_break)
    return found


# --- quality ---------------------------------------------------------------------------------------------------------


def _quality(words: Words) -> dict[str, float]:
    text, has, lengths = words.text, words.has, words.lengths
    hashes, dots = text.count("#"), text.count("...") + text.count("…")
    spelt, alphabetic = (has & ALNUM) != 0, int(np.count_nonzero(has & ALPHA))
    numbers: dict[str, float] = {}
    for prefix, all_of_them, chosen in (
        ("", int(spelt.sum()), spelt & ((has & UNPUNCTUATED) != 0)),
        ("signed_", len(words), (has & UNPUNCTUATED) != 0),
    ):
        count, total = int(chosen.sum()), max(all_of_them, 1)
        numbers[f"{prefix}words"] = count
        numbers[f"{prefix}word_length"] = int(lengths @ chosen) / max(count, 1)
        numbers[f"{prefix}hashes_per_word"] = hashes / total
        numbers[f"{prefix}ellipses_per_word"] = dots / total
        numbers[f"{prefix}alphabetic_words"] = alphabetic / total
    return numbers


def _stop_words(words: Words, language: str) -> dict[str, float]:
    wanted = stop_hashes(language)
    if wanted is None:
        return {}
    if len(wanted) <= 8:
        found = (words.hashes == wanted[:, None]).any(axis=1)
    else:
        ordered = np.sort(words.hashes)
        found = ordered.take(np.searchsorted(ordered, wanted), mode="clip") == wanted if len(ordered) else np.zeros(0, dtype=bool)
    return {"stop_words": int(found.sum())}


# --- repetition ------------------------------------------------------------------------------------------------------


def _repeated_parts(text: str, parts: list[str]) -> dict[str, float]:
    """Paragraphs and lines that came before in the text, as shares of their number and of all characters."""
    size = max(len(text), 1)
    paragraphs = _PARAGRAPHS.split(text.strip()) if "\n\n\n" in text else text.strip().split("\n\n")
    unique = set(paragraphs)
    again = sum(map(len, paragraphs)) - sum(map(len, unique))
    # Between lines any number of breaks counts as one, so an empty line stands at most before the first and behind
    # the last of them.
    once = set(parts)
    edges = int(text.startswith("\n")) + int(text.endswith("\n"))
    filled, different = len(parts) - parts.count(""), len(once) - ("" in once)
    return {
        "repeated_paragraphs": (len(paragraphs) - len(unique)) / len(paragraphs),
        "repeated_paragraph_share": again / size,
        "repeated_lines": (filled - different + max(edges - 1, 0)) / max(filled + edges, 1),
        "repeated_line_share": (sum(map(len, parts)) - sum(map(len, once))) / size,
    }


def _repeated_words(words: Words) -> dict[str, float]:
    """Characters of the most frequent 2- to 4-gram and of all repeated 5- to 10-grams, as shares of all characters."""
    size = max(len(words.text), 1)
    top = {}
    hashes = words.hashes
    for n in TOP_GRAMS:  # each from the one before; unlike `Words.runs`, "a bc" is not "ab c"
        hashes = hashes[:-1] * _JOIN + words.hashes[n - 1 :]
        top[f"top_{n}_gram"] = _top(words, hashes, n) / size
    return {**top, **{f"repeated_{n}_grams": _repeated(words, n) / size for n in REPEATED_GRAMS}}


def _top(words: Words, hashes: Hashes, n: int) -> int:
    """Letters of the most frequent n-gram with one blank between its words, times its number; of several that are as
    frequent the one that comes first."""
    if not len(hashes):
        return 0
    ordered = np.sort(hashes)
    changes = places_of(ordered[1:] != ordered[:-1]) + 1
    at, most = 0, 1
    if len(changes) < len(ordered) - 1:
        begin = np.concatenate(([0], changes))
        counts = np.append(changes, len(ordered)) - begin
        most = int(counts.max())
        at = int(_among(hashes, ordered.take(begin[counts == most])).argmax())
    return (int(words.last[at + n - 1] - words.first[at]) + n - 1) * most


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


def _repeated(words: Words, n: int) -> int:
    """Letters of the n-grams that were there before, read from left to right; behind a repeated one reading goes on
    after its last word, so no letter counts twice."""
    hashes = words.runs(n)
    if len(hashes) < 2:
        return 0
    ordered = np.sort(hashes)
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(again):
        return 0
    # Only grams that occur twice can count, so only their places are walked through.
    places = places_of(_among(hashes, again[np.concatenate(([True], again[1:] != again[:-1]))]))
    lengths = words.last.take(places + n - 1) - words.first.take(places)
    seen: set[int] = set()
    letters = free = 0
    for place, gram, length in zip(places.tolist(), hashes.take(places).tolist(), lengths.tolist(), strict=True):
        if place < free:
            continue
        if gram in seen:
            letters += length
            free = place + n
        else:
            seen.add(gram)
    return letters
