"""From plain values to typed settings and back: the one parser that presets, files and flags go through."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from tenet.errors import ConfigError

T = TypeVar("T")


def build(kind: type[T], values: dict[str, Any], where: str) -> T:
    """Fill a typed dataclass from plain values with jsonargparse.

    Raises:
        ConfigError: unknown key, missing key, wrong type or a combination that the class refuses.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "value")
    try:
        parsed = parser.parse_object({"value": values})
        filled: T = parser.instantiate(parsed).value
        return filled
    except (ArgumentError, ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {str(error).strip()}") from None


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
