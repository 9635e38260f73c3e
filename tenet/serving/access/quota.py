"""How much one key may use: requests at once, and tokens in a minute.

A bucket of tokens for each key that fills up within a minute. A request is let in while there is anything in it; its
prompt is taken out when it is known and its answer when it was made, so a key can owe at most what its running requests
write.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tenet.serving.protocol.exceptions import ServiceError

_MINUTE = 60.0


@dataclass
class _Use:
    level: float
    at: float
    open: int = 0


class Quota:
    """Limits of each key.

    Args:
        requests: open at once; 0 is no limit.
        tokens: of prompts and answers in a minute; 0 is no limit.
        clock: seconds.
    """

    def __init__(self, requests: int = 0, tokens: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.requests, self.tokens, self._clock = requests, tokens, clock
        self._uses: dict[str, _Use] = {}

    @contextlib.contextmanager
    def place(self, key: str) -> Iterator[None]:
        """A place for one request of this key, for as long as the block runs.

        Raises:
            ServiceError: ThrottlingException, with the time after which it makes sense to try again.
        """
        use = self._filled(key)
        if self.requests and use.open >= self.requests:
            raise ServiceError("ThrottlingException", f"Too many requests: this key may have {self.requests} open at once.")
        if self.tokens and use.level <= 0:
            wait = (1 - use.level) * _MINUTE / self.tokens
            raise ServiceError(
                "ThrottlingException",
                f"Too many tokens, please wait before trying again: this key may use {self.tokens} a minute.",
                retry_ms=max(1, round(wait * 1000)),
            )
        use.open += 1
        try:
            yield
        finally:
            use.open -= 1

    def charge(self, key: str, tokens: int) -> None:
        """Take tokens out."""
        if self.tokens:
            self._filled(key).level -= tokens

    def _filled(self, key: str) -> _Use:
        now = self._clock()
        use = self._uses.setdefault(key, _Use(float(self.tokens), now))
        use.level = min(float(self.tokens), use.level + (now - use.at) * self.tokens / _MINUTE)
        use.at = now
        return use
