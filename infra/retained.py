"""What stays in the account when it leaves the stack: noted as resources are declared, since the engine's rules are not
told."""

from __future__ import annotations

import pulumi


def key(kind: str, name: str) -> str:
    """How the stack's output `retained` names a resource."""
    return f"{kind} {name}"


def note() -> list[str]:
    """From here on every resource with `retain_on_delete` is added to the list that is returned."""
    found: list[str] = []

    def look(args: pulumi.ResourceTransformationArgs) -> None:
        if args.opts.retain_on_delete:
            found.append(key(args.type_, args.name))

    pulumi.runtime.register_stack_transformation(look)
    return found
