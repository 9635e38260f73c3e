"""Small questions to a list of declared resources, asked by every rule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from policy.resource import Resource


def of(resources: Iterable[Resource], kind: str) -> list[Resource]:
    """Resources of a type, written as in the SDK without its prefix: `s3/bucket:Bucket`."""
    return [r for r in resources if r.type == f"aws:{kind}"]


def names(resources: Iterable[Resource], kind: str) -> set[str]:
    """The program's names of the resources of a type."""
    return {r.name for r in of(resources, kind)}


def stack_of(resource: Resource) -> str:
    """The stack that a resource belongs to, as its URN says."""
    return resource.urn.split(":")[2] if resource.urn.startswith("urn:pulumi:") else ""


def ident(value: Any) -> Any:
    """An id that may stand for a value not known yet: then it equals everything that is not known either."""
    return value if isinstance(value, str) and value else "unknown"


def listed(value: Any) -> list[Any]:
    """A list, whether one thing was given or many."""
    return list(value) if isinstance(value, list) else [] if value is None else [value]
