"""`tenet sky check`: whether the launch files can work, found out here and not on a rented machine.

SkyPilot's own schema and classes read each file and its optimizer chooses a machine; the files, presets, commands and flags that it names
are looked up; its shell is parsed; no secret may be written in it. Nothing is asked of a network.
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tenet.errors import ConfigError
from tenet.launch import catalog
from tenet.sky import tracebacks_kept

#: Names of variables whose value nobody may read.
SECRET_NAME = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS|KEY|KEYS)$")
#: Values that are secrets wherever they stand: keys of AWS, Hugging Face, GitHub, OpenAI and Anthropic, private keys.
SECRET_VALUE = re.compile(
    r"AKIA[0-9A-Z]{16}|\bhf_[A-Za-z0-9]{20,}|\bgh[pousr]_\w{20,}|\bsk-[\w-]{20,}|-----BEGIN [A-Z ]*PRIVATE KEY"
)
#: A file of this repository that a script names.
NAMED = re.compile(r"(?:^|[\s=\"'])((?:sky|presets|notebooks|docs|tests)/[\w./-]+\.\w+)")
#: A call of ours: command and the words after it.
CALL = re.compile(r"(?:\btenet|-m tenet\.cli) ([a-z]\w*)([^\n;|&]*)")


@dataclass
class Found:
    """What was found of one file.

    Args:
        path: the file.
        errors: what is wrong, with the way out.
        rents: a machine for each task, as SkyPilot chose it.
        needs: envs and secrets that the caller must give.
    """

    path: Path
    errors: list[str] = field(default_factory=list)
    rents: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One line for the terminal, and one more for each error."""
        needs = f"; needs {', '.join(self.needs)}" if self.needs else ""
        head = f"{'FAIL' if self.errors else 'ok  '} {self.path.name:<20} {', '.join(dict.fromkeys(self.rents))}{needs}"
        return "\n".join([head, *(f"     {error}" for error in self.errors)])


def check_all(paths: list[Path], root: Path, say: Callable[[str], None]) -> list[Found]:
    """Check files, or all of `root/sky`.

    Args:
        paths: files; empty takes all of `sky/`.
        root: folder of the repository, which the files take as their workdir.
        say: is given one line a file.

    Raises:
        ConfigError: there is no file, or one of them is wrong.
    """
    files = paths or sorted((root / "sky").glob("*.yaml"))
    if not files:
        raise ConfigError(f"no launch file in {root / 'sky'}; start `tenet sky check` in the repository, or name the files")
    found = [check_file(path, root) for path in files]
    for one in found:
        say(one.line())
    wrong = [one.path.name for one in found if one.errors]
    if wrong:
        raise ConfigError(f"{len(wrong)} of {len(found)} launch files are wrong: {', '.join(wrong)}; see the lines above")
    return found


def check_file(path: Path, root: Path) -> Found:
    """Check one file; what is wrong stands in the result. SkyPilot, which takes longer, is asked where the rest is right."""
    found = Found(path)
    if not path.is_file():
        found.errors.append("there is no such file")
        return found
    text = path.read_text()
    try:
        tasks = [task for task in yaml.safe_load_all(text) if task is not None]
    except yaml.YAMLError as error:
        found.errors.append(f"not YAML: {_short(error)}")
        return found
    bodies = [
        task for task in tasks if isinstance(task, dict) and set(task) - {"name"}
    ]  # a pipeline's first document is its name
    if not bodies or not all(isinstance(task, dict) for task in tasks):
        found.errors.append("not a task: write keys and values, as the other files in sky/ do")
        return found
    if SECRET_VALUE.search(text):
        found.errors.append("a secret is written in the file; take it out, make a new one, and pass it by --secret")
    for task in bodies:
        found.errors += _secrets(task) + _scripts(task, root) + _calls(task) + _preset(task) + _disk(task)
        found.needs += [k for kind in ("envs", "secrets") for k, v in (task.get(kind) or {}).items() if v is None]
    found.needs = list(dict.fromkeys(found.needs))
    found.errors += _stage(path, bodies)
    if not found.errors:
        _construct(path, bodies, root, found)
    return found


def _secrets(task: dict[str, Any]) -> list[str]:
    wrong = [
        f"secrets.{name}: its value is written in the file; write null and pass it by --secret {name}"
        for name, value in (task.get("secrets") or {}).items()
        if value not in (None, "")
    ]
    wrong += [f"envs.{name}: belongs under secrets" for name in task.get("envs") or {} if SECRET_NAME.search(name)]
    return wrong


def _scripts(task: dict[str, Any], root: Path) -> list[str]:
    wrong = []
    for part in ("setup", "run"):
        script = task.get(part) or ""
        wrong += [f"{part}: {message}" for message in _bash(script)]
        if len(script.splitlines()) > 1 and not script.startswith("set -euo pipefail\n"):
            wrong.append(f"{part}: begin with `set -euo pipefail`, else only the last command's failure counts")
        for name in NAMED.findall(script):
            if not (root / name).is_file():
                wrong.append(f"{part}: names {name}, which is not in the repository")
            elif name.endswith(".sh"):
                wrong += [f"{name}: {message}" for message in _bash((root / name).read_text())]
    return wrong


