"""More than one client: nothing is mixed up, too many are told to wait, those who leave are forgotten, and the end is
orderly."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lightning_modules.generation.protocol import Sampling, Token
from tenet.errors import StageError
from tenet.serving.clients.client import client, stream_answer
from tenet.serving.engines.echo import ByteText, EchoEngine
from tenet.serving.engines.runner import Backend
from tenet.serving.protocol.limits import Limits
from tenet.serving.server.server import LocalServer
from tenet.settings.serving import ServeConfig
from tests.tenet.serving.conftest import MODEL, echo_server, post, user


def wait_for(what: Any, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.005)
    return bool(what())


def test_eight_at_once_are_not_mixed_up() -> None:
    with echo_server(EchoEngine(max_slots=4, step_seconds=0.001)) as server:
        asked = [f"client {i} says {'abcdefgh'[i] * (10 + i)}" for i in range(8)]
        with ThreadPoolExecutor(8) as pool:
            answered = list(pool.map(lambda text: "".join(stream_answer(server.endpoint, server.keys, MODEL, text)), asked))
    assert answered == asked


def test_a_full_queue_throttles_with_retry_headers() -> None:
    import json

    with echo_server(EchoEngine(step_seconds=0.02), max_concurrency=1, queue=1) as server:
        pool = ThreadPoolExecutor(2)
        busy = [pool.submit(lambda: "".join(stream_answer(server.endpoint, server.keys, MODEL, "x" * 40))) for _ in range(2)]
        assert wait_for(lambda: server.gateway.runner.open == 2)
        answer = post(server, f"/model/{MODEL}/converse-stream", json.dumps({"messages": user("x")}).encode())
        assert (answer.status, answer.code) == (429, "ThrottlingException")
        assert int(answer.headers["x-amz-retry-after"]) == int(answer.headers["retry-after-ms"]) >= 100
        assert answer.headers["retry-after"] == "1" and answer.headers["x-should-retry"] == "true"
        with pytest.raises(ClientError) as caught:
            client(server.endpoint, server.keys).converse(modelId=MODEL, messages=user("x"))
        assert caught.value.response["Error"]["Code"] == "ThrottlingException"
        # boto3's own retries wait as told and then get through.
        patient = client(server.endpoint, server.keys, retries={"mode": "standard", "total_max_attempts": 4})
        assert patient.converse(modelId=MODEL, messages=user("late"))["output"]["message"]["content"] == [{"text": "late"}]
        assert [future.result() for future in busy] == ["x" * 40] * 2
        assert wait_for(lambda: server.gateway.runner.open == 0)


@pytest.mark.parametrize("padding", [0, 300_000], ids=["", "large body"])
@pytest.mark.parametrize("operation", ["converse", "converse-stream"])
def test_a_client_that_leaves_is_forgotten_within_a_step(operation: str, padding: int) -> None:
    import json

    from tests.tenet.serving.conftest import signed_headers

    engine = EchoEngine(step_seconds=0.05)
    with echo_server(engine) as server:
        # A body that does not fit a read buffer stops the reading for a while; the end must be noticed all the same.
        body = json.dumps({"messages": user("x" * 1000)}).encode() + b" " * padding
        headers = signed_headers(server, f"/model/{MODEL}/{operation}", body)
        host, port = server.endpoint.removeprefix("http://").split(":")
        lines = [f"POST /model/{MODEL}/{operation} HTTP/1.1", f"Host: {host}:{port}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() not in ("host", "content-length")]
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            assert wait_for(lambda: engine.steps >= 2)
        before = engine.steps
        assert wait_for(lambda: engine.idle)
        assert len(engine.cancelled) == 1 and engine.steps - before <= 3
        assert wait_for(lambda: server.gateway.runner.open == 0)


def test_deadline_before_and_after_the_first_token() -> None:
    with echo_server(EchoEngine(step_seconds=0.3), limits=Limits(deadline_seconds=0.1)) as server:
        with pytest.raises(ClientError) as caught:
            client(server.endpoint, server.keys).converse_stream(modelId=MODEL, messages=user("x" * 50))
        error = caught.value.response
        assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("ModelTimeoutException", 408)
    with echo_server(EchoEngine(step_seconds=0.05), limits=Limits(deadline_seconds=0.3)) as server:
        stream = client(server.endpoint, server.keys).converse_stream(modelId=MODEL, messages=user("x" * 50))["stream"]
        with pytest.raises(Exception, match="modelStreamErrorException"):
            list(stream)


class Failing(EchoEngine):
    """Breaks in the middle of the first answer of its life."""

    def step(self) -> list[Token]:
        if self.steps == 3:
            raise RuntimeError("the prompt was xyzzy")
        return super().step()


def test_a_failed_engine_is_loaded_again(caplog: pytest.LogCaptureFixture) -> None:
    engines = iter([Failing(), EchoEngine()])
    with LocalServer(lambda: Backend(next(engines), ByteText()), ServeConfig()) as server:
        boto = client(server.endpoint, server.keys)
        with pytest.raises(ClientError) as caught:
            boto.converse(modelId=MODEL, messages=user("long enough"))
        assert caught.value.response["Error"]["Code"] == "ModelErrorException"
        assert wait_for(lambda: server.gateway.runner.backend is not None)
        assert boto.converse(modelId=MODEL, messages=user("again"))["output"]["message"]["content"] == [{"text": "again"}]
    assert "RuntimeError" in caplog.text and "xyzzy" not in caplog.text


class Refusing(EchoEngine):
    """Cannot take a request."""

    def submit(self, prompt: Sequence[int], sampling: Sampling) -> int:
        raise ValueError("no room")


def test_a_request_that_the_engine_refuses_is_answered() -> None:
    with echo_server(Refusing()) as server, pytest.raises(ClientError) as caught:
        client(server.endpoint, server.keys, read_timeout=10).converse(modelId=MODEL, messages=user("x"))
    assert caught.value.response["Error"]["Code"] == "ModelErrorException"


def test_weights_that_do_not_load(tmp_path: Path) -> None:
    def broken() -> Backend:
        raise ValueError("model.safetensors lacks a tensor")

    with pytest.raises(StageError, match="lacks a tensor"), LocalServer(broken):
        pass


def test_not_ready_while_loading() -> None:
    import http.client

    gate = threading.Event()

    def slow() -> Backend:
        gate.wait(10)
        return Backend(EchoEngine(), ByteText())

    server = LocalServer(slow)
    thread = threading.Thread(target=server.__enter__)
    thread.start()
    assert wait_for(lambda: server._server.started)
    connection = http.client.HTTPConnection(server.endpoint.removeprefix("http://"))
    connection.request("GET", "/readyz")
    response = connection.getresponse()
    assert response.status == 503 and b"ModelNotReadyException" in response.read()
    with pytest.raises(ClientError) as caught:
        client(server.endpoint, server.keys).converse(modelId=MODEL, messages=user("x"))
    assert caught.value.response["Error"]["Code"] == "ModelNotReadyException"
    gate.set()
    thread.join()
    connection.close()
    server.__exit__()


SERVER = """
import sys, tempfile
from pathlib import Path
from tenet.settings.serving import ServeConfig
from tenet.serving.server import server
from tenet.serving.engines.echo import ByteText, EchoEngine
from tenet.serving.engines.runner import Backend
server.engine_for = lambda config, model_dir: lambda: Backend(EchoEngine(step_seconds=0.02), ByteText())
server.serve(ServeConfig(port=0), Path(sys.argv[1]), Path(sys.argv[1]) / "keys.json")
"""


def test_sigterm_finishes_streams_and_exits_with_0(tmp_path: Path) -> None:
    from tenet.serving.access.credentials import load_or_create

    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout is not None
    endpoint = process.stdout.readline().split(" at ")[1].strip()
    assert "export AWS_ACCESS_KEY_ID=" in process.stdout.readline()
    _, keys = load_or_create(tmp_path / "keys.json")
    assert wait_for(lambda: _up(endpoint), 20)
    text = ""
    for piece in stream_answer(endpoint, keys, MODEL, "y" * 60):
        if not text:
            process.send_signal(signal.SIGTERM)
        text += piece
    assert text == "y" * 60
    assert process.wait(20) == 0
    assert not _up(endpoint)
    process.stdout.close()


def _up(endpoint: str) -> bool:
    import http.client

    try:
        connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=2)
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
