"""What must be refused, with which code, status and key words; and that nothing which was said reaches a log."""

from __future__ import annotations

import datetime
import json
import logging
import re
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from tenet.errors import ConfigError
from tenet.serving.access.credentials import Keys, load, load_or_create
from tenet.serving.api import converse, messages
from tenet.serving.clients.client import client
from tenet.serving.protocol.exceptions import ServiceError
from tenet.serving.protocol.limits import Limits, parse_json
from tenet.serving.server.server import LocalServer
from tests.tenet.serving.conftest import MODEL, echo_server, messages_body, post, user

PATH = f"/model/{MODEL}/converse"
BODY = json.dumps({"messages": user("secret words")}).encode()


TOOL = {"name": "t", "inputSchema": {"json": {"type": "object"}}}


def spoken(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    """A conversation in which the assistant has said this."""
    return [*user("hi"), {"role": "assistant", "content": list(blocks)}, *user("and now?")]


def code_of(call: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as caught:
        call()
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Message"]


# --- who calls -------------------------------------------------------------------------------------------------------


def test_wrong_secret_and_unknown_key(server: LocalServer) -> None:
    wrong = client(server.endpoint, Keys(server.keys.access_key, "wrong"))
    assert code_of(lambda: wrong.converse(modelId=MODEL, messages=user("x")))[:2] == ("InvalidSignatureException", 403)
    unknown = client(server.endpoint, Keys("AKIANOBODY", "wrong"))
    assert code_of(lambda: unknown.converse(modelId=MODEL, messages=user("x")))[:2] == ("UnrecognizedClientException", 403)


def test_tampered_body_path_and_header(server: LocalServer) -> None:
    def sign_for(path: str, body: bytes) -> dict[str, str]:
        from tests.tenet.serving.conftest import signed_headers

        return signed_headers(server, path, body)

    assert post(server, PATH, BODY).status == 200
    assert post(server, PATH, BODY.replace(b"secret", b"sacred"), sign_for(PATH, BODY)).code == "InvalidSignatureException"
    assert post(server, PATH + "-stream", BODY, sign_for(PATH, BODY)).code == "InvalidSignatureException"
    assert post(server, PATH + "?a=1", BODY, sign_for(PATH, BODY)).code == "InvalidSignatureException"
    moved = post(server, PATH, BODY, change=lambda h: h.update({"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}))
    assert moved.code == "InvalidSignatureException"


def test_query_strings_are_signed_sorted(server: LocalServer) -> None:
    assert post(server, PATH + "?b=2&a=1", BODY).status == 200


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "MissingAuthenticationTokenException"),
        ("AWS4-HMAC-SHA256 nonsense", "IncompleteSignatureException"),
        ("Bearer nobody", "AccessDeniedException"),
        ("Basic dXNlcg==", "IncompleteSignatureException"),
    ],
)
def test_unusable_authorization(server: LocalServer, header: str, code: str) -> None:
    answer = post(server, PATH, BODY, {"Authorization": header} if header else {})
    assert (answer.status, answer.code) == (403, code)


def test_signature_must_cover_host_and_date(server: LocalServer) -> None:
    def drop_host(headers: dict[str, str]) -> None:
        headers["Authorization"] = headers["Authorization"].replace("SignedHeaders=host;", "SignedHeaders=")

    assert post(server, PATH, BODY, change=drop_host).code == "IncompleteSignatureException"


@pytest.mark.parametrize(("minutes", "status"), [(-4, 200), (4, 200), (-6, 403), (6, 403)])
def test_clock_skew(minutes: int, status: int) -> None:
    with echo_server(clock=lambda: time.time() + 60 * minutes) as server:
        answer = post(server, PATH, BODY)
    assert answer.status == status
    assert status == 200 or answer.code == "InvalidSignatureException"


def test_another_service_or_day(server: LocalServer) -> None:
    assert (
        post(server, PATH, BODY, change=lambda h: h.update(Authorization=h["Authorization"].replace("/bedrock/", "/s3/"))).status
        == 403
    )
    yesterday = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)).strftime("%Y%m%d")
    today = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d")
    changed = post(
        server, PATH, BODY, change=lambda h: h.update(Authorization=h["Authorization"].replace(f"/{today}/", f"/{yesterday}/"))
    )
    assert changed.code == "InvalidSignatureException"


