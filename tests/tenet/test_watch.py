"""`tenet watch`: what it shows of a run at work, of one that was killed and of a finished one, from files alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tenet.cli.main import main
from tenet.errors import ConfigError
from tenet.files import read_json, write_json
from tenet.report import watch
from tenet.runs import heartbeat
from tenet.runs.execute import execute
from tenet.runs.heartbeat import Heartbeat
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tests.tenet.made_up_run import make_run

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("watch") / "demo")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """Pretraining is at step 120 of 300, 60 seconds after its start; nothing after it exists."""
    copy = Path(shutil.copytree(made, tmp_path / "demo"))
    for stage in ("finetune", "dpo", "reward", "rlhf", "constitutional", "redteam", "evaluate", "deploy", "serve"):
        shutil.rmtree(copy / stage)
    work = (copy / "pretrain").rename(copy / "pretrain.partial")
    (work / "run.json").unlink()
    (work / "metrics.csv").write_text(
        "step,train/loss,tokens_per_s\n" + "".join(f"{s},{7 - s / 30},4000\n" for s in range(0, 121, 10))
    )
    write_json(work / "started.json", {"fingerprint": "x", "attempts": 2})
    os.utime(work / "started.json", (NOW - 60, NOW - 60))
    beat = {"stage": "pretrain", "done": 120, "total": 300, "text": "loss 3.000", "time": NOW, "since": NOW - 40, "first": 20}
    write_json(copy / "progress.json", beat)
    return copy


def shown(run: Path, now: float = NOW) -> str:
    from rich.console import Console

    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(watch.view(run, now))
    return console.export_text()


def test_a_stage_at_work_shows_step_loss_speed_time_left_energy_and_cost(run: Path) -> None:
    plan = read_json(run / "plan" / "plan.json")
    plan["plan"]["stages"][0] |= {"dollars": 400.0, "seconds": 200.0}
    write_json(run / "plan" / "plan.json", plan)
    text = shown(run)
    for part in (
        "3 of 12 stages done",
        "pretrain, attempt 2",
        "40%",
        "after 1 min 00 s",
        "loss 3.000",
        "4,000 tokens/s",
        "train/loss",
    ):
        assert part in text, part
    assert "about 1 min 12 s left" in text  # 100 steps took 40 s, 180 are left
    others = sum(read_json(run / name / "run.json")["seconds"] for name in ("corpus", "plan", "model"))
    assert f"${60 * 2 + others * 400 / 290:,.2f} at the plan's prices" in text  # what is not planned costs the plan's average
    assert "█" in text and "no sign of life" not in text


def test_a_killed_stage_is_told_apart_from_one_at_work(run: Path) -> None:
    text = shown(run, NOW + 600)
    assert "no sign of life for 10 min 00 s" in text and "silent" in text and "after 1 min 00 s" in text


def test_the_beat_of_another_stage_or_attempt_does_not_count(run: Path) -> None:
    os.utime(run / "pretrain.partial" / "started.json", (NOW + 30, NOW + 30))
    assert "0% after 0.0 s, time left unknown" in shown(run, NOW + 31)


def test_utilisation_is_the_plans_flops_against_its_clusters_peak(run: Path) -> None:
    from tenet import hardware

    plan = read_json(run / "plan" / "plan.json")
    plan["plan"]["cluster"] = "p5.48xlarge:2"
    write_json(run / "plan" / "plan.json", plan)
    expected = 4000 * 1e6 / (2 * hardware.instance("p5.48xlarge").flops)  # 1e12 FLOPs for 1e6 tokens
    assert watch.mfu(run, "pretrain", 4000) == pytest.approx(expected)
    assert watch.mfu(run, "corpus", 4000) is None
    plan["plan"]["cluster"] = "abacus:2"
    write_json(run / "plan" / "plan.json", plan)
    assert "MFU n/a" in shown(run)


def test_a_finished_run_and_a_doctored_one(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(made), "--once"]) == 0
    printed = capsys.readouterr().out
    assert "13 of 13 stages done" in printed and "8.02 → 1.14 bits per byte" in printed and "left" not in printed
    copy = Path(shutil.copytree(made, tmp_path / "demo"))
    shutil.copy(copy / "reward" / "summary.json", copy / "evaluate" / "summary.json")
    assert "not 'evaluate'" in shown(copy)


def test_values_that_are_not_numbers_are_seen(run: Path) -> None:
    (run / "pretrain.partial" / "metrics.csv").write_text("step,train/loss\n0,7\n1,nan\n2,6\n")
    assert "█x▁" in shown(run)


def test_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such run"):
        watch.watch(tmp_path / "nothing", once=True)


def test_a_stage_leaves_its_progress_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "EVERY", 0.0)
    seen: list[Any] = []

    def body(_: Any, ws: Workspace) -> Summary:
        ws.progress(1, 4, "first")
        ws.progress(2, 4, "second")
        seen.append(watch.running(tmp_path, read_json(tmp_path / "progress.json")["time"] + 1))
        return Summary("done", [Figure("f", 1.0)])

    told: list[float] = []
    beat = Heartbeat(tmp_path, "plan", lambda done, total, text: told.append(done))
    execute(tmp_path, "plan", (), {}, body, seed=0, progress=beat)
    (at,) = seen
    assert told == [1, 2] and (at.stage, at.share, at.text) == ("plan", 0.5, "second") and at.silent == pytest.approx(1, abs=0.01)
    assert watch.running(tmp_path, 0.0) is None


def test_run_stage_writes_it(tmp_path: Path) -> None:
    from tenet.pipeline import run_stage

    run_stage(tmp_path, "plan", "tiny")
    assert read_json(tmp_path / "progress.json")["stage"] == "plan"


def test_an_unknown_logger_stops_a_stage_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TENET_LOGGERS", "tensorflow")
    assert main(["pretrain", "--preset", "tiny", "--run", str(tmp_path / "r")]) == 2
    assert "tensorflow is not known; there are mlflow, wandb" in capsys.readouterr().err and not (tmp_path / "r").exists()


def test_watching_imports_nothing_heavy(made: Path) -> None:
    code = (
        f"import sys; from tenet.cli.main import main; main(['watch', {str(made)!r}, '--once']); "
        "print([m for m in ('matplotlib', 'papermill', 'torch', 'lightning', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
