"""The engine: exact, independent of its neighbours, honest log-probabilities."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from lightning_modules.data.packing import Tree, pack
from lightning_modules.generation.engine import SlotEngine, generate
from lightning_modules.generation.protocol import Sampling
from lightning_modules.generation.sampling import restrict, sample, uniform
from lightning_modules.logprobs import token_logprobs
from tests.lightning_modules.tiny import tiny_model

MODEL = tiny_model(1)
PROMPTS = [[5, 9, 11], list(range(20, 60)), [7] * 12, [100, 3]]


def without_cache(prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            ids.append(int(MODEL.logits(MODEL(torch.tensor([ids]))[:, -1]).argmax()))
    return ids[len(prompt) :]


def test_greedy_equals_recomputing_everything() -> None:
    for prompt, answers in zip(PROMPTS, generate(MODEL, PROMPTS, Sampling(max_tokens=15)), strict=True):
        assert answers[0].ids == without_cache(prompt, 15)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_do_not_depend_on_the_batch(temperature: float) -> None:
    sampling = Sampling(max_tokens=20, temperature=temperature, seed=4)
    together = generate(MODEL, PROMPTS, sampling, n=3)
    squeezed = generate(MODEL, PROMPTS, sampling, n=3, max_slots=2)
    assert [[a.ids for a in group] for group in together] == [[a.ids for a in group] for group in squeezed]


def test_admission_while_others_run() -> None:
    engine = SlotEngine(MODEL, max_slots=2)
    first = engine.submit(PROMPTS[0], Sampling(max_tokens=12))
    engine.step()
    second = engine.submit(PROMPTS[1], Sampling(max_tokens=4))
    third = engine.submit(PROMPTS[2], Sampling(max_tokens=6))
    made: dict[int, list[int]] = {first: [], second: [], third: []}
    # The first step has already given the first token of the first request.
    made[first].append(without_cache(PROMPTS[0], 1)[0])
    while not engine.idle:
        assert engine.running <= 2
        for token in engine.step():
            made[token.request].append(token.id)
    assert made[first] == without_cache(PROMPTS[0], 12)
    assert made[second] == without_cache(PROMPTS[1], 4)
    assert made[third] == without_cache(PROMPTS[2], 6)


def test_cancelling_frees_the_row_and_leaves_the_others_alone() -> None:
    engine = SlotEngine(MODEL, max_slots=3)
    numbers = [engine.submit(prompt, Sampling(max_tokens=10)) for prompt in PROMPTS]
    made: dict[int, list[int]] = {number: [] for number in numbers}
    for token in engine.step():
        made[token.request].append(token.id)
    engine.cancel(numbers[0])
    engine.cancel(numbers[3])
    while not engine.idle:
        for token in engine.step():
            made[token.request].append(token.id)
    assert made[numbers[1]] == without_cache(PROMPTS[1], 10)
    assert made[numbers[2]] == without_cache(PROMPTS[2], 10)
    assert len(made[numbers[0]]) == 1 and not made[numbers[3]]


def test_logprobs_equal_the_training_forward() -> None:
    answers = generate(MODEL, PROMPTS, Sampling(max_tokens=18, temperature=1.0, seed=2), n=3)
    packed = pack([Tree(p, [a.ids for a in group]) for p, group in zip(PROMPTS, answers, strict=True)], 256)
    with torch.no_grad():
        trained = token_logprobs(MODEL, packed)
    flat = [answer.logprobs for group in answers for answer in group]
    for owner, sampled in enumerate(flat):
        assert torch.allclose(trained[packed.owners == owner], torch.tensor(sampled), atol=1e-4)


def test_frequencies_follow_the_softmax() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, -8.0]])
    draws = 20_000
    samplings = [Sampling(temperature=1.0, seed=s) for s in range(draws)]
    ids, _ = sample(logits.expand(draws, -1), samplings, [0] * draws)
    expected = logits[0].softmax(0) * draws
    counts = Counter(ids)
    chi2 = sum((counts[i] - float(expected[i])) ** 2 / float(expected[i]) for i in range(4))
    assert chi2 < 16.27  # 3 degrees of freedom, p = 0.001


def test_top_k_and_top_p_keep_what_they_say() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    assert restrict(logits, 2, 1.0).isfinite().tolist() == [True, True, False, False]
    assert restrict(logits, 0, 0.6).isfinite().tolist() == [True, True, False, False]
    assert restrict(logits, 0, 0.01).isfinite().tolist() == [True, False, False, False]


def test_the_random_stream_is_uniform_and_has_no_state() -> None:
    values = [uniform(3, i) for i in range(10_000)]
    assert values[17] == uniform(3, 17)
    assert abs(sum(values) / len(values) - 0.5) < 0.015
    assert abs(sum(math.cos(2 * math.pi * v) for v in values) / len(values)) < 0.03


def test_stop_ids_end_the_answer() -> None:
    free = generate(MODEL, [PROMPTS[1]], Sampling(max_tokens=20))[0][0]
    stop = free.ids[5]
    cut = generate(MODEL, [PROMPTS[1]], Sampling(max_tokens=20, stop_ids=(stop,)))[0][0]
    assert cut.ids == free.ids[: free.ids.index(stop) + 1] and cut.finish == "stop"
    assert free.finish == "length"


def test_impossible_requests_are_refused() -> None:
    engine = SlotEngine(MODEL, max_slots=1, max_context=16)
    with pytest.raises(ValueError, match="empty"):
        engine.submit([], Sampling())
    with pytest.raises(ValueError, match="16"):
        engine.submit([1] * 16, Sampling())
    with pytest.raises(ValueError, match="max_position_embeddings"):
        SlotEngine(MODEL, max_context=10_000)
    number = engine.submit([1] * 10, Sampling(max_tokens=100))
    tokens = []
    while not engine.idle:
        tokens += [t for t in engine.step() if t.request == number]
    assert len(tokens) == 6 and tokens[-1].finish == "length"
