"""A model under test. Evaluation and red team speak to this protocol alone, so that the same task runs on a checkpoint
and on a deployed endpoint.

Nothing heavy is imported before an assistant is used: torch stays out of `tenet show`, boto3 out of evaluating local
weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lightning_modules.generation.protocol import Sampling
from tenet.assistant.converse_request import Message, Tools
from tenet.errors import StageError

if TYPE_CHECKING:
    from lightning_modules.generation.scoring import Score

#: What comes before a scored continuation: plain text, or a conversation that the assistant is about to answer.
Context = str | list[Message]
#: score_chat scores what follows a conversation, score what follows plain text, complete goes on with it.
Capability = Literal["answer", "tools", "complete", "score", "score_chat"]


class MissingCapability(StageError):
    """The model behind this assistant cannot do what was asked; a task that needs it is reported as not run, never as
    0."""


@dataclass(frozen=True)
class Reply:
    """One answer.

    Args:
        text: what was said, without its tool calls.
        tool_calls: `{"name": ..., "arguments": {...}}` each.
        tokens: how many were made.
        finish: stop, length (cut off) or too_long (the prompt left no room, nothing was made).
    """

    text: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    tokens: int = 0
    finish: Literal["stop", "length", "too_long"] = "stop"


class Assistant(Protocol):
    """Answers conversations and, where it can, scores continuations."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can be asked."""
        ...

    def answer(
        self,
        conversations: Sequence[list[Message]],
        *,
        sampling: Sampling,
        tools: Sequence[Tools] | None = None,
        n: int = 1,
        prefill: Sequence[str] | None = None,
    ) -> list[list[Reply]]:
        """Answer each conversation n times.

        Args:
            conversations: messages of each.
            sampling: for all; without `stop_ids` an answer ends where the assistant's turn does.
            tools: one entry a conversation.
            n: answers of each.
            prefill: words put into the assistant's mouth, one entry a conversation; they are not part of the reply.
        """
        ...

    def complete(self, prompts: Sequence[str], *, sampling: Sampling, stop: Sequence[str] = (), n: int = 1) -> list[list[Reply]]:
        """Go on with plain text, without a chat template; n times each.

        Args:
            stop: texts at which a completion ends; they are no part of it.

        Raises:
            MissingCapability: this assistant takes only conversations.
        """
        ...

    def score(self, pairs: Sequence[tuple[Context, str]]) -> list[Score]:
        """Log-likelihood of each continuation after its context.

        Raises:
            MissingCapability: this assistant gives no log-probabilities.
        """
        ...

    def identity(self) -> dict[str, str]:
        """What makes the answers what they are: hashes of local files, or the names of a remote model."""
        ...
