"""Pictures and tables that belong to one step: the corpus funnel, the plan, effects by principle and attack,
benchmarks, the store.

Each of them reads what its stage wrote and nothing else. Where a file or a member is absent, the page says which.
"""

from __future__ import annotations

import math
from typing import Any

from tenet.report.data import Stage
from tenet.report.pages.cells import absent, columns_of, shown
from tenet.report.pages.rows import anchor
from tenet.report.pages.transcript import calls_of
from tenet.report.render import figures as draw
from tenet.report.render.html import Html, bullets, details, join, tag
from tenet.report.render.html import table as html_table
from tenet.report.render.words import amount, energy, number, size
from tenet.units import NOT_MEASURED, duration

#: What is counted for each kind of group.
MEASURES = {"principles": "violations of each principle", "attacks": "success of each attack"}


# --- corpus ----------------------------------------------------------------------------------------------------------


def funnel(stage: Stage) -> Html:
    """What each filter of the corpus took out."""
    filters = _filters(stage)
    if not filters:
        return absent("card.json is not there or counts no filters")
    first, last = filters[0]["documents_in"], filters[-1]["documents_out"]
    title = f"{number(last)} of {number(first)} documents are kept ({amount(last / first if first else math.nan, 'share')})"
    removed = [f["documents_in"] - f["documents_out"] for f in filters]
    return draw.bars([str(f.get("filter", "filter")) for f in filters], removed, "documents removed", title)


def filters(stage: Stage) -> Html:
    """The same as numbers, with reasons and examples of what was removed."""
    found = _filters(stage)
    if not found:
        return absent("card.json is not there or counts no filters")
    columns = ("filter", "documents in", "out", "removed", "removed share", "bytes out", "reasons")
    return join([html_table(columns, [_filter_row(f) for f in found], "filters in order"), *(_examples(f) for f in found)])


def _filters(stage: Stage) -> list[dict[str, Any]]:
    card = stage.json("card.json") or {}
    return [
        f for f in card.get("filters", []) if isinstance(f.get("documents_in"), int) and isinstance(f.get("documents_out"), int)
    ]


def _filter_row(record: dict[str, Any]) -> tuple[Any, ...]:
    came, out = record["documents_in"], record["documents_out"]
    reasons = ", ".join(f"{name.replace('_', ' ')} {number(count)}" for name, count in (record.get("reasons") or {}).items())
    share = amount((came - out) / came if came else math.nan, "share")
    return (record.get("filter", "filter"), came, out, came - out, share, size(record.get("bytes_out")), reasons or "none")


def _examples(record: dict[str, Any]) -> Html:
    texts = [
        tag("pre", str(e.get("text") or e.get("start") or e)[:400] if isinstance(e, dict) else str(e)[:400])
        for e in record.get("examples") or []
    ]
    return details(f"examples of what {record.get('filter', 'this filter')} removed", *texts) if texts else Html("")


# --- plan ------------------------------------------------------------------------------------------------------------


def planned_time(stage: Stage) -> Html:
    """Where the time is planned to go."""
    rows = ((stage.json("plan.json") or {}).get("plan") or {}).get("stages") or []
    if not rows:
        return absent("plan.json is not there or plans no stages")
    most = max(rows, key=lambda row: row["seconds"])
    title = f"most of the time is planned for {most['stage']}: {duration(most['seconds'])} of {duration(sum(r['seconds'] for r in rows))}"
    return draw.bars([row["stage"] for row in rows], [row["seconds"] for row in rows], "seconds", title)


def plan_tables(stage: Stage) -> Html:
    """The plan of this run, stage by stage, then every preset on a cluster of a sensible size, then what was
    assumed."""
    content = stage.json("plan.json") or {}
    plan = content.get("plan")
    if not plan:
        return absent("plan.json is not there or holds no plan")
    columns = ("stage", "tokens", "FLOPs", "waits for", "time", "device hours", "dollars", "energy", "kg CO2")
    total = [plan["total"]] if plan.get("total") else []
    own = html_table(
        columns, [_plan_row(row) for row in [*plan["stages"], *total]], f"{plan.get('preset')} on {plan.get('cluster')}"
    )
    names = ("preset", "cluster", "parameters", "time", "dollars", "energy")
    others = [
        (
            p["preset"],
            p["cluster"],
            p["parameters"],
            duration(p["total"]["seconds"]),
            number(p["total"]["dollars"]),
            energy(p["total"]["joules"]),
        )
        for p in content.get("presets", [])
    ]
    table = html_table(names, others, "every preset") if others else absent("plan.json compares no presets")
    return join(
        [own, _memory(plan), table, details("what was assumed", bullets(plan.get("assumptions") or ["nothing is written down"]))]
    )


