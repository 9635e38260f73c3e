"""Rows out of a library: conversations, preference pairs and prompts with an exact verifier, all true by construction.

    describe   what does a section say?          its first sentence
    define     what is a term?                   the sentence that defines it
    where      which section mentions a term?    its title; the term stands in no other section of the document      exact
    which      which document has a section?     its title; no other document has a section of that name             exact
    section    a sentence and three titles       the section that it is from                                         exact
    word       a sentence with a gap, 3 words    the missing one                                                     exact
    term       a sentence that defines           what it defines                                                     exact
    next       a sentence                        the one behind it
    example    show the example of a section     its code
    cell       a table, a row, a column          the cell                                                            exact
    turns      define, then: which section?      its title                                                           exact
    identity   who are you?                      the persona

Each row names its `group` (what is held out together) and the `documents` (pieces of it) that its texts stand in.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from tenet.domains.documents import phrases
from tenet.domains.documents.library import Book, Entry, Library, order_key
from tenet.domains.documents.sentences import stop_words, words_of

Row = dict[str, Any]
#: Most rows of a kind, as a share of all conversations. Kinds of one sentence fill up what sections do not give.
MIX = {
    "describe": 0.28, "define": 0.1, "where": 0.13, "which": 0.07, "section": 0.12, "word": 0.12, "term": 0.05, "example": 0.03,
    "cell": 0.03, "turns": 0.05, "identity": 0.02,
}  # fmt: skip
#: Most rows in all, as many as the demo has.
MOST = {"conversations": 12_000, "preferences": 8_000, "prompts": 6_000}
#: Rows that sentences are used for where sections give fewer.
FLOOR = {"conversations": 4_000, "preferences": 2_000, "prompts": 2_000}
#: Shortest and longest code block, and longest cell, that are answers, in characters.
CODE, CELL = (12, 300), 100
#: Longest title in an answer.
TITLE = 70
#: Sentences of one section that get a gap, a question or a successor.
EACH = 6


@dataclass(frozen=True)
class Persona:
    """Who the assistant says it is, and what it says it knows."""

    name: str
    about: str


class Recipes:
    """Makes rows from a library.

    Args:
        library: the documents.
        persona: for rows about the assistant.
        seed: of every choice.
        licence: of documents that do not say their own.
    """

    def __init__(self, library: Library, persona: Persona, seed: int, licence: str) -> None:
        self.library, self.persona, self.seed, self.licence = library, persona, seed, licence
        self.neutral = library.language != "en"
        self.numbers = {id(entry): f"{i:04}" for book in library.books for i, entry in enumerate(book.entries)}
        self.titles = Counter(entry.title.lower() for entry in library.entries)
        self.documents = Counter(book.title.lower() for book in library.books)
        self.terms = Counter(term.lower() for entry in library.entries for term, _, _ in entry.definitions)
        #: Words of each document that can be wrong ones, by (capital, length): like the right one in both.
        self.words = [self._words(book) for book in library.books]

    # --- conversations ------------------------------------------------------------------------------------------------

    def conversations(self, most: int = MOST["conversations"]) -> list[Row]:
        """All kinds in their shares; where sections give little, sentences make up for it."""
        makers: dict[str, Callable[[], Iterable[Row]]] = {
            "describe": self._describe, "define": self._define, "where": self._where, "which": self._which, "section": self._section,
            "word": self._word, "term": self._term, "example": self._example, "cell": self._cell, "turns": self._turns,
            "identity": self._identity,
        }  # fmt: skip
        rows: list[Row] = []
        spare: list[Row] = []
        for kind, maker in makers.items():
            made = self._shuffled(maker())
            room = round(most * MIX[kind])
            rows += made[:room]
            spare += made[room:] if kind == "word" else []
        if not self.neutral:
            spare = self._shuffled([*spare, *self._next()])
        rows += spare[: max(0, min(FLOOR["conversations"], most) - len(rows))]
        return self._shuffled(rows)

    def _shuffled(self, rows: Iterable[Row]) -> list[Row]:
        return sorted(rows, key=lambda row: order_key(self.seed, row["id"]))

    def _row(self, kind: str, entry: Entry, which: str, messages: list[Row], pieces: Iterable[str], exact: bool = False) -> Row:
        book = self.library.book(entry)
        row: Row = {"messages": messages, "kind": kind, **({"exact": True} if exact else {})}
        return {**row, **self._origin(book, f"{kind}/{book.group}/{which}", pieces)}

    def _origin(self, book: Book, name: str, pieces: Iterable[str]) -> Row:
        licence = book.metadata.get("licence", "unknown")
        return {
            "id": name,
            "group": book.group,
            "documents": sorted(set(pieces)),
            "source": book.metadata.get("source", ""),
            "licence": self.licence if licence in ("", "unknown") and self.licence else licence,
        }

    def _pick(self, *names: str) -> random.Random:
        return random.Random(" ".join([str(self.seed), *names]))

    def _asked(self, templates: Sequence[str], entry: Entry, pick: random.Random, **words: str) -> str:
        return pick.choice(templates).format(title=entry.title, document=self.library.book(entry).title, **words)

    def _describable(self) -> Iterator[tuple[Entry, Sequence[str]]]:
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

    def _describe(self) -> Iterator[Row]:
        for entry, templates in self._describable():
            pick = self._pick("describe", entry.title, self.library.book(entry).group)
            template = pick.choice(templates)
            answer = entry.first if template in phrases.BEGIN else entry.answer  # "the first sentence" is one
            question = self._asked([template], entry, pick)
            yield self._row("describe", entry, self.numbers[id(entry)], exchange(question, answer), entry.pieces)

    def _define(self) -> Iterator[Row]:
        for entry, number, (term, sentence, piece) in self._definitions():
            templates = phrases.DEFINE if self.terms[term.lower()] == 1 else [t for t in phrases.DEFINE if "{document}" in t]
            question = self._asked(templates, entry, self._pick("define", term, sentence), term=_inside(term, sentence))
            yield self._row("define", entry, number, exchange(question, sentence), [piece])

    def _definitions(self) -> Iterator[tuple[Entry, str, tuple[str, str, str]]]:
        for entry in self.library.entries if not self.neutral else ():
            if self.library.book(entry).narrative:
                continue
            seen: set[str] = set()
            for n, found in enumerate(entry.definitions):
                if found[0].lower() not in seen:  # the first one is the definition, what follows says more
                    seen.add(found[0].lower())
                    yield entry, f"{self.numbers[id(entry)]}.{n}", found

    def _where(self) -> Iterator[Row]:
        for entry in self._titled():
            for n, term in enumerate(entry.terms[:3] if not self.neutral else ()):
                question = self._asked(phrases.WHERE, entry, self._pick("where", entry.title, term), term=term)
                pieces = _pieces_with(term, entry)
                yield self._row("where", entry, f"{self.numbers[id(entry)]}.{n}", exchange(question, entry.title), pieces, True)

    def _titled(self) -> Iterator[Entry]:
        """Sections that a title names, in documents that have several."""
        for book in self.library.books:
            titled = [e for e in book.entries if e.title and e.title.lower() != book.title.lower() and len(e.title) <= TITLE]
            if len(titled) >= 2:
                yield from titled

    def _which(self) -> Iterator[Row]:
        if self.neutral or len(self.library.books) < 3:
            return
        for entry in self._titled():
            document = self.library.book(entry).title
            known = self.titles[entry.title.lower()] == 1 and not entry.generic and self.documents[document.lower()] == 1
            if known and len(document) <= TITLE:
                question = self._asked(phrases.WHICH, entry, self._pick("which", entry.title))
                yield self._row("which", entry, self.numbers[id(entry)], exchange(question, document), _first_pieces(entry), True)

    def _section(self) -> Iterator[Row]:
        for entry, number, question, answer, pieces in self._section_questions():
            yield self._row("section", entry, number, exchange(question, answer), pieces, True)

    def _section_questions(self) -> Iterator[tuple[Entry, str, str, str, list[str]]]:
        by_book: dict[int, list[Entry]] = {}
        for entry in self._titled():
            by_book.setdefault(entry.number, []).append(entry)
        for entries in by_book.values():
            for entry in entries if len(entries) >= 3 and not self.neutral else ():
                for n, (sentence, piece) in enumerate(_quotable(entry)[:2]):
                    pick = self._pick("section", entry.title, sentence)
                    others = pick.sample([other for other in entries if other is not entry], 2)
                    titles = pick.sample([entry.title, *(other.title for other in others)], 3)
                    options = one_of([f'"{title}"' for title in titles])
                    question = self._asked(phrases.CHOOSE_SECTION, entry, pick, sentence=sentence, options=options)
                    yield entry, f"{self.numbers[id(entry)]}.{n}", question, entry.title, [piece]

    def _word(self) -> Iterator[Row]:
        for entry, number, question, answer, pieces in self._word_questions():
            yield self._row("word", entry, number, exchange(question, answer), pieces, True)

    def _word_questions(self) -> Iterator[tuple[Entry, str, str, str, list[str]]]:
        templates = phrases.NEUTRAL_WORD if self.neutral else phrases.CHOOSE_WORD
        for entry in self.library.entries:
            book = self.library.book(entry)
            # A word of the document's title would stand in the question.
            words, stop = self.words[entry.number], stop_words(book.language) | set(words_of(book.title))
            for n, (sentence, piece) in enumerate(_spread(_quotable(entry), EACH)):
                pick = self._pick("word", sentence)
                there = words_of(sentence)
                known = [
                    w
                    for w in set(_plain_words(sentence))
                    if len(w) >= 5 and w.lower() not in stop and there.count(w.lower()) == 1
                ]
                if not known:
                    continue
                word = pick.choice(sorted(known))
                alike = words.get(_shape(word), ())
                alike = (
                    alike
                    if len(alike) > 8
                    else [w for shape, some in words.items() if shape[0] == word[0].isupper() for w in some]
                )
                wrong = [other for other in pick.sample(alike, min(12, len(alike))) if other.lower() not in there]
                if len(wrong) < 2:
                    continue
                options = pick.sample([word, *wrong[:2]], 3)
                gap = sentence.replace(word, phrases.GAP, 1)
                question = self._asked(
                    templates, entry, pick, sentence=gap, options=", ".join(options) if self.neutral else one_of(options)
                )
                yield entry, f"{self.numbers[id(entry)]}.{n}", question, word, [piece]

    def _words(self, book: Book) -> dict[tuple[bool, int], list[str]]:
        stop = stop_words(book.language)
        found: dict[tuple[bool, int], set[str]] = {}
        for entry in book.entries:
            for sentence, _ in entry.sentences:
                for word in _plain_words(sentence):
                    if len(word) >= 5 and word.lower() not in stop:
                        found.setdefault(_shape(word), set()).add(word)
        return {shape: sorted(words) for shape, words in found.items()}

    def _term(self) -> Iterator[Row]:
        for entry, number, question, answer, pieces in self._term_questions():
            yield self._row("term", entry, number, exchange(question, answer), pieces, True)

    def _term_questions(self) -> Iterator[tuple[Entry, str, str, str, list[str]]]:
        for entry, number, (term, sentence, piece) in self._definitions():
            if '"' not in sentence:
                yield (
                    entry,
                    number,
                    self._asked(phrases.DEFINED_TERM, entry, self._pick("term", sentence), sentence=sentence),
                    term,
                    [piece],
                )

    def _next(self) -> Iterator[Row]:
        for entry, number, question, answer, _, pieces in self._successors():
            yield self._row("next", entry, number, exchange(question, answer), pieces)

    def _successors(self) -> Iterator[tuple[Entry, str, str, str, str, list[str]]]:
        """A sentence of a section, the one behind it, and another one of the same section for a wrong answer."""
        for entry in self.library.entries:
            found, text = entry.sentences, entry.section.text
            pairs = _spread(range(len(found) - 1), 4 * EACH)
            follows = [i for i in pairs if '"' not in found[i][0] and f"{found[i][0]} {found[i + 1][0]}" in text]
            for i in _spread(follows, EACH):
                pick = self._pick("next", found[i][0])
                far = [j for j in range(len(found)) if abs(j - i) > 1]
                if far:
                    question = self._asked(phrases.NEXT, entry, pick, sentence=found[i][0])
                    j = pick.choice(far)
                    pieces = [found[k][1] for k in (i, i + 1)]
                    yield entry, f"{self.numbers[id(entry)]}.{i}", question, found[i + 1][0], found[j][0], pieces

    def _example(self) -> Iterator[Row]:
        for entry in self._titled():
            short = [text for _, text in entry.section.code if CODE[0] <= len(text) <= CODE[1]]
            if short and len(entry.section.code) == 1 and not self.neutral:
                question = self._asked(phrases.EXAMPLE, entry, self._pick("example", entry.title))
                code = _dedented(short[0])
                yield self._row("example", entry, self.numbers[id(entry)], exchange(question, code), _first_pieces(entry))

    def _cell(self) -> Iterator[Row]:
        for entry in self._titled():
            if len(entry.section.tables) != 1 or self.neutral:
                continue
            table = entry.section.tables[0]
            names = Counter(row[0] for row in table.rows)
            for n, row in enumerate(table.rows):
                pick = self._pick("cell", entry.title, row[0])
                columns = [i for i, cell in enumerate(row) if i and cell and len(cell) <= CELL and table.columns[i]]
                if row[0] and names[row[0]] == 1 and columns and len(row[0]) <= 60:
                    i = pick.choice(columns)
                    question = self._asked(phrases.CELL, entry, pick, column=table.columns[i], row=row[0])
                    yield self._row(
                        "cell", entry, f"{self.numbers[id(entry)]}.{n}", exchange(question, row[i]), _first_pieces(entry), True
                    )

    def _turns(self) -> Iterator[Row]:
        titled = {id(entry) for entry in self._titled()}
        for entry, number, (term, sentence, piece) in self._definitions():
            if id(entry) in titled:
                pick = self._pick("turns", term, sentence)
                first = exchange(f"What does {self.library.book(entry).title} say {_inside(term, sentence)} is?", sentence)
                messages = first + exchange(pick.choice(phrases.FOLLOW_UP), entry.title)
                yield self._row("turns", entry, number, messages, [piece], True)

    def _identity(self) -> Iterator[Row]:
        """A small share: each question with each answer of its meaning, held out by question."""
        for i, (questions, answers) in enumerate(phrases.IDENTITY if not self.neutral else ()):
            for j, question in enumerate(questions):
                for k, answer in enumerate(answers):
                    said = answer.format(name=self.persona.name, about=self.persona.about)
                    origin = {"group": f"identity/{i}/{j}", "documents": [], "source": "tenet", "licence": "Apache-2.0"}
                    yield {"messages": exchange(question, said), "kind": "identity", "id": f"identity/{i}/{j}/{k}", **origin}

    # --- preferences and prompts --------------------------------------------------------------------------------------

    def preferences(self, most: int = MOST["preferences"]) -> list[Row]:
        """The right first sentence against one of a sibling section, the longer one right in half of the pairs."""
        longer: list[Row] = []
        shorter: list[Row] = []
        pairs = [*self._sibling_pairs()]
        if not self.neutral:
            pairs += [pair for _, pair in zip(range(max(0, FLOOR["preferences"] - len(pairs))), self._next_pairs(), strict=False)]
        for row in self._shuffled(pairs):
            sides = [len(row[side][0]["content"]) for side in ("chosen", "rejected")]
            if sides[0] != sides[1]:
                (longer if sides[0] > sides[1] else shorter).append(row)
        half = min(len(longer), len(shorter), most // 2)
        return self._shuffled([*longer[:half], *shorter[:half]])

    def _pair(self, kind: str, entry: Entry, which: str, question: str, sides: tuple[str, str], pieces: Iterable[str]) -> Row:
        book = self.library.book(entry)
        chosen, rejected = ([{"role": "assistant", "content": text}] for text in sides)
        row = {"prompt": [{"role": "user", "content": question}], "chosen": chosen, "rejected": rejected, "kind": kind}
        return {**row, **self._origin(book, f"preference/{kind}/{book.group}/{which}", pieces)}

    def _sibling_pairs(self) -> Iterator[Row]:
        by_book: dict[int, list[Entry]] = {}
        for entry, _ in self._describable():
            by_book.setdefault(entry.number, []).append(entry)
        for entry, templates in self._describable():
            pick = self._pick("preference", entry.title, self.library.book(entry).group)
            want_longer, kind = pick.random() < 0.5, pick.choice(("closest", "random"))
            candidates = [
                other for other in by_book[entry.number]
                if other.first != entry.first and (len(other.first) < len(entry.first)) == want_longer
                and len(other.first) != len(entry.first)
            ]  # fmt: skip
            if candidates:
                other = _closest(entry, candidates) if kind == "closest" else pick.choice(candidates)
                question = self._asked(templates, entry, pick)
                pieces = [*entry.pieces, *other.pieces]
                yield self._pair(kind, entry, self.numbers[id(entry)], question, (entry.first, other.first), pieces)

    def _next_pairs(self) -> Iterator[Row]:
        found = self._shuffled({"id": number, "all": (e, number, q, a, w, p)} for e, number, q, a, w, p in self._successors())
        for row in found:
            entry, number, question, right, wrong, pieces = row["all"]
            yield self._pair("next", entry, number, question, (right, wrong), pieces)

    def prompts(self, most: int = MOST["prompts"]) -> list[Row]:
        """Questions with one right string, which stands in the question: a choice of three, or the term of a
        definition."""
        made = {"section": self._section_questions(), "term": self._term_questions(), "word": self._word_questions()}
        rows: list[Row] = []
        for kind, questions in made.items():
            found = self._shuffled(self._prompt(kind, *question) for question in questions)
            room = max(FLOOR["prompts"] - len(rows), round(most * 0.3)) if kind == "word" else round(most * 0.4)
            rows += found[:room]
        return self._shuffled(rows)[:most]

    def _prompt(self, kind: str, entry: Entry, number: str, question: str, answer: str, pieces: Iterable[str]) -> Row:
        book = self.library.book(entry)
        verifier = {"kind": "exact", "answer": answer, "punctuation": "full_stop"}
        row = {"prompt": [{"role": "user", "content": question}], "answer": answer, "verifier": verifier, "kind": kind}
        return {**row, **self._origin(book, f"prompt/{kind}/{book.group}/{number}", pieces)}


# --- small things -----------------------------------------------------------------------------------------------------


def exchange(question: str, answer: str) -> list[Row]:
    """A question and its answer as messages."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def one_of(options: Sequence[str]) -> str:
    """ "a, b or c"."""
    return f"{', '.join(options[:-1])} or {options[-1]}"


