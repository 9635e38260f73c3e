"""Pictures in one style: four kinds, each readable without colour, with the finding as its title and units on its axes.

`Figure` objects are drawn directly on the Agg canvas: pyplot would cost every kernel another second and keeps global
state. Two drawings of the same data are the same bytes (no dates, no software name).
"""

from __future__ import annotations

import base64
import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tenet.report.data import Series
from tenet.report.render.html import Html, tag
from tenet.report.render.words import amount, is_share, number

#: Inches; narrow, so that the text is still legible when a phone scales the picture down.
WIDTH = 5.4
#: Okabe and Ito's palette without its yellow: distinct for every kind of colour vision; each has its own line and
#: marker too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#4d4d4d")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "hatch.linewidth": 0.6,
    "figure.facecolor": "white",
    "savefig.dpi": 170,
}


@dataclass(frozen=True)
class Dot:
    """One line of a before-and-after picture; what is None is not drawn."""

    label: str
    after: float
    before: float | None = None
    baseline: float | None = None
    low: float | None = None
    high: float | None = None


def before_after(dots: Sequence[Dot], unit: str, title: str) -> Html:
    """Each thing's value before and after, its interval and its baseline, on one axis."""
    with _style():
        picture, axes = _axes(0.42 * len(dots) + 1.5, title, grid="x")
        labelled: set[str] = set()
        for y, dot in enumerate(reversed(dots)):
            _draw_dot(axes, y, dot, 100 if is_share(unit) else 1, labelled)
        axes.set_yticks(range(len(dots)), [textwrap.fill(dot.label, 26) for dot in reversed(dots)])
        axes.set_ylim(-0.7, len(dots) - 0.3)
        wide = _spans_decades(dots)
        axes.set_xscale("log" if wide else "linear")
        axes.margins(x=0.12)
        axes.set_xlabel(_axis(unit) + (" (log scale)" if wide else ""))
        _legend(axes, picture)
        return _embed(picture, title, "; ".join(_say(dot, unit) for dot in dots))


def _spans_decades(dots: Sequence[Dot]) -> bool:
    """Whether a linear axis would squeeze the small values into one point."""
    values = [v for d in dots for v in (d.after, d.before, d.baseline, d.low, d.high) if v is not None and math.isfinite(v)]
    return bool(values) and min(values) > 0 and max(values) > 50 * min(values)


def _draw_dot(axes: Any, y: int, dot: Dot, scale: float, labelled: set[str]) -> None:
    def label(name: str) -> str | None:
        """Each kind of mark stands in the legend once."""
        new = name not in labelled
        labelled.add(name)
        return name if new else None

    after = dot.after * scale
    if dot.before is not None and math.isfinite(dot.before):
        before = dot.before * scale
        if math.isfinite(after):
            axes.annotate(
                "", (after, y), (before, y), arrowprops={"arrowstyle": "->", "color": "#888888", "shrinkA": 5, "shrinkB": 5}
            )
        axes.plot(before, y, "o", mfc="white", mec="#4d4d4d", ms=10, label=label("before"))
    if dot.baseline is not None and math.isfinite(dot.baseline):
        axes.plot(dot.baseline * scale, y, "|", color="#d55e00", ms=17, mew=2.2, label=label("baseline"))
    if not math.isfinite(after):
        axes.text(0.5, y, "not a number", transform=axes.get_yaxis_transform(), ha="center", va="center", style="italic")
        return
    if dot.low is not None and dot.high is not None:
        axes.plot(
            [dot.low * scale, dot.high * scale],
            [y, y],
            "-",
            color=COLOURS[0],
            lw=5,
            alpha=0.35,
            solid_capstyle="butt",
            label=label("95 % interval"),
        )
    axes.plot(after, y, "o", color=COLOURS[0], ms=7, label=label("after" if dot.before is not None else "value"))


def curve(series: dict[str, Series], unit: str, title: str) -> Html:
    """One or more metrics over steps. Noisy ones are drawn twice: thin as logged, thick as a moving mean."""
    with _style():
        picture, axes = _axes(2.7, title)
        for i, (name, points) in enumerate(series.items()):
            x, y = [p[0] for p in points], [p[1] for p in points]
            colour, line = COLOURS[i % len(COLOURS)], LINES[i % len(LINES)]
            if len(points) > 60:
                axes.plot(x, y, "-", color=colour, lw=0.6, alpha=0.3)
                axes.plot(x, smooth(y), linestyle=line, color=colour, lw=1.8, label=f"{name} (moving mean)")
            else:
                axes.plot(x, y, linestyle=line, marker=MARKERS[i % len(MARKERS)], color=colour, lw=1.5, ms=4.5, label=name)
        axes.set_xlabel("optimiser step")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylabel(unit)
        if len(series) > 1 or any(len(points) > 60 for points in series.values()):
            _legend(axes, picture)
        return _embed(picture, title, "; ".join(_trace(name, points) for name, points in series.items()))


def smooth(values: Sequence[float], share: float = 0.04) -> list[float]:
    """Centred moving mean over a share of the points; NaN stays a gap instead of spreading."""
    half = max(1, round(len(values) * share / 2))
    means = []
    for i in range(len(values)):
        window = [v for v in values[max(0, i - half) : i + half + 1] if math.isfinite(v)]
        means.append(sum(window) / len(window) if window and math.isfinite(values[i]) else math.nan)
    return means


