"""The rules as datatrove's own filters have them, split at blanks: what `tenet/corpus/rules.py` is measured against, in
speed and in decisions."""

from __future__ import annotations

import re
from typing import Any

from datatrove.data import Document as Item
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.word_tokenizers import WordTokenizer

from tenet.corpus.cards.card import ENGLISH
from tenet.corpus.ngrams import words_of
from tenet.corpus.rules import MARK, NGRAMS
from tenet.settings.corpus import FiltersConfig

Verdict = bool | tuple[bool, str]
_BLANKS = re.compile(r"\S+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")


class BlankWords(WordTokenizer):
    """Words are what stands between blanks; in scripts without blanks, about two letters.

    datatrove's English default is spaCy: 10 times slower, and its punctuation tokens count as words, which makes
    Gopher's alphabetic rule drop one document in seven of plain fiction (measured on public-domain novels; one in 400
    with this splitter).
    """

    def __init__(self, signs: bool = True) -> None:
        super().__init__()
        self.signs = signs

    def word_tokenize(self, text: str) -> list[str]:
        """Split at blanks; signs that stand alone (the bars of a table, bullets, dashes) are left out where they are
        not wanted."""
        words = words_of(text, _BLANKS)
        return words if self.signs else [word for word in words if any(letter.isalnum() for letter in word)]

    def sent_tokenize(self, text: str) -> list[str]:
        """Split behind a full stop, question mark or exclamation mark."""
        return _SENTENCE.split(text)

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Begin and end of each sentence."""
        ends = [match.start() for match in _SENTENCE.finditer(text)]
        starts = [0, *(match.end() for match in _SENTENCE.finditer(text))]
        return list(zip(starts, [*ends, len(text)], strict=True))


def _no_english(**limits: Any) -> dict[str, Any]:
    return {
        **limits,
        "min_avg_word_length": None,
        "max_avg_word_length": None,
        "max_non_alpha_words_ratio": None,
        "min_stop_words": 0,
    }


_REFERENCE: dict[str, Any] = {"min_doc_words": 12, "max_avg_word_length": 14, "min_stop_words": 0}
_SOURCE = _no_english(min_doc_words=12, max_symbol_word_ratio=None, max_bullet_lines_ratio=None, max_ellipsis_lines_ratio=None)
#: Kind -> limits with and without the rules for English.
_QUALITY: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "prose": ({}, _no_english()),
    "reference": (_REFERENCE, _no_english(min_doc_words=12)),
    "source": (_SOURCE, _SOURCE),
}


class ByKind(BaseFilter):
    """A filter that goes by the kind of document, or by the one kind that the settings name."""

    def __init__(self, name: str, config: FiltersConfig, writer: JsonlWriter) -> None:
        super().__init__(writer)
        self.name, self.config = name, config

    def kind(self, item: Item) -> str:
        """Which limits a document gets; "off" for none."""
        if self.config.gopher != "auto":
            return self.config.gopher
        return item.metadata["kind"] if item.metadata["kind"] in _QUALITY else "prose"


class Quality(ByKind):
    """Length, symbols and lines; and what is about English, as a mark."""

    def __init__(self, config: FiltersConfig, writer: JsonlWriter) -> None:
        super().__init__("quality", config, writer)
        # Among a page of the demo's reference the signs count, as they did when its limits were set.
        words: dict[str, Any] = {kind: BlankWords(signs=kind == "reference") for kind in _QUALITY}
        self.filters = {
            kind: [GopherQualityFilter(**limits, language=words[kind]) for limits in both] for kind, both in _QUALITY.items()
        }

    def filter(self, doc: Item) -> Verdict:
        """Drop by the general rules; mark what only the English ones would drop."""
        kind = self.kind(doc)
        if kind == "off":
            return True
        english, general = self.filters[kind]
        if self.config.language == "any":
            return general.filter(doc)
        verdict: Verdict = english.filter(doc)
        if verdict is True or (reason := _reason(verdict)) not in ENGLISH:
            return verdict
        doc.metadata[MARK] = reason
        return general.filter(doc)


class Repetition(ByKind):
    """Repeated lines and paragraphs; and repeated word n-grams, whose limits are those of English words, as a mark."""

    def __init__(self, config: FiltersConfig, writer: JsonlWriter) -> None:
        super().__init__("repetition", config, writer)
        blank: Any = BlankWords()
        self.filters = {
            "prose": GopherRepetitionFilter(language=blank),
            "reference": GopherRepetitionFilter(top_n_grams=(), language=blank),
        }
        self.lines = GopherRepetitionFilter(top_n_grams=(), dup_n_grams=(), language=blank)

    def filter(self, doc: Item) -> Verdict:
        """Drop by lines, mark by n-grams; code repeats itself by nature."""
        chosen = self.filters.get(self.kind(doc))
        if chosen is None:
            return True
        if self.config.language == "any":
            return self.lines.filter(doc)
        verdict: Verdict = chosen.filter(doc)
        if not _reason(verdict).startswith(("top_", "duplicated_")):
            return verdict
        doc.metadata[NGRAMS] = _reason(verdict)
        return True


def _reason(verdict: Verdict) -> str:
    return verdict[1] if isinstance(verdict, tuple) else ""
