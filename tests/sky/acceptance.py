"""What both acceptance runs do: start commands, wait, read how far a run is. `make sky-local` and `make sky-kube`
launch through SkyPilot."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKY = [sys.executable, "-c", "from sky.cli import cli; cli()"]
#: Words of SkyPilot for a managed job that is over.
ENDED = ("SUCCEEDED", "CANCELLED", "FAILED", "FAILED_SETUP", "FAILED_PRECHECKS", "FAILED_NO_RESOURCE", "FAILED_CONTROLLER")
STARTED = time.monotonic()


class Patience:
    """Every limit of seconds times `times`; set by the command line."""

    times = 1.0


class OutOfTime(BaseException):
    """The deadline of all of it; nothing on the way out may take it for an error of its own."""


def say(name: str, text: str) -> None:
    """With the seconds since the start, and those that all processors together have worked for it."""
    print(f"{name} {time.monotonic() - STARTED:4.0f} s {cpu_seconds():4.0f} CPU s  {text}", flush=True)


def cpu_seconds() -> float:
    """Of all processes in this world, the ended ones too: whoever's parent has gone stays a zombie of the first
    process, with its times."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            ticks += sum(int(field) for field in stat.read_text().rpartition(")")[2].split()[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def run(command: list[object], timeout: float = 60, environment: dict[str, str] | None = None) -> str:
    """What a command says; its end is in the error where it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=timeout * Patience.times,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        raise RuntimeError(f"`{' '.join(words[:6])} ...` ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def sky(*words: object, timeout: float = 180, environment: dict[str, str] | None = None) -> str:
    """SkyPilot's command line."""
    return run([*SKY, *words], timeout, environment)


def healthy() -> bool:
    """Whether SkyPilot's server answers."""
    port = os.environ.get("SKYPILOT_API_SERVER_LOCAL_PORT", "46580")
    with contextlib.suppress(OSError):
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=10).status == 200)
    return False


def sealed(partial: Path) -> int:
    """Step of the newest checkpoint that is whole: its seal is written last."""
    return max((int(seal.stem.removeprefix("step-")) for seal in (partial / "checkpoints").glob("step-*.sha256")), default=0)


def wait(there: Callable[[], bool], seconds: float, what: str, pause: float = 0.2) -> None:
    """Until it is there.

    Raises:
        RuntimeError: it did not come.
    """
    deadline = time.monotonic() + seconds * Patience.times
    while not there():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:.0f} s for {what}")
        time.sleep(pause)


def steps(path: Path) -> list[int]:
    """Steps that metrics.csv has rows of."""
    return [int(row["step"]) for row in csv.DictReader(path.read_text().splitlines()) if row.get("step")]


def first_step(path: Path) -> int:
    """The first of them; 0 before it is there."""
    try:
        return min(steps(path), default=0)
    except (OSError, ValueError):
        return 0


def last_step(path: Path, otherwise: int = 0) -> int:
    """The last of them; 0 before the first one, and `otherwise` while there is no such file."""
    try:
        return max(steps(path), default=0)
    except (OSError, ValueError):
        return otherwise


def weights(stage: Path) -> str:
    """SHA-256 of the weights that a stage trained."""
    return hashlib.sha256((stage / "model" / "model.safetensors").read_bytes()).hexdigest()
