"""The shared file system of training machines: FSx for Lustre, filled from the datasets bucket, its checkpoints written
back to S3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from configuration.training_settings import TrainingSettings

#: What Lustre speaks on, between clients and servers and among servers (FSx user guide).
PORTS = ((988, 988), (1018, 1023))
#: Where the buckets appear below the mount point -> what is kept in step, and in which direction.
LINKS = {"datasets": "auto_import_policy", "checkpoints": "auto_export_policy"}


@dataclass(frozen=True, kw_only=True)
class LustreArgs:
    """Where the file system stands and which buckets it shows."""

    settings: TrainingSettings
    vpc_id: pulumi.Input[str]
    subnet_id: pulumi.Input[str]
    node_group_id: pulumi.Input[str]
    buckets: dict[str, aws.s3.Bucket]
    account: pulumi.Input[str]
    kms_key_arn: pulumi.Input[str]


class Lustre(pulumi.ComponentResource):
    """File system, who reaches it, and its links to buckets.

    Attributes:
        file_system_id, dns_name, mount_name: `mount -t lustre DNS_NAME@tcp:/MOUNT_NAME /fsx`.
    """

    def __init__(self, name: str, args: LustreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Lustre", name, None, opts)
        self.name, self.args, self.settings = name, args, args.settings
        self.child = pulumi.ResourceOptions(parent=self)
        kept = self.settings.stack.protect
        self.kept = pulumi.ResourceOptions(parent=self, protect=kept, retain_on_delete=kept)
        files = self._files(self._group())
        links = [self._link(files, kind) for kind in LINKS]
        self._let_fsx_use_the_key(files, links)
        self.file_system_id, self.dns_name, self.mount_name = files.id, files.dns_name, files.mount_name
        self.register_outputs({"file_system_id": self.file_system_id, "dns_name": self.dns_name, "mount_name": self.mount_name})

    def _group(self) -> aws.ec2.SecurityGroup:
        """Training machines and the file servers among themselves, on Lustre's ports; with EFA on all, as it has
        none."""
        prefix = self.settings.stack.prefix
        group = aws.ec2.SecurityGroup(
            self.name,
            vpc_id=self.args.vpc_id,
            description="Training machines to Lustre",
            tags={"Name": f"{prefix}-lustre"},
            opts=self.child,
        )
        ports: list[dict[str, Any]] = [{"ip_protocol": "tcp", "from_port": low, "to_port": high} for low, high in PORTS]
        reach: list[dict[str, Any]] = [{"ip_protocol": "-1"}] if self.settings.lustre_efa else ports
        # Each pair of groups that talks, once as seen from each end.
        for label, here, there in (
            ("nodes", group.id, self.args.node_group_id),
            ("itself", group.id, group.id),
            ("servers", self.args.node_group_id, group.id),
        ):
            for number, what in enumerate(reach):
                ends = {"security_group_id": here, "referenced_security_group_id": there}
                aws.vpc.SecurityGroupIngressRule(f"{self.name}-from-{label}-{number}", **ends, **what, opts=self.child)
                aws.vpc.SecurityGroupEgressRule(f"{self.name}-to-{label}-{number}", **ends, **what, opts=self.child)
        return group

    def _files(self, group: aws.ec2.SecurityGroup) -> aws.fsx.LustreFileSystem:
        settings, stack = self.settings, self.settings.stack
        log = aws.cloudwatch.LogGroup(
            self.name,
            name=f"/aws/fsx/{stack.prefix}",  # FSx accepts no other beginning
            retention_in_days=stack.log_days,
            kms_key_id=self.args.kms_key_arn,
            opts=self.child,
        )
        persistent = settings.lustre == "PERSISTENT_2"
        return aws.fsx.LustreFileSystem(
            self.name,
            deployment_type=settings.lustre,
            storage_capacity=settings.lustre_gib,
            storage_type="SSD",
            per_unit_storage_throughput=settings.lustre_throughput if persistent else None,
            efa_enabled=settings.lustre_efa if persistent else None,
            # Files are many and small where checkpoints are sharded; EFA asks for it besides.
            metadata_configuration={"mode": "AUTOMATIC"} if persistent else None,
            data_compression_type="LZ4",
            file_system_type_version="2.15",
            subnet_ids=self.args.subnet_id,
            security_group_ids=[group.id],
            # A scratch file system has a key of AWS's own and cannot have another.
            kms_key_id=self.args.kms_key_arn if persistent else None,
            log_configuration={"destination": log.arn, "level": "WARN_ERROR"},
            # What matters is exported to S3 as it is written; a backup would be a second copy of it.
            automatic_backup_retention_days=0 if persistent else None,
            skip_final_backup=True,
            tags={"Name": f"{stack.prefix}-lustre"},
            opts=self.kept,
        )

    def _link(self, files: aws.fsx.LustreFileSystem, kind: str) -> aws.fsx.DataRepositoryAssociation:
        policy = {LINKS[kind]: {"events": ["NEW", "CHANGED", "DELETED"] if kind == "datasets" else ["NEW", "CHANGED"]}}
        return aws.fsx.DataRepositoryAssociation(
            f"{self.name}-{kind}",
            file_system_id=files.id,
            file_system_path=f"/{kind}",
            data_repository_path=self.args.buckets[kind].bucket.apply(lambda bucket: f"s3://{bucket}"),
            # What the bucket holds already; new objects come by events. Deleting a file here deletes nothing in S3.
            batch_import_meta_data_on_create=True,
            delete_data_in_filesystem=False,
            s3=policy,
            opts=self.child,
        )

    def _let_fsx_use_the_key(self, files: aws.fsx.LustreFileSystem, links: list[aws.fsx.DataRepositoryAssociation]) -> None:
        """FSx makes a role of its own for the buckets when they are linked; objects under our key need a grant for that
        role."""
        role = pulumi.Output.all(self.args.account, files.id).apply(
            lambda a: (
                f"arn:aws:iam::{a[0]}:role/aws-service-role/s3.data-source.lustre.fsx.amazonaws.com/AWSServiceRoleForFSxS3Access_{a[1]}"
            )
        )
        aws.kms.Grant(
            self.name,
            key_id=self.args.kms_key_arn,
            grantee_principal=role,
            operations=["Decrypt", "Encrypt", "GenerateDataKey", "ReEncryptFrom", "ReEncryptTo", "DescribeKey"],
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(links)),
        )
