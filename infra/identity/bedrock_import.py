"""The managed alternative to the endpoint: Amazon Bedrock Custom Model Import reads the same weights store.

Pulumi declares only who may read. The import is a job, started by a command, because neither Pulumi nor CloudFormation has it:

    aws bedrock create-model-import-job --job-name v1 --imported-model-name tenet --role-arn IMPORT_ROLE_ARN \\
        --model-data-source '{"s3DataSource": {"s3Uri": "s3://WEIGHTS_BUCKET/store/imported/VERSION/"}}'
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from configuration.settings import Settings
from identity.documents import Document, allow, as_json, document


@dataclass(frozen=True, kw_only=True)
class BedrockImportArgs:
    """Whose weights."""

    settings: Settings
    account: pulumi.Input[str]
    weights: aws.s3.Bucket
    kms_key_arn: pulumi.Input[str]


class BedrockImport(pulumi.ComponentResource):
    """The role that an import job names.

    Attributes:
        role_arn: the job's `roleArn`.
    """

    def __init__(self, name: str, args: BedrockImportArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:BedrockImport", name, None, opts)
        child, settings = pulumi.ResourceOptions(parent=self), args.settings
        account = pulumi.Output.from_input(args.account)
        role = aws.iam.Role(
            name,
            name=f"{settings.prefix}-import",
            description="Amazon Bedrock Custom Model Import reads the weights store",
            assume_role_policy=account.apply(lambda a: as_json(trust(a, settings.region))),
            opts=child,
        )
        policy = pulumi.Output.all(args.weights.arn, args.kms_key_arn, account).apply(
            lambda a: as_json(importing(a[0], a[1], a[2], settings.region))
        )
        aws.iam.RolePolicy(name, role=role.id, policy=policy, opts=child)
        self.role_arn = role.arn
        self.register_outputs({"role_arn": self.role_arn})


def trust(account: str, region: str) -> Document:
    """Bedrock may take the role for import jobs of this account and region, for nobody else's."""
    return document(
        {
            "Effect": "Allow",
            "Principal": {"Service": "bedrock.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {
                "StringEquals": {"aws:SourceAccount": account},
                "ArnEquals": {"aws:SourceArn": f"arn:aws:bedrock:{region}:{account}:model-import-job/*"},
            },
        }
    )


def importing(weights: str, key: str, account: str, region: str) -> Document:
    """Read the weights store, and decrypt what S3 hands out from it."""
    own = {"aws:ResourceAccount": account}
    return document(
        allow(["s3:ListBucket"], [weights], StringLike={"s3:prefix": "store/*"}, StringEquals=own),
        allow(["s3:GetObject"], [f"{weights}/store/*"], StringEquals=own),
        allow(["kms:Decrypt"], [key], StringEquals={"kms:ViaService": f"s3.{region}.amazonaws.com"}),
    )
