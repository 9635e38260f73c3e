"""A deployment against endpoints that really serve: `tenet serve` processes that start anew when the pointer moves, as
tasks do."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tenet.errors import StageError
from tenet.serving.access.credentials import Keys, load_or_create
from tenet.serving.clients.client import client
from tenet.serving.releases import ecs_rollout
from tenet.serving.releases.ecs_rollout import Patience, Stack
from tenet.serving.releases.store import Manifest
from tests.tenet.serving.conftest import user
from tests.tenet.serving.stack import made_up, pointer

MakeModel = Callable[[str, int], Path]


class Fleet:
    """One task: fetches what the pointer names and serves it, and does so again when the pointer names something else.

    Args:
        folder: its disk.

    Attributes:
        spoiled: versions whose weights arrive damaged.
        exits: exit codes of the servers that were replaced.
    """

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.spoiled, self.exits = folder, set[str](), list[int]()
        _, self.keys = load_or_create(folder / "keys.json")
        self._over, self._serves = threading.Event(), "none"
        self._task: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def following(self, stack: Stack) -> Iterator[None]:
        def follow() -> None:
            while not self._over.wait(0.1):
                wanted = pointer(stack)
                if wanted != self._serves:
                    self._stop()
                    self._start(stack, wanted)

        self._thread = threading.Thread(target=follow)
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()
            self._stop()

    def _start(self, stack: Stack, version: str) -> None:
        model = stack.store.fetch(version, self.folder / "disk")
        if version in self.spoiled:
            model = Path(shutil.copytree(model, self.folder / "spoiled"))
            (model / "model.safetensors").write_bytes(b"not weights")
        command = [sys.executable, "-m", "tenet.cli", "serve", "--model", str(model), "--port", str(self.port)]
        command += ["--credentials", str(self.folder / "keys.json"), "--threads", "1"]
        self._task = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
        self._serves = version

    def _stop(self) -> None:
        if self._task is not None:
            if self._task.poll() is None:
                self._task.send_signal(signal.SIGTERM)
            self.exits.append(self._task.wait(60))
            self._task = None


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[tuple[Fleet, Stack]]:
    task = Fleet(tmp_path)
    with made_up(tmp_path, endpoint_url=f"http://127.0.0.1:{task.port}") as stack, task.following(stack):
        yield task, stack


def said(stack: Stack, keys: Keys) -> str:
    answer = client(stack.endpoint_url, keys).converse(
        modelId="tenet.assistant-v1:0", messages=user("hello"), inferenceConfig={"maxTokens": 6, "temperature": 0.0}
    )
    return str(answer["output"]["message"]["content"])


@pytest.mark.usefixtures("in_time")
def test_deploy_fail_and_roll_back_with_real_servers(fleet: tuple[Fleet, Stack], make_model: MakeModel) -> None:
    task, stack = fleet
    patient = Patience(wait=90, poll=0.2)
    first = ecs_rollout.release(make_model("a", 1), stack, keys=task.keys, patience=patient)
    answer = said(stack, task.keys)
    second = ecs_rollout.release(make_model("b", 2), stack, keys=task.keys, patience=patient)
    assert ecs_rollout._ready(stack) == second and said(stack, task.keys) != answer

    third = Manifest.of(make_model("c", 3)).version
    task.spoiled.add(third)
    with pytest.raises(StageError, match=f"rolled back to {second}"):
        ecs_rollout.release(make_model("c", 3), stack, keys=task.keys, patience=Patience(wait=4, poll=0.2))
    ecs_rollout._wait(stack, second, patient)

    assert ecs_rollout.rollback(stack, keys=task.keys, patience=patient) == first == ecs_rollout._ready(stack)
    assert said(stack, task.keys) == answer
    # What was replaced drained and ended well; the third, damaged, may have been stopped while it was still starting.
    assert len(task.exits) == 4 and [task.exits[number] for number in (0, 1, 3)] == [0, 0, 0]
