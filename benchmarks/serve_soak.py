"""Clients that cancel, read slowly, break off, are refused early or offer upgrades, over HTTP/1.1 and HTTP/2; nothing of them
may be left, and no good client may be told another's words. `benchmarks/serve.py --soak SECONDS` runs it."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
import re
import ssl
import time

from botocore.eventstream import EventStreamBuffer
from jh2.errors import ErrorCodes
from jh2.exceptions import ProtocolError

from benchmarks.serve_clients import Endpoint, Http1, Http2, Request, Times, ask, words_of

H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
KINDS = {
    "http1": ["good", "good", "good", "leaves", "slow", "broken", "unsigned", "half", "refused", "upgrade"],
    "http2": ["good", "good", "several", "several", "leaves", "cancels", "slow", "broken", "refused", "rapid"],
}


async def soak(endpoint: Endpoint, seconds: float) -> int:
    """Returns 1 where anything is left over or was mixed up."""
    dice = random.Random(0)
    for kind in (Http1, Http2):
        connection = await kind.open(endpoint)
        for _ in range(20):
            await ask(connection, endpoint, "warm", 200, Times(), "warm")
        connection.close()
    await asyncio.sleep(1)
    before, times, until = (endpoint.memory(), endpoint.sockets()), Times(), time.monotonic() + seconds
    counts: collections.Counter[str] = collections.Counter()
    clients = [
        misbehave(endpoint, random.Random(dice.random()), ("http1", "http2")[number % 2], until, times, counts)
        for number in range(24)
    ]
    middle = asyncio.create_task(_later(endpoint, seconds / 2))
    await asyncio.gather(*clients)
    half = await middle
    await asyncio.sleep(25)  # those that linger are cut off by then
    connection = await Http1.open(endpoint)
    page = b"".join([piece async for piece in connection.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")]).decode()
    connection.close()
    await asyncio.sleep(1)
    after = endpoint.memory(), endpoint.sockets()
    open_requests = re.search(r"^tenet_open_requests (\S+)", page, re.M)
    left = float(open_requests[1]) if open_requests else float("nan")
    cancelled = sum(float(one) for one in re.findall(r"^tenet_cancelled_requests_total (\S+)", page, re.M))
    print(", ".join(f"{kind} {count}" for kind, count in sorted(counts.items())))
    print(
        f"{seconds:.0f} s, {len(times.first)} good answers, {times.wrong} wrong, {cancelled:.0f} cancelled, {left:.0f} requests left open"
    )
    print(f"memory {before[0]:.1f} -> {half:.1f} (middle) -> {after[0]:.1f} MB, open files {before[1]} -> {after[1]}")
    bad = times.wrong or left or after[1] > before[1] or after[0] > half * 1.1 + 5 or not times.first
    print("leaks or mix-ups" if bad else "nothing leaked, nothing was mixed up")
    return int(bool(bad))


async def _later(endpoint: Endpoint, seconds: float) -> float:
    await asyncio.sleep(seconds)
    return endpoint.memory()


async def misbehave(
    endpoint: Endpoint, dice: random.Random, protocol: str, until: float, times: Times, counts: collections.Counter[str]
) -> None:
    """One client after another."""
    while time.monotonic() < until:
        text = f"{protocol} says {dice.random()} " + "z" * dice.randrange(200)
        kind = dice.choice(KINDS[protocol])
        counts[f"{protocol} {kind}"] += 1
        one = await (Http1 if protocol == "http1" else Http2).open(endpoint)
        try:
            async with asyncio.timeout(60):
                if isinstance(one, Http1):
                    await _over_http1(kind, one, endpoint, text, dice, times)
                else:
                    await _over_http2(kind, one, endpoint, text, dice, times)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, ProtocolError, TimeoutError) as error:
            if kind in ("good", "several", "refused", "upgrade"):
                times.wrong += 1
                print(f"{protocol} {kind}: {type(error).__name__} {error}")
        one.close()


async def _over_http1(kind: str, one: Http1, endpoint: Endpoint, text: str, dice: random.Random, times: Times) -> None:
    request = Request.of(endpoint, "converse-stream", text, 4096)
    if kind == "good":
        await ask(one, endpoint, text, 4096, times, text)
    elif kind == "broken":
        one.writer.write(bytes(dice.randrange(256) for _ in range(200)) + b"\r\n\r\n")
        await one.reader.read(4096)
    elif kind == "refused":  # by its head, while the body is on the way
        stranger = Request(
            request.path, request.headers | {"Authorization": "Bearer nobody"}, b"x" * dice.randrange(400_000), request.scheme
        )
        await _refused(one.raw(stranger.http1()), times)
    elif kind == "upgrade":
        for _ in range(2):
            pieces = [piece async for piece in one.raw(request.http1(H2C))]
            _check(pieces, text, times)
    else:
        data = request.http1()
        if kind == "unsigned":
            data = re.sub(rb"Signature=\w+", b"Signature=" + b"0" * 64, data)
        if kind == "half":
            data = data[: dice.randrange(len(data))]
        one.writer.write(data)
        await one.writer.drain()
        if kind == "slow":
            await asyncio.sleep(dice.random())
        if kind != "half":
            await one.reader.read(dice.randrange(1, 600))


async def _over_http2(kind: str, one: Http2, endpoint: Endpoint, text: str, dice: random.Random, times: Times) -> None:
    request = Request.of(endpoint, "converse-stream", text, 4096)
    if kind == "good":
        await ask(one, endpoint, text, 4096, times, text)
    elif kind == "several":  # side by side on one connection, some of them cancelled
        await _several(one, endpoint, text, dice, times)
    elif kind == "refused":
        stranger = Request(
            request.path, request.headers | {"Authorization": "Bearer nobody"}, b"x" * dice.randrange(60_000), request.scheme
        )
        await _refused(one.answer(stranger), times)
    elif kind == "broken":
        one.flush()
        one.writer.write(bytes(dice.randrange(256) for _ in range(200)))
        await one.reader.read(4096)
    elif kind == "rapid":
        for _ in range(dice.randrange(400)):
            one.wire.reset_stream(one.ask(request), ErrorCodes.CANCEL)
        one.flush()
        await one.reader.read(4096)
    else:
        number = one.ask(request)
        if kind == "slow":  # and gives no leave for more
            await asyncio.sleep(dice.random())
        async for _, _ in one.came():
            break
        if kind == "cancels":
            with contextlib.suppress(ProtocolError):  # it has ended
                one.wire.reset_stream(number, ErrorCodes.CANCEL)
                one.flush()
                await asyncio.sleep(0.05)


async def _several(one: Http2, endpoint: Endpoint, text: str, dice: random.Random, times: Times) -> None:
    wanted = {}
    for number in range(6):
        asked = f"{text} {number}"
        wanted[one.ask(Request.of(endpoint, "converse-stream", asked, 4096))] = asked
    cancelled = dice.sample(list(wanted), 2)
    left, doomed = set(wanted) - set(cancelled), list(cancelled)
    got: dict[int, list[bytes]] = {number: [] for number in wanted}
    async for number, piece in one.came():
        if piece is None:
            left.discard(number)
        else:
            got[number].append(piece)
        if doomed:
            with contextlib.suppress(ProtocolError):  # it has ended
                one.wire.reset_stream(doomed.pop(), ErrorCodes.CANCEL)
        if not left:
            break
    for number in set(wanted) - set(cancelled):
        _check(got[number], wanted[number], times)


async def _refused(pieces: object, times: Times) -> None:
    said = [piece async for piece in pieces]  # type: ignore[attr-defined]
    times.wrong += said[0] != b"403"


def _check(pieces: list[bytes], text: str, times: Times) -> None:
    """The whole answer to `text`."""
    buffer = EventStreamBuffer()
    buffer.add_data(b"".join(pieces[1:]))
    times.wrong += pieces[0] != b"200" or words_of(buffer)[1] != text
    times.first.append(0.0)
