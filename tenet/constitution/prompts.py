"""Prompts that exercise a principle: sentences, a file of them, or templates whose slots are filled.

    prompts: [Who won?, What time is it?]                       # or {train: [...], test: [...]}
    prompts: questions.jsonl                                    # rows {prompt, split?, look_alike?, principle?}; .txt: one a line
    prompts: {fill: {from: recipes.jsonl, where: "minutes > 60", by: cuisine}, train: ["How do I cook {dish}?"], test:
    [...]}

`{slot}` is filled from `slots:` (lists of words) or from a column of `fill.from`, a file of rows or a table that the
subject hands over. What is held out is what the file says (train and test apart), else a hash decides.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenet.constitution.row_files import SPLITS, Row, columns, matching, of_split, read_rows, split_of
from tenet.errors import ConfigError

if TYPE_CHECKING:
    from tenet.constitution.principles import Constitution, Principle

#: slot -> split -> the words that may fill it.
Slots = Mapping[str, Mapping[str, tuple[str, ...]]]
#: A table that a subject hands over, by name: split -> rows.
Tables = Mapping[str, Callable[[str], Sequence[Row]]]
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Fill:
    """Rows whose columns fill slots.

    Args:
        source: name of a table, or a file.
        where: expression over the columns that chooses rows; "" takes all.
        by: column that is drawn from evenly first, so that a value with many rows is not most of the prompts.
        folder: of the file that says so; a relative path starts there.
    """

    source: str
    where: str = ""
    by: str = ""
    folder: Path = Path()

    def rows(self, place: str, split: str, tables: Tables) -> list[Row]:
        """The rows of a split that are meant; never none."""
        if (path := self.folder / self.source).is_file():
            rows = self._read(place, path, split)
        elif self.source in tables:
            rows = list(tables[self.source](split))
        else:
            known = ", ".join(tables) or "none"
            raise ConfigError(f"{place}.from is {self.source!r}: no table (there are: {known}) and no file {path}")
        self._check_by(place, rows)
        chosen = matching(rows, self.where, f"{place}.where")
        if not chosen:
            raise ConfigError(f"{place}: the {split} rows of {self.source} have none where {self.where!r}; hold out others")
        return chosen

    def _check_by(self, place: str, rows: Sequence[Row]) -> None:
        if self.by and self.by not in columns(rows):
            raise ConfigError(f"{place}.by is {self.by!r}; columns of {self.source} are {', '.join(columns(rows))}")

    def _read(self, place: str, path: Path, split: str) -> list[Row]:
        rows = read_rows(path)
        self._check_by(place, rows)
        try:
            return of_split(rows, split, self.by)
        except ConfigError as error:
            raise ConfigError(f"{place}.from {path}: {error}") from None


@dataclass(frozen=True)
class PromptSet:
    """Wordings, train and test apart.

    Args:
        fill: rows for their slots; None where `slots` are all.
        template: have `{slot}` and plain braces another meaning? Plain sentences are left as they are.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    fill: Fill | None = None
    template: bool = False


@dataclass(frozen=True)
class Prompt:
    """One question to the assistant; on a look-alike the principle must not show.

    Args:
        group: what it is about, as far as its rows say; held out together.
        licence: of the row that filled it; "" takes that of the constitution.
    """

    text: str
    look_alike: bool
    id: str
    group: str = ""
    licence: str = ""


# --- reading -----------------------------------------------------------------------------------------------------------


def parse_prompts(where: str, key: str, value: Any, slots: Slots, folder: Path) -> PromptSet:
    """A list of sentences or `{train, test, templates, fill}`.

    Raises:
        ConfigError: names the file, the principle and the key.
    """
    if isinstance(value, list):
        value = {"templates": value}
    known = ("train", "test", "templates", "fill")
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: key `{key}` is {value!r}; write a list, the path of a file, or keys {', '.join(known)}")
    if unknown := [name for name in value if name not in known]:
        raise ConfigError(f"{where}: key `{key}.{unknown[0]}` is unknown; known are {', '.join(known)}")
    fill = _fill_of(where, f"{key}.fill", value["fill"], folder) if "fill" in value else None
    template = fill is not None or bool(slots)
    if "templates" in value:
        if "train" in value or "test" in value:
            raise ConfigError(f"{where}: key `{key}.templates` stands beside train or test; write either")
        texts = _texts(where, f"{key}.templates" if fill else key, value["templates"])
        # Where rows fill them the rows are held apart; sentences have nothing else to hold apart.
        train, test = (texts, texts) if fill else _by_hash(where, key, texts)
    else:
        train, test = (_texts(where, f"{key}.{split}", value.get(split)) for split in SPLITS)
    for text in (*train, *test) if template and fill is None else ():
        if unknown := sorted(set(_SLOT.findall(text)) - set(slots)):
            raise ConfigError(
                f"{where}: key `{key}` uses {{{unknown[0]}}} in {text!r}; known slots are {', '.join(slots)}; "
                "columns of rows need `fill`"
            )
    return PromptSet(train, test, fill, template)


