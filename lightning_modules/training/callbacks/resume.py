"""Checkpoints to resume from: whole or absent, the newest good one is found by its hashes, a signal saves and stops.

A checkpoint is a folder of torch.distributed.checkpoint: each process writes what it holds, and any number of processes
can read it back. `step-N.sha256` beside it is written last and holds the hash of every file: without it, or with other
bytes, the checkpoint does not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import warnings
from pathlib import Path
from typing import Any, Protocol

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from lightning_modules.distributed import ranks
from lightning_modules.distributed.sharding import local_part, put_aside, sharded_like
from lightning_modules.training.optim import MuonAdamW

NUMBERS = "numbers.json"


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _good(checkpoint: Path) -> bool:
    """Every file is there with the hash that was written down; the processes share the work."""
    seal = checkpoint.with_suffix(".sha256")
    listed = [line.split("  ") for line in seal.read_text().splitlines()] if seal.is_file() else []
    files = [checkpoint / name for _, name in listed]
    fine = all(path.is_file() and _digest(path) == value for (value, _), path in ranks.own(list(zip(listed, files, strict=True))))
    return bool(listed) and not ranks.any_of(not fine)


def latest(folder: Path) -> Path | None:
    """Newest checkpoint whose bytes match its hashes; cut-short or altered ones are passed over, with a line that says
    so."""
    for name in ranks.agree(sorted((path.name for path in folder.glob("step-*.ckpt")), reverse=True)):
        if _good(folder / name):
            return folder / name
        if ranks.is_first():
            print(f"{folder / name}: does not match its hash, going back to the checkpoint before it", flush=True)
    return None


def step_of(checkpoint: Path) -> int:
    """Optimiser steps done when it was written."""
    return int(checkpoint.stem.removeprefix("step-"))


class Memory(Protocol):
    """What a fit must know again after a kill beside weights and moments: a module that has it, or a callback.

    Attributes:
        good: weights that were put aside (`sharding.put_aside`).
    """

    good: dict[str, torch.Tensor]

    def remember(self) -> dict[str, Any]:
        """Numbers and texts that steps changed."""
        ...

    def recall(self, numbers: dict[str, Any]) -> None:
        """The inverse of `remember`."""
        ...


def _tensors(module: nn.Module, optimiser: MuonAdamW, good: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What is trained, with its moments, under the parameters' names: the same on one process, on copies (DDP) and on
    shards (FSDP2); beside it what was put aside. Frozen weights are those that the fit began with."""
    named = {f"good.{name}": sharded_like(good[name], p.detach()) for name, p in module.model.named_parameters() if name in good}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            named[f"weights.{name}"] = parameter.detach()
            named |= {f"moments.{name}.{key}": value for key, value in optimiser.state[parameter].items()}
    return named


