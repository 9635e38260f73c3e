"""Several runs side by side: figures with their intervals, settings that differ, curves on one axis; a page and a
table.

The first run is the one that the others are held against.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tenet.errors import ConfigError, TenetError
from tenet.files import write_text
from tenet.report.data import STAGES, Series, Stage, flat, load
from tenet.report.render.words import amount, direction, energy, interval
from tenet.runs.lineage import fingerprint_of, stages_of
from tenet.runs.summary import Figure
from tenet.units import NOT_MEASURED, duration

if TYPE_CHECKING:
    from rich.table import Table

#: Curves that are drawn for all runs together, by the end of their name.
CURVES = ("train/loss", "valid/bits_per_byte", "reward/mean", "kl")


@dataclass(frozen=True)
class Side:
    """One run of a comparison: its name among the others, and its finished stages or why one cannot be read."""

    name: str
    run: Path
    stages: dict[str, Stage]
    broken: dict[str, str]

    def figure(self, stage: str, name: str) -> Figure | None:
        """A figure by its name."""
        figures = self.stages[stage].figures if stage in self.stages else []
        return next((f for f in figures if f.name == name), None)


def sides(paths: Sequence[Path]) -> list[Side]:
    """Read the runs.

    Raises:
        ConfigError: fewer than two, the same one twice, or one that is not there.
    """
    whole = [path.resolve() for path in paths]
    if len(whole) < 2:
        raise ConfigError(f"tenet compare got {len(whole)} run(s); name at least two, e.g. `tenet compare runs/a runs/b`")
    if len(set(whole)) < len(whole):
        raise ConfigError(f"tenet compare got the same run twice ({', '.join(map(str, paths))}); name different ones")
    names = [path.name for path in whole]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}/{path.name}" for path in whole]
    return [_side(name, path) for name, path in zip(names, paths, strict=True)]


def _side(name: str, run: Path) -> Side:
    stages, broken = {}, {}
    for stage, record in stages_of(run).items():
        if stage in STAGES and record["status"] == "done":
            try:
                stages[stage] = load(run, stage)
            except TenetError as error:
                broken[stage] = str(error)
    return Side(name, run, stages, broken)


def verdict(first: Figure | None, other: Figure | None) -> str:
    """The other run's figure against the first's, with what the intervals allow to say."""
    if first is None or other is None:
        return "only in one"
    if not (math.isfinite(first.value) and math.isfinite(other.value)):
        return "not a number"
    if first.value == other.value:
        return "equal"
    spans = [(f.low, f.high) if f.low is not None and f.high is not None else (f.value, f.value) for f in (first, other)]
    if spans[0][0] <= spans[1][1] and spans[1][0] <= spans[0][1]:
        return "cannot be told apart"  # cautious: intervals that overlap a little may still differ
    said = direction(other, first.value) or "differs"
    return said if first.low is not None and other.low is not None else f"{said} (no interval: may be chance)"


def rows(compared: Sequence[Side], keys_only: bool = False) -> list[tuple[str, str, list[Figure | None]]]:
    """(stage, figure, its value in each run) in the order of the steps."""
    found = []
    for stage in STAGES:
        listed = [side.stages[stage].figures[: 1 if keys_only else None] for side in compared if stage in side.stages]
        for name in dict.fromkeys(f.name for figures in listed for f in figures):
            found.append((stage, name, [side.figure(stage, name) for side in compared]))
    return found


def differences(compared: Sequence[Side]) -> list[tuple[str, ...]]:
    """Settings, seeds and code that are not the same in all runs: name, then the value in each."""
    found = []
    for stage in STAGES:
        per_run = [_identity(side.stages[stage]) if stage in side.stages else {} for side in compared]
        for key in dict.fromkeys(k for identity in per_run for k in identity):
            values = [identity.get(key, NOT_MEASURED) for identity in per_run]
            if len(set(values)) > 1:
                found.append((f"{stage}.{key}", *values))
    return found


def _identity(stage: Stage) -> dict[str, str]:
    path = stage.dir / "config.yaml"
    settings = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get(stage.name) or {} if path.exists() else {}
    values = {key: str(value) for key, value in flat(settings)}
    return {**values, "seed": str(stage.record.get("seed")), "code": str(stage.record.get("code"))[:20]}


def _value(figure: Figure | None) -> str:
    if figure is None:
        return NOT_MEASURED
    return amount(figure.value, figure.unit) + (f" ({interval(figure)})" if figure.low is not None else "")


def compare_table(paths: Sequence[Path]) -> Table:
    """The key figure of each stage in each run, for a terminal.

    Raises:
        ConfigError: see `sides`.
    """
    from rich.table import Table

    compared = sides(paths)
    table = Table(title=f"{compared[0].name} against the others", title_justify="left", header_style="bold")
    for name in ("stage", "key figure", *(side.name for side in compared), "verdict"):
        table.add_column(name)
    for stage, name, figures in rows(compared, keys_only=True):
        table.add_row(stage, name, *map(_value, figures), "; ".join(verdict(figures[0], other) for other in figures[1:]))
    for side in compared:
        for stage, why in side.broken.items():
            table.add_row(stage, "cannot be read", *(why if each is side else "" for each in compared), "")
    return table


def compare_page(paths: Sequence[Path], out: Path | None = None) -> Path:
    """Write the comparison as a page.

    Args:
        paths: run folders; the first is what the others are held against.
        out: the file; `compare.html` in the first run when left out.

    Raises:
        ConfigError: see `sides`.
    """
    from tenet.report.render.html import bullets, join, page, table, tag

    compared, target = sides(paths), out or paths[0] / "compare.html"
    names = [side.name for side in compared]
    links = [tag("a", s.name, href=os.path.relpath((s.run / "index.html").resolve(), target.resolve().parent)) for s in compared]
    figures = [
        (name, stage, *map(_value, values), "; ".join(verdict(values[0], other) for other in values[1:]))
        for stage, name, values in rows(compared)
    ]
    other = differences(compared)
    broken = [f"{side.name}, {stage}: {why}" for side in compared for stage, why in side.broken.items()]
    body = [
        tag("h1", " against ".join(names)),
        tag("p", join(links, " · ")),
        tag("p", _finding(compared), cls="finding"),
        *([bullets(broken, cls="bad")] if broken else []),
        *_pictures(compared),
        tag("h2", "Figures"),
        table(("figure", "stage", *names, f"against {names[0]}"), figures, "value (95 % interval)"),
        tag("h2", "What was set otherwise"),
        table(("setting", *names), other, "settings, seeds and code that differ") if other else tag("p", "Nothing: settings, seeds and code are the same."),
        tag("h2", "What it took"),
        table(("stage", *(f"{n}, {what}" for n in names for what in ("time", "energy"))), _cost(compared), "time and energy (estimated)"),
        tag("h2", "What to doubt"),
        bullets(_doubts(compared)),
    ]  # fmt: skip
    write_text(target, page("Comparison of runs", join(body), "site.css"))
    return target


def _finding(compared: Sequence[Side]) -> str:
    said = []
    for position, side in enumerate(compared[1:], 1):
        words = [verdict(values[0], values[position]).split(" (")[0] for _, _, values in rows(compared, keys_only=True)]
        counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        said.append(f"{side.name} against {compared[0].name}, {len(words)} key figures: {counts or 'none in common'}.")
    return " ".join(said)


def _pictures(compared: Sequence[Side]) -> list[Any]:
    from tenet.report.pages.cells import UNITS
    from tenet.report.render import figures as draw
    from tenet.report.render.words import number

    found = []
    for stage in STAGES:
        for name in CURVES:
            series: dict[str, Series] = {
                s.name: s.stages[stage].metrics[name] for s in compared if name in getattr(s.stages.get(stage), "metrics", {})
            }
            if len(series) > 1:
                ends = ", ".join(f"{side} {number(points[-1][1])}" for side, points in series.items())
                found.append(draw.curve(series, UNITS.get(name.rsplit("/", 1)[-1], name), f"{stage}: {name} ends at {ends}"))
    return found


def _cost(compared: Sequence[Side]) -> list[tuple[str, ...]]:
    table = []
    for stage in STAGES:
        records = [side.stages[stage].record if stage in side.stages else {} for side in compared]
        if any(records):
            table.append((stage, *(cell for r in records for cell in (duration(r.get("seconds")), energy(r.get("joules"))))))
    return table


def _doubts(compared: Sequence[Side]) -> list[str]:
    """What a difference between two runs may come from besides what was changed."""
    found = []
    changed = [row[0] for row in differences(compared) if not row[0].endswith(".code")]
    if len(changed) > 1:
        found.append(
            f"{len(changed)} settings differ ({', '.join(changed[:8])}{', …' if len(changed) > 8 else ''}): a difference cannot be put down to one of them."
        )
    seeds = {str(stage.record.get("seed")) for side in compared for stage in side.stages.values()}
    if len(seeds) == 1:
        found.append(f"All runs have the seed {seeds.pop()}: how far another seed alone would move the figures is not known.")
    corpora = {fingerprint_of(side.run / "corpus" / "run.json") for side in compared if "corpus" in side.stages}
    if len(corpora) > 1:
        found.append("The runs have different corpora, so their held-out rows may not be the same ones.")
    compared_figures = len(rows(compared))
    found.append(f"{compared_figures} figures are compared: with 95 % intervals, about one in twenty differs by chance.")
    found += [f"{side.name}: {what}." for side in compared for stage in side.stages.values() for what in stage.missing]
    return found
