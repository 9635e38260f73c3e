"""A set of documents taken apart: what each section says first, what is defined where, and which terms belong to one
section alone."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from tenet.domains.documents.sections import Section, parse
from tenet.domains.documents.sentences import is_whole, language_of, sentences, stop_words, words_of

#: Shortest and longest answer in characters: it has to fit the context of a small model.
SHORTEST, LONGEST = 25, 280
#: Longest term in words.
TERM_WORDS = 4
#: Terms that are kept of a section.
TERMS = 6
#: Above this many characters a section is a chapter: its first sentence says how it begins, and not what it is about.
CHAPTER = 6_000


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DEFINED = re.compile(
    r"(?P<article>An?|The|Eine?r?|Der|Die|Das|Une?|Le|La|Les)?\s*(?P<term>[^,;:.()\"“”]{2,48}?)\s+"
    r"(?:is|are|refers to|means|denotes|is defined as|ist|sind|est|sont)\s+(?P<rest>(?:an?|the(?! (?:same|only|case|first|last|one)\b)|any|one of|ein|eine|der|die|das|un|une|le|la)\b)"
)
_PRONOUNS = _words(
    """this that these those it they there here what which who he she we you i one each both all some many most such another other others note
    example examples figure table result results however if when where while since although because and or but so then thus hence also for in on
    at by as with from to of after before under note nothing everything something anything section chapter following first second last next only
    neither either every no not its their his her my your our same default idea point reason following name value problem purpose whole"""
)
_TERM = re.compile(r"[^\W\d_][\w'’-]*(?:[ ][^\W\d_][\w'’-]*){0,3}")
_CAPITALS = re.compile(r"(?<=[a-z,;] )(?:[A-Z][a-z]+(?:[ -][A-Z][a-z]+){1,3})")
_GENERIC = _words(
    """introduction summary conclusion conclusions overview preface contents notes examples example references index see also exercises problems
    questions glossary appendix background abstract discussion results methods usage installation notes credits acknowledgements footnotes
    description parameters returns raises module contents changelog license licence prologue epilogue dedication"""
)


@dataclass
class Entry:
    """A section that can be asked about.

    Args:
        title: as questions say it; unique in its document. number: of its document in the library.
        answer: what it says first, one or two sentences.
        pieces: ids of the corpus documents that the answer stands in.
        first: its first sentence alone; sentences: all whole ones, each with the piece that it stands in.
        definitions: (term, sentence, piece). terms: that stand in no other section of the document, best first.
    """

    section: Section
    title: str
    number: int
    answer: str = ""
    first: str = ""
    pieces: tuple[str, ...] = ()
    sentences: list[tuple[str, str]] = field(default_factory=list)
    definitions: list[tuple[str, str, str]] = field(default_factory=list)
    terms: list[str] = field(default_factory=list)

    @property
    def generic(self) -> bool:
        """Is the title one that any document may have?"""
        return self.title.lower() in _GENERIC or bool(
            re.fullmatch(r"(?:chapter|book|part|letter)?\s*[ivxlc\d.]+", self.title.lower())
        )


@dataclass
class Book:
    """One document (a file, a row of a table): all corpus documents of one group.

    Args:
        group: what it is held out by. title: what questions call it.
        metadata: of its first piece. text: of all pieces.
        places: where in the text each piece begins, with its id.
    """

    group: str
    title: str
    metadata: dict[str, Any]
    text: str
    places: list[tuple[int, str]]
    language: str = "en"
    entries: list[Entry] = field(default_factory=list)

    @property
    def narrative(self) -> bool:
        """Are sections so long (chapters of a novel) that their first sentence only says how they begin?"""
        lengths = sorted(len(entry.section.text) for entry in self.entries)
        return not lengths or lengths[len(lengths) // 2] > CHAPTER

    def piece_at(self, place: int) -> str:
        """Id of the corpus document that a place of the text lies in."""
        return next(name for begin, name in reversed(self.places) if begin <= place)


@dataclass
class Library:
    """All documents.

    Args:
        language: of most of them; "und" where it is none that is known.
        renamed: titles that two documents share, so that a path was put behind them.
    """

    books: list[Book]
    language: str
    renamed: list[str] = field(default_factory=list)

    @property
    def entries(self) -> list[Entry]:
        """Sections of all documents."""
        return [entry for book in self.books for entry in book.entries]

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of all texts."""
        return sum(len(book.text.encode()) for book in self.books)

    def book(self, entry: Entry) -> Book:
        """The document of a section."""
        return self.books[entry.number]


def order_key(seed: int, text: str) -> bytes:
    """A fixed, seeded shuffle: sort by this."""
    return hashlib.sha256(f"{seed} {text}".encode()).digest()


def read_library(documents: Iterable[dict[str, Any]]) -> Library:
    """Take documents `{"text", "id", "metadata": {"group", ...}}` apart; those of one group are one document, in their
    order."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for document in documents:
        groups[document["metadata"].get("group") or document["id"]].append(document)
    books = [_book(number, group, parts) for number, (group, parts) in enumerate(sorted(groups.items()))]
    counted = Counter(book.language for book in books for _ in range(1 + len(book.text) // 1000))
    library = Library(books, counted.most_common(1)[0][0] if counted else "und")
    for book in books:  # too short, or all names and code: nothing says that it is in another language
        book.language = library.language if book.language == "und" else book.language
    library.renamed = _unique_titles(books)
    _terms(library)
    return library


def _book(number: int, group: str, parts: Sequence[dict[str, Any]]) -> Book:
    text, places = "", []
    for part in parts:
        places.append((len(text), part["id"]))
        text += part["text"].rstrip("\n") + "\n\n"
    title, sections = parse(text)
    book = Book(group, title or _from_path(group), parts[0]["metadata"], text, places, language_of([text]))
    titles = Counter(section.title.lower() for section in sections)
    for section in sections:
        section.document = number
        entry = Entry(section, _title(section, book, titles), number)
        _answers(entry, book)
        if entry.sentences or section.code or section.tables:
            book.entries.append(entry)
    return book


def _from_path(group: str) -> str:
    """A file's name as a title."""
    path = PurePosixPath(group)
    name = path.name.split(".")[0] if path.name.split(".")[0] else path.name
    return re.sub(r"[_\s]+", " ", name).strip() or group


