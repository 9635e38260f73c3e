"""Stages with adapters and with validation: what they hand on, what they say, what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lightning_modules.config import ComputeConfig, LoraConfig, OptimConfig
from lightning_modules.data.templates import ConversationError
from lightning_modules.model.hub import load_model, to_hf_tensors
from tenet.errors import ConfigError
from tenet.posttrain.training import pair_tree
from tenet.runs.summary import Summary
from tenet.settings.build import build
from tenet.settings.training import DpoConfig, FinetuneConfig, RlhfConfig
from tenet.settings.validation import ValidationConfig
from tenet.stages.training import dpo, finetune, rlhf
from tests.lightning_modules.tiny import tiny_model, tiny_tokenizer
from tests.tenet.posttrain.alone import model_folder, rows_of, workspace

CPU = ComputeConfig(accelerator="cpu", threads=1)
LORA, FAST = LoraConfig(rank=4), OptimConfig(lr=1e-2, warmup=0.1, decay=0.3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table large enough for adapters to say something through it."""
    decoder = tiny_model(3)
    decoder.embedding.weight.data *= 10
    return model_folder(tmp_path_factory.mktemp("base"), decoder)


def talk(i: int) -> dict[str, Any]:
    said = {"role": "assistant", "content": "the lazy dog"}
    return {"messages": [{"role": "user", "content": f"Where is lamp {i}?"}, said], "exact": True}


def pair(i: int) -> dict[str, Any]:
    return {"prompt": f"Where is lamp {i}?", "chosen": "the quick fox", "rejected": "the lazy dog"}


def fine(data: str, **more: Any) -> FinetuneConfig:
    sizes: dict[str, Any] = {"steps": 12, "batch_tokens": 256, "context": 64, "eval_rows": 8, "checkpoint_every": 5}
    return FinetuneConfig(data=data, compute=CPU, **{"optim": FAST, **sizes, **more})


def check_adapter(folder: Path, base: Path, found: Summary) -> None:
    """The model is the base plus the adapter, which is as large as the summary says."""
    adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert found.details["lora"]["trained_parameters"] == sum(tensor.numel() for tensor in adapter.values())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (4, 16.0, base.name)
    merged = load_file(folder / "model" / "model.safetensors")
    for name, weight in to_hf_tensors(load_model(base)).items():
        path = f"base_model.model.{name.removesuffix('weight')}lora_"
        if f"{path}A.weight" in adapter:
            update = 4.0 * adapter[f"{path}B.weight"] @ adapter[f"{path}A.weight"]
            assert update.abs().max() > 1e-4
            weight = weight + update
        assert torch.allclose(merged[name], weight, atol=1e-6), name


def test_fine_tuning_hands_on_a_merged_model_and_an_adapter(model: Path, tmp_path: Path) -> None:
    data = rows_of(tmp_path / "talks.jsonl", [talk(i) for i in range(60)])
    ws = workspace(tmp_path, model, "finetune")
    found = finetune.run(fine(data, lora=LORA), ws)
    check_adapter(ws.dir, model, found)
    loss = found.figures[0]
    assert loss.before is not None and loss.value < 0.8 * loss.before
    whole = finetune.run(fine(data), workspace(tmp_path / "whole", model, "finetune"))
    assert "lora" not in whole.details and not (tmp_path / "whole" / "finetune" / "adapter").exists()
    assert found.flops == pytest.approx(whole.flops * 2 / 3)


def test_preferences_and_policies_with_adapters(model: Path, tmp_path: Path) -> None:
    ws = workspace(tmp_path, model, "dpo")
    data = rows_of(tmp_path / "pairs.jsonl", [pair(i) for i in range(60)])
    found = dpo.run(DpoConfig(data=data, steps=10, batch_pairs=8, lora=LORA, compute=CPU, optim=FAST), ws)
    check_adapter(ws.dir, model, found)
    assert found.figures[0].value > 0.9
    ws = workspace(tmp_path, model, "rlhf")
    sizes: dict[str, Any] = {"steps": 2, "prompts": 4, "group": 4, "max_tokens": 8, "eval_rows": 4, "checkpoint_every": 1}
    asked = [{"prompt": f"Say x {i}", "verifier": {"kind": "regex", "pattern": "^[A-Za-z]"}} for i in range(40)]
    config = RlhfConfig(
        data=rows_of(tmp_path / "asked.jsonl", asked), lora=LORA, compute=CPU, optim=OptimConfig(lr=1e-3), **sizes
    )

    check_adapter(ws.dir, model, rlhf.run(config, ws))


