"""Any Hugging Face folder: transformers' own logits, or a sentence that names what cannot be computed. Models are made
here, random and tiny."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lightning_modules.generation.engine import generate
from lightning_modules.generation.protocol import Sampling
from lightning_modules.model.errors import ModelFolderError
from lightning_modules.model.folder import check_model
from lightning_modules.model.hf_config import FAMILIES, from_hf
from lightning_modules.model.hub import load_model, save_model, save_tensors
from lightning_modules.model.rope import RopeScaling, YarnScaling
from lightning_modules.model.weights import INDEX, WHOLE
from tests.lightning_modules.tiny import raw_tokenizer, tiny_model

SHAPE = {
    "vocab_size": 320, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
IDS = torch.randint(0, 320, (2, 100), generator=torch.Generator().manual_seed(1))
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "beta_fast": 5.0, "original_max_position_embeddings": 64}


def make(folder: Path, kind: str, seed: int = 0, shards: str = "5GB", dtype: torch.dtype = torch.float32, **more: Any) -> Path:
    """A random model as transformers saves it, with weights so large that a difference shows."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, f"{kind}Config")(**{**SHAPE, **more}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)
            else:
                parameter.uniform_(-0.5, 0.5) if name.endswith("bias") else parameter.uniform_(0.5, 1.5)
    model.to(dtype).save_pretrained(folder, max_shard_size=shards)
    return folder


def difference(folder: Path) -> float:
    """Largest difference of a logit from transformers', over the largest logit."""
    from transformers import AutoModelForCausalLM

    ours = load_model(folder)
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(IDS).logits
        return float((theirs - ours.logits(ours(IDS))).abs().max() / theirs.abs().max())


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("Llama", {}),
        ("Llama", {"head_dim": 16, "tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
        ("Llama", {"rope_parameters": LLAMA3}),
        ("Llama", {"rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.7}}),
        ("Qwen3", {"head_dim": 16, "rope_parameters": YARN}),
        ("Qwen3", {"head_dim": 16, "rope_parameters": {**YARN, "attention_factor": 1.5, "truncate": False, "beta_slow": 0.3}}),
        ("Llama", {"dtype": torch.bfloat16}),
        ("Llama", {"dtype": torch.float16}),
        ("Qwen2", {}),
        ("Qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2}),  # from a layer on that is not there
        ("Qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
        ("Mistral", {"sliding_window": None}),
        ("Mistral", {"sliding_window": 256}),  # as long as the longest text
        ("Mistral", {"sliding_window": None, "shards": "60KB"}),
    ],
)
def test_transformers_logits(tmp_path: Path, kind: str, more: dict[str, Any]) -> None:
    assert difference(make(tmp_path, kind, **more)) < 1e-5


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        ("Llama", {"hidden_act": "gelu"}, "hidden_act 'gelu': the decoder computes silu alone"),
        ("Llama", {"attention_bias": True}, "attention_bias True: a llama is computed without biases"),
        ("Llama", {"mlp_bias": True}, "mlp_bias True"),
        ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}, "rotary embedding .*linear"),
        ("Qwen3", {"head_dim": 16, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}, "sliding_window 8"),
        ("Qwen3", {"head_dim": 16, "attention_bias": True}, "attention_bias"),
        ("Mistral", {"sliding_window": 8}, "sliding_window 8 .* set max_position_embeddings to 8"),
    ],
)
def test_what_would_come_out_wrong_is_refused(tmp_path: Path, kind: str, more: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelFolderError, match=words):
        load_model(make(tmp_path, kind, **more))


HF = tiny_model().config.to_hf()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "gpt2"}, f"model_type 'gpt2'; what can be loaded is {', '.join(FAMILIES)}"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, "architectures .*only Qwen3ForCausalLM"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantization_config .*stored quantised"),
        ({"auto_map": {"AutoModel": "own.py"}}, "auto_map .*code of its own"),
        ({"logits_scaling": 8.0}, "logits_scaling 8.0: only 1 can be computed"),
        ({"residual_multiplier": 0.22}, "residual_multiplier"),
        ({"embedding_multiplier": 12}, "embedding_multiplier"),
        ({"attention_multiplier": 0.0078}, "attention_multiplier"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "rotary"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "one kind of rotary embedding"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, "two things of its rotary"),
        ({"rope_parameters": None, "rope_scaling": {"type": "dynamic", "factor": 4}}, "scales its rotary"),
        ({"rope_parameters": None, "rope_scaling": {"type": "yarn", "factor": 4, "finetuned": True}}, "scales its rotary"),
        ({"rope_parameters": None, "rope_scaling": {"type": "yarn"}}, "yarn without factor"),
        ({"rope_parameters": None, "rope_scaling": {"type": "yarn", "factor": 4, "truncate": "no"}}, "truncate 'no'"),
        (
            {"rope_parameters": None, "rope_scaling": {"type": "yarn", "factor": 4, "beta_fast": 1}},
            "beta_slow is 1.0 and beta_fast",
        ),
        ({"rope_theta": 5e5}, "two things of its rotary"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "layer_types linear_attention"),
        ({"some_new_trick": 3, "another": "x"}, "another 'x', some_new_trick 3: not known here"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers '2'"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"rms_norm_eps": -1}, "rms_norm_eps -1"),
        ({"num_key_value_heads": 3}, "multiple"),
        ({"rope_parameters": {**LLAMA3, "rope_theta": 1e4, "factor": None}}, "llama3 without factor"),
    ],
)
def test_every_key_that_changes_the_result_is_named(change: dict[str, Any], words: str) -> None:
    assert from_hf(HF) == tiny_model().config
    with pytest.raises(ModelFolderError, match=words):
        from_hf({**HF, **change})