def _inside(term: str, sentence: str) -> str:
    """A term inside a question: with its article, and without the capital that only the beginning of its own sentence
    gave it."""
    words = term.split()
    if article := next((word for word in ("An", "A") if sentence.startswith(f"{word} ")), ""):
        return f"{article.lower()} {term}"
    return term if (len(words) > 1 and words[1][:1].isupper()) or not term[1:].islower() else term[0].lower() + term[1:]


def _quotable(entry: Entry) -> list[tuple[str, str]]:
    return [(sentence, piece) for sentence, piece in entry.sentences if '"' not in sentence and len(sentence) >= 40]


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of them, evenly over all."""
    return [items[i * len(items) // most] for i in range(most)] if len(items) > most else list(items)


def _plain_words(sentence: str) -> list[str]:
    return [word.strip(".,;:!?()[]'’“”") for word in sentence.split() if word.strip(".,;:!?()[]'’“”").isalpha()]


def _shape(word: str) -> tuple[bool, int]:
    return word[0].isupper(), min(len(word), 9)


def _first_pieces(entry: Entry) -> list[str]:
    return list(entry.pieces) or [piece for _, piece in entry.sentences[:1]]


def _pieces_with(term: str, entry: Entry) -> list[str]:
    return [piece for sentence, piece in entry.sentences if term in sentence] or _first_pieces(entry)


def _closest(entry: Entry, candidates: Sequence[Entry]) -> Entry:
    return max(candidates, key=lambda other: (SequenceMatcher(None, entry.title, other.title).ratio(), other.title))


def _dedented(code: str) -> str:
    import textwrap

    return textwrap.dedent(code).strip("\n")
