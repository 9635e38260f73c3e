"""Step 8: every checkpoint of the run on the same tasks, side by side, with error bars.

    tenet evaluate --run runs/demo --rows 200 --fresh

All checkpoints get the same rows, so that two of them are compared row by row: most of what makes a question hard is
hard for both and cancels out. What a figure was computed from is in rows/TASK.jsonl, rows in the order of the data;
nothing is reported that cannot be recomputed from it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from lightning_modules.generation.protocol import Sampling
from tenet.assistant.assistant import Assistant
from tenet.domains.domain import Domain
from tenet.domains.loading import load_code
from tenet.errors import ConfigError, StageError
from tenet.evaluate.items import Loaded, NoQuestions, load_items
from tenet.evaluate.runner import missing, run_task
from tenet.evaluate.tasks import Task, expand, load_task
from tenet.files import read_jsonl, write_jsonl
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.settings.evaluate import EvaluateConfig
from tenet.stats import Estimate, detectable, holm, paired, proportion, wilson
from tenet.verifiers import registry
from tenet.verifiers.instructions import instruction_level

Row = dict[str, Any]
#: Answers in which two models differ, for what can be foreseen of a comparison: usual for checkpoints of one run.
DIFFERING = 0.2
#: Task to checkpoint to share of right answers.
Results = dict[str, dict[str, Estimate]]


@dataclass(frozen=True)
class NotRun:
    """A task that a checkpoint could not be given. It is shown as such, never as 0."""

    task: str
    stage: str
    needs: str


def run(config: EvaluateConfig, ws: Workspace) -> Summary:
    """Evaluate the checkpoints and compare the last with the first."""
    from lightning_modules.training.trainer import prepare

    if not config.tasks:
        raise ConfigError(
            "evaluate.tasks is empty; name at least one file of tenet/evaluate/tasks, a task of the domain or the path of a YAML file"
        )
    # All data is read and checked before the first model is loaded.
    loaded, left_out = load_tasks(config, ws.domain, ws.input("corpus") if ws.has("corpus") else None, ws.seed)
    stages = candidates(config, ws)
    prepare(config.compute)
    rows, skipped, identities = _evaluate(config, ws, loaded, stages)
    for one in loaded:
        if mine := [row for row in rows if row["task"] == one.task.name]:
            write_jsonl(ws.dir / "rows" / f"{one.task.name}.jsonl", mine)
    scores = _by_task_and_stage(rows)
    results = {name: {stage: _estimate(group) for stage, group in by_stage.items()} for name, by_stage in scores.items()}
    comparisons = {row["task"]: row for row in _corrected([*_compare(scores, stages[0], stages[-1], ws.seed).values()])}
    answers = {
        one.task.name: _answers(rows, one.task.name) for one in loaded if one.task.kind != "choice" and one.task.name in results
    }
    # Of the last checkpoint, as the figures are.
    unread = {name: list(by_stage.values())[-1]["unread"] for name, by_stage in answers.items()}
    figures = _figures(loaded, results, comparisons, stages, ws.domain.key_task if ws.domain else "", unread)
    return Summary(
        headline=_headline(figures, comparisons) + (f"; not asked: {', '.join(left_out)}" if left_out else ""),
        figures=figures,
        tokens=sum(_tokens(row) for row in rows),
        details={
            "results": {name: {stage: asdict(e) for stage, e in by_stage.items()} for name, by_stage in results.items()},
            "comparisons": comparisons,
            "steps": _steps(scores, stages, ws.seed) if len(stages) > 2 else [],
            "not_asked": left_out,
            "tasks": {one.task.name: _disclosure(one) for one in loaded},
            "answers": answers,
            "not_run": [asdict(one) for one in skipped],
            "models": identities,
            "settings": {"rows": config.rows, "seed": ws.seed, "max_tokens": config.max_tokens, "greedy": True},
        },
    )


def load_tasks(
    config: EvaluateConfig, domain: Domain | None, corpus: Path | None, seed: int
) -> tuple[list[Loaded], dict[str, str]]:
    """The questions of every task, and why a task of the domain has none.

    Args:
        corpus: folder of the finished corpus stage, for the domain's tasks.

    Raises:
        ConfigError: a task that is named has no question, or none has one.
    """
    own = domain.tasks if domain else ()
    verifiers = registry(load_code(domain).verifiers if domain else {})
    loaded, left_out = [], {}
    count = 0 if config.rows == "all" else config.rows
    folder = Path(config.data) if config.data else None
    for name in task_names(config, domain):
        task = with_shots(load_task(name, own), config.shots)
        if task.own and corpus is None and name not in config.tasks:
            left_out[name] = f"task {name} reads {task.data}, and this run has no corpus; run `tenet corpus` first"
            continue
        try:
            loaded.append(load_items(task, count, seed, corpus, verifiers, folder))
        except NoQuestions as error:
            # A domain's task was written before it was known what is held out; one that is named must be asked.
            if name in config.tasks:
                raise
            left_out[name] = str(error)
    if not loaded:
        raise ConfigError("; ".join(left_out.values()))
    return loaded, left_out


def preview(config: EvaluateConfig, domain: Domain | None, corpus: Path | None, seed: int) -> list[str]:
    """What so many rows can show, before any model is asked: for each task the half width of an interval at one half,
    and the difference of two models that would be found four times in five."""
    loaded, left_out = load_tasks(config, domain, corpus, seed)
    lines = [f"not asked: {reason}" for reason in left_out.values()]
    for one in loaded:
        n = len(one.items)
        low, high = wilson(n / 2, n)
        seen = detectable(math.sqrt(DIFFERING / n))
        lines.append(
            f"task {one.task.name}: {n} of {one.available} rows; a share near one half is known to +-{(high - low) / 2:.1%}; two "
            f"models that differ in {DIFFERING:.0%} of the answers are told apart from {seen:.1%} on"
        )
    return lines


# --- asking ----------------------------------------------------------------------------------------------------------


def _evaluate(
    config: EvaluateConfig, ws: Workspace, loaded: Sequence[Loaded], stages: Sequence[str]
) -> tuple[list[Row], list[NotRun], dict[str, Any]]:
    """Rows of every task on every checkpoint, ordered by task and then by checkpoint."""
    sampling = Sampling(max_tokens=config.max_tokens)
    made: dict[tuple[str, str], list[Row]] = {}
    skipped: list[NotRun] = []
    identities = {}
    total = len(stages) * len(loaded)
    for stage in stages:
        assistant = _assistant(config, ws, stage)
        identities[stage] = assistant.identity()
        for one in loaded:
            ws.check()
            ws.progress(len(made) + len(skipped), total, f"{stage}: {one.task.name}, {len(one.items)} rows")
            if need := missing(assistant, one):
                skipped.append(NotRun(one.task.name, stage, need))
            else:
                made[one.task.name, stage] = _kept(ws, assistant, one, stage, sampling)
    ws.progress(total, total, "statistics")
    order = [(one.task.name, stage) for one in loaded for stage in stages]
    return [row for key in order for row in made.get(key, [])], skipped, identities


def task_names(config: EvaluateConfig, domain: Domain | None) -> list[str]:
    """The tasks to ask: names, files, and the domain's own in the place of "domain"."""
    names: list[str] = []
    for name in config.tasks:
        names += [path.stem for path in (domain.tasks if domain else ())] if name == "domain" else [name]
    if not names:
        raise ConfigError("evaluate.tasks names only the domain's own, and it has none; name tasks or files")
    return expand(names)


