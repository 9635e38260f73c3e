"""Step 5c: policy optimisation against rewards with names: verifiers that cannot be argued with, and a learned reward
model.

A prompt that names a verifier is judged by it, any other by the reward model (`rlhf.rewards` says what counts how
much). The KL penalty holds the policy near its input.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from lightning_modules.distributed import ranks
from lightning_modules.distributed.sharding import decoder_in
from lightning_modules.generation.protocol import Sampling
from lightning_modules.generation.rollouts import ExperienceLoader, RolloutConfig
from lightning_modules.modules.policy import RlhfModule
from lightning_modules.modules.reward import RewardModel, load_reward
from lightning_modules.objectives.critic import ActorCritic
from tenet.domains.loading import load_code
from tenet.files import write_jsonl
from tenet.model_folders import check_same_tokenizer
from tenet.posttrain.checkpoints import begin, export, mean_interval, start_model, subset, tokenizer_of
from tenet.posttrain.datasets import load_prompts
from tenet.posttrain.plain_text import plain_text, tax
from tenet.posttrain.rewards import Rewards, measure
from tenet.posttrain.training import fit_stage
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.settings.training import RlhfConfig
from tenet.verifiers import registry

Row = dict[str, Any]


def run(config: RlhfConfig, ws: Workspace) -> Summary:
    """Optimise; compare rewards on held-out prompts, sampled as in training, before and after."""
    begin(config.compute, ws)
    verifiers = registry(load_code(ws.domain).verifiers if ws.domain else {})
    learned = config.rewards.reward_model > 0 and ws.has("reward")
    train, test, used, facts = load_prompts(config.data, ws, verifiers, learned, config.most_refused)
    tokenizer, model = tokenizer_of(ws), start_model(ws)
    reference = copy.deepcopy(model).requires_grad_(False)
    reward_model = _reward_model(ws) if learned else None
    judge = Rewards(tokenizer, config.rewards, reward_model, verifiers)
    judge.check([*train, *test])
    held, described = held_out(test, config.eval_rows, ws.seed)
    encoded = [tokenizer.prompt(row["prompt"], row.get("tools")) for row in train]

    def measured() -> tuple[list[Row], list[Row]]:
        first, second = (measure(model, judge, rows, config.max_tokens, config.temperature) for rows in (held, described))
        return first, second

    text = plain_text(ws, tokenizer.vocab_size)
    tax_before = text.bits(model) if text else None
    before, before_learned = ranks.on_first(measured)
    policy = ActorCritic(model, config.objective.value_rate) if config.algorithm == "ppo" else model
    module = RlhfModule(
        policy,
        config.optim,
        config.steps * config.epochs * config.minibatches,
        config.objective,
        kl=config.kl,
        kl_in_loss=config.kl_in == "loss",
        kl_target=config.kl_target,
        longest=config.max_tokens,
        guards=config.guards,
    )
    loader = ExperienceLoader(
        policy,
        reference,
        encoded,
        lambda rows, answers: judge([train[i] for i in rows], answers),
        rollouts_of(config),
        config.objective,
        seed=ws.seed,
        sampling=Sampling(max_tokens=config.max_tokens, temperature=config.temperature, stop_ids=tokenizer.stop_ids),
        baseline="rloo" if config.algorithm == "rloo" else "grpo",
        kl_in_reward=lambda: module.kl_weight if config.kl_in == "reward" else 0.0,
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
    after, after_learned = ranks.on_first(measured)
    rows = [
        {
            "stage": "rlhf",
            "task": row["kind"] or "prompt",
            "id": a["id"],
            "before": b["reward"],
            "after": a["reward"],
            "answer": a["answer"],
            **a["parts"],
        }
        for row, b, a in zip(held, before, after, strict=True)
    ]
    write_jsonl(ws.dir / "rows.jsonl", rows)
    export(model, ws, tokenizer)
    details = {"data": used, "prompts": len(train), "algorithm": config.algorithm, "guard": module.halted, **facts}
    if module.warned:
        details["warned"] = module.warned
    if judge.failed:
        details["verifiers_failed"] = dict(judge.failed.most_common(3)) | {"in_all": judge.failed.total()}
    cost = tax(tax_before, text.bits(model) if text else None)
    return _summary(before, after, before_learned, after_learned, module, details, cost)


def rollouts_of(config: RlhfConfig) -> RolloutConfig:
    """Sizes of the rounds, and which answers are learnt from."""
    return RolloutConfig(
        rounds=config.steps,
        prompts=config.prompts,
        group=config.group,
        epochs=config.epochs,
        minibatches=config.minibatches,
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


def _reward_model(ws: Workspace) -> RewardModel:
    """The learned reward, which reads the policy's very token ids."""
    folder = ws.input("reward") / "reward"
    way_out = "Train the reward model from this model too (`tenet reward --model`), or leave it out: --rewards.reward-model 0"
    check_same_tokenizer(ws.start, folder, f"{ws.stage}.start_from", way_out)
    return load_reward(folder, ws.setting("reward.pool"))


def held_out(test: Sequence[Row], most: int | str, seed: int) -> tuple[list[Row], list[Row]]:
    """Held-out prompts that the key figure is measured on, and those that the reward model judges beside them.

    The first are those with a verifier; where there are none, all.
    """
    verified = [row for row in test if "verifier" in row]
    if not verified:
        return subset(test, most, seed), []
    beside = most if isinstance(most, str) else most // 2
    return subset(verified, most, seed), subset([row for row in test if "verifier" not in row], beside, seed)


def _summary(
    before: Sequence[Row],
    after: Sequence[Row],
    before_learned: Sequence[Row],
    after_learned: Sequence[Row],
    module: RlhfModule,
    details: dict[str, Any],
    cost: Sequence[Figure],
) -> Summary:
    def figure(name: str, key: Any, old: Sequence[Row], new: Sequence[Row], unit: str = "") -> Figure:
        value, low, high = mean_interval([key(row) for row in new])
        return Figure(name, value, unit, mean_interval([key(row) for row in old])[0], None, low, high, len(new))

    reward = figure("mean reward on held-out prompts", lambda r: r["reward"], before, after)
    gain, gain_low, gain_high = mean_interval([a["reward"] - b["reward"] for a, b in zip(after, before, strict=True)])
    # Prompts differ far more from one another than one prompt before and after, so the interval is that of the paired
    # difference.
    start = reward.before or 0.0
    reward = dataclasses.replace(reward, low=start + gain_low, high=start + gain_high, note="interval of the paired difference")
    figures = [reward, Figure("gain in reward, paired by prompt", gain, "", None, 0.0, gain_low, gain_high, len(after))]
    for name in dict.fromkeys(name for row in after for name in row["parts"]):
        pairs = [(b, a) for b, a in zip(before, after, strict=True) if name in a["parts"] and name in b["parts"]]
        if pairs:
            old, new = [b for b, _ in pairs], [a for _, a in pairs]
            figures.append(figure(f"part of the reward: {name}", lambda r, part=name: r["parts"][part], old, new, "share"))
    if after_learned:
        name = "mean learned reward on held-out prompts without a verifier"
        figures.append(figure(name, lambda r: r["parts"]["learned"], before_learned, after_learned, "share"))
    return Summary(
        headline=f"held-out reward {reward.before:.3f} to {reward.value:.3f} (paired gain {gain:.3f} [{gain_low:.3f}, {gain_high:.3f}])"
        + (f"; stopped: {module.halted}" if module.halted else ""),
        figures=[*figures, *cost],
        tokens=module.tokens_seen,
        flops=module.tokens_seen * decoder_in(module.model).config.flops_per_token(256),
        details=details,
    )
