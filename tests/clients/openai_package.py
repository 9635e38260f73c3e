"""The package `openai` by both of its APIs, as columns of the table (`ALL`), and what only it does: loops of tools,
parsed answers, log-probabilities, event streams. litellm's route of OpenAI beside it.

    .venv-clients/bin/python -m pytest tests/clients/openai_package.py --model echo

With an API key where there is one; with a key pair each request is signed, as Bedrock takes it on these routes, too.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import httpx2
import openai
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from pydantic import BaseModel

from tests.clients.endpoint import MODEL, Endpoint, Endpoints
from tests.clients.kinds import ABOUT, MOST, SHAPE, Answer, Choice, Door, LacksError, Raises, Shape, schema, strict


class _Signed(httpx2.Auth):
    """botocore's signature in the place of the key."""

    requires_request_body = True

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers.pop("authorization", None)
        keys = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
        kept = {"content-type": request.headers["content-type"], "host": request.headers["host"]}
        signed = AWSRequest(request.method, str(request.url), headers=kept, data=request.content)
        SigV4Auth(keys, "bedrock", "us-east-1").add_auth(signed)
        request.headers.update(dict(signed.headers.items()))
        yield request


class OpenAIChat:
    """Chat Completions."""

    name = "openai Chat Completions"
    shape: ClassVar[Shape | None] = None
    says: ClassVar[dict[Choice, Choice]] = {}
    tries = ""
    raises: ClassVar[Raises] = {
        "key": (openai.AuthenticationError, "401"),
        "secret": (openai.AuthenticationError, "401"),
        "throttled": (openai.RateLimitError, "429"),
        "oversize": (openai.BadRequestError, "prompt is too long"),
    }

    def __init__(self, door: Door) -> None:
        trust: Any = ssl.create_default_context(cafile=door.authority) if door.authority else True
        http = openai.DefaultHttpxClient(verify=trust, auth=None if door.api_key else _Signed())
        more = {} if door.patient else {"max_retries": 0}
        url, key = f"{door.url}/openai/v1", door.api_key or "signed"
        self._client: Any = openai.OpenAI(base_url=url, api_key=key, http_client=http, **more)

    def _asked(self, text: str, most: int = MOST, **more: Any) -> dict[str, Any]:
        return {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_completion_tokens": most, **more}

    def _read(self, answer: Any) -> Answer:
        message = answer.choices[0].message
        calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
        return Answer(message.content or "", answer.usage.prompt_tokens, answer.usage.completion_tokens, calls)

    def ask(self, text: str, most: int = MOST, stop: str = "") -> Answer:
        more = {"stop": [stop]} if stop else {}
        return self._read(self._client.chat.completions.create(**self._asked(text, most, **more)))

    def stream(self, text: str) -> tuple[list[str], Answer]:
        asked = self._asked(text, stream_options={"include_usage": True})
        with self._client.chat.completions.stream(**asked) as stream:
            pieces = [event.delta for event in stream if event.type == "content.delta" and event.delta]
            return pieces, self._read(stream.get_final_completion())

    def _tools(self, choice: Choice, cities: tuple[str, ...]) -> dict[str, Any]:
        function = {"name": "weather", "description": ABOUT, "parameters": schema(cities), "strict": strict()}
        named = {"type": "function", "function": {"name": "weather"}}
        chosen = {"auto": "auto", "any": "required", "tool": named}[choice]
        return {"tools": [{"type": "function", "function": function}], "tool_choice": chosen}

    def call(self, text: str, choice: Choice, cities: tuple[str, ...], stream: bool = False) -> Answer:
        asked = self._asked(text, **self._tools(choice, cities))
        if not stream:
            return self._read(self._client.chat.completions.create(**asked))
        with self._client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
            return self._read(events.get_final_completion())

    def shaped(self, text: str) -> Any:
        shape = {"type": "json_schema", "json_schema": {"name": "town", "schema": SHAPE, "strict": True}}
        return json.loads(self._read(self._client.chat.completions.create(**self._asked(text, response_format=shape))).text)

    def count(self, text: str) -> int:
        raise LacksError("OpenAI's APIs as Bedrock has them count no tokens")

    def leave(self, text: str) -> None:
        with self._client.chat.completions.create(**self._asked(text, most=2000), stream=True) as stream:
            next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)


