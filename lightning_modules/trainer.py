"""One way to fit a module: the same call on a laptop core, one GPU and N nodes; resumes by itself, stops on a signal."""

from __future__ import annotations

import csv
import logging
import os
import threading
import warnings
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lightning_modules.callbacks.resume import ResumeCheckpoint, latest
from lightning_modules.callbacks.throughput import Throughput
from lightning_modules.config import ComputeConfig, ParallelConfig
from lightning_modules.loggers import loggers

LOG_EVERY = 10


class CsvLog(Logger):
    """metrics.csv: one row a step, one column a metric. Rows after the step that a resumed fit starts from are dropped, so no step is there twice."""

    def __init__(self, path: Path, start: int = 0) -> None:
        super().__init__()
        self.path = path
        self.rows: dict[int, dict[str, str]] = {}
        if path.is_file():
            with open(path, newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    if int(row["step"]) <= start:
                        self.rows[int(row["step"])] = {k: v for k, v in row.items() if k != "step" and v}

    @property
    def name(self) -> str:
        """No folder of its own."""
        return ""

    @property
    def version(self) -> str:
        """No folder of its own."""
        return ""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The run's config.yaml holds them."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Remember; written by `save`."""
        row = self.rows.setdefault(int(step or 0), {})
        row |= {k: f"{float(v):.6g}" for k, v in metrics.items() if k != "epoch"}

    def save(self) -> None:
        """Write the whole file anew under a temporary name."""
        names = sorted({name for row in self.rows.values() for name in row})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["step", *names])
            writer.writeheader()
            for step in sorted(self.rows):
                writer.writerow({"step": step, **self.rows[step]})
        os.replace(temporary, self.path)

    def finalize(self, status: str) -> None:
        """Write at the end, however it came."""
        self.save()


def quiet() -> None:
    """Keep Lightning's hints out of the progress display; what matters is in the run folder."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def prepare(compute: ComputeConfig) -> None:
    """Set threads and determinism. The same number of threads gives the same bytes."""
    if compute.threads:
        torch.set_num_threads(compute.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")


def fit(
    module: L.LightningModule,
    loader: Any,
    *,
    steps: int,
    folder: Path,
    compute: ComputeConfig,
    stop: threading.Event,
    tell: Callable[[float, float, str], None],
    checkpoint_every: int,
    clip: float = 1.0,
    accumulate: int = 1,
    parallel: ParallelConfig | None = None,
    callbacks: Sequence[Callback] = (),
    flops_per_token: float = 0.0,
    name: str = "",
    log_every: int = LOG_EVERY,
    grain: int = 1,
) -> bool:
    """Train a module for a number of optimiser steps, from the newest good checkpoint if there is one.

    Args:
        module: with `tokens_seen` where throughput is wanted.
        loader: a `StepLoader` (or anything with its state and length).
        steps: optimiser steps in all.
        folder: gets checkpoints/NAME/ and metrics.csv.
        compute, parallel: where to run; see their classes.
        stop: set to save and return early.
        tell: progress, (done, total, text).
        checkpoint_every: optimiser steps between checkpoints.
        clip: largest gradient norm.
        accumulate: forward passes of one optimiser step.
        grain: checkpoints lie at multiples of this many steps.

    Returns:
        False when it stopped early because `stop` was set.
    """
    quiet()
    prepare(compute)
    checkpoints = folder / "checkpoints" / name if name else folder / "checkpoints"
    resume = latest(checkpoints) if checkpoints.is_dir() else None
    start = int(resume.stem.removeprefix("step-")) if resume else 0
    log = CsvLog(folder / (f"metrics-{name}.csv" if name else "metrics.csv"), start)
    trainer = L.Trainer(
        accelerator=compute.accelerator,
        devices=compute.devices,
        num_nodes=compute.nodes,
        strategy=_strategy(parallel),
        precision=compute.precision,
        max_steps=steps,
        max_epochs=-1,
        gradient_clip_val=clip or None,
        accumulate_grad_batches=accumulate,
        log_every_n_steps=log_every,
        logger=[log, *loggers(folder, start, name)],
        callbacks=[
            *callbacks,
            Throughput(max(1, min(log_every, steps)), flops_per_token, 0.0, tell),
            ResumeCheckpoint(checkpoints, checkpoint_every, stop, grain),
        ],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    # Our own checkpoints, checked by hash, hold the loader's count beside tensors.
    try:
        trainer.fit(module, loader, ckpt_path=str(resume) if resume else None, weights_only=False)
    except SIGTERMException:
        # Lightning's own handler would end the process with exit code 0, as if it had finished.
        return False
    return not (stop.is_set() and trainer.global_step < steps)


def _strategy(parallel: ParallelConfig | None) -> Any:
    """One device needs nothing; more are a mesh of FSDP2 and tensor parallelism."""
    if parallel is None or parallel.world == 1:
        return "auto"
    from lightning.pytorch.strategies import ModelParallelStrategy

    return ModelParallelStrategy(data_parallel_size=parallel.shard * parallel.replicate, tensor_parallel_size=parallel.tensor)
