"""What is held back and what is let through: characters, stop sequences, tool calls."""

from __future__ import annotations

import json
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from tenet.serving.engines.echo import ByteText
from tenet.serving.engines.stream_filters import CallSplitter, Detokenizer, held_back
from tenet.serving.protocol.chat_request import Part, ToolCall, Words
from tenet.serving.protocol.stop_finder import StopFinder


def words(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Words))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_characters_arrive_whole_and_in_order(text: str) -> None:
    detokenizer = Detokenizer(ByteText().decode)
    pieces = [detokenizer.feed(byte) for byte in text.encode()]
    assert "".join(pieces) + detokenizer.finish() == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_broken_bytes_are_decoded_as_at_once(data: bytes) -> None:
    detokenizer = Detokenizer(ByteText().decode)
    text = "".join(map(detokenizer.feed, data)) + detokenizer.finish()
    assert text == data.decode(errors="replace")


def test_a_run_of_broken_bytes_is_let_go() -> None:
    detokenizer = Detokenizer(ByteText().decode)
    assert any(detokenizer.feed(0xFF) for _ in range(100))


STOPS = st.lists(st.text(alphabet="ab<", min_size=1, max_size=3), min_size=1, max_size=3)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab<c", max_size=30), STOPS, st.integers(1, 4))
def test_stop_sequences_wherever_the_pieces_are_cut(text: str, stops: list[str], size: int) -> None:
    finder, out, met = StopFinder(stops), "", None
    for i in range(0, len(text), size):
        piece, met = finder.feed(text[i : i + size])
        out += piece
        if met:
            break
    out += "" if met else finder.finish()
    assert (out, met) == first_complete(text, stops), "wherever the pieces are cut"


def first_complete(text: str, stops: list[str]) -> tuple[str, str | None]:
    """Letter by letter: the longest stop sequence that ends where the first one is complete."""
    for end in range(1, len(text) + 1):
        if met := [stop for stop in stops if text[:end].endswith(stop)]:
            return text[: end - max(map(len, met))], max(met, key=len)
    return text, None


def test_thousands_of_stop_sequences_cost_no_more_than_one() -> None:
    finder = StopFinder([f"stop{i}" for i in range(2500)])
    start = time.perf_counter()
    for _ in range(2000):
        assert finder.feed("hello st")[1] is None
    assert time.perf_counter() - start < 1.0, "0.5 ms a token would be seen; one by one it were 5"
    assert finder.feed("op24") == ("", "stop2")


def test_held_back() -> None:
    assert held_back("hello <tool", ["<tool_call>"]) == 5
    assert held_back("hello", ["<tool_call>"]) == 0
    assert held_back("", ["x"]) == 0


CALL = '<tool_call>\n{"name": "f", "arguments": {"a": [1, "x"]}}\n</tool_call>'


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9))
def test_calls_wherever_the_pieces_are_cut(size: int) -> None:
    text = f"before\n{CALL}\n{CALL}  after "
    splitter = CallSplitter(["f"])
    parts: list[Part] = [part for i in range(0, len(text), size) for part in splitter.feed(text[i : i + size])]
    parts += splitter.finish()
    assert words(parts) == "beforeafter "
    assert [part.arguments for part in parts if isinstance(part, ToolCall)] == [{"a": [1, "x"]}] * 2


def test_what_is_no_call_stays_text() -> None:
    for text in (
        "<tool_call>no json</tool_call>",
        CALL.replace('"f"', '"other"'),
        "a < b <tool_cal",
        "<tool_call>{",
        "  spaces  ",
    ):
        splitter = CallSplitter(["f"])
        parts = splitter.feed(text) + splitter.finish()
        assert words(parts) == text and not any(isinstance(part, ToolCall) for part in parts)


def test_begun_call_and_missing_end() -> None:
    splitter = CallSplitter(["f"], '<tool_call>\n{"name": "f", "arguments": ')
    parts = splitter.feed(json.dumps({"city": "Oslo"}) + "}") + splitter.finish()
    assert parts == [ToolCall("f", {"city": "Oslo"})]
