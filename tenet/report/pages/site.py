"""`runs/NAME/index.html`: a run at a glance, for someone who opens it from disk and has no network; and `card/` beside
it.

Every stage that is there is shown; every one that is not, or cannot be read, is named.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tenet.errors import TenetError
from tenet.files import read_json, write_text
from tenet.report import rules
from tenet.report.data import STAGES, STEPS, Stage, left_out, load, steps_of
from tenet.report.pages.bom import bom
from tenet.report.pages.cells import absent
from tenet.report.pages.modelcard import as_page, model_card
from tenet.report.pages.transcript import calls_of
from tenet.report.render.html import Html, bullets, details, join, page, table, tag
from tenet.report.render.pipeline_picture import pipeline_svg, sparkline
from tenet.report.render.tables import as_tables
from tenet.report.render.words import amount, change, direction, energy, interval, number
from tenet.report.served import served
from tenet.runs.lineage import lineage, stages_of
from tenet.units import NOT_MEASURED, duration

#: Metrics worth a sparkline, the most telling first.
MAIN_CURVES = ("valid/bits_per_byte", "reward/mean", "train/loss")


def index(run: Path) -> Path:
    """Write the page and the model card; every stage that is there is shown, every one that is not is named.

    Raises:
        ConfigError: no such run.
    """
    # Only stages of the pipeline: a folder of another name, or one killed before its last rename, is not a result.
    known = {name: record for name, record in stages_of(run).items() if name in STAGES}
    stages = {name: _load(run, name) for name in known if known[name]["status"] == "done"}
    body = [
        tag("h1", f"Run {run.resolve().name}"),
        _glance(run, known),
        tag("div", pipeline_svg(known, stages, 5, steps_of(run)), cls="wide"),
        tag("div", pipeline_svg(known, stages, 2, steps_of(run)), cls="narrow"),
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
        tag("h2", "To hand on"),
        _card(run),
    ]
    path = run / "index.html"
    write_text(path, page(f"Run {run.resolve().name}", join(body), "site.css"))
    return path


def _card(run: Path) -> Html:
    """Write `card/`: the model card as Markdown and as a page, the bill of materials as JSON."""
    model = served(run)
    if model is None:
        return absent("no stage has made a model yet, so there is no model card")
    folder, card = run / "card", model_card(model)
    write_text(folder / "README.md", card)
    write_text(folder / "index.html", as_page(card, model.name))
    write_text(folder / "bom.cdx.json", bom(model))
    return bullets(
        [
            join(
                [
                    tag("a", "model card", href="card/index.html"),
                    " (",
                    tag("a", "README.md", href="card/README.md"),
                    " for a model hub)",
                ],
                "",
            ),
            join(
                [tag("a", "bill of materials", href="card/bom.cdx.json"), " (CycloneDX: weights, data, licences, packages)"], ""
            ),
        ]
    )


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
        ("stages finished", f"{len(done)} of {len(steps_of(run)) - len(left_out(run))}"),
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
    content = read_json(path) if path.exists() else {}
    return str((content.get("plan") or {}).get("preset") or NOT_MEASURED)


def _answer(stage: Stage | str | None) -> Html:
    if not isinstance(stage, Stage):
        return absent(stage or "the serve stage is not finished, so nothing has answered yet")
    calls = calls_of(stage.json("transcript.json"))
    if not calls:
        return absent("serve/transcript.json is not there or lists no calls")
    streamed = next((call for call in calls if "stream" in call.name.lower() and call.answered), calls[0])
    return tag(
        "div",
        tag("p", f"boto3, {streamed.name.replace('_', ' ')}", cls="soft"),
        tag("p", streamed.asked, cls="said user"),
        tag("p", streamed.answered or "(an empty answer)", cls="said model"),
        cls="chat",
    )


def _stage_table(run: Path, known: dict[str, Any], stages: dict[str, Stage | str]) -> Html:
    head = ("step", "finding", "key figure", "time", "CPU", "energy (est.)", "more")
    rows = [_stage_row(run, step, name, title, known.get(name), stages.get(name), head) for step, name, title, _ in steps_of(run)]
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
        reason = left_out(run).get(name, "")
        idle = f"left out: {reason}" if reason else "not started"
        state = stage or ("unfinished: run the same command to go on" if record else idle)
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
        (f"{name}/rows.html", "rows"),
        (f"{name}/samples.jsonl", "samples"),
        (f"{name}/summary.json", "summary"),
        (f"{name}/run.json", "record"),
    )
    return join([tag("a", words, href=path) for path, words in files if (run / path).exists()], " ")


def _first_doubts(stages: dict[str, Stage | str]) -> Html:
    """The first doubt of each stage; all of them are in its report. That energy is estimated is in the table's head
    already."""
    items = []
    for _, name, title, _ in STEPS:
        stage = stages.get(name)
        if isinstance(stage, str):
            items.append(f"{title}: {stage}")
        elif stage is not None:
            found = [doubt for doubt in rules.doubts(stage) if not doubt.startswith(rules.ENERGY)]
            more = f" ({len(found) - 1} more in its report)" if len(found) > 1 else ""
            items += [join([tag("strong", title + ": "), found[0], more], "")] if found else []
    return bullets(items) if items else tag("p", "No rule found anything to doubt.")


def _planned(run: Path) -> Html:
    """What `tenet plan` foresaw beside what run.json measured."""
    if not (run / "plan" / "run.json").exists():
        return absent("the plan stage is not finished")
    from tenet.planning.forecast import actual

    try:
        rows = actual(run)
    except (TenetError, KeyError) as error:
        return absent(f"plan.json cannot be compared ({error})")
    if not rows:
        return absent("no finished stage was planned for")
    dollars = _dollars(run)
    head = ("stage", "planned time", "actual", "ratio", "planned energy", "actual (est.)", "ratio", "planned $", "actual $")
    ordered = [row for name in STAGES for row in rows if row["stage"] == name]
    body = [_planned_row(row, dollars) for row in [*ordered, _total(ordered)]]
    return table(head, body, "plan.json against run.json; ratio: actual to planned; actual $: the time at the plan's price")


def _dollars(run: Path) -> dict[str, tuple[float, float]]:
    """Stage -> (planned dollars, dollars per second)."""
    stages = read_json(run / "plan" / "plan.json")["plan"]["stages"]
    return {
        s["stage"]: (s["dollars"], s["dollars"] / s["seconds"] if s["seconds"] else 0.0)
        for s in stages
        if s.get("dollars") is not None
    }


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum of the stages that have both sides."""
    summed: dict[str, Any] = {"stage": "all of these", "parts": rows}
    for key in ("seconds", "joules"):
        planned, found = (sum(row[f"{side}_{key}"] or 0.0 for row in rows) for side in ("planned", "actual"))
        summed |= {f"planned_{key}": planned, f"actual_{key}": found, f"{key}_ratio": found / planned if planned else None}
    return summed


