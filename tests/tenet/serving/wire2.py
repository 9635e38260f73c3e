"""A client of HTTP/2 on a connection without a network, and frames that no client would send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from jh2 import events
from jh2.config import H2Configuration
from jh2.connection import H2Connection
from jh2.hyperframe.frame import Frame, HeadersFrame
from jh2.settings import SettingCodes, Settings

from tenet.serving.http import http2
from tests.tenet.serving.wire import Wire, turns

HEAD = [(":method", "POST"), (":scheme", "http"), (":authority", "h:1"), (":path", "/a%20b?q=1")]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


class Caller:
    """A client on a connection without a network."""

    def __init__(self, wire: Wire, **settings: int) -> None:
        self.wire, self.events, self.read = wire, list[Any](), 0
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False))
        values = {SettingCodes[name.upper()]: value for name, value in settings.items()}
        self.h2.local_settings = Settings(client=True, initial_values=values)
        self.h2.state_machine = http2._State()  # a client that knows that GOAWAY ends nothing that has begun
        self.h2.initiate_connection()

    async def flush(self, *more: bytes) -> None:
        """Send what is made, and `more`; take what comes."""
        data = self.h2.data_to_send() + b"".join(more)
        if data:
            self.wire.protocol.data_received(data)
        await turns(8)
        written = self.wire.transport.written
        came, self.read = written[self.read :], len(written)
        if came:
            self.events += self.h2.receive_data(came)

    async def ask(self, body: bytes = b"", head: list[tuple[str, str]] | None = None) -> int:
        """A whole request."""
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, head or HEAD, end_stream=not body)
        if body:
            self.h2.send_data(number, body, end_stream=True)
        await self.flush()
        return number

    def of(self, kind: type, number: int | None = None) -> list[Any]:
        """What has come so far."""
        return [one for one in self.events if isinstance(one, kind) and number in (None, getattr(one, "stream_id", None))]

    def body(self, number: int) -> bytes:
        return b"".join(one.data for one in self.of(events.DataReceived, number))

    def status(self, number: int) -> str:
        return dict(self.of(events.ResponseReceived, number)[0].headers)[":status"]

    @property
    def goaway(self) -> int | None:
        """The code with which the server ends the connection."""
        gone = self.of(events.ConnectionTerminated)
        return int(gone[0].error_code) if gone else None


def waiting(left: list[int]) -> Any:
    """An application that never answers, and is told when its client goes away."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        gone = asyncio.Event()
        scope["state"]["watch"](gone.set)
        await gone.wait()
        left.append(1)

    return app


def frames(*of: Frame) -> bytes:
    return b"".join(frame.serialize() for frame in of)


def block(number: int, data: bytes, kind: type[Frame] = HeadersFrame, **flags: bool) -> Frame:
    frame = kind(number)
    frame.data = data
    for flag in flags:
        frame.flags.add(flag)
    return frame
