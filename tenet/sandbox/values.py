"""Values on their way between the tested code and its tests: plain data as JSON, everything else as a number that stands
for an object over there.

Only data crosses, never behaviour: an answer that is "equal to everything" arrives as an object that is equal to nothing. A
subclass of a built-in type (a named tuple, a counter) arrives as the plain value of that type. Nothing that arrives can run
code or name a class, so the tests may read what code of unknown intentions sends them.
"""

from __future__ import annotations

import builtins
import datetime
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

#: A value that is none of ours becomes a number, and a number the object that it stands for.
Keep = Callable[[Any], int]
Find = Callable[[int], Any]
#: Integers beyond this are sent in hexadecimal: JSON readers convert decimals in quadratic time, and refuse long ones.
_LONG = 1 << 62


def encode(value: Any, keep: Keep) -> Any:
    """What `json.dumps` takes.

    Raises:
        RecursionError: data that holds itself, or deeper than Python goes.
    """
    if value is None or value is True or value is False:
        return value
    plain = _PLAIN.get(type(value)) or next((how for kind, how in _PLAIN.items() if isinstance(value, kind)), None)
    return plain(value, keep) if plain else {"o": keep(value)}


def _several(tag: str, items: Callable[[Any], Any]) -> Callable[[Any, Keep], Any]:
    return lambda value, keep: {tag: [encode(item, keep) for item in items(value)]}


def _integer(value: int, keep: Keep) -> Any:
    plain = int.__index__(value)
    return plain if -_LONG < plain < _LONG else {"i": hex(plain)}


def _pairs(value: dict[Any, Any], keep: Keep) -> Any:
    return {"d": [[encode(key, keep), encode(item, keep)] for key, item in dict.items(value)]}


def _class(value: type, keep: Keep) -> Any:
    """`int` and its like are the same on both sides; every other class is an object."""
    name = type.__dict__["__name__"].__get__(value)
    return {"k": name} if getattr(builtins, name, None) is value else {"o": keep(value)}


def _builtin(name: str, find: Find) -> type:
    found = getattr(builtins, name)
    if not isinstance(found, type):
        raise TypeError(name)
    return found


#: By built-in type; the first that fits counts. The types' own methods are named, since a subclass may have put others in
#: their place; `datetime` is a `date` and comes before it.
_PLAIN: dict[type, Callable[[Any, Keep], Any]] = {
    str: lambda value, _: str.__str__(value),
    int: _integer,
    float: lambda value, _: float.__float__(value),
    list: lambda value, keep: [encode(item, keep) for item in list.__iter__(value)],
    tuple: _several("t", tuple.__iter__),
    dict: _pairs,
    set: _several("s", set.__iter__),
    frozenset: _several("f", frozenset.__iter__),
    deque: _several("q", deque.__iter__),
    bytes: lambda value, _: {"b": bytes.hex(value)},
    bytearray: lambda value, _: {"a": bytearray.hex(value)},
    complex: lambda value, _: {"c": [complex(value).real, complex(value).imag]},
    range: lambda value, _: {"r": [value.start, value.stop, value.step]},
    Decimal: lambda value, _: {"n": Decimal.__str__(value)},
    Fraction: lambda value, _: {"p": [hex(value.numerator), hex(value.denominator)]},
    datetime.datetime: lambda value, _: {"y": datetime.datetime.isoformat(value)},
    datetime.date: lambda value, _: {"z": datetime.date.isoformat(value)},
    type: _class,
    datetime.timedelta: lambda value, _: {"u": [value.days, value.seconds, value.microseconds]},
}


def decode(sent: Any, find: Find) -> Any:
    """The value that was sent.

    Raises:
        ValueError, TypeError, KeyError: nobody of ours sent this.
    """
    if isinstance(sent, list):
        return [decode(item, find) for item in sent]
    if not isinstance(sent, dict):
        return sent
    ((tag, held),) = sent.items()
    return _BACK[tag](held, find)


def _all(make: Callable[[list[Any]], Any]) -> Callable[[Any, Find], Any]:
    return lambda held, find: make([decode(item, find) for item in held])


_BACK: dict[str, Callable[[Any, Find], Any]] = {
    "o": lambda held, find: find(held),
    "k": _builtin,
    "i": lambda held, _: int(held, 16),
    "t": _all(tuple),
    "s": _all(set),
    "f": _all(frozenset),
    "q": _all(deque),
    "d": lambda held, find: {decode(key, find): decode(item, find) for key, item in held},
    "b": lambda held, _: bytes.fromhex(held),
    "a": lambda held, _: bytearray.fromhex(held),
    "c": lambda held, _: complex(*held),
    "r": lambda held, _: range(*held),
    "n": lambda held, _: Decimal(held),
    "p": lambda held, _: Fraction(int(held[0], 16), int(held[1], 16)),
    "y": lambda held, _: datetime.datetime.fromisoformat(held),
    "z": lambda held, _: datetime.date.fromisoformat(held),
    "u": lambda held, _: datetime.timedelta(*held),
}


def overwrite(old: Any, new: Any) -> None:
    """Make a list, dict, set, deque or bytearray what it became over there, in place, and what it holds as far as it can be
    told apart."""
    if isinstance(old, list) and isinstance(new, list):
        pairs = zip(old, new[: len(old)], strict=False)
        old[:] = [_one(a, b) for a, b in pairs] + new[len(old) :]
    elif isinstance(old, dict) and isinstance(new, dict):
        kept = {key: _one(old[key], item) if key in old else item for key, item in new.items()}
        old.clear()
        old.update(kept)
    elif isinstance(old, set) and isinstance(new, set):
        old.clear()
        old.update(new)
    elif isinstance(old, (deque, bytearray)) and type(old) is type(new):
        old.clear()
        old.extend(new)


def _one(old: Any, new: Any) -> Any:
    if type(old) is type(new) and isinstance(old, (list, dict, set, deque, bytearray)):
        overwrite(old, new)
        return old
    return new
