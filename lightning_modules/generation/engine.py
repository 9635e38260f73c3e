"""The engine: rows of one key-value cache, admission while others run, long prompts in pieces, nothing computed twice.

Requests that decode always lie in the first rows, so that attention reads one contiguous slice; behind them lies at
most one whose prompt is being computed in pieces. When a request ends, the last row moves into its place. The weights
are the module's own: a training step between two rollouts needs no copy. For GPUs at scale vLLM stands behind the same
protocol; here exactness comes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_modules.generation.cache import PrefixCache, RowCache, whole
from lightning_modules.generation.protocol import CacheUse, Completion, Finish, Refused, Sampling, Scores, Token, Top
from lightning_modules.generation.sampling import likeliest, sample
from lightning_modules.generation.scoring import LOGITS
from lightning_modules.generation.step import Step, is_plain
from lightning_modules.model.decoder import Decoder

if TYPE_CHECKING:
    from lightning_modules.generation.grammar import Grammars, Matcher

#: Tokens of a block of the prefix cache: a shorter one finds more, a longer one copies in larger pieces.
BLOCK = 32


@dataclass(eq=False)
class _Request:
    """A prompt and its answer so far.

    Args:
        filled: prompt tokens in the cache.
        cache: what was shared; given out with the first token.
        first: logits after the prompt, for requests with the same prompt.
        scored, scored_top: of the prompt, where it was asked for.
    """

    number: int
    prompt: tuple[int, ...]
    sampling: Sampling
    matcher: Matcher | None = None
    made: list[int] = field(default_factory=list)
    filled: int = 0
    cache: CacheUse = field(default_factory=CacheUse)
    first: Tensor | None = None
    scored: list[float] = field(default_factory=list)
    scored_top: list[Top] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens in the cache once the last one made has been fed."""
        return len(self.prompt) + len(self.made)

    def take_scores(self) -> tuple[tuple[float, ...], tuple[Top, ...]]:
        """Those of the prompt, once."""
        taken = tuple(self.scored), tuple(self.scored_top)
        self.scored, self.scored_top = [], []
        return taken


