"""`runs/NAME/index.html`: a run at a glance, for someone who opens it from disk and has no network.

Pictures here are inline SVG built from a few shapes, so that they follow light and dark and stay sharp at any width.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from pathlib import Path
from typing import Any

from tenet import runs
from tenet.errors import TenetError
from tenet.report import rules
from tenet.report.cells import absent
from tenet.report.data import STEPS, Series, Stage, load
from tenet.report.html import Html, bullets, details, join, page, table, tag
from tenet.report.steps import as_tables, calls_of
from tenet.report.words import NOT_MEASURED, amount, change, direction, duration, energy, interval, number

#: Metrics worth a sparkline, the most telling first.
MAIN_CURVES = ("valid/bits_per_byte", "reward/mean", "train/loss")


def index(run: Path) -> Path:
    """Write the page; every stage that is there is shown, every one that is not is named.

    Raises:
        ConfigError: no such run.
    """
    known = runs.stages_of(run)
    stages = {name: _load(run, name) for name in known if known[name]["status"] == "done"}
    body = [
        tag("h1", f"Run {run.resolve().name}"),
        _glance(run, known),
        tag("div", pipeline_svg(known, stages, 5), cls="wide"),
        tag("div", pipeline_svg(known, stages, 2), cls="narrow"),
        tag("h2", "The answer"),
        _answer(stages.get("serve")),
        tag("h2", "What each step found"),
        _stage_table(run, known, stages),
        tag("h2", "What to doubt first"),
        _first_doubts(stages),
        tag("h2", "Planned against actual"),
        _planned(run),
        tag("h2", "Where it comes from"),
        _lineage(run, known),
    ]
    path = run / "index.html"
    runs.write_text(path, page(f"Run {run.resolve().name}", join(body), "site.css"))
    return path


def _load(run: Path, name: str) -> Stage | str:
    """A stage, or why it cannot be shown: one doctored folder must not take the page down."""
    try:
        return load(run, name)
    except TenetError as error:
        return str(error)


def _glance(run: Path, known: dict[str, dict[str, Any]]) -> Html:
    done = [record for record in known.values() if record["status"] == "done"]
    seconds, cpu, joules = (sum(record.get(key) or 0.0 for record in done) for key in ("seconds", "cpu_seconds", "joules"))
    host = done[-1].get("host", {}) if done else {}
    facts = (
        ("preset", preset_of(run)),
        ("stages finished", f"{len(done)} of {len(STEPS)}"),
        ("time", duration(seconds)),
        ("CPU time", duration(cpu)),
        ("energy, estimated", energy(joules)),
        ("training tokens", number(sum(record.get("tokens") or 0 for record in done))),
        ("machine", f"{host.get('cores', '?')} cores, {host.get('machine', '?')}"),
    )
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), cls="facts")


def preset_of(run: Path) -> str:
    """Name of the preset, as the plan stage wrote it."""
    path = run / "plan" / "plan.json"
    content = runs.read_json(path) if path.exists() else {}
    preset = content.get("preset") if isinstance(content, dict) else None
    return str(preset.get("name") if isinstance(preset, dict) else preset or NOT_MEASURED)


# --- pictures --------------------------------------------------------------------------------------------------------


def pipeline_svg(known: dict[str, dict[str, Any]], stages: dict[str, Stage | str], columns: int) -> Html:
    """The ten steps as boxes in reading order; the mark in a corner says the status without colour."""
    width, height, gap = 186, 92, 12
    by_step: dict[int, list[str]] = {}
    for step, name, _, _ in STEPS:
        by_step.setdefault(step, []).append(name)
    boxes = [_box(step, names, known, stages, columns, width, height, gap) for step, names in by_step.items()]
    across, down = columns * (width + gap), math.ceil(len(by_step) / columns) * (height + gap)
    said = "; ".join(f"{step} {', '.join(names)}: {_status(names, known)}" for step, names in by_step.items())
    return tag("svg", tag("title", f"The ten steps. {said}"), *boxes, viewBox=f"0 0 {across} {down}", role="img", cls="pipeline")


def _box(
    step: int,
    names: list[str],
    known: dict[str, Any],
    stages: dict[str, Stage | str],
    columns: int,
    width: int,
    height: int,
    gap: int,
) -> Html:
    x, y = (step - 1) % columns * (width + gap) + gap / 2, (step - 1) // columns * (height + gap) + gap / 2
    status = _status(names, known)
    mark = {"finished": "✓", "unfinished": "…", "not started": "–", "partly finished": "…"}[status]
    parts = [
        tag("rect", x=x, y=y, width=width, height=height, rx=8, cls="box " + status.replace(" ", "-")),
        tag("text", f"{step}  {' · '.join(names) if len(names) > 1 else names[0]}", x=x + 10, y=y + 22, cls="name"),
        tag("text", mark, x=x + width - 10, y=y + 22, cls="mark", text_anchor="end"),
    ]
    stage = stages.get(names[-1])
    if isinstance(stage, Stage) and stage.key:
        for i, line in enumerate(_two_lines(stage.key.name, 27)):
            parts.append(tag("text", line, x=x + 10, y=y + 42 + 15 * i, cls="small"))
        parts.append(tag("text", _fit(change(stage.key), 26), x=x + 10, y=y + height - 12, cls="value"))
    else:
        parts.append(tag("text", "cannot be read" if isinstance(stage, str) else status, x=x + 10, y=y + 48, cls="small"))
    return tag("a", *parts, href=f"#{names[0]}")


def _status(names: list[str], known: dict[str, Any]) -> str:
    done = [name for name in names if name in known and known[name]["status"] == "done"]
    if len(done) == len(names):
        return "finished"
    if done:
        return "partly finished"
    return "unfinished" if any(name in known for name in names) else "not started"


def _two_lines(words: str, width: int) -> list[str]:
    return textwrap.wrap(words, width, max_lines=2, placeholder=" …")


def _fit(words: str, width: int) -> str:
    return words if len(words) <= width else words[: width - 1] + "…"


def sparkline(name: str, points: Series) -> Html:
    """A curve the size of a word."""
    good = [(x, y) for x, y in points if math.isfinite(y)]
    if len(good) < 2:
        return Html("")
    good = good[:: max(1, len(good) // 80)]
    (left, right), values = (good[0][0], good[-1][0]), [y for _, y in good]
    low, high = min(values), max(values)
    at = " ".join(
        f"{2 + 96 * (x - left) / ((right - left) or 1):.1f},{22 - 20 * (y - low) / ((high - low) or 1):.1f}" for x, y in good
    )
    said = f"{name}: {number(values[0])} to {number(values[-1])}"
    return tag("svg", tag("title", said), tag("polyline", points=at), viewBox="0 0 100 24", role="img", cls="spark")


# --- parts -----------------------------------------------------------------------------------------------------------


def _answer(stage: Stage | str | None) -> Html:
    if not isinstance(stage, Stage):
        return absent(stage or "the serve stage is not finished, so nothing has answered yet")
    calls = calls_of(stage.json("transcript.json") or [])
    if not calls:
        return absent("serve/transcript.json is not there or lists no call")
    streamed = next((call for call in calls if "stream" in call["title"].lower()), calls[0])
    return tag(
        "div",
        tag("p", f"boto3, {streamed['title']}", cls="soft"),
        tag("p", streamed["asked"] or "(question not recorded)", cls="said user"),
        tag("p", streamed["answered"] or "(no answer recorded)", cls="said model"),
        cls="chat",
    )


def _stage_table(run: Path, known: dict[str, Any], stages: dict[str, Stage | str]) -> Html:
    head = ("step", "finding", "key figure", "time", "CPU", "energy (est.)", "more")
    rows = [_stage_row(run, step, name, title, known.get(name), stages.get(name), head) for step, name, title, _ in STEPS]
    columns = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in head)))
    return tag("table", columns, tag("tbody", *rows), cls="stages")


def _stage_row(
    run: Path, step: int, name: str, title: str, record: dict[str, Any] | None, stage: Stage | str | None, head: tuple[str, ...]
) -> Html:
    links = _links(run, name)
    if isinstance(stage, Stage):
        values = [
            tag("span", stage.summary.get("headline") or "no headline"),
            _key(stage),
            duration(stage.record.get("seconds")),
            duration(stage.record.get("cpu_seconds")),
            energy(stage.record.get("joules")),
            links,
        ]
    else:
        state = stage or ("unfinished: run the same command to go on" if record else "not started")
        values = [tag("span", state, cls="bad" if stage else "soft"), "", "", "", "", links]
    cells = [tag("td", value, data_label=label) for label, value in zip(head[1:], values, strict=True)]
    return tag("tr", tag("th", f"{step} {title}", scope="row"), *cells, id=name)


def _key(stage: Stage) -> Html:
    if stage.key is None:
        return tag("span", NOT_MEASURED)
    key, parts = stage.key, []
    verdict = direction(key, key.before)
    parts.append(tag("strong", change(key), cls={"better": "good", "worse": "bad"}.get(verdict)))
    more = [key.name] + ([f"95 %: {interval(key)}"] if key.low is not None else [])
    more += [f"baseline {amount(key.baseline, key.unit)}"] if key.baseline is not None else []
    more += [f"n = {number(key.n)}"] if key.n is not None else []
    parts.append(tag("div", "; ".join(more), cls="soft"))
    curve = next((name for name in MAIN_CURVES if name in stage.metrics), None)
    return join([*parts, sparkline(curve, stage.metrics[curve])] if curve else parts)


def _links(run: Path, name: str) -> Html:
    files = (
        (f"{name}/report.html", "report"),
        (f"{name}.report-failed.html", "report FAILED"),
        (f"{name}/rows.jsonl", "rows"),
        (f"{name}/samples.jsonl", "samples"),
        (f"{name}/summary.json", "summary"),
        (f"{name}/run.json", "record"),
    )
    return join([tag("a", words, href=path) for path, words in files if (run / path).exists()], " ")


def _first_doubts(stages: dict[str, Stage | str]) -> Html:
    """The first doubt of each stage; all of them are in its report."""
    items = []
    for _, name, title, _ in STEPS:
        stage = stages.get(name)
        if isinstance(stage, str):
            items.append(f"{title}: {stage}")
        elif stage is not None and (found := rules.doubts(stage)):
            more = f" ({len(found) - 1} more in its report)" if len(found) > 1 else ""
            items.append(join([tag("strong", title + ": "), found[0], more], ""))
    return bullets(items) if items else tag("p", "No rule found anything to doubt.")


def _planned(run: Path) -> Html:
    """What `tenet plan` foresaw beside what run.json measured."""
    if not (run / "plan" / "run.json").exists():
        return absent("the plan stage is not finished")
    from tenet.plan import actual

    rows = [dataclasses.asdict(r) if dataclasses.is_dataclass(r) and not isinstance(r, type) else dict(r) for r in actual(run)]
    if not rows:
        return absent("no finished stage was planned for")
    return as_tables(rows, "planned against actual")


def _lineage(run: Path, known: dict[str, Any]) -> Html:
    done = [name for _, name, _, _ in STEPS if name in known and known[name]["status"] == "done"]
    if not done:
        return absent("no finished stage")
    rows = []
    for link in runs.lineage(run, done[-1]):
        reads = ", ".join(link["record"]["inputs"]) or "sources"
        state = (
            tag("span", "changed since: " + ", ".join(link["broken_links"]), cls="bad")
            if link["broken_links"]
            else "every hash holds"
        )
        rows.append((link["stage"], tag("code", link["identity"][:16]), reads, state))
    card = run / "corpus" / "card.json"
    content = runs.read_json(card) if card.exists() else {}
    parts = [
        as_tables(content[key], key) if content.get(key) else absent(f"corpus/card.json has no {key}")
        for key in ("licences", "sources")
    ]
    chain = table(("stage", "identity (SHA-256)", "reads", "links"), rows, f"from {done[-1]} back to the sources")
    return join([chain, details("documents and licences", *parts)])
