"""The stage on five tiny checkpoints: what it reports can be recomputed from its rows, and comes out the same after a
kill."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenet.domains.loading import load_domain
from tenet.errors import ConfigError, Interrupted
from tenet.evaluate import tasks
from tenet.files import read_jsonl, sha256, write_json, write_jsonl
from tenet.report import differences, load
from tenet.report.rules import doubts
from tenet.runs.execute import execute
from tenet.runs.lineage import summary_of
from tenet.settings.evaluate import EvaluateConfig
from tenet.stages import evaluate as stage
from tenet.stats import holm, paired, wilson
from tests.tenet.evaluate.tiny import Scripted, call, model_folder

ROWS = 12
CHECKPOINTS = ("pretrain", "finetune", "rlhf", "constitutional", "redteam")
DOMAIN = load_domain("aws_api")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with a corpus and five checkpoints of random weights, and one public task made of plain rows."""
    folder = tmp_path / "run"
    task = {"version": 1, "about": "metals", "kind": "choice", "data": str(tmp_path / "metals.jsonl"), "licence": "none"}
    task |= {"context": "Question: {{ q }}\nAnswer:", "choices": "options", "gold": "right", "metric": "acc"}
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "metals.yaml").write_text(json.dumps(task))
    monkeypatch.setattr(tasks, "TASKS", tmp_path / "tasks")
    tasks.load_task.cache_clear()
    write = write_jsonl
    write(
        tmp_path / "metals.jsonl",
        [{"q": f"which is metal {i}?", "options": ["iron", "wood"], "right": i % 2} for i in range(ROWS)],
    )
    write(folder / "corpus" / "requests" / "test.jsonl", [request(i) for i in range(ROWS)])
    tokenizer = model_folder(folder / "corpus" / "tokenizer")
    assert tokenizer.is_dir()
    finish(folder, "corpus")
    for number, name in enumerate(CHECKPOINTS):
        model_folder(folder / name / "model", seed=number)
        finish(folder, name)
    yield folder
    tasks.load_task.cache_clear()


def request(i: int) -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "DeleteTable", "parameters": {"type": "object"}}}
    prompt = [{"role": "user", "content": f"Call DeleteTable with table name 'orders{i}'."}]
    gold = {"service": "dynamodb", "operation": "DeleteTable", "expected": {"TableName": f"orders{i}"}}
    return {"prompt": prompt, "tools": [tool], **gold, "id": f"request/{i}"}


def finish(folder: Path, name: str) -> None:
    """A `run.json` as `execute` leaves it."""
    files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
    outputs = [{"path": p.relative_to(folder / name).as_posix(), "bytes": p.stat().st_size, "sha256": sha256(p)} for p in files]
    write_json(folder / name / "run.json", {"fingerprint": name, "outputs": outputs, "inputs": {}})


def evaluate(run: Path, **settings: Any) -> dict[str, Any]:
    config = dataclasses.replace(EvaluateConfig(tasks=("metals", "aws_tool"), rows=10, max_tokens=8), **settings)
    reads = ("corpus", *CHECKPOINTS)
    execute(run, "evaluate", reads, config, stage.run, seed=3, workspace={"policies": CHECKPOINTS, "domain": DOMAIN})
    return summary_of(run, "evaluate")


def judged(run: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((run / "evaluate" / "rows").iterdir()) for row in read_jsonl(path)]


def written(run: Path) -> dict[str, bytes]:
    names = ("summary.json", "rows/metals.jsonl", "rows/aws_tool.jsonl")
    return {name: (run / "evaluate" / name).read_bytes() for name in names}


def scripted(right: dict[str, int]) -> Callable[[Any, str], Scripted]:
    """Checkpoints that make right calls for the first so many tables."""

    def make(config: Any, ws: Any, name: str) -> Scripted:
        def say(messages: list[dict[str, Any]], tools: Any) -> str:
            table = messages[-1]["content"].split("'")[1]
            return call("DeleteTable", {"TableName": table if int(table.removeprefix("orders")) < right[name] else "none"})

        return Scripted(say=say, like=lambda context, continuation: float(continuation == " iron"))

    return make


