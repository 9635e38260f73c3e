"""What a preset will cost on a cluster, before anything is rented; and afterwards, planned against actual.

    tenet plan --preset 400b --cluster p5.48xlarge:256 --tokens 8e12

First form: time is FLOPs over peak times utilisation. Failures, the network and the price of idle nodes are not in it, and the
printed assumptions say so. Free of torch: a plan of all presets takes less than two seconds.
"""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenet import estimate, hardware, runs
from tenet.config import PRESETS, PlanConfig, Preset, load_preset
from tenet.errors import ConfigError
from tenet.estimate import Memory, Work
from tenet.hardware import Instance

#: Where a preset made for this machine is planned in the comparison of all presets.
SMALLEST = "p5.48xlarge:1"


@dataclass(frozen=True)
class Cluster:
    """So many machines of one type."""

    instance: Instance
    count: int

    @property
    def devices(self) -> int:
        """Accelerators; this machine counts as one device of several cores."""
        return 1 if self.instance.name == "local" else self.instance.count * self.count

    @property
    def flops(self) -> float:
        """Dense peak of all machines."""
        return self.instance.flops * self.count

    @property
    def memory(self) -> float:
        """Bytes on one device."""
        return hardware.local_memory() if self.instance.name == "local" else self.instance.device.memory

    @property
    def name(self) -> str:
        """As it is given on the command line."""
        return "local" if self.instance.name == "local" else f"{self.instance.name}:{self.count}"


@dataclass(frozen=True)
class StagePlan:
    """One row: what a stage computes and what that costs. `kwh` is at the meter of the data centre, `joules` at the machines."""

    stage: str
    parameters: int
    tokens: float
    flops: float
    seconds: float
    gpu_hours: float
    dollars: float
    joules: float
    kwh: float
    kg_co2: float


@dataclass(frozen=True)
class MemoryPlan:
    """Memory of one device at the worst moment of a stage, by part, and whether it is there."""

    parts: Memory
    capacity: float

    @property
    def fits(self) -> bool:
        """A tenth is left to the allocator, the communication library and the context."""
        return self.parts.total <= 0.9 * self.capacity


@dataclass(frozen=True)
class Plan:
    """All of it."""

    preset: str
    about: str
    cluster: str
    devices: int
    parameters: int
    replicas: int
    stages: list[StagePlan]
    memory: list[MemoryPlan]
    assumptions: list[str]

    @property
    def total(self) -> StagePlan:
        """Sum of the stages; tokens of different kinds are added too, so read them with care."""
        names = [f.name for f in dataclasses.fields(StagePlan) if f.name not in ("stage", "parameters")]
        summed = {name: sum(getattr(s, name) for s in self.stages) for name in names}
        return StagePlan("all", self.parameters, **summed)


def cluster_of(text: str) -> Cluster:
    """Read `TYPE:COUNT`, `TYPE` or `local`.

    Raises:
        ConfigError: no such type, or no count.
    """
    name, _, count = text.partition(":")
    machine = hardware.instance(name)
    if not count:
        return Cluster(machine, 1)
    if not count.isdigit() or int(count) < 1 or name == "local":
        raise ConfigError(f"plan.cluster is {text!r}; write TYPE:COUNT with a count of at least 1, e.g. p5.48xlarge:2, or local")
    return Cluster(machine, int(count))


def plan(
    preset: Preset,
    cluster: str = "local",
    mfu: float = 0.4,
    region: str = "us-east-1",
    pue: float = 1.2,
    tokens: float = 0.0,
) -> Plan:
    """Plan every stage of a preset on a cluster.

    Args:
        preset: what is to run.
        cluster: instance type and count, or "local".
        mfu: model FLOPs utilisation that training reaches.
        region: for the carbon of the electricity.
        pue: electricity of the data centre for each unit that its machines use.
        tokens: pretraining tokens; 0 takes the preset's own.

    Raises:
        ConfigError: names the setting that cannot be.
    """
    where = cluster_of(cluster)
    if where.instance.name == "local" and preset.pretrain.compute.threads:
        where = Cluster(hardware.local(min(preset.pretrain.compute.threads, hardware.cores())), 1)
    if not 0 < mfu <= 1:
        raise ConfigError(f"plan.mfu is {mfu}; it must be above 0 and at most 1 (0.4 is usual on H100)")
    if pue < 1:
        raise ConfigError(f"plan.pue is {pue}; a data centre cannot use less than its machines, give at least 1")
    if tokens < 0:
        raise ConfigError(f"plan.tokens is {tokens}; it must not be negative (0 takes pretrain.tokens)")
    copies = _replicas(preset, where)
    grid = hardware.carbon(region)
    stages = [_stage(w, preset, where, mfu, grid, pue) for w in estimate.work(preset, tokens)]
    worst = (estimate.training_memory(preset), estimate.rollout_memory(preset, where.devices))
    memory = [MemoryPlan(parts, where.memory) for parts in worst]
    return Plan(
        preset.name,
        preset.about,
        where.name,
        where.devices,
        preset.model.parameters(),
        copies,
        stages,
        memory,
        _assumptions(preset, where, mfu, region, grid, pue, tokens),
    )


def plan_for(preset: Preset, config: PlanConfig) -> Plan:
    """`plan` with the settings of the plan stage."""
    return plan(preset, config.cluster, config.mfu, config.region, config.pue, config.tokens)