def bars(labels: Sequence[str], values: Sequence[float], unit: str, title: str) -> Html:
    """Amounts side by side, each written at the end of its bar."""
    with _style():
        picture, axes = _axes(0.36 * len(values) + 1.1, title, grid="x")
        positions = list(range(len(values)))[::-1]
        axes.barh(positions, values, height=0.62, color="#9cc3e0", edgecolor="#1f4e79", hatch="//")
        for y, value in zip(positions, values, strict=True):
            axes.annotate(number(value), (value, y), (4, 0), textcoords="offset points", va="center", fontsize=8.5)
        axes.set_yticks(positions, [textwrap.fill(label, 28, break_long_words=False) for label in labels])
        axes.margins(x=0.16)
        axes.set_xlabel(_axis(unit))
        return _embed(picture, title, "; ".join(f"{label}: {amount(v, unit)}" for label, v in zip(labels, values, strict=True)))


def grid(results: dict[str, dict[str, dict[str, Any]]], unit: str, title: str) -> Html:
    """Several checkpoints on several tasks: a marker for each checkpoint, a block of lines for each task."""
    scale = 100 if is_share(unit) else 1
    stages = list(dict.fromkeys(stage for by_stage in results.values() for stage in by_stage))
    with _style():
        picture, axes = _axes(len(results) * (0.16 * len(stages) + 0.25) + 1.4, title, grid="x")
        for t, by_stage in enumerate(reversed(list(results.values()))):
            for s, stage in enumerate(stages):
                cell, y = by_stage.get(stage), t + 0.36 - 0.72 * (s + 0.5) / len(stages)
                if cell is None or cell.get("value") is None or not math.isfinite(cell["value"]):
                    continue
                if cell.get("low") is not None and cell.get("high") is not None:
                    axes.plot([scale * cell["low"], scale * cell["high"]], [y, y], "-", color=COLOURS[s % 6], lw=3, alpha=0.35)
                first = t == len(results) - 1
                axes.plot(scale * cell["value"], y, MARKERS[s % 6], color=COLOURS[s % 6], ms=6, label=stage if first else None)
            axes.axhline(t + 0.5, color="#bbbbbb", lw=0.6)
        axes.set_yticks(range(len(results)), [textwrap.fill(task.replace("_", " "), 22) for task in reversed(results)])
        axes.set_ylim(-0.5, len(results) - 0.5)
        axes.set_xlabel(_axis(unit))
        _legend(axes, picture)
        said = (
            f"{task}: " + ", ".join(f"{s} {amount(c.get('value'), unit)}" for s, c in by.items()) for task, by in results.items()
        )
        return _embed(picture, title, "; ".join(said))


def forest(rows: Sequence[tuple[str, float, float, float]], unit: str, title: str) -> Html:
    """Differences with their intervals, by label, about the line of no difference."""
    scale = 100 if is_share(unit) else 1
    with _style():
        picture, axes = _axes(0.3 * len(rows) + 1.3, title, grid="x")
        axes.axvline(0, color="#444444", lw=1)
        for y, (_, value, low, high) in enumerate(reversed(rows)):
            colour = COLOURS[5] if low <= 0 <= high else COLOURS[0 if value > 0 else 1]
            axes.plot([scale * low, scale * high], [y, y], "-", color=colour, lw=2)
            axes.plot(scale * value, y, MARKERS[0 if value > 0 else 1], color=colour, ms=5)
        axes.set_yticks(range(len(rows)), [textwrap.fill(label, 34) for label, *_ in reversed(rows)])
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_xlabel("difference, " + _axis(unit))
        said = (f"{label}: {amount(v, unit)} ({amount(a, unit)} to {amount(b, unit)})" for label, v, a, b in rows)
        return _embed(picture, title, "; ".join(said))


def _style() -> Any:
    import matplotlib

    return matplotlib.rc_context(STYLE)


def _axes(height: float, title: str, grid: Literal["both", "x", "y"] = "both") -> tuple[Any, Any]:
    from matplotlib.figure import Figure as Picture

    picture = Picture(figsize=(WIDTH, height), layout="constrained")
    picture.suptitle(textwrap.fill(title, 60), x=0.01, ha="left", fontsize=10, fontweight="bold")
    axes = picture.add_subplot()
    axes.grid(False)
    axes.grid(True, axis=grid)
    return picture, axes


def _legend(axes: Any, picture: Any) -> None:
    """Below the picture: inside it would cover a point sooner or later."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        picture.legend(handles, labels, loc="outside lower left", ncols=min(3, len(labels)), handlelength=2.6)


def _embed(picture: Any, title: str, said: str) -> Html:
    """The picture inside the page, with its alternative text."""
    file = io.BytesIO()
    picture.savefig(file, format="png", metadata={"Software": None})
    source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return tag("figure", Html(tag("img", src=source, alt=f"{title}. {said}").removesuffix("</img>")))


def _axis(unit: str) -> str:
    return unit.replace(unit.split(" ")[0], "per cent", 1) if is_share(unit) else unit or "value (no unit)"


def _say(dot: Dot, unit: str) -> str:
    parts = [f"{dot.label}: {amount(dot.after, unit)}"]
    parts += [f"before {amount(dot.before, unit)}"] if dot.before is not None else []
    parts += [f"baseline {amount(dot.baseline, unit)}"] if dot.baseline is not None else []
    return ", ".join(parts)


def _trace(name: str, points: Series) -> str:
    (first, start), (last, end) = points[0], points[-1]
    return f"{name} goes from {number(start)} at step {number(first)} to {number(end)} at step {number(last)}"
