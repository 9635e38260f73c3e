"""Settings of step 1."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class SourceConfig:
    """One source of text.

    Args:
        kind: botocore | cpython (inside this environment), folder (local files), huggingface (a data set by name).
        name: path of the folder or name of the data set; empty for the first two.
        subset, split, column: of a Hugging Face data set.
        max_bytes: most UTF-8 bytes to take; 0 takes all.
        licence: SPDX name written to each document where the source does not say it itself.
    """

    kind: Literal["botocore", "cpython", "folder", "huggingface"]
    name: str = ""
    subset: str = ""
    split: str = "train"
    column: str = "text"
    max_bytes: int = 0
    licence: str = ""


@dataclass(frozen=True)
class CorpusConfig:
    """Step 1.

    Args:
        sources: where text comes from, mixed in this order; empty takes the domain's own.
        max_bytes: most UTF-8 bytes of all documents together; 0 takes all.
        service_cap: largest share of the documents' bytes that one service may have.
        vocab_size: entries of the tokenizer, special tokens included; it replaces the model's own vocabulary size.
        tokenizer: "train" or the folder of a finished tokenizer, or "smollm2".
        near_duplicate: Jaccard similarity of word 5-grams above which a document is a near duplicate.
        decontaminate: words in a row shared with an evaluation row that make a document contaminated.
        evaluation: evaluation tasks to decontaminate against ("none" when the list is empty).
        heldout: shares of the services held out for validation and for test.
        instructions, preferences, requests: most rows of each in the train split; 0 takes all.
        workers: processes of the datatrove executor.
        executor: local | slurm | ray.
    """

    sources: tuple[SourceConfig, ...] = field(default=(), metadata={"path": "inputs"})
    max_bytes: int = 16_000_000
    service_cap: float = 0.03
    vocab_size: int = 2048
    tokenizer: str = field(default="train", metadata={"path": True})
    near_duplicate: float = 0.8
    decontaminate: int = 13
    evaluation: tuple[str, ...] = ("arc_easy", "sciq", "piqa", "hellaswag", "openbookqa", "boolq")
    heldout: tuple[float, float] = (0.04, 0.08)
    instructions: int = 12_000
    preferences: int = 8_000
    requests: int = 6_000
    workers: int = 2
    executor: Literal["local", "slurm", "ray"] = "local"
