"""Clients that people use, unchanged, against a running endpoint with the echo engine: it answers with the question.

Not collected by `make test` (the file's name says so): `make clients` builds .venv-clients from tests/clients/requirements.txt
and runs it there. The server runs in the project's own environment, in two forms: http for signatures, https for API keys.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODEL = "tenet.assistant-v1:0"
# Clients switch tools and streaming on by the id alone; this one they know.
KNOWN = "anthropic.claude-3-5-haiku-20241022-v1:0"
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


@dataclass(frozen=True)
class Endpoint:
    """Where it listens, and the variables that its first start printed."""

    url: str
    variables: dict[str, str]


def started(folder: Path, *flags: str) -> tuple[subprocess.Popen[str], Endpoint]:
    command = [ROOT / ".venv/bin/python", "-m", "tenet.cli", "serve", "--model", ".", "--engine", "echo", "--port", "0"]
    command += ["--credentials", folder / "keys.json", "--alias", KNOWN, *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    while "AWS_BEARER_TOKEN_BEDROCK" not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], f"the server ended: {lines}"
    return process, Endpoint(lines[0].split(" at ")[1].strip(), dict(re.findall(r"(AWS_\w+)=(\S+)", "".join(lines))))


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Endpoint]]:
    running = {
        "http": started(tmp_path_factory.mktemp("http")),
        "https": started(tmp_path_factory.mktemp("https"), "--tls", "self-signed"),
    }
    yield {scheme: endpoint for scheme, (_, endpoint) in running.items()}
    for process, _ in running.values():
        process.terminate()
        assert process.wait(20) == 0


def use(monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint, bearer: bool) -> Endpoint:
    """What a user pastes: a key pair, or an API key in its place."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in endpoint.variables.items():
        if (name == "AWS_BEARER_TOKEN_BEDROCK") == bearer or not re.search("KEY|TOKEN", name):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return endpoint


@pytest.fixture
def http(endpoints: dict[str, Endpoint], monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    return use(monkeypatch, endpoints["http"], bearer=False)


@pytest.fixture
def https(endpoints: dict[str, Endpoint], monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    return use(monkeypatch, endpoints["https"], bearer=True)


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"text": text}]}]


# --- boto3 and the command line ----------------------------------------------------------------------------------------


def test_boto3_with_signatures(http: Endpoint) -> None:
    import boto3

    boto = boto3.client("bedrock-runtime")
    assert boto.converse(modelId=MODEL, messages=user("grüße"))["output"]["message"]["content"] == [{"text": "grüße"}]
    stream = boto.converse_stream(modelId=MODEL, messages=user("hello"))["stream"]
    assert "".join(e["contentBlockDelta"]["delta"]["text"] for e in stream if "contentBlockDelta" in e) == "hello"
    with pytest.raises(boto.exceptions.ResourceNotFoundException):
        boto.converse(modelId="no.such-v1:0", messages=user("x"))
    assert MODEL in [one["modelId"] for one in boto3.client("bedrock").list_foundation_models()["modelSummaries"]]


def test_boto3_with_an_api_key_over_tls(https: Endpoint) -> None:
    import boto3

    assert boto3.client("bedrock-runtime").converse(modelId=MODEL, messages=user("hi"))["stopReason"] == "end_turn"


def aws(*words: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("aws")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=120)


def test_awscli(http: Endpoint, tmp_path: Path) -> None:
    done = aws("bedrock-runtime", "converse", "--model-id", MODEL, "--messages", json.dumps(user("from the shell")))
    assert json.loads(done.stdout)["output"]["message"]["content"] == [{"text": "from the shell"}], done.stderr
    counted = aws(
        "bedrock-runtime", "count-tokens", "--model-id", MODEL, "--input", json.dumps({"converse": {"messages": user("x")}})
    )
    assert json.loads(counted.stdout)["inputTokens"] > 0, counted.stderr
    body = {"anthropic_version": "x", "max_tokens": 9, "messages": [{"role": "user", "content": "hey"}]}
    out = tmp_path / "out.json"
    invoked = aws("bedrock-runtime", "invoke-model", "--model-id", MODEL, "--body", json.dumps(body), str(out))
    assert json.loads(out.read_text())["content"][0]["text"] == "hey", invoked.stderr
    refused = aws("bedrock-runtime", "converse", "--model-id", "no.such-v1:0", "--messages", json.dumps(user("x")))
    assert refused.returncode != 0 and "ResourceNotFoundException" in refused.stderr


# --- anthropic ---------------------------------------------------------------------------------------------------------