def test_keys_at_the_value_that_changes_nothing_are_taken() -> None:
    plain = {
        "hidden_act": "swish",
        "residual_multiplier": 1.0,
        "mlp_bias": None,
        "sliding_window": 8,
        "transformers_version": "4.40",
    }
    assert from_hf({**HF, **plain}) == tiny_model().config


def test_a_missing_key_means_what_transformers_takes_it_for() -> None:
    import transformers

    shape = {**SHAPE, "sliding_window": None, "hidden_size": 4096, "num_attention_heads": 32}
    for kind in ("Llama", "Qwen2", "Qwen3", "Mistral"):
        theirs = getattr(transformers, f"{kind}Config")()  # 4096 wide with 32 heads, in all four
        for key, attribute in (("num_key_value_heads", "num_kv_heads"), ("head_dim", "head_dim"), ("tie_word_embeddings",) * 2):
            hf = {name: value for name, value in {"model_type": kind.lower(), **shape}.items() if name != key}
            assert getattr(from_hf(hf), attribute) == getattr(theirs, key, 128), (kind, key)
    with pytest.raises(ModelFolderError, match="sliding_window 4096"):  # what Mistral's silence means
        from_hf({"model_type": "mistral", **SHAPE, "max_position_embeddings": 32_768})


@pytest.mark.parametrize(
    "shape",
    [
        {"qk_norm": False, "qkv_bias": True},
        {"qk_norm": False, "rope_theta": 5e5, "rope_scaling": RopeScaling(8.0, 1.0, 4.0, 64)},
        {"rope_scaling": YarnScaling(4.0, 32, beta_fast=4.0)},
        {"rope_scaling": YarnScaling(2.5, 40, beta_fast=3.0, beta_slow=0.5, attention_factor=1.3, truncate=False)},
    ],
)
def test_biases_and_longer_positions_survive_training_and_export(tmp_path: Path, shape: dict[str, Any]) -> None:
    ours = tiny_model(3, **shape)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if name.endswith("bias"):
                assert not parameter.any()  # starts as if it were not there
                parameter.uniform_(-1, 1, generator=torch.Generator().manual_seed(2))
    assert sum(p.numel() for p in ours.parameters()) == ours.config.parameters()
    folder = export(ours, tmp_path)
    again = load_model(folder)
    assert again.config == ours.config
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in ours.state_dict().items())
    assert difference(folder) < 1e-5
    one = generate(ours, [IDS[0].tolist()], Sampling(max_tokens=8))[0][0].ids
    ids = IDS[0].tolist()
    with torch.no_grad():
        for token in one:  # the engine's step is the decoder
            assert token == int(ours.logits(ours(torch.tensor([ids])))[0, -1].argmax())
            ids.append(token)


# --- files -----------------------------------------------------------------------------------------------------------


def export(model: Any, folder: Path) -> Path:
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir(parents=True)
    raw_tokenizer().save(str(tokenizer / "tokenizer.json"))
    save_model(model, folder / "model", tokenizer, (2, 0), 0)
    return folder / "model"


def rewrite(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / WHOLE)
        change(tensors)
        save_file(tensors, folder / WHOLE, {"format": "pt"})

    return apply


