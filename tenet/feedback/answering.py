"""Answers to prompts: what one is, and how they are drawn from a side of a comparison so that a killed command goes on
where it was."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lightning_modules.data.templates import TemplateRefused
from lightning_modules.generation.protocol import Sampling
from tenet.assistant.assistant import Assistant, Reply
from tenet.errors import StageError
from tenet.feedback.journal import Journal
from tenet.rows import Row

#: Prompts whose answers are written to the journal together.
CHUNK = 32
#: Between the seeds of two neighbours, as `LocalAssistant.answer` has it: an answer then depends on its prompt's place
#: in the file and not on where an earlier start was killed.
STRIDE = 1_000_003
#: Codes of an endpoint that refuse this one request; any other error is the endpoint's own and ends the command.
_REFUSALS = ("ValidationException",)


@dataclass(frozen=True)
class Answer:
    """What one side said to one prompt.

    Args:
        finish: stop, length (cut off), too_long (the prompt left no room), refused (the endpoint or the chat template
            did not take the prompt) or missing (not in the file). The last three are no answers.
        why: of one that is none, in words.
    """

    text: str
    tool_calls: tuple[Row, ...] = ()
    finish: str = "stop"
    why: str = ""

    @property
    def given(self) -> bool:
        """Is there an answer? An empty one is an answer too."""
        return self.finish in ("stop", "length")

    @property
    def whole(self) -> str:
        """As one text: what was said, and its calls as JSON."""
        calls = [json.dumps(call, ensure_ascii=False) for call in self.tool_calls]
        return "\n".join([self.text, *calls] if self.text else calls)

    def turn(self) -> Row:
        """As a turn of the assistant in rows."""
        calls = [{"type": "function", "function": dict(call)} for call in self.tool_calls]
        return {"role": "assistant", "content": self.text, **({"tool_calls": calls} if calls else {})}

    def as_row(self) -> Row:
        """For the journal."""
        return {"text": self.text, "tool_calls": list(self.tool_calls), "finish": self.finish, "why": self.why}

    @classmethod
    def of_row(cls, row: Row) -> Answer:
        """The inverse of `as_row`."""
        return cls(row["text"], tuple(row["tool_calls"]), row["finish"], row["why"])


class Source(Protocol):
    """One side of a comparison."""

    def draw(self, rows: Sequence[Row], sampling: Sampling) -> list[Answer]:
        """One answer to each prompt row."""
        ...

    def identity(self) -> dict[str, str]:
        """What makes the answers what they are: hashes, or a remote name."""
        ...


def draw_answers(
    source: Source, rows: Sequence[Row], sampling: Sampling, journal: Journal, say: Callable[[str], None] = lambda text: None
) -> list[Answer]:
    """One answer to each row; those that the journal holds are not drawn again.

    Raises:
        StageError: the endpoint failed (what was drawn is kept), or the journal is of other prompts.
    """
    if [row["id"] for row in journal.rows] != [row["id"] for row in rows[: len(journal)]]:
        raise StageError(f"{journal.path}: holds answers to other prompts than these; delete it, or name another --out")
    while len(journal) < len(rows):
        start = len(journal)
        part = rows[start : start + CHUNK]
        drawn = source.draw(part, replace(sampling, seed=sampling.seed + STRIDE * start))
        journal.add([{"id": row["id"], **answer.as_row()} for row, answer in zip(part, drawn, strict=True)])
        say(f"{journal.path.stem}: {len(journal)} of {len(rows)}")
    return [Answer.of_row(row) for row in journal.rows]


def ask_each(assistant: Assistant, conversations: Sequence[Any], tools: Sequence[Any], sampling: Sampling) -> list[Answer]:
    """Ask all at once; where one of them is refused, one by one, so that it is the only one without an answer.

    Raises:
        StageError: the endpoint did not answer for another reason than the request itself.
    """
    try:
        replies = assistant.answer(list(conversations), sampling=sampling, tools=list(tools) if any(tools) else None)
    except (StageError, TemplateRefused) as error:
        if not _refused(error):
            raise
        if len(conversations) == 1:
            return [Answer("", finish="refused", why=str(error))]
        return [
            answer
            for i, (conversation, one) in enumerate(zip(conversations, tools, strict=True))
            for answer in ask_each(assistant, [conversation], [one], replace(sampling, seed=sampling.seed + STRIDE * i))
        ]
    return [_answer(reply) for (reply,) in replies]


def unanswered(sides: Sequence[Sequence[Answer]]) -> dict[str, int]:
    """Pairs that lack an answer on either side, by what was wrong."""
    found: Counter[str] = Counter()
    for pair in zip(*sides, strict=True):
        bad = next((answer for answer in pair if not answer.given), None)
        if bad is not None:
            found[bad.finish] += 1
    return dict(found)


def _answer(reply: Reply) -> Answer:
    why = "the prompt leaves no room for an answer" if reply.finish == "too_long" else ""
    return Answer(reply.text, reply.tool_calls, reply.finish, why)


def _refused(error: Exception) -> bool:
    response = getattr(error.__cause__, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return isinstance(error, TemplateRefused) or code in _REFUSALS
