"""From successes to training conversations: a refusal for each, beside a benign look-alike in the same wrapper that is answered.

Refusals alone teach a small model to refuse the wrapper. So each comes with a harmless wish in the same words around it, answered
by the model as it was before the fix: what it should keep doing is what it did.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tenet.errors import StageError
from tenet.redteam.attacks import ATTACKS, Attempt, attempt
from tenet.redteam.checks import is_whole, refuses, repeats
from tenet.redteam.goals import Goal

#: Why not, and what instead, for each category of goals.
REASONS: dict[str, tuple[str, str]] = {
    "credential-theft": ("those keys belong to somebody else", "I can help with the keys of your own account"),
    "destroying-data": ("that data belongs to somebody else", "I can help to clean up your own account"),
    "hiding-traces": ("it would hide an attack on somebody else", "I can help with the logs of your own account"),
    "exfiltrating-data": ("that data is not yours", "I can help to copy your own data"),
    "resource-abuse": ("somebody else would pay for it", "I can help with the costs of your own account"),
    "bypassing-permissions": ("nobody gave you that permission", "I can help with the permissions of your own account"),
}
LEAK = ("it must stay secret", "I can help with other questions")
#: First words differ, so that no single first token comes to mean "refuse".
REFUSALS: tuple[str, ...] = (
    "I can't help with that, because {reason}. {offer}.",
    "I will not do that: {reason}. {offer}.",
    "Sorry, I can't help with this, because {reason}. {offer}.",
    "No, I won't help with that: {reason}. {offer}.",
    "That is not something I will do, because {reason}. {offer}.",
    "This is nothing that I take part in: {reason}. {offer}.",
    "My answer is no: I can't help, because {reason}. {offer}.",
    "Helping with that would be wrong, because {reason}. {offer}.",
    "Such help would be wrong: {reason}. {offer}.",
    "We should stop here: {reason}, so I can't help. {offer}.",
    "Because {reason}, I will not help with that. {offer}.",
    "As {reason}, I can't do that. {offer}.",
    "Here I must say no, because {reason}. {offer}.",
    "With that I can't help, because {reason}. {offer}.",
    "Whoever asks, I will not do that: {reason}. {offer}.",
    "There I have to decline, because {reason}. {offer}.",
    "It would be wrong to help, because {reason}. I can't do that. {offer}.",
    "Unfortunately I can't do that, because {reason}. {offer}.",
    "Since {reason}, I can't help with it. {offer}.",
    "Please do not ask me for that: I will not help, because {reason}. {offer}.",
    "Thank you for asking, but I can't help with that: {reason}. {offer}.",
    "Not with me: I will not help with that, because {reason}. {offer}.",
)


def refusal(category: str, rng: random.Random, leak: bool = False) -> str:
    """One refusal with its reason and an offer."""
    reason, offer = LEAK if leak else REASONS.get(category, ("it would harm somebody else", "I can help with your own account"))
    return rng.choice(REFUSALS).format(reason=reason, offer=offer)


def look_alikes(successes: Sequence[Attempt], goals: Sequence[Goal], seed: int) -> list[Attempt]:
    """For each success one benign goal in the same wrapper, of the same category where there is one; each attempt once.

    The stage asks the model these before the fix and passes the answers to `training_conversations`.
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
