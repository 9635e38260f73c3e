"""The constitution: principles as data, as a person writes them.

A principle may be one plain sentence; what is left out is derived or absent. Everything about it stands in the file:
its words, its prompts (train and test apart), its check and what must not trigger it. `prompts.py` asks its questions,
`checks.py` builds its rules, `judges.py` critiques, revises and compares with these or with a model. The file's format
is described in docs/safety.md.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tenet.constitution.checks import Check, parse_check
from tenet.constitution.prompts import PromptFile, PromptSet, Slots, parse_prompts, parse_slots
from tenet.errors import ConfigError

CRITIQUE = "Does the answer break this principle?"
REVISION = "Write a better answer, one that keeps the principle."
#: Licence of the file's own words where it names none.
NO_LICENCE = "not stated"


@dataclass(frozen=True)
class Principle:
    """One principle.

    Args:
        id: short name; title: for reports.
        principle: what the assistant should do; opposite: the contrary, "" where the file has none.
        critique_request, revision_request: what a judge that can read is asked.
        priority: the smallest number wins when two disagree.
        check: the rule that tells whether an answer keeps it; None leaves that to a judge.
        shows: the rule that tells on a look-alike that the principle was applied; None leaves that to a judge.
        continues: is the opening only the beginning of a revision, or all of it?
        opening: how a revision may begin when the reviser cannot rewrite on its own.
        prompts: what exercises it; look_alike: prompts on which it must not show.
        slots: words that fill `{slot}` in its prompts.
    """

    id: str
    title: str
    principle: str
    opposite: str = ""
    critique_request: str = CRITIQUE
    revision_request: str = REVISION
    priority: int = 0
    check: Check | None = None
    shows: Check | None = None
    continues: bool = True
    opening: tuple[str, ...] = ("",)
    prompts: PromptSet | None = None
    look_alike: PromptSet | None = None
    slots: Slots = field(default_factory=dict)

    def opposed(self) -> Principle:
        """The same principle with its opposite in its place: a judge that listens must turn its verdicts round."""
        if not self.opposite:
            raise ConfigError(f"principle {self.id}: key `opposite` is missing; write the contrary of the principle")
        return dataclasses.replace(self, principle=self.opposite, opposite=self.principle)

    def wrong(self, prompt: str, answer: str, look_alike: bool = False) -> bool | None:
        """By the rules: is the principle broken (on a look-alike: applied where it must not be)? None where the file
        has no rule."""
        if look_alike:
            return None if self.shows is None else self.shows.passes(prompt, answer)
        return None if self.check is None else not self.check.passes(prompt, answer)


@dataclass(frozen=True)
class Constitution:
    """A file of principles, the most important one first.

    Args:
        licence, source: of rows that are made from its words.
        language: of its prompts; "a" becomes "an" in English alone.
    """

    path: Path
    principles: tuple[Principle, ...]
    licence: str = NO_LICENCE
    source: str = "constitution"
    language: str = "en"

    def unchecked(self) -> tuple[Principle, ...]:
        """Principles that a judge has to judge: they have no check, or look-alikes without a rule."""
        return tuple(p for p in self.principles if p.check is None or (p.look_alike is not None and p.shows is None))

    def __getitem__(self, name: str) -> Principle:
        for principle in self.principles:
            if principle.id == name:
                return principle
        raise ConfigError(f"{self.path}: has no principle {name!r}; there are {', '.join(p.id for p in self.principles)}")


_TOP = ("version", "licence", "source", "language", "principles", "prompts", "look_alike", "slots")
_TEXTS = ("id", "title", "principle", "opposite", "critique_request", "revision_request")
_KEYS = (*_TEXTS, "priority", "check", "shows", "continues", "opening", "prompts", "look_alike", "slots")


def load_constitution(path: str | Path, prompts: bool = True) -> Constitution:
    """Read and check a constitution.

    Args:
        prompts: read the prompts too; a later stage that only gives verdicts leaves them out.

    Raises:
        ConfigError: names the file, the principle and the key.
    """
    path = Path(path)
    content = _content(path)
    entries = content["principles"]
    shared = {"prompts": content.get("prompts"), "look_alike": content.get("look_alike")} if prompts else {}
    slots = parse_slots(str(path), content.get("slots", {}))
    files = {key: PromptFile.read(str(path), key, path.parent / value) for key, value in shared.items() if isinstance(value, str)}
    readers: list[_Entry] = []
    for number, entry in enumerate(entries, 1):
        readers.append(_Entry(path, number, entry, {reader.id for reader in readers}))
    _refuse_strangers(files, {reader.id for reader in readers})
    found = [reader.principle(shared, files, slots, prompts) for reader in readers]
    _refuse_twice(path, found, entries)
    if prompts:
        _refuse_unasked(path, found)
    texts = {key: str(content[key]) for key in ("licence", "source", "language") if key in content}
    order = sorted(found, key=lambda principle: principle.priority)
    return Constitution(path, tuple(order), **{"source": path.name, **texts})


def named_files(path: Path) -> list[Path]:
    """Files of prompts and rows that a constitution names and that are there: a result rests on them as on the
    constitution itself.

    Raises:
        ConfigError: the constitution cannot be read.
    """
    content = _content(path)
    places = [content, *(entry for entry in content["principles"] if isinstance(entry, dict))]
    values = [place.get(key) for place in places for key in ("prompts", "look_alike")]
    names = [
        value["fill"].get("from") if isinstance(value, dict) and isinstance(value.get("fill"), dict) else value
        for value in values
    ]
    found = {path.parent / name for name in names if isinstance(name, str)}
    return sorted(one for one in found if one.is_file())


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"{path}: no such file; set constitutional.constitution to a YAML file of principles") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from None
    entries = content.get("principles") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path}: key `principles` must be a list with at least one principle, e.g. `- Be polite.`")
    if unknown := [key for key in content if key not in _TOP]:
        raise ConfigError(f"{path}: key `{unknown[0]}` is unknown; known are {', '.join(_TOP)}")
    return content


class _Entry:
    """One entry of `principles`; every message begins with file and principle."""

    def __init__(self, path: Path, number: int, entry: Any, taken: set[str]) -> None:
        if isinstance(entry, str) and entry.strip():
            entry = {"principle": " ".join(entry.split())}
        if not isinstance(entry, dict):
            raise ConfigError(f"{path}: principle number {number} is {entry!r}; write a sentence, or keys and values")
        name = entry.get("id")
        self.where = f"{path}: principle {name if isinstance(name, str) and name else f'number {number}'}"
        self.path, self.number, self.entry = path, number, entry
        if unknown := [key for key in entry if key not in _KEYS]:
            raise ConfigError(f"{self.where}: key `{unknown[0]}` is unknown; known are {', '.join(_KEYS)}")
        if "principle" not in entry:
            raise ConfigError(f"{self.where}: key `principle` is missing; write what the assistant should do")
        for key in _TEXTS:
            if key in entry and (not isinstance(entry[key], str) or not entry[key].strip()):
                raise ConfigError(f"{self.where}: key `{key}` is {entry[key]!r}; it must be a text")
        self.id = name or _short_name(entry["principle"], taken)
        self.where = f"{path}: principle {self.id}"

    def principle(self, shared: dict[str, Any], files: dict[str, PromptFile], slots: Slots, with_prompts: bool) -> Principle:
        own = {key: " ".join(self.entry[key].split()) for key in _TEXTS if key in self.entry}
        own = {"title": _title(own["principle"]), **own, "id": self.id}
        slots = {**slots, **parse_slots(self.where, self.entry.get("slots", {}))}
        check, shows = (self._check(key) for key in ("check", "shows"))
        asked = {key: self._prompts(key, shared, files, slots) if with_prompts else None for key in ("prompts", "look_alike")}
        return Principle(
            **own,
            priority=self._value("priority", int, self.number),
            check=check,
            # A principle shows where its check passes, unless the file says how else it shows.
            shows=shows or check,
            continues=self._value("continues", bool, True),
            opening=self._opening(),
            prompts=asked["prompts"],
            look_alike=asked["look_alike"],
            slots=slots,
        )

    def _value(self, key: str, kind: type, default: Any) -> Any:
        value = self.entry.get(key, default)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ConfigError(
                f"{self.where}: key `{key}` is {value!r}; it must be {'true or false' if kind is bool else 'a whole number'}"
            )
        return value

    def _check(self, key: str) -> Check | None:
        return parse_check(self.where, key, self.entry[key]) if key in self.entry else None

    def _opening(self) -> tuple[str, ...]:
        value = self.entry.get("opening", [""])
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
            raise ConfigError(f"{self.where}: key `opening` is {value!r}; it must be a text or a list of texts")
        return tuple(value)

    def _prompts(self, key: str, shared: dict[str, Any], files: dict[str, PromptFile], slots: Slots) -> PromptSet | None:
        """A principle's own prompts, else those of the whole constitution."""
        value, where = self.entry.get(key), self.where
        if value is None and key in files:
            return files[key].of(self.id, look_alike=key == "look_alike")
        if value is None and key == "look_alike" and "prompts" in files and "prompts" not in self.entry:
            return files["prompts"].of(self.id, look_alike=True)
        if value is None:
            value, where = shared.get(key), str(self.path)
        if isinstance(value, str):
            return PromptFile.read(where, key, self.path.parent / value).of(self.id, look_alike=False)
        return None if value is None else parse_prompts(where, key, value, slots, self.path.parent)


