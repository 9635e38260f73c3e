"""The alignment tax: what a training stage costs on plain text, and a share of such text in training that limits it.

Askell et al., 2021 (arXiv:2112.00861, section 3.2): small models pay for alignment with what they knew. It is measured
on the held-out text of the corpus, in bits per byte before and after, wherever the run has a corpus of the model's own
tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightning_modules.data.packing import Tree, sequence
from lightning_modules.data.shards import TokenRows
from lightning_modules.distributed import ranks
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.tokenizer_files import same_tokenizer
from lightning_modules.modules.pretrain import bits_per_byte
from tenet.errors import ConfigError
from tenet.files import read_json
from tenet.posttrain.checkpoints import corpus_tokenizer, token_rows
from tenet.runs.summary import Figure
from tenet.runs.workspace import Workspace

#: Rows of held-out text that are scored, evenly spread.
ROWS = 64
#: Tokens of one row; a smaller corpus has shorter ones.
CONTEXT = 256
#: Vocabularies above this are written with 32 bits a token.
WIDE = 65_536
#: Documents shorter than this teach next to nothing beside a chat turn.
SHORTEST = 8


@dataclass(frozen=True)
class PlainText:
    """Text of the run's corpus.

    Args:
        train, test: token shards. test_bytes: UTF-8 bytes of the held-out text.
    """

    train: TokenRows
    test: TokenRows
    test_bytes: int

    def bits(self, model: Decoder) -> float:
        """Bits per byte of held-out text."""
        return ranks.on_first(lambda: bits_per_byte(model.eval(), self.test, self.test_bytes, limit=ROWS))

    def pieces(self, tokens: int, longest: int, seed: int) -> list[Tree]:
        """Beginnings of training documents, every token learnt: so many tokens in all, drawn by seed without
        repeating any before all were taken."""
        ends = self.train.ends
        begins = np.concatenate(([0], ends[:-1]))
        long_enough = np.flatnonzero(ends - begins >= SHORTEST)
        if not len(long_enough):
            return []
        draw = np.random.default_rng(seed)
        found: list[Tree] = []
        while tokens > 0:
            for document in draw.permutation(long_enough):
                first, end = int(begins[document]), int(min(ends[document], begins[document] + longest))
                # The end-of-text token before a document opens it, as in pretraining.
                ids = self.train.tokens[max(0, first - 1) : end].astype(int).tolist()[:longest]
                found.append(sequence(ids, [True] * len(ids)))
                tokens -= len(ids)
                if tokens <= 0:
                    break
        return found


def plain_text(ws: Workspace, vocabulary: int) -> PlainText | None:
    """The corpus of the run; None where there is none, hardly any, or where the model was made with another tokenizer.

    Args:
        vocabulary: entries of the tokenizer.
    """
    if not ws.has("corpus") or same_tokenizer(ws.start, corpus_tokenizer(ws)):
        return None
    folder = ws.input("corpus") / "tokens"
    shards = {s["name"]: s for s in read_json(folder / "manifest.json")["shards"]}
    context = min(CONTEXT, *(shards[name]["tokens"] - 1 for name in ("train", "test")))  # a row and the token after it
    if context < SHORTEST:
        return None
    train, test = (token_rows(folder / f"{name}.ds", context, vocabulary > WIDE) for name in ("train", "test"))
    return PlainText(train, test, shards["test"]["text_bytes"])


def replayed(text: PlainText | None, trees: Sequence[Tree], share: float, longest: int, ws: Workspace) -> list[Tree]:
    """Plain text that makes up `share` of the tokens beside the given rows.

    Raises:
        ConfigError: it is asked for and there is no corpus to take it from.
    """
    if not share:
        return []
    if text is None:
        raise ConfigError(
            f"{ws.stage}.replay is {share}, and this run has no corpus of the model's tokenizer to take plain text from; set it to 0, "
            "or run the corpus stage first"
        )
    return text.pieces(round(sum(map(len, trees)) * share / (1 - share)), longest, ws.seed)


def tax(before: float | None, after: float | None) -> list[Figure]:
    """The figure of a stage's page; none where it could not be measured."""
    if before is None or after is None:
        return []
    return [Figure("plain held-out text", round(after, 4), "bits per byte", round(before, 4), better="lower")]
