"""An endpoint as a model under test: conversations by the Converse API; plain text, and what it thinks of a given one, by
InvokeModel in the form of imported models."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lightning_modules.generation.protocol import Sampling
from tenet.assistant.assistant import Capability, Context, MissingCapability, Reply
from tenet.assistant.converse_request import Message, Tools, converse_request
from tenet.assistant.local import aligned, cut
from tenet.errors import StageError
from tenet.serving.clients.client import errors

if TYPE_CHECKING:
    from lightning_modules.generation.scoring import Score


#: Conversations asked of an endpoint at once; its queue is longer than that.
CONNECTIONS = 8


class BedrockAssistant:
    """A model behind the Bedrock Runtime API: Tenet's own endpoint or AWS.

    Args:
        endpoint_url: e.g. http://127.0.0.1:8080; None asks AWS itself.
        model_id: of the model there.
        region: AWS region.
        keys: access key and secret key; None takes boto3's own chain (environment, profile, role).
        client: a ready boto3 client in place of all of these.
    """

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
        self._sizes: dict[str, int] = {}

    @functools.cached_property
    def capabilities(self) -> frozenset[Capability]:
        """Conversations, and plain text where the model behind it answers InvokeModel as imported models do."""
        try:
            self._places("one two")
        except StageError:
            return frozenset({"answer", "tools"})
        return frozenset({"answer", "tools", "complete", "score"})

    def _connect(self, keys: tuple[str, str] | None) -> Any:
        import boto3
        from botocore.config import Config

        access = {"aws_access_key_id": keys[0], "aws_secret_access_key": keys[1]} if keys else {}
        settings = Config(max_pool_connections=CONNECTIONS, retries={"max_attempts": 8, "mode": "standard"}, read_timeout=600)
        # A session of its own: the default one keeps the keys that it found first.
        return boto3.Session().client(
            "bedrock-runtime", endpoint_url=self.endpoint_url, region_name=self.region, config=settings, **access
        )

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
            for messages, one_tools, words in aligned(conversations, tools, prefill)
        ]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            flat = list(pool.map(self._ask, [request for request in requests for _ in range(n)]))
        return [flat[i * n : (i + 1) * n] for i in range(len(requests))]

    def _ask(self, request: dict[str, Any]) -> Reply:
        try:
            response = self.client.converse(**request)
        except errors() as error:
            raise StageError(f"{self.endpoint_url or 'Bedrock'} did not answer for {self.model_id}: {error}") from error
        return converse_reply(response)

    def complete(self, prompts: Sequence[str], *, sampling: Sampling, stop: Sequence[str] = (), n: int = 1) -> list[list[Reply]]:
        """See `Assistant.complete`."""
        body = {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature, "stop": list(stop)}
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            answers = list(pool.map(lambda one: self._invoke({"prompt": one, **body}), [p for p in prompts for _ in range(n)]))
        flat = [self._completed(answer, stop) for answer in answers]
        return [flat[i * n : (i + 1) * n] for i in range(len(prompts))]

    @staticmethod
    def _completed(answer: dict[str, Any], stop: Sequence[str]) -> Reply:
        choice = answer["choices"][0]
        tokens = answer.get("usage", {}).get("completion_tokens", 0)
        return Reply(cut(choice["text"], stop), (), tokens, "length" if choice["finish_reason"] == "length" else "stop")

    def score(self, pairs: Sequence[tuple[Context, str]]) -> list[Score]:
        """See `Assistant.score`: both are sent as one text, and the continuation is what lies behind as many tokens as the
        context alone has, as `LocalAssistant.encode_pair` cuts it. Where a token spans the border the context is read as it
        stands in the whole, not as it would stand alone.

        Raises:
            MissingCapability: a conversation or an empty text before a continuation, or no log-probabilities there.
        """
        for context, continuation in pairs:
            if not isinstance(context, str) or not context.strip():
                what = "an empty text" if isinstance(context, str) else "a conversation"
                raise MissingCapability(
                    f"{self.model_id}: {what} before {continuation!r}: the wire scores what follows plain text"
                )
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            kept = list(dict.fromkeys(str(context).rstrip() for context, _ in pairs))
            new = [context for context in kept if context not in self._sizes]
            self._sizes |= zip(new, map(len, pool.map(self._places, new)), strict=True)
            return list(pool.map(self._score, pairs))

    def _score(self, pair: tuple[Context, str]) -> Score:
        from lightning_modules.generation.scoring import Score

        context, continuation = str(pair[0]), pair[1]
        places = self._places(context + continuation)[self._sizes[context.rstrip()] :]
        # Each place holds the token that is there, and the likeliest one beside it where that is another one.
        own = [max(place.values(), key=lambda one: one.get("rank") or math.inf) for place in places]
        return Score(sum(one["logprob"] for one in own), all(one.get("rank") == 1 for one in own), len(own))

    def _places(self, text: str) -> list[dict[str, Any]]:
        """Of each token of a text, what is known of its log-probability."""
        answer = self._invoke({"prompt": text, "max_tokens": 1, "prompt_logprobs": 1})
        choices = answer.get("choices") or [{}]
        places = choices[0].get("prompt_logprobs")
        if not isinstance(places, list):
            raise MissingCapability(
                f"{self.model_id}: InvokeModel answers without prompt_logprobs, so nothing can be scored there"
            )
        return places

    def _invoke(self, body: dict[str, Any]) -> dict[str, Any]:
        where = f"{self.endpoint_url or 'Bedrock'} did not answer for {self.model_id}"
        try:
            said = self.client.invoke_model(modelId=self.model_id, body=json.dumps(body))["body"].read()
        except errors() as error:
            raise StageError(f"{where}: {error}") from error
        try:
            answer: dict[str, Any] = json.loads(said)
        except ValueError as error:
            raise StageError(f"{where} in JSON: {said[:200]!r}") from error
        return answer

    def identity(self) -> dict[str, str]:
        """Where the model is and what it is called; its weights cannot be seen from here."""
        return {"endpoint": self.endpoint_url or f"bedrock-runtime.{self.region}.amazonaws.com", "model_id": self.model_id}


def converse_reply(response: dict[str, Any]) -> Reply:
    """A `converse` response as a reply."""
    blocks = response["output"]["message"]["content"]
    calls = tuple({"name": b["toolUse"]["name"], "arguments": b["toolUse"]["input"]} for b in blocks if "toolUse" in b)
    text = "".join(block["text"] for block in blocks if "text" in block).strip()
    cut_off = response["stopReason"] in ("max_tokens", "model_context_window_exceeded")
    return Reply(text, calls, response["usage"]["outputTokens"], "length" if cut_off else "stop")
