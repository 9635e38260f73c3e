"""What an engine is asked and what it answers. No torch here, so that the wire can be tested with a scripted engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

#: `failed`: the engine gave this one request up (its grammar grew too complex, or the engine's process died).
Finish = Literal["stop", "length", "cancelled", "failed"]


class Refused(ValueError):
    """This request cannot be served as it is asked; the engine and the other requests are well."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Args:
        max_tokens: most tokens to make.
        temperature: 0 is greedy.
        top_k: keep the k likeliest tokens; 0 keeps all.
        top_p: keep the smallest set of tokens with this much probability.
        seed: same seed, same prompt, same weights: same tokens, whatever else runs beside it.
        stop_ids: token ids that end the answer; the id itself is part of the answer's tokens.
        grammar: what the answer may be, as `generation.grammar` writes it; empty leaves it free.
        salt: prompts share cached blocks only under the same salt; one a tenant hides from others what has been asked
            before.
        top_logprobs: of each position that is scored, this many of the likeliest ids with their log-probabilities.
        prompt_logprobs: score the prompt, too; it is then computed whole, whatever the prefix cache has.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop_ids: tuple[int, ...] = ()
    grammar: str = ""
    salt: str = ""
    top_logprobs: int = 0
    prompt_logprobs: bool = False

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; it must not be negative")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; it must not be negative")
        if self.top_logprobs < 0:
            raise ValueError(f"top_logprobs is {self.top_logprobs}; it must not be negative")


@dataclass(frozen=True)
class CacheUse:
    """What the prefix cache did for one prompt.

    Args:
        read: prompt tokens that had been computed before.
        written: prompt tokens that later prompts can now reuse.
    """

    read: int = 0
    written: int = 0


#: Ids with their log-probabilities, the likeliest first.
Top = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Scores:
    """What was asked beside the token itself; log-probabilities as `Token.logprob` has them.

    Args:
        top: the likeliest ids at this token's place.
        prompt: on the first token, where it was asked for: of each prompt token but the first, its log-probability
            after those before it.
        prompt_top: the likeliest ids at these places.
    """

    top: Top = ()
    prompt: tuple[float, ...] = ()
    prompt_top: tuple[Top, ...] = ()


@dataclass(frozen=True)
class Token:
    """One sampled token of one request; `finish` is set on the last one, `cache` on the first.

    `logprob` is under the model's own distribution: at temperature 1, before top-k, top-p and grammar.

    A token with `finish` "failed" has no id (-1): nothing was sampled; `error` says why where the request was to blame.
    """

    request: int
    id: int
    logprob: float
    finish: Finish | None = None
    cache: CacheUse | None = None
    error: str = ""
    scores: Scores | None = None


@dataclass
class Completion:
    """All tokens of one answer, with the log-probability of each under the distribution before top-k, top-p and
    temperature.

    Args:
        ids: of an episode of several turns: everything behind the first prompt, what was observed between the turns too.
        logprobs: one a sampled token.
        sampled: which of `ids` the model made; empty where it made them all.
        earned: what an environment paid, by name.
        turns: answers that it consists of.
    """

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: Finish = "length"
    sampled: list[bool] = field(default_factory=list)
    earned: dict[str, float] = field(default_factory=dict)
    turns: int = 1

    @property
    def last(self) -> list[int]:
        """Ids of the last turn."""
        unsampled = [at for at, own in enumerate(self.sampled) if not own]
        return self.ids[unsampled[-1] + 1 :] if unsampled else self.ids


class Engine(Protocol):
    """Continuous batching: submit at any time, each step gives at most one token to every running request.

    Not thread-safe: one thread owns it.
    """

    max_context: int

    def submit(self, prompt: Sequence[int], sampling: Sampling) -> int:
        """Queue a prompt; the returned number names the request in `Token.request`.

        Raises:
            Refused: the prompt or the grammar; nothing was queued.
        """
        ...

    def cancel(self, request: int) -> None:
        """Forget a request; it makes no further token."""
        ...

    def step(self) -> list[Token]:
        """Admit what fits, then make one token for each running request."""
        ...

    @property
    def idle(self) -> bool:
        """True when nothing runs and nothing waits."""
        ...

    def check(self) -> None:
        """Raise if the engine can answer no more, e.g. because its process is gone; asked now and then while it is
        idle."""
        ...

    def close(self) -> None:
        """Give back what the engine holds; it is not used after this."""
        ...
