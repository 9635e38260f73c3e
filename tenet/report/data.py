"""One way to read a stage's folder for people: report cells, the index page and the terminal all go through `load`.

It is strict where a number would be wrong (another stage's summary, a figure without a value) and tolerant where
something is only absent: what is not there is listed in `Stage.missing`, so that a page shows the gap instead of hiding
it.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError, StageError
from tenet.files import read_json, read_jsonl, sha256
from tenet.runs.summary import Figure

#: (step, stage, title, what it does): the ten steps as a reader meets them; one notebook each.
STEPS: tuple[tuple[int, str, str, str], ...] = (
    (1, "corpus", "Corpus", "Sources become clean, deduplicated, tokenised text."),
    (2, "plan", "Plan", "Size, time, money and electricity, before anything runs."),
    (3, "model", "Model", "The decoder checks itself against transformers."),
    (4, "pretrain", "Pretrain", "Next-token training from the corpus."),
    (5, "finetune", "Finetune", "Supervised fine-tuning on conversations, loss on answers only."),
    (5, "dpo", "DPO", "Preferences learnt directly from pairs, without a reward model."),
    (5, "reward", "Reward", "A reward model from pairs of a better and a worse answer."),
    (5, "rlhf", "RLHF", "The policy is optimised for reward, with a limit on how far it may drift."),
    (6, "constitutional", "Constitutional", "Principles: critique, revision and AI feedback."),
    (7, "redteam", "Red team", "Attacks, failure modes, fixes, and attacks again."),
    (8, "evaluate", "Evaluate", "Benchmarks over all checkpoints, side by side."),
    (9, "deploy", "Deploy", "A verified export goes where the server takes it from."),
    (10, "serve", "Serve", "The model answers Amazon Bedrock's API."),
)
STAGES = tuple(name for _, name, _, _ in STEPS)
#: Stages that only a pipeline which names them has.
UNUSUAL = ("dpo",)


def left_out(run: Path) -> dict[str, str]:
    """Stages that a whole run left out, each with its reason, as `tenet run` wrote them."""
    path = run / "pipeline.json"
    found: dict[str, str] = read_json(path)["left_out"] if path.exists() else {}
    return found


def steps_of(run: Path) -> tuple[tuple[int, str, str, str], ...]:
    """The steps of one run: those of its pipeline, left out or not, and whatever else has a folder there."""
    path = run / "pipeline.json"
    wanted = {*read_json(path)["stages"], *left_out(run)} if path.exists() else set(STAGES) - set(UNUSUAL)
    return tuple(step for step in STEPS if step[1] in wanted or (run / step[1]).is_dir() or (run / f"{step[1]}.partial").is_dir())


#: step -> value; a value may be NaN, which the page then says.
Series = list[tuple[float, float]]


@dataclass(frozen=True)
class Stage:
    """A finished stage, read once.

    Args:
        run, name, step, title, about: which one it is.
        record: run.json; summary: summary.json; figures: its figures, the key figure first.
        metrics: name -> points of metrics.csv (and of metrics-PART.csv).
        missing: what a reader might expect and what is not there, one sentence each.
    """

    run: Path
    name: str
    step: int
    title: str
    about: str
    record: dict[str, Any]
    summary: dict[str, Any]
    figures: list[Figure]
    metrics: dict[str, Series] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def dir(self) -> Path:
        """The stage's folder."""
        return self.run / self.name

    @property
    def key(self) -> Figure | None:
        """The key figure."""
        return self.figures[0] if self.figures else None

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A JSONL file of the stage; an absent one is empty."""
        path = self.dir / name
        return read_jsonl(path) if path.exists() else []

    def judged(self) -> list[tuple[str, dict[str, Any]]]:
        """Judged rows with the file of each: rows.jsonl, or one file a task in rows/."""
        files = [self.dir / "rows.jsonl", *sorted((self.dir / "rows").glob("*.jsonl"))]
        return [(path.relative_to(self.dir).as_posix(), row) for path in files if path.exists() for row in read_jsonl(path)]

    def json(self, name: str) -> Any:
        """A JSON file of the stage; an absent one is None."""
        path = self.dir / name
        return read_json(path) if path.exists() else None


def step_of(stage: str) -> tuple[int, str, str, str]:
    """Row of `STEPS` for a stage.

    Raises:
        ConfigError: no such stage.
    """
    for row in STEPS:
        if row[1] == stage:
            return row
    raise ConfigError(f"stage {stage}: no such stage; there are {', '.join(STAGES)}")


def load(run: Path | str, stage: str, verify: bool = True) -> Stage:
    """Read a finished stage.

    Args:
        run: run folder.
        stage: its name.
        verify: hold the files against their hashes in run.json; the terminal's table does without.

    Raises:
        ConfigError: no such stage.
        StageError: the stage is not finished, or its files belong to another one.
    """
    run = Path(run)
    step, name, title, about = step_of(stage)
    folder = run / name
    if not (folder / "run.json").exists():
        raise StageError(f"{folder}: stage {name} is not finished; run `tenet {name} --run {run}` first")
    record, summary = read_json(folder / "run.json"), read_json(folder / "summary.json")
    for file, content in (("run.json", record), ("summary.json", summary)):
        if content.get("stage") != name:
            raise StageError(f"{folder / file}: stage is {content.get('stage')!r}, not {name!r}; this is another stage's file")
    figures = [_figure(entry, folder / "summary.json") for entry in summary.get("figures", [])]
    metrics = all_metrics(folder)
    return Stage(
        run, name, step, title, about, record, summary, figures, metrics, _missing(folder, record, figures) if verify else []
    )


def _figure(entry: dict[str, Any], where: Path) -> Figure:
    known = {f.name for f in dataclasses.fields(Figure)}
    if "name" not in entry or "value" not in entry:
        raise StageError(f"{where}: a figure has no name or no value ({entry}); run the stage again with --fresh")
    figure = Figure(**{key: value for key, value in entry.items() if key in known})
    return dataclasses.replace(figure, value=math.nan if figure.value is None else float(figure.value))


#: Files above this are checked by size only: hashing a gigabyte for a report would take longer than the report.
HASHED_BYTES = 16_000_000


def _missing(folder: Path, record: dict[str, Any], figures: list[Figure]) -> list[str]:
    """Compare the folder with what run.json says it holds."""
    found = [] if figures else ["summary.json holds no figure"]
    for entry in record.get("outputs", []):
        path = folder / entry["path"]
        if not path.exists():
            found.append(f"{entry['path']} is listed in run.json and is not there")
        elif path.stat().st_size != entry["bytes"] or (
            entry["bytes"] <= HASHED_BYTES and _sha256(path, path.stat().st_mtime_ns) != entry["sha256"]
        ):
            found.append(f"{entry['path']} differs from its hash in run.json: it was changed after the stage had ended")
    return found


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, _changed: int) -> str:
    return sha256(path)


def all_metrics(folder: Path) -> dict[str, Series]:
    """metrics.csv, and the curves of a stage's parts (`metrics-PART.csv`) with the part before the name."""
    found = read_metrics(folder / "metrics.csv")
    for path in sorted(folder.glob("metrics-*.csv")):
        part = path.stem.removeprefix("metrics-")
        found |= {f"{part}/{name}": series for name, series in read_metrics(path).items()}
    return found


def read_metrics(path: Path) -> dict[str, Series]:
    """metrics.csv as name -> points; empty cells are steps at which a metric was not logged.

    Raises:
        StageError: names the file and line that cannot be read.
    """
    if not path.exists():
        return {}
    series: dict[str, Series] = {}
    with open(path, newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                step = float(row.pop("step"))
                for name, cell in row.items():
                    if cell:
                        series.setdefault(name, []).append((step, float(cell)))
            except (KeyError, TypeError, ValueError) as error:
                raise StageError(f"{path}:{number}: cannot be read as `step,<name>,...` numbers ({error})") from None
    return series


def flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Nested mappings as (dotted key, leaf) pairs; lists stay whole."""
    if isinstance(value, dict) and value:
        return [pair for key, inner in value.items() for pair in flat(inner, f"{prefix}.{key}" if prefix else str(key))]
    return [(prefix, value)]
