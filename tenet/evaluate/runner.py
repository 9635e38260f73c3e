"""One task on one assistant: ask everything at once, judge each answer, keep a row for each."""

from __future__ import annotations

from typing import Any

from lightning_modules.generation.protocol import Sampling
from tenet.assistant.assistant import Assistant, Capability
from tenet.evaluate.items import Item, Loaded
from tenet.evaluate.judge import judge_call, judge_choice, judge_text

Row = dict[str, Any]
#: What a kind of task needs of the assistant.
NEEDS: dict[str, Capability] = {"choice": "score", "generate": "answer", "tool": "tools"}
#: Decimals of a log-likelihood in a row: what is beyond them changes with the number of threads.
DECIMALS = 3


def missing(assistant: Assistant, loaded: Loaded) -> Capability | None:
    """What the assistant would need for this task and does not have."""
    need = NEEDS[loaded.task.kind]
    return None if need in assistant.capabilities else need


def run_task(assistant: Assistant, loaded: Loaded, stage: str, sampling: Sampling) -> list[Row]:
    """Rows of a task, in the order of its items: `{"stage", "task", "id", "cluster", "asked", ..., "scores", "score"}`.

    Args:
        stage: which checkpoint this is, for the rows.
        sampling: of generated answers; the log-likelihood of choices needs none.

    Raises:
        MissingCapability: see `missing`.
    """
    answered = _choices(assistant, loaded) if loaded.task.kind == "choice" else _replies(assistant, loaded, sampling)
    return [
        {"stage": stage, "task": loaded.task.name, "id": item.id, "cluster": item.cluster, "asked": item.asked}
        | answer
        | {"score": answer["scores"][loaded.task.metric]}
        for item, answer in zip(loaded.items, answered, strict=True)
    ]


def request_pairs(item: Item, separator: str) -> list[tuple[Any, str]]:
    """Context and continuation of each choice."""
    prompts = item.prompts if len(item.prompts) > 1 else item.prompts * len(item.choices)
    return [(prompt, separator + choice) for prompt, choice in zip(prompts, item.choices, strict=True)]


def _choices(assistant: Assistant, loaded: Loaded) -> list[Row]:
    pairs = [request_pairs(item, loaded.task.separator) for item in loaded.items]
    scored = iter(assistant.score([pair for group in pairs for pair in group]))
    rows = []
    for item in loaded.items:
        scores = [next(scored) for _ in item.choices]
        plain, normed, verdict = judge_choice([score.loglik for score in scores], item.choices, item.gold)
        rows.append(
            {
                "choices": list(item.choices),
                "gold": item.gold,
                "predicted": normed if loaded.task.metric == "acc_norm" else plain,
                "logliks": [round(score.loglik, DECIMALS) for score in scores],
                "greedy": [score.greedy for score in scores],
                "tokens": [score.tokens for score in scores],
                "scores": verdict,
            }
        )
    return rows


def _replies(assistant: Assistant, loaded: Loaded, sampling: Sampling) -> list[Row]:
    tools = [item.tools for item in loaded.items]
    answers = assistant.answer([item.prompts[0] for item in loaded.items], sampling=sampling, tools=tools if any(tools) else None)
    rows = []
    for item, (reply, *_) in zip(loaded.items, answers, strict=True):
        judge = judge_call if loaded.task.kind == "tool" else judge_text
        scores, errors = judge(reply, item.row, loaded.verifiers)
        said = {"text": reply.text, "tool_calls": list(reply.tool_calls), "finish": reply.finish, "tokens": reply.tokens}
        rows.append({"gold": item.gold, **said, "errors": errors, "scores": scores})
    return rows
