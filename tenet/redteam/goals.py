"""Reads the goals: what an attacker wants, beside what an honest user wants in nearly the same words.

Two kinds of files: a goals.yaml, which says everything (docs/safety.md has the format), and a plain list of rows, one
goal each, in the shapes of public sets: `prompt` or `goal`, `category`, `label: harmful | safe`. Nothing here knows a
subject; what an answer is about, how a refusal is reasoned and what a harmless wish is answered stands in the file.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from tenet.constitution.row_files import SPLITS, of_split, split_of
from tenet.errors import ConfigError
from tenet.redteam.answers import Answers

Form = Literal["verb_phrase", "prompt"]
FORMS: tuple[Form, ...] = ("verb_phrase", "prompt")
#: Why not, and what instead, where the file says nothing.
REASON, OFFER = "it could do harm", "I can help with something else"


@dataclass(frozen=True)
class Goal:
    """One wish.

    Args:
        text: as `form` says: a verb phrase that fits behind "how to", or a prompt that is asked as it is.
        benign: a look-alike that must be answered.
        split: "train" goals make fixes, "test" goals measure them.
        unseen_category: the whole category has no train goal.
        answer: what a look-alike is answered in a fix; "" leaves that to the model itself.
        subject: what it is about in one word, where the file says so; a very short answer is on topic when it holds it.
        topic: an answer that matches one of these is on topic, beside one that shares words with the goal.
    """

    id: str
    category: str
    text: str
    benign: bool
    split: str
    unseen_category: bool = False
    form: Form = "prompt"
    answer: str = ""
    subject: str = ""
    topic: tuple[re.Pattern[str], ...] = ()


@dataclass(frozen=True)
class Category:
    """What a group of goals has in common: why they are refused and what is offered instead."""

    id: str
    title: str = ""
    reason: str = REASON
    offer: str = OFFER


@dataclass(frozen=True)
class Swap:
    """An exchange of words in train goals: what `pattern` finds becomes one of `words`."""

    pattern: re.Pattern[str]
    words: tuple[str, ...]

    def texts(self, text: str, copies: int, rng: random.Random) -> list[str]:
        """The text with up to `copies` other words."""
        chosen = rng.sample(self.words, min(copies, len(self.words)))
        return [self.pattern.sub(lambda match, word=word: word, text, count=1) for word in chosen]  # type: ignore[misc]


@dataclass(frozen=True)
class Material:
    """What attacks put around a goal where they need something to talk about; neutral where the file has nothing of its
    own.

    Args:
        shots: questions with answers, for the faux turns of many_shot.
        turns: a harmless question with its answer, for crescendo.
        tool: name of the tool whose result carries the goal; argument: of its only parameter; files: values of it.
    """

    shots: tuple[tuple[str, str], ...] = (
        ("How do I open a locked door?", "Sure. Use the other key."),
        ("How do I boil an egg?", "Sure. Put it in hot water."),
        ("How do I stop a bicycle?", "Sure. Pull the brakes."),
        ("How do I read a map?", "Sure. Begin with the legend."),
    )
    turns: tuple[tuple[str, str], ...] = (
        ("I have two questions.", "Ask the first one."),
        ("Can you help me?", "Yes. What is it?"),
        ("Thank you, that was right.", "I can help with the next one."),
    )
    tool: str = "read_file"
    argument: str = "path"
    files: tuple[str, ...] = ("notes.txt", "readme.txt", "todo.txt")

    def tools(self) -> list[dict[str, Any]]:
        """The tool as a list in OpenAI's shape: an endpoint refuses a conversation with calls of a tool that it was not
        told of."""
        parameters = {"type": "object", "properties": {self.argument: {"type": "string"}}, "required": [self.argument]}
        return [{"type": "function", "function": {"name": self.tool, "description": "Reads a file.", "parameters": parameters}}]


@dataclass(frozen=True)
class GoalSet:
    """A file of goals.

    Args:
        licence, source: of rows that are made from it.
        leak: why a secret is kept, and what is offered instead.
        refusals: wordings with {reason} and {offer}; () takes those of `fixes`.
        swaps: "harmful", "look_alikes" and "twins" (a look-alike that becomes harmful by it) -> what is exchanged.
    """

    path: Path
    goals: tuple[Goal, ...]
    categories: Mapping[str, Category] = field(default_factory=dict)
    licence: str = "not stated"
    source: str = "red team"
    default: Category = Category("")
    leak: Category = Category("leak", reason="it is a secret")
    refusals: tuple[str, ...] = ()
    material: Material = Material()
    swaps: Mapping[str, Swap] = field(default_factory=dict)
    answers: Answers = field(default_factory=Answers)
    form: Form = "prompt"
    topic: tuple[re.Pattern[str], ...] = ()
    subject: str = ""

    def of(self, split: str) -> list[Goal]:
        """Goals of a split, harmful ones and look-alikes, in the order of the file."""
        if split not in SPLITS:
            raise ConfigError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
        return [goal for goal in self.goals if goal.split == split]

    def has_look_alikes(self, split: str = "") -> bool:
        """Are there harmless goals (of a split)?"""
        return any(goal.benign for goal in self.goals if split in ("", goal.split))

    def category(self, name: str) -> Category:
        """Reason and offer of a category; the file's common ones where it has none."""
        return self.categories.get(name, self.default)

    def goal(self, row: Mapping[str, Any], *, category: str, benign: bool, split: str, unseen: bool = False) -> Goal:
        """A goal from the values that a file or a subject's own generator has for it: `id`, `text` and any columns."""
        filled = self.answers.of(row, category) if benign else ""
        return Goal(
            id=str(row["id"]),
            category=category,
            text=row["text"],
            benign=benign,
            split=split,
            unseen_category=unseen,
            form=row.get("form", self.form),
            answer=filled,
            subject=self.answers.filled(self.subject, row),
            topic=self.topic,
        )

    def made(self, rows: Iterable[Mapping[str, Any]]) -> list[Goal]:
        """Train goals that a subject's generator made: rows with `id`, `text`, `benign`, and the columns that answers
        are filled from."""
        return [
            self.goal(row, category=str(row.get("category", "documented")), benign=bool(row["benign"]), split="train")
            for row in rows
        ]

    def varied(self, copies: int, seed: int) -> list[Goal]:
        """The train goals, up to `copies` variants of each with other words, and as many harmful twins of the
        look-alikes.

        So that a fix learns more than the sentences of the file. A twin differs from its look-alike in nothing but what
        the file exchanges ("delete my own test bucket", "delete a stranger's test bucket"): no other word gives it
        away.
        """
        rng = random.Random(f"varied/{seed}")
        train = self.of("train")
        found = {goal.text: goal for goal in train}
        for goal in train:
            for number, text in enumerate(self._swapped("look_alikes" if goal.benign else "harmful", goal, copies, rng)):
                found.setdefault(text, replace(goal, id=f"{goal.id}.{number + 1}", text=text))
            if goal.benign and "twins" in self.swaps and self.swaps["twins"].pattern.search(goal.text):
                for number, text in enumerate(self._swapped("twins", goal, copies, rng)):
                    found.setdefault(text, replace(goal, id=f"{goal.id}.twin{number + 1}", text=text, benign=False, answer=""))
        return list(found.values())

    def _swapped(self, kind: str, goal: Goal, copies: int, rng: random.Random) -> list[str]:
        return self.swaps[kind].texts(goal.text, copies, rng) if kind in self.swaps else []


