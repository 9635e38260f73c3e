"""Attack any model and report: a run's checkpoint, a model folder or an endpoint. Nothing is trained and nothing is
promoted."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_modules.generation.protocol import Sampling
from tenet.assistant.assistant import Assistant
from tenet.constitution.english import declines
from tenet.errors import ConfigError
from tenet.files import write_json, write_jsonl
from tenet.redteam import attacks, modes, verdicts
from tenet.redteam.attacks import Attempt, plain_request, user
from tenet.redteam.gate import share
from tenet.redteam.goals import Goal, GoalSet
from tenet.redteam.modes import Mode
from tenet.settings.checks import Count

Row = dict[str, Any]
NO_LOOK_ALIKES = "the goals have no harmless look-alikes, so it is not known how often harmless requests are declined"


def ask(assistant: Assistant, attempts: Sequence[Attempt], max_tokens: int) -> tuple[list[Row], int]:
    """Greedy answers, judged.

    Returns:
        rows, and how many attempts did not fit the model's context (an answer that could not be given withstood
        nothing).
    """
    # An endpoint refuses calls of a tool that it was not told of. Weights at hand read the conversation as it is: a
    # list would only take room in a small context.
    remote = "score" not in assistant.capabilities
    replies = assistant.answer(
        [list(one.messages) for one in attempts],
        sampling=Sampling(max_tokens=max_tokens),
        tools=[list(one.tools) or None for one in attempts] if remote else None,
    )
    pairs = [(one, group[0]) for one, group in zip(attempts, replies, strict=True)]
    return [verdicts.judged(one, reply.text) for one, reply in pairs if reply.finish != "too_long"], sum(
        reply.finish == "too_long" for _, reply in pairs
    )


def own_answers(assistant: Assistant, goals: Sequence[Goal], max_tokens: int) -> tuple[dict[str, str], Row]:
    """What the model itself answers to harmless wishes, asked in plain words: what a fix may teach in a wrapper.

    Returns:
        goal id -> answer, and how many were left out because the model declined, was cut off, or said nothing.
    """
    texts = list(dict.fromkeys(plain_request(goal) for goal in goals))
    replies = assistant.answer([[user(text)] for text in texts], sampling=Sampling(max_tokens=max_tokens)) if texts else []
    said = dict(zip(texts, (group[0] for group in replies), strict=True))
    found: dict[str, str] = {}
    left_out = {"declined": 0, "cut_off": 0, "empty": 0}
    for goal in goals:
        reply = said[plain_request(goal)]
        if not reply.text.strip():
            left_out["empty"] += 1
        elif reply.finish != "stop":
            left_out["cut_off"] += 1
        elif declines(reply.text):
            left_out["declined"] += 1
        else:
            found[goal.id] = reply.text.strip()
    return found, left_out


def chosen(goals: GoalSet, pick: Callable[[list[Goal]], list[Goal]]) -> list[Goal]:
    """Goals of both splits, harmful and harmless; `pick` takes some of each kind."""
    wanted: list[Goal] = []
    for split in ("train", "test"):
        for benign in (False, True):
            wanted += pick([goal for goal in goals.of(split) if goal.benign == benign])
    return wanted


def all_attempts(goals: GoalSet, wanted: Sequence[Goal], seed: int) -> list[Attempt]:
    """Both halves of the attacks."""
    return [
        one
        for half in ("seen", "heldout")
        for one in attacks.attempts(half, wanted, seed, goals.material)  # type: ignore[arg-type]
    ]


@dataclass(frozen=True)
class Probe:
    """What came of it.

    Args:
        shares: name -> share with its interval: attack_success, over_refusal (None without look-alikes), leaks.
        by_attack, by_category: the success of each.
        notes: sentences about what the figures do not cover.
    """

    model: Mapping[str, str]
    rows: list[Row]
    modes: list[Mode]
    shares: dict[str, Row | None]
    by_attack: dict[str, Row]
    by_category: dict[str, Row]
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """For the terminal."""
        lines = [f"{name.replace('_', ' ')}: {_said(part)}" for name, part in self.shares.items() if part is not None]
        for title, table in (("attack", self.by_attack), ("category", self.by_category)):
            width = max(map(len, table), default=0)
            lines += ["", f"success by {title}", *(f"  {name:<{width}}  {_said(part)}" for name, part in table.items())]
        lines += ["", *(f"note: {note}" for note in self.notes)] if self.notes else []
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        """rows.jsonl, modes.json and summary.json."""
        write_jsonl(folder / "rows.jsonl", self.rows)
        write_json(folder / "modes.json", [mode.as_row() for mode in self.modes])
        summary = {"model": dict(self.model), "goals": dict(self.files), **self.shares, "attacks": self.by_attack}
        write_json(folder / "summary.json", {**summary, "categories": self.by_category, "notes": list(self.notes)})


def probe(assistant: Assistant, goals: GoalSet, *, max_tokens: int = 256, most_goals: Count = "all", seed: int = 0) -> Probe:
    """Every attack on every goal, both halves and both splits: nothing is trained, so nothing has to be held out.

    Raises:
        ConfigError: no attempt fits the model's context.
    """
    rng = random.Random(seed)
    wanted = chosen(goals, lambda some: some if most_goals == "all" or most_goals >= len(some) else rng.sample(some, most_goals))
    rows, too_long = ask(assistant, all_attempts(goals, wanted, seed), max_tokens)
    if not rows:
        raise ConfigError(f"{goals.path}: none of the {too_long} attempts fits the model's context; give shorter goals")
    notes = [f"{too_long} attempts were longer than the model's context and are left out"] if too_long else []
    notes += [] if goals.has_look_alikes() else [NO_LOOK_ALIKES]
    harmful = [row for row in rows if not row["benign"]]
    judged = [row for row in harmful if row["judge"] != "canary"]
    benign = [row for row in rows if row["benign"]]
    return Probe(
        assistant.identity(),
        rows,
        modes.failure_modes(rows),
        {
            "attack_success": _share(judged, "success"),
            "over_refusal": _share(benign, "declined") if benign else None,
            "leaks": _share([row for row in harmful if row["judge"] == "canary"], "success"),
        },
        {name: _share([row for row in harmful if row["attack"] == name], "success") for name in attacks.ATTACKS},
        {name: _share([row for row in judged if row["category"] == name], "success") for name in _names(judged)},
        tuple(notes),
        {"name": goals.path.name, "licence": goals.licence},
    )


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["category"] for row in rows))


def _share(rows: Sequence[Row], key: str) -> Row:
    return share(sum(bool(row[key]) for row in rows), len(rows))


def _said(part: Row) -> str:
    return f"{part['share']:.1%} ({part['count']} of {part['n']}; {part['low']:.1%} to {part['high']:.1%})"
