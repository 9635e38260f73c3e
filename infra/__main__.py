"""`pulumi up`: settings to components to outputs, nothing else."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws
from bedrock_import import BedrockImport, BedrockImportArgs
from endpoint import Endpoint, EndpointArgs
from endpoint_settings import EndpointSettings
from identity import Identity, IdentityArgs
from network import Network, NetworkArgs
from settings import Settings
from storage import Storage, StorageArgs
from watch import Watch, WatchArgs

settings = Settings.load()
endpoint_settings = EndpointSettings.load(settings)
account = aws.get_caller_identity_output().account_id

storage = Storage("storage", StorageArgs(settings=settings, account=account))
network = Network("network", NetworkArgs(settings=settings, kms_key_arn=storage.kms_key_arn))
identity = Identity(
    "identity",
    IdentityArgs(
        settings=settings,
        datasets=storage.buckets["datasets"].arn,
        checkpoints=storage.buckets["checkpoints"].arn,
        reports=storage.buckets["reports"].arn,
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
    BedrockImportArgs(
        settings=settings, account=account, weights=storage.buckets["weights"], kms_key_arn=storage.kms_key_arn
    ),
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
    ),
)

pulumi.export("region", settings.region)
pulumi.export("vpc_name", network.vpc_name)
pulumi.export("vpc_id", network.vpc_id)
pulumi.export("private_subnet_names", network.private_subnet_names)
pulumi.export("node_instance_profile_name", identity.node_profile_name)
pulumi.export("kms_key_arn", storage.kms_key_arn)
for kind, bucket in storage.buckets.items():
    pulumi.export(f"{kind}_bucket", bucket.bucket)
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
