"""From plain values to typed settings and back: the one parser that presets, files and flags go through."""

from __future__ import annotations

import dataclasses
import functools
import typing
from typing import Any, TypeVar

from tenet.errors import ConfigError

T = TypeVar("T")


def build(kind: type[T], values: dict[str, Any], where: str) -> T:
    """Fill a typed dataclass from plain values with jsonargparse.

    Raises:
        ConfigError: unknown key, missing key, wrong type or a combination that the class refuses.
    """
    from jsonargparse import ArgumentError

    try:
        filled: T = _filled(kind, values, "value")
        return filled
    except (ArgumentError, ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {str(error).strip()}") from None


def _filled(kind: Any, values: dict[str, Any], key: str) -> Any:
    """Dataclasses in it first, each by a parser of its own: jsonargparse's time grows with the square of the settings."""
    inner = {
        name: _filled(part, values[name], f"{key}.{name}")
        for name, part in _dataclasses_in(kind).items()
        if isinstance(values.get(name), dict)
    }
    parser = _parser(kind, key, tuple(inner))
    own: dict[str, Any] = {name: value for name, value in values.items() if name not in inner}
    for part in reversed(key.split(".")):
        own = {part: own}
    parsed = parser.instantiate(parser.parse_object(own))
    return kind(**vars(parsed[key]), **inner)


@functools.cache
def _dataclasses_in(kind: Any) -> dict[str, type[Any]]:
    """Its fields that are dataclasses themselves."""
    hints = typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and dataclasses.is_dataclass(hint)}


@functools.cache
def _parser(kind: Any, key: str, without: tuple[str, ...]) -> Any:
    """Reads the fields of a class under a key, all but some."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, key, skip=set(without), instantiate=False)
    return parser


def plain(value: Any) -> Any:
    """Nested settings as dicts and lists, the form that YAML and jsonargparse share."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if hasattr(value, "as_dict"):
        return plain(value.as_dict())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
