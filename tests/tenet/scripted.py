"""An endpoint whose answers a function writes: an oracle, a parrot, or whatever a test needs in a model's place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightning_modules.generation.protocol import Sampling
from tenet.serving.engines.echo import TURN, ByteText, EchoEngine
from tenet.serving.engines.runner import Backend
from tenet.serving.server.server import LocalServer
from tenet.settings.serving import ServeConfig


class ScriptedEngine(EchoEngine):
    """Answers what `say` makes of the last turn."""

    def __init__(self, say: Callable[[str], str]) -> None:
        super().__init__(max_context=16384)
        self.say = say

    def submit(self, prompt: Sequence[int], sampling: Sampling) -> int:
        pieces: list[bytes] = [b""]
        for i in prompt:
            if i == TURN:
                pieces.append(b"")
            else:
                pieces[-1] += bytes([i])
        asked = pieces[-2].decode().partition("\n")[2]
        return super().submit([TURN, *b"user\n", *self.say(asked).encode(), TURN, *b"assistant\n"], sampling)


def scripted_server(say: Callable[[str], str]) -> LocalServer:
    """The endpoint, to be entered with `with`."""
    return LocalServer(lambda: Backend(ScriptedEngine(say), ByteText()), ServeConfig())
