"""A text without the passages that another one has: whole paragraphs go, half ones stay.

A passage rarely ends where a sentence does. Cutting it out word by word leaves stumps that no writer wrote, so what is
cut are the paragraphs that lie in passages almost whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from tenet.corpus.dedup.spans import Span
from tenet.corpus.ngrams import words_of

#: A paragraph goes when this share of its words lies in passages: its first and last words may differ.
MOST = 0.8
_WORD = re.compile(r"\w+")
_PARAGRAPH = re.compile(r"\n[ \t\r]*\n\s*")


@dataclass(frozen=True)
class Cut:
    """A text with its passages cut out.

    Args:
        text: what is left.
        removed: the paragraphs that went.
        places: characters (begin, end) of each of them in the whole text.
    """

    text: str
    removed: list[str]
    places: list[tuple[int, int]]


def word_places(text: str) -> list[tuple[int, int]]:
    """Characters (begin, end) of each word, in the order of `WordHasher`'s hashes."""
    lower = text.lower()
    found = []
    for match in _WORD.finditer(lower):
        at = match.start()
        for part in words_of(match.group(), _WORD):
            found.append((at, at + len(part)))
            at += len(part)
    if len(lower) == len(text):
        return found
    # A few capital letters become two small ones; then each place is brought back to the text as it is written.
    ends = list(accumulate(len(letter.lower()) for letter in text))
    back = [0] * (len(lower) + 1)
    for i, end in enumerate(ends):
        begin = ends[i - 1] if i else 0
        back[begin:end] = [i] * (end - begin)
    back[len(lower)] = len(text)
    return [(back[begin], max(back[end], back[begin] + 1)) for begin, end in found]


def characters(text: str, spans: Sequence[Span]) -> list[tuple[int, int]]:
    """Characters (begin, end) of each passage."""
    places = word_places(text) if spans else []
    return [(places[span.begin][0], places[span.end - 1][1]) for span in spans]


def cut(text: str, spans: Sequence[Span], most: float = MOST, least_characters: int = 0) -> Cut:
    """Take out the paragraphs of which more than `most` of the words lie in passages.

    Args:
        text: of the document. spans: its passages.
        most: 0.8; 1.0 asks for whole paragraphs.
        least_characters: passages of fewer stay.
    """
    places = word_places(text) if spans else []
    inside = [False] * len(places)
    for span in spans:
        if places[span.end - 1][1] - places[span.begin][0] >= least_characters:
            inside[span.begin : span.end] = [True] * (span.end - span.begin)
    if not any(inside):
        return Cut(text, [], [])
    kept, gone = [], []
    word = 0
    for begin, end, following in _paragraphs(text):
        first = word
        while word < len(places) and places[word][0] < end:
            word += 1
        if word > first and sum(inside[first:word]) >= most * (word - first):
            gone.append((begin, end))
        else:
            kept.append(text[begin:following])
    return Cut("".join(kept).rstrip() if gone else text, [text[begin:end] for begin, end in gone], gone)


def _paragraphs(text: str) -> list[tuple[int, int, int]]:
    """(begin, end, begin of the next) of each; a text without blank lines is one paragraph a line."""
    pattern = _PARAGRAPH if _PARAGRAPH.search(text) else re.compile(r"\n+")
    found, begin = [], 0
    for match in pattern.finditer(text):
        found.append((begin, match.start(), match.end()))
        begin = match.end()
    return [*found, (begin, len(text), len(text))]
