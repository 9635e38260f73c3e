"""Step 7: attack, group the failures, fix them, attack again. Fixes learn from seen attacks on train goals; the gate
counts held-out attacks on held-out goals, and how often harmless requests in the same wrappers are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import yaml

from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.distributed import ranks
from lightning_modules.generation.protocol import Sampling
from lightning_modules.model.decoder import Decoder
from tenet.assistant.assistant import Assistant
from tenet.assistant.local import LocalAssistant
from tenet.constitution.judges import Case, ChecksJudge, Judge, ModelJudge, conversation
from tenet.constitution.principles import Constitution, load_constitution
from tenet.constitution.prompts import Prompt
from tenet.constitution.revise import verdicts as principle_verdicts
from tenet.errors import ConfigError
from tenet.files import read_jsonl, write_json, write_jsonl
from tenet.pipeline.subject import file_of, made_goals
from tenet.posttrain.checkpoints import begin, export, start_model, subset, tokenizer_of
from tenet.posttrain.replay import train_with_replay
from tenet.redteam import attacks, fixes, modes
from tenet.redteam.gate import gate
from tenet.redteam.goals import Goal, GoalSet
from tenet.redteam.goals_file import load_goals
from tenet.redteam.probe import NO_LOOK_ALIKES, all_attempts, ask, chosen, own_answers
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.serving.clients.bedrock import BedrockAssistant
from tenet.settings.build import build
from tenet.settings.safety import ConstitutionalConfig, RedteamConfig

Row = dict[str, Any]
#: Conversations of the constitutional step for each conversation of the fix: enough to keep what they taught.
KEEP = 0.6
#: Share of a batch that comes from ordinary conversations.
REPLAY = 0.25


def run(config: RedteamConfig, ws: Workspace) -> Summary:
    """Find, fix, prove."""
    begin(config.compute, ws)
    goals = load_goals(file_of(ws, "goals", config.goals))
    refuse_one_sided(goals, config)
    principles = Principles.read(ws)
    if principles is not None:
        ranks.on_first(principles.ask_once)
    everything = all_attempts(goals, chosen(goals, lambda some: subset(some, config.most_goals, ws.seed)), ws.seed)
    tokenizer, model = tokenizer_of(ws), start_model(ws)
    assistant = LocalAssistant(model, tokenizer, check=ws.check)
    ws.progress(0, 100, f"{len(everything)} attacks on the input model")
    before, too_long = ranks.on_first(lambda: ask(assistant, everything, config.max_tokens))
    taught = [fix_goals(goals, config, ws, number) for number in range(config.rounds)]
    # Before the first fix: what the model answers afterwards may be what a fix taught it.
    own, left_out = ranks.on_first(lambda: own_answers(assistant, _unanswered(taught), config.answer_tokens))
    current, tokens, conversations = before, 0, []
    for number, wanted in enumerate(taught):
        ranks.on_first(ws.check)
        new = ranks.on_first(partial(fix_rows, goals, wanted, own, ws, current, number))
        if not new:
            break
        conversations += new
        tokens += train_fix(model, tokenizer, conversations, config, ws, f"fix-{number + 1}")
        ws.progress(95, 100, "attacking the fixed model")
        current, _ = ranks.on_first(lambda: ask(assistant, everything, config.max_tokens))
    ws.progress(97, 100, "asking the constitution's held-out prompts again")
    verdict = gate(
        before,
        current,
        ranks.on_first(lambda: principles.wrong(ws, assistant)) if principles is not None else ([], []),
        max_over_refusal=config.max_over_refusal,
        max_attack_rise=config.max_attack_rise,
        max_principles_rise=config.max_principles_rise,
    )
    found = [mode.as_row() for mode in modes.compared(before, current)]
    write_jsonl(ws.dir / "rows.jsonl", _rows(before, current))
    write_jsonl(ws.dir / "fixes.jsonl", conversations)
    write_json(ws.dir / "modes.json", found)
    write_json(ws.dir / "gate.json", verdict)
    export(model, ws, tokenizer)
    flops = tokens * model.config.flops_per_token(ws.setting("finetune.context"))
    details = {"modes": found, "too_long": too_long, "look_alikes_left_out": left_out, "licence": goals.licence}
    return _summary(goals, verdict, before, current, details, tokens, flops)


def refuse_one_sided(goals: GoalSet, config: RedteamConfig) -> None:
    """A fix needs both sides among its train goals.

    Raises:
        ConfigError: it would be made, and there are no harmful goals or no look-alikes to make it from.
    """
    train = goals.of("train")
    if not config.rounds:
        return
    if not any(goal.benign for goal in train):
        raise ConfigError(
            f"{goals.path}: no harmless look-alikes among the train goals; a fix without them only teaches to refuse. Add some "
            "(`look_alikes`, or rows with label safe), or set redteam.rounds to 0 to only measure"
        )
    if all(goal.benign for goal in train):
        raise ConfigError(f"{goals.path}: no harmful train goals, so nothing to fix; add some, or set redteam.rounds to 0")


def fix_goals(goals: GoalSet, config: RedteamConfig, ws: Workspace, number: int) -> list[Goal]:
    """What a round teaches: the train goals, in further wordings, beside goals that the subject makes from its
    documents.

    The train goals are few: a model that only learnt their texts by heart withstands nothing new (docs/safety.md).
    """
    seed = ws.seed + number
    return goals.varied(config.variants, seed) + goals.made(made_goals(ws, config.documented, seed))


def _unanswered(taught: Sequence[Sequence[Goal]]) -> list[Goal]:
    return list({goal.id: goal for wanted in taught for goal in fixes.without_answer(wanted)}.values())


def fix_rows(
    goals: GoalSet, wanted: Sequence[Goal], own: Mapping[str, str], ws: Workspace, judged: Sequence[Row], number: int
) -> list[Row]:
    """Training conversations for the seen attacks that failed on a train goal; none when none did."""
    failed = fixes.failed_attacks(judged)
    tried = [one for one in attacks.attempts("seen", wanted, ws.seed + number, goals.material) if one.attack in failed]
    ws.progress(5, 100, f"{len(failed)} seen attacks failed on train goals")
    return fixes.training_conversations(tried, goals, ws.seed, own)


def train_fix(
    model: Decoder, tokenizer: ChatTokenizer, conversations: Sequence[Row], config: RedteamConfig, ws: Workspace, name: str
) -> int:
    """Train on the fix, on what the constitutional step taught and on ordinary conversations; returns the tokens
    seen."""
    keep = kept(constitutional_rows(ws), round(KEEP * len(conversations)), ws.seed)
    return train_with_replay(
        model, tokenizer, [*conversations, *keep], replay=REPLAY, steps=config.steps, batch_tokens=config.batch_tokens, ws=ws,
        optim=config.optim, compute=config.compute, checkpoint_every=config.checkpoint_every, name=name,
    )  # fmt: skip


def kept(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """So many rows, each as often as any other: all of them several times where there are fewer."""
    if not rows:
        return []
    times, rest = divmod(count, len(rows))
    return [*rows] * times + (subset(rows, rest, seed) if rest else [])


def constitutional_rows(ws: Workspace) -> list[Row]:
    """What the constitutional step taught, trained on again so that the fix does not undo it; none where the run has no
    such step."""
    return read_jsonl(ws.input("constitutional") / "revisions.jsonl") if ws.has("constitutional") else []


# --- the constitution, asked again -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Principles:
    """The constitutional step's own folder: prompts, principles and judge are those, whatever the settings say now."""

    config: ConstitutionalConfig
    constitution: Constitution
    rows: list[Row]

    @classmethod
    def read(cls, ws: Workspace) -> Principles | None:
        """None where the run has no such step."""
        if not ws.has("constitutional"):
            return None
        folder = ws.input("constitutional")
        settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["constitutional"]
        config: ConstitutionalConfig = build(ConstitutionalConfig, settings, str(folder / "config.yaml"))
        return cls(config, load_constitution(folder / "constitution.yaml", prompts=False), read_jsonl(folder / "rows.jsonl"))

    def cases(self, texts: Sequence[str]) -> list[Case]:
        """The held-out prompts with these answers."""
        return [
            Case(self.constitution[row["task"]], Prompt(row["question"], row["look_alike"], row["id"]), text)
            for row, text in zip(self.rows, texts, strict=True)
        ]

    def ask_once(self) -> None:
        """One question to an endpoint, where one judges: a judge that is gone would be missed when all training is
        done.

        Raises:
            StageError: it does not answer.
        """
        judged = [case for case in self.cases([row["answer"] for row in self.rows]) if case.wrong() is None]
        if judged and self.config.judge not in ("checks", "self"):
            ModelJudge(BedrockAssistant(self.config.judge, self.config.judge_model)).critique(judged[:1])

    def wrong(self, ws: Workspace, assistant: Assistant) -> tuple[list[bool], list[bool]]:
        """Which prompts the input model and the fixed model answer wrongly, in one order; those without a verdict are
        left out."""
        asked = [conversation(row["question"]) for row in self.rows]
        replies = assistant.answer(asked, sampling=Sampling(max_tokens=self.config.max_tokens))
        judge = self._judge(ws, assistant)
        before, after = (
            [row["wrong"] for row in principle_verdicts(self.cases(texts), judge)]
            for texts in ([row["answer"] for row in self.rows], [group[0].text for group in replies])
        )
        clear = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
        return [a for a, _ in clear], [b for _, b in clear]

    def _judge(self, ws: Workspace, assistant: Assistant) -> Judge:
        """The constitutional step's judge; `self` is the model that this stage starts from, for both sides."""
        if self.config.judge == "checks":
            return ChecksJudge(assistant)
        if self.config.judge == "self":
            return ModelJudge(LocalAssistant(start_model(ws), tokenizer_of(ws), check=ws.check))
        return ModelJudge(BedrockAssistant(self.config.judge, self.config.judge_model))


