"""Tokens a second, from the module's own token count; `tenet watch` makes a utilisation of it, with the peak of the
plan's cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


class Throughput(Callback):
    """Log `tokens_per_s` every n steps, and tell how far the fit is.

    Args:
        every: optimiser steps between two measurements.
        tell: called with (steps done, steps in all, text).
    """

    def __init__(self, every: int, tell: Callable[[float, float, str], None]) -> None:
        self.every, self.tell = every, tell
        self._time, self._tokens = 0.0, 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start the clock."""
        self._time, self._tokens = time.perf_counter(), int(getattr(module, "tokens_seen", 0))

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Measure on the beat."""
        step = trainer.global_step
        if step % self.every or step == 0:
            return
        now, tokens = time.perf_counter(), int(getattr(module, "tokens_seen", 0))
        rate = (tokens - self._tokens) / max(now - self._time, 1e-9)
        self._time, self._tokens = now, tokens
        for logger in trainer.loggers:
            logger.log_metrics({"tokens_per_s": rate}, step)
        loss = trainer.callback_metrics.get("train/loss")
        self.tell(step, trainer.max_steps, (f"loss {float(loss):.3f}, " if loss is not None else "") + f"{rate:,.0f} tokens/s")
