"""Batches of a curriculum: shares hold, nothing is repeated too early, and a batch is a function of the step alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.data.phases import BLOCK, Phase, PhasedBatches, _Dealer
from lightning_modules.data.shards import PretrainBatches, SourceRows, TokenRows
from lightning_modules.data.steps import StepLoader
from tests.lightning_modules.test_data import shard

#: Documents of three sources, in turn; a document of source s holds the token s + 1 alone.
DOCUMENTS = [[i % 3 + 1] * (5 + i % 7) for i in range(90)]


@pytest.fixture
def whole(tmp_path: Path) -> TokenRows:
    return TokenRows(shard(tmp_path, DOCUMENTS), 8)


def source(whole: TokenRows, number: int) -> SourceRows:
    return SourceRows(whole, np.arange(len(DOCUMENTS)) % 3 == number, f"source {number}")


def batches(whole: TokenRows, phases: list[Phase], rank: int = 0, world: int = 1, micro: int = 8) -> PhasedBatches:
    return PhasedBatches([whole, source(whole, 0), source(whole, 2)], phases, 5, 8, micro, True, rank, world)


def same(one: object, other: object) -> bool:
    return all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


PHASES = [Phase(6, {0: 1.0}), Phase(12, {1: 0.75, 2: 0.25}), Phase(15, {2: 1.0})]


def test_rows_of_a_source_are_its_documents_and_nothing_else(whole: TokenRows, tmp_path: Path) -> None:
    for number in range(3):
        mine = [document for i, document in enumerate(DOCUMENTS) if i % 3 == number]
        (tmp_path / str(number)).mkdir()
        alone = TokenRows(shard(tmp_path / str(number), mine), 8)
        picked = source(whole, number)
        assert len(picked) == len(alone)
        for mask in (True, False):
            assert same(picked.batch(list(range(len(alone))), mask), alone.batch(list(range(len(alone))), mask))
    with pytest.raises(ValueError, match="source 9: 0 tokens of training text are fewer than one row of 8"):
        source(whole, 9)


def test_a_phase_of_the_whole_mix_is_what_no_phases_give(whole: TokenRows) -> None:
    plain = PretrainBatches(whole, 5, 8, 8, True)
    phased = batches(whole, PHASES)
    assert all(same(plain(step), phased(step)) for step in range(6))
    assert not same(plain(6), phased(6))


def test_each_phase_has_its_shares_and_goes_on_in_its_streams(whole: TokenRows) -> None:
    made = batches(whole, PHASES)
    drawn = made.rows_drawn()
    assert drawn == [[48, 0, 0], [0, 36, 12], [0, 0, 24]]
    for number, steps in enumerate((range(6), range(6, 12), range(12, 15))):
        counted = Counter(stream for step in steps for stream, _ in made.chosen(step))
        assert [counted[stream] for stream in range(3)] == drawn[number]
    of_two = [row for step in range(15) for stream, row in made.chosen(step) if stream == 2]
    epoch = len(made.streams[2])
    assert 12 < epoch < 36, "the stream is read more than once, and goes on across phases"
    assert sorted(of_two[:epoch]) == list(range(epoch)) and len(set(of_two[epoch:])) == len(of_two) - epoch


def test_tokens_of_a_phase_are_of_its_sources(whole: TokenRows) -> None:
    made = batches(whole, PHASES)
    assert set(made(13).ids.flatten().tolist()) == {0, 3}
    assert set(made(8).ids.flatten().tolist()) == {0, 1, 3}


@pytest.mark.parametrize("stop", [1, 5, 6, 7, 11, 12, 14])
def test_a_killed_run_goes_on_with_the_same_rows(whole: TokenRows, stop: int) -> None:
    """The loader's whole state is how far it was, in passes of four rows: two of them a step."""
    straight = list(StepLoader(batches(whole, PHASES, micro=4), 30))
    loader = StepLoader(batches(whole, PHASES, micro=4), 30)
    iterator = iter(loader)
    for _ in range(2 * stop):
        next(iterator)
    again = StepLoader(batches(whole, PHASES, micro=4), 30)
    again.load_state_dict(loader.state_dict())
    rest = list(again)
    assert len(rest) == 30 - 2 * stop and all(same(a, b) for a, b in zip(rest, straight[2 * stop :], strict=True))


def test_two_processes_read_what_one_does(whole: TokenRows) -> None:
    for step in range(15):
        one = [tuple(row) for row in batches(whole, PHASES)(step).ids.tolist()]
        parts = [batches(whole, PHASES, rank, 2, micro=4)(step) for rank in range(2)]
        assert [tuple(row) for row in parts[0].ids.tolist()] == one[::2]
        assert [tuple(row) for row in parts[1].ids.tolist()] == one[1::2]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=5), st.integers(1, 5000), st.data())
def test_dealing_is_exact_at_any_length(weights: list[int], rows: int, data: st.DataObject) -> None:
    shares = {stream: weight / sum(weights) for stream, weight in enumerate(weights)}
    dealer = _Dealer(shares, rows, 3)
    at = data.draw(st.integers(0, rows - 1))
    count = data.draw(st.integers(1, rows - at))
    drawn = Counter(dealer.streams(at, count).tolist())
    before, after = dealer.before(at), dealer.before(at + count)
    assert all(after[stream] - before[stream] == drawn[stream] for stream in shares)
    whole = dealer.before(rows // len(dealer.block) * len(dealer.block))
    for stream, share in shares.items():
        blocks = rows // len(dealer.block)
        assert abs(whole[stream] - share * blocks * len(dealer.block)) <= blocks, "a row a block at most"
    assert len(dealer.block) == min(BLOCK, rows)
