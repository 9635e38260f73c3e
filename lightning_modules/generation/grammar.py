"""What an answer may be: JSON of a schema, or text with tool calls in the Hermes form, as grammars for llguidance.

The first half writes grammars and needs no model; the second turns one into the set of tokens that may come next. A
schema arrives with each request from whoever holds a key, so its size, its compilation and each of its masks are
bounded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from lightning_modules.data.pieces import byte_alphabet
from lightning_modules.generation.protocol import Refused

#: Characters of a grammar. A tool with fifty described fields has about 10,000.
LONGEST = 200_000
#: Patterns of a schema that may intersect: llguidance's time to prove an intersection empty grows fourfold with each.
PATTERNS = 8
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
        lines = ["start: (before call)* TEXT", f'before[lazy]: TEXT "{_OPEN}"', "TEXT: /(.|\\n)*/"]
        return "\n".join([*lines, f"call: ({' | '.join(_call(function, _OPEN) for function in functions)})"])
    return "start: " + " | ".join(_call(function, begun) for function in functions)


def either_grammar(tools: Sequence[dict[str, Any]], schema: dict[str, Any]) -> str:
    """Calls of the offered tools, or else a JSON value of this schema, and nothing beside them.

    Raises:
        Refused: no tools.
    """
    if not tools:
        raise Refused("no tools were given")
    calls = " | ".join(_call(tool["function"], "") for tool in tools)
    return "\n".join(['start: call ("\\n" call)* | answer', f"call: ({calls})", f"answer: {_json(schema)}"])


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
        tokenizer: a byte-level `tokenizers.Tokenizer`.
        vocab_size: rows of the model's head; at least the tokenizer's entries.
        stop_ids: ids that end an answer; allowed where the grammar may end.
    """

    def __init__(self, tokenizer: Any, vocab_size: int, stop_ids: Sequence[int]) -> None:
        self._source, self.vocab_size, self._stop_ids = tokenizer, vocab_size, list(stop_ids)

    @cached_property
    def _tokenizer(self) -> Any:
        from llguidance import LLTokenizer, TokenizerWrapper

        return LLTokenizer(TokenizerWrapper(_ByteTokens(self._source, self._stop_ids)), self.vocab_size, self._stop_ids)

    def matcher(self, grammar: str) -> Matcher:
        """Compile; milliseconds for a tool, and bounded for whatever else a client sends.

        Raises:
            Refused: the grammar is too large or cannot be compiled; says why.
        """
        from llguidance import LLMatcher

        if len(grammar) > LONGEST:
            raise Refused(f"the schemas have {len(grammar)} characters; at most {LONGEST} are compiled")
        joins = any(f'"{word}"' in grammar for word in ("allOf", "anyOf", "oneOf", "$ref"))
        if joins and grammar.count('"pattern"') > PATTERNS:
            raise Refused(f"the schema joins more than {PATTERNS} patterns by allOf, anyOf, oneOf or $ref; write fewer")
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=matcher_limits())
        if matcher.is_error():
            raise Refused(f"the schema cannot be compiled: {matcher.get_error().splitlines()[0][:300]}")
        return Matcher(matcher, self.vocab_size)


class _ByteTokens:
    """The bytes of every token, as llguidance asks for them.

    Reading tokenizer.json itself, llguidance takes every added token in angle brackets for a special one, which no text
    can contain. Tool tags are such tokens in some tokenizers and ordinary text in others; here they are text in both.
    """

    bos_token_id = None

    def __init__(self, tokenizer: Any, stop_ids: Sequence[int]) -> None:
        self._tokenizer, self.eos_token_id = tokenizer, stop_ids[0]
        if "ByteLevel" not in str(json.loads(tokenizer.to_str())["decoder"]):
            raise Refused("this model's tokenizer is not byte-level; answers can be held to a schema or a tool only where it is")
        added = tokenizer.get_added_tokens_decoder()
        self.special_token_ids = [i for i, token in added.items() if token.special]
        alphabet = byte_alphabet()
        names = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size(with_added_tokens=True))]
        self.tokens = [
            name.encode() if i in added or not name else bytes(alphabet[letter] for letter in name)
            for i, name in enumerate(name or "" for name in names)
        ]

    def __call__(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)


def matcher_limits() -> Any:
    """Well below llguidance's own limits: compiling a schema and each mask then take milliseconds, whatever a client
    sends.

    Without the first one, a repetition of repetitions compiles for minutes.
    """
    from llguidance import LLParserLimits

    return LLParserLimits(
        precompute_large_lexemes=False,
        initial_lexer_fuel=100_000,
        step_lexer_fuel=50_000,
        max_items_in_row=1_000,
        max_lexer_states=20_000,
        max_grammar_size=50_000,
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
