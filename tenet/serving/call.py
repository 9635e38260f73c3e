"""One request on its way: how its response is sent, what is logged of it, and what happens when its client goes away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Send

from tenet.serving.ask import End
from tenet.serving.eventstream import CONTENT_TYPE

access = logging.getLogger("tenet.serving.access")
#: A client that stopped reading keeps its place no longer than this beyond the deadline.
GRACE_SECONDS = 30.0


@dataclass
class Call:
    """One request on its way, and what the access log will say of it: never a prompt or an answer."""

    request: Request
    send: Send
    model: str = ""
    operation: str = ""
    key: str = ""
    status: int = 0
    body_bytes: int = 0
    code: str = ""
    end: End | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    start: float = field(default_factory=time.perf_counter)

    @property
    def milliseconds(self) -> int:
        """Since the request came."""
        return round((time.perf_counter() - self.start) * 1000)

    def log(self) -> None:
        """One line of JSON."""
        tokens = {"input_tokens": self.end.input_tokens, "output_tokens": self.end.output_tokens} if self.end else {}
        facts = {"request": self.id, "key": self.key, "operation": self.operation, "model": self.model, "status": self.status}
        access.info(json.dumps({**facts, "code": self.code, **tokens, "ms": self.milliseconds}))

    async def reply(self, response: Response) -> None:
        """Send a whole response."""
        self.status = response.status_code
        await response(self.request.scope, self.request.receive, self.send)

    async def begin(self, extra: dict[str, str]) -> None:
        """Send the head of an event stream; from here on errors are events."""
        self.status = 200
        headers = {"content-type": CONTENT_TYPE, "x-amzn-requestid": self.id, **extra}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": 200, "headers": raw})

    async def body(self, piece: bytes, more: bool = True) -> None:
        """Send a piece of an event stream."""
        await self.send({"type": "http.response.body", "body": piece, "more_body": more})


async def while_connected(call: Call, work: Awaitable[None], seconds: float) -> None:
    """Do the work unless the client goes away first; cancelling the work cancels the request in the engine."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(call.request))
    try:
        await asyncio.wait({working, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working
    if working.cancelled():
        call.code = "ClientDisconnected"
        raise ClientDisconnect
    working.result()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