class SlotEngine:
    """Continuous batching over a decoder. See `protocol.Engine`.

    Args:
        model: on any device; its weights are read at each step.
        max_slots: requests decoded at once.
        max_context: prompt and answer together, in tokens; at most the model's own.
        prefill_tokens: most prompt tokens computed between two decoding steps, padding included, so that running
            answers do not stall; a longer prompt is computed in pieces.
        prefix_tokens: prompt and answer tokens kept for later requests; 0 keeps none, as training must, whose weights
            change.
        grammars: compiles `Sampling.grammar`; without it a request that has one is refused.
    """

    def __init__(
        self,
        model: Decoder,
        max_slots: int = 16,
        max_context: int = 0,
        prefill_tokens: int = 4096,
        prefix_tokens: int = 0,
        grammars: Grammars | None = None,
    ) -> None:
        longest = model.config.max_position_embeddings
        if max_context > longest:
            raise ValueError(f"max_context is {max_context}; the model's max_position_embeddings is {longest}")
        self.model, self.max_slots, self.prefill_tokens, self.grammars = model, max_slots, prefill_tokens, grammars
        self.max_context = max_context or longest
        self.device = model.embedding.weight.device
        self._cache = RowCache(model, max_slots, self.max_context)
        # A sharded model gathers its weights in hooks around its blocks, so these must be called.
        self._step = Step(model) if is_plain(model) else None
        self._prefixes = PrefixCache(self._cache, BLOCK, prefix_tokens // BLOCK) if prefix_tokens >= BLOCK else None
        self._active: list[_Request] = []
        self._partial: _Request | None = None  # its row comes after the active ones
        self._waiting: deque[_Request] = deque()
        self._next = 0

    def submit(self, prompt: Sequence[int], sampling: Sampling) -> int:
        """Queue a prompt. Answers longer than the context end with `length`.

        Raises:
            Refused: empty prompt, one that leaves no room for an answer, or a grammar that cannot be compiled.
        """
        if not prompt:
            raise Refused("the prompt is empty; give at least one token")
        if len(prompt) >= self.max_context:
            raise Refused(f"the prompt has {len(prompt)} tokens; the context holds {self.max_context}, answer included")
        if sampling.grammar and self.grammars is None:
            raise Refused("this engine was made without a tokenizer, so it knows no grammars; leave Sampling.grammar empty")
        matcher = self.grammars.matcher(sampling.grammar) if sampling.grammar and self.grammars else None
        room = self.max_context - len(prompt)
        self._next += 1
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, room))
        self._waiting.append(_Request(self._next, tuple(prompt), sampling, matcher))
        return self._next

    def cancel(self, request: int) -> None:
        """Forget a request, running or waiting."""
        self._waiting = deque(r for r in self._waiting if r.number != request)
        if self._partial is not None and self._partial.number == request:
            self._partial = None
        for row, active in enumerate(self._active):
            if active.number == request:
                self._release(row)
                return

    def weights_changed(self) -> None:
        """Forget the keys and values of earlier prompts; those of running requests stay."""
        if self._prefixes:
            self._prefixes.clear()
        for request in self._active:
            request.first = None

    @property
    def idle(self) -> bool:
        """True when nothing runs and nothing waits."""
        return not self._active and not self._waiting and self._partial is None

    @property
    def running(self) -> int:
        """Requests being decoded, or whose prompt is being computed."""
        return len(self._active) + (self._partial is not None)

    @property
    def waiting(self) -> int:
        """Requests not yet admitted."""
        return len(self._waiting)

    def check(self) -> None:
        """Nothing outside of this object can fail."""

    def close(self) -> None:
        """Nothing to give back but memory, which goes with the object."""

    @torch.inference_mode()
    def step(self) -> list[Token]:
        """Decode one token for each running request, then admit and prefill what fits."""
        tokens = self._decode() if self._active else []
        return tokens + self._admit()

    def _decode(self) -> list[Token]:
        known = [r.length for r in self._active]
        lengths = torch.tensor(known, device=self.device)
        ids = torch.tensor([r.made[-1] for r in self._active], device=self.device)
        span = whole(max(known))
        mask = None if min(known) == span else torch.arange(span, device=self.device) < lengths[:, None]
        if self._step:
            same = known[0] - 1 if min(known) == max(known) else None
            hidden = self._step(ids, lengths - 1, mask, self._cache, span, same)
        else:
            positions = (lengths - 1)[:, None]
            wide = None if mask is None else mask[:, None, None]
            hidden = self.model(ids[:, None], positions, wide, self._cache.view(0, positions, span))[:, -1]
        return self._emit(list(self._active), self.model.logits(hidden))

    def _admit(self) -> list[Token]:
        """Give waiting requests rows and compute their prompts, or a piece of one that is longer than
        `prefill_tokens`."""
        fresh: list[_Request] = [] if self._partial is None else [self._partial]
        copies: list[tuple[_Request, _Request]] = []
        donors = {(r.sampling.salt, r.prompt): r for r in self._active if r.first is not None}
        longest = len(fresh[0].prompt) - fresh[0].filled if fresh else 0
        first = len(self._active)
        # One that is computed in pieces has the step for itself, and so stays the only one.
        while self._waiting and first + len(fresh) + len(copies) < self.max_slots and longest <= self.prefill_tokens:
            head = self._waiting[0]
            key = (head.sampling.salt, head.prompt)
            if key in donors and not head.sampling.prompt_logprobs:
                copies.append((head, donors[key]))
            else:
                need = whole(max(longest, len(head.prompt)))
                if need * (len(fresh) + 1) > self.prefill_tokens and (fresh or copies):
                    break
                self._load(head, first + len(fresh))
                longest = max(longest, len(head.prompt) - head.filled)
                fresh.append(head)
                donors[key] = head
            self._waiting.popleft()
        self._partial = None
        if fresh:
            logits = self._prefill(fresh, first)
            if fresh[0].filled < len(fresh[0].prompt):
                self._partial = fresh.pop()
            for request, row in zip(fresh, logits, strict=False):
                request.first = row
        return self._start(fresh, copies) if fresh or copies else []

    def _load(self, request: _Request, row: int) -> None:
        if self._prefixes and not request.sampling.prompt_logprobs:
            request.filled = self._prefixes.load(row, request.prompt, request.sampling.salt)
            request.cache = CacheUse(read=request.filled)

    def _prefill(self, requests: list[_Request], first: int) -> Tensor:
        """Compute what is missing of the prompts, `prefill_tokens` at most of each; logits after their last tokens.

        Rows are padded on the right, to a multiple of 16: what padding writes lies beyond the row's length and is
        overwritten.
        """
        starts = [r.filled for r in requests]
        pieces = [r.prompt[r.filled : r.filled + self.prefill_tokens] for r in requests]
        longest = whole(max(map(len, pieces)))
        ids = torch.tensor([piece + (0,) * (longest - len(piece)) for piece in pieces], device=self.device)
        begins = torch.tensor(starts, device=self.device)[:, None]
        positions = (begins + torch.arange(longest, device=self.device)).clamp(max=self._cache.k.shape[3] - 1)
        span, mask = longest, None
        if any(starts):
            span = whole(int(positions.max()) + 1)
            mask = (torch.arange(span, device=self.device) <= positions[:, :, None])[:, None]
        hidden = self.model(ids, positions, mask, self._cache.view(first, positions, span))
        for row, (request, piece) in enumerate(zip(requests, pieces, strict=True)):
            if request.sampling.prompt_logprobs:
                self._score(request, hidden[row, : len(piece)])
            request.filled += len(piece)
        ends = torch.tensor([len(piece) - 1 for piece in pieces], device=self.device)
        return self.model.logits(hidden[torch.arange(len(pieces), device=self.device), ends])

    def _score(self, request: _Request, hidden_TD: Tensor) -> None:
        """Log-probabilities of the prompt tokens that these positions predict."""
        targets = torch.tensor(request.prompt[request.filled + 1 : request.filled + len(hidden_TD) + 1], device=self.device)
        step = max(1, LOGITS // self.model.config.vocab_size)
        for first in range(0, len(targets), step):
            wanted = targets[first : first + step]
            logits = self.model.logits(hidden_TD[first : first + len(wanted)]).float()
            request.scored += logits.log_softmax(-1).gather(1, wanted[:, None]).squeeze(1).tolist()
            if request.sampling.top_logprobs:
                request.scored_top += likeliest(logits, request.sampling.top_logprobs)

    def _start(self, fresh: list[_Request], copies: list[tuple[_Request, _Request]]) -> list[Token]:
        """First tokens of the requests whose prompts are in the rows, and of those that share such a prompt."""
        for request in fresh:
            self._active.append(request)
            if self._prefixes:
                written = self._prefixes.save(len(self._active) - 1, request.prompt, request.sampling.salt)
                request.cache = replace(request.cache, written=written)
        for request, donor in copies:
            self._cache.copy(self._active.index(donor), len(self._active), len(request.prompt))
            request.first, request.cache = donor.first, CacheUse(read=len(request.prompt))
            self._active.append(request)
        started = fresh + [request for request, _ in copies]
        return self._emit(started, torch.stack([r.first for r in started if r.first is not None]))

    def _emit(self, requests: list[_Request], logits: Tensor) -> list[Token]:
        masks = [r.matcher.allowed() if r.matcher else None for r in requests]
        ids, logprobs = sample(logits, [r.sampling for r in requests], [len(r.made) for r in requests], masks)
        tops = _tops(requests, logits)
        tokens = []
        for row, (request, token, logprob) in enumerate(zip(requests, ids, logprobs, strict=True)):
            cache = None if request.made else request.cache
            if request.matcher and not request.matcher.advance(token):
                tokens.append(
                    Token(request.number, -1, 0.0, "failed", cache, "the grammar grew too complex; ask for a simpler schema")
                )
                continue
            scores = Scores(tops.get(row, ()), *request.take_scores()) if row in tops or request.scored else None
            request.made.append(token)
            finish: Finish | None = "stop" if token in request.sampling.stop_ids else None
            if finish is None and len(request.made) >= request.sampling.max_tokens:
                finish = "length"
            tokens.append(Token(request.number, token, logprob, finish, cache, scores=scores))
        ended = {t.request for t in tokens if t.finish}
        for row in reversed(range(len(self._active))):
            if self._active[row].number in ended:
                self._release(row)
        return tokens

    def _release(self, row: int) -> None:
        """Free a row: the last one that decodes moves into it, and the one that is being prefilled follows."""
        gone = self._active[row]
        if self._prefixes:
            # The last token has been sampled, not computed. A next turn of the same conversation begins with all of
            # this.
            self._prefixes.save(row, (*gone.prompt, *gone.made[:-1]), gone.sampling.salt)
        last = self._active.pop()
        if row < len(self._active):
            self._cache.copy(len(self._active), row, last.length)
            self._active[row] = last
        if self._partial is not None:
            self._cache.copy(len(self._active) + 1, len(self._active), self._partial.filled)


def _tops(requests: Sequence[_Request], logits: Tensor) -> dict[int, Top]:
    """Row -> its likeliest ids, of those that asked."""
    rows = [row for row, request in enumerate(requests) if request.sampling.top_logprobs]
    if not rows:
        return {}
    most = max(requests[row].sampling.top_logprobs for row in rows)
    found = likeliest(logits[rows], most)
    return {row: top[: requests[row].sampling.top_logprobs] for row, top in zip(rows, found, strict=True)}


def generate(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    n: int = 1,
    max_slots: int = 128,
    seeds: Sequence[int] | None = None,
    until: Callable[[Completion], bool] | None = None,
) -> list[list[Completion]]:
    """Answer many prompts, n times each.

    Args:
        model: the decoder; left in the training or evaluation mode it is in (it has no dropout).
        prompts: token ids.
        sampling: for all; answer j of prompt i draws from stream `seeds[i] + j`.
        n: answers a prompt.
        max_slots: rows decoded at once.
        seeds: one a prompt; by default `sampling.seed` plus a stride by the prompt's place.
        until: looks at an unfinished answer after each of its tokens; true ends it.

    Returns:
        for each prompt its n completions, in order.
    """
    if not prompts:
        return []
    context = min(model.config.max_position_embeddings, max(map(len, prompts)) + sampling.max_tokens)
    engine = SlotEngine(model, min(max_slots, len(prompts) * n), context, prefill_tokens=16_384)
    answers: dict[int, Completion] = {}
    grid: list[list[int]] = []
    for i, prompt in enumerate(prompts):
        base = seeds[i] if seeds is not None else sampling.seed + 1_000_003 * i
        grid.append([engine.submit(prompt, replace(sampling, seed=base + j)) for j in range(n)])
        answers |= {number: Completion() for number in grid[-1]}
    while not engine.idle:
        for token in engine.step():
            answer = answers[token.request]
            answer.ids.append(token.id)
            answer.logprobs.append(token.logprob)
            if token.finish:
                answer.finish = token.finish
            elif until is not None and until(answer):
                answer.finish = "stop"
                engine.cancel(token.request)
    return [[answers[number] for number in row] for row in grid]
