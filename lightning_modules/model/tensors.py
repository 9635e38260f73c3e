"""The numbers of a folder's weights: all finite, and a tied head the table that it is tied to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from safetensors.torch import load_file
from torch import Tensor

from lightning_modules.model.errors import ModelFolderError, NotFinite
from lightning_modules.model.weights import HEAD, TABLE, WeightFiles


def read_tensors(weights: WeightFiles, dtype: torch.dtype) -> dict[str, Tensor]:
    """All tensors, as `dtype`.

    Raises:
        NotFinite: one holds NaN or infinity.
    """
    tensors: dict[str, Tensor] = {}
    for file in weights.files:
        loaded = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
        check_finite(loaded, str(file))
        tensors |= loaded
    return tensors


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """No number is shown as a number: weights with NaN or infinity answer with noise, so they are neither read nor
    written.

    Raises:
        NotFinite: names the tensor and how many of its values it is.
    """
    for name, tensor in tensors.items():
        finite = torch.isfinite(tensor)
        if not bool(finite.all()):
            bad = tensor.numel() - int(finite.sum())
            raise NotFinite(
                f"{where}: {name} holds NaN or infinity ({bad} of {tensor.numel()} values); go back to an earlier checkpoint"
            )


def check_tied(tensors: Mapping[str, Tensor], where: str) -> None:
    """A head that is saved beside the table it is tied to must be that table.

    Raises:
        ModelFolderError: it is another.
    """
    if HEAD in tensors and not torch.equal(tensors[HEAD], tensors[TABLE]):
        raise ModelFolderError(
            f"{where}: config.json has tie_word_embeddings true, but {HEAD} differs from {TABLE}; set it to false in a copy if the head is right"
        )


def weights_hash(module: torch.nn.Module) -> str:
    """SHA-256 of all weights, in the order of their names."""
    digest = hashlib.sha256()
    for _, parameter in sorted(module.named_parameters()):
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
