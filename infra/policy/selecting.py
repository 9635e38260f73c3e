"""Small questions to a list of declared resources, asked by every rule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from policy.declared import Resource
from policy.unknown import UNKNOWN, NotKnown


def of(resources: Iterable[Resource], kind: str) -> list[Resource]:
    """Resources of a type, written as in the SDK without its prefix: `s3/bucket:Bucket`."""
    return [r for r in resources if r.type == f"aws:{kind}"]


def names(resources: Iterable[Resource], kind: str) -> set[str]:
    """The program's names of the resources of a type."""
    return {r.name for r in of(resources, kind)}


def stack_of(resource: Resource) -> str:
    """The stack that a resource belongs to, as its URN says."""
    return resource.urn.split(":")[2] if resource.urn.startswith("urn:pulumi:") else ""


def same(one: Resource, key: str, other: Resource, other_key: str) -> bool:
    """Two properties name the same thing. While their values are not known, what they are made from tells.

    Raises:
        NotKnown: neither does.
    """
    mine, theirs = _single(one.inputs.get(key)), _single(other.inputs.get(other_key))
    if mine is not UNKNOWN and theirs is not UNKNOWN:
        return bool(mine == theirs)
    sources, others = one.uses.get(key, []), other.uses.get(other_key, [])
    if len(sources) != 1 or len(others) != 1:
        raise NotKnown
    return sources == others


def _single(value: Any) -> Any:
    """The one item of a list, or the value itself."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def given(inputs: dict[str, Any], key: str) -> bool:
    """A property is there and not empty; one whose value is not known yet is there."""
    value = inputs.get(key)
    return value is UNKNOWN or bool(value)


def listed(value: Any) -> list[Any]:
    """A list, whether one thing was given or many.

    Raises:
        NotKnown: how many is not known.
    """
    if value is UNKNOWN:
        raise NotKnown
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def on(value: Any) -> bool:
    """A switch is given, and on.

    Raises:
        NotKnown: it is given, and how is not known.
    """
    if value is UNKNOWN:
        raise NotKnown
    return value is True


def off(value: Any) -> bool:
    """A switch is given, and off.

    Raises:
        NotKnown: it is given, and how is not known.
    """
    if value is UNKNOWN:
        raise NotKnown
    return value is False
