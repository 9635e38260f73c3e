"""The endpoints of each model that was named, what a user pastes, and the table of who can do what."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.clients.endpoint import PEER, ROOT, Endpoint, Endpoints
from tests.clients.endpoint import endpoints as started
from tests.clients.kinds import LacksError

_PACKAGES = (
    "boto3",
    "awscli",
    "anthropic",
    "openai",
    "litellm",
    "langchain-aws",
    "strands-agents",
    "pydantic-ai-slim",
    "llama-index-llms-bedrock-converse",
)
#: behaviour -> client -> outcome of each model
_TABLE: dict[str, dict[str, list[str]]] = {}
_WAYS = ("http", "https", "front")
#: client of sdks.py -> way -> outcome of each check
_SDKS: dict[str, dict[str, list[str]]] = {}
_LACKS: dict[str, None] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--model`, more than once where several shall answer."""
    parser.addoption(
        "--model",
        action="append",
        default=[],
        help="echo, smollm2, a model folder, or ministack, a peer; again for a further one",
    )


def pytest_configure(config: pytest.Config) -> None:
    for model in config.getoption("--model"):
        if model not in ("echo", "smollm2", PEER) and not (ROOT / model / "config.json").is_file():
            raise pytest.UsageError(
                f"--model {model}: no model folder (config.json is missing); run `make demo`, or name echo or smollm2"
            )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "endpoints" in metafunc.fixturenames:
        models = metafunc.config.getoption("--model") or ["echo"]
        metafunc.parametrize(
            "endpoints", models, ids=[Path(name).parent.name or name for name in models], indirect=True, scope="session"
        )


@pytest.fixture(scope="session")
def endpoints(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    from tests.clients.compat import CLIENTS
    from tests.clients.kinds import column

    model = request.param
    if model == "smollm2":
        model = str(_smollm2())
    names = [f"{column(kind)}_{manner}" for kind in CLIENTS for manner in ("hasty", "patient")]
    with started(tmp_path_factory.mktemp("endpoints"), model, names) as running:
        yield running


def _smollm2() -> Path:
    """Written once: reading the package's 4-bit file takes half a minute."""
    folder = ROOT / ".venv-clients/smollm2"
    if not (folder / "config.json").is_file():
        command = [ROOT / ".venv/bin/python", "-m", "tests.clients.smollm2", folder]
        subprocess.run(list(map(str, command)), check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return folder


def pasted(patch: pytest.MonkeyPatch, endpoint: Endpoint, bearer: bool = False, **changed: str) -> None:
    """What a user pastes: a key pair, or an API key in its place."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name == "SSL_VERIFY":
            patch.delenv(name)
    for name, value in {**endpoint.variables, **changed}.items():
        if (name == "AWS_BEARER_TOKEN_BEDROCK") == bearer or not re.search("KEY|TOKEN", name):
            patch.setenv(name, value)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    if "AWS_CA_BUNDLE" in endpoint.variables:
        patch.setenv("SSL_VERIFY", endpoint.variables["AWS_CA_BUNDLE"])  # litellm's name for it


@pytest.fixture
def paste(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    return lambda *words, **changed: pasted(monkeypatch, *words, **changed)


# --- the table ---------------------------------------------------------------------------------------------------------


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """What a client lacks is no failure."""
    outcome: Any = yield
    if outcome.excinfo and issubclass(outcome.excinfo[0], LacksError):
        _LACKS[str(outcome.excinfo[1])] = None
        outcome.force_exception(pytest.skip.Exception(str(outcome.excinfo[1]), _use_item_location=True))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    if (report.when == "call" or report.failed) and "reach" in getattr(item, "callspec", _NONE).params:
        row = _TABLE.setdefault(item.function.__doc__, {})
        row.setdefault(item.callspec.params["reach"].name, []).append(report.outcome)
    elif (report.when == "call" or report.failed) and "way" in getattr(item, "callspec", _NONE).params:
        ways = _SDKS.setdefault(item.function.__doc__, {})
        ways.setdefault(item.callspec.params["way"], []).append(report.outcome)


class _NONE:
    params: ClassVar[dict[str, Any]] = {}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The tables, as Markdown."""
    if _SDKS:
        lines = ["| checks that pass | http | https | behind a front |", "|---|---|---|---|"]
        lines += [f"| {client} | {' | '.join(_share(row.get(way, [])) for way in _WAYS)} |" for client, row in _SDKS.items()]
        terminalreporter.write_line("\n" + "\n".join(lines))
    if not _TABLE:
        return
    clients = list(dict.fromkeys(name for row in _TABLE.values() for name in row))
    lines = [f"| | {' | '.join(clients)} |", f"|---|{'---|' * len(clients)}"]
    for behaviour, row in _TABLE.items():
        lines.append(f"| {behaviour} | {' | '.join(_cell(row.get(name, [])) for name in clients)} |")
    models = ", ".join(config.getoption("--model") or ["echo"])
    terminalreporter.write_line("")
    terminalreporter.write_line("\n".join(lines))
    lacks = f" -: {'; '.join(_LACKS)}." if _LACKS else ""
    terminalreporter.write_line(f"\nyes: with each of {models}.{lacks}")
    terminalreporter.write_line("\n".join(["", *_raised()]) + "\n")
    terminalreporter.write_line("With " + ", ".join(f"{name} {version(name)}" for name in _PACKAGES) + ".")


def _raised() -> Iterator[str]:
    """Which exception each client has for what may go wrong; the tests saw each of them."""
    from tests.clients.compat import CLIENTS

    names = {"key": "unknown key", "secret": "wrong secret", "throttled": "throttled", "oversize": "prompt too long"}
    yield f"| raises | {' | '.join(names.values())} |"
    yield f"|---|{'---|' * len(names)}"
    for client in CLIENTS:
        yield f"| {client.name} | {' | '.join(_exception(*client.raises[what]) for what in names)} |"


def _exception(kind: Any, words: str) -> str:
    """Its class, and the code that stands in it where the class alone does not tell."""
    code = re.match(r"[A-Z]\w+Exception", words)
    return f"{kind.__name__}: {code[0]}" if code and kind.__name__ in ("ClientError", "AwsFailedError") else str(kind.__name__)


def _share(outcomes: list[str]) -> str:
    return f"{outcomes.count('passed')} of {len(outcomes)}" if "passed" in outcomes or "failed" in outcomes else "not run"


def _cell(outcomes: list[str]) -> str:
    if not outcomes:
        return ""
    if "failed" in outcomes:
        return f"**{outcomes.count('failed')} of {len(outcomes)} failed**"
    return "-" if "skipped" in outcomes else "yes"
