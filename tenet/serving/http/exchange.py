"""One request and its response, whatever carries them: ASGI's `receive` and `send`, and who is told when the client
goes away.

`http1.py` and `http2.py` say how the response is written; the gateway sees no difference but `http_version`.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

log = logging.getLogger("tenet.serving")

Headers = Iterable[tuple[bytes, bytes]]
#: A body of which more than this waits to be read stops the reading of its connection.
BODY_AHEAD = 65_536
_GONE = {"type": "http.disconnect"}


class Exchange(ABC):
    """A request from its last header to the last byte of its response.

    Attributes:
        scope: ASGI's, with `state["watch"]` (see `watch`).
        whole: the request's body has come to its end.
        started: the head of the response is written; complete: its last byte is.
        gone: nobody is there to be answered.
    """

    def __init__(self, scope: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        self.scope, self.loop = scope, loop
        scope["state"] = {"watch": self.watch}
        self.whole = self.started = self.complete = self.gone = False
        self.ahead = 0
        self._pieces: list[bytes] = []
        self._head: tuple[int, Headers] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._told: Callable[[], None] | None = None

    # --- what the connection says ----------------------------------------------------------------------------------

    def arrived(self, piece: bytes) -> None:
        """A piece of the body."""
        self._pieces.append(piece)
        self.ahead += len(piece)
        self.wake()

    def ended(self) -> None:
        """The body is whole."""
        self.whole = True
        self.wake()

    def leave(self) -> None:
        """The client is gone, or will be told nothing more."""
        if self.gone:
            return
        self.gone = True
        self.wake()
        if self._told is not None:
            self._told()

    def forget_body(self) -> None:
        """What has come of it was read, or nobody will."""
        self._pieces, self.ahead = [], 0

    def wake(self) -> None:
        """What `receive` or `send` waited for may have come."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- what the gateway sees -------------------------------------------------------------------------------------

    async def run(self, app: Callable[..., Any]) -> None:
        """Let the application answer."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as error:  # of the application itself: a place in the code, never what it was about
            where = " < ".join(f"{f.filename}:{f.lineno}" for f in reversed(traceback.extract_tb(error.__traceback__)))
            log.error("no answer: %s at %s", type(error).__name__, where)
        finally:
            if not self.complete:
                self.abandon()

    def watch(self, told: Callable[[], None] | None) -> None:
        """What to call when the client goes away while its request is answered; None: nothing any more.

        `http.disconnect` says the same to whoever waits for it, but costs a task for each request.
        """
        self._told = told
        if told is not None:
            self.wanted()  # a large body stopped the reading, and who does not read learns of no end
            if self.gone:
                self.loop.call_soon(told)

    async def receive(self) -> dict[str, Any]:
        """ASGI: the body as far as it has come, or the news that nobody is there."""
        while not (self._pieces or self.whole or self.gone or self.complete):
            self.wanted()
            await self._wait()
        if self.gone or self.complete:
            return _GONE
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self.forget_body()
        self.taken(len(body))
        return {"type": "http.request", "body": body, "more_body": not self.whole}

    async def send(self, message: dict[str, Any]) -> None:
        """ASGI: the head is kept until the first piece of the body, so that they cost one write and wake the client
        once."""
        if self.complete:
            raise RuntimeError(f"{message['type']} after the end of the response")
        if message["type"] == "http.response.start":
            self._head = message["status"], message.get("headers", ())
            return
        head, self._head = self._head, None
        self.started = True
        await self.write(head, message.get("body", b""), bool(message.get("more_body", False)))

    async def _wait(self) -> None:
        self._waiter = self.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def ready(self, blocked: Callable[[], bool]) -> bool:
        """Wait until the client has read enough of what it was sent; False: it never will."""
        while not self.gone and blocked():
            await self._wait()
        return not self.gone

    # --- what the kind of connection does ----------------------------------------------------------------------------

    @abstractmethod
    def wanted(self) -> None:
        """Somebody waits for the body."""

    @abstractmethod
    def taken(self, size: int) -> None:
        """So many bytes of the body were read by the application."""

    @abstractmethod
    async def write(self, head: tuple[int, Headers] | None, body: bytes, more: bool) -> None:
        """A piece of the response."""

    @abstractmethod
    def abandon(self) -> None:
        """No response, or no more of it, will come."""
