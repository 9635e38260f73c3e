"""Losses, advantages and optimiser against their definitions."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_modules.config import OptimConfig
from lightning_modules.objectives.advantages import group_advantages, zero_variance_share
from lightning_modules.objectives.losses import kl_k3, z_loss
from lightning_modules.objectives.preference_losses import dpo_loss, preference_loss
from lightning_modules.training.optim import MuonAdamW, build_optimiser, orthogonalise, schedule
from tests.lightning_modules.tiny import tiny_model


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_preference_loss() -> None:
    assert float(preference_loss(torch.zeros(5), torch.zeros(5))) == pytest.approx(math.log(2))
    a, b = torch.randn(7, generator=generator()), torch.randn(7, generator=generator()) + 1
    slow = sum(math.log(1 + math.exp(-(float(x) - float(y) - 0.3))) for x, y in zip(a, b, strict=True)) / 7
    assert float(preference_loss(a, b, margin=0.3)) == pytest.approx(slow, rel=1e-5)
    centred = float(preference_loss(a, b, margin=0.3, center=0.1))
    assert centred == pytest.approx(slow + 0.1 * float(((a + b) ** 2).mean()), rel=1e-5)
    assert float(preference_loss(torch.tensor([-1e4]), torch.tensor([1e4]))) == pytest.approx(2e4)  # no overflow


def test_dpo_loss() -> None:
    values = torch.randn(4, 6, generator=generator()).double()
    slow = 0.0
    for c, r, rc, rr in values.T.tolist():
        slow += math.log(1 + math.exp(-0.2 * ((c - rc) - (r - rr)))) / 6
    assert float(dpo_loss(values[0], values[1], values[2], values[3], beta=0.2)) == pytest.approx(slow, abs=1e-9)


def test_kl_estimate_is_never_negative_and_unbiased() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.5, 0.3]).double()
    terms = kl_k3(p.log(), q.log())
    assert (terms >= 0).all()
    # Expectation under the policy equals the KL divergence.
    assert float((p * terms).sum()) == pytest.approx(float((p * (p / q).log()).sum()))


def test_z_loss() -> None:
    logits = torch.randn(3, 5, generator=generator())
    assert float(z_loss(logits)) == pytest.approx(float((logits.exp().sum(-1).log() ** 2).mean()), rel=1e-5)


def test_group_advantages() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5]])
    grpo = group_advantages(rewards)
    assert grpo.tolist() == [[0.5, -0.5, -0.5, 0.5], [0.0, 0.0, 0.0, 0.0]]
    rloo = group_advantages(rewards, "rloo")
    assert rloo[0, 0] == pytest.approx(1.0 - (0.0 + 0.0 + 1.0) / 3)
    assert zero_variance_share(rewards) == 0.5


def test_orthogonalise_gives_near_orthogonal_matrices() -> None:
    for shape in ((24, 16), (16, 24), (3, 16, 16)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape, generator=generator())))
        assert values.max() < 1.3 and values.min() > 0.5


def test_adamw_equals_torch() -> None:
    start = torch.randn(6, 4, generator=generator())
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    a = MuonAdamW([{"params": [ours], "lr": 0.01, "weight_decay": 0.1, "muon": False}])
    b = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1, betas=(0.9, 0.95))
    for step in range(5):
        gradient = torch.randn(6, 4, generator=torch.Generator().manual_seed(step))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        a.step()
        b.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_muon_update_has_the_size_of_adams() -> None:
    weight = torch.zeros(64, 32, requires_grad=True)
    optimiser = MuonAdamW([{"params": [weight], "lr": 0.1, "muon": True}])
    weight.grad = torch.randn(64, 32, generator=generator())
    optimiser.step()
    # Root mean square of an orthogonal [64, 32] matrix is 1/sqrt(64); times 0.2 sqrt(64) it is 0.2.
    assert float(weight.detach().pow(2).mean().sqrt()) == pytest.approx(0.1 * 0.2, rel=0.15)


def test_groups_cover_every_parameter_once() -> None:
    model = tiny_model()
    optimiser = build_optimiser(model, OptimConfig(muon_lr=0.02))
    grouped = [p for group in optimiser.param_groups for p in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped}) == len(list(model.parameters()))
    muon = next(g for g in optimiser.param_groups if g["muon"])["params"]
    assert all(p.dim() == 2 for p in muon) and id(model.embedding.weight) not in map(id, muon)


def test_schedule_rises_holds_and_falls_to_zero() -> None:
    factor = schedule(OptimConfig(warmup=0.1, decay=0.5), 100)
    assert factor(0) == pytest.approx(0.1) and factor(9) == 1.0 and factor(49) == 1.0
    assert factor(75) == pytest.approx(0.5) and factor(100) == 0.0


@pytest.mark.parametrize(("change", "key"), [({"lr": 0.0}, r"optim\.lr"), ({"warmup": 0.7, "decay": 0.5}, "warmup")])
def test_bad_settings_name_the_key(change: dict[str, float], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        OptimConfig(**change)
