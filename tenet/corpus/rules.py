"""What a document must be like: Gopher's rules (arXiv:2112.11446), by kind of document and by language.

The numbers are counted once a document (`filters/statistics.py`) and go with it, the limits are data
(`filters/thresholds.py`). Some limits are those of English alone: stop words, the length of words, the share of words
with a letter, and how often word n-grams repeat. So a document that only they would drop goes on with a mark, and
whether they hold is decided for the whole source at the end (`settle`): a source of which the first three would take
more than a quarter is not English.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from datatrove.data import Document as Item
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers import JsonlWriter

from tenet.corpus.cards.card import ENGLISH
from tenet.corpus.documents import ENGLISH_LIMITS, KIND, NUMBERS, Held
from tenet.corpus.filters.statistics import MOST_TEXTS, statistics, statistics_of
from tenet.corpus.filters.text_kinds import kind_of_text
from tenet.corpus.filters.thresholds import KINDS, limits_for, verdict
from tenet.settings.corpus import FiltersConfig

Verdict = bool | tuple[bool, str]
Foreign = dict[tuple[int, str], tuple[int, int]]
#: A source of which those rules would take more than this is not English; nor is a file of at least so many documents
#: in another one.
FOREIGN, FOREIGN_FILE, FILE_DOCUMENTS = 0.25, 0.5, 4
#: Metadata that hold a mark: the reason by which the document goes if its source is English.
MARK, NGRAMS = "_english", "_ngrams"
#: Kinds that a source says; of any other document the text tells.
OTHER_KINDS = tuple(kind for kind in KINDS if kind != "prose")
#: Characters of documents that are measured together: beyond it the arrays leave the processor's caches.
TOGETHER = 250_000
#: The rule sets that always hold.
ALWAYS = ("gopher_quality", "gopher_repetition")


class Measure(PipelineStep):
    """Counts the numbers of many documents together, ahead of the filters that ask for them: a short page alone costs
    ten times as much."""

    name, type = "numbers", "tagger"

    def __init__(self, config: FiltersConfig) -> None:
        super().__init__()
        self.config = config

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Pass every document on, measured."""
        sets = (*ALWAYS, *self.config.web_rules)
        for batch in in_batches(data):
            layout = self.config.gopher == "auto" and any(doc.metadata["kind"] not in OTHER_KINDS for doc in batch)
            for doc, numbers in zip(batch, statistics_of([doc.text for doc in batch], sets=sets, layout=layout), strict=True):
                doc.metadata[NUMBERS] = numbers
                yield doc


