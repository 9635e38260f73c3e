"""Pictures and tables that belong to one step: the corpus funnel, effects by principle and attack, benchmarks, the transcript.

Each of them reads what its stage wrote and nothing else. Where a file or a member is absent, the page says which.
"""

from __future__ import annotations

import json
import math
from typing import Any

from tenet.report import figures as draw
from tenet.report.cells import absent, columns_of, shown
from tenet.report.data import Stage
from tenet.report.html import Html, details, join, tag
from tenet.report.html import table as html_table
from tenet.report.words import NOT_MEASURED, amount, number, size

#: Words for the two measures of each kind of group: what is counted, and which way is better.
MEASURES = {"principles": "violations of each principle", "attacks": "success of each attack"}


def facts(stage: Stage, name: str, *path: str) -> Html:
    """A JSON file of the stage, or a member of it, as tables: for everything whose shape belongs to another room."""
    value = stage.json(name)
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    where = " → ".join((name, *path))
    if value is None:
        return absent(f"{where} is not there")
    return as_tables(value, where)


def as_tables(value: Any, title: str) -> Html:
    """Plain JSON for people: records become rows, nested parts become tables of their own."""
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        columns = columns_of(value)
        return _long(html_table(columns, [[shown(row.get(c)) for c in columns] for row in value[:200]], title), len(value), title)
    if isinstance(value, dict) and value and all(isinstance(row, dict) for row in value.values()):
        return as_tables([{"": key, **row} for key, row in value.items()], title)
    if isinstance(value, dict):
        plain = [(key, _line(v)) for key, v in value.items() if not _nested(v)]
        parts = [html_table(("", "value"), plain, title)] if plain else []
        return join([*parts, *(as_tables(v, f"{title} → {key}") for key, v in value.items() if _nested(v))])
    return tag("p", f"{title}: {_line(value)}")


def _nested(value: Any) -> bool:
    return bool(value) and (isinstance(value, dict) or (isinstance(value, list) and all(isinstance(row, dict) for row in value)))


