"""GPU nodes of the cluster: for each reservation a launch template that fits its machines, and one managed node
group."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from configuration.instances import network_interfaces
from configuration.reservations import Reservation
from configuration.settings import Settings

#: GiB of the root volume: system and images. Data and scratch are on the machine's own NVMe disks.
ROOT_GIB = 200
#: First boot, read by nodeadm on Amazon Linux 2023: all NVMe disks become one RAID0, under containers and kubelet.
NODE_CONFIG = """\
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  instance:
    localStorage:
      strategy: RAID0
"""
#: Pods without this toleration stay off machines that cost tens of dollars an hour.
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}


@dataclass(frozen=True, kw_only=True)
class NodesArgs:
    """Where nodes stand and what they join."""

    settings: Settings
    cluster: aws.eks.Cluster
    role_arn: pulumi.Input[str]
    subnet_id: pulumi.Input[str]
    security_group_ids: list[pulumi.Input[str]]
    ready: list[pulumi.Resource]


class Nodes(pulumi.ComponentResource):
    """Launch template and node group of one reservation. How many nodes run is a size of the group, never a
    resource."""

    def __init__(self, name: str, reservation: Reservation, args: NodesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Nodes", name, None, opts)
        self.name, self.args, self.reservation = name, args, reservation
        self.child = pulumi.ResourceOptions(parent=self)
        group = self._group(self._template())
        self.register_outputs({"node_group": group.node_group_name})

    def _template(self) -> aws.ec2.LaunchTemplate:
        r = self.reservation
        return aws.ec2.LaunchTemplate(
            self.name,
            instance_type=r.machine.name,
            network_interfaces=network_interfaces(r.machine, self.args.security_group_ids),
            **self._capacity(),
            **base(self.args.settings, f"{self.args.settings.prefix}-{r.name}"),
            user_data=user_data(),
            opts=self.child,
        )

    def _capacity(self) -> dict[str, Any]:
        """Reservation and placement. A placement group is never forced on a reservation that was made without it: part
        of the nodes would not come up."""
        r = self.reservation
        if r.kind == "none":
            place = aws.ec2.PlacementGroup(self.name, strategy="cluster", opts=self.child)
            return {"placement": {"group_name": place.name}}
        target = {"capacity_reservation_target": {"capacity_reservation_id": r.id}}
        found: dict[str, Any] = {"capacity_reservation_specification": target}
        if r.kind == "capacity-block":
            found["instance_market_options"] = {"market_type": "capacity-block"}
        if r.placement_group:
            found["placement"] = {"group_name": r.placement_group}
        return found

    def _group(self, template: aws.ec2.LaunchTemplate) -> aws.eks.NodeGroup:
        r, args = self.reservation, self.args
        market = {"capacity-block": "CAPACITY_BLOCK", "odcr": "ON_DEMAND", "none": "SPOT" if r.spot else "ON_DEMAND"}
        return aws.eks.NodeGroup(
            self.name,
            cluster_name=args.cluster.name,
            node_group_name=r.name,
            node_role_arn=args.role_arn,
            subnet_ids=[args.subnet_id],  # one: a group on a reservation has one zone
            ami_type="AL2023_x86_64_NVIDIA",
            capacity_type=market[r.kind],
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            scaling_config={"min_size": r.min, "max_size": r.max, "desired_size": r.min},
            update_config={"max_unavailable_percentage": 10},
            # A node whose GPU or network fails its checks is drained and replaced.
            node_repair_config={"enabled": True},
            taints=[GPU_TAINT],
            labels={"tenet/reservation": r.name},
            tags={"Name": f"{args.settings.prefix}-{r.name}"},
            # How many nodes run is decided while the cluster runs; an update of the stack must not change it.
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=args.ready, ignore_changes=["scalingConfig.desiredSize"], delete_before_replace=True
            ),
        )


def base(settings: Settings, name: str) -> dict[str, Any]:
    """What the launch templates of GPU and system nodes share: no old metadata service, an encrypted disk, tags."""
    tags = {**settings.tags, "Name": name}
    return {
        "update_default_version": True,
        # Pods have identities of their own; at one hop they do not get at the node's.
        "metadata_options": {
            "http_endpoint": "enabled",
            "http_tokens": "required",
            "http_put_response_hop_limit": 1,
            "instance_metadata_tags": "disabled",
        },
        "block_device_mappings": [
            {
                "device_name": "/dev/xvda",
                "ebs": {"volume_type": "gp3", "volume_size": ROOT_GIB, "encrypted": "true", "delete_on_termination": "true"},
            }
        ],
        # The provider's default tags do not reach what a template launches.
        "tag_specifications": [{"resource_type": kind, "tags": tags} for kind in ("instance", "volume")],
    }


def user_data() -> str:
    """Base64 of the first boot, in the form that EKS merges with its own."""
    lines = (
        "MIME-Version: 1.0",
        'Content-Type: multipart/mixed; boundary="//"',
        "",
        "--//",
        "Content-Type: application/node.eks.aws",
        "",
        NODE_CONFIG,
        "--//--",
        "",
    )
    return base64.b64encode("\n".join(lines).encode()).decode()
