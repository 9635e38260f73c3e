"""`tenet evaluate --model DIR` on a folder and a file alone: no corpus, no domain's rows, no earlier stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tenet.cli.main import main
from tenet.files import read_json, read_jsonl
from tenet.verifiers.text import last_number
from tests.tenet.evaluate.tiny import model_folder


@pytest.fixture
def quiz(tmp_path: Path) -> Path:
    rows = [{"q": f"which is metal {i}?", "options": ["iron", "wood"], "right": i % 2} for i in range(9)]
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"version": 1, "about": "metals", "kind": "choice", "data": "quiz.jsonl", "licence": "none"}
    task |= {"context": "Question: {{ q }}\nAnswer:", "choices": "options", "gold": "right", "metric": "acc"}
    (tmp_path / "quiz.yaml").write_text(json.dumps(task))
    sums = {**task, "kind": "generate", "verifier": "{'kind': 'number', 'answer': right}", "metric": "score", "baseline": 0.0}
    del sums["choices"], sums["gold"]
    (tmp_path / "sums.yaml").write_text(json.dumps({**sums, "until": ["\n"], "shot": "Question: {{ q }}\nAnswer: {{ right }}"}))
    return tmp_path


def test_a_folder_and_tasks_by_path(quiz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = model_folder(quiz / "model")
    names = f"{quiz / 'quiz.yaml'},{quiz / 'sums.yaml'}"
    words = ["evaluate", "--model", str(model), "--tasks", names, "--limit", "6", "--shots", "2", "--run", str(quiz / "run")]
    assert main([*words, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "task quiz: 6 of 9 rows" in shown and "told apart from" in shown and not (quiz / "run").exists()
    assert main(words) == 0
    rows = read_jsonl(quiz / "run" / "evaluate" / "rows" / "quiz.jsonl")
    numbers = [row["row"] for row in rows]
    assert numbers == sorted(numbers) and len(set(numbers)) == 6
    for row in rows:
        assert len(row["ll"]) == len(row["greedy"]) == 2 and row["pred"] == row["ll"].index(max(row["ll"]))
        assert row["correct"] == (row["pred"] == row["gold"]) == bool(row["score"])
        assert row["asked"].count("Question:") == 3
    made = read_jsonl(quiz / "run" / "evaluate" / "rows" / "sums.jsonl")
    assert all("\n" not in row["text"] and row["read"] == (last_number(row["text"]) is not None) for row in made)
    summary = read_json(quiz / "run" / "evaluate" / "summary.json")
    assert summary["tasks"]["quiz"]["shots"] == 2
    assert summary["answers"]["sums"][str(model)]["unread"] == sum(not row["read"] for row in made) / 6
    compare = ["evaluate", "compare", str(quiz / "run"), str(quiz / "run")]
    assert main(compare) == 0
    edited = quiz / "run" / "evaluate" / "rows" / "quiz.jsonl"
    edited.write_text(edited.read_text().replace('"score": 0.0', '"score": 1.0'))
    capsys.readouterr()
    assert main(compare) != 0 and "rows/quiz.jsonl" in capsys.readouterr().err


def test_tasks_of_a_corpus_that_is_not_there_are_left_out_or_refused(quiz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = model_folder(quiz / "model")
    words = ["evaluate", "--model", str(model), "--domain", "aws_api", "--limit", "3", "--run", str(quiz / "run")]
    assert main([*words, "--tasks", f"{quiz / 'quiz.yaml'},domain"]) == 0
    summary = read_json(quiz / "run" / "evaluate" / "summary.json")
    assert set(summary["not_asked"]) == {"aws_description", "aws_operation", "aws_tool"} and "not asked" in summary["headline"]
    assert main([*words[:-1], str(quiz / "other"), "--tasks", "aws_tool"]) == 2
    assert "run `tenet corpus` first" in capsys.readouterr().err
