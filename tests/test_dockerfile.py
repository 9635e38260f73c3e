"""The serving image by its recipe: what it copies is there, it runs as nobody special, and its words are those of the command line.

Nothing here builds it; that needs a Docker engine.
"""

from __future__ import annotations

import fnmatch
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tenet.cli.main import main

ROOT = Path(__file__).resolve().parents[1]


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
    assert "torch" in installs[0] and "${TORCH_INDEX:+--index-url" in installs[0]
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
    """infra/task.py, which needs nothing of the cloud's libraries."""
    sys.path.insert(0, str(ROOT / "infra"))
    try:
        return importlib.import_module("task")
    finally:
        sys.path.remove(str(ROOT / "infra"))
        sys.modules.pop("task", None)
