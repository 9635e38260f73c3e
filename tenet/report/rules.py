"""What to doubt about a stage, computed from its data and never written by hand.

Each rule is a small function that looks at one thing and yields sentences. A rule that could not be applied (no
interval, no `before`) is a doubt of its own: silence must mean "looked at and fine".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tenet.report.data import Series, Stage
from tenet.report.render.words import amount, direction, includes, number
from tenet.runs.lineage import fingerprint_of
from tenet.runs.summary import Figure

#: Below this many rows, one row moves a share by more than two points.
FEW_ROWS = 50
#: Above this share of answers in which none could be found, a score says more about form than about ability.
UNREAD = 0.1
#: True of every stage on a machine without a meter; pages that sum up many stages leave it out.
ENERGY = "Energy was not measured"


def doubts(stage: Stage) -> list[str]:
    """Every reason not to trust this stage's figures as they stand, most serious first."""
    found = [f"Missing or changed: {what}." for what in stage.missing]
    found += _broken_links(stage)
    for figure in stage.figures:
        found += _figure(figure)
    for name, series in stage.metrics.items():
        found += _series(name, series)
    found += _groups(stage.summary)
    found += _comparisons(stage.summary)
    found += _lost(stage.summary)
    found += _unread(stage.summary)
    found += _guards(stage.summary)
    found += _contamination(stage)
    found += _record(stage.record)
    return list(dict.fromkeys(found))


def _broken_links(stage: Stage) -> Iterator[str]:
    for name, link in stage.record.get("inputs", {}).items():
        record = stage.run / link["path"]
        if not record.exists():
            yield f"The input {name} is no longer there ({link['path']}): the chain to the sources ends here."
        elif fingerprint_of(record) != link["sha256"]:
            yield f"The input {name} was made again after this stage ran: these figures belong to the former one."


def _figure(figure: Figure) -> Iterator[str]:
    name = figure.name
    if not math.isfinite(figure.value):
        yield f"{name} is not a number: nothing was measured, or the computation failed."
        return
    if figure.n is not None and figure.n < FEW_ROWS:
        yield f"{name} rests on {figure.n} rows only; with fewer than {FEW_ROWS}, single rows decide."
    for label, other in (("the value before", figure.before), ("its baseline", figure.baseline)):
        if other is None:
            continue
        if not math.isfinite(other):
            yield f"{name}: {label} is not a number, so no comparison can be made."
        elif includes(figure, other):
            yield f"{name}: the 95 % interval includes {label} ({amount(other, figure.unit)}); the difference may be chance."
        elif direction(figure, other) == "worse":
            yield f"{name} is worse than {label} ({amount(figure.value, figure.unit)} against {amount(other, figure.unit)})."
        elif direction(figure, other) == "equal":
            yield f"{name} equals {label}: this stage did not move it."
    if figure.before is None and figure.baseline is None and figure.better != "neither":
        yield f"{name} has nothing to be compared with (before: n/a, baseline: n/a)."
    if figure.low is None and figure.n is not None and figure.better != "neither":
        yield f"{name} has no interval (n/a), so how far it may be off is unknown."


def _series(name: str, series: Series) -> Iterator[str]:
    bad = [step for step, value in series if not math.isfinite(value)]
    if bad:
        yield f"The curve {name} holds {len(bad)} values that are not numbers, the first at step {number(bad[0])}."
    good = [value for _, value in series if math.isfinite(value)]
    if name.startswith("valid/") and len(good) >= 5 and ("loss" in name or "bits" in name):
        best = min(good)
        if good[-1] > 1.02 * best:
            yield f"{name} ended at {number(good[-1])}, above its best of {number(best)}: the end of training made it worse."
        elif good[-1] < 0.98 * good[-2]:
            last = f"{number(good[-2])} to {number(good[-1])}"
            yield f"{name} was still falling at the end ({last}): longer training would give other figures."


