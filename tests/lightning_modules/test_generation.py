"""The engine: exact, independent of its neighbours, honest log-probabilities."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from lightning_modules.data.packing import Tree, pack
from lightning_modules.generation.engine import SlotEngine, generate
from lightning_modules.generation.protocol import CacheUse, Sampling, Token
from lightning_modules.generation.sampling import restrict, sample, uniform
from lightning_modules.objectives.logprobs import token_logprobs
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
        assert torch.allclose(trained[packed.sequence_ids == owner], torch.tensor(sampled), atol=1e-4)


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


def drain(engine: SlotEngine) -> dict[int, list[Token]]:
    """All tokens of all requests, by request."""
    made: dict[int, list[Token]] = {}
    while not engine.idle:
        for token in engine.step():
            made.setdefault(token.request, []).append(token)
    return made


def ids(tokens: list[Token]) -> list[int]:
    return [token.id for token in tokens]


def test_a_long_prompt_in_pieces_does_not_stall_those_that_run() -> None:
    engine = SlotEngine(MODEL, max_slots=4, prefill_tokens=16)
    short = engine.submit(PROMPTS[0], Sampling(max_tokens=12))
    made = {short: engine.step()}
    long = [engine.submit([i, *range(20, 90)], Sampling(max_tokens=6)) for i in (1, 2)]
    steps = 0
    while len(made[short]) < 12:
        step = engine.step()
        steps += 1
        assert short in {token.request for token in step}, "a running request waits for somebody's prompt"
        for token in step:
            made.setdefault(token.request, []).append(token)
    # 71 tokens are five pieces of 16: the first long prompt begins to answer in the fifth step, not before.
    assert steps == 11 and len(made[long[0]]) == 6
    made.setdefault(long[1], []).extend(drain(engine).get(long[1], []))
    assert ids(made[short]) == without_cache(PROMPTS[0], 12)
    for number, begin in zip(long, (1, 2), strict=True):
        assert ids(made[number]) == without_cache([begin, *range(20, 90)], 6)


def test_pieces_survive_the_end_of_their_neighbours() -> None:
    engine = SlotEngine(MODEL, max_slots=4, prefill_tokens=16)
    numbers = [engine.submit(prompt, Sampling(max_tokens=n)) for prompt, n in ((PROMPTS[0], 3), (PROMPTS[3], 5))]
    made: dict[int, list[Token]] = {}
    for token in engine.step():
        made.setdefault(token.request, []).append(token)
    long = engine.submit(list(range(20, 120)), Sampling(max_tokens=4))
    gone = engine.submit(list(range(120, 20, -1)), Sampling(max_tokens=4))
    for number, tokens in drain(engine).items():
        made.setdefault(number, []).extend(tokens)
    assert ids(made[numbers[0]]) == without_cache(PROMPTS[0], 3)
    assert ids(made[long]) == without_cache(list(range(20, 120)), 4)
    assert ids(made[gone]) == without_cache(list(range(120, 20, -1)), 4)
    number = engine.submit(list(range(20, 120)), Sampling(max_tokens=4))
    engine.step()
    engine.cancel(number)
    assert engine.idle


def test_what_was_computed_before_is_reused_and_reported() -> None:
    engine = SlotEngine(MODEL, max_slots=2, prefix_tokens=256)
    system = list(range(30, 110))  # two full blocks of 32 and a rest
    first, second, stranger = [*system, 5, 6], [*system, 7], [*system, 8]
    number = engine.submit(first, Sampling(max_tokens=20))
    made = drain(engine)[number]
    assert ids(made) == without_cache(first, 20)
    assert made[0].cache == CacheUse(read=0, written=64) and made[1].cache is None
    number = engine.submit(second, Sampling(max_tokens=20))
    made = drain(engine)[number]
    assert ids(made) == without_cache(second, 20) and made[0].cache == CacheUse(read=64, written=0)
    # The next turn of the first conversation: its answer is known too.
    turn = [*first, *without_cache(first, 20), 9]
    number = engine.submit(turn, Sampling(max_tokens=5))
    made = drain(engine)[number]
    assert ids(made) == without_cache(turn, 5) and made[0].cache == CacheUse(read=96, written=0)
    # Another tenant, and new weights, begin from nothing.
    number = engine.submit(stranger, Sampling(max_tokens=1, salt="tenant"))
    assert drain(engine)[number][0].cache == CacheUse(read=0, written=64)
    engine.weights_changed()
    number = engine.submit(second, Sampling(max_tokens=1))
    assert drain(engine)[number][0].cache == CacheUse(read=0, written=64)


def test_the_prefix_cache_throws_out_the_oldest_and_never_mixes_up() -> None:
    engine = SlotEngine(MODEL, max_slots=2, prefix_tokens=4 * 32)
    prompts = [[i, *range(20, 99)] for i in range(6)]
    for prompt in [*prompts, *reversed(prompts)]:
        number = engine.submit(prompt, Sampling(max_tokens=3))
        assert ids(drain(engine)[number]) == without_cache(prompt, 3)
    number = engine.submit(prompts[0], Sampling(max_tokens=1))
    assert drain(engine)[number][0].cache == CacheUse(read=64, written=0)
    number = engine.submit(prompts[5], Sampling(max_tokens=1))
    assert drain(engine)[number][0].cache == CacheUse(read=0, written=64)


def test_a_group_larger_than_the_rows_computes_its_prompt_once() -> None:
    class Counting(type(MODEL)):  # type: ignore[misc]
        prompts = 0

        def forward(self, ids_BT: torch.Tensor, *rest: object) -> torch.Tensor:
            if ids_BT.shape[1] > 1:
                Counting.prompts += len(ids_BT)
            return super().forward(ids_BT, *rest)

    model = Counting(MODEL.config).eval()
    model.load_state_dict(MODEL.state_dict())
    engine = SlotEngine(model, max_slots=3)
    numbers = [engine.submit(PROMPTS[1], Sampling(max_tokens=4 + i, temperature=1.0, seed=i)) for i in range(9)]
    made = drain(engine)
    assert Counting.prompts == 1
    alone = [generate(MODEL, [PROMPTS[1]], Sampling(max_tokens=4 + i, temperature=1.0, seed=i))[0][0].ids for i in range(9)]
    assert [ids(made[number]) for number in numbers] == alone
    assert made[numbers[8]][0].cache == CacheUse(read=len(PROMPTS[1]))
