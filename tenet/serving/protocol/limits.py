"""What a request may weigh. Everything that a client controls has a bound here, checked before any model work is done
for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from tenet.serving.protocol.exceptions import ServiceError, invalid


@dataclass(frozen=True)
class Limits:
    """Bounds of one request.

    Args:
        body_bytes: largest body (Bedrock's own limit).
        body_seconds: longest time to send the body in.
        json_depth: deepest nesting; a parser's stack is the resource behind it.
        tools: most tools.
        schema_bytes: largest input schema of one tool, as JSON.
        stops: most stop sequences (the service model's own number); stop_bytes: longest of them;
            all_stop_bytes: all together.
        deadline_seconds: longest time from the accepted request to the last token.
    """

    body_bytes: int = 25_000_000
    body_seconds: float = 60.0
    json_depth: int = 64
    tools: int = 128
    schema_bytes: int = 65_536
    stops: int = 2500
    stop_bytes: int = 1024
    all_stop_bytes: int = 65_536
    deadline_seconds: float = 600.0


def parse_json(body: bytes, limits: Limits) -> dict[str, Any]:
    """The body as a JSON object of bounded depth with text that can be encoded.

    Raises:
        ServiceError: ValidationException that says what is wrong, without quoting the body.
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        value = _DECODER.decode(text)
    except RecursionError:
        raise _too_deep(limits) from None
    except ValueError:  # JSONDecodeError, UnicodeDecodeError, integers of absurd length
        raise invalid("", "The request body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise invalid("", f"The request body must be a JSON object, not {kind_of(value)}.")
    # Most bodies show at a glance that they are neither deep nor hold half characters.
    if text.count("{") + text.count("[") >= limits.json_depth or not text.isascii() or "\\u" in text:
        _check_tree(value, limits)
    return value


def kind_of(value: Any) -> str:
    """The JSON name of a value's type."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer", float: "a number"}
    return names.get(type(value), "null")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _too_deep(limits: Limits) -> ServiceError:
    return invalid("", f"The request body is nested deeper than {limits.json_depth} levels.")


def _check_tree(root: Any, limits: Limits) -> None:
    """Depth, and no half surrogates: they pass the parser but cannot be encoded for the tokenizer."""
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > limits.json_depth:
            raise _too_deep(limits)
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str) and not value.isascii():
                try:
                    value.encode()
                except UnicodeEncodeError:
                    raise invalid("", "The request body holds text with a lone surrogate, which is not valid Unicode.") from None
        level = below
