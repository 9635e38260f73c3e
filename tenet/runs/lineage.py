"""Reading a run: which stages there are, what they were made from, and whether their files are still the ones that were
written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError, StageError
from tenet.files import read_json, sha256

PARTIAL = ".partial"


def fingerprint_of(record: Path) -> str:
    """Identity of a finished stage: SHA-256 over its fingerprint and the hashes of its outputs.

    Times and hosts are left out, so that the same run made twice is the same input.
    """
    content = read_json(record)
    core = {"fingerprint": content["fingerprint"], "outputs": content["outputs"]}
    return hashlib.sha256(json.dumps(core, sort_keys=True).encode()).hexdigest()


def verify(stage_dir: Path) -> None:
    """Check every output of a finished stage against its hash.

    Raises:
        StageError: names the first file that is missing or differs.
    """
    for entry in read_json(stage_dir / "run.json")["outputs"]:
        path = stage_dir / entry["path"]
        if not path.exists():
            raise StageError(f"{path}: missing; run the stage again with --fresh")
        if path.stat().st_size != entry["bytes"] or sha256(path) != entry["sha256"]:
            raise StageError(f"{path}: differs from the hash in run.json; run the stage again with --fresh")


def stages_of(run: Path) -> dict[str, dict[str, Any]]:
    """Stage -> its `run.json` (status done) or what is known of an unfinished one, in order of their start."""
    found: dict[str, dict[str, Any]] = {}
    if not run.is_dir():
        raise ConfigError(f"{run}: no such run; make one with `tenet run --preset tiny --run {run}`")
    for folder in sorted(p for p in run.iterdir() if p.is_dir()):
        if (folder / "run.json").exists() and not folder.name.endswith(PARTIAL):
            if ".old" not in folder.name:
                found[folder.name] = read_json(folder / "run.json")
        elif folder.name.endswith(PARTIAL) and (folder / "started.json").exists():
            found[folder.name.removesuffix(PARTIAL)] = {**read_json(folder / "started.json"), "status": "unfinished"}
    return found


def summary_of(run: Path, stage: str) -> dict[str, Any]:
    """`summary.json` of a finished stage."""
    summary: dict[str, Any] = read_json(run / stage / "summary.json")
    return summary


def lineage(run: Path, stage: str) -> list[dict[str, Any]]:
    """The chain from a stage back to its sources, nearest first, each link checked by hash."""
    chain: list[dict[str, Any]] = []
    queue, seen = [stage], set()
    while queue:
        name = queue.pop(0)
        if name in seen:
            continue
        seen.add(name)
        record = read_json(run / name / "run.json")
        broken = [i for i, v in record["inputs"].items() if fingerprint_of(run / v["path"]) != v["sha256"]]
        chain.append(
            {"stage": name, "identity": fingerprint_of(run / name / "run.json"), "record": record, "broken_links": broken}
        )
        queue += list(record["inputs"])
    return chain
