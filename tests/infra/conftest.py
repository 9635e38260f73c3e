"""The program of each stack, recorded once a session."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
STACKS = ("local", "dev", "prod")


@pytest.fixture(autouse=True)
def own_loop() -> Iterator[None]:
    """Pulumi's SDK asks for the thread's event loop, which tests of others that ran before here may have taken away."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@dataclass(frozen=True)
class Recorded:
    """What one stack declares."""

    stack: str
    resources: list[dict[str, Any]]
    outputs: dict[str, Any]
    duplicates: list[str]
    closed: list[str]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Resources of a type, named as in the SDK: `s3/bucket:Bucket`."""
        found = [r for r in self.resources if r["type"] == f"aws:{kind}"]
        assert found, f"{self.stack} declares no {kind}"
        return found

    def policy(self, kind: str, name: str) -> dict[str, Any]:
        """A policy document by resource type and name."""
        (one,) = [r for r in self.of(kind) if r["name"] == name]
        document: dict[str, Any] = json.loads(one["inputs"]["policy"])
        return document


Run = Callable[..., subprocess.CompletedProcess[str]]


def record(stack: str, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the recorder."""
    command = [sys.executable, str(Path(__file__).parent / "recorder.py"), stack, str(out), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recorded]:
    """Every stack, each recorded once, by whichever of several test processes is the first to ask."""
    pytest.importorskip("pulumi_aws")
    session = tmp_path_factory.getbasetemp()
    folder = (session.parent if "PYTEST_XDIST_WORKER" in os.environ else session) / "programs"
    folder.mkdir(exist_ok=True)
    found = {}
    for stack in STACKS:
        path = folder / f"{stack}.json"
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                made = path.with_suffix(".made")
                done = record(stack, made)
                assert done.returncode == 0, done.stderr[-3000:]
                made.rename(path)
        found[stack] = Recorded(stack, **json.loads(path.read_text()))
    return found


@pytest.fixture(params=STACKS)
def program(request: pytest.FixtureRequest, programs: dict[str, Recorded]) -> Recorded:
    """Each stack in turn."""
    return programs[request.param]


@pytest.fixture
def infra() -> Iterator[Path]:
    """Makes the program's modules importable for one test, and forgets them again: their names are plain."""
    pytest.importorskip("pulumi_aws")
    folder, before = ROOT / "infra", set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield folder
    finally:
        sys.path.remove(str(folder))
        ours = {path.stem for path in folder.iterdir() if path.is_dir() or path.suffix == ".py"}
        for name in set(sys.modules) - before:
            if name.split(".")[0] in ours:
                del sys.modules[name]
