"""`tenet evaluate compare`: two evaluations on the same rows, with the alarm that CI listens to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.data.chat import ChatTokenizer
from tenet.cli.main import main
from tenet.errors import ConfigError
from tenet.evaluate.items import load_items
from tenet.evaluate.paired_runs import compare_runs
from tenet.evaluate.tasks import load_task
from tenet.files import write_json, write_jsonl
from tenet.stats import holm, paired
from tests.tenet.evaluate.tiny import model_folder


def evaluated(folder: Path, tasks: dict[str, list[int]], stage: str = "finetune", **disclosed: Any) -> Path:
    for name, scores in tasks.items():
        rows = [
            {"row": i, "stage": stage, "task": name, "id": str(i), "cluster": str(i), "score": s} for i, s in enumerate(scores)
        ]
        write_jsonl(folder / "evaluate" / "rows" / f"{name}.jsonl", rows)
    write_json(folder / "evaluate" / "summary.json", {"tasks": {name: {"sha256": "d", **disclosed} for name in tasks}})
    return folder


def test_rows_are_paired_and_corrected(tmp_path: Path) -> None:
    first = evaluated(tmp_path / "a", {"one": [1] * 30 + [0] * 10, "two": [0, 1] * 10, "lone": [1]})
    second = evaluated(tmp_path / "b", {"one": [0] * 20 + [1] * 10 + [0] * 10, "two": [0, 1] * 12})
    found, notes = compare_runs(first, second)
    one = paired([1.0] * 30 + [0.0] * 10, [0.0] * 20 + [1.0] * 10 + [0.0] * 10)
    assert [(c.task, c.before, c.after, c.only) for c in found] == [("one", 0.75, 0.25, 0), ("two", 0.5, 0.5, 4)]
    assert found[0].difference == one and [c.p_holm for c in found] == holm([one.p, 1.0])
    assert (found[0].worse, found[0].better, found[1].worse) == (True, False, False)
    assert notes == [f"lone: only in {first}"]


def test_alarm_names_the_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = evaluated(tmp_path / "a", {"one": [1] * 40}), evaluated(tmp_path / "b", {"one": [0] * 40})
    assert main(["evaluate", "compare", str(good), str(bad)]) == 0
    assert main(["evaluate", "compare", str(good), str(bad), "--alarm"]) == 1
    assert "worse: one (p < 0.05, Holm)" in capsys.readouterr().out
    assert main(["evaluate", "compare", str(bad), str(good), "--alarm", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["worse"] == [] and shown["tasks"][0]["difference"] == 1.0


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    first = evaluated(tmp_path / "a", {"one": [1, 0]})
    with pytest.raises(ConfigError, match="no task in common"):
        compare_runs(first, evaluated(tmp_path / "b", {"two": [1, 0]}))
    with pytest.raises(ConfigError, match=r"shots is None in .* and 5 in"):
        compare_runs(first, evaluated(tmp_path / "c", {"one": [1, 0]}, shots=5))
    with pytest.raises(ConfigError, match=r"no rows/TASK\.jsonl"):
        compare_runs(first, tmp_path)
    with pytest.raises(ConfigError, match="no rows of 'base'; there are finetune"):
        compare_runs(first, first, ("", "base"))


def test_long_tasks_are_written_for_a_model_and_asked_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = model_folder(tmp_path / "model", context=2048)
    words = ["evaluate", "long", "--model", str(model), "--out", str(tmp_path / "long"), "--lengths", "1200", "--rows", "2"]
    assert main([*words, "--tasks", "niah_single_1,vt", "--grid", "2"]) == 0
    assert {path.name for path in (tmp_path / "long").glob("*.yaml")} == {
        "niah_single_1_1200.yaml", "vt_1200.yaml", "needle_grid.yaml",
    }  # fmt: skip
    loaded = load_items(load_task(str(tmp_path / "long" / "niah_single_1_1200.yaml")))
    chat = ChatTokenizer.from_folder(model)
    assert [len(chat.prompt(item.prompts[0])) for item in loaded.items] == [1200, 1200]
    assert main([*words[:-4], "--lengths", "short"]) == 2
    assert "give numbers of tokens" in capsys.readouterr().err


def test_list_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "list", "--domain", "aws_api"]) == 0
    shown = capsys.readouterr().out
    assert "aws_tool" in shown and "suite core: arc_easy" in shown
    rows = [{"question": f"{i} + 1?", "number": str(i + 1)} for i in range(4)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"version": 1, "about": "sums", "kind": "generate", "data": "sums.jsonl", "licence": "none", "metric": "exact_match"}
    task |= {"prompt": "[{'role': 'user', 'content': question}]", "answer": "number", "baseline": 0.0}
    (tmp_path / "sums.yaml").write_text(json.dumps(task))
    assert main(["evaluate", "check", str(tmp_path / "sums.yaml"), "--rows", "1"]) == 0
    shown = capsys.readouterr().out
    assert "4 questions of 4 rows" in shown and "gold: '1'" in shown and shown.count("row 0") == 1
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("  '1'")] == ["1.00"]
    assert "'I do not know.'" in shown
