"""What a domain is: everything that an assistant is *about*, in one folder, so that everything else works for any
subject.

No other room imports a domain. `folder.py` reads one, the table of stages hands it to each stage, and a stage hands on
what a room needs of it as plain arguments: texts, paths, callables, dictionaries. Every part may be missing; a stage
that needs it says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tenet.settings.corpus import SourceConfig

Row = dict[str, Any]
Split = Literal["train", "valid", "test"]
#: The kinds of rows that a domain may bring, and that `make_rows` may make.
KINDS = ("conversations", "preferences", "prompts")
#: What `conversations`, `preferences` and `prompts` say when code makes them.
BY_CODE = "rows.py"


@dataclass(frozen=True, kw_only=True)
class Persona:
    """Who the assistant says it is.

    Args:
        name: what it calls itself.
        system: system prompt; "" is none.
    """

    name: str = "Tenet"
    system: str = ""


@dataclass(frozen=True, kw_only=True)
class Words:
    """What reports call things.

    Args:
        section, sections: one thing that a row is about.
        group, groups: what is held out together.
    """

    section: str = "section"
    sections: str = "sections"
    group: str = "document"
    groups: str = "documents"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The fixed questions of deploy, serve and of a whole run's last line.

    Args:
        question: greedy, before and after each release.
        tool: a Bedrock `{"toolSpec": ...}` that the endpoint is called with, None where the domain has no tools.
        tool_question: asked with it.
        example: streamed at the end of a whole run; "" streams the answer to `question`.
    """

    question: str = "Who are you?"
    tool: Row | None = None
    tool_question: str = ""
    example: str = ""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """A domain as its folder describes it, every path resolved and checked.

    Args:
        name: short, for file names and reports; about: one sentence.
        language: of its documents, e.g. "en"; licence: of documents that do not say their own.
        folder: where domain.yaml lies.
        sources: what `corpus.sources` takes when the preset names none.
        sample_prompts: continued while pretraining.
        packages: of Python that its documents or its code come from; their versions are written into every run.json.
        conversations, preferences, prompts: "" (missing), the path of a file, the name of a data set, or "rows.py"
            (made by code).
        constitution, goals: YAML files; tasks: YAML files of its own evaluation tasks.
        key_task: the one of them that is evaluate's key figure; "" takes the mean of all.
        rows: rows.py, where there is one; `tenet.domains.loading.load_code` imports it.
    """

    name: str
    folder: Path
    about: str = ""
    language: str = "en"
    licence: str = "unknown"
    persona: Persona = field(default_factory=Persona)
    words: Words = field(default_factory=Words)
    sources: tuple[SourceConfig, ...] = ()
    sample_prompts: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    probe: Probe = field(default_factory=Probe)
    conversations: str = ""
    preferences: str = ""
    prompts: str = ""
    constitution: Path | None = None
    goals: Path | None = None
    tasks: tuple[Path, ...] = ()
    key_task: str = ""
    rows: Path | None = None

    def files(self) -> tuple[Path, ...]:
        """Every file that a stage may read, sorted, for fingerprints: the whole folder but for its documents and what
        is only for people."""
        documents = [Path(source.name) for source in self.sources if source.kind == "folder"]
        inside = [root for root in documents if self.folder in (root, *root.parents) and root != self.folder]
        named = [Path(value) for value in (self.conversations, self.preferences, self.prompts) if Path(value).is_absolute()]
        found = {path for path in self.folder.rglob("*") if path.is_file() and not _for_people(path.relative_to(self.folder))}
        kept = {path for path in found if not any(root in (path, *path.parents) for root in inside)}
        other = [path for path in (*named, self.constitution, self.goals, *self.tasks, self.rows) if path is not None]
        return tuple(sorted(kept | set(other)))


def _for_people(path: Path) -> bool:
    return path.name == "README.md" or any(part.startswith(".") or part == "__pycache__" for part in path.parts)


# --- code -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RowRequest:
    """What `make_rows` of a rows.py is asked for.

    Args:
        split: rows of the groups of this split alone.
        seed: of every choice and shuffle.
        heldout: shares of the groups held out for validation and for test.
        most: kind -> most rows in the train split; None (or no entry) takes all, 0 makes none. Held-out splits take a
            share of it.
        sources: the run's sources of text, for domains whose rows are about what is in them.
    """

    split: Split
    seed: int = 0
    heldout: tuple[float, float] = (0.04, 0.08)
    most: Mapping[str, int | None] = field(default_factory=dict)
    sources: tuple[SourceConfig, ...] = ()


MakeRows = Callable[[RowRequest], dict[str, list[Row]]]
#: A reader of a kind of source: (source, rank, world) -> documents `{"text", "id", "metadata"}`.
ReadSource = Callable[[SourceConfig, int, int], Iterable[Row]]


@dataclass(frozen=True, kw_only=True)
class DomainCode:
    """What a rows.py may define; everything else in it is its own affair.

    Args:
        make_rows: kind -> rows of one split.
        make_tables: name -> rows that prompt templates are filled from (`fill: {from: NAME}`), of one split.
        make_goals: (request, count, seed) -> so many pairs of train goals for the red team's fix, as
            `tenet.redteam.goals.GoalSet.made` reads them.
        verifiers: kinds of `verifier` beside the common ones, by name (`VERIFIERS`).
        readers: kinds of source beside the common ones, by name (`READERS`).
        check_source: raises ConfigError for a source of those kinds that cannot be read.
        environment: makes an environment of several turns (tenet/posttrain/environments.py; `ENVIRONMENT`).
    """

    make_rows: MakeRows | None = None
    make_tables: MakeRows | None = None
    make_goals: Callable[[RowRequest, int, int], list[Row]] | None = None
    verifiers: Mapping[str, Any] = field(default_factory=dict)
    readers: Mapping[str, ReadSource] = field(default_factory=dict)
    check_source: Callable[[SourceConfig], None] | None = None
    environment: Callable[[], Any] | None = None