def _replicas(preset: Preset, where: Cluster) -> int:
    parallel = preset.pretrain.parallel
    copies = estimate.replicas(parallel, where.devices)
    if not copies:
        one = parallel.shard * parallel.tensor * parallel.context
        raise ConfigError(
            f"plan.cluster {where.name} has {where.devices} devices; pretrain.parallel of {preset.name} needs a "
            f"multiple of {one} (shard {parallel.shard} x tensor {parallel.tensor} x context {parallel.context}); change one"
        )
    return copies


def _stage(work: Work, preset: Preset, where: Cluster, mfu: float, grid: float, pue: float) -> StagePlan:
    trained, generated = work.flops(preset.model)
    seconds = trained / (where.flops * mfu) + generated / (where.flops * mfu * estimate.GENERATION_SHARE)
    joules = seconds * where.instance.watts * where.count
    kwh = joules / 3.6e6 * pue
    return StagePlan(
        work.stage,
        preset.model.parameters(),
        work.tokens,
        trained + generated,
        seconds,
        seconds * where.devices / 3600,
        seconds / 3600 * where.instance.dollars * where.count,
        joules,
        kwh,
        kwh * grid,
    )


def _assumptions(preset: Preset, where: Cluster, mfu: float, region: str, grid: float, pue: float, tokens: float) -> list[str]:
    """Every number that is not in the preset, one line each, with the flag that changes it."""
    machine, device = where.instance, where.instance.device
    block = "" if machine.block is None else f"; ${machine.block:g} in a capacity block"
    kept = "bf16" if preset.pretrain.compute.precision == "bf16-true" else "fp32"
    return [
        f"{machine.count} x {device.name} a machine, {device.bf16 / 1e12:g} TFLOP/s dense each "
        f"({device.source}; as of {hardware.AS_OF})",
        f"model FLOPs utilisation {mfu:g} in every stage (--mfu)",
        f"{tokens or preset.pretrain.tokens:.3g} pretraining tokens (--tokens)",
        f"${machine.dollars:g} a machine and hour{block} ({machine.source}); storage, network and idle time are not in it",
        f"{machine.watts:,.0f} W a machine while it runs, PUE {pue:g} (--pue), {grid:g} kg CO2e a kWh in {region} "
        f"(--region; {hardware.CARBON_SOURCE})",
        "every stage uses the whole cluster; the short ones run on fewer machines in practice",
        f"memory: weights, gradients and moments in {kept}, one block gathered and one ahead; a tenth of the device is left free",
        *estimate.ASSUMPTIONS,
    ]


def overview() -> list[Plan]:
    """Every preset on a cluster of a sensible size: its own, or one p5.48xlarge where that is this machine."""
    plans = []
    for path in PRESETS.glob("*.yaml"):
        preset = load_preset(str(path))
        own = preset.plan
        plans.append(plan(preset, SMALLEST if own.cluster == "local" else own.cluster, own.mfu, own.region, own.pue))
    return sorted(plans, key=lambda made: made.parameters)


def actual(run: Path) -> list[dict[str, Any]]:
    """Planned against actual for the finished stages of a run: seconds, joules and FLOPs with the ratio actual to planned.

    Stages that the plan does not know (corpus, model, deploy, serve) are left out.

    Raises:
        StageError: the run has no plan.
    """
    planned = {s["stage"]: s for s in runs.read_json(run / "plan" / "plan.json")["plan"]["stages"]}
    rows = []
    for stage, record in runs.stages_of(run).items():
        if stage not in planned or record.get("status") != "done":
            continue
        row: dict[str, Any] = {"stage": stage}
        for key in ("seconds", "joules", "flops"):
            expected, found = planned[stage][key], record.get(key) or 0
            row |= {f"planned_{key}": expected, f"actual_{key}": found, f"{key}_ratio": found / expected if expected else None}
        rows.append(row)
    return rows


def to_json(made: Plan) -> dict[str, Any]:
    """Plain values, with the sums and whether it fits beside what they are made from."""
    content = dataclasses.asdict(made)
    content["memory"] = [
        {**dataclasses.asdict(m.parts), "total": m.parts.total, "capacity": m.capacity, "fits": m.fits} for m in made.memory
    ]
    return {**content, "total": dataclasses.asdict(made.total)}


def render(made: Plan, width: int = 118) -> str:
    """The plan as tables in plain text."""
    from rich.console import Console

    from tenet.plan_tables import memory_table, stage_table

    text = io.StringIO()
    console = Console(file=text, width=width, color_system=None, highlight=False)
    copies = "one copy" if made.replicas == 1 else f"{made.replicas} copies"
    console.print(f"{made.preset}: {made.parameters:,} parameters, {copies} of the model on {made.cluster}")
    console.print(stage_table(made))
    console.print(memory_table(made))
    console.print("Assumptions")
    for line in made.assumptions:
        console.print(f"  - {line}")
    return text.getvalue()


def plan_text(preset: Preset, config: PlanConfig, as_json: bool = False) -> str:
    """What `tenet plan` prints.

    Args:
        preset: whose stages are planned.
        config: cluster, utilisation, region.
        as_json: print JSON instead of tables.
    """
    made = plan_for(preset, config)
    return json.dumps(to_json(made), indent=2) if as_json else render(made)
