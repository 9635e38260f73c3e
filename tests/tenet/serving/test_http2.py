"""HTTP/2, with a client made of jh2: streams are answered side by side, cancelled, held back, and nothing of them is without
bound."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from jh2 import events
from jh2.errors import ErrorCodes
from jh2.hyperframe.frame import DataFrame

from tenet.serving.http import http2
from tests.tenet.serving.wire import Wire, turns
from tests.tenet.serving.wire2 import HEAD, Caller, block, frames, run, waiting


def test_a_request_is_what_it_is_over_http1() -> None:
    async def once() -> None:
        wire = Wire()
        caller = Caller(wire)
        number = await caller.ask(b"body", [*HEAD, ("content-type", "application/json")])
        assert (caller.status(number), caller.body(number)) == ("200", b"ok") and caller.of(events.StreamEnded, number)
        assert wire.seen == [("POST", "/a b", b"body")]
        scope = wire.scopes[0]
        assert scope["headers"] == [(b"host", b"h:1"), (b"content-type", b"application/json")]
        assert (scope["http_version"], scope["raw_path"], scope["query_string"]) == ("2", b"/a%20b", b"q=1")
        assert await caller.ask() == 3 and len(wire.seen) == 2 and not wire.protocol._streams

    run(once)


def test_the_preface_may_come_in_pieces() -> None:
    async def once() -> None:
        wire = Wire()
        caller = Caller(wire)
        caller.h2.send_headers(1, HEAD, end_stream=True)
        await wire.feed(*[bytes([byte]) for byte in caller.h2.data_to_send()])
        await caller.flush()
        assert caller.status(1) == "200"

    run(once)


@pytest.mark.parametrize(
    "head",
    [
        [*HEAD, ("host", "other")],
        [*HEAD, ("connection", "close")],
        [*HEAD, ("x", "a\r\nhost: b")],
        [*HEAD, ("X-Upper", "a")],
        [(":method", "POST"), (":scheme", "http"), (":authority", "h:1")],
        [(":method", "POST"), (":scheme", "http"), (":path", "/")],
        [*HEAD, ("content-length", "3")],
    ],
    ids=["two hosts", "connection", "line break", "upper case", "no path", "no host", "another length"],
)
def test_a_malformed_request_is_never_answered(head: list[tuple[str, str]]) -> None:
    async def once() -> None:
        wire = Wire()
        caller = Caller(wire)
        caller.h2.config.normalize_outbound_headers = False
        await caller.ask(b"four", head)
        assert not wire.seen
        assert caller.of(events.StreamReset) or caller.goaway

    run(once)


def test_nothing_is_sent_beyond_the_clients_window() -> None:
    async def long(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 100_000})

    async def once() -> None:
        wire = Wire()
        wire.protocol.app = wire.protocol.config.loaded_app = long
        caller = Caller(wire, initial_window_size=30_000)
        number = await caller.ask()
        assert len(caller.body(number)) == 30_000
        other = await caller.ask()  # one that waits keeps nobody else
        assert len(caller.body(other)) == 30_000
        wire.protocol.pause_writing()
        caller.h2.increment_flow_control_window(100_000, number)
        await caller.flush()
        assert len(caller.body(number)) == 30_000
        wire.protocol.resume_writing()
        await caller.flush()
        assert len(caller.body(number)) == 35_535  # what the connection's window of 65,535 had left
        caller.h2.increment_flow_control_window(300_000)
        await caller.flush()
        assert len(caller.body(number)) == 100_000 and caller.of(events.StreamEnded, number)

    run(once)


def test_a_body_is_let_in_as_it_is_read() -> None:
    async def once() -> None:
        wire, gate = Wire(), asyncio.Event()
        app = wire.app

        async def slow(scope: dict[str, Any], receive: Any, send: Any) -> None:
            await gate.wait()
            await app(scope, receive, send)

        wire.protocol.app = wire.protocol.config.loaded_app = slow
        caller = Caller(wire)
        caller.h2.send_headers(1, HEAD)
        await caller.flush()
        sent = 0
        while (room := caller.h2.local_flow_control_window(1)) > 0:
            size = min(room, 16_000)
            caller.h2.send_data(1, b"y" * size)
            sent += size
            await caller.flush()
        assert sent == http2.STREAM_WINDOW
        gate.set()
        await caller.flush()
        assert caller.h2.local_flow_control_window(1) > 0
        for _ in range(200):  # far beyond the window of the whole connection
            while caller.h2.local_flow_control_window(1) < 16_000:
                await caller.flush()
            caller.h2.send_data(1, b"y" * 16_000)
            await caller.flush()
        caller.h2.end_stream(1)
        await caller.flush()
        assert len(wire.seen[0][2]) == sent + 200 * 16_000
        for _ in range(100):  # whole bodies are credited too
            await caller.ask(b"z" * 16_000)
        assert len(wire.seen) == 101

    run(once)


def test_an_answer_before_the_body_is_heard_and_the_rest_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "LINGER_BYTES", 600_000)

    async def once() -> None:
        wire = Wire(reads=False)
        caller = Caller(wire)
        caller.h2.send_headers(1, HEAD)
        for _ in range(40):  # more than the window
            if not caller.of(events.StreamReset):
                assert caller.h2.local_flow_control_window(1) >= 16_000
                caller.h2.send_data(1, b"y" * 16_000)
                await caller.flush()
        assert caller.status(1) == "200" and caller.of(events.StreamEnded, 1)
        assert [one.error_code for one in caller.of(events.StreamReset)] == [ErrorCodes.NO_ERROR]
        assert not wire.protocol._streams and await caller.ask() == 3 and caller.status(3) == "200"

    run(once)


def test_a_cancelled_stream_frees_its_place() -> None:
    async def once() -> None:
        wire, left = Wire(), list[int]()
        wire.protocol.app = wire.protocol.config.loaded_app = waiting(left)
        caller = Caller(wire)
        for _ in range(3):
            numbers = [await caller.ask() for _ in range(50)]
            for number in numbers:
                caller.h2.reset_stream(number, ErrorCodes.CANCEL)
            await caller.flush()
        assert len(left) == 150 and not wire.state.tasks and not wire.protocol._streams and not wire.transport.closed
        await caller.ask()
        wire.protocol.connection_lost(None)
        await turns(8)
        assert len(left) == 151 and not wire.state.tasks and not wire.state.connections

    run(once)


def test_the_end_of_the_server_lets_open_streams_finish() -> None:
    async def once() -> None:
        wire, gate = Wire(), asyncio.Event()

        async def later(scope: dict[str, Any], receive: Any, send: Any) -> None:
            await gate.wait()
            await wire.app(scope, receive, send)

        wire.protocol.app = wire.protocol.config.loaded_app = later
        caller = Caller(wire)
        number = await caller.ask()
        wire.protocol.shutdown()
        await caller.flush()
        assert caller.goaway == 0 and caller.of(events.ConnectionTerminated)[0].last_stream_id == number
        refused = block(number + 2, b"\x83\x86\x84\x41\x01h", END_HEADERS=True, END_STREAM=True)
        await caller.flush(frames(refused))
        gate.set()
        assert not wire.transport.closed
        await turns(8)
        assert wire.transport.closed and len(wire.seen) == 1 and b"ok" in wire.transport.written

    run(once)


def test_a_client_that_says_goodbye_still_gets_its_answer() -> None:
    async def once() -> None:
        wire = Wire()
        caller = Caller(wire)
        caller.h2.send_headers(1, HEAD)
        head = caller.h2.data_to_send()
        goodbye = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + b"\x00" * 8
        data = block(1, b"hi", DataFrame, END_STREAM=True)
        told = await wire.feed(head + goodbye, frames(data))
        assert wire.seen == [("POST", "/a b", b"hi")] and b"ok" in told and wire.transport.closed

    run(once)
