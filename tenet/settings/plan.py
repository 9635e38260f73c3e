"""Settings of step 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PlanConfig:
    """Step 2. What a preset does not say is assumed here; the plan prints every assumption with its flag.

    Args:
        cluster: instance type and count, e.g. p5.48xlarge:256; "local" is this machine.
        tokens: pretraining tokens, e.g. 8T, 300B, 2.4M or 8e12; 0 takes the pretrain section's own.
        mfu: model FLOPs utilisation of training; 0 derives it from the roofline.
        matrix_efficiency: share of the peak that matrix units reach in a model's products; 0 takes the accelerator's
            row.
        memory_efficiency: share of its bandwidth that memory reaches.
        network_efficiency: share of its bandwidth that a link reaches, in a machine and between machines.
        gather_bytes: bytes of a weight that travels between shards; 0 takes those it is kept in.
        overlap: share of the sharding traffic that hides behind computation, as far as there is enough of it.
        mtbf: hours that one device runs between two interruptions of the job that it is part of.
        restart_minutes: from an interruption to the first new step.
        storage: GB/s at which one machine writes checkpoints.
        price: which of a machine's prices is paid; a block is bought beforehand, spot may be taken away.
        power: share of a machine's largest power that it draws under load.
        pue: power usage effectiveness of the data centre.
        region: AWS region, for carbon.
        serve: instance type and count that serves; empty takes one machine of the cluster.
        serve_prompt: tokens of a request's prompt.
        serve_answer: tokens of its answer.
        serve_batch: most requests decoded at once by one copy of the model.
        serve_load: share of the time that the serving machines are busy.
    """

    cluster: str = "local"
    tokens: float | str = 0.0
    mfu: float = 0.0
    matrix_efficiency: float = 0.0
    memory_efficiency: float = 0.8
    network_efficiency: float = 0.8
    gather_bytes: int = 0
    overlap: float = 0.9
    mtbf: float = 50_677.0
    restart_minutes: float = 10.0
    storage: float = 2.0
    price: Literal["on-demand", "block", "spot"] = "on-demand"
    power: float = 0.76
    pue: float = 1.2
    region: str = "us-east-1"
    serve: str = ""
    serve_prompt: int = 1024
    serve_answer: int = 256
    serve_batch: int = 256
    serve_load: float = 0.5
