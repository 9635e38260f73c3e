"""What the stack tells the rest of the repository: plain texts and lists, read by `tenet sky config` and by people."""

from __future__ import annotations

import pulumi

from configuration.training_settings import TrainingSettings
from ground.network import Network
from ground.storage import Storage
from identity.launching import LABEL
from identity.roles import Roles
from training.cluster import Cluster
from training.lustre import Lustre


def export_training(
    training: TrainingSettings, storage: Storage, network: Network, roles: Roles, lustre: Lustre | None, cluster: Cluster | None
) -> None:
    """Export network, storage and training. What a stack does not have is an empty text, so that readers need no second
    case."""
    settings = training.stack
    pulumi.export("region", settings.region)
    pulumi.export("vpc_name", network.vpc_name)
    pulumi.export("vpc_id", network.vpc_id)
    pulumi.export("private_subnet_names", network.private_subnet_names)
    pulumi.export("gpu_subnet_names", network.gpu_subnet_names)
    pulumi.export("efa_security_group_name", network.node_group_name)
    pulumi.export("node_instance_profile_name", roles.node_profile_name)
    pulumi.export("controller_instance_profile_name", roles.controller_profile_name)
    pulumi.export("launch_policy_arn", roles.launch_policy_arn)
    pulumi.export("capacity_reservation_ids", [r.id for r in training.reservations if r.id])
    pulumi.export("eks_cluster_name", cluster.name_output if cluster else "")
    pulumi.export("fsx_file_system_id", lustre.file_system_id if lustre else "")
    pulumi.export("fsx_dns_name", lustre.dns_name if lustre else "")
    pulumi.export("fsx_mount_name", lustre.mount_name if lustre else "")
    pulumi.export("kms_key_arn", storage.kms_key_arn)
    for kind, bucket in storage.buckets.items():
        pulumi.export(f"{kind}_bucket", bucket.bucket)
    pulumi.export("labels", {**settings.tags, LABEL: "skypilot"})