def _planned_row(row: dict[str, Any], dollars: dict[str, tuple[float, float]]) -> tuple[Any, ...]:
    time = (duration(row["planned_seconds"]), duration(row["actual_seconds"]), row["seconds_ratio"])
    parts = [part for part in row.get("parts", [row]) if part["stage"] in dollars]
    planned = sum(dollars[part["stage"]][0] for part in parts)
    spent = sum(dollars[part["stage"]][1] * part["actual_seconds"] for part in parts)
    cost = (f"{planned:,.2f}", f"{spent:,.2f}") if parts else (NOT_MEASURED, NOT_MEASURED)
    return (row["stage"], *time, energy(row["planned_joules"]), energy(row["actual_joules"]), row["joules_ratio"], *cost)


def _lineage(run: Path, known: dict[str, Any]) -> Html:
    done = [name for _, name, _, _ in STEPS if name in known and known[name]["status"] == "done"]
    if not done:
        return absent("no finished stage")
    rows = []
    for link in lineage(run, done[-1]):
        reads = ", ".join(link["record"]["inputs"]) or "sources"
        state = (
            tag("span", "changed since: " + ", ".join(link["broken_links"]), cls="bad")
            if link["broken_links"]
            else "every hash holds"
        )
        rows.append((link["stage"], tag("code", link["identity"][:16]), reads, state))
    card = run / "corpus" / "card.json"
    content = read_json(card) if card.exists() else {}
    parts = [
        as_tables(content[key], key) if content.get(key) else absent(f"corpus/card.json has no {key}")
        for key in ("licences", "sources")
    ]
    chain = table(("stage", "identity (SHA-256)", "reads", "links"), rows, f"from {done[-1]} back to the sources")
    return join([chain, details("documents and licences", *parts)])