def _line(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join(map(str, value[:40])) + (f" and {len(value) - 40} more" if len(value) > 40 else "") if value else "none"
    return NOT_MEASURED if value is None else shown(value)


def _long(table: Html, rows: int, title: str) -> Html:
    """Long tables are folded: the page should be read, not scrolled past."""
    return details(f"{title}: {rows} rows" + (" (200 shown)" if rows > 200 else ""), table) if rows > 24 else table


def funnel(stage: Stage) -> Html:
    """How many documents each filter of the corpus let through, and what was taken out."""
    card = stage.json("card.json")
    if card is None:
        return absent("card.json is not there")
    flow = flow_of(card)
    if not flow:
        return join([absent("card.json counts nothing in and out of filters"), as_tables(card, "card.json")])
    first, last = flow[0][1], flow[-1][2]
    title = f"{number(last)} of {number(first)} documents are kept ({number(100 * last / first if first else math.nan)} %)"
    labels, values = ["sources", *(f"after {name}" for name, _, _ in flow)], [first, *(out for _, _, out in flow)]
    rows = [(name, came, out, came - out, amount((came - out) / came if came else math.nan, "share")) for name, came, out in flow]
    return join(
        [
            draw.bars(labels, values, "documents", title),
            html_table(("filter", "in", "out", "removed", "removed share"), rows, "filters"),
        ]
    )


def flow_of(card: dict[str, Any]) -> list[tuple[str, int, int]]:
    """(filter, documents in, documents out) in order, from a data card."""
    steps: Any = next((card[key] for key in ("filters", "counts", "funnel", "steps") if card.get(key)), [])
    records = (
        [{"name": key, **value} for key, value in steps.items() if isinstance(value, dict)] if isinstance(steps, dict) else steps
    )
    flow = []
    for record in records:
        came, out = (_count(record, side) for side in ("in", "out"))
        if came is not None and out is not None:
            flow.append((str(record.get("name") or record.get("filter") or "filter").replace("_", " "), came, out))
    return flow


def _count(record: dict[str, Any], side: str) -> int | None:
    """Documents on one side of a filter, whether counted flat (`documents_in`) or by kind (`in: {documents: ...}`)."""
    value = record.get(f"documents_{side}", record.get(side))
    value = value.get("documents") if isinstance(value, dict) else value
    return int(value) if isinstance(value, (int, float)) else None


def comparison(stage: Stage, kind: str) -> Html:
    """Before and after for each principle (`principles`) or attack (`attacks`), the most frequent first."""
    groups: dict[str, dict[str, Any]] = stage.summary.get(kind) or {}
    if not groups:
        return absent(f"summary.json has no {kind}")
    ordered = sorted(groups.items(), key=lambda item: -(item[1].get("before") or 0))
    dots = [
        draw.Dot(_label(name, g), _number(g.get("after")), g.get("before"), None, g.get("low"), g.get("high"))
        for name, g in ordered
    ]
    fell = sum(1 for _, g in ordered if g.get("after") is not None and g.get("before") is not None and g["after"] < g["before"])
    title = f"{MEASURES.get(kind, kind)}: fewer than before in {fell} of {len(ordered)}"
    columns = columns_of([g for _, g in ordered])
    rows = [(name, *(_rate(column, g.get(column)) for column in columns)) for name, g in ordered]
    return join(
        [
            draw.before_after(dots, "share", title),
            html_table((kind.rstrip("s"), *(c.replace("_", " ") for c in columns)), rows, kind),
        ]
    )


def _label(name: str, group: dict[str, Any]) -> str:
    return f"{group.get('title') or name}" + (f" ({group['split'].replace('_', ' ')})" if group.get("split") else "")


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _rate(column: str, value: Any) -> Any:
    """Shares in per cent; counts and words as they are."""
    return amount(value, "share") if isinstance(value, float) and column != "n" else shown(value)


def results(stage: Stage) -> Html:
    """All checkpoints on all tasks, with intervals."""
    found: dict[str, dict[str, dict[str, Any]]] = stage.summary.get("results") or {}
    if not found:
        return absent("summary.json has no results")
    stages = list(dict.fromkeys(name for by_stage in found.values() for name in by_stage))
    first, last = stages[0], stages[-1]
    both = [
        by for by in found.values() if by.get(first, {}).get("value") is not None and by.get(last, {}).get("value") is not None
    ]
    more = sum(1 for by in both if by[last]["value"] > by[first]["value"])
    title = (
        f"{last} scores higher than {first} on {more} of {len(both)} tasks" if first != last else f"{first} on {len(found)} tasks"
    )
    rows = [(task, *(_score(by.get(name)) for name in stages)) for task, by in found.items()]
    return join([draw.grid(found, "share", title), html_table(("task", *stages), rows, "value (95 % interval; rows)")])


def _score(cell: dict[str, Any] | None) -> str:
    if not cell or cell.get("value") is None:
        return NOT_MEASURED
    text = amount(cell["value"], "share")
    if cell.get("low") is not None and cell.get("high") is not None:
        text += f" ({number(100 * cell['low'])} to {number(100 * cell['high'])}"
        return text + (f"; {cell['n']})" if cell.get("n") is not None else ")")
    return text + (f" ({cell['n']})" if cell.get("n") is not None else "")


def transcript(stage: Stage) -> Html:
    """What the client asked the endpoint and what came back, call by call."""
    content = stage.json("transcript.json")
    if content is None:
        return absent("transcript.json is not there")
    parts = []
    for call in calls_of(content):
        parts.append(tag("h3", call["title"]))
        parts += [tag("pre", call["asked"])] if call["asked"] else []
        parts.append(tag("pre", call["answered"]) if call["answered"] else absent("no answer was recorded"))
    return join(parts) if parts else as_tables(content, "transcript.json")


def calls_of(content: Any) -> list[dict[str, str]]:
    """The calls of a transcript as title, question and answer; text where there is text, JSON where there is more."""
    listed = content if isinstance(content, list) else next((v for v in content.values() if isinstance(v, list) and v), [])
    calls = []
    for number_, call in enumerate((c for c in listed if isinstance(c, dict)), 1):
        title = str(call.get("call") or call.get("operation") or call.get("api") or call.get("name") or f"call {number_}")
        asked = next((call[k] for k in ("request", "asked", "question", "prompt", "input") if call.get(k)), "")
        answered = next(
            (call[k] for k in ("text", "answer", "response", "answered", "output", "got", "error") if call.get(k)), ""
        )
        calls.append({"title": title, "asked": said(asked), "answered": said(answered)})
    return calls


def said(value: Any) -> str:
    """The words in a request or response of Converse; JSON where there are none."""
    if isinstance(value, str):
        return value
    words = _texts(value)
    return "\n".join(words) if words else json.dumps(value, ensure_ascii=False, indent=1)


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [
            t for key, inner in value.items() for t in ([inner] if key == "text" and isinstance(inner, str) else _texts(inner))
        ]
    if isinstance(value, list):
        if value and all(isinstance(v, str) for v in value):
            return ["".join(value)]  # the pieces of a stream
        return [t for inner in value for t in _texts(inner)]
    return []


def versions(stage: Stage) -> Html:
    """Files of the weights store, by version."""
    rows = [
        (o["path"], size(o["bytes"]), tag("code", o["sha256"][:16]))
        for o in stage.record.get("outputs", [])
        if o["path"].startswith("store/")
    ]
    if not rows:
        return absent("the store is not in this folder (deploy.store names another place, or nothing was published)")
    return html_table(("file", "size", "SHA-256"), rows, "weights store")
