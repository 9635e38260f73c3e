"""LoRA: what is trained, what the merged view and the exported adapter compute, and that a kill changes nothing."""

from __future__ import annotations

import copy
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint import FileSystemReader

from lightning_modules.config import PROJECTIONS, GuardLimits, LoraConfig, OptimConfig, PolicyObjective
from lightning_modules.data.packing import pack
from lightning_modules.data.steps import StepLoader
from lightning_modules.generation.engine import generate
from lightning_modules.generation.experience import Reward
from lightning_modules.generation.protocol import Sampling
from lightning_modules.generation.rollouts import ExperienceLoader, RolloutConfig
from lightning_modules.model.adapter_files import adapter_tensors, save_adapter
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.lora import AdaptedLinear, adapted, add_adapters, input_model, merged
from lightning_modules.model.tensors import weights_hash
from lightning_modules.modules.policy import RlhfModule
from lightning_modules.modules.sft import FinetuneModule
from lightning_modules.objectives.critic import ActorCritic
from lightning_modules.objectives.logprobs import token_logprobs
from lightning_modules.training.callbacks.resume import latest
from lightning_modules.training.optim import build_optimiser
from tests.lightning_modules.fits import trees
from tests.lightning_modules.test_model import export
from tests.lightning_modules.test_training import _StopAfter, copying, train, weights
from tests.lightning_modules.tiny import tiny_model

LORA = LoraConfig(rank=4, alpha=8.0)
OPTIM = OptimConfig(lr=1e-2, warmup=0.1, decay=0.3)
SHAPES: dict[str, dict[str, Any]] = {
    "qwen3": {},
    "llama": {"qk_norm": False, "tie_word_embeddings": False, "num_kv_heads": 1},
    "qwen2": {"qk_norm": False, "qkv_bias": True},
}


def with_adapters(seed: int = 1, lora: LoraConfig = LORA, noise: float = 0.0, table: float = 1.0, **shape: Any) -> Decoder:
    """Args: noise: of B, which begins as zero. table: the token table times this: a fresh one is so small that no adapter
    could say anything through it."""
    model = tiny_model(seed, **shape)
    model.embedding.weight.data *= table
    add_adapters(model, lora, seed)
    generator = torch.Generator().manual_seed(7)
    for part in adapted(model):
        part.lora_b.data += noise * torch.randn(part.lora_b.shape, generator=generator)
    return model


def tokens(count: int = 40) -> torch.Tensor:
    return torch.randint(0, 320, (2, count), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def logits(model: Decoder, ids: torch.Tensor) -> torch.Tensor:
    return model.logits(model(ids))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_training_begins_with_the_model_as_it_is(shape: dict[str, Any]) -> None:
    plain, model = tiny_model(1, **shape), with_adapters(**shape)
    assert torch.equal(logits(model, tokens()), logits(plain, tokens()))
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == plain.config.adapter_parameters(LORA)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("targets", [PROJECTIONS, ("k_proj", "up_proj"), ("q_proj", "v_proj", "down_proj")])
def test_an_adapter_adds_its_product_to_its_matrix_alone(shape: dict[str, Any], targets: tuple[str, ...]) -> None:
    """Against the definition: W + alpha / rank B A, matrix by matrix under the names of the exchange format."""
    lora = LoraConfig(rank=3, alpha=6.0, targets=targets)
    model, plain = with_adapters(lora=lora, noise=0.3, **shape), tiny_model(1, **shape)
    from lightning_modules.model.hub import from_hf_tensors, to_hf_tensors

    base, found = to_hf_tensors(plain), adapter_tensors(model)
    assert len(found) == 2 * len(targets) * plain.config.num_layers
    for name in found:
        if "lora_A" in name:
            path = name.removeprefix("base_model.model.").replace("lora_A.", "")
            base[path] += 2.0 * found[name.replace("lora_A", "lora_B")] @ found[name]
    by_hand = Decoder(plain.config)
    by_hand.load_state_dict(from_hf_tensors(plain.config, base))
    expected = logits(by_hand, tokens())
    assert (expected - logits(plain, tokens())).abs().max() > 0.01
    assert torch.allclose(logits(model, tokens()), expected, atol=1e-5)
    assert torch.allclose(logits(merged(model), tokens()), expected, atol=1e-5)


def test_views_share_what_is_not_adapted_and_move_with_it() -> None:
    model = with_adapters(noise=0.3)
    view, base = merged(model), input_model(model)
    assert view.embedding.weight is model.embedding.weight is base.embedding.weight
    assert view.head.weight is view.embedding.weight and not adapted(view) and not adapted(base)
    assert base.blocks[0].attention.qkv.weight is model.blocks[0].attention.qkv.base.weight
    assert torch.equal(logits(base, tokens()), logits(tiny_model(1), tokens()))
    model.double()
    assert base.embedding.weight.dtype == torch.float64 == base.blocks[1].mlp.down.weight.dtype
    plain = tiny_model(1)
    assert merged(plain) is plain and input_model(plain).embedding.weight is not plain.embedding.weight


@pytest.mark.parametrize("shape", [SHAPES["qwen3"], SHAPES["llama"]], ids=["qwen3", "llama"])
def test_the_export_is_base_plus_adapter_in_transformers(shape: dict[str, Any], tmp_path: Path) -> None:
    """The merged folder there, and the base there with the adapter's files added to its matrices, as peft does."""
    from transformers import AutoModelForCausalLM

    model = with_adapters(noise=0.3, **shape)
    whole, base = export(model, tmp_path / "whole"), export(tiny_model(1, **shape), tmp_path / "base")
    save_adapter(model, tmp_path / "adapter", "base/model")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    found = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    one, two = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval() for folder in (whole, base))
    for name, module in two.named_modules():
        if name.split(".")[-1] in config["target_modules"]:
            path = f"base_model.model.{name}.lora_"
            module.weight.data += config["lora_alpha"] / config["r"] * found.pop(f"{path}B.weight") @ found.pop(f"{path}A.weight")
    assert not found
    with torch.no_grad():
        assert (one(tokens()).logits - two(tokens()).logits).abs().max() < 1e-5
        assert (one(tokens()).logits - logits(model, tokens())).abs().max() < 1e-4


