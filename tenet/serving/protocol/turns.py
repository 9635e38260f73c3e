"""From the content blocks of either wire format to chat-template messages, with the rules that both formats share.

A tool call must be answered in the very next turn and an answer must have its call; a conversation begins with the
user. Clients rely on these being refused before a model sees them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tenet.serving.protocol.chat_request import TOOL_NAME, Message, member
from tenet.serving.protocol.exceptions import invalid
from tenet.serving.protocol.limits import Limits


@dataclass(frozen=True)
class Use:
    """The assistant called a tool."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Result:
    """The client answers a tool call."""

    id: str
    text: str


Block = str | Use | Result


@dataclass
class Turn:
    """One speaker's blocks."""

    role: Literal["user", "assistant", "system"]
    blocks: list[Block] = field(default_factory=list)

    def uses(self) -> list[Use]:
        """Tool calls of this turn."""
        return [block for block in self.blocks if isinstance(block, Use)]

    def results(self) -> list[Result]:
        """Tool results of this turn."""
        return [block for block in self.blocks if isinstance(block, Result)]

    def text(self) -> str:
        """The text blocks, one below the other."""
        return "\n".join(block for block in self.blocks if isinstance(block, str))


def role_of(item: dict[str, Any], path: str) -> Literal["user", "assistant", "system"]:
    """The role of a message."""
    role = member(item, "role", str, path)
    if role not in ("user", "assistant", "system"):
        raise invalid(f"{path}.role", "must be user or assistant.")
    return role  # type: ignore[no-any-return]


def tool_of(name: str, description: str, schema: dict[str, Any], path: str, limits: Limits) -> Message:
    """A tool in the shape that chat templates take."""
    if not TOOL_NAME.match(name):
        raise invalid(f"{path}.name", "must be 1 to 64 letters, digits, '_' or '-'.")
    if len(json.dumps(schema)) > limits.schema_bytes:
        raise invalid(path, f"the input schema is larger than {limits.schema_bytes} bytes.")
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


def schema_of(schema: dict[str, Any], tools: Sequence[Message], path: str, limits: Limits) -> dict[str, Any]:
    """The schema of a structured answer: bounded, and not beside tools."""
    if tools:
        raise invalid(path, "a structured answer cannot be asked for together with tools.")
    if len(json.dumps(schema)) > limits.schema_bytes:
        raise invalid(path, f"the schema is larger than {limits.schema_bytes} bytes.")
    return schema


def format_of(config: dict[str, Any], tools: Sequence[Message], path: str, limits: Limits) -> dict[str, Any] | None:
    """The schema of a structured answer as Anthropic's `output_config.format` asks for it; None where it does not."""
    wanted, where = member(config, "format", dict, path, {}), f"{path}.format"
    if not wanted:
        return None
    if member(wanted, "type", str, where) != "json_schema":
        raise invalid(f"{where}.type", "must be json_schema.")
    return schema_of(member(wanted, "schema", dict, where), tools, f"{where}.schema", limits)


def check_tools(tools: Sequence[Message], limits: Limits, path: str) -> list[Message]:
    """Bounded in number, names told apart."""
    if len(tools) > limits.tools:
        raise invalid(path, f"has {len(tools)} tools; at most {limits.tools} are accepted.")
    names = [tool["function"]["name"] for tool in tools]
    if len(set(names)) < len(names):
        raise invalid(path, "two tools have the same name.")
    return list(tools)


def check_stops(stops: list[Any], limits: Limits, path: str) -> tuple[str, ...]:
    """Stop sequences: text, not empty, bounded."""
    if len(stops) > limits.stops:
        raise invalid(path, f"has {len(stops)} entries; at most {limits.stops} are accepted.")
    for i, stop in enumerate(stops):
        if not isinstance(stop, str) or not stop or len(stop.encode()) > limits.stop_bytes:
            raise invalid(f"{path}.{i}", f"must be text of 1 to {limits.stop_bytes} bytes.")
    if sum(len(stop.encode()) for stop in stops) > limits.all_stop_bytes:
        raise invalid(path, f"is longer than {limits.all_stop_bytes} bytes in all.")
    return tuple(stops)


def messages_of(turns: Sequence[Turn], system: str, has_tools: bool) -> tuple[list[Message], str]:
    """Chat-template messages, and the text of a final assistant turn that the answer is to continue.

    Raises:
        ServiceError: the turns break a rule that both formats share.
    """
    turns = _merged(turns)
    spoken = [turn for turn in turns if turn.role != "system"]
    if not spoken or spoken[0].role != "user":
        raise invalid("messages", "A conversation must start with a user message.")
    for i, turn in enumerate(turns):
        if not turn.blocks:
            raise invalid(f"messages.{i}.content", "must not be empty.")
    _check_calls(spoken, has_tools)
    prefill = turns.pop().text() if turns[-1].role == "assistant" else ""
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        messages += _assistant(turn) if turn.role == "assistant" else _other(turn)
    return messages, prefill


def _merged(turns: Sequence[Turn]) -> list[Turn]:
    """Neighbours with the same role become one turn, as Bedrock does it."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role:
            merged[-1].blocks += turn.blocks
        else:
            merged.append(Turn(turn.role, list(turn.blocks)))
    return merged


def _check_calls(turns: list[Turn], has_tools: bool) -> None:
    if all(isinstance(block, str) for turn in turns for block in turn.blocks):
        return
    if not has_tools:
        raise invalid("toolConfig", "The toolConfig field must be defined when using toolUse and toolResult content blocks.")
    for i, turn in enumerate(turns):
        if turn.results() if turn.role == "assistant" else turn.uses():
            raise invalid(
                f"messages.{i}.content", "the assistant uses tools and the user gives their results, not the other way round."
            )
    for i, (turn, following) in enumerate(zip([Turn("assistant"), *turns], [*turns, Turn("user")], strict=True)):
        asked = {use.id for use in turn.uses()}
        answered = {result.id for result in following.results()}
        if asked - answered:
            missing = ", ".join(sorted(asked - answered))
            raise invalid("", f"Expected toolResult blocks at messages.{i}.content for the following Ids: {missing}")
        if answered - asked:
            extra = ", ".join(sorted(answered - asked))
            raise invalid("", f"messages.{i}.content has toolResult blocks without a toolUse in the turn before, Ids: {extra}")


def _assistant(turn: Turn) -> list[Message]:
    calls = [{"type": "function", "function": {"name": use.name, "arguments": use.arguments}} for use in turn.uses()]
    return [{"role": "assistant", "content": turn.text(), **({"tool_calls": calls} if calls else {})}]


def _other(turn: Turn) -> list[Message]:
    """Tool results one message each; text between them stays in its place."""
    messages: list[Message] = []
    for block in turn.blocks:
        if isinstance(block, Result):
            messages.append({"role": "tool", "content": block.text})
        elif isinstance(block, str) and messages and messages[-1]["role"] == turn.role:
            messages[-1]["content"] += "\n" + block
        elif isinstance(block, str):
            messages.append({"role": turn.role, "content": block})
    return messages
