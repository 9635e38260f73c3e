"""`pulumi up`: settings to components to outputs, nothing else."""

from __future__ import annotations

import sys

import pulumi
import pulumi_aws as aws

import retained
from configuration.loading import load
from configuration.reading import SettingError
from endpoint.endpoint import Endpoint, EndpointArgs
from ground.network import Network, NetworkArgs
from ground.storage import Storage, StorageArgs
from identity.bedrock_import import BedrockImport, BedrockImportArgs
from identity.roles import Roles, RolesArgs
from outputs import export_training
from training.cluster import Cluster, ClusterArgs
from training.lustre import Lustre, LustreArgs
from watching.watch import Watch, WatchArgs

#: Exit code by which a program tells Pulumi's language host that its error has been shown, so that none is added about
#: the exit code.
SHOWN = 32

try:
    settings, training, endpoint_settings = load()
except SettingError as error:
    pulumi.log.error(str(error))
    sys.exit(SHOWN)
kept = retained.note()
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
        endpoint=endpoint_settings,
        vpc_id=network.vpc_id,
        public_subnet_ids=network.public_subnet_ids,
        private_subnet_ids=network.private_subnet_ids,
        weights=storage.buckets["weights"],
        logs=storage.buckets["logs"],
        log_policy=storage.log_policy,
        kms_key_arn=storage.kms_key_arn,
    ),
)
bedrock_import = BedrockImport(
    "import",
    BedrockImportArgs(settings=settings, account=account, weights=storage.buckets["weights"], kms_key_arn=storage.kms_key_arn),
)
watch = Watch(
    "watch",
    WatchArgs(
        settings=settings,
        endpoint=endpoint_settings,
        account=account,
        balancer_suffix=endpoint.balancer_suffix,
        target_suffix=endpoint.target_suffix,
        cluster_name=endpoint.cluster_name,
        service_name=endpoint.service_name,
        file_system_id=lustre.file_system_id if lustre else None,
        file_system_gib=training.lustre_gib if lustre else 0,
        reservation_ids=tuple(r.id for r in training.reservations if r.id),
    ),
)

export_training(training, storage, network, roles, lustre, cluster)
pulumi.export("image_repository_url", endpoint.repository_url)
pulumi.export("endpoint_url", endpoint.url)
pulumi.export("endpoint_load_balancer_dns", endpoint.load_balancer_dns)
pulumi.export("endpoint_cloud_front_dns", endpoint.cloud_front_dns)
pulumi.export("endpoint_private_link_name", endpoint.private_link_name)
pulumi.export("endpoint_cluster_name", endpoint.cluster_name)
pulumi.export("endpoint_service_name", endpoint.service_name)
pulumi.export("endpoint_model_parameter", endpoint.pointer_name)
pulumi.export("endpoint_keys_secret", endpoint.keys.secret_name)
pulumi.export("api_keys_table", endpoint.keys.table_name)
pulumi.export("release_policy_arn", endpoint.release_policy_arn)
pulumi.export("import_role_arn", bedrock_import.role_arn)
pulumi.export("alerts_topic_arn", watch.topic_arn)
pulumi.export("retained", sorted(kept))
