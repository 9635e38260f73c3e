"""IFEval as a task: rows as the authors' file has them, asked and judged end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lightning_modules.generation.protocol import Sampling
from tenet.errors import ConfigError
from tenet.evaluate.items import load_items
from tenet.evaluate.runner import run_task
from tenet.evaluate.task_rows import read_rows
from tenet.evaluate.tasks import TASKS, load_task
from tenet.files import write_jsonl
from tenet.verifiers.instruction_checks import CHECKS
from tenet.verifiers.instructions import instruction_level
from tests.tenet.evaluate.tiny import Scripted

ROWS: list[dict[str, Any]] = [
    {
        "key": 1,
        "prompt": "Name a metal in quotation marks, without commas.",
        "instruction_id_list": ["startend:quotation", "punctuation:no_comma"],
        "kwargs": [{}, {}],
    },
    {"key": 2, "prompt": "Give a title.", "instruction_id_list": ["detectable_format:title"], "kwargs": [{}]},
]


def task_on(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """The task with other rows."""
    write_jsonl(folder / "rows.jsonl", rows)
    stated = (TASKS / "ifeval.yaml").read_text().replace("data:ifeval/input_data.jsonl.gz", "rows.jsonl")
    (folder / "mine.yaml").write_text("\n".join(line for line in stated.splitlines() if not line.startswith("sha256")))
    return folder / "mine.yaml"


def test_the_four_accuracies_of_a_run(tmp_path: Path) -> None:
    loaded = load_items(load_task(str(task_on(tmp_path, ROWS))))
    asked = Scripted(say=lambda messages, tools: 'Here, now:\n"iron, or tin"' if "metal" in messages[0]["content"] else "<<Tin>>")
    rows = sorted(run_task(asked, loaded, "base", Sampling(max_tokens=8)), key=lambda row: row["id"])
    assert [row["score"] for row in rows] == [0.0, 1.0]
    assert [row["scores"]["loose"] for row in rows] == [0.0, 1.0]
    assert instruction_level(row["scores"] for row in rows) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_a_row_with_an_unknown_instruction_is_refused_by_number(tmp_path: Path) -> None:
    bad = {**ROWS[1], "key": 3, "instruction_id_list": ["detectable_format:titles"]}
    with pytest.raises(ConfigError, match=r"row 2 of rows.jsonl.*did you mean 'detectable_format:title'"):
        load_items(load_task(str(task_on(tmp_path, [*ROWS, bad]))))


def test_the_published_rows(shared_data: Path) -> None:
    rows = list(read_rows(load_task("ifeval"), folder=shared_data))
    assert len(rows) == 541 and {name for row in rows for name in row["instruction_id_list"]} == CHECKS.keys()
