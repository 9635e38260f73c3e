"""What serving a preset costs: tokens per second and dollars per million tokens on its serving machines, from the
roofline of decoding."""

from __future__ import annotations

from dataclasses import dataclass

from tenet import hardware
from tenet.hardware import Cluster
from tenet.planning import memory, roofline
from tenet.settings.plan import PlanConfig
from tenet.settings.preset import Preset


@dataclass(frozen=True)
class Serving:
    """The serving machines under as many requests as they take.

    Args:
        cluster: type and count; split: devices of one copy of the model; copies: of them.
        fits: whether the weights and one request's cache fit; without that all figures below are 0.
        batch: requests that a copy decodes at once; batch_limit: what keeps it from more, "cache" or "requests".
        bound: what most of the time goes into.
        first_seconds: reading the prompt; token_seconds: between two tokens of one answer, prompts of others read in
            between.
        tokens_per_second: made by all copies together.
        dollars_per_million: made tokens, the prompts' cost in it, at the assumed load.
    """

    cluster: str
    split: int
    copies: int
    fits: bool
    batch: int
    batch_limit: str
    bound: str
    first_seconds: float
    token_seconds: float
    tokens_per_second: float
    dollars_per_million: float


def serving(preset: Preset, where: Cluster, config: PlanConfig) -> Serving:
    """Plan the serving of a preset.

    Args:
        preset: its model, in bf16.
        where: the cluster that trains; one machine of it serves where `config.serve` is empty.
        config: efficiencies, request lengths, load, price.

    Raises:
        ConfigError: no such machine or price.
    """
    machines = hardware.cluster_of(config.serve, "plan.serve") if config.serve else Cluster(where.instance, 1)
    length = config.serve_prompt + config.serve_answer
    room = memory.USABLE * machines.memory
    # Weights may take all but a tenth of the room; the cache has the rest.
    # The repository's own engine serves on this machine and takes what the preset says.
    most = preset.serve.max_concurrency if machines.local else config.serve_batch
    laid = memory.copies(preset.model, machines.devices, room, 0.9, length, float(most * machines.devices))
    batch = min(laid.batch, most)
    if not batch:
        return Serving(machines.name, laid.split, 0, False, 0, "", "", 0.0, 0.0, 0.0, 0.0)
    # While it is answered, a request's cache is on average half of the answer long.
    mean = config.serve_prompt + config.serve_answer / 2
    step, bound = roofline.decode_step(preset.model, machines, config, laid.split, batch, mean)
    first = roofline.prefill(preset.model, machines, config, laid.split, config.serve_prompt)
    # Prompts are read between steps: each answer pays for its own.
    reading = batch * first / config.serve_answer
    between = step + reading
    rate = laid.groups * batch / between
    # Serving stands for as long as there are readers: a block ends, spot is taken away.
    kind = config.price if machines.instance.dollars is None else "on-demand"
    hourly = machines.instance.price(kind) * machines.count
    dollars = hourly / 3600 / (rate * config.serve_load) * 1e6
    waits = "matrix units (prompts)" if reading > step else str(bound)
    limit = "requests" if batch == most else "cache"
    return Serving(machines.name, laid.split, laid.groups, True, batch, limit, waits, first, between, rate, dollars)
