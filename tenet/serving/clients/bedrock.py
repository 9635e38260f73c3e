"""An endpoint as a model under test, by the Converse API alone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lightning_modules.generation.protocol import Sampling
from tenet.assistant.assistant import Capability, Context, MissingCapability, Reply
from tenet.assistant.converse_request import Message, Tools, converse_request
from tenet.assistant.local import aligned
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

    def score(self, pairs: Sequence[tuple[Context, str]]) -> list[Score]:
        """Always refuses."""
        raise MissingCapability(
            f"{self.model_id}: the Converse API gives no log-probabilities, so {len(pairs)} continuations cannot be scored; "
            "evaluate the model folder with LocalAssistant"
        )

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
