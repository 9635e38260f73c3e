"""A connection without a network: bytes in, requests that the application saw and bytes out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from tenet.serving.http.opening import Opening

Seen = tuple[str, str, bytes]


class FakeTransport:
    """Remembers what was written; what a client would notice of its end stands in `closed` and `half_closed`."""

    def __init__(self, tls: bool = False) -> None:
        self.tls, self.written = tls, b""
        self.closed = self.aborted = self.half_closed = False
        self.protocol: Any = None

    def get_extra_info(self, name: str) -> Any:
        return {"peername": ("192.0.2.1", 5), "sockname": ("127.0.0.1", 80), "sslcontext": self.tls or None}[name]

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return not self.tls

    def write_eof(self) -> None:
        self.half_closed = True

    def write(self, data: bytes) -> None:
        assert not (self.closed or self.half_closed), "written after the end"
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


@dataclass
class Wire:
    """One connection to an application that reads what it is asked and says `ok`."""

    tls: bool = False
    reads: bool = True
    seen: list[Seen] = field(default_factory=list)
    scopes: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.transport = FakeTransport(self.tls)
        self.state = ServerState()
        self.open()

    def open(self) -> None:
        """A client comes."""
        config = Config(self.app, lifespan="off", log_config=None)
        config.loaded, config.loaded_app = True, self.app
        self.transport.protocol = Opening(config, self.state, {})
        self.transport.protocol.connection_made(self.transport)

    @property
    def protocol(self) -> Any:
        """It changes after the first bytes."""
        return self.transport.protocol

    async def app(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body, more = b"", self.reads
        self.scopes.append(scope)
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        self.seen.append((scope["method"], scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def feed(self, *pieces: bytes) -> bytes:
        """Each piece as a read of its own; what came back."""
        before = len(self.transport.written)
        for piece in pieces:
            self.protocol.data_received(piece)
            await turns()
        await turns(8)
        return self.transport.written[before:]


async def turns(count: int = 3) -> None:
    """Let the loop run what is ready."""
    for _ in range(count):
        await asyncio.sleep(0)
