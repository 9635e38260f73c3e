"""The constitution at work: answers measured by principle, revised by it, and compared by it. Lists in, rows out;
training is the stage's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lightning_modules.generation.protocol import Sampling
from tenet.constitution.english import is_whole, repeats
from tenet.constitution.judges import Answers, Case, Judge, Pair, conversation, refuse_unclear
from tenet.constitution.principles import Constitution, Principle
from tenet.constitution.prompts import Prompt

Row = dict[str, Any]
Asked = Sequence[tuple[Principle, Prompt]]


def answers(assistant: Answers, asked: Asked, sampling: Sampling, n: int = 1) -> list[list[str]]:
    """Answers to prompts."""
    replies = assistant.answer([conversation(prompt.text) for _, prompt in asked], sampling=sampling, n=n)
    return [[reply.text for reply in group] for group in replies]


def measure(assistant: Answers, asked: Asked, max_tokens: int, judge: Judge) -> list[Row]:
    """Greedy answers to held-out prompts and whether each is wrong: by the principle's check, else as the judge says
    (None: no verdict).

    Raises:
        StageError: the judge gave too few verdicts.
    """
    texts = answers(assistant, asked, Sampling(max_tokens=max_tokens))
    return verdicts([Case(principle, prompt, text[0]) for (principle, prompt), text in zip(asked, texts, strict=True)], judge)


def verdicts(cases: Sequence[Case], judge: Judge) -> list[Row]:
    """One row a case; the judge is asked only where the constitution has no rule."""
    by_rule = [case.wrong() for case in cases]
    unruled = [case for case, wrong in zip(cases, by_rule, strict=True) if wrong is None]
    said = judge.critique(unruled) if unruled else []
    refuse_unclear("answers", [verdict.text for verdict in said if verdict.violates is None], len(said))
    replies = iter(said)
    return [
        {
            "id": case.prompt.id,
            "principle": case.principle.id,
            "look_alike": case.prompt.look_alike,
            "question": case.prompt.text,
            "answer": case.answer,
            "wrong": next(replies).violates if wrong is None else wrong,
            "by": "judge" if wrong is None else "check",
        }
        for case, wrong in zip(cases, by_rule, strict=True)
    ]


def revisions(
    constitution: Constitution,
    assistant: Answers,
    judge: Judge,
    asked: Asked,
    *,
    max_tokens: int,
    seed: int,
    say: Callable[[float, str], None] = lambda percent, text: None,
    check: Callable[[], None] = lambda: None,
) -> tuple[list[Row], dict[str, int]]:
    """Answer, critique, revise: conversations to train on. Answers that break nothing are kept as they are.

    Args:
        say: told how far this is, in per cent; check: raises to stop.

    Returns:
        rows, and how many answers there were, were broken, were mended, and had no verdict (those are left out).
    """
    say(0, "answering the training prompts")
    first = answers(assistant, asked, Sampling(max_tokens=max_tokens, temperature=0.7, seed=seed))
    cases = [Case(principle, prompt, texts[0]) for (principle, prompt), texts in zip(asked, first, strict=True)]
    said = judge.critique(cases)
    refuse_unclear("critiques", [verdict.text for verdict in said if verdict.violates is None], len(said))
    check()
    unclear = {i for i, verdict in enumerate(said) if verdict.violates is None}
    # Whole sentences are wanted of what is kept too, so an answer that breaks off is revised like one that breaks its
    # principle.
    broken = [i for i, case in enumerate(cases) if i not in unclear and (said[i].violates or not _whole(case.answer))]
    say(5, f"revising {len(broken)} of {len(cases)} answers")
    revised = dict(zip(broken, judge.revise([cases[i] for i in broken], seed=seed), strict=True))
    rows = []
    for i, case in enumerate(cases):
        text = None if i in unclear else revised.get(i, case.answer)
        if text:
            rows.append(_conversation(constitution, case, text, "revision" if i in revised else "kept"))
    mended = sum(bool(text) for text in revised.values())
    return rows, {"answers": len(cases), "broken": len(broken), "mended": mended, "without_verdict": len(unclear)}


def feedback(
    constitution: Constitution, assistant: Answers, judge: Judge, asked: Asked, *, max_tokens: int, seed: int, judged_by: str
) -> list[Row]:
    """Two sampled answers to each training prompt, compared by its principle; the judge's preference is the label.

    Args:
        judged_by: stands in the rows' source.
    """
    texts = answers(assistant, asked, Sampling(max_tokens=max_tokens, temperature=1.0, seed=seed + 11), n=2)
    pairs = [
        Pair(principle, prompt, a, b) for (principle, prompt), (a, b) in zip(asked, texts, strict=True) if a != b and a and b
    ]
    preferred = judge.prefer(pairs)
    refuse_unclear("comparisons", [one.text for one in preferred if not one.clear], len(preferred))
    rows = []
    for pair, one in zip(pairs, preferred, strict=True):
        if one.p_a == 0.5:
            continue
        better, worse = (pair.a, pair.b) if one.p_a > 0.5 else (pair.b, pair.a)
        rows.append(
            {
                "prompt": conversation(pair.prompt.text),
                "chosen": [{"role": "assistant", "content": better}],
                "rejected": [{"role": "assistant", "content": worse}],
                "p_chosen": max(one.p_a, 1 - one.p_a),
                "principle_id": pair.principle.id,
                "look_alike": pair.prompt.look_alike,
                "kind": "ai_feedback",
                **_origin(constitution, pair.prompt, f"judged by {judged_by}"),
            }
        )
    return rows


def _whole(answer: str) -> bool:
    """Ends as a sentence and does not repeat itself."""
    return is_whole(answer) and not repeats(answer)


def _conversation(constitution: Constitution, case: Case, text: str, kind: str) -> Row:
    return {
        "messages": [*conversation(case.prompt.text), {"role": "assistant", "content": text}],
        "kind": kind,
        "principle_id": case.principle.id,
        "look_alike": case.prompt.look_alike,
        "first_answer": case.answer,
        **_origin(constitution, case.prompt, "model-written"),
    }


def _origin(constitution: Constitution, prompt: Prompt, how: str) -> Row:
    return {
        "group": prompt.group,
        "id": prompt.id,
        "source": f"{constitution.source}, {how}",
        "licence": prompt.licence or constitution.licence,
    }
