"""What SkyPilot may do with EC2, as plain documents: for whoever launches, and for the machines that stop themselves.

Both are tied to machines that carry SkyPilot's label (`LABEL`; `tenet sky config` has it put on everything that is launched), so
that neither can touch nodes of the cluster or machines that serve.
"""

from __future__ import annotations

from dataclasses import dataclass

from identity import Document, Statement, allow, document

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
    """What the documents speak of."""

    region: str
    account: str
    stack: str
    vpc: str
    role: str
    profile: str
    checkpoints: str

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
    """Launch into the stack's network with its training role and nothing else; shells through SSM."""
    label = {f"aws:RequestTag/{LABEL}": "skypilot", "aws:RequestTag/stack": names.stack}
    inside = {"ec2:Vpc": f"arn:aws:ec2:{names.region}:{names.account}:vpc/{names.vpc}"}
    images = [f"arn:aws:ec2:{names.region}::image/*", f"arn:aws:ec2:{names.region}::snapshot/*"]
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
        allow(["ssm:TerminateSession", "ssm:ResumeSession"], ["arn:aws:ssm:*:*:session/${aws:username}-*"]),
        allow(["iam:GetInstanceProfile", "iam:GetRole"], [names.profile, names.role]),
        allow(["iam:PassRole"], [names.role], StringEquals={"iam:PassedToService": "ec2.amazonaws.com"}),
        # Code and small files of a job go by this prefix (`jobs.bucket`).
        allow(["s3:ListBucket", "s3:GetBucketLocation"], [names.checkpoints]),
        allow(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], [f"{names.checkpoints}/*"]),
    )
