"""Responses over a real connection: items in, items out, numbered events, refusals by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tenet.serving.engines.echo import EchoEngine
from tenet.serving.server.server import LocalServer
from tests.tenet.serving.conftest import Answer, echo_server
from tests.tenet.serving.test_openai_chat import CALLED, PARAMETERS, ask, error

PATH = "/openai/v1/responses"
TOOL = {"type": "function", "name": "weather", "description": "now", "parameters": PARAMETERS, "strict": True}


def respond(server: LocalServer, given: Any = "hello there", **members: Any) -> dict[str, Any]:
    """A whole response."""
    answer = ask(server, PATH, input=given, **members)
    assert answer.status == 200, answer.body
    return dict(json.loads(answer.body))


def texts(response: dict[str, Any]) -> list[str]:
    return [part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"]]


def events(answer: Answer) -> list[dict[str, Any]]:
    """Each event, whose name and number are right."""
    made = []
    for number, block in enumerate(answer.body.decode().removesuffix("\n\n").split("\n\n")):
        name, _, content = block.partition("\n")
        made.append(json.loads(content.removeprefix("data: ")))
        assert name == f"event: {made[-1]['type']}" and made[-1]["sequence_number"] == number
    return made


def test_a_whole_response(server: LocalServer) -> None:
    answer = respond(server, instructions="be kind", store=False, metadata={"a": "b"}, user="u")
    assert answer["object"] == "response" and answer["status"] == "completed" and answer["error"] is None
    [item] = answer["output"]
    assert item["role"] == "assistant" and item["status"] == "completed" and texts(answer) == ["hello there"]
    assert answer["instructions"] == "be kind" and answer["store"] is False and answer["metadata"] == {"a": "b"}
    usage = answer["usage"]
    assert usage["output_tokens"] == len("hello there") + 1
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens_details"]["cached_tokens"] == 0 and usage["output_tokens_details"]["reasoning_tokens"] == 0
    short = respond(server, max_output_tokens=3)
    assert short["status"] == "incomplete" and short["incomplete_details"] == {"reason": "max_output_tokens"}


def test_items(server: LocalServer) -> None:
    parts = [{"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}]
    spoken = [{"type": "output_text", "text": "three", "annotations": []}]
    items = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": parts},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": spoken},
        {"role": "user", "content": [{"type": "input_text", "text": "four"}]},
    ]
    assert texts(respond(server, items)) == ["four"]
    instructed = respond(server, items[1:], instructions="be brief")
    assert instructed["usage"]["input_tokens"] == respond(server, items)["usage"]["input_tokens"]


def test_calls_and_their_results(server: LocalServer) -> None:
    question = f"I look.{CALLED}{CALLED}"
    answer = respond(server, question, tools=[TOOL])
    assert [item["type"] for item in answer["output"]] == ["message", "function_call", "function_call"]
    calls = answer["output"][1:]
    assert [json.loads(call["arguments"]) for call in calls] == [{"city": "Oslo"}] * 2 and calls[0]["name"] == "weather"
    results = [{"type": "function_call_output", "call_id": c["call_id"], "output": f"rain {i}"} for i, c in enumerate(calls)]
    talk = [{"role": "user", "content": question}, *answer["output"], *results]
    assert texts(respond(server, talk, tools=[TOOL])) == ["rain 1"]
    wrong = error(ask(server, PATH, input=talk[:-1], tools=[TOOL]))
    assert calls[1]["call_id"] in wrong["message"] and wrong["param"] == "input[3]"
    forced = respond(server, '{"city": "Oslo"}}\n</tool_call>', tools=[TOOL], tool_choice={"type": "function", "name": "weather"})
    assert [item["type"] for item in forced["output"]] == ["function_call"]


def test_a_stream_opens_fills_and_closes_each_item(server: LocalServer) -> None:
    answer = ask(server, PATH, input=f"I look.{CALLED}", tools=[TOOL], stream=True)
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream")
    made = events(answer)
    kinds = list(dict.fromkeys(one["type"].removeprefix("response.") for one in made))
    assert kinds == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "function_call_arguments.delta", "function_call_arguments.done", "completed",
    ]  # fmt: skip
    assert "".join(one["delta"] for one in made if one["type"] == "response.output_text.delta") == "I look."
    done = [one["item"] for one in made if one["type"] == "response.output_item.done"]
    final = made[-1]["response"]
    assert final["output"] == done and [item["type"] for item in done] == ["message", "function_call"]
    opened = [(one["output_index"], one["item"]["id"]) for one in made if one["type"] == "response.output_item.added"]
    assert opened == [(0, done[0]["id"]), (1, done[1]["id"])]
    assert final["usage"] == respond(server, f"I look.{CALLED}", tools=[TOOL])["usage"]
    cut = events(ask(server, PATH, input="hello there", max_output_tokens=3, stream=True))
    assert cut[-1]["type"] == "response.incomplete" and texts(cut[-1]["response"]) == ["hel"]
    assert made[-1]["response"]["id"] == made[0]["response"]["id"]


def test_log_probabilities_where_they_are_included(server: LocalServer) -> None:
    wanted = {"include": ["message.output_text.logprobs"], "top_logprobs": 1}
    [item] = respond(server, "hi", **wanted)["output"]
    assert [one["token"] for one in item["content"][0]["logprobs"]] == ["h", "i"]
    made = events(ask(server, PATH, input="hi", stream=True, **wanted))
    streamed = [one for event in made if event["type"] == "response.output_text.delta" for one in event["logprobs"]]
    assert [(one["token"], one["logprob"]) for one in streamed] == [("h", 0.0), ("i", 0.0)]
    assert streamed[0]["top_logprobs"] == [{"token": "h", "logprob": 0.0, "bytes": [104]}]
    assert respond(server, "hi")["output"][0]["content"][0]["logprobs"] == []


def test_an_answer_without_a_word_has_an_empty_message(server: LocalServer) -> None:
    assert texts(respond(server, [{"role": "user", "content": ""}])) == [""]
    made = events(ask(server, PATH, input=[{"role": "user", "content": [{"type": "input_text", "text": ""}]}], stream=True))
    assert texts(made[-1]["response"]) == [""]


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"include": ["file_search_call.results"]}, "include[0]"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"stop": ["x"]}, "stop"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"role": "assistant", "content": "x"}]}, "input"),
        ({"input": [{"role": "system", "content": "x"}, {"role": "user", "content": []}]}, "input[1].content"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input"),
    ],
)
def test_what_is_not_supported_is_refused_by_its_name(server: LocalServer, members: dict[str, Any], param: str) -> None:
    answer = ask(server, PATH, **{"input": "x", **members})
    assert answer.status == 400 and error(answer)["param"] == param, answer.body


class Failing(EchoEngine):
    """Raises in the middle of an answer."""

    def step(self) -> Any:
        if self.steps > 3:
            raise RuntimeError("lost")
        return super().step()


def test_a_stream_that_fails_says_so() -> None:
    with echo_server(Failing(step_seconds=0.01)) as server:
        made = events(ask(server, PATH, input="a long answer", stream=True))
    assert made[-1]["type"] == "response.failed" and made[-1]["response"]["status"] == "failed"
    assert made[-1]["response"]["error"]["code"] == "server_error"