def with_shots(task: Task, shots: int | None) -> Task:
    """The task with as many examples as the settings say; one that takes none stays as it is (its disclosure says
    so)."""
    return task if shots is None or not task.takes_shots else dataclasses.replace(task, shots=shots)


def candidates(config: EvaluateConfig, ws: Workspace) -> tuple[str, ...]:
    """What is evaluated: folders and endpoints that the settings name, else this run's checkpoints in the order they
    were made.

    The first one is what the others are compared with.
    """
    named = config.models or ws.policies
    if not named:
        raise ConfigError("evaluate: no stage of this run makes a model; give --model DIR or --endpoint URL")
    return tuple(named)


def _assistant(config: EvaluateConfig, ws: Workspace, stage: str) -> Assistant:
    from tenet.serving.clients.bedrock import BedrockAssistant

    if stage.startswith(("http://", "https://")):
        return BedrockAssistant(stage, config.model_id)
    return _local(config, ws, stage)


def _local(config: EvaluateConfig, ws: Workspace, stage: str) -> Assistant:
    import torch

    from lightning_modules.data.chat import ChatTokenizer
    from tenet.assistant.local import LocalAssistant
    from tenet.posttrain.checkpoints import load_folder, model_of

    gpu = config.compute.accelerator == "gpu" or (config.compute.accelerator == "auto" and torch.cuda.is_available())
    folder = Path(stage) if config.models else ws.input(stage) / "model"
    model = (load_folder(folder, "evaluate.models") if config.models else model_of(ws, stage)).to("cuda" if gpu else "cpu")
    return LocalAssistant(model, ChatTokenizer.from_folder(folder), folder, batch=256 if gpu else 48, check=ws.check)


