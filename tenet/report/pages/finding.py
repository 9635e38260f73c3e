"""The top of every report: the finding in one sentence, the picture that shows it directly below, and the numbers
behind the picture."""

from __future__ import annotations

import math
from collections.abc import Callable

from tenet.report.data import Stage
from tenet.report.pages import steps
from tenet.report.pages.cells import absent
from tenet.report.render import figures as draw
from tenet.report.render.html import Html, join, tag
from tenet.report.render.words import interval, number, sentence
from tenet.runs.summary import Figure

#: Stages whose finding is not a key figure against something else, with the picture that says more.
PICTURES: dict[str, Callable[[Stage], Html]] = {"corpus": steps.funnel, "plan": steps.planned_time, "serve": steps.answered_calls}


def headline(stage: Stage) -> Html:
    """The finding, and the picture that shows it."""
    said = [tag("p", stage.summary.get("headline") or "summary.json holds no headline.", cls="finding")]
    if stage.key and (stage.key.low is not None or stage.key.n is not None):
        said.append(
            tag(
                "p", f"{stage.key.name}: 95 % interval {interval(stage.key)}, measured on {number(stage.key.n)} rows.", cls="soft"
            )
        )
    return join([*said, PICTURES.get(stage.name, key_picture)(stage)])


def key_picture(stage: Stage) -> Html:
    """The key figure beside the others that fit on its axis; the shape depends on what can be compared."""
    if stage.key is None:
        return absent("no figure, so no picture")
    alike = [f for f in stage.figures if _same_axis(f, stage.key)]
    title = sentence(stage.key)
    if any(f.before is not None or f.baseline is not None or f.low is not None for f in alike):
        dots = [draw.Dot(f.name, f.value, f.before, f.baseline, f.low, f.high) for f in alike]
        return draw.before_after(dots, stage.key.unit, title)
    return draw.bars([f.name for f in alike], [f.value for f in alike], stage.key.unit, title)


def _same_axis(figure: Figure, key: Figure) -> bool:
    """Same unit and direction; without a unit only the key figure itself, because unnamed numbers cannot share an
    axis."""
    alike = bool(key.unit) and figure.unit == key.unit and figure.better == key.better
    return figure is key or (alike and math.isfinite(figure.value))