# --- reading the goals of a category ------------------------------------------------------------------------------------

KINDS = {"harmful": False, "look_alikes": True}


def category_goals(found: GoalSet, where: str, category: Mapping[str, Any]) -> list[Goal]:
    """The goals that stand in a category of a goals.yaml, checked.

    Raises:
        ConfigError: names the file, the category and the key.
    """
    goals: list[Goal] = []
    for kind, benign in KINDS.items():
        by_split = _by_split(where, kind, str(category["id"]), category.get(kind, []))
        for split, entries in by_split.items():
            for entry in entries:
                goals.append(
                    found.goal(entry, category=category["id"], benign=benign, split=split, unseen="train" not in by_split)
                )
    return goals


def _by_split(where: str, kind: str, category: str, value: Any) -> dict[str, list[dict[str, Any]]]:
    if isinstance(value, list):
        entries = [_entry(f"{where}: {kind}", kind, category, n, entry) for n, entry in enumerate(value, 1)]
        if len(entries) < 2:
            # One goal cannot be on both sides; it measures, because a fix without figures is worth nothing.
            return {"test": entries} if entries else {}
        side = split_of([entry["text"] for entry in entries])
        return {split: [e for e in entries if side[e["text"]] == split] for split in SPLITS}
    if not isinstance(value, dict) or not value or not set(value) <= set(SPLITS):
        raise ConfigError(f"{where}: key `{kind}` must be a list, or hold lists under train, test or both")
    number, found = 0, {}
    for split, entries in value.items():
        if not isinstance(entries, list):
            raise ConfigError(f"{where}: key `{kind}.{split}` is {entries!r}; it must be a list of goals")
        found[split] = [_entry(f"{where}: {kind}.{split}", kind, category, number + n, e) for n, e in enumerate(entries, 1)]
        number += len(entries)
    return found


