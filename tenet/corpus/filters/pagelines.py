"""Numbers about the lines of a text: what C4, FineWeb and Gopher's line rules look at, and what tells kinds apart.

Lines are two arrays of places, so a book of short lines costs no more than one of long ones. Where a line holds
something that only its text can tell (a reference mark at its end, a word like "javascript"), the lines are judged one
by one, as datatrove does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
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
#: FineWeb (arXiv:2406.17557, section 3.5): characters up to which a line is short.
SHORT = 30
_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
#: Most characters of the name that a speaker's line in a play begins with.
SPEAKER = 25
#: A text of fewer than half as many paragraphs between empty lines is read line by line.
FEWEST_PARAGRAPHS = 6


class Lines:
    """Begin and end of the lines of a text, as `str.split` or `str.splitlines` cuts it.

    Attributes:
        first, last: [L] places in the text.
        solid_first, solid_last: [L] the same, counted in the characters that are no blanks.
    """

    def __init__(self, words: Words, breaks: Places) -> None:
        self.words = words
        self.first = np.concatenate(([0], breaks + 1))
        self.last = np.concatenate((breaks, [len(words.codes)]))
        self.solid_first = words.solid.searchsorted(self.first)
        self.solid_last = words.solid.searchsorted(self.last)

    def without_empty_end(self) -> Lines:
        """Without an empty line behind the last break, which `str.splitlines` does not count."""
        if self.first[-1] < len(self.words.codes):
            return self
        found = Lines.__new__(Lines)
        found.words = self.words
        for name in ("first", "last", "solid_first", "solid_last"):
            setattr(found, name, getattr(self, name)[:-1])
        return found

    def __len__(self) -> int:
        return len(self.first)

    def count(self, places: Places) -> Places:
        """[L] how many of these sorted places each line holds."""
        if not len(places):
            return np.zeros(len(self), dtype=np.int64)
        return np.searchsorted(places, self.last) - np.searchsorted(places, self.first)

    @cached_property
    def filled(self) -> npt.NDArray[np.bool_]:
        """[L] which lines hold more than blanks."""
        return self.solid_last > self.solid_first

    @cached_property
    def begin(self) -> Places:
        """Place of the first character that is no blank, of filled lines."""
        return self.words.solid.take(self.solid_first[self.filled])

    @cached_property
    def final(self) -> Places:
        """Place of the last character that is no blank, of filled lines."""
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
        breaks = breaks[np.append(~pair, True)]
    same = len(breaks) == len(plain) - 1 and bool((breaks == plain.last[:-1]).all())
    return plain, (plain if same else Lines(words, breaks)).without_empty_end()


def ellipses(words: Words, places: Places) -> npt.NDArray[np.bool_]:
    """At which of these places three full stops, or the one sign for them, end."""
    codes = words.codes
    dots = (places >= 2) & (codes.take(places) == 46)
    for back in (1, 2):
        dots &= codes.take(np.maximum(places - back, 0)) == 46
    return dots | (codes.take(places) == 0x2026)


def gopher_lines(words: Words, lines: Lines) -> dict[str, float]:
    """Share of lines that begin with a bullet, and of those that end with an ellipsis."""
    total, begin = max(len(lines), 1), words.codes.take(lines.begin)
    bullets = int(np.count_nonzero((begin == 0x2022) | (begin == 45)))
    some = "..." in words.text or "…" in words.text
    return {"bullet_lines": bullets / total, "ellipsis_lines": int(ellipses(words, lines.final).sum()) / total if some else 0.0}


# --- C4 --------------------------------------------------------------------------------------------------------------


def c4(words: Words, lines: Lines) -> dict[str, float]:
    """Lines that C4 keeps, sentences in them, and how many of them hold what ends a page.

    Keys: c4_lines (kept), c4_share (of all lines), c4_sentences, lorem_ipsum, curly_brackets (lines), javascript_lines,
    policy_lines, unterminated_lines (share of all lines).
    """
    text, lowered = words.text, words.lowered
    said = any(phrase in lowered for phrase in ("lorem ipsum", "javascript", "cookie", *POLICY[:2]))
    found = len(lines) and (said or ("[" in text and _CITATION.search(text)) or _long_word(words))
    return _one_by_one(text.splitlines()) if found else _together(words, lines)


def _long_word(words: Words) -> bool:
    """Whether something longer than C4 allows stands between two blanks."""
    if len(words.codes) <= MOST_LETTERS:
        return False
    if not words.has_cuts:
        return len(words) > 0 and int(words.lengths.max()) > MOST_LETTERS
    return any(len(word) > MOST_LETTERS for word in words.text.split())


def _together(words: Words, lines: Lines) -> dict[str, float]:
    final, filled = lines.final, lines.filled
    ended = (words.bits.take(final) & CLOSING) != 0
    if "..." in words.text:
        ended &= ~(ellipses(words, final) & (words.codes.take(final) == 46))
    starts = words.solid.take(words.first)
    if words.has_cuts:  # C4's words are those between blanks
        starts = starts[(starts == 0) | ((words.bits.take(starts - 1) & SPACE) != 0)]
    kept = np.zeros(len(lines), dtype=np.bool_)
    kept[filled] = ended
    unterminated = 1 - int(kept.sum()) / max(len(lines), 1)
    kept &= lines.count(starts) >= FEWEST_WORDS
    curly = lines.count(places_of(words.codes == 123)) if "{" in words.text else np.zeros(len(lines), dtype=np.int64)
    curly_lines = int((curly[kept] > 0).sum())
    return _c4_numbers(len(lines), int(kept.sum()), _sentences(words, lines, kept), unterminated, curly=curly_lines)


def _sentences(words: Words, lines: Lines, kept: npt.NDArray[np.bool_]) -> int:
    """Sentences in these lines: one each, and one more behind every end with a blank behind it, or wide end."""
    bits = words.bits
    first, final = lines.first[kept], words.solid.take(lines.solid_last[kept] - 1)
    ends = places_of(bits & SENTENCE)
    ends = ends[(bits.take(np.minimum(ends + 1, len(bits) - 1)) & SPACE) != 0]
    count = len(first) + int((np.searchsorted(ends, final) - np.searchsorted(ends, first)).sum())
    if len(wide := places_of(bits & WIDE)):
        count += int((np.searchsorted(wide, final + 1) - np.searchsorted(wide, first)).sum())
    return count


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


def fineweb(words: Words, lines: Lines, parts: list[str]) -> dict[str, float]:
    """Share of lines that end as sentences do, of short ones, of characters in repeated ones, and line breaks by word.

    Args:
        lines: as `str.split("\\n")` gives them; `parts` are the same as strings.
    """
    filled = lines.filled
    total, lengths = int(filled.sum()), lines.last - lines.first
    if not total:
        return {"terminal_lines": 0.0, "short_lines": 0.0, "repeated_line_characters": 0.0, "breaks_per_word": 0.0}
    ends = words.bits.take(lines.last[filled] - 1) & TERMINAL
    unique = set(parts)
    blank = int(lengths[~filled].sum())
    once = sum(map(len, unique)) - (sum(len(line) for line in unique if line.isspace()) if blank else 0)
    characters = int(lengths.sum())
    return {
        "terminal_lines": int(np.count_nonzero(ends)) / total,
        "short_lines": int((lengths[filled] <= SHORT).sum()) / total,
        "repeated_line_characters": (characters - blank - once) / characters,
        "breaks_per_word": (len(lines) - 1) / max(len(words), 1),
    }


# --- kinds -----------------------------------------------------------------------------------------------------------


def layout_of(words: Words, lines: Lines) -> dict[str, float]:
    """What tells dialogue, tables and code from prose.

    Keys: speech_paragraphs (share of paragraphs that begin with a quotation mark or a dash), speaker_lines (share of
    filled lines that begin with a name and a full stop or colon, as plays do), column_lines (with two or more bars,
    tabs or tight commas), code_signs (share of characters that are no blanks), code_ends (share of filled lines that
    end as statements do), indented_lines.
    """
    filled, bits = lines.filled, words.bits
    total = max(int(filled.sum()), 1)
    begin = lines.begin
    opening = filled.copy()
    opening[1:] &= ~filled[:-1]
    if 2 * int(opening.sum()) < FEWEST_PARAGRAPHS:  # no empty lines: each line is a paragraph
        opening = filled
    speech = (bits.take(begin) & OPENING).astype(bool)[opening[filled]]
    return {
        "speech_paragraphs": int(speech.sum()) / max(len(speech), 1),
        "speaker_lines": _speakers(words, begin, lines.last[filled]) / total,
        "column_lines": _columns(words, begin, lines.final) / total,
        "code_signs": int(np.count_nonzero(bits & CODE)) / max(len(words.solid), 1),
        "code_ends": int(np.count_nonzero(bits.take(lines.final) & STATEMENT)) / total,
        "indented_lines": int((begin - lines.first[filled] >= 2).sum()) / total,
    }


def _columns(words: Words, begin: Places, final: Places) -> int:
    """Lines with two or more bars, tabs, or commas and semicolons without a blank behind them."""
    codes, bits, end = words.codes, words.bits, len(words.codes) - 1
    marks = places_of(bits & BAR)
    tight = places_of((codes == 44) | (codes == 59))
    behind = np.minimum(tight + 1 + (codes.take(np.minimum(tight + 1, end)) == 34), end)  # a field may be quoted
    tight = tight[(bits.take(behind) & ALNUM) != 0]
    marks = np.sort(np.concatenate((marks, tight))) if len(tight) else marks
    return int((np.searchsorted(marks, final + 1) - np.searchsorted(marks, begin) >= 2).sum())


def _speakers(words: Words, begin: Places, last: Places) -> int:
    """Lines that begin with a capital letter and hold a full stop or colon and a blank a few letters on."""
    codes, bits = words.codes, words.bits
    ends = places_of((codes == 46) | (codes == 58))
    ends = ends[(bits.take(np.minimum(ends + 1, len(bits) - 1)) & SPACE) != 0]
    if not len(ends):
        return 0
    following = ends.take(np.searchsorted(ends, begin), mode="clip")
    near = (following > begin) & (following - begin <= SPEAKER) & (following < last)
    return int((near & ((bits.take(begin) & UPPER) != 0)).sum())
