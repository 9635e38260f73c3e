"""From the rows of a task to the things that are asked: a choice between continuations, or a conversation with a right
answer."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError
from tenet.evaluate.few_shot import Examples
from tenet.evaluate.filling import render, value
from tenet.evaluate.task_rows import Rows, read_rows, row_order
from tenet.evaluate.tasks import Task
from tenet.verifiers import VERIFIERS, Verifier, read_verifier

Row = dict[str, Any]
#: Characters at the beginning and at the end of a long question that stand in its row.
SHOWN = 4000


@dataclass(frozen=True)
class Item:
    """One question.

    Args:
        id: of its row. cluster: rows with the same one are not independent; its own id where nothing is known.
        prompts: what comes before an answer, text or messages; one for all choices, or one for each.
        choices: continuations without the separator; empty where an answer is generated.
        gold: place of the right choice (for `mass` the places of all that are right), the right text, or the right call.
        number: place of its row in the data.
        tools: that the assistant may call.
        row: of a generated answer, with the `verifier` that judges it.
    """

    id: str
    cluster: str
    prompts: tuple[Any, ...]
    choices: tuple[str, ...]
    gold: Any
    number: int = 0
    tools: list[Row] | None = None
    row: Row = field(default_factory=dict)

    @property
    def asked(self) -> str:
        """The question in words, for the rows file; of a long one the beginning and the end."""
        prompt = self.prompts[0]
        text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        return text if len(text) <= 2 * SHOWN else f"{text[:SHOWN]} [... {len(text) - 2 * SHOWN} characters ...] {text[-SHOWN:]}"


@dataclass(frozen=True)
class Loaded:
    """A task with the questions of one run.

    Args:
        items: chosen by a seeded shuffle, in that order.
        available: rows that could have been chosen.
        skipped: of those looked at, rows from which no question can be made (too few siblings to draw choices from).
        sha256: of the data.
        verifiers: by kind, those of a domain among them.
    """

    task: Task
    items: tuple[Item, ...]
    available: int
    skipped: int
    sha256: str
    verifiers: Mapping[str, Verifier] = field(default_factory=lambda: VERIFIERS)

    @property
    def baseline(self) -> float:
        """What needs no model."""
        if self.task.baseline != "chance":
            return self.task.baseline
        return sum(len(golds(item)) / len(item.choices) for item in self.items) / len(self.items)

    @property
    def majority(self) -> float | None:
        """Share right by always taking the place that is right most often; None where the places mean nothing."""
        if self.task.kind != "choice" or self.task.metric == "greedy":
            return None
        return max(Counter(place for item in self.items for place in golds(item)).values()) / len(self.items)

    @property
    def longest(self) -> float | None:
        """Share right by taking the longest choice: where it is high, length gives answers away."""
        if self.task.kind != "choice" or self.task.metric == "greedy":
            return None
        sizes = [[len(choice) for choice in item.choices] for item in self.items]
        return sum(size.index(max(size)) in golds(item) for size, item in zip(sizes, self.items, strict=True)) / len(self.items)

    @property
    def overlap(self) -> float | None:
        """Share right by taking the choice that has most words in common with the question: a second figure that needs
        no model.

        Where it is high, a model may score by copying words; None where there is nothing to choose.
        """
        if self.task.kind != "choice" or self.task.metric == "greedy":
            return None
        hits = 0
        for item in self.items:
            asked = _stems(item.asked)
            shares = [len(asked & _stems(choice)) / max(1, len(_stems(choice))) for choice in item.choices]
            hits += shares.index(max(shares)) in golds(item)
        return hits / len(self.items)


def golds(item: Item) -> Sequence[int]:
    """The places of the right choices."""
    return item.gold if isinstance(item.gold, tuple) else (item.gold,)


def _stems(text: str) -> set[str]:
    """The first five letters of each word, names in camel case taken apart: "DeleteTable" shares both with "deletes a
    table"."""
    return {word.lower()[:5] for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", text)}


class NoQuestions(ConfigError):
    """No row of a task's data makes a question."""


def load_items(
    task: Task,
    count: int = 0,
    seed: int = 0,
    corpus: Path | None = None,
    verifiers: Mapping[str, Verifier] = VERIFIERS,
    folder: Path | None = None,
) -> Loaded:
    """The questions of a task, in the order of its rows.

    Args:
        count: most questions; 0 takes all.
        seed: of the shuffle whose first rows are taken, so that 50 rows are part of 100.
        corpus: folder of the finished corpus stage, for own tasks.
        verifiers: by kind, those of a domain among them.
        folder: of benchmarks, for tasks that read `data:`.

    Raises:
        ConfigError: the data cannot be had, no row of it makes a question, a row is malformed, or two have one id.
    """
    rows = read_rows(task, corpus, folder)
    places, pools = list(range(len(rows))), {}
    if task.where:
        places = [i for i, row in enumerate(rows) if value(task, "where", row)]
    if task.pool:
        pools = _pools(task, rows)
    examples = Examples(task, rows, places, corpus, folder)
    places = [places[i] for i in row_order(seed, task.name, len(places))]
    items: list[Item] = []
    skipped = 0
    # Public benchmarks make a question of every row, so nothing beyond the first ones is rendered.
    for number, row in _taken(rows, places, count if not task.pool else 0):
        item = _item(task, number, row, pools, seed, verifiers, examples)
        skipped += item is None
        if item:
            items.append(item)
        if count and len(items) == count:
            break
    if not items:
        raise NoQuestions(
            f"task {task.name}: none of the {len(rows)} rows of {task.data} makes a question (where: {task.where or 'all'}); "
            "make the corpus larger or take the task out of evaluate.tasks"
        )
    items.sort(key=lambda item: item.number)
    if twice := [name for name, times in Counter(item.id for item in items).items() if times > 1]:
        raise ConfigError(
            f"task {task.name}: id {twice[0]!r} is the id of several rows of {task.data} (of {len(twice)} ids in all); "
            "rows are compared by their ids, so give each one of its own"
        )
    return Loaded(task, tuple(items), len(places), skipped, rows.sha256, verifiers)


def _taken(rows: Rows, places: Sequence[int], count: int) -> list[tuple[int, Row]]:
    places = places[:count] if count else places
    return list(zip(places, rows.take(places), strict=True))


def _item(
    task: Task,
    number: int,
    row: Row,
    pools: dict[str, list[str]],
    seed: int,
    verifiers: Mapping[str, Verifier],
    examples: Examples,
) -> Item | None:
    name = value(task, "id", row)
    name = str(number if name is None else name)
    cluster = value(task, "cluster", row) or name
    prompts = _prompts(task, row, examples.before(number, row))
    if task.kind != "choice":
        gold, tools = value(task, "answer", row), value(task, "tools", row)
        return Item(name, cluster, prompts, (), gold, number, tools, _judged_row(task, number, row, gold, tools, verifiers))
    if not task.pool:
        choices = tuple(map(str, value(task, "choices", row)))
        return Item(name, cluster, prompts, choices, _gold(task, number, row, choices, len(prompts)), number)
    answer = str(value(task, "answer", row))
    others = _draw([text for text in pools[cluster] if text != answer], task.options - 1, f"{seed} {task.name} {name}")
    if len(others) < task.options - 1:
        return None
    # At a drawn place: where all choices score alike the first one is taken, and that must not be the right one by
    # rule.
    choices = tuple(_draw([answer, *others], task.options, f"{seed} order {name}"))
    return Item(name, cluster, prompts, choices, choices.index(answer), number)


def _gold(task: Task, number: int, row: Row, choices: Sequence[str], contexts: int) -> int | tuple[int, ...]:
    """The place of the right choice, or the places of all.

    A label beyond the choices can never be hit: a model that knows everything would score 0.
    """
    where = f"task {task.name}: row {number} of {task.data}"
    if len(choices) < (1 if task.metric == "greedy" else 2) or not all(choices):
        raise ConfigError(f"{where}: choices are {list(choices)}; a choice needs at least two, none of them empty")
    if contexts not in (1, len(choices)):
        raise ConfigError(f"{where}: {contexts} contexts for {len(choices)} choices; give one, or one for each")
    given = value(task, "gold", row)
    places = given if isinstance(given, list | tuple) else [given]
    try:
        found = tuple(int(place) for place in places)
    except (TypeError, ValueError):
        found = ()
    if not found or any(not 0 <= place < len(choices) for place in found):
        raise ConfigError(f"{where}: gold is {given!r}, the choices are numbered 0 to {len(choices) - 1}; mend the row or `gold`")
    if task.metric == "mass":
        return found
    if len(found) > 1:
        raise ConfigError(f"{where}: gold is {given!r}; only the metric mass takes several right choices")
    return found[0]


def _judged_row(task: Task, number: int, row: Row, gold: Any, tools: Any, verifiers: Mapping[str, Verifier]) -> Row:
    """The row as its verifier reads it: with the gold answer as `answer`, and the verifier that the task names or that
    is usual for its kind."""
    spec = value(task, "verifier", row) or (
        {"kind": "tool_call"} if task.kind == "tool" else {"kind": "exact", "punctuation": "full_stop"}
    )
    whole = {**row, "tools": tools or [], **({"answer": gold} if gold is not None else {})}
    try:
        return {**whole, "verifier": read_verifier(spec, whole, verifiers, Path(task.folder))}
    except ValueError as error:
        raise ConfigError(
            f"task {task.name}: row {number} of {task.data}: verifier: {error}; mend the row or the task's YAML"
        ) from None


def _prompts(task: Task, row: Row, before: str) -> tuple[Any, ...]:
    if task.prompt:
        return (value(task, "prompt", row),)
    if task.contexts:
        return tuple(before + str(context) for context in value(task, "contexts", row))
    return (before + render(task, "context", row),)


def _pools(task: Task, rows: Rows) -> dict[str, list[str]]:
    """Texts to draw wrong choices from, by cluster, each once."""
    pools: dict[str, dict[str, None]] = {}
    for row in rows:
        pools.setdefault(value(task, "cluster", row), {}).update(dict.fromkeys(value(task, "pool", row)))
    return {cluster: list(texts) for cluster, texts in pools.items()}


def _draw(texts: Sequence[str], count: int, key: str) -> list[str]:
    """A fixed draw without replacement: the same texts and key, the same draw, whatever their order."""
    return sorted(texts, key=lambda text: hashlib.sha256(f"{key} {text}".encode()).digest())[:count]
