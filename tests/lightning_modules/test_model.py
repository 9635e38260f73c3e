"""The decoder against transformers, and its exchange format in both directions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_modules.generation.engine import generate
from lightning_modules.generation.protocol import Sampling
from lightning_modules.model.config import ModelConfig
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.errors import ModelFolderError
from lightning_modules.model.hub import load_model, save_model
from tests.lightning_modules.tiny import raw_tokenizer, tiny_model


def export(model: Decoder, folder: Path) -> Path:
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir(parents=True)
    raw_tokenizer().save(str(tokenizer / "tokenizer.json"))
    save_model(model, folder / "model", tokenizer, (2, 0), 0)
    return folder / "model"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"qk_norm": False},
        {"tie_word_embeddings": False},
        {"num_kv_heads": 4},
        {"rope_theta": 500_000.0, "rms_norm_eps": 1e-5},
    ],
)
def test_transformers_computes_the_same(tmp_path: Path, changes: dict[str, object]) -> None:
    from transformers import AutoModelForCausalLM

    ours = tiny_model(3, **changes)
    # Norm weights of 1 would hide a norm that is applied in the wrong place.
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(len(name)))
    folder = export(ours, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.randint(0, 320, (3, 50), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert (theirs(ids).logits - ours.logits(ours(ids))).abs().max() < 1e-4
        expected = theirs.generate(ids[:1], max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0)[
            0, 50:
        ].tolist()
    assert generate(ours, [ids[0].tolist()], Sampling(max_tokens=24))[0][0].ids == expected


def test_export_and_import_are_inverse(tmp_path: Path) -> None:
    ours = tiny_model(5)
    again = load_model(export(ours, tmp_path))
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert again.head.weight is again.embedding.weight


def test_exports_of_equal_models_are_equal_bytes(tmp_path: Path) -> None:
    one, two = export(tiny_model(5), tmp_path / "a"), export(tiny_model(5), tmp_path / "b")
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()


def test_parameter_count_is_exact() -> None:
    for changes in ({}, {"qk_norm": False}, {"tie_word_embeddings": False}):
        model = tiny_model(**changes)
        assert sum(p.numel() for p in model.parameters()) == model.config.parameters()


def test_flops_follow_the_definition() -> None:
    config = tiny_model().config
    block = config.hidden_size * config.head_dim * (2 * config.num_heads + 2 * config.num_kv_heads) + 3 * config.hidden_size * 96
    expected = 6 * (2 * (block + 2 * 48 + 2 * 12) + 320 * 48) + 6 * 2 * 4 * 12 * 100
    assert config.flops_per_token(100) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [({"num_kv_heads": 3}, "num_kv_heads"), ({"head_dim": 7}, "head_dim"), ({"num_layers": 0}, "num_layers")],
)
def test_impossible_shapes_name_the_key(change: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny_model(**change)


def test_broken_folders_say_what_is_wrong(tmp_path: Path) -> None:
    folder = export(tiny_model(), tmp_path)
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "layers.1.mlp.up" not in k}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="up_proj"):
        load_model(folder)
    (folder / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError, match="safetensors"):
        load_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json"):
        load_model(folder)


def test_both_spellings_of_the_rotary_base_are_written(tmp_path: Path) -> None:
    config = json.loads((export(tiny_model(rope_theta=50_000.0), tmp_path) / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 50_000.0


def test_a_400b_model_is_built_without_memory() -> None:
    from tenet.settings.preset import load_preset

    shape = load_preset("400b").model
    with torch.device("meta"):
        block = Decoder(ModelConfig(**{**vars(shape), "num_layers": 1}))
    assert sum(p.numel() for p in block.blocks.parameters()) == shape.layer_parameters()


def test_weights_are_as_readable_as_the_rest_of_the_folder(tmp_path: Path) -> None:
    """A server may run as another user than the training did."""
    folder = export(tiny_model(1), tmp_path)
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in folder.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"], modes
