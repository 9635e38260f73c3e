"""HTTP/2 to a whole endpoint over sockets, by prior knowledge and by ALPN, with a client that signs as the SDKs do."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import socket
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from botocore.eventstream import EventStreamBuffer
from jh2 import events
from jh2.config import H2Configuration
from jh2.connection import H2Connection
from jh2.errors import ErrorCodes

from tenet.serving.engines.echo import EchoEngine
from tenet.serving.http import http2
from tenet.serving.server.server import LocalServer
from tests.tenet.serving.conftest import MODEL, echo_server, post, user
from tests.tenet.serving.test_load import wait_for


def signed(server: LocalServer, path: str, body: bytes, authority: str) -> list[tuple[str, str]]:
    """Headers whose signature covers `:authority` where one for HTTP/1.1 covers host."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    scope, names = f"{now[:8]}/us-east-1/bedrock/aws4_request", ":authority;x-amz-date"
    lines = ["POST", quote(path), "", f":authority:{authority}", f"x-amz-date:{now}", "", names, hashlib.sha256(body).hexdigest()]
    key = f"AWS4{server.keys.secret_key}".encode()
    for piece in scope.split("/"):
        key = hmac.digest(key, piece.encode(), "sha256")
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256("\n".join(lines).encode()).hexdigest()])
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"Credential={server.keys.access_key}/{scope}"
    return [
        ("x-amz-date", now),
        ("authorization", f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}"),
    ]


class Client:
    """Over a socket, signing as an SDK of HTTP/2 does: `:authority` in the place of host."""

    def __init__(self, server: LocalServer) -> None:
        self.server, self.h2 = server, H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        scheme, _, where = server.endpoint.partition("://")
        host, _, port = where.partition(":")
        self.socket: socket.socket = socket.create_connection((host, int(port)), timeout=10)
        if scheme == "https":
            context = ssl.create_default_context(cafile=server.authority)
            context.set_alpn_protocols(["h2", "http/1.1"])
            secured = context.wrap_socket(self.socket, server_hostname=host)
            assert secured.selected_alpn_protocol() == "h2"
            self.socket = secured
        self.where, self.scheme, self.events = where, scheme, list[Any]()
        self.h2.state_machine = http2._State()
        self.h2.initiate_connection()

    def ask(self, operation: str, content: dict[str, Any]) -> int:
        path, body = f"/model/{MODEL.replace(':', '%3A')}/{operation}", json.dumps(content).encode()
        head = [(":method", "POST"), (":scheme", self.scheme), (":authority", self.where), (":path", path)]
        headers = signed(self.server, path, body, self.where)
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, [*head, *headers])
        self.h2.send_data(number, body, end_stream=True)
        self.socket.sendall(self.h2.data_to_send())
        return number

    def until(self, done: Callable[[], bool]) -> None:
        while not done():
            came = self.socket.recv(65_536)
            assert came, "the server closed"
            for event in self.h2.receive_data(came):
                self.events.append(event)
                if isinstance(event, events.DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.socket.sendall(self.h2.data_to_send())

    def ended(self, number: int) -> bool:
        return any(isinstance(one, events.StreamEnded) and one.stream_id == number for one in self.events)

    def body(self, number: int) -> bytes:
        return b"".join(one.data for one in self.events if isinstance(one, events.DataReceived) and one.stream_id == number)


@pytest.mark.parametrize("tls", ["", "self-signed"], ids=["prior knowledge", "ALPN"])
def test_many_answers_on_one_connection_are_not_mixed_up(tls: str) -> None:
    with echo_server(EchoEngine(max_slots=8, step_seconds=0.001), tls=tls) as server:
        client = Client(server)
        texts = [f"stream {number} says {'abcdefgh'[number % 8] * number}" for number in range(24)]
        numbers = [client.ask("converse-stream", {"messages": user(text)}) for text in texts]
        client.until(lambda: all(map(client.ended, numbers)))
        for number, text in zip(numbers, texts, strict=True):
            buffer = EventStreamBuffer()
            buffer.add_data(client.body(number))
            deltas = [
                json.loads(one.payload)["delta"]["text"] for one in buffer if one.headers[":event-type"] == "contentBlockDelta"
            ]
            assert "".join(deltas) == text
        client.socket.close()
        assert wait_for(lambda: server.gateway.runner.open == 0)


def test_a_stream_that_is_cancelled_is_forgotten_within_a_step() -> None:
    engine = EchoEngine(step_seconds=0.05)
    with echo_server(engine) as server:
        client = Client(server)
        number = client.ask("converse-stream", {"messages": user("x" * 1000)})
        client.until(lambda: bool(client.body(number)))
        client.h2.reset_stream(number, ErrorCodes.CANCEL)
        client.socket.sendall(client.h2.data_to_send())
        before = engine.steps
        assert wait_for(lambda: engine.idle) and engine.steps - before <= 3 and len(engine.cancelled) == 1
        other = client.ask("converse", {"messages": user("still here")})
        client.until(lambda: client.ended(other))
        assert b"still here" in client.body(other)


def test_drain_over_http2() -> None:
    with echo_server(EchoEngine(step_seconds=0.02)) as server:
        client = Client(server)
        number = client.ask("converse-stream", {"messages": user("y" * 40)})
        client.until(lambda: bool(client.body(number)))
        server._server.should_exit = True
        client.until(lambda: client.ended(number))
        assert any(isinstance(one, events.ConnectionTerminated) for one in client.events)
        assert b"metadata" in client.body(number)


@pytest.mark.parametrize(("authority", "status"), [("", 200), ("elsewhere:443", 403)])
def test_a_front_makes_a_host_of_the_authority(authority: str, status: int) -> None:
    """What a load balancer of HTTP/2 hands on over HTTP/1.1; a signature for elsewhere stays refused."""
    with echo_server() as server:
        where, path = server.endpoint.removeprefix("http://"), f"/model/{MODEL.replace(':', '%3A')}/converse"
        body = json.dumps({"messages": user("x")}).encode()
        assert post(server, path, body, dict(signed(server, path, body, authority or where))).status == status
