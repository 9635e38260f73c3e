"""Loggers beside metrics.csv: TensorBoard always, the same numbers; others only when they are asked for and there."""

from __future__ import annotations

import csv
import importlib.util
import threading
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.data.steps import StepLoader
from lightning_modules.modules.sft import FinetuneModule
from lightning_modules.training import loggers
from tests.lightning_modules.test_training import OPTIM, copying, train
from tests.lightning_modules.tiny import tiny_model


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    """(name, step) -> value of all event files below a folder: records of length, checksum, protobuf, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 8], "little")
            event = Event.FromString(data[at + 12 : at + 12 + length])
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
            at += 12 + length + 4
    return found


def learn(folder: Path, steps: int = 20, stop: threading.Event | None = None) -> None:
    train(FinetuneModule(tiny_model(), OPTIM, steps), StepLoader(copying, steps), steps, folder, stop)


def test_tensorboard_holds_what_metrics_csv_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(loggers.VARIABLE, raising=False)
    learn(tmp_path)
    written = scalars(tmp_path / "logs")
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = {
            (name, int(row["step"])): float(cell)
            for row in csv.DictReader(file)
            for name, cell in row.items()
            if cell and name != "step"
        }
    assert {name for name, _ in rows} >= {"train/loss", "tokens_per_s"}
    assert {key: pytest.approx(value, rel=1e-4) for key, value in rows.items()} == {
        k: v for k, v in written.items() if k[0] != "epoch"
    }


@pytest.mark.parametrize(
    ("asked", "said"),
    [("mlflow,tensorflow", "tensorflow is not known"), ("wandb", r"wandb, which is not installed; `pip install")],
)
def test_what_is_not_there_is_refused(asked: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there: Any = lambda name: name == "mlflow" or None  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", there)
    monkeypatch.setenv(loggers.VARIABLE, asked)
    with pytest.raises(ValueError, match=said):
        loggers.chosen()


def test_mlflow_without_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setenv(loggers.VARIABLE, "mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match="MLFLOW_TRACKING_URI is not set"):
        loggers.chosen()


def test_a_logger_that_is_asked_for_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning.pytorch.loggers as made

    class Kept:
        def __init__(self, *words: Any, **options: Any) -> None:
            self.given = (words, options)

    for name in ("MLFlowLogger", "WandbLogger"):
        monkeypatch.setattr(made, name, Kept)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setenv(loggers.VARIABLE, "mlflow, wandb")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    _, mlflow, wandb = loggers.loggers(tmp_path / "demo" / "pretrain.partial")
    assert mlflow.given[0] == ("tenet", "demo-pretrain", "http://127.0.0.1:5000") and wandb.given[0] == ("demo-pretrain",)
