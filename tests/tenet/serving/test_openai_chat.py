"""Chat Completions over a real connection: answers, streams, tools, refusals and errors in OpenAI's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenet.serving.engines.echo import EchoEngine
from tenet.serving.server.server import LocalServer
from tests.tenet.serving.conftest import MODEL, Answer, echo_server, post

CHAT = "/openai/v1/chat/completions"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "now", "parameters": PARAMETERS}}
CALLED = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


def ask(server: LocalServer, path: str = CHAT, **members: Any) -> Answer:
    """POST with an API key."""
    body = {"model": MODEL, **members}
    return post(server, path, json.dumps(body).encode(), {"Authorization": f"Bearer {server.keys.api_key}"})


def chat(server: LocalServer, content: Any = "hello there", **members: Any) -> dict[str, Any]:
    """A whole completion of one question."""
    answer = ask(server, **{"messages": [{"role": "user", "content": content}], **members})
    assert answer.status == 200, answer.body
    return dict(json.loads(answer.body))


def events(answer: Answer) -> list[dict[str, Any]]:
    """What a stream said, without its end."""
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream"), answer.body
    lines = answer.body.decode().split("\n\n")
    assert lines[-1] == ""
    made = [line.partition("data: ")[2] for line in lines[:-1]]
    return [json.loads(line) for line in made if line != "[DONE]"]


def error(answer: Answer) -> dict[str, Any]:
    """`error` of a refusal, whole in its form."""
    content = json.loads(answer.body)
    assert set(content) == {"error"} and set(content["error"]) == {"message", "type", "param", "code"}
    return dict(content["error"])


def test_a_whole_answer(server: LocalServer) -> None:
    answer = chat(server, user="u", metadata={"a": "b"}, store=False, n=1, service_tier="auto", presence_penalty=0)
    assert answer["object"] == "chat.completion" and answer["model"] == MODEL and answer["id"].startswith("chatcmpl-")
    [choice] = answer["choices"]
    assert choice["message"]["content"] == "hello there" and choice["finish_reason"] == "stop" and choice["logprobs"] is None
    usage = answer["usage"]
    assert usage["completion_tokens"] == len("hello there") + 1
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0


def test_roles_and_parts(server: LocalServer) -> None:
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], "name": "ann"},
        {"role": "assistant", "content": "three", "refusal": None, "annotations": [], "audio": None},
        {"role": "user", "content": "four"},
    ]
    assert chat(server, messages=messages)["choices"][0]["message"]["content"] == "four"
    parted = chat(server, [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}])
    assert parted["choices"][0]["message"]["content"] == "one\ntwo"


def test_stops_and_lengths(server: LocalServer) -> None:
    assert chat(server, stop="lo")["choices"][0]["message"]["content"] == "hel"
    assert chat(server, stop=["zz", "the"])["choices"][0]["message"]["content"] == "hello "
    for key in ("max_tokens", "max_completion_tokens"):
        short = chat(server, **{key: 5})
        assert short["choices"][0]["finish_reason"] == "length" and short["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize("counted", [False, True])
def test_a_stream(server: LocalServer, counted: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if counted else {}
    answer = ask(server, messages=[{"role": "user", "content": "héllo"}], stream=True, **options)
    assert answer.body.endswith(b"data: [DONE]\n\n")
    made = events(answer)
    assert made[0]["choices"][0]["delta"]["role"] == "assistant" and len({one["id"] for one in made}) == 1
    last = made.pop() if counted else made[-1]
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in made) == "héllo"
    assert [one["choices"][0]["finish_reason"] for one in made][-1] == "stop"
    if counted:
        assert last["choices"] == [] and last["usage"] == chat(server, "héllo")["usage"]
        assert all(one["usage"] is None for one in made)
    else:
        assert all("usage" not in one for one in made)


def test_tools(server: LocalServer) -> None:
    answer = chat(server, f"I look.{CALLED}{CALLED}", tools=[TOOL])
    [choice] = answer["choices"]
    calls = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] == "I look."
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"city": "Oslo"}] * 2
    assert len({call["id"] for call in calls}) == 2
    one = chat(server, CALLED + CALLED, tools=[TOOL], parallel_tool_calls=False)["choices"][0]["message"]
    assert len(one["tool_calls"]) == 1 and one["content"] is None
    forced = chat(
        server, '{"city": "Oslo"}}\n</tool_call>', tools=[TOOL], tool_choice={"type": "function", "function": {"name": "weather"}}
    )
    assert forced["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "weather"
    required = chat(server, 'weather", "arguments": {"city": "Oslo"}}\n</tool_call>', tools=[TOOL], tool_choice="required")
    assert required["choices"][0]["finish_reason"] == "tool_calls"
    none = chat(server, CALLED, tools=[TOOL], tool_choice="none")["choices"][0]
    assert none["message"]["content"] == CALLED and none["finish_reason"] == "stop"


def test_tools_in_a_stream_and_their_results(server: LocalServer) -> None:
    question = [{"role": "user", "content": f"I look.{CALLED}{CALLED}"}]
    made = events(ask(server, messages=question, tools=[TOOL], stream=True))
    calls: dict[int, dict[str, str]] = {}
    for chunk in made:
        for piece in chunk["choices"][0]["delta"].get("tool_calls", []):
            call = calls.setdefault(piece["index"], {"id": piece.get("id", ""), "name": "", "arguments": ""})
            for key, value in piece["function"].items():
                call[key] += value
    assert [call["arguments"] for call in calls.values()] == ['{"city":"Oslo"}'] * 2 and calls[0]["name"] == "weather"
    assert made[-1]["choices"][0]["finish_reason"] == "tool_calls"
    used = [
        {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}} for c in calls.values()
    ]
    results = [{"role": "tool", "tool_call_id": c["id"], "content": f"rain {i}"} for i, c in calls.items()]
    talk = [*question, {"role": "assistant", "content": None, "tool_calls": used}, *results]
    # History with calls needs no tools in the request; the engine echoes the last turn, which is the last result.
    for tools in ({"tools": [TOOL]}, {}):
        assert chat(server, messages=talk, **tools)["choices"][0]["message"]["content"] == "rain 1"
    wrong = error(ask(server, messages=talk[:-1], tools=[TOOL]))
    assert wrong["param"] == "messages[1]" and used[1]["id"] in wrong["message"]
    assert "no call before" in error(ask(server, messages=[*question, *results]))["message"]


def test_log_probabilities(server: LocalServer) -> None:
    """Those of the echo engine are 0.0: it is certain."""
    choice = chat(server, "né", logprobs=True, top_logprobs=3)["choices"][0]
    content = choice["logprobs"]["content"]
    assert [bytes(one["bytes"]) for one in content] == [b"n", b"\xc3", b"\xa9"]
    assert [one["token"] for one in content] == ["n", "bytes:\\xc3", "bytes:\\xa9"]
    assert all(one["logprob"] == 0.0 and one["top_logprobs"][0]["token"] == one["token"] for one in content)
    made = events(ask(server, messages=[{"role": "user", "content": "né"}], logprobs=True, stream=True))
    streamed = [one for chunk in made if chunk["choices"][0]["logprobs"] for one in chunk["choices"][0]["logprobs"]["content"]]
    assert [bytes(one["bytes"]) for one in streamed] == [b"n", b"\xc3", b"\xa9"] and streamed[0]["top_logprobs"] == []
    # Of what a stop sequence hides nothing is shown, not even its tokens.
    cut = chat(server, "hello", stop="ll", logprobs=True)["choices"][0]
    assert cut["message"]["content"] == "he" and [one["token"] for one in cut["logprobs"]["content"]] == ["h", "e"]


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"store": True}, "store"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"web_search_options": {"search_context_size": "low"}}, "web_search_options"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"made_up": 1}, "made_up"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stop": [""]}, "stop[0]"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": []}]}, "messages[1].content"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [{"role": "user", "content": "x", "made_up": 1}]}, "messages[0].made_up"),
        ({"messages": None}, "messages"),
    ],
)
def test_what_is_not_supported_is_refused_by_its_name(server: LocalServer, members: dict[str, Any], param: str) -> None:
    answer = ask(server, **{"messages": [{"role": "user", "content": "x"}], **members})
    found = error(answer)
    assert answer.status == 400 and found["type"] == "invalid_request_error" and found["param"] == param, found


def test_errors_have_openais_form_and_status(server: LocalServer) -> None:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "x"}]}).encode()
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = post(server, CHAT, body, headers)
        assert answer.status == 401 and error(answer)["code"] == "invalid_api_key" and answer.headers["x-request-id"]
    unknown = ask(server, model="gpt-5", messages=[{"role": "user", "content": "x"}])
    assert unknown.status == 404 and error(unknown)["code"] == "model_not_found"
    nowhere = ask(server, "/openai/v1/embeddings", input="x")
    assert nowhere.status == 404 and error(nowhere)["code"] == "unknown_url"
    broken = post(server, CHAT, b"{", {"Authorization": f"Bearer {server.keys.api_key}"})
    assert broken.status == 400 and "JSON" in error(broken)["message"]
    long = ask(server, messages=[{"role": "user", "content": "word " * 2000}])
    assert long.status == 400 and error(long)["code"] == "context_length_exceeded"
    named = {"Authorization": f"Bearer {server.keys.api_key}", "X-Amzn-Bedrock-GuardrailIdentifier": "g"}
    half = post(server, CHAT, body, named)
    assert half.status == 400 and error(half)["param"] == "guardrailVersion"
    missing = post(server, CHAT, body, {**named, "X-Amzn-Bedrock-GuardrailVersion": "1"})
    assert missing.status == 404 and "guardrail" in error(missing)["message"]


def test_guardrails_as_by_invoke_model(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text(
        json.dumps({"guardrails": [{"id": "g", "words": ["secret"], "blocked_input": "no", "blocked_output": "no"}]})
    )
    with echo_server(guardrails=str(rules)) as server:
        named = {
            "Authorization": f"Bearer {server.keys.api_key}",
            "X-Amzn-Bedrock-GuardrailIdentifier": "g",
            "X-Amzn-Bedrock-GuardrailVersion": "DRAFT",
        }

        def guarded(content: str, path: str = CHAT, **members: Any) -> Answer:
            body = {"model": MODEL, "messages": [{"role": "user", "content": content}], **members}
            return post(server, path, json.dumps(body).encode(), named)

        blocked, passed = (json.loads(guarded(words).body) for words in ("a secret", "a word"))
        assert blocked["choices"][0]["finish_reason"] == "content_filter" and blocked["choices"][0]["message"]["content"] == "no"
        assert blocked["amazon-bedrock-guardrailAction"] == "INTERVENED" and passed["amazon-bedrock-guardrailAction"] == "NONE"
        assert passed["choices"][0]["message"]["content"] == "a word"
        made = events(guarded("a secret", stream=True))
        assert made[-1]["choices"][0]["finish_reason"] == "content_filter"
        assert {chunk["amazon-bedrock-guardrailAction"] for chunk in made} == {"INTERVENED"}
        assert error(guarded("a word", logprobs=True))["param"] == "logprobs"
        refused = error(guarded("x", "/openai/v1/responses", messages=None, input="x"))
        assert refused["param"] == "guardrailIdentifier"


def test_signatures_are_as_good_as_keys(server: LocalServer) -> None:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}).encode()
    for path in (CHAT, "/v1/chat/completions"):
        answer = post(server, path, body)
        assert answer.status == 200 and json.loads(answer.body)["choices"][0]["message"]["content"] == "hi"


def test_throttled_callers_learn_when_to_come_again() -> None:
    with echo_server(key_tokens_per_minute=10) as server:
        chat(server, "some words that use it up")
        answer = ask(server, messages=[{"role": "user", "content": "more"}])
    assert answer.status == 429 and error(answer)["type"] == "rate_limit_error"
    assert int(answer.headers["retry-after-ms"]) > 0 and answer.headers["x-should-retry"] == "true"


class Failing(EchoEngine):
    """Raises in the middle of an answer."""

    def step(self) -> Any:
        if self.steps > 3:
            raise RuntimeError("lost")
        return super().step()


def test_an_engine_that_fails_is_an_error_inside_the_stream_or_before_it() -> None:
    with echo_server(Failing(step_seconds=0.01)) as server:
        answer = ask(server, messages=[{"role": "user", "content": "a long answer"}], stream=True)
        assert b"[DONE]" not in answer.body
        last = events(answer)[-1]
        assert last["error"]["type"] == "server_error"
    with echo_server(Failing()) as server:
        whole = ask(server, messages=[{"role": "user", "content": "a long answer"}])
        assert whole.status == 500 and error(whole)["type"] == "server_error"


def test_models(server: LocalServer) -> None:
    headers = {"Authorization": f"Bearer {server.keys.api_key}"}
    listed = json.loads(post(server, "/openai/v1/models", b"", headers, method="GET").body)
    assert listed["object"] == "list" and listed["data"][0]["id"] == MODEL and len(listed["data"]) == 2
    one = json.loads(post(server, f"/openai/v1/models/{MODEL.replace(':', '%3A')}", b"", headers, method="GET").body)
    assert one == listed["data"][0]
    assert post(server, "/openai/v1/models/other", b"", headers, method="GET").status == 404
    assert post(server, "/openai/v1/models", b"", {}, method="GET").status == 401
