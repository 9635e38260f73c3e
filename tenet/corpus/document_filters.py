"""Blocks of the document pipeline that are no rules on numbers: what is mended, masked, refused by its address or its
language, and what a model says of a text. Each leaves its finding in the metadata of the document.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers import JsonlWriter

from tenet.corpus.documents import LANGUAGE, MASKED, REPAIRED, SCORE, TOXIC
from tenet.corpus.filters.language import Identifier
from tenet.corpus.filters.personal.masking import find, mask
from tenet.corpus.filters.quality import Classifier
from tenet.corpus.filters.repair import repair
from tenet.corpus.filters.toxicity import Toxicity
from tenet.corpus.filters.urls import UrlRules
from tenet.corpus.licences import licence_class
from tenet.settings.corpus import FiltersConfig, SourceConfig

Verdict = bool | tuple[bool, str]


class Repair(PipelineStep):
    """Mends encoding mistakes and takes out characters that nobody sees; what it did is counted."""

    name, type = "repair", "formatter"

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Pass every document on, mended."""
        for doc in data:
            doc.text, counts = repair(doc.text)
            if counts:
                doc.metadata[REPAIRED] = counts
            yield doc


class Licences(BaseFilter):
    """Drop documents whose licence is of a refused class."""

    name = "licence"

    def __init__(self, refused: Sequence[str], writer: JsonlWriter | None) -> None:
        super().__init__(writer)
        self.refused = frozenset(refused)

    def filter(self, doc: Document) -> Verdict:
        """Keep what may be used; the reason names class and licence."""
        licence = str(doc.metadata["licence"])
        found = licence_class(licence)
        return (False, f"{found}: {licence}") if found in self.refused else True


class Urls(BaseFilter):
    """Drop documents whose address is on a block list and on no allow list; a document without an address stays."""

    name = "address"

    def __init__(self, config: FiltersConfig, writer: JsonlWriter | None) -> None:
        super().__init__(writer)
        self.rules = UrlRules([Path(p) for p in config.block_urls], [Path(p) for p in config.allow_urls])

    def filter(self, doc: Document) -> Verdict:
        """The reason names rule and list."""
        url = str(doc.metadata.get("url") or "")
        reason = self.rules.verdict(url) if url else ""
        return (False, reason) if reason else True


class Languages(BaseFilter):
    """Tell each document's language; drop those that the settings do not allow."""

    name = "language"

    def __init__(self, config: FiltersConfig, writer: JsonlWriter | None) -> None:
        super().__init__(writer)
        self.model, self.allowed = config.language_model, frozenset(config.languages)
        self.identifier: Identifier | None = None

    def filter(self, doc: Document) -> Verdict:
        """The reason is the language that was found."""
        if self.identifier is None:  # in the worker: a model does not travel
            self.identifier = Identifier(Path(self.model) if self.model else None)
        code, probability = self.identifier.identify(doc.text)
        doc.metadata[LANGUAGE] = [code, round(probability, 4)]
        return True if not self.allowed or code in self.allowed else (False, code)


class Learned(BaseFilter):
    """The score of a quality classifier, and the documents below its threshold."""

    name = "classifier"

    def __init__(self, config: FiltersConfig, writer: JsonlWriter | None) -> None:
        super().__init__(writer)
        self.folder, self.threshold = config.quality_model, config.quality_threshold
        self.classifier: Classifier | None = None

    def filter(self, doc: Document) -> Verdict:
        """The reason is the same for all: the score stands beside the document."""
        if self.classifier is None:
            self.classifier = Classifier(Path(self.folder))
        score = doc.metadata[SCORE] = round(self.classifier.score(doc.text), 4)
        return True if score >= self.threshold else (False, f"score below {self.threshold:g}")


class Toxic(PipelineStep):
    """Tags each document with what a trained model says of it, by label; nothing is dropped for it."""

    name, type = "toxicity", "tagger"

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Pass every document on, tagged."""
        model = Toxicity.from_folder(Path(self.folder))
        for doc in data:
            doc.metadata[TOXIC] = {name: round(value, 4) for name, value in model.score(doc.text).items()}
            yield doc


class Personal(BaseFilter):
    """Masks personal data, or drops the documents that hold some, as their source says.

    Args:
        sources: by place; `personal` is mask, drop or keep.
    """

    name = "personal data"

    def __init__(self, sources: Sequence[SourceConfig], writer: JsonlWriter | None) -> None:
        super().__init__(writer)
        self.what = [source.personal for source in sources]

    def filter(self, doc: Document) -> Verdict:
        """The reason names the kinds that were found."""
        what = self.what[doc.metadata["_source"]]
        if what == "mask":
            doc.text, counts = mask(doc.text)
            if counts:
                doc.metadata[MASKED] = counts
        elif what == "drop" and (found := Counter(one.kind for one in find(doc.text))):
            return False, ", ".join(sorted(found))
        return True
