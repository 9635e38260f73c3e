"""Where GPU machines come from: a list of reservations, one node group each, so that capacity grows by lines of a stack
file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from configuration.reading import Reader, SettingError, machine, set_command
from repository import Instance

KINDS = ("capacity-block", "odcr", "none")
#: What a line of the list may say, by the key's name there.
KEYS = {
    "name": str,
    "kind": str,
    "id": str,
    "instanceType": str,
    "zone": str,
    "min": int,
    "max": int,
    "placementGroup": str,
    "spot": bool,
}
WORDS = {str: "text", int: "whole number", bool: "truth value"}
REQUIRED = ("name", "kind", "instanceType", "zone", "max")


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """One source of machines.

    Args:
        name: of the node group; part of resource names, so it stays.
        kind: capacity-block (bought ahead, ends by itself), odcr (open-ended reservation), none (whatever is free).
        id: of the reservation, cr-...; empty with kind none.
        machine: row of tenet/hardware.py.
        zone: availability zone.
        min, max: bounds of the node group; how many run within them is the scheduler's business.
        placement_group: the group that an odcr was made with; empty if it was made without.
        spot: take spare capacity that AWS may take back; only with kind none.
    """

    name: str
    kind: str
    id: str
    machine: Instance
    zone: str
    min: int
    max: int
    placement_group: str
    spot: bool


def parse(reader: Reader, protect: bool) -> tuple[Reservation, ...]:
    """Read `tenet:reservations`; what is wrong is noted in the reader, with line and key, value and what is allowed."""
    rows = reader.object("tenet:reservations")
    if not isinstance(rows, list):
        told = "is missing" if rows is None else f"is {rows!r}"
        none = set_command("tenet:reservations").replace("VALUE", "'[]'")
        reader.problems.append(
            f"tenet:reservations {told}; a list is needed, see Pulumi.dev.yaml, or say that there is no training cluster: {none}"
        )
        return ()
    found = [held for i, row in enumerate(rows) if (held := _one(row, f"tenet:reservations[{i}]", protect, reader))]
    names = [r.name for r in found]
    for name in sorted({name for name in names if names.count(name) > 1}):
        reader.problems.append(f"tenet:reservations has the name {name!r} twice; each node group needs a name of its own")
    return tuple(found)


def _one(row: Any, where: str, protect: bool, reader: Reader) -> Reservation | None:
    """A line of the list, or nothing where it has problems, which are noted."""
    if not isinstance(row, dict):
        reader.problems.append(f"{where} is {row!r}; a mapping with {', '.join(REQUIRED)} is needed")
        return None
    noted = list(_malformed(row, where))
    reader.problems += noted
    for key, value in row.items():
        if isinstance(value, str):
            reader.no_placeholder(f"{where}.{key}", value)
    if noted:
        return None
    try:
        found = Reservation(
            name=row["name"],
            kind=row["kind"],
            id=row.get("id", ""),
            machine=machine(row["instanceType"], f"{where}.instanceType"),
            zone=row["zone"],
            min=row.get("min", 0),
            max=row["max"],
            placement_group=row.get("placementGroup", ""),
            spot=row.get("spot", False),
        )
        _check(found, where, protect)
    except SettingError as error:
        reader.problems.append(str(error))
        return None
    return found


def _malformed(row: dict[str, Any], where: str) -> Iterator[str]:
    """Keys that are unknown, of a wrong type or missing."""
    for key, value in row.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0)[0]
            yield f"{where} has the key {key!r}; did you mean {near}? Allowed are {', '.join(KEYS)}"
        # True is an int to Python, but no number of nodes.
        elif not isinstance(value, KEYS[key]) or (KEYS[key] is int and isinstance(value, bool)):
            yield f"{where}.{key} is {value!r}; a {WORDS[KEYS[key]]} is needed: {_command(where, key)}"
    for key in REQUIRED:
        if key not in row:
            yield f"{where}.{key} is missing; each line needs {', '.join(REQUIRED)}: {_command(where, key)}"
    if row.get("kind") in ("capacity-block", "odcr") and "id" not in row:
        yield f"{where}.id is missing; kind {row['kind']} needs the id of a reservation you hold: {_command(where, 'id')}"


def _command(where: str, key: str) -> str:
    return set_command(f"{where}.{key}", text=KEYS[key] is str)


def _check(r: Reservation, where: str, protect: bool) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,20}", r.name):
        raise SettingError(f"{where}.name is {r.name!r}; lower case letters, digits and hyphens, 21 at most")
    if r.kind not in KINDS:
        raise SettingError(f"{where}.kind is {r.kind!r}; allowed are {', '.join(KINDS)}")
    if r.kind == "none" and r.id:
        raise SettingError(f"{where}.id is {r.id}, kind is none; say which kind of reservation it is: capacity-block or odcr")
    if r.kind != "none" and not re.fullmatch(r"cr-[0-9a-f]{8,17}", r.id):
        raise SettingError(
            f"{where}.id is {r.id!r}; kind {r.kind} needs the id of a reservation you hold, cr- and hex digits: {_command(where, 'id')}"
        )
    if r.placement_group and r.kind != "odcr":
        raise SettingError(
            f"{where}.placementGroup is {r.placement_group!r}, kind is {r.kind}; only an odcr that was made with a placement "
            "group has one (AWS places a capacity block itself; kind none gets a group of its own)"
        )
    if r.spot and (r.kind != "none" or protect):
        raise SettingError(f"{where}.spot is true; spot is for kind none, and not with tenet:protect")
    if not 0 <= r.min <= r.max or r.max < 1:
        raise SettingError(f"{where}.min is {r.min}, max is {r.max}; 0 <= min <= max and max >= 1 are needed")
    if r.kind == "capacity-block" and r.min:
        raise SettingError(f"{where}.min is {r.min}; a capacity block has a start and an end, so it must be able to hold 0 nodes")
