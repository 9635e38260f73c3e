"""An engine without a model.

It answers with the words of the last turn. For tests of the wire and load tests of the gateway; needs no torch. It is
certain of every token, of the prompt's, too: log-probability 0.0, and no other candidates.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_modules.generation.protocol import Finish, Sampling, Scores, Token
from tenet.serving.protocol.chat_request import Message

TURN, END = 256, 257


class ByteText:
    """A text layer whose tokens are the bytes of UTF-8, so that tokens end inside characters where the text is not
    English."""

    stop_ids: tuple[int, ...] = (END,)
    vocab_size = END + 1

    def prompt(self, messages: Sequence[Message], tools: Sequence[Message] | None = None, prefill: str = "") -> list[int]:
        """Each turn is a mark, the role, a line feed and the content."""
        turns = [{"role": "tools", "content": json.dumps(list(tools))}] if tools else []
        ids: list[int] = []
        for message in [*turns, *messages]:
            ids += [TURN, *f"{message['role']}\n{message['content']}".encode()]
        return [*ids, TURN, *f"assistant\n{prefill}".encode()]

    def encode(self, text: str) -> list[int]:
        """Bytes."""
        return list(text.encode())

    raw = encode  # no text of it is a special token

    def piece(self, token: int) -> bytes:
        """Its byte; marks have none."""
        return bytes([token]) if token < TURN else b""

    def decode(self, ids: Sequence[int]) -> str:
        """Text; half characters become U+FFFD, marks are left out."""
        return bytes(i for i in ids if i < TURN).decode(errors="replace")


@dataclass
class _Running:
    number: int
    answer: list[int]
    sampling: Sampling
    made: int = 0
    prompt: Sequence[int] = ()
    scored: bool = False

    def scores(self, token: int) -> Scores:
        """What was asked beside the token."""
        certain = self.sampling.top_logprobs > 0
        top = ((token, 0.0),) if certain else ()
        if self.made > 1 or not self.sampling.prompt_logprobs:
            return Scores(top)
        tops = tuple(((one, 0.0),) for one in self.prompt[1:]) if certain else ()
        return Scores(top, (0.0,) * (len(self.prompt) - 1), tops)


class EchoEngine:
    """See `lightning_modules.generation.protocol.Engine`.

    Args:
        max_slots: requests answered at once.
        max_context: prompt and answer together, in tokens.
        step_seconds: how long a step takes, to test what happens in the middle of an answer.
    """

    def __init__(self, max_slots: int = 16, max_context: int = 4096, step_seconds: float = 0.0) -> None:
        self.max_slots, self.max_context, self.step_seconds = max_slots, max_context, step_seconds
        self.cancelled: list[int] = []
        self.steps = 0
        self._requests: list[_Running] = []
        self._next = 0

    def submit(self, prompt: Sequence[int], sampling: Sampling) -> int:
        """The answer is the content of the last turn before the assistant's, then the end mark."""
        turns = "".join(chr(i) for i in prompt).split(chr(TURN))
        content = turns[-2].partition("\n")[2] if len(turns) > 2 else turns[0]
        self._next += 1
        scored = sampling.top_logprobs > 0 or sampling.prompt_logprobs
        self._requests.append(_Running(self._next, [*map(ord, content), END], sampling, prompt=prompt, scored=scored))
        return self._next

    def cancel(self, request: int) -> None:
        """Forget a request."""
        self.cancelled.append(request)
        self._requests = [r for r in self._requests if r.number != request]

    def step(self) -> list[Token]:
        """One token for each of the first `max_slots` requests."""
        if self.step_seconds:  # a sleep of nothing costs more than the step
            time.sleep(self.step_seconds)
        self.steps += 1
        tokens = []
        for request in self._requests[: self.max_slots]:
            token = request.answer[request.made]
            request.made += 1
            finish: Finish | None = "stop" if token in request.sampling.stop_ids else None
            if finish is None and request.made >= request.sampling.max_tokens:
                finish = "length"
            scores = request.scores(token) if request.scored else None
            tokens.append(Token(request.number, token, 0.0, finish, None, "", scores))
        ended = {token.request for token in tokens if token.finish}
        self._requests = [r for r in self._requests if r.number not in ended]
        return tokens

    @property
    def idle(self) -> bool:
        """True when nothing runs and nothing waits."""
        return not self._requests

    def check(self) -> None:
        """Nothing outside of this object can fail."""

    def close(self) -> None:
        """Nothing to give back."""
