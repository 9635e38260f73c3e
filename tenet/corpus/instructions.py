"""Conversations, preferences and verifiable requests, made from the documentation of the AWS API with answers that are true by construction.

Rows are split by service family, never by row: a test row is about a service that training has not seen. One row each:

    describe   "What does DeleteTable of Amazon DynamoDB do?"              -> "Deletes a table and all of its items."
    command    "Give the AWS CLI command that deletes a table. ..."       -> "aws dynamodb delete-table --table-name <table-name>"
    find       "Which operation of Amazon DynamoDB deletes a table?"      -> "DeleteTable"
    tool       "Call DeleteTable with table name 'orders'." + a schema    -> {"name": "DeleteTable", "arguments": {"TableName": "orders"}}
    turns      describe, then "What is the command for it?"
    identity   "Who are you?"                                              -> "I am Tenet, ..."
"""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from difflib import SequenceMatcher
from typing import Any

from tenet.corpus import phrases
from tenet.corpus.aws import LICENCE, SCALARS, Operation, Parameter, Split, example_value, split_of, version
from tenet.corpus.verify import verify_request

Row = dict[str, Any]
#: Answers are one or two sentences; a longer one would fill the context of a small model.
ANSWER = 240
#: Most required parameters of a command or a tool: tool schemas must stay near 150 tokens at a 2k vocabulary.
PARAMETERS = 3
#: Share of each kind among the instructions; tool calls need the most practice.
MIX = {"describe": 0.28, "command": 0.15, "find": 0.15, "tool": 0.32, "turns": 0.08, "identity": 0.02}
# "Deletes", "Creates"; not "This", "Access" and the like.
_THIRD_PERSON = re.compile(r"(?!(?:This|Its|Is|Was|Has|As|Always|Does|Access|Process|Pass|Various|Plus|Users|Customers)\b)[A-Z][a-z]+s\b")
_JSON_TYPES = {"integer": "integer", "long": "integer", "float": "number", "double": "number", "boolean": "boolean", "string": "string"}


def order_key(seed: int, text: str) -> bytes:
    """A fixed, seeded shuffle: sort by this."""
    return hashlib.sha256(f"{seed} {text}".encode()).digest()


def describe_answer(operation: Operation) -> str:
    """What the operation does in at most `ANSWER` characters, or "" where its documentation does not say it in so few."""
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


def command_answer(operation: Operation) -> str:
    """The command with its required options as placeholders, or "" above `PARAMETERS` of them."""
    from botocore import xform_name

    if len(operation.required) > PARAMETERS:
        return ""
    options = (xform_name(parameter.name, "-") for parameter in operation.required)
    return " ".join(["aws", operation.cli_service, operation.cli_command, *(f"--{option} <{option}>" for option in options)])


# --- tools -----------------------------------------------------------------------------------------------------------


def callable_with_words(operation: Operation) -> bool:
    """True where a request can be put into words: 1 to `PARAMETERS` required parameters, scalars or lists of strings, short."""

    def simple(parameter: Parameter) -> bool:
        scalar = parameter.type in SCALARS or (parameter.type == "list" and parameter.item == "string")
        return scalar and not (parameter.type == "string" and (parameter.low or 0) > 12) and max(map(len, parameter.enum), default=0) <= 24

    return 1 <= len(operation.required) <= PARAMETERS and all(map(simple, operation.required))


def tool_schema(operation: Operation) -> Row:
    """The operation as a tool: names and types of its required parameters, nothing else."""
    properties = {
        p.name: {"type": "array", "items": {"type": "string"}} if p.type == "list" else {"type": _JSON_TYPES[p.type]} for p in operation.required
    }
    parameters = {"type": "object", "properties": properties, "required": [p.name for p in operation.required]}
    return {"type": "function", "function": {"name": operation.name, "parameters": parameters}}


def in_words(arguments: dict[str, Any]) -> str:
    """`{"TableName": "orders"}` as "table name 'orders'"."""
    from botocore import xform_name

    def words(value: Any) -> str:
        if isinstance(value, list):
            return " and ".join(words(item) for item in value)
        return f"'{value}'" if isinstance(value, str) else str(value).lower()

    parts = [f"{xform_name(name, ' ')} {words(value)}" for name, value in arguments.items()]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def tool_request(operation: Operation, siblings: Sequence[Operation], pick: random.Random) -> tuple[str, list[Row], dict[str, Any]]:
    """A question in words, the tools that may be used, and the arguments that are right."""
    arguments = {p.name: example_value(p, pick) for p in operation.required}
    tools = [tool_schema(operation)]
    others = [other for other in siblings if other.name != operation.name]
    if others and pick.random() < 0.4:
        tools.insert(pick.randint(0, 1), tool_schema(pick.choice(others)))
    return pick.choice(phrases.CALL).format(operation=operation.name, values=in_words(arguments)), tools, arguments