def _unique_titles(books: Sequence[Book]) -> list[str]:
    """Put the path behind titles that several documents have."""
    counts = Counter(book.title.lower() for book in books)
    shared = sorted({book.title for book in books if counts[book.title.lower()] > 1})
    for book in books:
        if counts[book.title.lower()] > 1:
            book.title = f"{book.title} ({book.group})"
    return shared


def _title(section: Section, book: Book, titles: Counter[str]) -> str:
    """The title of a section, with the heading above where it has the same title as another; "" where that does not
    tell them apart."""
    if not section.title or titles[section.title.lower()] == 1:
        return section.title
    above = [title for title in section.path if title != book.title]
    return f"{above[-1]}: {section.title}" if above and titles[above[-1].lower()] == 1 else ""


def _answers(entry: Entry, book: Book) -> None:
    """What the section says first, its whole sentences and its definitions."""
    section = entry.section
    for place, paragraph in zip(section.places, section.paragraphs, strict=True):
        piece = book.piece_at(place)
        for sentence in sentences(paragraph):
            if is_whole(sentence) and SHORTEST <= len(sentence) <= LONGEST:
                entry.sentences.append((sentence, piece))
                if term := defined(sentence, section):
                    entry.definitions.append((term, sentence, piece))
    opening = _opening(section)
    if opening and section.places:
        entry.answer, entry.first = " ".join(opening), opening[0]
        entry.pieces = (book.piece_at(section.places[0]),)


def _opening(section: Section) -> list[str]:
    """The first sentence, with the second one where both are short; nothing where the section begins with something
    else."""
    found = sentences(section.paragraphs[0]) if section.paragraphs else []
    if not found or not is_whole(found[0]) or not SHORTEST <= len(found[0]) <= LONGEST:
        return []
    if len(found) > 1 and len(found[0]) < 70 and is_whole(found[1]) and len(found[0]) + len(found[1]) < LONGEST:
        return found[:2]
    return found[:1]


def defined(sentence: str, section: Section) -> str:
    """What a sentence defines ("A list is a ..."), or ""."""
    match = _DEFINED.match(sentence)
    if not match:
        return ""
    term, article = match.group("term").strip(" '‘’*"), match.group("article") or ""
    words = words_of(term)
    if not words or len(term.split()) > TERM_WORDS or _PRONOUNS & set(words) or term.endswith(("ly", "'s")):
        return ""
    known = term.lower() in section.title.lower() or term.lower() in {marked.lower() for marked in section.marked}
    if article in ("The", "Der", "Die", "Das", "Le", "La", "Les") and not known:
        return ""
    # One bare noun ("Force is a push") is one too; where more stands before the verb it is rarely a term.
    bare = len(words) == 1 and not term.lower().endswith("ing")
    return term if article or known or bare else ""


# --- terms ------------------------------------------------------------------------------------------------------------


def _terms(library: Library) -> None:
    """For each section the terms that stand in it and in no other section of its document: rare in the set, frequent
    here."""
    bags = {id(entry): _bag(entry) for entry in library.entries}
    spread = Counter(term for bag in bags.values() for term in bag)
    total = max(1, len(bags))
    common = max(2, total // 40)  # a word of more sections says nothing about one
    for book in library.books:
        lower = book.text.lower()
        stop = stop_words(book.language) | _PRONOUNS
        inside = Counter(term for entry in book.entries for term in bags[id(entry)])
        for entry in book.entries:
            title = entry.title.lower()
            scored = [
                (count * math.log(total / spread[term] + 1) * (2.0 if " " in term or term in entry.section.marked else 1.0), term)
                for term, count in bags[id(entry)].items()
                if inside[term] == 1 and spread[term] <= common and term.lower() not in title and term.lower() not in stop
                and (count > 1 or " " in term or term in entry.section.marked)
            ]  # fmt: skip
            scored.sort(key=lambda pair: (-pair[0], pair[1]))
            prose = " ".join(entry.section.paragraphs)
            alone = (term for _, term in scored[: 3 * TERMS] if _alone(term.lower(), prose.lower(), lower))
            entry.terms = [_as_written(term, prose) for term in itertools.islice(alone, TERMS)]


def _bag(entry: Entry) -> Counter[str]:
    """Candidates: words the author set apart, names of several words, and plain words of five letters and more."""
    text = entry.section.text
    found = Counter(word for word in words_of(text) if len(word) >= 5)
    found.update(name for name in _CAPITALS.findall(text))
    found.update(marked for marked in entry.section.marked if _TERM.fullmatch(marked) and len(marked) >= 3)
    return found


def _alone(term: str, prose: str, text: str) -> bool:
    """Is the term, inside other words too, in this section's prose and nowhere else in the document? All in lower
    case."""
    return 0 < prose.count(term) == text.count(term)


def _as_written(term: str, prose: str) -> str:
    """The spelling that the section uses most: candidates were counted in lower case."""
    forms = Counter(re.findall(rf"\b{re.escape(term)}\b", prose, re.IGNORECASE))
    return forms.most_common(1)[0][0] if forms else term
