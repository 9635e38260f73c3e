"""Reward model: the decoder with one number on top, trained so that preferred answers get the larger one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lightning_modules.config import OptimConfig
from lightning_modules.data.packing import Packed
from lightning_modules.distributed import ranks
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.errors import ModelFolderError
from lightning_modules.model.hub import load_model, save_model, save_tensors
from lightning_modules.model.tensors import check_finite
from lightning_modules.model.tokenizer_files import replace
from lightning_modules.objectives.logprobs import sum_by_sequence
from lightning_modules.objectives.preference_losses import preference_loss
from lightning_modules.training.optim import configure

HEAD_FILE = "reward_head.safetensors"


class RewardModel(nn.Module):
    """Scores answers.

    Args:
        decoder: the backbone.
        pool: read the state after the answer's last token, or the mean over its tokens.
    """

    def __init__(self, decoder: Decoder, pool: Literal["last", "mean"] = "last") -> None:
        super().__init__()
        self.decoder, self.pool = decoder, pool
        if not decoder.config.tie_word_embeddings:
            decoder.head.requires_grad_(
                False
            )  # nothing reads it here, and gradients that never come are waited for between processes
        # Zero: an untrained head has no opinion.
        self.head = nn.Linear(decoder.config.hidden_size, 1, bias=False)
        nn.init.zeros_(self.head.weight)

    def forward(self, batch: Packed, answers: int) -> Tensor:
        """Scores of the answers of packed trees, every answer token scored (`Tree.scored=None`).

        Returns:
            [answers], in the order of `batch.sequence_ids`.
        """
        hidden = self.decoder(batch.ids, batch.positions, batch.mask()).flatten(0, 1)
        # `sources` are one token behind; the answer's own tokens are what the targets sit on, so follow the owners'
        # last target.
        states = hidden[self._own(batch)]
        if self.pool == "mean":
            counts = sum_by_sequence(torch.ones_like(batch.sequence_ids, dtype=states.dtype), batch.sequence_ids, answers)
            pooled = torch.zeros(answers, states.shape[1], dtype=states.dtype, device=states.device).index_add(
                0, batch.sequence_ids, states
            )
            pooled = pooled / counts[:, None]
        else:
            last = torch.zeros(answers, dtype=torch.long, device=states.device).scatter_reduce(
                0, batch.sequence_ids, torch.arange(len(batch.sequence_ids), device=states.device), "amax", include_self=False
            )
            pooled = states[last]
        return self.head(pooled).squeeze(-1).float()

    @staticmethod
    def _own(batch: Packed) -> Tensor:
        """Flat positions of the answer tokens themselves: all completion tokens, in the order of the targets."""
        return (batch.completion_ids.flatten() > 0).nonzero().squeeze(1)


def save_reward(model: RewardModel, folder: Path, tokenizer: Path, stop_ids: tuple[int, ...], pad_id: int) -> None:
    """Trunk in Hugging Face layout, head beside it.

    Raises:
        NotFinite: a weight of either is NaN or infinite; nothing is written.
    """
    head = {"head.weight": model.head.weight.detach().cpu().contiguous()}
    check_finite(head, f"{folder / HEAD_FILE}: not written")
    save_model(model.decoder, folder, tokenizer, stop_ids, pad_id)
    replace(folder / HEAD_FILE, lambda path: save_tensors(head, path, {"pool": json.dumps(model.pool)}))


def load_reward(folder: Path, pool: Literal["last", "mean"] = "last") -> RewardModel:
    """The inverse of `save_reward`.

    Raises:
        ModelFolderError: no reward model, or one that cannot be loaded exactly.
    """
    path = folder / HEAD_FILE
    if not path.is_file():
        raise ModelFolderError(f"{path}: no such file; this is no reward model")
    model = RewardModel(load_model(folder), pool)
    try:
        head = load_file(path)["head.weight"]
    except Exception as error:  # safetensors raises its own untyped errors for broken headers
        raise ModelFolderError(f"{path}: not a readable reward head ({error}); copy it again") from None
    if head.shape != model.head.weight.shape:
        raise ModelFolderError(
            f"{path}: head.weight has shape {list(head.shape)}, the model asks for {list(model.head.weight.shape)}"
        )
    check_finite({"head.weight": head}, str(path))
    model.head.weight.data.copy_(head)
    return model.eval()


class RewardModule(L.LightningModule):
    """Bradley-Terry over pairs that share their prompt. A batch is (trees with [chosen, rejected] as completions,
    pairs).

    Args:
        model: the reward model.
        optim, steps: optimiser and the length of its schedule.
        margin, center: see `losses.preference_loss`.
        freeze: train the head alone.
    """

    def __init__(
        self, model: RewardModel, optim: OptimConfig, steps: int, margin: float, center: float, freeze: bool = False
    ) -> None:
        super().__init__()
        self.model, self.optim, self.steps, self.margin, self.center = model, optim, steps, margin, center
        if freeze:
            model.decoder.requires_grad_(False)
        self.tokens_seen = 0

    def training_step(self, batch: Packed, batch_idx: int) -> Tensor:
        """Mean preference loss; accuracy is logged beside it."""
        pairs = int(batch.sequence_ids.max()) // 2 + 1
        scores = self.model(batch, 2 * pairs).view(pairs, 2)
        chosen_P, rejected_P = scores[:, 0], scores[:, 1]
        everywhere, seen = ranks.totals(pairs, int((batch.segments >= 0).sum()))
        # The mean over the pairs of all processes: gradients are averaged over processes.
        share = pairs * ranks.world() / everywhere
        loss = preference_loss(chosen_P, rejected_P, self.margin, self.center) * share
        self.tokens_seen += int(seen)
        self.log_dict({"train/loss": loss, "train/accuracy": (chosen_P > rejected_P).float().mean() * share}, sync_dist=True)
        return loss

    def transfer_batch_to_device(self, batch: Packed, device: torch.device, dataloader_idx: int) -> Packed:
        """A `Packed` moves as a whole."""
        return batch.to(device)

    def configure_optimizers(self) -> Any:
        """One schedule over backbone and head."""
        return configure(self, self.optim, self.steps)
