"""The serving image by its recipe: what it copies is there, it runs as nobody special, and its words are those of the
command line.

Nothing here builds it; that needs a Docker engine. What it installs is known, though: an endpoint answers with no other
package in reach.
"""

from __future__ import annotations

import fnmatch
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from tenet.cli.main import main
from tenet.serving.access.credentials import load_or_create
from tenet.serving.clients.client import client
from tests.distributions import ROOT, closure, requirements
from tests.tenet.serving.test_engines import write_model


def instructions() -> list[tuple[str, str]]:
    """(word, arguments) in order, comments left out and lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def words(name: str) -> list[str]:
    return [rest for word, rest in instructions() if word == name]


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*", "everything stays out that is not named"
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {source for copy in words("COPY") for source in copy.split()[:-1]}
    assert copied == sent
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not fnmatch.fnmatch(source, "*.env") and "key" not in source and "credential" not in source


def test_installs_what_is_pinned() -> None:
    installs = [run for run in words("RUN") if "pip install" in run]
    assert len(installs) == 2 and all("--constraint constraints.txt" in run for run in installs)
    assert installs[0].endswith(" torch") and "${TORCH_INDEX:+--extra-index-url" in installs[0]
    assert installs[1].endswith(" --editable ."), "what serving needs, without an extra"
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text(), re.M)
    assert (ROOT / "presets" / "tiny.yaml").is_file(), "tenet serve reads a preset"


def test_runs_as_the_user_that_the_task_hands_the_keys_to(infra_task: Any) -> None:
    order = [word for word, _ in instructions()]
    (user,) = words("USER")
    assert max(i for i, word in enumerate(order) if word in ("RUN", "COPY")) < order.index("USER")
    number = user.partition(":")[0]
    assert number.isdigit() and int(number) > 0
    assert number == str(infra_task.USER) and any(f"--uid {number}" in run for run in words("RUN"))
    assert words("EXPOSE") == [str(infra_task.PORT)]


def test_holds_no_secret() -> None:
    for word, rest in instructions():
        if word in ("ENV", "ARG"):
            assert not re.search(r"secret|password|token|api_?key|access_?key", rest, re.I), rest


def test_its_default_command_is_one_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    entry, command = (json.loads(words(name)[0]) for name in ("ENTRYPOINT", "CMD"))
    assert entry == ["tenet"]
    with pytest.raises(SystemExit) as done:
        main(command)
    assert done.value.code == 0 and "--credentials" in capsys.readouterr().out


def test_what_is_copied_is_enough_to_start(tmp_path: Path) -> None:
    for source in {source for copy in words("COPY") for source in copy.split()[:-1]}:
        path = ROOT / source
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / source)
    command = [sys.executable, "-m", "tenet.cli", "serve", "--model", "/weights/model", "--print_config"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "model: /weights/model" in done.stdout, done.stderr[-2000:]


#: What the other steps work with. None of it may come in by a back door, which would be a dependency of a dependency.
OTHER_STEPS = (
    "datatrove", "debugpy", "ipykernel", "ipython", "lightning", "matplotlib", "nbconvert", "pandas", "papermill", "pillow", "pyarrow",
    "tensorboardx", "transformers",
)  # fmt: skip


def refused() -> set[str]:
    """Top modules of all packages of this environment that serving did not ask for."""
    there = closure(requirements())
    owners = metadata.packages_distributions().items()
    return {top for top, names in owners if not there & {str(canonicalize_name(name)) for name in names}} - {
        "tenet",
        "lightning_modules",
        "pip",
    }


@pytest.fixture
def only_what_serves(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that finds nothing but what the image installs, nor a key of whoever runs the
    tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TENET_"))}
    paths = os.pathsep.join((str(ROOT / "tests" / "only_these"), str(ROOT)))
    return {**kept, "PYTHONPATH": paths, "TENET_REFUSED": " ".join(refused()), "HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}


def test_serving_asks_for_nothing_of_the_other_steps() -> None:
    there = closure(requirements())
    assert not there & set(OTHER_STEPS)
    assert {"torch", "tokenizers", "starlette", "boto3"} <= there and {
        "lightning",
        "matplotlib",
        "datatrove",
        "moto",
    } <= refused()


@pytest.fixture
def endpoint(tmp_path: Path, only_what_serves: dict[str, str]) -> Iterator[tuple[str, Path]]:
    """Address and key file of `tenet serve --model`, as the image would run it."""
    (tmp_path / "model").mkdir()
    write_model(tmp_path / "model", 0)
    keys = tmp_path / "keys.json"
    words = ["serve", "--model", str(tmp_path / "model"), "--credentials", str(keys), "--port", "0", "--load_seconds", "15"]
    with subprocess.Popen(
        [sys.executable, "-m", "tenet.cli", *words],
        env=only_what_serves,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            said = process.stdout.readline() if process.stdout else ""
            found = re.search(r"at (http://\S+)$", said.strip())
            assert found, said + (process.communicate(timeout=60)[1])[-3000:]
            yield found[1], keys
            process.send_signal(signal.SIGTERM)
            errors = process.communicate(timeout=60)[1]
            assert process.returncode == 0 and "Traceback" not in errors, errors[-3000:]
        finally:
            process.kill()


def test_an_endpoint_answers_with_what_the_image_installs(endpoint: tuple[str, Path]) -> None:
    """Signed calls of an unchanged boto3, plain, streamed, and held to a tool's schema by the grammar engine."""
    address, file = endpoint
    _, keys = load_or_create(file)
    bedrock = client(address, keys, read_timeout=120)
    asked: dict[str, Any] = {
        "modelId": "tenet.assistant-v1:0",
        "messages": [{"role": "user", "content": [{"text": "Who are you?"}]}],
        "inferenceConfig": {"maxTokens": 8, "temperature": 0.0},
    }
    answer = wait_for(bedrock, asked)
    assert answer["usage"]["outputTokens"] > 0
    events = list(bedrock.converse_stream(**asked)["stream"])
    assert events[0] == {"messageStart": {"role": "assistant"}} and "metadata" in events[-1]
    schema = {"type": "object", "properties": {"Bucket": {"enum": ["orders"]}}, "required": ["Bucket"]}
    tool = {"toolSpec": {"name": "CreateBucket", "inputSchema": {"json": schema}}}
    held = {**asked, "toolConfig": {"tools": [tool], "toolChoice": {"any": {}}}, "inferenceConfig": {"maxTokens": 200}}
    (called,) = [part["toolUse"] for part in bedrock.converse(**held)["output"]["message"]["content"] if "toolUse" in part]
    assert called["input"] == {"Bucket": "orders"}


