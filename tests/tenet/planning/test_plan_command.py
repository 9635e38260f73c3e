"""The plan as people meet it: the command, the stage, and planned against actual."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tenet.cli.main import main
from tenet.files import read_json, write_json
from tenet.planning.forecast import actual, plan, to_json
from tenet.runs.execute import execute
from tenet.runs.lineage import summary_of
from tenet.runs.summary import Summary
from tenet.runs.workspace import Workspace
from tenet.settings.preset import load_preset


def test_planned_against_actual(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = load_preset("160m")
    plan_record = {"plan": to_json(plan(preset, dataclasses.replace(preset.plan, cluster="local", serve="")))}

    def make_plan(config: Any, ws: Workspace) -> Summary:
        write_json(ws.dir / "plan.json", plan_record)
        return Summary("planned")

    def train(config: Any, ws: Workspace) -> Summary:
        return Summary("trained", flops=1e12)

    execute(tmp_path, "plan", (), {}, make_plan, seed=0)
    execute(tmp_path, "pretrain", (), {}, train, seed=0)
    execute(tmp_path, "corpus", (), {}, train, seed=0)
    (row,) = actual(tmp_path)
    stage = plan_record["plan"]["stages"][0]
    assert row["stage"] == "pretrain"
    assert row["planned_seconds"] == pytest.approx(stage["seconds"])
    assert row["flops_ratio"] == pytest.approx(1e12 / stage["flops"])
    capsys.readouterr()
    assert main(["show", str(tmp_path), "--plan"]) == 0
    shown = capsys.readouterr().out
    assert "planned against actual" in shown and "pretrain" in shown and "corpus" not in shown


def test_stage_writes_its_plan_and_that_of_every_preset(tmp_path: Path) -> None:
    from tenet.pipeline import run_stage

    record = run_stage(tmp_path, "plan", "160m")
    content = read_json(tmp_path / "plan" / "plan.json")
    summary = summary_of(tmp_path, "plan")
    assert record["status"] == "done"
    assert content["plan"]["preset"] == "160m"
    assert {"tiny", "160m", "1b", "8b", "70b", "400b"} <= {p["preset"] for p in content["presets"]}
    assert summary["figures"][0]["value"] == pytest.approx(content["plan"]["total"]["seconds"] / 3600, rel=1e-3)
    assert all(f["value"] > 0 for f in summary["figures"])


def test_a_plan_imports_nothing_heavy() -> None:
    script = (
        "import sys, tenet.cli.main; tenet.cli.main.main(['plan', '--all']); tenet.cli.main.main(['plan', '--preset', '8b', '--fit']);"
        "print([m for m in ('torch', 'lightning', 'transformers', 'sky', 'numpy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120).stdout
    assert out.strip().endswith("[]")
    assert all(f" {name} " in out for name in ("tiny", "8b", "400b"))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--preset", "400b", "--cluster", "p5.48xlarge:256", "--tokens", "8T"], 0, "2,048 devices"),
        (["--preset", "8b", "--price", "spot", "--mfu", "0.4"], 0, "(spot)"),
        (["--preset", "8b", "--tokens", "8X"], 2, "plan.tokens is '8X'"),
        (["--preset", "8b", "--price", "cheap"], 2, "price"),
        (["--preset", "8b", "--cluster", "p5.48xlage:2"], 2, "did you mean p5.48xlarge"),
        (["--preset", "8b", "--fit", "--run", "runs/never"], 2, "--run writes one"),
        (["--preset", "8b", "--deadline-days", "0.001"], 2, "--deadline-days 0.001: the fastest"),
    ],
)
def test_command_line(words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *words]) == code
    told = capsys.readouterr()
    assert said in (told.err if code else told.out)


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", "--help"])
    assert "\n  tenet plan --preset 70b --fit" in capsys.readouterr().out
