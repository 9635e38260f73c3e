"""Where callers' keys lie: one secret that a task reads when it starts, or a table that the server reads every
minute."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from configuration.endpoint_settings import EndpointSettings
from configuration.settings import Settings
from identity.documents import Statement, allow


@dataclass(frozen=True, kw_only=True)
class KeysArgs:
    """Which of the two, and the key that encrypts it."""

    settings: Settings
    endpoint: EndpointSettings
    kms_key_arn: pulumi.Input[str]


class Keys(pulumi.ComponentResource):
    """The callers' keys.

    Attributes:
        secret: as `tenet serve` writes them, put there by an operator; None with a table.
        table: filled by `python -m tenet.serving.access.credentials_dynamodb`; None with a secret.
    """

    def __init__(self, name: str, args: KeysArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Keys", name, None, opts)
        settings = args.settings
        kept = pulumi.ResourceOptions(parent=self, protect=settings.protect, retain_on_delete=settings.protect)
        self.secret: aws.secretsmanager.Secret | None = None
        self.table: aws.dynamodb.Table | None = None
        if args.endpoint.key_store == "table":
            self.table = aws.dynamodb.Table(
                name,
                name=f"{settings.prefix}-keys",
                billing_mode="PAY_PER_REQUEST",  # a replica reads a few items a minute
                hash_key="id",
                attributes=[{"name": "id", "type": "S"}],
                server_side_encryption={"enabled": True, "kms_key_arn": args.kms_key_arn},
                point_in_time_recovery={"enabled": True},
                deletion_protection_enabled=settings.protect,
                opts=kept,
            )
        else:
            self.secret = aws.secretsmanager.Secret(
                name,
                name=f"tenet/{settings.stack}/keys",
                description="Callers' keys, as tenet serve writes them",
                kms_key_id=args.kms_key_arn,
                opts=kept,
            )
        self.secret_name = self.secret.name if self.secret else pulumi.Output.from_input("")
        self.secret_arn = self.secret.arn if self.secret else pulumi.Output.from_input("")
        self.table_name = self.table.name if self.table else pulumi.Output.from_input("")
        self.table_arn = self.table.arn if self.table else pulumi.Output.from_input("")
        self.register_outputs({"secret_name": self.secret_name, "table_name": self.table_name})


def reading(table_arn: str) -> list[Statement]:
    """What the server needs to read the table: the whole of it, never to write."""
    return [allow(["dynamodb:Scan"], [table_arn])] if table_arn else []
