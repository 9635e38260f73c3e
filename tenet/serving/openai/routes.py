"""What answers below `/openai/v1`, and below `/v1` as the newer addresses have it: Chat Completions, Responses, and the
list of models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tenet.serving.api.completion import Answering
from tenet.serving.api.guarding.guard import Guard
from tenet.serving.api.guardrails import Guardrails
from tenet.serving.api.messages import guardrail_of
from tenet.serving.api.messages_answers import guarded
from tenet.serving.api.models import Models, Served
from tenet.serving.http.request import Call
from tenet.serving.openai import chat_completions, responses
from tenet.serving.openai.dialect import SSE, data, openai_error
from tenet.serving.openai.fields import refuse_guarded
from tenet.serving.openai.response_events import ResponseEvents
from tenet.serving.protocol.chat_request import member
from tenet.serving.protocol.exceptions import ServiceError, invalid
from tenet.serving.protocol.limits import parse_json
from tenet.serving.protocol.service_model import check_headers

#: Before the path of every route.
PREFIX = r"(?:/openai)?/v1"
#: Method, operation, pattern of the raw path, and the handler: a call, the name in the path, the body.
Route = tuple[str, str, str, Callable[[Call, str, bytes], Awaitable[None]]]


def is_openai(raw_path: str) -> bool:
    """Whether a request came by one of these routes, so that its errors have OpenAI's form."""
    return raw_path.startswith(("/openai/", "/v1/"))


class OpenAI:
    """One method a route; each decodes, answers and sends.

    Args:
        models: what is served.
        answering: makes answers.
        guardrails: those that requests may name, by the same headers as those of InvokeModel.
    """

    def __init__(self, models: Models, answering: Answering, guardrails: Guardrails) -> None:
        self._models, self._answering, self._guardrails = models, answering, guardrails

    def routes(self) -> list[Route]:
        """For the gateway's table."""
        return [
            ("POST", "chat-completions", PREFIX + r"/chat/completions(?P<name>)", self.chat_completions),
            ("POST", "responses", PREFIX + r"/responses(?P<name>)", self.responses),
            ("GET", "list-models", PREFIX + r"/models(?P<name>)", self.list_models),
            ("GET", "get-model", PREFIX + r"/models/(?P<name>.+)", self.get_model),
        ]

    def _asked(self, call: Call, body: bytes) -> tuple[dict[str, Any], Served]:
        """The body, and the model that it names."""
        content = parse_json(body, self._answering.limits)
        served = self._models.resolve(member(content, "model", str, ""))
        call.model = served.model_id
        return content, served

    def _guard(self, call: Call, content: dict[str, Any]) -> Guard | None:
        wish = guardrail_of(check_headers("InvokeModel", call.scope["headers"]), content)
        return Guard(self._guardrails.find(wish.identifier, wish.version), wish.trace, wish.later) if wish else None

    async def chat_completions(self, call: Call, name: str, body: bytes) -> None:
        """POST /openai/v1/chat/completions."""
        content, served = self._asked(call, body)
        ask, counted = chat_completions.decode(content, self._answering.limits), chat_completions.wants_usage(content)
        guard = self._guard(call, content)
        if guard:
            refuse_guarded(ask, content)
        if not member(content, "stream", bool, "", False):
            parts = await self._answering.collect(call, served.runner, ask, guard)
            await call.json({**chat_completions.encode(parts, content["model"]), **guarded(guard, last=True)})
            return
        chunks = chat_completions.Chunks(content["model"], counted, lambda last: guarded(guard, last))
        headers = {**SSE, "x-request-id": call.id}
        await self._answering.stream(call, served.runner, ask, chunks.part, headers, _failed, guard)

    async def responses(self, call: Call, name: str, body: bytes) -> None:
        """POST /openai/v1/responses."""
        content, served = self._asked(call, body)
        if self._guard(call, content):
            raise invalid("guardrailIdentifier", "is not supported by Responses; Chat Completions and Converse have guardrails.")
        ask = responses.decode(content, self._answering.limits)
        if not member(content, "stream", bool, "", False):
            parts = await self._answering.collect(call, served.runner, ask)
            await call.json(responses.encode(parts, content))
            return
        events = ResponseEvents(content)
        await self._answering.stream(call, served.runner, ask, events.part, {**SSE, "x-request-id": call.id}, events.failed)

    async def list_models(self, call: Call, name: str, body: bytes) -> None:
        """GET /openai/v1/models: every id that is answered."""
        await call.json({"object": "list", "data": [self._model(one) for one in self._models.ids]})

    async def get_model(self, call: Call, name: str, body: bytes) -> None:
        """GET /openai/v1/models/{id}."""
        self._models.resolve(name)
        await call.json(self._model(name))

    def _model(self, model_id: str) -> dict[str, Any]:
        created = int(self._models.resolve(model_id).created)
        return {"id": model_id, "object": "model", "created": created, "owned_by": model_id.partition(".")[0]}


def _failed(error: ServiceError) -> bytes:
    """An error as the last event of a stream."""
    return data(openai_error(error)[1])
