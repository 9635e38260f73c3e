"""One request to a model, whichever wire it came by: a place in the queue, the prompt, the guardrail, the answer, the
counts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

from lightning_modules.data.templates import ConversationError
from tenet.serving.access.quota import Quota
from tenet.serving.api.guarding.guard import Guard
from tenet.serving.engines.runner import Runner
from tenet.serving.engines.stream import answer
from tenet.serving.http.request import Call
from tenet.serving.protocol.chat_request import Ask, Begun, End, Part, Words
from tenet.serving.protocol.exceptions import ServiceError, too_long
from tenet.serving.protocol.limits import Limits

Encode = Callable[[Part, int], Iterator[bytes]]
#: More bytes of JSON than any token takes on the average of a prompt, escapes included.
_TOKEN_BYTES = 256
#: Shorter prompts are encoded where they are, but for tools, whose schemas are compiled: a thread costs more than the
#: tokenizer.
_SHORT_BYTES = 4096


class Answering:
    """Answers requests within the limits of the endpoint and of each key.

    Args:
        limits: bounds of one request.
        quota: bounds of one key.
        default_tokens: longest answer when the client does not say.
    """

    def __init__(self, limits: Limits, quota: Quota, default_tokens: int) -> None:
        self.limits, self.quota, self.default_tokens = limits, quota, default_tokens

    async def count(self, call: Call, runner: Runner, ask: Ask) -> int:
        """Tokens of the prompt; equals the usage of the same request."""
        return len(await self._prompt(call, runner, ask))

    async def collect(self, call: Call, runner: Runner, ask: Ask, guard: Guard | None = None) -> list[Part]:
        """The whole answer; its last part is `End`."""
        with self.quota.place(call.key), runner.place():
            made = self._parts(call, runner, ask, guard)
            async with contextlib.aclosing(made) as batches:
                parts: list[Part] = [part async for parts in batches for part in parts if not isinstance(part, Begun)]
                return guard.whole(parts) if guard else parts

    async def stream(
        self,
        call: Call,
        runner: Runner,
        ask: Ask,
        encode: Encode,
        headers: dict[str, str],
        failed: Callable[[ServiceError], bytes],
        guard: Guard | None = None,
    ) -> None:
        """Send an answer while it is made. An error before its first part is an ordinary response.

        Args:
            encode: a part and the milliseconds so far to bytes.
            headers: of the response.
            failed: an error to the stream's last bytes.
        """
        with self.quota.place(call.key), runner.place():
            async with contextlib.aclosing(self._parts(call, runner, ask, guard)) as batches:
                first = await anext(batches)
                call.begin(headers)
                try:
                    await call.body(_joined(encode, first, call.milliseconds), more=call.end is None)
                    async for parts in batches:
                        await call.body(_joined(encode, parts, call.milliseconds), more=call.end is None)
                except ServiceError as error:
                    call.code = error.code
                    await call.body(failed(error), more=False)

    # --- inside --------------------------------------------------------------------------------------------------------

    async def _prompt(self, call: Call, runner: Runner, ask: Ask) -> list[int]:
        """What cannot fit is refused before the tokenizer spends seconds on it; a long prompt is encoded off the event
        loop."""
        backend = runner.need()
        limit = backend.engine.max_context
        if call.body_bytes > limit * _TOKEN_BYTES:
            raise too_long(call.body_bytes // _TOKEN_BYTES, limit - 1)
        try:
            if call.body_bytes <= _SHORT_BYTES and not ask.tools:
                return ask.prompt(backend.text)
            return await asyncio.to_thread(ask.prompt, backend.text)
        except ConversationError as error:  # e.g. a model whose chat template takes no system prompt
            raise ServiceError("ValidationException", f"The model cannot take this conversation: {error}") from None

    async def _parts(self, call: Call, runner: Runner, ask: Ask, guard: Guard | None) -> AsyncGenerator[list[Part], None]:
        prompt = await self._prompt(call, runner, ask)
        if guard and guard.refuses("\n\n".join(ask.to_guard), sum(len(message["content"]) for message in ask.messages)):
            call.end = End("guardrail_intervened", len(prompt), 0)
            yield [Begun(len(prompt)), Words(guard.guardrail.blocked_input), call.end]
            return
        self.quota.charge(call.key, len(prompt))
        made = answer(runner, ask, prompt, self.default_tokens, self.limits.deadline_seconds, call.key)
        pieces = 0
        try:
            async with contextlib.aclosing(made) as batches:
                async for parts in guard.looked_through(batches) if guard else batches:
                    pieces += len(parts)
                    if isinstance(parts[0], Begun):
                        call.first = call.seconds
                    if isinstance(parts[-1], End):
                        call.end = parts[-1]
                    yield parts
        except ServiceError as error:
            if error.code == "ValidationException":  # refused, so nothing was computed
                self.quota.charge(call.key, -len(prompt))
            raise
        finally:
            # An answer that was broken off is counted by its pieces: leaving early must not be a way to pay nothing.
            self.quota.charge(call.key, call.end.output_tokens if call.end else guard.pieces if guard else pieces)


def _joined(encode: Encode, parts: Sequence[Part], now: int) -> bytes:
    """What is there together goes out together: a write costs more than what is written."""
    return b"".join([piece for part in parts for piece in encode(part, now)])
