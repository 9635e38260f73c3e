"""Environments: who answers the model in a conversation of several turns, and pays it.

    class Guess:
        tools = ()
        def reset(self, row):                  # -> the conversation so far; `tools` are read after it
            self.secret = row["answer"]
            return row["prompt"]
        def step(self, text, calls):           # an answer's words and its tool calls
            if text.strip() == self.secret:
                return Step(done=True, parts={"score": 1.0})
            return Step([{"role": "user", "content": "No. Again?"}])

What an environment does must follow from its row and the answers alone: a round that is made again after a kill must
come out the same. It is one object a conversation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lightning_modules.data.chat import ChatTokenizer, parse_tool_calls
from lightning_modules.data.templates import ConversationError
from lightning_modules.generation.protocol import Completion
from tenet.errors import ConfigError, StageError
from tenet.rows import Row
from tenet.verifiers import Calls

Message = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """What follows an answer.

    Args:
        observed: turns of user or tool that the model reads next.
        done: the conversation is over; nothing is observed then.
        parts: what this answer is paid, by name; parts of all steps are added up.
    """

    observed: Sequence[Message] = ()
    done: bool = False
    parts: Mapping[str, float] = field(default_factory=dict)


class Environment(Protocol):
    """One conversation. See this file's head."""

    @property
    def tools(self) -> Sequence[Row]:
        """OpenAI shaped function tools that the template shows; known after `reset`."""
        ...

    def reset(self, row: Row) -> list[Message]:
        """The conversation up to where the model is to speak."""
        ...

    def step(self, text: str, calls: Calls) -> Step:
        """What an answer leads to.

        Args:
            text: its words without tool calls. calls: `{"name": ..., "arguments": {...}}` each.
        """
        ...


class Conversation:
    """An environment as an episode of token ids (`lightning_modules.generation.episodes.Episode`).

    A turn that was cut, or that the model ended with another token than the template's own, is its last: what the
    template would write behind it is nothing that was ever learnt.

    Args:
        environment: already reset; messages: what `reset` gave.
        row: for messages of errors.
        turns: most answers. longest: most tokens.
    """

    def __init__(
        self, tokenizer: ChatTokenizer, environment: Environment, messages: list[Message], row: Row, turns: int, longest: int
    ) -> None:
        self.tokenizer, self.environment, self.row = tokenizer, environment, row
        self.messages, self.left, self.longest = list(messages), turns, longest
        self.paid: dict[str, float] = {}

    def earned(self) -> dict[str, float]:
        """Sums of what the steps paid."""
        return dict(self.paid)

    def observe(self, turn: Completion) -> list[int] | None:
        """Ids of what the environment says to a turn."""
        text, calls = parse_tool_calls(self.tokenizer.decode(turn.ids))
        step = self._step(text, calls)
        for name, value in step.parts.items():
            self.paid[name] = self.paid.get(name, 0.0) + value
        self.left -= 1
        if step.done or not self.left or turn.ids[-1] != self.tokenizer.turn_end:
            return None
        answer: Message = {"role": "assistant", "content": text}
        if calls:
            answer["tool_calls"] = [{"type": "function", "function": dict(call)} for call in calls]
        observed = list(step.observed)
        try:
            ids = self.tokenizer.between(self.messages, answer, observed, list(self.environment.tools) or None)
        except ConversationError as error:
            raise StageError(f"rlhf.environment: prompt {self.row['id']}: {error}") from None
        self.messages += [answer, *observed]
        return ids

    def _step(self, text: str, calls: Calls) -> Step:
        where = f"rlhf.environment: prompt {self.row['id']}: step"
        try:
            step = self.environment.step(text, calls)
            wrong = [name for name, value in step.parts.items() if not math.isfinite(value)]
            strangers = [turn["role"] for turn in step.observed if turn["role"] not in ("user", "tool")]
        except Exception as error:  # whatever somebody's environment does wrong is an error of that environment
            raise StageError(f"{where}: {type(error).__name__}: {error}") from None
        if wrong:
            raise StageError(f"{where} paid {wrong[0]} with {step.parts[wrong[0]]!r}, which is no finite number")
        if strangers:
            raise StageError(
                f"{where} observed a turn of {strangers[0]!r}; the model's own turns are its own, observe user or tool"
            )
        if not step.done and not step.observed:
            raise StageError(f"{where} observed nothing and is not done; return turns of user or tool, or done=True")
        return step


class Conversations:
    """Begins conversations about rows.

    Args:
        make: makes an environment.
        turns: most answers. longest: most tokens of a conversation.
    """

    def __init__(self, tokenizer: ChatTokenizer, make: Callable[[], Environment], turns: int, longest: int) -> None:
        self.tokenizer, self.make, self.turns, self.longest = tokenizer, make, turns, longest

    def __call__(self, row: Row) -> Conversation:
        """A fresh one; `row` is as `opened` gave it."""
        environment = self.make()
        messages = environment.reset(row["asked"])
        if messages != row["prompt"]:
            raise StageError(
                f"rlhf.environment: prompt {row['id']}: reset gives another conversation each time; make it depend on the row alone"
            )
        return Conversation(self.tokenizer, environment, messages, row, self.turns, self.longest)

    def opened(self, rows: Sequence[Row]) -> list[Row]:
        """The same rows with the conversation that `reset` begins as their prompt, and the environment's tools.

        Raises:
            ConfigError: `reset` fails, or a conversation leaves no room for an answer.
        """
        found = []
        for row in rows:
            environment = self.make()
            try:
                messages, tools = environment.reset(row), list(environment.tools)
                size = len(self.tokenizer.prompt(messages, tools or None))
            except Exception as error:  # see `Conversation._step`
                raise ConfigError(f"rlhf.environment: prompt {row['id']}: reset: {type(error).__name__}: {error}") from None
            if size >= self.longest:
                raise ConfigError(
                    f"rlhf.environment: prompt {row['id']} has {size} tokens and a conversation at most {self.longest}; raise "
                    "rlhf.environment.max_tokens, or start from a model of a longer context"
                )
            found.append({**row, "asked": row, "prompt": messages, "tools": tools})
        return found
