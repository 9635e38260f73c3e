"""Examples with their answers before a question, drawn as lm-eval draws them, so that few-shot figures can be held
against published ones.

lm-eval draws for one row after another from one generator, so what a row gets depends on its place in the data: the
draws are made for all rows, in their order, whichever of them are asked.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError
from tenet.evaluate.filling import render, value
from tenet.evaluate.task_rows import Rows, read_rows
from tenet.evaluate.tasks import Task

Row = dict[str, Any]
#: lm-eval's own seed for examples.
SEED = 1234
#: Between two examples, and between the last one and the question.
DELIMITER = "\n\n"


class Examples:
    """The examples of a task, by the place of the asked row.

    Args:
        task: with `shots` as they are to be asked.
        rows: of the task. places: of those that can be asked, in the order of the data.
        corpus, folder: as for `read_rows`.

    Raises:
        ConfigError: there are fewer examples than are asked for.
    """

    def __init__(
        self, task: Task, rows: Rows, places: Sequence[int], corpus: Path | None = None, folder: Path | None = None
    ) -> None:
        self.task = task
        self.chosen: dict[int, list[Row]] = {}
        if not task.shots:
            return
        asked = dict(zip(places, rows.take(places), strict=True))
        pool = list(read_rows(task, corpus, folder, task.shots_data)) if task.shots_data else list(asked.values())
        groups: dict[Any, list[Row]] = {}
        for row in pool:
            groups.setdefault(self._group(row), []).append(row)
        generators: dict[Any, random.Random] = {}
        for place, row in asked.items():
            group = self._group(row)
            generator = generators.setdefault(group, random.Random(SEED))
            self.chosen[place] = self._choose(row, groups.get(group, []), generator)

    def _group(self, row: Row) -> Any:
        return value(self.task, "shots_by", row)

    def _choose(self, asked: Row, pool: Sequence[Row], generator: random.Random) -> list[Row]:
        count = self.task.shots
        others = not self.task.shots_data
        if len(pool) < count + others:
            raise ConfigError(
                f"task {self.task.name}: {count} examples asked for, {len(pool)} rows of "
                f"{self.task.shots_data or self.task.data} can be one; ask for fewer with evaluate.shots"
            )
        if self.task.shots_from == "first":
            return [row for row in pool if not others or row != asked][:count]
        drawn = [pool[i] for i in generator.sample(range(len(pool)), count + others)]
        if not others:
            return drawn
        kept = [row for row in drawn if row != asked][:count]
        if len(kept) < count:  # the asked row is in the data more than once
            rest = [row for row in pool if row != asked]
            kept = [rest[i] for i in generator.sample(range(len(rest)), count)]
        return kept

    def before(self, place: int, row: Row) -> str:
        """What stands before the question of a row: preamble and examples."""
        text = render(self.task, "preamble", row) if self.task.preamble else ""
        return text + "".join(self._example(one) + DELIMITER for one in self.chosen.get(place, ()))

    def _example(self, row: Row) -> str:
        task = self.task
        if task.shot:
            return render(task, "shot", row)
        if task.kind != "choice":
            return render(task, "context", row) + task.separator + str(value(task, "answer", row))
        gold = value(task, "gold", row)
        gold = int(gold[0] if isinstance(gold, list | tuple) else gold)
        context = value(task, "contexts", row)[gold] if task.contexts else render(task, "context", row)
        return context + task.separator + str(value(task, "choices", row)[gold])
