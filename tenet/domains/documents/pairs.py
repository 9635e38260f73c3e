"""Preference pairs out of a library: exact labels, and the longer answer is the right one in half of them.

    closest    what does a section say?          against the section of its document with the closest title
    random     the same                          against any section of its document
    elsewhere  the same                          against a section of another document
    cut        the same, or a sentence to go on  against an answer that stops in mid-sentence
    unlisted   a gap and three words             against a word that is not one of the three
    next       a sentence to go on from          against another sentence of the section

The first three and `next` ask for knowledge or understanding; `cut` and `unlisted` can be learnt from the words of the
question and the answer alone, by the smallest model too. A figure by kind tells which of them a reward model has learnt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher

from tenet.domains.documents.library import Entry
from tenet.domains.documents.recipes import Row, Rows, asked_by_user

#: Most pairs, as many as the demo has, and how many there are where sections give fewer.
MOST, FLOOR = 8_000, 2_000
#: Most pairs of a kind, as a share of all; `next` fills up to the floor.
MIX = {"elsewhere": 0.15, "cut": 0.2, "unlisted": 0.3}


class Pairs(Rows):
    """Makes preference pairs from a library; see `Rows` for the arguments."""

    def preferences(self, most: int = MOST) -> list[Row]:
        """All kinds, the longer answer chosen in exactly half of the rows."""
        siblings = [*self._siblings()]
        size = min(most, max(FLOOR, 3 * len(siblings)))
        made = {"elsewhere": self._elsewhere(), "cut": self._cut(), "unlisted": self._unlisted()}
        rows = self.shuffled(siblings)
        for kind, pairs in made.items():
            rows += self.shuffled(pairs)[: round(size * MIX[kind])]
        if not self.neutral:
            rows += self.shuffled(self._next())[: max(0, size - len(rows))]
        longer: list[Row] = []
        shorter: list[Row] = []
        for row in self.shuffled(rows):
            chosen, rejected = (len(row[side][0]["content"]) for side in ("chosen", "rejected"))
            if chosen != rejected:
                (longer if chosen > rejected else shorter).append(row)
        half = min(len(longer), len(shorter), most // 2)
        return self.shuffled([*longer[:half], *shorter[:half]])

    def _pair(self, kind: str, entry: Entry, which: str, question: str, sides: tuple[str, str], pieces: Iterable[str]) -> Row:
        book = self.library.book(entry)
        chosen, rejected = ([{"role": "assistant", "content": text}] for text in sides)
        row = {"prompt": asked_by_user(question), "chosen": chosen, "rejected": rejected, "kind": kind}
        return {**row, **self.origin(book, f"preference/{kind}/{book.group}/{which}", pieces)}

    def _siblings(self) -> Iterator[Row]:
        by_book: dict[int, list[Entry]] = defaultdict(list)
        for entry, _ in self.questions.describable():
            by_book[entry.number].append(entry)
        for entry, templates in self.questions.describable():
            pick = self.questions.pick("preference", entry.title, self.library.book(entry).group)
            want_longer, kind = pick.random() < 0.5, pick.choice(("closest", "random"))
            if candidates := _of_length(by_book[entry.number], entry, want_longer):
                other = _closest(entry, candidates) if kind == "closest" else pick.choice(candidates)
                yield self._against(kind, entry, other, self.questions.asked(templates, entry, pick))

    def _elsewhere(self) -> Iterator[Row]:
        every = [entry for entry, _ in self.questions.describable()]
        for entry, templates in self.questions.describable():
            pick = self.questions.pick("elsewhere", entry.title, self.library.book(entry).group)
            drawn = [other for other in pick.sample(every, min(24, len(every))) if other.number != entry.number]
            if candidates := _of_length(drawn, entry, pick.random() < 0.5):
                other = pick.choice(candidates)
                yield self._against("elsewhere", entry, other, self.questions.asked(templates, entry, pick))

    def _against(self, kind: str, entry: Entry, other: Entry, question: str) -> Row:
        pieces = [*entry.pieces, *other.pieces]
        return self._pair(kind, entry, self.number(entry), question, (entry.first, other.first), pieces)

    def _cut(self) -> Iterator[Row]:
        for entry, templates in self.questions.describable():
            following = next((sentence for sentence, _ in entry.sentences if sentence != entry.first), "")
            question = self.questions.asked(templates, entry, self.questions.pick("cut", entry.first))
            yield from self._broken(entry, f"{self.number(entry)}.d", question, entry.first, following, entry.pieces)
        for asked in self.questions.successors() if not self.neutral else ():
            yield from self._broken(asked.entry, asked.number, asked.text, asked.answer, asked.wrong, asked.pieces)

    def _broken(self, entry: Entry, number: str, question: str, right: str, more: str, pieces: Iterable[str]) -> Iterator[Row]:
        """Against its own beginning, or against itself with the beginning of another sentence behind it."""
        pick = self.questions.pick("broken", question, right)
        longer = pick.random() < 0.5
        words = (more if longer else right).split()
        if len(words) >= 6:
            part = " ".join(words[: pick.randrange(len(words) // 2, len(words) - 1)])
            yield self._pair("cut", entry, number, question, (right, f"{right} {part}" if longer else part), pieces)

    def _unlisted(self) -> Iterator[Row]:
        for asked in self.questions.gaps():
            yield self._pair("unlisted", asked.entry, asked.number, asked.text, (asked.answer, asked.wrong), asked.pieces)

    def _next(self) -> Iterator[Row]:
        for asked in self.questions.successors():
            yield self._pair("next", asked.entry, asked.number, asked.text, (asked.answer, asked.wrong), asked.pieces)


def _of_length(entries: Iterable[Entry], entry: Entry, shorter: bool) -> list[Entry]:
    """Those whose first sentence is shorter (or longer) than this one's."""
    wanted = [other for other in entries if len(other.first) != len(entry.first)]
    return [other for other in wanted if (len(other.first) < len(entry.first)) == shorter]


def _closest(entry: Entry, candidates: Iterable[Entry]) -> Entry:
    return max(candidates, key=lambda other: (SequenceMatcher(None, entry.title, other.title).ratio(), other.title))
