"""The engine: rows of one key-value cache, admission while others run, a prompt shared by many requests computed once.

Active requests always lie in the first rows, so that attention reads one contiguous slice; when a request ends, the last row moves into its
place. The weights are the module's own: a training step between two rollouts needs no copy. For GPUs at scale vLLM stands behind the same
protocol; here exactness comes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_modules.generation.protocol import Completion, Finish, Sampling, Token
from lightning_modules.generation.sampling import sample
from lightning_modules.model.decoder import Decoder


@dataclass
class _Request:
    number: int
    prompt: tuple[int, ...]
    sampling: Sampling
    made: int = 0
    last: int = -1

    @property
    def length(self) -> int:
        """Tokens in the cache once `last` has been fed."""
        return len(self.prompt) + self.made


class SlotCache:
    """Keys and values of all rows: [layers, rows, K, S, E]. A view of some rows at some positions is set before each forward."""

    def __init__(self, model: Decoder, rows: int, context: int) -> None:
        config, weight = model.config, model.norm.weight
        shape = (config.num_layers, rows, config.num_kv_heads, context, config.head_dim)
        self.k = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self.v = torch.zeros_like(self.k)
        self._rows = torch.empty(0, dtype=torch.long)
        self._positions_NT = torch.empty(0)
        self._span = 0

    def view(self, rows: Tensor, positions_NT: Tensor, span: int) -> SlotCache:
        """Aim the next forward at these rows: new tokens at `positions_NT`, attention over the first `span` positions."""
        self._rows, self._positions_NT, self._span = rows, positions_NT, span
        return self

    def update(self, layer: int, k_NKTE: Tensor, v_NKTE: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values and return those of the aimed rows."""
        where = (self._rows[:, None], slice(None), self._positions_NT)
        # Advanced indices around a slice put the indexed axes first: [N, T, K, E].
        self.k[layer][where] = k_NKTE.transpose(1, 2)
        self.v[layer][where] = v_NKTE.transpose(1, 2)
        n, first = len(self._rows), int(self._rows[0])
        return self.k[layer, first : first + n, :, : self._span], self.v[layer, first : first + n, :, : self._span]

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first positions of one row to another."""
        for tensor in (self.k, self.v):
            tensor[:, target, :, :length] = tensor[:, source, :, :length]


class SlotEngine:
    """Continuous batching over a decoder. See `protocol.Engine`.

    Args:
        model: on any device; its weights are read at each step.
        max_slots: requests decoded at once.
        max_context: prompt and answer together, in tokens; at most the model's own.
        prefill_tokens: most prompt tokens computed between two decoding steps, so that running answers do not stall.
    """

    def __init__(self, model: Decoder, max_slots: int = 16, max_context: int = 0, prefill_tokens: int = 4096) -> None:
        longest = model.config.max_position_embeddings
        if max_context > longest:
            raise ValueError(f"max_context is {max_context}; the model's max_position_embeddings is {longest}")
        self.model, self.max_slots, self.prefill_tokens = model, max_slots, prefill_tokens
        self.max_context = max_context or longest
        self.device = model.norm.weight.device
        self._cache = SlotCache(model, max_slots, self.max_context)
        self._active: list[_Request] = []
        self._waiting: deque[_Request] = deque()
        self._next = 0

    def submit(self, prompt: Sequence[int], sampling: Sampling) -> int:
        """Queue a prompt. Answers longer than the context end with `length`.

        Raises:
            ValueError: empty prompt, or one that leaves no room for an answer.
        """
        if not prompt:
            raise ValueError("the prompt is empty; give at least one token")
        if len(prompt) >= self.max_context:
            raise ValueError(f"the prompt has {len(prompt)} tokens; the context holds {self.max_context}, answer included")
        room = self.max_context - len(prompt)
        self._next += 1
        self._waiting.append(_Request(self._next, tuple(prompt), replace(sampling, max_tokens=min(sampling.max_tokens, room))))
        return self._next

    def cancel(self, request: int) -> None:
        """Forget a request, running or waiting."""
        self._waiting = deque(r for r in self._waiting if r.number != request)
        for row, active in enumerate(self._active):
            if active.number == request:
                self._release(row)
                return

    @property
    def idle(self) -> bool:
        """True when nothing runs and nothing waits."""
        return not self._active and not self._waiting

    @property
    def running(self) -> int:
        """Requests being decoded."""
        return len(self._active)

    @property
    def waiting(self) -> int:
        """Requests not yet admitted."""
        return len(self._waiting)

    @torch.inference_mode()
    def step(self) -> list[Token]:
        """Decode one token for each running request, then admit and prefill what fits."""
        tokens = self._decode() if self._active else []
        return tokens + self._admit()

    def _decode(self) -> list[Token]:
        n = len(self._active)
        rows = torch.arange(n, device=self.device)
        lengths = torch.tensor([r.length for r in self._active], device=self.device)
        positions = (lengths - 1)[:, None]
        span = int(lengths.max())
        mask = (torch.arange(span, device=self.device)[None, :] < lengths[:, None])[:, None, None, :]
        ids = torch.tensor([r.last for r in self._active], device=self.device)[:, None]
        hidden = self.model(ids, positions, mask, self._cache.view(rows, positions, span))
        return self._emit(list(self._active), self.model.logits(hidden[:, -1]))

    def _admit(self) -> list[Token]:
        """Move waiting requests into free rows; equal prompts are computed once and copied."""
        budget = self.prefill_tokens
        fresh: dict[tuple[int, ...], list[_Request]] = {}
        while self._waiting and len(self._active) + sum(map(len, fresh.values())) < self.max_slots:
            prompt = self._waiting[0].prompt
            if prompt not in fresh:
                if fresh and len(prompt) > budget:
                    break
                budget -= len(prompt)
                fresh[prompt] = []
            fresh[prompt].append(self._waiting.popleft())
        if not fresh:
            return []
        first = len(self._active)
        unique = [group[0] for group in fresh.values()]
        copies = [request for group in fresh.values() for request in group[1:]]
        self._active += unique + copies
        logits = self._prefill([r.prompt for r in unique], first)
        row_of = {request.prompt: i for i, request in enumerate(unique)}
        for target, request in enumerate(copies, first + len(unique)):
            self._cache.copy(first + row_of[request.prompt], target, len(request.prompt))
        order = [row_of[request.prompt] for request in copies]
        return self._emit(unique + copies, torch.cat([logits, logits[order]]) if order else logits)

    def _prefill(self, prompts: list[tuple[int, ...]], first: int) -> Tensor:
        """Logits after each prompt. Rows are padded on the right: what padding writes lies beyond the row's length and is overwritten."""
        longest = max(map(len, prompts))
        ids = torch.tensor([p + (0,) * (longest - len(p)) for p in prompts], device=self.device)
        positions = torch.arange(longest, device=self.device).expand(len(prompts), -1)
        rows = torch.arange(first, first + len(prompts), device=self.device)
        hidden = self.model(ids, positions, None, self._cache.view(rows, positions, longest))
        ends = torch.tensor([len(p) - 1 for p in prompts], device=self.device)
        return self.model.logits(hidden[torch.arange(len(prompts), device=self.device), ends])

    def _emit(self, requests: list[_Request], logits: Tensor) -> list[Token]:
        ids, logprobs = sample(logits, [r.sampling for r in requests], [r.made for r in requests])
        tokens = []
        for request, token, logprob in zip(requests, ids, logprobs, strict=True):
            request.made += 1
            request.last = token
            finish: Finish | None = "stop" if token in request.sampling.stop_ids else None
            if finish is None and request.made >= request.sampling.max_tokens:
                finish = "length"
            tokens.append(Token(request.number, token, logprob, finish))
        ended = {t.request for t in tokens if t.finish}
        for row in reversed(range(len(self._active))):
            if self._active[row].number in ended:
                self._release(row)
        return tokens

    def _release(self, row: int) -> None:
        """Free a row by moving the last one into it."""
        last = self._active.pop()
        if row < len(self._active):
            self._cache.copy(len(self._active), row, last.length)
            self._active[row] = last


def generate(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    n: int = 1,
    max_slots: int = 128,
    seeds: Sequence[int] | None = None,
) -> list[list[Completion]]:
    """Answer many prompts, n times each.

    Args:
        model: the decoder; left in the training or evaluation mode it is in (it has no dropout).
        prompts: token ids.
        sampling: for all; answer j of prompt i draws from stream `seeds[i] + j`.
        n: answers a prompt.
        max_slots: rows decoded at once.
        seeds: one a prompt; by default `sampling.seed` plus a stride by the prompt's place.

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
    return [[answers[number] for number in row] for row in grid]
