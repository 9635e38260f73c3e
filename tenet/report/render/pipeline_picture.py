"""The ten steps as a picture, and curves the size of a word: inline SVG, so that they follow light and dark and stay
sharp."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from tenet.report.data import STEPS, Series, Stage
from tenet.report.render.html import Html, tag
from tenet.report.render.words import change, number

#: Units of the drawing: one box, and the space between two.
WIDTH, HEIGHT, GAP = 196, 92, 12
MARKS = {"finished": "✓", "partly finished": "…", "unfinished": "…", "not started": "–"}


def pipeline_svg(
    known: dict[str, dict[str, Any]],
    stages: dict[str, Stage | str],
    columns: int,
    steps: Sequence[tuple[int, str, str, str]] = STEPS,
) -> Html:
    """The ten steps as boxes in reading order; the mark in a corner says the status without colour.

    Args:
        known: records of the stages that were begun.
        stages: the finished ones as they were read, or why they cannot be.
        columns: boxes in a row.
        steps: those that the run has.
    """
    by_step: dict[int, list[str]] = {}
    for step, name, _, _ in steps:
        by_step.setdefault(step, []).append(name)
    boxes = []
    for step, names in by_step.items():
        x, y = (step - 1) % columns * (WIDTH + GAP) + GAP // 2, (step - 1) // columns * (HEIGHT + GAP) + GAP // 2
        boxes.append(tag("g", _box(step, names, known, stages), transform=f"translate({x} {y})"))
    across, down = columns * (WIDTH + GAP), math.ceil(len(by_step) / columns) * (HEIGHT + GAP)
    said = "; ".join(f"{step} {', '.join(names)}: {_status(names, known)}" for step, names in by_step.items())
    return tag("svg", *boxes, viewBox=f"0 0 {across} {down}", role="group", aria_label=f"The ten steps. {said}", cls="pipeline")


def _box(step: int, names: list[str], known: dict[str, Any], stages: dict[str, Stage | str]) -> Html:
    status, title = _status(names, known), " · ".join(names)
    parts = [
        tag("rect", width=WIDTH, height=HEIGHT, rx=8, cls="box " + status.replace(" ", "-")),
        tag(
            "text",
            f"{step}  {title}",
            x=10,
            y=22,
            cls="name" + (" long" if len(title) >= 20 else "") + (" longer" if len(title) >= 28 else ""),
        ),
        tag("text", MARKS[status], x=WIDTH - 10, y=22, cls="mark", text_anchor="end"),
    ]
    read = [stages[name] for name in names if name in stages]
    stage = read[-1] if read else status
    if isinstance(stage, Stage) and stage.key:
        for i, line in enumerate(textwrap.wrap(stage.key.name, 27, max_lines=2, placeholder=" …")):
            parts.append(tag("text", line, x=10, y=42 + 15 * i, cls="small"))
        result = change(stage.key)
        parts.append(tag("text", _fit(result, 30), x=10, y=HEIGHT - 12, cls="value" if len(result) < 24 else "value long"))
    else:
        parts.append(tag("text", "cannot be read" if read else status, x=10, y=48, cls="small"))
    return tag("a", *parts, href=f"#{names[0]}")


def _status(names: list[str], known: dict[str, Any]) -> str:
    done = [name for name in names if name in known and known[name]["status"] == "done"]
    if len(done) == len(names):
        return "finished"
    if done:
        return "partly finished"
    return "unfinished" if any(name in known for name in names) else "not started"


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
