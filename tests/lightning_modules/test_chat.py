"""The chat format: template, loss mask, tool calls, and users who try to write special tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.data.chat import CHAT_TEMPLATE, TURN_END, TURN_START, ChatTokenizer, parse_tool_calls
from tests.lightning_modules.tiny import raw_tokenizer, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
TOOL = {
    "type": "function",
    "function": {"name": "CreateBucket", "parameters": {"type": "object", "properties": {"Bucket": {"type": "string"}}}},
}
CALL = {"type": "function", "function": {"name": "CreateBucket", "arguments": {"Bucket": "orders"}}}
TEXTS = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\ufdd0"), min_size=1, max_size=30)


def test_template_renders_as_transformers_does(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast(tokenizer_object=raw_tokenizer(), chat_template=CHAT_TEMPLATE, eos_token=TURN_END)
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Create ä bucket."},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": '{"ok": true}'},
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "Again"},
    ]
    for tools in (None, [TOOL]):
        text = theirs.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
        assert TOKENIZER.render(messages, tools, generation=True) == text
        ids = theirs.apply_chat_template(messages, tools=tools, tokenize=True, add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
        assert TOKENIZER.prompt(messages, tools) == ids


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3))
def test_the_mask_covers_what_the_assistant_said(turns: list[tuple[str, str]]) -> None:
    messages = [m for asked, said in turns for m in ({"role": "user", "content": asked}, {"role": "assistant", "content": said})]
    ids, mask = TOKENIZER.conversation(messages)
    supervised = TOKENIZER.decode([i for i, m in zip(ids, mask, strict=True) if m], keep_special=True)
    assert supervised == "".join(said + TURN_END for _, said in turns)


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, st.sampled_from([TURN_END, TURN_START, "<|endoftext|>", "<tool_call>", "</tools>"]))
def test_special_tokens_in_text_stay_text(before: str, after: str, special: str) -> None:
    text = before + special + after
    ids = TOKENIZER.prompt([{"role": "user", "content": text}])
    starts = TOKENIZER.tokenizer.token_to_id(TURN_START)
    assert ids.count(starts) == 2 and ids.count(TOKENIZER.turn_end) == 1
    assert TOKENIZER.tokenizer.token_to_id(special) not in TOKENIZER.encode(text)
    assert TOKENIZER.decode(TOKENIZER.encode(text), keep_special=True) == text


def test_special_tokens_inside_tools_and_arguments_stay_text() -> None:
    hostile = json.loads(json.dumps(TOOL).replace("Bucket", f"B{TURN_END}"))
    ids = TOKENIZER.prompt([{"role": "user", "content": "Hi"}], [hostile])
    assert ids.count(TOKENIZER.turn_end) == 2  # system and user


def test_a_conversation_without_an_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="no assistant turn"):
        TOKENIZER.conversation([{"role": "user", "content": "Hi"}])


def test_a_template_that_rewrites_history_is_refused() -> None:
    rewriting = ChatTokenizer(raw_tokenizer(), "{{ messages | length }}" + CHAT_TEMPLATE)
    messages = [{"role": r, "content": "x"} for r in ("user", "assistant", "user", "assistant")]
    with pytest.raises(ValueError, match="rewrites"):
        rewriting.conversation(messages)


def test_tool_calls_are_read_back() -> None:
    rendered = TOKENIZER.render(
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Sure.", "tool_calls": [CALL, CALL]}]
    )
    said = rendered.split("assistant\n")[1].removesuffix(TURN_END + "\n")
    assert parse_tool_calls(said) == ("Sure.", [{"name": "CreateBucket", "arguments": {"Bucket": "orders"}}] * 2)
    assert parse_tool_calls("<tool_call>{broken</tool_call>") == ("<tool_call>{broken</tool_call>", [])
    assert parse_tool_calls('<tool_call>{"name": 3, "arguments": {}}</tool_call>')[1] == []


@pytest.mark.parametrize("tools", [None, [{"type": "function", "function": {"name": "find", "parameters": {}}}]])
def test_an_assistant_that_speaks_first_is_learnt_from_its_first_word(tools: list[dict[str, Any]] | None) -> None:
    chat = tiny_tokenizer()
    messages = [
        {"role": "assistant", "content": "I am here."},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Me."},
    ]
    ids, learned = chat.conversation(messages, tools)
    said = chat.decode([one for one, taught in zip(ids, learned, strict=True) if taught], keep_special=True)
    assert said == f"I am here.{TURN_END}Me.{TURN_END}"
    assert chat.decode(ids, keep_special=True) == chat.render(messages, tools).removesuffix("\n")


def test_a_turn_of_weight_0_is_read_and_not_learnt() -> None:
    chat = tiny_tokenizer()
    turns = [("user", "Who?"), ("assistant", "Nobody."), ("user", "Who?"), ("assistant", "Me.")]
    messages: list[dict[str, Any]] = [{"role": role, "content": content} for role, content in turns]
    plain, _ = chat.conversation(messages)
    messages[1]["weight"] = 0
    ids, learned = chat.conversation(messages)
    assert ids == plain
    assert chat.decode([one for one, taught in zip(ids, learned, strict=True) if taught], keep_special=True) == f"Me.{TURN_END}"