def in_batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Documents of about `TOGETHER` characters, at most as many as are counted at once."""
    batch: list[Item] = []
    held = 0
    for item in items:
        batch.append(item)
        held += len(item.text)
        if held >= TOGETHER or len(batch) == MOST_TEXTS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


class ByLimits(BaseFilter):
    """The limits of one rule set, by kind of document."""

    rules = ""

    def __init__(self, config: FiltersConfig, writer: JsonlWriter | None) -> None:
        super().__init__(writer)
        self.config = config
        self.limits = {kind: limits_for(kind, sets=(self.rules,)) for kind in KINDS}

    def kind(self, item: Item) -> str:
        """Which limits a document gets; "off" for none. That it is a table or dialogue, its text says."""
        if self.config.gopher != "auto":
            return self.config.gopher
        kind = str(item.metadata["kind"])
        if kind in OTHER_KINDS:
            return kind
        found = kind_of_text(item.text, self.numbers(item))
        # Prose about code (a README, a manual) looks like code to its letters, and code goes by fewer limits: that a
        # text is code, its reader says.
        return found if found != "source" else "prose"

    def numbers(self, item: Item) -> dict[str, float]:
        """As `Measure` counted them; alone where it did not. They stay with the document."""
        found: dict[str, float] | None = item.metadata.get(NUMBERS)
        if found is None:
            layout = self.config.gopher == "auto" and item.metadata["kind"] not in OTHER_KINDS
            found = item.metadata[NUMBERS] = statistics(item.text, sets=(*ALWAYS, *self.config.web_rules), layout=layout)
        return found

    def broken(self, item: Item) -> tuple[str, str]:
        """The first general rule that the document breaks, and the mark: the first rule, where that is one of English.

        A document that breaks a general rule first needs no mark.
        """
        kind = item.metadata[KIND] = self.kind(item)
        if kind == "off":
            return "", ""
        reasons = verdict(self.numbers(item), limits=self.limits[kind]).reasons
        general = next((reason.name for reason in reasons if not reason.english), "")
        mark = reasons[0].name if reasons and reasons[0].english and self.config.language != "any" else ""
        return general, mark


class Quality(ByLimits):
    """Length, symbols and lines; and what is about English, as a mark."""

    name, rules = "quality", "gopher_quality"

    def filter(self, doc: Item) -> Verdict:
        """Drop by the general rules; mark what only the English ones would drop."""
        reason, mark = self.broken(doc)
        if mark in ENGLISH:
            doc.metadata[MARK] = mark
        return (False, reason) if reason else True


class Repetition(ByLimits):
    """Repeated lines and paragraphs; and repeated word n-grams, whose limits are those of English words, as a mark."""

    name, rules = "repetition", "gopher_repetition"

    def filter(self, doc: Item) -> Verdict:
        """Drop by lines, mark by n-grams; code repeats itself by nature."""
        reason, mark = self.broken(doc)
        if reason:
            return False, reason
        if mark:
            doc.metadata[NGRAMS] = mark
        return True


class WebRules(ByLimits):
    """The limits of C4 or FineWeb, made for pages of prose; by setting."""

    def __init__(self, rules: str, config: FiltersConfig, writer: JsonlWriter | None) -> None:
        self.name = self.rules = rules
        super().__init__(config, writer)

    def filter(self, doc: Item) -> Verdict:
        """Drop by the first rule that is broken."""
        reason, _ = self.broken(doc)
        return (False, reason) if reason else True


# --- the whole source ------------------------------------------------------------------------------------------------


D = TypeVar("D", bound=Held)


@dataclass
class Settled(Generic[D]):
    """What is kept and removed once it is known which sources are English; and what a reader should know about that."""

    kept: list[D] = field(default_factory=list)
    removed: list[tuple[str, str, D]] = field(default_factory=list)
    #: Source (its place) or file of one (place, name) -> documents read, and how many the rules for English would take,
    #: where they do not hold.
    foreign: Foreign = field(default_factory=dict)


def settle(kept: Iterable[D], removed: Iterable[tuple[str, str, D]], language: str) -> Settled[D]:
    """Drop marked documents where the rules for English hold, take the mark off where they do not.

    Args:
        kept: what passed.
        removed: (filter, reason, document) of what did not.
        language: of the settings.
    """
    kept, removed = list(kept), list(removed)
    result: Settled[D] = Settled()
    if language == "auto":
        result.foreign = _foreign([*kept, *(document for _, _, document in removed)])
    for name, reason, document in [*(("", "", document) for document in kept), *removed]:
        marks = [("quality", document["metadata"].pop(MARK, "")), ("repetition", document["metadata"].pop(NGRAMS, ""))]
        english = document["metadata"][ENGLISH_LIMITS] = language != "any" and not any(
            key in result.foreign for key in _places(document)
        )
        if english:
            name, reason = next((mark for mark in marks if mark[1]), (name, reason))
        if name:
            result.removed.append((name, reason, document))
        else:
            result.kept.append(document)
    return result


def _places(document: Held) -> list[tuple[int, str]]:
    """The source of a document, and its file where it has one."""
    place, file = document["metadata"].get("_source", 0), document["metadata"].get("_file", "")
    return [(place, ""), (place, file)] if file else [(place, "")]


def _foreign(documents: Iterable[Held]) -> Foreign:
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
