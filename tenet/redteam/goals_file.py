"""Reads a file of goals and checks every key: a goals.yaml with categories, or a plain list of rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tenet.constitution.row_files import read_rows
from tenet.errors import ConfigError
from tenet.redteam.answers import Answers, parse_rules, refuse_unknown
from tenet.redteam.goals import (
    FORMS,
    KINDS,
    OFFER,
    REASON,
    Category,
    Goal,
    GoalSet,
    Material,
    Swap,
    category_goals,
    refuse_twice,
    row_goals,
)

_TEXTS = ("licence", "source", "reason", "offer", "subject")
_KEYS = (
    *("version", *_TEXTS, "form", "answer", "topic", "leak", "refusals"),
    *("swap", "shots", "turns", "tool", "rows", "categories"),
)
_CATEGORY_KEYS = ("id", "title", "reason", "offer", "answer", *KINDS)


def load_goals(path: str | Path) -> GoalSet:
    """Read and check a file of goals.

    Raises:
        ConfigError: names the file, the category or row, and the key.
    """
    path = Path(path)
    if not _is_yaml(path):
        return _plain_list(path)
    return _Reader(path, _content(path)).goals()


def named_files(path: Path) -> list[Path]:
    """The list of rows that a goals.yaml names, if it is there: a result rests on it as on the file itself.

    Raises:
        ConfigError: the file cannot be read.
    """
    rows = _content(path).get("rows") if _is_yaml(path) else None
    return [path.parent / rows] if isinstance(rows, str) and (path.parent / rows).is_file() else []


def _is_yaml(path: Path) -> bool:
    return path.suffix.lower() in (".yaml", ".yml")


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"{path}: no such file; set redteam.goals to a YAML file of goals, or a list of rows") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from None
    if not isinstance(content, dict) or not ("categories" in content or "rows" in content):
        raise ConfigError(f"{path}: has neither key `categories` nor key `rows`; write one of them")
    return content


def _plain_list(path: Path) -> GoalSet:
    found = GoalSet(path, (), source=path.name)
    rows = read_rows(path)
    licences = {str(row["licence"]) for row in rows if row.get("licence")}
    goals = row_goals(found, path, rows)
    refuse_twice(path, goals)
    return replace(found, goals=tuple(goals), licence=", ".join(sorted(licences)) or found.licence)


class _Reader:
    """One goals.yaml; every message begins with the file."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self.content = path, content
        if unknown := [key for key in content if key not in _KEYS]:
            raise ConfigError(f"{path}: key `{unknown[0]}` is unknown; known are {', '.join(_KEYS)}")

    def goals(self) -> GoalSet:
        content, texts = self.content, {key: self._text(key) for key in _TEXTS if key in self.content}
        default = Category("", reason=texts.pop("reason", REASON), offer=texts.pop("offer", OFFER))
        categories = self._categories(default)
        form = content.get("form", "prompt")
        if form not in FORMS:
            raise ConfigError(f"{self.path}: key `form` is {form!r}; there are {', '.join(FORMS)}")
        own = {c["id"]: parse_rules(self._where(c), c["answer"]) for c in content.get("categories", []) if "answer" in c}
        rules = parse_rules(str(self.path), content["answer"]) if "answer" in content else ()
        found = GoalSet(
            self.path,
            (),
            **{"source": self.path.name, **texts},
            categories=categories,
            default=default,
            leak=self._leak(default),
            refusals=self._refusals(),
            material=self._material(),
            swaps=self._swaps(),
            answers=Answers(str(self.path), rules, own),
            form=form,
            topic=tuple(self._regex("topic", pattern) for pattern in self._list("topic", str)),
        )
        goals: list[Goal] = []
        entries: list[Mapping[str, Any]] = []
        for category in content.get("categories", []):
            goals += category_goals(found, self._where(category), category)
            entries += _entries(category)
        if "rows" in content:
            file = self.path.parent / self._text("rows")
            rows = read_rows(file)
            goals += row_goals(found, file, rows)
            entries += [{str(key).lower(): value for key, value in row.items()} for row in rows]
        if not goals:
            raise ConfigError(f"{self.path}: holds no goals; write some under `harmful` of a category")
        refuse_twice(self.path, goals)
        refuse_unknown(found.answers, entries)
        return replace(found, goals=tuple(goals))

    def _where(self, category: Mapping[str, Any]) -> str:
        return f"{self.path}: category {category['id']}"

    def _text(self, key: str) -> str:
        value = self.content[key]
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(f"{self.path}: key `{key}` is {value!r}; it must be a text")
        return value.strip()

    def _list(self, key: str, kind: type) -> list[Any]:
        value = self.content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
            raise ConfigError(
                f"{self.path}: key `{key}` is {value!r}; it must be a list of {'texts' if kind is str else 'entries'}"
            )
        return value

    def _regex(self, key: str, value: Any) -> re.Pattern[str]:
        try:
            return re.compile(value)
        except (re.error, TypeError) as error:
            raise ConfigError(f"{self.path}: key `{key}` holds {value!r}, no regular expression ({error})") from None

    def _categories(self, default: Category) -> dict[str, Category]:
        found: dict[str, Category] = {}
        entries = self.content.get("categories", [])
        if not isinstance(entries, list) or (not entries and "rows" not in self.content):
            raise ConfigError(f"{self.path}: key `categories` must be a list with at least one category")
        for entry in entries:
            if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or not entry["id"]:
                raise ConfigError(f"{self.path}: a category has no key `id` with a text; give it a short name")
            where = self._where(entry)
            if unknown := [key for key in entry if key not in _CATEGORY_KEYS]:
                raise ConfigError(f"{where}: key `{unknown[0]}` is unknown; known are {', '.join(_CATEGORY_KEYS)}")
            if entry["id"] in found:
                raise ConfigError(f"{where}: stands there twice; give each category its own id")
            for key in ("title", "reason", "offer"):
                if key in entry and (not isinstance(entry[key], str) or not entry[key].strip()):
                    raise ConfigError(f"{where}: key `{key}` is {entry[key]!r}; it must be a text")
            if not any(kind in entry for kind in KINDS) and "rows" not in self.content:
                raise ConfigError(f"{where}: has neither key `harmful` nor key `look_alikes`")
            title, reason, offer = entry.get("title", ""), entry.get("reason", default.reason), entry.get("offer", default.offer)
            found[entry["id"]] = Category(entry["id"], title, reason, offer)
        return found

    def _leak(self, default: Category) -> Category:
        value = self.content.get("leak", {})
        if not isinstance(value, dict) or set(value) - {"reason", "offer"}:
            raise ConfigError(f"{self.path}: key `leak` is {value!r}; write {{reason: TEXT, offer: TEXT}}")
        return Category("leak", "", value.get("reason", "it is a secret"), value.get("offer", default.offer))

    def _refusals(self) -> tuple[str, ...]:
        found = self._list("refusals", str)
        for text in found:
            try:
                text.format(reason="", offer="")
            except (KeyError, IndexError, ValueError):
                raise ConfigError(
                    f"{self.path}: key `refusals` holds {text!r}; it may use {{reason}} and {{offer}} only"
                ) from None
        return tuple(found)

    def _material(self) -> Material:
        plain = Material()
        shots, turns = (self._exchanges(key, least) for key, least in (("shots", 2), ("turns", 1)))
        tool = self.content.get("tool", {})
        if not isinstance(tool, dict) or set(tool) - {"name", "argument", "files"}:
            raise ConfigError(f"{self.path}: key `tool` is {tool!r}; write {{name: TEXT, argument: TEXT, files: [TEXT]}}")
        files = tool.get("files", plain.files)
        if not files or not all(isinstance(name, str) for name in files):
            raise ConfigError(f"{self.path}: key `tool.files` is {files!r}; it must be a list of texts")
        names = (str(tool.get("name", plain.tool)), str(tool.get("argument", plain.argument)))
        return Material(shots or plain.shots, turns or plain.turns, *names, tuple(files))

    def _exchanges(self, key: str, least: int) -> tuple[tuple[str, str], ...]:
        found = self._list(key, dict)
        for entry in found:
            if set(entry) != {"user", "assistant"} or not all(isinstance(text, str) for text in entry.values()):
                raise ConfigError(f"{self.path}: key `{key}` holds {entry!r}; write {{user: TEXT, assistant: TEXT}}")
        if found and len(found) < least:
            raise ConfigError(f"{self.path}: key `{key}` has {len(found)} entries; it needs at least {least}")
        return tuple((entry["user"], entry["assistant"]) for entry in found)

    def _swaps(self) -> dict[str, Swap]:
        value, known = self.content.get("swap", {}), ("harmful", "look_alikes", "twins")
        if not isinstance(value, dict) or set(value) - set(known):
            raise ConfigError(f"{self.path}: key `swap` is {value!r}; known are {', '.join(known)}")
        found = {}
        for kind, entry in value.items():
            words = entry.get("words") if isinstance(entry, dict) else entry
            if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
                raise ConfigError(f"{self.path}: key `swap.{kind}` is {entry!r}; write {{pattern: REGEX, words: [TEXT]}}")
            pattern = entry.get("pattern") if isinstance(entry, dict) else None
            found[kind] = Swap(self._regex(f"swap.{kind}.pattern", pattern or "|".join(map(re.escape, words))), tuple(words))
        if "twins" in found and not isinstance(value["twins"], dict):
            raise ConfigError(f"{self.path}: key `swap.twins.pattern` is missing; say what in a look-alike is exchanged")
        return found


def _entries(category: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All goals of a category as they stand in the file."""
    lists = [category.get(kind, []) for kind in KINDS]
    flat = [one for some in lists for one in ([some] if isinstance(some, list) else some.values())]
    return [entry for entries in flat for entry in entries if isinstance(entry, dict)]
