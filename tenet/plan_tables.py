"""The tables of `tenet plan`: numbers at a reader's precision, units in the heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from tenet.report.words import duration

if TYPE_CHECKING:
    from tenet.plan import MemoryPlan, Plan, StagePlan


def short(value: float) -> str:
    """A count with its SI letter: 8.03B, 15.6T, 3.95e25 beyond."""
    for limit, letter in ((1e15, ""), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value:.2e}".replace("e+", "e") if not letter else f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


def long_time(seconds: float) -> str:
    """Minutes and hours as elsewhere, days above two of them."""
    return f"{seconds / 86_400:,.1f} days" if seconds >= 2 * 86_400 else duration(seconds)


def money(dollars: float) -> str:
    """Cents below 100 dollars."""
    return f"${dollars:,.0f}" if dollars >= 100 else f"${dollars:.2f}"


def gib(value: float) -> str:
    """Bytes as GiB."""
    return f"{value / 2**30:.1f}" if value >= 2**30 / 20 else f"{value / 2**30:.3f}"


def _cells(row: StagePlan) -> tuple[str, ...]:
    return (
        row.stage,
        short(row.tokens),
        short(row.flops),
        long_time(row.seconds),
        f"{row.gpu_hours:,.0f}" if row.gpu_hours >= 10 else f"{row.gpu_hours:.3f}",
        money(row.dollars),
        f"{row.kwh:,.0f}" if row.kwh >= 10 else f"{row.kwh:.4f}",
        f"{row.kg_co2:,.0f}" if row.kg_co2 >= 10 else f"{row.kg_co2:.4f}",
    )


def stage_table(made: Plan) -> Table:
    """One line a stage and one for all."""
    # On this machine the device is all its cores together.
    names = ("tokens", "FLOPs", "time", "device hours", "dollars", "kWh", "kg CO2e")
    table = Table("stage", *names, title="Cost by stage", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in made.stages:
        table.add_row(*_cells(row))
    table.add_section()
    table.add_row(*_cells(made.total))
    return table


def memory_table(made: Plan) -> Table:
    """One line a stage, in GiB on one device."""
    names = ("weights", "gradients", "optimiser", "activations", "cache", "all", "device", "fits")
    table = Table("stage", *names, title="Memory on one device, GiB", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in made.memory:
        table.add_row(*_memory_cells(row))
    return table


def _memory_cells(row: MemoryPlan) -> tuple[str, ...]:
    p = row.parts
    parts = (gib(v) for v in (p.weights, p.gradients, p.optimiser, p.activations, p.cache, p.total, row.capacity))
    return (p.stage, *parts, "yes" if row.fits else "NO")
