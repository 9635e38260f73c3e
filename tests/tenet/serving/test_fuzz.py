"""Whatever bytes come: an answer with a code, soon, and never a 500."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from tenet.serving.access.auth import Authenticator, SignedRequest, _seconds
from tenet.serving.access.credentials import Credentials
from tenet.serving.api import converse, messages
from tenet.serving.protocol.eventstream import event
from tenet.serving.protocol.exceptions import ServiceError
from tenet.serving.protocol.limits import Limits, _check_tree, parse_json
from tenet.serving.server.server import LocalServer
from tests.tenet.serving.conftest import MODEL, messages_body, post, user

QUICK = settings(max_examples=60, deadline=1000, suppress_health_check=list(HealthCheck))
SERVED = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
LATIN = st.text(alphabet=st.characters(max_codepoint=255), max_size=40)  # what a header can hold
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
WORDS = st.sampled_from(
    [
        "messages",
        "content",
        "text",
        "role",
        "user",
        "assistant",
        "toolUse",
        "toolResult",
        "toolConfig",
        "tools",
        "name",
        "input",
        "type",
        "guardContent",
        "inferenceConfig",
        "maxTokens",
        "system",
        "tool_use",
        "tool_result",
        "json",
        "any",
        "tool",
        "toolChoice",
    ]
)
TREE = st.recursive(
    LEAF | WORDS, lambda t: st.lists(t, max_size=3) | st.dictionaries(WORDS | st.text(max_size=4), t, max_size=4), max_leaves=20
)


@QUICK
@given(st.binary(max_size=200) | TREE.map(lambda tree: json.dumps(tree).encode()))
def test_bodies_are_read_or_refused(body: bytes) -> None:
    limits = Limits()
    try:
        content = parse_json(body, limits)
    except ServiceError as error:
        assert error.status == 400
        return
    for decode in (converse.decode, messages.decode, lambda body, limits: converse.guardrail_of(body)):
        try:
            decode(content, limits)
        except ServiceError as error:
            assert error.status == 400


def conversation(part: Any) -> Any:
    """A right conversation with one member replaced by whatever comes."""
    return st.sampled_from(
        [
            lambda x: {"messages": x},
            lambda x: {"messages": [x]},
            lambda x: {"messages": [{"role": "user", "content": x}]},
            lambda x: {"messages": [{"role": "user", "content": [x]}]},
            lambda x: {"messages": [{"role": "user", "content": [{"guardContent": {"text": x}}]}]},
            lambda x: {"messages": [{"role": "assistant", "content": [{"toolUse": x}]}]},
            lambda x: {"messages": user("x"), "system": x},
            lambda x: {"messages": user("x"), "inferenceConfig": x},
            lambda x: {"messages": user("x"), "toolConfig": {"tools": [{"toolSpec": x}]}},
            lambda x: {"messages": user("x"), "toolConfig": {"tools": x, "toolChoice": x}},
            lambda x: {"messages": user("x"), "guardrailConfig": x},
            lambda x: {"messages": user("x"), "additionalModelResponseFieldPaths": x},
            lambda x: {"messages": user("x"), "additionalModelRequestFields": x},
        ]
    ).flatmap(lambda make: st.builds(make, part))


@SERVED
@given(conversation(TREE), st.sampled_from(["converse", "converse-stream", "invoke", "count-tokens"]))
def test_the_whole_way_never_ends_in_a_500(server: LocalServer, body: Any, operation: str) -> None:
    if operation == "count-tokens":
        body = {"input": {"converse": body}}
    if operation == "invoke":
        body = {"anthropic_version": "x", "max_tokens": 5, **body}
    start = time.monotonic()
    answer = post(server, f"/model/{MODEL}/{operation}", json.dumps(body).encode())
    assert answer.status in (200, 400, 404) and time.monotonic() - start < 10, answer.body


@QUICK
@given(
    LATIN
    | st.builds("AWS4-HMAC-SHA256 Credential={}/{}/r/bedrock/aws4_request, SignedHeaders={}, Signature={}".format, *[LATIN] * 4),
    LATIN,
    st.binary(max_size=20),
)
def test_signatures_are_refused(authorization: str, date: str, body: bytes) -> None:
    checks = Authenticator(Credentials({"AK": "secret"}, {}), lambda: 0.0)
    headers = Headers({"authorization": authorization, "x-amz-date": date, "host": "h"})
    with pytest.raises(ServiceError) as caught:
        checks.verify(checks.identify(headers), SignedRequest("POST", "/x%zz", "a=%&&=", headers, body))
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "date", ["", "2026-01-31T12:00:00Z", "20260131T120000", "20260131T120000Z\n", "20261331T120000Z", "٢٠٢٦0131T120000Z"]
)
def test_only_amazons_spelling_of_a_time_is_read(date: str) -> None:
    with pytest.raises(ValueError):
        _seconds(date)
    assert _seconds("20260131T120000Z") == 1769860800.0


@QUICK
@given(TREE, st.integers(1, 8), st.booleans())
def test_a_body_is_looked_through_whenever_it_must_be(tree: Any, depth: int, escaped: bool) -> None:
    """The glance that spares most bodies the walk never lets through what the walk would refuse."""
    raw = json.dumps({"messages": tree}, ensure_ascii=escaped).encode(errors="surrogatepass")
    limits = Limits(json_depth=depth)

    def refused(look: Callable[[], Any]) -> bool:
        try:
            look()
        except ServiceError:
            return True
        return False

    if b"NaN" not in raw and b"Infinity" not in raw:
        assert refused(lambda: parse_json(raw, limits)) == refused(lambda: _check_tree(json.loads(raw), limits))


@pytest.mark.parametrize("text", ['"\\ud800"', '"\ud800"'], ids=["escaped", "raw"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_half_characters_are_refused_in_every_encoding(text: str, encoding: str) -> None:
    with pytest.raises(ServiceError, match=r"surrogate|JSON"):
        parse_json(f'{{"a": {text}}}'.encode(encoding, "surrogatepass"), Limits())


@QUICK
@given(
    st.lists(st.tuples(st.sampled_from(["contentBlockDelta", "chunk", "x"]), st.dictionaries(st.text(), LEAF)), max_size=5),
    st.data(),
)
def test_frames_survive_any_cut(events: list[tuple[str, dict[str, Any]]], data: st.DataObject) -> None:
    """botocore reads back what was written, wherever the network cuts it."""
    events = [(name, json.loads(json.dumps(payload))) for name, payload in events if "nan" not in json.dumps(payload).lower()]
    events = [(name, payload) for name, payload in events if "Infinity" not in json.dumps(payload)]
    raw = b"".join(event(name, payload) for name, payload in events)
    buffer, got = EventStreamBuffer(), []
    while raw:
        cut = data.draw(st.integers(1, len(raw)))
        buffer.add_data(raw[:cut])
        raw = raw[cut:]
        got += [(one.headers[":event-type"], json.loads(one.payload)) for one in buffer]
    assert got == events


def test_base64_that_is_none(server: LocalServer) -> None:
    for encoded in ("%%%", base64.b64encode(b"[]").decode(), base64.b64encode(messages_body("x")[:-1]).decode()):
        body = json.dumps({"input": {"invokeModel": {"body": encoded}}}).encode()
        assert post(server, f"/model/{MODEL}/count-tokens", body).code == "ValidationException"


def raw(server: LocalServer, data: bytes) -> bytes:
    host, port = server.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        try:
            connection.sendall(data)
            return connection.recv(4096)
        except (ConnectionResetError, BrokenPipeError):
            return b""


def test_headers_are_bounded(server: LocalServer) -> None:
    many = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"".join(b"x-%d: %s\r\n" % (i, b"y" * 1000) for i in range(400))
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\nx: " + b"y" * 400_000
    for data in (many, one):
        assert b"431" in (told := raw(server, data))[:20] or not told
    good = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"z" * 100_000  # a large body is no large header
    assert raw(server, good).startswith(b"HTTP/1.1 404")


@SERVED
@given(st.binary(min_size=1, max_size=300))
def test_bytes_that_are_no_http(server: LocalServer, data: bytes) -> None:
    assert b" 500 " not in raw(server, b"X" + data.replace(b"\n", b"") + b"\r\n\r\n")[:20]


def test_deeply_nested_tool_calls_of_a_model(server: LocalServer) -> None:
    """The echo engine says what it is asked to; the parser of its calls must not fall over it."""
    tools = {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}]}
    for inner in ("[" * 3000, '{"name": "t", "arguments": {"a": 1e999, "b": ' + "9" * 400 + "}}"):
        body = json.dumps({"messages": user(f"<tool_call>{inner}</tool_call>"), "toolConfig": tools}).encode()
        for operation in ("converse", "converse-stream"):
            answer = post(server, f"/model/{MODEL}/{operation}", body)
            assert answer.status == 200, answer.body
