"""Which files of a folder are the model, and whether they are what `config.json` describes.

The headers are read first: names, shapes and number formats are known, and refused, before a byte of the weights is.
safetensors only, and no torch: a gateway whose engine is another process checks a folder without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from lightning_modules.model.config import ModelConfig
from lightning_modules.model.errors import ModelFolderError

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
#: Beside the weights of a reward model; see `modules/reward.py`.
COMPANIONS = ("reward_head.safetensors",)
_SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)\.safetensors")
_FORMATS = ("F32", "BF16", "F16")
#: Saved by older versions of transformers and computed anew from config.json by all.
_COMPUTED = ".rotary_emb.inv_freq"
HEAD, TABLE = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True)
class WeightFiles:
    """The files that are the model.

    Args:
        files: in order.
        ignored: other safetensors files of the folder, which nothing names.
        where: tensor name -> file, as the index says; empty without one.
    """

    files: tuple[Path, ...]
    ignored: tuple[str, ...]
    where: Mapping[str, str]


def hf_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the exchange format with its shape."""
    width, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {TABLE: (config.vocab_size, width), "model.norm.weight": (width,)}
    if not config.tie_word_embeddings:
        shapes[HEAD] = (config.vocab_size, width)
    for i in range(config.num_layers):
        layer = f"model.layers.{i}."
        shapes |= {
            f"{layer}self_attn.{x}_proj.weight": (size, width) for x, size in zip("qkv", (queries, keys, keys), strict=True)
        }
        shapes |= {
            layer + "self_attn.o_proj.weight": (width, queries),
            layer + "mlp.gate_proj.weight": (inner, width),
            layer + "mlp.up_proj.weight": (inner, width),
            layer + "mlp.down_proj.weight": (width, inner),
            layer + "input_layernorm.weight": (width,),
            layer + "post_attention_layernorm.weight": (width,),
        }
        if config.qkv_bias:
            shapes |= {f"{layer}self_attn.{x}_proj.bias": (size,) for x, size in zip("qkv", (queries, keys, keys), strict=True)}
        if config.qk_norm:
            shapes |= {f"{layer}self_attn.{x}_norm.weight": (config.head_dim,) for x in "qk"}
    return shapes


def check_shapes(config: ModelConfig, found: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Refuse weights that are not those of the shape.

    Args:
        config: the shape.
        found: tensor name -> shape.
        where: the file or folder, for the message.

    Raises:
        ModelFolderError: names the first tensor that is missing, left over or of another shape.
    """
    expected = hf_shapes(config)
    missing = [name for name in expected if name not in found]
    if missing:
        raise ModelFolderError(f"{where} lacks {missing[0]} ({len(missing)} tensors missing); does config.json belong to it?")
    more = sorted(name for name in found if name not in expected and not name.endswith(_COMPUTED))
    if config.tie_word_embeddings and HEAD in more:
        more.remove(HEAD)
        expected[HEAD] = expected[TABLE]
    if more:
        raise ModelFolderError(
            f"{where} holds {more[0]}, which a model of this config.json does not have ({len(more)} tensors left over); "
            "they would be dropped without a word"
        )
    for name, shape in expected.items():
        if found[name] != shape:
            raise ModelFolderError(f"{where}: {name} has shape {list(found[name])}, config.json asks for {list(shape)}")


def find_weights(folder: Path) -> WeightFiles:
    """The files that the index names, `model.safetensors`, or one whole set of shards.

    Raises:
        ModelFolderError: none, more than one set, a shard that is missing, or a broken index.
    """
    there = {path.name for path in folder.glob("*.safetensors") if path.name not in COMPANIONS}
    where: dict[str, str] = {}
    if (folder / INDEX).is_file():
        where = _index(folder / INDEX)
        names = sorted(set(where.values()))
        if WHOLE in there and WHOLE not in names:
            raise ModelFolderError(
                f"{folder}: both {WHOLE} and {INDEX} ({len(names)} shards) are there, and nothing says which is the model; "
                "move one of them away"
            )
    elif WHOLE in there:
        names = [WHOLE]
    else:
        names = _unnamed(folder, there)
    missing = [name for name in names if name not in there]
    if missing:
        raise ModelFolderError(f"{folder / missing[0]}: missing ({len(missing)} of {len(names)} files); copy it again")
    return WeightFiles(tuple(folder / name for name in names), tuple(sorted(there - set(names))), where)


def _index(path: Path) -> dict[str, str]:
    try:
        where = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        if not where or any(not isinstance(name, str) or Path(name).name != name for name in where.values()):
            raise ValueError("weight_map must say for each tensor which file of this folder holds it")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFolderError(f"{path}: not a readable index ({error}); copy it again") from None
    return dict(where)


def _unnamed(folder: Path, there: set[str]) -> list[str]:
    """Without an index: a lone file, or shards that are all there."""
    if not there:
        raise ModelFolderError(f"{folder}: no *.safetensors file; only safetensors are loaded, never pickles")
    if len(there) == 1 and not _SHARD.fullmatch(next(iter(there))):
        return list(there)
    sets = {(match[1], match[3]) for match in map(_SHARD.fullmatch, there) if match}
    if len(sets) != 1 or not all(map(_SHARD.fullmatch, there)):
        raise ModelFolderError(
            f"{folder}: {len(there)} safetensors files and no {INDEX} that says which belong together; copy the index too"
        )
    [(stem, count)] = sets
    return [f"{stem}-{i:0{len(count)}}-of-{count}.safetensors" for i in range(1, int(count) + 1)]


def read_headers(weights: WeightFiles) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor, without reading one.

    Raises:
        ModelFolderError: a file cannot be read, holds another number format, or a tensor stands in two files or in
            another than the index says.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    seen: dict[str, str] = {}
    for file in weights.files:
        try:
            with safe_open(file, framework="np") as opened:
                heads = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
                formats = {name: (head.get_dtype(), tuple(head.get_shape())) for name, head in heads.items()}
        except Exception as error:  # safetensors raises its own untyped errors for broken headers
            raise ModelFolderError(f"{file}: not a readable safetensors file ({error}); copy it again") from error
        for name, (form, shape) in formats.items():
            if form not in _FORMATS:
                raise ModelFolderError(f"{file}: {name} is stored as {form}; {', '.join(_FORMATS)} can be loaded")
            if name in seen:
                raise ModelFolderError(f"{file}: {name} stands in {seen[name]} too; which of the two is the model's?")
            if weights.where and weights.where.get(name) != file.name:
                raise ModelFolderError(f"{file}: holds {name}, for which {INDEX} names {weights.where.get(name, 'no file')}")
            seen[name], shapes[name] = file.name, shape
    lost = [name for name in weights.where if name not in seen]
    if lost:
        raise ModelFolderError(
            f"{weights.files[0].parent / weights.where[lost[0]]}: lacks {lost[0]}, which {INDEX} says it holds"
        )
    return shapes
