"""A running endpoint with the echo engine, and the helpers that its tests share."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from tenet.serving.clients.client import client
from tenet.serving.engines.echo import ByteText, EchoEngine
from tenet.serving.engines.runner import Backend
from tenet.serving.releases.ecs_rollout import Stack
from tenet.serving.server.server import LocalServer
from tenet.settings.serving import ServeConfig
from tests.tenet.serving.stack import made_up

MODEL = "tenet.assistant-v1:0"


@pytest.fixture(autouse=True)
def _no_aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK", "AWS_ENDPOINT_URL", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def echo_server(engine: EchoEngine | None = None, **settings: Any) -> LocalServer:
    """An endpoint that answers with the last turn's words; `limits` and `clock` go to the server, the rest to
    ServeConfig."""
    extra = {key: settings.pop(key) for key in ("limits", "clock") if key in settings}
    return LocalServer(lambda: Backend(engine or EchoEngine(), ByteText()), ServeConfig(**settings), **extra)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with echo_server(aliases=("anthropic.claude-3-5-haiku-20241022-v1:0",)) as running:
        yield running


@pytest.fixture
def boto(server: LocalServer) -> Any:
    return client(server.endpoint, server.keys)


def user(text: str) -> list[dict[str, Any]]:
    """A Converse conversation of one turn."""
    return [{"role": "user", "content": [{"text": text}]}]


def messages_body(text: str, **members: Any) -> bytes:
    """An Anthropic Messages body."""
    return json.dumps(
        {"anthropic_version": "any", "max_tokens": 200, "messages": [{"role": "user", "content": text}], **members}
    ).encode()


class Answer:
    """Status, headers and body of a raw call."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def code(self) -> str:
        return self.headers.get("x-amzn-errortype", "")

    @property
    def message(self) -> str:
        return str(json.loads(self.body)["message"])


def signed_headers(server: LocalServer, path: str, body: bytes, headers: dict[str, str] | None = None) -> dict[str, str]:
    """Signature of botocore itself over the path as it is spelt here."""
    request = AWSRequest("POST", server.endpoint + path, headers=headers or {}, data=body)
    SigV4Auth(BotoCredentials(server.keys.access_key, server.keys.secret_key), "bedrock", "us-east-1").add_auth(request)
    return dict(request.headers.items())


def post(
    server: LocalServer,
    path: str,
    body: bytes,
    headers: dict[str, str] | None = None,
    change: Callable[[dict[str, str]], None] = lambda headers: None,
    method: str = "POST",
) -> Answer:
    """Send bytes exactly as given: no client library may tidy up the path. `headers` None signs; `change` edits after
    signing."""
    url = urlsplit(server.endpoint)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
    sent = signed_headers(server, path, body) if headers is None else dict(headers)
    change(sent)
    try:
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[[str, int], Path]:
    """Writes a small random model folder, by name and seed."""

    def make(name: str, seed: int) -> Path:
        from lightning_modules.model.hub import save_model
        from tests.lightning_modules.tiny import tiny_model, tiny_tokenizer

        tokenizer = tiny_tokenizer()
        source = tmp_path / "tokenizer"
        source.mkdir(exist_ok=True)
        tokenizer.tokenizer.save(str(source / "tokenizer.json"))
        model = tiny_model(seed, max_position_embeddings=512)
        save_model(model, tmp_path / name, source, tokenizer.stop_ids, tokenizer.end_of_text)
        return tmp_path / name

    return make


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Stack]:
    """A stack of moto over real HTTP."""
    with made_up(tmp_path) as stack:
        yield stack
