"""Rows of the function-calling leaderboard: joined, renamed, refused where they do not fit, and right for right calls."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.generation.protocol import Sampling
from tenet.errors import ConfigError
from tenet.evaluate.bfcl import CATEGORIES, LEFT_OUT, read_bfcl, rows_sha256
from tenet.evaluate.items import load_items
from tenet.evaluate.runner import run_task
from tenet.evaluate.tasks import TASKS, load_task
from tenet.files import write_jsonl
from tenet.verifiers import read_verifier, verify
from tests.tenet.evaluate.tiny import Scripted, call
from tests.tenet.verifiers.mutated_calls import whole_calls

FUNCTION = {
    "name": "lamp.set",
    "description": "Sets a lamp.",
    "parameters": {
        "type": "dict",
        "properties": {
            "type": {"type": "string", "description": "Which lamp."},
            "level": {"type": "float"},
            "at": {"type": "tuple", "items": {"type": "any"}},
            "more": {"type": "dict", "properties": {"hue": {"type": "float"}}},
        },
        "required": ["type"],
    },
}
#: Published rows that contradict themselves even when all that is right is given: a right parameter that the function has
#: not, a parameter without a right value.
CONTRADICTIONS = {
    "parallel_multiple_12", "parallel_multiple_26", "live_simple_106-63-0", "live_simple_112-68-0", "live_multiple_507-149-4",
    "live_multiple_862-181-3", "live_multiple_964-207-0",
}  # fmt: skip


def written(folder: Path, category: str = "simple_python", **changes: Any) -> Path:
    """One question and its answer, as the wheel has them."""
    question = {"id": "a", "question": [[{"role": "user", "content": "Dim the lamp."}]], "function": [FUNCTION], **changes}
    (folder / "possible_answer").mkdir(parents=True, exist_ok=True)
    (folder / f"BFCL_v4_{category}.json").write_text(json.dumps(question) + "\n")
    answer = {"id": "a", "ground_truth": [{"lamp.set": {"type": ["hall"], "level": [0.5, ""]}}]}
    (folder / "possible_answer" / f"BFCL_v4_{category}.json").write_text(json.dumps(answer) + "\n")
    return folder


def test_questions_and_answers_become_conversations_with_tools(tmp_path: Path) -> None:
    (row,) = read_bfcl(written(tmp_path), "simple_python")
    function = row["tools"][0]["function"]
    assert row["messages"] == [{"role": "user", "content": "Dim the lamp."}]
    assert row["answer"] == [{"lamp_set": {"type": ["hall"], "level": [0.5, ""]}}]
    assert (function["name"], function["parameters"]["type"], function["parameters"]["required"]) == (
        "lamp_set",
        "object",
        ["type"],
    )
    assert function["parameters"]["properties"] == {
        "type": {"type": "string", "description": "Which lamp."},
        "level": {"type": "number"},
        "at": {"type": "array", "items": {"type": "string"}},
        "more": {"type": "object", "properties": {"hue": {"type": "number"}}},
    }
    assert FUNCTION["name"] == "lamp.set"  # what was read is left as it was


@pytest.mark.parametrize(("category", "right"), [("irrelevance", "none"), ("live_relevance", "any")])
def test_where_there_are_no_right_calls(tmp_path: Path, category: str, right: str) -> None:
    (row,) = read_bfcl(written(tmp_path, category), category)
    assert row["answer"] == right


def test_the_hash_is_that_of_the_rows_not_of_their_packing(tmp_path: Path) -> None:
    plain = written(tmp_path / "plain")
    for path in [*plain.glob("*.json"), *plain.glob("possible_answer/*.json")]:
        packed = tmp_path / "packed" / path.relative_to(plain).with_suffix(".jsonl.gz")
        packed.parent.mkdir(parents=True, exist_ok=True)
        packed.write_bytes(gzip.compress(path.read_bytes()))
    first, second = (rows_sha256(read_bfcl(folder, "simple_python")) for folder in (plain, tmp_path / "packed"))
    assert first == second != rows_sha256([])


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'simple_java' is left out: its values are source code"):
        read_bfcl(tmp_path, "simple_java")
    with pytest.raises(ConfigError, match="'simple' is unknown: there are simple_python"):
        read_bfcl(tmp_path, "simple")
    with pytest.raises(ConfigError, match=r"BFCL_v4_multiple.json does not exist.*pip download --no-deps bfcl-eval"):
        read_bfcl(tmp_path, "multiple")
    with pytest.raises(ConfigError, match="has 2 turns"):
        read_bfcl(written(tmp_path, question=[[], []]), "simple_python")
    with pytest.raises(ConfigError, match="do not name the same rows"):
        read_bfcl(written(tmp_path, id="b"), "simple_python")
    (tmp_path / "BFCL_v4_simple_python.json").write_text("{\n")
    with pytest.raises(ConfigError, match=r"BFCL_v4_simple_python.json:2: not valid JSON"):
        read_bfcl(tmp_path, "simple_python")
    assert not LEFT_OUT.keys() & CATEGORIES.keys()


def test_a_task_of_such_rows_is_asked_and_judged(tmp_path: Path) -> None:
    rows = read_bfcl(written(tmp_path), "simple_python")
    write_jsonl(tmp_path / "rows.jsonl", rows)
    stated = (TASKS / "bfcl_simple.yaml").read_text().replace("bfcl:simple_python", "rows.jsonl")
    (tmp_path / "calls.yaml").write_text("\n".join(line for line in stated.splitlines() if not line.startswith("sha256")))
    loaded = load_items(load_task(str(tmp_path / "calls.yaml")))
    right = Scripted(say=lambda messages, tools: call(tools[0]["function"]["name"], {"type": "Hall", "level": 0.5}))
    wrong = Scripted(say=lambda messages, tools: call("lamp_set", {"type": "hall", "level": "0.5"}))
    scores = [run_task(one, loaded, "base", Sampling(max_tokens=8))[0]["score"] for one in (right, wrong)]
    assert scores == [1.0, 0.0]


def test_every_category_has_a_task() -> None:
    names = {load_task(path.stem).data.removeprefix("bfcl:"): load_task(path.stem) for path in TASKS.glob("bfcl_*.yaml")}
    assert names.keys() == CATEGORIES.keys()
    assert {name for name, task in names.items() if task.baseline == 1} == {"irrelevance", "live_irrelevance"}


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_published_rows(shared_data: Path, category: str) -> None:
    """As many as published, those that the YAML was written for, and right for calls out of their right values."""
    rows = read_bfcl(shared_data / "bfcl", category)
    task = next(task for task in map(load_task, (p.stem for p in TASKS.glob("bfcl_*.yaml"))) if task.data == f"bfcl:{category}")
    assert rows_sha256(rows) == task.sha256
    if CATEGORIES[category]:
        return
    for row in rows:
        verdict = verify({**row, "verifier": read_verifier("function_calls", row)}, "", whole_calls(row))
        assert verdict.score == float(row["id"] not in CONTRADICTIONS), (row["id"], verdict.errors)
