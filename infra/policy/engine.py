"""The rules as policies of Pulumi's engine, over what the program declares.

The engine hands a stack's policy what the provider answered: unknown in a first preview wherever AWS computes a value,
and AWS's own view after a refresh (a security group then lists every rule, whoever declared it). Neither is what the
program says. So a policy of single resources, which is handed inputs, only remembers them; the stack's policies read
them there, and take from the engine what only it knows by then: who made a resource, and what it waits for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

import retained
from policy.declared import Resource
from policy.registry import RULES, Rule
from policy.unknown import UNKNOWN

#: URN -> inputs, as the program declared them; of each update anew, since each starts a process of its own.
Inputs = dict[str, dict[str, Any]]
#: Output of the stack that lists what is retained: the engine's protocol does not tell (infra/retained.py).
RETAINED = "retained"


def policies() -> list[Policy]:
    """One policy that remembers inputs, and a mandatory one for each rule."""
    inputs: Inputs = {}
    return [_remembering(inputs), *(_policy(name, rule, inputs) for name, rule in RULES.items())]


def _remembering(inputs: Inputs) -> ResourceValidationPolicy:
    def remember(args: ResourceValidationArgs, report: ReportViolation) -> None:
        inputs[args.urn] = plain(args.props)

    return ResourceValidationPolicy(
        name="what-is-declared",
        description="Remembers what the program declares, for the rules; never speaks itself.",
        validate=remember,
        enforcement_level=EnforcementLevel.MANDATORY,
    )


def _policy(name: str, rule: Rule, inputs: Inputs) -> StackValidationPolicy:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for problem in rule(declared(args.resources, inputs)):
            report(problem, None)

    return StackValidationPolicy(
        name=name.replace("_", "-"),
        description=" ".join((rule.__doc__ or "").partition("\n\n")[0].split()),
        validate=validate,
        enforcement_level=EnforcementLevel.MANDATORY,
    )


def declared(resources: Sequence[PolicyResource], inputs: Inputs) -> list[Resource]:
    """What the engine hands over, as the rules read it."""
    root = next((r for r in resources if r.resource_type == "pulumi:pulumi:Stack"), None)
    kept = set(plain(root.props).get(RETAINED) or []) if root else set()
    return [
        Resource(
            type=r.resource_type,
            name=r.name,
            inputs=inputs.get(r.urn, {}),
            urn=r.urn,
            protect=r.opts.protect,
            retain=retained.key(r.resource_type, r.name) in kept,
            parent=r.parent.urn if r.parent else "",
            depends_on=[other.urn for other in r.dependencies],
            uses={key: [other.urn for other in sources] for key, sources in r.property_dependencies.items()},
        )
        for r in resources
    ]


def plain(value: Any) -> Any:
    """Dicts, lists and whole numbers out of the engine's proxies, which raise where a value is unknown."""
    if isinstance(value, Mapping):
        # The provider notes beside the properties which of them it filled in itself.
        return {key: _member(value, key) for key in value if key != "__defaults"}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_member(value, i) for i in range(len(value))]
    # The protocol knows only one kind of number.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _member(container: Any, key: Any) -> Any:
    try:
        return plain(container[key])
    except UnknownValueError:
        return UNKNOWN