def test_api_key(server: LocalServer) -> None:
    answer = post(server, PATH, BODY, {"Authorization": f"Bearer {server.keys.api_key}"})
    assert answer.status == 200
    wrong = post(server, PATH, BODY, {"Authorization": f"Bearer {server.keys.api_key}x"})
    assert (wrong.status, wrong.code) == (403, "AccessDeniedException") and "API Key" in wrong.message


def test_credentials_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "credentials.json"
    _, keys = load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.api_key and keys.api_key not in path.read_text()
    again, known = load_or_create(path)
    assert (known.access_key, known.secret_key, known.api_key) == (keys.access_key, keys.secret_key, "")
    assert again.api_key_name(keys.api_key) == "first" and again.api_key_name("other") is None
    assert f"export AWS_SECRET_ACCESS_KEY={keys.secret_key}" in keys.exports("http://127.0.0.1:1")
    assert [p.name for p in path.parent.iterdir()] == ["credentials.json"]
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load(path)
    path.chmod(0o600)
    path.write_text("{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        load(path)


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_unknown_model_and_operation(server: LocalServer, boto: Any) -> None:
    assert code_of(lambda: boto.converse(modelId="some.other-v1:0", messages=user("x")))[:2] == ("ResourceNotFoundException", 404)
    assert post(server, f"/model/{MODEL}/nothing", BODY).code == "UnknownOperationException"
    assert post(server, PATH, b"", method="GET").status == 404


def test_too_long_in_the_words_clients_look_for(boto: Any) -> None:
    code, status, message = code_of(lambda: boto.converse_stream(modelId=MODEL, messages=user("x" * 5000)))
    assert (code, status) == ("ValidationException", 400)
    assert "Input is too long for requested model" in message and "prompt is too long: 5017 tokens > 4095 maximum" in message


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"messages": [{"role": "assistant", "content": [{"text": "x"}]}]}, "must start with a user message"),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
        (
            {"messages": [{"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": b"x"}}}]}]},
            "messages.0.content.0.image",
        ),
        ({"inferenceConfig": {"temperature": 1.5}}, "inferenceConfig.temperature"),
        ({"inferenceConfig": {"stopSequences": [""]}}, "inferenceConfig.stopSequences.0"),
        (
            {"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "no json"}}}}},
            "not valid JSON",
        ),
        ({"guardrailConfig": {"guardrailIdentifier": "abc"}}, "guardrailConfig.guardrailVersion"),
        ({"inferenceConfig": {"stopSequences": ["x"] * 2501}}, "inferenceConfig.stopSequences"),
        ({"messages": user("")}, "messages.0.content.0.text: The text field in the ContentBlock object is blank"),
        ({"messages": user(" \n")}, "is blank"),
        ({"system": [{"text": ""}]}, "system.0.text"),
        ({"system": [{"text": " "}]}, "system.0.text"),
        ({"performanceConfig": {"latency": "warp"}}, "performanceConfig.latency"),
        ({"serviceTier": {"type": "gold"}}, "serviceTier.type"),
        ({"system": [{"text": "s"}, {"cachePoint": {"type": "for ever"}}]}, "system.1.cachePoint.type"),
        ({"requestMetadata": {f"k{i}": "v" for i in range(17)}}, "requestMetadata"),
        ({"requestMetadata": {"k": "{}"}}, "requestMetadata.k"),
        ({"additionalModelResponseFieldPaths": ["/a"] * 11}, "additionalModelResponseFieldPaths"),
        ({"additionalModelResponseFieldPaths": ["/a", "b"]}, "additionalModelResponseFieldPaths.1"),
        ({"toolConfig": {"tools": [{"toolSpec": {**TOOL, "description": ""}}]}}, "toolConfig.tools.0.toolSpec.description"),
        ({"toolConfig": {"tools": [{"systemTool": {"name": "nova_grounding"}}]}}, "toolConfig.tools.0.systemTool"),
        ({"messages": spoken({"citationsContent": {"content": [{"text": "b"}]}})}, "messages.1.content.0.citationsContent"),
        ({"messages": spoken({"toolUse": {"toolUseId": "a b!", "name": "t", "input": {}}})}, "toolUse.toolUseId"),
        ({"messages": spoken({"toolUse": {"toolUseId": "a", "name": "t", "input": 5}})}, "toolUse.input"),
        (
            {"messages": spoken({"toolUse": {"toolUseId": "a", "name": "t", "input": {}, "type": "server_tool_use"}})},
            "toolUse.type",
        ),
        ({"messages": spoken({"text": "a", "cachePoint": {"type": "default"}})}, "exactly one of the members"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"guardContent": {"image": {"format": "png", "source": {"bytes": b"x"}}}}]}
                ]
            },
            "messages.0.content.0.guardContent.image",
        ),
        ({"promptVariables": {"a": {"text": "b"}}}, "promptVariables"),
        ({"outputConfig": {"effort": "high"}}, "outputConfig.effort"),
        (
            {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}}},
            "[thinking] is not permitted",
        ),
        ({"additionalModelRequestFields": {"stop_sequences": ["ll"]}}, "additionalModelRequestFields.stop_sequences"),
        ({"additionalModelRequestFields": {"topk": 5}}, "additionalModelRequestFields.topk"),
        ({"additionalModelRequestFields": {"inferenceConfig": {"topK": 5}}}, "additionalModelRequestFields.inferenceConfig"),
        ({"additionalModelRequestFields": {"top_k": "5"}}, "additionalModelRequestFields.top_k"),
        ({"additionalModelRequestFields": [1]}, "additionalModelRequestFields"),
        ({"additionalModelRequestFields": {"output_config": {"effort": "high"}}}, "additionalModelRequestFields.output_config"),
        ({"additionalModelRequestFields": {"output_config": {"format": {"type": "xml"}}}}, "output_config.format.type"),
    ],
)
def test_converse_validation_names_the_member(server: LocalServer, members: dict[str, Any], words: str) -> None:
    loose = client(server.endpoint, server.keys, parameter_validation=False)
    request = {"messages": user("x"), **members}
    for operation in (loose.converse, loose.converse_stream):  # before the 200 of the stream too
        code, status, message = code_of(lambda call=operation: call(modelId=MODEL, **request))
        assert (code, status) == ("ValidationException", 400) and words in message


