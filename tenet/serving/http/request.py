"""One request on its way: how its response is sent, what is logged of it, and what happens when its client goes
away."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from tenet.serving.protocol.chat_request import End
from tenet.serving.protocol.exceptions import ServiceError, anthropic_error, error_body, error_headers
from tenet.serving.protocol.json_bytes import dumps

access = logging.getLogger("tenet.serving.access")
#: A client that stopped reading keeps its place no longer than this beyond the deadline.
GRACE_SECONDS = 30.0


@dataclass
class Call:
    """One request on its way, and what the access log will say of it: never a prompt or an answer.

    Attributes:
        anthropic: it came by Anthropic's own route, whose errors have another shape.
        first: seconds from its arrival to the first token; 0 where there was none.
        end: how the answer ended, with its token counts.
    """

    scope: Scope
    receive: Receive
    send: Send
    model: str = ""
    operation: str = ""
    key: str = ""
    status: int = 0
    body_bytes: int = 0
    code: str = ""
    anthropic: bool = False
    first: float = 0.0
    end: End | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    start: float = field(default_factory=time.perf_counter)
    _unsent: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.headers = Headers(scope=self.scope)
        self.method: str = self.scope["method"]

    @property
    def seconds(self) -> float:
        """Since the request came."""
        return time.perf_counter() - self.start

    @property
    def milliseconds(self) -> int:
        """Since the request came."""
        return round(self.seconds * 1000)

    def log(self) -> None:
        """One line of JSON."""
        if not access.isEnabledFor(logging.INFO):
            return
        tokens = {"input_tokens": self.end.input_tokens, "output_tokens": self.end.output_tokens} if self.end else {}
        first = {"first_ms": round(self.first * 1000)} if self.first else {}
        facts = {"request": self.id, "key": self.key, "operation": self.operation, "model": self.model, "status": self.status}
        line = dumps({**facts, "code": self.code, **tokens, **first, "ms": self.milliseconds}).decode()
        # Handled without `info`, which walks the stack for the name of this file.
        access.handle(access.makeRecord(access.name, logging.INFO, __file__, 0, line, (), None))

    async def json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Send a whole response of JSON."""
        await self.reply(dumps(content), status, {"content-type": "application/json", **(headers or {})})

    async def reply(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        """Send a whole response."""
        self._head(status, {**headers, "content-length": str(len(body))})
        await self.body(body, more=False)

    async def error(self, error: ServiceError) -> None:
        """Send an error in the shape of the request's route."""
        self.code = error.code
        status, content = anthropic_error(error, self.id) if self.anthropic else (error.status, error_body(error))
        await self.json(content, status, error_headers(error))

    def begin(self, headers: dict[str, str]) -> None:
        """The head of a stream, which leaves with its first piece; from here on errors are events."""
        self._head(200, headers)

    async def body(self, piece: bytes, more: bool = True) -> None:
        """Send a piece of a stream."""
        head, self._unsent = self._unsent, None
        if head is not None:
            await self.send(head)
        await self.send({"type": "http.response.body", "body": piece, "more_body": more})

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        raw.append((b"x-amzn-requestid", self.id.encode()))
        self._unsent = {"type": "http.response.start", "status": status, "headers": raw}


async def while_connected(call: Call, work: Awaitable[None], seconds: float) -> None:
    """Do the work unless the client goes away first; cancelling the work cancels the request in the engine."""
    watch: Callable[[Callable[[], None] | None], None] = call.scope["state"]["watch"]  # of `Exchange`
    try:
        async with asyncio.timeout(seconds) as clock:
            watch(lambda: None if clock.expired() else clock.reschedule(0))
            try:
                await work
            finally:
                watch(None)
    except TimeoutError:
        if clock.expired():
            raise ClientDisconnect from None
        raise
