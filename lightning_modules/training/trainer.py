"""One way to fit a module: the same call on a laptop core, one GPU and N nodes; resumes by itself, stops on a
signal."""

from __future__ import annotations

import contextlib
import copy
import csv
import logging
import os
import threading
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy

from lightning_modules.config import ComputeConfig, ParallelConfig
from lightning_modules.distributed import ranks
from lightning_modules.distributed.sharding import check as check_cut
from lightning_modules.distributed.sharding import compile_blocks, copy_weights, recompute, shard
from lightning_modules.model.tensors import weights_hash
from lightning_modules.training.callbacks.resume import Memory, ResumeCheckpoint, latest, step_of
from lightning_modules.training.callbacks.throughput import Throughput
from lightning_modules.training.loggers import loggers

LOG_EVERY = 10


class CsvLog(Logger):
    """metrics.csv: one row a step, one column a metric. Rows after the step that a resumed fit starts from are dropped,
    so no step is there twice."""

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
        """Write the whole file anew under a temporary name; the first process speaks for all."""
        if not ranks.is_first():
            return
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
        compute, parallel: where to run; see their classes. Several processes are started by torchrun, each calls this
            with its own loader.
        stop: set to save and return early.
        tell: progress, (done, total, text).
        checkpoint_every: optimiser steps between checkpoints.
        clip: largest gradient norm.
        accumulate: forward passes of one optimiser step.
        grain: checkpoints lie at multiples of this many steps.

    Returns:
        False when it stopped early because `stop` was set, on any process.
    """
    quiet()
    prepare(compute)
    parallel = parallel or ParallelConfig()
    check(compute, parallel)
    checkpoints = folder / "checkpoints" / name if name else folder / "checkpoints"
    resume = latest(checkpoints)
    start = step_of(resume) if resume else 0
    # In passes of this many processes; the checkpoint counts steps, which mean the same on any number of them.
    loader.load_state_dict({"done": start * accumulate})
    log = CsvLog(folder / (f"metrics-{name}.csv" if name else "metrics.csv"), start)
    trainer = L.Trainer(
        **_devices(compute, parallel),
        precision=compute.precision,
        max_steps=steps,
        max_epochs=-1,
        gradient_clip_val=clip or None,
        accumulate_grad_batches=accumulate,
        log_every_n_steps=log_every,
        logger=[log, *loggers(folder, start, name)],
        callbacks=[
            *callbacks,
            Throughput(max(1, min(log_every, steps)), tell),
            ResumeCheckpoint(checkpoints, resume, checkpoint_every, stop, grain, _memory(module, callbacks)),
        ],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    # Lightning's own SIGTERM handler talks to the other processes from inside the handler, in the middle of whatever
    # they were doing, and ends with exit code 0. Ours sets `stop`, which all processes read at the same step
    # (ResumeCheckpoint).
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    with _cut(module, loader, compute, parallel):
        trainer.fit(module, loader)
    stopped = ranks.any_of(stop.is_set()) and trainer.global_step < steps
    if not stopped and ranks.world() > 1 and len({*ranks.gather(weights_hash(module))}) > 1:
        raise RuntimeError(f"{folder}: the processes ended with different weights; a device or a network card is broken")
    return not stopped


def _memory(module: L.LightningModule, callbacks: Sequence[Callback]) -> Memory | None:
    """Who must know something again after a kill: the module, or one of the callbacks."""
    found: list[Any] = [each for each in (module, *callbacks) if hasattr(each, "remember")]
    if len(found) > 1:
        raise ValueError(f"{' and '.join(type(each).__name__ for each in found)} both remember; a checkpoint has room for one")
    return found[0] if found else None


def check(compute: ComputeConfig, parallel: ParallelConfig) -> None:
    """Refuse a cut that cannot be trained with the processes that were started.

    Raises:
        ValueError: names the key, the value and the way out.
    """
    check_cut(parallel, ranks.world())
    if ranks.world() == 1 and (compute.devices not in (1, "auto") or compute.nodes != 1):
        raise ValueError(
            f"compute.devices is {compute.devices} and compute.nodes {compute.nodes}, one process was started; start one for each device with "
            "`python -m tenet.torchrun`, or set --compute.devices 1 --compute.nodes 1"
        )


def _devices(compute: ComputeConfig, parallel: ParallelConfig) -> dict[str, Any]:
    """Where Lightning runs: this one device, or the processes that torchrun started, as copies (DDP) or sharded
    (FSDP2)."""
    if ranks.world() == 1:
        return {"accelerator": compute.accelerator, "devices": 1}
    from lightning.fabric.plugins.environments import TorchElasticEnvironment

    return {
        "accelerator": compute.accelerator,
        "devices": ranks.local_world(),
        "num_nodes": ranks.world() // ranks.local_world(),
        "strategy": Sharded() if parallel.shard > 1 else DDPStrategy(),
        "plugins": [TorchElasticEnvironment()],
    }


class Sharded(DDPStrategy):
    """Lightning's distributed strategy without the wrapper: FSDP2 is part of the module already and does the
    communication itself."""

    def _setup_model(self, model: Any) -> Any:
        return model

    def _register_ddp_hooks(self) -> None:
        """They belong to the wrapper."""


@contextlib.contextmanager
def _cut(module: Any, loader: Any, compute: ComputeConfig, parallel: ParallelConfig) -> Iterator[None]:
    """For the time of a fit: recomputation, compilation, and a sharded copy in place of the model, whose weights come
    back at the end.

    The model that the caller holds stays whole, so that it can be evaluated, sampled from and exported as if nothing
    had been cut.
    """
    whole = module.model
    if parallel.shard > 1:
        module.model = copy.deepcopy(whole)
        shard(module.model, parallel, "cuda" if compute.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
        if hasattr(loader, "refresh"):  # rollouts read the whole model: bring it up to date before each round
            whole.to(next(module.model.parameters()).device)
            loader.refresh = partial(copy_weights, module.model, whole)
    recompute(module.model, parallel.recompute)
    compile_blocks(module.model, compute.compile)
    try:
        yield
        if module.model is not whole:
            copy_weights(module.model, whole)
    finally:
        recompute(module.model, "none")
        compile_blocks(module.model, False)
        whole.cpu()
        module.model = whole
