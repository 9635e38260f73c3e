"""Turns of a conversation in the dialects that public sets have, as `Message` of kinds.py.

Nothing is passed over: what has no meaning here is refused with a reason, or counted under its name where the
conversation is the same without it.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, cast

from tenet.rows.kinds import Message, Row

#: Who speaks, in the words of OpenAI, ShareGPT, OpenAssistant, Gemini, Llama.
ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "chatgpt": "assistant", "model": "assistant", "ai": "assistant",
    "function_call": "assistant", "tool_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "tool_response": "tool", "ipython": "tool",
}  # fmt: skip
_CALLS = ("function_call", "tool_call")
_KNOWN = {
    "role",
    "from",
    "content",
    "value",
    "tool_calls",
    "function_call",
    "tool_call_id",
    "name",
    "weight",
    "reasoning_content",
}


class Unusable(ValueError):
    """Why a record makes no row; the reader adds file and line."""


def messages_of(value: Any, unused: Counter[str], where: str = "messages") -> list[Message]:
    """A list of turns, or its JSON text.

    Args:
        unused: what is counted and not used, by name.

    Raises:
        Unusable: names the turn and what is wrong with it.
    """
    value = from_json(value)
    if not isinstance(value, list) or not value:
        raise Unusable(f"`{where}` is {_shown(value)}, not a list of turns")
    return [_message(item, f"{where}[{number}]", unused) for number, item in enumerate(value)]


def turn(role: str, content: str) -> Message:
    """One plain turn."""
    return cast(Message, {"role": role, "content": content})


def asked(value: Any, unused: Counter[str], where: str = "prompt") -> list[Message]:
    """What somebody asked: text, or turns."""
    if isinstance(value, str) and not _turns_as_text(value):
        if not value.strip():
            raise Unusable(f"`{where}` is empty")
        return transcript(value) or [turn("user", value)]
    return messages_of(value, unused, where)


def said(value: Any, unused: Counter[str], where: str) -> list[Message]:
    """What the assistant answered: text, one turn, or turns."""
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, str) and not _turns_as_text(value):
        if not value.strip():
            raise Unusable(f"`{where}` is empty")
        return [turn("assistant", value)]
    return messages_of(value, unused, where)


def _turns_as_text(text: str) -> bool:
    """An answer may be JSON of its own: only a list whose items say who speaks is a list of turns."""
    value = from_json(text)
    return isinstance(value, list) and bool(value) and all(isinstance(i, dict) and {"role", "from"} & i.keys() for i in value)


def transcript(text: str) -> list[Message]:
    """HH-RLHF's "\\n\\nHuman: ... \\n\\nAssistant: ..." as turns; empty where the text is none. An empty last turn is the one to be answered."""
    if not text.startswith("\n\nHuman:") and not (text.startswith("Human:") and "\n\nAssistant:" in text):
        return []
    messages: list[Message] = []
    for part in text.split("\n\n"):
        for mark, role in (("Human:", "user"), ("Assistant:", "assistant")):
            if part.startswith(mark):
                messages.append(turn(role, part[len(mark) :].strip()))
                break
        else:
            if messages:
                messages[-1]["content"] += "\n\n" + part
    return messages[:-1] if messages[-1]["role"] == "assistant" and not messages[-1]["content"] else messages


def tools_of(value: Any) -> list[Row]:
    """Tools as a list or its JSON text; bare functions and Bedrock's toolSpec get OpenAI's frame."""
    value = from_json(value)
    if value in (None, "", [], {}):
        return []
    if not isinstance(value, list):
        raise Unusable(f"`tools` is {_shown(value)}, not a list")
    return [_tool(tool, number) for number, tool in enumerate(value)]


def _tool(tool: Any, number: int) -> Row:
    tool = from_json(tool)
    spec = tool.get("toolSpec") if isinstance(tool, dict) else None
    if isinstance(spec, dict):
        schema = spec.get("inputSchema") or {}
        tool = {"name": spec.get("name"), "description": spec.get("description", ""), "parameters": schema.get("json", {})}
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Unusable(f"tools[{number}] is {_shown(tool)}: a tool needs a name")
    return cast(Row, tool) if "function" in tool else {"type": "function", "function": function}


def _message(item: Any, where: str, unused: Counter[str]) -> Message:
    if not isinstance(item, dict):
        raise Unusable(f"{where} is {_shown(item)}, not a turn with role and content")
    given = item.get("role", item.get("from"))
    role = ROLES.get(given.strip().lower()) if isinstance(given, str) else None
    if role is None:
        known = "system, user, assistant and tool"
        raise Unusable(f"{where}: the role is {given!r}; there are {known} (and human, gpt, observation, ...)")
    content = _content(item.get("content", item.get("value")), where)
    message: Row = {"role": role, "content": content}
    calls = _calls(item, str(given).lower(), where)
    if calls:
        message["tool_calls"] = calls
        message["content"] = "" if str(given).lower() in _CALLS else content
    for key in ("tool_call_id", "name", "reasoning_content"):
        if item.get(key):
            message[key] = str(item[key])
    if item.get("weight") is not None:
        if item["weight"] not in (0, 1):
            raise Unusable(f"{where}: the weight is {item['weight']!r}; it is 0 (read, not learnt) or 1")
        message["weight"] = int(item["weight"])
    for key in item.keys() - _KNOWN:
        if item[key] not in (None, "", [], {}):
            unused[f"key {key!r} of a turn"] += 1
    if not content.strip() and not calls and role != "tool":
        raise Unusable(f"{where}: the {role} says nothing")
    return cast(Message, message)


def _content(value: Any, where: str) -> str:
    """Text, or the text of its parts."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise Unusable(f"{where}: the content is {_shown(value)}, neither text nor parts")
    texts = []
    for part in value:
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else None
        if not isinstance(text, str):
            kind = part.get("type") or ", ".join(part) if isinstance(part, dict) else type(part).__name__
            raise Unusable(f"{where}: a part of the content is of type {kind!r}; the model reads text alone")
        texts.append(text)
    return "\n".join(texts)


def _calls(item: Row, given: str, where: str) -> list[Row]:
    calls = from_json(item.get("tool_calls")) or []
    if item.get("function_call"):
        calls = [{"function": from_json(item["function_call"])}]
    elif given in _CALLS:
        calls = from_json(item.get("content", item.get("value")))
        calls = [{"function": call} for call in (calls if isinstance(calls, list) else [calls])]
    if not isinstance(calls, list):
        raise Unusable(f"{where}: `tool_calls` is {_shown(calls)}, not a list")
    return [_call(call, where) for call in calls]


def _call(call: Any, where: str) -> Row:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Unusable(f"{where}: a tool call is {_shown(call)}; it needs a function with a name and arguments")
    arguments = from_json(function.get("arguments", {}))
    arguments = {} if arguments in (None, "") else arguments
    if not isinstance(arguments, dict):
        raise Unusable(f"{where}: the arguments of {function['name']} are {_shown(arguments)}, not a JSON object")
    kept = {"id": call["id"]} if call.get("id") else {}
    return {**kept, "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def from_json(value: Any) -> Any:
    """JSON text as its value; text that is none stays text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _shown(value: Any) -> str:
    text = "missing" if value is None else f"{type(value).__name__} {json.dumps(value, ensure_ascii=False, default=str)}"
    return text if len(text) <= 80 else text[:77] + "..."