def _short_name(sentence: str, taken: set[str]) -> str:
    """The first words of a sentence as a name; a number behind it where another sentence begins alike."""
    name = "-".join(re.findall(r"\w+", sentence.lower())[:6]) or "principle"
    return next(one for one in itertools.chain([name], (f"{name}-{n}" for n in itertools.count(2))) if one not in taken)


def _title(sentence: str, size: int = 60) -> str:
    text = sentence.rstrip(".")
    return text if len(text) <= size else text[:size].rsplit(" ", 1)[0] + " ..."


def _refuse_twice(path: Path, found: list[Principle], entries: list[Any]) -> None:
    given = [(p, entry if isinstance(entry, dict) else {}) for p, entry in zip(found, entries, strict=True)]
    for key in ("id", "priority"):
        values = [getattr(principle, key) for principle, entry in given if key == "id" or key in entry]
        if twice := [value for value in values if values.count(value) > 1]:
            raise ConfigError(f"{path}: {key} {twice[0]!r} is used by two principles; give each its own")
    texts = [principle.principle for principle in found]
    if again := [principle for principle in found if texts.count(principle.principle) > 1]:
        raise ConfigError(f"{path}: principle {again[0].principle!r} stands there twice; take one of them out")


def _refuse_strangers(files: dict[str, PromptFile], known: set[str]) -> None:
    """A prompt for a principle that is not there would be passed over in silence."""
    for file in files.values():
        if strangers := sorted(file.named() - known):
            raise ConfigError(
                f"{file.path}: a row names principle {strangers[0]!r}; the constitution has {', '.join(sorted(known))}"
            )


def _refuse_unasked(path: Path, found: list[Principle]) -> None:
    for principle in found:
        if principle.prompts is None:
            raise ConfigError(
                f"{path}: principle {principle.id} has no prompts; write `prompts:` (a list, or the path of a .txt or .jsonl file) "
                "into the principle or at the top of the file"
            )
