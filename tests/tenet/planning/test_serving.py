"""Serving: batch from the cache, copies from the weights, cost from both."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenet.hardware import cluster_of
from tenet.planning import memory
from tenet.planning.serving import Serving, serving
from tenet.settings.preset import load_preset

cached = functools.cache(load_preset)  # presets are frozen


def served(name: str, **changes: Any) -> Serving:
    preset = cached(name)
    config = dataclasses.replace(preset.plan, **changes)
    return serving(preset, cluster_of(config.cluster), config)


def test_cost_by_hand() -> None:
    s = served("8b", serve="p5.4xlarge", serve_batch=32, serve_load=0.25)
    assert (s.split, s.copies, s.batch, s.batch_limit) == (1, 1, 32, "requests")
    assert s.tokens_per_second == pytest.approx(32 / s.token_seconds)
    assert s.dollars_per_million == pytest.approx(6.88 / 3600 / (s.tokens_per_second * 0.25) * 1e6)


def test_the_cache_limits_the_batch() -> None:
    model = cached("8b").model
    s = served("8b", serve="g6e.xlarge", serve_prompt=16_000, serve_answer=384, serve_batch=1000)
    room = memory.USABLE * 45776 * 2**20 - 2 * model.parameters()
    assert s.batch == int(room / (16_384 * model.kv_bytes_per_token())) and s.batch_limit == "cache"


@pytest.mark.parametrize(
    ("name", "machine", "split", "copies"),
    [("8b", "g6e.12xlarge", 1, 4), ("70b", "p5.48xlarge", 4, 2), ("400b", "p5en.48xlarge", 8, 1)],
)
def test_a_copy_takes_the_fewest_devices_that_hold_it(name: str, machine: str, split: int, copies: int) -> None:
    s = served(name, serve=machine)
    assert (s.split, s.copies) == (split, copies)


def test_what_does_not_fit_costs_nothing_and_says_so() -> None:
    s = served("70b", serve="g6e.xlarge")
    assert not s.fits and s.tokens_per_second == 0


def test_short_answers_to_long_prompts_wait_for_the_prompts() -> None:
    assert served("8b", serve="p5.4xlarge", serve_prompt=8000, serve_answer=10).bound == "matrix units (prompts)"
    assert served("8b", serve="p5.4xlarge", serve_prompt=10, serve_answer=1000, serve_batch=8).bound == "memory"


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["160m", "8b"]), st.integers(1, 200), st.integers(16, 4000), st.integers(16, 1000))
def test_more_requests_at_once_never_make_tokens_dearer(name: str, batch: int, prompt: int, answer: int) -> None:
    one, two = (
        served(name, serve="p5.48xlarge", serve_batch=b, serve_prompt=prompt, serve_answer=answer) for b in (batch, 2 * batch)
    )
    assert two.dollars_per_million <= one.dollars_per_million * (1 + 1e-9)
    assert two.token_seconds >= one.token_seconds * (1 - 1e-9)


def test_this_machine_serves_as_many_as_the_preset_says() -> None:
    s = served("tiny")
    assert s.cluster == "local" and s.batch == cached("tiny").serve.max_concurrency and s.dollars_per_million == 0
