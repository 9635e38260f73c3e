"""Model folders that a setting names: anything that is wrong with one is said in one line, with the setting, before
anything is started.

All stages and commands that take a folder in Hugging Face layout (`--model`, `pretrain.start_from`, ...) go through
here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_modules.model.errors import ModelFolderError
from tenet.errors import ConfigError

if TYPE_CHECKING:
    from lightning_modules.data.chat import ChatTokenizer
    from lightning_modules.model.decoder import Decoder


@contextmanager
def refused_as(setting: str) -> Iterator[None]:
    """Turn what is wrong with a folder into an error of the setting that named it."""
    try:
        yield
    except ModelFolderError as error:
        raise ConfigError(f"{setting}: {error}") from None


def check_model_folder(path: str | Path, setting: str) -> list[str]:
    """Whether model, tokenizer and chat template can be loaded exactly, from their headers alone; needs no torch.

    Args:
        path: folder in Hugging Face layout.
        setting: what named it, e.g. `--model`, for the message.

    Returns:
        what is passed over, in words.

    Raises:
        ConfigError: names the setting, the file, the key or tensor and the way out.
    """
    from lightning_modules.model.folder import checked

    with refused_as(setting):
        config, _, notes = checked(Path(path))
        tokenizer = chat_tokenizer(path, setting)
        if tokenizer.vocab_size > config.vocab_size:
            raise ModelFolderError(
                f"{Path(path) / 'tokenizer.json'}: {tokenizer.vocab_size} entries, but the model's vocab_size is {config.vocab_size}; "
                "put the model's own tokenizer there"
            )
    return notes


def chat_tokenizer(path: str | Path, setting: str) -> ChatTokenizer:
    """Tokenizer and chat template of a folder, seen to render.

    Raises:
        ConfigError: as `check_model_folder`.
    """
    from lightning_modules.data.chat import ChatTokenizer
    from lightning_modules.data.templates import TemplateRefused

    with refused_as(setting):
        tokenizer = ChatTokenizer.from_folder(path)
        try:
            tokenizer.render([{"role": "user", "content": "Hi"}], generation=True)
        except TemplateRefused as error:
            raise ModelFolderError(f"{path}: {error}") from None
    return tokenizer


def load_model_folder(path: str | Path, setting: str, tokenizer: Path | None = None) -> Decoder:
    """The weights of a folder.

    Args:
        path: folder in Hugging Face layout.
        setting: what named it, for the message.
        tokenizer: folder of the tokenizer that will be used with these weights, where that is not the folder's own.

    Raises:
        ConfigError: it cannot be loaded exactly, or was trained under another tokenizer.
    """
    from lightning_modules.model.hub import load_model

    if tokenizer is not None:
        check_same_tokenizer(Path(path), tokenizer, setting)
    with refused_as(setting):
        return load_model(path)


def check_same_tokenizer(model: Path, tokenizer: Path, setting: str, way_out: str = "") -> None:
    """Refuse a model whose token ids mean something else than those it will be given.

    Args:
        way_out: for the message, where it is not a corpus that gives the tokenizer.

    Raises:
        ConfigError: says what differs, or that the model folder does not show its tokenizer.
    """
    from lightning_modules.model.tokenizer_files import same_tokenizer

    if not (model / "tokenizer.json").is_file():
        raise ConfigError(
            f"{setting} is {str(model)!r}: no tokenizer.json there, so nothing says that its token ids mean the same as those of "
            f"{tokenizer}; put the tokenizer that the model was trained with beside it"
        )
    with refused_as(setting):
        differences = same_tokenizer(model, tokenizer)
    if differences:
        raise ConfigError(
            f"{setting} is {str(model)!r}: the model's tokenizer is not that of {tokenizer}: {'; '.join(differences)}. "
            + (way_out or f"Make the corpus with `--tokenizer {model}`, or take a model of this corpus")
        )
