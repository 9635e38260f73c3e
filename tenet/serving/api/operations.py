"""The operations on a model, of Bedrock Runtime and of Anthropic's own route: what a body asks, and how the answer is
sent."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from tenet.serving.api import converse, guardrails, messages
from tenet.serving.api.completion import Answering, Guard
from tenet.serving.api.guardrails import Guardrails
from tenet.serving.api.models import Models, Served
from tenet.serving.http.request import Call
from tenet.serving.protocol.chat_request import End, Part, member, objects
from tenet.serving.protocol.eventstream import CONTENT_TYPE, exception
from tenet.serving.protocol.exceptions import ServiceError, anthropic_error, invalid
from tenet.serving.protocol.json_bytes import dumps
from tenet.serving.protocol.limits import parse_json

#: Errors that the service model allows inside a stream; others become a model error.
_IN_STREAM = ("internalServerException", "validationException", "throttlingException", "serviceUnavailableException")
_JSON = "application/json"


class Operations:
    """One method an operation; each decodes, answers and sends.

    Args:
        models: what is served.
        answering: makes answers.
        guardrails: those that requests may name.
    """

    def __init__(self, models: Models, answering: Answering, guardrails: Guardrails) -> None:
        self.models, self._answering, self._guardrails = models, answering, guardrails
        self._limits = answering.limits

    def _named(self, call: Call, name: str) -> Served:
        served = self.models.resolve(name)
        call.model = served.model_id
        return served

    def _guard(self, named: tuple[str, str, bool] | None) -> Guard | None:
        return Guard(self._guardrails.find(named[0], named[1])) if named else None

    # --- Converse ------------------------------------------------------------------------------------------------------

    async def converse(self, call: Call, name: str, body: bytes) -> None:
        """Converse."""
        served, content = self._named(call, name), parse_json(body, self._limits)
        wanted = converse.guardrail_of(content)
        guard = self._guard(wanted)
        parts = await self._answering.collect(call, served.runner, converse.decode(content, self._limits), guard)
        trace = guard.trace() if guard and wanted and wanted[2] else None
        await call.json(converse.encode(parts, content, call.milliseconds, trace))

    async def converse_stream(self, call: Call, name: str, body: bytes) -> None:
        """ConverseStream."""
        served, content = self._named(call, name), parse_json(body, self._limits)
        wanted = converse.guardrail_of(content)
        guard, events = self._guard(wanted), converse.Events(content)

        def encode(part: Part, latency_ms: int) -> Any:
            if isinstance(part, End) and guard and wanted and wanted[2]:
                events.trace = guard.trace()
            return events.part(part, latency_ms)

        ask = converse.decode(content, self._limits)
        await self._answering.stream(call, served.runner, ask, encode, {"content-type": CONTENT_TYPE}, _failed(_IN_STREAM), guard)

    # --- InvokeModel ---------------------------------------------------------------------------------------------------

    async def invoke(self, call: Call, name: str, body: bytes) -> None:
        """InvokeModel with a Messages body."""
        served = self._named(call, name)
        guard = self._guard(_guardrail_headers(call))
        ask = messages.decode(parse_json(body, self._limits), self._limits)
        parts = await self._answering.collect(call, served.runner, ask, guard)
        end = parts[-1]
        assert isinstance(end, End)
        headers = {
            "x-amzn-bedrock-input-token-count": str(end.fresh_tokens),
            "x-amzn-bedrock-output-token-count": str(end.output_tokens),
            "x-amzn-bedrock-cache-read-input-token-count": str(end.cached_tokens),
            "x-amzn-bedrock-cache-write-input-token-count": str(end.written_tokens),
            "x-amzn-bedrock-invocation-latency": str(call.milliseconds),
        }
        acted = {"amazon-bedrock-guardrailAction": "INTERVENED" if guard.intervened else "NONE"} if guard else {}
        await call.json({**messages.encode(parts, call.model), **acted}, headers=headers)

    async def invoke_stream(self, call: Call, name: str, body: bytes) -> None:
        """InvokeModelWithResponseStream with a Messages body."""
        served = self._named(call, name)
        guard = self._guard(_guardrail_headers(call))
        ask = messages.decode(parse_json(body, self._limits), self._limits)
        headers = {"content-type": CONTENT_TYPE, "x-amzn-bedrock-content-type": _JSON}
        events = messages.Events(call.model, messages.chunk)
        failed = _failed((*_IN_STREAM, "modelTimeoutException"))
        await self._answering.stream(call, served.runner, ask, events.part, headers, failed, guard)

    # --- CountTokens ---------------------------------------------------------------------------------------------------

    async def count_tokens(self, call: Call, name: str, body: bytes) -> None:
        """CountTokens of either body."""
        served = self._named(call, name)
        given = member(parse_json(body, self._limits), "input", dict, "")
        if "converse" in given:
            ask = converse.decode(member(given, "converse", dict, "input"), self._limits)
        else:
            encoded = member(member(given, "invokeModel", dict, "input"), "body", str, "input.invokeModel")
            try:
                inner = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                raise invalid("input.invokeModel.body", "is not valid base64.") from None
            ask = messages.decode(parse_json(inner, self._limits), self._limits)
        await call.json({"inputTokens": await self._answering.count(call, served.runner, ask)})

    # --- Anthropic's own route -----------------------------------------------------------------------------------------

    async def messages(self, call: Call, name: str, body: bytes) -> None:
        """POST /anthropic/v1/messages: the model and whether to stream stand in the body; streams are server-sent
        events."""
        content = parse_json(body, self._limits)
        served = self._named(call, member(content, "model", str, ""))
        ask = messages.decode(content, self._limits, version=False)
        headers = {"request-id": call.id}
        if not member(content, "stream", bool, "", False):
            parts = await self._answering.collect(call, served.runner, ask)
            await call.json(messages.encode(parts, call.model), headers=headers)
            return
        events = messages.Events(call.model, messages.server_sent)
        headers |= {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store"}

        def failed(error: ServiceError) -> bytes:
            return b"event: error\ndata: %s\n\n" % dumps(anthropic_error(error, call.id)[1])

        await self._answering.stream(call, served.runner, ask, events.part, headers, failed)

    async def messages_count(self, call: Call, name: str, body: bytes) -> None:
        """POST /anthropic/v1/messages/count_tokens."""
        content = parse_json(body, self._limits)
        served = self._named(call, member(content, "model", str, ""))
        ask = messages.decode(content, self._limits, version=False, counting=True)
        await call.json({"input_tokens": await self._answering.count(call, served.runner, ask)}, headers={"request-id": call.id})

    # --- guardrails ----------------------------------------------------------------------------------------------------

    async def apply_guardrail(self, call: Call, name: str, body: bytes) -> None:
        """ApplyGuardrail; `name` is identifier/version/VERSION as in the path."""
        identifier, _, version = name.rpartition("/version/")
        guardrail = self._guardrails.find(identifier, version)
        content = parse_json(body, self._limits)
        texts = [
            str(member(member(item, "text", dict, path), "text", str, f"{path}.text"))
            for path, item in objects(content, "content", "")
        ]
        await call.json(guardrails.apply(guardrail, member(content, "source", str, ""), texts))


def _guardrail_headers(call: Call) -> tuple[str, str, bool] | None:
    identifier = call.headers.get("x-amzn-bedrock-guardrailidentifier")
    if not identifier:
        return None
    return identifier, call.headers.get("x-amzn-bedrock-guardrailversion", ""), False


def _failed(allowed: tuple[str, ...]) -> Any:
    """An error as the last event of a stream, under a name that the stream's model knows."""

    def frame(error: ServiceError) -> bytes:
        return exception(error.event_name if error.event_name in allowed else "modelStreamErrorException", str(error))

    return frame
