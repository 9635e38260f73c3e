"""Questions that a library can answer, each with its right answer and the corpus documents that it stands in."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tenet.domains.documents import phrases
from tenet.domains.documents.library import Book, Entry, Library
from tenet.domains.documents.sentences import stop_words, words_of

#: Longest title in an answer, in characters.
TITLE = 70
#: Sentences of one section that get a question each, and words of one sentence that a gap takes in turn.
EACH, GAPS = 12, 3
#: Longest passage of a question, in characters: it has to fit the context of a small model.
PASSAGE = 480


class Question(NamedTuple):
    """One question.

    Args:
        number: of it in its document. wrong: another answer of the same shape, for kinds that have one.
        pieces: ids of the corpus documents that the answer, or the question, stands in.
    """

    entry: Entry
    number: str
    text: str
    answer: str
    pieces: list[str]
    wrong: str = ""


class Questions:
    """Finds questions in a library; every choice comes from the seed and the text, so that one more document changes
    no other document's questions.

    Args:
        library: the documents.
        seed: of every choice.
    """

    def __init__(self, library: Library, seed: int) -> None:
        self.library, self.seed = library, seed
        self.neutral = library.language != "en"
        self.numbers = {id(entry): f"{i:04}" for book in library.books for i, entry in enumerate(book.entries)}
        self.titles = Counter(entry.title.lower() for entry in library.entries)
        self.documents = Counter(book.title.lower() for book in library.books)
        self.terms = Counter(term.lower() for entry in library.entries for term, _, _ in entry.definitions)
        #: Words of each document that can be wrong ones, by (capital, length): like the right one in both.
        self.words = {book.group: _words(book) for book in library.books}

    def pick(self, *names: str) -> random.Random:
        """A generator of its own for each row."""
        return random.Random(" ".join([str(self.seed), *names]))

    def asked(self, templates: Sequence[str], entry: Entry, pick: random.Random, **words: str) -> str:
        """One of the wordings, filled."""
        return pick.choice(templates).format(title=entry.title, document=self.library.book(entry).title, **words)

    def describable(self) -> Iterator[tuple[Entry, Sequence[str]]]:
        """Sections whose first sentence answers a question, with its wordings."""
        for book in self.library.books:
            answered = [entry for entry in book.entries if entry.answer]
            for entry in answered:
                whole = entry.title.lower() in ("", book.title.lower())
                if self.neutral and (entry.title or entry is answered[0]):
                    yield entry, phrases.NEUTRAL_DESCRIBE[:1] if whole else phrases.NEUTRAL_DESCRIBE
                elif whole and entry is answered[0]:
                    yield entry, phrases.DOCUMENT[1:] if book.narrative else phrases.DOCUMENT
                elif entry.title and not whole:
                    yield entry, phrases.BEGIN if book.narrative or entry.generic else (*phrases.DESCRIBE, *phrases.BEGIN[:2])

    def definitions(self) -> Iterator[tuple[Entry, str, tuple[str, str, str]]]:
        """(section, number, (term, sentence, piece)), the first of each term in a section."""
        for entry in self.library.entries if not self.neutral else ():
            if self.library.book(entry).narrative:
                continue
            seen: set[str] = set()
            for n, found in enumerate(entry.definitions):
                if found[0].lower() not in seen:  # the first one is the definition, what follows says more
                    seen.add(found[0].lower())
                    yield entry, f"{self.numbers[id(entry)]}.{n}", found

    def titled(self) -> Iterator[Entry]:
        """Sections that a title names, in documents that have several."""
        for book in self.library.books:
            titled = [e for e in book.entries if e.title and e.title.lower() != book.title.lower() and len(e.title) <= TITLE]
            if len(titled) >= 2:
                yield from titled

    # --- the answer stands in the question: who can read needs to know nothing ----------------------------------------

    def sections(self) -> Iterator[Question]:
        """A sentence and three titles of its document: the one that it is from."""
        by_book: dict[int, list[Entry]] = {}
        for entry in self.titled():
            by_book.setdefault(entry.number, []).append(entry)
        for entries in by_book.values():
            for entry in entries if len(entries) >= 3 and not self.neutral else ():
                for n, (sentence, piece) in enumerate(_spread(_quotable(entry), EACH // 3)):
                    pick = self.pick("section", entry.title, sentence)
                    others = pick.sample([other for other in entries if other is not entry], 2)
                    titles = pick.sample([entry.title, *(other.title for other in others)], 3)
                    options = one_of([f'"{title}"' for title in titles])
                    text = self.asked(phrases.CHOOSE_SECTION, entry, pick, sentence=sentence, options=options)
                    yield Question(entry, f"{self.numbers[id(entry)]}.{n}", text, entry.title, [piece])

    def gaps(self) -> Iterator[Question]:
        """A sentence with a gap and three words of its document: the one that stood there. `wrong`: a fourth, longer or
        shorter one."""
        templates = phrases.NEUTRAL_WORD if self.neutral else phrases.CHOOSE_WORD
        for entry in self.library.entries:
            book = self.library.book(entry)
            # A word of the document's title would stand in the question.
            stop = stop_words(book.language) | set(words_of(book.title))
            for n, (sentence, piece) in enumerate(_spread(_quotable(entry), EACH)):
                pick, there = self.pick("word", sentence), words_of(sentence)
                known = sorted(
                    {w for w in _plain(sentence) if len(w) >= 5 and w.lower() not in stop and there.count(w.lower()) == 1}
                )
                for m, word in enumerate(pick.sample(known, min(GAPS, len(known)))):
                    alike = [other for other in self._alike(word, book, pick) if other.lower() not in there][:2]
                    fourth = [
                        other
                        for other in self._of_capital(word, book)
                        if len(other) != len(word) and other.lower() not in there and other not in alike
                    ]
                    if len(alike) < 2 or not fourth:
                        continue
                    # Between quotation marks a word has the tokens that it has as an answer.
                    options = [f'"{option}"' for option in pick.sample([word, *alike], 3)]
                    named = ", ".join(options) if self.neutral else one_of(options)
                    text = self.asked(templates, entry, pick, sentence=sentence.replace(word, phrases.GAP, 1), options=named)
                    yield Question(entry, f"{self.numbers[id(entry)]}.{n}.{m}", text, word, [piece], pick.choice(fourth))

    def _alike(self, word: str, book: Book, pick: random.Random) -> list[str]:
        """Some words of the document's, with the capital and, where there are enough, the length of this one."""
        alike = self.words[book.group].get(_shape(word), [])
        alike = alike if len(alike) > 8 else self._of_capital(word, book)
        return pick.sample(alike, min(12, len(alike)))

    def _of_capital(self, word: str, book: Book) -> list[str]:
        return [other for (capital, _), some in self.words[book.group].items() if capital == word[0].isupper() for other in some]

    def terms_defined(self) -> Iterator[Question]:
        """A sentence that defines something: what."""
        for entry, number, (term, sentence, piece) in self.definitions():
            if '"' not in sentence:
                text = self.asked(phrases.DEFINED_TERM, entry, self.pick("term", sentence), sentence=sentence)
                yield Question(entry, number, text, term, [piece])

    def passages(self) -> Iterator[Question]:
        """Two or three sentences and a word that stands in one of them alone: that sentence. `wrong`: another one."""
        for entry in self.library.entries if not self.neutral else ():
            found, stop = entry.sentences, stop_words(self.library.book(entry).language)
            for i in _spread(range(len(found) - 1), EACH):
                pick = self.pick("read", found[i][0])
                part = found[i : i + pick.choice((2, 3))]
                if any('"' in sentence for sentence, _ in part) or sum(len(sentence) for sentence, _ in part) > PASSAGE:
                    continue
                j = pick.randrange(len(part))
                others = {word for k, (sentence, _) in enumerate(part) if k != j for word in words_of(sentence)}
                known = sorted(
                    {w for w in _plain(part[j][0]) if len(w) >= 5 and w.lower() not in stop and w.lower() not in others}
                )
                if known:
                    passage = " ".join(sentence for sentence, _ in part)
                    text = self.asked(phrases.READ, entry, pick, passage=passage, word=pick.choice(known))
                    wrong = part[j - 1][0]
                    yield Question(entry, f"{self.numbers[id(entry)]}.{i}", text, part[j][0], [piece for _, piece in part], wrong)

    # --- the answer stands in the document alone ----------------------------------------------------------------------

    def successors(self) -> Iterator[Question]:
        """A sentence: the one behind it. `wrong`: another one of the same section."""
        for entry in self.library.entries:
            found, text = entry.sentences, entry.section.text
            pairs = _spread(range(len(found) - 1), 4 * EACH)
            follows = [i for i in pairs if '"' not in found[i][0] and f"{found[i][0]} {found[i + 1][0]}" in text]
            for i in _spread(follows, EACH):
                pick = self.pick("next", found[i][0])
                far = [j for j in range(len(found)) if abs(j - i) > 1]
                if far:
                    question = self.asked(phrases.NEXT, entry, pick, sentence=found[i][0])
                    pieces = [found[k][1] for k in (i, i + 1)]
                    wrong = found[pick.choice(far)][0]
                    yield Question(entry, f"{self.numbers[id(entry)]}.{i}", question, found[i + 1][0], pieces, wrong)


def one_of(options: Sequence[str]) -> str:
    """ "a, b or c"."""
    return f"{', '.join(options[:-1])} or {options[-1]}"


def _words(book: Book) -> dict[tuple[bool, int], list[str]]:
    stop = stop_words(book.language)
    found: dict[tuple[bool, int], set[str]] = {}
    for entry in book.entries:
        for sentence, _ in entry.sentences:
            for word in _plain(sentence):
                if len(word) >= 5 and word.lower() not in stop:
                    found.setdefault(_shape(word), set()).add(word)
    return {shape: sorted(words) for shape, words in found.items()}


def _quotable(entry: Entry) -> list[tuple[str, str]]:
    return [(sentence, piece) for sentence, piece in entry.sentences if '"' not in sentence and len(sentence) >= 40]


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of them, evenly over all."""
    return [items[i * len(items) // most] for i in range(most)] if len(items) > most else list(items)


def _plain(sentence: str) -> list[str]:
    """Words of letters alone."""
    return [word.strip(".,;:!?()[]'’“”") for word in sentence.split() if word.strip(".,;:!?()[]'’“”").isalpha()]


def _shape(word: str) -> tuple[bool, int]:
    return word[0].isupper(), min(len(word), 9)
