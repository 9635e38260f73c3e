"""How the tests call the code that they test: two processes, a pair of sockets, a line of JSON for each question and each
answer.

The two share no memory. So the tested code can neither see what is expected of it nor change how it is compared, and nothing
that it does to itself (leaving early, patching `assert`) says anything of the tests.
"""

from __future__ import annotations

import builtins
import json
import socket
from collections.abc import Callable
from typing import Any

#: Bytes of one message; more is no answer to a test.
LONGEST = 64 << 20
Message = dict[str, Any]


class Left(BaseException):
    """The other side ended, or spoke as nobody of ours does. No `except Exception` of a test takes it for an answer."""


class Dialogue:
    """One end.

    Args:
        descriptor: of the socket.
        serve: answers a question of the other side.
    """

    def __init__(self, descriptor: int, serve: Callable[[Message], Message]) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.lines = self.socket.makefile("rb")
        self.serve = serve

    def ask(self, question: Message) -> Message:
        """The other side's answer; what it asks meanwhile is answered.

        Raises:
            Left: there is none.
        """
        self.send(question)
        while "ask" in (message := self.receive()):
            self.send(self.serve(message))
        return message

    def answer_all(self) -> None:
        """Answer until the other side has ended."""
        while True:
            self.send(self.serve(self.receive()))

    def send(self, message: Message) -> None:
        try:
            self.socket.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        except OSError:
            raise Left("it had ended") from None

    def receive(self) -> Message:
        try:
            line = self.lines.readline(LONGEST)
            message = json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise Left("it ended, or what it said cannot be read")
        return message


def told(error: BaseException, file: str) -> Message:
    """An exception as an answer: the nearest built-in kind, its words, and the last line of `file` that it passed."""
    kind = next(kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind)
    try:
        words = str(error)
    except Exception:
        words = ""
    line, trace = 0, error.__traceback__
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == file else line
        trace = trace.tb_next
    return {"raised": [kind, type(error).__name__, words[:1000], line]}


def again(raised: Any) -> BaseException:
    """The exception of such an answer, to be raised here: a built-in one, since nobody else's class is known here.

    Raises:
        Left: it is no answer of ours, or the program wanted to leave.
    """
    try:
        kind, name, words, line = raised
        found = getattr(builtins, kind)
        usual = isinstance(found, type) and issubclass(found, Exception)
    except (TypeError, ValueError, AttributeError):
        raise Left("it said something that cannot be read") from None
    if not usual:
        raise Left(f"it left by {name}")
    try:
        error: BaseException = found.__new__(found)
    except TypeError:
        error = Exception()
    error.args = (words,) if name == kind else (f"{name}: {words}",)
    error.raised_by_answer = (name, words, line)  # type: ignore[attr-defined]
    return error
