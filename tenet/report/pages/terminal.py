"""`tenet show` and `tenet lineage`: the run and its chain as text. No matplotlib, no papermill: this answers at
once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenet.errors import TenetError
from tenet.files import read_json, sha256
from tenet.report.data import STAGES, left_out, load, steps_of
from tenet.report.render.words import amount, change, direction, energy, interval, number
from tenet.runs.lineage import lineage, stages_of
from tenet.units import NOT_MEASURED, duration

if TYPE_CHECKING:
    from rich.table import Table

STYLES = {"better": "green", "worse": "red"}


def show(run: Path) -> Table:
    """Table of the ten steps: status, key figure with what it is compared with, and time.

    Raises:
        ConfigError: no such run.
    """
    from rich.table import Table

    # Only stages of the pipeline: a folder of another name, or one killed before its last rename, is not a result.
    known = {name: record for name, record in stages_of(run).items() if name in STAGES}
    seconds = sum(record.get("seconds", 0.0) for record in known.values())
    joules = sum(record.get("joules", 0.0) for record in known.values())
    total = f"{duration(seconds)} in all, about {energy(joules)} (estimated) · {run / 'index.html'}"
    table = Table(title=f"run {run}", caption=total, title_justify="left", caption_justify="left", header_style="bold")
    for name in ("step", "stage", "key figure", "before → after", "95 % interval", "baseline", "time"):
        table.add_column(name, justify="right" if name in ("step", "time") else "left")
    reasons = left_out(run)
    for step, name, _, _ in steps_of(run):
        table.add_row(str(step), name, *_cells(run, name, known.get(name), reasons.get(name, "")))
    return table


def _cells(run: Path, name: str, record: dict[str, Any] | None, reason: str) -> tuple[Any, ...]:
    from rich.text import Text

    if record is None:
        return (Text(f"left out: {reason}" if reason else "not started", style="dim"), "", "", "", "")
    if record["status"] != "done":
        return (Text(f"unfinished, attempt {record.get('attempts', 1)}: run it again to go on", style="yellow"), "", "", "", "")
    try:
        key = load(run, name, verify=False).key
    except TenetError as error:  # one doctored folder must not hide the other rows
        return (Text(str(error), style="red"), "", "", "", duration(record.get("seconds")))
    if key is None:
        return ("no figure", "", "", "", duration(record.get("seconds")))
    verdict = direction(key, key.before)
    baseline = amount(key.baseline, key.unit) if key.baseline is not None else NOT_MEASURED
    value = Text(change(key) + (f" {verdict}" if verdict == "worse" else ""), style=STYLES.get(verdict, ""))
    return (key.name, value, interval(key), baseline, duration(record.get("seconds")))


def planned(run: Path) -> Table:
    """Planned against actual for the finished stages: time, energy, FLOPs, each with actual / planned.

    Raises:
        ConfigError: no such run.
        StageError: the run has no plan.
    """
    from rich.table import Table

    from tenet.planning.forecast import actual

    rows = actual(run)
    note = "energy is estimated; a plan of this machine assumes a peak, see docs/cost.md"
    table = Table(title=f"run {run}, planned against actual", caption=note, title_justify="left", caption_justify="left")
    for name in (
        "stage",
        "planned time",
        "actual",
        "ratio",
        "planned energy",
        "actual",
        "ratio",
        "planned FLOPs",
        "actual",
        "ratio",
    ):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for row in rows:
        cells: list[str] = []
        for key, words in (("seconds", duration), ("joules", energy), ("flops", number)):
            cells += [words(row[f"planned_{key}"]), words(row[f"actual_{key}"]), number(row[f"{key}_ratio"])]
        table.add_row(row["stage"], *cells)
    return table


def lineage_text(run: Path, stage: str = "serve") -> str:
    """From a stage back to documents and licences, nearest first; every link is checked by hash.

    Raises:
        StageError: a stage of the chain is not there.
    """
    lines = [f"lineage of {stage} in {run}"]
    for link in lineage(run, stage):
        lines += _link(link)
    card = run / "corpus" / "card.json"
    if not card.exists():
        return "\n".join([*lines, f"sources: {card} is not there, so documents and licences cannot be named"])
    content = read_json(card)
    for part in ("sources", "licences"):
        lines.append(f"{part} ({card.name} sha256 {sha256(card)[:16]})")
        lines += [f"    {row}" for row in rows_of(content.get(part))] or [f"    {card.name} has no {part}"]
    return "\n".join(lines)


def _link(link: dict[str, Any]) -> list[str]:
    record = link["record"]
    lines = [
        f"{link['stage']:<15} {link['identity'][:16]}  {record.get('end', '?')}  code {str(record.get('code', 'unknown'))[:20]}"
    ]
    for entry in record.get("outputs", []):
        if entry["path"].endswith("model.safetensors"):
            lines.append(f"    weights   {entry['sha256'][:16]}  {entry['path']}")
    for name, given in record["inputs"].items():
        broken = "   BROKEN: that stage was made again since" if name in link["broken_links"] else ""
        lines.append(f"    reads     {given['sha256'][:16]}  {name}{broken}")
    return lines


def rows_of(value: Any) -> list[str]:
    """A list or mapping of a data card as one line each."""
    if isinstance(value, dict):
        return [f"{key}: {_words(inner)}" for key, inner in value.items()]
    return [_words(inner) for inner in value or []]


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return " ".join(map(_words, value))
    return number(value, 6) if isinstance(value, (int, float)) else str(value)
