"""Clients of `benchmarks/serve.py` in asyncio alone: they sign, speak HTTP/1.1 or HTTP/2, and check what they are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.eventstream import EventStreamBuffer
from jh2 import events
from jh2.config import H2Configuration
from jh2.connection import H2Connection
from jh2.settings import SettingCodes, Settings

MODEL = "tenet.assistant-v1:0"
#: `tenet` with an echo engine of a given pace.
PROGRAM = """
import functools, sys
from tenet.serving.engines import echo
from tenet.cli.main import entry
echo.EchoEngine = functools.partial(echo.EchoEngine, step_seconds=float(sys.argv.pop(1)))
entry()
"""


@dataclass
class Endpoint:
    """A server process and its keys."""

    process: subprocess.Popen[str]
    host: str
    port: int
    keys: Credentials
    secure: bool = False

    async def connect(self, protocol: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection, over TLS where the server speaks it, for this protocol of ALPN."""
        context = None
        if self.secure:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols([protocol])
        return await asyncio.open_connection(self.host, self.port, ssl=context)

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
def served(
    model: str, engine: str, flags: Sequence[str] = (), step_seconds: float = 0.0, checkout: str = "."
) -> Iterator[Endpoint]:
    """`tenet serve`, as `checkout` has it, until the block ends; a step of the echo engine takes `step_seconds`. What of
    its log is no access log is printed at the end, one line a kind."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PROGRAM, str(step_seconds), "serve", "--model", model, "--engine", engine, "--port", "0"]
        command += ["--credentials", f"{folder}/keys.json", "--queue", "512", *flags]
        with open(f"{folder}/log", "w") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=checkout)
        assert process.stdout is not None
        scheme, host, port = re.search(r"(https?)://([^:]+):(\d+)", process.stdout.readline()).groups()  # type: ignore[union-attr]
        pairs: dict[str, str] = {}
        while "AWS_SECRET_ACCESS_KEY" not in pairs and (line := process.stdout.readline()):
            pairs |= re.findall(r"(AWS_\w+)=(\S+)", line)
        try:
            keys = Credentials(pairs["AWS_ACCESS_KEY_ID"], pairs["AWS_SECRET_ACCESS_KEY"])
            yield Endpoint(process, host, int(port), keys, scheme == "https")
        finally:
            process.terminate()
            process.wait(60)
            said = [line for line in Path(f"{folder}/log").read_text().splitlines() if not line.startswith('{"request"')]
            for kind in dict.fromkeys(re.sub(r"\d+", "N", line)[:160] for line in said if "server process" not in line):
                print(f"log: {kind}")


@dataclass(frozen=True)
class Request:
    """One signed request."""

    path: str
    headers: dict[str, str]
    body: bytes
    scheme: str = "http"

    @classmethod
    def of(cls, endpoint: Endpoint, operation: str, text: str, tokens: int) -> Self:
        """A question."""
        path = f"/model/{MODEL.replace(':', '%3A')}/{operation}"
        content = {"messages": [{"role": "user", "content": [{"text": text}]}], "inferenceConfig": {"maxTokens": tokens}}
        body = json.dumps(content).encode()
        host = f"{endpoint.host}:{endpoint.port}"
        signed = AWSRequest("POST", f"http://{host}{path}", headers={"content-type": "application/json"}, data=body)
        SigV4Auth(endpoint.keys, "bedrock", "us-east-1").add_auth(signed)
        return cls(path, {"Host": host, **dict(signed.headers.items())}, body, "https" if endpoint.secure else "http")

    def http1(self, more: str = "") -> bytes:
        """As it goes over the wire; `more` are header lines."""
        head = [f"POST {self.path} HTTP/1.1", f"Content-Length: {len(self.body)}"]
        head += [f"{name}: {value}" for name, value in self.headers.items()]
        return ("\r\n".join([*head, ""]) + more + "\r\n").encode() + self.body

    def http2(self) -> list[tuple[bytes, bytes]]:
        """Its headers."""
        pseudo = {":method": "POST", ":scheme": self.scheme, ":authority": self.headers["Host"], ":path": self.path}
        rest = {name.lower(): value for name, value in self.headers.items() if name != "Host"}
        return [(name.encode(), value.encode()) for name, value in (pseudo | rest).items()]


class Caller(Protocol):
    """A kept-alive connection, of either kind."""

    @classmethod
    async def open(cls, endpoint: Endpoint) -> Self: ...

    def answer(self, request: Request) -> AsyncIterator[bytes]:
        """Pieces of the response's body; the first item is the status."""
        ...

    def close(self) -> None: ...


