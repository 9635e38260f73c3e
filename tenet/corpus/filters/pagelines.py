"""Numbers about the lines of texts: what C4, FineWeb and Gopher's line rules look at, and what tells kinds apart.

Lines are two arrays of places, so a book of short lines costs no more than one of long ones. Where a line holds
something that only its text can tell (a reference mark at its end, a word like "javascript"), the lines are judged one
by one, as datatrove does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tenet.corpus.filters.characters import (
    ALNUM,
    BAR,
    BREAK,
    CLOSING,
    CODE,
    OPENING,
    SENTENCE,
    SPACE,
    STATEMENT,
    TERMINAL,
    UPPER,
    WIDE,
    Places,
    Words,
    places_of,
)

#: C4 (arXiv:1910.10683, section 2.2): how a line must end, and what must not stand in it.
ENDS = (".", "?", "!", '"', "'")
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
MOST_LETTERS, FEWEST_WORDS = 1000, 3
_PHRASES = ("lorem ipsum", "javascript", "cookie", *POLICY[:2])
#: FineWeb (arXiv:2406.17557, section 3.5): characters up to which a line is short.
SHORT = 30
_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
#: Most characters of the name that a speaker's line in a play begins with.
SPEAKER = 25
#: A text of fewer than half as many paragraphs between empty lines is read line by line.
FEWEST_PARAGRAPHS = 6


class Lines:
    """Begin and end of the lines of some texts, as `str.split` or `str.splitlines` cuts each of them.

    Shape letters: L = lines, F = filled ones, T = texts.

    Attributes:
        first, last: [L] places in the texts.
        solid_first, solid_last: [L] the same, counted in the characters that are no blanks.
        of: [L] the text of each line.
    """

    def __init__(self, words: Words, breaks: Places) -> None:
        self.words = words
        self.first = np.concatenate(([0], breaks[:-1] + 1))
        self.last = breaks
        self.solid_first = words.solid.searchsorted(self.first)
        self.solid_last = words.solid.searchsorted(self.last)
        self.of = words.text_of(self.last)

    def without_empty_ends(self) -> Lines:
        """Without an empty line behind the last break of a text, which `str.splitlines` does not count."""
        kept = (self.last > self.first) | (self.last != self.words.ends.take(self.of))
        if kept.all():
            return self
        found = Lines.__new__(Lines)
        found.words = self.words
        for name in ("first", "last", "solid_first", "solid_last", "of"):
            setattr(found, name, getattr(self, name)[kept])
        return found

    def __len__(self) -> int:
        return len(self.first)

    def by_text(self, chosen: npt.NDArray[np.bool_]) -> Places:
        """[T] how many of these lines (a mask of all, or of the filled ones) each text has."""
        of = self.of if len(chosen) == len(self) else self.of_filled
        return self.words.counts(of[chosen])

    @cached_property
    def count(self) -> Places:
        """[T] lines of each text."""
        return self.words.counts(self.of)

    def holding(self, places: Places) -> Places:
        """[L] how many of these sorted places each line holds."""
        if not len(places):
            return np.zeros(len(self), dtype=np.int64)
        return np.searchsorted(places, self.last) - np.searchsorted(places, self.first)

    @cached_property
    def filled(self) -> npt.NDArray[np.bool_]:
        """[L] which lines hold more than blanks."""
        return self.solid_last > self.solid_first

    @cached_property
    def of_filled(self) -> Places:
        """[F] the text of each filled line."""
        return self.of[self.filled]

    @cached_property
    def begin(self) -> Places:
        """[F] place of the first character that is no blank."""
        return self.words.solid.take(self.solid_first[self.filled])

    @cached_property
    def final(self) -> Places:
        """[F] place of the last character that is no blank."""
        return self.words.solid.take(self.solid_last[self.filled] - 1)


def both_lines(words: Words) -> tuple[Lines, Lines]:
    """As `str.split("\n")`, and as `str.splitlines`, which also cuts at other signs.

    CR before LF is left at the end of its line, where it is a blank like any other.
    """
    plain = Lines(words, places_of(words.codes == 10))
    breaks = places_of(words.bits & BREAK)
    if "\r" in words.text:
        ends = words.codes.take(breaks)
        pair = (ends[:-1] == 13) & (ends[1:] == 10) & (breaks[1:] == breaks[:-1] + 1)
        pair &= (words.bits.take(breaks[1:]) & SPACE) != 0  # not the break that only stands between two texts
        breaks = breaks[np.append(~pair, True)]
    same = len(breaks) == len(plain) and bool((breaks == plain.last).all())
    return plain, (plain if same else Lines(words, breaks)).without_empty_ends()


def ellipses(words: Words, places: Places) -> npt.NDArray[np.bool_]:
    """At which of these places three full stops, or the one sign for them, end."""
    codes = words.codes
    dots = (places >= 2) & (codes.take(places) == 46)
    for back in (1, 2):
        dots &= codes.take(np.maximum(places - back, 0)) == 46
    return dots | (codes.take(places) == 0x2026)


def gopher_lines(words: Words, lines: Lines) -> dict[str, npt.NDArray[np.float64]]:
    """[T] share of lines that begin with a bullet, and of those that end with an ellipsis."""
    total, begin = np.maximum(lines.count, 1), words.codes.take(lines.begin)
    bullets = lines.by_text((begin == 0x2022) | (begin == 45))
    return {"bullet_lines": bullets / total, "ellipsis_lines": lines.by_text(ellipses(words, lines.final)) / total}


# --- C4 --------------------------------------------------------------------------------------------------------------


def c4(words: Words, lines: Lines) -> dict[str, list[float]]:
    """[T] lines that C4 keeps, sentences in them, and how many of them hold what ends a page.

    Keys: c4_lines (kept), c4_share (of all lines), c4_sentences, lorem_ipsum, curly_brackets (lines), javascript_lines,
    policy_lines, unterminated_lines (share of all lines).
    """
    together = _together(words, lines)
    long = set(words.of[words.lengths > MOST_LETTERS].tolist())
    rows = [
        _one_by_one(text.splitlines()) if number in long or _needs_looking_at(text) else row
        for number, (text, row) in enumerate(zip(words.texts, together, strict=True))
    ]
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _needs_looking_at(text: str) -> bool:
    """Whether a text holds what only its lines one by one can tell: phrases, reference marks, long words without
    blanks."""
    lowered = text.lower()
    if any(phrase in lowered for phrase in _PHRASES) or ("[" in text and _CITATION.search(text)):
        return True
    return len(text) > MOST_LETTERS and not text.isascii() and any(len(word) > MOST_LETTERS for word in text.split())


def _together(words: Words, lines: Lines) -> list[dict[str, float]]:
    final, filled = lines.final, lines.filled
    ended = (words.bits.take(final) & CLOSING) != 0
    ended &= ~(ellipses(words, final) & (words.codes.take(final) == 46))
    starts = words.solid.take(words.first)
    # C4's words are those between blanks, also where a script without blanks was cut.
    starts = starts[(starts == 0) | ((words.bits.take(starts - 1) & (SPACE | BREAK)) != 0)]
    kept = np.zeros(len(lines), dtype=np.bool_)
    kept[filled] = ended
    unterminated = 1 - lines.by_text(kept) / np.maximum(lines.count, 1)
    kept &= lines.holding(starts) >= FEWEST_WORDS
    curly = lines.by_text(kept & (lines.holding(places_of(words.codes == 123)) > 0))
    columns = (lines.count, lines.by_text(kept), _sentences(words, lines, kept), unterminated, curly)
    return [
        _c4_numbers(total, count, sentences, share, curly=brackets)
        for total, count, sentences, share, brackets in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _sentences(words: Words, lines: Lines, kept: npt.NDArray[np.bool_]) -> Places:
    """[T] sentences in these lines: one each, and one more behind every end with a blank behind it, or wide end."""
    bits = words.bits
    first, final = lines.first[kept], words.solid.take(lines.solid_last[kept] - 1)
    ends = places_of(bits & SENTENCE)
    ends = ends[(bits.take(ends + 1) & SPACE) != 0]
    count = 1 + np.searchsorted(ends, final) - np.searchsorted(ends, first)
    if len(wide := places_of(bits & WIDE)):
        count += np.searchsorted(wide, final + 1) - np.searchsorted(wide, first)
    return words.sums(lines.of[kept], count)


def _c4_numbers(
    lines: int, kept: int, sentences: int, unterminated: float, lorem: int = 0, curly: int = 0, script: int = 0, policy: int = 0
) -> dict[str, float]:
    return {
        "c4_lines": kept,
        "c4_share": kept / max(lines, 1),
        "c4_sentences": sentences,
        "lorem_ipsum": lorem,
        "curly_brackets": curly,
        "javascript_lines": script,
        "policy_lines": policy,
        "unterminated_lines": unterminated,
    }


def _one_by_one(lines: Iterable[str]) -> dict[str, float]:
    """The rules of C4 in the order of its reference implementation."""
    total = kept = sentences = lorem = curly = script = policy = ended = 0
    for line in map(str.strip, lines):
        total += 1
        parts = line.split()
        if any(len(word) > MOST_LETTERS for word in parts):
            continue
        line = _CITATION.sub("", line)
        if not line.endswith(ENDS) or line.endswith("..."):
            continue
        ended += 1
        if len(parts) < FEWEST_WORDS:
            continue
        lower = line.lower()
        # Each of these ends a line or the page before the next one is looked at.
        lorem += (has_lorem := "lorem ipsum" in lower)
        script += (has_script := not has_lorem and "javascript" in lower)
        curly += (has_curly := not has_lorem and not has_script and "{" in line)
        policy += (has_policy := not (has_lorem or has_script or has_curly) and any(said in lower for said in POLICY))
        if not (has_script or has_policy):
            kept += 1
            sentences += 1 + len(_SENTENCE.findall(line))
    return _c4_numbers(total, kept, sentences, 1 - ended / max(total, 1), lorem, curly, script, policy)


# --- FineWeb ---------------------------------------------------------------------------------------------------------


def fineweb(words: Words, lines: Lines, parts: Sequence[list[str]]) -> dict[str, npt.NDArray[np.float64]]:
    """[T] share of lines that end as sentences do, of short ones, of characters in repeated ones, and line breaks by
    word.

    Args:
        lines: as `str.split("\\n")` gives them; `parts` are the same as strings.
    """
    filled, lengths = lines.filled, lines.last - lines.first
    total = lines.by_text(filled)
    ends = (words.bits.take(lines.last[filled] - 1) & TERMINAL) != 0
    blank = words.sums(lines.of[~filled], lengths[~filled])
    once = np.array([_once(of_text, bool(some)) for of_text, some in zip(parts, blank, strict=True)])
    characters = words.sums(lines.of, lengths)
    there, some = total > 0, np.maximum(total, 1)
    return {
        "terminal_lines": lines.by_text(ends) / some,
        "short_lines": lines.by_text(lengths[filled] <= SHORT) / some,
        "repeated_line_characters": np.where(there, (characters - blank - once) / np.maximum(characters, 1), 0.0),
        "breaks_per_word": np.where(there, (lines.count - 1) / np.maximum(words.count, 1), 0.0),
    }


def _once(parts: list[str], some_blank: bool) -> int:
    """Characters of the different lines that are not blank."""
    unique = set(parts)
    return sum(map(len, unique)) - (sum(len(line) for line in unique if line.isspace()) if some_blank else 0)


# --- kinds -----------------------------------------------------------------------------------------------------------


def layout_of(words: Words, lines: Lines) -> dict[str, npt.NDArray[np.float64]]:
    """[T] what tells dialogue, tables and code from prose.

    Keys: speech_paragraphs (share of paragraphs that begin with a quotation mark or a dash), speaker_lines (share of
    filled lines that begin with a name and a full stop or colon, as plays do), column_lines (with two or more bars,
    tabs or tight commas), code_signs (share of characters that are no blanks), code_ends (share of filled lines that
    end as statements do), indented_lines.
    """
    filled, bits, begin = lines.filled, words.bits, lines.begin
    total = np.maximum(lines.by_text(filled), 1)
    opening = filled.copy()
    opening[1:] &= ~filled[:-1] | (lines.of[1:] != lines.of[:-1])
    few = 2 * lines.by_text(opening) < FEWEST_PARAGRAPHS  # no empty lines: each line is a paragraph
    opening = (opening | few.take(lines.of))[filled]
    speech = opening & ((bits.take(begin) & OPENING) != 0)
    solid = np.diff(words.solid.searchsorted(words.ends), prepend=0)
    code = words.counts(words.text_of(places_of(bits & CODE)))
    return {
        "speech_paragraphs": lines.by_text(speech) / np.maximum(lines.by_text(opening), 1),
        "speaker_lines": lines.by_text(_speakers(words, begin, lines.last[filled])) / total,
        "column_lines": lines.by_text(_columns(words, begin, lines.final)) / total,
        "code_signs": code / np.maximum(solid, 1),
        "code_ends": lines.by_text((bits.take(lines.final) & STATEMENT) != 0) / total,
        "indented_lines": lines.by_text(begin - lines.first[filled] >= 2) / total,
    }


def _columns(words: Words, begin: Places, final: Places) -> npt.NDArray[np.bool_]:
    """[F] lines with two or more bars, tabs, or commas and semicolons without a blank behind them."""
    codes, bits, end = words.codes, words.bits, len(words.codes) - 1
    marks = places_of(bits & BAR)
    tight = places_of((codes == 44) | (codes == 59))
    behind = np.minimum(tight + 1 + (codes.take(tight + 1) == 34), end)  # a field may be quoted
    tight = tight[(bits.take(behind) & ALNUM) != 0]
    marks = np.sort(np.concatenate((marks, tight))) if len(tight) else marks
    found: npt.NDArray[np.bool_] = np.searchsorted(marks, final + 1) - np.searchsorted(marks, begin) >= 2
    return found


def _speakers(words: Words, begin: Places, last: Places) -> npt.NDArray[np.bool_]:
    """[F] lines that begin with a capital letter and hold a full stop or colon and a blank a few letters on."""
    codes, bits = words.codes, words.bits
    ends = places_of((codes == 46) | (codes == 58))
    ends = ends[(bits.take(ends + 1) & SPACE) != 0]
    if not len(ends):
        return np.zeros(len(begin), dtype=np.bool_)
    following = ends.take(np.searchsorted(ends, begin), mode="clip")
    near: npt.NDArray[np.bool_] = (following > begin) & (following - begin <= SPEAKER) & (following < last)
    return near & ((bits.take(begin) & UPPER) != 0)