# --- conversations ---------------------------------------------------------------------------------------------------


def _row(kind: str, operation: Operation, messages: list[Row], number: int = 0, **more: Any) -> Row:
    return {
        "messages": messages,
        **more,
        "kind": kind,
        "service": operation.service,
        "id": f"{kind}/{operation.id}" + (f"/{number}" if number else ""),
        "source": f"botocore {version()}",
        "licence": LICENCE,
    }


def _exchange(question: str, answer: str) -> list[Row]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _ask(templates: Sequence[str], operation: Operation, pick: random.Random) -> str:
    return pick.choice(templates).format(operation=operation.name, title=operation.service_title, task=task_of(operation))


def _describe(operation: Operation, pick: random.Random) -> list[Row]:
    answer = describe_answer(operation)
    return _exchange(_ask(phrases.DESCRIBE, operation, pick), answer) if answer else []


def _command(operation: Operation, pick: random.Random) -> list[Row]:
    answer = command_answer(operation)
    # Half by task, half by name: a small model can copy the name, the task has to be understood.
    templates = phrases.COMMAND if task_of(operation) and pick.random() < 0.5 else phrases.COMMAND_OF
    return _exchange(_ask(templates, operation, pick), answer) if answer else []


def _find(operation: Operation, pick: random.Random) -> list[Row]:
    return _exchange(_ask(phrases.FIND, operation, pick), operation.name) if task_of(operation) else []


def _turns(operation: Operation, pick: random.Random) -> list[Row]:
    first, answer = _describe(operation, pick), command_answer(operation)
    return [*first, *_exchange(pick.choice(phrases.FOLLOW_UP), answer)] if first and answer else []


_MAKERS: dict[str, Callable[[Operation, random.Random], list[Row]]] = {
    "describe": _describe,
    "command": _command,
    "find": _find,
    "turns": _turns,
}


def _identity_rows(split: Split) -> list[Row]:
    """Every question with every answer of its group; the last question of each group is asked only in the test."""
    rows = []
    for group, (questions, answers) in enumerate(phrases.IDENTITY):
        asked = {"train": questions[:-1], "valid": questions[-1:], "test": questions[-1:]}[split]
        for i, question in enumerate(asked):
            for j, answer in enumerate(answers[:1] if split != "train" else answers):
                row = {"messages": _exchange(question, answer), "kind": "identity", "service": "", "id": f"identity/{split}/{group}/{i}/{j}"}
                rows.append({**row, "source": "tenet", "licence": "Apache-2.0"})
    return rows


