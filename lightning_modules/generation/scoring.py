"""Log-likelihood of given continuations, computed once where they share a context.

Four answers to one question are one tree: the context is the prompt, each answer a completion with its own positions
that sees the prompt and itself, not its siblings. Questions after the same examples (five of a subject, say) are
branches of one tree in the same way, so that the examples are read once. Trees lie end to end in rows under one mask,
so there is next to no padding, and the vocabulary is projected only at the positions that predict an answer's token,
each once even where several answers start. At a real vocabulary that projection is most of what a plain scorer
computes; `benchmarks/loglikelihood.py` measures the gain.

Shape letters: B rows, T positions of a row, P parts of a tree in a row, D hidden size, S distinct scored positions,
V vocabulary, N scored tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from lightning_modules.data.packing import assign, in_passes
from lightning_modules.model.decoder import Decoder

#: Context and continuation, as token ids.
Pair = tuple[Sequence[int], Sequence[int]]
#: Numbers in one block of logits: 128 MB in fp32, whatever the vocabulary.
LOGITS = 1 << 25
#: Fewest tokens that questions must begin alike with to be put into one tree, and fewest parts of a prompt (1 / HALF)
#: that these must be: a tree is one long row, whose attention costs more than that of short ones.
SHARED, HALF = 32, 2


@dataclass(frozen=True)
class Score:
    """What a model makes of a continuation.

    Args:
        loglik: sum of the log-probabilities of its tokens, in nats.
        greedy: every token was the likeliest one, so greedy decoding would have written it.
        tokens: how many there are.
    """

    loglik: float
    greedy: bool
    tokens: int


@dataclass
class _Question:
    """A context with the continuations that follow it, and which pair each of these is."""

    prompt: tuple[int, ...]
    completions: list[tuple[int, ...]]
    sequence_ids: list[int]

    def __len__(self) -> int:
        # The last token of a continuation is only predicted, never read.
        return len(self.prompt) + sum(len(completion) - 1 for completion in self.completions)


@dataclass
class _Tree:
    """Questions whose prompts begin with the same `shared` tokens, which are read once; less than any of the prompts."""

    questions: list[_Question]
    shared: int = 0

    def __len__(self) -> int:
        return sum(map(len, self.questions)) - self.shared * (len(self.questions) - 1)


@dataclass
class _Layout:
    """Rows ready for the decoder, with the place of each target.

    Args:
        ids, positions: [B, T].
        parts: [B, T] number of the part (shared beginning, rest of a prompt, completion) in its row; 0 is padding.
        parents: of each row, the part that each part follows; itself where it follows none.
        sources, targets, sequence_ids: as in `packing.Packed`.
    """

    ids: Tensor
    positions: Tensor
    parts: Tensor
    parents: list[list[int]]
    sources: list[int]
    targets: list[int]
    sequence_ids: list[int]

    def mask(self) -> Tensor:
        """Bool [B, 1, T, T]: a position sees what comes before it in its own part and in those that its part follows."""
        rows, length = self.parts.shape
        seen = torch.zeros(rows, *[max(map(len, self.parents))] * 2, dtype=torch.bool)
        for b, parents in enumerate(self.parents):
            for part, parent in enumerate(parents):  # a parent stands before its children
                seen[b, part] = seen[b, parent]
                seen[b, part, part] = True
        allowed = torch.stack([seen[b][part][:, part] for b, part in enumerate(self.parts)])
        return (allowed & torch.ones(length, length, dtype=torch.bool).tril())[:, None]


@torch.inference_mode()
def score(model: Decoder, pairs: Sequence[Pair], batch_tokens: int = 2048) -> list[Score]:
    """Score continuations; the result does not depend on what else is asked in the same call, beyond rounding.

    Args:
        model: on any device.
        pairs: contexts with continuations. A context that does not fit is cut on the left, as lm-eval does.
        batch_tokens: tokens of one forward. 2,048 stay in a CPU's cache; a GPU wants ten times as many.

    Returns:
        one score a pair, in order.

    Raises:
        ValueError: names a pair of which one part is empty, or whose continuation is longer than the model's context.
    """
    trees = _join(_questions(pairs, model.config.max_position_embeddings), batch_tokens)
    loglik, greedy = [0.0] * len(pairs), [True] * len(pairs)
    for group in _batches(trees, batch_tokens):
        # A row is as long as the longest tree: shorter ones fill the gaps, and little attention goes to what the mask
        # forbids.
        layout = _lay_out(group, max(map(len, group)))
        values, best = _score_layout(model, layout)
        for owner, value, hit in zip(layout.sequence_ids, values, best, strict=True):
            loglik[owner] += value
            greedy[owner] &= hit
    return [Score(loglik[i], greedy[i], len(pair[1])) for i, pair in enumerate(pairs)]


def _questions(pairs: Sequence[Pair], longest: int) -> list[_Question]:
    """Group the pairs by the context that is left after cutting."""
    questions: dict[tuple[int, ...], _Question] = {}
    for i, (context, continuation) in enumerate(pairs):
        if not len(context) or not len(continuation):
            sizes = f"{len(context)} context and {len(continuation)} continuation tokens"
            raise ValueError(f"pair {i} has {sizes}; both need at least one")
        if len(continuation) > longest:
            raise ValueError(f"the continuation of pair {i} has {len(continuation)} tokens; the model's context is {longest}")
        # Of the tokens that are read, the last one of the continuation is none: hence the one more.
        prompt = tuple(context)[-(longest + 1 - len(continuation)) :]
        question = questions.setdefault(prompt, _Question(prompt, [], []))
        question.completions.append(tuple(continuation))
        question.sequence_ids.append(i)
    return list(questions.values())


def _join(questions: Sequence[_Question], most: int) -> list[_Tree]:
    """Put questions that begin alike into trees of at most so many tokens."""
    trees: list[_Tree] = []
    for question in sorted(questions, key=lambda question: question.prompt):
        last = trees[-1] if trees else _Tree([])
        shared = _alike(last.questions[-1].prompt, question.prompt) if last.questions else 0
        if len(last.questions) > 1:
            # What a whole tree shares is not given up for one more question.
            shared = min(shared, last.shared) if shared >= last.shared * 0.9 else 0
        joined = _Tree([*last.questions, question], shared)
        if shared >= max(SHARED, len(question.prompt) / HALF) and len(joined) <= most:
            trees[-1] = joined
        else:
            trees.append(_Tree([question]))
    return trees


def _alike(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two prompts begin alike with, the last one of each left out."""
    most = min(len(first), len(second)) - 1
    return next((i for i in range(most) if first[i] != second[i]), most)


