"""A connection below HTTP: what it may hold before anything is known of it, for how long, and how it ends.

Nothing here is bounded by uvicorn or by the parsers. Every number is in the table of docs/wire.md.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any, Self, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

log = logging.getLogger("tenet.serving")

#: Of a request, over HTTP/1.1 as they come and over HTTP/2 unpacked; trailers and unfinished frames likewise.
HEADER_BYTES = 65_536
#: From the first byte of a connection, or of its next request, to the end of its headers.
HEADER_SECONDS = 30.0
#: Without a request. Longer than a load balancer keeps a connection (the stack's own: 900), or it would send a request
#: into the close; where connections run out, idle ones give way.
IDLE_SECONDS = 960.0
CONNECTIONS = 4096
#: An idle connection that has to give way to a new one was idle for as long at least.
GIVES_WAY_SECONDS = 5.0
#: Of what is still on its way when the answer has been given: read and thrown away, RFC 9112 9.6.
LINGER_BYTES = 64_000_000
LINGER_SECONDS = 20.0
#: Of silence after which no more is expected.
LINGER_QUIET_SECONDS = 5.0
GOODBYE_SECONDS = 0.5


class Connection(asyncio.Protocol):
    """One connection; the arguments are those with which uvicorn makes a protocol.

    Attributes:
        deaf: what comes is thrown away.
        idle_since: on the loop's clock; infinite while a request is answered.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.config, self.server_state, self.app_state = config, server_state, app_state
        self.app = config.loaded_app
        self.loop = _loop or asyncio.get_running_loop()
        self.deaf = self.write_paused = self.reading_paused = self.ending = False
        self.idle_since = math.inf
        self._due = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._lingers_until = math.inf
        self._drained = 0

    # --- asyncio's side ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self.transport = cast(asyncio.Transport, transport)
        self.server_state.connections.add(cast(Any, self))
        self.secure = transport.get_extra_info("sslcontext") is not None
        self.client = _address(transport.get_extra_info("peername"))
        self.server = _address(transport.get_extra_info("sockname"))

    @classmethod
    def after(cls, other: Connection) -> Self:
        """The same connection, now that it is known what it speaks."""
        self = cls(other.config, other.server_state, other.app_state, other.loop)
        other.stop_timer()
        other.server_state.connections.discard(cast(Any, other))
        self.connection_made(other.transport)
        other.transport.set_protocol(self)
        return self

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.stop_timer()
        self.deaf = True
        self.server_state.connections.discard(cast(Any, self))

    def pause_writing(self) -> None:
        """The client reads more slowly than it is written to."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self.write_paused = False

    def data_received(self, data: bytes) -> None:
        """Bytes, at most a read buffer of them."""
        if self.deaf:
            self._drain(len(data))
        else:
            self.understand(data)

    def understand(self, data: bytes) -> None:
        """Bytes that count."""
        raise NotImplementedError

    # --- time --------------------------------------------------------------------------------------------------------

    def expect(self, seconds: float) -> None:
        """The client has to do something within so many seconds. The timer is moved only to earlier times: mostly what
        is expected comes, and the next thing too."""
        self._due = self.loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self.loop.call_at(self._due, self._ring)

    def unexpect(self) -> None:
        """It did it."""
        self._due = self.idle_since = math.inf

    def stop_timer(self) -> None:
        """Nothing is expected any more."""
        self.unexpect()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def idle(self) -> None:
        """Nothing is asked at present."""
        self.expect(IDLE_SECONDS)
        self.idle_since = self.loop.time()

    def _ring(self) -> None:
        self._timer = None
        if self.loop.time() + 0.001 < self._due:
            if self._due < math.inf:
                self._timer = self.loop.call_at(self._due, self._ring)
        else:
            self.too_late()

    def too_late(self) -> None:
        """What was expected did not come."""
        if self.deaf:  # who still sends is cut off
            self.transport.abort()
        else:
            self.close()

    # --- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close after what was written; a client that does not read it, or does not say goodbye, is not waited for."""
        self.deaf = True
        if not self.transport.is_closing():
            self.unexpect()
            self.expect(LINGER_SECONDS)
            self.transport.close()

    def shutdown(self) -> None:
        """uvicorn: the server ends, nothing is being answered here. A TLS client that is idle would be waited for until
        it says goodbye too."""
        self.close()
        self.expect(GOODBYE_SECONDS)

    def linger(self) -> None:
        """Close in stages (RFC 9112 9.6): a close with unread bytes resets the connection, and the client may lose the
        answer that it has not read yet. TLS cannot be closed by halves; its client knows the end by the length."""
        self.deaf = True
        if self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.resume_reading()
        self._lingers_until = self.loop.time() + LINGER_SECONDS
        self.expect(LINGER_QUIET_SECONDS)

    def _drain(self, size: int) -> None:
        self._drained += size
        if self._drained > LINGER_BYTES:
            self.transport.abort()
        elif self._lingers_until < math.inf:
            self.expect(max(0.0, min(LINGER_QUIET_SECONDS, self._lingers_until - self.loop.time())))

    # --- reading -----------------------------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        """Let the client wait."""
        if not self.reading_paused and not self.transport.is_closing():
            self.reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        if self.reading_paused and not self.transport.is_closing():
            self.reading_paused = False
            self.transport.resume_reading()

    def tell(self, what: str) -> None:
        """A line of the log about a client that is not understood; never what it sent."""
        log.warning("%s: %s", self.client[0] if self.client else "a client", what)


def _address(address: Any) -> tuple[str, int] | None:
    """Of a socket that has one."""
    return (str(address[0]), int(address[1])) if isinstance(address, tuple | list) and len(address) >= 2 else None
