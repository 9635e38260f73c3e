"""Settings of a plan: read, checked against each other and against the preset's sharding, refused by name."""

from __future__ import annotations

import math
import re

from tenet import hardware
from tenet.errors import ConfigError
from tenet.hardware import Cluster, cluster_of
from tenet.planning import estimate
from tenet.settings.plan import PlanConfig
from tenet.settings.preset import Preset


def count(value: float | str, key: str = "plan.tokens") -> float:
    """Read a number of tokens: 8T, 300B, 2.4M, 500k, 8e12 or a number.

    Raises:
        ConfigError: it cannot be read, or is negative.
    """
    scale = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
    found = re.fullmatch(r"\s*([+-]?\d*\.?\d+(?:e[+-]?\d+)?)\s*([KMBGT]?)\s*", str(value).replace(",", "").replace("_", ""), re.I)
    if not found:
        raise ConfigError(f"{key} is {value!r}, which is no number; write it like 8T, 300B, 2.4M or 8e12")
    number = float(found[1]) * scale[found[2].upper()]
    if number < 0 or not math.isfinite(number):
        raise ConfigError(f"{key} is {value!r}; it must not be negative (0 takes pretrain.tokens)")
    return number


def check(config: PlanConfig) -> None:
    """Refuse settings that cannot be.

    Raises:
        ConfigError: names the setting.
    """
    if not 0 <= config.mfu <= 1:
        raise ConfigError(f"plan.mfu is {config.mfu}; it must be above 0 and at most 1 (0.4 is usual on H100; 0 derives it)")
    if not 0 <= config.matrix_efficiency <= 1:
        raise ConfigError(
            f"plan.matrix_efficiency is {config.matrix_efficiency}; it is a share, at most 1 (0 takes the accelerator's)"
        )
    if config.gather_bytes not in (0, 1, 2, 4):
        raise ConfigError(
            f"plan.gather_bytes is {config.gather_bytes}; it must be 1, 2 or 4 (0 takes those that weights are kept in)"
        )
    for name in ("memory_efficiency", "network_efficiency", "power", "serve_load"):
        if not 0 < getattr(config, name) <= 1:
            raise ConfigError(f"plan.{name} is {getattr(config, name)}; it is a share, above 0 and at most 1")
    if not 0 <= config.overlap <= 1:
        raise ConfigError(f"plan.overlap is {config.overlap}; it is a share, from 0 (nothing hides) to 1")
    for name in ("mtbf", "storage", "serve_prompt", "serve_answer", "serve_batch"):
        if getattr(config, name) <= 0:
            raise ConfigError(f"plan.{name} is {getattr(config, name)}; it must be above 0")
    if config.restart_minutes < 0:
        raise ConfigError(f"plan.restart_minutes is {config.restart_minutes}; it must not be negative")
    if config.pue < 1:
        raise ConfigError(f"plan.pue is {config.pue}; a data centre cannot use less than its machines, give at least 1")


def placed(preset: Preset, config: PlanConfig) -> Cluster:
    """The cluster that a plan is for; on this machine, the cores that the preset uses."""
    where = cluster_of(config.cluster)
    threads = preset.pretrain.compute.threads
    return Cluster(hardware.local(min(threads, hardware.cores())), 1) if where.local and threads else where


def replicas(preset: Preset, where: Cluster) -> int:
    """Copies of the sharded model on the cluster.

    Raises:
        ConfigError: devices and sharding do not divide, or a batch has fewer rows than there are copies.
    """
    parallel, pre = preset.pretrain.parallel, preset.pretrain
    copies = estimate.replicas(parallel, where.devices)
    if not copies:
        one = parallel.shard * parallel.tensor * parallel.context
        raise ConfigError(
            f"plan.cluster {where.name} has {where.devices} devices; pretrain.parallel of {preset.name} needs a multiple of "
            f"{one} (shard {parallel.shard} x tensor {parallel.tensor} x context {parallel.context}); change one, or let --fit choose"
        )
    rows, groups = pre.batch_tokens // pre.context, copies * parallel.shard
    if rows < groups:
        most = rows // parallel.shard * parallel.shard * parallel.tensor * parallel.context // where.per_machine
        raise ConfigError(
            f"plan.cluster {where.name} makes {groups} groups of devices with different data, but pretrain.batch_tokens is {rows} "
            f"rows; use at most {most} machines, or raise batch_tokens, tensor or context"
        )
    return copies