def wait_for(bedrock: Any, asked: dict[str, Any]) -> Any:
    """The first answer; until the weights are loaded the endpoint says that it is not ready."""
    for _ in range(600):
        try:
            return bedrock.converse(**asked)
        except bedrock.exceptions.ModelNotReadyException:
            time.sleep(0.1)
    raise AssertionError("not ready within a minute")


def test_another_word_says_what_is_missing(only_what_serves: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tenet.cli", "corpus", "--preset", "tiny", "--run", str(tmp_path / "run")]
    done = subprocess.run(command, env=only_what_serves, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(r"tenet: corpus needs the package \w+, which is not installed here; `make install`", done.stderr), (
        done.stderr
    )


@pytest.mark.parametrize("table", ["", "tenet-prod-keys"])
def test_the_tasks_command_is_one_of_ours(infra_task: Any, table: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every flag that the task gives is known, and means what the task thinks."""
    names = infra_task.TaskNames(
        image="i",
        bucket="b",
        pointer="p",
        keys="" if table else "arn:k",
        table=table,
        log_group="l",
        region="r",
        gpus=1,
        memory_gib=32,
    )
    (serve,) = [c for c in infra_task.containers(names) if c["name"] == "serve"]
    with pytest.raises(SystemExit) as done:
        main([*serve["command"], "--print_config"])
    shown = capsys.readouterr().out
    assert done.value.code == 0
    for line in (
        f"credentials: {'dynamodb:' + table if table else infra_task.KEYS}",
        "load_seconds: 15",
        "host: 0.0.0.0",
        "port: 8080",
    ):
        assert line in shown


@pytest.fixture
def infra_task() -> Any:
    """infra/endpoint/task.py, which needs nothing of the cloud's libraries."""
    sys.path.insert(0, str(ROOT / "infra"))
    try:
        return importlib.import_module("endpoint.task")
    finally:
        sys.path.remove(str(ROOT / "infra"))
        for name in ("endpoint.task", "endpoint"):
            sys.modules.pop(name, None)
