"""What SkyPilot may do with EC2, as plain documents: for whoever launches, people and controllers, and for machines
that stop themselves.

Both are tied to machines that carry SkyPilot's label (`LABEL`; `tenet sky config` has it put on everything that is
launched), so that neither can touch nodes of the cluster or machines that serve.
"""

from __future__ import annotations

from dataclasses import dataclass

from identity.documents import Document, Statement, allow, document

#: Tag on every machine and volume that SkyPilot starts, from `aws.labels` of its configuration.
LABEL = "launched-by"
#: AWS knows no resource for these; they only read.
READS = (
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeCapacityReservations",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceStatus",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInstances",
    "ec2:DescribeRegions",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSpotInstanceRequests",
    "ec2:DescribeSubnets",
    "ec2:DescribeVolumes",
    "ec2:DescribeVpcs",
)


@dataclass(frozen=True, kw_only=True)
class Names:
    """What the documents speak of; roles and profiles are those that a launched machine may be given."""

    region: str
    account: str
    stack: str
    vpc: str
    roles: list[str]
    profiles: list[str]
    checkpoints: str
    key: str

    def ec2(self, kind: str) -> str:
        """Every resource of a kind in the account and region."""
        return f"arn:aws:ec2:{self.region}:{self.account}:{kind}/*"


def stopping(names: Names, *more: str) -> Statement:
    """Stop, end or otherwise act on machines that SkyPilot launched in this stack."""
    own = {f"aws:ResourceTag/{LABEL}": "skypilot", "aws:ResourceTag/stack": names.stack}
    return allow(["ec2:StopInstances", "ec2:TerminateInstances", *more], [names.ec2("instance")], StringEquals=own)


def self_stopping(names: Names) -> Document:
    """A machine ends itself and its cluster when it has been idle (`autostop`)."""
    return document(allow(["ec2:DescribeInstances"], ["*"]), stopping(names))


def launching(names: Names) -> Document:
    """Launch into the stack's network with its own roles and nothing else; shells through SSM."""
    label = {f"aws:RequestTag/{LABEL}": "skypilot", "aws:RequestTag/stack": names.stack}
    inside = {"ec2:Vpc": f"arn:aws:ec2:{names.region}:{names.account}:vpc/{names.vpc}"}
    images = [f"arn:aws:ec2:{names.region}::image/*", f"arn:aws:ec2:{names.region}::snapshot/*"]
    own_sessions = [f"arn:aws:ssm:{names.region}:{names.account}:session/${{aws:{key}}}-*" for key in ("username", "userid")]
    plain = [names.ec2(kind) for kind in ("network-interface", "key-pair", "capacity-reservation", "spot-instances-request")]
    return document(
        allow(list(READS), ["*"]),
        allow(["ec2:RunInstances"], [names.ec2("instance"), names.ec2("volume")], StringEquals=label),
        allow(["ec2:RunInstances"], [names.ec2("subnet"), names.ec2("security-group")], StringEquals=inside),
        allow(["ec2:RunInstances"], [*images, *plain]),
        allow(
            ["ec2:CreateTags"],
            [names.ec2("instance"), names.ec2("volume"), names.ec2("network-interface")],
            StringEquals={"ec2:CreateAction": "RunInstances"},
        ),
        stopping(names, "ec2:StartInstances", "ssm:StartSession"),
        allow(["ssm:StartSession"], [f"arn:aws:ssm:{names.region}::document/AWS-StartSSHSession"]),
        allow(["ssm:TerminateSession", "ssm:ResumeSession"], own_sessions),
        allow(["iam:GetInstanceProfile", "iam:GetRole"], [*names.profiles, *names.roles]),
        allow(["iam:PassRole"], names.roles, StringEquals={"iam:PassedToService": "ec2.amazonaws.com"}),
        # Code and small files of managed jobs go by this prefix (`jobs.bucket`); runs are the machines' own to write.
        allow(["s3:ListBucket", "s3:GetBucketLocation"], [names.checkpoints]),
        allow(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], [f"{names.checkpoints}/sky/*"]),
        allow(["kms:Decrypt", "kms:GenerateDataKey"], [names.key]),
    )
