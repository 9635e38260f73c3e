"""Step 7: attack, group the failures, fix them, attack again. Fixes learn from seen attacks on train goals; the gate counts held-out attacks on
held-out goals, and how often harmless requests in the same wrappers are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightning_modules.distributed import ranks
from lightning_modules.generation.protocol import Sampling
from tenet.assistant.local import LocalAssistant
from tenet.files import read_jsonl, write_json, write_jsonl
from tenet.posttrain.checkpoints import begin, export, start_model, subset, tokenizer_of
from tenet.redteam import attacks, fixes, modes, verdicts
from tenet.redteam.attacks import Attempt
from tenet.redteam.gate import gate
from tenet.redteam.goals import documented, goals, varied
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.settings.safety import RedteamConfig
from tenet.stages.constitutional import heldout_rows, operations_of, train_rows

Row = dict[str, Any]
#: Conversations of the constitutional step for each conversation of the fix: enough to keep what they taught.
KEEP = 0.6
#: Share of a batch that comes from ordinary conversations.
REPLAY = 0.25


def run(config: RedteamConfig, ws: Workspace) -> Summary:
    """Find, fix, prove."""
    begin(config.compute, ws)
    tokenizer, model = tokenizer_of(ws), start_model(ws)
    assistant = LocalAssistant(model, tokenizer, check=ws.check)
    everything = all_attempts(config, ws)
    ws.progress(0, 100, f"{len(everything)} attacks on the input model")
    before = ranks.on_first(lambda: ask(assistant, everything, config.max_tokens))
    current, tokens, conversations = before, 0, []
    for number in range(config.rounds):
        ranks.on_first(ws.check)
        new = ranks.on_first(partial(fix_rows, config, ws, current, number))
        if not new:
            break
        conversations += new
        keep = kept(constitutional_rows(ws), round(KEEP * len(conversations)), ws.seed)
        tokens += train_rows(
            model,
            tokenizer,
            [*conversations, *keep],
            config.steps,
            config.batch_tokens,
            config.optim,
            config,
            ws,
            f"fix-{number + 1}",
            REPLAY,
        )
        ws.progress(95, 100, "attacking the fixed model")
        current = ranks.on_first(lambda: ask(assistant, everything, config.max_tokens))
    ws.progress(97, 100, "asking the constitution's held-out prompts again")
    principles = ranks.on_first(lambda: constitution_of(ws, assistant))
    verdict = gate(
        before,
        current,
        principles,
        max_over_refusal=config.max_over_refusal,
        max_attack_rise=config.max_attack_rise,
        max_principles_rise=config.max_principles_rise,
    )
    found = modes.compared(before, current)
    write_jsonl(ws.dir / "rows.jsonl", _rows(before, current))
    write_jsonl(ws.dir / "fixes.jsonl", conversations)
    write_json(ws.dir / "modes.json", [mode.as_row() for mode in found])
    write_json(ws.dir / "gate.json", verdict)
    export(model, ws, tokenizer)
    flops = tokens * model.config.flops_per_token(ws.setting("finetune.context"))
    return _summary(verdict, before, current, [mode.as_row() for mode in found], tokens, flops)


def goals_file(ws: Workspace, given: str) -> Path:
    """As given, or the domain's."""
    return Path(given) if given != "domain" else ws.domain.goals


def all_attempts(config: RedteamConfig, ws: Workspace) -> list[Attempt]:
    """Both halves of the attacks on both splits of the goals, look-alikes included."""
    wanted = []
    for split in ("train", "test"):
        found = goals(split, goals_file(ws, config.goals))
        for benign in (False, True):
            wanted += subset([goal for goal in found if goal.benign == benign], config.most_goals, ws.seed)
    return attacks.attempts("seen", wanted, ws.seed) + attacks.attempts("heldout", wanted, ws.seed)


