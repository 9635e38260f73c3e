"""What `tenet plan` prints: a screen of results, then memory, the step, interruptions, serving and assumptions. Units
stand beside numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from tenet.hardware import CARBON
from tenet.units import duration, gib, kilowatt_hours, long_time, mass, money, short

if TYPE_CHECKING:
    from tenet.planning.forecast import Plan
    from tenet.planning.stages import StagePlan


def summary(made: Plan, searched: bool = False) -> Iterable[str | Table]:
    """One screen: what it is, how long, how much, whether it fits and what it waits for.

    Args:
        searched: the sharding is the search's; otherwise a plan that waits for the network points to it.
    """
    total, pre, step, stop = made.total, made.stages[0], made.step, made.interruptions
    machines = "this machine" if made.cluster == "local" else f"{made.cluster} ({made.devices:,} devices)"
    copies = "one copy" if made.replicas == 1 else f"{made.replicas} copies"
    yield f"{made.preset}: {made.parameters:,} parameters, {copies} of the model on {machines}"
    yield f"  in all    {long_time(total.seconds)}, {money(total.dollars)} ({made.price}), {kilowatt_hours(total.kwh)}, {mass(total.kg_co2)} CO2e"
    utilisation = f", {pre.mfu:.1%} of peak" if pre.tokens else ""
    waits = " (--fit looks for a better sharding)" if step.bound == "network" and not searched else ""
    yield f"  a step    {short(step.tokens)} tokens in {duration(step.tokens * _rate(pre, step.seconds, step.tokens))}{utilisation}; most of it for {step.bound}{waits}"
    yield "  memory    " + _memory_line(made)
    if math.isfinite(stop.mtbf):
        yield (
            f"  failures  one in {long_time(stop.mtbf)}, {stop.expected:,.0f} in pretraining; they and checkpoints take {stop.lost:.1%} "
            f"({stop.lost_at_best:.1%} saving every {duration(stop.best)})"
        )
    yield "  serving   " + _serving_line(made)
    yield ""
    yield stage_table(made)


def _rate(pre: StagePlan, seconds: float, tokens: float) -> float:
    """Seconds a token: the plan's, which a given utilisation may have replaced; the roofline's where nothing is
    pretrained."""
    return pre.work_seconds / pre.tokens if pre.tokens else seconds / tokens


def _memory_line(made: Plan) -> str:
    worst = max(made.memory, key=lambda row: row.parts.total)
    most = f"most {gib(worst.parts.total)} of {gib(worst.capacity)} GiB a device, in {worst.parts.stage}"
    short_of = [row.parts.stage for row in made.memory if not row.fits]
    return f"{most}; {', '.join(short_of)} DOES NOT FIT" if short_of else f"{most}; every stage fits"


def _serving_line(made: Plan) -> str:
    s = made.serving
    if not s.fits:
        return f"the bf16 weights DO NOT FIT on {s.cluster}; --serve TYPE:COUNT names other machines"
    return (
        f"{s.tokens_per_second:,.0f} tokens/s on {s.cluster}, {money(s.dollars_per_million)} a million made; waits for {s.bound}"
    )


def _table(title: str, names: tuple[str, ...]) -> Table:
    table = Table(*names, title=title, title_justify="left", title_style="", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in table.columns:
        column.no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def stage_table(made: Plan) -> Table:
    """One line a stage and one for all."""
    names = ("devices", "tokens", "FLOPs", "of peak", "waits for", "time", "device hours", "dollars", "energy", "CO2e")
    table = _table("By stage", ("stage", *names))
    for row in made.stages:
        table.add_row(*_cells(row))
    table.add_section()
    table.add_row(*_cells(made.total))
    return table


def _cells(row: StagePlan) -> tuple[str, ...]:
    return (
        row.stage,
        f"{row.devices:,}",
        short(row.tokens),
        short(row.flops),
        "" if math.isnan(row.mfu) else f"{row.mfu:.1%}",
        row.bound,
        long_time(row.seconds),
        short(row.gpu_hours),
        money(row.dollars),
        kilowatt_hours(row.kwh),
        mass(row.kg_co2),
    )


def details(made: Plan) -> Iterable[str | Table]:
    """What the results are made of."""
    yield memory_table(made)
    yield from _step(made)
    yield from _interruptions(made)
    yield from _serving(made)
    yield ""
    yield "CO2e of the same electricity in other regions"
    yield "  " + ", ".join(f"{region} {mass(made.total.kwh * grid)}" for region, grid in CARBON.items())
    yield ""
    yield "Assumptions, with the flag that sets each"
    for line in made.assumptions:
        yield f"  - {line}"


def memory_table(made: Plan) -> Table:
    """One line a stage, in GiB on one device, beside the parameters that it trains."""
    names = ("trained", "weights", "gradients", "optimiser", "activations", "cache", "all", "device", "fits")
    table = _table("Memory on one device, GiB", ("stage", *names))
    for row, stage in zip(made.memory, made.stages, strict=True):
        p = row.parts
        parts = (gib(v) for v in (p.weights, p.gradients, p.optimiser, p.activations, p.cache, p.total, row.capacity))
        table.add_row(p.stage, short(stage.trained), *parts, "yes" if row.fits else "NO")
    return table


def _step(made: Plan) -> Iterable[str]:
    step = made.step
    yield "A step of pretraining by the roofline"
    yield f"  matrix units {step.matrix:.3g} s, memory {step.memory:.3g} s"
    yield f"  network: sharded weights and gradients {step.sharding:.3g} s, tensor parallel sums {step.tensor:.3g} s; not hidden {step.exposed:.3g} s"
    yield f"  together {step.seconds:.3g} s, most of it for {step.bound}"


def _interruptions(made: Plan) -> Iterable[str]:
    stop = made.interruptions
    if not math.isfinite(stop.mtbf):
        return
    yield ""
    yield "Interruptions of pretraining"
    yield f"  a checkpoint takes {duration(stop.checkpoint)}; the preset saves every {duration(stop.every)} of work: {stop.lost:.2%} of the time is lost"
    yield f"  Young's interval, sqrt(2 x checkpoint x time between interruptions), is {duration(stop.best)}: {stop.lost_at_best:.2%}"


def _serving(made: Plan) -> Iterable[str]:
    s = made.serving
    if not s.fits:
        return
    limit = {"cache": "the cache has no room for more", "requests": "that many may run"}[s.batch_limit]
    yield ""
    yield f"Serving on {s.cluster}"
    yield f"  {s.copies} {'copy' if s.copies == 1 else 'copies'} of the model, each over {s.split} device(s), {s.batch} requests at once ({limit})"
    yield f"  first token after {s.first_seconds * 1000:.3g} ms, then one in {s.token_seconds * 1000:.3g} ms; {s.tokens_per_second:,.0f} tokens/s in all, when full"


def overview_table(plans: list[Plan]) -> Table:
    """One line a preset."""
    names = (
        "parameters",
        "cluster",
        "tokens",
        "of peak",
        "waits for",
        "time",
        "dollars",
        "after pretraining",
        "energy",
        "CO2e",
        "fits",
    )
    table = _table("Every preset on its own cluster", ("preset", *names))
    for made in plans:
        pre, total = made.stages[0], made.total
        table.add_row(
            made.preset,
            short(made.parameters),
            made.cluster,
            short(pre.tokens),
            f"{pre.mfu:.1%}",
            pre.bound,
            long_time(total.seconds),
            money(total.dollars),
            money(total.dollars - pre.dollars),
            kilowatt_hours(total.kwh),
            mass(total.kg_co2),
            "yes" if all(row.fits for row in made.memory) else "NO",
        )
    return table
