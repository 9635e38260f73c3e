"""The gateway: routes by the raw path, checks who calls and how much, and sends answers as they are made.

A plain ASGI endpoint inside Starlette, because signatures and ARNs need the path before anybody decodes it. What happens to a
request, in order: route, headers, body, signature, model, JSON, place in the queue, prompt, first token, and only then the
status line.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
import re
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tenet.serving import anthropic, converse
from tenet.serving.answer import answer
from tenet.serving.ask import Ask, Begun, End, Part, member
from tenet.serving.auth import Authenticator, Caller, SignedRequest
from tenet.serving.call import GRACE_SECONDS, Call, while_connected
from tenet.serving.credentials import Credentials
from tenet.serving.engine import Runner
from tenet.serving.errors import ServiceError, error_response, invalid, too_long
from tenet.serving.eventstream import exception
from tenet.serving.limits import Limits, parse_json
from tenet.serving.models import ModelIds

log = logging.getLogger("tenet.serving")

Encode = Callable[[Part, int], Iterator[bytes]]
_PATH = re.compile(r"/model/(?P<model>.+)/(?P<operation>[a-z-]+)\Z")
#: More bytes of JSON than any token takes on the average of a prompt, escapes included.
_TOKEN_BYTES = 256
#: Errors that the service model allows inside a stream; others become a model error.
_IN_STREAM = ("internalServerException", "validationException", "throttlingException", "serviceUnavailableException")


class Gateway:
    """The five operations on a model.

    Args:
        runner: the engine's thread.
        models: ids that are answered.
        credentials: keys that are accepted.
        default_tokens: longest answer when the client does not say.
        limits: bounds of one request.
        clock: seconds since 1970, for signatures.
    """

    def __init__(
        self,
        runner: Runner,
        models: ModelIds,
        credentials: Credentials,
        default_tokens: int = 256,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.runner, self.models, self.default_tokens = runner, models, default_tokens
        self.limits = limits or Limits()
        self.draining = False
        self._authenticator = Authenticator(credentials, clock)
        self._operations: dict[str, Callable[[Call, dict[str, Any]], Awaitable[None]]] = {
            "converse": self._converse,
            "converse-stream": self._converse_stream,
            "invoke": self._invoke,
            "invoke-with-response-stream": self._invoke_stream,
            "count-tokens": self._count_tokens,
        }

    def accept(self, credentials: Credentials) -> None:
        """From the next request on, these keys and no others."""
        self._authenticator.credentials = credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(Request(scope, receive), send)
        try:
            await self._handle(call)
        except ServiceError as error:
            call.code = error.code
            await call.reply(error_response(error, call.id))
        except (ClientDisconnect, ConnectionError):
            call.code = call.code or "ClientDisconnected"
        except Exception as error:  # unforeseen: a 500 to the client, a place in the code to us, never a quoted prompt
            call.code = "InternalServerException"
            where = " < ".join(f"{f.filename}:{f.lineno}" for f in reversed(traceback.extract_tb(error.__traceback__)))
            log.error("request %s: %s at %s", call.id, type(error).__name__, where)
            if not call.status:
                await call.reply(error_response(ServiceError(call.code, "Internal error; see the server's log."), call.id))
        finally:
            call.log()

    async def _handle(self, call: Call) -> None:
        raw_path = (call.request.scope.get("raw_path") or call.request.scope["path"].encode()).decode("latin-1")
        match = _PATH.match(raw_path)
        if match is None or match["operation"] not in self._operations or call.request.method != "POST":
            raise ServiceError("UnknownOperationException", "No such operation; this is a Bedrock Runtime endpoint.")
        call.operation = match["operation"]
        if self.draining:
            raise ServiceError("ServiceUnavailableException", "The endpoint is shutting down.")
        caller = self._authenticator.identify(call.request.headers)
        body = await self._body(call.request)
        self._verify(caller, call, raw_path, body)
        call.key = caller.name
        call.model = self.models.resolve(unquote(match["model"]))
        call.body_bytes = len(body)
        content = parse_json(body, self.limits)
        work = self._operations[call.operation](call, content)
        await while_connected(call, work, self.limits.deadline_seconds + GRACE_SECONDS)

    async def _body(self, request: Request) -> bytes:
        """The body, up to the limit in size and time."""
        limit = self.limits.body_bytes
        problem = invalid("", f"The request body is larger than {limit} bytes.")
        if int(request.headers.get("content-length", "0")) > limit:
            raise problem
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > limit:
                        raise problem
        except TimeoutError:
            raise ServiceError("ModelTimeoutException", "The request body did not arrive in time.") from None
        return bytes(body)

    def _verify(self, caller: Caller, call: Call, raw_path: str, body: bytes) -> None:
        query = call.request.scope["query_string"].decode("latin-1")
        signed = SignedRequest(call.request.method, raw_path, query, call.request.headers, body)
        self._authenticator.verify(caller, signed)

    # --- operations --------------------------------------------------------------------------------------------------

    async def _prompt(self, ask: Ask) -> list[int]:
        """Off the event loop: a long prompt takes the tokenizer a while."""
        return await asyncio.to_thread(ask.prompt, self.runner.need().text)

    async def _fitting_prompt(self, call: Call, ask: Ask) -> list[int]:
        """The same, but what cannot fit is refused before the tokenizer spends seconds on it."""
        limit = self.runner.need().engine.max_context
        if call.body_bytes > limit * _TOKEN_BYTES:
            raise too_long(call.body_bytes // _TOKEN_BYTES, limit - 1)
        return await self._prompt(ask)

    async def _converse(self, call: Call, body: dict[str, Any]) -> None:
        parts = await self._collect(call, converse.decode(body, self.limits))
        content = converse.encode(parts, body, call.milliseconds)
        await call.reply(JSONResponse(content, headers={"x-amzn-RequestId": call.id}))

    async def _converse_stream(self, call: Call, body: dict[str, Any]) -> None:
        await self._stream(call, converse.decode(body, self.limits), converse.Events(body).part, {})

    async def _invoke(self, call: Call, body: dict[str, Any]) -> None:
        parts = await self._collect(call, anthropic.decode(body, self.limits))
        assert call.end is not None
        headers = {
            "x-amzn-RequestId": call.id,
            "x-amzn-bedrock-input-token-count": str(call.end.input_tokens),
            "x-amzn-bedrock-output-token-count": str(call.end.output_tokens),
            "x-amzn-bedrock-invocation-latency": str(call.milliseconds),
        }
        await call.reply(JSONResponse(anthropic.encode(parts, call.model), headers=headers))

    async def _invoke_stream(self, call: Call, body: dict[str, Any]) -> None:
        headers = {"x-amzn-bedrock-content-type": "application/json"}
        await self._stream(call, anthropic.decode(body, self.limits), anthropic.Events(call.model).part, headers)

    async def _count_tokens(self, call: Call, body: dict[str, Any]) -> None:
        given = member(body, "input", dict, "")
        if "converse" in given:
            ask = converse.decode(member(given, "converse", dict, "input"), self.limits)
        else:
            encoded = member(member(given, "invokeModel", dict, "input"), "body", str, "input.invokeModel")
            try:
                inner = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                raise invalid("input.invokeModel.body", "is not valid base64.") from None
            ask = anthropic.decode(parse_json(inner, self.limits), self.limits)
        tokens = len(await self._prompt(ask))
        await call.reply(JSONResponse({"inputTokens": tokens}, headers={"x-amzn-RequestId": call.id}))

    # --- answers -----------------------------------------------------------------------------------------------------

    async def _collect(self, call: Call, ask: Ask) -> list[Part]:
        with self.runner.place():
            prompt = await self._fitting_prompt(call, ask)
            made = answer(self.runner, ask, prompt, self.default_tokens, self.limits.deadline_seconds)
            async with contextlib.aclosing(made) as parts:
                collected: list[Part] = [part async for part in parts if not isinstance(part, Begun)]
        call.end = collected[-1] if isinstance(collected[-1], End) else None
        return collected

    async def _stream(self, call: Call, ask: Ask, encode: Encode, headers: dict[str, str]) -> None:
        with self.runner.place():
            prompt = await self._fitting_prompt(call, ask)
            made = answer(self.runner, ask, prompt, self.default_tokens, self.limits.deadline_seconds)
            async with contextlib.aclosing(made) as parts:
                first = await anext(parts)  # an error up to here is an ordinary response
                await call.begin(headers)
                try:
                    await call.body(b"".join(encode(first, call.milliseconds)))
                    async for part in parts:
                        call.end = part if isinstance(part, End) else None
                        await call.body(b"".join(encode(part, call.milliseconds)))
                except ServiceError as error:
                    call.code = error.code
                    await call.body(exception(_stream_error(call.operation, error), str(error)))
                await call.body(b"", more=False)


def _stream_error(operation: str, error: ServiceError) -> str:
    """The name under which the stream's model knows an error."""
    allowed = (*_IN_STREAM, "modelTimeoutException") if operation == "invoke-with-response-stream" else _IN_STREAM
    return error.event_name if error.event_name in allowed else "modelStreamErrorException"


def build_app(gateway: Gateway) -> Starlette:
    """The ASGI application: health, readiness, and everything else to the gateway."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(request: Request) -> Response:
        try:
            if gateway.draining:
                raise ServiceError("ServiceUnavailableException", "The endpoint is shutting down.")
            gateway.runner.need()
        except ServiceError as error:
            return JSONResponse({"status": error.code, "message": str(error)}, 503)
        return JSONResponse({"status": "ready", "model": gateway.models.model_id})

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/{path:path}", gateway)]
    app = Starlette(routes=routes)
    app.state.gateway = gateway
    return app
