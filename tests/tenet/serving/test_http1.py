"""HTTP/1.1 to the letter: where a body ends, what an offer of another protocol means, and how a connection is closed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenet.serving.http import connection, http1
from tests.tenet.serving.wire import Wire, turns

#: A body that is a request, in the eyes of whoever loses count.
INNER = b"GET /inner HTTP/1.1\r\nHost: x\r\n\r\n"
OFFERS = {
    "none": b"",
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    "websocket": b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n",
    "tls": b"Connection: upgrade\r\nUpgrade: TLS/1.3\r\n",
    "several": b"Upgrade: h2c, websocket\r\nUpgrade: foo/2\r\nConnection: Upgrade\r\n",
    "no connection": b"Upgrade: h2c\r\n",
}
FRAMINGS = {
    "length": b"Content-Length: %d\r\n\r\n%b" % (len(INNER), INNER),
    "no body": b"Content-Length: 0\r\n\r\n",
    "nothing said": b"\r\n",
    "one chunk": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER),
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in INNER) + b"0\r\n\r\n",
    "trailers": b"Transfer-Encoding: chunked\r\nTrailer: x\r\n\r\n%x;a=b\r\n%b\r\n0\r\nHost: y\r\nUpgrade: h2c\r\n\r\n"
    % (len(INNER), INNER),
}
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def asked(offer: str, framing: str) -> tuple[bytes, list[tuple[str, str, bytes]]]:
    """Two requests on one connection, and what must be seen of them."""
    body = b"" if framing in ("no body", "nothing said") else INNER
    first = b"POST /first HTTP/1.1\r\nHost: x\r\n" + OFFERS[offer] + FRAMINGS[framing]
    return first + NEXT, [("POST", "/first", body), ("GET", "/next", b"")]


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("offer", OFFERS)
def test_no_byte_of_a_body_is_read_as_a_head_wherever_it_is_cut(offer: str, framing: str) -> None:
    data, wanted = asked(offer, framing)

    async def all_cuts() -> None:
        cuts = [[data], [data[i : i + 1] for i in range(len(data))], *([data[:i], data[i:]] for i in range(1, len(data)))]
        for pieces in cuts:
            wire = Wire()
            told = await wire.feed(*pieces)
            assert wire.seen == wanted, (pieces, wire.seen)
            assert told == OK * 2

    run(all_cuts)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(list(OFFERS)), st.sampled_from(list(FRAMINGS))), min_size=1, max_size=4), st.data())
def test_nor_where_several_offers_follow_each_other(kinds: list[tuple[str, str]], draw: st.DataObject) -> None:
    both = [asked(*kind) for kind in kinds]
    rest, pieces = b"".join(data for data, _ in both), []
    while rest:
        cut = draw.draw(st.integers(1, len(rest)))
        pieces.append(rest[:cut])
        rest = rest[cut:]

    async def once() -> None:
        wire = Wire()
        await wire.feed(*pieces)
        for _ in range(4 * len(kinds)):
            await turns(8)
        assert wire.seen == [one for _, wanted in both for one in wanted]

    run(once)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
    ],
)
@pytest.mark.parametrize("offer", ["none", "h2c"])
def test_framing_that_two_could_read_in_two_ways_is_refused(head: bytes, offer: str) -> None:
    async def once() -> None:
        wire = Wire()
        told = await wire.feed(b"POST /first HTTP/1.1\r\nHost: x\r\n" + OFFERS[offer] + head + b"\r\n" + INNER + NEXT)
        assert not wire.seen and told.startswith(b"HTTP/1.1 400 ") and told.count(b"HTTP/1.1") == 1
        assert wire.transport.half_closed and not wire.transport.closed

    run(once)


def test_a_trailer_is_no_header() -> None:
    async def once() -> None:
        wire = Wire()
        await wire.feed(asked("none", "trailers")[0])
        assert [value for name, value in wire.scopes[0]["headers"] if name == b"host"] == [b"x"]

    run(once)


@pytest.mark.parametrize(
    "end",
    [b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"],
)
def test_nothing_is_read_behind_the_last_request(end: bytes) -> None:
    async def once() -> None:
        for pieces in ([end + INNER], [end, INNER]):
            wire = Wire()
            told = await wire.feed(*pieces)
            assert len(wire.seen) == 1 and told.count(b"HTTP/1.1 ") == 1 and wire.transport.closed

    run(once)


def test_requests_that_come_together_are_answered_in_order_and_not_without_end() -> None:
    async def once() -> None:
        wire = Wire()
        told = await wire.feed(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(100)))
        for _ in range(100):
            await turns()
        count = http1.PIPELINED + 1
        assert [path for _, path, _ in wire.seen] == [f"/{number}" for number in range(count)]
        assert wire.transport.written.count(b"HTTP/1.1 200") == count and wire.transport.closed and told

    run(once)


@pytest.mark.parametrize("tls", [False, True])
def test_an_answer_before_the_body_is_followed_by_a_close_in_stages(tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_BYTES", 5000)

    async def once() -> None:
        wire = Wire(tls, reads=False)
        told = await wire.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n", INNER)
        assert told.startswith(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n") and told.count(b"HTTP/1.1") == 1
        assert wire.transport.half_closed is not tls and not wire.transport.closed
        await wire.feed(*[b"x" * 1000] * 4)
        assert not wire.transport.closed and len(wire.seen) == 1  # thrown away, INNER too
        await wire.feed(b"x" * 1000)
        assert wire.transport.aborted

    run(once)


@pytest.mark.parametrize("sends", [False, True])
def test_whoever_sends_for_ever_or_nothing_is_cut_off(sends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.2)
    monkeypatch.setattr(connection, "LINGER_QUIET_SECONDS", 0.1)

    async def once() -> None:
        wire = Wire(reads=False)
        await wire.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n")
        start = asyncio.get_running_loop().time()
        while not wire.transport.aborted and asyncio.get_running_loop().time() < start + 3:
            if sends:
                await wire.feed(b"x")
            await asyncio.sleep(0.01)
        took = asyncio.get_running_loop().time() - start
        assert (0.19 if sends else 0.09) <= took < 1

    run(once)


def test_a_client_that_waits_for_leave_gets_it_or_its_answer() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"

    async def once() -> None:
        wire = Wire()
        assert await wire.feed(head) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert await wire.feed(b"{}") == OK and wire.seen == [("POST", "/", b"{}")]
        refusing = Wire(reads=False)
        assert (await refusing.feed(head)).startswith(b"HTTP/1.1 200 ")
        assert refusing.transport.half_closed
        old = Wire()
        assert await old.feed(head.replace(b"/1.1", b"/1.0")) == b""

    run(once)


async def streaming(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for piece, more in ((b"one", True), (b"two", False)):
        await send({"type": "http.response.body", "body": piece, "more_body": more})


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        (b"1.0", b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonetwo"),
        (b"1.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
    ],
)
def test_chunks_are_for_those_who_know_them(version: bytes, wanted: bytes) -> None:
    async def once() -> None:
        wire = Wire()
        wire.protocol.app = wire.protocol.config.loaded_app = streaming
        told = await wire.feed(b"GET / HTTP/%b\r\nHost: x\r\nConnection: keep-alive\r\n\r\n" % version)
        assert told == wanted and wire.transport.closed is (version == b"1.0")

    run(once)


@pytest.mark.parametrize(
    ("came", "named"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "TLS to an endpoint that speaks http"),
        (b"hello, is anybody there?\r\n\r\n", "no HTTP request: text"),
        (b"\x00\x01\x02\xff" * 8, "bytes that are no text"),
        (NEXT + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
    ],
)
def test_the_log_names_what_came(came: bytes, named: str, caplog: pytest.LogCaptureFixture) -> None:
    async def once() -> None:
        wire = Wire()
        await wire.feed(came)
        assert named in caplog.text and "Invalid HTTP request" not in caplog.text and "anybody" not in caplog.text
        assert len(wire.seen) <= 1 and (wire.transport.half_closed or wire.transport.closed)

    run(once)


@pytest.mark.parametrize(
    "endless",
    [
        [b"GET /", b"a" * 1000],
        [b"GET / HTTP/1.1\r\nx: ", b"a" * 1000],
        [b"GET / HTTP/1.1\r\n", b"x: y\r\n" * 200],
        [b"\r\n" * 10, b"\r\n" * 500],
        [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: ", b"a" * 1000],
        [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 1000],
    ],
    ids=["target", "header", "headers", "empty lines", "trailer", "chunk extension"],
)
def test_what_has_no_end_is_bounded(endless: list[bytes]) -> None:
    async def once() -> None:
        wire = Wire()
        first, more = endless
        told = await wire.feed(first, *itertools.repeat(more, 70))
        assert b"431" in told[:13] or b"400" in told[:13]
        assert wire.protocol.deaf

    run(once)


def test_one_large_head_in_one_piece_is_too_large_and_a_large_body_is_not() -> None:
    async def once() -> None:
        wire = Wire()
        assert b"431" in (await wire.feed(b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000 + b"\r\n\r\n"))[:13]
        wire = Wire()
        assert await wire.feed(b"POST / HTTP/1.1\r\nContent-Length: 70000\r\n\r\n" + b"a" * 70_000) == OK

    run(once)


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"P", b"GET / HT", NEXT + b"GET", b"POST / HTTP/1.1\r\nUpgrade: h2c\r\n"])
def test_a_head_has_to_come_in_time(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from tenet.serving.http import opening

    for module in (http1, opening):
        monkeypatch.setattr(module, "HEADER_SECONDS", 0.1)

    async def once() -> None:
        wire = Wire()
        if sent:
            await wire.feed(sent)
        assert not wire.transport.closed
        await asyncio.sleep(0.25)
        assert wire.transport.closed

    run(once)


def test_an_idle_connection_stays_and_gives_way_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    from tenet.serving.http import opening

    monkeypatch.setattr(opening, "CONNECTIONS", 2)
    monkeypatch.setattr(opening, "GIVES_WAY_SECONDS", 0.05)
    assert connection.IDLE_SECONDS > 900  # of the stack's balancer

    async def once() -> None:
        state, wires = None, []
        for number in range(4):
            wire = Wire()
            if state is not None:  # one server
                wire.protocol.stop_timer()
                wire.state, wire.transport = state, type(wire.transport)()
                wire.open()
            state = wire.state
            wires.append(wire)
            if number < 2:
                assert await wire.feed(NEXT) == OK
        assert b"503" in wires[2].transport.written[:13]  # nobody was idle for long enough
        await asyncio.sleep(0.06)
        assert not wires[1].transport.closed
        last = Wire()
        last.protocol.stop_timer()
        last.state, last.transport = state, type(last.transport)()
        last.open()
        assert wires[0].transport.closed and not last.transport.written
        assert await last.feed(NEXT) == OK

    run(once)


def test_line_breaks_in_a_header_of_ours_never_leave() -> None:
    async def split(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nset-cookie: b")]})
        await send({"type": "http.response.body", "body": b""})

    async def once() -> None:
        wire = Wire()
        wire.protocol.app = wire.protocol.config.loaded_app = split
        assert await wire.feed(NEXT) == b"" and wire.transport.aborted

    run(once)
