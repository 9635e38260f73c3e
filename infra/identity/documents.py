"""Who may do what: policy documents as pure functions of names, so that a test reads them."""

from __future__ import annotations

import json
from typing import Any

Document = dict[str, Any]
Statement = dict[str, Any]


def document(*statements: Statement) -> Document:
    """A policy."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def as_json(policy: Document) -> str:
    """The text that AWS takes."""
    return json.dumps(policy)


def allow(actions: list[str], resources: list[str], **condition: dict[str, str]) -> Statement:
    """Allow actions on resources; conditions by operator, e.g. StringEquals={...}."""
    return {"Effect": "Allow", "Action": actions, "Resource": resources, **({"Condition": condition} if condition else {})}


def assume_role(service: str, account: str = "") -> Document:
    """A service may take the role; with an account, only on behalf of that account (no confused deputy)."""
    statement: Statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    if account:
        statement["Condition"] = {"StringEquals": {"aws:SourceAccount": account}}
    return document(statement)


def pod_role() -> Document:
    """Pods of the cluster may take the role, through the agent on their node; session tags say which pod it was."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    }
    return document(statement)


def tls_only(bucket_arn: str, *more: Statement) -> Document:
    """Bucket policy: nobody without TLS, and what else is given."""
    deny = {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "s3:*",
        "Resource": [bucket_arn, f"{bucket_arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return document(deny, *more)


def log_delivery(bucket_arn: str, account: str) -> list[Statement]:
    """S3 and the load balancer may put their access logs into the bucket, for this account only."""
    put = {"Effect": "Allow", "Action": "s3:PutObject"}
    buckets = {"Service": "logging.s3.amazonaws.com"}
    balancer = {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"}
    return [
        {
            **put,
            "Principal": buckets,
            "Resource": f"{bucket_arn}/*",
            "Condition": {"StringEquals": {"aws:SourceAccount": account}},
        },
        # The balancer's logs carry the account in their path.
        {**put, "Principal": balancer, "Resource": f"{bucket_arn}/alb/AWSLogs/{account}/*"},
    ]


def key_policy(account: str, region: str) -> Document:
    """The account administers the key (IAM decides who uses it); CloudWatch Logs of this account and region encrypts
    with it."""
    return document(
        {
            "Sid": "Account",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
            "Action": "kms:*",
            "Resource": "*",  # in a key's own policy: this key
        },
        {
            "Sid": "Logs",
            "Effect": "Allow",
            "Principal": {"Service": f"logs.{region}.amazonaws.com"},
            "Action": ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"],
            "Resource": "*",
            "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:{region}:{account}:log-group:*"}},
        },
    )


def write_logs(group_arn: str) -> Document:
    """Write to one log group."""
    streams = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
    return document(allow(streams, [group_arn, f"{group_arn}:*"]))


def training(datasets: str, checkpoints: str, reports: str, key: str) -> Document:
    """A training machine reads data, keeps runs and reports. It cannot touch weights that are served."""
    return document(
        allow(["s3:ListBucket", "s3:GetBucketLocation"], [datasets, checkpoints, reports]),
        allow(["s3:GetObject"], [f"{datasets}/*"]),
        allow(
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
            [f"{checkpoints}/*", f"{reports}/*"],
        ),
        allow(["kms:Decrypt", "kms:GenerateDataKey"], [key]),
    )


def serving(weights: str, key: str) -> Document:
    """A serving task reads the weights store and nothing else."""
    return document(
        allow(["s3:ListBucket"], [weights], StringLike={"s3:prefix": "store/*"}),
        allow(["s3:GetObject"], [f"{weights}/store/*"]),
        allow(["kms:Decrypt"], [key]),
    )


def starting(repository: str, logs: str, pointer: str, keys: str, key: str) -> Document:
    """What the container agent needs to start a task: the image, its log, the pointer and the callers' keys."""
    return document(
        # Not tied to a repository: AWS knows no resource for this action.
        allow(["ecr:GetAuthorizationToken"], ["*"]),
        allow(["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], [repository]),
        allow(["logs:CreateLogStream", "logs:PutLogEvents"], [f"{logs}:*"]),
        allow(["ssm:GetParameters"], [pointer]),
        allow(["secretsmanager:GetSecretValue"], [keys]),
        allow(["kms:Decrypt"], [key]),
    )


def releasing(weights: str, pointer: str, key: str, service: str) -> Document:
    """Publish versions (`tenet deploy`, `tenet rollback`), move the pointer and restart the service. For a person or
    CI, never a machine."""
    return document(
        allow(["s3:ListBucket"], [weights], StringLike={"s3:prefix": "store/*"}),
        allow(["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"], [f"{weights}/store/*"]),
        allow(["ssm:GetParameter", "ssm:PutParameter"], [pointer]),
        allow(["ecs:DescribeServices", "ecs:UpdateService"], [service]),
        allow(["kms:Decrypt", "kms:GenerateDataKey"], [key]),
    )
