"""Rules of what must not be lost: buckets, key, shared file system."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from policy.declared import Resource
from policy.selecting import given, listed, of, on, same, stack_of
from policy.unknown import if_known

BUCKET = "s3/bucket:Bucket"
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
        for flag in FLAGS:
            with if_known():
                if not on(blocks.get(bucket.name, {}).get(flag)):
                    problems.append(f"{bucket.name}: {flag} is not true")
        with if_known():
            if owners.get(bucket.name, {}).get("rule", {}).get("objectOwnership") != "BucketOwnerEnforced":
                problems.append(f"{bucket.name}: object ownership is not BucketOwnerEnforced")
    return problems


def buckets_are_encrypted(resources: list[Resource]) -> list[str]:
    """Each bucket encrypts with our key and a bucket key; the one that AWS delivers logs to, with S3's."""
    settings, problems = _beside(resources, "BucketServerSideEncryptionConfiguration"), []
    for bucket in of(resources, BUCKET):
        with if_known():
            rules = listed(settings.get(bucket.name, {}).get("rules"))
            default = rules[0].get("applyServerSideEncryptionByDefault", {}) if rules else {}
            kind = default.get("sseAlgorithm")
            if bucket.name.endswith("-logs") and kind == "AES256":
                continue
            if kind != "aws:kms" or not given(default, "kmsMasterKeyId") or not on(rules[0].get("bucketKeyEnabled")):
                problems.append(f"{bucket.name}: not encrypted with the stack's key and a bucket key")
    return problems


def buckets_keep_versions(resources: list[Resource]) -> list[str]:
    """Each bucket keeps what was overwritten or deleted."""
    settings, problems = _beside(resources, "BucketVersioning"), []
    for bucket in of(resources, BUCKET):
        with if_known():
            if settings.get(bucket.name, {}).get("versioningConfiguration", {}).get("status") != "Enabled":
                problems.append(f"{bucket.name}: versioning is not on")
    return problems


def buckets_refuse_plain_http(resources: list[Resource]) -> list[str]:
    """Each bucket's policy denies everything without TLS and allows nobody unknown."""
    policies, problems = _beside(resources, "BucketPolicy"), []
    for bucket in of(resources, BUCKET):
        with if_known():
            statements = json.loads(str(policies.get(bucket.name, {}).get("policy", "{}"))).get("Statement", [])
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
    """Unfinished uploads go, old versions go later, checkpoints move to cheaper storage; current objects stay, logs
    apart."""
    settings, problems = _beside(resources, "BucketLifecycleConfiguration"), list[str]()
    for bucket in of(resources, BUCKET):
        with if_known():
            problems += _lifecycle(bucket.name, listed(settings.get(bucket.name, {}).get("rules")))
    return problems


def _lifecycle(bucket: str, rules: list[dict[str, Any]]) -> Iterator[str]:
    if not any("abortIncompleteMultipartUpload" in r for r in rules):
        yield f"{bucket}: unfinished uploads are kept for ever"
    if bucket.endswith("-logs"):
        return
    for rule in rules:
        if "expiration" in rule:
            yield f"{bucket}: rule {rule.get('id')} lets current objects expire"
    old = [r["noncurrentVersionExpiration"].get("noncurrentDays", 0) for r in rules if "noncurrentVersionExpiration" in r]
    if not old or min(old) < 7:
        yield f"{bucket}: old versions must expire, and not before a week"
    if bucket.endswith("checkpoints") and not any(r.get("transitions") for r in rules):
        yield f"{bucket}: nothing moves to cheaper storage"


def key_is_ours(resources: list[Resource]) -> list[str]:
    """Keys rotate, wait 30 days before they are gone, and are nobody's that is not named."""
    problems = []
    for key in of(resources, "kms/key:Key"):
        with if_known():
            if not on(key.inputs.get("enableKeyRotation")):
                problems.append(f"{key.name}: does not rotate")
            if key.inputs.get("deletionWindowInDays") != 30:
                problems.append(f"{key.name}: its deletion window is not 30 days")
        with if_known():
            text = key.inputs.get("policy", "")
            if not text:
                problems.append(f"{key.name}: has no policy of its own")
            elif any(s.get("Principal") in ("*", {"AWS": "*"}) for s in json.loads(text)["Statement"]):
                problems.append(f"{key.name}: its policy speaks of everyone")
    return problems


def lustre_is_whole(resources: list[Resource]) -> list[str]:
    """The shared file system logs, is linked to its buckets, and in prod is durable, fast and under our key."""
    problems: list[str] = []
    for files in of(resources, "fsx/lustreFileSystem:LustreFileSystem"):
        with if_known():
            problems += _file_system(files)
        with if_known():
            problems += _links(resources, files)
    return problems


def _file_system(files: Resource) -> Iterator[str]:
    inputs, kind = files.inputs, files.inputs.get("deploymentType")
    if not inputs.get("logConfiguration", {}).get("level"):
        yield f"{files.name}: does not log"
    if kind == "PERSISTENT_2" and not given(inputs, "kmsKeyId"):
        yield f"{files.name}: not under the stack's key"
    if inputs.get("efaEnabled") and not inputs.get("metadataConfiguration"):
        yield f"{files.name}: EFA needs a metadata configuration"
    if stack_of(files) == "prod" and (kind != "PERSISTENT_2" or not on(inputs.get("efaEnabled"))):
        yield f"{files.name}: prod needs PERSISTENT_2 with EFA, this is {kind}"


def _links(resources: list[Resource], files: Resource) -> Iterator[str]:
    links = [
        r.inputs for r in of(resources, "fsx/dataRepositoryAssociation:DataRepositoryAssociation") if r.parent == files.parent
    ]
    for path, policy in (("/datasets", "autoImportPolicy"), ("/checkpoints", "autoExportPolicy")):
        mine = [link for link in links if link.get("fileSystemPath") == path]
        if not any(link.get("s3", {}).get(policy, {}).get("events") for link in mine):
            yield f"{files.name}: {path} has no {policy}"
    for link in links:
        if link.get("deleteDataInFilesystem"):
            yield f"{files.name}: deleting a link deletes files"


def lustre_stands_beside_gpus(resources: list[Resource]) -> list[str]:
    """File system and GPU nodes are in one subnet, so in one zone."""
    groups = [g for g in of(resources, "eks/nodeGroup:NodeGroup") if "tenet:infra:Nodes" in g.parent]
    problems = []
    for files in of(resources, "fsx/lustreFileSystem:LustreFileSystem"):
        for group in groups:
            with if_known():
                if not same(group, "subnetIds", files, "subnetIds"):
                    problems.append(f"{group.name}: not in the subnet of {files.name}")
    return problems


def state_is_kept_in_prod(resources: list[Resource]) -> list[str]:
    """In prod what holds state is protected and retained; elsewhere it can be destroyed, contents and all."""
    problems = []
    for kind in STATE:
        for r in of(resources, kind):
            prod = stack_of(r) == "prod"
            if (r.protect, r.retain) != (prod, prod):
                problems.append(f"{r.name}: protect is {r.protect}, retain is {r.retain}, in stack {stack_of(r)}")
            with if_known():
                if kind == BUCKET and bool(r.inputs.get("forceDestroy", False)) is prod:
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
