"""Conversations made from the documentation of the AWS API, with answers that are true by construction.

Rows are split by service family, never by row: a test row is about a service that training has not seen. One row each:

    describe   "What does DeleteTable of Amazon DynamoDB do?"              -> "Deletes a table and all of its items."
    command    "Give the AWS CLI command that deletes a table. ..."       -> "aws dynamodb delete-table --table-name <table-name>"
    find       "Which operation of Amazon DynamoDB deletes a table?"      -> "DeleteTable"
    how_to     "How do I delete a table?"                                  -> "Call DeleteTable."
    tool       "Call DeleteTable with table name "orders"." + a schema    -> {"name": "DeleteTable", "arguments": {...}}
    turns      describe, then "What is the command for it?"
    identity   "Who are you?"                                              -> "I am Tenet, ..."
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tenet.domains.aws_api import phrases
from tenet.domains.aws_api.facts import (
    Row,
    ask,
    by_service,
    command_answer,
    describe_answer,
    goal_of,
    order_key,
    provenance,
    task_of,
)
from tenet.domains.aws_api.requests import callable_with_words, tool_request
from tenet.domains.aws_api.service_models import LICENCE, Operation, Split

#: Share of each kind among the instructions; tool calls need the most practice.
MIX = {"describe": 0.22, "command": 0.07, "find": 0.12, "how_to": 0.1, "tool": 0.41, "turns": 0.06, "identity": 0.02}


#: Kinds whose answer is one right string; descriptions can be right in many words.
EXACT = ("find", "command", "tool")


def _row(kind: str, operation: Operation, messages: list[Row], **more: Any) -> Row:
    return {
        "messages": messages,
        **more,
        "kind": kind,
        **({"exact": True} if kind in EXACT else {}),
        "id": f"{kind}/{operation.id}",
        **provenance(operation),
    }


def _exchange(question: str, answer: str) -> list[Row]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _describe(operation: Operation, pick: random.Random) -> list[Row]:
    answer = describe_answer(operation)
    return _exchange(ask(phrases.DESCRIBE, operation, pick), answer) if answer else []


def _command(operation: Operation, pick: random.Random) -> list[Row]:
    answer = command_answer(operation)
    # Half by task, half by name: a small model can copy the name, the task has to be understood.
    templates = phrases.COMMAND if task_of(operation) and pick.random() < 0.5 else phrases.COMMAND_OF
    return _exchange(ask(templates, operation, pick), answer) if answer else []


def _find(operation: Operation, pick: random.Random) -> list[Row]:
    return _exchange(ask(phrases.FIND, operation, pick), operation.name) if task_of(operation) else []


def _how_to(operation: Operation, pick: random.Random) -> list[Row]:
    return _exchange(ask(phrases.HOW_TO, operation, pick), f"Call {operation.name}.") if goal_of(operation) else []


def _turns(operation: Operation, pick: random.Random) -> list[Row]:
    first, answer = _describe(operation, pick), command_answer(operation)
    return first + _exchange(pick.choice(phrases.FOLLOW_UP), answer) if first and answer else []


_MAKERS: dict[str, Callable[[Operation, random.Random], list[Row]]] = {
    "describe": _describe,
    "command": _command,
    "find": _find,
    "how_to": _how_to,
    "turns": _turns,
}


def _identity_rows(split: Split) -> list[Row]:
    """Every question with every answer of its group; the last question of each group is asked only in the test."""
    rows = []
    for group, (questions, answers) in enumerate(phrases.IDENTITY):
        asked = {"train": questions[:-1], "valid": questions[-1:], "test": questions[-1:]}[split]
        for i, question in enumerate(asked):
            for j, answer in enumerate(answers[:1] if split != "train" else answers):
                row = {
                    "messages": _exchange(question, answer),
                    "kind": "identity",
                    "service": "",
                    "id": f"identity/{split}/{group}/{i}/{j}",
                }
                rows.append({**row, "source": "tenet", "licence": LICENCE})
    return rows


def _ambiguous(operations: Iterable[Operation]) -> set[str]:
    """Ids of operations whose first sentence another operation of the service has too: no question can tell them
    apart."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for operation in operations:
        groups[operation.service_title, operation.sentence.lower()].append(operation.id)
    return {name for names in groups.values() if len(names) > 1 for name in names}


def instruction_rows(operations: Sequence[Operation], split: Split, seed: int, most: int | None = None) -> list[Row]:
    """Conversations of every kind about the operations of one split, shuffled, in the proportions of `MIX`.

    Args:
        operations: of this split alone.
        split: which one, for the questions about the assistant itself.
        seed: of the shuffle.
        most: rows in all; None takes every row that can be made, 0 none.
    """
    ambiguous = _ambiguous(operations)
    clear = [operation for operation in operations if operation.id not in ambiguous]
    callable_ones = [operation for operation in operations if callable_with_words(operation)]
    siblings = by_service(callable_ones)

    def make(kind: str, operation: Operation) -> Row | None:
        pick = random.Random(f"{seed} {kind} {operation.id}")
        if kind == "tool":
            return _tool_row(operation, *tool_request(operation, siblings[operation.service], pick))
        messages = _MAKERS[kind](operation, pick)
        return _row(kind, operation, messages) if messages else None

    pools = {"describe": operations, "turns": operations, "command": clear, "find": clear, "how_to": clear, "tool": callable_ones}
    rows = sorted(_identity_rows(split), key=lambda row: order_key(seed, row["id"]))
    rows = rows if most is None else rows[: round(most * MIX["identity"])]
    for kind, pool in pools.items():
        made = (make(kind, operation) for operation in sorted(pool, key=lambda o: order_key(seed, f"{kind} {o.id}")))
        rows += itertools.islice((row for row in made if row is not None), None if most is None else round(most * MIX[kind]))
    return sorted(rows, key=lambda row: order_key(seed + 1, row["id"]))


def _tool_row(operation: Operation, question: str, tools: list[Row], arguments: dict[str, Any]) -> Row:
    call = {"type": "function", "function": {"name": operation.name, "arguments": arguments}}
    messages: list[Row] = [{"role": "user", "content": question}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    return _row("tool", operation, messages, tools=tools)
