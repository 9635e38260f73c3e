"""The operations on a model, of Bedrock Runtime and of Anthropic's own route: what a body asks, and how the answer is
sent."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from tenet.serving.api import converse, converse_answers, messages, messages_answers
from tenet.serving.api.completion import Answering
from tenet.serving.api.guarding import apply
from tenet.serving.api.guarding.guard import Guard
from tenet.serving.api.guardrails import Guardrails
from tenet.serving.api.models import Models, Served
from tenet.serving.http.request import Call
from tenet.serving.openai import imported
from tenet.serving.protocol.chat_request import End, GuardrailWish, Part, member
from tenet.serving.protocol.eventstream import CONTENT_TYPE, exception
from tenet.serving.protocol.exceptions import ServiceError, anthropic_error, invalid
from tenet.serving.protocol.json_bytes import dumps
from tenet.serving.protocol.limits import parse_json
from tenet.serving.protocol.service_model import RUNTIME, check_body, check_headers, has_operation, prepare

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
        prepare()

    def _named(self, call: Call, name: str) -> Served:
        served = self.models.resolve(name)
        call.model = served.model_id
        return served

    def _guard(self, wanted: GuardrailWish | None, streams: bool = False) -> Guard | None:
        if wanted is None:
            return None
        return Guard(self._guardrails.find(wanted.identifier, wanted.version), wanted.trace, streams and wanted.later)

    # --- Converse ------------------------------------------------------------------------------------------------------

    async def converse(self, call: Call, name: str, body: bytes) -> None:
        """Converse."""
        served, content = self._named(call, name), parse_json(body, self._limits)
        ask = converse.decode(content, self._limits)
        guard = self._guard(converse.guardrail_of(content))
        parts = await self._answering.collect(call, served.runner, ask, guard)
        await call.json(converse_answers.encode(parts, content, call.milliseconds, guard.shown() if guard else None))

    async def converse_stream(self, call: Call, name: str, body: bytes) -> None:
        """ConverseStream."""
        served, content = self._named(call, name), parse_json(body, self._limits)
        ask = converse.decode(content, self._limits, "ConverseStream")
        guard, events = self._guard(converse.guardrail_of(content), streams=True), converse_answers.Events(content)

        def encode(part: Part, latency_ms: int) -> Any:
            if isinstance(part, End) and guard:
                events.trace = guard.shown()
            return events.part(part, latency_ms)

        await self._answering.stream(call, served.runner, ask, encode, {"content-type": CONTENT_TYPE}, _failed(_IN_STREAM), guard)

    # --- InvokeModel ---------------------------------------------------------------------------------------------------

    async def invoke(self, call: Call, name: str, body: bytes) -> None:
        """InvokeModel with a Messages body, or one of those of imported models."""
        served, asked = self._named(call, name), check_headers("InvokeModel", call.scope["headers"])
        content = parse_json(body, self._limits)
        guard, form = self._guard(messages.guardrail_of(asked, content)), imported.form_of(content)
        ask = imported.decode(form, content, self._limits, guard) if form else messages.decode(content, self._limits)
        parts = await self._answering.collect(call, served.runner, ask, guard)
        end = parts[-1]
        assert isinstance(end, End)
        headers = {
            "x-amzn-bedrock-input-token-count": str(end.fresh_tokens),
            "x-amzn-bedrock-output-token-count": str(end.output_tokens),
            "x-amzn-bedrock-cache-read-input-token-count": str(end.cached_tokens),
            "x-amzn-bedrock-cache-write-input-token-count": str(end.written_tokens),
            "x-amzn-bedrock-invocation-latency": str(call.milliseconds),
            **_told_back(asked),
        }
        made = form.encode(parts, content, call.model) if form else messages_answers.encode(parts, call.model)
        await call.json({**made, **messages_answers.guarded(guard, last=True)}, headers=headers)

    async def invoke_stream(self, call: Call, name: str, body: bytes) -> None:
        """InvokeModelWithResponseStream with the same bodies."""
        served, asked = self._named(call, name), check_headers("InvokeModelWithResponseStream", call.scope["headers"])
        content = parse_json(body, self._limits)
        guard, form = self._guard(messages.guardrail_of(asked, content), streams=True), imported.form_of(content)
        ask = imported.decode(form, content, self._limits, guard) if form else messages.decode(content, self._limits)
        headers = {"content-type": CONTENT_TYPE, "x-amzn-bedrock-content-type": _JSON, **_told_back(asked)}

        def chunk(message: dict[str, Any]) -> bytes:
            last = "amazon-bedrock-invocationMetrics" in message
            return messages_answers.chunk({**message, **messages_answers.guarded(guard, last=last)})

        wrap = chunk if guard else messages_answers.chunk
        events = (
            imported.framed(form.events(content, call.model), wrap) if form else messages_answers.Events(call.model, wrap).part
        )
        failed = _failed((*_IN_STREAM, "modelTimeoutException"))
        await self._answering.stream(call, served.runner, ask, events, headers, failed, guard)

    # --- CountTokens ---------------------------------------------------------------------------------------------------

    async def count_tokens(self, call: Call, name: str, body: bytes) -> None:
        """CountTokens of either body."""
        served = self._named(call, name)
        content = parse_json(body, self._limits)
        check_body(RUNTIME, "CountTokens", content)
        given = content["input"]
        if "converse" in given:
            ask = converse.decode(given["converse"], self._limits)
        else:
            try:
                inner = base64.b64decode(given["invokeModel"]["body"], validate=True)
            except (binascii.Error, ValueError):
                raise invalid("input.invokeModel.body", "is not valid base64.") from None
            told = parse_json(inner, self._limits)
            form = imported.form_of(told)
            ask = form.decode(told, self._limits) if form else messages.decode(told, self._limits)
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
            await call.json(messages_answers.encode(parts, call.model), headers=headers)
            return
        events = messages_answers.Events(call.model, messages_answers.server_sent)
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
        await call.json(apply.apply(guardrail, parse_json(body, self._limits)))

    async def guardrail_checks(self, call: Call, name: str, body: bytes) -> None:
        """InvokeGuardrailChecks, where the installed service model has it."""
        if not has_operation(RUNTIME, "InvokeGuardrailChecks"):
            raise ServiceError("UnknownOperationException", "The service model of this endpoint is older than that operation.")
        await call.json(apply.checks(parse_json(body, self._limits)))


def _told_back(asked: dict[str, str]) -> dict[str, str]:
    """What was asked of Amazon's side, told back as Amazon does it."""
    names = {"performanceConfigLatency": "x-amzn-bedrock-performanceconfig-latency", "serviceTier": "x-amzn-bedrock-service-tier"}
    return {header: asked[name] for name, header in names.items() if name in asked}


def _failed(allowed: tuple[str, ...]) -> Any:
    """An error as the last event of a stream, under a name that the stream's model knows."""

    def frame(error: ServiceError) -> bytes:
        return exception(error.event_name if error.event_name in allowed else "modelStreamErrorException", str(error))

    return frame
