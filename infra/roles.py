"""Roles of training: one for machines that SkyPilot launches, one for pods of the cluster, a policy for whoever launches."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from identity import as_json, assume_role, pod_role, training
from launching import Names, launching, self_stopping
from settings import Settings


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
        pod_role_arn: for pods of the cluster with the service account `training`.
        launch_policy_arn: for people and CI that run `sky launch`.
    """

    def __init__(self, name: str, args: RolesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Roles", name, None, opts)
        self.name, self.args = name, args
        self.child = pulumi.ResourceOptions(parent=self)
        machine = self._trainer(f"{name}-training", as_json(assume_role("ec2.amazonaws.com")), "Training machines")
        pod = self._trainer(f"{name}-pod", as_json(pod_role()), "Training pods")
        # Shell access without SSH: no key, no open port, each session recorded.
        aws.iam.RolePolicyAttachment(
            f"{name}-training-ssm",
            role=machine.name,
            policy_arn="arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
            opts=self.child,
        )
        # SkyPilot names it in its configuration, so the name is fixed.
        profile = aws.iam.InstanceProfile(
            f"{name}-training", name=f"{args.settings.prefix}-training", role=machine.name, opts=self.child
        )
        policy = self._sky(machine, profile)
        self.node_profile_name, self.pod_role_arn, self.launch_policy_arn = profile.name, pod.arn, policy.arn
        self.register_outputs({"node_profile_name": self.node_profile_name, "launch_policy_arn": self.launch_policy_arn})

    def _trainer(self, label: str, trust: str, text: str) -> aws.iam.Role:
        """A role that reads datasets and keeps checkpoints and reports."""
        buckets = self.args.buckets
        role = aws.iam.Role(label, assume_role_policy=trust, description=text, opts=self.child)
        arns = pulumi.Output.all(*(buckets[kind].arn for kind in ("datasets", "checkpoints", "reports")), self.args.kms_key_arn)
        aws.iam.RolePolicy(label, role=role.id, policy=arns.apply(lambda a: as_json(training(*a))), opts=self.child)
        return role

    def _sky(self, role: aws.iam.Role, profile: aws.iam.InstanceProfile) -> aws.iam.Policy:
        args = self.args
        names = pulumi.Output.all(
            account=args.account, vpc=args.vpc_id, role=role.arn, profile=profile.arn, checkpoints=args.buckets["checkpoints"].arn
        ).apply(lambda known: Names(region=args.settings.region, stack=args.settings.stack, **known))
        aws.iam.RolePolicy(
            f"{self.name}-autostop", role=role.id, policy=names.apply(lambda n: as_json(self_stopping(n))), opts=self.child
        )
        return aws.iam.Policy(
            f"{self.name}-launch",
            description="Launch training machines into the stack's network",
            policy=names.apply(lambda n: as_json(launching(n))),
            opts=self.child,
        )
