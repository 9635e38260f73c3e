"""What the gateway costs and how an endpoint answers under load; a client that signs, in asyncio alone.

    python benchmarks/serve.py                       # echo engine: cost of the gateway in CPU time, then 1, 4, 16, 64 streams
    python benchmarks/serve.py --model DIR           # the same streams on a model folder
    python benchmarks/serve.py --soak 600            # cancelled, slow and broken clients; ends with 1 when anything is left over

The server is a process of its own. CPU seconds are the server's, user and system: wall times on a shared machine say
little. The engine's own share is measured by the same requests at two lengths and without a gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.eventstream import EventStreamBuffer

MODEL = "tenet.assistant-v1:0"
#: `tenet` with an echo engine of a given pace.
PROGRAM = """
import functools, sys
from tenet.serving import echo
from tenet.cli.main import entry
echo.EchoEngine = functools.partial(echo.EchoEngine, step_seconds=float(sys.argv.pop(1)))
entry()
"""
#: Of the paced engine: every token then comes alone, as from a model.
PACE = 0.001


@dataclass
class Endpoint:
    """A server process and its keys."""

    process: subprocess.Popen[str]
    host: str
    port: int
    keys: Credentials

    def cpu(self, engine: bool = True) -> float:
        """CPU seconds so far, those of an engine's process included or not."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        children = [child for thread in threads for child in (thread / "children").read_text().split()]
        # The number that Linux gives the clock of another process: to the nanosecond, where /proc counts hundredths of
        # a second.
        return sum(time.clock_gettime((~int(pid) << 3) | 2) for pid in (self.process.pid, *(children if engine else ())))

    def memory(self) -> float:
        """Resident MB."""
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1024  # type: ignore[index]

    def sockets(self) -> int:
        """Open files."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@contextlib.contextmanager
def served(model: str, engine: str, flags: Sequence[str] = (), step_seconds: float = 0.0) -> Iterator[Endpoint]:
    """`tenet serve` until the block ends; a step of the echo engine takes `step_seconds`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PROGRAM, str(step_seconds), "serve", "--model", model, "--engine", engine, "--port", "0"]
        command += ["--credentials", f"{folder}/keys.json", "--queue", "512", *flags]
        with open(f"{folder}/log", "w") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        host, port = re.search(r"//([^:]+):(\d+)", process.stdout.readline()).groups()  # type: ignore[union-attr]
        pairs = dict(re.findall(r"(AWS_\w+)=(\S+)", process.stdout.readline() + process.stdout.readline()))
        try:
            yield Endpoint(process, host, int(port), Credentials(pairs["AWS_ACCESS_KEY_ID"], pairs["AWS_SECRET_ACCESS_KEY"]))
        finally:
            process.terminate()
            process.wait(60)


