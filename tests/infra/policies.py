"""Recorded programs as the policy pack's resources, and small edits to them."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from typing import Any

from .conftest import Recorded
from .recorder import configuration

FIELDS = ("type", "name", "inputs", "urn", "protect", "retain", "parent", "depends_on", "uses")
Resources = list[Any]
Edit = Callable[[Resources], Resources]


def declared(program: Recorded) -> Resources:
    """Everything that a stack declares, and its provider, which the engine makes from the configuration."""
    from policy.declared import Resource

    config = configuration(program.stack, [])
    inputs = {key.removeprefix("aws:"): value for key, value in config.items() if key.startswith("aws:")}
    provider = Resource(
        type="pulumi:providers:aws", name="default", inputs=inputs, urn=f"urn:pulumi:{program.stack}::tenet::provider"
    )
    return [provider, *(Resource(**{key: as_known(r[key]) for key in FIELDS}) for r in program.resources)]


def as_known(value: Any) -> Any:
    """A copy in which what is not known yet is the rules' own kind of value."""
    from pulumi.runtime import rpc

    from policy.unknown import UNKNOWN

    if isinstance(value, dict):
        return {key: as_known(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_known(item) for item in value]
    return UNKNOWN if value == rpc.UNKNOWN else value


def drop(kind: str, name: str = "") -> Edit:
    """Without the resources of a type (all, or one by name)."""

    def edit(resources: Resources) -> Resources:
        left = [r for r in resources if not _is(r, kind, name)]
        assert len(left) < len(resources), f"there is no {kind} {name} to drop"
        return left

    return edit


def put(kind: str, path: str, value: Any, name: str = "") -> Edit:
    """Set one property, by a dotted path with list positions, of the resources of a type (all, or one by name)."""

    def edit(resources: Resources) -> Resources:
        found = [r for r in resources if _is(r, kind, name)]
        assert found, f"there is no {kind} {name} to change"
        return [_with(r, path, value) if r in found else r for r in resources]

    return edit


def option(kind: str, **options: Any) -> Edit:
    """Set options (protect, retain) of the resources of a type."""
    return lambda resources: [dataclasses.replace(r, **options) if _is(r, kind, "") else r for r in resources]


def add(kind: str, inputs: dict[str, Any], on: str = "", on_name: str = "") -> Edit:
    """One more resource, which depends on another by type and name."""

    def edit(resources: Resources) -> Resources:
        from policy.declared import Resource

        waits = [r.urn for r in resources if on and _is(r, on, on_name)]
        assert bool(waits) == bool(on)
        return [*resources, Resource(type=f"aws:{kind}", name="planted", inputs=inputs, urn="urn:planted", depends_on=waits)]

    return edit


def statement(kind: str, name: str, key: str = "policy", **members: Any) -> Edit:
    """One more statement in a policy document."""

    def edit(resources: Resources) -> Resources:
        (one,) = [r for r in resources if _is(r, kind, name)]
        document = json.loads(one.inputs[key])
        document["Statement"].append({"Effect": "Allow", **members})
        return [_with(r, key, json.dumps(document)) if r is one else r for r in resources]

    return edit


def _is(resource: Any, kind: str, name: str) -> bool:
    return resource.type in (kind, f"aws:{kind}") and name in ("", resource.name)


def _with(resource: Any, path: str, value: Any) -> Any:
    inputs = copy.deepcopy(resource.inputs)
    *way, last = path.split(".")
    inner: Any = inputs
    for step in way:
        inner = inner[int(step)] if isinstance(inner, list) else inner.setdefault(step, {})
    if isinstance(inner, list):
        inner[int(last)] = value
    else:
        inner[last] = value
    return dataclasses.replace(resource, inputs=inputs)
