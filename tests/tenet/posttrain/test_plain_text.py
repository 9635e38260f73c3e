"""The alignment tax: what is taken from the corpus again, and what cannot be measured is no figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightning_modules.data.packing import Tree
from lightning_modules.data.shards import TokenRows
from tenet.corpus.tokens import shards
from tenet.errors import ConfigError
from tenet.posttrain.plain_text import PlainText, plain_text, replayed, tax
from tenet.runs.workspace import Workspace
from tests.lightning_modules.tiny import tiny_model, tiny_tokenizer

END = 0


@pytest.fixture
def text(tmp_path: Path) -> PlainText:
    """Forty documents of 30 tokens, each of one token of its own; then ten of three tokens."""
    documents = [[100 + i] * 29 + [END] for i in range(40)] + [[90, 91, END]] * 10
    for name in ("train", "test"):
        np.array([i for d in documents for i in d], dtype=np.uint16).tofile(tmp_path / f"{name}.ds")
        np.cumsum([len(d) for d in documents]).astype(np.uint64).tofile(tmp_path / f"{name}.ds.index")
    return PlainText(TokenRows(tmp_path / "train.ds", 64), TokenRows(tmp_path / "test.ds", 64), 2000)


def document(tree: Tree) -> int:
    """Which one a piece is the beginning of."""
    return int(tree.answers[0][-2]) - 100


def test_pieces_are_beginnings_of_documents_and_none_comes_twice_before_all_were_there(text: PlainText) -> None:
    pieces = text.pieces(40 * 30, 64, seed=1)
    assert sorted(map(document, pieces[:39])) == sorted(set(map(document, pieces[:39])))
    assert all(0 <= document(tree) < 40 for tree in pieces)  # the short ones teach nothing
    assert all(tree.scored is not None and all(tree.scored[0]) for tree in pieces)
    first = text.pieces(1, 10, seed=3)
    assert len(first) == 1 and len(first[0]) == 10
    assert [t.answers for t in text.pieces(500, 64, 1)] == [t.answers for t in text.pieces(500, 64, 1)]
    assert [t.answers for t in text.pieces(500, 64, 1)] != [t.answers for t in text.pieces(500, 64, 2)]
    assert 2400 <= sum(map(len, text.pieces(2400, 64, 1))) < 2400 + 64


def test_the_share_is_of_all_tokens(text: PlainText, tmp_path: Path) -> None:
    ws = Workspace(tmp_path, tmp_path, "finetune", (), 0, lambda *_: None)
    rows = [Tree([1], [[2] * 99])] * 30
    again = sum(map(len, replayed(text, rows, 0.25, 64, ws)))
    assert again / (again + 3000) == pytest.approx(0.25, abs=0.02)
    assert replayed(None, rows, 0.0, 64, ws) == []
    with pytest.raises(ConfigError, match=r"finetune.replay is 0.1, and this run has no corpus of the model's tokenizer"):
        replayed(None, rows, 0.1, 64, ws)


def test_without_a_corpus_nothing_is_measured(text: PlainText, tmp_path: Path) -> None:
    ws = Workspace(tmp_path, tmp_path, "finetune", (), 0, lambda *_: None)
    assert plain_text(ws, 320) is None and tax(None, None) == []
    bits = text.bits(tiny_model(1))
    (figure,) = tax(bits, bits + 1)
    assert figure.before == pytest.approx(bits, abs=1e-4) and figure.value > figure.before and figure.better == "lower"


@pytest.mark.parametrize(("tokens", "context"), [(40, 39), (1000, 256), (5, None)])
def test_a_small_corpus_has_shorter_rows(tokens: int, context: int | None, tmp_path: Path) -> None:
    """Held-out text of less than a row is measured all the same; of next to nothing there is no figure."""
    tokenizer = tmp_path / "corpus" / "tokenizer"
    tokenizer.mkdir(parents=True)
    tiny_tokenizer().tokenizer.save(str(tokenizer / "tokenizer.json"))
    chat = tiny_tokenizer()
    folder = tmp_path / "corpus" / "tokens"
    texts = {"train": ["the quick fox " * 400], "test": ["x" * (tokens - 1)]}
    entries = [shards.write_shard(folder / f"{name}.ds", found, chat) for name, found in texts.items()]
    shards.write_manifest(folder, entries, tokenizer / "tokenizer.json", chat)
    ws = Workspace(tmp_path / "work", tmp_path, "finetune", ("corpus",), 0, lambda *_: None, start=tokenizer)
    found = plain_text(ws, chat.vocab_size)
    assert (found.test.context if found else None) == context
    if found:
        assert 0 < found.bits(tiny_model(1)) < 100
