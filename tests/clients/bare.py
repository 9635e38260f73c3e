"""boto3, the AWS CLI and anthropic's clients."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import anthropic
import boto3
from botocore.exceptions import ClientError

from tests.clients.endpoint import MODEL
from tests.clients.kinds import ABOUT, MOST, SHAPE, Answer, Choice, Door, LacksError, Raises, Shape, schema


def user(text: str) -> list[dict[str, Any]]:
    """A conversation of one turn."""
    return [{"role": "user", "content": [{"text": text}]}]


def tool_config(choice: Choice, cities: tuple[str, ...]) -> dict[str, Any]:
    """`weather`, in Bedrock's words."""
    spec = {"name": "weather", "description": ABOUT, "inputSchema": {"json": schema(cities)}}
    return {"tools": [{"toolSpec": spec}], "toolChoice": {choice: {"name": "weather"} if choice == "tool" else {}}}


def output_config() -> dict[str, Any]:
    """`SHAPE`, in Bedrock's words."""
    shape = {"jsonSchema": {"schema": json.dumps(SHAPE), "name": "town"}}
    return {"textFormat": {"type": "json_schema", "structure": shape}}


def read(answer: dict[str, Any]) -> Answer:
    """A Converse response."""
    blocks = answer["output"]["message"]["content"]
    return Answer(
        "".join(block.get("text", "") for block in blocks),
        answer["usage"]["inputTokens"],
        answer["usage"]["outputTokens"],
        [(block["toolUse"]["name"], block["toolUse"]["input"]) for block in blocks if "toolUse" in block],
    )


class Boto3:
    """Everything from the environment, as pasted from the server's first lines."""

    name = "boto3"
    shape: ClassVar[Shape | None] = None
    says: ClassVar[dict[Choice, Choice]] = {}
    tries = ""
    raises: ClassVar[Raises] = {
        "key": (ClientError, "UnrecognizedClientException"),
        "secret": (ClientError, "InvalidSignatureException"),
        "throttled": (ClientError, "ThrottlingException"),
        "oversize": (ClientError, "ValidationException.*Input is too long for requested model"),
    }

    def __init__(self, door: Door) -> None:
        self._client = boto3.Session().client("bedrock-runtime")  # the shared session would keep the keys of an earlier test
        errors = self._client.exceptions
        typed = {"throttled": errors.ThrottlingException, "oversize": errors.ValidationException}
        self.raises = {**type(self).raises, **{error: (kind, type(self).raises[error][1]) for error, kind in typed.items()}}  # type: ignore[misc]

    def _asked(self, text: str, most: int = MOST, stop: str = "", **more: Any) -> dict[str, Any]:
        config = {"maxTokens": most, **({"stopSequences": [stop]} if stop else {})}
        return {"modelId": MODEL, "messages": user(text), "inferenceConfig": config, **more}

    def ask(self, text: str, most: int = MOST, stop: str = "") -> Answer:
        return read(self._client.converse(**self._asked(text, most, stop)))

    def stream(self, text: str) -> tuple[list[str], Answer]:
        pieces, usage = [], {}
        for event in self._client.converse_stream(**self._asked(text))["stream"]:
            if "contentBlockDelta" in event:
                pieces.append(event["contentBlockDelta"]["delta"]["text"])
            usage = event.get("metadata", {}).get("usage", usage)
        return pieces, Answer("".join(pieces), usage["inputTokens"], usage["outputTokens"])

    def call(self, text: str, choice: Choice, cities: tuple[str, ...], stream: bool = False) -> Answer:
        asked = self._asked(text, toolConfig=tool_config(choice, cities))
        if not stream:
            return read(self._client.converse(**asked))
        name, pieces, words = "", "", ""
        for event in self._client.converse_stream(**asked)["stream"]:
            name = event.get("contentBlockStart", {}).get("start", {}).get("toolUse", {}).get("name", name)
            delta = event.get("contentBlockDelta", {}).get("delta", {})
            pieces, words = pieces + delta.get("toolUse", {}).get("input", ""), words + delta.get("text", "")
        return Answer(words, calls=[(name, json.loads(pieces))] if name else [])

    def shaped(self, text: str) -> Any:
        return json.loads(read(self._client.converse(**self._asked(text, outputConfig=output_config()))).text)

    def count(self, text: str) -> int:
        counted = self._client.count_tokens(modelId=MODEL, input={"converse": {"messages": user(text)}})
        return int(counted["inputTokens"])

    def leave(self, text: str) -> None:
        stream = self._client.converse_stream(**self._asked(text, most=2000))["stream"]
        next(event for event in stream if "contentBlockDelta" in event)
        stream.close()


