"""Step 6: constitutional AI (arXiv:2212.08073). Answer, critique by a principle, revise, train on the revisions; then
let feedback by principle choose between two answers and train on the choices.

Who judges is a setting. A small model cannot: there each principle carries a check, a revision is an opening that the
model continues until the check passes, and the figure is the share of held-out prompts on which a principle is broken.
With a capable judge the same code asks it instead, and its verdicts are the figure wherever the constitution has no
check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lightning_modules.config import PreferenceObjective
from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.data.packing import Tree
from lightning_modules.distributed import ranks
from lightning_modules.generation.protocol import Sampling
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.hub import load_model
from tenet.assistant.assistant import Assistant
from tenet.assistant.local import LocalAssistant
from tenet.constitution.judges import Case, ChecksJudge, Judge, ModelJudge, refuse_unchecked
from tenet.constitution.principles import Constitution, load_constitution
from tenet.constitution.prompts import all_prompts
from tenet.constitution.revise import Asked, feedback, measure, revisions
from tenet.errors import StageError
from tenet.files import read_json, write_bytes, write_json, write_jsonl
from tenet.pipeline.subject import file_of, tables
from tenet.posttrain.checkpoints import begin, export, start_model, tokenizer_of
from tenet.posttrain.replay import train_with_replay
from tenet.posttrain.training import answer_ids, fit_preferences
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.serving.clients.bedrock import BedrockAssistant
from tenet.settings.safety import ConstitutionalConfig
from tenet.stats import wilson

Row = dict[str, Any]
#: Share of a supervised batch that comes from ordinary conversations, so that nothing learnt before is lost.
REPLAY = 0.5


def run(config: ConstitutionalConfig, ws: Workspace) -> Summary:
    """Supervised part, preference part, and the effect of each principle on held-out prompts."""
    begin(config.compute, ws)
    constitution = load_constitution(file_of(ws, "constitution", config.constitution))
    # Everything that a person may have got wrong is refused before a model is loaded.
    refuse_unchecked(constitution, config.judge)
    fills = tables(ws)
    train, test = (all_prompts(constitution, split, count, ws.seed, fills) for split, count in
                   (("train", config.prompts), ("test", config.eval_prompts)))  # fmt: skip
    judge_of = judges(config, ws)
    ranks.on_first(lambda: ask_once(config, judge_of, test))

    tokenizer, start = tokenizer_of(ws), start_model(ws)

    def measured(model: Decoder) -> list[Row]:
        assistant = LocalAssistant(model, tokenizer, check=ws.check)
        return ranks.on_first(lambda: measure(assistant, test, config.max_tokens, judge_of(assistant)))

    before = measured(start)
    supervised = ws.dir / "supervised"
    if not ranks.on_first(lambda: (supervised / "done.json").exists()):
        done = train_revisions(start, tokenizer, constitution, train, judge_of, config, ws)
        export(start, ws, tokenizer, "supervised")
        write_json(supervised / "done.json", done)
        model = start
    else:
        model = load_model(supervised)
    between = measured(model)

    assistant = LocalAssistant(model, tokenizer, check=ws.check)
    pairs = ranks.on_first(
        lambda: feedback(constitution, assistant, judge_of(assistant), train,
                         max_tokens=config.max_tokens, seed=ws.seed, judged_by=config.judge)
    )  # fmt: skip
    write_jsonl(ws.dir / "feedback.jsonl", pairs)
    done = ranks.on_first(lambda: read_json(supervised / "done.json"))
    tokens = done["tokens"]
    if pairs and config.preference_steps:
        tokens += train_preferences(model, tokenizer, pairs, config, ws)
    model.eval()
    after = measured(model)
    write_jsonl(ws.dir / "rows.jsonl", _rows(before, between, after))
    # Later steps ask the same principles again, whatever becomes of the file that they came from.
    write_bytes(ws.dir / "constitution.yaml", constitution.path.read_bytes())
    export(model, ws, tokenizer)
    flops = tokens * model.config.flops_per_token(ws.setting("finetune.context"))
    details = {"judge": config.judge, "feedback_pairs": len(pairs), "licence": constitution.licence, "training": done}
    return _summary(constitution, before, between, after, details, tokens, flops)


JudgeOf = Callable[[Assistant], Judge]


def judges(config: ConstitutionalConfig, ws: Workspace) -> JudgeOf:
    """The configured judge, for the model under training that continues its openings.

    `self` is the model as it came in: one that is trained meanwhile would judge its figures before and after by two
    measures.
    """
    if config.judge == "checks":
        sampling = Sampling(max_tokens=config.max_tokens, temperature=0.7)
        return lambda assistant: ChecksJudge(assistant, config.revisions, sampling)
    made: list[Judge] = []

    def judge(_: Assistant) -> Judge:
        if not made:
            other = start_judge(ws) if config.judge == "self" else BedrockAssistant(config.judge, config.judge_model)
            made.append(ModelJudge(other))
        return made[0]

    return judge


def start_judge(ws: Workspace) -> Assistant:
    """The model that this stage starts from, loaded a second time: the first is trained in place."""
    return LocalAssistant(start_model(ws), tokenizer_of(ws), check=ws.check)


def ask_once(config: ConstitutionalConfig, judge_of: JudgeOf, asked: Asked) -> None:
    """One question to an endpoint before a model is loaded: a wrong URL or key is told at once.

    Raises:
        StageError: it does not answer.
    """
    if config.judge not in ("checks", "self"):
        principle, prompt = asked[0]
        judge_of(None).critique([Case(principle, prompt, "I do not know.")])  # type: ignore[arg-type]


def train_revisions(
    model: Decoder,
    tokenizer: ChatTokenizer,
    constitution: Constitution,
    asked: Asked,
    judge_of: JudgeOf,
    config: ConstitutionalConfig,
    ws: Workspace,
) -> Row:
    """Revise the model's own answers and train on what came of it; returns what was revised and the tokens seen."""
    assistant = LocalAssistant(model, tokenizer, check=ws.check)
    rows, counts = ranks.on_first(
        lambda: revisions(
            constitution, assistant, judge_of(assistant), asked, max_tokens=config.max_tokens, seed=ws.seed,
            say=lambda percent, text: ws.progress(percent, 100, text), check=ws.check,
        )
    )  # fmt: skip
    write_jsonl(ws.dir / "revisions.jsonl", rows)
    if not config.steps:
        return {**counts, "tokens": 0}
    if not rows:
        raise StageError(
            f"constitutional: none of {counts['answers']} answers was kept or mended ({counts['broken']} broken); raise "
            "constitutional.revisions, write `opening` texts that pass, or set constitutional.steps to 0"
        )
    tokens = train_with_replay(
        model, tokenizer, rows, replay=REPLAY, steps=config.steps, batch_tokens=config.batch_tokens, ws=ws, optim=config.optim,
        compute=config.compute, checkpoint_every=config.checkpoint_every, name="supervised",
    )  # fmt: skip
    return {**counts, "tokens": tokens}


