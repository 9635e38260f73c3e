"""Reading a stage, and saying numbers in words."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from tenet import units
from tenet.errors import ConfigError, StageError
from tenet.files import write_json
from tenet.report import load
from tenet.report.data import STEPS
from tenet.report.pages import cells
from tenet.report.render import words
from tenet.runs.summary import Figure


def test_the_steps_are_those_of_the_pipeline() -> None:
    from tenet.pipeline.table import STAGES as pipeline

    assert [(step, name) for step, name, _, _ in STEPS] == [(s.step, s.name) for s in pipeline.values()]


def test_metrics_skip_empty_cells_and_keep_nan(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/loss,kl\n0,7.5,\n1,nan,0.1\n")
    stage_metrics = load_metrics(tmp_path)
    assert stage_metrics["kl"] == [(1.0, 0.1)]
    assert stage_metrics["train/loss"][0] == (0.0, 7.5) and math.isnan(stage_metrics["train/loss"][1][1])


def load_metrics(folder: Path) -> dict[str, Any]:
    from tenet.report.data import read_metrics

    return read_metrics(folder / "metrics.csv")


def test_curves_of_a_stages_parts_carry_the_parts_name(run: Path) -> None:
    (run / "constitutional" / "metrics-supervised.csv").write_text("step,train/loss\n0,3.5\n1,2.5\n")
    stage = load(run, "constitutional")
    assert stage.metrics["supervised/train/loss"] == [(0.0, 3.5), (1.0, 2.5)]
    assert "supervised/train/loss fell to 2.5 from 3.5 in 1 steps" in cells.curves(stage)


def test_a_broken_metrics_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/loss\n0,7.5\n1,seven\n")
    with pytest.raises(StageError, match=r"metrics\.csv:3: .*seven"):
        load_metrics(tmp_path)


def test_unknown_and_unfinished_stages_are_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match="there are corpus, plan"):
        load(run, "pretraining")
    shutil.rmtree(run / "serve")
    with pytest.raises(StageError, match="tenet serve --run"):
        load(run, "serve")


def test_another_stages_summary_is_refused(run: Path) -> None:
    shutil.copy(run / "reward" / "summary.json", run / "pretrain" / "summary.json")
    with pytest.raises(StageError, match="'reward', not 'pretrain'"):
        load(run, "pretrain")


def test_a_figure_without_value_is_refused(run: Path) -> None:
    write_json(run / "reward" / "summary.json", {"stage": "reward", "headline": "", "figures": [{"name": "accuracy"}]})
    with pytest.raises(StageError, match="no value"):
        load(run, "reward")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (1.2345, "1.23"),
        (0.0, "0"),
        (2.1e-6, "2.10e-06"),
        (None, "n/a"),
        (math.nan, "n/a"),
        (True, "yes"),
        (20.0, "20"),
    ],
)
def test_numbers(value: Any, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.42, "0.4 s"), (59.4, "59 s"), (185, "3 min 05 s"), (7620, "2 h 07 min"), (None, "n/a")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert units.duration(seconds) == text


def test_a_sentence_says_when_two_values_cannot_be_told_apart() -> None:
    figure = Figure("accuracy", 0.55, "share", 0.4, 0.52, 0.5, 0.6, 100)
    assert words.sentence(figure) == "accuracy: 55 %; was 40 % (better); baseline 52 % (cannot be told apart)"


@pytest.mark.parametrize(
    ("unit", "interval", "change"),
    [("share (exact)", "10 to 30 %", "5 → 20 %"), ("nats/token", "0.1 to 0.3 nats/token", "0.05 → 0.2 nats/token")],
)
def test_intervals_and_changes_name_the_unit_once(unit: str, interval: str, change: str) -> None:
    figure = Figure("f", 0.2, unit, 0.05, None, 0.1, 0.3)
    assert (words.interval(figure), words.change(figure)) == (interval, change)
