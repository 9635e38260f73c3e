"""What several rules ask of the declared resources."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from policy.declared import Resource
from policy.selecting import listed, stack_of

Statement = dict[str, Any]
#: Properties that hold a policy document.
DOCUMENTS = ("policy", "assumeRolePolicy", "accessPolicy", "keyPolicy", "resourcePolicy")


def told(resource: Resource) -> str:
    """How a message names a resource."""
    return f"{resource.type.removeprefix('aws:')} {resource.name!r}"


def is_production(resources: list[Resource]) -> bool:
    """The stack is named prod, or protects something: then everything that production asks for counts."""
    return any(r.protect or stack_of(r) == "prod" for r in resources)


def depends(resource: Resource, on: Resource) -> bool:
    """One waits for the other, because it was told to or because it uses one of its values."""
    return on.urn in resource.depends_on


def statements(resources: list[Resource]) -> Iterator[tuple[Resource, Statement]]:
    """Every statement of every policy document, with the resource that carries it. What a preview does not know yet is
    left out."""
    for resource in resources:
        for key in DOCUMENTS:
            for statement in _parsed(resource.inputs.get(key)):
                yield resource, statement


def trusted(role: Resource) -> set[str]:
    """Services that may take a role."""
    found: set[str] = set()
    for statement in _parsed(role.inputs.get("assumeRolePolicy")):
        principal = statement.get("Principal", {})
        if isinstance(principal, dict):
            found |= set(listed(principal.get("Service", [])))
    return found


def _parsed(text: Any) -> list[Statement]:
    # A text that is not known yet is none of ours either: nothing is said of it.
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return []
    try:
        return listed(json.loads(text).get("Statement", []))
    except ValueError:
        return []  # AWS itself refuses it, in clearer words
