"""The packed scorer against plain one-at-a-time scoring on random weights: the definition, written out."""

from __future__ import annotations

import random

import pytest
import torch

from lightning_modules.generation import scoring
from lightning_modules.generation.scoring import Score, score
from lightning_modules.model.config import ModelConfig
from lightning_modules.model.decoder import Decoder

VOCABULARY, LONGEST = 97, 40


@pytest.fixture(scope="module", params=[True, False], ids=["qwen3", "llama"])
def model(request: pytest.FixtureRequest) -> Decoder:
    config = ModelConfig(VOCABULARY, 32, 64, 2, 4, 2, 8, LONGEST, qk_norm=request.param, tie_word_embeddings=request.param)
    return Decoder(config).initialise(7).eval()


@torch.inference_mode()
def plain(model: Decoder, context: list[int], continuation: list[int]) -> Score:
    """lm-eval's definition: the last `LONGEST` + 1 tokens, of which the last one is only predicted."""
    whole = (context + continuation)[-(LONGEST + 1) :]
    logprobs = model.logits(model(torch.tensor([whole[:-1]])))[0].log_softmax(-1)[-len(continuation) :]
    picked = logprobs[range(len(continuation)), continuation]
    return Score(picked.sum().item(), logprobs.argmax(-1).tolist() == continuation, len(continuation))


def random_pairs(seed: int, questions: int) -> list[tuple[list[int], list[int]]]:
    pick = random.Random(seed)

    def tokens(low: int, high: int) -> list[int]:
        return [pick.randrange(VOCABULARY) for _ in range(pick.randint(low, high))]

    return [(context, tokens(1, 9)) for context in (tokens(1, 60) for _ in range(questions)) for _ in range(pick.randint(1, 5))]


def assert_same(found: list[Score], wanted: list[Score]) -> None:
    assert [(s.greedy, s.tokens) for s in found] == [(s.greedy, s.tokens) for s in wanted]
    assert [s.loglik for s in found] == pytest.approx([s.loglik for s in wanted], abs=1e-4)


@pytest.mark.parametrize("batch_tokens", [4096, 300, 64, 1])
def test_equals_one_at_a_time(model: Decoder, batch_tokens: int) -> None:
    pairs = random_pairs(batch_tokens, 30)
    assert_same(score(model, pairs, batch_tokens), [plain(model, *pair) for pair in pairs])


def test_order_and_company_do_not_matter(model: Decoder) -> None:
    pairs = random_pairs(3, 20)
    shuffled = random.Random(1).sample(range(len(pairs)), len(pairs))
    together = score(model, pairs)
    apart = {i: score(model, [pairs[i]])[0] for i in shuffled}
    assert_same([apart[i] for i in range(len(pairs))], together)
    reordered = score(model, [pairs[i] for i in shuffled])
    assert_same(reordered, [together[i] for i in shuffled])


@pytest.mark.parametrize("batch_tokens", [4096, 120, 60])
def test_questions_that_begin_alike_share_it(model: Decoder, batch_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples before a question are read once, and no question sees another one."""
    monkeypatch.setattr(scoring, "SHARED", 4)
    pick = random.Random(batch_tokens)

    def tokens(count: int) -> list[int]:
        return [pick.randrange(VOCABULARY) for _ in range(count)]

    examples = [tokens(12), tokens(20), tokens(3)]
    contexts = [beginning + tokens(pick.randint(1, 14)) for beginning in examples for _ in range(6)] + [examples[0], examples[1]]
    pairs = [(context, tokens(pick.randint(1, 4))) for context in contexts for _ in range(pick.randint(1, 3))]
    trees = scoring._join(scoring._questions(pairs, LONGEST), batch_tokens)
    assert any(tree.shared >= 12 and len(tree.questions) > 1 for tree in trees)
    assert all(len(tree) <= max(batch_tokens, LONGEST + 12) for tree in trees)
    assert_same(score(model, pairs, batch_tokens), [plain(model, *pair) for pair in pairs])


def test_greedy_continuation_is_recognised(model: Decoder) -> None:
    context = [5, 17, 2]
    written: list[int] = []
    for _ in range(4):
        with torch.inference_mode():
            written.append(int(model.logits(model(torch.tensor([context + written])))[0, -1].argmax()))
    other = [*written[:-1], (written[-1] + 1) % VOCABULARY]
    right, wrong, single = score(model, [(context, written), (context, other), (context, written[:1])])
    assert (right.greedy, wrong.greedy, single.greedy) == (True, False, True)
    assert right.loglik > wrong.loglik


def test_vocabulary_is_projected_in_blocks(model: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = random_pairs(11, 10)
    whole = score(model, pairs)
    monkeypatch.setattr("lightning_modules.generation.scoring.LOGITS", 3 * VOCABULARY)
    assert_same(score(model, pairs), whole)


def test_no_pairs(model: Decoder) -> None:
    assert score(model, []) == []


@pytest.mark.parametrize(
    "pair, words", [(([], [1]), "pair 1 has 0 context"), (([1], []), "0 continuation"), (([1], [2] * (LONGEST + 1)), "41 tokens")]
)
def test_impossible_pairs_are_named(model: Decoder, pair: tuple[list[int], list[int]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        score(model, [([1], [2]), pair])
