"""One stage of a plan: time from the roofline or a given utilisation, interruptions, money and electricity."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tenet import hardware
from tenet.errors import ConfigError
from tenet.hardware import Cluster
from tenet.planning import estimate, failures, memory, roofline
from tenet.planning.estimate import Work
from tenet.settings.plan import PlanConfig
from tenet.settings.preset import Preset


@dataclass(frozen=True)
class StagePlan:
    """One row: what a stage computes and what that costs.

    Args:
        devices: that work; the machines that hold them are paid.
        trained: parameters that the optimiser moves.
        mfu: model FLOPs of all its work over peak, interruptions left out; bound: what its larger part waits for.
        work_seconds: without interruptions; seconds: with them.
        joules: at the machines; kwh: at the meter of the data centre.
    """

    stage: str
    parameters: int
    trained: int
    tokens: float
    flops: float
    devices: int
    mfu: float
    bound: str
    work_seconds: float
    seconds: float
    gpu_hours: float
    dollars: float
    joules: float
    kwh: float
    kg_co2: float


@dataclass(frozen=True)
class Interruptions:
    """Failures of the job and what is done about them, all in seconds.

    Args:
        mtbf: between interruptions of pretraining; infinite on this machine.
        checkpoint: one of them stops training for so long.
        every: of work between checkpoints, as the preset sets it; best: Young's interval, infinite without
            interruptions.
        expected: interruptions of pretraining.
        lost: share of pretraining's time that goes into checkpoints, work done twice and restarts; lost_at_best: with
            `best`.
    """

    mtbf: float
    checkpoint: float
    every: float
    best: float
    expected: float
    lost: float
    lost_at_best: float


def copies_of(work: Work, preset: Preset, where: Cluster) -> int:
    """Copies of the sharded model that a stage uses: pretraining all, others (0) as many as their batch fills."""
    return estimate.replicas(preset.pretrain.parallel, where.devices) if work.stage == "pretrain" else 0


def batch_of(work: Work, preset: Preset, where: Cluster) -> float:
    """Tokens of a stage's step; what trains nothing has no step, and fills the cluster with copies that answer."""
    return work.batch or float(where.devices * preset.pretrain.batch_tokens)


def devices_of(work: Work, preset: Preset, where: Cluster) -> int:
    """Devices that a stage works on."""
    copies = copies_of(work, preset, where)
    return roofline.layout(preset, where, batch_of(work, preset, where), work.context, copies).devices


def stage_plan(work: Work, preset: Preset, where: Cluster, config: PlanConfig) -> StagePlan:
    """Time, money and electricity of one stage."""
    model = preset.model
    batch, devices = batch_of(work, preset, where), devices_of(work, preset, where)
    step = roofline.train_step(preset, where, config, batch, work.context, copies_of(work, preset, where))
    rate = devices * where.peak * config.mfu / model.flops_per_token(work.context) if config.mfu else batch / step.seconds
    drawing, waits = _drawing(work, preset, where, config, devices)
    if work.batch:
        learning, bound = (work.lora.cost * work.trained + estimate.FORWARD * work.scored) / rate, str(step.bound)
    else:
        learning, bound = _scoring(work, preset, where, config, devices), "matrix units"
    seconds = learning + drawing
    bound = bound if learning >= drawing else f"answers: {waits}"
    every = preset.pretrain.checkpoint_every * batch / rate if work.stage == "pretrain" else 0.0
    used = Cluster(where.instance, math.ceil(devices / where.per_machine))
    whole = with_interruptions(seconds, every, preset, used, config)
    joules = whole * used.instance.watts * used.count * (1.0 if where.local else config.power)
    kwh = joules / 3.6e6 * config.pue
    return StagePlan(
        stage=work.stage,
        parameters=model.parameters(),
        trained=work.trained_parameters(model),
        tokens=work.tokens,
        flops=work.flops(model),
        devices=devices,
        mfu=work.flops(model) / (seconds * devices * where.peak) if seconds else 0.0,
        bound=bound,
        work_seconds=seconds,
        seconds=whole,
        gpu_hours=whole * used.devices / 3600,
        dollars=whole / 3600 * used.instance.price(config.price) * used.count,
        joules=joules,
        kwh=kwh,
        kg_co2=kwh * hardware.carbon(config.region),
    )


def _scoring(work: Work, preset: Preset, where: Cluster, config: PlanConfig, devices: int) -> float:
    """Seconds in which rows go forward through copies that answer, as a prompt does."""
    laid = memory.answering(preset, devices, where.memory, work)
    return work.scored / work.context * roofline.prefill(preset.model, where, config, laid.split, work.context) / laid.groups


def _drawing(work: Work, preset: Preset, where: Cluster, config: PlanConfig, devices: int) -> tuple[float, str]:
    """Seconds in which a stage's answers are made, and what that waits for."""
    if not work.generated:
        return 0.0, ""
    laid = memory.answering(preset, devices, where.memory, work)
    length = estimate.prompt_tokens(preset, work.answer) + work.answer / 2
    batch = max(1, laid.batch)
    step, bound = roofline.decode_step(preset.model, where, config, laid.split, batch, length)
    return work.generated / (min(laid.groups * batch, max(1.0, work.answers)) / step), bound


def mtbf_seconds(where: Cluster, config: PlanConfig) -> float:
    """Mean seconds between interruptions of a job on all devices; this machine is taken not to fail."""
    return math.inf if where.local else config.mtbf * 3600 / where.devices


def checkpoint_seconds(preset: Preset, where: Cluster, config: PlanConfig) -> float:
    """Seconds in which all machines write weights and moments."""
    values = preset.model.parameters() + memory.optimiser_values(preset.model, preset.pretrain.optim)
    return values * memory.value_bytes(preset) / (config.storage * 1e9 * where.count)


def with_interruptions(seconds: float, every: float, preset: Preset, where: Cluster, config: PlanConfig) -> float:
    """Time with checkpoints and interruptions; `every` 0 takes Young's interval."""
    saving, mtbf = checkpoint_seconds(preset, where, config), mtbf_seconds(where, config)
    whole = failures.wall(seconds, every or failures.interval(saving, mtbf), saving, config.restart_minutes * 60, mtbf)
    if math.isinf(whole):
        raise ConfigError(
            f"pretrain.checkpoint_every: {every / 3600:,.1f} hours of work between checkpoints never end on {where.name}, which is "
            f"interrupted every {mtbf / 3600:,.1f} hours; save more often, or change plan.mtbf ({config.mtbf:g} hours a device)"
        )
    return whole


def interruptions(preset: Preset, where: Cluster, config: PlanConfig, pretrain: StagePlan) -> Interruptions:
    """Interruptions of pretraining, with the preset's checkpoints and with Young's."""
    saving, mtbf = checkpoint_seconds(preset, where, config), mtbf_seconds(where, config)
    steps = max(1.0, pretrain.tokens / preset.pretrain.batch_tokens)
    every = preset.pretrain.checkpoint_every * pretrain.work_seconds / steps
    best = failures.interval(saving, mtbf)
    at_best = with_interruptions(pretrain.work_seconds, best, preset, where, config)

    def lost(whole: float) -> float:
        return 1 - pretrain.work_seconds / whole if whole else 0.0

    return Interruptions(mtbf, saving, every, best, pretrain.seconds / mtbf, lost(pretrain.seconds), lost(at_best))
