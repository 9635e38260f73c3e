"""A constitution and goals for the red team that fit any subject, filled with the documents' own titles and sentences.

The words stand in `constitution.yaml` and `goals.yaml` beside this file, as templates: {name}, {about} are the
assistant's; what stands in double braces there ({{title}}) is left for the constitution's own slots, which are filled
from `sections.jsonl`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tenet.domains.documents.library import Entry, Library, order_key
from tenet.domains.documents.recipes import Persona
from tenet.domains.holdout import place

Row = dict[str, Any]
HERE = Path(__file__).parent
#: Share of the documents whose titles and sentences are asked in tests alone; those are the ones that the corpus holds
#: out first.
TEST = 0.3
#: Sections that fill prompts, a split.
SECTIONS = 400
#: Goals of a category: harmful ones and look-alikes each.
GOALS = {"train": 6, "test": 3}


def section_rows(library: Library, seed: int) -> list[Row]:
    """Columns for the slots of prompts: title, document, its licence, and which side they are asked on."""
    sides: dict[str, set[tuple[str, str]]] = {"train": set(), "test": set()}
    rows: list[Row] = []
    test = _held(library)
    usable = [entry for entry in _named(library) if len(entry.title) <= 60]
    for entry in sorted(usable, key=lambda e: order_key(seed, f"section {library.book(e).group} {e.title}")):
        split = "test" if id(entry) in test else "train"
        book = library.book(entry)
        if len(sides[split]) < SECTIONS and (entry.title, book.title) not in sides["train"] | sides["test"]:
            sides[split].add((entry.title, book.title))
            rows.append(
                {"title": entry.title, "document": book.title, "split": split, "licence": book.metadata.get("licence", "")}
            )
    return rows if all(sides.values()) else []


def _named(library: Library) -> list[Entry]:
    """Sections with a title of their own and a first sentence."""
    return [
        e for e in library.entries if e.title and e.answer and not e.generic and e.title.lower() != library.book(e).title.lower()
    ]


def _held(library: Library) -> set[int]:
    """Sections asked in tests alone: of the documents with the smallest places, or the last ones of few documents."""
    books = sorted(library.books, key=lambda book: place(book.group))
    if len(books) >= 4:
        return {id(entry) for book in books[: max(1, round(TEST * len(books)))] for entry in book.entries}
    return {id(entry) for book in books for entry in book.entries[round((1 - TEST) * len(book.entries)) :]}


def constitution(library: Library, persona: Persona) -> str:
    """The file's text. A library of one document has no principle about which document it is."""
    text = (HERE / "constitution.yaml").read_text(encoding="utf-8")
    titles = sorted({book.title for book in library.books if len(book.title) <= 70})
    if len(titles) < 2 or len(titles) > 300:
        text = re.sub(r"\n  - id: says-where\n.*?(?=\n  - id: )", "", text, flags=re.DOTALL)
    pattern = "(?i)" + "|".join(re.escape(title) for title in titles)
    return _filled(text, name=persona.name, about=persona.about, titles=pattern.replace("'", "''"))


def _filled(text: str, **words: str) -> str:
    """{name} becomes the word, {{name}} becomes {name}."""
    return re.sub(r"\{\{(\w+)\}\}|\{(\w+)\}", lambda m: f"{{{m[1]}}}" if m[1] else words.get(m[2], m[0]), text)


def goals(library: Library, persona: Persona, seed: int) -> str:
    """The file's text: every look-alike is answered with what its section says."""
    template = yaml.safe_load((HERE / "goals.yaml").read_text(encoding="utf-8"))
    held = _held(library)
    usable = [
        e for e in library.entries if e.title and e.answer and not e.generic and len(e.title.split()) <= 6 and len(e.title) <= 50
    ]
    pools = {split: [e for e in usable if (id(e) in held) == (split == "test")] for split in GOALS}
    content = {key: _words(value, persona) for key, value in template.items() if key != "categories"}
    content["categories"] = [_category(one, library, persona, pools, seed) for one in template["categories"]]
    head = "# What an attacker wants, and what an honest reader wants in nearly the same words. Look-alikes are answered with the documents' own\n# sentences. Goals under `test` only measure. Replace them by your own: docs/own-data.md says how.\n"
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=150)


def _words(value: Any, persona: Persona) -> Any:
    if isinstance(value, dict):
        return {key: _words(item, persona) for key, item in value.items()}
    return _filled(value, name=persona.name, about=persona.about) if isinstance(value, str) else value


def _category(one: Row, library: Library, persona: Persona, pools: dict[str, list[Entry]], seed: int) -> Row:
    made: Row = {key: _words(value, persona) for key, value in one.items() if key not in ("harmful", "look_alikes", "splits")}
    for kind, letter in (("harmful", "h"), ("look_alikes", "b")):
        made[kind] = {
            split: _goals(f"{one['id']}-{letter}-{split}-", one[kind], pools[split], library, kind == "look_alikes", split, seed)
            for split in one.get("splits", list(GOALS))
        }
    return made


def _goals(
    name: str, texts: Sequence[str], pool: Sequence[Entry], library: Library, benign: bool, split: str, seed: int
) -> list[Row]:
    rng = random.Random(f"{seed} {name}")
    # Test goals have wordings of their own: the last third of the list.
    cut = len(texts) - len(texts) // 3
    wordings = texts[:cut] if split == "train" else texts[cut:]
    found: dict[str, Row] = {}
    for attempt in range(20 * GOALS[split]):
        if len(found) == GOALS[split] or not pool:
            break
        entry = rng.choice(list(pool))
        text = wordings[attempt % len(wordings)].format(title=entry.title, document=library.book(entry).title)
        found.setdefault(text, {"id": f"{name}{len(found) + 1:02}", "text": text, **({"answer": entry.answer} if benign else {})})
    return list(found.values())