def save(folder: Path, module: L.LightningModule, optimiser: MuonAdamW, step: int, memory: Memory | None = None) -> None:
    """Write a checkpoint; called by all processes at the same step. Two are kept."""
    from torch.distributed import checkpoint as dcp

    path = folder / f"step-{step:08d}.ckpt"
    if ranks.is_first():
        shutil.rmtree(path, ignore_errors=True)  # without a seal: what a killed attempt left
        path.with_suffix(".sha256").unlink(missing_ok=True)
        path.mkdir(parents=True)
        numbers: dict[str, Any] = {
            "step": step,
            "tokens_seen": int(getattr(module, "tokens_seen", 0)),
            "processes": ranks.world(),
        }
        if memory:
            numbers |= {"memory": memory.remember(), "good": bool(memory.good)}
        (path / NUMBERS).write_text(json.dumps(numbers))
    ranks.gather(None)  # the folder is there
    # One file for each process, synced to disk before the seal is.
    writer = dcp.FileSystemWriter(path, single_file_per_rank=True, sync_files=True, overwrite=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch.distributed")
        dcp.save(_tensors(module, optimiser, memory.good if memory else {}), storage_writer=writer, no_dist=ranks.world() == 1)
    mine = sorted(path.glob(f"__{ranks.rank()}_*.distcp"))
    if ranks.is_first():
        mine += [path / ".metadata", path / NUMBERS]
    lines = [line for part in ranks.gather([f"{_digest(file)}  {file.name}" for file in mine]) for line in part]
    if ranks.is_first():
        seal = path.with_suffix(".sha256")
        temporary = seal.with_suffix(".tmp")
        temporary.write_text("\n".join(lines) + "\n")
        os.replace(temporary, seal)
        for old in sorted(folder.glob("step-*.ckpt"))[:-2]:
            old.with_suffix(".sha256").unlink(missing_ok=True)
            shutil.rmtree(old)


def load(checkpoint: Path, module: L.LightningModule, optimiser: MuonAdamW, memory: Memory | None = None) -> None:
    """Read weights, moments and what there is to remember into a module and optimiser of the same shape, in place."""
    from torch.distributed import checkpoint as dcp

    optimiser.initialise()
    numbers = json.loads((checkpoint / NUMBERS).read_text())
    module.tokens_seen = numbers["tokens_seen"]
    good: dict[str, torch.Tensor] = {}
    if memory:
        memory.recall(numbers["memory"])
        good = memory.good = put_aside(module.model) if numbers["good"] else {}
    named = _tensors(module, optimiser, good)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch.distributed")
        dcp.load(named, storage_reader=dcp.FileSystemReader(checkpoint), no_dist=ranks.world() == 1)
        for name, part in good.items():
            part.copy_(local_part(named[f"good.{name}"]))  # on a GPU another place than what was read into


class ResumeCheckpoint(Callback):
    """Start from a checkpoint, save every n optimiser steps and when asked to stop.

    Args:
        folder: where checkpoints lie; two are kept.
        start: the checkpoint to go on from.
        every: optimiser steps between two.
        stop: set by the signal handler of any process: save, then end the fit on all.
        grain: save only at multiples of this, where the loader can go on (the end of a rollout round).
        memory: what is saved beside weights and moments.
    """

    def __init__(
        self, folder: Path, start: Path | None, every: int, stop: threading.Event, grain: int = 1, memory: Memory | None = None
    ) -> None:
        self.folder, self.start, self.every, self.stop, self.grain = folder, start, every, stop, grain
        self.memory = memory
        self._saved = -1

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Put weights, moments, schedule and counters where they were. The loader was told its place before."""
        if self.start is None:
            return
        optimiser, step = _optimiser(trainer), step_of(self.start)
        load(self.start, module, optimiser, self.memory)
        schedule: Any = trainer.lr_scheduler_configs[0].scheduler
        schedule.last_epoch, schedule._step_count = step, step + 1
        schedule._last_lr = [base * factor(step) for base, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]
        for group, rate in zip(optimiser.param_groups, schedule._last_lr, strict=True):
            group["lr"] = rate
        loop = trainer.fit_loop.epoch_loop
        done = loop.automatic_optimization.optim_progress.optimizer.step.total
        done.ready = done.completed = step  # `trainer.global_step` reads it
        loop._batches_that_stepped = step  # the step that metrics are logged at

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save on the beat; on a signal save at once and stop."""
        step = trainer.global_step
        if step == self._saved or step == 0 or trainer.fit_loop._should_accumulate() or step % self.grain:
            return
        stop = ranks.any_of(self.stop.is_set())
        if stop or (step % self.every == 0 and step < trainer.max_steps):
            save(self.folder, module, _optimiser(trainer), step, self.memory)
            self._saved = step
        if stop:
            self.stop.set()
            trainer.should_stop = True


def _optimiser(trainer: L.Trainer) -> MuonAdamW:
    optimiser: Any = trainer.optimizers[0]
    return optimiser.optimizer if hasattr(optimiser, "optimizer") else optimiser
