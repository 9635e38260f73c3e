"""Who may do what."""

from __future__ import annotations

import re

from policy.declared import Resource
from policy.facts import Statement, depends, statements, told, trusted
from policy.selecting import listed, of
from policy.unknown import if_known

#: Documents that give rights to a role or user, apart from those that lie on a resource and speak of it alone.
GIVING = ("iam/rolePolicy:RolePolicy", "iam/policy:Policy", "iam/userPolicy:UserPolicy", "iam/groupPolicy:GroupPolicy")
#: Services whose data, keys or machines are too much to hand out as `*`, except to look.
GUARDED = ("s3", "kms", "iam", "ec2", "secretsmanager", "dynamodb", "ssm", "sts", "eks", "ecs")
READING = re.compile(r"(Describe|Get|List)[A-Za-z]*\*?\Z")
#: Reading these is reading what is in them.
CONTENT = ("s3", "secretsmanager", "dynamodb", "kms", "ssm")
BROAD = re.compile(r"FullAccess|AdministratorAccess|PowerUserAccess")
#: What a machine that trains must not hold: the store that is served, and the right to change what it learns from.
MACHINES = {"ec2.amazonaws.com", "pods.eks.amazonaws.com"}


def rights_are_narrow(resources: list[Resource]) -> list[str]:
    """No policy allows every action of a service, nor changes to, or contents of, every resource without a
    condition."""
    problems = []
    for resource, statement in _given(resources):
        actions = listed(statement.get("Action", []))
        for action in actions:
            if action == "*" or action.endswith(":*"):
                problems.append(f"{told(resource)} allows {action}; name the actions")
        if "*" in listed(statement.get("Resource", [])) and not statement.get("Condition"):
            wide = [action for action in actions if _needs_a_resource(action)]
            if wide:
                problems.append(f"{told(resource)} allows {', '.join(wide)} on every resource; name them, or add a condition")
    return problems


def no_broad_managed_policies(resources: list[Resource]) -> list[str]:
    """No role carries one of AWS's policies for everything."""
    problems = []
    kinds = ("RolePolicyAttachment", "UserPolicyAttachment", "GroupPolicyAttachment", "PolicyAttachment")
    attached = [
        (r, arn) for k in kinds for r in of(resources, f"iam/{k[0].lower()}{k[1:]}:{k}") for arn in [r.inputs.get("policyArn")]
    ]
    for role in of(resources, "iam/role:Role"):
        with if_known():
            attached += [(role, arn) for arn in listed(role.inputs.get("managedPolicyArns"))]
    for resource, arn in attached:
        with if_known():
            if BROAD.search(str(arn)):
                problems.append(f"{told(resource)} attaches {arn}; write a policy of what it needs")
    return problems


def nobody_is_everyone(resources: list[Resource]) -> list[str]:
    """No policy allows anything to everybody."""
    problems = []
    for resource, statement in statements(resources):
        principal = statement.get("Principal")
        everyone = principal == "*" or (isinstance(principal, dict) and any("*" in listed(p) for p in principal.values()))
        if statement.get("Effect") == "Allow" and everyone:
            problems.append(f"{told(resource)} allows {statement.get('Action')} to everybody; name principals")
    return problems


def serving_only_reads(resources: list[Resource]) -> list[str]:
    """Serving tasks read the weights store and nothing else of S3, and change nothing."""
    problems = []
    for policy, statement in _of_roles(resources, {"ecs-tasks.amazonaws.com"}):
        for action in listed(statement.get("Action", [])):
            service, _, name = action.partition(":")
            if service in ("s3", "dynamodb", "kms") and not re.match(r"Get|List|Scan|Query|BatchGet|Decrypt|Describe", name):
                problems.append(f"{told(policy)} lets a serving task do {action}; it must only read")
            if action == "s3:GetObject":
                for where in listed(statement.get("Resource", [])):
                    if not where.endswith("/store/*"):
                        problems.append(f"{told(policy)} lets a serving task read {where}; BUCKET/store/* is what it needs")
    return problems


def training_cannot_touch_what_is_served(resources: list[Resource]) -> list[str]:
    """Training machines have no right on the weights store, and cannot change datasets."""
    problems = []
    for policy, statement in _of_roles(resources, MACHINES):
        actions = [a for a in listed(statement.get("Action", [])) if a.startswith("s3:")]
        writes = [a for a in actions if re.match(r"s3:(Put|Delete|Restore|Replicate|\*)", a)]
        for where in map(str, listed(statement.get("Resource", []))):
            if actions and "weights" in where:
                problems.append(
                    f"{told(policy)} lets a training machine do {', '.join(actions)} on {where}; only tenet deploy publishes"
                )
            if writes and "datasets" in where:
                problems.append(f"{told(policy)} lets a training machine do {', '.join(writes)} on {where}; datasets are read")
    return problems


def bedrock_acts_for_this_account_only(resources: list[Resource]) -> list[str]:
    """Bedrock takes a role on behalf of this account, from named jobs (no confused deputy)."""
    problems = []
    for role, statement in statements(of(resources, "iam/role:Role")):
        principal = statement.get("Principal", {})
        if isinstance(principal, dict) and "bedrock.amazonaws.com" in listed(principal.get("Service", [])):
            keys = {key for test in statement.get("Condition", {}).values() for key in test}
            for missing in sorted({"aws:SourceAccount", "aws:SourceArn"} - keys):
                problems.append(f"{told(role)} trusts Bedrock without {missing}; anybody's job could use it")
    return problems


def _given(resources: list[Resource]) -> list[tuple[Resource, Statement]]:
    giving = [resource for kind in GIVING for resource in of(resources, kind)]
    return [(r, s) for r, s in statements(giving) if s.get("Effect") == "Allow"]


def _of_roles(resources: list[Resource], services: set[str]) -> list[tuple[Resource, Statement]]:
    """Statements of the policies of roles that one of the services may take."""
    roles = [role for role in of(resources, "iam/role:Role") if trusted(role) & services]
    return [(policy, statement) for policy, statement in _given(resources) if any(depends(policy, role) for role in roles)]


def _needs_a_resource(action: str) -> bool:
    service, _, name = action.partition(":")
    return service in GUARDED and (service in CONTENT or not READING.match(name))
