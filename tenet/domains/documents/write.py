"""The files of a domain made from documents: what each holds, in words that a person can read and replace."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tenet.domains.documents import phrases
from tenet.domains.documents.library import Library
from tenet.domains.documents.pairs import Pairs
from tenet.domains.documents.recipes import Persona, Recipes
from tenet.domains.documents.subject import constitution, goals, section_rows
from tenet.domains.documents.tasks import task_files

Row = dict[str, Any]
#: Below this many bytes of text a model learns next to nothing, and held-out figures rest on a few rows.
SMALL = 300_000
#: What a kind of row needs, for the list of what was not found.
NEEDS = {
    "define": 'sentences that define a term ("X is a ...")',
    "where": "terms that stand in one section alone",
    "which": "three documents or more with sections of their own",
    "section": "documents with three sections or more",
    "example": "sections with one short code block",
    "cell": "Markdown tables",
}
README = """# {name}

What `tenet run --domain {folder}` is about, made from the documents in `{documents}` by `tenet new` (seed {seed}). Every file may be edited or replaced; a
changed file makes the stages that read it run anew. `docs/own-data.md` of Tenet shows each format with examples.

| file | what it is | replace it by |
|---|---|---|
| `domain.yaml` | name, persona, where the documents are, the fixed questions; what was found and what was not | your own words |
| `conversations.jsonl` | {conversations:,} conversations for fine-tuning, answers copied from the documents | your own conversations, in any common shape |
| `preferences.jsonl` | {preferences:,} pairs: the right first sentence against another one, whole sentences against broken ones, a word that was offered against one that was not | human preferences |
| `prompts.jsonl` | {prompts:,} prompts that a program can judge (one right string, or a form), for policy optimisation | prompts with `exact`, `number`, `regex`, `json_schema` or `python:` verifiers |
| `sections.jsonl` | titles that fill the prompts of the constitution | (read by `constitution.yaml`) |
| `constitution.yaml` | principles, how they are checked, what exercises them | five plain sentences and a list of prompts |
| `goals.yaml` | harmful wishes and harmless ones in nearly the same words | your own categories |
| `tasks/*.yaml` | evaluation tasks over held-out rows | your own benchmarks |

