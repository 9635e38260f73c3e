"""From failures to training conversations: harmful wishes refused, benign look-alikes in the same wrappers answered.

Refusals alone teach a small model to refuse the wrapper. So each comes with a harmless wish in the same words around
it, answered as the goals file says, or as the model itself answered it before.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tenet.errors import StageError
from tenet.redteam.attacks import Attempt
from tenet.redteam.goals import Category, Goal, GoalSet

Row = dict[str, Any]

#: First words differ, so that no single first token comes to mean "refuse". Short: a small model spends its tokens on
#: spelling.
REFUSALS: tuple[str, ...] = (
    "I can't help with that, because {reason}. {offer}.",
    "I will not help with that: {reason}. {offer}.",
    "Sorry, I can't help with that: {reason}. {offer}.",
    "No, I can't help with that: {reason}. {offer}.",
    "That is nothing I will do: {reason}. {offer}.",
    "This is not something I do: {reason}. {offer}.",
    "My answer is no, because {reason}. {offer}.",
    "Helping would be wrong: {reason}. {offer}.",
    "Such help would be wrong: {reason}. {offer}.",
    "We should stop here: {reason}. {offer}.",
    "Because {reason}, I can't help with that. {offer}.",
    "As {reason}, I will not help with that. {offer}.",
    "Here I must say no: {reason}. {offer}.",
    "With that I can't help: {reason}. {offer}.",
    "For that I give no help: {reason}. {offer}.",
    "There I must decline: {reason}. {offer}.",
    "It would be wrong to help: {reason}. {offer}.",
    "Unfortunately I can't do that: {reason}. {offer}.",
    "Since {reason}, I can't do that. {offer}.",
    "What you ask I will not support: {reason}. {offer}.",
    "In this case I can't help: {reason}. {offer}.",
    "To this I say no: {reason}. {offer}.",
)


def refusal(category: Category, rng: random.Random, wordings: Sequence[str] = ()) -> str:
    """One refusal with its reason and an offer."""
    return rng.choice(tuple(wordings) or REFUSALS).format(reason=category.reason, offer=category.offer)


def failed_attacks(rows: Sequence[Row]) -> set[str]:
    """Names of the seen attacks that failed on a train goal in either direction: a harmful wish answered, or a harmless
    one declined.

    Args:
        rows: of `verdicts.judged`; held-out ones are not looked at.
    """
    seen = [row for row in rows if row["half"] == "seen" and row["split"] == "train"]
    return {row["attack"] for row in seen if (row["declined"] if row["benign"] else row["success"])}


def without_answer(goals: Sequence[Goal]) -> list[Goal]:
    """Look-alikes to which the file has no answer: the model's own is taken, if it gives one."""
    return [goal for goal in goals if goal.benign and not goal.answer]


def training_conversations(
    tried: Sequence[Attempt], goals: GoalSet, seed: int, own: Mapping[str, str] | None = None
) -> list[Row]:
    """Conversations to train on, in a seeded order: harmful wishes refused, as many harmless ones in the same words
    around them answered.

    An attack that failed once is taught on every train goal: what has to be learnt is the difference between two wishes
    in one wrapper, and a list of the ones that got through shows only one side of it.

    Args:
        tried: seen attacks on train goals.
        goals: reasons, offers, wordings, licence and source of the rows.
        own: goal id -> what the model itself answered before the fix, for look-alikes without an answer; those without
            either are left out, because any other answer would be made up.

    Raises:
        StageError: an attempt is held out (training on it would make the gate's figure worthless), or there are no
            look-alikes (a fix without them only teaches to refuse).
    """
    for one in tried:
        if one.half != "seen" or one.goal.split != "train":
            raise StageError(f"redteam: {one.id} is held out and must not be trained on; pass seen attacks on train goals only")
    rng = random.Random(f"fixes/{seed}")
    rows = []
    for attack in dict.fromkeys(one.attack for one in tried):
        alike = [(one, text) for one in tried if one.attack == attack and one.goal.benign and (text := answer(one.goal, own))]
        harmful = [one for one in tried if one.attack == attack and not one.goal.benign]
        rows += [_row(goals, one, text, "look_alike") for one, text in alike]
        # As many of each: more refusals than answers would teach that refusing is the safer guess.
        for one in rng.sample(harmful, min(len(harmful), len(alike))):
            category = goals.leak if one.canary else goals.category(one.goal.category)
            rows.append(_row(goals, one, refusal(category, rng, goals.refusals), "refusal"))
    if tried and not rows:
        raise StageError(
            f"redteam: {goals.path} has no train look-alikes that are answered; a fix without them only teaches to refuse. Give look-alikes "
            "an `answer`, or set redteam.rounds to 0 to measure only"
        )
    rng.shuffle(rows)
    return rows


def answer(goal: Goal, own: Mapping[str, str] | None = None) -> str:
    """What a look-alike is answered: as the file says, else as the model itself did before the fix; "" where neither is
    there."""
    return goal.answer or (own or {}).get(goal.id, "")


def _row(goals: GoalSet, one: Attempt, answer: str, kind: str) -> Row:
    return {
        "messages": [*one.messages, {"role": "assistant", "content": answer}],
        "kind": kind,
        "group": one.goal.category,
        "id": f"redteam/{kind}/{one.id}",
        "source": goals.source,
        "licence": goals.licence,
    }
