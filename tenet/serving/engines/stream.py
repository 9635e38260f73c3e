"""From an `Ask` to the parts of its answer: the engine's tokens through the text filters, with the reason why it
ended."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator

from lightning_modules.generation.protocol import CacheUse, Sampling, Token
from tenet.serving.engines.runner import Backend, Runner
from tenet.serving.engines.scored import ScoredAsk, Scorer
from tenet.serving.engines.stream_filters import CallSplitter, Detokenizer
from tenet.serving.protocol.chat_request import Ask, Begun, End, Part, Reason, ToolCall, Words
from tenet.serving.protocol.exceptions import too_long
from tenet.serving.protocol.stop_finder import StopFinder


class _Filter:
    """Tokens in, parts out."""

    def __init__(self, ask: Ask, backend: Backend) -> None:
        self._text = Detokenizer(backend.text.decode)
        self._stops = StopFinder(ask.stops)
        names = [tool["function"]["name"] for tool in ask.tools]
        self._calls = CallSplitter(names, ask.forced) if names else None
        # A forced call is the answer; what a model says after it would only delay the client that waits for it.
        self._one_call = ask.one_call or bool(ask.forced)
        self.stop: str | None = None
        self.called = self.done = False

    def token(self, token: Token) -> list[Part]:
        """Parts that one more token makes certain; the end of the turn makes none."""
        return [] if token.finish == "stop" else self._pass(self._text.feed(token.id))

    def end(self, end: End) -> End:
        """The last part."""
        return end

    def finish(self) -> list[Part]:
        """What was held back, unless the answer ended at a stop sequence or a call before."""
        if self.done:
            return self._mark(self._calls.finish()) if self._calls and self.stop else []
        parts = self._pass(self._text.finish())
        rest = "" if self.stop else self._stops.finish()
        if self._calls is None:
            return [*parts, Words(rest)] if rest else parts
        return parts + self._mark(self._calls.feed(rest) + self._calls.finish())

    def _pass(self, text: str) -> list[Part]:
        certain, self.stop = self._stops.feed(text)
        self.done = self.stop is not None
        if self._calls is None:
            return [Words(certain)] if certain else []
        return self._mark(self._calls.feed(certain))

    def _mark(self, parts: list[Part]) -> list[Part]:
        for i, part in enumerate(parts):
            if isinstance(part, ToolCall):
                self.called = True
                if self._one_call:
                    self.done = True
                    return parts[: i + 1]
        return parts


class _ScoredFilter(_Filter):
    """The same, with log-probabilities."""

    def __init__(self, ask: ScoredAsk, backend: Backend, prompt: list[int]) -> None:
        super().__init__(ask, backend)
        self._scorer = Scorer(backend.text, prompt, ask, exact=self._calls is None)
        self._read = 0

    def token(self, token: Token) -> list[Part]:
        self._scorer.take(token, self._read)
        if token.finish == "stop":
            return []
        text = self._text.feed(token.id)
        self._read += len(text)
        return self._scorer.mark(self._pass(text))

    def finish(self) -> list[Part]:
        return self._scorer.mark(super().finish())

    def end(self, end: End) -> End:
        return self._scorer.end(end)


async def answer(
    runner: Runner, ask: Ask, prompt: list[int], default_tokens: int, seconds: float, salt: str = ""
) -> AsyncGenerator[list[Part], None]:
    """`Begun`, words and tool calls as they become certain, then `End`; parts that are there together come together.

    Args:
        runner: the engine's thread.
        ask: what the client wants.
        prompt: `ask.prompt(...)`.
        default_tokens: longest answer when the client does not say.
        seconds: deadline.
        salt: only requests with the same one share cached prompts.

    Raises:
        ServiceError: before `Begun` where it can be known; later only when the engine fails or the deadline passes.
    """
    backend = runner.need()
    room = backend.engine.max_context - len(prompt)
    if room < 1:
        raise too_long(len(prompt), backend.engine.max_context - 1)
    wanted = ask.max_tokens or default_tokens
    scored = ask if isinstance(ask, ScoredAsk) and ask.scored else None
    sampling = Sampling(
        max_tokens=min(wanted, room),
        temperature=ask.temperature,
        top_k=ask.top_k,
        top_p=ask.top_p,
        seed=ask.seed if ask.seed is not None else secrets.randbits(31),
        stop_ids=backend.text.stop_ids,
        grammar=ask.grammar,
        salt=salt,
        top_logprobs=scored.candidates if scored else 0,
        prompt_logprobs=scored is not None and scored.prompt_logprobs is not None,
    )
    filtered = _ScoredFilter(scored, backend, prompt) if scored else _Filter(ask, backend)
    made, finish, use, told = 0, None, CacheUse(), CacheUse()
    parts: list[Part] = []
    async with contextlib.aclosing(runner.tokens(prompt, sampling, seconds)) as batches:
        async for tokens in batches:
            for token in tokens:
                made, finish = made + 1, token.finish
                if made == 1:
                    use = token.cache or use
                    told = use if ask.cached else CacheUse()
                    parts.append(Begun(len(prompt), told.read, told.written))
                parts += filtered.token(token)
                if filtered.done:
                    break
            if filtered.done or finish is not None:
                break
            if parts:
                yield parts
                parts = []
    parts += filtered.finish()
    cut: Reason = "max_tokens" if wanted <= room else "model_context_window_exceeded"
    reason = _reason(ask, filtered, cut if finish == "length" else None)
    parts.append(filtered.end(End(reason, len(prompt), made, filtered.stop, told.read, told.written, use.read)))
    yield parts


def _reason(ask: Ask, filtered: _Filter, cut: Reason | None) -> Reason:
    if filtered.stop is not None:
        return "stop_sequence"
    if filtered.called and (filtered.done or cut is None):
        return "tool_use"
    return cut or ("malformed_tool_use" if ask.forced else "end_turn")
