"""Bodies of InvokeModel as Amazon Bedrock takes them for imported models, with log-probabilities of answer and prompt.

Amazon documents three ("Invoke your imported model", "Advanced API features for imported models", and the note on
log-probabilities of Custom Model Import); what stands in a body tells which one it is:

    BedrockCompletion     {"prompt": "...", "max_gen_len": 64, "return_logprobs": true}
    OpenAICompletion      {"prompt": "..." or [ids], "max_tokens": 64, "logprobs": 1, "prompt_logprobs": 1, "echo": true}
    OpenAIChatCompletion  {"messages": [...], "max_completion_tokens": 64, "logprobs": true}

A `prompt` is written by its caller from the first token on: special tokens in it are special, no chat template is
used. Bodies with `anthropic_version` are Messages and none of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from tenet.serving.openai import chat_completions, completions
from tenet.serving.openai.fields import refuse_guarded
from tenet.serving.protocol.chat_request import Ask, End, Part
from tenet.serving.protocol.exceptions import invalid
from tenet.serving.protocol.limits import Limits

#: Members by which a body of Chat Completions is told from one of Messages that lacks its version.
_CHAT_ONLY = {
    "frequency_penalty", "logprobs", "max_completion_tokens", "n", "parallel_tool_calls", "prompt_logprobs", "presence_penalty",
    "response_format", "stop", "stream_options", "top_logprobs",
}  # fmt: skip


class Form(Protocol):
    """One of these bodies."""

    def decode(self, body: dict[str, Any], limits: Limits) -> Ask:
        """What is asked.

        Raises:
            ServiceError: ValidationException that names the member.
        """
        ...

    def encode(self, parts: Sequence[Part], body: dict[str, Any], model: str) -> dict[str, Any]:
        """A whole answer."""
        ...

    def events(self, body: dict[str, Any], model: str) -> Events:
        """The chunks of a stream, as JSON."""
        ...


class Events(Protocol):
    """Of one answer."""

    def chunks(self, part: Part) -> Iterator[dict[str, Any]]:
        """Those of one part."""
        ...


class _Chat:
    """OpenAIChatCompletion: as by its own route, but that the URL says whether to stream."""

    def decode(self, body: dict[str, Any], limits: Limits) -> Ask:
        return chat_completions.decode(body, limits)

    def encode(self, parts: Sequence[Part], body: dict[str, Any], model: str) -> dict[str, Any]:
        return chat_completions.encode(parts, model)

    def events(self, body: dict[str, Any], model: str) -> Events:
        return chat_completions.Chunks(model, counted=True)


def form_of(body: dict[str, Any]) -> Form | None:
    """Which of these forms a body has; None where it is a body of Messages."""
    if "anthropic_version" in body:
        return None
    if "prompt" in body:
        return completions.OpenAICompletion() if "max_tokens" in body else completions.BedrockCompletion()
    return _Chat() if "messages" in body and _CHAT_ONLY & body.keys() else None


def decode(form: Form, body: dict[str, Any], limits: Limits, guarded: object | None) -> Ask:
    """What is asked, behind a guardrail or not.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    ask = form.decode(body, limits)
    if guarded:
        refuse_guarded(ask, body)
        if isinstance(body.get("prompt"), list):
            raise invalid("prompt", "must be text behind a guardrail, which cannot look through token ids.")
    return ask


def framed(events: Events, wrap: Callable[[dict[str, Any]], bytes]) -> Callable[[Part, int], Iterator[bytes]]:
    """Chunks in the frames of an event stream; the last one carries Bedrock's counts."""
    first: list[int] = []

    def part_to_frames(part: Part, latency_ms: int) -> Iterator[bytes]:
        first.append(latency_ms) if not first else None
        chunks = list(events.chunks(part))
        if isinstance(part, End):
            chunks[-1] = {**chunks[-1], "amazon-bedrock-invocationMetrics": _metrics(part, latency_ms, first[0])}
        return map(wrap, chunks)

    return part_to_frames


def _metrics(end: End, latency_ms: int, first_ms: int) -> dict[str, int]:
    return {
        "inputTokenCount": end.input_tokens,
        "outputTokenCount": end.output_tokens,
        "invocationLatency": latency_ms,
        "firstByteLatency": first_ms,
    }
