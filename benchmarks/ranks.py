"""The trainer beside a plain torch loop: same model, rows and optimiser on the same processes, so the losses must be
the same numbers.

The loop shares nothing with the trainer but the model's code: its own rows, torch's DistributedDataParallel (or nothing
on one process), torch's AdamW, its own schedule. Prints the largest relative difference of the losses and the seconds
that a step took in each.

    python benchmarks/ranks.py --steps 20
    python -m tenet.torchrun --nproc-per-node 2 benchmarks/ranks.py --steps 20
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from lightning_modules.config import ComputeConfig, OptimConfig, ParallelConfig
from lightning_modules.data.shards import PretrainBatches, TokenRows
from lightning_modules.data.steps import StepLoader, order
from lightning_modules.distributed import ranks
from lightning_modules.model.decoder import Decoder
from lightning_modules.modules.pretrain import PretrainModule
from lightning_modules.training.trainer import fit
from tenet.settings.preset import load_preset

ROWS, CONTEXT = 8, 128


def plain(model: Decoder, tokens: np.ndarray, steps: int, optim: OptimConfig) -> tuple[list[float], float]:
    """A loop as one would write it without this repository.

    Returns:
        loss of each step over all processes, seconds a step.
    """
    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decay, "weight_decay": optim.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=optim.lr, betas=(optim.beta1, optim.beta2))

    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(self.model.logits(self.model(x)).flatten(0, 1), y.flatten())

    loss_of: torch.nn.Module = Loss()
    if ranks.world() > 1:
        loss_of = torch.nn.parallel.DistributedDataParallel(loss_of)
    shuffled = order(0, 0, (len(tokens) - 1) // CONTEXT).tolist()
    losses, start = [], time.perf_counter()
    for step in range(steps):
        mine = shuffled[step * ROWS : (step + 1) * ROWS][ranks.rank() :: ranks.world()]
        cut = torch.stack([torch.from_numpy(tokens[r * CONTEXT : (r + 1) * CONTEXT + 1].astype(np.int64)) for r in mine])
        factor = min(1.0, (step + 1) / round(optim.warmup * steps), (steps - step) / round(optim.decay * steps))
        for group in optimiser.param_groups:
            group["lr"] = optim.lr * factor
        loss = loss_of(cut[:, :-1], cut[:, 1:])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip)
        optimiser.step()
        losses.append(ranks.totals(float(loss.detach()))[0] / ranks.world())
    return losses, (time.perf_counter() - start) / steps


def ours(model: Decoder, rows: TokenRows, steps: int, optim: OptimConfig, shard: int, folder: Path) -> tuple[list[float], float]:
    """The same through the trainer that the stages use."""
    batches = PretrainBatches(rows, 0, ROWS, ROWS, False, ranks.rank(), ranks.world())
    start = time.perf_counter()
    fit(
        PretrainModule(model, optim, steps), StepLoader(batches, steps), steps=steps, folder=folder,
        compute=ComputeConfig(accelerator="cpu", threads=1), stop=threading.Event(), tell=lambda *_: None, checkpoint_every=steps + 1,
        clip=optim.clip, accumulate=batches.accumulate, parallel=ParallelConfig(shard=shard), log_every=1,
    )  # fmt: skip
    seconds = (time.perf_counter() - start) / steps
    ranks.gather(None)
    with open(folder / "metrics.csv", newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]], seconds


def main() -> None:
    """Run both and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny", help="shape of the model")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--shard", type=int, default=1, help="FSDP2 over so many processes instead of copies")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    ranks.join()
    shape, optim = load_preset(chosen.preset).model, OptimConfig(lr=1e-3, weight_decay=0.1, warmup=0.1, decay=0.4)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(ranks.agree(scratch))
        if ranks.is_first():
            count = ROWS * CONTEXT * chosen.steps + 1
            np.random.default_rng(0).zipf(1.3, count).clip(max=shape.vocab_size - 1).astype(np.uint32).tofile(folder / "train.ds")
            np.array([count], dtype=np.uint64).tofile(folder / "train.ds.index")
        ranks.gather(None)
        rows = TokenRows(folder / "train.ds", CONTEXT, wide=True)
        reference, plain_seconds = plain(Decoder(shape).initialise(0), np.array(rows.tokens), chosen.steps, optim)
        losses, seconds = ours(Decoder(shape).initialise(0), rows, chosen.steps, optim, chosen.shard, folder)
        if ranks.is_first():
            worst = max(abs(a - b) / b for a, b in zip(losses, reference, strict=True))
            print(
                f"processes {ranks.world()}, shards {chosen.shard}, steps {chosen.steps}, loss {reference[0]:.4f} to {reference[-1]:.4f}"
            )
            print(f"largest relative difference of a loss: {worst:.1e} (losses are logged with six digits)")
            print(f"seconds a step: plain loop {plain_seconds:.3f}, trainer {seconds:.3f} (start and end of the fit included)")
        ranks.gather(None)  # the folder stays until all have read it


if __name__ == "__main__":
    main()
