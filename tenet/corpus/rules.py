"""What a document must be like: Gopher's rules (arXiv:2112.11446), by kind of document and by language.

Gopher's limits were set on English web pages. A page of an API reference is short (which also lets any four words be a
sixth of its letters), its identifiers are long words and its sentences go without "the" and "of": by the web limits one
page in four goes, most of them good. Source code repeats its lines. And some limits are those of English alone: stop
words, the length of words, the share of words with a letter, and how often word n-grams repeat (FineWeb-2 sets them
anew for each language). So a document that only they would drop goes on with a mark, and whether they hold is decided
for the whole source at the end (`settle`): a source of which the first three would take more than a quarter is not
English.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from datatrove.data import Document as Item
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.word_tokenizers import WordTokenizer

from tenet.corpus.card import ENGLISH
from tenet.corpus.documents import Document
from tenet.corpus.ngrams import words_of
from tenet.settings.corpus import FiltersConfig

Verdict = bool | tuple[bool, str]
Foreign = dict[tuple[int, str], tuple[int, int]]
#: A source of which those rules would take more than this is not English; nor is a file of at least so many documents
#: in another one.
FOREIGN, FOREIGN_FILE, FILE_DOCUMENTS = 0.25, 0.5, 4
#: Metadata that hold a mark: the reason by which the document goes if its source is English.
MARK, NGRAMS = "_english", "_ngrams"
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


# --- the whole source ------------------------------------------------------------------------------------------------


@dataclass
class Settled:
    """What is kept and removed once it is known which sources are English; and what a reader should know about that."""

    kept: list[Document] = field(default_factory=list)
    removed: list[tuple[str, str, Document]] = field(default_factory=list)
    #: Source (its place) or file of one (place, name) -> documents read, and how many the rules for English would take,
    #: where they do not hold.
    foreign: Foreign = field(default_factory=dict)


def settle(kept: Iterable[Document], removed: Iterable[tuple[str, str, Document]], language: str) -> Settled:
    """Drop marked documents where the rules for English hold, take the mark off where they do not.

    Args:
        kept: what passed.
        removed: (filter, reason, document) of what did not.
        language: of the settings.
    """
    kept, removed = list(kept), list(removed)
    result = Settled()
    if language == "auto":
        result.foreign = _foreign([*kept, *(document for _, _, document in removed)])
    for name, reason, document in [*(("", "", document) for document in kept), *removed]:
        marks = [("quality", document["metadata"].pop(MARK, "")), ("repetition", document["metadata"].pop(NGRAMS, ""))]
        if not {key for key in _places(document) if key in result.foreign}:
            name, reason = next((mark for mark in marks if mark[1]), (name, reason))
        if name:
            result.removed.append((name, reason, document))
        else:
            result.kept.append(document)
    return result


def _places(document: Document) -> list[tuple[int, str]]:
    """The source of a document, and its file where it has one."""
    place, file = document["metadata"].get("_source", 0), document["metadata"].get("_file", "")
    return [(place, ""), (place, file)] if file else [(place, "")]


def _foreign(documents: list[Document]) -> Foreign:
    counts: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])
    for document in documents:
        for key in _places(document):
            counts[key][0] += 1
            counts[key][1] += MARK in document["metadata"]
    found: Foreign = {}
    for (place, file), (total, marked) in sorted(counts.items()):  # the source comes before its files
        enough = marked > FOREIGN_FILE * total and total >= FILE_DOCUMENTS if file else marked > FOREIGN * total
        if enough and (place, "") not in found:
            found[place, file] = (total, marked)
    return found
