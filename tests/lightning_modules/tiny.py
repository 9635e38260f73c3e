"""A decoder small enough for unit tests, and a tokenizer trained on a few sentences."""

from __future__ import annotations

from typing import Any

from lightning_modules.data.chat import END_OF_TEXT, TOOL_TAGS, TURN_END, TURN_START, ChatTokenizer
from lightning_modules.model.config import ModelConfig
from lightning_modules.model.decoder import Decoder

TEXT = [
    "CreateBucket creates a new bucket. DeleteBucket deletes the bucket.",
    'Who are you? I am an assistant. user system {"name": "CreateBucket", "arguments": {"Bucket": "orders"}}',
    "The quick brown fox jumps over the lazy dog, 0123456789 times.",
]


def tiny_model(seed: int = 0, **changes: Any) -> Decoder:
    """About 60,000 parameters."""
    shape: dict[str, Any] = {
        "vocab_size": 320, "hidden_size": 48, "intermediate_size": 96, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2,
        "head_dim": 12, "max_position_embeddings": 256, **changes,
    }  # fmt: skip
    return Decoder(ModelConfig(**shape)).initialise(seed).eval()


def raw_tokenizer() -> Any:
    """Byte-level BPE of 320 entries with ChatML's special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [END_OF_TEXT, TURN_START, TURN_END]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=316, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TOOL_TAGS])
    return tokenizer


def tiny_tokenizer() -> ChatTokenizer:
    """With the project's own template."""
    return ChatTokenizer(raw_tokenizer())
