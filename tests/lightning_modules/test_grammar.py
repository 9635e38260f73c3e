"""Constrained answers of a model that knows nothing: they must be valid because nothing else can be said."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from lightning_modules.data.chat import parse_tool_calls
from lightning_modules.generation.engine import SlotEngine
from lightning_modules.generation.grammar import Grammars, json_grammar, tool_grammar
from lightning_modules.generation.protocol import Refused, Sampling, Token
from tests.lightning_modules.tiny import tiny_model, tiny_tokenizer

TEXT = tiny_tokenizer()
MODEL = tiny_model(1)
GRAMMARS = Grammars(TEXT.tokenizer, MODEL.config.vocab_size, TEXT.stop_ids)
BUCKET = {
    "type": "object",
    "properties": {"Bucket": {"enum": ["orders", "logs"]}, "Versioning": {"type": "boolean"}},
    "required": ["Bucket", "Versioning"],
    "additionalProperties": False,
}
COUNT = {"type": "object", "properties": {"Max": {"enum": [1, 2]}}, "required": ["Max"], "additionalProperties": False}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": "", "parameters": schema}}
    for name, schema in (("CreateBucket", BUCKET), ("ListBuckets", COUNT))
]


def answer(grammar: str, begun: str = "", seed: int = 0, max_tokens: int = 200) -> tuple[str, Token]:
    engine = SlotEngine(MODEL, max_slots=2, grammars=GRAMMARS)
    prompt = TEXT.prompt([{"role": "user", "content": "x"}], prefill=begun)
    sampling = Sampling(max_tokens=max_tokens, temperature=1.0, seed=seed, stop_ids=TEXT.stop_ids, grammar=grammar)
    number = engine.submit(prompt, sampling)
    neighbour = engine.submit([5, 6], Sampling(max_tokens=3))
    tokens = []
    while not engine.idle:
        tokens += engine.step()
    assert sum(token.request == neighbour for token in tokens) == 3
    mine = [token for token in tokens if token.request == number]
    return TEXT.decode([token.id for token in mine if token.id >= 0]), mine[-1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("choice", "name", "begun"),
    [
        ("any", "", ""),
        ("any", "", '<tool_call>\n{"name": "'),
        ("tool", "ListBuckets", ""),
        ("tool", "CreateBucket", '<tool_call>\n{"name": "CreateBucket", "arguments": '),
    ],
)
def test_forced_calls_are_calls(choice: Any, name: str, begun: str, seed: int) -> None:
    text, last = answer(tool_grammar(TOOLS, choice, name, begun), begun, seed)
    rest, [call] = parse_tool_calls(begun + text)
    assert last.finish == "stop" and rest == ""
    assert call["name"] in ([name] if name else ["CreateBucket", "ListBuckets"])
    if call["name"] == "ListBuckets":
        assert call["arguments"] in ({"Max": 1}, {"Max": 2})
    else:
        assert set(call["arguments"]) == {"Bucket", "Versioning"} and isinstance(call["arguments"]["Versioning"], bool)
        assert call["arguments"]["Bucket"] in ("orders", "logs")


def test_auto_leaves_text_free_and_holds_what_follows_the_tag() -> None:
    matcher = GRAMMARS.matcher(tool_grammar(TOOLS, "auto"))
    for token in TEXT.encode("Any <text> at all"):
        assert bool(matcher.allowed()[token]) and matcher.advance(token)
    assert bool(matcher.allowed()[TEXT.turn_end]), "text alone may end the turn"
    # The tag is one token here, as it is what the template writes.
    tag = TEXT.tokenizer.token_to_id("<tool_call>")
    assert bool(matcher.allowed()[tag]) and matcher.advance(tag)
    wrong = TEXT.encode("hello")[0]
    assert not bool(matcher.allowed()[wrong]) and not bool(matcher.allowed()[TEXT.turn_end])
    for token in TEXT.encode('\n{"name": "ListBuckets", "arguments": {"Max": 2}}\n'):
        assert bool(matcher.allowed()[token]) and matcher.advance(token)
    close = TEXT.tokenizer.token_to_id("</tool_call>")
    assert bool(matcher.allowed()[close]) and matcher.advance(close)
    assert bool(matcher.allowed()[TEXT.turn_end]) and matcher.advance(TEXT.turn_end)


@pytest.mark.parametrize("seed", range(3))
def test_json_of_a_schema(seed: int) -> None:
    text, last = answer(json_grammar(BUCKET), seed=seed)
    assert last.finish == "stop" and set(json.loads(text)) == {"Bucket", "Versioning"}


def test_the_same_seed_says_the_same_under_a_grammar() -> None:
    grammar = tool_grammar(TOOLS, "any")
    assert answer(grammar, seed=5)[0] == answer(grammar, seed=5)[0]


def test_impossible_grammars_are_refused() -> None:
    engine = SlotEngine(MODEL, grammars=GRAMMARS)
    with pytest.raises(Refused, match="cannot be compiled"):
        engine.submit([1], Sampling(grammar=json_grammar({"type": "no such type"})))
    with pytest.raises(Refused, match="200000"):
        engine.submit([1], Sampling(grammar=json_grammar({"enum": ["x" * 300_000]})))
    with pytest.raises(Refused, match="not among"):
        tool_grammar(TOOLS, "tool", "DropTable")
    with pytest.raises(Refused, match="tokenizer"):
        SlotEngine(MODEL).submit([1], Sampling(grammar=json_grammar()))
    assert engine.idle


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for i in range(depth):
        schema = {"type": "object", "properties": {f"{c}{i}": schema for c in "ab"}}
    return schema


HOSTILE: dict[str, dict[str, Any]] = {
    "bounded repetition of a repetition": {"type": "string", "pattern": "^((a{1,99}){1,99}b?){1,99}$"},
    "a large count of optional members": {"type": "object", "properties": {f"k{i}": {"type": "string"} for i in range(2_000)}},
    "an array of a million": {"type": "array", "items": {"type": "string"}, "minItems": 1_000_000},
    "all of many patterns": {"allOf": [{"type": "string", "pattern": f"(a|b)*a(a|b){{{i}}}c"} for i in range(1, 20)]},
    "all of eight patterns": {"allOf": [{"type": "string", "pattern": f"(a|b)*a(a|b){{{50 + i}}}c"} for i in range(8)]},
    "a definition of itself": {"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/x"}}},
    "nested": nested(12),
    "one of a thousand": {"anyOf": [{"type": "object", "properties": {f"k{i}": {"type": "number"}}} for i in range(1_000)]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_end_soon(name: str) -> None:
    """Compiled or refused, answered or given up: CPU time stays small, and the neighbour gets its tokens."""
    started = time.process_time()
    try:
        _, last = answer(json_grammar(HOSTILE[name]), max_tokens=20)
    except Refused as refusal:
        assert "cannot be compiled" in str(refusal) or "characters" in str(refusal) or "patterns" in str(refusal)
    else:
        assert last.finish in ("stop", "length", "failed")
    assert time.process_time() - started < 30
