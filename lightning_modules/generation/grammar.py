"""What an answer may be: JSON of a schema, or text with tool calls in the Hermes form, as grammars for llguidance.

The first half writes grammars and needs no model; the second turns one into the set of tokens that may come next. A schema
arrives with each request from whoever holds a key, so its size, its compilation and each of its masks are bounded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from lightning_modules.generation.protocol import Refused

#: Characters of a grammar. A tool with fifty described fields has about 10,000.
LONGEST = 200_000
_OPEN, _CLOSE = "<tool_call>", "\n</tool_call>"


def json_grammar(schema: dict[str, Any] | None = None) -> str:
    """The answer is one JSON value of this schema, or any JSON object."""
    return "start: " + _json(schema or {"type": "object"})


def tool_grammar(tools: Sequence[dict[str, Any]], choice: Literal["auto", "any", "tool"], name: str = "", begun: str = "") -> str:
    """Calls of the offered tools with arguments of their schemas.

    Args:
        tools: OpenAI shaped function tools.
        choice: "auto" leaves the text free until a call opens; "any" is one call of any tool, "tool" one of `name`.
        name: the tool, when choice is "tool".
        begun: the part of the call that already stands at the end of the prompt; the answer goes on after it.

    Raises:
        Refused: no tools, `name` is none of them, or `begun` is not how such a call begins.
    """
    functions = [tool["function"] for tool in tools]
    if choice == "tool":
        functions = [function for function in functions if function["name"] == name]
    if not functions:
        raise Refused(f"tool {name!r} is not among the tools" if name else "no tools were given")
    if choice == "auto":
        # Lazy: the text ends with the first opening tag, and from there on the call is held to its schema.
        lines = ["start: (BEFORE call)* TEXT", f"BEFORE[lazy]: /(.|\\n)*{_OPEN}/", "TEXT: /(.|\\n)*/"]
        return "\n".join([*lines, f"call: ({' | '.join(_call(function, _OPEN) for function in functions)})"])
    return "start: " + " | ".join(_call(function, begun) for function in functions)


def _call(function: dict[str, Any], begun: str) -> str:
    head = f'{_OPEN}\n{{"name": {json.dumps(function["name"])}, "arguments": '
    if not head.startswith(begun):
        raise Refused(f"a call of {function['name']} begins with {head!r}; it cannot go on after {begun!r}")
    left = head[len(begun) :]
    schema = function.get("parameters") or {"type": "object"}
    return f"{json.dumps(left) if left else ''} {_json(schema)} {json.dumps('}' + _CLOSE)}"


def _json(schema: dict[str, Any]) -> str:
    # One way of writing it: free blanks let a small model write nothing but blanks until it is cut off.
    return "%json " + json.dumps(
        {**schema, "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
    )


class Grammars:
    """Compiles grammars for one tokenizer.

    Args:
        tokenizer_json: text of `tokenizer.json`.
        vocab_size: rows of the model's head; at least the tokenizer's entries.
        stop_ids: ids that end an answer; allowed where the grammar may end.
    """

    def __init__(self, tokenizer_json: str, vocab_size: int, stop_ids: Sequence[int]) -> None:
        self._json, self.vocab_size, self._stop_ids = tokenizer_json, vocab_size, list(stop_ids)

    @cached_property
    def _tokenizer(self) -> Any:
        from llguidance import LLTokenizer

        return LLTokenizer(self._json, n_vocab=self.vocab_size, eos_token=self._stop_ids)

    def matcher(self, grammar: str) -> Matcher:
        """Compile; milliseconds for a tool, and bounded for whatever else a client sends.

        Raises:
            Refused: the grammar is too large or cannot be compiled; says why.
        """
        from llguidance import LLMatcher

        if len(grammar) > LONGEST:
            raise Refused(f"the schemas have {len(grammar)} characters; at most {LONGEST} are compiled")
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=_limits())
        if matcher.is_error():
            raise Refused(f"the schema cannot be compiled: {matcher.get_error().splitlines()[0][:300]}")
        return Matcher(matcher, self.vocab_size)


def _limits() -> Any:
    """A tenth or less of llguidance's own limits: a mask takes milliseconds then, not seconds, whatever the schema."""
    from llguidance import LLParserLimits

    return LLParserLimits(
        initial_lexer_fuel=200_000, step_lexer_fuel=50_000, max_items_in_row=1_000, max_lexer_states=50_000, max_grammar_size=50_000
    )


class Matcher:
    """One answer's place in its grammar."""

    def __init__(self, matcher: Any, vocab_size: int) -> None:
        import torch

        self._matcher, self._vocab_size = matcher, vocab_size
        self._bits = torch.zeros((vocab_size + 31) // 32, dtype=torch.int32)

    def allowed(self) -> Any:
        """Bool tensor [V]: the tokens that may come next."""
        import numpy as np
        import torch

        self._matcher.unsafe_compute_mask_ptr(self._bits.data_ptr(), self._bits.numel() * 4)
        bits = np.unpackbits(self._bits.numpy().view(np.uint8), count=self._vocab_size, bitorder="little")
        return torch.from_numpy(bits.view(np.bool_))

    def advance(self, token: int) -> bool:
        """Go on by a token. False: the grammar grew too complex here, and nothing more can be said under it."""
        return bool(self._matcher.consume_token(token))
