"""Two finished evaluations held against each other, row by row: is B better than A, at what, and are we sure?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError
from tenet.files import read_json, read_jsonl
from tenet.runs.lineage import verify
from tenet.stats import Paired, holm, paired

Row = dict[str, Any]
#: A corrected p below this is a difference.
ALPHA = 0.05


@dataclass(frozen=True)
class Compared:
    """One task.

    Args:
        before, after: shares of the first and of the second.
        p_holm: of the difference, corrected for the number of tasks.
        only: rows that only one of the two was asked.
    """

    task: str
    before: float
    after: float
    difference: Paired
    p_holm: float
    only: int

    @property
    def worse(self) -> bool:
        """The second is worse, beyond what chance explains."""
        return self.difference.difference < 0 and self.p_holm < ALPHA

    @property
    def better(self) -> bool:
        """The second is better, beyond what chance explains."""
        return self.difference.difference > 0 and self.p_holm < ALPHA


def compare_runs(first: Path, second: Path, stages: Sequence[str] = ("", ""), seed: int = 0) -> tuple[list[Compared], list[str]]:
    """Compare the rows of two runs.

    Args:
        first, second: run folders, or folders of a finished evaluation.
        stages: which checkpoint of each; empty is the last one.

    Returns:
        the tasks that both were asked, and a note on each that only one was.

    Raises:
        ConfigError: no rows there, nothing in common, or a task that was asked with other data, version or examples.
        StageError: rows are not those that the stage wrote.
    """
    (one, mine), (two, theirs) = _read(first, stages[0]), _read(second, stages[1])
    if not (both := [task for task in one if task in two]):
        raise ConfigError(
            f"{first} was asked {', '.join(one)}, {second} {', '.join(two)}: no task in common; evaluate both on one"
        )
    notes = [f"{task}: only in {first if task in one else second}" for task in {**one, **two} if task not in both]
    asked: dict[str, tuple[list[float], list[float], list[str], int]] = {}
    for task in both:
        for key in ("sha256", "version", "shots", "metric"):
            if (a := mine.get(task, {}).get(key)) != (b := theirs.get(task, {}).get(key)):
                raise ConfigError(f"task {task}: {key} is {a!r} in {first} and {b!r} in {second}; evaluate one of them again")
        known = {row["id"]: row for row in one[task]}
        rows = [row for row in two[task] if row["id"] in known]
        if not rows:
            raise ConfigError(f"task {task}: {first} and {second} share no row; evaluate with the same --seed, or with all rows")
        before = [float(known[row["id"]]["score"]) for row in rows]
        after = [float(row["score"]) for row in rows]
        asked[task] = before, after, [row["cluster"] for row in rows], len(one[task]) + len(two[task]) - 2 * len(rows)
    found = {task: paired(before, after, clusters, seed) for task, (before, after, clusters, _) in asked.items()}
    corrected = holm([difference.p for difference in found.values()])
    return [
        Compared(task, _mean(asked[task][0]), _mean(asked[task][1]), difference, p, asked[task][3])
        for (task, difference), p in zip(found.items(), corrected, strict=True)
    ], notes


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _read(folder: Path, stage: str) -> tuple[dict[str, list[Row]], dict[str, Row]]:
    """Rows by task of one checkpoint, and what the summary says of the tasks."""
    place = folder / "evaluate" if (folder / "evaluate").is_dir() else folder
    files = sorted((place / "rows").glob("*.jsonl"))
    if not files:
        raise ConfigError(f"{folder}: no rows/TASK.jsonl there; give a run whose evaluate stage is finished, or its folder")
    if (place / "run.json").is_file():
        verify(place)
    found: dict[str, list[Row]] = {}
    for path in files:
        rows = read_jsonl(path)
        chosen = stage or rows[-1]["stage"]
        if mine := [row for row in rows if row["stage"] == chosen]:
            found[path.stem] = mine
    if not found:
        known = dict.fromkeys(row["stage"] for row in read_jsonl(files[0]))
        raise ConfigError(f"{folder}: no rows of {stage!r}; there are {', '.join(known)}")
    summary = read_json(place / "summary.json") if (place / "summary.json").is_file() else {}
    return found, summary.get("tasks", {})
