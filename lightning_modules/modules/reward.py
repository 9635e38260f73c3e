"""Reward model: the decoder with one number on top, trained so that preferred answers get the larger one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import lightning as L
import torch
from safetensors import safe_open
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
from lightning_modules.modules.pooling import POOLS, Pool, answer_states, pooled
from lightning_modules.objectives.preference_losses import preference_loss
from lightning_modules.training.optim import configure

HEAD_FILE = "reward_head.safetensors"


class RewardModel(nn.Module):
    """Scores answers.

    Args:
        decoder: the backbone.
        pool: read the state after the answer's last token, the mean over its tokens, or both.
        layer: read the states after so many blocks, before the last norm; None reads behind the norm. The blocks behind
            it are not kept.
    """

    def __init__(self, decoder: Decoder, pool: Pool = "last", layer: int | None = None) -> None:
        super().__init__()
        self.decoder, self.pool, self.layer = decoder, pool, layer
        if layer is not None:
            decoder.blocks = decoder.blocks[:layer]
            decoder.config = replaced(decoder.config, num_layers=layer)
        if not decoder.config.tie_word_embeddings:
            decoder.head.requires_grad_(
                False
            )  # nothing reads it here, and gradients that never come are waited for between processes
        # Zero: an untrained head has no opinion.
        self.head = nn.Linear(decoder.config.hidden_size * (2 if pool == "both" else 1), 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: Packed, answers: int) -> Tensor:
        """Scores of the answers of packed trees, every answer token scored (`Tree.scored=None`).

        Returns:
            [answers], in the order of `batch.sequence_ids`.
        """
        if self.layer is not None:
            states = answer_states(self.decoder, batch, (self.layer,))[self.layer]
        else:
            # `sources` are one token behind; a score is read from the answer's own tokens.
            own = (batch.completion_ids.flatten() > 0).nonzero().squeeze(1)
            states = self.decoder(batch.ids, batch.positions, batch.mask()).flatten(0, 1)[own]
        return self.head(pooled(states, batch.sequence_ids, answers, self.pool)).squeeze(-1).float()

    def divide(self, temperature: float) -> None:
        """Make sigmoid(score - score) the probability of being preferred, where scores were too large by a factor."""
        with torch.no_grad():
            self.head.weight.div_(temperature)
            self.head.bias.div_(temperature)


def save_reward(model: RewardModel, folder: Path, tokenizer: Path, stop_ids: tuple[int, ...], pad_id: int) -> None:
    """Trunk in Hugging Face layout, head beside it.

    Raises:
        NotFinite: a weight of either is NaN or infinite; nothing is written.
    """
    head = {name: getattr(model.head, name).detach().cpu().contiguous() for name in ("weight", "bias")}
    head = {f"head.{name}": tensor for name, tensor in head.items()}
    check_finite(head, f"{folder / HEAD_FILE}: not written")
    save_model(model.decoder, folder, tokenizer, stop_ids, pad_id)
    how = {"pool": json.dumps(model.pool), "layer": json.dumps(model.layer)}
    replace(folder / HEAD_FILE, lambda path: save_tensors(head, path, how))


def load_reward(folder: Path) -> RewardModel:
    """The inverse of `save_reward`; what the score is read from stands in the head's file.

    Raises:
        ModelFolderError: no reward model, or one that cannot be loaded exactly.
    """
    path = folder / HEAD_FILE
    if not path.is_file():
        raise ModelFolderError(f"{path}: no such file; this is no reward model")
    try:
        with safe_open(str(path), "pt") as file:
            how = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
        head = load_file(path)
    except Exception as error:  # safetensors raises its own untyped errors for broken headers
        raise ModelFolderError(f"{path}: not a readable reward head ({error}); copy it again") from None
    if "head.weight" not in head:
        raise ModelFolderError(f"{path}: holds no head.weight; copy it again")
    decoder = load_model(folder)
    model = RewardModel(decoder, *_read_from(path, how, decoder.config.num_layers))
    for name, tensor in head.items():
        _fill(path, model, name, tensor)
    return model.eval()


def _read_from(path: Path, how: dict[str, Any], blocks: int) -> tuple[Pool, int | None]:
    """Pool and layer; files of older versions name no layer, or nothing."""
    pool, layer = how.get("pool", "last"), how.get("layer")
    if pool not in POOLS or not (layer is None or (isinstance(layer, int) and 1 <= layer <= blocks)):
        raise ModelFolderError(
            f"{path}: it reads pool {pool!r} of layer {layer!r}, which a model of {blocks} blocks has not; copy the folder again"
        )
    return pool, layer


def _fill(path: Path, model: RewardModel, name: str, tensor: Tensor) -> None:
    wanted = {"head.weight": model.head.weight, "head.bias": model.head.bias}.get(name)
    if wanted is None or tensor.shape != wanted.shape:
        asked = f"the model asks for {list(wanted.shape)}" if wanted is not None else "the model has none"
        raise ModelFolderError(f"{path}: {name} has shape {list(tensor.shape)}, {asked}")
    check_finite({name: tensor}, str(path))
    wanted.data.copy_(tensor)


@dataclass
class PairBatch:
    """Packed trees of two answers, and what is known of each pair.

    Args:
        packed: trees with [chosen, rejected] as completions.
        margins: [P] score gap asked for.
        doubts: [P] how likely the label is wrong; a tie is a half.
    """

    packed: Packed
    margins: Tensor | float = 0.0
    doubts: Tensor | float = 0.0


class RewardModule(L.LightningModule):
    """Bradley-Terry over pairs that share their prompt.

    Args:
        model: the reward model.
        optim, steps: optimiser and the length of its schedule.
        center: see `preference_loss`.
        freeze: train the head alone.
    """

    def __init__(self, model: RewardModel, optim: OptimConfig, steps: int, center: float, freeze: bool = False) -> None:
        super().__init__()
        self.model, self.optim, self.steps, self.center = model, optim, steps, center
        # The loss hardly sees it, and AdamW would make steps of the rounding.
        model.head.bias.requires_grad_(False)
        if freeze:
            model.decoder.requires_grad_(False)
        self.tokens_seen = 0

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """Mean preference loss; accuracy is logged beside it."""
        pairs = int(batch.packed.sequence_ids.max()) // 2 + 1
        scores = self.model(batch.packed, 2 * pairs).view(pairs, 2)
        chosen_P, rejected_P = scores[:, 0], scores[:, 1]
        everywhere, seen = ranks.totals(pairs, int((batch.packed.segments >= 0).sum()))
        # The mean over the pairs of all processes: gradients are averaged over processes.
        share = pairs * ranks.world() / everywhere
        loss = preference_loss(chosen_P, rejected_P, batch.margins, self.center, batch.doubts) * share
        self.tokens_seen += int(seen)
        self.log_dict({"train/loss": loss, "train/accuracy": (chosen_P > rejected_P).float().mean() * share}, sync_dist=True)
        return loss

    def transfer_batch_to_device(self, batch: PairBatch, device: torch.device, dataloader_idx: int) -> PairBatch:
        """All parts move."""
        moved = [part.to(device) if isinstance(part, Tensor) else part for part in (batch.margins, batch.doubts)]
        return PairBatch(batch.packed.to(device), *moved)

    def configure_optimizers(self) -> Any:
        """One schedule over backbone and head."""
        return configure(self, self.optim, self.steps)
