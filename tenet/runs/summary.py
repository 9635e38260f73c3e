"""What a stage found: one sentence and figures, each with what it must be compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One measured number with what it must be compared with.

    Args:
        name: what is measured, in words.
        value: the result.
        unit: its unit, e.g. "bits per byte" or "share".
        before: the same figure of the stage's input checkpoint.
        baseline: what needs no model (chance, length, lzma, ...).
        low, high: 95 % interval of value.
        n: rows it was measured on.
        better: which direction is better.
        note: one sentence for the reader, where one is needed.
    """

    name: str
    value: float
    unit: str = ""
    before: float | None = None
    baseline: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    better: Literal["higher", "lower", "neither"] = "higher"
    note: str = ""


@dataclass
class Summary:
    """What a stage found: one sentence, then figures; the first figure is the stage's key figure.

    Clock times go into `timings` (run.json), never into figures or details: summary.json is hashed, and the same run
    must give the same bytes.
    """

    headline: str
    figures: list[Figure] = field(default_factory=list)
    tokens: int = 0
    flops: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
