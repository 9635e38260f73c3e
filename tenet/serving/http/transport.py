"""The HTTP protocol under the gateway: uvicorn's, with bounds on what a connection may hold before anything is known of
it.

Neither uvicorn nor httptools bounds the headers of a request, the time in which they come, or the number of
connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_BYTES = 65_536
#: From the first byte of a connection, or of its next request, to the end of its headers.
HEADER_SECONDS = 30.0
CONNECTIONS = 4096
GOODBYE_SECONDS = 0.5
_REFUSAL = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"


class Joined:
    """A transport that can hold back what it is given, so that the head of a response and its body cost one system call
    and wake the client once.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._held: list[bytes] | None = None
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write, or hold back."""
        if self._held is None:
            self._transport.write(data)
        else:
            self._held.append(data)

    def hold(self) -> None:
        """Keep what is written from here on."""
        self._held = self._held or []

    def release(self) -> None:
        """Write what was kept."""
        pieces, self._held = self._held, None
        if pieces and not self.is_closing():
            self._transport.write(b"".join(pieces))

    def close(self) -> None:
        """Close after what was written."""
        self.release()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    _in_headers = True
    _header_bytes = 0
    _timer: asyncio.TimerHandle | None = None
    _gone: Callable[[], None] | None = None

    def connection_made(self, transport: Any) -> None:
        """A client came."""
        super().connection_made(Joined(transport))  # type: ignore[arg-type]
        if len(self.connections) > CONNECTIONS:
            self._refuse(b"503 Service Unavailable", b'{"message": "Too many connections."}')
        else:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._stop_timer()
        super().connection_lost(exc)
        self._leave()

    def shutdown(self) -> None:
        """The server ends. A TLS client that is idle would be waited for until it says goodbye too."""
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(GOODBYE_SECONDS, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        """Bytes, at most a read buffer of them."""
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        # Looked at afterwards: a small head with a large body behind it comes in one piece too.
        if self._in_headers and self._header_bytes > HEADER_BYTES and not self.transport.is_closing():
            self._refuse(b"431 Request Header Fields Too Large", b'{"message": "The request headers are too large."}')

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._in_headers, self._header_bytes = True, 0
        if self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._too_slow)
        super().on_message_begin()
        self.scope["state"] |= {"watch": self._watch, "transport": self.transport}

    def on_headers_complete(self) -> None:
        """The headers are whole."""
        self._in_headers = False
        self._stop_timer()
        super().on_headers_complete()

    def _watch(self, gone: Callable[[], None] | None) -> None:
        """What to call when the client goes away while its request is answered; None: nothing any more.

        `http.disconnect` says the same to whoever waits for it, but costs a task for each request.
        """
        self._gone = gone
        if gone is not None:
            self.flow.resume_reading()  # a large body stopped it, and who does not read learns of no end
            if self.transport.is_closing():
                self.loop.call_soon(self._leave)

    def _leave(self) -> None:
        if self._gone is not None:
            self._gone()

    def _too_slow(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: bytes, body: bytes) -> None:
        self._stop_timer()
        self.transport.write(_REFUSAL % (status, len(body), body))
        self.transport.close()
