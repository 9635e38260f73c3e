"""A model under test. Evaluation and red team speak to this protocol alone, so that the same task runs on a checkpoint and on a
deployed endpoint.

Nothing heavy is imported before an assistant is used: torch stays out of `tenet show`, boto3 out of evaluating local weights.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lightning_modules.generation.protocol import Completion, Sampling
from tenet.errors import StageError
from tenet.wire import Message, Tools, converse_request

if TYPE_CHECKING:
    from lightning_modules.data.chat import ChatTokenizer
    from lightning_modules.generation.scoring import Score
    from lightning_modules.model.decoder import Decoder

#: What comes before a scored continuation: plain text, or a conversation that the assistant is about to answer.
Context = str | list[Message]
Capability = Literal["answer", "tools", "score"]
#: Conversations asked of an endpoint at once; its queue is longer than that.
CONNECTIONS = 8


class MissingCapability(StageError):
    """The model behind this assistant cannot do what was asked; a task that needs it is reported as not run, never as 0."""


@dataclass(frozen=True)
class Reply:
    """One answer.

    Args:
        text: what was said, without its tool calls.
        tool_calls: `{"name": ..., "arguments": {...}}` each.
        tokens: how many were made.
        finish: stop, length (cut off) or too_long (the prompt left no room, nothing was made).
    """

    text: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    tokens: int = 0
    finish: Literal["stop", "length", "too_long"] = "stop"


class Assistant(Protocol):
    """Answers conversations and, where it can, scores continuations."""

    capabilities: frozenset[Capability]

    def answer(
        self,
        conversations: Sequence[list[Message]],
        *,
        sampling: Sampling,
        tools: Sequence[Tools] | None = None,
        n: int = 1,
        prefill: Sequence[str] | None = None,
    ) -> list[list[Reply]]:
        """Answer each conversation n times.

        Args:
            conversations: messages of each.
            sampling: for all; without `stop_ids` an answer ends where the assistant's turn does.
            tools: one entry a conversation.
            n: answers of each.
            prefill: words put into the assistant's mouth, one entry a conversation; they are not part of the reply.
        """
        ...

    def score(self, pairs: Sequence[tuple[Context, str]]) -> list[Score]:
        """Log-likelihood of each continuation after its context.

        Raises:
            MissingCapability: this assistant gives no log-probabilities.
        """
        ...

    def identity(self) -> dict[str, str]:
        """What makes the answers what they are: hashes of local files, or the names of a remote model."""
        ...


class LocalAssistant:
    """Weights on this machine.

    Args:
        model: decoder, on any device.
        tokenizer: with its chat template.
        folder: the Hugging Face folder that both came from, for `identity`.
        batch: answers decoded at once. On a CPU about 50 is fastest; more are made to wait for the longest prompt among them.
        check: called between batches; raises to stop.
    """

    capabilities: frozenset[Capability] = frozenset({"answer", "tools", "score"})

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
            FileNotFoundError, ValueError: as `load_model` and `ChatTokenizer.from_folder`.
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
            for messages, one_tools, words in _aligned(conversations, tools, prefill)
        ]
        if not sampling.stop_ids:
            sampling = replace(sampling, stop_ids=self.tokenizer.stop_ids)
        replies = [[Reply("", finish="too_long")] * n for _ in prompts]
        for i, completions in self._generate(prompts, sampling, n):
            replies[i] = [self._reply(completion, sampling.stop_ids) for completion in completions]
        return replies

    def _generate(self, prompts: Sequence[list[int]], sampling: Sampling, n: int) -> Iterator[tuple[int, list[Completion]]]:
        """Answers to the prompts that leave room for one, prompts of similar length together: padding is computed too."""
        from lightning_modules.generation.engine import generate

        fits = [i for i, prompt in enumerate(prompts) if len(prompt) < self.model.config.max_position_embeddings]
        fits.sort(key=lambda i: (len(prompts[i]), i))
        parts = math.ceil(len(fits) * n / self.batch)
        for part in range(parts):
            self.check()
            chosen = fits[part * len(fits) // parts : (part + 1) * len(fits) // parts]
            seeds = [sampling.seed + 1_000_003 * i for i in chosen]
            yield from zip(chosen, generate(self.model, [prompts[i] for i in chosen], sampling, n=n, seeds=seeds), strict=True)

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

        Both are encoded together, because a token may span the border in neither text alone, and blanks at the end of the context
        are moved over, because tokenizers put a blank with the word after it. A conversation ends in a special token, which no
        merge crosses.
        """
        if not isinstance(context, str):
            return self.tokenizer.prompt(context), self.tokenizer.encode(continuation)
        if not context:
            return [self.tokenizer.end_of_text], self.tokenizer.encode(continuation)
        kept = context.rstrip()
        whole = self.tokenizer.encode(context + continuation)
        ids = self.tokenizer.encode(kept)
        return (ids, whole[len(ids) :]) if ids else ([self.tokenizer.end_of_text], whole)

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


