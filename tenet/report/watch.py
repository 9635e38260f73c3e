"""How far a run is, for somebody in another terminal: `run_stage` writes `runs/NAME/progress.json`, `tenet watch` reads
the run folder.

Nothing but files passes between the two, so it works over a mounted bucket, while the run goes on and after it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenet import hardware
from tenet.errors import ConfigError, TenetError
from tenet.files import read_json
from tenet.report.data import STAGES, Series, all_metrics, left_out, steps_of
from tenet.report.render.words import amount, change, energy, number
from tenet.runs.heartbeat import EVERY, FILE
from tenet.runs.lineage import PARTIAL, stages_of
from tenet.units import NOT_MEASURED, duration

if TYPE_CHECKING:
    from rich.console import Group

#: Seconds without a sign of life after which a run is probably dead.
SILENT = 120.0
BLOCKS = "▁▂▃▄▅▆▇█"
#: Last parts of the metrics' names that tell most, in this order.
TELLING = ("loss", "bits_per_byte", "mean", "kl", "accuracy")


@dataclass(frozen=True)
class Running:
    """The stage at work.

    Args:
        stage, attempts: which one, and how often it was started.
        share: done of it, 0 to 1; text: in its own words; left: seconds, None when unknown.
        seconds: of this attempt up to its last sign of life; silent: since then.
        metrics: its curves so far.
    """

    stage: str
    attempts: int
    share: float
    text: str
    left: float | None
    seconds: float
    silent: float
    metrics: dict[str, Series]


def running(run: Path, now: float) -> Running | None:
    """What runs, or was killed; None between two stages and after the last."""
    known = stages_of(run)
    stage = next((name for name in STAGES if known.get(name, {}).get("status") == "unfinished"), None)
    if stage is None:
        return None
    folder = run / (stage + PARTIAL)
    begun = (folder / "started.json").stat().st_mtime
    beat = read_json(run / FILE) if (run / FILE).exists() else {}
    if beat.get("stage") != stage or beat["time"] < begun - EVERY:
        beat = {"done": 0.0, "total": 0.0, "text": "", "time": begun, "since": begun, "first": 0.0}
    gained, took = beat["done"] - beat["first"], beat["time"] - beat["since"]
    left = took * (beat["total"] - beat["done"]) / gained if gained > 0 and took > 0 else None
    share = beat["done"] / beat["total"] if beat["total"] else 0.0
    attempts, seconds = known[stage].get("attempts", 1), max(0.0, beat["time"] - begun)
    return Running(stage, attempts, share, beat["text"], left, seconds, now - beat["time"], all_metrics(folder))


def rates(run: Path) -> tuple[Callable[[str], float], Callable[[str], float]]:
    """Dollars and joules of one second of a stage, as the run's plan has them; of a stage without a plan, the plan's
    average."""
    plan = _plan(run)
    stages = {row["stage"]: row for row in plan.get("stages", [])}
    whole = {key: sum(row.get(key) or 0.0 for row in stages.values()) for key in ("seconds", "dollars", "joules")}

    def rate(key: str) -> Callable[[str], float]:
        def of(stage: str) -> float:
            row = stages.get(stage, whole)
            return (row.get(key) or 0.0) / row["seconds"] if row.get("seconds") else 0.0

        return of

    return rate("dollars"), rate("joules")


def mfu(run: Path, stage: str, tokens_per_s: float) -> float | None:
    """Model FLOPs utilisation from the plan's FLOPs a token and the peak of its cluster; None where one of them is not
    known."""
    plan = _plan(run)
    row = next((row for row in plan.get("stages", []) if row["stage"] == stage and row.get("tokens")), None)
    name, _, count = str(plan.get("cluster") or "").partition(":")
    if row is None or not name:
        return None
    try:
        peak = hardware.instance(name).flops * int(count or 1)
    except (ConfigError, ValueError):
        return None
    return tokens_per_s * float(row["flops"]) / float(row["tokens"]) / peak


def _plan(run: Path) -> dict[str, Any]:
    path = run / "plan" / "plan.json"
    return (read_json(path) if path.exists() else {}).get("plan") or {}


def watch(run: Path, once: bool = False, every: float = EVERY) -> None:
    """Show a run until it is finished; without a terminal, or with `once`, show it one time.

    Raises:
        ConfigError: no such run.
    """
    from rich.live import Live

    from tenet.runs.progress import console

    if once or not console.is_terminal:
        console.print(view(run, time.time()))
        return
    with Live(view(run, time.time()), console=console, auto_refresh=False) as live:
        while len(_done(run)) < expected(run):
            time.sleep(every)
            live.update(view(run, time.time()), refresh=True)


def _done(run: Path) -> dict[str, dict[str, Any]]:
    return {name: r for name, r in stages_of(run).items() if name in STAGES and r["status"] == "done"}


def view(run: Path, now: float) -> Group:
    """The run at a moment (seconds since 1970): stages with status, the one at work with its metrics, time, energy and
    cost so far."""
    from rich.console import Group
    from rich.text import Text

    done, at_work = _done(run), running(run, now)
    lines = [Text(f"run {run} · {len(done)} of {expected(run)} stages done", style="bold"), Text(_so_far(run, done, at_work))]
    if at_work:
        lines += [Text(line) for line in _at_work(run, at_work)]
        if at_work.silent > SILENT:
            lines.append(
                Text(f"no sign of life for {duration(at_work.silent)}: if it was killed, run the same command again", "yellow")
            )
    return Group(*lines, _stages(run, done, at_work))


def _so_far(run: Path, done: dict[str, dict[str, Any]], at_work: Running | None) -> str:
    dollars, watts = rates(run)
    seconds = {name: record.get("seconds") or 0.0 for name, record in done.items()}
    joules = sum(record.get("joules") or 0.0 for record in done.values())
    if at_work:
        seconds[at_work.stage] = at_work.seconds
        joules += at_work.seconds * watts(at_work.stage)
    cost = sum(dollars(name) * value for name, value in seconds.items())
    return f"{duration(sum(seconds.values()))} · about {energy(joules)} · about ${cost:,.2f} at the plan's prices"


def _at_work(run: Path, at: Running) -> list[str]:
    filled = round(30 * min(1.0, at.share))
    attempt = f", attempt {at.attempts}" if at.attempts > 1 else ""
    left = f"about {duration(at.left)} left" if at.left is not None else "time left unknown"
    lines = [f"{at.stage}{attempt} [{'#' * filled}{'.' * (30 - filled)}] {at.share:.0%} after {duration(at.seconds)}, {left}"]
    lines += [f"  {at.text}"] if at.text else []
    shown = [name for end in TELLING for name in at.metrics if name.rsplit("/", 1)[-1] == end]
    for name in shown:
        points = at.metrics[name]
        lines.append(f"  {name:<28} {number(points[-1][1]):>8} at step {number(points[-1][0])}  {_blocks(points)}")
    speeds = [series for name, series in at.metrics.items() if name.rsplit("/", 1)[-1] == "tokens_per_s"]
    if speeds:
        speed = speeds[-1][-1][1]
        logged = [series for name, series in at.metrics.items() if name.rsplit("/", 1)[-1] == "mfu"]
        used = logged[-1][-1][1] if logged else mfu(run, at.stage, speed)
        known = f"MFU {amount(used, 'share')} of the plan's peak" if used is not None else f"MFU {NOT_MEASURED}"
        lines.append(f"  {number(speed)} tokens/s, {known}")
    return lines


def _blocks(points: Series, width: int = 40) -> str:
    """A curve of one line; what is not a number is `x`."""
    values = [value for _, value in points]
    values = [values[i * len(values) // min(width, len(values))] for i in range(min(width, len(values)))]
    good = [value for value in values if math.isfinite(value)]
    low, high = (min(good), max(good)) if good else (0.0, 0.0)
    return "".join(
        BLOCKS[round((len(BLOCKS) - 1) * (v - low) / ((high - low) or 1))] if math.isfinite(v) else "x" for v in values
    )


def expected(run: Path) -> int:
    """Stages that this run will have."""
    return len(steps_of(run)) - len(left_out(run))


def _stages(run: Path, done: dict[str, dict[str, Any]], at_work: Running | None) -> Any:
    from rich.table import Table

    table = Table(header_style="bold")
    for name in ("step", "stage", "status", "time", "finding"):
        table.add_column(name, justify="right" if name in ("step", "time") else "left")
    reasons = left_out(run)
    for step, name, _, _ in steps_of(run):
        if name in done:
            table.add_row(str(step), name, "done", duration(done[name].get("seconds")), _finding(run, name))
        elif at_work and at_work.stage == name:
            table.add_row(str(step), name, "running" if at_work.silent <= SILENT else "silent", duration(at_work.seconds), "")
        else:
            table.add_row(str(step), name, "left out" if name in reasons else "not started", "", reasons.get(name, ""))
    return table


def _finding(run: Path, name: str) -> str:
    from tenet.report.data import load

    try:
        key = load(run, name, verify=False).key
    except TenetError as error:
        return str(error)
    return f"{key.name}: {change(key)}" if key else "no figure"