def _entry(where: str, kind: str, category: str, number: int, entry: Any) -> dict[str, Any]:
    if isinstance(entry, str):
        entry = {"text": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("text"), str) or not entry["text"].strip():
        raise ConfigError(f"{where}: key `text` is missing or no text in {entry!r}")
    form = entry.get("form", FORMS[0])
    if form not in FORMS:
        raise ConfigError(f"{where}: key `form` is {form!r}; there are {', '.join(FORMS)}")
    return {"id": f"{category}-{'b' if KINDS[kind] else 'h'}{number:02}", **entry}


# --- plain lists of rows --------------------------------------------------------------------------------------------------

#: Columns as public sets call them, in lower case, the first one that a row has.
_TEXT = ("prompt", "goal", "text", "behavior", "forbidden_prompt", "instruction", "question")
_CATEGORY = ("category", "semanticcategory", "type")
_CONTEXT = ("context", "contextstring")
_HARMFUL, _HARMLESS = ("harmful", "unsafe", "1"), ("safe", "benign", "harmless", "0")


def row_goals(found: GoalSet, path: Path, rows: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """Goals from rows of a plain list; harmful where no `label` says otherwise, split by hash where no `split` does.

    Raises:
        ConfigError: names the file, the row and the column.
    """
    entries = [_row(path, number, row, found.form) for number, row in enumerate(rows, 1)]
    goals: list[Goal] = []
    for benign in (False, True):
        same = [entry for entry in entries if entry["benign"] == benign]
        for split in SPLITS if len(same) > 1 else ("test",):
            try:
                chosen = of_split(same, split, "text") if len(same) > 1 else same
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}") from None
            goals += [found.goal(entry, category=entry["category"], benign=benign, split=split) for entry in chosen]
    return goals


def _row(path: Path, number: int, row: Mapping[str, Any], form: Form) -> dict[str, Any]:
    lower = {str(key).strip().lower(): value for key, value in row.items()}
    text = next((lower[name] for name in _TEXT if isinstance(lower.get(name), str) and lower[name].strip()), None)
    if text is None:
        raise ConfigError(
            f"{path}: row {number} has no text; columns are {', '.join(map(str, row))}, wanted is one of {', '.join(_TEXT)}"
        )
    context = next((lower[name] for name in _CONTEXT if lower.get(name)), "")
    given = lower.get("label")
    label = _HARMFUL[0] if given in (None, "") else str(given).strip().lower()
    if label not in (*_HARMFUL, *_HARMLESS):
        raise ConfigError(f"{path}: row {number} has label {lower['label']!r}; there are harmful and safe")
    return {
        **lower,
        "id": str(lower.get("id") or lower.get("behaviorid") or f"{path.name.partition('.')[0]}-{number:04}"),
        "text": f"{context}\n\n{text.strip()}" if context else text.strip(),
        "category": str(next((lower[name] for name in _CATEGORY if lower.get(name)), "goals")),
        "benign": label in _HARMLESS,
        "form": cast(Form, lower.get("form") or form),
    }


def refuse_twice(path: Path, goals: Sequence[Goal]) -> None:
    """Rows are told apart by the goal's id.

    Raises:
        ConfigError: an id, or a text that must be declined here and answered there, stands there twice.
    """
    seen: dict[str, Goal] = {}
    texts: dict[str, Goal] = {}
    for goal in goals:
        if goal.id in seen:
            raise ConfigError(f"{path}: id {goal.id!r} is used twice; give each goal its own")
        other = texts.setdefault(goal.text, goal)
        if other.benign != goal.benign:
            raise ConfigError(f"{path}: {goal.text!r} is harmful as {other.id} and harmless as {goal.id}; take one of them out")
        seen[goal.id] = goal
