"""What a reward model is worth, beside what needs no model: accuracy on held-out pairs, whether it is the length that it
likes, whether garbage wins, and whether its confidence can be believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tenet.posttrain.checkpoints import mean_interval
from tenet.posttrain.reward_models.calibration import calibration_error
from tenet.posttrain.training import longer, said
from tenet.rows import Row
from tenet.runs.summary import Figure

#: Answers whose lengths differ by less than this share of the longer one are equally long.
MATCHED = 0.1
#: Characters of a text that are kept with a judged pair.
SHOWN = 400


def judged(row: Row, chosen: float, rejected: float, texts: bool = True) -> dict[str, Any]:
    """A pair with its scores; lengths are characters.

    Args:
        texts: keep the beginning of both answers, for the report.
    """
    sides = {side: said(row[side][0]) for side in ("chosen", "rejected")}
    found = {
        "stage": "reward",
        "task": "preference",
        "id": row.get("id", ""),
        "kind": row.get("kind", ""),
        "chosen_score": round(chosen, 5),
        "rejected_score": round(rejected, 5),
        "margin": round(chosen - rejected, 5),
        "right": 1.0 if chosen > rejected else 0.5 if chosen == rejected else 0.0,
        "chosen_longer": longer(row),
        "chosen_length": len(sides["chosen"]),
        "rejected_length": len(sides["rejected"]),
    }
    return {**found, **{side: text[:SHOWN] for side, text in sides.items()}} if texts else found


def length_rule(rows: Sequence[Row]) -> str:
    """Which of "longer" and "shorter" is right more often; asked of training rows."""
    return "longer" if 2 * sum(map(longer, rows)) >= len(rows) else "shorter"


def by_length(row: Row, rule: str) -> float:
    """Whether the rule is right on a judged pair; a half where both are of one length."""
    return float(row["chosen_longer"] if rule == "longer" else 1 - row["chosen_longer"])


def figures(rows: Sequence[Row], garbage: Sequence[Row], rule: str, temperature: float) -> list[Figure]:
    """The figures of a stage, the accuracy first.

    Args:
        rows, garbage: as `judged` has them, under the calibrated model.
        rule: of length, chosen on training rows.
        temperature: what the scores were divided by.
    """
    right = [row["right"] for row in rows]
    length = mean_interval([by_length(row, rule) for row in rows])[0]
    gain = [row["right"] - by_length(row, rule) for row in rows]
    note = f"before: an untrained head, a coin; baseline: the {rule} answer, as the training pairs have it"
    first = _share("held-out pairwise accuracy", right, before=0.5, baseline=length, note=note)
    kinds = sorted({row["kind"] for row in rows})
    return [
        first,
        _share(f"accuracy above the rule that the {rule} answer wins", gain, baseline=0.0, note="paired by pair"),
        *(_share(f"accuracy: {kind or 'all'}", [r["right"] for r in rows if r["kind"] == kind], baseline=0.5) for kind in kinds),
        *_lengths(rows),
        *_garbage(garbage),
        *_calibration([row["margin"] for row in rows], temperature),
    ]


def _share(name: str, values: Sequence[float], **more: Any) -> Figure:
    value, low, high = mean_interval(values)
    return Figure(name, value, "share", low=low, high=high, n=len(values), **more)


def matched(row: Row) -> bool:
    """Are both answers of about one length?"""
    a, b = row["chosen_length"], row["rejected_length"]
    return abs(a - b) <= MATCHED * max(a, b)


def _lengths(rows: Sequence[Row]) -> list[Figure]:
    parts = {
        f"accuracy where lengths differ by at most {MATCHED:.0%}": [row["right"] for row in rows if matched(row)],
        "accuracy where the longer answer was chosen": [row["right"] for row in rows if row["chosen_longer"] == 1],
        "accuracy where the shorter answer was chosen": [row["right"] for row in rows if row["chosen_longer"] == 0],
    }
    found = [_share(name, values, baseline=0.5) for name, values in parts.items() if values]
    correlation = length_correlation(rows)
    if correlation is None:
        return found
    note = "of the gap in score with the gap in length, over pairs; 1: only length counts"
    return [*found, Figure("correlation of score with length", correlation, n=len(rows), better="neither", note=note)]


def length_correlation(rows: Sequence[Row]) -> float | None:
    """Around 0, so that it does not matter which answer is called the first; None where nothing differs."""
    scores = [row["margin"] for row in rows]
    lengths = [row["chosen_length"] - row["rejected_length"] for row in rows]
    size = math.sqrt(sum(s * s for s in scores) * sum(n * n for n in lengths))
    return sum(s * n for s, n in zip(scores, lengths, strict=True)) / size if size else None


def _garbage(garbage: Sequence[Row]) -> list[Figure]:
    if not garbage:
        return []
    note = "garbage of another make than that in training, beside the chosen answers of held-out pairs"
    kinds = sorted({row["kind"] for row in garbage})
    return [
        _share("planted garbage that loses to the chosen answer", [row["right"] for row in garbage], baseline=0.5, note=note),
        *(
            _share(f"planted garbage that loses: {kind}", [row["right"] for row in garbage if row["kind"] == kind], baseline=0.5)
            for kind in kinds
        ),
    ]


def _calibration(margins: Sequence[float], temperature: float) -> list[Figure]:
    before = calibration_error([margin * temperature for margin in margins])
    note = "confidence sigmoid(score gap) against the share that is right; before: without the temperature"
    return [
        Figure("calibration error", calibration_error(margins), "share", before=before, better="lower", n=len(margins), note=note),
        Figure(
            "calibration temperature", temperature, better="neither", note="fitted on held-out prompts of the training pairs; "
            "the head is divided by it",
        ),
    ]  # fmt: skip
