"""Search for the cheapest sharding that fits, and with a deadline for the number of machines."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Literal, get_args

from lightning_modules.config import ParallelConfig
from tenet.errors import ConfigError
from tenet.hardware import Cluster
from tenet.planning import estimate, failures, memory, roofline
from tenet.planning.settings import check, count, placed
from tenet.planning.stages import checkpoint_seconds, devices_of, mtbf_seconds
from tenet.settings.plan import PlanConfig
from tenet.settings.preset import Preset

Recompute = Literal["none", "selective", "full"]
#: Most ranks that split a sequence, and most rows of one forward: beyond them nothing published goes in pretraining at
#: 8k tokens.
CONTEXT_RANKS, MICRO_ROWS = 8, 32


@dataclasses.dataclass(frozen=True)
class Found:
    """The best of a search.

    Args:
        preset: with its sharding, rows of one forward and recomputation replaced; config: with its cluster.
        seconds, dollars: of pretraining, interruptions included.
        tried, fitting: layouts looked at, and in how many pretraining fits into memory.
    """

    preset: Preset
    config: PlanConfig
    seconds: float
    dollars: float
    tried: int
    fitting: int


def fit(preset: Preset, config: PlanConfig, deadline_days: float = 0.0) -> Found:
    """The cheapest pretraining whose sharding fits into memory in every stage.

    Args:
        preset: whose batch and context stay as they are.
        config: its cluster's count is used as it is; with a deadline it is the most machines.
        deadline_days: longest time of pretraining; 0 has none.

    Raises:
        ConfigError: nothing fits, or nothing is fast enough.
    """
    check(config)
    most = placed(preset, config)
    tried = fitting = 0
    best: Found | None = None
    fastest, leanest = math.inf, math.inf
    for where in _clusters(most, deadline_days):
        price = where.instance.price(config.price) * where.count
        for candidate in layouts(preset, where):
            tried += 1
            kept = memory.training_memory(candidate).total
            leanest = min(leanest, kept)
            if kept > memory.USABLE * where.memory:
                continue
            seconds = _seconds(candidate, where, config)
            dollars = price * seconds / 3600
            fitting += 1
            if deadline_days and seconds > deadline_days * 86_400:
                fastest = min(fastest, seconds)
            elif (best is None or (dollars, seconds) < (best.dollars, best.seconds)) and _stages_fit(candidate, where):
                best = Found(candidate, dataclasses.replace(config, cluster=where.name), seconds, dollars, 0, 0)
    if best is None:
        raise ConfigError(_nothing(preset, most, deadline_days, leanest, fastest))
    return dataclasses.replace(best, tried=tried, fitting=fitting)


def _clusters(most: Cluster, deadline_days: float) -> list[Cluster]:
    """The cluster itself, or with a deadline every power of two of machines up to it as well."""
    counts = {most.count} | ({2**i for i in range(most.count.bit_length())} if deadline_days else set())
    return [Cluster(most.instance, count) for count in sorted(counts)]


def layouts(preset: Preset, where: Cluster) -> Iterator[Preset]:
    """The preset under every sharding that divides the model, the batch and the cluster."""
    model, pre = preset.model, preset.pretrain
    rows = pre.batch_tokens // pre.context
    for tensor in _powers(where.per_machine):
        if any(size % tensor for size in (model.num_kv_heads, model.hidden_size, model.intermediate_size, model.vocab_size)):
            continue
        for context in _powers(min(CONTEXT_RANKS, where.devices // tensor)):
            groups = where.devices // (tensor * context)
            if where.devices % (tensor * context) or pre.context % context or rows % groups:
                continue
            for shard in (s for s in _powers(groups) if groups % s == 0):
                for micro in (m for m in _powers(MICRO_ROWS) if rows // groups % m == 0):
                    for recompute in get_args(Recompute):
                        cut = ParallelConfig(shard, tensor, context, groups // shard, recompute)
                        changed = dataclasses.replace(pre, parallel=cut, micro_batch=micro)
                        yield dataclasses.replace(preset, pretrain=changed)


def _powers(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`."""
    return [2**i for i in range(max(0, most).bit_length())]


def _seconds(preset: Preset, where: Cluster, config: PlanConfig) -> float:
    """Pretraining with interruptions at Young's interval, so that a layout is not judged by how often the preset
    saves."""
    pre = preset.pretrain
    tokens = count(config.tokens) or pre.tokens
    step = roofline.pretrain_step(preset, where, config)
    speed = where.devices * where.peak * config.mfu / preset.model.flops_per_token(pre.context)
    work = tokens / (speed if config.mfu else pre.batch_tokens / step.seconds)
    saving, mtbf = checkpoint_seconds(preset, where, config), mtbf_seconds(where, config)
    return failures.wall(work, failures.interval(saving, mtbf), saving, config.restart_minutes * 60, mtbf)


def _stages_fit(preset: Preset, where: Cluster) -> bool:
    usable = memory.USABLE * where.memory
    return all(
        memory.stage_memory(preset, devices_of(work, preset, where), where.memory, work).total <= usable
        for work in estimate.work(preset)
    )


def _nothing(preset: Preset, most: Cluster, deadline_days: float, leanest: float, fastest: float) -> str:
    """Why there is no plan, and the way out."""
    if deadline_days and math.isfinite(fastest):
        return (
            f"--deadline-days {deadline_days:g}: the fastest layout of {preset.name} on at most {most.name} takes "
            f"{fastest / 86_400:,.1f} days of pretraining; raise the count, the deadline or --matrix_efficiency, or lower --tokens"
        )
    if math.isinf(leanest):
        rows = preset.pretrain.batch_tokens // preset.pretrain.context
        return (
            f"plan.cluster {most.name}: no sharding divides {most.devices} devices and the {rows} rows of pretrain.batch_tokens; "
            "use a count that divides them, a power of two is best"
        )
    return (
        f"plan.cluster {most.name}: no layout of {preset.name} fits; the leanest takes {leanest / 2**30:,.1f} GiB a device in training, "
        f"{memory.USABLE * most.memory / 2**30:,.1f} can be used; use more machines or devices with more memory"
    )


def report(found: Found) -> str:
    """What was chosen, as settings that can be copied into a preset."""
    pre, cut = found.preset.pretrain, found.preset.pretrain.parallel
    return (
        f"--fit: {found.fitting:,} of {found.tried:,} layouts fit; cheapest on {found.config.cluster}: micro_batch {pre.micro_batch}, "
        f"parallel: {{shard: {cut.shard}, tensor: {cut.tensor}, context: {cut.context}, replicate: {cut.replicate}, "
        f"recompute: {cut.recompute}}}"
    )