def test_real_checkpoints_and_figures_from_rows(run: Path) -> None:
    summary = evaluate(run)
    rows = judged(run)
    assert len(rows) == 2 * 5 * 10
    for task, by_stage in summary["results"].items():
        assert list(by_stage) == list(CHECKPOINTS)
        for name, result in by_stage.items():
            scores = [row["score"] for row in rows if (row["task"], row["stage"]) == (task, name)]
            assert result["value"] == pytest.approx(sum(scores) / 10)
            assert result["low"] <= result["value"] <= result["high"]
    assert summary["tasks"]["metals"]["baseline"] == 0.5
    assert summary["tasks"]["metals"]["sha256"] == sha256(run.parent / "metals.jsonl")
    assert len({identity["weights"] for identity in summary["models"].values()}) == 5
    assert [figure["name"].split(":")[0] for figure in summary["figures"]] == ["aws_tool", "metals"]


def test_scripted_checkpoints_are_compared_row_by_row(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = dict(zip(CHECKPOINTS, (1, 4, 8, 8, 12), strict=True))
    monkeypatch.setattr(stage, "_assistant", scripted(right))
    summary = evaluate(run, rows="all")
    shares = {name: result["value"] for name, result in summary["results"]["aws_tool"].items()}
    assert shares == {name: count / ROWS for name, count in right.items()}
    key = summary["figures"][0]
    assert (key["value"], key["before"], key["baseline"], key["n"]) == (1.0, 1 / ROWS, 0.0, ROWS)
    assert (key["low"], key["high"]) == pytest.approx(wilson(12, 12))
    comparison = summary["comparisons"]["aws_tool"]
    expected = paired([1.0] + [0.0] * 11, [1.0] * 12)
    assert (comparison["won"], comparison["lost"], comparison["p"]) == (11, 0, expected.p)
    assert comparison["p_holm"] == pytest.approx(2 * expected.p)
    metals = summary["comparisons"]["metals"]
    assert (metals["difference"], metals["p_holm"]) == (0.0, 1.0)
    assert summary["answers"]["aws_tool"]["pretrain"]["valid"] == 1.0
    assert "100%" in summary["headline"] and "8%" in summary["headline"] and "1 of 2 tasks differ" in summary["headline"]


def test_a_task_that_does_not_suit_is_not_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_assistant", lambda config, ws, name: Scripted(capabilities=("score",)))
    summary = evaluate(run)
    assert "aws_tool" not in summary["results"]
    assert {(one["task"], one["needs"]) for one in summary["not_run"]} == {("aws_tool", "tools")}
    assert len(summary["not_run"]) == 5
    assert summary["figures"][0]["name"] == "mean over tasks"


def test_killed_and_run_again_gives_the_same_bytes(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate(run)
    whole = written(run)
    (run / "evaluate").rename(run / "evaluate.old1")
    asked: list[str] = []
    ask = stage.run_task

    def counting(assistant: Any, loaded: Any, name: str, sampling: Any) -> Any:
        if len(asked) == 4:
            raise Interrupted("stopped by the test")
        asked.append(name)
        return ask(assistant, loaded, name, sampling)

    monkeypatch.setattr(stage, "run_task", counting)
    with pytest.raises(Interrupted):
        evaluate(run)
    asked.clear()
    monkeypatch.setattr(stage, "run_task", lambda *a: asked.append(a[2]) or ask(*a))
    evaluate(run)
    assert len(asked) == 6  # four of ten were kept
    assert {name: (run / "evaluate" / name).read_bytes() for name in whole} == whole


def test_wrong_settings_before_any_model_is_loaded(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_assistant", lambda config, ws, name: pytest.fail("a model was loaded"))
    with pytest.raises(ConfigError, match=r"evaluate\.tasks is empty"):
        evaluate(run, tasks=())
    with pytest.raises(ConfigError, match=r"'nope'.*aws_tool, metals"):
        evaluate(run, tasks=("nope",))


def test_what_each_step_gained_or_lost(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = dict(zip(CHECKPOINTS, (0, 12, 11, 2, 2), strict=True))
    monkeypatch.setattr(stage, "_assistant", scripted(right))
    summary = evaluate(run, rows="all")
    steps = {(one["task"], one["before"], one["after"]): one for one in summary["steps"]}
    assert len(steps) == len(summary["steps"]) == 8
    lost = steps["aws_tool", "rlhf", "constitutional"]
    assert (lost["lost"], lost["won"], lost["difference"]) == (9, 0, -9 / ROWS)
    corrected = holm([one["p"] for one in summary["steps"]])
    assert [one["p_holm"] for one in summary["steps"]] == corrected and lost["p_holm"] < 0.05
    said = " ".join(doubts(load(run, "evaluate")))
    assert "aws_tool got worse from rlhf to constitutional: -75.0 points." in said and "finetune to rlhf" not in said
    page = str(differences(load(run, "evaluate")))
    assert "aws_tool" in page and "beyond chance" in page and "<img" in page
