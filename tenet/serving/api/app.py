"""The gateway: routes by the raw path, checks who calls and how much, and hands over to the operation.

A plain ASGI application, because signatures and ARNs need the path before anybody decodes it. What happens to a
request, in order: route, headers, body, signature, model, JSON, place in the queue, prompt, first token, and only then
the status line.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from tenet.serving.access.auth import Authenticator, Caller, SignedRequest
from tenet.serving.access.credentials import Credentials
from tenet.serving.access.quota import Quota
from tenet.serving.api.catalogue import Catalogue
from tenet.serving.api.completion import Answering
from tenet.serving.api.control import Control
from tenet.serving.api.guardrails import Guardrails
from tenet.serving.api.models import Models
from tenet.serving.api.operations import Operations
from tenet.serving.clients import chat_page
from tenet.serving.engines.runner import Runner
from tenet.serving.http.request import GRACE_SECONDS, Call, while_connected
from tenet.serving.openai.dialect import OpenAICall
from tenet.serving.openai.routes import OpenAI, is_openai
from tenet.serving.protocol.exceptions import ServiceError, invalid
from tenet.serving.protocol.limits import Limits
from tenet.serving.telemetry import metrics
from tenet.serving.telemetry.tracing import Tracer

log = logging.getLogger("tenet.serving")

Handler = Callable[[Call, str, bytes], Awaitable[None]]


@dataclass(frozen=True)
class Options:
    """What a gateway may do beside answering.

    Args:
        default_tokens: longest answer when the client does not say.
        slots: requests that the engine decodes at once, for the metrics.
        limits: bounds of one request.
        quota: bounds of one key.
        guardrails: those that requests may name.
        imports: folder with checkpoints that may be imported.
        load: a model folder to an engine's thread; needed for imports.
        chat: serve the page at /chat.
        proxied: TLS ends in front, so that the peer's address says nothing.
        tracer: writes spans.
        version: of the weights store, shown when the endpoint is ready; empty for a folder that was never published.
    """

    default_tokens: int = 256
    slots: int = 16
    limits: Limits = field(default_factory=Limits)
    quota: Quota | None = None
    guardrails: Guardrails | None = None
    imports: Path | None = None
    load: Callable[[Path], Runner] | None = None
    chat: bool = False
    proxied: bool = False
    tracer: Tracer | None = None
    version: str = ""


class Gateway:
    """The ASGI application.

    Args:
        models: what is served.
        credentials: keys that are accepted.
        options: see there.
        clock: seconds since 1970, for signatures.
    """

    def __init__(
        self, models: Models, credentials: Credentials, options: Options | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.models, self.options, self.draining = models, options or Options(), False
        self.runner = models.first.runner
        self.limits = self.options.limits
        self.metrics = metrics.Metrics(self.runner, self.options.slots)
        self.answering = Answering(self.limits, self.options.quota or Quota(), self.options.default_tokens)
        self._authenticator = Authenticator(credentials, clock)
        operations = Operations(models, self.answering, self.options.guardrails or Guardrails())
        catalogue = Catalogue(models)
        self.control = Control(models, self.limits, self.options.imports, self.options.load or _no_imports)
        self._operations: dict[str, Handler] = {
            "converse": operations.converse,
            "converse-stream": operations.converse_stream,
            "invoke": operations.invoke,
            "invoke-with-response-stream": operations.invoke_stream,
            "count-tokens": operations.count_tokens,
        }
        self._others: list[tuple[str, str, re.Pattern[str], Handler]] = [
            (method, word, re.compile(pattern + r"\Z"), handler)
            for method, word, pattern, handler in (
                ("POST", "messages", r"/anthropic/v1/messages(?P<name>)", operations.messages),
                ("POST", "messages-count", r"/anthropic/v1/messages/count_tokens(?P<name>)", operations.messages_count),
                ("POST", "apply-guardrail", r"/guardrail/(?P<name>.+/version/[^/]+)/apply", operations.apply_guardrail),
                ("POST", "guardrail-checks", r"/guardrail-checks/invoke(?P<name>)", operations.guardrail_checks),
                ("GET", "list-foundation-models", r"/foundation-models(?P<name>)", catalogue.list_foundation_models),
                ("GET", "get-foundation-model", r"/foundation-models/(?P<name>.+)", catalogue.get_foundation_model),
                ("GET", "list-inference-profiles", r"/inference-profiles(?P<name>)", catalogue.list_inference_profiles),
                ("GET", "get-inference-profile", r"/inference-profiles/(?P<name>.+)", catalogue.get_inference_profile),
                ("POST", "create-model-import-job", r"/model-import-jobs(?P<name>)", self.control.create_import_job),
                ("GET", "list-model-import-jobs", r"/model-import-jobs(?P<name>)", self.control.list_import_jobs),
                ("GET", "get-model-import-job", r"/model-import-jobs/(?P<name>.+)", self.control.get_import_job),
                ("GET", "list-imported-models", r"/imported-models(?P<name>)", self.control.list_imported_models),
                ("GET", "get-imported-model", r"/imported-models/(?P<name>.+)", self.control.get_imported_model),
                *OpenAI(models, self.answering, self.options.guardrails or Guardrails()).routes(),
            )
        ]

    def accept(self, credentials: Credentials) -> None:
        """From the next request on, these keys and no others."""
        self._authenticator.credentials = credentials

    def close(self) -> None:
        """Stop every engine and send the last spans."""
        self.runner.close()
        self.control.close()
        if self.options.tracer:
            self.options.tracer.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"  # lifespan and web sockets are off
        raw_path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1").partition("?")[0]
        call = (OpenAICall if is_openai(raw_path) else Call)(scope, receive, send)
        if call.method in ("GET", "HEAD") and await self._public(call, raw_path):
            return
        try:
            await self._handle(call, raw_path)
        except ServiceError as error:
            await call.error(error)
        except (ClientDisconnect, ConnectionError):
            call.code = call.code or "ClientDisconnected"
        except Exception as error:  # unforeseen: a 500 to the client, a place in the code to us, never a quoted prompt
            where = " < ".join(f"{f.filename}:{f.lineno}" for f in reversed(traceback.extract_tb(error.__traceback__)))
            log.error("request %s: %s at %s", call.id, type(error).__name__, where)
            unforeseen = ServiceError("InternalServerException", "Internal error; see the server's log.")
            if not call.status:
                await call.error(unforeseen)
            call.code = unforeseen.code
        finally:
            call.log()
            self.metrics.observe(call)
            if self.options.tracer:
                self.options.tracer.record(call)

    async def _handle(self, call: Call, raw_path: str) -> None:
        name, handler = self._route(call, raw_path)
        if self.draining:
            raise ServiceError("ServiceUnavailableException", "The endpoint is shutting down.")
        caller = self._authenticator.identify(call.headers, private=self._is_private(call))
        body = await self._body(call)
        self._verify(caller, call, raw_path, body)
        call.key = caller.name
        await while_connected(call, handler(call, unquote(name), body), self.limits.deadline_seconds + GRACE_SECONDS)

    def _route(self, call: Call, raw_path: str) -> tuple[str, Handler]:
        """The still encoded name in the path, and what answers it."""
        if raw_path.startswith("/model/") and call.method == "POST":
            name, _, operation = raw_path[len("/model/") :].rpartition("/")
            if name and operation in self._operations:
                call.operation = operation
                return name, self._operations[operation]
        call.anthropic = raw_path.startswith("/anthropic/")
        for method, word, pattern, handler in self._others:
            if method == call.method and (match := pattern.match(raw_path)):
                call.operation = word
                return match["name"], handler
        raise ServiceError("UnknownOperationException", "No such operation; this is a Bedrock Runtime endpoint.")

    async def _body(self, call: Call) -> bytes:
        """The body, up to the limit in size and time."""
        limit = self.limits.body_bytes
        problem = invalid("", f"The request body is larger than {limit} bytes.")
        if _length(call) > limit:
            raise problem
        pieces, size = [], 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                more = True
                while more:
                    message = await call.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    pieces.append(message.get("body", b""))
                    size += len(pieces[-1])
                    if size > limit:
                        raise problem
                    more = message.get("more_body", False)
        except TimeoutError:
            raise ServiceError("ModelTimeoutException", "The request body did not arrive in time.") from None
        call.body_bytes = size
        return b"".join(pieces)

    def _verify(self, caller: Caller, call: Call, raw_path: str, body: bytes) -> None:
        query = call.scope["query_string"].decode("latin-1")
        self._authenticator.verify(caller, SignedRequest(call.method, raw_path, query, call.headers, body))

    def _is_private(self, call: Call) -> bool:
        """Nobody between client and here could read the request. A proxy's word counts only where it says that they could."""
        if self.options.proxied:
            return call.headers.get("x-forwarded-proto", "https").strip().lower() != "http"
        return call.scope["scheme"] == "https" or _is_loopback(call.scope)

    # --- without a key -------------------------------------------------------------------------------------------------

    async def _public(self, call: Call, path: str) -> bool:
        """Health, metrics and the chat page; False when the path is none of these."""
        if path == "/healthz":
            await call.json({"status": "alive"})
        elif path == "/readyz":
            await self._ready(call)
        elif path == "/metrics":
            await self._metrics(call)
        elif self.options.chat and path in chat_page.FILES:
            await call.reply(chat_page.content(path), 200, chat_page.headers(path))
        else:
            return False
        return True

    async def _ready(self, call: Call) -> None:
        try:
            if self.draining:
                raise ServiceError("ServiceUnavailableException", "The endpoint is shutting down.")
            self.runner.need()
        except ServiceError as error:
            await call.json({"status": error.code, "message": str(error)}, 503)
            return
        version = {"version": self.options.version} if self.options.version else {}
        await call.json({"status": "ready", "model": self.models.first.model_id, **version})

    async def _metrics(self, call: Call) -> None:
        """To this machine without a key, to others with an API key: how busy an endpoint is concerns nobody else."""
        if self.options.proxied or not _is_loopback(call.scope):
            try:
                self._authenticator.identify(call.headers, signed=False, private=self._is_private(call))
            except ServiceError as error:
                await call.error(error)
                return
        await call.reply(self.metrics.text(), 200, {"content-type": metrics.CONTENT_TYPE})


def _no_imports(folder: Path) -> Runner:
    raise ServiceError("AccessDeniedException", "This endpoint imports no models.")


def _length(call: Call) -> int:
    """What the client says; a header that is no number is refused by the HTTP parser before."""
    value = call.headers.get("content-length", "0")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else 0


def _is_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
