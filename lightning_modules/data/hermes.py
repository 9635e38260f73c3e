"""Tools for chat templates that know none: signatures, calls and results as words of the conversation, in the Hermes
form (https://github.com/NousResearch/Hermes-Function-Calling), which `parse_tool_calls` reads back.

A template that renders the same with and without tools would drop them in silence, and the model would never hear of
what it may call.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]

#: What a model that was never told of tools must know; the tags are the ones that its answer is searched for.
_HEAD = "These functions can be called; each line is the signature of one, as JSON:\n<tools>\n"
_TAIL = (
    "\n</tools>\nTo call a function, answer with its name and its arguments between these tags, once for each call:\n"
    '<tool_call>\n{"name": "NAME", "arguments": {...}}\n</tool_call>'
)


def woven(messages: Sequence[Message], tools: Sequence[Message] | None, system: bool) -> list[Message]:
    """The same conversation without the members that only a template with tools would read.

    Args:
        messages: OpenAI shaped; untrusted text in them is guarded already, for what is added here is trusted.
        tools: OpenAI shaped function tools, guarded as well.
        system: the template shows a system turn; without one the signatures stand before the first user's words.

    Returns:
        turns of system, user and assistant with plain content; neighbours of the user are one turn, because many
        templates refuse two in a row.
    """
    turns: list[Message] = []
    for message in messages:
        turn = _plain(message)
        if turns and turn["role"] == turns[-1]["role"] == "user" and _answers(message, turns[-1]):
            turns[-1] = {**turns[-1], "content": f"{turns[-1]['content']}\n{turn['content']}"}
        else:
            turns.append(turn)
    return _with_signatures(turns, tools, system) if tools else turns


def _answers(message: Message, before: Message) -> bool:
    """One of the two is a tool's result."""
    return message.get("role") == "tool" or str(before["content"]).endswith("</tool_response>")


def _plain(message: Message) -> Message:
    if message.get("role") == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    calls = [call.get("function", call) for call in message.get("tool_calls") or []]
    if not calls:
        return {key: value for key, value in message.items() if key != "tool_calls"}
    words = [message["content"]] if message.get("content") else []
    return {
        **{key: value for key, value in message.items() if key != "tool_calls"},
        "content": "\n".join([*words, *map(_call, calls)]),
    }


def _call(call: Message) -> str:
    given = call["arguments"]
    arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return f'<tool_call>\n{{"name": {json.dumps(call["name"], ensure_ascii=False)}, "arguments": {arguments}}}\n</tool_call>'


def _with_signatures(turns: list[Message], tools: Sequence[Message], system: bool) -> list[Message]:
    lines = [json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in tools]
    signatures = _HEAD + "\n".join(lines) + _TAIL
    first = "system" if system else "user"
    at = next((i for i, turn in enumerate(turns) if turn.get("role") == first), None)
    if at is None:
        return [{"role": first, "content": signatures}, *turns]
    words = [turns[at]["content"], signatures] if system else [signatures, turns[at]["content"]]
    return [*turns[:at], {**turns[at], "content": "\n\n".join(words)}, *turns[at + 1 :]]
