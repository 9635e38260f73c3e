"""Checkpoints to resume from: whole or absent, the newest good one is found by its hash, a signal saves and stops."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def latest(folder: Path) -> Path | None:
    """Newest checkpoint whose bytes match its hash; cut-short or altered ones are passed over, with a line that says so."""
    for path in sorted(folder.glob("step-*.ckpt"), reverse=True):
        seal = path.with_suffix(".sha256")
        if seal.is_file() and seal.read_text().strip() == _digest(path):
            return path
        print(f"{path}: does not match its hash, going back to the checkpoint before it", flush=True)
    return None


class ResumeCheckpoint(Callback):
    """Save every n optimiser steps and when asked to stop.

    Args:
        folder: where checkpoints lie; two are kept.
        every: optimiser steps between two.
        stop: set by the signal handler: save, then end the fit.
        grain: save only at multiples of this, where the loader can go on (the end of a rollout round).
    """

    def __init__(self, folder: Path, every: int, stop: threading.Event, grain: int = 1) -> None:
        self.folder, self.every, self.stop, self.grain = folder, every, stop, grain
        self._saved = -1

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save on the beat; on a signal save at once and stop."""
        step = trainer.global_step
        if step == self._saved or step == 0 or trainer.fit_loop._should_accumulate() or step % self.grain:
            return
        if self.stop.is_set():
            self._save(trainer, step)
            trainer.should_stop = True
        elif step % self.every == 0 and step < trainer.max_steps:
            self._save(trainer, step)

    def _save(self, trainer: L.Trainer, step: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:08d}.ckpt"
        temporary = path.with_suffix(".tmp")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            digest = _digest(temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            path.with_suffix(".sha256").write_text(digest + "\n")
            for old in sorted(self.folder.glob("step-*.ckpt"))[:-2]:
                old.unlink()
                old.with_suffix(".sha256").unlink(missing_ok=True)
        self._saved = step