def _texts(where: str, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) and text.strip() for text in value):
        raise ConfigError(f"{where}: key `{key}` is {value!r}; it must be a list of texts with at least one")
    return tuple(value)


def _by_hash(where: str, key: str, texts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        side = split_of(texts)
    except ConfigError as error:
        raise ConfigError(f"{where}: key `{key}`: {error}") from None
    train, test = (tuple(text for text in dict.fromkeys(texts) if side[text] == split) for split in SPLITS)
    return train, test


def _fill_of(where: str, key: str, value: Any, folder: Path) -> Fill:
    if not isinstance(value, dict) or not isinstance(value.get("from"), str) or not value["from"]:
        raise ConfigError(f"{where}: key `{key}` is {value!r}; write {{from: FILE or table, where: EXPRESSION, by: COLUMN}}")
    if unknown := [name for name in value if name not in ("from", "where", "by")]:
        raise ConfigError(f"{where}: key `{key}.{unknown[0]}` is unknown; known are from, where, by")
    return Fill(value["from"], str(value.get("where", "")), str(value.get("by", "")), folder)


def parse_slots(where: str, value: Any) -> Slots:
    """slot -> words: a list (split by hash) or two lists, train and test."""
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: key `slots` is {value!r}; write names and lists of words")
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for slot, words in value.items():
        if isinstance(words, list):
            train, test = _by_hash(where, f"slots.{slot}", [str(word) for word in words])
            found[slot] = {"train": train, "test": test}
        elif isinstance(words, dict) and all(isinstance(words.get(split), list) and words[split] for split in SPLITS):
            found[slot] = {split: tuple(map(str, words[split])) for split in SPLITS}
        else:
            raise ConfigError(f"{where}: key `slots.{slot}` must hold a list of words, or two lists, train and test")
    return found


@dataclass(frozen=True)
class PromptFile:
    """A file of prompts: each row may say its split, its principle, and that it is a look-alike."""

    path: Path
    key: str
    rows: tuple[Row, ...]

    @classmethod
    def read(cls, where: str, key: str, path: Path) -> PromptFile:
        """Read and check it.

        Raises:
            ConfigError: it cannot be read, or a row has no prompt.
        """
        try:
            rows = read_rows(path)
        except ConfigError as error:
            raise ConfigError(f"{where}: key `{key}`: {error}") from None
        for number, row in enumerate(rows, 1):
            if not isinstance(row.get("prompt"), str) or not row["prompt"].strip():
                raise ConfigError(f"{path}: row {number} has no text under `prompt`; its columns are {', '.join(map(str, row))}")
        return cls(path, key, tuple(rows))

    def named(self) -> set[str]:
        """Principles that rows name."""
        return {str(row["principle"]) for row in self.rows if row.get("principle")}

    def of(self, principle: str, look_alike: bool) -> PromptSet | None:
        """The prompts of one principle; None where there are none."""
        flagged = self.key == "prompts"  # in a file of look-alikes every row is one
        rows = [
            row
            for row in self.rows
            if row.get("principle", "") in ("", None, principle) and (not flagged or _true(row.get("look_alike")) == look_alike)
        ]
        if not rows:
            return None
        try:
            train, test = (tuple(dict.fromkeys(row["prompt"] for row in of_split(rows, s, "prompt"))) for s in SPLITS)
        except ConfigError as error:
            raise ConfigError(f"{self.path}: prompts of principle {principle}: {error}") from None
        return PromptSet(train, test)


def _true(value: object) -> bool:
    return str(value).strip().lower() in ("true", "1", "yes") if value is not None else False


# --- making ------------------------------------------------------------------------------------------------------------


def all_prompts(
    constitution: Constitution, split: str, count: int, seed: int, tables: Tables | None = None
) -> list[tuple[Principle, Prompt]]:
    """`prompts` of every principle."""
    known: dict[tuple[Fill, str], list[Row]] = {}  # principles share their rows, and an expression over thousands takes a while
    language = constitution.language
    return [(p, one) for p in constitution.principles for one in prompts(p, split, count, seed, tables, language, known)]


def prompts(
    principle: Principle,
    split: str,
    count: int,
    seed: int,
    tables: Tables | None = None,
    language: str = "en",
    known: dict[tuple[Fill, str], list[Row]] | None = None,
) -> list[Prompt]:
    """Questions that exercise a principle: half of them ordinary, half look-alikes (all ordinary where it has no
    look-alikes).

    Args:
        split: "train" or "test"; it chooses the wordings, the slots' words and the rows.
        count: prompts in all; fewer come back when the wordings cannot make as many different ones.
        seed: the same seed gives the same prompts.
        tables: what `fill.from` may name beside files.
        known: rows that were chosen before, by fill and split.

    Raises:
        ConfigError: the split is unknown, or no row of the wanted kind is there.
    """
    if split not in SPLITS:
        raise ConfigError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    if principle.prompts is None:
        raise ConfigError(f"principle {principle.id} has no prompts; write `prompts:` into the constitution")
    alike = count // 2 if principle.look_alike else 0
    known = {} if known is None else known
    made = _Filler(principle, principle.prompts, False, split, seed, tables or {}, language, known).make(count - alike)
    if principle.look_alike:
        made += _Filler(principle, principle.look_alike, True, split, seed, tables or {}, language, known).make(alike)
    random.Random(f"{principle.id}/{split}/{seed}/order").shuffle(made)
    return made


@dataclass
class _Filler:
    """Picks wordings and what fills them."""

    principle: Principle
    asked: PromptSet
    look_alike: bool
    split: str
    seed: int
    tables: Tables
    language: str
    known: dict[tuple[Fill, str], list[Row]]

    def make(self, count: int) -> list[Prompt]:
        rng = random.Random(f"{self.principle.id}/{self.split}/{self.seed}/{self.look_alike}")
        groups = self._groups() if count else {}
        names = sorted(groups)
        wordings = self.asked.train if self.split == "train" else self.asked.test
        found: dict[str, Row] = {}
        # Picks repeat, so many more are allowed than prompts are wanted; where that is not enough there are no more.
        for _ in range(50 * max(count, len(wordings)) if count else 0):
            if len(found) == count:
                break
            row = rng.choice(groups[rng.choice(names)]) if names else {}
            text = self._filled(rng.choice(wordings), row, rng)
            if text:
                found.setdefault(text, row)
        kind = f"{self.principle.id}/{self.split}/{'alike' if self.look_alike else 'plain'}"
        by = self.asked.fill.by if self.asked.fill else ""
        return [
            Prompt(text, self.look_alike, f"{kind}/{number}", str(row.get(by, "")), str(row.get("licence", "")))
            for number, (text, row) in enumerate(found.items())
        ]

    def _groups(self) -> dict[str, list[Row]]:
        if self.asked.fill is None:
            return {}
        fill, key = self.asked.fill, "look_alike" if self.look_alike else "prompts"
        if (fill, self.split) not in self.known:
            place = f"principle {self.principle.id}: key `{key}.fill`"
            self.known[fill, self.split] = fill.rows(place, self.split, self.tables)
        groups: dict[str, list[Row]] = {}
        for row in self.known[fill, self.split]:
            groups.setdefault(str(row[fill.by]) if fill.by else "", []).append(row)
        return groups

    def _filled(self, text: str, row: Row, rng: random.Random) -> str:
        """The wording with its slots filled; "" where the row has nothing for one of them."""
        if not self.asked.template:
            return text
        for slot, words in self.principle.slots.items():
            if f"{{{slot}}}" in text:
                text = text.replace(f"{{{slot}}}", rng.choice(words[self.split]))
        for slot in _SLOT.findall(text):
            if slot not in row:
                known = ", ".join([*self.principle.slots, *row])
                raise ConfigError(
                    f"principle {self.principle.id}: {{{slot}}} in {text!r} is neither slot nor column; known are {known}"
                )
            if row[slot] in ("", None):
                return ""
        return tidy(_SLOT.sub(lambda match: str(row[match.group(1)]), text), self.language)


def tidy(text: str, language: str = "en") -> str:
    """A capital at the start of each sentence and, in English, "an" before a vowel: wordings do not know what fills
    them."""
    if language == "en":
        text = re.sub(r"\b([Aa]) (?=[aeioAEIO])", r"\1n ", text)
    return re.sub(r"(^|[.!?] )([a-z])", lambda match: match.group(1) + match.group(2).upper(), text)
