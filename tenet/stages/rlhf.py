"""Step 5c: policy optimisation against two rewards with names: a verifier that cannot be argued with, and the learned reward model.

Prompts that ask for a tool call are judged by botocore's own parameter validator and by the values that were asked for; prompts
that ask for a description are judged by the reward model. The KL penalty holds the policy near its input.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from lightning_modules.data.chat import ChatTokenizer, parse_tool_calls
from lightning_modules.data.packing import Tree, pack
from lightning_modules.distributed import ranks
from lightning_modules.generation.engine import generate
from lightning_modules.generation.protocol import Completion, Sampling
from lightning_modules.generation.rollouts import ExperienceLoader, Reward
from lightning_modules.model.decoder import Decoder
from lightning_modules.modules.policy import RlhfModule
from lightning_modules.modules.reward import RewardModel, load_reward
from tenet.domains.aws_api.validator import verify_request
from tenet.files import read_jsonl, write_jsonl
from tenet.posttrain.checkpoints import begin, export, mean_interval, start_model, subset, tokenizer_of
from tenet.posttrain.training import fit_stage
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.settings.training import RlhfConfig

Row = dict[str, Any]
#: Weights of the parts of a tool call's reward; together 1.
PARTS = {"formed": 0.1, "tool": 0.2, "names": 0.2, "values": 0.2, "verified": 0.3}


def run(config: RlhfConfig, ws: Workspace) -> Summary:
    """Optimise; compare rewards on held-out prompts, sampled as in training, before and after."""
    begin(config.compute, ws)
    tokenizer, model = tokenizer_of(ws), start_model(ws)
    reference = copy.deepcopy(model).requires_grad_(False)
    judge = Judge(tokenizer, load_reward(ws.input("reward") / "reward", ws.setting("reward.pool")), config.reward_model)
    train = training_prompts(ws, "train", config.reward_model)
    held = subset(read_jsonl(ws.input("corpus") / "requests" / "test.jsonl"), config.eval_rows, ws.seed)
    described = (
        subset(_describe_rows(ws, "test"), config.eval_rows if config.eval_rows == "all" else config.eval_rows // 2, ws.seed)
        if config.reward_model
        else []
    )
    encoded = [tokenizer.prompt(row["prompt"], row.get("tools")) for row in train]
    before, before_learned = ranks.on_first(
        lambda: (measure(model, judge, held, config), measure(model, judge, described, config))
    )
    steps = config.steps * config.epochs * config.minibatches
    module = RlhfModule(model, config.optim, steps, config.clip_low, config.clip_high, config.kl, config.kl_limit)
    loader = ExperienceLoader(
        model,
        reference,
        encoded,
        lambda rows, answers: judge([train[i] for i in rows], answers),
        seed=ws.seed,
        rounds=config.steps,
        prompts_per_round=config.prompts,
        group=config.group,
        epochs=config.epochs,
        minibatches=config.minibatches,
        sampling=Sampling(max_tokens=config.max_tokens, temperature=config.temperature, stop_ids=tokenizer.stop_ids),
        baseline=config.algorithm,
    )
    fit_stage(
        module,
        loader,
        steps=steps,
        ws=ws,
        optim=config.optim,
        compute=config.compute,
        checkpoint_every=config.checkpoint_every * loader.per_round,
        grain=loader.per_round,
        log_every=loader.per_round,
    )
    model.eval()
    after, after_learned = ranks.on_first(lambda: (measure(model, judge, held, config), measure(model, judge, described, config)))
    rows = [
        {
            "stage": "rlhf",
            "task": "request",
            "id": a["id"],
            "before": b["reward"],
            "after": a["reward"],
            "answer": a["answer"],
            **a["parts"],
        }
        for b, a in zip(before, after, strict=True)
    ]
    write_jsonl(ws.dir / "rows.jsonl", rows)
    export(model, ws, tokenizer)
    return _summary(before, after, before_learned, after_learned, module, config)


def _summary(
    before: Sequence[Row],
    after: Sequence[Row],
    before_learned: Sequence[Row],
    after_learned: Sequence[Row],
    module: RlhfModule,
    config: RlhfConfig,
) -> Summary:
    def figure(name: str, key: Any, old: Sequence[Row], new: Sequence[Row], unit: str = "") -> Figure:
        value, low, high = mean_interval([key(row) for row in new])
        return Figure(name, value, unit, mean_interval([key(row) for row in old])[0], None, low, high, len(new))

    reward = figure("mean reward on held-out requests", lambda r: r["reward"], before, after)
    verified = figure("requests accepted by botocore's validator", lambda r: r["parts"]["verified"], before, after, "share")
    values = figure("values as they were asked for", lambda r: r["parts"]["values"], before, after, "share")
    differences = [a["reward"] - b["reward"] for a, b in zip(after, before, strict=True)]
    gain, gain_low, gain_high = mean_interval(differences)
    # Prompts differ far more from one another than one prompt before and after, so the interval is that of the paired difference.
    start = reward.before or 0.0
    reward = dataclasses.replace(reward, low=start + gain_low, high=start + gain_high, note="interval of the paired difference")
    figures = [
        reward,
        verified,
        values,
        Figure("gain in reward, paired by prompt", gain, "", None, 0.0, gain_low, gain_high, len(after)),
    ]
    if after_learned:
        figures.append(
            figure(
                "mean learned reward on held-out descriptions",
                lambda r: r["parts"]["learned"],
                before_learned,
                after_learned,
                "share",
            )
        )
    return Summary(
        headline=f"held-out reward {reward.before:.3f} to {reward.value:.3f} (paired gain {gain:.3f} [{gain_low:.3f}, {gain_high:.3f}]); valid requests {verified.before:.0%} to {verified.value:.0%}"
        + (f"; stopped: {module.halted}" if module.halted else ""),
        figures=figures,
        tokens=module.tokens_seen,
        flops=module.tokens_seen * module.model.config.flops_per_token(256),
        details={"algorithm": config.algorithm, "guard": module.halted},
    )


def _describe_rows(ws: Workspace, split: str) -> list[Row]:
    rows = read_jsonl(ws.input("corpus") / "preferences" / f"{split}.jsonl")
    return [{"prompt": row["prompt"], "id": row["id"], "kind": "describe"} for row in rows]


def training_prompts(ws: Workspace, split: str, learned: float) -> list[Row]:
    """Requests, with one description to every seven of them where the reward model has a say: descriptions are long."""
    requests = read_jsonl(ws.input("corpus") / "requests" / f"{split}.jsonl")
    described = _describe_rows(ws, split)[: len(requests) // 7] if learned else []
    return requests + described


class Judge:
    """Rewards of answers, by the kind of their prompt.

    Args:
        tokenizer: to read answers.
        model: the learned reward.
        weight: of the learned reward beside the verifiable one, whose weight is 1: what cannot be argued with counts for more.
    """

    def __init__(self, tokenizer: ChatTokenizer, model: RewardModel, weight: float) -> None:
        self.tokenizer, self.model, self.weight = tokenizer, model, weight

    def __call__(self, rows: Sequence[Row], answers: Sequence[Sequence[Completion]]) -> list[list[Reward]]:
        learned = self._learned([(row, group) for row, group in zip(rows, answers, strict=True) if row["kind"] == "describe"])
        out = []
        for row, group in zip(rows, answers, strict=True):
            if row["kind"] == "describe":
                out.append([Reward(self.weight * score, {"learned": score}) for score in next(learned)])
            else:
                out.append([request_reward(row, self.tokenizer.decode(answer.ids)) for answer in group])
        return out

    def _learned(self, pairs: Sequence[tuple[Row, Sequence[Completion]]]) -> Any:
        """sigmoid(score) of each answer: bounded, so that no answer can be worth more than a verified one."""
        trees = [Tree(self.tokenizer.prompt(row["prompt"]), [answer.ids for answer in group]) for row, group in pairs]
        if not trees:
            return iter(())
        count = sum(len(tree.answers) for tree in trees)
        with torch.no_grad():
            scores = self.model(pack(trees, max(map(len, trees))), count).sigmoid().tolist()
        grouped, at = [], 0
        for tree in trees:
            grouped.append(scores[at : at + len(tree.answers)])
            at += len(tree.answers)
        return iter(grouped)


def request_reward(row: Row, answer: str) -> Reward:
    """How right a tool call is: well-formed 0.1, right tool 0.2, parameter names 0.2, values as asked 0.2, accepted by the validator 0.3.

    The parts that are not all or nothing are what a weak policy can climb: without them a group of failures all score 0 and teach nothing.
    """
    text, calls = parse_tool_calls(answer)
    parts = {"formed": float(len(calls) == 1 and not text), "tool": 0.0, "names": 0.0, "values": 0.0, "verified": 0.0}
    if len(calls) == 1:
        call, expected = calls[0], row["expected"]
        parts["tool"] = float(call["name"] == row["operation"])
        given = call["arguments"]
        same = sum(given.get(k) == v and type(given.get(k)) is type(v) for k, v in expected.items())
        parts["names"] = len(expected.keys() & given.keys()) / max(1, len({*expected, *given}))
        parts["values"] = same / max(1, len({*expected, *given}))
        if parts["tool"] and parts["formed"]:
            parts["verified"] = float(not verify_request(row["service"], row["operation"], given))
    value = sum(weight * parts[name] for name, weight in PARTS.items())
    return Reward(value, parts)


def measure(model: Decoder, judge: Judge, rows: Sequence[Row], config: RlhfConfig) -> list[Row]:
    """Rewards of one sampled answer to each row, at the temperature of training; the same random streams each time."""
    if not rows:
        return []
    tokenizer = judge.tokenizer
    prompts = [tokenizer.prompt(row["prompt"], row.get("tools")) for row in rows]
    sampling = Sampling(max_tokens=config.max_tokens, temperature=config.temperature, seed=7, stop_ids=tokenizer.stop_ids)
    answers = generate(model, prompts, sampling)
    rewards = judge(rows, answers)
    return [
        {"id": row["id"], "reward": r[0].value, "parts": r[0].parts, "answer": tokenizer.decode(a[0].ids)}
        for row, r, a in zip(rows, rewards, answers, strict=True)
    ]
