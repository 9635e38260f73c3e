"""A guardrail on one text that may still grow: what of it may leave, and what was found.

A stream is looked through while it is made. Held back is only what an expression could still match: where its match
touches the end, and where a match has begun (the `regex` module's partial matches). A match counts once another
character follows it, or the text has ended.
"""

from __future__ import annotations

import time
from typing import Any

from tenet.serving.api.guardrails import Expression, Guardrail

#: An expression of the file may be slow on a hostile text: CPU seconds for one search, and for all slow looks at a text.
_SEARCH_SECONDS, _TEXT_SECONDS = 0.25, 1.0
#: A look that takes longer is slow (a long answer has thousands of quick ones), and what is left when all is used up.
_SLOW_SECONDS, _LAST_SECONDS = 0.005, 0.005
Span = tuple[int, int, str]


class Scan:
    """One text.

    Args:
        guardrail: what to look for.
        later: the text leaves at once and is looked through besides, so that nothing in it can be masked.

    Attributes:
        text: as it was given.
        blocked: it must not go on.
        words, topics: that were found, in the order of the file.
        expressions: name -> entry of the assessment.
    """

    def __init__(self, guardrail: Guardrail, later: bool = False) -> None:
        self.guardrail, self._later = guardrail, later
        self.text, self.blocked = "", False
        self.words: list[str] = []
        self.topics: list[str] = []
        self.expressions: dict[str, dict[str, Any]] = {}
        self.seconds = 0.0
        self._left = 0  # characters that are judged
        self._slow = 0.0  # CPU seconds of slow looks

    @property
    def intervened(self) -> bool:
        """Something was blocked or masked."""
        return self.blocked or any(entry["action"] != "NONE" for entry in self.expressions.values())

    def feed(self, text: str) -> str:
        """More of the text; returns what may leave now."""
        self.text += text
        return self._look(final=False) if not self._later else self._besides(text)

    def finish(self) -> str:
        """The text has ended; returns what was held back."""
        return self._look(final=True) if not self._later else self._besides("", final=True)

    def _besides(self, text: str, final: bool = False) -> str:
        self._look(final)
        return "" if self.blocked else text

    def _look(self, final: bool) -> str:
        start, cpu = time.perf_counter(), time.thread_time()
        hold, masks = len(self.text), list[Span]()
        if self.guardrail.phrases is not None:
            hold = self._phrases(hold, final)
        for expression in self.guardrail.expressions:
            hold = self._expression(expression, masks, hold, final)
        self.seconds += time.perf_counter() - start
        used = time.thread_time() - cpu
        self._slow += used if used > _SLOW_SECONDS else 0.0
        if self.blocked:
            return ""
        hold = _whole(masks, hold)
        out = _masked(self.text, self._left, hold, masks)
        self._left = hold
        return out

    def _phrases(self, hold: int, final: bool) -> int:
        """Words and topics, all at once; which of them is asked only where there is one."""
        found, hold = self._matches(self.guardrail.phrases, hold, final, None)  # whole words: nothing to be slow at
        if found:
            for names, phrases in ((self.words, self.guardrail.words), (self.topics, self.guardrail.topics)):
                for name, pattern in phrases:
                    match = pattern.search(self.text, self._left)
                    if name not in names and match and (final or match.end() < len(self.text)):
                        names.append(name)
            self.blocked = True
        return hold

    def _expression(self, expression: Expression, masks: list[Span], hold: int, final: bool) -> int:
        blocks = expression.blocks
        try:
            found, hold = self._matches(expression.pattern, hold, final, self._time())
            shown = self.text[slice(*found[0])] if found else ""
        except TimeoutError:
            found, shown, blocks = [(self._left, self._left)], "", True
        if not found:
            return hold
        self.blocked = self.blocked or blocks
        action = "BLOCKED" if blocks else "NONE" if self._later else "ANONYMIZED"
        entry = {"name": expression.name, "match": shown, "regex": expression.source, "action": action, "detected": True}
        self.expressions.setdefault(expression.name, entry)
        if not blocks and not self._later:
            masks += [(*span, expression.name) for span in found if span[0] < span[1]]
        return hold

    def _matches(self, pattern: Any, hold: int, final: bool, seconds: float | None) -> tuple[list[tuple[int, int]], int]:
        """Matches that nothing can change any more, and from where on one could still come.

        Raises:
            TimeoutError: after so many seconds.
        """
        found, at, end = list[tuple[int, int]](), self._left, len(self.text)
        for match in pattern.finditer(self.text, at, timeout=seconds):
            if not final and (match.end() == end or self.text[match.end() :] == "\n"):  # `$` stands before a last line feed too
                return found, min(hold, match.start())
            found.append(match.span())
            at = match.end()
        if not final and (begun := pattern.search(self.text, at, partial=True, timeout=seconds)) and begun.partial:
            hold = min(hold, begun.start())
        return found, hold

    def _time(self) -> float:
        """Seconds for the next search."""
        return max(min(_SEARCH_SECONDS, _TEXT_SECONDS - self._slow), _LAST_SECONDS)


def scanned(guardrail: Guardrail, text: str) -> tuple[Scan, str]:
    """A whole text: what was found, and the text with what is masked replaced by `{name}`."""
    scan = Scan(guardrail)
    scan.text = text
    return scan, scan.finish()


def _whole(masks: list[Span], hold: int) -> int:
    """The place to cut, moved before any match that it would cut through."""
    while cut := [start for start, end, _ in masks if start < hold < end]:
        hold = min(cut)
    return hold


def _masked(text: str, start: int, end: int, masks: list[Span]) -> str:
    """A piece of the text; matches that overlap are one, under the name of the first."""
    pieces, at = [], start
    for first, last, name in sorted(mask for mask in masks if mask[0] < end):
        if first >= at:
            pieces += [text[at:first], f"{{{name}}}"]
        at = max(at, last)
    return "".join([*pieces, text[at:end]])
