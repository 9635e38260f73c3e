"""Endpoints of one model for the clients: http for signatures, https for API keys, and a narrow one that soon has had
enough."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODEL = "tenet.assistant-v1:0"
#: Clients switch tools, streaming and counting on by the id alone; this one they know.
KNOWN = "anthropic.claude-3-5-haiku-20241022-v1:0"
#: Where one request at a time is made: a place in the key-value cache of a real model weighs some hundred megabytes.
FEW = ("--max-concurrency", "2")
#: Another program that speaks Bedrock's wire, in the place of our endpoint: MiniStack, which answers with canned texts.
PEER = "ministack"
#: Tokens that a key of the narrow endpoint may use in a minute: one longer prompt takes them all, and a quarter second
#: gives one back.
NARROW = 240


@dataclass(frozen=True, eq=False)
class Endpoint:
    """Where it listens, and the variables that its first start printed; `peer`: it is none of ours."""

    url: str
    variables: dict[str, str]
    peer: bool = False

    def metric(self, name: str) -> float:
        """Sum over a metric's labels; `name` may begin a label as well, as in `tenet_requests_total{code="X"`."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=20) as page:
            lines = page.read().decode().splitlines()
        name, _, label = name.partition("{")
        found = [line for line in lines if re.match(rf"{name}[ {{]", line) and label in line]
        return sum(float(line.rpartition(" ")[2]) for line in found)


@dataclass(frozen=True, eq=False)
class Endpoints:
    """Those of one model.

    Attributes:
        narrow: one endpoint under the keys of several names.
    """

    model: str
    http: Endpoint
    https: Endpoint
    narrow: dict[str, Endpoint]

    @property
    def echo(self) -> bool:
        """It answers with the question, so that every word of an answer can be told before."""
        return self.model == "echo"


def large(model: str) -> bool:
    """A model that takes seconds for an answer."""
    return model not in ("echo", PEER) and int(json.loads((Path(model) / "config.json").read_text())["num_hidden_layers"]) > 8


@contextlib.contextmanager
def serving(folder: Path, model: str, *flags: str) -> Iterator[Endpoint]:
    """`tenet serve` in a process of its own, ready to answer; ended by SIGTERM, after which it must say 0."""
    module = "tests.clients.echo" if model == "echo" else "tenet.cli"
    command = [ROOT / ".venv/bin/python", "-m", module, "serve", "--port", "0", "--threads", "1"]
    command += ["--model", "." if model == "echo" else model, "--engine", "echo" if model == "echo" else "torch"]
    command += ["--credentials", folder / "keys.json", "--alias", KNOWN, *flags]
    if large(model):
        command += ["--dtype", "int8"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=ROOT
        )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline()]
        while not lines[-1].startswith(("# or an API key", "keys: ")):
            lines.append(process.stdout.readline())
            assert lines[-1], f"the server ended: {lines} {(folder / 'log').read_text()[-2000:]}"
        variables = dict(re.findall(r"(AWS_\w+)=(\S+)", "".join(lines)))
        endpoint = Endpoint(lines[0].split(" at ")[1].strip(), variables)
        _wait(endpoint, process)
        yield endpoint
    finally:
        process.terminate()
    assert process.wait(60) == 0, (folder / "log").read_text()[-2000:]


def _wait(endpoint: Endpoint, process: subprocess.Popen[str]) -> None:
    """Until the weights are loaded: what clients do before that is a test of its own elsewhere."""
    trusting = ssl.create_default_context(cafile=endpoint.variables.get("AWS_CA_BUNDLE"))
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended while it loaded"
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{endpoint.url}/readyz", timeout=20, context=trusting):
            return
        time.sleep(0.2)
    raise AssertionError("the weights were not loaded within 5 minutes")


@contextlib.contextmanager
def narrow(folder: Path, model: str, names: list[str]) -> Iterator[dict[str, Endpoint]]:
    """An endpoint on which each name has a key, and with it a quota, of its own."""
    keys = {f"TENET{name.upper()}": secrets.token_urlsafe(30) for name in names}
    file = folder / "keys.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"access_keys": keys, "api_keys": {}}))
    with serving(folder, model, "--key-tokens-per-minute", str(NARROW), *FEW) as endpoint:
        shared = {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
        shared["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = endpoint.url
        yield {
            name: Endpoint(endpoint.url, {**shared, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret})
            for name, (key, secret) in zip(names, keys.items(), strict=True)
        }


@contextlib.contextmanager
def endpoints(folder: Path, model: str, names: list[str]) -> Iterator[Endpoints]:
    """All three of a model; `names` get keys on the narrow one."""
    if model == PEER:
        with ministack(folder) as http, ministack(folder, tls=True) as https:
            yield Endpoints(model, http, https, dict.fromkeys(names, http))
        return
    for name in ("http", "https", "narrow"):
        (folder / name).mkdir()
    with (
        serving(folder / "http", model) as http,
        serving(folder / "https", model, "--tls", "self-signed", *FEW) as https,
        narrow(folder / "narrow", model, names) as little,
    ):
        yield Endpoints(model, http, https, little)


@contextlib.contextmanager
def ministack(folder: Path, tls: bool = False) -> Iterator[Endpoint]:
    """The peer, with any keys, because it looks at none."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    environment = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "TMPDIR": str(folder), "HOME": str(folder)}
    environment |= {"USE_SSL": "1"} if tls else {}
    with (folder / f"log-{port}").open("w") as log:
        command = [ROOT / ".venv-ministack/bin/python", "-m", "ministack"]
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, env=environment, cwd=folder)
    variables = {"AWS_ACCESS_KEY_ID": "TENETANY", "AWS_SECRET_ACCESS_KEY": "any", "AWS_BEARER_TOKEN_BEDROCK": "any"}
    variables |= {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url}
    try:
        deadline = time.monotonic() + 60
        while f"Running on {url}" not in (folder / f"log-{port}").read_text():
            assert process.poll() is None and time.monotonic() < deadline, (folder / f"log-{port}").read_text()[-2000:]
            time.sleep(0.2)
        trust = {"AWS_CA_BUNDLE": str(folder / "ministack-tls/server.crt")} if tls else {}
        yield Endpoint(url, variables | trust, peer=True)
    finally:
        process.kill()  # on SIGTERM it waits for its own services, long
        process.wait(60)