@pytest.mark.parametrize(
    "members",
    [
        {"inferenceConfig": {"stopSequences": [f"stop{i}" for i in range(2500)]}},
        {"messages": spoken({"text": ""})},  # as this endpoint's own empty answers come back
        {"messages": spoken({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}})},
        {"additionalModelRequestFields": {"anthropic_beta": ["x"], "seed": 1, "top_k": None}},
        {"additionalModelRequestFields": {"thinking": {"type": "disabled"}}},
        {"system": None, "inferenceConfig": {}, "toolConfig": None, "requestMetadata": {"team": "a@b.c"}},
        {"additionalModelResponseFieldPaths": ["/no/such/field", "/stop_sequence"]},
        {"system": []},
    ],
)
def test_what_amazon_takes_is_taken(server: LocalServer, members: dict[str, Any]) -> None:
    loose = client(server.endpoint, server.keys, parameter_validation=False)
    assert loose.converse(modelId=MODEL, **{"messages": user("x"), **members})["stopReason"] == "end_turn"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"topK": -1}, "inferenceConfig.topK"),
        ({"topk": 1}, "inferenceConfig.topk: there is no such member; did you mean topP?"),
    ],
)
def test_what_no_sdk_of_amazons_sends(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ServiceError, match=re.escape(words)):
        converse.decode({"messages": user("x"), "inferenceConfig": config}, Limits())


def test_what_vercels_ai_sdk_sends() -> None:
    from tenet.serving.api.converse_answers import encode
    from tenet.serving.protocol.chat_request import End

    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    body = {
        "messages": user("x"),
        "anthropicBeta": ["x"],
        "inferenceConfig": {"topK": 7},
        "additionalModelRequestFields": {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        "additionalModelResponseFieldPaths": ["/delta/stop_sequence"],
    }
    ask = converse.decode(body, Limits())
    assert (ask.top_k, ask.schema) == (7, schema)
    answer = encode([End("stop_sequence", 1, 1, "!")], body, 1)
    assert answer["additionalModelResponseFields"] == {"delta": {"stop_sequence": "!"}}


def test_what_is_asked_of_amazons_side_is_told_back(boto: Any) -> None:
    asked = {"performanceConfig": {"latency": "optimized"}, "serviceTier": {"type": "flex"}}
    answer = boto.converse(modelId=MODEL, messages=user("x"), **asked)
    assert {key: answer[key] for key in asked} == asked
    last = list(boto.converse_stream(modelId=MODEL, messages=user("x"), **asked)["stream"])[-1]["metadata"]
    assert {key: last[key] for key in asked} == asked
    invoked = boto.invoke_model(modelId=MODEL, body=messages_body("x"), serviceTier="flex", performanceConfigLatency="optimized")
    assert (invoked["serviceTier"], invoked["performanceConfigLatency"]) == ("flex", "optimized")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"anthropic_version": None}, "anthropic_version"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"messages": "x"}, "messages"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools.0.name"),
        ({"tools": [{"name": "a", "input_schema": {}}] * 2}, "same name"),
        ({"tools": [{"name": f"t{i}", "input_schema": {}} for i in range(129)]}, "129 tools"),
        ({"tools": [{"name": "a", "input_schema": {"x": "y" * 70_000}}]}, "65536 bytes"),
    ],
)
def test_messages_validation_names_the_member(boto: Any, members: dict[str, Any], words: str) -> None:
    code, status, message = code_of(lambda: boto.invoke_model(modelId=MODEL, body=messages_body("x", **members)))
    assert (code, status) == ("ValidationException", 400) and words in message


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"nul", b'{"a": NaN}', b"\xff\xfe", b'{"a":' * 200_000, b"[" * 100_000 + b"]" * 100_000,
        b'{"messages": ' + b"[" * 80 + b"]" * 80 + b"}", b'{"a": "\\ud800"}', b'{"a": ' + b"9" * 6000 + b"}",
    ],
    ids=["empty", "array", "word", "nan", "not utf-8", "unclosed", "deep", "deep inside", "surrogate", "huge integer"],
)  # fmt: skip
def test_bodies_that_are_no_request(server: LocalServer, body: bytes) -> None:
    answer = post(server, PATH, body)
    assert (answer.status, answer.code) == (400, "ValidationException"), answer.body


