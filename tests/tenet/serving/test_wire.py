"""An unchanged boto3 against the endpoint: what it sends is understood, what it gets back it understands."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError

from tenet.serving.clients.client import client, stream_answer
from tenet.serving.protocol.eventstream import event, exception
from tenet.serving.server.server import LocalServer
from tests.tenet.serving.conftest import MODEL, echo_server, messages_body, post, signed_headers, user

WEATHER = {
    "toolSpec": {
        "name": "weather",
        "description": "Weather of a city.",
        "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Tromsø"}}\n</tool_call>'


def events_of(stream: Any) -> list[dict[str, Any]]:
    return list(stream)


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(e["contentBlockDelta"]["delta"].get("text", "") for e in events if "contentBlockDelta" in e)


def test_converse_answers_and_counts(boto: Any) -> None:
    reply = boto.converse(modelId=MODEL, messages=user("grüße €"), system=[], inferenceConfig={})
    assert reply["output"]["message"] == {"role": "assistant", "content": [{"text": "grüße €"}]}
    assert reply["stopReason"] == "end_turn"
    bytes_out = len("grüße €".encode()) + 1  # the end mark was generated too
    assert reply["usage"]["outputTokens"] == bytes_out
    assert reply["usage"]["totalTokens"] == reply["usage"]["inputTokens"] + bytes_out
    assert isinstance(reply["metrics"]["latencyMs"], int)


def test_stream_is_the_same_answer_in_the_order_of_the_service_model(boto: Any) -> None:
    events = events_of(boto.converse_stream(modelId=MODEL, messages=user("日本 ☃"))["stream"])
    assert text_of(events) == "日本 ☃"
    kinds = list(dict.fromkeys(next(iter(e)) for e in events))
    assert kinds == ["messageStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"]
    # Half a character never leaves: each piece is whole text.
    assert all("\ufffd" not in e["contentBlockDelta"]["delta"]["text"] for e in events if "contentBlockDelta" in e)


def test_stream_answer_gives_pieces(server: LocalServer) -> None:
    pieces = list(stream_answer(server.endpoint, server.keys, MODEL, "one two"))
    assert "".join(pieces) == "one two" and len(pieces) > 3


@pytest.mark.parametrize(
    "name", ["us.anthropic.claude-3-5-haiku-20241022-v1:0", f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"]
)
def test_aliases_profiles_and_arns(boto: Any, name: str) -> None:
    assert boto.converse(modelId=name, messages=user("hi"))["output"]["message"]["content"] == [{"text": "hi"}]


@pytest.mark.parametrize(
    "path",
    [
        "/model/tenet.assistant-v1%3A0/invoke",
        "/model/tenet.assistant-v1:0/invoke",
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aimported-model%2Ftenet.assistant-v1%3A0/invoke",
        "/model/arn:aws:bedrock:us-east-1:123456789012:imported-model/tenet.assistant-v1:0/invoke",
    ],
)
def test_both_path_spellings_are_signed_and_routed(server: LocalServer, path: str) -> None:
    answer = post(server, path, messages_body("hello"))
    assert answer.status == 200, answer.body
    assert json.loads(answer.body)["content"] == [{"type": "text", "text": "hello"}]


def test_invoke_model(boto: Any) -> None:
    reply = boto.invoke_model(modelId=MODEL, body=messages_body("hello", system="be brief"))
    content = json.loads(reply["body"].read())
    assert content["type"] == "message" and content["stop_reason"] == "end_turn"
    assert content["usage"]["output_tokens"] == 6
    headers = reply["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-bedrock-output-token-count"] == "6"
    assert headers["x-amzn-bedrock-input-token-count"] == str(content["usage"]["input_tokens"])


def test_invoke_stream(boto: Any) -> None:
    stream = boto.invoke_model_with_response_stream(modelId=MODEL, body=messages_body("ok"))["body"]
    events = [json.loads(e["chunk"]["bytes"]) for e in stream]
    assert [e["type"] for e in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    metrics = events[-1]["amazon-bedrock-invocationMetrics"]
    assert metrics["outputTokenCount"] == 3 == events[-2]["usage"]["output_tokens"]
    assert metrics["inputTokenCount"] == events[0]["message"]["usage"]["input_tokens"]


def test_count_tokens_equals_usage(boto: Any) -> None:
    request = {"messages": user("how many?"), "system": [{"text": "short"}], "toolConfig": {"tools": [WEATHER]}}
    used = boto.converse(modelId=MODEL, **request)["usage"]["inputTokens"]
    assert boto.count_tokens(modelId=MODEL, input={"converse": request})["inputTokens"] == used
    body = messages_body("how many?")
    invoked = json.loads(boto.invoke_model(modelId=MODEL, body=body)["body"].read())["usage"]["input_tokens"]
    assert boto.count_tokens(modelId=MODEL, input={"invokeModel": {"body": body}})["inputTokens"] == invoked


def test_max_tokens_and_stop_sequences(boto: Any) -> None:
    short = boto.converse(modelId=MODEL, messages=user("abcdef"), inferenceConfig={"maxTokens": 3})
    assert (short["output"]["message"]["content"][0]["text"], short["stopReason"]) == ("abc", "max_tokens")
    stopped = boto.converse(
        modelId=MODEL,
        messages=user("one END two"),
        inferenceConfig={"stopSequences": ["END"]},
        additionalModelResponseFieldPaths=["/stop_sequence"],
    )
    assert (stopped["output"]["message"]["content"][0]["text"], stopped["stopReason"]) == ("one ", "stop_sequence")
    assert stopped["additionalModelResponseFields"] == {"stop_sequence": "END"}
    assert stopped["usage"]["outputTokens"] == len("one END")  # the hidden text was generated


def test_the_context_ends_an_answer_with_its_own_reason() -> None:
    from tenet.serving.engines.echo import EchoEngine

    with echo_server(EchoEngine(max_context=40)) as server:
        reply = client(server.endpoint, server.keys).converse(
            modelId=MODEL, messages=user("x" * 20), inferenceConfig={"maxTokens": 100}
        )
    assert reply["stopReason"] == "model_context_window_exceeded"
    assert reply["usage"]["totalTokens"] == 40


def test_tools_in_text_become_tool_use_blocks(boto: Any) -> None:
    reply = boto.converse(modelId=MODEL, messages=user(f"Let me look. {CALL}"), toolConfig={"tools": [WEATHER]})
    words, use = reply["output"]["message"]["content"]
    assert words == {"text": "Let me look."} and reply["stopReason"] == "tool_use"
    assert (use["toolUse"]["name"], use["toolUse"]["input"]) == ("weather", {"city": "Tromsø"})


def test_streamed_tool_use(boto: Any) -> None:
    stream = boto.converse_stream(modelId=MODEL, messages=user(f"hm {CALL}"), toolConfig={"tools": [WEATHER]})["stream"]
    events = events_of(stream)
    start = next(e["contentBlockStart"] for e in events if "contentBlockStart" in e)
    assert start["start"]["toolUse"]["name"] == "weather" and start["contentBlockIndex"] == 1
    piece = next(
        e["contentBlockDelta"]["delta"]["toolUse"]["input"]
        for e in events
        if "toolUse" in e.get("contentBlockDelta", {}).get("delta", {})
    )
    assert json.loads(piece) == {"city": "Tromsø"}
    assert text_of(events) == "hm" and {"messageStop": {"stopReason": "tool_use"}} in events


def test_forced_tool_is_prefilled(boto: Any) -> None:
    config = {"tools": [WEATHER], "toolChoice": {"tool": {"name": "weather"}}}
    reply = boto.converse(modelId=MODEL, messages=user('{"city": "Oslo"}}\n</tool_call>'), toolConfig=config)
    assert reply["output"]["message"]["content"][0]["toolUse"]["input"] == {"city": "Oslo"} and reply["stopReason"] == "tool_use"
    broken = boto.converse(modelId=MODEL, messages=user("no json"), toolConfig=config)
    assert broken["stopReason"] == "malformed_tool_use" and "no json" in broken["output"]["message"]["content"][0]["text"]


def test_any_tool_and_unknown_names(boto: Any) -> None:
    config = {"tools": [WEATHER], "toolChoice": {"any": {}}}
    good = boto.converse(modelId=MODEL, messages=user('weather", "arguments": {}}</tool_call>'), toolConfig=config)
    assert good["output"]["message"]["content"][0]["toolUse"]["name"] == "weather"
    other = boto.converse(modelId=MODEL, messages=user('rm", "arguments": {}}</tool_call>'), toolConfig=config)
    assert not any("toolUse" in block for block in other["output"]["message"]["content"])


def test_tool_results_reach_the_model_and_must_match(boto: Any) -> None:
    def turns(result_id: str) -> list[dict[str, Any]]:
        use = {"toolUse": {"toolUseId": "a1", "name": "weather", "input": {"city": "Oslo"}}}
        result = {"toolResult": {"toolUseId": result_id, "content": [{"json": {"degrees": -3}}]}}
        return [*user("weather?"), {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]

    reply = boto.converse(modelId=MODEL, messages=turns("a1"), toolConfig={"tools": [WEATHER]})
    assert reply["output"]["message"]["content"] == [{"text": '{"degrees": -3}'}]
    with pytest.raises(ClientError, match=r"Expected toolResult blocks.*a1"):
        boto.converse(modelId=MODEL, messages=turns("other"), toolConfig={"tools": [WEATHER]})
    with pytest.raises(ClientError, match="toolConfig field must be defined"):
        boto.converse(modelId=MODEL, messages=turns("a1"))


def test_anthropic_tools(boto: Any) -> None:
    tools = [{"name": "weather", "input_schema": {"type": "object"}}]
    body = messages_body(f"{CALL}\n{CALL}", tools=tools, tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    content = json.loads(boto.invoke_model(modelId=MODEL, body=body)["body"].read())
    assert [block["type"] for block in content["content"]] == ["tool_use"] and content["stop_reason"] == "tool_use"
    two = json.loads(boto.invoke_model(modelId=MODEL, body=messages_body(f"{CALL}\n{CALL}", tools=tools))["body"].read())
    assert [block["type"] for block in two["content"]] == ["tool_use", "tool_use"]


def test_frames_are_read_by_botocore() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(event("contentBlockDelta", {"delta": {"text": "é" * 1000}}) + exception("throttlingException", "slow down"))
    first, second = list(buffer)
    assert first.headers[":event-type"] == "contentBlockDelta" and json.loads(first.payload)["delta"]["text"] == "é" * 1000
    assert second.headers[":exception-type"] == "throttlingException" and json.loads(second.payload) == {"message": "slow down"}
    raw = event("x", {})
    assert struct.unpack("!I", raw[:4])[0] == len(raw) and struct.unpack("!I", raw[-4:])[0] == zlib.crc32(raw[:-4])


def test_health(server: LocalServer) -> None:
    import http.client
    from urllib.parse import urlsplit

    connection = http.client.HTTPConnection(urlsplit(server.endpoint).netloc)
    for path in ("/healthz", "/readyz"):
        connection.request("GET", path)
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["status"]) == (200, {"/healthz": "alive", "/readyz": "ready"}[path])
    connection.close()


def test_no_content_type_is_fine(server: LocalServer) -> None:
    path, body = f"/model/{MODEL}/invoke", messages_body("x")
    headers = signed_headers(server, path, body)
    assert "content-type" not in {name.lower() for name in headers}
    assert post(server, path, body, headers).status == 200