class AwsFailedError(Exception):
    """The command's exit code was not 0; holds what it printed."""


class AwsCli:
    """The command `aws`. It has no streams; leaving is to end it. Its retries wait as long as they like, not as long as
    they are told."""

    name = "AWS CLI"
    shape: ClassVar[Shape | None] = None
    says: ClassVar[dict[Choice, Choice]] = {}
    tries = "7"
    raises: ClassVar[Raises] = {error: (AwsFailedError, words) for error, (_, words) in Boto3.raises.items()}

    def __init__(self, door: Door) -> None:
        pass

    def _command(self, operation: str, **members: Any) -> list[str]:
        words = [str(Path(sys.executable).with_name("aws")), "bedrock-runtime", operation, "--model-id", MODEL]
        for name, value in members.items():
            words += [f"--{name.replace('_', '-')}", json.dumps(value)]
        return words

    def _run(self, operation: str, **members: Any) -> Any:
        # Words beyond what a command line may hold go by a file, as the CLI's manual has it.
        with tempfile.TemporaryDirectory() as folder:
            for name, value in members.items():
                (Path(folder) / name).write_text(json.dumps(value))
            words = self._command(operation)
            for name in members:
                words += [f"--{name.replace('_', '-')}", f"file://{Path(folder) / name}"]
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=200)
        if done.returncode:
            raise AwsFailedError(f"exit code {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def ask(self, text: str, most: int = MOST, stop: str = "") -> Answer:
        config = {"maxTokens": most, **({"stopSequences": [stop]} if stop else {})}
        return read(self._run("converse", messages=user(text), inference_config=config))

    def stream(self, text: str) -> tuple[list[str], Answer]:
        raise LacksError("the AWS CLI has no streaming operations")

    def call(self, text: str, choice: Choice, cities: tuple[str, ...], stream: bool = False) -> Answer:
        if stream:
            raise LacksError("the AWS CLI has no streaming operations")
        config = {"maxTokens": MOST}
        return read(self._run("converse", messages=user(text), inference_config=config, tool_config=tool_config(choice, cities)))

    def shaped(self, text: str) -> Any:
        config = {"maxTokens": MOST}
        made = self._run("converse", messages=user(text), inference_config=config, output_config=output_config())
        return json.loads(read(made).text)

    def count(self, text: str) -> int:
        return int(self._run("count-tokens", input={"converse": {"messages": user(text)}})["inputTokens"])

    def leave(self, text: str) -> None:
        words = self._command("converse", messages=user(text), inference_config={"maxTokens": 2000})
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Until its socket is connected it has asked nothing.
        deadline = time.monotonic() + 60
        while not _connected(process.pid) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        # What is connected has asked soon, but sixteen of them on few cores take their time.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(3)
        process.terminate()
        process.wait(20)


def _connected(pid: int) -> bool:
    try:
        return any(os.readlink(link).startswith("socket:") for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


class AnthropicBedrock:
    """anthropic's client of Bedrock's own wire."""

    name = "anthropic"
    shape: ClassVar[Shape | None] = None
    says: ClassVar[dict[Choice, Choice]] = {}
    tries = ""
    raises: ClassVar[Raises] = {
        "key": (anthropic.PermissionDeniedError, "403"),
        "secret": (anthropic.PermissionDeniedError, "403"),
        "throttled": (anthropic.RateLimitError, "429"),
        "oversize": (anthropic.BadRequestError, "prompt is too long"),
    }

    def __init__(self, door: Door) -> None:
        self._client: Any = self._made(door, {} if door.patient else {"max_retries": 0})

    def _made(self, door: Door, more: dict[str, Any]) -> Any:
        if door.api_key:
            more |= {"api_key": door.api_key}
        else:
            more |= {"aws_access_key": os.environ["AWS_ACCESS_KEY_ID"], "aws_secret_key": os.environ["AWS_SECRET_ACCESS_KEY"]}
        return anthropic.AnthropicBedrock(base_url=door.url, aws_region="us-east-1", http_client=_trusting(door), **more)

    def _asked(self, text: str, most: int = MOST, **more: Any) -> dict[str, Any]:
        return {"model": MODEL, "max_tokens": most, "messages": [{"role": "user", "content": text}], **more}

    def _read(self, message: Any) -> Answer:
        return Answer(
            "".join(block.text for block in message.content if block.type == "text"),
            message.usage.input_tokens,
            message.usage.output_tokens,
            [(block.name, block.input) for block in message.content if block.type == "tool_use"],
        )

    def ask(self, text: str, most: int = MOST, stop: str = "") -> Answer:
        more = {"stop_sequences": [stop]} if stop else {}
        return self._read(self._client.messages.create(**self._asked(text, most, **more)))

    def stream(self, text: str) -> tuple[list[str], Answer]:
        with self._client.messages.stream(**self._asked(text)) as stream:
            pieces = list(stream.text_stream)
            return pieces, self._read(stream.get_final_message())

    def call(self, text: str, choice: Choice, cities: tuple[str, ...], stream: bool = False) -> Answer:
        tools = [{"name": "weather", "description": ABOUT, "input_schema": schema(cities)}]
        chosen = {"type": choice, **({"name": "weather"} if choice == "tool" else {})}
        asked = self._asked(text, tools=tools, tool_choice=chosen)
        if not stream:
            return self._read(self._client.messages.create(**asked))
        with self._client.messages.stream(**asked) as events:
            return self._read(events.get_final_message())

    def shaped(self, text: str) -> Any:
        config = {"format": {"type": "json_schema", "schema": SHAPE}}
        return json.loads(self._read(self._client.messages.create(**self._asked(text, output_config=config))).text)

    def count(self, text: str) -> int:
        try:
            return int(self._client.messages.count_tokens(model=MODEL, messages=self._asked(text)["messages"]).input_tokens)
        except anthropic.AnthropicError as error:
            if isinstance(error, anthropic.APIError):
                raise
            raise LacksError("AnthropicBedrock refuses count_tokens by itself") from error

    def leave(self, text: str) -> None:
        with self._client.messages.stream(**self._asked(text, most=2000)) as stream:
            pieces: Iterator[str] = iter(stream.text_stream)
            next(pieces)


class AnthropicMantle(AnthropicBedrock):
    """anthropic's client of the Messages route with signatures; its errors are Anthropic's own."""

    name = "anthropic Mantle"
    raises: ClassVar[Raises] = {
        **AnthropicBedrock.raises,
        "key": (anthropic.AuthenticationError, "401"),
        "secret": (anthropic.AuthenticationError, "401"),
    }

    def _made(self, door: Door, more: dict[str, Any]) -> Any:
        url = f"{door.url}/anthropic"
        if door.api_key:  # with an API key it is the client of Anthropic's own API
            return anthropic.Anthropic(base_url=url, api_key=door.api_key, http_client=_trusting(door), **more)
        more |= {"aws_access_key": os.environ["AWS_ACCESS_KEY_ID"], "aws_secret_key": os.environ["AWS_SECRET_ACCESS_KEY"]}
        return anthropic.AnthropicBedrockMantle(base_url=url, aws_region="us-east-1", http_client=_trusting(door), **more)


def _trusting(door: Door) -> Any:
    """This client reads no variable for an own certificate."""
    if not door.authority:
        return None
    return anthropic.DefaultHttpxClient(verify=ssl.create_default_context(cafile=door.authority))


ALL = [Boto3, AwsCli, AnthropicBedrock, AnthropicMantle]