def test_the_best_fine_tuned_weights_are_chosen_by_rows_of_their_own(model: Path, tmp_path: Path) -> None:
    data = rows_of(tmp_path / "talks.jsonl", [talk(i) for i in range(80)])
    checked = ValidationConfig(every=2, rows=10, patience=2)
    wild = OptimConfig(lr=0.3, warmup=0.5, decay=0.0)  # learns, then goes astray
    ws = workspace(tmp_path, model, "finetune")
    found = finetune.run(fine(data, steps=30, validation=checked, optim=wild), ws)
    facts, lines = found.details["validation"], (ws.dir / "metrics.csv").read_text()
    assert facts["stopped"] and 0 < facts["best_step"] < 30 and 4 <= facts["rows"] <= 10 and "valid/loss" in lines
    plain = finetune.run(fine(data, steps=0), workspace(tmp_path / "plain", model, "finetune"))
    assert found.details["conversations"] < plain.details["conversations"] and "validation" not in plain.details
    assert found.figures[0].value < plain.figures[0].value and found.figures[0].n == plain.figures[0].n


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_preferences_are_validated(loss: str, model: Path, tmp_path: Path) -> None:
    data = rows_of(tmp_path / "pairs.jsonl", [pair(i) for i in range(60)])
    config = build(DpoConfig, {"data": data, "steps": 10, "objective": {"loss": loss}, "validation": {"every": 5, "rows": 8},
                               "compute": {"accelerator": "cpu", "threads": 1}, "optim": {"lr": 3e-3}}, "test")  # fmt: skip
    found = dpo.run(config, workspace(tmp_path, model, "dpo"))
    facts = found.details["validation"]
    assert facts["best_step"] == 10 and facts["kept_best"] and not facts["stopped"] and facts["best_loss"] < 0.7


def test_what_cannot_be_is_refused(model: Path, tmp_path: Path) -> None:
    data = rows_of(tmp_path / "talks.jsonl", [talk(i) for i in range(40)])
    with pytest.raises(ConfigError, match=r"finetune\.lora\.rank is 24 and k_proj of this model is 24 x 48"):
        finetune.run(fine(data, lora=LoraConfig(rank=24)), workspace(tmp_path, model, "finetune"))
    same = rows_of(tmp_path / "same.jsonl", [talk(1), talk(2)])
    with pytest.raises(ConfigError, match=r"finetune\.validation\.every is 5, and no rows can be taken out"):
        finetune.run(fine(same, validation=ValidationConfig(every=5)), workspace(tmp_path, model, "finetune"))
    thought = {"role": "assistant", "content": "It is here.", "reasoning_content": "Let me see."}
    with pytest.raises(ConversationError, match="leaves the reasoning_content"):
        pair_tree(
            tiny_tokenizer(), {"prompt": [{"role": "user", "content": "Where?"}], "chosen": [thought], "rejected": [thought]}
        )


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        (FinetuneConfig, {"lora": {"rank": 4}, "optim": {"muon_lr": 0.01}}, "finetune.lora.rank is 4 and finetune.optim.muon_lr"),
        (DpoConfig, {"lora": {"rank": 4}, "optim": {"muon_lr": 0.01}}, "dpo.lora.rank is 4"),
        (RlhfConfig, {"lora": {"rank": 4}, "optim": {"muon_lr": 0.01}}, "rlhf.lora.rank is 4"),
        (FinetuneConfig, {"lora": {"rank": -2}}, "lora.rank is -2"),
        (FinetuneConfig, {"lora": {"targets": ["lm_head"]}}, "lora.targets names 'lm_head'"),
        (FinetuneConfig, {"validation": {"every": -1}}, "validation.every is -1"),
        (FinetuneConfig, {"validation": {"rows": 0}}, "validation.rows is 0"),
        (DpoConfig, {"validation": {"patience": 2}}, "validation.every 0"),
        (DpoConfig, {"validation": {"every": 5, "patience": 2, "keep": "last"}}, "validation.keep to best"),
    ],
)
def test_settings_that_cannot_be(section: type, values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(section, values, "test")
