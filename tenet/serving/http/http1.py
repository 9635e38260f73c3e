"""HTTP/1.1 on httptools (llhttp): RFC 9112, with uvicorn around it and not in it.

uvicorn's own protocol loses the body of a request that offers an upgrade (what follows is then read as a request),
closes while a body is on its way, sends chunks to HTTP/1.0 and bounds neither headers nor time.
"""

from __future__ import annotations

import http
import math
from collections import deque
from typing import Any

import httptools

from tenet.serving.http.connection import HEADER_BYTES, HEADER_SECONDS, Connection
from tenet.serving.http.exchange import BODY_AHEAD, Exchange, Headers
from tenet.serving.http.scope import scope_of

REFUSAL = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
#: Requests that wait behind the one that is answered; what comes after them is left to the client's next connection.
PIPELINED = 32
_STATUS = {status: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}
_FRAMING = (b"content-length", b"transfer-encoding")


class Exchange1(Exchange):
    """One request over HTTP/1.1 or 1.0.

    Attributes:
        keep: the connection goes on after it.
        chunked: a response of unknown length is sent in chunks; HTTP/1.0 knows none and reads to the end.
        continuing: the client waits to be told that it may send its body.
    """

    def __init__(self, connection: Http1, scope: dict[str, Any], keep: bool) -> None:
        super().__init__(scope, connection.loop)
        self._connection, self.keep, self.continuing = connection, keep, False
        self.chunked = False

    def wanted(self) -> None:
        if self.continuing and not self.whole and not self.gone:
            self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.continuing = False
        self._connection.resume_reading()

    def taken(self, size: int) -> None:
        pass

    async def write(self, head: tuple[int, Headers] | None, body: bytes, more: bool) -> None:
        connection = self._connection
        if connection.write_paused and not await self.ready(lambda: connection.write_paused):
            return
        if self.gone:
            return
        parts = [self._lines(*head)] if head is not None else []
        if self.scope["method"] == "HEAD":
            pass
        elif not self.chunked:
            parts.append(body)
        else:
            if body:
                parts += (b"%x\r\n" % len(body), body, b"\r\n")
            if not more:
                parts.append(b"0\r\n\r\n")
        connection.transport.write(parts[0] if len(parts) == 1 else b"".join(parts))
        if not more:
            self.complete = True
            connection.answered(self)

    def _lines(self, status: int, headers: Headers) -> bytes:
        """The head. A body that has not come to its end would be taken for the next request: then there is none."""
        lines, framed = [_STATUS[http.HTTPStatus(status)]], False
        self.keep = self.keep and self.whole and not self._connection.ending
        for name, value in (*self._connection.server_state.default_headers, *headers):
            framed = framed or name == b"content-length"
            lines.append(b"%b: %b\r\n" % (name, value))
        if not framed and self.scope["http_version"] == "1.1":
            self.chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        elif not framed:
            self.keep = False
        if not self.keep:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
            raise RuntimeError("a response header holds a line break")
        return head

    def abandon(self) -> None:
        self.complete = True
        if not self.gone:
            self._connection.transport.abort()


