"""Settings of step 1."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Most = int | Literal["all"]


#: Kinds of source that every run can read; a domain's rows.py may add its own.
COMMON_KINDS = ("cpython", "folder", "huggingface")


#: Stands among the sources for all that the domain names.
DOMAIN_KIND = "domain"


@dataclass(frozen=True)
class SourceConfig:
    """One source of text.

    Args:
        kind: folder (local files), huggingface (a data set by name), cpython (the running Python's documentation), a
            kind that the domain brings, or domain: the domain's own sources, beside others.
        name: path of the folder or file, or name of the data set; what else it means says the kind.
        subset, split: of a Hugging Face data set.
        column: of a table that holds the text.
        max_bytes: most UTF-8 bytes to take, or all.
        licence: SPDX name of documents that do not say their own.
        encoding: of text files, e.g. cp1250; empty finds it out file by file.
        text: prose, reference or source: which limits of the filters its documents get; empty goes by the kind of file.
        weight: share of the training bytes that it should have, beside the other sources' weights; 0 for all of them
            takes each document once.
        max_epochs: with weights: most passes over it.
        personal: personal data (addresses, telephone numbers, accounts, keys, ...): mask puts `<EMAIL>` and the like in
            its place, drop leaves out the documents that hold some, keep looks for none.
    """

    kind: str
    name: str = ""
    subset: str = ""
    split: str = "train"
    column: str = "text"
    max_bytes: Most = "all"
    licence: str = ""
    encoding: str = ""
    text: Literal["", "prose", "reference", "source"] = ""
    weight: float = 0.0
    max_epochs: float = 4.0
    personal: Literal["mask", "drop", "keep"] = "mask"


@dataclass(frozen=True)
class FiltersConfig:
    """What a document must be like to be kept.

    Args:
        language: en: Gopher's limits for English (stop words, word lengths, share of words with letters, repeated word
            n-grams) hold everywhere; any: nowhere; auto: in each source of which the first three would take at most a
            quarter; another one is not taken as English.
        refuse_licences: classes of licences whose documents are not used: public_domain, permissive, copyleft,
            noncommercial, proprietary, unknown.
        repair: mend encoding mistakes and take out invisible characters first.
        block_urls, allow_urls: files or folders of rules on addresses; what is allowed is not blocked.
        languages: codes (ISO 639-1) of the languages that are used; empty uses all.
        language_model: fastText model that tells them apart, e.g. lid.176.ftz; empty takes py3langid.
        web_rules: the limits of C4 and FineWeb, made for pages of prose, too: c4, fineweb.
        quality_model: folder of a trained quality classifier (`tenet corpus quality`); quality_threshold: least score.
        toxicity_model: folder of a trained tagger (`tenet corpus toxicity`); its tags stand beside the documents and
            remove none.
        gopher: auto: limits by the kind of document; prose, reference or source: these for all; off: none.
    """

    language: Literal["auto", "en", "any"] = "auto"
    gopher: Literal["auto", "prose", "reference", "source", "off"] = "auto"
    refuse_licences: tuple[str, ...] = ()
    repair: bool = True
    block_urls: tuple[str, ...] = field(default=(), metadata={"path": "inputs"})
    allow_urls: tuple[str, ...] = field(default=(), metadata={"path": "inputs"})
    languages: tuple[str, ...] = ()
    language_model: str = field(default="", metadata={"path": True})
    web_rules: tuple[Literal["c4", "fineweb"], ...] = ()
    quality_model: str = field(default="", metadata={"path": True})
    quality_threshold: float = 0.5
    toxicity_model: str = field(default="", metadata={"path": True})


@dataclass(frozen=True)
class CorpusConfig:
    """Step 1.

    Args:
        sources: where text comes from, mixed in this order; empty takes the domain's own.
        max_bytes: most UTF-8 bytes of all documents together, or all.
        group_cap: largest share of the documents' bytes that one group (a file, an article) may have; 1 is no limit,
            "source" leaves it to the sources (files and rows have none; the demo's services do).
        filters: what a document must be like.
        most_refused: largest share of a file's rows that may be unreadable before the stage gives up.
        vocab_size: entries of the tokenizer, special tokens included; it replaces the model's own vocabulary size.
        tokenizer: "train" or the folder of a finished tokenizer, or "smollm2".
        near_duplicate: Jaccard similarity of word 5-grams above which a document is a near duplicate.
        edited_copy: of prose, share of the words of each of two documents in common word 5-grams above which one is an
            edited copy of the other, if their words differ in little else; 0 is off.
        passages: least words of a passage that is cut from every document but the first that has it; 0 cuts none.
        seen_in: run folders of earlier corpora whose documents are left out.
        memory_mb: most MiB that the search for duplicates holds; what goes beyond lies on disk.
        decontaminate: words in a row shared with an evaluation row that make a document contaminated.
        paraphrase: share of an evaluation row's weight that a place must hold to be a rewording of it; 0 looks for word
            for word only.
        evaluation: evaluation tasks to decontaminate against ("none" when the list is empty).
        heldout: shares of the text held out for validation and for test.
        instructions, preferences, requests: most rows of each in the train split that the domain makes; 0 is none, or
            all.
        workers: processes of the datatrove executor.
        executor: local | slurm | ray.
        keep_removed: keep the text of removed documents too, for `tenet corpus inspect`.
    """

    sources: tuple[SourceConfig, ...] = field(default=(), metadata={"path": "inputs"})
    max_bytes: Most = 16_000_000
    group_cap: float | Literal["source"] = "source"
    filters: FiltersConfig = field(default_factory=FiltersConfig)
    most_refused: float = 0.05
    vocab_size: int = 2048
    tokenizer: str = field(default="train", metadata={"path": True})
    near_duplicate: float = 0.8
    edited_copy: float = 0.83
    passages: int = 0
    seen_in: tuple[str, ...] = field(default=(), metadata={"path": "inputs"})
    memory_mb: int = 512
    decontaminate: int = 13
    paraphrase: float = 0.0
    evaluation: tuple[str, ...] = ("arc_easy", "sciq", "piqa", "hellaswag", "openbookqa", "boolq")
    heldout: tuple[float, float] = (0.04, 0.08)
    instructions: Most = 12_000
    preferences: Most = 8_000
    requests: Most = 6_000
    workers: int = 2
    executor: Literal["local", "slurm", "ray"] = "local"
    keep_removed: bool = True