def _plan_row(row: dict[str, Any]) -> tuple[Any, ...]:
    measures = (row.get("gpu_hours"), row.get("dollars"), energy(row.get("joules")), row.get("kg_co2"))
    return (row["stage"], row.get("tokens"), row.get("flops"), row.get("bound") or "", duration(row.get("seconds")), *measures)


def _memory(plan: dict[str, Any]) -> Html:
    rows = plan.get("memory") or []
    parts = ("weights", "gradients", "optimiser", "activations", "cache", "total", "capacity")
    body = [(row.get("stage"), *(size(row.get(part)) for part in parts), "yes" if row.get("fits") else "NO") for row in rows]
    return html_table(("stage", *parts, "fits"), body, "memory of one device") if rows else Html("")


# --- reward model ----------------------------------------------------------------------------------------------------

#: Figures that say what a score may rest on instead of quality.
RESTS_ON = ("accuracy where", "planted garbage")


def calibration(stage: Stage) -> Html:
    """Whether the confidence of a reward model is the share in which it is right."""
    bins = stage.summary.get("reliability") or []
    if not bins:
        return absent("summary.json has no reliability")
    dots = [draw.Dot(f"confidence {amount(b['confidence'], 'share')}", b["right"], None, b["confidence"]) for b in bins]
    off = sum(b["pairs"] * abs(b["right"] - b["confidence"]) for b in bins) / sum(b["pairs"] for b in bins)
    title = f"confidence is off by {amount(off, 'share')} (baseline: as sure as it says)"
    rows = [(amount(b["confidence"], "share"), amount(b["right"], "share"), b["pairs"]) for b in bins]
    return join(
        [draw.before_after(dots, "share", title), html_table(("confidence", "right", "pairs"), rows, "pairs by confidence")]
    )


def rests_on(stage: Stage) -> Html:
    """Accuracy where length cannot help or speaks against it, and how often planted garbage loses, by kind."""
    found = [f for f in stage.figures if f.name.startswith(RESTS_ON)]
    if not found:
        return absent("no figures of lengths and garbage in summary.json")
    dots = [draw.Dot(f.name, f.value, None, f.baseline, f.low, f.high) for f in found]
    worst = min(found, key=lambda f: f.value)
    title = f"weakest: {worst.name}, {amount(worst.value, 'share')}"
    wins = [row for row in stage.rows("garbage.jsonl") if row.get("right") == 0]
    return join([draw.before_after(dots, "share", title), *_garbage(wins)])


def _garbage(wins: list[dict[str, Any]]) -> list[Html]:
    """What won: kinds, scores and beginnings of the first of them."""
    if not wins:
        return []
    rows = [
        (w.get("id"), w.get("kind"), w.get("chosen_score"), w.get("rejected_score"), shown(w.get("rejected"))) for w in wins[:8]
    ]
    columns = ("row", "kind", "score of the chosen answer", "of the garbage", "garbage")
    return [details(f"garbage that won: {len(wins)} of all, the first {len(rows)}", html_table(columns, rows))]


