"""What a verifier is: it says of an answer how right it is, from 0 to 1, in parts that have names.

The same verifiers pay policy optimisation and judge evaluation. A row names its verifier as data:

    {"prompt": "What is 2 + 2?", "verifier": {"kind": "number", "answer": 4}}

`read` checks that when the table is read, so that a malformed one is refused by line and not met in the middle of
training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Row = dict[str, Any]
#: `{"name": ..., "arguments": {...}}` each, as `parse_tool_calls` gives them.
Calls = Sequence[Row]


@dataclass(frozen=True)
class Verdict:
    """How right an answer is.

    Args:
        score: from 0 to 1.
        parts: what the score is made of, by name, each from 0 to 1.
        errors: what is wrong, in words.
        failed: a verifier of one's own could not judge; the first error says why.
        unread: no answer could be found in what was said, which is not the same as a wrong one; the score is 0 and it is
            counted apart.
    """

    score: float
    parts: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    failed: bool = False
    unread: bool = False


class Verifier(Protocol):
    """One kind. Both methods are given the verifier as the row states it (`spec`) and the row."""

    def read(self, spec: Row, row: Row, folder: Path | None) -> Row:
        """The spec made complete, e.g. with the row's `answer`.

        Args:
            folder: where files that it names are looked for; None where no code may be named (rows from a hub).

        Raises:
            ValueError: malformed; says what and the way out.
        """
        ...

    def verify(self, spec: Row, row: Row, text: str, calls: Calls) -> Verdict:
        """Judge an answer: its text without calls, and its tool calls."""
        ...


def options(spec: Row, known: Mapping[str, type | tuple[type, ...]]) -> None:
    """Refuse what a spec may not hold.

    Raises:
        ValueError: an unknown key or a value of another type.
    """
    for key, value in spec.items():
        if key == "kind":
            continue
        if key not in known:
            raise ValueError(f"{spec['kind']}: key {key!r} is unknown; there are {', '.join(known)}")
        expected = known[key]
        kinds = expected if isinstance(expected, tuple) else (expected,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise ValueError(f"{spec['kind']}: {key} is {value!r}, not {names}")


def with_answer(spec: Row, row: Row) -> Row:
    """The spec with the row's own `answer` where it has none.

    Raises:
        ValueError: neither has one.
    """
    answer = spec.get("answer", row.get("answer"))
    if answer is None or answer == "" or answer == []:
        raise ValueError(f"{spec['kind']}: there is no `answer`, neither in the verifier nor in the row")
    return {**spec, "answer": answer}