def _ambiguous(operations: Iterable[Operation]) -> set[str]:
    """Ids of operations whose first sentence another operation of the service has too: no question can tell them apart."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for operation in operations:
        groups[operation.service_title, operation.sentence.lower()].append(operation.id)
    return {name for names in groups.values() if len(names) > 1 for name in names}


def of_split(operations: Iterable[Operation], split: Split, heldout: tuple[float, float]) -> list[Operation]:
    """Operations of the services of one split."""
    return [operation for operation in operations if split_of(operation.service, heldout) == split]


def _by_service(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    services: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        services[operation.service].append(operation)
    return services


def instruction_rows(operations: Sequence[Operation], split: Split, seed: int, most: int = 0) -> list[Row]:
    """Conversations of every kind about the operations of one split, shuffled, in the proportions of `MIX`.

    Args:
        operations: of this split alone.
        split: which one, for the questions about the assistant itself.
        seed: of the shuffle.
        most: rows in all; 0 takes as many as the rarest kind allows for its share.
    """
    ambiguous = _ambiguous(operations)
    clear = [operation for operation in operations if operation.id not in ambiguous]
    callable_ones = [operation for operation in operations if callable_with_words(operation)]
    siblings = _by_service(callable_ones)

    def make(kind: str, operation: Operation) -> Row | None:
        pick = random.Random(f"{seed} {kind} {operation.id}")
        if kind == "tool":
            return _tool_row(operation, *tool_request(operation, siblings[operation.service], pick))
        messages = _MAKERS[kind](operation, pick)
        return _row(kind, operation, messages) if messages else None

    pools = {"describe": operations, "turns": operations, "command": clear, "find": clear, "tool": callable_ones}
    rows = sorted(_identity_rows(split), key=lambda row: order_key(seed, row["id"]))
    rows = rows[: round(most * MIX["identity"]) or None] if most else rows
    for kind, pool in pools.items():
        made = (make(kind, operation) for operation in sorted(pool, key=lambda o: order_key(seed, f"{kind} {o.id}")))
        rows += itertools.islice((row for row in made if row), round(most * MIX[kind]) if most else None)
    return sorted(rows, key=lambda row: order_key(seed + 1, row["id"]))


def _tool_row(operation: Operation, question: str, tools: list[Row], arguments: dict[str, Any]) -> Row:
    call = {"type": "function", "function": {"name": operation.name, "arguments": arguments}}
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    return _row("tool", operation, messages, tools=tools)


# --- preferences -----------------------------------------------------------------------------------------------------


def _words(name: str) -> set[str]:
    return set(re.findall(r"[A-Z][a-z]+|[A-Z]+(?![a-z])|[a-z]+", name))


def _closest(operation: Operation, candidates: Sequence[Operation]) -> Operation:
    """The sibling with the most similar name: words in common first, then letters in common."""
    own = _words(operation.name)
    shortlist = sorted(candidates, key=lambda o: (-len(own & _words(o.name)) / max(len(own | _words(o.name)), 1), o.name))[:5]
    return max(shortlist, key=lambda o: (SequenceMatcher(None, operation.name, o.name).ratio(), o.name))


def preference_rows(operations: Sequence[Operation], seed: int, most: int = 0) -> list[Row]:
    """Pairs: an operation's own description against one of the same service that describes something else.

    A coin says whether the wrong answer must be the longer or the shorter one, and the two outcomes are trimmed to the same
    number of rows, so that length alone is right half of the time.
    """
    longer: list[Row] = []
    shorter: list[Row] = []
    answers = {o.id: answer for o in operations if (answer := describe_answer(o))}
    usable = sorted((o for o in operations if o.id in answers), key=lambda o: order_key(seed, o.id))
    siblings = _by_service(sorted(usable, key=lambda o: o.id))
    for operation in usable:
        if most and min(len(longer), len(shorter)) >= (most + 1) // 2:
            break
        pick = random.Random(f"{seed} preference {operation.id}")
        chosen_longer, kind = pick.random() < 0.5, pick.choice(("closest", "random"))
        answer = answers[operation.id]
        candidates = [
            other for other in siblings[operation.service]
            if len(answers[other.id]) != len(answer) and (len(answers[other.id]) < len(answer)) == chosen_longer
        ]  # fmt: skip
        if candidates:
            other = _closest(operation, candidates) if kind == "closest" else pick.choice(candidates)
            (longer if chosen_longer else shorter).append(_preference(operation, other, kind, pick))
    half = min(len(longer), len(shorter), (most + 1) // 2 if most else len(longer))
    rows = sorted(longer[:half] + shorter[:half], key=lambda row: order_key(seed + 2, row["id"]))
    return rows[:most] if most else rows


def _preference(operation: Operation, other: Operation, kind: str, pick: random.Random) -> Row:
    return {
        "prompt": [{"role": "user", "content": _ask(phrases.DESCRIBE, operation, pick)}],
        "chosen": [{"role": "assistant", "content": describe_answer(operation)}],
        "rejected": [{"role": "assistant", "content": describe_answer(other)}],
        "kind": kind,
        "service": operation.service,
        "id": f"preference/{operation.id}",
        "source": f"botocore {version()}",
        "licence": LICENCE,
    }


# --- verifiable requests ---------------------------------------------------------------------------------------------


def request_rows(operations: Sequence[Operation], seed: int, most: int = 0) -> list[Row]:
    """Prompts whose answer botocore's validator can judge, with the arguments that were asked for."""
    usable = [operation for operation in operations if callable_with_words(operation)]
    siblings = _by_service(usable)
    rows: list[Row] = []
    for operation in sorted(usable, key=lambda o: order_key(seed, f"request {o.id}")):
        if most and len(rows) == most:
            break
        pick = random.Random(f"{seed} request {operation.id}")
        question, tools, arguments = tool_request(operation, siblings[operation.service], pick)
        # A row that its own verifier refuses would teach the model that nothing is right.
        if not verify_request(operation.service, operation.name, arguments, arguments):
            rows.append(_request(operation, question, tools, arguments))
    return rows


def _request(operation: Operation, question: str, tools: list[Row], arguments: dict[str, Any]) -> Row:
    return {
        "prompt": [{"role": "user", "content": question}],
        "tools": tools,
        "verifier": "botocore",
        "service": operation.service,
        "operation": operation.name,
        "expected": arguments,
        "kind": "request",
        "id": f"request/{operation.id}",
        "source": f"botocore {version()}",
        "licence": LICENCE,
    }
