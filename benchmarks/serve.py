"""What the gateway costs and how an endpoint answers under load.

    python -m benchmarks.serve                       # echo engine: cost in CPU time over HTTP/1.1 and HTTP/2, then streams
    python -m benchmarks.serve --model DIR           # the same streams on a model folder
    python -m benchmarks.serve --against CHECKOUT    # HTTP/1.1 of another checkout, and both of this one, in turns
    python -m benchmarks.serve --soak 600            # bad clients of both; ends with 1 when anything is left over
    python -m benchmarks.serve --soak 600 --flags "--tls self-signed"        # over TLS, protocols by ALPN

The server is a process of its own. CPU seconds are the server's, user and system: wall times on a shared machine say
little. The engine's own share is measured by the same requests at two lengths and without a gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence

from botocore.eventstream import EventStreamBuffer

from benchmarks.serve_clients import Caller, Endpoint, Http1, Http2, Request, Times, ask, served
from benchmarks.serve_soak import soak

KINDS: dict[str, type[Caller]] = {"1": Http1, "2": Http2}
#: Of the paced engine: every token then comes alone, as from a model.
PACE = 0.001


async def streams(endpoint: Endpoint, count: int, requests: int, text: str, tokens: int, echo: bool) -> Times:
    """`count` connections, each asking `requests` times in a row; each asks something else."""
    times = Times()

    async def one(number: int) -> None:
        connection = await Http1.open(endpoint)
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


async def gateway_cost(endpoint: Endpoint, name: str) -> None:
    """CPU time of a request and of an event: two lengths of answer, and the difference."""
    connection = await KINDS[name].open(endpoint)

    async def run(count: int, text: str, operation: str) -> tuple[float, float]:
        requests = [Request.of(endpoint, operation, text, 4096) for _ in range(count)]
        start = endpoint.cpu()
        pieces = [[piece async for piece in connection.answer(request)] for request in requests]
        cost, events = endpoint.cpu() - start, 0
        for first, *rest in pieces:
            assert first == b"200", first
            buffer = EventStreamBuffer()
            if operation == "converse-stream":
                buffer.add_data(b"".join(rest))
            events += sum(1 for _ in buffer)
        return cost / count, events / count

    await run(100, "x", "converse-stream")
    shortest = [(await run(400, "x", "converse"))[0] for _ in range(3)]
    short = [await run(400, "x", "converse-stream") for _ in range(3)]
    long = [await run(20, "x" * 1001, "converse-stream") for _ in range(3)]
    event = (min(cost for cost, _ in long) - min(cost for cost, _ in short)) / (long[0][1] - short[0][1])
    engine = engine_cost()
    print(f"over HTTP/{name}")
    print(f"Converse of one token      {1e3 * min(shortest):.3f} ms CPU a request, engine included, signature verified")
    print(f"ConverseStream of one      {1e3 * min(short)[0]:.3f} ms CPU a request ({short[0][1]:.0f} events)")
    print(
        f"each further event         {1e6 * event:.1f} us CPU with the echo engine, {1e6 * (event - engine):.1f} us without (engine alone {1e6 * engine:.1f})"
    )
    connection.close()


async def lone_tokens(endpoint: Endpoint, name: str) -> None:
    """CPU time of an event that wakes the gateway alone, because the engine takes its time."""
    connection = await KINDS[name].open(endpoint)

    async def run(count: int, text: str) -> float:
        requests = [Request.of(endpoint, "converse-stream", text, 4096) for _ in range(count)]
        start = endpoint.cpu()
        for request in requests:
            async for _ in connection.answer(request):
                pass
        return (endpoint.cpu() - start) / count

    await run(50, "x")
    event = (min([await run(1, "x" * 1001) for _ in range(3)]) - min([await run(50, "x") for _ in range(3)])) / 1000
    engine = engine_cost(PACE)
    print(
        f"a token a millisecond      over HTTP/{name} {1e6 * event:.1f} us CPU an event, {1e6 * (event - engine):.1f} us without the engine ({1e6 * engine:.1f})"
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


async def in_turns(other: str, rounds: int = 20) -> None:
    """CPU time of a request and of an event, a few of each in turns, so that what else the machine does falls on all."""
    with contextlib.ExitStack() as stack:
        ends = {
            name: stack.enter_context(served(".", "echo", checkout=where)) for name, where in (("other", other), ("this", "."))
        }
        for endpoint in ends.values():
            _wait(endpoint)
        cells = [("other", "1"), ("this", "1"), ("this", "2")]
        connections = {cell: await KINDS[cell[1]].open(ends[cell[0]]) for cell in cells}
        costs: dict[tuple[tuple[str, str], str], list[float]] = {}
        for _ in range(rounds):
            for cell in cells:
                for what, count, text in (("converse", 60, "x"), ("converse-stream", 60, "x"), ("events", 3, "x" * 1001)):
                    operation = "converse" if what == "converse" else "converse-stream"
                    requests = [Request.of(ends[cell[0]], operation, text, 4096) for _ in range(count)]
                    start = ends[cell[0]].cpu()
                    for request in requests:
                        async for _ in connections[cell].answer(request):
                            pass
                    costs.setdefault((cell, what), []).append((ends[cell[0]].cpu() - start) / count)
        for cell in cells:
            whole, stream, events = (min(costs[cell, what]) for what in ("converse", "converse-stream", "events"))
            told = f"{1e3 * whole:.3f} ms a Converse, {1e3 * stream:.3f} ms a stream, {1e3 * (events - stream):.1f} us a further event"
            print(f"{cell[0]:5} over HTTP/{cell[1]}: {told}")
            connections[cell].close()


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="", help="Hugging Face folder; by default the echo engine")
    parser.add_argument("--streams", default="1,4,16,64")
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--soak", type=float, default=0.0, metavar="SECONDS", help="bad clients instead of measurements")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--flags", default="", help="more of `tenet serve`'s, e.g. '--no-engine-process'")
    parser.add_argument("--http", default="1,2", help="what is spoken where costs are measured")
    parser.add_argument("--against", default="", metavar="CHECKOUT", help="measure in turns with it, and nothing else")
    chosen = parser.parse_args()
    if chosen.against:
        asyncio.run(in_turns(chosen.against))
        return 0
    spoken = chosen.http.split(",")
    echo = not chosen.model
    flags = ["--dtype", chosen.dtype, *chosen.flags.split()]
    if echo and not chosen.soak:
        with served(".", "echo", flags, PACE) as endpoint:
            _wait(endpoint)
            for name in spoken:
                asyncio.run(lone_tokens(endpoint, name))
    with served(chosen.model or ".", "echo" if echo else "torch", flags) as endpoint:
        if chosen.soak:
            return asyncio.run(soak(endpoint, chosen.soak))
        _wait(endpoint)
        for name in spoken if echo else ():
            asyncio.run(gateway_cost(endpoint, name))
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
