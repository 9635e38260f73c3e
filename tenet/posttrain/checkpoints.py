"""What the training stages share: where the tokenizer is, how a model is loaded and handed on, and how a fit that was
stopped ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lightning_modules.config import ComputeConfig, LoraConfig
from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.data.shards import TokenRows
from lightning_modules.distributed import ranks
from lightning_modules.model.adapter_files import save_adapter
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.hub import load_model, save_model
from lightning_modules.model.lora import adapted, add_adapters
from lightning_modules.training.trainer import check, prepare
from tenet.errors import ConfigError, Interrupted, StageError
from tenet.files import read_json, sha256
from tenet.model_folders import check_model_folder, load_model_folder
from tenet.runs.workspace import Workspace


def begin(compute: ComputeConfig, ws: Workspace) -> None:
    """Set threads and determinism, and refuse processes that the preset's cut of the model does not fit
    (`pretrain.parallel` serves all stages).

    Raises:
        ConfigError: names the key, the value and the way out.
    """
    prepare(compute)

    def refuse() -> None:
        try:
            check(compute, ws.parallel)
        except ValueError as error:
            raise ConfigError(f"{ws.stage}: {error}") from None

    ranks.on_first(refuse)


def corpus_tokenizer(ws: Workspace) -> Path:
    """The tokenizer that the corpus stage made, which pretraining needs; later stages take that of the model they start
    from."""
    return ws.input("corpus") / "tokenizer"


def tokenizer_of(ws: Workspace) -> ChatTokenizer:
    """Tokenizer and chat template of the model that this stage starts from."""
    return ChatTokenizer.from_folder(ws.start)


def start_model(ws: Workspace) -> Decoder:
    """The model that this stage starts from: of an earlier stage, its files checked against their hashes, or of any
    folder."""
    for stage in ws.policies:
        if ws.start == ws.run / stage / "model":
            return model_of(ws, stage)
    return load_folder(ws.start, f"{ws.stage}.start_from")


def trainee(ws: Workspace, lora: LoraConfig) -> Decoder:
    """The model that this stage starts from, with adapters on it where a rank is set.

    Raises:
        ConfigError: the adapters do not fit the model.
    """
    model = start_model(ws)
    if lora.rank:
        try:
            add_adapters(model, lora, ws.seed)
        except ValueError as error:
            raise ConfigError(f"{ws.stage}.{error}") from None
    return model


def lora_facts(model: Decoder, lora: LoraConfig) -> dict[str, Any]:
    """What the summary says of the adapters; nothing where the whole model is trained."""
    if not lora.rank:
        return {}
    trained, parameters = model.config.adapter_parameters(lora), model.config.parameters()
    return {"lora": {"rank": lora.rank, "trained_parameters": trained, "of": parameters}}


def load_folder(folder: Path, setting: str) -> Decoder:
    """A model folder that a setting names, its tokenizer and chat template seen to belong to it.

    Raises:
        ConfigError: it is none, or one that the decoder does not compute.
    """
    check_model_folder(folder, setting)
    return load_model_folder(folder, setting)


def model_of(ws: Workspace, stage: str) -> Decoder:
    """Weights that an earlier stage handed on, checked against their hash.

    Raises:
        StageError: a file differs from what `run.json` says.
    """
    folder = ws.input(stage)
    for entry in read_json(folder / "run.json")["outputs"]:
        path = folder / entry["path"]
        if entry["path"].startswith(("model/", "reward/")) and (not path.is_file() or sha256(path) != entry["sha256"]):
            raise StageError(f"{path}: missing or not the file that {stage} made; run `tenet {stage} --run {ws.run} --fresh`")
    return load_model(folder / "model")


def export(model: Decoder, ws: Workspace, tokenizer: ChatTokenizer, name: str = "model", files: Path | None = None) -> None:
    """Write the model in Hugging Face layout into the stage's folder, adapters merged, and these beside it as peft has
    them: the first process for all, which wait for it.

    Args:
        files: folder of the tokenizer; that of the model that the stage starts from when left out.
    """
    model.eval()
    source = files or ws.start
    ranks.on_first(lambda: save_model(model, ws.dir / name, source, tokenizer.stop_ids, tokenizer.end_of_text))
    if adapted(model):
        # From the adapter's folder, so that a run can be moved; a model from elsewhere by its name alone.
        inside = ws.start.is_relative_to(ws.run)
        base = f"../../{ws.start.relative_to(ws.run).as_posix()}" if inside else ws.start.name
        ranks.on_first(lambda: save_adapter(model, ws.dir / "adapter", base))


def finished(fitted: bool, ws: Workspace) -> None:
    """A fit that stopped early has saved its state: leave with the resumable exit code, all processes together."""

    def leave() -> None:
        if not fitted:
            raise Interrupted(f"{ws.stage}: interrupted, the checkpoint is saved; run the same command to go on")

    ranks.on_first(leave)


def token_rows(path: Path, context: int, wide: bool) -> TokenRows:
    """A shard cut into rows.

    Raises:
        StageError: it is missing, cut short or of another width.
    """
    try:
        return TokenRows(path, context, wide)
    except (FileNotFoundError, ValueError) as error:
        raise StageError(str(error)) from error


def check_vocabulary(model_vocabulary: int, tokenizer: ChatTokenizer) -> None:
    """A table smaller than the tokenizer's would index out of range in the middle of training."""
    if tokenizer.vocab_size > model_vocabulary:
        raise ConfigError(
            f"model.vocab_size is {model_vocabulary}, the tokenizer has {tokenizer.vocab_size} entries; set both to the same number"
        )


def groups_of(ws: Workspace) -> str:
    """What is held out together, in the domain's word: "services", "documents"."""
    return ws.domain.words.groups if ws.domain else "documents"


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean with its 95 % interval by the central limit theorem.

    Returns:
        mean, low, high; the interval is the point itself at one value.

    Raises:
        ValueError: no values.
    """
    n = len(values)
    if not n:
        raise ValueError("a mean of no values is no figure; leave it out where nothing was measured")
    mean = sum(values) / n
    if n < 2:
        return mean, mean, mean
    error = 1.96 * math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n)
    return mean, mean - error, mean + error


def subset(rows: Sequence[Any], count: int | str, seed: int) -> list[Any]:
    """At most `count` rows ("all" takes all), drawn by seed, in their old order."""
    if isinstance(count, str) or count >= len(rows):
        return list(rows)
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:count].tolist()
    return [rows[i] for i in sorted(chosen)]
