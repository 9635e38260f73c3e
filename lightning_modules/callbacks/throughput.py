"""Tokens a second and model FLOPs utilisation, from the module's own token count."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


class Throughput(Callback):
    """Log `tokens_per_s` (and `mfu` where the device's peak is known) every n steps, and tell how far the fit is.

    Args:
        every: optimiser steps between two measurements.
        flops_per_token: training FLOPs of one token.
        peak: FLOP/s of all devices together; 0 when unknown.
        tell: called with (steps done, steps in all, text).
    """

    def __init__(self, every: int, flops_per_token: float, peak: float, tell: Callable[[float, float, str], None]) -> None:
        self.every, self.flops_per_token, self.peak, self.tell = every, flops_per_token, peak, tell
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
        values = {"tokens_per_s": rate}
        if self.peak:
            values["mfu"] = rate * self.flops_per_token / self.peak
        for logger in trainer.loggers:
            logger.log_metrics(values, step)
        loss = trainer.callback_metrics.get("train/loss")
        self.tell(step, trainer.max_steps, (f"loss {float(loss):.3f}, " if loss is not None else "") + f"{rate:,.0f} tokens/s")
