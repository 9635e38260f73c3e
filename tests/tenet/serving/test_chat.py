"""The chat in the terminal, and what the start of the endpoint says of the page."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import unquote

import pytest

from tenet.serving.clients import chat_page
from tenet.serving.server.server import _accepted
from tests.tenet.serving.conftest import MODEL, echo_server
from tests.tenet.serving.test_load import wait_for


def test_the_start_prints_a_link_that_lets_in(tmp_path: Path) -> None:
    """The first one with the API key that it made; a later one, which knows its hash alone, with a short-term key."""
    file = tmp_path / "keys.json"
    first = _accepted(file, None)
    assert first.chat_key.startswith("tenet-api-key-") and first.chat_key in first.told("http://127.0.0.1:1")
    command = [sys.executable, "-m", "tenet.cli", "serve", "--model", ".", "--engine", "echo", "--port", "0", "--chat"]
    command += ["--credentials", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        said = next(line for line in process.stdout if line.startswith("chat: "))
        address, _, given = said.removeprefix("chat: ").strip().partition("/chat#key=")
        headers = {"authorization": f"Bearer {unquote(given)}", "content-type": "application/json"}
        body = json.dumps({"model": MODEL, "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}]}).encode()
        asked = urllib.request.Request(f"{address}/anthropic/v1/messages", body, headers)
        assert wait_for(lambda: _ready(address))
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert json.load(answer)["content"][0]["text"] == "hello" and unquote(given).startswith("bedrock-api-key-")
        process.terminate()
        assert process.wait(30) == 0


def _ready(address: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/readyz", timeout=10):
        return True
    return False


def test_where_no_key_is_known_the_page_asks() -> None:
    assert chat_page.link("http://127.0.0.1:1", "") == "http://127.0.0.1:1/chat (it asks for an API key)"
    assert chat_page.link("http://127.0.0.1:1", "a+b/c=") == "http://127.0.0.1:1/chat#key=a%2Bb%2Fc%3D"


def test_a_conversation_in_the_terminal() -> None:
    with echo_server() as server:
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": server.keys.access_key,
            "AWS_SECRET_ACCESS_KEY": server.keys.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        command = [sys.executable, "-m", "tenet.cli", "chat", "--endpoint", server.endpoint, "--model-id", MODEL]
        asked = "/system be brief\nhello\n/new\nagain\n/quit\nnever\n"
        done = subprocess.run(command, input=asked, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["hello", "again"] and "6 out" in done.stderr


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "paste the `export AWS_...` lines"),
        ({"AWS_BEARER_TOKEN_BEDROCK": "k"}, "--tls self-signed"),
        ({"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}, "UnrecognizedClientException"),
    ],
)
def test_a_question_that_is_not_answered_is_an_error_and_says_what_to_do(
    variables: dict[str, str], told: str, tmp_path: Path
) -> None:
    with echo_server() as server:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment = {**kept, "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", **variables}
        command = [sys.executable, "-m", "tenet.cli", "chat", "--endpoint", server.endpoint]
        done = subprocess.run(command, input="hello\n", env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and told in done.stderr and done.stdout == ""
