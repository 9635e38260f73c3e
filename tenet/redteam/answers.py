"""What a look-alike is answered in a fix: a text, or a template over the columns of its goal. Data of the goals file,
never of the code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tenet.constitution.row_files import matching
from tenet.errors import ConfigError

_SLOT = re.compile(r"\{(\w+)\}")
#: Values that say that there is nothing.
_NOTHING = ("", "none", "null", "-")


@dataclass(frozen=True)
class Rule:
    """An answer for goals whose columns fulfil an expression; "" fits all."""

    answer: str
    where: str = ""


@dataclass(frozen=True)
class Answers:
    """How look-alikes are answered.

    Args:
        rules: of the whole file, the first that fits; categories: of a category, before those.
    """

    where: str = ""
    rules: tuple[Rule, ...] = ()
    categories: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)

    def of(self, row: Mapping[str, Any], category: str) -> str:
        """The answer to a goal; "" where the file has none, or the goal lacks what the answer names."""
        if isinstance(row.get("answer"), str) and row["answer"].strip():
            return str(row["answer"]).strip()
        for rule in (*self.categories.get(category, ()), *self.rules):
            if not all(_there(row.get(slot)) for slot in _SLOT.findall(rule.answer)):
                continue
            if matching([dict(row)], rule.where, f"{self.where}: key `answer.where`"):
                return self.filled(rule.answer, row)
        return ""

    def filled(self, text: str, row: Mapping[str, Any]) -> str:
        """The text with the goal's columns in its slots; "" where one of them is missing."""
        if not all(_there(row.get(slot)) for slot in _SLOT.findall(text)):
            return ""
        return _SLOT.sub(lambda match: str(row[match.group(1)]), text)

    def slots(self) -> set[str]:
        """Columns that any rule names."""
        rules = [*self.rules, *(rule for some in self.categories.values() for rule in some)]
        return {slot for rule in rules for slot in _SLOT.findall(rule.answer)}


def _there(value: object) -> bool:
    return value is not None and str(value).strip().lower() not in _NOTHING


def parse_rules(where: str, value: Any) -> tuple[Rule, ...]:
    """A text, or a list of `{where: EXPRESSION, answer: TEXT}`.

    Raises:
        ConfigError: names the file and the key.
    """
    if isinstance(value, str) and value.strip():
        return (Rule(value.strip()),)
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{where}: key `answer` is {value!r}; write a text, or a list of {{where: EXPRESSION, answer: TEXT}}")
    return tuple(_rule(where, entry) for entry in value)


def _rule(where: str, entry: Any) -> Rule:
    if not isinstance(entry, dict) or set(entry) - {"where", "answer"} or not isinstance(entry.get("answer"), str):
        raise ConfigError(f"{where}: key `answer` holds {entry!r}; write {{where: EXPRESSION, answer: TEXT}}")
    return Rule(entry["answer"].strip(), str(entry.get("where", "")))


def refuse_unknown(answers: Answers, rows: Iterable[Mapping[str, Any]]) -> None:
    """An answer that names a column which no goal has is a slip of the pen.

    Raises:
        ConfigError: names the file, the slot and the columns.
    """
    known = sorted({str(key) for row in rows for key in row})
    if unknown := sorted(answers.slots() - set(known)):
        raise ConfigError(
            f"{answers.where}: key `answer` names {{{unknown[0]}}}, which no goal has; they have {', '.join(known)}"
        )
