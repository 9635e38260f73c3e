"""Packing, shards and batches: what is packed must be computed as if it stood alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.data.conversations import ConversationBatches, encode
from lightning_modules.data.packing import Tree, assign, pack, sequence
from lightning_modules.data.shards import PretrainBatches, TokenRows
from lightning_modules.data.steps import StepLoader, rows_of_step
from lightning_modules.modules.pretrain import bits_per_byte
from lightning_modules.objectives.logprobs import sum_by_sequence, token_logprobs, token_losses
from tests.lightning_modules.tiny import tiny_model, tiny_tokenizer

MODEL = tiny_model(2)


def alone(prompt: list[int], answer: list[int]) -> torch.Tensor:
    ids = torch.tensor([prompt + answer])
    logprobs = MODEL.logits(MODEL(ids)).log_softmax(-1)[0]
    return torch.stack([logprobs[len(prompt) - 1 + k, token] for k, token in enumerate(answer)])


@torch.no_grad()
def test_branches_are_scored_as_if_alone() -> None:
    trees = [Tree([1, 2, 3], [[4, 5], [6, 7, 8], [9]]), Tree([10] * 5, [[11, 12]]), Tree([13], [[14] * 6, [15, 16]])]
    packed = pack(trees, 20)
    assert packed.ids.shape[0] == 2  # two rows hold 10 + 7 and 9 tokens
    logprobs = token_logprobs(MODEL, packed)
    owner = 0
    for tree in trees:
        for answer in tree.answers:
            assert torch.allclose(logprobs[packed.sequence_ids == owner], alone(list(tree.prompt), list(answer)), atol=1e-5)
            owner += 1
    sums = sum_by_sequence(logprobs, packed.sequence_ids, owner)
    assert float(sums[1]) == pytest.approx(float(alone([1, 2, 3], [6, 7, 8]).sum()), abs=1e-5)


@torch.no_grad()
def test_a_neighbour_changes_nothing() -> None:
    one, other = Tree([1, 2], [[3, 4, 5]]), Tree([7, 8], [[9, 10]])
    both, changed = pack([one, other], 32), pack([one, Tree([20, 21], [[22, 23]])], 32)
    first = [token_logprobs(MODEL, p)[p.sequence_ids == 0] for p in (both, changed)]
    assert torch.allclose(first[0], first[1], atol=1e-6)


def conversations(count: int = 12) -> list[Tree]:
    """Of very different lengths, learnt in parts."""
    g = torch.Generator().manual_seed(3)
    drawn = [torch.randint(1, 300, (int(length),), generator=g) for length in torch.randint(4, 40, (count,), generator=g)]
    return [sequence(ids.tolist(), (torch.rand(len(ids), generator=g) < 0.6).tolist()) for ids in drawn]


def test_packed_conversations_teach_what_they_teach_alone() -> None:
    """Losses and gradients: attention stays inside a conversation, positions begin anew in each."""
    trees = conversations()
    model = tiny_model(2)
    packed, alone = pack(trees, 64), pack(trees, 64, rows=[[i] for i in range(len(trees))])
    assert len(packed.ids) < len(alone.ids) == len(trees) and packed.ids.numel() < alone.ids.numel()
    found = []
    for batch in (packed, alone):
        model.zero_grad()
        losses = token_losses(model, batch)
        losses.mean().backward()
        by_row = [losses[batch.sequence_ids == i].detach() for i in range(len(trees))]
        found.append((by_row, [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found[0][0], found[1][0], strict=True))
    assert len(found[0][1]) > 10 and all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found[0][1], found[1][1], strict=True))


@torch.no_grad()
@pytest.mark.parametrize("moved", [0, 5, 11])
def test_moving_one_row_moves_no_other(moved: int) -> None:
    """To the last bit: it stands in the same place, so nothing is added up in another order."""
    trees = conversations()
    changed = list(trees)
    tree = trees[moved]
    changed[moved] = Tree([i + 1 for i in tree.prompt], [[i + 1 for i in tree.answers[0]]], tree.scored)
    before, after = pack(trees, 64), pack(changed, 64)
    one, two = token_logprobs(MODEL, before), token_logprobs(MODEL, after)
    own = before.sequence_ids == moved
    assert torch.equal(one[~own], two[~own]) and not torch.isclose(one[own], two[own]).any()


def test_loss_masks_are_kept() -> None:
    packed = pack([sequence([1, 2, 3, 4], [False, True, False, True])], 8)
    assert packed.targets.tolist() == [2, 4] and packed.sources.tolist() == [0, 2]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=60))
def test_assignment_puts_everything_somewhere_once(lengths: list[int]) -> None:
    rows = assign(lengths, 30)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in row) <= 30 for row in rows)


def test_a_sequence_longer_than_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="room for 3"):
        assign([2, 4], 3)


def shard(folder: Path, documents: list[list[int]]) -> Path:
    tokens = [t for d in documents for t in (*d, 0)]
    np.array(tokens, dtype=np.uint16).tofile(folder / "x.ds")
    np.cumsum([len(d) + 1 for d in documents]).astype(np.uint64).tofile(folder / "x.ds.index")
    return folder / "x.ds"


def test_rows_of_a_shard(tmp_path: Path) -> None:
    rows = TokenRows(shard(tmp_path, [[1, 2, 3], [4, 5], [6, 7, 8, 9, 10]]), 4)
    assert len(rows) == 3
    batch = rows.batch([0, 1])
    assert batch.ids.tolist() == [[1, 2, 3, 0], [4, 5, 0, 6]] and batch.targets.tolist() == [2, 3, 0, 4, 5, 0, 6, 7]
    # The end-of-text token opens the next document.
    assert batch.segments.tolist() == [[0, 0, 0, 1], [0, 0, 1, 1]] and batch.positions.tolist() == [[0, 1, 2, 0], [0, 1, 0, 1]]


def test_bits_per_byte_is_the_definition(tmp_path: Path) -> None:
    rows = TokenRows(shard(tmp_path, [[5, 6, 7, 8] * 3] * 6), 13)
    batch = rows.batch(list(range(len(rows))))
    with torch.no_grad():
        logits = MODEL.logits(MODEL(batch.ids, batch.positions, batch.mask())).flatten(0, 1)
        nats = F.cross_entropy(logits, batch.targets, reduction="sum")
    text_bytes = 500
    expected = float(nats) / np.log(2) / (text_bytes * batch.targets.numel() / len(rows.tokens))
    assert bits_per_byte(MODEL, rows, text_bytes) == pytest.approx(expected, rel=1e-5)


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    path = shard(tmp_path, [[1, 2, 3]] * 10)
    with pytest.raises(FileNotFoundError, match="absent"):
        TokenRows(tmp_path / "absent.ds", 4)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="cut short"):
        TokenRows(path, 4)
    path.write_bytes(b"")
    with pytest.raises(ValueError):
        TokenRows(path, 4)


def test_ranks_share_the_global_batch(tmp_path: Path) -> None:
    rows = TokenRows(shard(tmp_path, [[i % 50 + 1] * 7 for i in range(80)]), 8)
    whole = PretrainBatches(rows, 3, 8, 8, True)(5).ids
    parts = [PretrainBatches(rows, 3, 8, 2, True, rank, 2) for rank in range(2)]
    assert parts[0].accumulate == 2
    seen = [tuple(r) for part in parts for micro in (10, 11) for r in part(micro).ids.tolist()]
    assert sorted(seen) == sorted(tuple(r) for r in whole.tolist())
    with pytest.raises(ValueError, match="micro_batch"):
        PretrainBatches(rows, 0, 8, 3, True)


def test_every_row_is_seen_once_an_epoch() -> None:
    seen = [row for step in range(5) for row in rows_of_step(1, step, 4, 10)]
    assert sorted(seen[:10]) == list(range(10)) and sorted(seen[10:]) == list(range(10)) and seen[:10] != seen[10:]


def test_a_loader_goes_on_where_it_was() -> None:
    loader = StepLoader(lambda step: step, 10)
    iterator = iter(loader)
    assert [next(iterator) for _ in range(4)] == [0, 1, 2, 3]
    again = StepLoader(lambda step: step, 10)
    again.load_state_dict(loader.state_dict())
    assert list(again) == [4, 5, 6, 7, 8, 9] and len(again) == 10


def test_conversation_batches_repeat_exactly_and_fit() -> None:
    tokenizer = tiny_tokenizer()
    rows = [
        {"messages": [{"role": "user", "content": "a" * (i % 7 + 1)}, {"role": "assistant", "content": "b" * (i % 5 + 1)}]}
        for i in range(30)
    ]
    trees, left_out = encode(
        tokenizer, [*rows, {"messages": [{"role": "user", "content": "x" * 900}, rows[0]["messages"][1]]}], 80
    )
    assert left_out == 1 and len(trees) == 30
    batches = ConversationBatches(trees, 5, 2, 80)
    assert torch.equal(batches(11).ids, ConversationBatches(trees, 5, 2, 80)(11).ids)
    assert all(batches(step).ids.shape[0] <= 2 for step in range(20))
    with pytest.raises(ValueError, match="no conversation fits"):
        ConversationBatches([], 0, 2, 80)