class Http1:
    """HTTP/1.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, endpoint: Endpoint) -> Self:
        return cls(*await endpoint.connect("http/1.1"))

    async def answer(self, request: Request) -> AsyncIterator[bytes]:
        async for piece in self.raw(request.http1()):
            yield piece

    async def raw(self, request: bytes) -> AsyncIterator[bytes]:
        """The answer to bytes."""
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        yield head.split(" ", 2)[1].encode()
        length = re.search(r"content-length: (\d+)", head)
        if length:
            yield await self.reader.readexactly(int(length[1]))
            return
        while size := int(await self.reader.readline(), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readline()

    def close(self) -> None:
        self.writer.close()


class Http2:
    """HTTP/2 with prior knowledge."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.wire = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        # As large as the SDKs have it; with the default every 32 kB of an answer would be a message to the server.
        self.wire.local_settings = Settings(client=True, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        self.wire.initiate_connection()
        self.wire.increment_flow_control_window(16 << 20)

    @classmethod
    async def open(cls, endpoint: Endpoint) -> Self:
        return cls(*await endpoint.connect("h2"))

    def ask(self, request: Request) -> int:
        """Send it; the number of its stream."""
        number = self.wire.get_next_available_stream_id()
        self.wire.send_headers(number, request.http2())
        for start in range(0, len(request.body), 16_384):
            self.wire.send_data(number, request.body[start : start + 16_384])
        self.wire.end_stream(number)
        self.flush()
        return number

    def flush(self) -> None:
        """Send what is made."""
        self.writer.write(self.wire.data_to_send())

    async def came(self) -> AsyncIterator[tuple[int, bytes | None]]:
        """Streams and what came on them: first a status, then pieces, None at the end.

        Raises:
            ConnectionError: the server ended the connection, or the stream.
        """
        while True:
            data = await self.reader.read(65_536)
            if not data:
                raise ConnectionResetError("closed")
            for event in self.wire.receive_data(data):
                match event:
                    case events.ResponseReceived():
                        yield event.stream_id, dict(event.headers)[b":status"]
                    case events.DataReceived():
                        self.wire.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                        yield event.stream_id, event.data
                    case events.StreamEnded():
                        yield event.stream_id, None
                    case events.StreamReset() | events.ConnectionTerminated():
                        raise ConnectionResetError(str(event))
            if data := self.wire.data_to_send():
                self.writer.write(data)

    async def answer(self, request: Request) -> AsyncIterator[bytes]:
        self.ask(request)
        async for _, piece in self.came():
            if piece is None:
                return
            yield piece

    def close(self) -> None:
        self.writer.close()


@dataclass
class Times:
    """Seconds from the request to the first token, between tokens (mean of an answer), and events seen."""

    first: list[float] = field(default_factory=list)
    each: list[float] = field(default_factory=list)
    events: int = 0
    wrong: int = 0


def words_of(buffer: EventStreamBuffer) -> tuple[int, str]:
    """Whole events and the text in them."""
    count, words = 0, ""
    for event in buffer:
        count += 1
        if event.headers.get(":event-type") == "contentBlockDelta":
            words += json.loads(event.payload)["delta"].get("text", "")
    return count, words


async def ask(connection: Caller, endpoint: Endpoint, text: str, tokens: int, times: Times, right: str | None) -> None:
    """One stream, its times and whether it is the right answer."""
    start, first, last, words, count = time.perf_counter(), 0.0, 0.0, "", 0
    buffer, status = EventStreamBuffer(), b""
    async for piece in connection.answer(Request.of(endpoint, "converse-stream", text, tokens)):
        if not status:
            status = piece
            times.wrong += status != b"200"
            continue
        buffer.add_data(piece)
        more, said = words_of(buffer)
        count, words = count + more, words + said
        if said:
            last = time.perf_counter()
            first = first or last
    times.events += count
    times.first.append(first - start)
    if count > 5:
        times.each.append((last - first) / (count - 5))
    times.wrong += right is not None and words != right