class OpenAIResponses(OpenAIChat):
    """Responses, which has no stop sequences."""

    name = "openai Responses"

    def _asked(self, text: str, most: int = MOST, **more: Any) -> dict[str, Any]:
        return {"model": MODEL, "input": text, "max_output_tokens": most, **more}

    def _read(self, answer: Any) -> Answer:
        calls = [(item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call"]
        return Answer(answer.output_text, answer.usage.input_tokens, answer.usage.output_tokens, calls)

    def ask(self, text: str, most: int = MOST, stop: str = "") -> Answer:
        if stop:
            raise LacksError("Responses has no stop sequences")
        return self._read(self._client.responses.create(**self._asked(text, most)))

    def stream(self, text: str) -> tuple[list[str], Answer]:
        with self._client.responses.stream(**self._asked(text)) as stream:
            pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
            return pieces, self._read(stream.get_final_response())

    def _tools(self, choice: Choice, cities: tuple[str, ...]) -> dict[str, Any]:
        tool = {"type": "function", "name": "weather", "description": ABOUT, "parameters": schema(cities), "strict": strict()}
        chosen = {"auto": "auto", "any": "required", "tool": {"type": "function", "name": "weather"}}[choice]
        return {"tools": [tool], "tool_choice": chosen}

    def call(self, text: str, choice: Choice, cities: tuple[str, ...], stream: bool = False) -> Answer:
        asked = self._asked(text, **self._tools(choice, cities))
        if not stream:
            return self._read(self._client.responses.create(**asked))
        with self._client.responses.stream(**asked) as events:
            return self._read(events.get_final_response())

    def shaped(self, text: str) -> Any:
        shape = {"format": {"type": "json_schema", "name": "town", "schema": SHAPE, "strict": True}}
        return json.loads(self._read(self._client.responses.create(**self._asked(text), text=shape)).text)

    def leave(self, text: str) -> None:
        with self._client.responses.create(**self._asked(text, most=2000), stream=True) as stream:
            next(event for event in stream if event.type == "response.output_text.delta")


ALL = [OpenAIChat, OpenAIResponses]


# --- what only this package does ---------------------------------------------------------------------------------------


class Town(BaseModel):
    """A structured answer."""

    city: Literal["Oslo", "Bergen"]


@contextmanager
def _client(endpoint: Endpoint) -> Iterator[openai.OpenAI]:
    key = endpoint.variables["AWS_BEARER_TOKEN_BEDROCK"]
    with openai.OpenAI(base_url=f"{endpoint.url}/openai/v1", api_key=key, max_retries=0) as client:
        yield client


def _question(endpoints: Endpoints) -> str:
    """To the echo engine, what it is to say."""
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    return f"I look. {call}" if endpoints.echo else "What is the weather in Oslo?"


def test_a_loop_of_tools_by_chat(endpoints: Endpoints) -> None:
    """Messages go back as the package hands them out."""
    function = {"name": "weather", "description": ABOUT, "parameters": schema(("Oslo", "Bergen"))}
    tools: Any = [{"type": "function", "function": function}]
    messages: list[Any] = [{"role": "user", "content": _question(endpoints)}]
    with _client(endpoints.http) as client:
        choice: Any = "auto" if endpoints.echo else "required"
        asked = client.chat.completions.create(model=MODEL, messages=messages, tools=tools, tool_choice=choice, max_tokens=MOST)
        message = asked.choices[0].message
        assert message.tool_calls and asked.choices[0].finish_reason == "tool_calls"
        results = [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in message.tool_calls]
        said = client.chat.completions.create(model=MODEL, messages=[*messages, message, *results], max_tokens=MOST)
    assert said.choices[0].message.content and (not endpoints.echo or said.choices[0].message.content == "rain")


def test_a_loop_of_tools_by_responses(endpoints: Endpoints) -> None:
    """Items go back as the package hands them out; nothing is stored."""
    tools: Any = [{"type": "function", "name": "weather", "description": ABOUT, "parameters": schema(("Oslo", "Bergen"))}]
    items: list[Any] = [{"role": "user", "content": _question(endpoints)}]
    with _client(endpoints.http) as client:
        choice: Any = "auto" if endpoints.echo else "required"
        asked = client.responses.create(
            model=MODEL, input=items, tools=tools, tool_choice=choice, store=False, max_output_tokens=MOST
        )
        calls = [item for item in asked.output if item.type == "function_call"]
        results = [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"} for call in calls]
        said = client.responses.create(model=MODEL, input=[*items, *asked.output, *results], max_output_tokens=MOST)
        with_stored = {"model": MODEL, "input": "x", "previous_response_id": asked.id}
        try:
            client.responses.create(**with_stored)  # type: ignore[call-overload]
            refused = ""
        except openai.BadRequestError as error:
            refused = str(error.param)
    assert calls and said.output_text and (not endpoints.echo or said.output_text == "rain")
    assert refused == "previous_response_id"


def test_parsed_answers(endpoints: Endpoints) -> None:
    """A pydantic class goes out as a schema and comes back as an object."""
    text = '{"city": "Oslo"}' if endpoints.echo else "Which town?"
    with _client(endpoints.http) as client:
        messages: Any = [{"role": "user", "content": text}]
        chat = client.chat.completions.parse(model=MODEL, messages=messages, response_format=Town, max_tokens=MOST)
        response = client.responses.parse(model=MODEL, input=text, text_format=Town, max_output_tokens=MOST)
    assert isinstance(chat.choices[0].message.parsed, Town) and chat.choices[0].message.parsed == response.output_parsed


def test_log_probabilities_by_both(endpoints: Endpoints) -> None:
    """The same numbers by both APIs, whole and streamed."""
    with _client(endpoints.http) as client:
        messages: Any = [{"role": "user", "content": "Who are you?"}]
        asked: Any = {"model": MODEL, "messages": messages, "logprobs": True, "top_logprobs": 2, "max_tokens": 8}
        whole = client.chat.completions.create(**asked).choices[0].logprobs
        chunks = [chunk.choices[0].logprobs for chunk in client.chat.completions.create(**asked, stream=True)]
        include: Any = ["message.output_text.logprobs"]
        response = client.responses.create(
            model=MODEL, input="Who are you?", include=include, top_logprobs=2, max_output_tokens=8
        )
    assert whole and whole.content
    chat = [(one.token, one.logprob) for one in whole.content]
    assert chat == [(one.token, one.logprob) for part in chunks if part for one in part.content or []]
    [item] = response.output
    assert item.type == "message" and item.content[0].type == "output_text"
    assert chat == [(one.token, one.logprob) for one in item.content[0].logprobs or []]


def test_models_and_errors(endpoints: Endpoints) -> None:
    """Typed exceptions with code and member."""
    with _client(endpoints.http) as client:
        assert MODEL in [model.id for model in client.models.list()]
        found = []
        for changed in ({"model": "gpt-5"}, {"n": 2}):
            try:
                client.chat.completions.create(**{"model": MODEL, "messages": [{"role": "user", "content": "x"}], **changed})
            except openai.APIStatusError as error:
                found.append((type(error), error.code, error.param))
    assert found == [(openai.NotFoundError, "model_not_found", None), (openai.BadRequestError, None, "n")]


@pytest.mark.filterwarnings("ignore:Item:UserWarning")  # pydantic's, about a class of litellm's own
def test_litellm_by_its_openai_route(endpoints: Endpoints) -> None:
    """The same answer as by the package, whole and streamed."""
    import litellm

    key = endpoints.http.variables["AWS_BEARER_TOKEN_BEDROCK"]
    messages = [{"role": "user", "content": "Who are you?"}]
    asked: Any = {"model": f"openai/{MODEL}", "api_base": f"{endpoints.http.url}/openai/v1", "api_key": key, "messages": messages}
    whole = litellm.completion(**asked, max_tokens=MOST)
    pieces = [chunk.choices[0].delta.content or "" for chunk in litellm.completion(**asked, max_tokens=MOST, stream=True)]
    with _client(endpoints.http) as client:
        own = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=MOST)  # type: ignore[arg-type]
    assert own.usage and "".join(pieces) == whole.choices[0].message.content == own.choices[0].message.content
    assert whole.usage.total_tokens == own.usage.total_tokens