def extremes(stage: Stage, count: int = 3) -> Html:
    """The pairs that a reward model is surest of, wrongly and rightly, and those in the middle."""
    rows = [(row["margin"], place, row) for place, row in enumerate(stage.rows("rows.jsonl")) if "margin" in row]
    if not rows:
        return absent("rows.jsonl is not there or holds no margins")
    ordered = sorted(rows, key=lambda item: item[:2])
    middle = max(0, len(ordered) // 2 - count // 2)
    parts = {"worst": ordered[:count], "median": ordered[middle : middle + count], "best": ordered[-count:]}
    keys = ("kind", "margin", "chosen_length", "rejected_length", "chosen", "rejected")
    body = [
        (name, tag("a", row.get("id", place + 1), href=anchor(place)), *(shown(row.get(key, "")) for key in keys))
        for name, part in parts.items()
        for _, place, row in part
    ]
    head = ("", "row", *(key.replace("_", " ") for key in keys))
    return html_table(head, body, f"by the lead of the chosen answer, of {len(rows)} pairs; texts where the data set allows it")


# --- alignment -------------------------------------------------------------------------------------------------------


def comparison(stage: Stage, kind: str) -> Html:
    """Before and after for each principle (`principles`) or attack (`attacks`), the most frequent first."""
    groups: dict[str, dict[str, Any]] = stage.summary.get(kind) or {}
    if not groups:
        return absent(f"summary.json has no {kind}")
    ordered = sorted(groups.items(), key=lambda item: -(item[1].get("before") or 0))
    dots = [
        draw.Dot(_label(name, g), _value(g.get("after")), g.get("before"), None, g.get("low"), g.get("high"))
        for name, g in ordered
    ]
    fell = sum(1 for dot in dots if dot.before is not None and dot.after < dot.before)
    title = f"{MEASURES.get(kind, kind)}: rarer than before in {fell} of {len(ordered)}"
    columns = columns_of([g for _, g in ordered])
    rows = [(name, *(_rate(column, g.get(column)) for column in columns)) for name, g in ordered]
    head = (kind.rstrip("s"), *(column.replace("_", " ") for column in columns))
    return join([draw.before_after(dots, "share", title), html_table(head, rows, kind)])


def _label(name: str, group: dict[str, Any]) -> str:
    return str(group.get("title") or name.replace("_", " ")) + (f" ({group['split']})" if group.get("split") else "")


def _value(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _rate(column: str, value: Any) -> Any:
    """Shares in per cent; counts and words as they are."""
    return amount(value, "share") if isinstance(value, float) and column != "n" else shown(value)


# --- evaluation ------------------------------------------------------------------------------------------------------


def results(stage: Stage) -> Html:
    """All checkpoints on all tasks, with intervals."""
    found: dict[str, dict[str, dict[str, Any]]] = stage.summary.get("results") or {}
    if not found:
        return absent("summary.json has no results")
    names = list(dict.fromkeys(name for by_stage in found.values() for name in by_stage))
    pairs = [(_value(by.get(names[0], {}).get("value")), _value(by.get(names[-1], {}).get("value"))) for by in found.values()]
    both = [(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    title = f"{names[-1]} scores higher than {names[0]} on {sum(b > a for a, b in both)} of {len(both)} tasks"
    rows = [(task, *(_score(by.get(name)) for name in names)) for task, by in found.items()]
    return join([draw.grid(found, "share", title), html_table(("task", *names), rows, "value (95 % interval; rows)")])


def differences(stage: Stage) -> Html:
    """What each step of the training gained or lost on each task, paired on the same rows."""
    summary = stage.summary
    found: list[dict[str, Any]] = summary.get("steps") or list((summary.get("comparisons") or {}).values())
    if not found:
        return absent("summary.json has no comparisons (a single checkpoint was evaluated)")
    moved = [one for one in found if _value(one.get("p_holm")) < 0.05]
    title = f"{len(moved)} of {len(found)} differences are beyond chance (p < 0.05, Holm)"
    lines = [
        (f"{one['task']}: {one['before']} to {one['after']}", *(one[key] for key in ("difference", "low", "high")))
        for one in found
    ]
    columns = ("task", "from", "to", "difference", "95 %", "p (Holm)", "got worse", "got better", "could have been seen")
    rows = [
        (
            one["task"], one["before"], one["after"], amount(one["difference"], "share"),
            f"{number(100 * one['low'])} to {number(100 * one['high'])}", number(one["p_holm"]), one["lost"], one["won"],
            amount(one["detectable"], "share"),
        )
        for one in found
    ]  # fmt: skip
    return join([draw.forest(lines, "share", title), html_table(columns, rows, "paired on the same rows")])


def _score(cell: dict[str, Any] | None) -> str:
    if not cell or cell.get("value") is None:
        return NOT_MEASURED
    more = []
    if cell.get("low") is not None and cell.get("high") is not None:
        more.append(f"{number(100 * cell['low'])} to {number(100 * cell['high'])}")
    more += [number(cell["n"])] if cell.get("n") is not None else []
    return amount(cell["value"], "share") + (f" ({'; '.join(more)})" if more else "")


# --- deploy and serve ------------------------------------------------------------------------------------------------


def versions(stage: Stage) -> Html:
    """Files of the weights store, by version."""
    stored = [o for o in stage.record.get("outputs", []) if o["path"].startswith("store/")]
    if not stored:
        return absent("the store is not in this folder (deploy.store names another place, or nothing was published)")
    rows = [(o["path"], size(o["bytes"]), tag("code", o["sha256"][:16])) for o in stored]
    return html_table(("file", "size", "SHA-256"), rows, "weights store")


def answered_calls(stage: Stage) -> Html:
    """What each call of the transcript made the model write, and whether it went as Bedrock does it."""
    calls = calls_of(stage.json("transcript.json"))
    if not calls:
        return absent("transcript.json is not there or lists no calls")
    wrong = [call for call in calls if call.problem]
    title = f"{len(calls) - len(wrong)} of {len(calls)} calls went as Bedrock does it"
    labels = [call.name.replace("_", " ") + (" (WRONG)" if call.problem else "") for call in calls]
    return draw.bars(labels, [call.tokens for call in calls], "tokens made", title)
