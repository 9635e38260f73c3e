"""HTTP/2 from those who mean no good: what has no end, what unpacks, what is cancelled as fast as it goes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jh2.errors import ErrorCodes
from jh2.hyperframe.frame import ContinuationFrame, DataFrame, PingFrame, SettingsFrame

from tenet.serving.http import http2
from tests.tenet.serving.wire import Wire, turns
from tests.tenet.serving.wire2 import HEAD, PREFACE, Caller, block, frames, run, waiting


def test_rapid_resets_end_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    """CVE-2023-44487: HEADERS and RST_STREAM together, as fast as it goes."""

    async def once() -> None:
        wire, left = Wire(), list[int]()
        wire.protocol.app = wire.protocol.config.loaded_app = waiting(left)
        caller = Caller(wire)
        await caller.flush()
        for _ in range(1000):
            number = caller.h2.get_next_available_stream_id()
            caller.h2.send_headers(number, HEAD, end_stream=True)
            caller.h2.reset_stream(number, ErrorCodes.CANCEL)
        await caller.flush()
        assert caller.goaway == ErrorCodes.ENHANCE_YOUR_CALM and wire.protocol.deaf
        await turns(20)
        assert len(wire.scopes) == 0 and not wire.state.tasks and "cancelled one after another" in caplog.text

    run(once)


_START = frames(SettingsFrame(0), block(1, b"\x00" * 100))
#: Frames that never become a request.
FLOODS = {
    "continuation": [_START, *[frames(block(1, b"\x00" * 100, ContinuationFrame))] * 100],
    "empty continuation": [_START, *[frames(block(1, b"", ContinuationFrame))] * 100],
    "large continuation": [_START, *[frames(block(1, b"\x00" * 16_000, ContinuationFrame))] * 8],
    "a frame of 16 MB": [b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", *[b"x" * 16_000] * 8],
    "headers that unpack": [frames(block(1, b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000 + b"\xbe" * 12_000, END_HEADERS=True))],
    "streams": [frames(*(block(1 + 2 * number, b"\x83\x86\x84\x41\x01h", END_HEADERS=True) for number in range(300)))],
    "no frame": [b"\x00" * 40, b"\xff" * 100_000],
    "data of nobody": [frames(block(1, b"x", DataFrame))],
}


@pytest.mark.parametrize("kind", FLOODS)
def test_floods_are_bounded(kind: str) -> None:
    async def once() -> None:
        wire, left = Wire(), list[int]()
        wire.protocol.app = wire.protocol.config.loaded_app = waiting(left)
        told = await wire.feed(PREFACE, *FLOODS[kind])
        assert wire.protocol.deaf and len(wire.scopes) <= http2.STREAMS
        assert b"\x07\x00\x00\x00\x00\x00" in told[-60:]  # GOAWAY on stream 0
        await turns(20)
        assert not wire.state.tasks

    run(once)


@pytest.mark.parametrize("ends", [False, True])
def test_a_header_block_has_to_end_in_time(ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "HEADER_SECONDS", 0.1)

    async def once() -> None:
        wire = Wire()
        caller = Caller(wire)
        await caller.ask()
        await wire.feed(frames(block(3, b"\x83\x86\x84\x41\x01h")))
        if ends:
            await wire.feed(frames(block(3, b"", ContinuationFrame, END_HEADERS=True), block(3, b"", DataFrame, END_STREAM=True)))
        await asyncio.sleep(0.25)
        assert wire.transport.closed is not ends and len(wire.seen) == 1 + ends

    run(once)


def test_who_asks_and_does_not_read_is_cut_off() -> None:
    async def once() -> None:
        wire = Wire()
        caller = Caller(wire)
        await caller.flush()
        wire.transport.get_write_buffer_size = lambda: http2.UNREAD_BYTES + 1  # type: ignore[method-assign]
        await wire.feed(frames(*[PingFrame(0, b"12345678")] * 10))
        assert wire.transport.aborted

    run(once)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60), st.tuples(st.integers(0, 12), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=40))
        ),
        max_size=8,
    )
)
def test_whatever_frames_come(sent: list[Any]) -> None:
    def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + number.to_bytes(4, "big") + payload

    async def once() -> None:
        wire = Wire()
        caller = Caller(wire)
        await caller.ask()
        await wire.feed(*[piece for one in sent if (piece := one if isinstance(one, bytes) else frame(*one))])
        wire.protocol.connection_lost(None)
        await turns(20)
        assert not wire.state.tasks and not wire.state.connections

    run(once)
