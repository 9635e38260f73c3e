"""Prompts with the verifier that judges their answers, and documents.

{"prompt": "What is 2 + 2?", "verifier": {"kind": "number", "answer": 4}}
{"prompt": [{"role": "user", "content": "..."}], "answer": "Paris", "verifier": "exact"}
{"prompt": "Write a haiku.", "verifier": "python:my_rewards.py:haiku"}
{"text": "...", "id": "...", "licence": "..."}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tenet.rows.kinds import Row
from tenet.rows.messages import Unusable, asked, from_json, messages_of, tools_of, turn
from tenet.verifiers import Verifier, read_verifier

_ASKED = ("prompt", "question", "instruction", "query")


def prompt_rows(
    record: Row, unused: Counter[str], verifiers: Mapping[str, Verifier], folder: Path | None
) -> tuple[str, list[Row]]:
    """A prompt, its tools, and its verifier as a mapping with `kind`.

    Args:
        verifiers: by kind, those of a domain among them.
        folder: where a `python:` verifier's file is looked for; None for rows of a hub.

    Raises:
        Unusable: nothing is asked, or the verifier is malformed.
    """
    column = next((name for name in (*_ASKED, "messages") if record.get(name)), None)
    if column is None:
        raise Unusable(f"it has the columns {', '.join(map(repr, record)) or 'of nothing'}; a prompt is `prompt` or `messages`")
    used = {column, "tools", "verifier", "kind"}
    if column == "messages":
        messages = messages_of(record[column], unused)
        if messages[-1]["role"] == "assistant":
            raise Unusable("`messages` ends with an answer; a prompt ends where the assistant is to speak")
    else:
        text = record[column]
        if column == "instruction" and isinstance(record.get("input"), str) and record["input"].strip():
            used.add("input")
            text = f"{text}\n\n{record['input']}"
        messages = asked(text, unused, column)
    system = record.get("system")
    if isinstance(system, str) and system.strip() and messages[0]["role"] != "system":
        used.add("system")
        messages = [turn("system", system), *messages]
    row: Row = {"prompt": messages, "kind": str(record.get("kind") or "")}
    if tools := tools_of(record.get("tools")):
        row["tools"] = tools
    form = column if column == "messages" else f"{column} as {'text' if isinstance(record[column], str) else 'turns'}"
    given = from_json(record.get("verifier"))
    if not given:
        return f"{form}, no verifier", [{**row, "_used": used}]
    try:
        row["verifier"] = read_verifier(given, {**record, **row}, verifiers, folder)
    except ValueError as error:
        raise Unusable(f"verifier: {error}") from None
    return f"{form}, with a verifier", [{**row, "_used": used}]


def document_rows(record: Row, unused: Counter[str]) -> tuple[str, list[Row]]:
    """A text; its `metadata` may hold source and licence."""
    column = next((name for name in ("text", "content", "body") if name in record), None)
    if column is None:
        raise Unusable(f"it has the columns {', '.join(map(repr, record)) or 'of nothing'}; a document has `text`")
    if not isinstance(record[column], str) or not record[column].strip():
        raise Unusable(f"`{column}` is {'empty' if isinstance(record[column], str) else type(record[column]).__name__}, not text")
    metadata = from_json(record.get("metadata"))
    inherited = {
        key: metadata[key] for key in ("source", "licence", "license", "url") if isinstance(metadata, dict) and metadata.get(key)
    }
    return f"documents ({column})", [{**inherited, "text": record[column], "_used": {column}}]
