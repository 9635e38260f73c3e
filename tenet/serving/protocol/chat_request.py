"""The one request and the few parts of an answer that both wire formats are translated to and from."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from lightning_modules.generation.protocol import Refused
from tenet.serving.protocol.exceptions import invalid
from tenet.serving.protocol.limits import kind_of

Message = dict[str, Any]
Choice = Literal["auto", "any", "tool", "none"]
Reason = Literal[
    "end_turn",
    "tool_use",
    "max_tokens",
    "stop_sequence",
    "malformed_tool_use",
    "model_context_window_exceeded",
    "guardrail_intervened",
]

GuardrailTrace = Literal["disabled", "enabled", "enabled_full"]

TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class TextLayer(Protocol):
    """Between conversations and token ids; `lightning_modules.data.chat.ChatTokenizer` is one, `echo.ByteText`
    another."""

    stop_ids: tuple[int, ...]

    def prompt(self, messages: Sequence[Message], tools: Sequence[Message] | None = None, prefill: str = "") -> list[int]:
        """Ids up to where the assistant begins to speak, plus trusted words put into its mouth."""
        ...

    def encode(self, text: str) -> list[int]:
        """Untrusted text to ids; special tokens in it stay text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Ids to text, turn marks left out."""
        ...


@dataclass(frozen=True)
class Ask:
    """What a client asked, whichever wire it came by.

    Args:
        messages: OpenAI / Hugging Face shaped, without a final assistant turn.
        tools: OpenAI shaped function tools.
        choice: how tools may be used; tool: the name when choice is "tool".
        prefill: text of a final assistant turn that the answer continues; untrusted.
        max_tokens: None is the server's default.
        temperature, top_p, top_k, seed: sampling; seed None draws one.
        stops: stop sequences, matched on text.
        one_call: stop after the first tool call.
        schema: JSON schema that the answer must have; None leaves it free.
        cached: the client marked what to cache, so it is told what the prefix cache had.
        guarded: texts that a guardrail looks through; None is all that the user and the tools said.
        strict: names of tools whose calls must be held to their whole schema.
    """

    messages: list[Message]
    tools: list[Message] = field(default_factory=list)
    choice: Choice = "auto"
    tool: str = ""
    prefill: str = ""
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stops: tuple[str, ...] = ()
    one_call: bool = False
    schema: dict[str, Any] | None = None
    cached: bool = False
    guarded: tuple[str, ...] | None = None
    strict: tuple[str, ...] = ()

    @functools.cached_property
    def grammar(self) -> str:
        """What the answer may be, for the engine; empty where it is free. Schemas that are new here take milliseconds.

        Raises:
            ServiceError: ValidationException, where the tools make no grammar.
        """
        if self.schema is not None:
            from lightning_modules.generation.grammar import json_grammar

            return json_grammar(self.schema)
        if not self.tools or self.choice == "none":
            return ""
        from lightning_modules.generation.grammar import tool_grammar
        from tenet.serving.protocol.tool_schemas import enforceable

        try:
            return tool_grammar(enforceable(self.tools, self.strict), self.choice, self.tool, self.forced)
        except Refused as error:
            raise invalid("tools", str(error)) from None

    @property
    def to_guard(self) -> tuple[str, ...]:
        """Texts that a guardrail looks through before the model sees them."""
        if self.guarded is not None:
            return self.guarded
        return tuple(message["content"] for message in self.messages if message["role"] in ("user", "tool"))

    @property
    def forced(self) -> str:
        """Trusted words that make the model call a tool: its answer begins inside the call."""
        if self.choice == "any":
            return '<tool_call>\n{"name": "'
        return f'<tool_call>\n{{"name": "{self.tool}", "arguments": ' if self.choice == "tool" else ""

    def prompt(self, text: TextLayer) -> list[int]:
        """Token ids of the whole prompt; `usage.inputTokens` is their number. What its tools need is worked out with it."""
        _ = self.grammar
        ids = text.prompt(self.messages, self.tools or None, prefill=self.forced)
        return ids + text.encode(self.prefill) if self.prefill else ids


@dataclass(frozen=True)
class GuardrailWish:
    """The guardrail that a request names.

    Args:
        trace: what the client wants to be told of it.
        later: a stream need not wait for it.
    """

    identifier: str
    version: str
    trace: GuardrailTrace = "disabled"
    later: bool = False


@dataclass(frozen=True)
class Begun:
    """The first part of every answer: the model has made its first token, so nothing that could be known before went
    wrong."""

    input_tokens: int
    cached_tokens: int = 0
    written_tokens: int = 0


@dataclass(frozen=True)
class Words:
    """The next piece of text."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """A complete tool call."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class End:
    """The last part of every answer.

    Args:
        reason: in Bedrock's words.
        input_tokens: tokens of the prompt.
        output_tokens: tokens the model made, a hidden stop sequence and the turn end included.
        stop: the stop sequence that was met.
        cached_tokens, written_tokens: of the prompt, taken from and put into the prefix cache; part of input_tokens
            here, apart from it on both wires, and 0 unless the client marked something to cache.
        hits: tokens that the prefix cache had, marked or not.
    """

    reason: Reason
    input_tokens: int
    output_tokens: int
    stop: str | None = None
    cached_tokens: int = 0
    written_tokens: int = 0
    hits: int = 0

    @property
    def fresh_tokens(self) -> int:
        """Tokens of the prompt that neither came from the cache nor went there."""
        return self.input_tokens - self.cached_tokens - self.written_tokens


Part = Begun | Words | ToolCall | End


def member(holder: dict[str, Any], key: str, kind: type | tuple[type, ...], path: str, default: Any = ...) -> Any:
    """`holder[key]` if it has the right JSON type; null counts as absent, true is no number.

    Raises:
        ServiceError: names the member, what was found and what is needed.
    """
    value = holder.get(key)
    if value is None:
        if default is ...:
            raise invalid(f"{path}.{key}" if path else key, "this member is required.")
        return default
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, bool) and bool in kinds:
        return value
    wanted = {dict: "an object", list: "an array", str: "a string", int: "an integer", float: "a number", bool: "a boolean"}
    raise invalid(f"{path}.{key}" if path else key, f"must be {wanted[kinds[0]]}, not {kind_of(value)}.")


def number(holder: dict[str, Any], key: str, path: str, low: float, high: float, default: Any) -> Any:
    """A number within bounds; an integer where both bounds are integers."""
    whole = isinstance(low, int) and isinstance(high, int)
    value = member(holder, key, int if whole else (float, int), path, default)
    if value is not default and not low <= value <= high:
        raise invalid(f"{path}.{key}" if path else key, f"is {value}; it must lie between {low:g} and {high:g}.")
    return value


def objects(holder: dict[str, Any], key: str, path: str, default: Any = ...) -> list[tuple[str, dict[str, Any]]]:
    """The objects of an array, each with its path."""
    where = f"{path}.{key}" if path else key
    items = []
    for i, item in enumerate(member(holder, key, list, path, default)):
        if not isinstance(item, dict):
            raise invalid(f"{where}.{i}", f"must be an object, not {kind_of(item)}.")
        items.append((f"{where}.{i}", item))
    return items
