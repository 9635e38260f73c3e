"""Rows of the Berkeley Function-Calling Leaderboard, v4 (Patil et al. 2025): questions and right answers of a category,
joined, as conversations with tools.

The files are those of the `bfcl-eval` wheel (`bfcl_eval/data`, as they lie there or packed as JSON lines), read as
data; its code is not imported. Single-turn categories in Python are here. Left out, by name, are those of other
languages, whose values are source code, and those with state (LEFT_OUT).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError
from tenet.rows.records import records

Row = dict[str, Any]
VERSION = "BFCL_v4"
#: Categories with right answers, and what is right in those without: no call, or some call.
CATEGORIES: dict[str, str] = {
    "simple_python": "",
    "multiple": "",
    "parallel": "",
    "parallel_multiple": "",
    "irrelevance": "none",
    "live_simple": "",
    "live_multiple": "",
    "live_parallel": "",
    "live_parallel_multiple": "",
    "live_irrelevance": "none",
    "live_relevance": "any",
}
_LANGUAGE = "its values are source code of another language than Python"
_STATE = "its tools keep state between turns, which would have to be simulated"
LEFT_OUT = {
    "simple_java": _LANGUAGE,
    "simple_javascript": _LANGUAGE,
    "multi_turn_base": _STATE,
    "multi_turn_long_context": _STATE,
    "multi_turn_miss_func": _STATE,
    "multi_turn_miss_param": _STATE,
    "memory": _STATE,
    "web_search": "it needs the network",
    "format_sensitivity": "it measures prompt formats, not calls",
}
#: The leaderboard's names of types, as a JSON schema has them; "any" is text there, so it is here.
TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}


def read_bfcl(folder: Path, category: str) -> list[Row]:
    """Rows of a category, in file order: `{"id", "category", "messages", "tools", "answer"}`, for the verifier kind
    `function_calls`.

    Dots in names of functions become underscores, in tools and answers alike: no API that tools are sent to takes a
    dot.

    Args:
        folder: with `BFCL_v4_<category>.json` or `.jsonl.gz`, and the answers in `possible_answer/`.

    Raises:
        ConfigError: the category is unknown or left out, a file is missing or cannot be read, or questions and answers
            do not belong together.
    """
    if category not in CATEGORIES:
        reason = LEFT_OUT.get(category, f"there are {', '.join(CATEGORIES)}")
        raise ConfigError(f"BFCL category {category!r} {'is left out' if category in LEFT_OUT else 'is unknown'}: {reason}")
    questions, *others = map(_read, bfcl_files(folder, category))
    if not others:
        return [_row(question, category, CATEGORIES[category]) for question in questions]
    (answers,) = others
    if [row["id"] for row in questions] != [row["id"] for row in answers]:
        raise ConfigError(
            f"{folder}: questions and answers of BFCL category {category} do not name the same rows in the same order"
        )
    return [_row(question, category, answer["ground_truth"]) for question, answer in zip(questions, answers, strict=True)]


def bfcl_files(folder: Path, category: str) -> list[Path]:
    """The files of a category: questions, and answers where it has some.

    Raises:
        ConfigError: one is missing.
    """
    wanted = [folder, folder / "possible_answer"][: 1 if CATEGORIES[category] else 2]
    found = []
    for place in wanted:
        names = [place / f"{VERSION}_{category}{suffix}" for suffix in (".jsonl.gz", ".jsonl", ".json")]
        path = next((path for path in names if path.is_file()), None)
        if path is None:
            raise ConfigError(
                f"{names[-1]} does not exist, nor as .jsonl or .jsonl.gz; "
                f"`pip download --no-deps bfcl-eval`, unpack it and put what is in bfcl_eval/data into {folder}"
            )
        found.append(path)
    return found


def rows_sha256(rows: Sequence[Row]) -> str:
    """SHA-256 of rows as JSON with sorted keys: the same for the same rows, however their files are packed."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def _read(path: Path) -> list[Row]:
    rows = []
    for record in records(path):
        if record.value is None:
            raise ConfigError(f"{path}:{record.line}: {record.problem}; fetch the file again")
        rows.append(record.value)
    return rows


def _row(question: Row, category: str, right: str | Sequence[Row]) -> Row:
    if len(question["question"]) != 1:
        raise ConfigError(f"BFCL row {question['id']} has {len(question['question'])} turns; category {category} has one")
    return {
        "id": question["id"],
        "category": category,
        "messages": question["question"][0],
        "tools": [_tool(function) for function in question["function"]],
        "answer": right if isinstance(right, str) else [{_name(name): values for name, values in one.items()} for one in right],
    }


def _tool(function: Row) -> Row:
    return {
        "type": "function",
        "function": {**function, "name": _name(function["name"]), "parameters": _schema(function["parameters"])},
    }


def _name(name: str) -> str:
    return name.replace(".", "_")


def _schema(stated: Row) -> Row:
    """A JSON schema; a parameter may itself be called "type", so that names and schemas are told apart by level."""
    schema = dict(stated)
    if isinstance(schema.get("type"), str):
        schema["type"] = TYPES.get(schema["type"], schema["type"])
    if isinstance(schema.get("properties"), dict):
        schema["properties"] = {
            name: _schema(one) if isinstance(one, dict) else one for name, one in schema["properties"].items()
        }
    if isinstance(schema.get("items"), dict):
        schema["items"] = _schema(schema["items"])
    return schema
