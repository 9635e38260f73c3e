"""What the tests want of a client, whichever it is; `bare.py` and `frameworks.py` say it in each client's own words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

#: Tokens of an answer at most; the questions of the tests are answered in fewer.
MOST = 160

Choice = Literal["auto", "any", "tool"]
Call = tuple[str, dict[str, Any]]
Shape = tuple[str, Choice]
#: What went wrong -> the exception that the client raises for it, and words that stand in it.
Raises = dict[str, tuple[type[BaseException] | tuple[type[BaseException], ...], str]]


class LacksError(Exception):
    """The client has no such thing; says why."""


@dataclass(frozen=True)
class Answer:
    """What a client made of an answer."""

    text: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    calls: list[Call] = field(default_factory=list)


@dataclass(frozen=True)
class Door:
    """How to reach the endpoint; the environment holds the same, for the clients that look there.

    Attributes:
        patient: the client may try again as often as it does by itself; if not, never.
    """

    url: str
    patient: bool = True

    @property
    def api_key(self) -> str:
        """Set where API keys are used."""
        return os.environ.get("AWS_BEARER_TOKEN_BEDROCK", "")

    @property
    def authority(self) -> str:
        """File with the endpoint's own certificate."""
        return os.environ.get("AWS_CA_BUNDLE", "")


class Client(Protocol):
    """One column of the table.

    Attributes:
        name: of the column.
        raises: for the errors `key` (unknown), `secret` (wrong), `throttled`, `oversize`.
        shape: the tool as which a structured answer is asked for, and how it is chosen; None where JSON as such is
            asked for.
        tries: AWS_MAX_ATTEMPTS where it would give up before; empty leaves it at its own number.
        says: choices that it sends as other ones.
    """

    name: str
    raises: Raises
    shape: Shape | None
    says: dict[Choice, Choice]
    tries: str

    def __init__(self, door: Door) -> None: ...

    def ask(self, text: str, most: int = MOST, stop: str = "") -> Answer:
        """A whole answer."""
        ...

    def stream(self, text: str) -> tuple[list[str], Answer]:
        """The pieces of text as they came, and what the client says of the whole."""
        ...

    def call(self, text: str, choice: Choice, cities: tuple[str, ...], stream: bool = False) -> Answer:
        """An answer to which the tool `weather` is offered."""
        ...

    def shaped(self, text: str) -> Any:
        """An answer that is held to `SHAPE`, as the client hands it out."""
        ...

    def count(self, text: str) -> int:
        """Tokens of the prompt that `ask` sends."""
        ...

    def leave(self, text: str) -> None:
        """Begin a long answer and go away in the middle of it."""
        ...


#: The tool's schema holds what MCP servers and schema libraries write, and no grammar can enforce.
_AS_MCP: ContextVar[bool] = ContextVar("_AS_MCP", default=False)
_ODD: dict[str, Any] = {
    "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    "env": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "string"}},
    "at": {"oneOf": [{"type": "string", "format": "date-time"}, {"type": "integer", "format": "int64"}]},
    "label": {"type": "string", "pattern": "^(?!-)[a-z0-9-]{1,63}$", "not": {"const": "root"}},
}


@contextmanager
def as_mcp_servers_write() -> Iterator[None]:
    """While it lasts, `schema` has members with such keywords beside the city."""
    token = _AS_MCP.set(True)
    try:
        yield
    finally:
        _AS_MCP.reset(token)


def strict() -> bool:
    """Whether a tool may be offered as strict: every keyword of its schema is known."""
    return not _AS_MCP.get()


def schema(cities: tuple[str, ...]) -> dict[str, Any]:
    """Arguments of the tool `weather`; a model that knows nothing still ends such an answer."""
    properties = {"city": {"type": "string", "enum": list(cities)}}
    whole = {"type": "object", "properties": properties, "required": ["city"], "additionalProperties": False}
    if strict():
        return whole
    return {**whole, "$schema": "http://json-schema.org/draft-07/schema#", "properties": {**properties, **_ODD}}


ABOUT = "Weather of a city."
SHAPE = schema(("Oslo", "Bergen"))


def column(kind: type[Client]) -> str:
    """A name that is a word."""
    return re.sub(r"\W+", "_", kind.name)
