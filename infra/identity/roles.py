"""Roles of training: for machines that SkyPilot launches, its controllers, pods of the cluster; a policy for whoever
launches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from configuration.settings import Settings
from identity.documents import Document, as_json, assume_role, pod_role, training
from identity.launching import Names, launching, self_stopping


@dataclass(frozen=True, kw_only=True)
class RolesArgs:
    """What the policies speak of."""

    settings: Settings
    account: pulumi.Input[str]
    vpc_id: pulumi.Input[str]
    buckets: dict[str, aws.s3.Bucket]
    kms_key_arn: pulumi.Input[str]


class Roles(pulumi.ComponentResource):
    """Who trains.

    Attributes:
        node_profile_name: instance profile that SkyPilot gives its machines (`aws.remote_identity`).
        controller_profile_name: the same for the controllers of `sky jobs` and `sky serve`, which launch machines
            themselves.
        pod_role_arn: for pods of the cluster with the service account `training`.
        launch_policy_arn: for people and CI that run `sky launch`.
    """

    def __init__(self, name: str, args: RolesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Roles", name, None, opts)
        self.name, self.args = name, args
        self.child = pulumi.ResourceOptions(parent=self)
        machine = self._trainer(f"{name}-training", as_json(assume_role("ec2.amazonaws.com")), "Training machines")
        pod = self._trainer(f"{name}-pod", as_json(pod_role()), "Training pods")
        controller = aws.iam.Role(
            f"{name}-controller",
            assume_role_policy=as_json(assume_role("ec2.amazonaws.com")),
            description="Controllers of managed jobs and services",
            opts=self.child,
        )
        profiles = [self._profile("training", machine), self._profile("controller", controller)]
        # A controller launches machines; only a person launches a controller.
        self._policy("autostop", machine, self_stopping, [machine], profiles[:1])
        self._policy("controller", controller, launching, [machine], profiles[:1])
        policy = aws.iam.Policy(
            f"{name}-launch",
            description="Launch training machines into the stack's network",
            policy=self._names([machine, controller], profiles).apply(lambda n: as_json(launching(n))),
            opts=self.child,
        )
        self.node_profile_name, self.controller_profile_name = (profile.name for profile in profiles)
        self.pod_role_arn, self.launch_policy_arn = pod.arn, policy.arn
        self.register_outputs({"node_profile_name": self.node_profile_name, "launch_policy_arn": self.launch_policy_arn})

    def _trainer(self, label: str, trust: str, text: str) -> aws.iam.Role:
        """A role that reads datasets and keeps checkpoints and reports."""
        buckets = self.args.buckets
        role = aws.iam.Role(label, assume_role_policy=trust, description=text, opts=self.child)
        arns = pulumi.Output.all(*(buckets[kind].arn for kind in ("datasets", "checkpoints", "reports")), self.args.kms_key_arn)
        aws.iam.RolePolicy(label, role=role.id, policy=arns.apply(lambda a: as_json(training(*a))), opts=self.child)
        return role

    def _profile(self, kind: str, role: aws.iam.Role) -> aws.iam.InstanceProfile:
        label = f"{self.name}-{kind}"
        # Shell access without SSH: no key, no open port, each session recorded.
        aws.iam.RolePolicyAttachment(
            f"{label}-ssm",
            role=role.name,
            policy_arn="arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
            opts=self.child,
        )
        # SkyPilot names it in its configuration, so the name is fixed.
        return aws.iam.InstanceProfile(label, name=f"{self.args.settings.prefix}-{kind}", role=role.name, opts=self.child)

    def _policy(
        self,
        kind: str,
        role: aws.iam.Role,
        document: Callable[[Names], Document],
        roles: list[aws.iam.Role],
        profiles: list[aws.iam.InstanceProfile],
    ) -> None:
        policy = self._names(roles, profiles).apply(lambda names: as_json(document(names)))
        aws.iam.RolePolicy(f"{self.name}-{kind}", role=role.id, policy=policy, opts=self.child)

    def _names(self, roles: list[aws.iam.Role], profiles: list[aws.iam.InstanceProfile]) -> pulumi.Output[Names]:
        args = self.args
        return pulumi.Output.all(
            account=args.account,
            vpc=args.vpc_id,
            roles=pulumi.Output.all(*(role.arn for role in roles)),
            profiles=pulumi.Output.all(*(profile.arn for profile in profiles)),
            checkpoints=args.buckets["checkpoints"].arn,
            key=args.kms_key_arn,
        ).apply(lambda known: Names(region=args.settings.region, stack=args.settings.stack, **known))
