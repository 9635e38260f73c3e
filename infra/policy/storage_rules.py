"""Rules of what must not be lost: buckets, key, shared file system."""

from __future__ import annotations

import json
from typing import Any

from policy.resource import Resource
from policy.select import ident, listed, of, stack_of

BUCKET = "s3/bucket:Bucket"
#: Where old versions must be kept: a mistake there costs a training run.
VERSIONED = ("datasets", "checkpoints", "reports", "weights")
FLAGS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
#: Types that hold state, in this order of loss.
STATE = (BUCKET, "kms/key:Key", "fsx/lustreFileSystem:LustreFileSystem", "eks/cluster:Cluster")


def _beside(resources: list[Resource], kind: str) -> dict[str, dict[str, Any]]:
    """Settings of buckets, which are resources of their own with the bucket's name: name -> inputs."""
    return {r.name: r.inputs for r in of(resources, f"s3/{kind[0].lower()}{kind[1:]}:{kind}")}


def buckets_are_private(resources: list[Resource]) -> list[str]:
    """Each bucket blocks public access in all four ways and its owner owns what is put in."""
    blocks, owners = _beside(resources, "BucketPublicAccessBlock"), _beside(resources, "BucketOwnershipControls")
    problems = []
    for bucket in of(resources, BUCKET):
        problems += [f"{bucket.name}: {flag} is not true" for flag in FLAGS if blocks.get(bucket.name, {}).get(flag) is not True]
        if owners.get(bucket.name, {}).get("rule", {}).get("objectOwnership") != "BucketOwnerEnforced":
            problems.append(f"{bucket.name}: object ownership is not BucketOwnerEnforced")
    return problems


def buckets_are_encrypted(resources: list[Resource]) -> list[str]:
    """Each bucket encrypts with our key and a bucket key; the one that AWS delivers logs to, with S3's."""
    settings, problems = _beside(resources, "BucketServerSideEncryptionConfiguration"), []
    for bucket in of(resources, BUCKET):
        rules = settings.get(bucket.name, {}).get("rules", [])
        default = rules[0].get("applyServerSideEncryptionByDefault", {}) if rules else {}
        if bucket.name.endswith("-logs") and default.get("sseAlgorithm") == "AES256":
            continue
        # The key's id may not be known yet, but then the property is there.
        if (
            default.get("sseAlgorithm") != "aws:kms"
            or "kmsMasterKeyId" not in default
            or rules[0].get("bucketKeyEnabled") is not True
        ):
            problems.append(f"{bucket.name}: not encrypted with the stack's key and a bucket key")
    return problems


def buckets_keep_versions(resources: list[Resource]) -> list[str]:
    """Datasets, checkpoints, reports and weights keep what was overwritten or deleted."""
    status = {n: i.get("versioningConfiguration", {}).get("status") for n, i in _beside(resources, "BucketVersioning").items()}
    return [
        f"{b.name}: versioning is not on"
        for b in of(resources, BUCKET)
        if b.name.endswith(VERSIONED) and status.get(b.name) != "Enabled"
    ]


def buckets_refuse_plain_http(resources: list[Resource]) -> list[str]:
    """Each bucket's policy denies everything without TLS and allows nobody unknown."""
    policies, problems = _beside(resources, "BucketPolicy"), []
    for bucket in of(resources, BUCKET):
        text = policies.get(bucket.name, {}).get("policy", "{}")
        if text == "unknown":
            continue
        statements = json.loads(text).get("Statement", [])
        if not any(_denies_http(s) for s in statements):
            problems.append(f"{bucket.name}: its policy does not deny requests without TLS")
        if any(s["Effect"] == "Allow" and s.get("Principal") in ("*", {"AWS": "*"}) for s in statements):
            problems.append(f"{bucket.name}: its policy allows everyone something")
    return problems


def _denies_http(statement: dict[str, Any]) -> bool:
    return (
        statement["Effect"] == "Deny"
        and statement["Principal"] in ("*", {"AWS": "*"})
        and statement["Action"] == "s3:*"
        and len(listed(statement["Resource"])) == 2
        and statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
    )


