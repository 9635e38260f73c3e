"""Step 5c: policy optimisation against rewards with names: verifiers that cannot be argued with, learned reward models,
rules, functions of one's own; on single answers, or in conversations with an environment that answers.

`rlhf.rewards` says what counts how much. The KL penalty holds the policy near its input. A part that is gold is
measured and not learnt from; when it falls while the reward rises, training halts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.distributed import ranks
from lightning_modules.distributed.sharding import decoder_in
from lightning_modules.generation.experience import Reward
from lightning_modules.generation.protocol import Sampling
from lightning_modules.generation.rollouts import ExperienceLoader, RolloutConfig
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.lora import input_model, merged
from lightning_modules.modules.policy import RlhfModule
from lightning_modules.objectives.critic import ActorCritic
from tenet.domains.loading import load_code
from tenet.errors import ConfigError
from tenet.files import write_jsonl
from tenet.posttrain.checkpoints import begin, export, lora_facts, mean_interval, subset, tokenizer_of, trainee
from tenet.posttrain.datasets import load_prompts
from tenet.posttrain.environments import Conversations
from tenet.posttrain.plain_text import plain_text, tax
from tenet.posttrain.rewards import Rewards, judges, measure, sampled
from tenet.posttrain.training import fit_stage
from tenet.rows import split
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.settings.rewards import RewardPart
from tenet.settings.training import RlhfConfig
from tenet.stages.training.reward_list import environment_of, rewards_of
from tenet.verifiers import registry

Row = dict[str, Any]


def run(config: RlhfConfig, ws: Workspace) -> Summary:
    """Optimise; compare rewards on held-out prompts, sampled as in training, before and after."""
    begin(config.compute, ws)
    verifiers = registry(load_code(ws.domain).verifiers if ws.domain else {})
    tokenizer = tokenizer_of(ws)
    judge = rewards_of(config, ws, tokenizer, verifiers)
    train, test, used, facts = load_prompts(
        config.data, ws, verifiers, judge.judges_unverified and not config.environment.kind, config.most_refused
    )
    model = trainee(ws, config.lora)
    episode = environment_of(config.environment, ws, tokenizer, model)
    if episode is not None:
        train, test = episode.opened(train), episode.opened(test)
    judge.check([*train, *test], named=bool(config.rewards))
    train, watched = _gold_rows(train, judge, config, ws)
    held, described = held_out(test, config.eval_rows, ws.seed, judge.pays_verified)
    sampling = Sampling(max_tokens=config.max_tokens, temperature=config.temperature, stop_ids=tokenizer.stop_ids)

    def measured() -> tuple[list[Row], list[Row]]:
        first, second = (measure(merged(model), tokenizer, judge, rows, sampling, episode) for rows in (held, described))
        return first, second

    text = plain_text(ws, tokenizer.vocab_size)
    tax_before = text.bits(model) if text else None
    before, before_described = ranks.on_first(measured)
    policy = ActorCritic(model, config.objective.value_rate) if config.algorithm == "ppo" else model
    module = _module(config, policy)
    loader = ExperienceLoader(
        policy,
        input_model(model),
        [tokenizer.prompt(row["prompt"], row.get("tools")) for row in train],
        lambda rows, answers: judge([train[i] for i in rows], answers),
        rollouts_of(config),
        config.objective,
        seed=ws.seed,
        sampling=sampling,
        baseline="rloo" if config.algorithm == "rloo" else "grpo",
        kl_in_reward=lambda: module.kl_weight if config.kl_in == "reward" else 0.0,
        credit=judge.credit,
        episodes=None if episode is None else lambda row: episode(train[row]),
        probe=_probe(tokenizer, judge, watched, sampling, episode) if watched else None,
        record=_recorder(ws, train) if config.keep_rollouts else None,
    )
    fit_stage(
        module,
        loader,
        steps=len(loader),
        ws=ws,
        optim=config.optim,
        compute=config.compute,
        checkpoint_every=config.checkpoint_every * loader.per_round,
        grain=loader.per_round,
        log_every=loader.per_round,
    )
    model.eval()
    after, after_described = ranks.on_first(measured)
    write_jsonl(ws.dir / "rows.jsonl", [_judged(*three) for three in zip(held, before, after, strict=True)])
    export(model, ws, tokenizer)
    details = {"data": used, "prompts": len(train), "algorithm": config.algorithm, "guard": module.halted,
               "parts": [part_facts(part, [*train, *test]) for part, _ in judge.parts], **lora_facts(model, config.lora), **facts}  # fmt: skip
    if module.warned:
        details["warned"] = module.warned
    if failed := judge.failed:
        details["verifiers_failed"] = dict(failed.most_common(3)) | {"in_all": failed.total()}
    cost = tax(tax_before, text.bits(merged(model)) if text else None)
    return _summary(before, after, before_described, after_described, module, details, cost, config.lora.cost)


def _module(config: RlhfConfig, policy: Any) -> RlhfModule:
    turns = config.environment.max_turns if config.environment.kind else 1
    return RlhfModule(
        policy,
        config.optim,
        config.steps * config.epochs * config.minibatches,
        config.objective,
        kl=config.kl,
        kl_in_loss=config.kl_in == "loss",
        kl_target=config.kl_target,
        longest=turns * config.max_tokens,
        guards=config.guards,
    )


def _gold_rows(train: list[Row], judge: Rewards, config: RlhfConfig, ws: Workspace) -> tuple[list[Row], list[Row]]:
    """Prompts to learn from, and prompts taken out of them, in whole groups, on which the gold part is watched; none of
    these where no part is gold.

    Raises:
        ConfigError: the prompts are too few for that.
    """
    gold = judge.gold
    if gold is None or not config.guards.gold:
        return train, []
    most = len(train) // 2 if config.gold_rows == "all" else config.gold_rows
    try:
        kept, taken = split(train, min(0.5, most / len(train)), ws.seed + 1)
    except ConfigError as error:
        raise ConfigError(
            f"rlhf.rewards {gold.label}: gold is true, and no prompts can be taken out to watch it: {error}"
        ) from None
    watched = [row for row in subset(taken, most, ws.seed) if judges(gold, row)]
    if len(watched) < 2:
        raise ConfigError(
            f"rlhf.rewards {gold.label}: judges {len(watched)} of the {len(taken)} prompts that were taken out to watch it; raise rlhf.gold_rows"
        )
    return kept, watched


def _probe(
    tokenizer: ChatTokenizer, judge: Rewards, rows: Sequence[Row], sampling: Sampling, episode: Conversations | None
) -> Callable[[Decoder], list[Reward]]:
    """Rewards of what a model says to the watched prompts; the same random streams each time."""
    return lambda model: [group[0] for group in judge(rows, sampled(model, tokenizer, rows, sampling, episode))]


def _judged(row: Row, before: Row, after: Row) -> Row:
    parts = {f"reward/{name}": value for name, value in after["parts"].items()}
    names = {"stage": "rlhf", "task": row.get("kind") or "prompt", "id": after["id"]}
    return {**names, "before": before["reward"], "after": after["reward"], "answer": after["answer"], **parts}


def part_facts(part: RewardPart, rows: Sequence[Row]) -> dict[str, Any]:
    """What the summary says of a part; `judges`: of how many prompts, trained and held out."""
    count = sum(judges(part, row) for row in rows)
    found: dict[str, Any] = {"name": part.label, "kind": part.kind, "weight": part.weight, "judges": count}
    if part.normalise != "none":
        found["normalise"] = part.normalise
    return {**found, "gold": True} if part.gold else found


def rollouts_of(config: RlhfConfig) -> RolloutConfig:
    """Sizes of the rounds, and which answers are learnt from."""
    return RolloutConfig(
        rounds=config.steps,
        prompts=config.prompts,
        group=config.group,
        epochs=config.epochs,
        minibatches=config.minibatches,
        probe_every=config.gold_every,
        no_signal=config.no_signal,
        refills=config.refills,
        overlong=config.overlong,
        overlong_buffer=config.overlong_buffer,
        precision=config.rollout_precision,
    )


def _recorder(ws: Workspace, train: Sequence[Row]) -> Callable[[int, list[Row]], None]:
    """One file a round, so that a round that is made again after a kill is written over."""

    def record(number: int, made: list[Row]) -> None:
        rows = [{**row, "prompt": train[row["prompt"]]["id"]} for row in made]
        write_jsonl(ws.dir / "rollouts" / f"{number:05d}.jsonl", rows)

    return record


def held_out(test: Sequence[Row], most: int | str, seed: int, verified_first: bool) -> tuple[list[Row], list[Row]]:
    """Held-out prompts that the key figure is measured on, and those that are judged beside them.

    The first are those with a verifier, where a verifier pays and there are some; else all.
    """
    verified = [row for row in test if "verifier" in row]
    if not verified or not verified_first:
        return subset(test, most, seed), []
    beside = most if isinstance(most, str) else most // 2
    return subset(verified, most, seed), subset([row for row in test if "verifier" not in row], beside, seed)


def _summary(
    before: Sequence[Row],
    after: Sequence[Row],
    before_described: Sequence[Row],
    after_described: Sequence[Row],
    module: RlhfModule,
    details: dict[str, Any],
    cost: Sequence[Figure],
    step_cost: float,
) -> Summary:
    reward = _figure("mean reward on held-out prompts", lambda r: r["reward"], before, after)
    gain, gain_low, gain_high = mean_interval([a["reward"] - b["reward"] for a, b in zip(after, before, strict=True)])
    # Prompts differ far more from one another than one prompt before and after, so the interval is that of the paired
    # difference.
    start = reward.before or 0.0
    reward = dataclasses.replace(reward, low=start + gain_low, high=start + gain_high, note="interval of the paired difference")
    figures = [
        reward,
        Figure("gain in reward, paired by prompt", gain, "", None, 0.0, gain_low, gain_high, len(after)),
        *_part_figures("part of the reward: {}", before, after, details["parts"]),
        *_part_figures("{} on held-out prompts without a verifier", before_described, after_described, details["parts"]),
    ]
    return Summary(
        headline=f"held-out reward {reward.before:.3f} to {reward.value:.3f} (paired gain {gain:.3f} [{gain_low:.3f}, {gain_high:.3f}])"
        + (f"; stopped: {module.halted}" if module.halted else ""),
        figures=[*figures, *cost],
        tokens=module.tokens_seen,
        flops=module.tokens_seen * decoder_in(module.model).config.flops_per_token(256) * step_cost,
        details=details,
    )


def _figure(name: str, key: Any, old: Sequence[Row], new: Sequence[Row], unit: str = "") -> Figure:
    value, low, high = mean_interval([key(row) for row in new])
    return Figure(name, value, unit, mean_interval([key(row) for row in old])[0], None, low, high, len(new))


def _part_figures(title: str, before: Sequence[Row], after: Sequence[Row], parts: Sequence[dict[str, Any]]) -> list[Figure]:
    """One for each part of the reward that judged them, and for what it is made of."""
    found, gold = [], {part["name"] for part in parts if part.get("gold")}
    for name in dict.fromkeys(name for row in after for name in row["parts"]):
        pairs = [(b, a) for b, a in zip(before, after, strict=True) if name in a["parts"] and name in b["parts"]]
        if pairs:
            old, new = [b for b, _ in pairs], [a for _, a in pairs]
            unit = "share" if all(0 <= row["parts"][name] <= 1 for row in [*old, *new]) else ""
            shown = f"{name} (gold, not learnt from)" if name in gold else name
            found.append(_figure(title.format(shown), lambda r, part=name: r["parts"][part], old, new, unit))
    return found
