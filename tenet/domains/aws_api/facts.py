"""What the documentation says about an operation, in the words that questions and answers use.

Where the documentation does not say it in a form that can be used, the answer is "" and the caller leaves the operation
out.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from tenet.corpus.split import order_key as order_key
from tenet.domains.aws_api.service_models import LICENCE, Operation, Split, split_of, version

Row = dict[str, Any]
#: Answers are one or two sentences; a longer one would fill the context of a small model.
ANSWER = 240
#: Most required parameters of a command or a tool: tool schemas must stay near 150 tokens at a 2k vocabulary.
PARAMETERS = 3
# "Deletes", "Creates"; not "This", "Access" and the like.
_THIRD_PERSON = re.compile(
    r"(?!(?:This|Its|Is|Was|Has|As|Always|Does|Access|Process|Pass|Various|Plus|Users|Customers)\b)[A-Z][a-z]+s\b"
)


def describe_answer(operation: Operation) -> str:
    """What the operation does in at most `ANSWER` characters, or "" where its documentation does not say it in so
    few."""
    sentence = operation.sentence
    if not 20 <= len(sentence) <= ANSWER or "..." in sentence or not sentence[0].isupper():
        return ""
    return sentence if sentence.endswith((".", "!", "?")) else sentence + "."


def task_of(operation: Operation) -> str:
    """The first sentence as "deletes a table", or "" where it is not a short sentence that begins with a verb."""
    sentence = describe_answer(operation).rstrip(".")
    if not sentence or len(sentence) > 140 or not _THIRD_PERSON.match(sentence) or "?" in sentence or ". " in sentence:
        return ""
    return sentence[0].lower() + sentence[1:]


def goal_of(operation: Operation) -> str:
    """The task as somebody would want it, "delete a table", or "" where there is no task of at most 60 characters."""
    verb, _, rest = task_of(operation).partition(" ")
    goal = f"{_infinitive(verb)} {rest}"
    return goal if rest and len(goal) <= 60 else ""


def _infinitive(verb: str) -> str:
    """ "deletes" to "delete", "applies" to "apply", "publishes" to "publish"."""
    if verb.endswith("ies"):
        return verb[:-3] + "y"
    return verb[:-2] if verb.endswith(("sses", "shes", "ches", "xes", "zzes")) else verb[:-1]


def command_answer(operation: Operation) -> str:
    """The command with its required options as placeholders, or "" above `PARAMETERS` of them."""
    from botocore import xform_name

    if len(operation.required) > PARAMETERS:
        return ""
    options = (xform_name(parameter.name, "-") for parameter in operation.required)
    return " ".join(["aws", operation.cli_service, operation.cli_command, *(f"--{option} <{option}>" for option in options)])


def ask(templates: Sequence[str], operation: Operation, pick: random.Random) -> str:
    """A question about an operation, in one of several wordings."""
    return pick.choice(templates).format(
        operation=operation.name, title=operation.service_title, task=task_of(operation), goal=goal_of(operation)
    )


def provenance(operation: Operation) -> Row:
    """Where a row about an operation comes from; part of every row."""
    return {"service": operation.service, "source": f"botocore {version()}", "licence": LICENCE}


def of_split(operations: Iterable[Operation], split: Split, heldout: tuple[float, float]) -> list[Operation]:
    """Operations of the services of one split."""
    return [operation for operation in operations if split_of(operation.service, heldout) == split]


def by_service(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    """Operations by the service they belong to, in the order of their names."""
    services: dict[str, list[Operation]] = defaultdict(list)
    for operation in sorted(operations, key=lambda operation: operation.id):
        services[operation.service].append(operation)
    return services