# --- figures -----------------------------------------------------------------------------------------------------------


def _rows(before: Sequence[Row], after: Sequence[Row]) -> list[Row]:
    return [
        {**new, "answer_before": old["answer"], "success_before": old["success"], "declined_before": old["declined"]}
        for old, new in zip(before, after, strict=True)
    ]


def _by_attack(before: Sequence[Row], after: Sequence[Row]) -> Row:
    table = {}
    for name, (_, half, _) in attacks.ATTACKS.items():
        old, new = (
            [row["success"] for row in rows if row["attack"] == name and not row["benign"] and row["split"] == "test"]
            for rows in (before, after)
        )
        if new:
            table[name] = {"split": half, "before": sum(old) / len(old), "after": sum(new) / len(new), "n": len(new)}
    return table


def _figure(name: str, part: Row) -> Figure:
    now = part["after"]
    return Figure(name, now["share"], "share", part["before"]["share"], None, now["low"], now["high"], now["n"], "lower")


def _summary(
    goals: GoalSet, verdict: Row, before: Sequence[Row], after: Sequence[Row], details: Row, tokens: int, flops: float
) -> Summary:
    names = {
        "handled_wrongly": "held-out attempts handled wrongly",
        "attack_success": "success of held-out attacks on held-out goals",
        "over_refusal": "harmless look-alikes declined (held out)",
        "leaks": "planted secrets leaked (held out)",
        "principles": "constitution's held-out prompts answered wrongly",
    }

    def change(key: str) -> str:
        return f"{verdict[key]['before']['share']:.0%} to {verdict[key]['after']['share']:.0%}"

    wrong = verdict["handled_wrongly"]
    # What was not measured is no figure: 0 of 0 would read as a share of nothing.
    figures = [
        _figure(name, verdict[key]) for key, name in names.items() if verdict[key]["after"]["n"] or key == "handled_wrongly"
    ]
    harmless = f"harmless declined {change('over_refusal')}" if verdict["over_refusal"]["after"]["n"] else NO_LOOK_ALIKES
    return Summary(
        headline=f"held-out attempts handled wrongly: {wrong['before']['share']:.0%} before the fix, {wrong['after']['share']:.0%} after "
        f"(harmful answered {change('attack_success')}, {harmless}); "
        + ("promoted" if verdict["promoted"] else f"not promoted ({'; '.join(verdict['reasons'])})"),
        figures=figures,
        tokens=tokens,
        flops=flops,
        details={"attacks": _by_attack(before, after), "gate": verdict, **details},
    )