def test_large_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    with echo_server(limits=Limits(body_bytes=1000)) as server:
        answer = post(server, PATH, json.dumps({"messages": user("x" * 2000)}).encode())
    assert answer.status == 400 and "larger than 1000 bytes" in answer.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "type", "name", "json"]), inner, max_size=3)
    ),
    max_leaves=8,
)
GOOD_CONVERSE = {
    "system": [{"text": "s"}, {"cachePoint": {"type": "default"}}],
    "messages": [
        *user("a"),
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "1", "name": "t", "input": {"x": 1}}}]},
        {
            "role": "user",
            "content": [{"toolResult": {"toolUseId": "1", "status": "error", "content": [{"json": {}}, {"text": "b"}]}}],
        },
    ],
    "toolConfig": {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {}}}}], "toolChoice": {"tool": {"name": "t"}}},
    "inferenceConfig": {"maxTokens": 5, "temperature": 0.5, "topP": 0.5, "stopSequences": ["x"]},
    "additionalModelRequestFields": {"top_k": 5, "seed": 1},
}
GOOD_MESSAGES = {
    "anthropic_version": "any",
    "max_tokens": 5,
    "system": [{"type": "text", "text": "s"}],
    "messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "t", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "b"}, {"type": "text", "text": "c"}]},
    ],
    "tools": [{"name": "t", "input_schema": {}}],
    "tool_choice": {"type": "tool", "name": "t"},
    "stop_sequences": ["x"],
}


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every holder and key of a nested value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_changed_request_makes_a_decoder_fail_otherwise(data: st.DataObject) -> None:
    for decode, good in ((converse.decode, GOOD_CONVERSE), (messages.decode, GOOD_MESSAGES)):
        request = json.loads(json.dumps(good))
        assert decode(request, Limits()).tools
        holder, key = data.draw(st.sampled_from(places(request)))
        holder[key] = data.draw(JSON)
        try:
            assert decode(parse_json(json.dumps(request).encode(), Limits()), Limits()).messages
        except ServiceError as error:
            assert error.code == "ValidationException"


# --- what is remembered ----------------------------------------------------------------------------------------------


def test_logs_hold_counts_and_no_words(server: LocalServer, boto: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="tenet.serving")
    caplog.set_level(logging.DEBUG, logger="uvicorn")
    boto.converse(modelId=MODEL, messages=user("xyzzy-secret"))
    code_of(lambda: boto.converse(modelId=MODEL, messages=user("xyzzy-secret"), inferenceConfig={"temperature": 2.0}))
    post(server, PATH, BODY, {"Authorization": "Bearer xyzzy-key"})
    deadline = time.monotonic() + 5
    while (
        len(lines := [r.getMessage() for r in caplog.records if r.name == "tenet.serving.access"]) < 3
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    assert "xyzzy" not in caplog.text
    first, second, third = map(json.loads, lines)
    assert first["status"] == 200 and first["output_tokens"] == 13 and first["key"] == server.keys.access_key
    assert (second["code"], third["code"], third["key"]) == ("ValidationException", "AccessDeniedException", "")