def _bash(script: str) -> list[str]:
    parsed = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, timeout=10)
    return [_short(parsed.stderr)] if parsed.returncode else []


def _calls(task: dict[str, Any]) -> list[str]:
    """Commands and flags, against the command line itself."""
    wrong = []
    for command, words in CALL.findall((task.get("run") or "").replace("\\\n", " ")):
        flags = flags_of(command)
        if flags is None:
            wrong.append(f"run: `tenet {command}` is not a command; `tenet --help` lists them")
            continue
        given = re.findall(r"(?<=\s)--[\w-]+(?:\.[\w-]+)*", words)
        wrong += [
            f"run: `tenet {command}` has no {flag}; `tenet {command} --help` lists its flags"
            for flag in given
            if flag not in flags
        ]
    return wrong


@cache
def flags_of(command: str) -> frozenset[str] | None:
    """Flags that a command's own help shows; None where there is no such command."""
    from tenet.cli import main

    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
        if main([command, "--help"]) != 0:
            return None
    return frozenset(re.findall(r"--[\w-]+(?:\.[\w-]+)*", shown.getvalue()))


def _preset(task: dict[str, Any]) -> list[str]:
    from tenet.config import load_preset

    name = (task.get("envs") or {}).get("PRESET")
    try:
        if name is not None:
            load_preset(str(name))
    except ConfigError as error:
        return [f"envs.PRESET: {error}"]
    return []


def _disk(task: dict[str, Any]) -> list[str]:
    """Several nodes read each other's files at once (checkpoints, rows); a bucket's write cache shows them when they are uploaded."""
    envs, mounts = task.get("envs") or {}, task.get("file_mounts") or {}
    nodes, runs = task.get("num_nodes") or 1, str(envs.get("RUNS") or "")
    if nodes == 1 or runs not in mounts or "://" not in str(mounts[runs]):
        return []
    return [
        f"num_nodes is {nodes} and envs.RUNS is {runs}, a bucket; several nodes need LUSTRE and RUNS: /fsx/checkpoints (docs/researcher.md)"
    ]


def _stage(path: Path, tasks: Iterable[dict[str, Any]]) -> list[str]:
    """File name, task name and command are one word."""
    from tenet.stages import STAGES

    if path.stem not in STAGES:
        return []
    task = next(iter(tasks))
    called = [command for command, _ in CALL.findall(task.get("run") or "")]
    wrong = [] if task.get("name") == path.stem else [f"name is {task.get('name')!r}; it is the file's: {path.stem}"]
    return wrong if path.stem in called else [*wrong, f"run: does not call `tenet {path.stem}`"]


def _construct(path: Path, bodies: list[dict[str, Any]], root: Path, found: Found) -> None:
    """SkyPilot reads the file as a launch does, and chooses machines."""
    try:
        from sky.utils import dag_utils, yaml_utils

        from sky import sky_logging
    except ImportError:
        raise ConfigError(
            "SkyPilot is not installed; `pip install -c constraints.txt -e '.[cloud]'` installs what `tenet sky` needs"
        ) from None
    given = {
        kind: [(k, "value") for k in {k for body in bodies for k, v in (body.get(kind) or {}).items() if v is None}]
        for kind in ("envs", "secrets")
    }
    with contextlib.chdir(root), sky_logging.silent(), catalog.offline(), tracebacks_kept():
        try:
            yaml_utils.check_no_duplicate_keys(path.read_text())
            dag = dag_utils.load_chain_dag_from_yaml(str(path.resolve()), given["envs"], given["secrets"])
        except Exception as error:  # SkyPilot raises ValueError, AssertionError and others of its own
            found.errors.append(_short(error))
            return
        for task in dag.tasks:
            try:
                task.validate(skip_file_mounts=True)
                for target, source in (task.file_mounts or {}).items():
                    if "://" not in str(source) and not Path(source).expanduser().exists():
                        found.errors.append(f"file_mounts.{target}: there is no {source}")
                _choose(task, found)
            except Exception as error:
                found.errors.append(f"{task.name}: {_short(error)}")


def _choose(task: Any, found: Found) -> None:
    """The machine that the optimizer takes; what runs on it is compared with what the file says of it."""
    wanted = (task.num_nodes, repr(task.resources))
    if wanted not in _chosen:  # stages share their machines, and the optimizer takes most of the time
        _chosen[wanted] = _optimized(task)
    best = _chosen[wanted]
    found.rents.append(f"{task.num_nodes} x {best.instance_type}{' spot' if best.use_spot else ''}")
    said = task.envs.get("INSTANCE")
    if said and said != best.instance_type:
        found.errors.append(f"envs.INSTANCE is {said} and SkyPilot takes {best.instance_type}; write that")


_chosen: dict[tuple[int, str], Any] = {}


def _optimized(task: Any) -> Any:
    import sky
    from sky import optimizer

    with sky.Dag() as dag:
        alone = sky.Task(name="choice", run="true", num_nodes=task.num_nodes)
        alone.set_resources(task.resources)
        dag.add(alone)
    with contextlib.redirect_stdout(io.StringIO()):
        optimizer.Optimizer.optimize(dag, quiet=True)
    return alone.best_resources


def _short(error: object) -> str:
    """One line without colours."""
    plain = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
    return plain[:400] or type(error).__name__
