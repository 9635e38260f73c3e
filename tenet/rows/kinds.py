"""What a row is, once it has been read: five kinds, each a TypedDict, whatever shape the file had.

A row keeps the columns that the project has no use for (a verifier or a task may ask for them); `id`, `source`,
`licence` and `group` are always there.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict, get_args

Row = dict[str, Any]
Kind = Literal["conversations", "preferences", "ratings", "prompts", "documents"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Function(TypedDict):
    """What a call names and gives."""

    name: str
    arguments: dict[str, Any]


class ToolCall(TypedDict):
    """One call, as OpenAI and Hugging Face write it; `arguments` is an object, never text."""

    type: Literal["function"]
    function: Function


class Message(TypedDict):
    """One turn.

    `weight` 0: an assistant turn that is read and not learnt. `reasoning_content`: what was thought before the answer.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: NotRequired[list[ToolCall]]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]
    weight: NotRequired[int]
    reasoning_content: NotRequired[str]


class Origin(TypedDict):
    """Of every row.

    `group`: rows with the same one are held out together; "" goes by content. `licence`: "" where nobody says.
    """

    id: str
    source: str
    licence: str
    group: str


class Conversation(Origin):
    """For fine-tuning. `exact`: the last answer is the one right string, so that greedy answers can be counted; `kind`:
    for reports."""

    messages: list[Message]
    tools: NotRequired[list[Row]]
    kind: NotRequired[str]
    exact: NotRequired[bool]


class Preference(Origin):
    """For reward models and DPO: one answer of the assistant is better than the other."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    kind: str
    tools: NotRequired[list[Row]]


class Rating(Origin):
    """For KTO: one answer of the assistant that somebody liked or did not."""

    prompt: list[Message]
    answer: list[Message]
    liked: bool
    kind: str
    tools: NotRequired[list[Row]]


class PromptRow(Origin):
    """For policy optimisation and evaluation. `verifier`: who judges the answer (tenet/verifiers); without one, a
    reward model does."""

    prompt: list[Message]
    kind: str
    tools: NotRequired[list[Row]]
    verifier: NotRequired[Row]
    answer: NotRequired[Any]


class Document(Origin):
    """For pretraining."""

    text: str
