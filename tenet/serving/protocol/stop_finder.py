"""Stop sequences in a text that comes in pieces, however many there are.

One automaton for all of them (Aho and Corasick, 1975, Efficient string matching): each character is one step, and the
depth of the state is how much of the end may be a beginning of a stop sequence.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Sequence


class _Automaton:
    """The trie of all stop sequences, with where to go on when a character does not fit.

    Attributes:
        steps: state -> character -> state.
        fail: state -> that of the longest end of its text which is a beginning too.
        depth: state -> characters that it stands for.
        stop: state -> the longest stop sequence that its text ends with; empty where there is none.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.steps: list[dict[str, int]] = [{}]
        self.depth, self.stop, self.fail = [0], [""], [0]
        for word in stops:
            self._add(word)
        queue = deque(self.steps[0].values())
        while queue:  # states nearer to the root first: a fail state is always done before
            state = queue.popleft()
            for letter, following in self.steps[state].items():
                queue.append(following)
                self.fail[following] = self.step(self.fail[state], letter)
                self.stop[following] = self.stop[following] or self.stop[self.fail[following]]

    def _add(self, word: str) -> None:
        state = 0
        for letter in word:
            if letter not in self.steps[state]:
                self.steps[state][letter] = len(self.steps)
                self.steps.append({})
                self.depth.append(self.depth[state] + 1)
                self.stop.append("")
                self.fail.append(0)
            state = self.steps[state][letter]
        self.stop[state] = word

    def step(self, state: int, letter: str) -> int:
        """The state after one more character."""
        while state and letter not in self.steps[state]:
            state = self.fail[state]
        return self.steps[state].get(letter, 0)


@functools.lru_cache(maxsize=32)
def _automaton(stops: tuple[str, ...]) -> _Automaton:
    """Clients send the same stop sequences again and again."""
    return _Automaton(stops)


class StopFinder:
    """Text up to the first stop sequence that is complete, matched across token borders."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._automaton = _automaton(tuple(stops)) if stops else None
        self._state = 0
        self._held = ""

    def feed(self, text: str) -> tuple[str, str | None]:
        """Text that is certain, and the stop sequence once it is met (its text is not given out)."""
        automaton = self._automaton
        if automaton is None:
            return text, None
        state, found = self._state, automaton.stop
        for at, letter in enumerate(text):
            state = automaton.step(state, letter)
            if found[state]:
                whole = self._held + text[: at + 1]
                self._held, self._state = "", 0
                return whole[: len(whole) - len(found[state])], found[state]
        whole, keep = self._held + text, automaton.depth[state]
        self._state, self._held = state, whole[len(whole) - keep :]
        return whole[: len(whole) - keep], None

    def finish(self) -> str:
        """What was held back."""
        return self._held
