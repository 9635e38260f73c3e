"""LlamaIndex's BedrockConverse."""

from __future__ import annotations

import gc
from typing import Any, ClassVar

import boto3
from botocore.exceptions import ClientError
from llama_index.core import PromptTemplate
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool, ToolMetadata
from llama_index.llms.bedrock_converse import BedrockConverse

from tests.clients.endpoint import KNOWN
from tests.clients.frameworks import Town
from tests.clients.kinds import ABOUT, MOST, Answer, Choice, Door, LacksError, Raises, Shape, schema

#: Its own retries are on top of botocore's, four to ten seconds apart.
TRIES = 10


class _Weather(ToolMetadata):
    """A tool whose schema goes out as it is, as from an MCP server."""

    def __init__(self, cities: tuple[str, ...]) -> None:
        super().__init__(name="weather", description=ABOUT)
        self._schema = schema(cities)

    def get_parameters_dict(self) -> dict[str, Any]:
        return self._schema


class LlamaIndex:
    """Chats and tools by its own calls; structured answers are a tool with the class's name."""

    name = "LlamaIndex"
    says: ClassVar[dict[Choice, Choice]] = {}
    tries = ""
    shape: ClassVar[Shape] = ("Town", "any")
    raises: ClassVar[Raises] = {
        "key": (ClientError, "UnrecognizedClientException"),
        "secret": (ClientError, "InvalidSignatureException"),
        "throttled": (ClientError, "ThrottlingException"),
        "oversize": (ClientError, "ValidationException.*Input is too long"),
    }

    def __init__(self, door: Door) -> None:
        self._door = door
        # Where it makes its client itself, it takes the endpoint from its argument alone, and its own number of tries.
        self._client = boto3.Session().client("bedrock-runtime")
        self._plain = self._made(MOST)

    def _made(self, most: int, **more: Any) -> BedrockConverse:
        tries = TRIES if self._door.patient else 1
        return BedrockConverse(
            model=KNOWN, max_tokens=most, temperature=0.0, client=self._client, max_retries=tries, additional_kwargs=more
        )

    def _read(self, made: Any) -> Answer:
        counts = self._plain._get_response_token_counts(made.raw) if "usage" in made.raw else made.additional_kwargs
        calls = self._plain.get_tool_calls_from_response(made, error_on_no_tool_call=False)
        named = [(call.tool_name, call.tool_kwargs) for call in calls]
        return Answer(made.message.content or "", counts.get("prompt_tokens", 0), counts.get("completion_tokens", 0), named)

    def ask(self, text: str, most: int = MOST, stop: str = "") -> Answer:
        # It has no word for stop sequences; what it does not know goes into the request as it is.
        more = {"inferenceConfig": {"maxTokens": most, "temperature": 0.0, "stopSequences": [stop]}} if stop else {}
        return self._read(self._made(most, **more).chat(_user(text)))

    def stream(self, text: str) -> tuple[list[str], Answer]:
        chunks = list(self._plain.stream_chat(_user(text)))
        return [chunk.delta for chunk in chunks if chunk.delta], self._read(chunks[-1])

    def call(self, text: str, choice: Choice, cities: tuple[str, ...], stream: bool = False) -> Answer:
        tool = FunctionTool(fn=lambda city: city, metadata=_Weather(cities))
        chosen: Any = {"tool_choice": {"tool": {"name": "weather"}}} if choice == "tool" else {"tool_required": choice == "any"}
        if not stream:
            return self._read(self._plain.chat_with_tools([tool], chat_history=_user(text), **chosen))
        return self._read(list(self._plain.stream_chat_with_tools([tool], chat_history=_user(text), **chosen))[-1])

    def shaped(self, text: str) -> Any:
        return self._plain.structured_predict(Town, PromptTemplate("{text}"), text=text).model_dump()

    def count(self, text: str) -> int:
        raise LacksError("LlamaIndex does not count")

    def leave(self, text: str) -> None:
        stream = self._made(2000).stream_chat(_user(text))
        next(chunk for chunk in stream if chunk.delta)
        stream.close()
        del stream
        gc.collect()  # it closes no connection by itself; that goes with what it read from


def _user(text: str) -> list[Any]:
    return [ChatMessage(role="user", content=text)]


ALL = [LlamaIndex]