def nothing_current_expires(resources: list[Resource]) -> list[str]:
    """Unfinished uploads go, old versions go later, checkpoints move to cheaper storage; current objects stay, logs apart."""
    settings, problems = _beside(resources, "BucketLifecycleConfiguration"), []
    for bucket in of(resources, BUCKET):
        rules = settings.get(bucket.name, {}).get("rules", [])
        if not any("abortIncompleteMultipartUpload" in r for r in rules):
            problems.append(f"{bucket.name}: unfinished uploads are kept for ever")
        if bucket.name.endswith("-logs"):
            continue
        problems += [f"{bucket.name}: rule {r.get('id')} lets current objects expire" for r in rules if "expiration" in r]
        old = [r["noncurrentVersionExpiration"].get("noncurrentDays", 0) for r in rules if "noncurrentVersionExpiration" in r]
        if not old or min(old) < 7:
            problems.append(f"{bucket.name}: old versions must expire, and not before a week")
        if bucket.name.endswith("checkpoints") and not any(r.get("transitions") for r in rules):
            problems.append(f"{bucket.name}: nothing moves to cheaper storage")
    return problems


def key_is_ours(resources: list[Resource]) -> list[str]:
    """Keys rotate, wait 30 days before they are gone, and are nobody's that is not named."""
    problems = []
    for key in of(resources, "kms/key:Key"):
        if key.inputs.get("enableKeyRotation") is not True:
            problems.append(f"{key.name}: does not rotate")
        if key.inputs.get("deletionWindowInDays") != 30:
            problems.append(f"{key.name}: its deletion window is not 30 days")
        text = key.inputs.get("policy", "")
        if not text:
            problems.append(f"{key.name}: has no policy of its own")
        elif text != "unknown" and any(s.get("Principal") in ("*", {"AWS": "*"}) for s in json.loads(text)["Statement"]):
            problems.append(f"{key.name}: its policy speaks of everyone")
    return problems


def lustre_is_whole(resources: list[Resource]) -> list[str]:
    """The shared file system logs, is linked to its buckets, and in prod is durable, fast and under our key."""
    problems = []
    for files in of(resources, "fsx/lustreFileSystem:LustreFileSystem"):
        inputs, kind = files.inputs, files.inputs.get("deploymentType")
        if not inputs.get("logConfiguration", {}).get("level"):
            problems.append(f"{files.name}: does not log")
        if kind == "PERSISTENT_2" and "kmsKeyId" not in inputs:
            problems.append(f"{files.name}: not under the stack's key")
        if inputs.get("efaEnabled") and not inputs.get("metadataConfiguration"):
            problems.append(f"{files.name}: EFA needs a metadata configuration")
        if stack_of(files) == "prod" and (kind != "PERSISTENT_2" or inputs.get("efaEnabled") is not True):
            problems.append(f"{files.name}: prod needs PERSISTENT_2 with EFA, this is {kind}")
        problems += _links(resources, files)
    return problems


def _links(resources: list[Resource], files: Resource) -> list[str]:
    links = [
        r.inputs for r in of(resources, "fsx/dataRepositoryAssociation:DataRepositoryAssociation") if r.parent == files.parent
    ]
    problems = []
    for path, policy in (("/datasets", "autoImportPolicy"), ("/checkpoints", "autoExportPolicy")):
        mine = [link for link in links if link.get("fileSystemPath") == path]
        if not any(link.get("s3", {}).get(policy, {}).get("events") for link in mine):
            problems.append(f"{files.name}: {path} has no {policy}")
    return problems + [f"{files.name}: deleting a link deletes files" for link in links if link.get("deleteDataInFilesystem")]


def lustre_stands_beside_gpus(resources: list[Resource]) -> list[str]:
    """File system and GPU nodes are in one subnet, so in one zone."""
    groups = [g for g in of(resources, "eks/nodeGroup:NodeGroup") if "tenet:infra:Nodes" in g.parent]
    return [
        f"{group.name}: not in the subnet of {files.name}"
        for files in of(resources, "fsx/lustreFileSystem:LustreFileSystem")
        for group in groups
        if [ident(s) for s in listed(group.inputs["subnetIds"])] != [ident(files.inputs["subnetIds"])]
    ]


def state_is_kept_in_prod(resources: list[Resource]) -> list[str]:
    """In prod what holds state is protected and retained; elsewhere it can be destroyed, contents and all."""
    problems = []
    for kind in STATE:
        for r in of(resources, kind):
            prod = stack_of(r) == "prod"
            if (r.protect, r.retain) != (prod, prod):
                problems.append(f"{r.name}: protect is {r.protect}, retain is {r.retain}, in stack {stack_of(r)}")
            if kind == BUCKET and r.inputs.get("forceDestroy", False) is prod:
                problems.append(f"{r.name}: forceDestroy is {prod}, in stack {stack_of(r)}")
    return problems


RULES = (
    buckets_are_private,
    buckets_are_encrypted,
    buckets_keep_versions,
    buckets_refuse_plain_http,
    nothing_current_expires,
    key_is_ours,
    lustre_is_whole,
    lustre_stands_beside_gpus,
    state_is_kept_in_prod,
)
