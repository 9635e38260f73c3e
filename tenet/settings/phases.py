"""A curriculum: pretraining in phases, each with its share of the steps, its own mix of sources and, where it names one,
its own part of the learning-rate schedule (mid-training and annealing, as in arXiv:2412.04403 and arXiv:2406.11794)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tenet.units import short


@dataclass(frozen=True)
class PhaseConfig:
    """One part of pretraining.

    Args:
        share: of the steps; the shares of all phases sum to 1.
        weights: source -> weight; a source's share of the phase's tokens is its weight over their sum. Empty: the
            corpus as it is mixed. A source is named as in its documents' ids: a folder by its last part (`books`), a
            data set or the demo's by name, others by kind.
        name: for reports.
        schedule: warmup rises linearly from where the phase before ended (0 at the start), constant holds, decay falls
            linearly; empty in all phases: `optim.warmup` and `optim.decay` over the whole run.
        rate: what the schedule ends at, as a factor of the peak rate: left out, 1 for warmup, 0 for decay and for
            constant what the phase before ended at (1 at the start).
    """

    share: float
    weights: dict[str, float] = field(default_factory=dict)
    name: str = ""
    schedule: Literal["", "warmup", "constant", "decay"] = ""
    rate: float | None = None


def check_phases(phases: Sequence[PhaseConfig], steps: int) -> None:
    """Refuse phases that cannot be.

    Args:
        steps: of the whole run; 0 trains nothing, so a phase may be empty.

    Raises:
        ValueError: names the phase, the value and the way out.
    """
    if not phases:
        return
    for number, phase in enumerate(phases, 1):
        _check(phase, f"pretrain.phases {number}")
    total = math.fsum(phase.share for phase in phases)
    if abs(total - 1) > 1e-6:
        shares = " + ".join(f"{phase.share:g}" for phase in phases)
        raise ValueError(f"pretrain.phases: the shares {shares} sum to {total:g}; they must sum to 1")
    without = [str(number) for number, phase in enumerate(phases, 1) if not phase.schedule]
    if without and len(without) < len(phases):
        raise ValueError(
            f"pretrain.phases {', '.join(without)}: no schedule, and other phases have one; name it in all of them (warmup, constant, "
            "decay), or in none (then optim.warmup and optim.decay hold)"
        )
    begin = 0
    for number, end in enumerate(ends(phases, steps), 1):
        if steps and end == begin:
            raise ValueError(
                f"pretrain.phases {number}: a share of {phases[number - 1].share:g} of {steps:,} steps is none; raise the share or tokens"
            )
        begin = end


def _check(phase: PhaseConfig, where: str) -> None:
    if not 0 < phase.share <= 1:
        raise ValueError(f"{where}: share is {phase.share}; it must be above 0 and at most 1")
    for source, weight in phase.weights.items():
        if not weight > 0 or not math.isfinite(weight):
            raise ValueError(f"{where}: the weight of {source} is {weight}; it must be above 0, or leave the source out")
    if phase.rate is not None and not (phase.schedule and 0 <= phase.rate <= 1):
        raise ValueError(f"{where}: rate is {phase.rate}; it is a factor from 0 to 1 that a schedule (warmup, ...) ends at")


def ends(phases: Sequence[PhaseConfig], steps: int) -> list[int]:
    """The step before which each phase ends, of so many; the last one at the end."""
    sums = list(itertools.accumulate(phase.share for phase in phases))
    return [*(round(done * steps) for done in sums[:-1]), steps]


def shares(phase: PhaseConfig) -> dict[str, float]:
    """Source -> share of the phase's tokens; empty: the corpus as it is mixed."""
    whole = math.fsum(phase.weights.values())
    return {source: weight / whole for source, weight in phase.weights.items()}


def rate_of(phases: Sequence[PhaseConfig], steps: int) -> Callable[[int], float] | None:
    """Factor of the peak rate at a step, put together from the phases; None where they name no schedule."""
    if not phases or not phases[0].schedule:
        return None
    parts: list[tuple[int, int, str, float, float]] = []
    begin, level = 0, 0.0
    for phase, end in zip(phases, ends(phases, steps), strict=True):
        usual = {"warmup": 1.0, "decay": 0.0, "constant": level if parts else 1.0}[phase.schedule]
        to = usual if phase.rate is None else phase.rate
        before = 1.0 if not parts and phase.schedule == "decay" else level
        parts.append((begin, end, phase.schedule, before, to))
        begin, level = end, to

    def factor(step: int) -> float:
        for begin, end, how, before, to in parts:
            if step < end:
                # A rise reaches its level with its last step, a fall begins with a whole one, as `optim.schedule` does.
                done = {"warmup": step - begin + 1, "constant": end - begin, "decay": step - begin}[how] / (end - begin)
                return before + (to - before) * done
        return parts[-1][-1]

    return factor


def told(phases: Sequence[PhaseConfig], tokens: float) -> list[str]:
    """A line for each phase: how much of what."""
    lines = []
    for number, phase in enumerate(phases, 1):
        what = ", ".join(f"{share:.0%} {source}" for source, share in shares(phase).items()) or "the corpus as it is mixed"
        named = f" ({phase.name})" if phase.name else ""
        to = "" if phase.rate is None else f" to {phase.rate:g} of the peak"
        schedule = f"; rate: {phase.schedule}{to}" if phase.schedule else ""
        lines.append(
            f"phase {number}{named}: {phase.share:.0%} of the steps, {short(phase.share * tokens)} tokens, {what}{schedule}"
        )
    return lines
