"""One declared resource as plain data: what every rule reads, whether it came from a recording or from the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource as the program registers it.

    Args:
        type: token without the module's file part doubled, as the engine prints it, e.g. `aws:s3/bucket:Bucket`.
        name: the program's name of it, not the cloud's.
        inputs: properties in the engine's camelCase; what is not known yet is UNKNOWN.
        urn: unique within the stack.
        protect: the engine refuses to delete it.
        retain: it stays in the cloud when it leaves the program.
        parent: URN of the component that made it.
        depends_on: URNs that it waits for.
        uses: property -> URNs of the resources that its value is made from; known before the value is.
    """

    type: str
    name: str
    inputs: dict[str, Any] = field(default_factory=dict)
    urn: str = ""
    protect: bool = False
    retain: bool = False
    parent: str = ""
    depends_on: list[str] = field(default_factory=list)
    uses: dict[str, list[str]] = field(default_factory=dict)
