"""Log-probabilities beside an answer, for the wires that show them; who does not ask pays nothing.

A `ScoredAsk` is an `Ask` that may want them. Its words are `ScoredWords`, which carry the tokens they were made of, and
its last part is a `ScoredEnd` with what was left and with the prompt's. Everybody else sees `Words` and `End`.

Log-probabilities are the model's own: of the whole vocabulary at temperature 1, before top-k, top-p and any grammar.
The echo engine is certain of all that it says: 0.0 for each token, and no other candidates.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

from lightning_modules.generation.protocol import Scores, Token, Top
from tenet.serving.protocol.chat_request import Ask, End, Part, TextLayer, Words


class RawText(TextLayer, Protocol):
    """What a text layer can do for who shows single tokens or writes the prompt itself."""

    @property
    def vocab_size(self) -> int:
        """Entries; ids of a prompt lie below."""
        ...

    def piece(self, token: int) -> bytes:
        """The bytes that one id adds to a text."""
        ...

    def raw(self, text: str) -> list[int]:
        """Ids of a whole prompt, special tokens and all."""
        ...


@dataclass(frozen=True)
class TokenScore:
    """One token, what it adds to the text, its log-probability, and the likeliest candidates at its place."""

    id: int
    piece: bytes
    logprob: float
    top: tuple[TokenScore, ...] = ()

    @property
    def text(self) -> str:
        """As OpenAI writes it: what is no whole character is spelt in its bytes."""
        try:
            return self.piece.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in self.piece)


@dataclass(frozen=True)
class ScoredAsk(Ask):
    """An `Ask` of OpenAI's dialects, which know log-probabilities, and tools beside a schema of the answer.

    Args:
        logprobs: of the answer's tokens.
        top_logprobs: how many candidates at each place of the answer.
        prompt_logprobs: of the prompt's tokens, with so many candidates; None is none of them.
    """

    logprobs: bool = False
    top_logprobs: int = 0
    prompt_logprobs: int | None = None

    @property
    def scored(self) -> bool:
        """Whether it wants any."""
        return self.logprobs or self.prompt_logprobs is not None

    @property
    def candidates(self) -> int:
        """The most that it wants at a place."""
        return max(self.top_logprobs, self.prompt_logprobs or 0)

    @functools.cached_property
    def grammar(self) -> str:
        """With tools beside a schema the answer is one or the other; where a call is forced there is no other."""
        if self.schema is None or not self.tools:
            return super().grammar
        if self.forced:
            return replace(self, schema=None).grammar
        from lightning_modules.generation.grammar import either_grammar
        from tenet.serving.protocol.tool_schemas import enforceable

        return either_grammar(enforceable(self.tools, self.strict), self.schema)


@dataclass(frozen=True)
class ScoredWords(Words):
    """Text with the tokens that it was made of."""

    tokens: tuple[TokenScore, ...] = ()


@dataclass(frozen=True)
class ScoredEnd(End):
    """The end, with the tokens that no words carried.

    Args:
        tokens: the last of the answer's.
        prompt: the prompt's tokens but the first, before which nothing stands.
        first: id and bytes of that one.
    """

    tokens: tuple[TokenScore, ...] = ()
    prompt: tuple[TokenScore, ...] = ()
    first: TokenScore | None = None


class Scorer:
    """Gathers tokens until the words that they were made of leave.

    Args:
        text: of the model.
        prompt: token ids.
        ask: what is wanted.
        exact: the words are the decoded text from its start; not so where tool calls are taken out of it, and there
            each token goes with the next words.
    """

    def __init__(self, text: TextLayer, prompt: Sequence[int], ask: ScoredAsk, exact: bool) -> None:
        self._piece: Callable[[int], bytes] = cast(RawText, text).piece
        self._prompt, self._ask, self._exact = prompt, ask, exact
        self._waiting: list[tuple[int, TokenScore]] = []
        self._shown = 0
        self._of_prompt: Scores | None = None

    def take(self, token: Token, start: int) -> None:
        """One more token; `start` characters of text were known before it."""
        scores = token.scores or Scores()
        self._of_prompt = self._of_prompt or (scores if self._ask.prompt_logprobs is not None else None)
        if self._ask.logprobs and token.finish != "stop":
            self._waiting.append((start, self._score(token.id, token.logprob, scores.top[: self._ask.top_logprobs])))

    def mark(self, parts: Sequence[Part]) -> list[Part]:
        """The same parts, words with their tokens."""
        return [ScoredWords(part.text, self._leave(len(part.text))) if type(part) is Words else part for part in parts]

    def end(self, end: End) -> ScoredEnd:
        """A token that made a hidden stop sequence is not shown; one that made no text of its own is."""
        left = () if end.stop is not None and self._exact else tuple(score for _, score in self._waiting)
        scores, prompt = self._of_prompt, self._prompt
        if scores is None:
            return ScoredEnd(**vars(end), tokens=left)
        tops = [top[: self._ask.prompt_logprobs] for top in scores.prompt_top] or [()] * len(scores.prompt)
        shown = tuple(map(self._score, prompt[1:], scores.prompt, tops))
        return ScoredEnd(**vars(end), tokens=left, prompt=shown, first=self._score(prompt[0], 0.0, ()))

    def _leave(self, characters: int) -> tuple[TokenScore, ...]:
        self._shown += characters
        gone = [score for start, score in self._waiting if not self._exact or start < self._shown]
        del self._waiting[: len(gone)]
        return tuple(gone)

    def _score(self, token: int, logprob: float, top: Top) -> TokenScore:
        others = tuple(TokenScore(other, self._piece(other), value) for other, value in top)
        return TokenScore(token, self._piece(token), logprob, others)
