"""The rules as policies of Pulumi's engine: one stack policy each, over the same plain resources that the tests read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    PolicyResource,
    ReportViolation,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

from policy.registry import RULES, Rule
from policy.resource import Resource

#: In place of a value that a preview does not know yet; no rule takes it for one.
UNKNOWN = "unknown"


def policies() -> list[StackValidationPolicy]:
    """A mandatory policy for each rule."""
    return [_policy(name, rule) for name, rule in RULES.items()]


def _policy(name: str, rule: Rule) -> StackValidationPolicy:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for problem in rule([plain_resource(r) for r in args.resources]):
            report(problem, None)

    return StackValidationPolicy(
        name=name.replace("_", "-"),
        description=(rule.__doc__ or "").strip().splitlines()[0],
        validate=validate,
        enforcement_level=EnforcementLevel.MANDATORY,
    )


def plain_resource(resource: PolicyResource) -> Resource:
    """What the engine hands over, as the rules read it."""
    return Resource(
        type=resource.resource_type,
        name=resource.name,
        inputs=_plain(resource.props),
        urn=resource.urn,
        protect=resource.opts.protect,
        # The engine does not tell; the program gives both to the same resources, which the tests see.
        retain=resource.opts.protect,
        parent=resource.parent.urn if resource.parent else "",
        depends_on=[other.urn for other in resource.dependencies],
    )


def _plain(value: Any) -> Any:
    """Dicts and lists out of the engine's proxies, which raise where a value is unknown."""
    if isinstance(value, Mapping):
        return {key: _member(value, key) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_member(value, i) for i in range(len(value))]
    return value


def _member(container: Any, key: Any) -> Any:
    try:
        return _plain(container[key])
    except UnknownValueError:
        return UNKNOWN
