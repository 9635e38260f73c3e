"""Examples before a question: the draws of lm-eval, written out a second time, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tenet.errors import ConfigError
from tenet.evaluate.items import load_items
from tenet.evaluate.tasks import Task, load_task

YAML = """version: 1
about: metals
kind: choice
data: rows.jsonl
licence: none
context: "Question: {{ q }}\\nAnswer:"
choices: options
gold: right
metric: acc
"""


def rows_of(count: int, subject: str = "m") -> list[dict[str, Any]]:
    return [{"q": f"{subject} {i}?", "options": [f"yes{i}", f"no{i}"], "right": i % 2, "subject": subject} for i in range(count)]


def write(folder: Path, rows: list[dict[str, Any]], extra: str = "", name: str = "rows.jsonl") -> Task:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "metals.yaml").write_text(YAML + extra)
    load_task.cache_clear()
    return load_task(str(folder / "metals.yaml"))


def example(row: dict[str, Any]) -> str:
    return f"Question: {row['q']}\nAnswer: {row['options'][row['right']]}\n\n"


def test_own_rows_are_drawn_one_more_and_the_asked_one_left_out(tmp_path: Path) -> None:
    rows = rows_of(9)
    task = dataclasses.replace(write(tmp_path, rows), shots=3)
    generator = random.Random(1234)
    wanted = []
    for row in rows:
        drawn = [one for one in generator.sample(rows, 4) if one != row][:3]
        wanted.append("".join(map(example, drawn)) + f"Question: {row['q']}\nAnswer:")
    assert [item.prompts[0] for item in load_items(task).items] == wanted
    # What a row gets does not depend on which rows are asked.
    few = load_items(task, 4, seed=5).items
    assert [item.prompts[0] for item in few] == [wanted[item.number] for item in few]


def test_a_row_that_is_there_twice_is_never_its_own_example(tmp_path: Path) -> None:
    rows = [*rows_of(3), rows_of(1)[0]]
    task = dataclasses.replace(write(tmp_path, rows), shots=2)
    for item in load_items(task).items:
        before, _, asked = item.prompts[0].rpartition("Question: ")
        assert asked not in before and before.count("Question: ") == 2


def test_examples_of_other_data_by_subject_the_first_ones(tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(4, "a") + rows_of(4, "b")))
    extra = (
        'shots_data: dev.jsonl\nshots_from: first\nshots_by: subject\npreamble: "About {{ subject }}.\\n\\n"\nseparator: " "\n'
    )
    task = dataclasses.replace(write(tmp_path, rows_of(2, "a") + rows_of(2, "b"), extra), shots=2)
    for item in load_items(task).items:
        subject = "a" if item.number < 2 else "b"
        shown = "".join(map(example, rows_of(2, subject)))
        assert item.prompts[0] == f"About {subject}.\n\n{shown}Question: {subject} {item.number % 2}?\nAnswer:"


def test_what_is_refused(tmp_path: Path) -> None:
    task = write(tmp_path, rows_of(3))
    with pytest.raises(ConfigError, match=r"5 examples asked for, 3 rows of rows\.jsonl can be one"):
        load_items(dataclasses.replace(task, shots=5))
    with pytest.raises(ValueError, match="examples go before plain text"):
        dataclasses.replace(task, context="", prompt="[q]", shots=1)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"right": 2}, r"gold is 2, the choices are numbered 0 to 1"),
        ({"right": -1}, r"gold is -1"),
        ({"right": "B"}, r"gold is 'B'"),
        ({"right": [0, 1]}, r"only the metric mass"),
        ({"options": ["only"]}, r"at least two"),
        ({"options": ["a", ""]}, r"none of them empty"),
    ],
)
def test_a_label_that_no_answer_could_hit_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    rows = rows_of(3)
    rows[1] |= change
    with pytest.raises(ConfigError, match=rf"row 1 of rows\.jsonl: .*{message}"):
        load_items(write(tmp_path, rows))


def test_ids_that_repeat_are_refused(tmp_path: Path) -> None:
    rows = [{**row, "name": "same"} for row in rows_of(2)]
    with pytest.raises(ConfigError, match="id 'same' is the id of several rows"):
        load_items(write(tmp_path, rows, "id: name\n"))
