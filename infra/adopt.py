"""Take back what an earlier life of a stack left in the account: a file for `pulumi import`, from the state before it
was destroyed.

    pulumi stack export --stack prod --file before.json        # before `pulumi destroy`; the backend's history holds it too
    pulumi stack export --stack prod | python infra/adopt.py before.json > adopt.json
    pulumi import --stack prod --file adopt.json --generate-code=false --yes && pulumi up --stack prod

What is retained (buckets, keys, tables, images, file system, cluster) is in it with the components around it; what the
stack has by now is not. The update that follows puts back what `import` cannot know: policies, settings and options as
the program declares them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def resources(state: Row) -> dict[str, Row]:
    """URN -> resource, of a `stack export` or of a checkpoint in the backend's history."""
    held = state.get("deployment") or state.get("checkpoint", {}).get("latest") or {}
    return {row["urn"]: row for row in held.get("resources") or []}


def adoption(before: dict[str, Row], now: dict[str, Row]) -> Row:
    """What `pulumi import --file` takes.

    Args:
        before: the state that knew what was retained.
        now: the state of today; what it holds needs no adoption, and its components are named as parents.

    Raises:
        ValueError: nothing that was retained is missing today, or the stack has made another in its place.
    """
    kept = [row for row in before.values() if row.get("retainOnDelete")]
    for row in kept:
        if now.get(row["urn"], row).get("id") != row["id"]:
            made = now[row["urn"]]["id"]
            raise ValueError(
                f"{row['urn']} is {row['id']} in the earlier state, and the stack has made {made} since; destroy that first"
            )
    missing = [row for row in kept if row["urn"] not in now]
    if not missing:
        raise ValueError("nothing to adopt: the stack has all that was retained, or nothing was when that state was exported")
    around = {urn: before[urn] for row in missing for urn in _ancestors(row, before)}
    held = {_label(urn): urn for urn in around if urn in now}
    made = [_component(urn, row) for urn, row in around.items() if urn not in now]
    return {"nameTable": held, "resources": made + [_resource(row, before) for row in missing]}


def _ancestors(row: Row, before: dict[str, Row]) -> list[str]:
    """Components around a resource, the outermost first; the stack itself is everybody's anyway."""
    parent = row.get("parent", "")
    if not parent or before[parent]["type"] == "pulumi:pulumi:Stack":
        return []
    return [*_ancestors(before[parent], before), parent]


def _label(urn: str) -> str:
    """What the file calls a resource: unique in it, unlike the program's names, which differ only together with their
    types."""
    return "_".join(part for part in urn.replace("$", ":").replace("::", ":").split(":")[4:] if part).replace("/", "_")


def _component(urn: str, row: Row) -> Row:
    return {"type": row["type"], "name": _label(urn), "logicalName": urn.split("::")[-1], "component": True, **_parent(row)}


def _resource(row: Row, before: dict[str, Row]) -> Row:
    provider = before["::".join(row["provider"].split("::")[:-1])]
    named = {"type": row["type"], "name": _label(row["urn"]), "logicalName": row["urn"].split("::")[-1], "id": row["id"]}
    return {**named, "version": provider["inputs"]["version"], **_parent(row)}


def _parent(row: Row) -> Row:
    return {"parent": _label(row["parent"])} if "$" in row["urn"] else {}


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.stdin.isatty():
        raise SystemExit("usage: pulumi stack export | python infra/adopt.py BEFORE.json > adopt.json")
    try:
        found = adoption(resources(json.loads(Path(sys.argv[1]).read_text())), resources(json.load(sys.stdin)))
    except (ValueError, OSError) as error:
        raise SystemExit(f"adopt.py: {error}") from None
    print(json.dumps(found, indent=1))
