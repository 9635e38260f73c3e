"""One task on one assistant: ask everything at once, judge each answer, keep a row for each."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from lightning_modules.generation.protocol import Sampling
from tenet.assistant.assistant import Assistant, Capability, Reply
from tenet.errors import StageError
from tenet.evaluate.items import Item, Loaded
from tenet.evaluate.judge import Judged, judge_call, judge_choice, judge_text
from tenet.evaluate.passk import pass_at_k
from tenet.evaluate.tasks import Task

Row = dict[str, Any]
#: How many answers one of which is to be right, where so many are drawn.
PASSES = (1, 5, 10, 100)
#: Decimals of a log-likelihood in a row: what is beyond them changes with the number of threads.
DECIMALS = 3


def needs(task: Task) -> Capability:
    """What a task needs of the assistant."""
    if task.kind == "choice":
        return "score_chat" if task.prompt else "score"
    if task.kind == "tool":
        return "tools"
    return "answer" if task.prompt else "complete"


def missing(assistant: Assistant, loaded: Loaded) -> Capability | None:
    """What the assistant would need for this task and does not have."""
    need = needs(loaded.task)
    return None if need in assistant.capabilities else need


def run_task(assistant: Assistant, loaded: Loaded, stage: str, sampling: Sampling) -> list[Row]:
    """Rows of a task, in the order of its data: `{"row", "stage", "task", "id", "cluster", "asked", ..., "scores",
    "score", "correct"}`; of a choice with `ll` and `greedy` of each and `pred`, the place of the one that was taken.

    Args:
        stage: which checkpoint this is, for the rows.
        sampling: of generated answers; the log-likelihood of choices needs none.

    Raises:
        MissingCapability: see `missing`.
        StageError: a log-likelihood is no number; names checkpoint, task and row.
    """
    answered = _choices(assistant, loaded, stage) if loaded.task.kind == "choice" else _replies(assistant, loaded, sampling)
    return [
        {"row": item.number, "stage": stage, "task": loaded.task.name, "id": item.id, "cluster": item.cluster}
        | {"asked": item.asked}
        | answer
        | {"score": answer["scores"][loaded.task.metric], "correct": answer["scores"][_correct(loaded)] >= 1.0}
        for item, answer in zip(loaded.items, answered, strict=True)
    ]


def _correct(loaded: Loaded) -> str:
    """The score that says right or wrong: the task's own, but for a share of probability."""
    return "acc" if loaded.task.metric == "mass" else loaded.task.metric


def request_pairs(item: Item, separator: str) -> list[tuple[Any, str]]:
    """Context and continuation of each choice."""
    prompts = item.prompts if len(item.prompts) > 1 else item.prompts * len(item.choices)
    return [(prompt, separator + choice) for prompt, choice in zip(prompts, item.choices, strict=True)]


def _choices(assistant: Assistant, loaded: Loaded, stage: str) -> list[Row]:
    pairs = [request_pairs(item, loaded.task.separator) for item in loaded.items]
    scored = iter(assistant.score([pair for group in pairs for pair in group]))
    rows = []
    for item in loaded.items:
        scores = [next(scored) for _ in item.choices]
        logliks = [score.loglik for score in scores]
        if not all(map(math.isfinite, logliks)):
            raise StageError(
                f"{stage}: log-likelihoods of task {loaded.task.name}, row {item.number} (id {item.id}) are {logliks}; "
                "these weights compute no numbers, so nothing can be said of them: look at the training's loss"
            )
        greedy = [score.greedy for score in scores]
        plain, normed, verdict = judge_choice(logliks, greedy, item.choices, item.gold)
        rows.append(
            {
                "choices": list(item.choices),
                "gold": item.gold,
                "pred": normed if loaded.task.metric == "acc_norm" else plain,
                "ll": [round(value, DECIMALS) for value in logliks],
                "greedy": greedy,
                "tokens": [score.tokens for score in scores],
                "scores": {name: round(value, 6) for name, value in verdict.items()},
            }
        )
    return rows


def _replies(assistant: Assistant, loaded: Loaded, sampling: Sampling) -> list[Row]:
    task = loaded.task
    sampling = replace(
        sampling, max_tokens=max(sampling.max_tokens, task.max_tokens), temperature=task.temperature or sampling.temperature
    )
    prompts = [item.prompts[0] for item in loaded.items]
    if task.prompt:
        tools = [item.tools for item in loaded.items]
        answers = assistant.answer(prompts, sampling=sampling, tools=tools if any(tools) else None, n=task.samples)
    else:
        answers = assistant.complete(prompts, sampling=sampling, stop=task.until, n=task.samples)
    judge = judge_call if task.kind == "tool" else judge_text
    rows = []
    for item, replies in zip(loaded.items, answers, strict=True):
        judged = [_judged(reply, judge(reply, item.row, loaded.verifiers)) for reply in replies]
        rows.append({"gold": item.gold, **(judged[0] if task.samples == 1 else _samples(judged, task.metric))})
    return rows


def _judged(reply: Reply, verdict: Judged) -> Row:
    said = {"text": reply.text, "tool_calls": list(reply.tool_calls), "finish": reply.finish, "tokens": reply.tokens}
    return {**said, "errors": verdict.errors, "read": verdict.read, "scores": verdict.scores}


def _samples(judged: list[Row], metric: str) -> Row:
    """Several answers to one question as one row: means of their scores, the chance that one of k is right, and all of
    them."""
    count, right = len(judged), sum(one["scores"][metric] >= 1.0 for one in judged)
    scores = {name: sum(one["scores"][name] for one in judged) / count for name in judged[0]["scores"]}
    return {
        "samples": judged,
        "finish": next((one["finish"] for one in judged if one["finish"] != "stop"), "stop"),
        "tokens": sum(one["tokens"] for one in judged),
        "read": any(one["read"] for one in judged),
        "scores": scores | {f"pass@{k}": pass_at_k(count, right, k) for k in PASSES if k <= count},
    }
