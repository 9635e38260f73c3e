"""Long-context tasks as files: rows and a YAML each, which `tenet evaluate --tasks` takes like any task of one's own.

The rows depend on the tokenizer that counts them, so they are made for a model and lie beside it, not in this package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tenet.evaluate.long_context.fitting import Count
from tenet.evaluate.long_context.grid import needle_grid
from tenet.evaluate.long_context.haystack import Haystack
from tenet.evaluate.long_context.ruler import ANSWER_TOKENS, TASKS, make
from tenet.files import write_jsonl

Row = dict[str, Any]
#: Tasks that need no file of questions.
WITHOUT_QUESTIONS = tuple(task for task in TASKS if not task.startswith("qa"))


def write_suite(
    folder: Path,
    lengths: Sequence[int],
    rows: int,
    seed: int,
    count: Count,
    haystack: Haystack | None = None,
    tasks: Sequence[str] = WITHOUT_QUESTIONS,
    questions: Sequence[Row] = (),
) -> list[Path]:
    """One task of `rows` rows for every task and length, `niah_single_1_4096.yaml` and `.jsonl`.

    Returns:
        the YAML files.

    Raises:
        ConfigError: see `make`.
    """
    return [
        _write(folder, f"{task}_{length}", task, make(task, length, rows, seed, count, haystack, questions))
        for task in tasks
        for length in lengths
    ]


def write_grid(
    folder: Path,
    lengths: Sequence[int],
    depths: Sequence[int],
    rows: int,
    seed: int,
    count: Count,
    haystack: Haystack | None = None,
) -> Path:
    """The needle grid as one task, `needle_grid.yaml` and `.jsonl`; rows of one length and depth are a cluster."""
    return _write(
        folder, "needle_grid", "niah_single_2", needle_grid(lengths, depths, rows, seed, count, haystack), "length ~ '@' ~ depth"
    )


def _write(folder: Path, name: str, task: str, rows: Sequence[Row], cluster: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / f"{name}.jsonl", list(rows))
    verifier = "{'kind': 'contains', 'which': 'any'}" if task.startswith("qa") else "{'kind': 'contains', 'words': true}"
    content = {
        "version": 1,
        "about": f"long context (RULER's {task}, own words)",
        "kind": "generate",
        "data": f"{name}.jsonl",
        "sha256": hashlib.sha256((folder / f"{name}.jsonl").read_bytes()).hexdigest(),
        "licence": "that of the text around it",
        "id": "id",
        **({"cluster": cluster} if cluster else {}),
        "prompt": "[{'role': 'user', 'content': prompt}]",
        "answer": "answer",
        "verifier": verifier,
        "metric": "score",
        "max_tokens": ANSWER_TOKENS[task],
        "baseline": 0,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path
