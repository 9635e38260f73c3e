"""Step 6: constitutional AI (arXiv:2212.08073). Answer, critique by a principle, revise, train on the revisions; then let feedback by principle
choose between two answers and train on the choices.

Who judges is a setting. At this size no model can: each principle carries a check, a revision is an opening that the model continues until
the check passes, and the figure is the share of held-out prompts on which a principle is broken. With a capable judge the same code asks it instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lightning_modules.config import OptimConfig
from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.data.conversations import ConversationBatches, encode
from lightning_modules.data.packing import Tree, pack
from lightning_modules.data.steps import StepLoader, rows_of_step
from lightning_modules.distributed import ranks
from lightning_modules.generation.protocol import Sampling
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.hub import load_model
from lightning_modules.modules.dpo import PreferenceBatch, PreferenceModule, reference_logprobs
from lightning_modules.modules.sft import FinetuneModule
from lightning_modules.training.trainer import fit
from tenet.assistant.bedrock import BedrockAssistant
from tenet.assistant.local import LocalAssistant
from tenet.assistant.protocol import Assistant
from tenet.constitution.judges import Case, ChecksJudge, Judge, ModelJudge, conversation
from tenet.constitution.principles import Principle, Prompt, load_constitution, prompts, wrong
from tenet.domains.aws_api import service_models
from tenet.domains.aws_api.facts import goal_of
from tenet.errors import ConfigError
from tenet.files import read_json, read_jsonl, write_json, write_jsonl
from tenet.posttrain.checkpoints import begin, export, finished, start_model, subset, tokenizer_of
from tenet.posttrain.training import answer_ids
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.settings.safety import ConstitutionalConfig

Row = dict[str, Any]
#: Services whose operations fill the prompts, a split; more only take longer to read.
SERVICES = 80
#: Shares of a supervised batch that come from ordinary conversations, so that nothing learnt before is lost.
REPLAY = 0.5


def run(config: ConstitutionalConfig, ws: Workspace) -> Summary:
    """Supervised part, preference part, and the effect of each principle on held-out prompts."""
    begin(config.compute, ws)
    tokenizer, principles = tokenizer_of(ws), load_constitution(constitution_file(ws, config.constitution))
    operations = {split: operations_of(ws, split) for split in ("train", "test")}
    ask = {split: _prompts(principles, operations[split], split, count, ws.seed) for split, count in
           (("train", config.prompts), ("test", config.eval_prompts))}  # fmt: skip
    start = start_model(ws)
    before = ranks.on_first(
        lambda: evaluate(LocalAssistant(start, tokenizer, check=ws.check), principles, ask["test"], config.max_tokens)
    )

    supervised = ws.dir / "supervised"
    if not ranks.on_first(lambda: (supervised / "done.json").exists()):
        rows, kept = ranks.on_first(
            lambda: revisions(config, ws, LocalAssistant(start, tokenizer, check=ws.check), principles, ask["train"])
        )
        write_jsonl(ws.dir / "revisions.jsonl", rows)
        seen = train_rows(start, tokenizer, rows, config.steps, config.batch_tokens, config.optim, config, ws, "supervised")
        export(start, ws, tokenizer, "supervised")
        write_json(supervised / "done.json", {**kept, "tokens": seen})
        model = start
    else:
        model = load_model(supervised)
    between = ranks.on_first(
        lambda: evaluate(LocalAssistant(model, tokenizer, check=ws.check), principles, ask["test"], config.max_tokens)
    )

    pairs = ranks.on_first(
        lambda: feedback(config, ws, LocalAssistant(model, tokenizer, check=ws.check), principles, ask["train"])
    )
    write_jsonl(ws.dir / "feedback.jsonl", pairs)
    tokens = ranks.on_first(lambda: read_json(supervised / "done.json"))["tokens"]
    if pairs and config.preference_steps:
        tokens += train_preferences(model, tokenizer, pairs, config, ws)
    model.eval()
    after = ranks.on_first(
        lambda: evaluate(LocalAssistant(model, tokenizer, check=ws.check), principles, ask["test"], config.max_tokens)
    )
    write_jsonl(ws.dir / "rows.jsonl", _rows(before, between, after))
    export(model, ws, tokenizer)
    flops = tokens * model.config.flops_per_token(ws.setting("finetune.context"))
    return _summary(principles, before, between, after, config, len(pairs), tokens, flops)


def constitution_file(ws: Workspace, given: str) -> Path:
    """As given, or the domain's."""
    return Path(given) if given != "domain" else ws.domain.constitution