def train_preferences(
    model: Decoder, tokenizer: ChatTokenizer, pairs: Sequence[Row], config: ConstitutionalConfig, ws: Workspace
) -> int:
    """DPO on the judge's choices, each principle as often as every other: the one with most pairs would pull the rest
    towards its answers.

    Returns:
        tokens seen.
    """
    trees = [
        Tree(tokenizer.prompt(row["prompt"]), [answer_ids(tokenizer, row[side][0]["content"]) for side in ("chosen", "rejected")])
        for row in balanced(pairs, "principle_id")
    ]
    module = fit_preferences(
        model, trees, steps=config.preference_steps, batch_pairs=max(4, config.batch_tokens // 128), objective=PreferenceObjective(beta=config.beta), ws=ws,
        optim=config.preference_optim, compute=config.compute, checkpoint_every=config.checkpoint_every, name="preference",
    )  # fmt: skip
    return module.tokens_seen


def balanced(rows: Sequence[Row], key: str) -> list[Row]:
    """The rows with those of smaller groups repeated until every group is as large as the largest."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    most = max(map(len, groups.values()), default=0)
    return [group[i % len(group)] for group in groups.values() for i in range(most)]


# --- figures -----------------------------------------------------------------------------------------------------------


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
            "by": c["by"],
        }
        for a, b, c in zip(before, between, after, strict=True)
    ]


def _rate(rows: Sequence[Row], look_alike: bool, principle: str = "") -> tuple[float, int]:
    """Share of wrong answers among those with a verdict, and how many those are."""
    chosen = [
        r["wrong"]
        for r in rows
        if r["look_alike"] == look_alike and (not principle or r["principle"] == principle) and r["wrong"] is not None
    ]
    return (sum(chosen) / len(chosen) if chosen else 0.0), len(chosen)


def _of_principle(name: str, before: Sequence[Row], between: Sequence[Row], after: Sequence[Row]) -> Row:
    own = [row for row in after if row["principle"] == name]
    found: Row = {
        "before": _rate(before, False, name)[0],
        "after_supervised": _rate(between, False, name)[0],
        "after": _rate(after, False, name)[0],
        "n": _rate(after, False, name)[1],
    }
    if any(row["look_alike"] for row in own):
        found["look_alike_before"] = _rate(before, True, name)[0]
        found["look_alike_after"], found["look_alike_n"] = _rate(after, True, name)
    if any(row["by"] == "judge" for row in own):
        found["judged_by"] = "judge"
        found["without_verdict"] = sum(row["wrong"] is None for row in own)
    return found


def _figure(name: str, before: tuple[float, int], after: tuple[float, int]) -> Figure:
    low, high = wilson(round(after[0] * after[1]), after[1])
    return Figure(name, after[0], "share", before[0], None, low, high, after[1], "lower")


def _summary(
    constitution: Constitution,
    before: Sequence[Row],
    between: Sequence[Row],
    after: Sequence[Row],
    details: Row,
    tokens: int,
    flops: float,
) -> Summary:
    table = {p.id: {"title": p.title, **_of_principle(p.id, before, between, after)} for p in constitution.principles}
    old, middle, new = (_rate(rows, False) for rows in (before, between, after))
    figures = [
        _figure("violations on held-out prompts", old, new),
        _figure("violations after the supervised part", old, middle),
    ]
    headline = f"principles broken on {old[0]:.0%} of held-out prompts before, {new[0]:.0%} after"
    over_old, over_new = _rate(before, True), _rate(after, True)
    if over_new[1]:
        figures.append(_figure("over-application on look-alikes", over_old, over_new))
        headline += f"; shown where they should not be: {over_old[0]:.0%} to {over_new[0]:.0%}"
    if any(row["by"] == "judge" for row in after):
        none = [(sum(row["wrong"] is None for row in rows) / len(rows), len(rows)) for rows in (before, after)]
        figures.append(_figure("answers without a verdict", *none))
        headline += f"; {none[1][0]:.0%} without a verdict"
    return Summary(headline=headline, figures=figures, tokens=tokens, flops=flops, details={"principles": table, **details})
