"""`pulumi up`: settings to components to outputs, nothing else."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws
from cluster import Cluster, ClusterArgs
from endpoint import Endpoint, EndpointArgs
from lustre import Lustre, LustreArgs
from network import Network, NetworkArgs
from outputs import export_training
from roles import Roles, RolesArgs
from settings import Settings
from storage import Storage, StorageArgs
from training_settings import TrainingSettings

settings = Settings.load()
training = TrainingSettings.load(settings)
account = aws.get_caller_identity_output().account_id

storage = Storage("storage", StorageArgs(settings=settings, account=account))
network = Network(
    "network",
    NetworkArgs(settings=settings, gpu_zone=training.gpu_zone, gpu_cidr=training.gpu_cidr, kms_key_arn=storage.kms_key_arn),
)
roles = Roles(
    "training",
    RolesArgs(
        settings=settings,
        account=account,
        vpc_id=network.vpc_id,
        buckets=storage.buckets,
        kms_key_arn=storage.kms_key_arn,
    ),
)
lustre = cluster = None
if training.lustre != "none":
    lustre = Lustre(
        "lustre",
        LustreArgs(
            settings=training,
            vpc_id=network.vpc_id,
            subnet_id=network.gpu_subnet_id,
            node_group_id=network.node_group.id,
            buckets=storage.buckets,
            account=account,
            kms_key_arn=storage.kms_key_arn,
        ),
    )
if training.reservations:
    cluster = Cluster(
        "cluster",
        ClusterArgs(
            settings=training,
            private_subnet_ids=network.private_subnet_ids,
            gpu_subnet_id=network.gpu_subnet_id,
            node_group_id=network.node_group.id,
            pod_role_arn=roles.pod_role_arn,
            kms_key_arn=storage.kms_key_arn,
        ),
    )
endpoint = Endpoint(
    "endpoint",
    EndpointArgs(
        settings=settings,
        vpc_id=network.vpc_id,
        public_subnet_ids=network.public_subnet_ids,
        private_subnet_ids=network.private_subnet_ids,
        weights=storage.buckets["weights"],
        logs=storage.buckets["logs"],
        log_policy=storage.log_policy,
        kms_key_arn=storage.kms_key_arn,
    ),
)

export_training(training, storage, network, roles, lustre, cluster)
pulumi.export("image_repository_url", endpoint.repository_url)
pulumi.export("endpoint_url", endpoint.url)
pulumi.export("endpoint_load_balancer_dns", endpoint.load_balancer_dns)
pulumi.export("endpoint_cluster_name", endpoint.cluster_name)
pulumi.export("endpoint_model_parameter", endpoint.pointer_name)
pulumi.export("endpoint_keys_secret", endpoint.keys_secret)
pulumi.export("release_policy_arn", endpoint.release_policy_arn)
