"""A value that a preview does not know yet: no text, no mapping, not true, not false, but a kind of its own.

Whoever compares it, looks into it or asks whether it is there gets `NotKnown`; a rule looks at each resource inside
`if_known()`, so what needs the value says nothing in the preview and speaks in the update, where it is known.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NoReturn


class NotKnown(Exception):
    """A rule needs a value that is not known yet."""


class Unknown:
    """The one value of this kind is UNKNOWN; `is UNKNOWN` is all that can be asked of it."""

    def _refuse(self, *_: Any) -> NoReturn:
        raise NotKnown

    __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = __hash__ = _refuse
    __str__ = __format__ = __int__ = __float__ = __index__ = _refuse
    __add__ = __radd__ = __mod__ = __rmod__ = __call__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = _refuse

    def __eq__(self, other: object) -> bool:
        raise NotKnown

    def __ne__(self, other: object) -> bool:
        raise NotKnown

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python's own questions, e.g. how to copy it
            raise AttributeError(name)
        raise NotKnown

    def __deepcopy__(self, memo: dict[int, Any]) -> Unknown:
        return self

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


def if_known() -> suppress:
    """Leave a check where it needs a value that is not known; what it found before counts."""
    return suppress(NotKnown)