class BedrockAssistant:
    """A model behind the Bedrock Runtime API: Tenet's own endpoint or AWS.

    Args:
        endpoint_url: e.g. http://127.0.0.1:8080; None asks AWS itself.
        model_id: of the model there.
        region: AWS region.
        keys: access key and secret key; None takes boto3's own chain (environment, profile, role).
        client: a ready boto3 client in place of all of these.
    """

    # Converse has no log-probabilities.
    capabilities: frozenset[Capability] = frozenset({"answer", "tools"})

    def __init__(
        self,
        endpoint_url: str | None,
        model_id: str,
        region: str = "us-east-1",
        keys: tuple[str, str] | None = None,
        client: Any = None,
    ) -> None:
        self.endpoint_url, self.model_id, self.region = endpoint_url, model_id, region
        self.client = client or self._connect(keys)

    def _connect(self, keys: tuple[str, str] | None) -> Any:
        import boto3
        from botocore.config import Config

        access = {"aws_access_key_id": keys[0], "aws_secret_access_key": keys[1]} if keys else {}
        settings = Config(max_pool_connections=CONNECTIONS, retries={"max_attempts": 8, "mode": "standard"}, read_timeout=600)
        return boto3.client("bedrock-runtime", endpoint_url=self.endpoint_url, region_name=self.region, config=settings, **access)

    def answer(
        self,
        conversations: Sequence[list[Message]],
        *,
        sampling: Sampling,
        tools: Sequence[Tools] | None = None,
        n: int = 1,
        prefill: Sequence[str] | None = None,
    ) -> list[list[Reply]]:
        """See `Assistant.answer`. The wire has no seed: repeatable answers need temperature 0.

        Raises:
            StageError: the endpoint refused a request; its own words are in the message.
        """
        if sampling.stop_ids:
            raise MissingCapability("stop_ids: the Bedrock API stops at text, not at token ids; leave stop_ids out")
        requests = [
            converse_request(self.model_id, messages, one_tools, words, sampling)
            for messages, one_tools, words in _aligned(conversations, tools, prefill)
        ]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            flat = list(pool.map(self._ask, [request for request in requests for _ in range(n)]))
        return [flat[i * n : (i + 1) * n] for i in range(len(requests))]

    def _ask(self, request: dict[str, Any]) -> Reply:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            response = self.client.converse(**request)
        except (BotoCoreError, ClientError) as error:
            raise StageError(f"{self.endpoint_url or 'Bedrock'} did not answer for {self.model_id}: {error}") from error
        return converse_reply(response)

    def score(self, pairs: Sequence[tuple[Context, str]]) -> list[Score]:
        """Always refuses."""
        raise MissingCapability(
            f"{self.model_id}: the Converse API gives no log-probabilities, so {len(pairs)} continuations cannot be scored; "
            "evaluate the model folder with LocalAssistant"
        )

    def identity(self) -> dict[str, str]:
        """Where the model is and what it is called; its weights cannot be seen from here."""
        return {"endpoint": self.endpoint_url or f"bedrock-runtime.{self.region}.amazonaws.com", "model_id": self.model_id}


def _aligned(
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


def converse_reply(response: dict[str, Any]) -> Reply:
    """A `converse` response as a reply."""
    blocks = response["output"]["message"]["content"]
    calls = tuple({"name": b["toolUse"]["name"], "arguments": b["toolUse"]["input"]} for b in blocks if "toolUse" in b)
    text = "".join(block["text"] for block in blocks if "text" in block).strip()
    cut_off = response["stopReason"] in ("max_tokens", "model_context_window_exceeded")
    return Reply(text, calls, response["usage"]["outputTokens"], "length" if cut_off else "stop")
