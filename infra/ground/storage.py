"""What must not be lost: five buckets under one key.

Nothing is public, nothing travels without TLS, and what is overwritten or deleted stays for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from configuration.settings import Settings
from identity.documents import Statement, as_json, key_policy, log_delivery, tls_only


@dataclass(frozen=True)
class Kind:
    """How one bucket is kept.

    Args:
        old_days: days that a version which was replaced or deleted is kept.
        tier: move what is not read for a month to cheaper storage by itself.
    """

    old_days: int = 30
    tier: bool = False


#: Nothing in datasets, reports or weights ever expires by itself: only what was replaced or deleted does, later.
KINDS = {
    "datasets": Kind(tier=True),
    # Written anew every few minutes: a week of old versions is enough to undo a mistake.
    "checkpoints": Kind(old_days=7, tier=True),
    "reports": Kind(old_days=365),
    "weights": Kind(old_days=365),
    "logs": Kind(),  # expire after logDays
}


@dataclass(frozen=True, kw_only=True)
class StorageArgs:
    """What storage is made from."""

    settings: Settings
    account: pulumi.Input[str]


class Storage(pulumi.ComponentResource):
    """Key and buckets.

    Attributes:
        kms_key_arn: the key of everything that is kept.
        buckets: kind -> bucket.
        log_policy: lets services write logs; what switches logging on has to wait for it.
    """

    def __init__(self, name: str, args: StorageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Storage", name, None, opts)
        self.name, self.args = name, args
        self.kept = pulumi.ResourceOptions(parent=self, protect=args.settings.protect, retain_on_delete=args.settings.protect)
        account = pulumi.Output.from_input(args.account)
        key = aws.kms.Key(
            name,
            description=f"Data of {args.settings.prefix}",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            policy=account.apply(lambda a: as_json(key_policy(a, args.settings.region))),
            opts=self.kept,
        )
        aws.kms.Alias(
            name, name=f"alias/{args.settings.prefix}", target_key_id=key.key_id, opts=pulumi.ResourceOptions(parent=self)
        )
        self.kms_key_arn = key.arn
        policies: dict[str, aws.s3.BucketPolicy] = {}
        self.buckets: dict[str, aws.s3.Bucket] = {}
        for kind in KINDS:
            self.buckets[kind], policies[kind] = self._bucket(kind, account)
        self.log_policy = policies["logs"]
        self._log_access()
        self.register_outputs({"kms_key_arn": self.kms_key_arn, **{kind: bucket.bucket for kind, bucket in self.buckets.items()}})

    def _bucket(self, kind: str, account: pulumi.Output[str]) -> tuple[aws.s3.Bucket, aws.s3.BucketPolicy]:
        label, child = f"{self.name}-{kind}", pulumi.ResourceOptions(parent=self)
        bucket = aws.s3.Bucket(label, force_destroy=not self.args.settings.protect, opts=self.kept)
        block = aws.s3.BucketPublicAccessBlock(
            label,
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketOwnershipControls(label, bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"}, opts=child)
        versioning = aws.s3.BucketVersioning(
            label,
            bucket=bucket.id,
            versioning_configuration={"status": "Enabled"},
            opts=child,
        )
        self._encrypt(label, bucket, kind)
        aws.s3.BucketLifecycleConfiguration(
            label,
            bucket=bucket.id,
            rules=lifecycle(KINDS[kind], self.args.settings.log_days if kind == "logs" else 0),
            # Without it AWS may apply rules about old versions to a bucket that does not keep any yet.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[versioning]),
        )
        policy = pulumi.Output.all(bucket.arn, account).apply(lambda a: as_json(tls_only(a[0], *_delivery(kind, *a))))
        # S3 refuses two changes of a bucket's access settings at once, so the policy waits for the block.
        waits = pulumi.ResourceOptions(parent=self, depends_on=[block])
        return bucket, aws.s3.BucketPolicy(label, bucket=bucket.id, policy=policy, opts=waits)

    def _log_access(self) -> None:
        """Who read what, from every other bucket into logs."""
        target = self.buckets["logs"]
        for kind, bucket in self.buckets.items():
            if kind != "logs":
                aws.s3.BucketLogging(
                    f"{self.name}-{kind}",
                    bucket=bucket.id,
                    target_bucket=target.id,
                    target_prefix=f"s3/{kind}/",
                    opts=pulumi.ResourceOptions(parent=self, depends_on=[self.log_policy]),
                )

    def _encrypt(self, label: str, bucket: aws.s3.Bucket, kind: str) -> None:
        # S3's and the load balancer's log delivery cannot write to a bucket under a customer's key.
        own_key = {"sse_algorithm": "aws:kms", "kms_master_key_id": self.kms_key_arn}
        default = {"sse_algorithm": "AES256"} if kind == "logs" else own_key
        aws.s3.BucketServerSideEncryptionConfiguration(
            label,
            bucket=bucket.id,
            # The bucket key saves a call to KMS for each object.
            rules=[{"apply_server_side_encryption_by_default": default, "bucket_key_enabled": kind != "logs"}],
            opts=pulumi.ResourceOptions(parent=self),
        )


def _delivery(kind: str, arn: str, account: str) -> list[Statement]:
    return log_delivery(arn, account) if kind == "logs" else []


def lifecycle(kind: Kind, expire_days: int = 0) -> list[aws.s3.BucketLifecycleConfigurationRuleArgsDict]:
    """Rules of a bucket: unfinished uploads go, old versions go after a while, and objects themselves only with
    `expire_days`."""
    rules: list[aws.s3.BucketLifecycleConfigurationRuleArgsDict] = [
        {
            "id": "unfinished-uploads",
            "status": "Enabled",
            "filter": {"prefix": ""},
            "abort_incomplete_multipart_upload": {"days_after_initiation": 2},
        }
    ]
    old = {"noncurrent_days": kind.old_days}
    rules.append({"id": "old-versions", "status": "Enabled", "filter": {"prefix": ""}, "noncurrent_version_expiration": old})
    if kind.tier:
        move = {"days": 30, "storage_class": "INTELLIGENT_TIERING"}
        rules.append({"id": "tiering", "status": "Enabled", "filter": {"prefix": ""}, "transitions": [move]})
    if expire_days:
        rules.append({"id": "expire", "status": "Enabled", "filter": {"prefix": ""}, "expiration": {"days": expire_days}})
    return rules
