"""The first bytes of a connection decide what it speaks: HTTP/2 begins with a preface that no HTTP/1.1 request can have
(RFC 9113 3.4), over TLS, where ALPN has announced it, and without (prior knowledge) alike.
"""

from __future__ import annotations

import asyncio

from tenet.serving.http.connection import CONNECTIONS, GIVES_WAY_SECONDS, HEADER_SECONDS, Connection
from tenet.serving.http.http1 import REFUSAL, Http1
from tenet.serving.http.http2 import Http2

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: More than CONNECTIONS, of clients that are told that there are too many.
_TOLD = 64


class Opening(Connection):
    """A connection of which nothing is known yet; uvicorn makes one for each client."""

    _first = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came; where there are too many, the one that was idle longest goes."""
        super().connection_made(transport)
        others = self.server_state.connections
        self.expect(HEADER_SECONDS)
        if len(others) <= CONNECTIONS:
            return
        idlest: Connection = min(others, key=lambda one: one.idle_since)  # type: ignore[arg-type, assignment, attr-defined, union-attr]
        if self.loop.time() - idlest.idle_since >= GIVES_WAY_SECONDS:
            idlest.close()
        elif len(others) > CONNECTIONS + _TOLD:
            self.transport.abort()
        else:
            body = b'{"message": "Too many connections."}'
            self.transport.write(REFUSAL % (b"503 Service Unavailable", len(body), body))
            self.linger()

    def understand(self, data: bytes) -> None:
        """The first bytes, as many as it takes."""
        self._first += data
        if PREFACE.startswith(self._first) and len(self._first) < len(PREFACE):
            return
        kind = Http2 if self._first.startswith(PREFACE) else Http1
        kind.after(self).data_received(self._first)