def test_peft_loads_the_adapter(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is no dependency; its arithmetic is done by hand in the test above")
    from transformers import AutoModelForCausalLM

    model = with_adapters(noise=0.3)
    whole, base = export(model, tmp_path / "whole"), export(tiny_model(1), tmp_path / "base")
    save_adapter(model, tmp_path / "adapter", "base/model")
    one, two = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval() for folder in (whole, base))
    two = peft.PeftModel.from_pretrained(two, tmp_path / "adapter").eval()
    with torch.no_grad():
        assert (one(tokens()).logits - two(tokens()).logits).abs().max() < 1e-5


def test_fits_train_adapters_alone_and_checkpoints_hold_no_more(tmp_path: Path) -> None:
    model = with_adapters(table=10.0)
    base = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    before = float(-token_logprobs(merged(model), copying(1000)).mean())
    assert train(FinetuneModule(model, OPTIM, 40), StepLoader(copying, 40), 40, tmp_path, every=30)
    after = float(-token_logprobs(merged(model), copying(1000)).mean())
    assert after < 0.8 * before
    assert all(torch.equal(p, base[name]) for name, p in model.named_parameters() if not p.requires_grad)
    newest = latest(tmp_path / "checkpoints")
    assert newest is not None
    kept = FileSystemReader(newest).read_metadata().state_dict_metadata
    assert len(kept) == (1 + 3) * 2 * 4 * 2 and all("lora_" in name for name in kept)  # weights, moments and their count


def test_a_stopped_fit_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole = with_adapters()
    assert train(FinetuneModule(whole, OPTIM, 24), StepLoader(copying, 24), 24, tmp_path / "whole")
    stop, cut, again = threading.Event(), with_adapters(), with_adapters()
    assert not train(FinetuneModule(cut, OPTIM, 24), _StopAfter(13, stop, 24), 24, tmp_path / "cut", stop)
    assert train(FinetuneModule(again, OPTIM, 24), StepLoader(copying, 24), 24, tmp_path / "cut")
    assert weights(again) == weights(whole) != weights(with_adapters())


def test_adapters_are_adamws() -> None:
    optimiser = build_optimiser(with_adapters(), OptimConfig(lr=1e-3, muon_lr=1e-2))
    assert [group["muon"] for group in optimiser.param_groups] == [False]
    assert len(optimiser.param_groups[0]["params"]) == 2 * 4 * 2


def even(ids: list[int]) -> int:
    return sum(i % 2 == 0 for i in ids)


