"""Training as every stage does it: one fit in the stage's folder, resumed where it was killed, and the two kinds that
several stages share."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lightning_modules.config import ComputeConfig, OptimConfig, PreferenceObjective
from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.data.conversations import ConversationBatches
from lightning_modules.data.packing import Tree, pack
from lightning_modules.data.steps import StepLoader, order, rows_of_step
from lightning_modules.distributed import ranks
from lightning_modules.model.decoder import Decoder
from lightning_modules.modules.dpo import PreferenceBatch, PreferenceModule, reference_logprobs
from lightning_modules.modules.sft import FinetuneModule
from lightning_modules.training.callbacks.validation import Validation
from lightning_modules.training.trainer import fit
from tenet.errors import ConfigError
from tenet.posttrain.checkpoints import finished, subset
from tenet.rows import split
from tenet.runs.workspace import Workspace
from tenet.settings.validation import ValidationConfig

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback

Row = Mapping[str, Any]
#: Pairs whose reference log-probabilities are computed at once.
REFERENCE_BATCH = 64


def fit_stage(
    module: Any,
    loader: Any,
    *,
    steps: int,
    ws: Workspace,
    optim: OptimConfig,
    compute: ComputeConfig,
    checkpoint_every: int,
    **more: Any,
) -> None:
    """Fit a module in the stage's folder; a fit that was asked to stop ends the stage with the resumable exit code.

    Args:
        module: a LightningModule of lightning_modules/modules.
        loader: its batches.
        steps: optimiser steps.
        optim: its `clip` is the largest gradient norm.
        more: `name`, `accumulate`, `callbacks`, `grain`, `log_every` of `fit`.

    Raises:
        Interrupted: SIGTERM or Ctrl-C; the state is saved.
    """
    fitted = fit(
        module,
        loader,
        steps=steps,
        folder=ws.dir,
        compute=compute,
        stop=ws.stop,
        tell=ws.progress,
        checkpoint_every=checkpoint_every,
        clip=optim.clip,
        parallel=ws.parallel,
        **more,
    )
    finished(fitted, ws)
    module.eval()


def fit_conversations(
    model: Decoder,
    trees: Sequence[Tree],
    *,
    steps: int,
    batch_tokens: int,
    context: int,
    ws: Workspace,
    optim: OptimConfig,
    compute: ComputeConfig,
    checkpoint_every: int,
    name: str = "",
    callbacks: Sequence[Callback] = (),
) -> int:
    """Supervised fine-tuning on encoded conversations; returns the tokens seen."""
    module = FinetuneModule(model, optim, steps)
    rows = max(1, batch_tokens // context)
    batches = ConversationBatches(list(trees), ws.seed, rows, context, ranks.rank(), ranks.world())
    fit_stage(
        module,
        StepLoader(batches, steps),
        steps=steps,
        ws=ws,
        optim=optim,
        compute=compute,
        checkpoint_every=checkpoint_every,
        name=name,
        callbacks=callbacks,
    )
    model.eval()
    return module.tokens_seen


def fit_preferences(
    model: Decoder,
    trees: Sequence[Tree],
    *,
    steps: int,
    batch_pairs: int,
    objective: PreferenceObjective,
    ws: Workspace,
    optim: OptimConfig,
    compute: ComputeConfig,
    checkpoint_every: int,
    name: str = "",
    liked: Sequence[bool] | None = None,
    callbacks: Sequence[Callback] = (),
) -> PreferenceModule:
    """Preference optimisation; the reference is the model before the first step.

    Args:
        trees: each a prompt with the chosen and the rejected answer as its completions; for KTO with an answer and one
            to another prompt (`rating_trees`).
        batch_pairs: trees of one step.
        objective: which loss.
        liked: for KTO, of each tree whether its answer was liked.
    """
    logprobs = reference(model, trees)
    size = min(len(trees), batch_pairs)

    def batch(step: int) -> PreferenceBatch:
        return _preferences(trees, logprobs, liked, ranks.own(rows_of_step(ws.seed, step, size, len(trees))))

    module = PreferenceModule(model, optim, steps, objective)
    fit_stage(
        module,
        StepLoader(batch, steps),
        steps=steps,
        ws=ws,
        optim=optim,
        compute=compute,
        checkpoint_every=checkpoint_every,
        name=name,
        callbacks=callbacks,
    )
    model.eval()
    return module


def _preferences(
    trees: Sequence[Tree], logprobs: torch.Tensor, liked: Sequence[bool] | None, chosen: Sequence[int]
) -> PreferenceBatch:
    part = [trees[i] for i in chosen]
    thumbs = None if liked is None else torch.tensor([liked[i] for i in chosen])
    return PreferenceBatch(pack(part, max(map(len, part))), logprobs[chosen].flatten(), thumbs)


def preference_batches(
    model: Decoder, trees: Sequence[Tree], size: int, liked: Sequence[bool] | None = None
) -> list[PreferenceBatch]:
    """Trees in batches of `size` with what the model thinks of them now, for `Validation`."""
    logprobs = reference(model, trees)
    parts = [range(i, min(i + size, len(trees))) for i in range(0, len(trees), size)]
    return [_preferences(trees, logprobs, liked, part) for part in parts]


def validation_rows(
    train: list[dict[str, Any]], config: ValidationConfig, ws: Workspace
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows to learn from, and rows taken out of them, in whole groups, to choose weights by; none of these where nothing
    is validated.

    Raises:
        ConfigError: they are all of one group.
    """
    if not config.every:
        return train, []
    try:
        kept, taken = split(train, min(0.5, config.rows / len(train)), ws.seed + 1)
    except ConfigError as error:
        raise ConfigError(f"{ws.stage}.validation.every is {config.every}, and no rows can be taken out: {error}") from None
    return kept, subset(taken, config.rows, ws.seed)


