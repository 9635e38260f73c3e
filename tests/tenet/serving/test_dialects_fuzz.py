"""Requests made from Amazon's service model and said in the dialects that have none: what the model allows is answered or
refused in the dialect's own form, and never with a 500; a conversation of text is the same to all five."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenet.serving.protocol.service_model import RUNTIME
from tenet.serving.server.server import LocalServer
from tests.tenet.serving.conftest import MODEL, Answer, post, user
from tests.tenet.serving.dialects import DIALECTS, Body
from tests.tenet.serving.shapes import body_shape, model, values

#: A request of each dialect for each; HYPOTHESIS_EXAMPLES looks further.
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "10"))
FEW = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
CONVERSE = values(RUNTIME, body_shape(RUNTIME, "Converse"))
#: Members that the other dialects have no word for, or take in words of their own.
CONVERSE_ALONE = ("additionalModelRequestFields", "outputConfig", "guardrailConfig", "performanceConfig", "serviceTier")


def asked(server: LocalServer, dialect: str, body: Body, stream: bool = False) -> Answer:
    path, translate = DIALECTS[dialect]
    said = translate(body)
    if stream and path.startswith("/model/"):
        path += "-with-response-stream"
    elif stream:
        said |= {"stream": True}
    return post(server, path, json.dumps(said).encode(), {"Authorization": f"Bearer {server.keys.api_key}"})


def in_its_form(dialect: str, answer: Answer) -> bool:
    """A refusal that a client of this dialect can read: code, words, and a status that blames the request."""
    told = json.loads(answer.body)
    if dialect.startswith("InvokeModel"):
        return bool(answer.code == "ValidationException" and answer.status == 400 and told["message"])
    error = told["error"]
    known = error["type"] == "invalid_request_error" and bool(error["message"]) and answer.status == 400
    return bool(known and (told["type"] == "error" if dialect == "Messages" else {"param", "code"} <= error.keys()))


def test_what_the_model_allows_is_never_an_internal_error(server: LocalServer) -> None:
    taken: Counter[str] = Counter()

    @FEW
    @given(CONVERSE, st.booleans(), st.booleans())
    def ask(body: Body, talks: bool, stream: bool) -> None:
        body = {name: value for name, value in body.items() if name not in CONVERSE_ALONE}
        if talks:  # few drawn turns are a conversation
            body["messages"] = user("hello")
        for dialect in DIALECTS:
            answer = asked(server, dialect, body, stream)
            taken[dialect] += answer.status == 200
            assert answer.status == 200 or in_its_form(dialect, answer), (dialect, answer.status, body, answer.body)

    ask()
    assert all(taken[dialect] for dialect in DIALECTS), taken


@pytest.mark.parametrize("value", ["warm", -1, [], {}, True, 10**12])
@pytest.mark.parametrize("name", ["temperature", "topP", "maxTokens"])
def test_a_wrong_value_is_refused_in_the_dialects_form(server: LocalServer, name: str, value: Any) -> None:
    body = {"messages": user("hello"), "inferenceConfig": {name: value}}
    for dialect in DIALECTS:
        answer = asked(server, dialect, body)
        assert in_its_form(dialect, answer), (dialect, answer.body)


def conversations() -> st.SearchStrategy[Body]:
    """Turns of text, in turn, with settings that the model allows and every dialect has."""
    words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(str.strip)
    config = model(RUNTIME)["shapes"]["InferenceConfiguration"]["members"]
    names = {name: values(RUNTIME, model(RUNTIME)["shapes"][config[name]["shape"]]) for name in ("temperature", "topP")}
    sampling = st.fixed_dictionaries({"maxTokens": st.integers(1, 40)}, optional=names)
    turns = st.lists(words, min_size=1, max_size=5).map(lambda said: said if len(said) % 2 else said[:-1])
    return st.builds(
        lambda said, system, config: {
            "messages": [{"role": ("user", "assistant")[i % 2], "content": [{"text": text}]} for i, text in enumerate(said)],
            "inferenceConfig": config,
            **({"system": [{"text": system}]} if system else {}),
        },
        turns,
        st.none() | words,
        sampling,
    )


def said(dialect: str, answer: Answer) -> tuple[str, int, int]:
    """Text and counts, in no dialect."""
    told = json.loads(answer.body)
    if dialect == "Chat Completions":
        usage = told["usage"]
        return told["choices"][0]["message"]["content"], usage["prompt_tokens"], usage["completion_tokens"]
    usage = (told["usage"]["input_tokens"], told["usage"]["output_tokens"])
    if dialect == "Responses":
        return "".join(part["text"] for item in told["output"] for part in item["content"]), *usage
    return "".join(block["text"] for block in told["content"]), *usage


@FEW
@given(conversations())
def test_a_conversation_is_the_same_to_all(server: LocalServer, body: Body) -> None:
    bearer = {"Authorization": f"Bearer {server.keys.api_key}"}
    answer = post(server, f"/model/{MODEL}/converse", json.dumps(body).encode(), bearer)
    assert answer.status == 200, answer.body
    told = json.loads(answer.body)
    wanted = (
        "".join(block["text"] for block in told["output"]["message"]["content"]),
        told["usage"]["inputTokens"],
        told["usage"]["outputTokens"],
    )
    for dialect in ("InvokeModel", "Messages", "Chat Completions", "Responses"):
        assert said(dialect, asked(server, dialect, body)) == wanted, dialect