def request_bytes(endpoint: Endpoint, operation: str, text: str, tokens: int) -> bytes:
    """One signed request as it goes over the wire."""
    path = f"/model/{MODEL.replace(':', '%3A')}/{operation}"
    body = json.dumps(
        {"messages": [{"role": "user", "content": [{"text": text}]}], "inferenceConfig": {"maxTokens": tokens}}
    ).encode()
    url = f"http://{endpoint.host}:{endpoint.port}{path}"
    signed = AWSRequest("POST", url, headers={"content-type": "application/json"}, data=body)
    SigV4Auth(endpoint.keys, "bedrock", "us-east-1").add_auth(signed)
    head = [f"POST {path} HTTP/1.1", f"Host: {endpoint.host}:{endpoint.port}", f"Content-Length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in signed.headers.items()]
    return "\r\n".join([*head, "", ""]).encode() + body


class Connection:
    """A kept-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, endpoint: Endpoint) -> Connection:
        return cls(*await asyncio.open_connection(endpoint.host, endpoint.port))

    async def answer(self, request: bytes) -> AsyncIterator[bytes]:
        """Pieces of the response's body; the first item is the status line."""
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        yield head.split("\r\n", 1)[0].encode()
        length = re.search(r"content-length: (\d+)", head)
        if length:
            yield await self.reader.readexactly(int(length[1]))
            return
        while size := int(await self.reader.readline(), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readline()

    def close(self) -> None:
        self.writer.close()


@dataclass
class Times:
    """Seconds from the request to the first token, between tokens (mean of an answer), and events seen."""

    first: list[float] = field(default_factory=list)
    each: list[float] = field(default_factory=list)
    events: int = 0
    wrong: int = 0


async def ask(connection: Connection, endpoint: Endpoint, text: str, tokens: int, times: Times, right: str | None) -> None:
    """One stream, its times and whether it is the right answer."""
    start, first, last, words, events = time.perf_counter(), 0.0, 0.0, "", 0
    buffer = EventStreamBuffer()
    async for piece in connection.answer(request_bytes(endpoint, "converse-stream", text, tokens)):
        if piece.startswith(b"http/"):
            if b" 200 " not in piece:
                times.wrong += 1
            continue
        buffer.add_data(piece)
        for event in buffer:
            events += 1
            if event.headers.get(":event-type") == "contentBlockDelta":
                last = time.perf_counter()
                first = first or last
                words += json.loads(event.payload)["delta"].get("text", "")
    times.events += events
    times.first.append(first - start)
    if events > 5:
        times.each.append((last - first) / (events - 5))
    times.wrong += right is not None and words != right


async def streams(endpoint: Endpoint, count: int, requests: int, text: str, tokens: int, echo: bool) -> Times:
    """`count` connections, each asking `requests` times in a row; each asks something else."""
    times = Times()

    async def one(number: int) -> None:
        connection = await Connection.open(endpoint)
        for turn in range(requests):
            asked = f"{number}.{turn} {text}"
            await ask(connection, endpoint, asked, tokens, times, asked[:tokens] if echo else None)
        connection.close()

    await asyncio.gather(*(one(number) for number in range(count)))
    return times


def share(values: list[float], part: float) -> float:
    """A quantile."""
    ordered = sorted(values) or [float("nan")]
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


async def gateway_cost(endpoint: Endpoint) -> None:
    """CPU time of a request and of an event: two lengths of answer, and the difference."""
    connection = await Connection.open(endpoint)

    async def run(count: int, text: str, operation: str) -> tuple[float, float]:
        requests = [request_bytes(endpoint, operation, text, 4096) for _ in range(count)]
        start = endpoint.cpu()
        events = 0
        for request in requests:
            buffer = EventStreamBuffer()
            async for piece in connection.answer(request):
                if not piece.startswith(b"http/") and operation == "converse-stream":
                    buffer.add_data(piece)
                    events += sum(1 for _ in buffer)
        return (endpoint.cpu() - start) / count, events / count

    await run(100, "x", "converse-stream")
    shortest = [(await run(400, "x", "converse"))[0] for _ in range(3)]
    short = [await run(400, "x", "converse-stream") for _ in range(3)]
    long = [await run(20, "x" * 1001, "converse-stream") for _ in range(3)]
    event = (min(cost for cost, _ in long) - min(cost for cost, _ in short)) / (long[0][1] - short[0][1])
    engine = engine_cost()
    print(f"Converse of one token      {1e3 * min(shortest):.3f} ms CPU a request, engine included, signature verified")
    print(f"ConverseStream of one      {1e3 * min(short)[0]:.3f} ms CPU a request ({short[0][1]:.0f} events)")
    print(
        f"each further event         {1e6 * event:.1f} us CPU with the echo engine, {1e6 * (event - engine):.1f} us without (engine alone {1e6 * engine:.1f})"
    )
    connection.close()


async def lone_tokens(endpoint: Endpoint) -> None:
    """CPU time of an event that wakes the gateway alone, because the engine takes its time."""
    connection = await Connection.open(endpoint)

    async def run(count: int, text: str) -> float:
        requests = [request_bytes(endpoint, "converse-stream", text, 4096) for _ in range(count)]
        start = endpoint.cpu()
        for request in requests:
            async for _ in connection.answer(request):
                pass
        return (endpoint.cpu() - start) / count

    await run(50, "x")
    event = (min([await run(1, "x" * 1001) for _ in range(3)]) - min([await run(50, "x") for _ in range(3)])) / 1000
    engine = engine_cost(PACE)
    print(
        f"a token a millisecond      {1e6 * event:.1f} us CPU an event, {1e6 * (event - engine):.1f} us without the engine ({1e6 * engine:.1f})"
    )
    connection.close()


def engine_cost(step_seconds: float = 0.0) -> float:
    """CPU seconds of one echo step of one request, in this process: neither a thread nor a queue, which belong to the
    gateway."""
    from lightning_modules.generation.protocol import Sampling
    from tenet.serving.engines.echo import ByteText, EchoEngine

    engine, text, rounds = EchoEngine(step_seconds=step_seconds), ByteText(), 1 if step_seconds else 20
    prompt = text.prompt([{"role": "user", "content": "x" * 1001}])
    start = time.process_time()
    for _ in range(rounds):
        engine.submit(prompt, Sampling(max_tokens=4096, stop_ids=text.stop_ids))
        while not engine.idle:
            engine.step()
    return (time.process_time() - start) / (rounds * 1002)


async def load(endpoint: Endpoint, counts: Sequence[int], tokens: int, echo: bool) -> None:
    """TTFT and time per token at several numbers of streams."""
    print("streams  TTFT p50 / p99 ms   per event p50 / p99 ms   tokens/s  CPU us a token  wrong  gateway's % of it")
    text = "What does the ListBuckets operation of Amazon S3 do? " * 3
    for count in counts:
        await streams(endpoint, count, 1, text, 8, echo)
        wall, cpu, own = time.perf_counter(), endpoint.cpu(), endpoint.cpu(engine=False)
        times = await streams(endpoint, count, max(2, 32 // count), text, tokens, echo)
        wall, cpu, own = time.perf_counter() - wall, endpoint.cpu() - cpu, endpoint.cpu(engine=False) - own
        made = times.events - 4 * len(times.first)
        print(
            f"{count:7d}  {1e3 * share(times.first, 0.5):8.1f} / {1e3 * share(times.first, 0.99):<8.1f}"
            f"  {1e3 * share(times.each, 0.5):9.2f} / {1e3 * share(times.each, 0.99):<9.2f}"
            f"  {made / wall:9.0f}  {1e6 * cpu / made:14.1f}  {times.wrong:5d}  {100 * own / cpu:16.1f}"
        )


async def misbehave(endpoint: Endpoint, dice: random.Random, number: int, until: float, times: Times) -> None:
    """One client after another: good, leaving in the middle, slow to read, broken, unsigned."""
    while time.monotonic() < until:
        connection = await Connection.open(endpoint)
        text = f"client {number} says {dice.random()} " + "z" * dice.randrange(200)
        kind = dice.choice(["good", "good", "leaves", "slow", "broken", "unsigned", "half"])
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if kind == "good":
                await ask(connection, endpoint, text, 4096, times, text)
            elif kind == "broken":
                connection.writer.write(bytes(dice.randrange(256) for _ in range(200)) + b"\r\n\r\n")
                await connection.reader.read(4096)
            else:
                request = request_bytes(endpoint, "converse-stream", text, 4096)
                if kind == "unsigned":
                    request = re.sub(rb"Signature=\w+", b"Signature=" + b"0" * 64, request)
                if kind == "half":
                    request = request[: dice.randrange(len(request))]
                connection.writer.write(request)
                await connection.writer.drain()
                if kind == "slow":
                    await asyncio.sleep(dice.random())
                if kind != "half":
                    await connection.reader.read(dice.randrange(1, 600))
        connection.close()


async def soak(endpoint: Endpoint, seconds: float) -> int:
    """Bad clients for a while; then nothing of them may be left, and no good client may have been told another's
    words."""
    dice = random.Random(0)
    await streams(endpoint, 8, 20, "warm", 200, True)
    before, times, until = (endpoint.memory(), endpoint.sockets()), Times(), time.monotonic() + seconds
    clients = [misbehave(endpoint, random.Random(dice.random()), number, until, times) for number in range(24)]
    middle = asyncio.create_task(_later(endpoint, seconds / 2))
    await asyncio.gather(*clients)
    half = await middle
    await asyncio.sleep(2)
    connection = await Connection.open(endpoint)
    page = b"".join([piece async for piece in connection.answer(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")]).decode()
    connection.close()
    await asyncio.sleep(1)
    after = endpoint.memory(), endpoint.sockets()
    open_requests = re.search(r"^tenet_open_requests (\S+)", page, re.M)
    left = float(open_requests[1]) if open_requests else float("nan")
    cancelled = sum(float(one) for one in re.findall(r"^tenet_cancelled_requests_total (\S+)", page, re.M))
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


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="", help="Hugging Face folder; by default the echo engine")
    parser.add_argument("--streams", default="1,4,16,64")
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--soak", type=float, default=0.0, metavar="SECONDS", help="bad clients instead of measurements")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--flags", default="", help="more of `tenet serve`'s, e.g. '--no-engine-process'")
    chosen = parser.parse_args()
    echo = not chosen.model
    flags = ["--dtype", chosen.dtype, *chosen.flags.split()]
    if echo and not chosen.soak:
        with served(".", "echo", flags, PACE) as endpoint:
            _wait(endpoint)
            asyncio.run(lone_tokens(endpoint))
    with served(chosen.model or ".", "echo" if echo else "torch", flags) as endpoint:
        if chosen.soak:
            return asyncio.run(soak(endpoint, chosen.soak))
        _wait(endpoint)
        if echo:
            asyncio.run(gateway_cost(endpoint))
        asyncio.run(load(endpoint, [int(n) for n in chosen.streams.split(",")], chosen.tokens, echo))
    return 0


def _wait(endpoint: Endpoint) -> None:
    """Until the weights are loaded."""
    import urllib.error
    import urllib.request

    while True:
        with contextlib.suppress(urllib.error.URLError):
            urllib.request.urlopen(f"http://{endpoint.host}:{endpoint.port}/readyz")
            return
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
