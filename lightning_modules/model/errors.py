"""What is wrong with a folder of weights or a tokenizer, in one sentence: the file, the key or tensor, the value and
the way out."""

from __future__ import annotations


class ModelFolderError(ValueError):
    """A folder in Hugging Face layout that cannot be loaded exactly; nothing of it is used."""


class NotFinite(ModelFolderError):
    """Weights that hold NaN or infinity."""
