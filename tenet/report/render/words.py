"""Numbers and comparisons in words, the same on paper, in the terminal and in a picture's title.

No HTML and no matplotlib here: `tenet show` imports this at start.
"""

from __future__ import annotations

import math
from typing import Any

from tenet.runs.summary import Figure
from tenet.units import NOT_MEASURED


def number(value: Any, digits: int = 3) -> str:
    """A number at a reader's precision: 1,234 · 0.0123 · 1.4e+09; absent or NaN is `n/a`."""
    if value is None or isinstance(value, str):
        return value or NOT_MEASURED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if math.isnan(value):
        return NOT_MEASURED
    if value and not math.isinf(value) and (abs(value) >= 1e9 or abs(value) < 1e-4):
        return f"{value:.{digits - 1}e}"
    if (float(value).is_integer() and abs(value) >= 1) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def is_share(unit: str) -> bool:
    """Whether a figure is a part of a whole; `share (exact)` is one too."""
    return unit.split(" ")[0] in ("share", "fraction", "rate")


def amount(value: Any, unit: str) -> str:
    """Number and unit; shares are given in percent, which is how people say them."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOT_MEASURED
    if is_share(unit) and isinstance(value, (int, float)):
        return f"{number(100 * value)} %"
    return f"{number(value)} {unit}".rstrip()


def interval(figure: Figure) -> str:
    """95 % interval, or `n/a`."""
    if figure.low is None or figure.high is None:
        return NOT_MEASURED
    low = 100 * figure.low if is_share(figure.unit) else figure.low
    return f"{number(low)} to {amount(figure.high, figure.unit)}"


def direction(figure: Figure, other: float | None) -> str:
    """`better`, `worse`, `equal`, or empty where that cannot be said."""
    if other is None or figure.better == "neither" or math.isnan(figure.value) or math.isnan(other):
        return ""
    if figure.value == other:
        return "equal"
    return "better" if (figure.value > other) == (figure.better == "higher") else "worse"


def includes(figure: Figure, value: float | None) -> bool:
    """Whether the 95 % interval holds a value: then the two cannot be told apart."""
    return value is not None and figure.low is not None and figure.high is not None and figure.low <= value <= figure.high


def sentence(figure: Figure) -> str:
    """One figure as a finding: `valid bits per byte: 1.14 bits per byte, was 8.01 (better); baseline 1.4 (better)`."""
    text = f"{figure.name}: {amount(figure.value, figure.unit)}"
    for label, other in (("was", figure.before), ("baseline", figure.baseline)):
        if other is not None:
            verdict = "cannot be told apart" if includes(figure, other) else direction(figure, other)
            text += f"; {label} {amount(other, figure.unit)}" + (f" ({verdict})" if verdict else "")
    return text


def change(figure: Figure) -> str:
    """`before → after`, or the value alone."""
    if figure.before is None:
        return amount(figure.value, figure.unit)
    if is_share(figure.unit):
        return f"{number(100 * figure.before)} → {amount(figure.value, figure.unit)}"
    return f"{number(figure.before)} → {amount(figure.value, figure.unit)}"


def energy(joules: float | None) -> str:
    """Joules as watt-hours, which is what a bill counts."""
    if joules is None:
        return NOT_MEASURED
    return f"{number(joules / 3600)} Wh" if joules < 3.6e6 else f"{number(joules / 3.6e6)} kWh"


def size(count: int | None) -> str:
    """Bytes in decimal units."""
    if count is None:
        return NOT_MEASURED
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{number(value)} {units[0]}"
