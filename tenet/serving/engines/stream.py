"""From an `Ask` to the parts of its answer: the engine's tokens through the text filters, with the reason why it
ended."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator

from lightning_modules.generation.protocol import CacheUse, Sampling
from tenet.serving.engines.runner import Backend, Runner
from tenet.serving.engines.stream_filters import CallSplitter, Detokenizer, StopFinder
from tenet.serving.protocol.chat_request import Ask, Begun, End, Part, Reason, ToolCall, Words
from tenet.serving.protocol.exceptions import too_long


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

    def token(self, token: int) -> list[Part]:
        """Parts that one more token makes certain."""
        return self._pass(self._text.feed(token))

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
    sampling = Sampling(
        max_tokens=min(wanted, room),
        temperature=ask.temperature,
        top_k=ask.top_k,
        top_p=ask.top_p,
        seed=ask.seed if ask.seed is not None else secrets.randbits(31),
        stop_ids=backend.text.stop_ids,
        grammar=ask.grammar,
        salt=salt,
    )
    filtered, made, finish, use, told = _Filter(ask, backend), 0, None, CacheUse(), CacheUse()
    parts: list[Part] = []
    async with contextlib.aclosing(runner.tokens(prompt, sampling, seconds)) as batches:
        async for tokens in batches:
            for token in tokens:
                made, finish = made + 1, token.finish
                if made == 1:
                    use = token.cache or use
                    told = use if ask.cached else CacheUse()
                    parts.append(Begun(len(prompt), told.read, told.written))
                if finish != "stop":
                    parts += filtered.token(token.id)
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
    parts.append(End(reason, len(prompt), made, filtered.stop, told.read, told.written, use.read))
    yield parts


def _reason(ask: Ask, filtered: _Filter, cut: Reason | None) -> Reason:
    if filtered.stop is not None:
        return "stop_sequence"
    if filtered.called and (filtered.done or cut is None):
        return "tool_use"
    return cut or ("malformed_tool_use" if ask.forced else "end_turn")