A file that is deleted (and not named in `domain.yaml`) leaves out the stages that need it. Rows name their `group` (the file that they come from): what is
held out is held out by document. Labels are true by construction: an answer is a sentence, a title, a word or a block of the documents.
"""


@dataclass(frozen=True)
class Made:
    """Everything that goes into the folder.

    Args:
        files: name -> content. found: kind -> number of rows. notes: what could not be made and what to doubt, one
            sentence each.
    """

    files: dict[str, str]
    found: dict[str, dict[str, int]]
    notes: list[str]
    examples: list[Row]


def make(
    library: Library, *, name: str, persona: Persona, seed: int, licence: str, source: Row, notes: Sequence[str] = ()
) -> Made:
    """Rows, constitution, goals, tasks, domain.yaml and README.

    Args:
        source: the entry of `sources` in domain.yaml; its `name` is the path of the documents.
        notes: what reading them had to say.
    """
    recipes = Recipes(library, persona, seed, licence)
    pairs = Pairs(library, seed, licence).preferences()
    rows = {"conversations": recipes.conversations(), "preferences": pairs, "prompts": recipes.prompts()}
    found = {kind: dict(Counter(row["kind"] for row in some).most_common()) for kind, some in rows.items()}
    files = {f"{kind}.jsonl": _jsonl(some) for kind, some in rows.items() if some}
    tasks = task_files(rows["conversations"], rows["preferences"], "documents", licence or "unknown")
    files |= {f"tasks/{task}.yaml": text for task, text in tasks.items()}
    said = [*notes, *_notes(library, found, tasks)]
    sections = [] if recipes.neutral else section_rows(library, seed)
    if sections:
        files["sections.jsonl"] = _jsonl(sections)
        files["constitution.yaml"] = constitution(library, persona)
        files["goals.yaml"] = goals(library, persona, seed)
    else:
        why = (
            "they are written in English"
            if recipes.neutral
            else "fewer than two sections have a title of their own and a first sentence"
        )
        said.append(f"constitution and goals: none made, {why}; without them the stages constitutional and redteam are left out")
    asked = [row["messages"][0]["content"] for row in rows["conversations"] if row["kind"] == "describe"][:2]
    files["domain.yaml"] = _domain_yaml(library, asked, name, persona, licence, source, list(tasks), said, found)
    counts = {kind: len(some) for kind, some in rows.items()}
    files["README.md"] = README.format(name=persona.name, folder=name, documents=source["name"], seed=seed, **counts)
    return Made(files, found, said, _examples(rows["conversations"]))


def _jsonl(rows: Sequence[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _examples(rows: Sequence[Row]) -> list[Row]:
    """Three rows of different kinds."""
    by_kind = {row["kind"]: row for row in reversed(rows)}
    order = [kind for kind in ("describe", "define", "where", "section", "word", "next") if kind in by_kind]
    return [by_kind[kind] for kind in order[:3]]


def _notes(library: Library, found: dict[str, dict[str, int]], tasks: dict[str, str]) -> list[str]:
    notes = []
    size = library.bytes
    if size < SMALL:
        notes.append(
            f"the documents hold {size / 1000:,.0f} kB of text: everything runs, but below {SMALL // 1000} kB figures rest on a few rows and mean little"
        )
    if len(library.books) == 1:
        notes.append(
            "there is one document: what is held out are parts of it, so tests measure its own style, and rows across documents are left out"
        )
    others = Counter(book.language for book in library.books if book.language != library.language)
    if library.language != "en":
        notes.append(
            f"most documents are in {_language(library.language)}: questions are made of the documents' own words (title, missing word); definitions, "
            "terms, choices of sections, rows about the assistant and tasks with English questions are left out"
        )
    elif others:
        counted = ", ".join(f"{count} in {_language(code)}" for code, count in others.most_common())
        notes.append(f"some documents are in another language ({counted}); questions about them are in English")
    if library.renamed:
        notes.append(
            f"several documents have the title {', '.join(map(repr, library.renamed[:3]))}{' and others' if len(library.renamed) > 3 else ''}: the path is "
            "part of their names"
        )
    missing = [f"{kind} (needs {need})" for kind, need in NEEDS.items() if kind not in found["conversations"]]
    if missing and library.language == "en":
        notes.append(f"no rows of the kinds: {'; '.join(missing)}")
    if all(book.narrative for book in library.books):
        notes.append("sections are long chapters: what is asked of them is how they begin, and most rows come from sentences")
    for kind in ("preferences", "prompts"):
        if not found[kind]:
            notes.append(f"no {kind} could be made; the stages that need them are left out")
    if not tasks:
        notes.append("too few rows for evaluation tasks of its own")
    return notes


def _language(code: str) -> str:
    return {"und": "a language that was not recognised"}.get(code, f"language {code!r}")


def _domain_yaml(
    library: Library,
    asked: list[str],
    name: str,
    persona: Persona,
    licence: str,
    source: Row,
    tasks: Sequence[str],
    notes: Sequence[str],
    found: dict[str, dict[str, int]],
) -> str:
    entries, english = library.entries, library.language == "en"
    lines = [
        "# What the assistant is about. Written by `tenet new`; every key and file may be changed (docs/own-data.md).",
        "#",
        f"# Found: {len(library.books):,} documents, {len(entries):,} sections, {library.bytes / 1000:,.0f} kB of text.",
    ]
    for kind, counts in found.items():
        lines.append(
            f"#   {kind}: {sum(counts.values()):,} ({', '.join(f'{count} {which}' for which, count in counts.items()) or 'none'})"
        )
    lines += [f"# Note: {note}." for note in notes]
    titles = [entry.title for entry in entries if entry.title and entry.answer] or [book.title for book in library.books]
    content: Row = {
        "name": name,
        "about": persona.about,
        "language": library.language,
        "licence": licence or "unknown",
        "persona": {"name": persona.name, "system": ""},
        "words": {"section": "section", "group": "document"},
        "sources": [source],
        "sample_prompts": [titles[i * len(titles) // 5] for i in range(min(5, len(titles)))],
        "probe": _probe(asked, english),
        **({"key_task": tasks[0]} if tasks else {}),
    }
    return "\n".join(lines) + "\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def _probe(asked: list[str], english: bool) -> Row:
    """Two questions about sections: the fixed one and the one that a whole run ends with."""
    asked = asked or ["Who are you?" if english else phrases.GAP]
    return {"question": asked[0], "example": asked[-1]}
