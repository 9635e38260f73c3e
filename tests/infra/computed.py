"""What AWS would compute of a resource, made up: one table for the mocks and for the stand-in provider, of what the
program reads."""

from __future__ import annotations

from typing import Any

ACCOUNT, REGION = "123456789012", "us-east-1"
#: What only resources of one type have, beside the general ones.
OWN: dict[str, dict[str, Any]] = {
    "aws:ec2/launchTemplate:LaunchTemplate": {"latestVersion": 1},
    "aws:fsx/lustreFileSystem:LustreFileSystem": {"mountName": "fsxmount"},
    "aws:ecr/repository:Repository": {"repositoryUrl": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{{name}}"},
}


def computed(kind: str, name: str) -> dict[str, Any]:
    """Outputs of a resource besides its inputs, by its type and the program's name of it."""
    label = kind.split(":")[-1]
    general = {
        "arn": f"arn:aws:test:{REGION}:{ACCOUNT}:{name}/{label}",
        "arnSuffix": f"{label.lower()}/{name}",
        "bucket": name,
        "name": name,
        "keyId": f"{name}-key",
        "domainName": f"{name}.cloudfront.net",
        "dnsName": f"{name}.elb.amazonaws.com",
        "serviceName": f"com.amazonaws.vpce.{REGION}.{name}",
    }
    return general | {key: item.format(name=name) if isinstance(item, str) else item for key, item in OWN.get(kind, {}).items()}


def cluster_network(inputs: dict[str, Any], name: str) -> dict[str, Any]:
    """A cluster's network settings with the security group that EKS makes for it."""
    return {**inputs, "clusterSecurityGroupId": f"{name}-security-group"}


def answer(token: str, given: dict[str, Any], account: str = ACCOUNT) -> dict[str, Any]:
    """What the program asks AWS: who it is, which certificate the account holds, and where CloudFront comes from."""
    match token:
        case "aws:ec2/getManagedPrefixList:getManagedPrefixList":
            return {**given, "id": "pl-3b927c52"}
        case "aws:acm/getCertificate:getCertificate":
            return {**given, "arn": f"arn:aws:acm:{REGION}:{account}:certificate/{given['domain']}", "id": "", "tags": {}}
        case "aws:index/getCallerIdentity:getCallerIdentity":
            return {"accountId": account, "arn": "", "userId": "", "id": account}
    raise NotImplementedError(f"the program asks {token}; tests/infra/computed.py has no answer to it")
