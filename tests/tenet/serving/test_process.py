"""The engine in a process of its own, killed for real while it answers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.generation.engine import generate
from lightning_modules.generation.protocol import Sampling
from lightning_modules.model.hub import load_model
from tenet.serving.access.credentials import Keys
from tenet.serving.clients.client import client
from tenet.serving.engines.factory import make_engine
from tenet.serving.engines.process import EngineDied, ProcessEngine
from tenet.serving.engines.runner import load
from tenet.serving.server.server import LocalServer
from tenet.settings.serving import ServeConfig
from tests.tenet.serving.conftest import MODEL, user


def test_sigkill_under_load_ends_requests_with_an_error_and_the_server_is_ready_again(
    make_model: Callable[[str, int], Path],
) -> None:
    folder = make_model("model", 3)
    with LocalServer(lambda: load("torch", folder, 4, 1, process=True), ServeConfig()) as server:
        runner = server.gateway.runner
        botos = [client(server.endpoint, server.keys) for _ in range(6)]

        def ask_until_it_fails(boto: Any) -> str:
            while True:
                try:
                    boto.converse(modelId=MODEL, messages=user("x"), inferenceConfig={"maxTokens": 200, "temperature": 1.0})
                except ClientError as error:
                    return str(error.response["Error"]["Code"])

        first = runner.need().engine
        assert isinstance(first, ProcessEngine) and first.process.pid != os.getpid()
        with ThreadPoolExecutor(6) as pool:
            asked = [pool.submit(ask_until_it_fails, boto) for boto in botos]
            deadline = time.monotonic() + 20
            while runner.open < 4 and time.monotonic() < deadline:
                time.sleep(0.001)
            os.kill(first.process.pid or 0, signal.SIGKILL)
            codes = [future.result(timeout=60) for future in asked]
        # Those that were being answered; whoever asked while the weights are loaded again is told to wait.
        assert "ModelErrorException" in codes and set(codes) <= {"ModelErrorException", "ModelNotReadyException"}
        assert not first.process.is_alive()
        _wait_ready(server, first)
        reply = client(server.endpoint, server.keys).converse(
            modelId=MODEL, messages=user("Who?"), inferenceConfig={"maxTokens": 12}
        )
        assert reply["output"]["message"]["content"][0]["text"] == _directly(folder, "Who?", 12)
        # Killed while nothing is asked, it is noticed and replaced all the same.
        second = runner.need().engine
        assert isinstance(second, ProcessEngine)
        os.kill(second.process.pid or 0, signal.SIGKILL)
        _wait_ready(server, second)
        third = runner.need().engine
        assert isinstance(third, ProcessEngine)
    assert not third.process.is_alive(), "the server left its engine's process behind"


@pytest.mark.parametrize("flags", [(), ("--no-engine-process",)])
def test_a_served_model_computes_in_a_process_of_its_own_unless_told_otherwise(
    make_model: Callable[[str, int], Path], tmp_path: Path, flags: tuple[str, ...]
) -> None:
    command = [sys.executable, "-m", "tenet.cli", "serve", "--model", str(make_model("model", 3)), "--port", "0"]
    command += ["--credentials", str(tmp_path / "keys.json"), "--threads", "1", *flags]
    with open(tmp_path / "log", "w") as log:
        gateway = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert gateway.stdout is not None
    try:
        told = "".join(gateway.stdout.readline() for _ in range(5))
        endpoint = re.search(r"http://\S+", told)[0]  # type: ignore[index]
        pair = dict(re.findall(r"(AWS_\w+)=(\S+)", told))
        boto = client(endpoint, Keys(pair["AWS_ACCESS_KEY_ID"], pair["AWS_SECRET_ACCESS_KEY"]), read_timeout=60)

        def answer() -> str:
            """Until the weights are loaded, one is told to wait."""
            for _ in range(600):
                try:
                    reply = boto.converse(modelId=MODEL, messages=user("Who?"), inferenceConfig={"maxTokens": 12})
                    return str(reply["output"]["message"]["content"][0]["text"])
                except ClientError as error:
                    assert error.response["Error"]["Code"] in ("ModelNotReadyException", "ModelErrorException")
                    time.sleep(0.1)
            raise AssertionError("no answer")

        first, engine = answer(), _engine_of(gateway.pid)
        assert (engine == 0) == bool(flags)
        if engine:
            os.kill(engine, signal.SIGKILL)
            assert answer() == first and _engine_of(gateway.pid) not in (0, engine)
    finally:
        gateway.terminate()
    assert gateway.wait(60) == 0
    gateway.stdout.close()


def _engine_of(pid: int) -> int:
    """The engine's process under a gateway; 0 when there is none."""
    found = [child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    named = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in found}
    return next((child for child, words in named.items() if b"spawn_main" in words), 0)


def _wait_ready(server: LocalServer, old: ProcessEngine) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        backend = server.gateway.runner.backend
        if backend is not None and backend.engine is not old:
            return
        time.sleep(0.02)
    raise AssertionError("no new engine within 60 s")


def _directly(folder: Path, question: str, tokens: int) -> str:
    text = ChatTokenizer.from_folder(folder)
    prompt = text.prompt([{"role": "user", "content": question}])
    [[answer]] = generate(load_model(folder), [prompt], Sampling(max_tokens=tokens, stop_ids=text.stop_ids))
    return text.decode([i for i in answer.ids if i not in text.stop_ids])


def test_what_cannot_be_made_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ModelFolderError.*config\.json"):
        ProcessEngine(partial(make_engine, "torch", tmp_path))


def test_a_dead_process_is_an_error_at_every_call() -> None:
    engine = ProcessEngine(partial(make_engine, "echo"))
    engine.check()
    engine.process.kill()
    engine.process.join()
    for call in (engine.check, lambda: engine.submit([1], Sampling()), engine.step):
        with pytest.raises(EngineDied):
            call()
    engine.close()
