"""From token ids, one at a time, to parts of an answer.

Three things must never reach a client: half a character (a byte-level token may end inside one), the beginning of a
stop sequence that the next token completes (`protocol.stop_finder`), and the raw text of a tool call. Each has a small
class that holds back what is not yet certain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightning_modules.data.chat import parse_tool_calls
from tenet.serving.protocol.chat_request import Part, ToolCall, Words

_UNKNOWN = "\ufffd"
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
#: Ids kept undecided at most. A character has at most four bytes, so a longer wait is for bytes that never become one.
_WINDOW = 64


class Detokenizer:
    """Ids to text without half characters.

    Two windows over the ids: decoding from an earlier id on keeps what a decoder does with the first token (some drop a
    space
        there).
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._known = 0  # ids at the front whose text has been given out; kept as context
        self._sent = 0  # characters of the undecided ids that have been given out

    def feed(self, token: int) -> str:
        """The text that this token makes certain."""
        self._ids.append(token)
        text = self._fresh()
        held = text.endswith(_UNKNOWN) and len(self._ids) - self._known < _WINDOW
        certain = text.rstrip(_UNKNOWN) if held else text
        new, self._sent = certain[self._sent :], max(self._sent, len(certain))
        if not held:
            self._ids, self._known, self._sent = self._ids[self._known :], len(self._ids) - self._known, 0
        return new

    def finish(self) -> str:
        """What was held back; no further token will complete it."""
        return self._fresh()[self._sent :]

    def _fresh(self) -> str:
        return self._decode(self._ids)[len(self._decode(self._ids[: self._known])) :]


def held_back(text: str, targets: Sequence[str]) -> int:
    """Length of the longest end of `text` that is a beginning of a target."""
    longest = min(len(text), max(map(len, targets), default=1) - 1)
    return next((n for n in range(longest, 0, -1) if any(target.startswith(text[-n:]) for target in targets)), 0)


class CallSplitter:
    """Text to words and tool calls.

    A call that is no valid JSON, or names a tool that was not offered, stays text: nothing that the model said is lost,
    and no client is asked to run what it does not have. White space around a call belongs to the format, not to the
    answer.
    """

    def __init__(self, names: Sequence[str], begun: str = "") -> None:
        """`begun` is the part of a call that was put into the model's mouth."""
        self._names = set(names)
        self._inside = begun.startswith(_OPEN)
        self._buffer = begun.removeprefix(_OPEN)
        self._after_call = False

    def feed(self, text: str) -> list[Part]:
        """Parts that are certain."""
        self._buffer += text
        parts: list[Part] = []
        while True:
            before, tag, rest = self._buffer.partition(_CLOSE if self._inside else _OPEN)
            if not tag:
                break
            parts += [self._call(before, _CLOSE)] if self._inside else self._words(before.rstrip())
            self._inside, self._buffer = not self._inside, rest
        if not self._inside:
            body = self._buffer
            keep = held_back(body, [_OPEN])
            keep += len(body[: len(body) - keep]) - len(body[: len(body) - keep].rstrip())
            parts += self._words(body[: len(body) - keep])
            self._buffer = body[len(body) - keep :]
        return parts

    def finish(self) -> list[Part]:
        """The rest: an unfinished call is a call if it is complete JSON, text otherwise."""
        rest, self._buffer = self._buffer, ""
        if self._inside:
            return [self._call(rest, "")]
        return [] if self._after_call and not rest.strip() else self._words(rest)

    def _words(self, text: str) -> list[Part]:
        text = text.lstrip() if self._after_call else text
        self._after_call = self._after_call and not text
        return [Words(text)] if text else []

    def _call(self, inner: str, close: str) -> Part:
        self._after_call = True
        _, calls = parse_tool_calls(f"{_OPEN}{inner}{close}")
        if len(calls) == 1 and calls[0]["name"] in self._names:
            return ToolCall(calls[0]["name"], calls[0]["arguments"])
        self._after_call = False
        return Words(f"{_OPEN}{inner}{close}")
