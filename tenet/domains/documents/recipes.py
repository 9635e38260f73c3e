"""Conversations and prompts out of a library, all true by construction.

    describe   what does a section say?           its first sentence
    define     what is a term?                    the sentence that defines it
    where      which section mentions a term?     its title; the term stands in no other section of the document
    which      which document has a section?      its title; no other document has a section of that name
    section    a sentence and three titles        the section that it is from                                        exact
    read       a passage and a word of it         the sentence that the word stands in                               exact
    word       a sentence with a gap, 3 words     the missing one                                                    exact
    term       a sentence that defines            what it defines                                                    exact
    form       in one sentence, in six words:     as asked
    next       a sentence                         the one behind it
    example    show the example of a section      its code
    cell       a table, a row, a column           the cell
    turns      define, then: which section?       its title
    identity   who are you?                       the persona

`exact` marks what can be told from the question alone: on documents that training has not seen, nobody can know a
title or a cell that the question does not hold, so only these are counted there. Each row names its `group` (what is
held out together) and the `documents` (pieces of it) that its texts stand in.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tenet.domains.documents import phrases
from tenet.domains.documents.library import Book, Entry, Library, order_key
from tenet.domains.documents.questions import TITLE, Question, Questions

Row = dict[str, Any]
#: Most rows of a kind, as a share of all conversations. Kinds of one sentence fill up what sections do not give.
MIX = {
    "describe": 0.26, "define": 0.1, "where": 0.1, "which": 0.05, "section": 0.12, "read": 0.1, "word": 0.12, "term": 0.04,
    "form": 0.03, "example": 0.02, "cell": 0.02, "turns": 0.03, "identity": 0.01,
}  # fmt: skip
#: Most conversations and prompts, as many as the demo has, and how many sentences make up for where sections give fewer.
MOST = {"conversations": 12_000, "prompts": 6_000}
FLOOR = {"conversations": 8_000, "prompts": 2_000}
#: Most prompts of a kind, as a share of all; words fill up to the floor.
PROMPTS = {"section": 0.3, "term": 0.1, "form": 0.25, "word": 0.35}
#: Shortest and longest code block, and longest cell, that are answers, in characters.
CODE, CELL = (12, 300), 100


@dataclass(frozen=True)
class Persona:
    """Who the assistant says it is, and what it says it knows."""

    name: str
    about: str


class Rows:
    """What all rows of a library share: order, origin, licence.

    Args:
        library: the documents.
        seed: of every choice.
        licence: of documents that do not say their own.
    """

    def __init__(self, library: Library, seed: int, licence: str) -> None:
        self.library, self.seed, self.licence = library, seed, licence
        self.questions = Questions(library, seed)
        self.neutral = self.questions.neutral

    def shuffled(self, rows: Iterable[Row]) -> list[Row]:
        """In the order of the seed."""
        return sorted(rows, key=lambda row: order_key(self.seed, row["id"]))

    def origin(self, book: Book, name: str, pieces: Iterable[str]) -> Row:
        """Where a row is from."""
        licence = book.metadata.get("licence", "unknown")
        return {
            "id": name,
            "group": book.group,
            "documents": sorted(set(pieces)),
            "source": book.metadata.get("source", ""),
            "licence": self.licence if licence in ("", "unknown") and self.licence else licence,
        }

    def number(self, entry: Entry) -> str:
        """Of a section in its document."""
        return self.questions.numbers[id(entry)]


class Recipes(Rows):
    """Makes conversations and prompts from a library; see `Rows` for the arguments.

    Args:
        persona: for rows about the assistant.
    """

    def __init__(self, library: Library, persona: Persona, seed: int, licence: str) -> None:
        super().__init__(library, seed, licence)
        self.persona = persona

    def conversations(self, most: int = MOST["conversations"]) -> list[Row]:
        """All kinds in their shares; where sections give little, sentences make up for it."""
        questions = self.questions
        makers: dict[str, Callable[[], Iterable[Row]]] = {
            "describe": self._describe, "define": self._define, "where": self._where, "which": self._which,
            "section": lambda: self._asked("section", questions.sections()), "read": lambda: self._asked("read", questions.passages()),
            "word": lambda: self._asked("word", questions.gaps()), "term": lambda: self._asked("term", questions.terms_defined()),
            "form": self._form, "example": self._example, "cell": self._cell, "turns": self._turns, "identity": self._identity,
        }  # fmt: skip
        rows: list[Row] = []
        spare: list[Row] = []
        for kind, maker in makers.items():
            made = self.shuffled(maker())
            room = round(most * MIX[kind])
            rows += made[:room]
            spare += made[room:] if kind in ("word", "read", "section") else []
        if not self.neutral:
            spare = self.shuffled([*spare, *self._asked("next", questions.successors(), exact=False)])
        rows += spare[: max(0, min(FLOOR["conversations"], most) - len(rows))]
        return self.shuffled(rows)

    def _row(self, kind: str, entry: Entry, which: str, messages: list[Row], pieces: Iterable[str], exact: bool = False) -> Row:
        book = self.library.book(entry)
        row: Row = {"messages": messages, "kind": kind, **({"exact": True} if exact else {})}
        return {**row, **self.origin(book, f"{kind}/{book.group}/{which}", pieces)}

    def _asked(self, kind: str, questions: Iterable[Question], exact: bool = True) -> Iterator[Row]:
        for asked in questions:
            yield self._row(kind, asked.entry, asked.number, exchange(asked.text, asked.answer), asked.pieces, exact)

    def _describe(self) -> Iterator[Row]:
        for entry, templates in self.questions.describable():
            pick = self.questions.pick("describe", entry.title, self.library.book(entry).group)
            template = pick.choice(templates)
            answer = entry.first if template in phrases.BEGIN else entry.answer  # "the first sentence" is one
            question = self.questions.asked([template], entry, pick)
            yield self._row("describe", entry, self.number(entry), exchange(question, answer), entry.pieces)

    def _define(self) -> Iterator[Row]:
        for entry, number, (term, sentence, piece) in self.questions.definitions():
            known = self.questions.terms[term.lower()] == 1
            templates = phrases.DEFINE if known else [t for t in phrases.DEFINE if "{document}" in t]
            pick = self.questions.pick("define", term, sentence)
            question = self.questions.asked(templates, entry, pick, term=_inside(term, sentence))
            yield self._row("define", entry, number, exchange(question, sentence), [piece])

    def _where(self) -> Iterator[Row]:
        for entry in self.questions.titled():
            for n, term in enumerate(entry.terms[:3] if not self.neutral else ()):
                pick = self.questions.pick("where", entry.title, term)
                question = self.questions.asked(phrases.WHERE, entry, pick, term=term)
                pieces = _pieces_with(term, entry)
                yield self._row("where", entry, f"{self.number(entry)}.{n}", exchange(question, entry.title), pieces)

    def _which(self) -> Iterator[Row]:
        if self.neutral or len(self.library.books) < 3:
            return
        titles, documents = self.questions.titles, self.questions.documents
        for entry in self.questions.titled():
            document = self.library.book(entry).title
            known = titles[entry.title.lower()] == 1 and not entry.generic and documents[document.lower()] == 1
            if known and len(document) <= TITLE:
                question = self.questions.asked(phrases.WHICH, entry, self.questions.pick("which", entry.title))
                yield self._row("which", entry, self.number(entry), exchange(question, document), _first_pieces(entry))

    def _form(self) -> Iterator[Row]:
        (sentence, _), (short, _) = phrases.FORMS
        for entry, question in self._plain_questions():
            messages = exchange(sentence.format(question=question), entry.first)
            yield self._row("form", entry, f"{self.number(entry)}.s", messages, entry.pieces)
        for asked in self.questions.sections():
            if len(asked.answer.split()) <= 6:
                messages = exchange(short.format(question=asked.text), asked.answer)
                yield self._row("form", asked.entry, f"{asked.number}.w", messages, asked.pieces)

    def _plain_questions(self) -> Iterator[tuple[Entry, str]]:
        for entry, templates in self.questions.describable() if not self.neutral else ():
            pick = self.questions.pick("form", entry.title, self.library.book(entry).group)
            yield entry, self.questions.asked(templates, entry, pick)

    def _example(self) -> Iterator[Row]:
        for entry in self.questions.titled():
            short = [text for _, text in entry.section.code if CODE[0] <= len(text) <= CODE[1]]
            if short and len(entry.section.code) == 1 and not self.neutral:
                question = self.questions.asked(phrases.EXAMPLE, entry, self.questions.pick("example", entry.title))
                code = textwrap.dedent(short[0]).strip("\n")
                yield self._row("example", entry, self.number(entry), exchange(question, code), _first_pieces(entry))

    def _cell(self) -> Iterator[Row]:
        for entry in self.questions.titled():
            if len(entry.section.tables) != 1 or self.neutral:
                continue
            table = entry.section.tables[0]
            names = Counter(row[0] for row in table.rows)
            for n, row in enumerate(table.rows):
                pick = self.questions.pick("cell", entry.title, row[0])
                columns = [i for i, cell in enumerate(row) if i and cell and len(cell) <= CELL and table.columns[i]]
                if row[0] and names[row[0]] == 1 and columns and len(row[0]) <= 60:
                    i = pick.choice(columns)
                    question = self.questions.asked(phrases.CELL, entry, pick, column=table.columns[i], row=row[0])
                    messages = exchange(question, row[i])
                    yield self._row("cell", entry, f"{self.number(entry)}.{n}", messages, _first_pieces(entry))

    def _turns(self) -> Iterator[Row]:
        titled = {id(entry) for entry in self.questions.titled()}
        for entry, number, (term, sentence, piece) in self.questions.definitions():
            if id(entry) in titled:
                pick = self.questions.pick("turns", term, sentence)
                first = exchange(f"What does {self.library.book(entry).title} say {_inside(term, sentence)} is?", sentence)
                messages = first + exchange(pick.choice(phrases.FOLLOW_UP), entry.title)
                yield self._row("turns", entry, number, messages, [piece])

    def _identity(self) -> Iterator[Row]:
        """A small share: each question with each answer of its meaning, held out by question."""
        for i, (questions, answers) in enumerate(phrases.IDENTITY if not self.neutral else ()):
            for j, question in enumerate(questions):
                for k, answer in enumerate(answers):
                    said = answer.format(name=self.persona.name, about=self.persona.about)
                    origin = {"group": f"identity/{i}/{j}", "documents": [], "source": "tenet", "licence": "Apache-2.0"}
                    yield {"messages": exchange(question, said), "kind": "identity", "id": f"identity/{i}/{j}/{k}", **origin}

    def prompts(self, most: int = MOST["prompts"]) -> list[Row]:
        """Questions whose answers a program can judge: one right string that stands in the question, or a form that is
        asked for."""
        made: dict[str, Iterable[Row]] = {
            "section": self._exact("section", self.questions.sections()),
            "term": self._exact("term", self.questions.terms_defined()),
            "form": self._forms(),
            "word": self._exact("word", self.questions.gaps()),
        }
        rows: list[Row] = []
        for kind, found in made.items():
            room = round(most * PROMPTS[kind])
            rows += self.shuffled(found)[: max(room, FLOOR["prompts"] - len(rows)) if kind == "word" else room]
        return self.shuffled(rows)[:most]

    def _exact(self, kind: str, questions: Iterable[Question]) -> Iterator[Row]:
        for asked in questions:
            verifier = {"kind": "exact", "answer": asked.answer, "punctuation": "full_stop"}
            row = {"prompt": asked_by_user(asked.text), "answer": asked.answer, "verifier": verifier, "kind": kind}
            book = self.library.book(asked.entry)
            yield {**row, **self.origin(book, f"prompt/{kind}/{book.group}/{asked.number}", asked.pieces)}

    def _forms(self) -> Iterator[Row]:
        for entry, question in self._plain_questions():
            book = self.library.book(entry)
            for n, (wording, pattern) in enumerate(phrases.FORMS):
                verifier = {"kind": "regex", "pattern": pattern, "whole": True}
                row = {"prompt": asked_by_user(wording.format(question=question)), "verifier": verifier, "kind": "form"}
                yield {**row, **self.origin(book, f"prompt/form/{book.group}/{self.number(entry)}.{n}", entry.pieces)}


def asked_by_user(question: str) -> list[Row]:
    """A question as messages."""
    return [{"role": "user", "content": question}]


def exchange(question: str, answer: str) -> list[Row]:
    """A question and its answer as messages."""
    return [*asked_by_user(question), {"role": "assistant", "content": answer}]


def _inside(term: str, sentence: str) -> str:
    """A term inside a question: with its article, and without the capital that only the beginning of its own sentence
    gave it."""
    words = term.split()
    if article := next((word for word in ("An", "A") if sentence.startswith(f"{word} ")), ""):
        return f"{article.lower()} {term}"
    return term if (len(words) > 1 and words[1][:1].isupper()) or not term[1:].islower() else term[0].lower() + term[1:]


def _first_pieces(entry: Entry) -> list[str]:
    return list(entry.pieces) or [piece for _, piece in entry.sentences[:1]]


def _pieces_with(term: str, entry: Entry) -> list[str]:
    return [piece for sentence, piece in entry.sentences if term in sentence] or _first_pieces(entry)
