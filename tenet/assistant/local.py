"""A checkpoint as a model under test: the own engine and scorer on its weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_modules.generation.protocol import Completion, Sampling
from tenet.assistant.assistant import Capability, Context, Reply
from tenet.assistant.converse_request import Message, Tools

if TYPE_CHECKING:
    from lightning_modules.data.chat import ChatTokenizer
    from lightning_modules.generation.scoring import Score
    from lightning_modules.model.decoder import Decoder


class LocalAssistant:
    """Weights on this machine.

    Args:
        model: decoder, on any device.
        tokenizer: with its chat template.
        folder: the Hugging Face folder that both came from, for `identity`.
        batch: answers decoded at once. On a CPU about 50 is fastest; more are made to wait for the longest prompt among
            them.
        check: called between batches; raises to stop.
    """

    capabilities: frozenset[Capability] = frozenset({"answer", "tools", "complete", "score", "score_chat"})

    def __init__(
        self,
        model: Decoder,
        tokenizer: ChatTokenizer,
        folder: Path | None = None,
        batch: int = 48,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.model, self.tokenizer, self.folder, self.batch, self.check = model, tokenizer, folder, batch, check

    @classmethod
    def from_folder(cls, folder: str | Path) -> LocalAssistant:
        """Load a `model/` folder.

        Raises:
            ModelFolderError: as `load_model` and `ChatTokenizer.from_folder`.
        """
        from lightning_modules.data.chat import ChatTokenizer
        from lightning_modules.model.hub import load_model

        return cls(load_model(folder), ChatTokenizer.from_folder(folder), Path(folder))

    def answer(
        self,
        conversations: Sequence[list[Message]],
        *,
        sampling: Sampling,
        tools: Sequence[Tools] | None = None,
        n: int = 1,
        prefill: Sequence[str] | None = None,
    ) -> list[list[Reply]]:
        """See `Assistant.answer`. The seed of a conversation follows from its place, not from its company."""
        prompts = [
            self.tokenizer.prompt(messages, tools=one_tools, prefill=words)
            for messages, one_tools, words in aligned(conversations, tools, prefill)
        ]
        if not sampling.stop_ids:
            sampling = replace(sampling, stop_ids=self.tokenizer.stop_ids)
        replies = [[Reply("", finish="too_long")] * n for _ in prompts]
        for i, completions in self._generate(prompts, sampling, n):
            replies[i] = [self._reply(completion, sampling.stop_ids) for completion in completions]
        return replies

    def complete(self, prompts: Sequence[str], *, sampling: Sampling, stop: Sequence[str] = (), n: int = 1) -> list[list[Reply]]:
        """See `Assistant.complete`. Without `stop_ids` a completion ends at the end of a text."""
        encoded = [self.tokenizer.encode(prompt) or [self.tokenizer.text_start] for prompt in prompts]
        if not sampling.stop_ids:
            sampling = replace(sampling, stop_ids=self.tokenizer.stop_ids)
        # A token is at least a byte, so the end of a stop text is within this many tokens, and some of a cut character.
        recent = max((len(one.encode()) for one in stop), default=0) + 4
        replies = [[Reply("", finish="too_long")] * n for _ in encoded]

        def stopped(completion: Completion) -> bool:
            tail = self.tokenizer.decode(completion.ids[-recent:])
            return any(one in tail for one in stop)

        for i, completions in self._generate(encoded, sampling, n, stopped if stop else None):
            replies[i] = [self._completed(completion, sampling.stop_ids, stop) for completion in completions]
        return replies

    def _completed(self, completion: Completion, stop_ids: Sequence[int], stop: Sequence[str]) -> Reply:
        ids = completion.ids[:-1] if completion.ids and completion.ids[-1] in stop_ids else completion.ids
        text = cut(self.tokenizer.decode(ids), stop)
        return Reply(text, (), len(completion.ids), "stop" if completion.finish == "stop" else "length")

    def _generate(
        self,
        prompts: Sequence[list[int]],
        sampling: Sampling,
        n: int,
        until: Callable[[Completion], bool] | None = None,
    ) -> Iterator[tuple[int, list[Completion]]]:
        """Answers to the prompts that leave room for one, prompts of similar length together: padding is computed
        too."""
        from lightning_modules.generation.engine import generate

        fits = [i for i, prompt in enumerate(prompts) if len(prompt) < self.model.config.max_position_embeddings]
        fits.sort(key=lambda i: (len(prompts[i]), i))
        parts = math.ceil(len(fits) * n / self.batch)
        for part in range(parts):
            self.check()
            chosen = fits[part * len(fits) // parts : (part + 1) * len(fits) // parts]
            seeds = [sampling.seed + 1_000_003 * i for i in chosen]
            made = generate(self.model, [prompts[i] for i in chosen], sampling, n=n, seeds=seeds, until=until)
            yield from zip(chosen, made, strict=True)

    def _reply(self, completion: Completion, stop_ids: Sequence[int]) -> Reply:
        from lightning_modules.data.chat import parse_tool_calls

        ids = completion.ids[:-1] if completion.ids and completion.ids[-1] in stop_ids else completion.ids
        text, calls = parse_tool_calls(self.tokenizer.decode(ids))
        return Reply(text, tuple(calls), len(completion.ids), "stop" if completion.finish == "stop" else "length")

    def score(self, pairs: Sequence[tuple[Context, str]]) -> list[Score]:
        """See `Assistant.score`. Equal to lm-eval's log-likelihood on the same weights."""
        from lightning_modules.generation.scoring import score

        return score(self.model, [self.encode_pair(*pair) for pair in pairs])

    def encode_pair(self, context: Context, continuation: str) -> tuple[list[int], list[int]]:
        """Ids of both, cut where the context alone ends.

        Both are encoded together, because a token may span the border in neither text alone, and blanks at the end of
        the context are moved over, because tokenizers put a blank with the word after it. A conversation ends in a
        special token, which no merge crosses.
        """
        if not isinstance(context, str):
            return self.tokenizer.prompt(context), self.tokenizer.encode(continuation)
        if not context:
            return [self.tokenizer.text_start], self.tokenizer.encode(continuation)
        kept = context.rstrip()
        whole = self.tokenizer.encode(context + continuation)
        ids = self.tokenizer.encode(kept)
        return (ids, whole[len(ids) :]) if ids else ([self.tokenizer.text_start], whole)

    def identity(self) -> dict[str, str]:
        """SHA-256 of weights, tokenizer and chat template."""
        if self.folder is None:
            return {"weights": "in memory", "template": hashlib.sha256(self.tokenizer.template.encode()).hexdigest()}
        from tenet.files import sha256

        shards = "".join(sha256(path) for path in sorted(self.folder.glob("*.safetensors")))
        return {
            "weights": shards if len(shards) == 64 else hashlib.sha256(shards.encode()).hexdigest(),
            "tokenizer": sha256(self.folder / "tokenizer.json"),
            "template": hashlib.sha256(self.tokenizer.template.encode()).hexdigest(),
        }


def cut(text: str, stop: Sequence[str]) -> str:
    """A text up to the first of the stop texts."""
    return text[: min((place for place in map(text.find, stop) if place >= 0), default=len(text))]


def aligned(
    conversations: Sequence[list[Message]], tools: Sequence[Tools] | None, prefill: Sequence[str] | None
) -> list[tuple[list[Message], Tools, str]]:
    """One entry of each for every conversation.

    Raises:
        ValueError: lists of different lengths.
    """
    for name, values in (("tools", tools), ("prefill", prefill)):
        if values is not None and len(values) != len(conversations):
            raise ValueError(f"{name} has {len(values)} entries for {len(conversations)} conversations; give one for each")
    return list(zip(conversations, tools or [None] * len(conversations), prefill or [""] * len(conversations), strict=True))
