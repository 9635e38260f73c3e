"""Conversations and preference pairs from wherever they lie: the corpus stage, a local file, or a Hugging Face data set by name.

Everything becomes the project's own rows (docs/architecture.md), so the stages know one shape. Data that cannot be had is an error that
says what to do, except where the settings name a fallback; which one was used is always in the summary.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError, StageError
from tenet.files import read_jsonl
from tenet.runs.workspace import Workspace

Row = dict[str, Any]
#: Folder of local copies of public data sets; `hh_rlhf/` in it is found by the name "hh-rlhf".
DATA_VARIABLE = "TENET_DATA"
HH_NAMES = ("hh-rlhf", "Anthropic/hh-rlhf")


def conversations(data: str, ws: Workspace) -> tuple[list[Row], list[Row], str]:
    """Training and held-out conversations, and where they came from.

    Args:
        data: "corpus", a JSONL file (`.gz` too) or the name of a Hugging Face data set with a `messages` column.
    """
    if data == "domain":
        folder = ws.input("corpus") / "instructions"
        return read_jsonl(folder / "train.jsonl"), read_jsonl(folder / "test.jsonl"), "documentation of the AWS API (botocore)"
    rows = [row for row in _rows(data) if row.get("messages")]
    if not rows:
        raise ConfigError(
            f"finetune.data is {data!r}: no row has `messages`; give conversations in the format of docs/architecture.md"
        )
    return *split_by_prompt(rows, lambda row: str(row["messages"][0])), data


def preferences(data: str, fallback: str, ws: Workspace) -> tuple[list[Row], list[Row], str]:
    """Training and held-out pairs, and where they came from.

    Args:
        data: as for conversations, or "hh-rlhf" for Anthropic's human preference pairs (local file, else the hub).
        fallback: used when `data` cannot be had; "" makes that an error.
    """
    if data == "domain":
        folder = ws.input("corpus") / "preferences"
        return (
            read_jsonl(folder / "train.jsonl"),
            read_jsonl(folder / "test.jsonl"),
            "exact labels from the AWS documentation (botocore)",
        )
    try:
        rows = [preference_row(row) for row in _rows(data)]
    except ConfigError as error:
        if not fallback:
            raise
        train, test, used = preferences(fallback, "", ws)
        return train, test, f"{used}; {data} could not be had ({error})"
    return *split_by_prompt(rows, lambda row: str(row["prompt"])), data


def preference_row(row: Row) -> Row:
    """A pair in the project's shape, from itself or from HH-RLHF's two transcripts."""
    if isinstance(row.get("prompt"), list):
        return row
    if not (isinstance(row.get("chosen"), str) and isinstance(row.get("rejected"), str)):
        raise StageError(f"a preference row has the keys {', '.join(sorted(row))}; it needs prompt, chosen and rejected")
    chosen, rejected = transcript(row["chosen"]), transcript(row["rejected"])
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    return {
        "prompt": chosen[:shared],
        "chosen": chosen[shared:][:1],
        "rejected": rejected[shared:][:1],
        "source": "Anthropic/hh-rlhf",
        "licence": "MIT",
    }


def transcript(text: str) -> list[Row]:
    """HH-RLHF's "\\n\\nHuman: ... \\n\\nAssistant: ..." as messages."""
    messages: list[Row] = []
    for part in text.split("\n\n"):
        for mark, role in (("Human: ", "user"), ("Assistant: ", "assistant")):
            if part.startswith(mark.strip()):
                messages.append({"role": role, "content": part[len(mark) - 1 :].strip()})
                break
        else:
            if messages:
                messages[-1]["content"] += "\n\n" + part
    return messages


def split_by_prompt(rows: list[Row], key: Any, heldout: float = 0.1) -> tuple[list[Row], list[Row]]:
    """Hold rows out by a hash of their prompt, so that two answers to one question never stand on both sides."""

    def is_test(row: Row) -> bool:
        return int.from_bytes(hashlib.sha256(key(row).encode()).digest()[:4], "big") / 2**32 < heldout

    train, test = [r for r in rows if not is_test(r)], [r for r in rows if is_test(r)]
    if not train or not test:
        raise ConfigError(f"{len(rows)} rows are too few to hold some out by prompt; give more")
    return train, test


def _rows(data: str) -> Iterator[Row]:
    if data.endswith((".jsonl", ".jsonl.gz")):
        yield from _file(Path(data))
    elif data in HH_NAMES:
        local = sorted(Path(os.environ[DATA_VARIABLE]).glob("hh_rlhf/**/*.jsonl.gz")) if os.environ.get(DATA_VARIABLE) else []
        if local:
            for path in local:
                yield from _file(path)
        else:
            yield from _hub("Anthropic/hh-rlhf")
    else:
        yield from _hub(data)


def _file(path: Path) -> Iterator[Row]:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give an existing JSONL file")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise StageError(f"{path}:{number}: not valid JSON ({error})") from None


def _hub(name: str) -> Iterator[Row]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise ConfigError(
            f"data set {name!r} needs the package `datasets` (pip install datasets) and the hub; or give a local JSONL file, or set "
            f"{DATA_VARIABLE} to a folder of local copies"
        ) from None
    try:
        yield from load_dataset(name, split="train", streaming=True)
    except Exception as error:  # the hub client raises many kinds of network error
        raise ConfigError(
            f"data set {name!r} could not be read from the hub ({type(error).__name__}); give a local JSONL file"
        ) from error
