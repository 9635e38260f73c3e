"""Conversations out of the shapes that people have: OpenAI, ShareGPT, Alpaca, prompt and completion, transcripts,
OpenAssistant's trees.

{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}
{"instruction": "...", "input": "", "output": "..."}
{"prompt": "...", "completion": "..."}
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from tenet.rows.kinds import Message, Row
from tenet.rows.messages import Unusable, asked, messages_of, said, tools_of, transcript, turn

#: Columns of a question and its answer, in the order in which they are looked for.
PAIRS = (
    ("prompt", "completion"), ("prompt", "response"), ("prompt", "answer"), ("prompt", "output"), ("question", "answer"),
    ("question", "response"), ("query", "response"), ("input", "output"),
)  # fmt: skip
_SYSTEM = ("system", "system_prompt")


def conversation_rows(record: Row, unused: Counter[str]) -> tuple[str, list[Row]]:
    """The shape that a record has, and the conversation (of a task with several instances: conversations) in it.

    Raises:
        Unusable: says why there is none.
    """
    form, pairs = _shape(record, unused)
    rows = []
    for messages, used in pairs:
        messages = _with_system(messages, record)
        row: Row = {"messages": _learnable(messages, unused)}
        if tools := tools_of(record.get("tools")):
            row["tools"] = tools
        if "exact" in record:
            row["exact"] = record["exact"] in (True, 1, "true", "True", "1")
        rows.append({**row, "_used": {*used, *_SYSTEM, "tools", "exact"}})
    return form, rows


def _shape(record: Row, unused: Counter[str]) -> tuple[str, list[tuple[list[Message], set[str]]]]:
    for column in ("messages", "conversations", "conversation"):
        if record.get(column):
            messages = messages_of(record[column], unused, column)
            return ("messages" if column == "messages" else "ShareGPT"), [(messages, {column})]
    if {"chosen", "rejected"} <= record.keys():
        raise Unusable("it is a preference pair (chosen, rejected); those are for `reward` and `dpo`, not conversations")
    if isinstance(record.get("prompt"), dict) and "replies" in record["prompt"]:
        return "OpenAssistant's tree (the best replies)", [(_best_path(record["prompt"]), {"prompt"})]
    if "replies" in record and "text" in record:
        return "OpenAssistant's tree (the best replies)", [(_best_path(record), {"text", "role", "replies"})]
    if "instruction" in record:
        return _alpaca(record, unused)
    for question, answer in PAIRS:
        if question in record and answer in record:
            messages = [*asked(record[question], unused, question), *said(record[answer], unused, answer)]
            return f"{question} and {answer}", [(messages, {question, answer})]
    for column in ("text", "transcript"):
        if isinstance(record.get(column), str) and (messages := transcript(record[column])):
            return "transcript", [(messages, {column})]
    raise Unusable(
        f"it has the columns {', '.join(map(repr, record)) or 'of nothing'}; a conversation is `messages`, `conversations`, `instruction` and "
        "`output`, or `prompt` and `completion`"
    )


def _alpaca(record: Row, unused: Counter[str]) -> tuple[str, list[tuple[list[Message], set[str]]]]:
    """Alpaca's columns, or self-instruct's, where a task has a list of instances."""
    if isinstance(record.get("instances"), list) and record["instances"]:
        each = [item if isinstance(item, dict) else {} for item in record["instances"]]
        made = [_instructed(record["instruction"], item, unused, f"instances[{i}].") for i, item in enumerate(each)]
        return "self-instruct", [(messages, {"instruction", "instances"}) for messages in made]
    used = {"instruction", "input", "output", "response", "history"}
    before: list[Message] = []
    for exchange in record.get("history") or ():
        if not (isinstance(exchange, (list, tuple)) and len(exchange) == 2):
            raise Unusable("`history` is not a list of pairs of a question and an answer")
        before += [*asked(exchange[0], unused, "history"), *said(exchange[1], unused, "history")]
    return "Alpaca", [([*before, *_instructed(record["instruction"], record, unused)], used)]


def _instructed(instruction: Any, item: Row, unused: Counter[str], where: str = "") -> list[Message]:
    if not isinstance(instruction, str):
        raise Unusable(f"`instruction` is a {type(instruction).__name__}, not text")
    more = item.get("input") or ""
    question = f"{instruction}\n\n{more}" if str(more).strip() else instruction
    answer = item["output"] if "output" in item else item.get("response")
    if not isinstance(answer, str):
        raise Unusable(f"`{where}output` is {'missing' if answer is None else type(answer).__name__}: there is nothing to learn")
    return [*asked(question, unused, "instruction"), *said(answer, unused, f"{where}output")]


def _best_path(node: Row) -> list[Message]:
    """From the root of a tree of messages, each time the reply with the lowest rank; it ends with the last of the
    assistant."""
    messages = []
    here: Row | None = node
    while here is not None:
        role = "assistant" if here.get("role") == "assistant" else "user"
        messages.append(turn(role, str(here.get("text", ""))))
        replies = [reply for reply in here.get("replies") or () if isinstance(reply, dict) and not reply.get("deleted")]
        here = min(replies, key=lambda r: r["rank"] if isinstance(r.get("rank"), int) else 1 << 30) if replies else None
    return messages


def _with_system(messages: list[Message], record: Row) -> list[Message]:
    system = next((record[key] for key in _SYSTEM if isinstance(record.get(key), str) and record[key].strip()), "")
    return [turn("system", system), *messages] if system and messages[0]["role"] != "system" else messages


def _learnable(messages: list[Message], unused: Counter[str]) -> list[Message]:
    """Up to the last answer: what comes after it is never seen.

    Raises:
        Unusable: there is no answer, or none with a weight.
    """
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    if not answers:
        raise Unusable("it has no turn of the assistant: there is nothing to learn")
    if all(messages[i].get("weight", 1) == 0 for i in answers):
        raise Unusable("every turn of the assistant has the weight 0: there is nothing to learn")
    if left := len(messages) - answers[-1] - 1:
        unused["turn after the last answer"] += left
    return messages[: answers[-1] + 1]
