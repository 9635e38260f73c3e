"""Validation during a fit: what is scored, which weights are handed on, when it stops, and that a kill changes none of
it."""

from __future__ import annotations

import csv
import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.config import OptimConfig, PreferenceObjective
from lightning_modules.data.packing import Packed, Tree, pack
from lightning_modules.data.steps import StepLoader
from lightning_modules.model.decoder import Decoder
from lightning_modules.modules.dpo import PreferenceBatch, PreferenceModule, reference_logprobs
from lightning_modules.modules.sft import FinetuneModule
from lightning_modules.objectives.logprobs import token_losses
from lightning_modules.training.callbacks.resume import latest
from lightning_modules.training.callbacks.validation import Validation
from lightning_modules.training.trainer import fit
from tests.lightning_modules.test_training import COMPUTE, _StopAfter, copying, weights
from tests.lightning_modules.tiny import tiny_model

#: Learns in the first half and forgets in the second, because it is shown something else.
OPTIM, STEPS, EVERY, TURN = OptimConfig(lr=3e-3, muon_lr=1e-2, warmup=0.1, decay=0.0), 32, 4, 12
HELD = [copying(1000), copying(1001)]


def turning(step: int) -> Packed:
    """Copying, and from `TURN` on one answer to everything."""
    if step < TURN:
        return copying(step)
    g = torch.Generator().manual_seed(step)
    return pack([Tree([1, *torch.randint(10, 60, (3,), generator=g).tolist(), 2], [[70, 71, 72, 73]]) for _ in range(8)], 32)


class _Killed(_StopAfter):
    """A fit that is asked to stop while it is at a step, on rows that turn."""

    def __init__(self, step: int, stop: threading.Event, steps: int) -> None:
        super().__init__(step, stop, steps)
        copied = self.fetch
        self.fetch = lambda number: (copied(number), turning(number))[1]


def fitted(
    folder: Path, keep: bool = True, patience: int = 0, stop_at: int = -1, checkpoint_every: int = 10
) -> tuple[Decoder, Validation, FinetuneModule]:
    model, stop = tiny_model(1), threading.Event()
    module, check = FinetuneModule(model, OPTIM, STEPS), Validation(EVERY, HELD, keep, patience)
    loader = _Killed(stop_at, stop, STEPS) if stop_at >= 0 else StepLoader(turning, STEPS)
    fit(module, loader, steps=STEPS, folder=folder, compute=COMPUTE, stop=stop, tell=lambda *_: None,
        checkpoint_every=checkpoint_every, callbacks=[check])  # fmt: skip
    return model, check, module


@torch.no_grad()
def loss_of(model: Decoder) -> float:
    losses = torch.cat([token_losses(model, batch) for batch in HELD])
    return float(losses.double().mean())


def curve(folder: Path) -> dict[int, float]:
    with open(folder / "metrics.csv", newline="") as file:
        return {int(row["step"]): float(row["valid/loss"]) for row in csv.DictReader(file) if row["valid/loss"]}


Fit = tuple[Path, Decoder, Validation, FinetuneModule]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Fit]:
    """Fits that nobody stops, by patience."""
    folders = {patience: tmp_path_factory.mktemp("whole") for patience in (0, 2)}
    return {n: (folder, *fitted(folder, patience=n, checkpoint_every=EVERY)) for n, folder in folders.items()}


def test_the_best_weights_are_handed_on(whole: dict[int, Fit], tmp_path: Path) -> None:
    folder, best, check, _ = whole[0]
    last, _, _ = fitted(tmp_path, keep=False)
    found = curve(folder)
    assert list(found) == [0, *range(EVERY, STEPS + 1, EVERY)] and found == curve(tmp_path)
    assert found[0] == pytest.approx(loss_of(tiny_model(1)), rel=1e-5)
    assert found[check.best_step] == min(found.values()) and 0 < check.best_step < STEPS
    assert loss_of(best) == pytest.approx(check.best, abs=1e-9)  # the very weights that were scored
    assert loss_of(last) == pytest.approx(found[STEPS], rel=1e-5) and loss_of(last) > loss_of(best) + 0.05


def test_patience_ends_the_fit(whole: dict[int, Fit]) -> None:
    folder, model, check, module = whole[2]
    found = curve(folder)
    assert check.stopped and max(found) == check.best_step + 2 * EVERY < STEPS
    assert module.tokens_seen == sum(int((turning(step).segments >= 0).sum()) for step in range(max(found)))
    assert loss_of(model) == pytest.approx(check.best, abs=1e-9)


@pytest.mark.parametrize(("patience", "stop_at"), [(0, 26), (2, 17)])
def test_a_killed_fit_ends_with_the_same_bytes(patience: int, stop_at: int, whole: dict[int, Fit], tmp_path: Path) -> None:
    folder, model, check, module = whole[patience]
    fitted(tmp_path, patience=patience, stop_at=stop_at)
    assert latest(tmp_path / "checkpoints").name == f"step-{stop_at + 1:08d}.ckpt"  # type: ignore[union-attr]
    again, resumed, counted = fitted(tmp_path, patience=patience)
    assert weights(again) == weights(model) and curve(tmp_path) == curve(folder)
    assert resumed.remember() == check.remember() and counted.tokens_seen == module.tokens_seen


def test_a_fit_that_was_killed_after_it_had_stopped_stays_stopped(whole: dict[int, Fit]) -> None:
    folder, model, check, module = whole[2]
    assert latest(folder / "checkpoints").name == f"step-{max(curve(folder)):08d}.ckpt"  # type: ignore[union-attr]
    again, resumed, counted = fitted(folder, patience=2, checkpoint_every=EVERY)
    assert weights(again) == weights(model) and resumed.remember() == check.remember()
    assert counted.tokens_seen == module.tokens_seen


def test_a_loss_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    class Broken(FinetuneModule):
        def held_loss(self, batch: Packed) -> tuple[float, int]:
            total, count = super().held_loss(batch)
            return (math.nan if self.trainer.global_step >= EVERY else total), count

    model, check = tiny_model(1), Validation(EVERY, HELD, True, 2)
    fit(Broken(model, OPTIM, STEPS), StepLoader(turning, STEPS), steps=STEPS, folder=tmp_path, compute=COMPUTE,
        stop=threading.Event(), tell=lambda *_: None, checkpoint_every=100, callbacks=[check])  # fmt: skip
    assert (check.best_step, check.stopped) == (0, True) and weights(model) == weights(tiny_model(1))


@pytest.mark.parametrize("objective", [PreferenceObjective(beta=0.5), PreferenceObjective("kto", beta=0.5)], ids=["dpo", "kto"])
def test_the_held_loss_is_the_training_loss(objective: PreferenceObjective) -> None:
    """Of one process, on one batch."""
    model = tiny_model(5)
    packed = pack([Tree([1, i], [[20, i + 1, 3], [21, 3]]) for i in range(40, 48)], 32)
    liked = torch.tensor([True, False] * 4) if objective.loss == "kto" else None
    batch = PreferenceBatch(packed, reference_logprobs(tiny_model(6), packed, 16), liked)
    module: Any = PreferenceModule(model, OPTIM, 10, objective)
    module.log_dict = lambda *_, **__: None
    total, count = module.held_loss(batch)
    assert count == 8 and total / 8 == pytest.approx(float(module.training_step(batch, 0).detach()), rel=1e-5)
