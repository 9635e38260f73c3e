"""litellm, langchain-aws, strands and pydantic-ai: what stands between a program and the wire."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any, ClassVar, Literal

from botocore.exceptions import ClientError

from tests.clients.endpoint import KNOWN
from tests.clients.kinds import ABOUT, MOST, SHAPE, Answer, Choice, Door, Raises, Shape, schema

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or it asks the network for a list of prices

import litellm
from langchain_aws import ChatBedrock, ChatBedrockConverse
from langchain_core.exceptions import ContextOverflowError
from pydantic import BaseModel, ConfigDict
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai import ModelSettings, direct, exceptions, messages, models, tools, usage
from pydantic_ai.models.bedrock import BedrockConverseModel
from pydantic_ai.providers.bedrock import BedrockProvider
from strands import Agent as StrandsAgent
from strands import ModelRetryStrategy
from strands.event_loop.streaming import process_stream
from strands.models import BedrockModel
from strands.types.exceptions import ContextWindowOverflowException, ModelThrottledException


class OpenTown(BaseModel):
    """A town; what strands is asked for: it does not tell the model that there is nothing else, so anything else must
    be allowed."""

    city: Literal["Oslo", "Bergen"]


class Town(OpenTown):
    """A town and nothing else. A model that knows nothing can end this, too."""

    model_config = ConfigDict(extra="forbid")


class Litellm:
    """Its route over Converse."""

    name = "litellm converse"
    says: ClassVar[dict[Choice, Choice]] = {}
    tries = ""
    shape: ClassVar[Shape] = ("json_tool_call", "tool")
    raises: ClassVar[Raises] = {
        "key": (litellm.AuthenticationError, "security token"),
        "secret": (litellm.PermissionDeniedError, "signature"),
        "throttled": (litellm.RateLimitError, "Too many tokens"),
        "oversize": (litellm.ContextWindowExceededError, "prompt is too long"),
    }
    _route = "bedrock/converse"

    def __init__(self, door: Door) -> None:
        self._door = door
        litellm.in_memory_llm_clients_cache.flush_cache()  # a process has one certificate to trust; this one has several

    def _asked(self, text: str, most: int = MOST, **more: Any) -> dict[str, Any]:
        return {
            "model": f"{self._route}/{KNOWN}",
            "aws_bedrock_runtime_endpoint": self._door.url,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": most,
            **more,
        }

    def _read(self, made: Any) -> Answer:
        message = made.choices[0].message
        calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
        return Answer(message.content or "", made.usage.prompt_tokens, made.usage.completion_tokens, calls)

    def ask(self, text: str, most: int = MOST, stop: str = "") -> Answer:
        asked = self._asked(text, most, **({"stop": [stop]} if stop else {}))
        if not self._door.patient:
            return self._read(litellm.completion(**asked))
        # Its plain num_retries sends all of them at once.
        patience = {"num_retries": 6, "retry_strategy": "exponential_backoff_retry"}
        return self._read(litellm.completion_with_retries(**asked, **patience))

    def stream(self, text: str) -> tuple[list[str], Answer]:
        chunks = list(litellm.completion(**self._asked(text, stream=True, stream_options={"include_usage": True})))
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        return [piece for piece in pieces if piece], self._read(litellm.stream_chunk_builder(chunks))

    def call(self, text: str, choice: Choice, cities: tuple[str, ...], stream: bool = False) -> Answer:
        function = {"name": "weather", "description": ABOUT, "parameters": schema(cities)}
        named = {"type": "function", "function": {"name": "weather"}}
        chosen: Any = {"auto": "auto", "any": "required", "tool": named}[choice]
        asked = self._asked(text, tools=[{"type": "function", "function": function}], tool_choice=chosen)
        if not stream:
            return self._read(litellm.completion(**asked))
        return self._read(litellm.stream_chunk_builder(list(litellm.completion(**asked, stream=True))))

    def shaped(self, text: str) -> Any:
        form = {"type": "json_schema", "json_schema": {"name": "town", "schema": SHAPE, "strict": True}}
        return json.loads(self._read(litellm.completion(**self._asked(text, response_format=form))).text)

    def count(self, text: str) -> int:
        counted = litellm.acount_tokens(
            model=f"{self._route}/{KNOWN}", messages=self._asked(text)["messages"], api_base=self._door.url
        )
        return int(asyncio.run(counted).total_tokens)

    def leave(self, text: str) -> None:
        async def begin() -> None:
            stream = await litellm.acompletion(**self._asked(text, most=2000, stream=True))
            async for _ in stream:
                break
            await stream.aclose()

        asyncio.run(begin())


class LitellmInvoke(Litellm):
    """Its route over InvokeModel."""

    name = "litellm invoke"
    _route = "bedrock/invoke"


class LangchainConverse:
    """ChatBedrockConverse."""

    name = "langchain-aws Converse"
    says: ClassVar[dict[Choice, Choice]] = {}
    tries = ""
    shape: ClassVar[Shape] = ("Town", "tool")
    raises: ClassVar[Raises] = {
        "key": (ClientError, "UnrecognizedClientException"),
        "secret": (ClientError, "InvalidSignatureException"),
        "throttled": (ClientError, "ThrottlingException"),
        "oversize": (ContextOverflowError, "prompt is too long"),
    }

    def __init__(self, door: Door) -> None:
        self._plain = self._made(MOST)

    def _chat(self, most: int = MOST) -> Any:
        return self._plain if most == MOST else self._made(most)

    def _made(self, most: int) -> Any:
        return ChatBedrockConverse(model=KNOWN, max_tokens=most)

    def _read(self, message: Any) -> Answer:
        use = message.usage_metadata or {}
        calls = [(call["name"], call["args"]) for call in message.tool_calls]
        return Answer(_words(message), use.get("input_tokens", 0), use.get("output_tokens", 0), calls)

    def ask(self, text: str, most: int = MOST, stop: str = "") -> Answer:
        return self._read(self._chat(most).invoke(text, **({"stop": [stop]} if stop else {})))

    def stream(self, text: str) -> tuple[list[str], Answer]:
        return self._joined(self._chat().stream(text))

    def _joined(self, chunks: Any) -> tuple[list[str], Answer]:
        pieces, whole = [], None
        for chunk in chunks:
            pieces.append(_words(chunk))
            whole = chunk if whole is None else whole + chunk
        return [piece for piece in pieces if piece], self._read(whole)

    def call(self, text: str, choice: Choice, cities: tuple[str, ...], stream: bool = False) -> Answer:
        weather = {"name": "weather", "description": ABOUT, "parameters": schema(cities)}
        chosen = "weather" if choice == "tool" else choice
        bound = self._chat().bind_tools([weather], tool_choice=chosen)
        return self._joined(bound.stream(text))[1] if stream else self._read(bound.invoke(text))

    def shaped(self, text: str) -> Any:
        return self._chat().with_structured_output(Town).invoke(text).model_dump()

    def count(self, text: str) -> int:
        from langchain_core.messages import HumanMessage

        return int(self._chat().get_num_tokens_from_messages([HumanMessage(text)]))

    def leave(self, text: str) -> None:
        stream = self._chat(most=2000).stream(text)
        next(chunk for chunk in stream if _words(chunk))
        stream.close()


class LangchainInvoke(LangchainConverse):
    """ChatBedrock, over InvokeModel."""

    name = "langchain-aws Invoke"
    raises: ClassVar[Raises] = {
        **LangchainConverse.raises,
        "oversize": (ClientError, "ValidationException.*Input is too long"),
    }

    def _made(self, most: int) -> Any:
        # Counting takes the id without its provider, unless it is told again.
        return ChatBedrock(model=KNOWN, base_model=KNOWN, max_tokens=most, provider="anthropic")


def _words(message: Any) -> str:
    """The text of a message, which is a string or blocks."""
    content = message.content
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content if isinstance(block, dict))


class Strands:
    """An agent on BedrockModel, which streams by default; choices of tools go through its model."""

    name = "strands"
    says: ClassVar[dict[Choice, Choice]] = {}
    tries = ""
    shape: ClassVar[Shape] = ("OpenTown", "auto")
    raises: ClassVar[Raises] = {
        "key": (ClientError, "UnrecognizedClientException"),
        "secret": (ClientError, "InvalidSignatureException"),
        "throttled": (ModelThrottledException, "ThrottlingException"),
        "oversize": (ContextWindowOverflowException, "conversation context"),
    }

    def __init__(self, door: Door) -> None:
        self._door = door
        self._plain = self._made(MOST, "")

    def _model(self, most: int = MOST, stop: str = "") -> BedrockModel:
        return self._plain if (most, stop) == (MOST, "") else self._made(most, stop)

    def _made(self, most: int, stop: str) -> BedrockModel:
        stops = {"stop_sequences": [stop]} if stop else {}
        return BedrockModel(model_id=KNOWN, max_tokens=most, use_native_token_count=True, **stops)

    def _agent(self, most: int = MOST, stop: str = "") -> StrandsAgent:
        never = {} if self._door.patient else {"retry_strategy": ModelRetryStrategy(max_attempts=1)}
        return StrandsAgent(model=self._model(most, stop), callback_handler=None, **never)

    def _read(self, result: Any) -> Answer:
        use = result.metrics.accumulated_usage
        words = "".join(block.get("text", "") for block in result.message["content"])
        return Answer(words, use["inputTokens"], use["outputTokens"])

    def ask(self, text: str, most: int = MOST, stop: str = "") -> Answer:
        return self._read(self._agent(most, stop)(text))

    def stream(self, text: str) -> tuple[list[str], Answer]:
        async def run() -> tuple[list[str], Answer]:
            pieces, result = [], None
            async for event in self._agent().stream_async(text):
                pieces += [event["data"]] if "data" in event else []
                result = event.get("result", result)
            return pieces, self._read(result)

        return asyncio.run(run())

    def call(self, text: str, choice: Choice, cities: tuple[str, ...], stream: bool = False) -> Answer:
        model = self._model()
        model.update_config(streaming=stream)
        spec: Any = {"name": "weather", "description": ABOUT, "inputSchema": {"json": schema(cities)}}
        chosen: Any = {choice: {"name": "weather"} if choice == "tool" else {}}

        async def run() -> Any:
            asked: Any = [{"role": "user", "content": [{"text": text}]}]
            made = process_stream(model.stream(asked, [spec], tool_choice=chosen))
            return [event["stop"] async for event in made if "stop" in event][-1]

        message = asyncio.run(run())[1]
        uses = [block["toolUse"] for block in message["content"] if "toolUse" in block]
        words = "".join(block.get("text", "") for block in message["content"])
        return Answer(words, calls=[(use["name"], use["input"]) for use in uses])

    def shaped(self, text: str) -> Any:
        return self._agent()(text, structured_output_model=OpenTown).structured_output.model_dump()

    def count(self, text: str) -> int:
        asked: Any = [{"role": "user", "content": [{"text": text}]}]
        return asyncio.run(self._model().count_tokens(asked))

    def leave(self, text: str) -> None:
        async def begin() -> str:
            # Its signal is taken back when the agent is done; a reading thread that has not seen it by then reads to
            # the end.
            agent = self._agent(most=300)
            async for event in agent.stream_async(text):
                if "data" in event:
                    agent.cancel()
                if "result" in event:
                    return str(event["result"].stop_reason)
            return ""

        assert asyncio.run(begin()) == "cancelled"


class PydanticAi:
    """An agent on BedrockConverseModel; choices of tools go through `pydantic_ai.direct`."""

    name = "pydantic-ai"
    shape: ClassVar[Shape] = ("final_result", "any")
    says: ClassVar[dict[Choice, Choice]] = {"tool": "any"}  # the only tool there is, it calls any
    tries = ""
    raises: ClassVar[Raises] = {
        "key": (exceptions.ModelHTTPError, "UnrecognizedClientException"),
        "secret": (exceptions.ModelHTTPError, "InvalidSignatureException"),
        "throttled": (exceptions.ModelRateLimitError, "ThrottlingException"),
        "oversize": (exceptions.ModelContextWindowExceededError, "prompt is too long"),
    }

    def __init__(self, door: Door) -> None:
        self._model = BedrockConverseModel(KNOWN, provider=BedrockProvider())

    def _agent(self, most: int = MOST, stop: str = "", **more: Any) -> Any:
        stops = {"stop_sequences": [stop]} if stop else {}
        return PydanticAgent(self._model, model_settings=ModelSettings(max_tokens=most, **stops), **more)

    def ask(self, text: str, most: int = MOST, stop: str = "") -> Answer:
        made = self._agent(most, stop).run_sync(text)
        used = made.usage
        return Answer(made.output, used.input_tokens, used.output_tokens)

    def stream(self, text: str) -> tuple[list[str], Answer]:
        async def run() -> tuple[list[str], Answer]:
            async with self._agent().run_stream(text) as result:
                pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
                return pieces, Answer("".join(pieces), result.usage.input_tokens, result.usage.output_tokens)

        return asyncio.run(run())

    def call(self, text: str, choice: Choice, cities: tuple[str, ...], stream: bool = False) -> Answer:
        weather = tools.ToolDefinition(name="weather", description=ABOUT, parameters_json_schema=schema(cities))
        chosen: Any = {"auto": "auto", "any": "required", "tool": ["weather"]}[choice]
        asked: Any = {
            "messages": [messages.ModelRequest.user_text_prompt(text)],
            "model_settings": ModelSettings(max_tokens=MOST, tool_choice=chosen),
            "model_request_parameters": models.ModelRequestParameters(function_tools=[weather]),
        }

        async def streamed() -> Any:
            async with direct.model_request_stream(self._model, **asked) as events:
                async for _ in events:
                    pass
                return events.get()

        made = asyncio.run(streamed()) if stream else direct.model_request_sync(self._model, **asked)
        calls = [(part.tool_name, part.args_as_dict()) for part in made.parts if isinstance(part, messages.ToolCallPart)]
        return Answer(made.text or "", calls=calls)

    def shaped(self, text: str) -> Any:
        return self._agent(output_type=Town).run_sync(text).output.model_dump()

    def count(self, text: str) -> int:
        request = [messages.ModelRequest.user_text_prompt(text)]
        counted = self._model.count_tokens(request, ModelSettings(max_tokens=MOST), models.ModelRequestParameters())
        used: usage.RequestUsage = asyncio.run(counted)
        return used.input_tokens

    def leave(self, text: str) -> None:
        async def begin() -> None:
            async with self._agent(most=2000).run_stream(text) as result:
                async for _ in result.stream_text(delta=True, debounce_by=None):
                    break

        asyncio.run(begin())


ALL = [Litellm, LitellmInvoke, LangchainConverse, LangchainInvoke, Strands, PydanticAi]
