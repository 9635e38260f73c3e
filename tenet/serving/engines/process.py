"""An engine in a process of its own: a crash, a kill or a leak there never takes the gateway with it.

The gateway's side is an ordinary `Engine`; when the process is gone it raises `EngineDied`, and `engine.Runner` ends
the open requests with an error and starts another. Small messages go over one pipe: commands in, the tokens of a step
out together. The gateway's process then needs no torch. When the gateway dies, the pipe closes and the engine's process
ends by itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from lightning_modules.generation.protocol import Engine, Refused, Sampling, Token

#: How long a step waits for tokens, in seconds, where nobody calls `wake`.
_PATIENCE = 0.5
_END_SECONDS = 5.0


class EngineDied(RuntimeError):
    """The engine's process is gone."""


class ProcessEngine:
    """See `protocol.Engine`. The constructor returns when the weights are loaded.

    Args:
        make: builds the engine there; must be picklable, e.g. a `functools.partial` of a module's function.

    Raises:
        EngineDied: the process ended while it loaded.
        RuntimeError: the engine could not be made; carries the message from there.
    """

    def __init__(self, make: Callable[[], Engine]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, make), name="tenet-engine", daemon=True)
        self.process.start()
        theirs.close()  # or this end would never learn that the other one is gone
        self._bell, self._rope = context.Pipe(duplex=False)
        self._rung = False
        self._open: set[int] = set()
        self._next = 0
        kind, value = self._receive()
        if kind == "failed":
            self.close()
            raise RuntimeError(value)
        self.max_context: int = value

    def submit(self, prompt: Sequence[int], sampling: Sampling) -> int:
        """Queue a prompt. What the engine refuses comes back as a token that failed, with the reason."""
        self._next += 1
        self._send(("submit", self._next, list(prompt), sampling))
        self._open.add(self._next)
        return self._next

    def cancel(self, request: int) -> None:
        """Forget a request; it makes no further token after the step that is running."""
        if request in self._open:
            self._open.discard(request)
            self._send(("cancel", request))

    def step(self) -> list[Token]:
        """What has been made since the last call; waits for it, unless `wake` says that there is something else to
        do."""
        tokens: list[Token] = []
        ready = self._ready()
        if self._bell in ready:
            self._bell.recv_bytes()
            self._rung = False
        if self._pipe in ready:
            _, batch = self._receive()
            tokens = [token for token in batch if token.request in self._open]
            self._open -= {token.request for token in tokens if token.finish}
        return tokens

    def wake(self) -> None:
        """End a `step` that waits; the one method for other threads. Looking every few milliseconds would cost more
        than all tokens."""
        if not self._rung:
            self._rung = True
            with contextlib.suppress(OSError):  # closed
                self._rope.send_bytes(b"!")

    @property
    def idle(self) -> bool:
        """True when nothing runs and nothing waits."""
        return not self._open

    def check(self) -> None:
        """See `protocol.Engine`."""
        if not self.process.is_alive():
            raise EngineDied(f"the engine's process ended with code {self.process.exitcode}")

    def close(self) -> None:
        """End the process; it holds nothing that would be worth a goodbye."""
        for end in (self._pipe, self._bell, self._rope):
            end.close()
        self.process.kill()
        self.process.join()

    def _ready(self) -> list[Any]:
        try:
            return wait([self._pipe, self._bell], _PATIENCE)
        except (OSError, ValueError) as error:  # gone, or closed
            raise EngineDied(str(error)) from error

    def _receive(self) -> tuple[str, Any]:
        try:
            message: tuple[str, Any] = self._pipe.recv()
            return message
        except (EOFError, OSError) as error:
            self.process.join(_END_SECONDS)
            raise EngineDied(f"the engine's process ended with code {self.process.exitcode}") from error

    def _send(self, message: tuple[Any, ...]) -> None:
        try:
            self._pipe.send(message)
        except OSError as error:
            raise EngineDied(str(error)) from error


def _serve(pipe: Connection, make: Callable[[], Engine]) -> None:
    """The engine's process."""
    # Signals of a terminal or a service manager reach the whole group; the gateway drains first and then closes the
    # pipe.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):  # the gateway is gone
        try:
            engine = make()
        except Exception as error:  # whatever it is belongs on the other side's screen
            pipe.send(("failed", f"{type(error).__name__}: {error}"))
            return
        pipe.send(("ready", engine.max_context))
        theirs: dict[int, int] = {}  # number over there -> number here
        ours: dict[int, int] = {}
        while True:
            refused: list[Token] = []
            while pipe.poll(None if engine.idle and not refused else 0):
                kind, number, *rest = pipe.recv()
                if kind == "submit":
                    try:
                        here = engine.submit(*rest)
                    except Refused as error:
                        refused.append(Token(number, -1, 0.0, "failed", error=str(error)))
                        continue
                    theirs[number], ours[here] = here, number
                elif number in theirs:
                    here = theirs.pop(number)
                    del ours[here]
                    engine.cancel(here)
            tokens = refused + [_renamed(token, ours[token.request]) for token in engine.step()]
            for token in tokens:
                if token.finish and token.request in theirs:
                    del ours[theirs.pop(token.request)]
            if tokens:
                pipe.send(("tokens", tokens))


def _renamed(token: Token, number: int) -> Token:
    return Token(number, token.id, token.logprob, token.finish, token.cache, token.error, token.scores)