def operations_of(ws: Workspace, split: str) -> list[dict[str, str]]:
    """Operations of the services of a split, as the prompts want them."""
    heldout = ws.setting("corpus.heldout")
    names = [name for name in service_models.services() if service_models.split_of(name, heldout) == split]
    found = service_models.operations(subset(names, SERVICES, ws.seed))
    return [
        {"service": o.service, "service_title": o.service_title, "name": o.name, "sentence": o.sentence, "goal": goal_of(o)}
        for o in found
    ]


def _prompts(
    principles: Sequence[Principle], operations: list[dict[str, str]], split: str, count: int, seed: int
) -> list[tuple[Principle, Prompt]]:
    return [(p, prompt) for p in principles for prompt in prompts(p, operations, split, count, seed)]


def judge_of(config: ConstitutionalConfig, assistant: Assistant) -> Judge:
    """The configured judge.

    Raises:
        ConfigError: neither checks, nor self, nor the URL of an endpoint.
    """
    if config.judge == "checks":
        return ChecksJudge(assistant, config.revisions, Sampling(max_tokens=config.max_tokens, temperature=0.7))
    if config.judge == "self":
        return ModelJudge(assistant)
    if config.judge.startswith(("http://", "https://")):
        return ModelJudge(BedrockAssistant(config.judge, config.judge_model))
    raise ConfigError(f"constitutional.judge is {config.judge!r}; use checks, self or the URL of a Bedrock endpoint")


def say(assistant: Assistant, asked: Sequence[Prompt], sampling: Sampling, n: int = 1) -> list[list[str]]:
    """Answers to prompts."""
    replies = assistant.answer([conversation(prompt.text) for prompt in asked], sampling=sampling, n=n)
    return [[reply.text for reply in group] for group in replies]


def revisions(
    config: ConstitutionalConfig,
    ws: Workspace,
    assistant: Assistant,
    principles: Sequence[Principle],
    asked: Sequence[tuple[Principle, Prompt]],
) -> tuple[list[Row], dict[str, int]]:
    """Answer, critique, revise: conversations to train on. Answers that break nothing are kept as they are.

    Returns:
        rows, and how many prompts were broken and mended.
    """
    ws.progress(0, 100, "answering the training prompts")
    first = say(assistant, [prompt for _, prompt in asked], Sampling(max_tokens=config.max_tokens, temperature=0.7, seed=ws.seed))
    cases = [Case(principle, prompt, texts[0]) for (principle, prompt), texts in zip(asked, first, strict=True)]
    judge = judge_of(config, assistant)
    verdicts = judge.critique(cases)
    ws.check()
    # Whole sentences are wanted of what is kept too, so an answer that breaks off is revised like one that breaks its principle.
    broken = [
        i
        for i, (case, verdict) in enumerate(zip(cases, verdicts, strict=True))
        if verdict.violates is not False or not whole(case)
    ]
    ws.progress(5, 100, f"revising {len(broken)} of {len(cases)} answers")
    revised = dict(zip(broken, judge.revise([cases[i] for i in broken], seed=ws.seed), strict=True))
    rows = []
    for i, case in enumerate(cases):
        text = revised.get(i, case.answer)
        if text:
            rows.append(_conversation(case, text, "revision" if i in revised else "kept"))
    return rows, {"answers": len(cases), "broken": len(broken), "mended": sum(bool(text) for text in revised.values())}


def whole(case: Case) -> bool:
    """Ends as a sentence and does not repeat itself."""
    from tenet.constitution.checks import is_whole, repeats

    return is_whole(case.answer) and not repeats(case.answer)


def _conversation(case: Case, text: str, kind: str) -> Row:
    return {
        "messages": [*conversation(case.prompt.text), {"role": "assistant", "content": text}],
        "kind": kind,
        "principle_id": case.principle.id,
        "look_alike": case.prompt.look_alike,
        "first_answer": case.answer,
        "service": case.prompt.service,
        "id": case.prompt.id,
        "source": "constitution, model-written",
        "licence": "Apache-2.0",
    }


