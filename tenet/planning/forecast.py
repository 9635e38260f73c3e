"""What a preset will cost on a cluster, before anything is rented; and afterwards, planned against actual.

    tenet plan --preset 400b --cluster p5.48xlarge:256 --tokens 8T

Free of torch: a plan of all presets takes less than two seconds. `estimate` counts FLOPs and bytes; `planning/` holds
the roofline, interruptions, serving, the search for a sharding and the tables.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenet.files import read_json
from tenet.planning import estimate, roofline
from tenet.planning.assumptions import assumptions
from tenet.planning.memory import USABLE, Memory, stage_memory
from tenet.planning.roofline import Step
from tenet.planning.serving import Serving, serving
from tenet.planning.settings import check, count, placed, replicas
from tenet.planning.stages import Interruptions, StagePlan, interruptions, stage_plan
from tenet.runs.lineage import stages_of
from tenet.settings.plan import PlanConfig
from tenet.settings.preset import PRESETS, Preset, load_preset

EXAMPLES = """examples:
  tenet plan --preset 400b --cluster p5.48xlarge:256 --tokens 8T          what it takes, and what it waits for
  tenet plan --preset 70b --fit                                           the cheapest sharding that fits
  tenet plan --preset 8b --cluster p5en.48xlarge:64 --deadline-days 10    the cheapest of at most 64 machines in time
  tenet plan --preset 8b --mfu 0.4 --price block --region eu-north-1      other assumptions
  tenet plan --preset 8b --serve g6e.12xlarge --serve_answer 1000         tokens per second and dollars per million
  tenet plan --all                                                        one line for every preset
"""


@dataclass(frozen=True)
class MemoryPlan:
    """Memory of one device at the worst moment of a stage, by part, and whether it is there."""

    parts: Memory
    capacity: float

    @property
    def fits(self) -> bool:
        """A tenth is left to the allocator, the communication library and the context."""
        return self.parts.total <= USABLE * self.capacity


@dataclass(frozen=True)
class Plan:
    """All of it."""

    preset: str
    about: str
    cluster: str
    price: str
    devices: int
    parameters: int
    replicas: int
    stages: list[StagePlan]
    memory: list[MemoryPlan]
    step: Step
    interruptions: Interruptions
    serving: Serving
    assumptions: list[str]

    @property
    def total(self) -> StagePlan:
        """Sum of the stages; tokens of different kinds are added too, so read them with care."""
        names = ("tokens", "flops", "work_seconds", "seconds", "gpu_hours", "dollars", "joules", "kwh", "kg_co2")
        summed = {name: sum(getattr(s, name) for s in self.stages) for name in names}
        most = max(stage.trained for stage in self.stages)
        return StagePlan("all", self.parameters, most, devices=self.devices, mfu=math.nan, bound="", **summed)


def plan(preset: Preset, config: PlanConfig | None = None, counts: estimate.Counts | None = None) -> Plan:
    """Plan every stage of a preset.

    Args:
        preset: what is to run.
        config: where and under which assumptions; None takes the preset's own.
        counts: what the run's files say about its work; None takes the defaults.

    Raises:
        ConfigError: names the setting that cannot be.
    """
    config = config or preset.plan
    check(config)
    where = placed(preset, config)
    found = replicas(preset, where)
    tokens = count(config.tokens)
    step = roofline.pretrain_step(preset, where, config)
    counts = counts or estimate.Counts()
    work = estimate.work(preset, tokens, counts)
    stages = [stage_plan(each, preset, where, config) for each in work]
    kept = [stage_memory(preset, stage.devices, where.memory, each) for each, stage in zip(work, stages, strict=True)]
    return Plan(
        preset=preset.name,
        about=preset.about,
        cluster=where.name,
        price=config.price,
        devices=where.devices,
        parameters=preset.model.parameters(),
        replicas=found,
        stages=stages,
        memory=[MemoryPlan(parts, where.memory) for parts in kept],
        step=step,
        interruptions=interruptions(preset, where, config, stages[0]),
        serving=serving(preset, where, config),
        assumptions=assumptions(preset, where, config, tokens, counts),
    )


def overview() -> list[Plan]:
    """Every preset on its own cluster, smallest first."""
    made = [plan(load_preset(str(path))) for path in PRESETS.glob("*.yaml")]
    return sorted(made, key=lambda each: each.parameters)


def actual(run: Path) -> list[dict[str, Any]]:
    """Planned against actual for the finished stages of a run: seconds, joules and FLOPs with the ratio actual to
    planned.

    Stages that the plan does not know (corpus, model, deploy, serve) are left out.

    Raises:
        StageError: the run has no plan.
    """
    planned = {s["stage"]: s for s in read_json(run / "plan" / "plan.json")["plan"]["stages"]}
    rows = []
    for stage, record in stages_of(run).items():
        if stage not in planned or record.get("status") != "done":
            continue
        row: dict[str, Any] = {"stage": stage}
        for key in ("seconds", "joules", "flops"):
            expected, found = planned[stage][key], record.get(key) or 0
            row |= {f"planned_{key}": expected, f"actual_{key}": found, f"{key}_ratio": found / expected if expected else None}
        rows.append(row)
    return rows


def to_json(made: Plan) -> dict[str, Any]:
    """Plain values, with the sums and whether it fits beside what they are made from; what is infinite or unknown is
    null."""
    content = dataclasses.asdict(made)
    content["memory"] = [
        {**dataclasses.asdict(m.parts), "total": m.parts.total, "capacity": m.capacity, "fits": m.fits} for m in made.memory
    ]
    content["step"] |= {"bound": made.step.bound, "exposed": made.step.exposed}
    finite: dict[str, Any] = _finite({**content, "total": dataclasses.asdict(made.total)})
    return finite


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def render(made: Plan, searched: bool = False) -> str:
    """The plan as plain text: a screen of results, then what they are made of."""
    from tenet.planning.tables import details, summary

    return _text((*summary(made, searched), *details(made)))


def overview_text() -> str:
    """One line for each preset."""
    from tenet.planning.tables import overview_table

    return _text((overview_table(overview()),))


def _text(parts: Iterable[Any], width: int = 118) -> str:
    """Lines folded at a reader's width; tables as wide as they are."""
    from rich.console import Console

    text = io.StringIO()
    console = Console(file=text, width=200, color_system=None, highlight=False, markup=False)
    for part in parts:
        if isinstance(part, str):
            inner = " " * (len(part) - len(part.lstrip()) + 4)
            part = "\n".join(textwrap.wrap(part, width, subsequent_indent=inner, break_on_hyphens=False)) or ""
        console.print(part)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def plan_text(
    preset: Preset,
    config: PlanConfig,
    as_json: bool = False,
    search: bool = False,
    deadline_days: float = 0.0,
    counts: estimate.Counts | None = None,
) -> str:
    """What `tenet plan` prints.

    Args:
        preset: whose stages are planned.
        config: cluster and assumptions.
        as_json: print JSON instead of tables.
        search: choose sharding, rows of one forward and recomputation first; deadline_days: longest pretraining,
            implies it.
        counts: as `plan` takes them.
    """
    note = ""
    if search or deadline_days:
        from tenet.planning.fit import fit, report

        found = fit(preset, config, deadline_days)
        preset, config, note = found.preset, found.config, report(found)
    made = plan(preset, config, counts)
    if as_json:
        return json.dumps({**to_json(made), **({"fit": note} if note else {})}, indent=2)
    return (note + "\n" if note else "") + render(made, bool(note))
