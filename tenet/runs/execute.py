"""Run folders: what ran on what, with which result.

`runs/NAME/STAGE/` is made under the name `STAGE.partial` and renamed once, at the very end. So a folder without
`.partial` is finished, and whatever a killed stage left is still in `.partial` for the next start. `run.json` names
every input by the SHA-256 of the `run.json` that made it and every output by its own, which makes the chain from a
served model to its documents a walk over files (`lineage`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_modules.data.templates import ConversationError
from lightning_modules.distributed import ranks
from lightning_modules.model.errors import ModelFolderError, NotFinite
from tenet.errors import ConfigError, StageError
from tenet.files import plain, read_json, sha256, write_json, write_text
from tenet.runs import provenance
from tenet.runs.inputs import InputFile
from tenet.runs.lineage import PARTIAL, fingerprint_of
from tenet.runs.summary import Summary
from tenet.runs.workspace import Progress, Workspace, _signals

SCHEMA = 1


#: Not hashed as outputs: resume state, what is made after the stage, and what holds clock times.
NOT_OUTPUTS = ("checkpoints", "report.ipynb", "report.html", "run.json", "timings.json", "metrics.csv", "logs")


#: Hashed nowhere either: a rollback rewrites it, which is its purpose.
POINTERS = ("store/current",)


def execute(
    run: Path,
    stage: str,
    reads: tuple[str, ...],
    config: Any,
    body: Callable[[Any, Workspace], Summary],
    *,
    seed: int,
    foreign: Mapping[str, Any] | None = None,
    files: Sequence[InputFile] = (),
    workspace: Mapping[str, Any] | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
    device: str = "cpu",
    distributed: bool = False,
    result: bool = True,
    packages: Sequence[str] = (),
) -> dict[str, Any]:
    """Run one stage to its end, once.

    What it is made from (its fingerprint) is its own settings, the settings of other sections that it declares to read
    (`foreign`), the files that settings name (by hash), the seed, and the stages that it reads. None of these can
    change and return an old result.

    Finished before with the same inputs and settings: returns the old `run.json` at once (its outputs are not touched).
    Finished with other ones: refuses, and says how to go on. Killed before: goes on in the same folder.

    Under torchrun the first process alone looks after the folder. The others run the body beside it where the stage
    trains on all of them (`distributed`), or wait; all end with the same record or the same error.

    Args:
        foreign: dotted name -> value of each setting of another section that the stage reads.
        files: what its settings name on disk.
        workspace: further members of the workspace (preset, domain, start).
        result: the stage's own settings are part of what its result is; False where they only say how it is done.
        packages: further ones whose versions are written down.

    Returns:
        the content of the stage's `run.json`.

    Raises:
        ConfigError: an input stage is missing, or the folder holds another run.
        Interrupted: SIGTERM or Ctrl-C.
        StageError: anything that the stage could not do.
    """
    ranks.join()
    task = _Task(run, stage, reads, config, seed, fresh, device, dict(foreign or {}), tuple(files), result)
    done = ranks.on_first(task.begin)
    if done is not None:
        return done
    tell = progress or (lambda done, total, text: None)
    ws = Workspace(task.work, run, stage, reads, seed, tell, foreign=task.foreign, **(workspace or {}))
    wall, cpu = time.perf_counter(), provenance.cpu_seconds()
    with _signals(ws.stop), _told():
        try:
            summary = body(config, ws) if distributed else ranks.on_first(lambda: body(config, ws))
        except NotFinite as error:
            raise StageError(f"{stage}: {error}") from error
        except (ConfigError, ConversationError, ModelFolderError) as error:
            if ranks.is_first():  # no word to the others: they are told of the error, and come here on their own
                task.discard()
            if isinstance(error, ConfigError):
                raise
            # A row that the chat template refuses, or a folder that cannot be loaded: said without naming the stage,
            # which they do not know.
            raise ConfigError(f"{stage}: {error}") from None
        except OSError as error:
            raise StageError(
                f"{stage}: {error.strerror or error} ({error.filename or task.work}); "
                "nothing finished was lost, mend it and run the same command again"
            ) from error
        cpu_seconds = ranks.totals(provenance.cpu_seconds() - cpu)[0]
        return ranks.on_first(lambda: task.finish(summary, time.perf_counter() - wall, cpu_seconds, packages))


@dataclass
class _Task:
    """The folder of one stage from its first start to its rename; only the first process calls `begin` and `finish`."""

    run: Path
    stage: str
    reads: tuple[str, ...]
    config: Any
    seed: int
    fresh: bool
    device: str
    foreign: dict[str, Any]
    files: tuple[InputFile, ...]
    result: bool

    def __post_init__(self) -> None:
        self.target, self.work = self.run / self.stage, self.run / (self.stage + PARTIAL)

    def begin(self) -> dict[str, Any] | None:
        """Check inputs and settings and make the folder ready.

        Returns:
            the record, if the stage is finished.
        """
        target, work, config = self.target, self.work, self.config
        self.inputs = _inputs(self.run, self.stage, self.reads)
        typed = dataclasses.is_dataclass(config) and not isinstance(config, type)
        self.settings = dataclasses.asdict(config) if typed else dict(config)
        hashes = {name: i["sha256"] for name, i in self.inputs.items()}
        self.identity = {
            "stage": self.stage,
            "seed": self.seed,
            "config": self.settings,
            "foreign": plain_values(self.foreign),
            "files": {file.key: file.sha256 for file in self.files},
            "inputs": hashes,
        }
        core = {**self.identity, "config": _without_placement(self.settings) if self.result else {}}
        self.fingerprint = hashlib.sha256(json.dumps(core, sort_keys=True, default=plain).encode()).hexdigest()

        if self.fresh:
            _set_aside(target)
            _set_aside(work)
        if target.exists():
            record: dict[str, Any] = read_json(target / "run.json")
            if record["fingerprint"] == self.fingerprint:
                return record
            raise ConfigError(_difference(target, record, self.identity))
        self.new, self.new_run = not (work / "started.json").exists(), not work.parent.exists()
        if not self.new:
            begun = read_json(work / "started.json")
            if begun["fingerprint"] != self.fingerprint:
                raise ConfigError(_difference(work, begun, self.identity))
        else:
            write_json(work / "started.json", {"fingerprint": self.fingerprint, **self.identity, "attempts": 0})
            begun = read_json(work / "started.json")
        self.attempts = begun["attempts"] + 1
        write_json(work / "started.json", {**begun, "attempts": self.attempts})
        write_text(work / "config.yaml", yaml.safe_dump({self.stage: self.settings}, sort_keys=False))

        for leftover in work.rglob(".*.tmp"):  # a write that was killed before its rename; it must not count as an output
            leftover.unlink()
        self.start = now()
        return None

    def discard(self) -> None:
        """A wrong setting was found before any work was done: leave nothing behind that would refuse the corrected
        one."""
        made = {path.relative_to(self.work).as_posix() for path in self.work.rglob("*") if path.is_file()}
        if self.new and made <= {"started.json", "config.yaml"}:
            shutil.rmtree(self.work, ignore_errors=True)
            if self.new_run:
                with contextlib.suppress(OSError):  # somebody put something there
                    self.work.parent.rmdir()

    def finish(self, summary: Summary, seconds: float, cpu_seconds: float, packages: Sequence[str]) -> dict[str, Any]:
        """Write what was found, hash the outputs and give the folder its name."""
        work = self.work
        write_json(
            work / "summary.json",
            {**summary.details, "stage": self.stage, "headline": summary.headline, "figures": summary.figures},
        )
        record = {
            "schema": SCHEMA,
            **{k: v for k, v in self.identity.items() if k not in ("config", "inputs", "files")},
            "files": [dataclasses.asdict(file) for file in self.files],
            "status": "done",
            "fingerprint": self.fingerprint,
            "config_sha256": hashlib.sha256(json.dumps(self.settings, sort_keys=True, default=plain).encode()).hexdigest(),
            "code": provenance.code_revision(),
            "packages": provenance.packages(packages),
            "host": {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
            "device": self.device,
            "processes": ranks.world(),
            "start": self.start,
            "end": now(),
            "attempts": self.attempts,
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "timings": summary.timings,
            "tokens": summary.tokens,
            "flops": summary.flops,
            **provenance.energy(cpu_seconds),
            "inputs": self.inputs,
            "outputs": _outputs(work),
        }
        (work / "started.json").unlink()
        write_json(work / "run.json", record)
        os.replace(work, self.target)
        return record


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Give an error of one process to the others, which wait for its next word: they end with it instead of a broken
    connection."""
    try:
        yield
    except Exception as error:
        first = ranks.first_error(error)
        if ranks.lost_a_process(first):
            raise StageError(
                f"another process ended without a word (killed? out of memory?): {str(first).split('. ')[0]}; "
                "run the same command again, it goes on from the last checkpoint"
            ) from error
        raise first from error.__cause__