def test_anthropic_bedrock(http: Endpoint) -> None:
    import anthropic

    client = anthropic.AnthropicBedrock(
        base_url=http.url,
        aws_access_key=http.variables["AWS_ACCESS_KEY_ID"],
        aws_secret_key=http.variables["AWS_SECRET_ACCESS_KEY"],
        aws_region="us-east-1",
    )
    asked: Any = {"model": MODEL, "max_tokens": 200, "messages": [{"role": "user", "content": "hello"}]}
    assert client.messages.create(**asked).content[0].text == "hello"
    with client.messages.stream(**asked) as stream:
        assert stream.get_final_message().content[0].text == "hello"
    asked["messages"][0]["content"] = CALL
    tools = [{"name": "weather", "input_schema": TOOL}]
    answered = client.messages.create(**asked, tools=tools)
    assert (answered.stop_reason, answered.content[0].input) == ("tool_use", {"city": "Oslo"})
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(**{**asked, "model": "no.such-v1:0"})


def test_anthropic_own_route_over_tls(https: Endpoint) -> None:
    import anthropic

    context = ssl.create_default_context(cafile=https.variables["AWS_CA_BUNDLE"])
    client = anthropic.Anthropic(
        base_url=f"{https.url}/anthropic",
        api_key=https.variables["AWS_BEARER_TOKEN_BEDROCK"],
        http_client=anthropic.DefaultHttpxClient(verify=context),
    )
    asked: Any = {"model": MODEL, "max_tokens": 200, "messages": [{"role": "user", "content": "hello"}]}
    used = client.messages.create(**asked)
    assert used.content[0].text == "hello"
    with client.messages.stream(**asked) as stream:
        assert "".join(stream.text_stream) == "hello"
    assert client.messages.count_tokens(model=MODEL, messages=asked["messages"]).input_tokens == used.usage.input_tokens
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="wrong", max_retries=0).messages.create(**asked)


def test_anthropic_mantle(http: Endpoint) -> None:
    import anthropic

    if not hasattr(anthropic, "AnthropicBedrockMantle"):
        pytest.skip("this anthropic has no AnthropicBedrockMantle")
    client = anthropic.AnthropicBedrockMantle(
        base_url=f"{http.url}/anthropic",
        aws_access_key=http.variables["AWS_ACCESS_KEY_ID"],
        aws_secret_key=http.variables["AWS_SECRET_ACCESS_KEY"],
        aws_region="us-east-1",
    )
    asked: Any = {"model": MODEL, "max_tokens": 200, "messages": [{"role": "user", "content": "hello"}]}
    assert client.messages.create(**asked).content[0].text == "hello"


# --- frameworks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["converse/", "invoke/"])
def test_litellm(http: Endpoint, monkeypatch: pytest.MonkeyPatch, route: str) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    def ask(text: str, **more: Any) -> Any:
        return litellm.completion(
            model=f"bedrock/{route}{KNOWN}",
            aws_bedrock_runtime_endpoint=http.url,
            messages=[{"role": "user", "content": text}],
            **more,
        )

    assert ask("hello").choices[0].message.content == "hello"
    pieces = [piece.choices[0].delta.content or "" for piece in ask("a stream", stream=True)]
    assert "".join(pieces) == "a stream"
    tools = [{"type": "function", "function": {"name": "weather", "parameters": TOOL}}]
    called = ask(CALL, tools=tools).choices[0].message.tool_calls
    assert json.loads(called[0].function.arguments) == {"city": "Oslo"}
    with pytest.raises(litellm.ContextWindowExceededError):
        ask("word " * 4096)


def test_langchain(http: Endpoint) -> None:
    from langchain_aws import ChatBedrockConverse

    chat = ChatBedrockConverse(model=KNOWN, region_name="us-east-1", endpoint_url=http.url)
    assert chat.invoke("hello").content == "hello"
    assert "".join(str(piece.text() if callable(piece.text) else piece.text) for piece in chat.stream("a stream")) == "a stream"
    weather = {"name": "weather", "description": "Weather of a city.", "parameters": TOOL}
    assert chat.bind_tools([weather]).invoke(CALL).tool_calls[0]["args"] == {"city": "Oslo"}


def test_langchain_invoke(http: Endpoint) -> None:
    from langchain_aws import ChatBedrock

    chat = ChatBedrock(model=KNOWN, region_name="us-east-1", endpoint_url=http.url, provider="anthropic")
    answer = chat.invoke("hello")
    assert answer.content == "hello" and answer.usage_metadata["output_tokens"] == 6
    assert "".join(piece.content for piece in chat.stream("a stream") if isinstance(piece.content, str)) == "a stream"


def test_strands(http: Endpoint) -> None:
    from strands import Agent
    from strands.models import BedrockModel

    for streaming in (True, False):
        model = BedrockModel(model_id=KNOWN, region_name="us-east-1", endpoint_url=http.url, streaming=streaming)
        answer = Agent(model=model, callback_handler=None)("hello")
        assert answer.message["content"] == [{"text": "hello"}] and answer.stop_reason == "end_turn"


def test_pydantic_ai(http: Endpoint) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.models.bedrock import BedrockConverseModel
    from pydantic_ai.providers.bedrock import BedrockProvider

    model = BedrockConverseModel(KNOWN, provider=BedrockProvider(region_name="us-east-1", base_url=http.url))
    assert Agent(model).run_sync("hello").output == "hello"