class Http1(Connection):
    """One connection; its requests are answered in their order."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._parser = httptools.HttpRequestParser(self)
        self._current: Exchange1 | None = None
        self._behind: deque[Exchange1] = deque()
        self._incoming: Exchange1 | None = None  # whose body is on its way
        self._unfinished = 0  # bytes that belong to nothing yet
        self._in_head = self._head_timed = self._offered = self._replayed = self._large = self._too_large = False
        self._url, self._headers, self._expects = b"", list[tuple[bytes, bytes]](), False

    # --- bytes to requests -------------------------------------------------------------------------------------------

    def understand(self, data: bytes) -> None:
        """Parse; what is unfinished afterwards is bounded in size and time."""
        self._unfinished += len(data)
        self._large = len(data) > HEADER_BYTES
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._broken(data, error)
        if self._too_large or (self._unfinished > HEADER_BYTES and not self.deaf):
            self._refuse("431 Request Header Fields Too Large", "The request headers are too large.")
        elif self._current is None and not self.deaf:
            self._expect_head()

    def _expect_head(self) -> None:
        """From its first byte on, the rest has to follow soon."""
        if self._in_head and not self._head_timed:
            self._head_timed = True
            self.unexpect()
        if self._due == math.inf:
            self.expect(HEADER_SECONDS)

    def _feed(self, data: bytes) -> None:
        """llhttp stops behind a head that offers an upgrade, and httptools keeps it from reading the body. No offer is
        taken up (RFC 9110 7.8), so a fresh parser is told how that body is framed and goes on where the other stopped.
        """
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
            if self.deaf:
                return
            framing = b"".join(b"%b: %b\r\n" % (name, value) for name, value in self._headers if name in _FRAMING)
            version = self._parser.get_http_version().encode()
            self._parser, self._offered, self._replayed = httptools.HttpRequestParser(self), False, True
            self._parser.feed_data(b"POST / HTTP/%b\r\n%b\r\n" % (version, framing))
            if not data:
                return

    def on_message_begin(self) -> None:
        """httptools: the first byte of a request."""
        self._url, self._headers, self._expects = b"", [], False
        self._in_head, self._unfinished = True, 0

    def on_url(self, url: bytes) -> None:
        """httptools: a piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: a header; of a trailer too, which nobody asks for."""
        name = name.lower()
        self._headers.append((name, value))
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects = True

    def on_headers_complete(self) -> None:
        """httptools: the head is whole."""
        self._in_head, self._head_timed, self._unfinished = False, False, 0
        if self._replayed:
            self._replayed = False
            return
        self._incoming = None
        if self._large and sum(len(name) + len(value) for name, value in self._headers) > HEADER_BYTES:
            self.deaf = self._too_large = True
        if self.deaf:
            return
        self.unexpect()
        self._offered = self._parser.should_upgrade()
        exchange = Exchange1(self, self._scope(), self._parser.should_keep_alive())
        headers, self._incoming = self._headers, exchange
        if exchange.scope["http_version"] == "1.0":
            exchange.keep = False
        else:
            exchange.continuing = self._expects
        self._headers = [one for one in headers if one[0] in _FRAMING] if self._offered else []
        if exchange.scope["method"] == "CONNECT":  # what follows would be a tunnel's
            exchange.keep, self.deaf, self._incoming = False, True, None
            exchange.ended()
        if self._current is None:
            self._start(exchange)
            return
        self._behind.append(exchange)
        self.pause_reading()
        if len(self._behind) >= PIPELINED:
            exchange.keep = False

    def on_body(self, body: bytes) -> None:
        """httptools: a piece of the body."""
        self._unfinished = 0
        exchange = self._incoming
        if exchange is None or exchange.complete:
            return
        exchange.arrived(body)
        if exchange.ahead > BODY_AHEAD:
            self.pause_reading()

    def on_message_complete(self) -> None:
        """httptools: the request is whole."""
        if self._offered or self._incoming is None:
            return
        exchange, self._incoming, self._unfinished = self._incoming, None, 0
        exchange.ended()
        if not exchange.keep:
            self.deaf = True  # no byte behind it is a request

    def _scope(self) -> dict[str, Any]:
        target = self._url
        if not target.startswith(b"/"):  # a whole address, as to a proxy; `*`; CONNECT's host and port
            try:
                parsed = httptools.parse_url(target)
                target = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
            except httptools.HttpParserError:
                pass  # no such path will be found
        method = self._parser.get_method().decode("ascii")
        return scope_of(self, self._parser.get_http_version(), method, target, self._headers)

    # --- requests to answers -----------------------------------------------------------------------------------------

    def _start(self, exchange: Exchange1) -> None:
        self._current = exchange
        task = self.loop.create_task(exchange.run(self.app))
        self.server_state.tasks.add(task)
        task.add_done_callback(self.server_state.tasks.discard)

    def answered(self, exchange: Exchange1) -> None:
        """The last byte of an answer was written."""
        self.server_state.total_requests += 1
        self._current = None
        if not exchange.whole:
            self.linger()
        elif not exchange.keep or self.ending:
            self.close()
        elif self._behind:
            self._start(self._behind.popleft())
        else:
            self.resume_reading()
            self.idle()
            if self._in_head:
                self._expect_head()

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        if self._current is not None:
            self._current.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, and whoever waits for it learns of it."""
        super().connection_lost(exc)
        for exchange in (self._current, *self._behind, self._incoming):
            if exchange is not None:
                exchange.leave()
        self._behind.clear()
        self._parser = None  # type: ignore[assignment]  # it holds this connection, which holds it

    def shutdown(self) -> None:
        """The server ends; an answer that is under way is finished."""
        if self._current is None:
            super().shutdown()
        else:
            self.ending = True

    # --- what is no request ------------------------------------------------------------------------------------------

    def _broken(self, data: bytes, error: httptools.HttpParserError) -> None:
        """It cannot be parsed; behind the last request that is nobody's business."""
        if not self.deaf:
            self.tell(f"no HTTP request: {_kind(data)} ({type(error).__name__}: {error})")
            self._refuse("400 Bad Request", "This is no HTTP request that can be read.")

    def _refuse(self, status: str, message: str) -> None:
        """An answer to what never became a request; those before it are answered first, and then there is none."""
        self._too_large = False
        broken, self._incoming = self._incoming, None
        if broken is not None and broken is not self._current:
            self._behind.remove(broken)
        if self._current is not None and broken is not self._current:
            (self._behind or [self._current])[-1].keep = False
            self.deaf = True
            return
        if broken is not None:
            broken.leave()
            self._current = None
        if broken is None or not broken.started:
            body = b'{"message": "%b"}' % message.encode()
            self.transport.write(REFUSAL % (status.encode(), len(body), body))
        self.linger()


def _kind(data: bytes) -> str:
    """What came in its place, by its first bytes."""
    if data[:2] == b"\x16\x03":
        return "TLS to an endpoint that speaks http"
    if data.startswith(b"PRI * HTTP/2"):
        return "HTTP/2 in the middle of HTTP/1.1"
    return "text" if data[:16].isascii() and data[:16].decode().isprintable() else "bytes that are no text"
