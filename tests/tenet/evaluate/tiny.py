"""A model folder of a few thousand random weights and an assistant that reads its answers from a script, for the tests
here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lightning_modules.data.chat import END_OF_TEXT, TOOL_TAGS, TURN_END, TURN_START, ChatTokenizer
from lightning_modules.generation.protocol import Sampling
from lightning_modules.generation.scoring import Score
from lightning_modules.model.config import ModelConfig
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.hub import save_model
from tenet.assistant.assistant import Capability, Context, Message, Reply, Tools

TEXT = (
    "Deletes a table and all of its items. Creates a bucket. Lists the queues of an account. What does DeleteTable of Amazon "
    "DynamoDB do? Question: which of these is a metal? Answer: iron. Call DeleteTable with table name 'orders'. "
)


@cache
def tokenizer() -> ChatTokenizer:
    """Byte-level BPE with 330 entries: the alphabet, the special tokens and a few words, some with their blank."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [END_OF_TEXT, TURN_START, TURN_END]
    bpe.train_from_iterator([TEXT] * 4, trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet))
    bpe.add_tokens(list(TOOL_TAGS))
    return ChatTokenizer(bpe)


def model_folder(folder: Path, seed: int = 0, context: int = 256) -> Path:
    """A loadable `model/` folder."""
    chat = tokenizer()
    shape = ModelConfig(chat.vocab_size, 32, 64, 2, 4, 2, 8, context)
    folder.mkdir(parents=True, exist_ok=True)
    chat.tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text(chat.template)
    save_model(Decoder(shape).initialise(seed), folder, folder, chat.stop_ids, chat.end_of_text)
    return folder


class Scripted:
    """Answers with `say(messages, tools)` and scores with `like(context, continuation)`; remembers what it was
    asked."""

    def __init__(
        self,
        say: Callable[[list[Message], Tools], str] = lambda messages, tools: "",
        like: Callable[[Context, str], float] = lambda context, continuation: 0.0,
        capabilities: Sequence[Capability] = ("answer", "tools", "score", "score_chat"),
    ) -> None:
        self.say, self.like, self.capabilities = say, like, frozenset(capabilities)
        self.asked: list[Any] = []

    def answer(
        self,
        conversations: Sequence[list[Message]],
        *,
        sampling: Sampling,
        tools: Sequence[Tools] | None = None,
        n: int = 1,
        prefill: Sequence[str] | None = None,
    ) -> list[list[Reply]]:
        """`n` times the scripted answer."""
        from lightning_modules.data.chat import parse_tool_calls

        offered = list(tools) if tools else [None] * len(conversations)
        self.asked += list(zip(conversations, offered, strict=True))
        replies = []
        for messages, mine in zip(conversations, offered, strict=True):
            text, calls = parse_tool_calls(self.say(messages, mine))
            replies.append([Reply(text, tuple(calls), 1)] * n)
        return replies

    def score(self, pairs: Sequence[tuple[Context, str]]) -> list[Score]:
        """The scripted log-likelihoods."""
        self.asked += list(pairs)
        return [Score(self.like(*pair), False, 1) for pair in pairs]

    def identity(self) -> dict[str, str]:
        """A script has no weights."""
        return {"weights": "script"}


def call(name: str, arguments: dict[str, Any]) -> str:
    """A tool call as a model writes it."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"