def configure(**values: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return apply


NORM = "model.layers.1.input_layernorm.weight"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (rewrite(lambda t: t.pop(NORM)), f"lacks {NORM}"),
        (
            rewrite(lambda t: t.update({"model.layers.2.mlp.up_proj.weight": t[NORM].clone()})),
            r"holds model\.layers\.2\.mlp\.up_proj",
        ),
        (rewrite(lambda t: t.update({NORM: torch.ones(7)})), r"has shape \[7\], config\.json asks for \[48\]"),
        (rewrite(lambda t: t.update({NORM: torch.ones(48, dtype=torch.int8)})), "stored as I8"),
        (rewrite(lambda t: t[NORM].fill_(float("nan"))), f"{NORM} holds NaN or infinity .48 of 48"),
        (rewrite(lambda t: t[NORM][3:4].fill_(float("inf"))), f"{NORM} holds NaN or infinity .1 of 48"),
        (rewrite(lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 1})), "tie_word_embeddings true, but"),
        (configure(tie_word_embeddings=False), "lacks lm_head.weight"),
        (lambda folder: (folder / WHOLE).write_bytes((folder / WHOLE).read_bytes()[:-9]), "not a readable safetensors file"),
        (lambda folder: (folder / INDEX).write_text('{"weight_map": {"a": "../x.safetensors"}}'), "not a readable index"),
        (lambda folder: (folder / INDEX).write_text('{"weight_map": {"a": "model-1-of-1.safetensors"}}'), "nothing says which"),
        (lambda folder: (folder / "config.json").unlink(), "no such file"),
        (configure(vocab_size=321), "config.json asks for"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "an adapter .* merge it"),
    ],
)
def test_weights_that_are_not_the_configs_are_refused(tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    folder = export(tiny_model(), tmp_path)
    damage(folder)
    with pytest.raises(ModelFolderError, match=words):
        load_model(folder)


def test_a_head_saved_beside_its_table_is_no_difference(tmp_path: Path) -> None:
    folder = export(tiny_model(), tmp_path)
    rewrite(lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone(),
                                "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6)}))(folder)  # fmt: skip
    assert torch.equal(load_model(folder).head.weight, tiny_model().head.weight)


def test_shards_that_the_index_does_not_name_are_passed_over_by_name(tmp_path: Path) -> None:
    folder, old = make(tmp_path / "new", "Llama", 1, "60KB"), make(tmp_path / "old", "Llama", 2, "150KB")
    stale = [file for file in old.glob("*.safetensors") if not (folder / file.name).exists()]
    for file in stale:
        shutil.copyfile(file, folder / file.name)
    assert stale and [note.split(":")[0] for note in check_model(folder)] == sorted(str(folder / file.name) for file in stale)
    assert difference(folder) < 1e-5


def test_a_missing_shard_and_a_tensor_in_two_files_are_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", "Llama", 1, "60KB")
    first, *_, last = sorted(folder.glob("*.safetensors"))
    kept = last.read_bytes()
    last.unlink()
    with pytest.raises(ModelFolderError, match=f"{last.name}: missing"):
        load_model(folder)
    last.write_bytes(kept)
    (folder / INDEX).unlink()  # whole without it too
    assert difference_without_index(folder) == 0
    save_file({**load_file(first), **load_file(last)}, last, {"format": "pt"})
    with pytest.raises(ModelFolderError, match=f"stands in {first.name} too"):
        load_model(folder)


def difference_without_index(folder: Path) -> float:
    whole: dict[str, torch.Tensor] = {}
    for file in folder.glob("*.safetensors"):
        whole |= load_file(file)
    return float((load_model(folder).norm.weight.detach() - whole["model.norm.weight"]).abs().max())


def test_a_broken_model_is_not_written(tmp_path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.blocks[1].mlp.down.weight[0, 0] = float("nan")
    with pytest.raises(ModelFolderError, match=r"not written: model\.layers\.1\.mlp\.down_proj\.weight holds NaN"):
        export(model, tmp_path)
    assert not (tmp_path / "model").exists()


def test_a_swapped_tokenizer_is_seen(tmp_path: Path) -> None:
    folder = export(tiny_model(), tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(content, indent=4))  # the same, written another way
    load_model(folder)
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ModelFolderError, match="not the tokenizer that the model was trained with"):
        load_model(folder)


def test_a_reward_models_head_is_looked_at_too(tmp_path: Path) -> None:
    from lightning_modules.modules.reward import HEAD_FILE, RewardModel, load_reward, save_reward

    folder = export(tiny_model(), tmp_path)
    with pytest.raises(ModelFolderError, match=f"{HEAD_FILE}: no such file; this is no reward model"):
        load_reward(folder)
    model = RewardModel(tiny_model())
    with torch.no_grad():
        model.head.weight[0, 5] = 2.0
    save_reward(model, folder, tmp_path / "tokenizer", (2, 0), 0)
    assert torch.equal(load_reward(folder).head.weight, model.head.weight) and check_model(folder) == []
    with torch.no_grad():
        model.head.weight[0, 5] = float("nan")
    kept = (folder / HEAD_FILE).read_bytes()
    with pytest.raises(ModelFolderError, match=r"head\.weight holds NaN"):
        save_reward(model, folder, tmp_path / "tokenizer", (2, 0), 0)
    assert (folder / HEAD_FILE).read_bytes() == kept
    save_file({"head.weight": torch.ones(1, 7)}, folder / HEAD_FILE)
    with pytest.raises(ModelFolderError, match=r"shape \[1, 7\]"):
        load_reward(folder)


def test_metadata_stand_in_order_whatever_the_process(tmp_path: Path) -> None:
    """The library's own order is another one in each process, so that equal weights were unequal files."""
    metadata = {name: json.dumps(f"é {name}") for name in "qwertyuiop"}
    tensors = {"b": torch.arange(5.0), "a": torch.ones(2, 3)}
    save_tensors(tensors, tmp_path / "one.safetensors", metadata)
    save_tensors(tensors, tmp_path / "two.safetensors", dict(reversed(metadata.items())))
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    with safe_open(tmp_path / "one.safetensors", "pt") as file:
        assert file.metadata() == metadata
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in tensors.items())
    raw = (tmp_path / "one.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert list(header["__metadata__"]) == sorted(metadata)