def train_rows(
    model: Decoder,
    tokenizer: ChatTokenizer,
    rows: Sequence[Row],
    steps: int,
    batch_tokens: int,
    optim: OptimConfig,
    config: Any,
    ws: Workspace,
    name: str,
    replay: float = REPLAY,
) -> int:
    """Fine-tune on new rows mixed with ordinary conversations, which are a share of `replay`.

    Returns:
        tokens seen.
    """
    context = ws.setting("finetune.context")
    new, _ = encode(tokenizer, rows, context)
    ordinary = read_jsonl(ws.input("corpus") / "instructions" / "train.jsonl")
    old, _ = encode(tokenizer, subset(ordinary, round(len(new) * replay / (1 - replay)), ws.seed), context)
    module = FinetuneModule(model, optim, steps)
    size = max(1, batch_tokens // context)
    batches = ConversationBatches([*new, *old], ws.seed, size, context, ranks.rank(), ranks.world())
    fitted = fit(
        module,
        StepLoader(batches, steps),
        steps=steps,
        folder=ws.dir,
        compute=config.compute,
        stop=ws.stop,
        tell=ws.progress,
        checkpoint_every=config.checkpoint_every,
        clip=optim.clip,
        parallel=ws.parallel,
        name=name,
    )
    finished(fitted, ws)
    model.eval()
    return module.tokens_seen


def feedback(
    config: ConstitutionalConfig,
    ws: Workspace,
    assistant: Assistant,
    principles: Sequence[Principle],
    asked: Sequence[tuple[Principle, Prompt]],
) -> list[Row]:
    """Two sampled answers to each training prompt, one principle drawn for each pair, the judge's preference as label."""
    texts = say(
        assistant,
        [prompt for _, prompt in asked],
        Sampling(max_tokens=config.max_tokens, temperature=1.0, seed=ws.seed + 11),
        n=2,
    )
    judge = judge_of(config, assistant)
    pairs = []
    for (principle, prompt), (a, b) in zip(asked, texts, strict=True):
        ws.check()
        if a == b or not a or not b:
            continue
        probability = judge.prefer(principle, prompt, a, b)
        if probability == 0.5:
            continue
        better, worse = (a, b) if probability > 0.5 else (b, a)
        pairs.append(
            {
                "prompt": conversation(prompt.text),
                "chosen": [{"role": "assistant", "content": better}],
                "rejected": [{"role": "assistant", "content": worse}],
                "p_chosen": max(probability, 1 - probability),
                "principle_id": principle.id,
                "look_alike": prompt.look_alike,
                "kind": "ai_feedback",
                "service": prompt.service,
                "id": prompt.id,
                "source": f"constitution, judged by {config.judge}",
                "licence": "Apache-2.0",
            }
        )
    return pairs


def train_preferences(
    model: Decoder, tokenizer: ChatTokenizer, pairs: Sequence[Row], config: ConstitutionalConfig, ws: Workspace
) -> int:
    """DPO on the judge's choices, each principle as often as every other: the one with most pairs would pull the rest towards its answers.

    Returns:
        tokens seen.
    """
    trees = [
        Tree(tokenizer.prompt(row["prompt"]), [answer_ids(tokenizer, row[side][0]["content"]) for side in ("chosen", "rejected")])
        for row in balanced(pairs, "principle_id")
    ]
    reference: list[torch.Tensor] = []
    for i in range(0, len(trees), 64):
        part = trees[i : i + 64]
        reference.append(reference_logprobs(model, pack(part, max(map(len, part))), 2 * len(part)).view(-1, 2))
    logprobs = torch.cat(reference)
    size = min(len(trees), max(4, config.batch_tokens // 128))

    def batch(step: int) -> PreferenceBatch:
        chosen = ranks.own(rows_of_step(ws.seed, step, size, len(trees)))
        part = [trees[i] for i in chosen]
        return PreferenceBatch(pack(part, max(map(len, part))), logprobs[chosen].flatten())

    module = PreferenceModule(model, config.preference_optim, config.preference_steps, config.beta)
    fitted = fit(
        module,
        StepLoader(batch, config.preference_steps),
        steps=config.preference_steps,
        folder=ws.dir,
        compute=config.compute,
        stop=ws.stop,
        tell=ws.progress,
        checkpoint_every=config.checkpoint_every,
        clip=config.preference_optim.clip,
        parallel=ws.parallel,
        name="preference",
    )
    finished(fitted, ws)
    return module.tokens_seen


def balanced(rows: Sequence[Row], key: str) -> list[Row]:
    """The rows with those of smaller groups repeated until every group is as large as the largest."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    most = max(map(len, groups.values()), default=0)
    return [group[i % len(group)] for group in groups.values() for i in range(most)]


def heldout_rows(ws: Workspace, assistant: Assistant) -> list[Row]:
    """Verdicts on the held-out prompts of this run's constitution: what later stages must not undo."""
    given, prompts, max_tokens = (ws.setting(f"constitutional.{key}") for key in ("constitution", "eval_prompts", "max_tokens"))
    principles = load_constitution(constitution_file(ws, given))
    asked = _prompts(principles, operations_of(ws, "test"), "test", prompts, ws.seed)
    return evaluate(assistant, principles, asked, max_tokens)


def evaluate(
    assistant: Assistant, principles: Sequence[Principle], asked: Sequence[tuple[Principle, Prompt]], max_tokens: int
) -> list[Row]:
    """Greedy answers to held-out prompts with the verdict of each principle's check."""
    texts = say(assistant, [prompt for _, prompt in asked], Sampling(max_tokens=max_tokens))
    return [
        {
            "id": prompt.id,
            "principle": p.id,
            "look_alike": prompt.look_alike,
            "question": prompt.text,
            "answer": t[0],
            "wrong": wrong(p, prompt, t[0]),
        }
        for (p, prompt), t in zip(asked, texts, strict=True)
    ]


def _rows(before: Sequence[Row], between: Sequence[Row], after: Sequence[Row]) -> list[Row]:
    return [
        {
            "stage": "constitutional",
            "task": c["principle"],
            **{k: c[k] for k in ("id", "look_alike", "question", "answer")},
            "answer_before": a["answer"],
            "wrong_before": a["wrong"],
            "wrong_after_supervised": b["wrong"],
            "wrong": c["wrong"],
        }
        for a, b, c in zip(before, between, after, strict=True)
    ]


def _rate(rows: Sequence[Row], look_alike: bool, principle: str = "") -> tuple[float, int]:
    chosen = [r["wrong"] for r in rows if r["look_alike"] == look_alike and (not principle or r["principle"] == principle)]
    return (sum(chosen) / len(chosen) if chosen else 0.0), len(chosen)


def _summary(
    principles: Sequence[Principle],
    before: Sequence[Row],
    between: Sequence[Row],
    after: Sequence[Row],
    config: ConstitutionalConfig,
    pairs: int,
    tokens: int,
    flops: float,
) -> Summary:
    from tenet.stats import wilson

    table = {
        p.id: {
            "title": p.title,
            "before": _rate(before, False, p.id)[0],
            "after_supervised": _rate(between, False, p.id)[0],
            "after": _rate(after, False, p.id)[0],
            "n": _rate(after, False, p.id)[1],
            "look_alike_before": _rate(before, True, p.id)[0],
            "look_alike_after": _rate(after, True, p.id)[0],
            "look_alike_n": _rate(after, True, p.id)[1],
        }
        for p in principles
    }
    old, (middle, _), (new, n) = _rate(before, False)[0], _rate(between, False), _rate(after, False)
    over_old, (over_new, over_n) = _rate(before, True)[0], _rate(after, True)
    low, high = wilson(round(new * n), n)
    over_low, over_high = wilson(round(over_new * over_n), over_n) if over_n else (0.0, 1.0)
    return Summary(
        headline=f"principles broken on {old:.0%} of held-out prompts before, {new:.0%} after; shown where they should not be: {over_old:.0%} to {over_new:.0%}",
        figures=[
            Figure("violations on held-out prompts", new, "share", old, None, low, high, n, "lower"),
            Figure("violations after the supervised part", middle, "share", old, n=n, better="lower"),
            Figure("over-application on look-alikes", over_new, "share", over_old, None, over_low, over_high, over_n, "lower"),
        ],
        tokens=tokens,
        flops=flops,
        details={"principles": table, "judge": config.judge, "feedback_pairs": pairs},
    )
