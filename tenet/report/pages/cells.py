"""What the cells of the notebooks call: each function takes a stage that was read and returns markup; a notebook holds
no logic.

Order in every notebook: `headline` (finding.py), `went_in`, pictures and tables of that step (steps.py), `samples`,
`doubts`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import yaml

from tenet.report import rules
from tenet.report.data import Series, Stage, flat
from tenet.report.pages.rows import anchor
from tenet.report.render import figures as draw
from tenet.report.render.html import Html, bullets, details, join, tag
from tenet.report.render.html import table as html_table
from tenet.report.render.words import amount, direction, energy, includes, interval, number, size
from tenet.runs.summary import Figure
from tenet.units import NOT_MEASURED, duration

#: Axis text by the last part of a metric's name.
UNITS = {
    "loss": "loss (nats per token)",
    "bits_per_byte": "bits per byte",
    "lr": "learning rate",
    "tokens_per_s": "tokens per second",
    "kl": "KL (nats per token)",
    "accuracy": "share right",
    "entropy": "entropy (nats per token)",
    "grad_norm": "gradient norm",
}


def table(stage: Stage) -> Html:
    """Every figure with what it must be compared with."""
    columns = ("figure", "value", "95 % interval", "before", "baseline", "n", "against before", "against baseline")
    rows = [
        (
            f.name,
            amount(f.value, f.unit),
            interval(f),
            _or(f.before, f),
            _or(f.baseline, f),
            f.n,
            _versus(f, f.before),
            _versus(f, f.baseline),
        )
        for f in stage.figures
    ]
    notes = [tag("p", f"{f.name}: {f.note}", cls="soft") for f in stage.figures if f.note]
    return join([html_table(columns, rows, f"figures of {stage.name}") if rows else absent("no figures in summary.json"), *notes])


def _or(value: float | None, figure: Figure) -> str:
    return amount(value, figure.unit) if value is not None else NOT_MEASURED


def _versus(figure: Figure, other: float | None) -> str:
    return "cannot be told apart" if includes(figure, other) else direction(figure, other) or NOT_MEASURED


def went_in(stage: Stage) -> Html:
    """Inputs by hash, settings, code and machine: enough to make the stage again."""
    record, host = stage.record, stage.record.get("host", {})
    inputs = [(name, link["path"], tag("code", link["sha256"][:16])) for name, link in record.get("inputs", {}).items()]
    facts = [
        ("seed", number(record.get("seed"))),
        ("code", tag("code", str(record.get("code", NOT_MEASURED)))),
        ("device", f"{record.get('device', NOT_MEASURED)}, {host.get('cores', '?')} cores, Python {host.get('python', '?')}"),
        ("start to end", f"{record.get('start', '?')} to {record.get('end', '?')}"),
        ("time", f"{duration(record.get('seconds'))} of wall clock, {duration(record.get('cpu_seconds'))} of CPU"),
        ("energy", f"{energy(record.get('joules'))} ({record.get('joules_are', 'origin unknown')})"),
        ("work", f"{number(record.get('tokens') or None)} tokens, {number(record.get('flops') or None)} FLOPs"),
        *((name.replace("_", " "), number(value)) for name, value in (record.get("timings") or {}).items()),
        ("packages", ", ".join(f"{name} {version}" for name, version in record.get("packages", {}).items()) or NOT_MEASURED),
    ]
    read = (
        html_table(("input", "record", "SHA-256"), inputs, "inputs") if inputs else tag("p", "This stage reads no earlier stage.")
    )
    return join([read, html_table(("fact", "value"), facts, "how it ran"), _settings(stage), _files(stage)])


def _settings(stage: Stage) -> Html:
    path = stage.dir / "config.yaml"
    if not path.exists():
        return absent("config.yaml is not there")
    content = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get(stage.name) or {}
    rows = [(key, json.dumps(value, ensure_ascii=False)) for key, value in flat(content)]
    return details(f"{len(rows)} settings", html_table(("setting", "value"), rows))


def _files(stage: Stage) -> Html:
    outputs = stage.record.get("outputs", [])
    rows = [(tag("a", o["path"], href=o["path"]), size(o["bytes"]), tag("code", o["sha256"][:16])) for o in outputs]
    return details(f"{len(rows)} files it wrote", html_table(("file", "size", "SHA-256"), rows))


def curves(stage: Stage, *names: str) -> Html:
    """Curves of metrics.csv, one picture for each name; a name that ends in `/` takes all metrics under it into one
    picture.

    Without names every metric is drawn. The same numbers stand in a table below.
    """
    if not stage.metrics:
        return absent("metrics.csv is not there or empty")
    parts, drawn = [], {}
    for name in names or tuple(stage.metrics):
        chosen = {k: v for k, v in stage.metrics.items() if (k.startswith(name) if name.endswith("/") else k == name)}
        drawn.update(chosen)
        parts.append(
            draw.curve(chosen, _unit(name, chosen), _trend(chosen)) if chosen else absent(f"{name} was not logged in this run")
        )
    rows = [(name, *_ends(series)) for name, series in drawn.items()]
    columns = ("metric", "first", "last", "lowest", "highest", "points", "not a number")
    return join(
        [*parts, html_table(columns, rows, "the curves in numbers (titles compare the means of the first and the last tenth)")]
    )


def _unit(name: str, chosen: dict[str, Series]) -> str:
    if name.endswith("/"):
        return name.rstrip("/").replace("_", " ")
    return UNITS.get(name.rsplit("/", 1)[-1], next(iter(chosen)).rsplit("/", 1)[-1].replace("_", " "))


def _trend(chosen: dict[str, Series]) -> str:
    """The title of a curve is what it did."""
    name, points = next(iter(chosen.items()))
    good = [p for p in points if math.isfinite(p[1])]
    if len(good) < 2:
        return f"{name}: {len(good)} point(s) logged"
    tenth = max(1, len(good) // 10)  # a tenth at each end: single steps are noise
    start, end = (sum(p[1] for p in part) / len(part) for part in (good[:tenth], good[-tenth:]))
    verb = (
        "stayed at" if abs(end - start) <= 0.01 * max(abs(start), abs(end), 1e-12) else ("fell to" if end < start else "rose to")
    )
    more = f" ({len(chosen)} metrics)" if len(chosen) > 1 else ""
    return (
        f"{name} {verb} {number(end)}"
        + ("" if verb == "stayed at" else f" from {number(start)}")
        + f" in {number(good[-1][0])} steps{more}"
    )


def _ends(points: Series) -> tuple[float | None, float | None, float | None, float | None, int, int]:
    good = [value for _, value in points if math.isfinite(value)]
    lowest, highest = (min(good), max(good)) if good else (None, None)
    return points[0][1], points[-1][1], lowest, highest, len(points), len(points) - len(good)


def samples(stage: Stage, count: int = 4) -> Html:
    """What the model wrote: for each of a few prompts the first, a middle and the last sample; else a few judged
    rows."""
    rows = stage.rows("samples.jsonl")
    if not rows:
        return judged(stage, count)
    prompts = list(dict.fromkeys(str(row.get("prompt", "")) for row in rows))[:count]
    parts = []
    for prompt in prompts:
        own = [row for row in rows if str(row.get("prompt", "")) == prompt]
        chosen = [own[i] for i in sorted({0, len(own) // 2, len(own) - 1})]
        parts.append(tag("h3", f"Prompt: {prompt!r}" if prompt else "No prompt"))
        parts += [
            join([tag("p", f"step {number(row.get('step'))}", cls="soft"), tag("pre", _clip(row.get("text", ""), 600))])
            for row in chosen
        ]
    return join([*parts, _link("samples.jsonl", f"all {len(rows)} samples")])


def judged(stage: Stage, count: int = 4) -> Html:
    """A few judged rows of each task, evenly spread, so that nobody picks the pretty ones."""
    rows = [row for _, row in stage.judged()]
    if not rows:
        return absent("neither samples.jsonl nor judged rows are there")
    parts = []
    for task in dict.fromkeys(str(row.get("task", "")) for row in rows):
        own = [(position, row) for position, row in enumerate(rows) if str(row.get("task", "")) == task]
        step = max(1, len(own) // count)
        chosen = own[::step][:count]
        keys = [key for key in columns_of([row for _, row in chosen]) if key not in ("stage", "task", "id")]
        cells = [
            [tag("a", row.get("id", position + 1), href=anchor(position)), *(shown(row.get(key)) for key in keys)]
            for position, row in chosen
        ]
        spread = "all of them" if len(chosen) == len(own) else f"one in {step}"
        parts.append(html_table(["row", *keys], cells, f"{task or 'rows'}: {len(chosen)} of {len(own)} rows, {spread}"))
    return join([*parts, _link("rows.html", f"all {len(rows)} rows")])


def shown(value: Any) -> Any:
    """A value for one cell of a table: long ones are cut, and say by how much."""
    if isinstance(value, (dict, list)):
        return _clip(json.dumps(value, ensure_ascii=False), 160)
    return _clip(value, 240) if isinstance(value, str) else value


def doubts(stage: Stage) -> Html:
    """What to doubt, from the data."""
    found = rules.doubts(stage)
    if not found:
        return tag(
            "p", "None of the rules of tenet/report/rules.py found anything: rows, intervals, curves, files, inputs and code."
        )
    return bullets(found)


def _clip(value: Any, limit: int) -> str:
    words = str(value)
    return words if len(words) <= limit else words[:limit] + f" … ({len(words) - limit} more characters)"


def _link(name: str, words: str) -> Html:
    return tag("p", tag("a", words, href=name), cls="soft")


def absent(what: str) -> Html:
    return tag("p", f"Not shown: {what}.", cls="bad")


def columns_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Keys of several mappings in the order of their first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))