def validation(config: ValidationConfig, batches: Sequence[Any]) -> list[Validation]:
    """The callback that scores these batches; none where nothing is validated."""
    return [Validation(config.every, batches, config.keep == "best", config.patience)] if config.every else []


def validation_facts(callbacks: Sequence[Validation], rows: int) -> dict[str, Any]:
    """What the summary says of validation; nothing where there was none."""
    if not callbacks:
        return {}
    (v,) = callbacks
    best = v.best if math.isfinite(v.best) else None
    found = {"rows": rows, "best_loss": best, "best_step": v.best_step, "kept_best": v.keep_best, "stopped": v.stopped}
    return {"validation": found}


def reference(model: Decoder, trees: Sequence[Tree]) -> torch.Tensor:
    """Summed log-probabilities of the answers of each tree, equally many in all: [trees, answers]."""
    found: list[torch.Tensor] = []
    for i in range(0, len(trees), REFERENCE_BATCH):
        part = trees[i : i + REFERENCE_BATCH]
        answers = len(part[0].answers)
        found.append(reference_logprobs(model, pack(part, max(map(len, part))), answers * len(part)).view(-1, answers))
    return torch.cat(found)


def pair_tree(tokenizer: ChatTokenizer, row: Row) -> Tree:
    """Prompt once, chosen and rejected as its two completions, each closed by its turn end."""
    prompt = tokenizer.prompt(row["prompt"], row.get("tools"))
    return Tree(prompt, [_answer(tokenizer, row, side) for side in ("chosen", "rejected")])


def rating_tree(tokenizer: ChatTokenizer, row: Row) -> Tree:
    """A rating's prompt with its answer."""
    return Tree(tokenizer.prompt(row["prompt"], row.get("tools")), [_answer(tokenizer, row, "answer")])


def rating_trees(tokenizer: ChatTokenizer, rows: Sequence[Row], seed: int) -> list[Tree]:
    """Of each rating its prompt with the answer, and with the answer to another prompt beside it: how much the policy
    likes those more than the reference does is KTO's estimate of the divergence (arXiv:2402.01306, section 4.1)."""
    shuffled = order(seed, 0, len(rows)).tolist()
    following = {i: shuffled[(place + 1) % len(rows)] for place, i in enumerate(shuffled)}
    trees = [rating_tree(tokenizer, row) for row in rows]
    return [Tree(tree.prompt, [*tree.answers, *trees[following[i]].answers]) for i, tree in enumerate(trees)]


def _answer(tokenizer: ChatTokenizer, row: Row, side: str) -> list[int]:
    """One answer; with tool calls and thoughts as the chat template writes them."""
    answer = row[side][0]
    if not answer.get("tool_calls") and not answer.get("reasoning_content"):
        return answer_ids(tokenizer, answer["content"])
    ids, learned = tokenizer.conversation([*row["prompt"], answer], row.get("tools"))
    start = len(learned)
    while start and learned[start - 1]:
        start -= 1
    return ids[start:]


def longer(row: Row) -> float:
    """Is the chosen answer the longer one? 1, 0, or a half where both are of one length."""
    chosen, rejected = (len(said(row[side][0])) for side in ("chosen", "rejected"))
    return 1.0 if chosen > rejected else 0.5 if chosen == rejected else 0.0


def said(answer: Mapping[str, Any]) -> str:
    """An answer as one text: what was said, and its calls."""
    calls = [json.dumps(call["function"], ensure_ascii=False) for call in answer.get("tool_calls") or ()]
    return "\n".join([answer["content"], *calls] if answer["content"] else calls)


def length_baseline(chosen_longer: Sequence[float]) -> float:
    """Accuracy of the better of "longer wins" and "shorter wins" on the same pairs; of two equally long ones either is
    right half of the time."""
    share = sum(chosen_longer) / len(chosen_longer)
    return max(share, 1 - share)


def answer_ids(tokenizer: ChatTokenizer, text: str) -> list[int]:
    """An answer as the assistant would have said it."""
    return [*tokenizer.encode(text), tokenizer.turn_end]
