"""Text that is out to break a tokenizer comes back letter for letter, and no text becomes a special token."""

from __future__ import annotations

import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.data.chat import END_OF_TEXT, TOOL_TAGS, TURN_END, TURN_START, ChatTokenizer
from tenet.corpus.tokens.shards import counted, write_shard
from tenet.corpus.tokens.tokenizer import SPECIAL, train_tokenizer
from tenet.errors import StageError

#: Trained on text that looks like the marks, so that their pieces are merged as far as they can be.
TOKENIZER = train_tokenizer(
    [f"{token} im_start im_end endoftext tool_call < | > 12345" for token in (*SPECIAL, *TOOL_TAGS)] * 20, 420
)
CHAT = ChatTokenizer(TOKENIZER)
RESERVED = {token: TOKENIZER.token_to_id(token) for token in (*SPECIAL, *TOOL_TAGS)}
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
HOSTILE = [
    "\x00", "\x00\x00", "\x1b[31m", "\x7f", "\x85", "\ufeff", "\ufffe", "\uffff", "\ufffd", "\U0010ffff",  # controls and non-characters
    "e\u0301", "\u0301", "a" + "\u0300\u0323" * 30, "\u1100\u1161\u11a8", "각", "ﬁ", "Å", "\u212b",  # combining and compatible
    FAMILY, "\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f1e9\U0001f1ea\U0001f1e9", "\U0001f44d\U0001f3ff",  # joined emoji
    "\u202e", "\u2066אב\u2069", "\u200b", "\u00ad", "\u2028", "\u2029", "\u00a0", "\u3000", " ", "  ", "\t", "\r", "\r\n", "\n\n",
    "Ġ", "Ċ", "ĠĠ", "Â", "<0x0A>", "▁", "##",  # what byte-level and other tokenizers write for bytes
    "𝟘𝟙", "٣", "Ⅷ", "½", "12345678901234567890", "it's", "IT'LL", "ſ", "ß", "İ", "ı",
    *RESERVED, "<|im_", "start|>", "<|", "|>", "<|endoftext", "|endoftext|>", "<|im_start|><|im_end|>", "<|im_<|im_end|>end|>",
    "<tool_call><tool_call>", "</tool_call", "<|IM_START|>", "<｜im_start｜>", "<|im_start|>\u0301", "\u200d<|endoftext|>",
]  # fmt: skip
TEXT = st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec="utf-8"), max_size=8)), max_size=25).map("".join)


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_hostile_text_comes_back_and_is_never_special(text: str) -> None:
    ids = CHAT.encode(text)
    assert CHAT.decode(ids) == text
    assert not set(ids) & set(RESERVED.values())
    assert counted([text], CHAT) == [len(ids)], "what goes into shards is what a text alone gives"


@pytest.mark.parametrize("text", [*HOSTILE, "", *(f"a{token}b" for token in RESERVED)])
def test_each_of_them_alone(text: str) -> None:
    assert CHAT.decode(CHAT.encode(text)) == text


@settings(max_examples=30, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=6))
def test_a_shard_gives_back_each_document(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder) / "x.ds", texts, CHAT)
        tokens = np.fromfile(Path(folder) / "x.ds", dtype="<u2")
        ends = np.fromfile(Path(folder) / "x.ds.index", dtype="<u8").astype(int)
    assert (tokens == RESERVED[END_OF_TEXT]).sum() == len(texts), "only the border of documents is one"
    assert not set(tokens.tolist()) & {RESERVED[TURN_START], RESERVED[TURN_END]}
    begins = [0, *ends[:-1]]
    assert [CHAT.decode(tokens[b : e - 1].tolist()) for b, e in zip(begins, ends, strict=True)] == texts


@pytest.mark.parametrize("unit", ["x", "\u0301", FAMILY, "<|endoftext|>", " ", "\n", "7", "\x00", "字"])
def test_a_line_without_an_end(unit: str) -> None:
    text = unit * (60_000 // len(unit))
    ids = CHAT.encode(text)
    assert CHAT.decode(ids) == text and not set(ids) & set(RESERVED.values())


@given(st.sampled_from(["\ud800", "\udfff", "a\udc80b"]))
def test_half_a_character_is_refused_and_not_replaced(text: str) -> None:
    with pytest.raises(StageError, match="half of a surrogate pair"):
        train_tokenizer(["fine", text], 300)
    with pytest.raises((TypeError, ValueError)):
        CHAT.encode(text)


def test_no_normal_form_is_forced() -> None:
    """Composed and decomposed letters are different text, and stay so."""
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        text = unicodedata.normalize(form, "Ångström ﬁ ½ 각")
        assert CHAT.decode(CHAT.encode(text)) == text
