"""Conversations trained on again beside new ones, so that a later step does not undo what fine-tuning taught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_modules.config import ComputeConfig, OptimConfig
from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.data.conversations import encode
from lightning_modules.model.decoder import Decoder
from tenet.errors import StageError
from tenet.posttrain.checkpoints import subset
from tenet.posttrain.datasets import FOLDERS, OWN, load
from tenet.posttrain.training import fit_conversations
from tenet.runs.workspace import Workspace


def replay_rows(ws: Workspace) -> list[dict[str, Any]]:
    """What fine-tuning trained on; none where there are no conversations (a model from elsewhere, on a constitution
    alone)."""
    data = ws.setting("finetune.data")
    made = ws.has("corpus") and (ws.input("corpus") / FOLDERS["conversations"] / "train.jsonl").is_file()
    named = getattr(ws.domain, "conversations", "") not in ("", "rows.py")
    if data == OWN and not made and not named:
        return []
    return [dict(row) for row in load(data, "conversations", ws).train]


def train_with_replay(
    model: Decoder,
    tokenizer: ChatTokenizer,
    rows: Sequence[dict[str, Any]],
    *,
    replay: float,
    steps: int,
    batch_tokens: int,
    ws: Workspace,
    optim: OptimConfig,
    compute: ComputeConfig,
    checkpoint_every: int,
    name: str,
) -> int:
    """Fine-tune on new rows mixed with what fine-tuning trained on, which is a share of `replay`.

    Returns:
        tokens seen.
    """
    context = ws.setting("finetune.context")
    new, left_out = encode(tokenizer, rows, context)
    if not new:
        raise StageError(
            f"{ws.stage}: none of {len(rows)} rows fits finetune.context ({context} tokens; {left_out} are longer); raise it"
        )
    old, _ = encode(tokenizer, subset(replay_rows(ws), round(len(new) * replay / (1 - replay)), ws.seed), context)
    return fit_conversations(
        model,
        [*new, *old],
        steps=steps,
        batch_tokens=batch_tokens,
        context=context,
        ws=ws,
        optim=optim,
        compute=compute,
        checkpoint_every=checkpoint_every,
        name=name,
    )
