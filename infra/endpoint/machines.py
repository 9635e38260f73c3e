"""GPU machines that ECS fills: a group that grows and shrinks with the tasks that want to run."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from configuration.settings import Settings
from endpoint.task import HOST_PATH
from identity.documents import as_json, assume_role

#: Amazon's image with driver and ECS agent; EC2 resolves the parameter at each launch, so new machines have the fixes
#: of the day.
IMAGE = "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/gpu/recommended/image_id"


@dataclass(frozen=True, kw_only=True)
class MachinesArgs:
    """Where machines stand and which cluster they join.

    Args:
        most: machines at once, those that stand in for others during a deployment included.
    """

    settings: Settings
    most: int
    subnet_ids: list[pulumi.Output[str]]
    security_group_id: pulumi.Input[str]
    cluster: aws.ecs.Cluster


class Machines(pulumi.ComponentResource):
    """Launch template, group and capacity provider.

    Attributes:
        provider: what a service names to run on these machines.
        attached: what a service must wait for before it does.
    """

    def __init__(self, name: str, args: MachinesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Machines", name, None, opts)
        self.name, self.args, self.settings = name, args, args.settings
        self.child = pulumi.ResourceOptions(parent=self)
        self.provider = self._capacity(self._template())
        self.attached = aws.ecs.ClusterCapacityProviders(
            name, cluster_name=args.cluster.name, capacity_providers=[self.provider.name], opts=self.child
        )
        self.register_outputs({"provider": self.provider.name})

    def _template(self) -> aws.ec2.LaunchTemplate:
        settings = self.settings
        role = aws.iam.Role(f"{self.name}-machine", assume_role_policy=as_json(assume_role("ec2.amazonaws.com")), opts=self.child)
        for policy in ("service-role/AmazonEC2ContainerServiceforEC2Role", "AmazonSSMManagedInstanceCore"):
            aws.iam.RolePolicyAttachment(
                f"{self.name}-{policy.split('/')[-1]}",
                role=role.name,
                policy_arn=f"arn:aws:iam::aws:policy/{policy}",
                opts=self.child,
            )
        profile = aws.iam.InstanceProfile(f"{self.name}-machine", role=role.name, opts=self.child)
        # The provider's default tags do not reach what the group launches.
        tags = {**settings.tags, "Name": f"{settings.prefix}-serve"}
        return aws.ec2.LaunchTemplate(
            self.name,
            image_id=IMAGE,
            instance_type=settings.instance.name,
            update_default_version=True,
            iam_instance_profile={"arn": profile.arn},
            vpc_security_group_ids=[self.args.security_group_id],
            # Tasks have roles of their own; a hop limit of 1 keeps them away from the machine's.
            metadata_options={"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1},
            block_device_mappings=[
                {
                    "device_name": "/dev/xvda",
                    "ebs": {"volume_type": "gp3", "volume_size": 200, "encrypted": "true", "delete_on_termination": "true"},
                }
            ],
            tag_specifications=[{"resource_type": kind, "tags": tags} for kind in ("instance", "volume")],
            user_data=self.args.cluster.name.apply(user_data),
            opts=self.child,
        )

    def _capacity(self, template: aws.ec2.LaunchTemplate) -> aws.ecs.CapacityProvider:
        settings = self.settings
        group = aws.autoscaling.Group(
            self.name,
            min_size=settings.endpoint_min,
            max_size=self.args.most,
            vpc_zone_identifiers=self.args.subnet_ids,
            launch_template={"id": template.id, "version": "$Latest"},
            protect_from_scale_in=True,  # ECS decides which machine may go: an empty one
            health_check_type="EC2",
            tags=[
                {"key": "Name", "value": f"{settings.prefix}-serve", "propagate_at_launch": True},
                {"key": "AmazonECSManaged", "value": "true", "propagate_at_launch": True},
            ],
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["desiredCapacity"]),
        )
        scaling = {"status": "ENABLED", "target_capacity": 100, "minimum_scaling_step_size": 1, "maximum_scaling_step_size": 2}
        return aws.ecs.CapacityProvider(
            self.name,
            name=f"{settings.prefix}-gpu",
            auto_scaling_group_provider={
                "auto_scaling_group_arn": group.arn,
                "managed_scaling": scaling,
                "managed_termination_protection": "ENABLED",
                "managed_draining": "ENABLED",  # a machine that must go hands its tasks over first
            },
            opts=self.child,
        )


#: Weights are read from the instance's own disks where it has them; where that fails, from the root volume.
SCRATCH = f"""
mkdir -p {HOST_PATH}
disks=$(for link in /dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_*; do
    [ -e "$link" ] && readlink -f "$link"
done | grep -v 'p[0-9]*$' | sort -u)
set -- $disks
if [ $# -gt 1 ]; then
    {{ command -v mdadm || dnf -y -q install mdadm; }} >/dev/null &&
        mdadm --create /dev/md0 --level=0 --raid-devices=$# "$@" --run && set -- /dev/md0
fi
[ $# -eq 1 ] && mkfs.xfs -f -q "$1" && mount -o noatime "$1" {HOST_PATH}
"""


def user_data(cluster: str) -> str:
    """Base64 of the first boot: scratch disks, join the cluster, and keep tasks away from the machine's own
    credentials."""
    values = (f"ECS_CLUSTER={cluster}", "ECS_ENABLE_GPU_SUPPORT=true", "ECS_AWSVPC_BLOCK_IMDS=true")
    lines = ["#!/bin/bash", SCRATCH.strip(), *(f"echo {value} >> /etc/ecs/ecs.config" for value in values)]
    return base64.b64encode("\n".join(lines).encode()).decode()
