"""Who judges an answer: one registry of kinds, used by policy optimisation and by evaluation.

A row's `verifier` is a kind ("exact", with the row's `answer`), a mapping with `kind` and options, or
"python:file.py:function". A domain hands its own kinds over in a mapping beside this one; nothing here knows of a
domain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tenet.verifiers.code import Code
from tenet.verifiers.function_calls import FunctionCalls
from tenet.verifiers.instructions import Instructions
from tenet.verifiers.mathematics import Mathematics
from tenet.verifiers.python import Own, Python, load_function
from tenet.verifiers.structured import JsonSchema, ToolCall
from tenet.verifiers.text import Contains, Exact, Number, Regex
from tenet.verifiers.verifier import Calls, Row, Verdict, Verifier

__all__ = [
    "VERIFIERS",
    "Calls",
    "Row",
    "ToolCall",
    "Verdict",
    "Verifier",
    "function_place",
    "load_function",
    "read_verifier",
    "registry",
    "verify",
]

VERIFIERS: dict[str, Verifier] = {
    "exact": Exact(),
    "contains": Contains(),
    "number": Number(),
    "math": Mathematics(),
    "regex": Regex(),
    "json_schema": JsonSchema(),
    "tool_call": ToolCall(),
    "function_calls": FunctionCalls(),
    "instructions": Instructions(),
    "code": Code(),
    "python": Python(),
}


def registry(own: Mapping[str, Verifier | Callable[..., Any]]) -> dict[str, Verifier]:
    """The common kinds and a domain's own, which are verifiers or plain functions of row, text and tool calls."""
    found: dict[str, Any] = {name: value if hasattr(value, "verify") else Own(value) for name, value in own.items()}
    return {**VERIFIERS, **found}


def read_verifier(given: Any, row: Row, known: Mapping[str, Verifier] = VERIFIERS, folder: Path | None = None) -> Row:
    """What a row says of its verifier, checked and made complete.

    Args:
        folder: of the file that the row stands in.

    Raises:
        ValueError: unknown or malformed; says what and the way out.
    """
    given = _mapping(given)
    if not isinstance(given, dict) or not isinstance(given.get("kind"), str):
        raise ValueError(f"it is {given!r}; give a kind ({', '.join(known)}) or a mapping with `kind`")
    if given["kind"] not in known:
        raise ValueError(f"the kind is {given['kind']!r}; there are {', '.join(known)}, and those of the domain that is named")
    return known[given["kind"]].read(given, row, folder)


def function_place(given: Any) -> str:
    """`my_rewards.py` of "python:my_rewards.py:haiku": where the code of a verifier stands; "" for every other one."""
    given = _mapping(given)
    if isinstance(given, dict) and given.get("kind") == "python":
        return str(given.get("function", "")).rpartition(":")[0]
    return ""


def _mapping(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    kind, colon, rest = given.partition(":")
    return {"kind": kind, "function": rest} if kind == "python" and colon else {"kind": given}


def verify(row: Row, text: str, tool_calls: Calls = (), known: Mapping[str, Verifier] = VERIFIERS) -> Verdict:
    """Judge an answer to a row, as its `verifier` says (read by `read_verifier`)."""
    spec = row["verifier"]
    return known[spec["kind"]].verify(spec, row, text, tool_calls)