def _batches(trees: Sequence[_Tree], batch_tokens: int) -> Iterator[list[_Tree]]:
    """Trees of similar length together, longest first, so that the rows of one forward are about equally long."""
    return in_passes(sorted(trees, key=lambda tree: (-len(tree), tree.questions[0].sequence_ids[0])), batch_tokens)


def _lay_out(trees: Sequence[_Tree], room: int) -> _Layout:
    """Put trees into rows of at most `room` tokens and note where each target is predicted."""
    rows = assign(map(len, trees), room)
    width = max(sum(len(trees[i]) for i in row) for row in rows)
    built = [_Row(b * width) for b in range(len(rows))]
    for row, chosen in zip(built, rows, strict=True):
        for i in chosen:
            row.add(trees[i])
    ids, positions, parts = (
        torch.tensor([one + [0] * (width - len(one)) for one in values])
        for values in zip(*[(row.ids, row.positions, row.parts) for row in built], strict=True)
    )
    return _Layout(
        ids,
        positions,
        parts,
        [row.parents for row in built],
        list(chain.from_iterable(row.sources for row in built)),
        list(chain.from_iterable(row.targets for row in built)),
        list(chain.from_iterable(row.sequence_ids for row in built)),
    )


class _Row:
    """One row while it is filled; `start` is the flat position of its first token."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.parts: list[int] = []
        self.parents = [0]
        self.sources: list[int] = []
        self.targets: list[int] = []
        self.sequence_ids: list[int] = []

    def add(self, tree: _Tree) -> None:
        """A tree behind what is there: what its questions share, then one after another with its completions."""
        root = None
        if tree.shared:
            root = self._part(tree.questions[0].prompt[: tree.shared], 0, None)
        for question in tree.questions:
            length = len(question.prompt)
            own = self._part(question.prompt[tree.shared :], tree.shared, root)
            end = len(self.ids) - 1
            for completion, owner in zip(question.completions, question.sequence_ids, strict=True):
                # The end of the prompt predicts the first token of every completion.
                read = range(len(self.ids), len(self.ids) + len(completion) - 1)
                self.sources += [self.start + place for place in (end, *read)]
                self.targets += completion
                self.sequence_ids += [owner] * len(completion)
                if len(completion) > 1:
                    self._part(completion[:-1], length, own)

    def _part(self, ids: Sequence[int], position: int, parent: int | None) -> int:
        """Tokens that follow those of `parent`; returns the number of the new part."""
        number = len(self.parents)
        self.parents.append(number if parent is None else parent)
        self.ids += ids
        self.positions += range(position, position + len(ids))
        self.parts += [number] * len(ids)
        return number


def _score_layout(model: Decoder, layout: _Layout) -> tuple[list[float], list[bool]]:
    """Log-probability of each target, and whether it is the likeliest token."""
    device = model.embedding.weight.device
    hidden_BTD = model(layout.ids.to(device), layout.positions.to(device), layout.mask().to(device))
    distinct, where = torch.tensor(layout.sources, device=device).unique(return_inverse=True)
    hidden_SD = hidden_BTD.flatten(0, 1)[distinct]
    targets = torch.tensor(layout.targets, device=device)
    values = torch.empty(len(targets), device=device)
    best = torch.empty(len(targets), dtype=torch.bool, device=device)
    step = max(1, LOGITS // model.config.vocab_size)
    for first in range(0, len(distinct), step):
        logits_SV = model.logits(hidden_SD[first : first + step]).float()
        here = ((where >= first) & (where < first + step)).nonzero().squeeze(1)
        rows = where[here] - first
        values[here] = logits_SV[rows, targets[here]] - logits_SV.logsumexp(-1)[rows]
        best[here] = logits_SV.argmax(-1)[rows] == targets[here]
    return values.double().tolist(), best.tolist()
