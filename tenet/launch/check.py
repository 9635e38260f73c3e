"""`tenet sky check`: whether the launch files can work, found out here and not on a rented machine.

SkyPilot's own schema and classes read each file and its optimizer chooses a machine; the files, presets, commands and
flags that it names are looked up; its shell is parsed; no secret may be written in it. Nothing is asked of a network.
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tenet.errors import ConfigError
from tenet.flags import DOMAIN_VARIABLE
from tenet.hardware import INSTANCES
from tenet.launch import catalog, words
from tenet.launch.kubernetes import room
from tenet.launch.sky import tracebacks_kept

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


@dataclass(frozen=True)
class Given:
    """What a launch is told beside its file.

    Args:
        nodes: `--num-nodes`; 0 leaves the file's.
        envs: `--env` and `--env-file`.
        infra: `--infra`; empty leaves the file's.
    """

    nodes: int = 0
    envs: Mapping[str, str] = field(default_factory=dict)
    infra: str = ""

    @classmethod
    def read(cls, nodes: int, pairs: Iterable[str], file: Path | None, infra: str = "") -> Given:
        """As SkyPilot reads them: `--env NAME=VALUE` counts more than the file's line.

        Raises:
            ConfigError: a negative number, no such file, or a word that is no pair.
        """
        if nodes < 0:
            raise ConfigError(f"--num-nodes is {nodes}; give 1 or more")
        if file is not None and not file.is_file():
            raise ConfigError(f"--env-file {file}: there is no such file; it holds NAME=VALUE lines")
        lines = file.read_text().splitlines() if file is not None else []
        written = [line.removeprefix("export ").strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        found = {}
        for where, pair in [*((f"--env-file {file}", line) for line in written), *(("--env", pair) for pair in pairs)]:
            name, equals, value = pair.partition("=")
            if not equals or not name.isidentifier():
                raise ConfigError(f"{where}: {pair!r} is not NAME=VALUE")
            found[name] = value.strip("\"'")
        return cls(nodes, found, infra)

    def put_into(self, task: dict[str, Any]) -> dict[str, Any]:
        """The task as it would be launched."""
        envs = {name: self.envs.get(name, value) for name, value in (task.get("envs") or {}).items()}
        return {**task, "envs": envs} | ({"num_nodes": self.nodes} if self.nodes and "num_nodes" in task else {})


def check_all(paths: list[Path], root: Path, say: Callable[[str], None], given: Given | None = None) -> list[Found]:
    """Check files, or all of `root/sky`.

    Args:
        paths: files; empty takes all of `sky/`.
        root: folder of the repository, which the files take as their workdir.
        say: is given one line a file.
        given: what the launch would be told too.

    Raises:
        ConfigError: there is no file, or one of them is wrong.
    """
    files = paths or sorted((root / "sky").glob("*.yaml"))
    if not files:
        raise ConfigError(f"no launch file in {root / 'sky'}; start `tenet sky check` in the repository, or name the files")
    found = [check_file(path, root, given) for path in files]
    for one in found:
        say(one.line())
    wrong = [one.path.name for one in found if one.errors]
    if wrong:
        raise ConfigError(f"{len(wrong)} of {len(found)} launch files are wrong: {', '.join(wrong)}; see the lines above")
    return found


def check_file(path: Path, root: Path, given: Given | None = None) -> Found:
    """Check one file; what is wrong stands in the result. SkyPilot, which takes longer, is asked where the rest is
    right."""
    found, given = Found(path), given or Given()
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
    known = {name for task in bodies for name in task.get("envs") or {}}
    found.errors += [f"--env {name}: the file has {', '.join(sorted(known))}" for name in given.envs if name not in known]
    if given.nodes and len(bodies) > 1:
        found.errors.append(
            f"SkyPilot passes --num-nodes over for a pipeline; write one with `tenet sky pipeline --num-nodes {given.nodes}`"
        )
    bodies = [given.put_into(task) for task in bodies]
    for task in bodies:
        found.errors += _secrets(task) + _scripts(task, root) + _calls(task, root) + _preset(task) + _disk(task)
        found.errors += _spot(task, path) if given.infra.split("/")[0] in ("kubernetes", "k8s") else []
        found.needs += [k for kind in ("envs", "secrets") for k, v in (task.get(kind) or {}).items() if v is None]
        _subject(task, found)
    found.needs = list(dict.fromkeys(found.needs))
    found.errors += _stage(path, bodies)
    if not found.errors:
        _construct(path, bodies, root, found, given.envs)
        found.errors += [f"head: {problem}" for line in words.commands_of_head(text) for problem in words.wrong(line, root)]
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


def _calls(task: dict[str, Any], root: Path) -> list[str]:
    """Commands and flags, against the command line itself."""
    lines = (task.get("run") or "").replace("\\\n", " ").splitlines()
    return [f"run: {problem}" for line in lines for problem in words.wrong(line, root)]


def _preset(task: dict[str, Any]) -> list[str]:
    name = (task.get("envs") or {}).get("PRESET")
    try:
        if name is not None:
            words.preset(str(name))
    except ConfigError as error:
        return [f"envs.PRESET: {error}"]
    return []


def _subject(task: dict[str, Any], found: Found) -> None:
    """A stage that lacks its part of a subject ends at once on the machine that was rented for it; here it is a
    need."""
    from tenet.pipeline.chain import lacks
    from tenet.pipeline.run import domain_of
    from tenet.pipeline.table import STAGES

    envs, stage = task.get("envs") or {}, str(task.get("name"))
    if stage not in STAGES or not envs.get("PRESET") or _preset(task):
        return
    preset = words.preset(str(envs["PRESET"]))
    try:
        subject = domain_of(preset, envs.get(DOMAIN_VARIABLE) or None)
    except ConfigError as error:
        found.errors.append(f"envs.{DOMAIN_VARIABLE}: {error}")
        return
    if reason := lacks(stage, preset, subject):
        found.needs.append(f"{DOMAIN_VARIABLE} ({stage}: {reason})")


def _cut(task: dict[str, Any]) -> list[str]:
    """The preset cuts its models over as many processes as would be started, which else is found out on rented
    machines."""
    from lightning_modules.distributed.sharding import check
    from tenet.pipeline.table import STAGES

    name, stage, processes = task["envs"].get("PRESET"), STAGES.get(str(task.get("name"))), _processes(task)
    parallel = getattr(getattr(words.preset(str(name)), stage.section), "parallel", None) if name and stage else None
    try:
        if parallel is not None and processes:
            check(parallel, processes)
    except ValueError as error:
        return [f"envs.PRESET {name} on {task.get('num_nodes') or 1} nodes: {error}"]
    return []


def _processes(task: dict[str, Any]) -> int:
    """How many processes train: NPROC, or one for each accelerator, on each node; 0 where the file does not say."""
    resources = task.get("resources") or {}
    choices = [resources, *resources.get("ordered", []), *resources.get("any_of", [])]
    asked = next((str(choice["accelerators"]) for choice in choices if "accelerators" in choice), "")
    each = str((task.get("envs") or {}).get("NPROC") or asked.partition(":")[2])
    return int(each) * (task.get("num_nodes") or 1) if each.isdigit() else 0


def _disk(task: dict[str, Any]) -> list[str]:
    """Several nodes read each other's files at once (inputs, checkpoints); a bucket's write cache shows them when they
    are uploaded."""
    envs, mounts = task.get("envs") or {}, task.get("file_mounts") or {}
    nodes, runs = task.get("num_nodes") or 1, str(envs.get("RUNS") or "")
    if envs.get("LUSTRE") and not runs.startswith("/fsx/"):
        return [f"envs.LUSTRE is mounted on /fsx and envs.RUNS is {runs}; give RUNS=/fsx/checkpoints"]
    if nodes > 1 and "://" in str(mounts.get(runs, "")):
        return [
            f"num_nodes is {nodes} and envs.RUNS is {runs}, a bucket; several nodes need LUSTRE and RUNS=/fsx/checkpoints (docs/researcher.md)"
        ]
    return []


def _spot(task: dict[str, Any], path: Path) -> list[str]:
    """A cluster sells no spot machines: a file that takes nothing else has another form for it."""
    resources = task.get("resources") or {}
    choices = [*resources.get("ordered", []), *resources.get("any_of", [])] or [resources]
    if all({**resources, **choice}.get("use_spot") for choice in choices):
        way = f"`tenet sky kubernetes {path} --runs FOLDER` writes it without spot and bucket, for a volume that pods share"
        return [f"resources: every choice is spot, and Kubernetes has none; {way}"]
    return []


def _stage(path: Path, tasks: Iterable[dict[str, Any]]) -> list[str]:
    """File name, task name and command are one word."""
    from tenet.pipeline.table import STAGES

    if path.stem not in STAGES:
        return []
    task = next(iter(tasks))
    called = [command for command, _ in CALL.findall(task.get("run") or "")]
    wrong = [] if task.get("name") == path.stem else [f"name is {task.get('name')!r}; it is the file's: {path.stem}"]
    return wrong if path.stem in called else [*wrong, f"run: does not call `tenet {path.stem}`"]


def _construct(path: Path, bodies: list[dict[str, Any]], root: Path, found: Found, envs: Mapping[str, str]) -> None:
    """SkyPilot reads the file as a launch does, and chooses machines."""
    try:
        from sky.utils import dag_utils, yaml_utils

        from sky import sky_logging
    except ImportError:
        raise ConfigError(
            "SkyPilot is not installed; `pip install -c constraints.txt -e '.[cloud]'` installs what `tenet sky` needs"
        ) from None
    values = {
        kind: [(k, "value") for k in {k for body in bodies for k, v in (body.get(kind) or {}).items() if v is None}]
        for kind in ("envs", "secrets")
    }
    with contextlib.chdir(root), sky_logging.silent(), catalog.offline(), tracebacks_kept():
        try:
            yaml_utils.check_no_duplicate_keys(path.read_text())
            dag = dag_utils.load_chain_dag_from_yaml(str(path.resolve()), [*values["envs"], *envs.items()], values["secrets"])
        except Exception as error:  # SkyPilot raises ValueError, AssertionError and others of its own
            found.errors.append(_short(error))
            return
        for task, body in zip(dag.tasks, bodies, strict=True):
            try:
                task.num_nodes = body.get("num_nodes") or 1
                task.validate(skip_file_mounts=True)
                for target, source in (task.file_mounts or {}).items():
                    if "://" not in str(source) and not Path(source).expanduser().exists():
                        found.errors.append(f"file_mounts.{target}: there is no {source}")
                _choose(task, found)
                found.errors += _cut(body)
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
    found.errors += [problem for choice in task.resources for problem in _room(choice)]


def _room(choice: Any) -> list[str]:
    """A pod gets what it asks for, and with no number SkyPilot asks for 4 CPUs and 16 GB a GPU: a sixth of what
    p5.48xlarge has."""
    for name, count in (choice.accelerators or {}).items():
        machines = [row for row in INSTANCES.values() if (catalog.accelerator(row), row.count) == (name, count)]
        wanted = [room(row) for row in machines]
        if wanted and (choice.cpus, choice.memory) not in [(f"{cpus}+", f"{memory}+") for cpus, memory in wanted]:
            cpus, memory = wanted[0]
            asked = f"cpus {choice.cpus or 'no number'} and memory {choice.memory or 'no number'}"
            return [
                f"resources: {name}:{count} with {asked}; write cpus: {cpus}+ and memory: {memory}+, what {machines[0].name} has"
            ]
    return []


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
