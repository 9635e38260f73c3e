"""One contract for every engine: what the gateway relies on, whoever computes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.generation.protocol import Engine, Refused, Sampling, Token
from lightning_modules.model.hub import save_model
from tenet.errors import ConfigError
from tenet.serving.engines.factory import NAMES, make_engine
from tests.lightning_modules.tiny import tiny_model, tiny_tokenizer

PROMPT = tiny_tokenizer().prompt([{"role": "user", "content": "The quick brown fox"}])
OTHER = tiny_tokenizer().prompt([{"role": "user", "content": "CreateBucket"}])
KINDS = [(name, dtype, False) for name in NAMES for dtype in (("fp32", "bf16", "int8") if name == "torch" else ("fp32",))]


def write_model(folder: Path, seed: int) -> Path:
    """A small random model."""
    text = tiny_tokenizer()
    text.tokenizer.save(str(folder / "tokenizer.json"))
    save_model(tiny_model(seed, max_position_embeddings=512), folder, folder, text.stop_ids, text.end_of_text)
    return folder


@pytest.fixture(
    scope="module",  # a process takes seconds to start, and an engine that a test leaves must be fit for the next one
    params=[*KINDS, ("torch", "fp32", True)],
    ids=lambda kind: f"{kind[0]}-{kind[1]}{'-process' if kind[2] else ''}",
)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    name, dtype, process = request.param
    folder = write_model(tmp_path_factory.mktemp("model"), 3)
    if name == "openvino":
        pytest.importorskip("openvino_genai")
        _smollm2_for_openvino(folder)
    if name == "vllm":
        pytest.importorskip("vllm")
    made = make_engine(name, folder, dtype, max_slots=2, threads=1, process=process)
    yield made
    made.close()


def _smollm2_for_openvino(folder: Path) -> None:
    """openvino-genai reads GGUF or its own format: the weights of the package in place of the random ones."""
    from tenet.smollm2 import smollm2_file

    try:
        (folder / "model.gguf").symlink_to(smollm2_file())
    except ConfigError as error:
        pytest.skip(str(error))
    (folder / "config.json").write_text('{"max_position_embeddings": 512}')


def drain(engine: Engine) -> dict[int, list[Token]]:
    made: dict[int, list[Token]] = {}
    while not engine.idle:
        for token in engine.step():
            made.setdefault(token.request, []).append(token)
    return made


def test_contract(engine: Engine) -> None:
    engine.check()
    assert engine.idle and engine.max_context > len(PROMPT) + 12
    # More requests than slots: each ends once, with as many tokens as were asked for, all under its own number.
    numbers = [engine.submit(PROMPT if i % 2 else OTHER, Sampling(max_tokens=3 + i)) for i in range(5)]
    assert len(set(numbers)) == 5 and not engine.idle
    made = drain(engine)
    assert sorted(made) == sorted(numbers) and engine.idle
    for i, number in enumerate(numbers):
        tokens = made[number]
        assert [token.finish for token in tokens[:-1]] == [None] * (len(tokens) - 1)
        assert len(tokens) == 3 + i and tokens[-1].finish == "length"
        assert all(token.id >= 0 and token.logprob <= 0 for token in tokens)
    # Greedy answers are the same alone and in company.
    alone = engine.submit(PROMPT, Sampling(max_tokens=6))
    said = [token.id for token in drain(engine)[alone]]
    assert said == [token.id for token in made[numbers[3]]]
    # A stop id ends the answer and belongs to it.
    stopping = engine.submit(PROMPT, Sampling(max_tokens=6, stop_ids=(said[2],)))
    tokens = drain(engine)[stopping]
    assert [token.id for token in tokens] == said[: said.index(said[2]) + 1] and tokens[-1].finish == "stop"


def test_cancelled_requests_make_no_further_token(engine: Engine) -> None:
    gone, waiting, stays = (engine.submit(p, Sampling(max_tokens=12)) for p in (PROMPT, OTHER, PROMPT))
    first = engine.step()
    while not first:
        first = engine.step()
    engine.cancel(gone)
    engine.cancel(waiting)
    made = drain(engine)
    assert gone not in made and waiting not in made
    assert len(made[stays]) + sum(token.request == stays for token in first) == 12


def test_seeds(engine: Engine) -> None:
    def draw(seed: int) -> list[int]:
        number = engine.submit(PROMPT, Sampling(max_tokens=8, temperature=1.0, seed=seed))
        return [token.id for token in drain(engine)[number]]

    assert draw(1) == draw(1)
    assert draw(2) != draw(1) or type(engine).__name__ == "EchoEngine", "echo draws nothing"


def test_scores_where_they_are_asked_for_and_nowhere_else(engine: Engine) -> None:
    wanted = Sampling(max_tokens=4, top_logprobs=3, prompt_logprobs=True)
    if type(engine).__name__ == "OpenVinoEngine":
        with pytest.raises(Refused, match="prompt_logprobs"):
            engine.submit(PROMPT, wanted)
        return
    plain, scored = engine.submit(PROMPT, Sampling(max_tokens=4)), engine.submit(PROMPT, wanted)
    made = drain(engine)
    assert all(token.scores is None for token in made[plain])
    assert [token.id for token in made[plain]] == [token.id for token in made[scored]]
    echo = type(engine).__name__ == "EchoEngine"
    for i, token in enumerate(made[scored]):
        scores = token.scores
        assert scores is not None and len(scores.top) == (1 if echo else 3)
        values = [value for _, value in scores.top]
        assert values == sorted(values, reverse=True) and scores.top[0] == pytest.approx((token.id, token.logprob), abs=1e-6)
        assert len(scores.prompt) == len(scores.prompt_top) == (0 if i else len(PROMPT) - 1)
    first = made[scored][0].scores
    assert first is not None
    for token, value, top in zip(PROMPT[1:], first.prompt, first.prompt_top, strict=True):
        assert value <= 0 and dict(top).get(token, value) == pytest.approx(value, abs=1e-6) and value <= top[0][1] + 1e-6
    if echo:
        assert set(first.prompt) == {0.0} == {token.logprob for token in made[scored]}


def test_scores_are_the_models_own_whatever_is_drawn(engine: Engine) -> None:
    """Neither temperature, nor cut-offs, nor what a step computes beside it change them."""
    if type(engine).__name__ == "OpenVinoEngine":
        pytest.skip("openvino scores what it made, after its own rules")
    warm = {"max_tokens": 5, "temperature": 0.7, "top_k": 5, "top_p": 0.9, "seed": 3}
    drawn = engine.submit(PROMPT, Sampling(top_logprobs=400, **warm))
    engine.submit(OTHER, Sampling(max_tokens=5))
    tokens = drain(engine)[drawn]
    again = engine.submit([*PROMPT, *(token.id for token in tokens)], Sampling(max_tokens=1, prompt_logprobs=True))
    scores = drain(engine)[again][0].scores
    assert scores is not None
    assert scores.prompt[-5:] == pytest.approx([token.logprob for token in tokens], abs=2e-2)
    for token in tokens:
        assert token.scores is not None
        assert dict(token.scores.top)[token.id] == pytest.approx(token.logprob, abs=1e-6)
        assert sum(math.exp(value) for _, value in token.scores.top) == pytest.approx(1, abs=1e-3)


def test_what_cannot_be_served_leaves_the_engine_well(engine: Engine) -> None:
    def error(prompt: list[int], **settings: Any) -> str:
        try:
            number = engine.submit(prompt, Sampling(**settings))
        except Refused as refused:
            return str(refused)
        [token] = drain(engine)[number]
        assert token.finish == "failed" and token.id == -1
        return token.error

    if type(engine).__name__ != "EchoEngine":  # it has no context to fill and no vocabulary to mask
        assert "context" in error([5] * engine.max_context)
        reason = "knows no grammars" if type(engine).__name__ == "OpenVinoEngine" else "cannot be compiled"
        assert reason in error(PROMPT, grammar="start: no such rule")
    number = engine.submit(PROMPT, Sampling(max_tokens=2))
    assert len(drain(engine)[number]) == 2


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"llama\.cpp.*torch"):
        make_engine("llama.cpp", tmp_path)
    with pytest.raises(ConfigError, match="folder"):
        make_engine("torch")
