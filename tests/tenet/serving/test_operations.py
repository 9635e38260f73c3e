"""What stands beside the five operations on a model: Anthropic's route, metrics, page, TLS."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tenet.errors import ConfigError
from tenet.serving.clients.client import client
from tenet.serving.server.server import LocalServer, serve
from tenet.settings.serving import ServeConfig
from tests.tenet.serving.conftest import MODEL, Answer, echo_server, post, signed_headers, user
from tests.tenet.serving.test_load import wait_for


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(tmp_path_factory.mktemp("house"), ServeConfig(engine="echo", chat=True)) as running:
        yield running


def get(server: LocalServer, path: str, headers: dict[str, str] | None = None) -> Answer:
    connection = http.client.HTTPConnection(server.endpoint.partition("//")[2], timeout=30)
    connection.request("GET", path, headers=headers or {})
    response = connection.getresponse()
    answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    connection.close()
    return answer


# --- Anthropic's own route -----------------------------------------------------------------------------------------------


def messages(server: LocalServer, body: dict[str, Any], path: str = "/anthropic/v1/messages") -> Answer:
    return post(server, path, json.dumps(body).encode(), {"x-api-key": server.keys.api_key})


ASKED = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "grüße"}]}


def test_messages_and_their_stream_say_the_same(house: LocalServer) -> None:
    whole = json.loads(messages(house, ASKED).body)
    assert whole["content"] == [{"type": "text", "text": "grüße"}] and whole["model"] == MODEL
    streamed = messages(house, {**ASKED, "stream": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in streamed.body.decode().strip().split("\n\n")]
    events = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
    assert [name.removeprefix("event: ") for name, _ in blocks] == [event["type"] for event in events]
    assert "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta") == "grüße"
    assert events[-1] == {"type": "message_stop"} and events[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    counted = messages(house, {"model": MODEL, "messages": ASKED["messages"]}, "/anthropic/v1/messages/count_tokens")
    assert json.loads(counted.body) == {"input_tokens": whole["usage"]["input_tokens"]}


def test_errors_of_that_route_have_its_shape(house: LocalServer) -> None:
    wrong = post(house, "/anthropic/v1/messages", b"{}", {"x-api-key": "nobody"})
    assert (wrong.status, json.loads(wrong.body)["error"]["type"]) == (401, "authentication_error")
    for change, status, kind in (
        ({"model": "no.such"}, 404, "not_found_error"),
        ({"max_tokens": 0}, 400, "invalid_request_error"),
        ({"messages": [{"role": "user", "content": "x" * 9999}]}, 400, "invalid_request_error"),
    ):
        answer = messages(house, {**ASKED, "stream": True, **change})
        assert (answer.status, json.loads(answer.body)["error"]["type"]) == (status, kind)
    assert "prompt is too long" in json.loads(answer.body)["error"]["message"]


def test_a_mantle_signature(house: LocalServer) -> None:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    body = json.dumps(ASKED).encode()
    request = AWSRequest("POST", house.endpoint + "/anthropic/v1/messages", data=body)
    SigV4Auth(Credentials(house.keys.access_key, house.keys.secret_key), "bedrock-mantle", "eu-west-1").add_auth(request)
    assert post(house, "/anthropic/v1/messages", body, dict(request.headers.items())).status == 200


# --- metrics, page, TLS --------------------------------------------------------------------------------------------------


def test_metrics_count_and_hold_no_words(server: LocalServer) -> None:
    boto = client(server.endpoint, server.keys)
    boto.converse(modelId=MODEL, messages=user("xyzzy"))
    post(server, "/scan/1", b"")
    post(server, "/scan/2", b"")
    page = get(server, "/metrics").body.decode()
    assert 'tenet_requests_total{code="OK",operation="converse"}' in page
    assert 'tenet_requests_total{code="UnknownOperationException",operation="unknown"}' in page
    assert "tenet_time_to_first_token_seconds_count" in page and "tenet_slots 16.0" in page and "tenet_ready 1.0" in page
    assert "xyzzy" not in page and "scan" not in page and server.keys.access_key not in page


def test_metrics_behind_a_proxy_need_a_key() -> None:
    with echo_server(tls="proxy") as server:
        assert get(server, "/metrics").status == 403
        assert get(server, "/metrics", signed_headers(server, "/metrics", b"")).status == 403
        assert get(server, "/metrics", {"Authorization": f"Bearer {server.keys.api_key}"}).status == 200


def test_the_page_and_its_policy(house: LocalServer, server: LocalServer) -> None:
    page = get(house, "/chat")
    assert page.status == 200 and "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("chat.js", "chat.css", "chat.svg"):
        assert name in page.body.decode() and get(house, f"/{name}").status == 200
    # Inline code would be refused by the policy, so there must be none.
    assert b"<style" not in page.body and b"onclick" not in page.body and b"http" not in page.body
    assert get(server, "/chat").status == 404


def test_tls_lets_boto3_send_an_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    with echo_server(tls="self-signed") as server:
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", server.keys.api_key)
        boto = boto3.client("bedrock-runtime", endpoint_url=server.endpoint, region_name="us-east-1", verify=server.authority)
        assert boto.converse(modelId=MODEL, messages=user("hi"))["stopReason"] == "end_turn"
        trusting = ssl.create_default_context(cafile=server.authority)
        with urllib.request.urlopen(f"{server.endpoint}/readyz", context=trusting) as answer:
            assert json.load(answer)["status"] == "ready"


def test_no_public_address_without_tls(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--tls proxy"):
        serve(ServeConfig(host="0.0.0.0", port=0, engine="echo"), tmp_path, tmp_path / "keys.json")
    with pytest.raises(ConfigError, match=r"serve\.tls is 'on'"):
        serve(ServeConfig(port=0, engine="echo", tls="on"), tmp_path, tmp_path / "keys.json")
    with pytest.raises(ConfigError, match=r"serve\.tls .*missing\.pem"):
        serve(ServeConfig(port=0, engine="echo", tls="missing.pem,missing.key"), tmp_path, tmp_path / "keys.json")
    assert not (tmp_path / "keys.json").exists()


def test_a_certificate_is_kept_and_its_key_is_private(tmp_path: Path) -> None:
    from tenet.serving.access.tls import self_signed

    first = self_signed("127.0.0.1", tmp_path).certificate.read_bytes()
    assert self_signed("127.0.0.1", tmp_path).certificate.read_bytes() == first
    assert (tmp_path / "tls-key.pem").stat().st_mode & 0o777 == 0o600
    assert self_signed("model.example", tmp_path).certificate.read_bytes() != first


def test_spans_have_counts_and_no_words() -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="opentelemetry-sdk is not installed")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from tenet.serving.api.app import Gateway, Options
    from tenet.serving.telemetry.tracing import Tracer

    exporter, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with echo_server() as server:
        gateway: Gateway = server.gateway
        gateway.options = Options(tracer=Tracer(provider))
        boto = client(server.endpoint, server.keys)
        boto.converse(modelId=MODEL, messages=user("xyzzy"))
        with pytest.raises(ClientError):
            boto.converse(modelId=MODEL, messages=[])
        assert wait_for(lambda: len(exporter.get_finished_spans()) == 2)
        good, bad = exporter.get_finished_spans()
    assert good.name == f"chat {MODEL}" and good.attributes["gen_ai.usage.output_tokens"] == 6
    assert bad.attributes["error.type"] == "ValidationException"
    assert "xyzzy" not in good.to_json()
