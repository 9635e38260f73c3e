"""A clone of the program under whatever Pulumi engine is on the PATH, with the stand-in provider and a backend of
files: no account.

Where there is no engine, tests that want one are skipped, and say so.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT

#: Seconds for one command of the engine: no test is timed. A preview takes ten where the machine has nothing else to
#: do, and was seen to take four minutes where it had.
LIMIT = 1200
#: For each test of a file: some are several previews and updates.
patient = pytest.mark.timeout(3 * LIMIT)
PACK = ("--policy-pack", "infra/policy")
#: What of the repository the program is made of: Tenet itself is not among it but for the modules that it reads.
PARTS = ("infra", "tenet", "Pulumi.yaml", "Pulumi.dev.yaml", "Pulumi.local.yaml", "Pulumi.prod.yaml", "constraints.txt")
#: A rule that speaks, as the engine prints it.
SPEAKS = re.compile(r"\[mandatory\] +([a-z0-9-]+)(.*?)(?=\n\s*(?:-|❌|✅|⚠️|🔒)|\n\n|\Z)", re.S)


def needs_engine() -> None:
    """Skip where no engine can run here."""
    for program in ("pulumi", "pulumi-language-python"):
        if not shutil.which(program):
            pytest.skip(f"no {program} on the PATH, so the program does not run under a real engine here; mocks run it")
    pytest.importorskip("pulumi_aws")


@dataclass(frozen=True)
class Done:
    """A command that ended: its exit code, and all that it printed."""

    code: int
    text: str

    def ok(self) -> str:
        """The text of a command that must have ended well."""
        assert self.code == 0, self.text[-6000:]
        return self.text

    def refused(self) -> str:
        """The text of a command that must have been refused, by words and not by a traceback."""
        assert self.code != 0 and "Traceback" not in self.text, self.text[-6000:]
        return self.text


@dataclass(frozen=True)
class Clone:
    """The program in a folder of its own, with its backend and its account."""

    folder: Path
    env: dict[str, str]

    def run(self, *command: str) -> Done:
        """Any command in the clone."""
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=LIMIT)
        return Done(done.returncode, done.stdout + done.stderr)

    def shell(self, line: str) -> Done:
        """A line as somebody types it."""
        return self.run("sh", "-c", line)

    def pulumi(self, *words: str) -> Done:
        """A command of the engine."""
        return self.run("pulumi", *words, "--non-interactive")

    def stack(self, name: str) -> None:
        """A new stack, with an owner's values in place of the placeholders (infra/check.yaml)."""
        self.pulumi("stack", "init", name).ok()
        self.set(name, yaml.safe_load((ROOT / "infra" / "check.yaml").read_text()).get(name, {}))

    def set(self, stack: str, values: dict[str, Any]) -> None:
        """Change settings in the stack's file, as an editor does."""
        path = self.folder / f"Pulumi.{stack}.yaml"
        found = yaml.safe_load(path.read_text())
        found["config"] |= values
        path.write_text(yaml.safe_dump(found))

    def settings(self, stack: str) -> dict[str, Any]:
        """What the stack's file says."""
        found: dict[str, Any] = yaml.safe_load((self.folder / f"Pulumi.{stack}.yaml").read_text())["config"]
        return found

    def changes(self, stack: str) -> dict[str, list[str]]:
        """What a preview would do: operation -> `type name` of each resource but components and the stack."""
        done = subprocess.run(
            ["pulumi", "preview", "--stack", stack, "--json", "--non-interactive"],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        found: dict[str, list[str]] = {}
        for step in json.loads(done.stdout)["steps"]:
            _, _, kind, name = step["urn"].split("::")
            if step["op"] != "same" and kind.split("$")[-1].startswith("aws:"):
                found.setdefault(step["op"], []).append(f"{kind.split(':')[-1]} {name}")
        return {op: sorted(rows) for op, rows in found.items()}

    def state(self, stack: str) -> list[dict[str, Any]]:
        """Resources of the stack's state."""
        resources: list[dict[str, Any]] = json.loads(self.pulumi("stack", "export", "--stack", stack).ok())["deployment"].get(
            "resources", []
        )
        return resources

    def plant(self, edits: Iterable[tuple[str, str, str]]) -> None:
        """Change the program's source: file below infra/, text that stands there once, text in its place."""
        for file, before, after in edits:
            path = self.folder / "infra" / file
            text = path.read_text()
            assert text.count(before) == 1, f"{file} has {before!r} {text.count(before)} times"
            path.write_text(text.replace(before, after))


def clone(folder: Path) -> Clone:
    """The program as it stands in this checkout, with this Python's packages as its environment."""
    needs_engine()
    for part in PARTS:
        source, target = ROOT / part, folder / "clone" / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    (folder / "clone" / ".venv").symlink_to(sys.prefix)
    for name in ("bin", "home", "state", "account"):
        (folder / name).mkdir()
    provider = folder / "bin" / "pulumi-resource-aws"
    script = Path(__file__).with_name("provider.py")
    provider.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"\n')
    provider.chmod(0o755)
    return Clone(folder / "clone", environment(folder))


def environment(folder: Path) -> dict[str, str]:
    """Nothing of the person's own Pulumi: no account, no plugin, no look at what is new."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PULUMI_", "AWS_", "VIRTUAL_ENV"))}
    return {
        **inherited,
        # The engine takes a plugin from the PATH before it would fetch one; the environment's own `python` and `tenet`
        # are there too.
        "PATH": os.pathsep.join([str(folder / "bin"), str(Path(sys.prefix) / "bin"), os.environ["PATH"]]),
        "PULUMI_HOME": str(folder / "home"),
        "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "of a stack that exists for a minute",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_SKIP_CONFIRMATIONS": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_PYTHON": sys.executable,
        "TENET_ACCOUNT": str(folder / "account"),
    }
