"""Ratings out of the shapes that products have: one answer, and whether somebody liked it.

{"prompt": "...", "completion": "...", "label": true}
{"messages": [{"role": "user", ...}, {"role": "assistant", ...}], "feedback": "thumbs_down"}
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from tenet.rows.kinds import Message, Row
from tenet.rows.messages import Unusable, asked, messages_of, said, tools_of

_ASKED = ("prompt", "question", "instruction", "input", "query")
_ANSWERED = ("completion", "answer", "response", "output")
_JUDGED = ("label", "liked", "thumbs", "feedback", "rating")
_UP = {"true", "up", "thumbs_up", "thumbsup", "like", "liked", "good", "+1", "👍"}
_DOWN = {"false", "down", "thumbs_down", "thumbsdown", "dislike", "disliked", "bad", "-1", "👎"}


def rating_rows(record: Row, unused: Counter[str]) -> tuple[str, list[Row]]:
    """The shape that a record has, and the rating in it.

    Raises:
        Unusable: says why there is none.
    """
    judged = next((name for name in _JUDGED if record.get(name) is not None), None)
    if judged is None:
        raise Unusable("it has no `label`: true (or up, good) where the answer was liked, false (down, bad) where not")
    liked = _liked(record[judged], judged)
    prompt, answer, used = _turns(record, unused)
    if [message["role"] for message in answer] != ["assistant"]:
        raise Unusable(f"what is rated is {', '.join(m['role'] for m in answer)}, not one answer of the assistant")
    if not prompt or prompt[-1]["role"] == "assistant":
        raise Unusable("there is no prompt, or it ends with an answer; a prompt ends where the assistant is to speak")
    row: Row = {"prompt": prompt, "answer": answer, "liked": liked, "kind": str(record.get("kind") or "")}
    if tools := tools_of(record.get("tools")):
        row["tools"] = tools
    return "one answer with a rating", [{**row, "_used": {*used, judged, "tools", "kind"}}]


def _turns(record: Row, unused: Counter[str]) -> tuple[list[Message], list[Message], set[str]]:
    """What was asked, what was answered, and the columns they stood in."""
    if record.get("messages"):
        turns = messages_of(record["messages"], unused)
        return turns[:-1], turns[-1:], {"messages"}
    before = next((name for name in _ASKED if record.get(name)), None)
    after = next((name for name in _ANSWERED if record.get(name)), None)
    if before is None or after is None:
        columns = ", ".join(map(repr, record)) or "of nothing"
        raise Unusable(f"it has the columns {columns}; a rating is `prompt`, `completion` and `label`, or `messages` and `label`")
    return asked(record[before], unused, before), said(record[after], unused, after), {before, after}


def _liked(value: Any, name: str) -> bool:
    """Thumbs up or down; a number of stars is neither, since nobody says where liking begins."""
    text = str(value).strip().lower()
    if isinstance(value, bool) or text in _UP | _DOWN:
        return text in _UP
    raise Unusable(f"`{name}` is {value!r}; it is true or false (or up and down, good and bad)")


def taken_apart(pairs: list[Row]) -> list[Row]:
    """Pairs as ratings: the chosen answer liked, the rejected one not."""
    return [
        {**{key: value for key, value in pair.items() if key not in ("chosen", "rejected")}, "answer": pair[side], "liked": liked}
        for pair in pairs
        for side, liked in (("chosen", True), ("rejected", False))
    ]