def _kept(ws: Workspace, assistant: Assistant, loaded: Loaded, stage: str, sampling: Sampling) -> list[Row]:
    """Rows that a killed run had finished are taken as they are: at 400B parameters one task is hours."""
    path = ws.dir / "checkpoints" / f"{_file_name(stage)}.{loaded.task.name}.jsonl"
    if not path.is_file():
        write_jsonl(path, run_task(assistant, loaded, stage, sampling))
    return read_jsonl(path)


def _file_name(stage: str) -> str:
    return re.sub(r"[^\w.-]+", "_", stage)


# --- what came out ---------------------------------------------------------------------------------------------------


def _by_task_and_stage(rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    groups: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        groups.setdefault(row["task"], {}).setdefault(row["stage"], []).append(row)
    return groups


def _estimate(rows: Sequence[Row]) -> Estimate:
    return proportion([row["score"] for row in rows], [row["cluster"] for row in rows])


def _compare(scores: dict[str, dict[str, list[Row]]], first: str, last: str, seed: int) -> dict[str, Row]:
    """One checkpoint against another, on the tasks that both were given; p is not yet corrected."""
    found = {}
    for name, stages in scores.items():
        if first != last and first in stages and last in stages:
            before, after = stages[first], stages[last]
            clusters = [row["cluster"] for row in before]
            one = paired([row["score"] for row in before], [row["score"] for row in after], clusters, seed)
            found[name] = {"task": name, "before": first, "after": last, **asdict(one)}
    return found


def _corrected(found: Sequence[Row]) -> list[Row]:
    """Comparisons with p corrected for their number."""
    return [{**row, "p_holm": p} for row, p in zip(found, holm([row["p"] for row in found]), strict=True)]


def _steps(scores: dict[str, dict[str, list[Row]]], made: Sequence[str], seed: int) -> list[Row]:
    """Every checkpoint against the one before it: which step of the training gained or lost what."""
    return _corrected([row for pair in pairwise(made) for row in _compare(scores, *pair, seed).values()])


def _figures(
    loaded: Sequence[Loaded],
    results: Results,
    comparisons: dict[str, Row],
    stages: Sequence[str],
    key_task: str,
    unread: dict[str, float],
) -> list[Figure]:
    """One figure a task, the key task first; without it, the mean over the own tasks leads."""
    tasks = [one for one in loaded if one.task.name in results]
    if not tasks:
        raise StageError("none of evaluate.tasks suits any checkpoint; add one that needs only what the models can do")
    figures = {
        one.task: _figure(one, results[one.task.name], comparisons.get(one.task.name), stages, unread.get(one.task.name, 0.0))
        for one in tasks
    }
    key = [figure for task, figure in figures.items() if task.name == key_task]
    if not key:
        key = [_mean([figure for task, figure in figures.items() if task.own] or list(figures.values()))]
    return key + [figure for figure in figures.values() if figure not in key]


def _figure(
    loaded: Loaded, by_stage: dict[str, Estimate], comparison: Row | None, stages: Sequence[str], unread: float
) -> Figure:
    last, first = by_stage.get(stages[-1]), by_stage.get(stages[0]) if len(stages) > 1 else None
    estimate = last or next(reversed(by_stage.values()))
    return Figure(
        name=f"{loaded.task.name}: {loaded.task.about}",
        value=estimate.value,
        unit=f"share ({loaded.task.metric})",
        before=first.value if first else None,
        baseline=loaded.baseline,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
        note=_note(loaded, comparison, unread),
    )


def _note(loaded: Loaded, comparison: Row | None, unread: float) -> str:
    """The paired difference, how far counting common words gets, and in how many answers none could be read."""
    parts = []
    if comparison:
        interval = f"[{comparison['low']:+.3f}, {comparison['high']:+.3f}], p {comparison['p_holm']:.2g} (Holm)"
        parts.append(f"{comparison['before']} to {comparison['after']}: {comparison['difference']:+.3f} {interval}")
    if loaded.overlap is not None:
        parts.append(f"the choice with most words in common: {loaded.overlap:.2f}")
    if unread:
        parts.append(f"no answer could be read in {unread:.0%} of what was said")
    return "; ".join(parts)


def _mean(figures: Sequence[Figure]) -> Figure:
    """Unweighted mean of several tasks. No interval: it would have to know how the tasks go together."""

    def mean(name: str) -> float | None:
        values = [getattr(figure, name) for figure in figures]
        return None if None in values else sum(values) / len(values)

    rows = sum(figure.n or 0 for figure in figures)
    return Figure("mean over tasks", mean("value") or 0.0, "share", mean("before"), mean("baseline"), n=rows)


def _headline(figures: Sequence[Figure], comparisons: dict[str, Row]) -> str:
    key = figures[0]
    name, _, what = key.name.partition(": ")
    before = "" if key.before is None else f" (base model {key.before:.0%})"
    chance = "" if not key.baseline else f", without a model {key.baseline:.0%}"
    moved = [task for task, c in comparisons.items() if c["p_holm"] < 0.05]
    rest = f"; {len(moved)} of {len(comparisons)} tasks differ from the base model (p < 0.05, Holm)" if comparisons else ""
    return f"{what or name}: {key.value:.0%}{before}{chance}{rest}"


#: What is counted beside the scores of generated answers: cut off by the most tokens, and no answer found in it.
_APART: dict[str, Callable[[Row], bool]] = {
    "cut_off": lambda row: row["finish"] != "stop",
    "unread": lambda row: not row["read"],
}


def _answers(rows: Sequence[Row], task: str) -> dict[str, dict[str, float]]:
    """For generated answers, by checkpoint: the mean of every partial score, and how many answers were cut off or could
    not be read."""
    out = {}
    for stage, group in _by_task_and_stage([row for row in rows if row["task"] == task]).get(task, {}).items():
        # A part may be there in some rows alone: each instruction of IFEval is one.
        names = dict.fromkeys(name for row in group for name in row["scores"])
        values = {name: [row["scores"][name] for row in group if name in row["scores"]] for name in names}
        parts = {name: sum(those) / len(those) for name, those in values.items()}
        if any(":" in name for name in names):
            parts["instruction_strict"], parts["instruction_loose"] = instruction_level(row["scores"] for row in group)
        out[stage] = {**parts, **{name: sum(map(found, group)) / len(group) for name, found in _APART.items()}}
    return out


def _disclosure(loaded: Loaded) -> dict[str, Any]:
    """What a reader needs to repeat the figure."""
    task = loaded.task
    stated = {name: getattr(task, name) for name in ("version", "kind", "metric", "shots", "data", "licence", "about")}
    counts = {"rows": len(loaded.items), "available": loaded.available, "skipped": loaded.skipped}
    without = {
        "baseline": loaded.baseline,
        "word_overlap": loaded.overlap,
        "majority": loaded.majority,
        "longest": loaded.longest,
    }
    return {**stated, **without, "sha256": loaded.sha256, **counts}


def _tokens(row: Row) -> int:
    tokens = row["tokens"]
    return sum(tokens) if isinstance(tokens, list) else tokens