def _groups(summary: dict[str, Any]) -> Iterator[str]:
    for kind in ("principles", "attacks"):
        groups: dict[str, dict[str, Any]] = summary.get(kind) or {}
        few = [f"{name} ({g['n']})" for name, g in groups.items() if g.get("n") is not None and g["n"] < FEW_ROWS]
        if few:
            yield f"Few prompts for single {kind}: {', '.join(few)}; read them together, not one by one."
        rose = [name for name, g in groups.items() if _both(g, "before", "after") and g["after"] > g["before"]]
        if rose:
            yield f"Worse after than before: {', '.join(rose)}."
        refused = [
            name
            for name, g in groups.items()
            if _both(g, "look_alike_before", "look_alike_after") and g["look_alike_after"] > g["look_alike_before"]
        ]
        if refused:
            yield f"Harmless look-alikes are hit more often than before: {', '.join(refused)}."
    for task, by_stage in (summary.get("results") or {}).items():
        few = [f"{stage} ({cell['n']})" for stage, cell in by_stage.items() if cell.get("n") is not None and cell["n"] < FEW_ROWS]
        if few:
            yield f"{task} was measured on few rows: {', '.join(few)}."


def _comparisons(summary: dict[str, Any]) -> Iterator[str]:
    """Differences between two checkpoints whose interval holds zero."""
    found: dict[str, dict[str, Any]] = summary.get("comparisons") or {}
    open_ones = [name for name, c in found.items() if _both(c, "low", "high") and c["low"] <= 0 <= c["high"]]
    if open_ones:
        pair = next(iter(found.values()))
        which = f"{pair.get('before', 'first')} and {pair.get('after', 'last')}"
        yield f"The interval of the difference between {which} includes zero for {', '.join(open_ones)}: nothing was shown there."


def _unread(summary: dict[str, Any]) -> Iterator[str]:
    """Answers in which none could be found: they score 0, which is not the same as being wrong."""
    for task, by_stage in (summary.get("answers") or {}).items():
        shares = {stage: cell["unread"] for stage, cell in by_stage.items() if (cell.get("unread") or 0.0) > UNREAD}
        if shares:
            told = ", ".join(f"{stage} {share:.0%}" for stage, share in shares.items())
            yield f"In many answers to {task} none could be read, and they count as 0: {told}."


def _lost(summary: dict[str, Any]) -> Iterator[str]:
    """Steps of the training that cost something, beyond chance."""
    for one in summary.get("steps") or ():
        if _both(one, "difference", "p_holm") and one["difference"] < 0 and one["p_holm"] < 0.05:
            yield f"{one['task']} got worse from {one['before']} to {one['after']}: {100 * one['difference']:+.1f} points."


def _both(group: dict[str, Any], *keys: str) -> bool:
    return all(isinstance(group.get(key), (int, float)) and math.isfinite(group[key]) for key in keys)


def _guards(summary: dict[str, Any]) -> Iterator[str]:
    """Anything a stage reports under these keys stopped or bent its work."""
    for key in ("guard", "guards", "stopped", "warnings", "fallback", "not_run", "left_out_too_long"):
        value = summary.get(key)
        if value:
            yield f"The stage reports {key.replace('_', ' ')}: {_short(value)}."
    gate = summary.get("gate")
    if isinstance(gate, dict) and gate.get("promoted") is False:
        yield f"The gate refused the new model: {_short(gate.get('reasons') or 'no reason given')}."


def _contamination(stage: Stage) -> Iterator[str]:
    """Held-out text that training text shares makes every later held-out figure look better than it is."""
    overlap = ((stage.json("card.json") or {}).get("heldout_overlap") or {}).get("value") if stage.name == "corpus" else None
    if overlap:
        yield f"{amount(overlap, 'share')} of the held-out words stand in runs that training text has too (boilerplate that was left in)."


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(inner)}" for key, inner in value.items())
    return ", ".join(map(_short, value)) if isinstance(value, list) else number(value)


def _record(record: dict[str, Any]) -> Iterator[str]:
    if record.get("attempts", 1) > 1:
        times = record["attempts"] - 1
        yield f"The stage was interrupted and continued {times} time(s); its seconds count the last attempt only."
    code = str(record.get("code", "unknown"))
    if code == "unknown" or code.endswith("+changes"):
        named = code[:12] + ("+changes" if len(code) > 12 and code.endswith("+changes") else "")
        yield f"The code is not a committed one ({named}), so nobody else can repeat this exactly."
    if "estimated" in str(record.get("joules_are", "")):
        yield f"{ENERGY} ({record['joules_are']})."
