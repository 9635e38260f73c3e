"""The local launch asks first whether this machine can; where it cannot, one line says why. The launch itself is `make
sky-local`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sky.local import __main__ as launch
from tests.sky.local import namespace

ROOT = Path(__file__).resolve().parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")


def test_ci_runs_what_a_person_can_run() -> None:
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]
    assert commands[:2] == ["set -euo pipefail", 'cd "$(dirname "$0")/.."'] and commands[-1] == "make test SKY_LOCAL=1"
    # What stands between only looks for an engine and a Kubernetes beside the checkout.
    assert all(re.match(r"unpack=|if \[ -x (\$unpack|\.\./shared/tools/kube/up) \]", line) for line in commands[2:-1])
    steps = {given: _steps(*given) for given in ((), ("SKY_LOCAL=1",))}
    assert "pytest" in steps[()][-1] and not any("tests.sky.local" in step for step in steps[()])
    assert steps["SKY_LOCAL=1",][-1].endswith("python -m tests.sky.local --if-possible")


def _steps(*given: str) -> list[str]:
    # These tests may run under a make, whose settings a make inside takes over and whose folders it announces.
    clean = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "SKY_LOCAL")}
    command = ["make", "-n", "test", *given]
    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip().splitlines()


@linux
def test_without_root_it_is_not_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv(namespace.INSIDE, raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert launch.main(["--if-possible"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and said[0].startswith("sky-local was not run: ") and "root" in said[0]
    assert launch.main([]) == 2
    assert "cannot run here" in capsys.readouterr().err


@linux
def test_after_tests_that_took_long_it_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = subprocess.run(["make", "-pn", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30).stdout
    began = re.search(rf"^{namespace.BEGAN} := (\d+)$", printed, re.MULTILINE)
    assert began and abs(int(began[1]) - time.time()) < 60
    monkeypatch.setenv(namespace.BEGAN, str(time.time() - namespace.BEFORE - 1))
    with pytest.raises(namespace.Missing, match=r"tests took 78\d s.*`make sky-local` runs it alone"):
        namespace.have_room()
    monkeypatch.setenv(namespace.BEGAN, str(time.time()))
    monkeypatch.setattr(namespace, "SLOWER", 0.0)
    with pytest.raises(namespace.Missing, match="commands at the same time"):
        namespace.have_room()


@linux
def test_on_a_slow_or_starved_machine_it_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(namespace.BEGAN, raising=False)
    monkeypatch.setattr(namespace, "SLOWER", 0.0)
    with pytest.raises(namespace.Missing, match=r"commands at the same time take .* --patience 2"):
        namespace.have_room()
    monkeypatch.setattr(namespace, "SLOWER", 1e9)
    monkeypatch.setattr(namespace, "MEMORY", 2**60)
    with pytest.raises(namespace.Missing, match=r"GiB of memory are free"):
        namespace.have_room()


@linux
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("sleep 30", "did not come within 1 s"),
        ("echo E: no route to host >&2; exit 100", r"E: no route to host.*where there is a network"),
    ],
)
def test_packages_that_do_not_come(script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text(f"#!/bin/sh\n{script}\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(namespace, "DOWNLOAD", 1)
    monkeypatch.setattr(namespace, "SYSTEMD", tmp_path / "none")
    with pytest.raises(namespace.Missing, match=said):
        namespace._install(["slurmd"])
    monkeypatch.setattr(namespace, "SYSTEMD", tmp_path)
    with pytest.raises(namespace.Missing, match="`apt-get install slurmd` is yours to decide"):
        namespace._install(["slurmd"])


def test_the_newest_logs_are_told(tmp_path: Path) -> None:
    for number, name in enumerate(("log/slurmctld.log", "home/.sky/api_server/server.log", "home/sky_logs/a/run.log")):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("".join(f"{name} {line}\n" for line in range(50)))
        os.utime(path, (number, number))
    told = namespace.log_ends(tmp_path, files=2, lines=3)
    assert "slurmctld" not in told and "server.log 47\n" in told and told.endswith("run.log 49")
    assert "server.log 46" not in told
