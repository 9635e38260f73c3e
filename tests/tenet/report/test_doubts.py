"""What to doubt: each rule against data that must make it speak, and one set that must not."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from tenet.files import read_json, write_json
from tenet.report import load, rules
from tenet.runs.summary import Figure

SOLID = Figure("accuracy", 0.7, "share", 0.5, 0.52, 0.66, 0.74, 400)


def doubts_about(made: Path, **changes: Any) -> str:
    stage = load(made, "reward")
    figure = dataclasses.replace(SOLID, **changes)
    return " ".join(rules.doubts(dataclasses.replace(stage, figures=[figure])))


def test_a_solid_figure_raises_only_the_standing_doubt(made: Path) -> None:
    stage = dataclasses.replace(load(made, "reward"), figures=[SOLID])
    assert [d for d in rules.doubts(stage) if not d.startswith(rules.ENERGY)] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n": 12}, "rests on 12 rows only"),
        ({"low": 0.49}, "interval includes the value before"),
        ({"before": None, "low": 0.51}, "interval includes its baseline"),
        ({"value": 0.4, "low": 0.36, "high": 0.44}, "is worse than the value before"),
        ({"value": 0.5, "low": None, "high": None}, "equals the value before"),
        ({"value": math.nan}, "is not a number"),
        ({"before": math.nan}, "the value before is not a number"),
        ({"before": None, "baseline": None}, "nothing to be compared with"),
        ({"low": None, "high": None}, "no interval (n/a)"),
        ({"better": "lower"}, "is worse than the value before"),
    ],
)
def test_each_rule_about_figures(made: Path, changes: dict[str, Any], said: str) -> None:
    assert said in doubts_about(made, **changes)


@pytest.mark.parametrize(
    ("series", "said"),
    [
        ([(0, 2.0), (10, math.nan)], "1 values that are not numbers, the first at step 10"),
        ([(i, v) for i, v in enumerate((5, 3, 2, 2.5, 3))], "above its best of 2"),
        ([(i, v) for i, v in enumerate((5, 4, 3, 2.5, 2))], "still falling at the end"),
    ],
)
def test_rules_about_curves(made: Path, series: list[tuple[float, float]], said: str) -> None:
    stage = dataclasses.replace(load(made, "pretrain"), metrics={"valid/bits_per_byte": series})
    assert said in " ".join(rules.doubts(stage))


def test_groups_guards_and_gates_are_doubted(made: Path) -> None:
    assert "Harmless look-alikes are hit more often than before: p2" in " ".join(rules.doubts(load(made, "constitutional")))
    stage = load(made, "redteam")
    summary = {**stage.summary, "guard": "KL above 0.5", "gate": {"promoted": False, "reasons": ["the fall may be chance"]}}
    said = " ".join(rules.doubts(dataclasses.replace(stage, summary=summary)))
    assert "guard: KL above 0.5" in said and "gate refused the new model: the fall may be chance" in said


def test_differences_that_may_be_zero_are_doubted(made: Path) -> None:
    stage = load(made, "evaluate")
    pair = {"before": "pretrain", "after": "redteam"}
    comparisons = {
        "sciq": {**pair, "low": -0.1, "high": 0.2},
        "piqa": {**pair, "low": 0.1, "high": 0.2},
        "x": {**pair, "low": None},
    }
    said = " ".join(rules.doubts(dataclasses.replace(stage, summary={**stage.summary, "comparisons": comparisons})))
    assert "difference between pretrain and redteam includes zero for sciq: nothing" in said


def test_changed_and_missing_files_are_doubted(run: Path) -> None:
    (run / "redteam" / "modes.json").write_text("[]")
    (run / "redteam" / "gate.json").unlink()
    said = " ".join(rules.doubts(load(run, "redteam")))
    assert "modes.json differs from its hash" in said and "gate.json is listed in run.json and is not there" in said


def test_an_input_that_was_made_again_is_doubted(run: Path) -> None:
    record = read_json(run / "corpus" / "run.json")
    write_json(run / "corpus" / "run.json", {**record, "fingerprint": "another"})
    assert "The input corpus was made again" in " ".join(rules.doubts(load(run, "pretrain")))


def test_interruption_and_uncommitted_code_are_doubted(run: Path) -> None:
    record = read_json(run / "plan" / "run.json")
    write_json(run / "plan" / "run.json", {**record, "attempts": 3, "code": "abc+changes"})
    said = " ".join(rules.doubts(load(run, "plan")))
    assert "continued 2 time(s)" in said and "not a committed one" in said
