"""The AWS SDKs for JavaScript and Java and Vercel's AI SDK as they come, over http, over https and behind a front that
speaks HTTP/2.

What each does stands in `javascript/checks.mjs`, `javascript/vercel.mjs` and `java/Checks.java`, and their clients are made with nothing but the
environment that the endpoint prints; here they are started, and every check is a test. JavaScript runs where node and npm
are, Java where a JDK is and `JAVA_SDK` names a folder with the SDK's jars (bedrockruntime and what it needs).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.endpoint import ROOT, Endpoint, serving

HERE = Path(__file__).resolve().parent
WAYS = ("http", "https", "front")
JAVASCRIPT = re.findall(r'^  "([^"]+)": ', (HERE / "javascript/checks.mjs").read_text(), re.M)
VERCEL = [
    f"{check} ({provider})"
    for provider in ("Bedrock", "OpenAI", "Anthropic")
    for check in re.findall(r'^    "([^"]+)": ', (HERE / "javascript/vercel.mjs").read_text(), re.M)
]
JAVA = re.findall(r'all\.put\("([^"]+)"', (HERE / "java/Checks.java").read_text())


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, str]]]:
    """Way -> the variables of a client."""
    folder = tmp_path_factory.mktemp("sdks")
    for name in ("http", "https"):
        (folder / name).mkdir()
    with serving(folder / "http", "echo") as http, serving(folder / "https", "echo", "--tls", "self-signed") as https:
        made = {"http": pasted(http), "https": pasted(https)}
        if not shutil.which("node"):
            yield made
            return
        files = [str(folder / "https" / name) for name in ("tls-certificate.pem", "tls-key.pem")]
        command = ["node", str(HERE / "javascript/front.mjs"), http.url, *files]
        front = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert front.stdout is not None
        url = f"https://127.0.0.1:{front.stdout.readline().strip()}"
        trust = {name: made["https"][name] for name in ("AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")}
        made["front"] = made["http"] | trust | {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url}
        yield made
        front.terminate()
        front.wait(20)


def pasted(endpoint: Endpoint) -> dict[str, str]:
    """What its start printed; the API key, which the SDKs would prefer, under another name."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    variables = dict(endpoint.variables)
    kept["API_KEY"] = variables.pop("AWS_BEARER_TOKEN_BEDROCK")
    if "AWS_CA_BUNDLE" in variables:
        kept["NODE_EXTRA_CA_CERTS"] = variables["AWS_CA_BUNDLE"]
    return kept | variables | {"AWS_EC2_METADATA_DISABLED": "true"}


_CAME: dict[tuple[str, str], dict[str, str]] = {}


def came(kind: str, way: str, ways: dict[str, dict[str, str]], run: Callable[[dict[str, str]], dict[str, str]]) -> dict[str, str]:
    """Check -> what is wrong; each client runs once a way."""
    if way not in ways:
        pytest.skip("the front is a program for node, which is not installed")
    if (kind, way) not in _CAME:
        _CAME[kind, way] = run(ways[way])
    return _CAME[kind, way]


def javascript(variables: dict[str, str]) -> dict[str, str]:
    """The checks of `checks.mjs`."""
    return node("checks.mjs", JAVASCRIPT, variables)


def vercel(variables: dict[str, str]) -> dict[str, str]:
    """The checks of `vercel.mjs`."""
    return node("vercel.mjs", VERCEL, variables)


def node(file: str, checks: list[str], variables: dict[str, str]) -> dict[str, str]:
    """What is wrong with each check of a program; what it imports is installed beside the clients' environment."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    folder = ROOT / ".venv-clients/javascript"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "javascript/package.json").read_text()
    shutil.copy(HERE / "javascript" / file, folder)
    if not (folder / "node_modules").exists() or (folder / "package.json").read_text() != wanted:
        (folder / "package.json").write_text(wanted)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"], cwd=folder, check=True)
    done = subprocess.run(["node", file], cwd=folder, env=variables, capture_output=True, text=True, timeout=280)
    rows: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["check"] for row in rows] == checks, done.stderr
    return {row["check"]: row["came"] for row in rows}


def java(variables: dict[str, str]) -> dict[str, str]:
    """The checks of `Checks.java`."""
    jars = os.environ.get("JAVA_SDK", "")
    if not jars:
        pytest.skip("JAVA_SDK names no folder with the jars of the AWS SDK for Java (bedrockruntime)")
    if not shutil.which("java"):
        pytest.skip("no JDK is installed")
    command = ["java", "-cp", f"{jars}/*", str(HERE / "java/Checks.java")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=280)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[1] for row in rows] == JAVA, done.stderr
    return {check: "" if said == "ok" else wrong or said for said, check, wrong in rows}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("check", JAVASCRIPT)
def test_javascript(check: str, way: str, ways: dict[str, dict[str, str]]) -> None:
    """AWS SDK for JavaScript"""
    assert came("javascript", way, ways, javascript)[check] == ""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("check", VERCEL)
def test_vercel(check: str, way: str, ways: dict[str, dict[str, str]]) -> None:
    """Vercel's AI SDK"""
    assert came("vercel", way, ways, vercel)[check] == ""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("check", JAVA)
def test_java(check: str, way: str, ways: dict[str, dict[str, str]]) -> None:
    """AWS SDK for Java"""
    assert came("java", way, ways, java)[check] == ""
