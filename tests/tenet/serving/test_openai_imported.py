"""Bodies of imported models over InvokeModel: forms as Amazon documents them, and scores that equal those in
process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from botocore.exceptions import ClientError

from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.generation.scoring import score
from lightning_modules.model.hub import load_model
from tenet.serving.clients.client import client
from tenet.serving.server.server import LocalServer
from tests.tenet.serving.conftest import MODEL, echo_server
from tests.tenet.serving.test_engines import write_model

CONTEXT = "The quick brown fox"
ENDINGS = (" jumps over the lazy dog.", " creates a new bucket.", " né 你好", "!")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_model(tmp_path_factory.mktemp("model"), 3)


@pytest.fixture(scope="module")
def torch_server(folder: Path) -> Iterator[LocalServer]:
    with LocalServer(folder) as running:
        yield running


Invoke = Callable[..., dict[str, Any]]


def invoker(server: LocalServer) -> Invoke:
    boto = client(server.endpoint, server.keys)

    def invoke(**body: Any) -> dict[str, Any]:
        return dict(json.loads(boto.invoke_model(modelId=MODEL, body=json.dumps(body))["body"].read()))

    return invoke


@pytest.fixture
def invoke(torch_server: LocalServer) -> Invoke:
    return invoker(torch_server)


def streamed(server: LocalServer, **body: Any) -> list[dict[str, Any]]:
    boto = client(server.endpoint, server.keys)
    stream = boto.invoke_model_with_response_stream(modelId=MODEL, body=json.dumps(body))["body"]
    return [json.loads(event["chunk"]["bytes"]) for event in stream]


def test_scores_over_the_wire_equal_those_in_process(invoke: Invoke, folder: Path) -> None:
    """The same rows as `tenet evaluate` makes: log-likelihood of each ending, and whether it is the greedy one."""
    text, model = ChatTokenizer.from_folder(folder), load_model(folder)
    context = text.encode(CONTEXT)
    pairs = [(context, text.encode(ending)) for ending in ENDINGS]
    for (_, ending), wanted in zip(pairs, score(model, pairs), strict=True):
        body = {"prompt": context + ending, "max_tokens": 1, "prompt_logprobs": 1}
        places = invoke(**body)["choices"][0]["prompt_logprobs"][len(context) :]
        own = [place[str(token)] for token, place in zip(ending, places, strict=True)]
        assert sum(one["logprob"] for one in own) == pytest.approx(wanted.loglik, abs=1e-3)
        assert all(one["rank"] == 1 for one in own) == wanted.greedy
        # As the evaluation harness asks: echo with log-probabilities in columns.
        echoed = invoke(prompt=context + ending, max_tokens=1, echo=True, logprobs=1)["choices"][0]["logprobs"]
        end = len(context) + len(ending)
        assert echoed["token_logprobs"][0] is None
        assert sum(echoed["token_logprobs"][len(context) : end]) == pytest.approx(wanted.loglik, abs=1e-3)
        # The same text as text: this tokenizer puts nothing before it.
        llama = invoke(prompt=text.decode(context + ending), max_gen_len=1, return_logprobs=True)
        ids = text.raw(text.decode(context + ending))
        [other] = score(model, [(ids[:1], ids[1:])])
        found = [place[str(token)] for token, place in zip(ids[1:], llama["prompt_logprobs"][1:], strict=True)]
        assert llama["prompt_logprobs"][0] is None and sum(found) == pytest.approx(other.loglik, abs=1e-3)


def test_a_rendered_conversation_is_scored_too(invoke: Invoke, torch_server: LocalServer, folder: Path) -> None:
    text = ChatTokenizer.from_folder(folder)
    messages = [{"role": "user", "content": CONTEXT}]
    ids = text.prompt(messages)
    [wanted] = score(load_model(folder), [(ids[:1], ids[1:])])
    body = {"messages": messages, "max_tokens": 2, "prompt_logprobs": 2}
    whole, last = invoke(**body), streamed(torch_server, **body)[-2]
    for places in (whole["prompt_logprobs"], last["prompt_logprobs"]):
        own = [place[str(token)]["logprob"] for token, place in zip(ids[1:], places[1:], strict=True)]
        assert places[0] is None and sum(own) == pytest.approx(wanted.loglik, abs=1e-3)
        assert all(len(place) in (2, 3) for place in places[1:])
    assert whole["choices"][0]["logprobs"] is None and "prompt_logprobs" not in invoke(messages=messages, max_tokens=2, n=1)


def test_scores_of_an_answer_are_those_before_temperature_and_cut_offs(invoke: Invoke, folder: Path) -> None:
    text, model = ChatTokenizer.from_folder(folder), load_model(folder)
    drawn = invoke(prompt=CONTEXT, max_gen_len=6, temperature=0.9, top_p=0.5, seed=4, return_logprobs=True)
    ids = [int(next(iter(place))) for place in drawn["logprobs"]]
    assert drawn["generation_token_count"] == len(ids) == 6 and drawn["stop_reason"] == "length"
    prompt = text.raw(CONTEXT)
    wanted = [score(model, [([*prompt, *ids[:i]], ids[i : i + 1])])[0].loglik for i in range(6)]
    assert [place[str(one)] for one, place in zip(ids, drawn["logprobs"], strict=True)] == pytest.approx(wanted, abs=1e-3)
    plain = invoke(prompt=CONTEXT, max_gen_len=6, temperature=0.9, top_p=0.5, seed=4)
    assert plain["generation"] == drawn["generation"] and "logprobs" not in plain


def test_scores_do_not_depend_on_what_the_cache_has_nor_on_the_length_of_a_piece(invoke: Invoke) -> None:
    long = "The quick brown fox jumps over the lazy dog, 0123456789 times. " * 4
    plain, first, again = (
        invoke(prompt=long, max_tokens=1, **more) for more in ({}, {"prompt_logprobs": 0}, {"prompt_logprobs": 0})
    )
    assert first["choices"] == again["choices"] and first["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]
    assert len(first["choices"][0]["prompt_logprobs"]) == first["usage"]["prompt_tokens"]


def test_the_three_forms(server: LocalServer) -> None:
    invoke = invoker(server)
    llama = invoke(prompt="hello", max_gen_len=3, return_logprobs=True)
    assert llama == {
        "generation": "hel", "prompt_token_count": 5, "generation_token_count": 3, "stop_reason": "length",
        "prompt_logprobs": [None, {"101": 0.0}, {"108": 0.0}, {"108": 0.0}, {"111": 0.0}],
        "logprobs": [{"104": 0.0}, {"101": 0.0}, {"108": 0.0}],
    }  # fmt: skip
    assert invoke(prompt="hello")["stop_reason"] == "stop"
    made = invoke(prompt="né", max_tokens=8, logprobs=1, echo=True)
    [choice] = made["choices"]
    assert made["object"] == "text_completion" and choice["text"] == "néné" and choice["finish_reason"] == "stop"
    columns = choice["logprobs"]
    assert columns["tokens"] == ["n", "bytes:\\xc3", "bytes:\\xa9"] * 2 and columns["text_offset"] == [0, 1, 1, 2, 3, 3]
    assert columns["token_logprobs"] == [None, *[0.0] * 5] and columns["top_logprobs"][1] == {"bytes:\\xc3": 0.0}
    assert made["usage"]["prompt_tokens"] == 3 and made["usage"]["completion_tokens"] == 4
    chat = invoke(messages=[{"role": "user", "content": "hi"}], max_completion_tokens=9, logprobs=True)
    assert chat["object"] == "chat.completion" and chat["choices"][0]["message"]["content"] == "hi"
    assert len(chat["choices"][0]["logprobs"]["content"]) == 2


def test_the_three_forms_in_streams(server: LocalServer) -> None:
    made = streamed(server, prompt="hello", max_gen_len=9, return_logprobs=True)
    assert "".join(one["generation"] for one in made) == "hello" and made[0]["prompt_token_count"] == 5
    assert [token for one in made for token in one.get("logprobs", [])] == [{str(ord(one)): 0.0} for one in "hello"]
    assert made[-1]["stop_reason"] == "stop" and len(made[-1]["prompt_logprobs"]) == 5
    metrics = made[-1]["amazon-bedrock-invocationMetrics"]
    assert (metrics["inputTokenCount"], metrics["outputTokenCount"]) == (5, 6)
    made = streamed(server, prompt=[104, 105], max_tokens=9, logprobs=0)
    assert "".join(one["choices"][0]["text"] for one in made) == "hi"
    assert [token for one in made for token in (one["choices"][0]["logprobs"] or {}).get("tokens", [])] == ["h", "i"]
    assert made[-1]["choices"][0]["finish_reason"] == "stop" and made[-1]["usage"]["total_tokens"] == 5
    made = streamed(server, messages=[{"role": "user", "content": "hi"}], stop=["zz"])
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in made if one["choices"]) == "hi"
    assert made[-1]["usage"]["completion_tokens"] == 3 and "amazon-bedrock-invocationMetrics" in made[-1]


def test_special_tokens_of_a_prompt_are_special_and_counted(torch_server: LocalServer, folder: Path) -> None:
    text = ChatTokenizer.from_folder(folder)
    prompt = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    wanted = len(text.prompt([{"role": "user", "content": "hi"}]))
    assert invoker(torch_server)(prompt=prompt, max_gen_len=1)["prompt_token_count"] == wanted
    body = json.dumps({"prompt": prompt, "max_gen_len": 1}).encode()
    counted = client(torch_server.endpoint, torch_server.keys).count_tokens(modelId=MODEL, input={"invokeModel": {"body": body}})
    assert counted["inputTokens"] == wanted


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"prompt": "x", "max_gen_len": 0}, "max_gen_len"),
        ({"prompt": 1, "max_gen_len": 1}, "prompt"),
        ({"prompt": "", "max_gen_len": 1}, "prompt"),
        ({"prompt": [1], "max_gen_len": 1}, "prompt"),
        ({"prompt": [1, -1], "max_tokens": 1}, "prompt"),
        ({"prompt": [True], "max_tokens": 1}, "prompt"),
        ({"prompt": [99999], "max_tokens": 1}, "99999"),
        ({"prompt": "x", "max_tokens": 1, "max_gen_len": 1}, "max_gen_len"),
        ({"prompt": "x", "max_tokens": 1, "logprobs": 21}, "logprobs"),
        ({"prompt": "x", "max_tokens": 1, "best_of": 2}, "best_of"),
        ({"prompt": "x", "max_tokens": 1, "suffix": "y"}, "suffix"),
        ({"prompt": "x", "images": ["y"]}, "images"),
    ],
)
def test_what_is_not_supported_is_refused_by_its_name(server: LocalServer, body: dict[str, Any], name: str) -> None:
    with pytest.raises(ClientError, match=name) as caught:
        invoker(server)(**body)
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_structured_answers_to_a_raw_prompt(invoke: Invoke) -> None:
    colour = {"type": "object", "properties": {"c": {"enum": ["red", "blue"]}}, "required": ["c"], "additionalProperties": False}
    shape = {"type": "json_schema", "json_schema": {"name": "colour", "schema": colour}}
    assert json.loads(invoke(prompt="A colour: ", max_gen_len=60, response_format=shape)["generation"])["c"] in ("red", "blue")


def test_scores_are_not_given_behind_a_guardrail(tmp_path: Path) -> None:
    rules = {"guardrails": [{"id": "g", "words": ["secret"], "blocked_input": "no", "blocked_output": "no"}]}
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(rules))
    named = {"guardrailIdentifier": "g", "guardrailVersion": "DRAFT"}
    with echo_server(guardrails=str(file)) as server:
        boto = client(server.endpoint, server.keys)
        with pytest.raises(ClientError, match=r"return_logprobs.*guardrail"):
            boto.invoke_model(modelId=MODEL, body=json.dumps({"prompt": "x", "return_logprobs": True}), **named)
        with pytest.raises(ClientError, match=r"prompt.*guardrail"):
            boto.invoke_model(modelId=MODEL, body=json.dumps({"prompt": [120], "max_tokens": 1}), **named)
        blocked = boto.invoke_model(modelId=MODEL, body=json.dumps({"prompt": "a secret"}), **named)
        assert json.loads(blocked["body"].read())["generation"] == "no"
