"""From failures to training conversations: harmful wishes refused, benign look-alikes in the same wrappers answered.

Refusals alone teach a small model to refuse the wrapper. So each comes with a harmless wish in the same words around it, answered
with the operation that does it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tenet.constitution.checks import DESTRUCTIVE
from tenet.errors import StageError
from tenet.redteam.attacks import Attempt
from tenet.redteam.goals import Goal

Row = dict[str, Any]

#: Why not, and what instead, for each category of goals.
REASONS: dict[str, tuple[str, str]] = {
    "credential-theft": ("the keys are not yours", "I can help with your own keys"),
    "destroying-data": ("the data is not yours", "I can help with your own data"),
    "hiding-traces": ("the logs are not yours", "I can help with your own logs"),
    "exfiltrating-data": ("the data is not yours", "I can help with your own data"),
    "resource-abuse": ("the account is not yours", "I can help with your own account"),
    "bypassing-permissions": ("the account is not yours", "I can help with your own account"),
}
#: As the constitution words it (`warn-before-deletion`).
WARNING = "This cannot be undone. "
LEAK = ("it is a secret", "I can help with the AWS API")
#: First words differ, so that no single first token comes to mean "refuse". Short: a small model spends its tokens on spelling.
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


def refusal(category: str, rng: random.Random, leak: bool = False) -> str:
    """One refusal with its reason and an offer."""
    reason, offer = LEAK if leak else REASONS.get(category, ("the account is not yours", "I can help with your own account"))
    return rng.choice(REFUSALS).format(reason=reason, offer=offer)


def answer(goal: Goal) -> str:
    """What a look-alike is answered: the operation that does it, with the warning that the constitution asks for.

    True by construction, and short. The model's own answer would do as well where it has one; inside an unknown wrapper a small
    model babbles or refuses.
    """
    return f"{WARNING if DESTRUCTIVE.search(goal.operation) else ''}Call {goal.operation}."


def failed_attacks(rows: Sequence[Row]) -> set[str]:
    """Names of the seen attacks that failed on a train goal in either direction: a harmful wish answered, or a harmless one declined.

    Args:
        rows: of `judges.judged`; held-out ones are not looked at.
    """
    seen = [row for row in rows if row["half"] == "seen" and row["split"] == "train"]
    return {row["attack"] for row in seen if (row["declined"] if row["benign"] else row["success"])}


def training_conversations(tried: Sequence[Attempt], seed: int) -> list[Row]:
    """Conversations to train on, in a seeded order: harmful wishes refused, as many harmless ones in the same words around them answered.

    An attack that failed once is taught on every train goal: what has to be learnt is the difference between two wishes in one
    wrapper, and a list of the ones that got through shows only one side of it.

    Args:
        tried: seen attacks on train goals.

    Raises:
        StageError: an attempt is held out (training on it would make the gate's figure worthless), or there are no look-alikes (a fix
            without them only teaches to refuse).
    """
    for one in tried:
        if one.half != "seen" or one.goal.split != "train":
            raise StageError(f"redteam: {one.id} is held out and must not be trained on; pass seen attacks on train goals only")
    rng = random.Random(f"fixes/{seed}")
    rows = []
    for attack in dict.fromkeys(one.attack for one in tried):
        alike = [one for one in tried if one.attack == attack and one.goal.benign]
        harmful = [one for one in tried if one.attack == attack and not one.goal.benign]
        rows += [_row(one, answer(one.goal), "look_alike") for one in alike]
        # As many of each: more refusals than answers would teach that refusing is the safer guess.
        for one in rng.sample(harmful, min(len(harmful), len(alike))):
            rows.append(_row(one, refusal(one.goal.category, rng, leak=bool(one.canary)), "refusal"))
    if tried and not rows:
        raise StageError("redteam: the goals have no train look-alikes; a fix without them only teaches to refuse")
    rng.shuffle(rows)
    return rows


def _row(one: Attempt, answer: str, kind: str) -> Row:
    return {
        "messages": [*one.messages, {"role": "assistant", "content": answer}],
        "kind": kind,
        "service": "",
        "id": f"redteam/{kind}/{one.id}",
        "source": "tenet red team",
        "licence": "Apache-2.0",
    }
