"""Settings of training that every module shares. Free of torch, so that planning and `--help` are instant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser and schedule.

    Args:
        lr: peak learning rate of AdamW: token table, head, norms; every parameter when `muon_lr` is 0.
        muon_lr: peak learning rate of Muon (orthogonalised momentum) for the matrices of the blocks; 0 turns Muon off.
        weight_decay: decoupled decay, applied to matrices only.
        beta1, beta2: moments of AdamW.
        warmup: share of the steps in which the rate rises linearly from 0.
        decay: share of the steps at the end in which it falls linearly to 0 (warm-up-stable-decay).
        clip: largest gradient norm; 0 does not clip.
    """

    lr: float = 1e-3
    muon_lr: float = 0.0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    warmup: float = 0.05
    decay: float = 0.4
    clip: float = 1.0

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"optim.lr is {self.lr}; it must be above 0")
        if not 0 <= self.warmup + self.decay <= 1:
            raise ValueError(f"optim.warmup + optim.decay is {self.warmup + self.decay}; it must lie between 0 and 1")


@dataclass(frozen=True)
class ComputeConfig:
    """Where and how precisely to compute.

    Args:
        accelerator: Lightning's name of the device kind.
        devices: devices of one machine, as `tenet plan` counts them; one process is started for each (torchrun).
        nodes: machines; like `devices` it is where, not what: a run goes on with another number of processes.
        precision: "32-true" or "bf16-mixed".
        threads: CPU threads of one process; a result is repeatable only with the same number. 0 keeps torch's own
            choice.
        compile: torch.compile the blocks for the time of a fit; pays on GPUs, costs a minute at the start.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int | Literal["auto"] = 1
    nodes: int = 1
    precision: Literal["32-true", "bf16-mixed", "bf16-true"] = "32-true"
    threads: int = 0
    compile: bool = False


@dataclass(frozen=True)
class ParallelConfig:
    """How the model is cut over devices. The product of the four numbers is the number of processes. Training builds
    `shard` and `replicate`; `tensor` and `context` are planned with, and refused at the start of training
    (docs/scale.md).

    Args:
        shard: ranks over which weights, gradients and optimiser state are sharded (FSDP2).
        tensor: ranks that split each matrix.
        context: ranks that split each sequence.
        replicate: copies of the sharded model (DDP, HSDP); 1 is as many as there are processes for.
        recompute: what the backward pass computes again: "none", "selective" (all but matrix products and attention) or
            "full" (whole blocks).
    """

    shard: int = 1
    tensor: int = 1
    context: int = 1
    replicate: int = 1
    recompute: Literal["none", "selective", "full"] = "none"

    def __post_init__(self) -> None:
        for name in ("shard", "tensor", "context", "replicate"):
            if getattr(self, name) < 1:
                raise ValueError(f"parallel.{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def world(self) -> int:
        """Devices that the plan needs."""
        return self.shard * self.tensor * self.context * self.replicate