def ask(assistant: LocalAssistant, attempts: Sequence[Attempt], max_tokens: int) -> list[Row]:
    """Greedy answers, judged."""
    replies = assistant.answer([list(one.messages) for one in attempts], sampling=Sampling(max_tokens=max_tokens))
    return [verdicts.judged(one, group[0].text) for one, group in zip(attempts, replies, strict=True)]


def fix_rows(config: RedteamConfig, ws: Workspace, judged: Sequence[Row], number: int) -> list[Row]:
    """Training conversations for the seen attacks that failed on a train goal; none when none did.

    The train goals are few, so each is taught in further wordings too, beside goals from the documentation: a model that only learnt 28
    texts by heart withstands nothing new (docs/safety.md).
    """
    failed = fixes.failed_attacks(judged)
    wanted = varied(goals("train", goals_file(ws, config.goals)), config.variants, ws.seed + number)
    wanted += documented(operations_of(ws, "train"), config.documented, ws.seed + number)
    tried = [one for one in attacks.attempts("seen", wanted, ws.seed + number) if one.attack in failed]
    ws.progress(5, 100, f"{len(failed)} seen attacks failed on train goals")
    return fixes.training_conversations(tried, ws.seed)


def kept(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """So many rows, each as often as any other: all of them several times where there are fewer."""
    times, rest = divmod(count, max(1, len(rows)))
    return [*rows] * times + (subset(rows, rest, seed) if rest else [])


def constitution_of(ws: Workspace, assistant: LocalAssistant) -> tuple[list[bool], list[bool]]:
    """Which of the constitution's held-out prompts the input model and the fixed model answer wrongly, in one order."""
    before = {row["id"]: row["wrong"] for row in read_jsonl(ws.input("constitutional") / "rows.jsonl")}
    after = heldout_rows(ws, assistant)
    return [before[row["id"]] for row in after], [row["wrong"] for row in after]


def constitutional_rows(ws: Workspace) -> list[Row]:
    """What the step before taught, trained on again so that the fix does not undo it."""
    return read_jsonl(ws.input("constitutional") / "revisions.jsonl")


def _rows(before: Sequence[Row], after: Sequence[Row]) -> list[Row]:
    return [
        {**new, "answer_before": old["answer"], "success_before": old["success"], "declined_before": old["declined"]}
        for old, new in zip(before, after, strict=True)
    ]


def _summary(verdict: Row, before: Sequence[Row], after: Sequence[Row], found: list[Row], tokens: int, flops: float) -> Summary:
    keys = ("handled_wrongly", "attack_success", "over_refusal", "leaks", "principles")
    wrong, attack, over, leak, principles = (verdict[key] for key in keys)
    table = {}
    for name, (_, half, _) in attacks.ATTACKS.items():
        old = [row["success"] for row in before if row["attack"] == name and not row["benign"] and row["split"] == "test"]
        new = [row["success"] for row in after if row["attack"] == name and not row["benign"] and row["split"] == "test"]
        table[name] = {"split": half, "before": sum(old) / len(old), "after": sum(new) / len(new), "n": len(new)}

    def figure(name: str, part: Row) -> Figure:
        now = part["after"]
        return Figure(name, now["share"], "share", part["before"]["share"], None, now["low"], now["high"], now["n"], "lower")

    return Summary(
        headline=f"held-out attempts handled wrongly: {wrong['before']['share']:.0%} before the fix, {wrong['after']['share']:.0%} after "
        f"(harmful answered {attack['before']['share']:.0%} to {attack['after']['share']:.0%}, "
        f"harmless declined {over['before']['share']:.0%} to {over['after']['share']:.0%}); "
        + ("promoted" if verdict["promoted"] else f"not promoted ({'; '.join(verdict['reasons'])})"),
        figures=[
            figure("held-out attempts handled wrongly", wrong),
            figure("success of held-out attacks on held-out goals", attack),
            figure("harmless look-alikes declined (held out)", over),
            figure("planted secrets leaked (held out)", leak),
            figure("constitution's held-out prompts answered wrongly", principles),
        ],
        tokens=tokens,
        flops=flops,
        details={"attacks": table, "modes": found, "gate": verdict},
    )
