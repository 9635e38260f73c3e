"""Policy gradients, advantages and preference losses against slow references in double precision, written from their
equations one element at a time."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.objectives.advantages import generalised_advantages, group_advantages, has_signal, overlong_penalty
from lightning_modules.objectives.policy_gradient import (
    adapted,
    aggregation_weights,
    importance_ratio,
    surrogate,
    total_weight,
    truncated_importance,
    value_loss,
)
from lightning_modules.objectives.preference_losses import dpo_loss, ipo_loss, kto_losses, preference_loss, simpo_loss


def ragged(seed: int) -> tuple[random.Random, list[int], Tensor]:
    """Lengths of some answers, and which answer each token is of, answers mixed as packing mixes them."""
    draw = random.Random(seed)
    lengths = [draw.randint(1, 7) for _ in range(draw.randint(2, 6))]
    blocks = list(range(len(lengths)))
    draw.shuffle(blocks)
    return draw, lengths, torch.tensor([a for a in blocks for _ in range(lengths[a])])


def numbers(draw: random.Random, count: int) -> Tensor:
    return torch.tensor([draw.uniform(-1, 1) for _ in range(count)], dtype=torch.float64)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", ["token", "sequence"])
@pytest.mark.parametrize("how", ["token", "answer", "constant"])
def test_the_loss_of_a_batch(seed: int, kind: Any, how: Any) -> None:
    draw, lengths, order = ragged(seed)
    new, old, advantages = (numbers(draw, len(order)) for _ in range(3))
    dropped = draw.randrange(len(lengths)) if len(lengths) > 2 else -1
    kept = (order != dropped).double()
    losses = surrogate(new, importance_ratio(new, old, order, kind), advantages, "ppo", 0.2, 0.28)
    total = (losses * aggregation_weights(order, kept, how, 9)).sum() / total_weight(order, kept, how)
    by_answer: list[list[float]] = []
    for answer in range(len(lengths)):
        places = [i for i, a in enumerate(order.tolist()) if a == answer]
        change = [float(new[i] - old[i]) for i in places]
        terms = []
        for i, moved in zip(places, change, strict=True):
            ratio = math.exp(moved if kind == "token" else sum(change) / len(change))
            clipped = min(max(ratio, 0.8), 1.28)
            terms.append(-min(ratio * float(advantages[i]), clipped * float(advantages[i])))
        if answer != dropped:
            by_answer.append(terms)
    if how == "token":
        slow = sum(map(sum, by_answer)) / sum(map(len, by_answer))
    elif how == "answer":
        slow = sum(sum(terms) / len(terms) for terms in by_answer) / len(by_answer)
    else:
        slow = sum(sum(terms) / 9 for terms in by_answer) / len(by_answer)
    assert float(total) == pytest.approx(slow, rel=1e-9)


@pytest.mark.parametrize("kind", ["token", "sequence"])
@pytest.mark.parametrize("clip", ["ppo", "cispo"])
def test_gradients_against_finite_differences(kind: Any, clip: Any) -> None:
    draw, _, order = ragged(3)
    old, advantages = numbers(draw, len(order)), numbers(draw, len(order))
    start = old + 0.05 * numbers(draw, len(order))

    def loss(new: Tensor) -> Tensor:
        ratio = importance_ratio(new, old, order, kind)
        if clip == "cispo":  # the weight is a number, whatever the derivative
            ratio = importance_ratio(start, old, order, kind)
        return surrogate(new, ratio, advantages, clip).sum()

    assert torch.autograd.gradcheck(loss, (start.clone().requires_grad_(),))


def test_on_policy_the_gradient_is_the_policy_gradient() -> None:
    old = torch.zeros(4, dtype=torch.float64)
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
    for clip in ("ppo", "cispo"):
        new = old.clone().requires_grad_()
        surrogate(new, importance_ratio(new, old, torch.arange(4)), advantages, clip).sum().backward()
        assert torch.equal(new.grad, -advantages)  # type: ignore[arg-type]


def test_clipping_holds_only_what_would_gain() -> None:
    ratio = torch.tensor([2.0, 0.5, 2.0, 0.5])
    advantage = torch.tensor([1.0, 1.0, -1.0, -1.0])
    assert surrogate(torch.zeros(4), ratio, advantage).tolist() == pytest.approx([-1.28, -0.5, 2.0, 0.8])


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("gamma", "decay"), [(1.0, 0.95), (0.9, 0.8), (1.0, 1.0), (0.99, 0.0)])
def test_generalised_advantages(seed: int, gamma: float, decay: float) -> None:
    draw, lengths, _ = ragged(seed)
    longest = max(lengths)
    scored = torch.arange(longest) < torch.tensor(lengths)[:, None]
    rewards, values = (numbers(draw, longest * len(lengths)).view(len(lengths), longest) for _ in range(2))
    advantages, returns = generalised_advantages(rewards, values, scored, gamma, decay)
    for a, length in enumerate(lengths):
        deltas = [
            float(rewards[a, t]) + gamma * (float(values[a, t + 1]) if t + 1 < length else 0.0) - float(values[a, t])
            for t in range(length)
        ]
        for t in range(length):
            slow = sum((gamma * decay) ** (k - t) * deltas[k] for k in range(t, length))
            assert float(advantages[a, t]) == pytest.approx(slow, abs=1e-12)
            assert float(returns[a, t]) == pytest.approx(slow + float(values[a, t]), abs=1e-12)
        assert not advantages[a, length:].any() and not returns[a, length:].any()


def test_group_advantages_scaled() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.2, 0.4, 0.6, 0.8]], dtype=torch.float64)
    by_group = group_advantages(rewards, "grpo", "group")
    for row, scaled in zip(rewards.tolist(), by_group.tolist(), strict=True):
        mean = sum(row) / 4
        deviation = math.sqrt(sum((r - mean) ** 2 for r in row) / 3)
        assert scaled == pytest.approx([(r - mean) / (deviation + 1e-6) for r in row])
    flat = [r - sum(row) / 4 for row in rewards.tolist() for r in row]
    deviation = math.sqrt(sum(x**2 for x in flat) / 7)
    assert group_advantages(rewards, "grpo", "batch").flatten().tolist() == pytest.approx([x / (deviation + 1e-6) for x in flat])
    assert has_signal(torch.tensor([[1.0, 1.0], [0.0, 1.0]])).tolist() == [False, True]


def test_small_functions() -> None:
    assert [overlong_penalty(n, 10, 4) for n in (1, 6, 8, 10)] == [0.0, 0.0, -0.5, -1.0]
    assert overlong_penalty(10, 10, 0) == 0.0
    assert truncated_importance(torch.tensor([0.0, 2.0]), torch.tensor([0.5, 0.0]), 2.0).tolist() == pytest.approx(
        [math.exp(-0.5), 2.0]
    )
    assert adapted(0.1, 0.2, 0.1) == pytest.approx(0.1 * 1.02) and adapted(0.1, 0.09, 0.1) == pytest.approx(0.1 * 0.99)
    held = value_loss(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([1.0]), 0.2)
    assert float(held) == pytest.approx(0.5 * 0.8**2)
    assert float(value_loss(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([1.0]), 0.0)) == 0.0


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_preference_losses() -> None:
    draw = random.Random(4)
    c, r, rc, rr = (numbers(draw, 6) for _ in range(4))
    rows = list(zip(c.tolist(), r.tolist(), rc.tolist(), rr.tolist(), strict=True))
    gaps = [(a - x) - (b - y) for a, b, x, y in rows]
    plain = sum(-math.log(sigmoid(0.3 * g)) for g in gaps) / 6
    assert float(dpo_loss(c, r, rc, rr, 0.3)) == pytest.approx(plain)
    smooth = sum(-0.9 * math.log(sigmoid(0.3 * g)) - 0.1 * math.log(sigmoid(-0.3 * g)) for g in gaps) / 6
    assert float(dpo_loss(c, r, rc, rr, 0.3, 0.1)) == pytest.approx(smooth)
    assert float(ipo_loss(c, r, rc, rr, 0.3)) == pytest.approx(sum((g - 1 / 0.6) ** 2 for g in gaps) / 6)
    simple = sum(-math.log(sigmoid(2.0 * (a - b) - 0.5)) for a, b, _, _ in rows) / 6
    assert float(simpo_loss(c, r, 2.0, 0.5)) == pytest.approx(simple)
    tie = preference_loss(c, r, smoothing=torch.full((6,), 0.5, dtype=torch.float64))
    assert float(tie) == pytest.approx(
        sum(-0.5 * math.log(sigmoid(a - b)) - 0.5 * math.log(sigmoid(b - a)) for a, b, _, _ in rows) / 6
    )
    margins = numbers(draw, 6).abs()
    asked = sum(-math.log(sigmoid(a - b - m)) for (a, b, _, _), m in zip(rows, margins.tolist(), strict=True)) / 6
    assert float(preference_loss(c, r, margins)) == pytest.approx(asked)


def test_kto() -> None:
    draw = random.Random(5)
    ratios = numbers(draw, 5)
    liked = torch.tensor([True, False, True, True, False])
    losses = kto_losses(ratios, liked, 0.1, 0.4, 1.0, 1.5).tolist()
    for ratio, up, loss in zip(ratios.tolist(), liked.tolist(), losses, strict=True):
        slow = 1 - sigmoid(0.4 * (ratio - 0.1)) if up else 1.5 * (1 - sigmoid(0.4 * (0.1 - ratio)))
        assert loss == pytest.approx(slow)
