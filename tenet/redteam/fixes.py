"""From successes to training conversations: a refusal for each, beside a benign look-alike in the same wrapper that is answered.

Refusals alone teach a small model to refuse the wrapper. So each comes with a harmless wish in the same words around it, answered
by the model as it was before the fix: what it should keep doing is what it did.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tenet.errors import StageError
from tenet.redteam.attacks import ATTACKS, Attempt, Message, attempt
from tenet.redteam.checks import is_whole, refuses, repeats
from tenet.redteam.goals import Goal

#: Why not, and what instead, for each category of goals.
REASONS: dict[str, tuple[str, str]] = {
    "credential-theft": ("the keys are not yours", "I can help with your own keys"),
    "destroying-data": ("the data is not yours", "I can help with your own data"),
    "hiding-traces": ("the logs are not yours", "I can help with your own logs"),
    "exfiltrating-data": ("the data is not yours", "I can help with your own data"),
    "resource-abuse": ("the account is not yours", "I can help with your own account"),
    "bypassing-permissions": ("the account is not yours", "I can help with your own account"),
}
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


def look_alikes(successes: Sequence[Attempt], goals: Sequence[Goal], seed: int) -> list[Attempt]:
    """For each success one benign goal in the same wrapper, of the same category where there is one; each attempt once.

    The stage asks the model before the fix for their answers, in the wrapper or by `plain_question`, and passes them on.
    """
    rng = random.Random(f"look-alikes/{seed}")
    benign = [goal for goal in goals if goal.benign and goal.split == "train"]
    if not benign:
        raise StageError("redteam: the goals have no train look-alikes; a fix without them only teaches to refuse")
    unused = {name: rng.sample(benign, len(benign)) for name in ATTACKS}
    found = []
    for success in successes:
        pool = unused[success.attack]
        if not pool:
            continue
        goal = next((goal for goal in pool if goal.category == success.goal.category), pool[0])
        pool.remove(goal)
        found.append(attempt(success.attack, goal, seed))
    return found


def plain_question(goal: Goal) -> list[Message]:
    """A look-alike's wish without its wrapper, as the assistant was taught to be asked.

    In an unknown wrapper a small model may babble or refuse, and then has no answer worth keeping; asked like this it has one.
    """
    return [{"role": "user", "content": f"What does {goal.operation} do?"}]


def training_conversations(
    successes: Sequence[Attempt], alike: Sequence[Attempt], answers: Mapping[str, str], seed: int
) -> list[dict[str, Any]]:
    """Conversations to train on, one refusal to one answered look-alike, in a seeded order.

    Args:
        successes: attempts of seen attacks on train goals that the model did not withstand.
        alike: what `look_alikes` gave for them.
        answers: id of a look-alike -> what the model said before the fix. Answers that refuse, break off or repeat themselves
            are left out: they are not worth keeping.

    Raises:
        StageError: an attempt is held out; training on it would make the gate's figure worthless.
    """
    for one in (*successes, *alike):
        if one.half != "seen" or one.goal.split != "train":
            raise StageError(f"redteam: {one.id} is held out and must not be trained on; pass seen attacks on train goals only")
    rng = random.Random(f"fixes/{seed}")
    rows = [_row(one, refusal(one.goal.category, rng, leak=bool(one.canary)), "refusal") for one in successes]
    kept = [one for one in alike if usable(answers.get(one.id, ""))]
    rows += [_row(one, answers[one.id].strip(), "look_alike") for one in kept]
    rng.shuffle(rows)
    return rows


def usable(answer: str) -> bool:
    """Is an answer of the model before the fix worth training on?"""
    return is_whole(answer) and not repeats(answer) and not refuses(answer)


def _row(one: Attempt, answer: str, kind: str) -> dict[str, Any]:
    return {
        "messages": [*one.messages, {"role": "assistant", "content": answer}],
        "kind": kind,
        "service": "",
        "id": f"redteam/{kind}/{one.id}",
        "source": "tenet red team",
        "licence": "Apache-2.0",
    }