def _without_placement(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that say what is computed. On how many devices, and how the model is cut over them, may change between
    two starts of a run."""
    kept = {key: value for key, value in settings.items() if key != "parallel"}
    if isinstance(kept.get("compute"), dict):
        kept["compute"] = {key: value for key, value in kept["compute"].items() if key not in ("devices", "nodes")}
    return kept


def _inputs(run: Path, stage: str, reads: tuple[str, ...]) -> dict[str, dict[str, str]]:
    found = {}
    for name in reads:
        record = run / name / "run.json"
        if not record.exists():
            raise ConfigError(f"{stage} reads {run / name}, which is not finished; run `tenet {name} --run {run}` first")
        found[name] = {"path": f"{name}/run.json", "sha256": fingerprint_of(record)}
    return found


def _outputs(work: Path) -> list[dict[str, Any]]:
    files = []
    for path in sorted(work.rglob("*")):
        relative = path.relative_to(work)
        if path.is_file() and not path.is_symlink() and not _unhashed(relative.parts[0]) and relative.as_posix() not in POINTERS:
            files.append({"path": relative.as_posix(), "bytes": path.stat().st_size, "sha256": sha256(path)})
    return files


def _unhashed(name: str) -> bool:
    return name in (*NOT_OUTPUTS, "started.json") or (name.startswith("metrics-") and name.endswith(".csv"))


def _difference(folder: Path, old: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """Say which settings differ, by key."""
    config_file = folder / "config.yaml"
    before = (yaml.safe_load(config_file.read_text()) or {}).get(identity["stage"], {}) if config_file.exists() else {}
    changed = [f"{k}: {a!r} -> {b!r}" for k, a, b in _changes(before, json.loads(json.dumps(identity["config"], default=plain)))]
    changed += [f"{k}: {a!r} -> {b!r}" for k, a, b in _changes(old.get("foreign", {}), identity["foreign"])]
    old_files = old.get("files", {})
    old_files = old_files if isinstance(old_files, dict) else {file["key"]: file["sha256"] for file in old_files}
    changed += [f"{k}: another file or another content" for k, _, _ in _changes(old_files, identity["files"])]
    if old.get("seed") != identity["seed"]:
        changed.append(f"seed: {old.get('seed')} -> {identity['seed']}")
    old_inputs = {k: v["sha256"] if isinstance(v, dict) else v for k, v in old.get("inputs", {}).items()}
    changed += [f"input {name} is another one" for name, value in identity["inputs"].items() if old_inputs.get(name) != value]
    return (
        f"{folder} was made with other settings ({'; '.join(changed) or 'inputs changed'}). Use another --run, "
        "or --fresh to set the old folder aside and start anew"
    )


def _changes(a: Any, b: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            yield from _changes(a.get(key), b.get(key), f"{prefix}.{key}" if prefix else str(key))
    elif (list(a) if isinstance(a, tuple) else a) != (list(b) if isinstance(b, tuple) else b):
        yield prefix, a, b


def _set_aside(folder: Path) -> None:
    """Never delete a result: move it to a numbered name beside."""
    if folder.exists():
        number = 1
        while (aside := folder.with_name(f"{folder.name}.old{number}")).exists():
            number += 1
        os.replace(folder, aside)


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them, so that what was written compares equal to what is read."""
    found: dict[str, Any] = json.loads(json.dumps(values, sort_keys=True, default=plain))
    return found


def now() -> str:
    """UTC time, to the second, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