@pytest.mark.parametrize("critic", [False, True], ids=["grpo", "ppo"])
def test_policy_optimisation_with_adapters(critic: bool, tmp_path: Path) -> None:
    """The reference is the policy without adapters; a kill changes nothing; a guard hands on the last good adapters."""

    def fitted(folder: Path, kill: int = 0, limits: GuardLimits | None = None) -> tuple[Decoder, RlhfModule]:
        model, stop, calls = with_adapters(6, table=10.0), threading.Event(), []
        policy: Any = ActorCritic(model, 10.0) if critic else model

        def score(rows: Any, answers: Any) -> Any:
            calls.append(1)
            if len(calls) == kill:
                stop.set()
            return [[Reward(even(a.ids) / 4) for a in group] for group in answers]

        config = RolloutConfig(rounds=8, prompts=8, group=8, minibatches=2)
        loader = ExperienceLoader(
            policy, input_model(model), [[1, i, 2] for i in range(40, 60)], score, config, seed=0,
            sampling=Sampling(max_tokens=4, temperature=1.0),
        )  # fmt: skip
        module = RlhfModule(policy, OptimConfig(lr=2e-2, warmup=0.1), len(loader), PolicyObjective(), kl=0.02, longest=4,
                            guards=limits or GuardLimits(kl=0, entropy=0, length=0, truncated=0))  # fmt: skip
        train(module, loader, len(loader), folder, stop, every=4, grain=2)
        return model, module

    model, module = fitted(tmp_path / "whole")
    start, prompt = with_adapters(6, table=10.0), [[1, i, 2] for i in range(60, 80)]

    def share(policy: Decoder) -> float:
        made = generate(merged(policy), prompt, Sampling(max_tokens=4, temperature=1.0, seed=5), n=8)
        return sum(even(a.ids) for group in made for a in group) / (4 * 8 * 20)

    assert share(model) > share(start) + 0.1 and not module.halted
    assert all(torch.equal(p, q) for p, q in zip(input_model(model).parameters(), input_model(start).parameters(), strict=True))
    fitted(tmp_path / "cut", kill=5)
    assert weights_hash(fitted(tmp_path / "cut")[0]) == weights_hash(model)
    limits = GuardLimits(kl=0.02, entropy=0, length=0, truncated=0)
    halted, module = fitted(tmp_path / "halted", limits=limits)
    assert "above the limit" in module.halted and set(module.good) == {
        name for name, p in module.model.named_parameters() if p.requires_grad
    }
    assert weights_hash(fitted(tmp_path / "halted", limits=limits)[0]) == weights_hash(halted)


def test_the_samplers_log_probabilities_are_the_trainers() -> None:
    """Rollouts read the merged view, the loss the adapters."""
    model = with_adapters(6, noise=0.3)
    some = trees(2, 6)
    for policy in (model, copy.deepcopy(model)):
        one, two = token_logprobs(policy, pack(some, 64)), token_logprobs(merged(policy), pack(some, 64))
        assert torch.allclose(one, two, atol=2e-5)
    made = generate(merged(model), [[1, 40, 2]], Sampling(max_tokens=8, temperature=1.0))[0][0]
    from lightning_modules.data.packing import Tree

    again = token_logprobs(model, pack([Tree([1, 40, 2], [made.ids])], 64))
    assert torch.allclose(again, torch.tensor(made.logprobs), atol=2e-5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LoraConfig(rank=-1), r"lora.rank is -1"),
        (lambda: LoraConfig(alpha=0), r"lora.alpha is 0"),
        (lambda: LoraConfig(alpha=float("nan")), r"lora.alpha is nan"),
        (lambda: LoraConfig(targets=("qkv",)), r"lora.targets names 'qkv'; there are q_proj"),
        (lambda: LoraConfig(targets=()), r"lora.targets is empty"),
        (lambda: LoraConfig(targets=("q_proj", "q_proj")), r"name each matrix once"),
        (lambda: with_adapters(lora=LoraConfig(rank=24)), r"k_proj of this model is 24 x 48"),
    ],
)
def test_settings_that_cannot_be(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_a_weight_under_an_adapter_is_not_read_by_mistake() -> None:
    part = with_adapters().blocks[0].attention.qkv
    assert isinstance(part, AdaptedLinear)
    with pytest.raises(AttributeError):
        _ = part.weight
