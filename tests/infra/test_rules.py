"""The rules of network, storage and cluster hold for every stack, and each one notices what it is there for.

A planted fault is one change to one recorded resource; the same rule that passes on the real program must then report
it.
"""

from __future__ import annotations

import base64
import copy
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import STACKS, Recorded
from .policies import declared

MODULES = ("network_rules", "storage_rules", "cluster_rules")
Change = Callable[[dict[str, Any]], Any]

VPC, SUBNET, FLOW = "ec2/vpc:Vpc", "ec2/subnet:Subnet", "ec2/flowLog:FlowLog"
CLOSED, GROUP = "ec2/defaultSecurityGroup:DefaultSecurityGroup", "ec2/securityGroup:SecurityGroup"
INGRESS, EGRESS = "vpc/securityGroupIngressRule:SecurityGroupIngressRule", "vpc/securityGroupEgressRule:SecurityGroupEgressRule"
ENDPOINT, TEMPLATE, NODES = "ec2/vpcEndpoint:VpcEndpoint", "ec2/launchTemplate:LaunchTemplate", "eks/nodeGroup:NodeGroup"
BUCKET, KEY, LUSTRE = "s3/bucket:Bucket", "kms/key:Key", "fsx/lustreFileSystem:LustreFileSystem"
LINK, CLUSTER = "fsx/dataRepositoryAssociation:DataRepositoryAssociation", "eks/cluster:Cluster"
PLACEMENT, POD = "ec2/placementGroup:PlacementGroup", "eks/podIdentityAssociation:PodIdentityAssociation"
GPU_SUBNET = "network-gpu-us-east-1a"


def _s3(kind: str) -> str:
    return f"s3/{kind[0].lower()}{kind[1:]}:{kind}"


def put(*path: Any) -> Change:
    """Set inputs[a][b]... to the last value; a member named None is taken away."""
    *keys, last, value = path

    def change(resource: dict[str, Any]) -> None:
        here = resource["inputs"]
        for key in keys:
            here = here[key]
        if value is None:
            del here[last]
        else:
            here[last] = value

    return change


def flag(key: str, value: bool) -> Change:
    """Set an option such as protect."""
    return lambda resource: resource.__setitem__(key, value)


def gone(resource: dict[str, Any]) -> bool:
    """Take the resource away."""
    return True


def statement(**changes: Any) -> Change:
    """Change the first statement of a policy."""

    def change(resource: dict[str, Any]) -> None:
        document = json.loads(resource["inputs"]["policy"])
        document["Statement"][0] |= changes
        resource["inputs"]["policy"] = json.dumps(document)

    return change


#: rule -> (stack, type, name, change, what the report must say)
FAULTS: dict[str, list[tuple[str, str, str, Change, str]]] = {
    "names_resolve": [("dev", VPC, "network", put("enableDnsHostnames", False), "enableDnsHostnames is not true")],
    "default_group_is_closed": [
        ("dev", CLOSED, "network-closed", gone, "not declared"),
        ("dev", CLOSED, "network-closed", put("ingress", [{"fromPort": 0}]), "has rules"),
    ],
    "traffic_is_recorded": [
        ("dev", FLOW, "network", gone, "no flow log"),
        ("dev", FLOW, "network", put("trafficType", "REJECT"), "does not record all"),
    ],
    "no_public_addresses": [("prod", SUBNET, GPU_SUBNET, put("mapPublicIpOnLaunch", True), "public addresses")],
    "subnets_fit": [
        ("dev", SUBNET, GPU_SUBNET, put("cidrBlock", "10.30.0.0/17"), "outside the VPC"),
        ("dev", SUBNET, GPU_SUBNET, put("cidrBlock", "10.20.0.0/18"), "overlaps"),
    ],
    "two_zones": [("dev", SUBNET, "network-private-us-east-1b", gone, "private subnets stand in 1 zones")],
    "gpu_subnet_has_room": [
        ("prod", SUBNET, GPU_SUBNET, put("cidrBlock", "10.20.128.0/20"), "4091 addresses, the node groups can need 4096"),
        ("prod", NODES, "cluster-long", put("scalingConfig", "maxSize", 2000), "can need 34048"),
    ],
    "s3_stays_inside": [
        ("prod", ENDPOINT, "network-s3", gone, "no gateway endpoint"),
        ("prod", ENDPOINT, "network-s3", put("routeTableIds", ["one"]), "serves 1 of 3"),
    ],
    "services_stay_inside": [
        ("prod", ENDPOINT, "network-sts", gone, "no interface endpoint for sts"),
        ("prod", ENDPOINT, "network-eks", put("privateDnsEnabled", False), "privateDnsEnabled"),
    ],
    "training_group_talks_to_itself": [
        ("dev", INGRESS, "network-nodes-in", gone, "all traffic from itself"),
        ("dev", EGRESS, "network-nodes-among", gone, "all traffic to itself"),
        ("dev", EGRESS, "network-nodes-among", put("ipProtocol", "tcp"), "all traffic to itself"),
    ],
    "doors_are_closed": [
        ("prod", INGRESS, "network-endpoints", put("cidrIpv4", "0.0.0.0/0"), "open to the world"),
        ("prod", INGRESS, "network-endpoints", put("fromPort", 1), "SSH is reachable"),
        ("prod", GROUP, "network-nodes", put("ingress", [{"fromPort": 22}]), "has rules inside"),
    ],
    "names_are_fixed": [
        ("dev", SUBNET, GPU_SUBNET, put("tags", "Name", None), "has no fixed name"),
        ("dev", SUBNET, GPU_SUBNET, put("tags", "Name", "tenet-dev-private-us-east-1a"), "used twice"),
        ("dev", GROUP, "network-nodes", put("name", None), "has no fixed name"),
    ],
    "buckets_are_private": [
        ("dev", _s3("BucketPublicAccessBlock"), "storage-weights", gone, "blockPublicAcls is not true"),
        ("dev", _s3("BucketPublicAccessBlock"), "storage-logs", put("restrictPublicBuckets", False), "restrictPublicBuckets"),
        ("dev", _s3("BucketOwnershipControls"), "storage-weights", put("rule", "objectOwnership", "ObjectWriter"), "ownership"),
    ],
    "buckets_are_encrypted": [
        ("dev", _s3("BucketServerSideEncryptionConfiguration"), "storage-weights", gone, "not encrypted"),
        (
            "dev",
            _s3("BucketServerSideEncryptionConfiguration"),
            "storage-weights",
            put("rules", 0, "bucketKeyEnabled", False),
            "key",
        ),
    ],
    "buckets_keep_versions": [
        ("dev", _s3("BucketVersioning"), "storage-checkpoints", put("versioningConfiguration", "status", "Suspended"), "not on")
    ],
    "buckets_refuse_plain_http": [
        ("dev", _s3("BucketPolicy"), "storage-reports", gone, "does not deny"),
        ("dev", _s3("BucketPolicy"), "storage-reports", statement(Condition={}), "does not deny"),
        ("dev", _s3("BucketPolicy"), "storage-reports", statement(Effect="Allow"), "allows everyone"),
    ],
    "nothing_current_expires": [
        ("dev", _s3("BucketLifecycleConfiguration"), "storage-weights", put("rules", 1, "expiration", {"days": 90}), "expire"),
        ("dev", _s3("BucketLifecycleConfiguration"), "storage-checkpoints", put("rules", [{"id": "x"}]), "unfinished uploads"),
        ("dev", _s3("BucketLifecycleConfiguration"), "storage-checkpoints", put("rules", 2, "transitions", []), "cheaper"),
        (
            "dev",
            _s3("BucketLifecycleConfiguration"),
            "storage-checkpoints",
            put("rules", 1, "noncurrentVersionExpiration", "noncurrentDays", 1),
            "not before a week",
        ),
    ],
    "key_is_ours": [
        ("dev", KEY, "storage", put("enableKeyRotation", False), "does not rotate"),
        ("dev", KEY, "storage", put("deletionWindowInDays", 7), "30 days"),
        ("dev", KEY, "storage", put("policy", None), "no policy"),
        ("dev", KEY, "storage", statement(Principal={"AWS": "*"}), "speaks of everyone"),
    ],
    "lustre_is_whole": [
        ("prod", LUSTRE, "lustre", put("deploymentType", "SCRATCH_2"), "prod needs PERSISTENT_2"),
        ("prod", LUSTRE, "lustre", put("efaEnabled", False), "prod needs PERSISTENT_2 with EFA"),
        ("prod", LUSTRE, "lustre", put("metadataConfiguration", None), "metadata configuration"),
        ("prod", LUSTRE, "lustre", put("kmsKeyId", None), "stack's key"),
        ("prod", LUSTRE, "lustre", put("logConfiguration", None), "does not log"),
        ("prod", LINK, "lustre-datasets", gone, "/datasets has no autoImportPolicy"),
        ("prod", LINK, "lustre-checkpoints", put("s3", "autoExportPolicy", None), "/checkpoints has no autoExportPolicy"),
        ("prod", LINK, "lustre-checkpoints", put("deleteDataInFilesystem", True), "deletes files"),
    ],
    "lustre_stands_beside_gpus": [
        ("prod", LUSTRE, "lustre", put("subnetIds", "network-private-us-east-1b-id"), "not in the subnet of lustre")
    ],
    "state_is_kept_in_prod": [
        ("prod", BUCKET, "storage-checkpoints", flag("retain", False), "retain is False"),
        ("prod", BUCKET, "storage-checkpoints", put("forceDestroy", True), "forceDestroy"),
        ("prod", LUSTRE, "lustre", flag("protect", False), "protect is False"),
        ("prod", CLUSTER, "cluster", flag("protect", False), "protect is False"),
        ("dev", KEY, "storage", flag("protect", True), "protect is True"),
    ],
    "network_cards": [
        ("prod", TEMPLATE, "cluster-long", lambda r: r["inputs"]["networkInterfaces"].pop() and None, "31 cards"),
        ("prod", TEMPLATE, "cluster-long", put("networkInterfaces", 0, "interfaceType", "efa-only"), "needs 32"),
        ("prod", TEMPLATE, "cluster-long", put("networkInterfaces", 5, "deviceIndex", 0), "needs 32"),
        ("prod", TEMPLATE, "cluster-long", put("networkInterfaces", 3, "associatePublicIpAddress", "true"), "public address"),
        ("prod", TEMPLATE, "cluster-long", put("networkInterfaces", 3, "securityGroups", ["one"]), "security group"),
        ("dev", TEMPLATE, "cluster-small", put("networkInterfaces", 0, "securityGroups", ["one"]), "security group"),
    ],
    "metadata_needs_a_token": [
        ("prod", TEMPLATE, "cluster-long", put("metadataOptions", "httpTokens", "optional"), "not required"),
        ("prod", TEMPLATE, "cluster-system", put("metadataOptions", "httpPutResponseHopLimit", 3), "more than 2"),
        ("prod", TEMPLATE, "endpoint", put("metadataOptions", None), "not required"),
    ],
    "disks_are_encrypted": [
        ("prod", TEMPLATE, "cluster-long", put("blockDeviceMappings", 0, "ebs", "encrypted", "false"), "not an encrypted gp3"),
        ("prod", TEMPLATE, "cluster-system", put("blockDeviceMappings", 0, "ebs", "volumeType", "gp2"), "not an encrypted gp3"),
        ("prod", TEMPLATE, "cluster-long", put("userData", base64.b64encode(b"#!/bin/sh").decode()), "RAID0"),
    ],
    "placement_fits_the_reservation": [
        ("prod", TEMPLATE, "cluster-block-a", put("placement", {"groupName": "x"}), "must not have a placement group"),
        ("prod", TEMPLATE, "cluster-block-a", put("capacityReservationSpecification", None), "without a reservation"),
        ("prod", TEMPLATE, "cluster-long", put("capacityReservationSpecification", None), "neither a reservation"),
        ("dev", PLACEMENT, "cluster-small", gone, "neither a reservation nor a cluster placement group"),
        ("dev", PLACEMENT, "cluster-small", put("strategy", "spread"), "cluster placement group"),
        (
            "dev",
            TEMPLATE,
            "cluster-small",
            put("capacityReservationSpecification", {"capacityReservationTarget": {"capacityReservationId": "cr-1"}}),
            "is forced on reservation cr-1",
        ),
    ],
    "markets_agree": [
        ("prod", NODES, "cluster-long", put("capacityType", "SPOT"), "spot in prod"),
        ("prod", NODES, "cluster-block-a", put("capacityType", "ON_DEMAND"), "does not fit"),
        ("prod", TEMPLATE, "endpoint", put("instanceMarketOptions", {"marketType": "spot"}), "spot in prod"),
    ],
    "control_plane_is_closed": [
        ("prod", CLUSTER, "cluster", put("vpcConfig", "endpointPrivateAccess", False), "no private endpoint"),
        ("prod", CLUSTER, "cluster", put("vpcConfig", "endpointPublicAccess", True), "open to the world"),
        ("prod", CLUSTER, "cluster", put("vpcConfig", "endpointPublicAccess", None), "open to the world"),
        ("prod", CLUSTER, "cluster", put("encryptionConfig", None), "secrets"),
        ("prod", CLUSTER, "cluster", put("enabledClusterLogTypes", ["api"]), "does not log"),
        ("prod", CLUSTER, "cluster", put("accessConfig", "authenticationMode", "CONFIG_MAP"), "declared entries"),
        ("prod", CLUSTER, "cluster", put("deletionProtection", False), "deletion protection"),
        ("prod", POD, "cluster-training", gone, "no identity"),
    ],
    "node_groups": [
        ("prod", NODES, "cluster-long", put("nodeRepairConfig", "enabled", False), "not replaced"),
        ("prod", NODES, "cluster-long", put("updateConfig", None), "may take away"),
        ("prod", NODES, "cluster-long", put("taints", []), "no taint"),
        ("prod", NODES, "cluster-block-a", put("scalingConfig", "minSize", 1), "able to be empty"),
        ("prod", NODES, "cluster-long", put("subnetIds", ["a", "b"]), "one zone"),
    ],
    "tags_reach_machines": [
        ("prod", TEMPLATE, "cluster-long", put("tagSpecifications", 1, "tags", "owner", None), "volumes have no tag owner"),
        ("prod", TEMPLATE, "cluster-system", put("tagSpecifications", []), "instances have no tag"),
    ],
    "nodes_are_sizes": [
        ("prod", TEMPLATE, "cluster-long", lambda r: r.__setitem__("type", "aws:ec2/instance:Instance"), "a single machine")
    ],
}


def rules() -> dict[str, Callable[[list[Any]], list[str]]]:
    """Every rule of the three modules by its name."""
    found = [importlib.import_module(f"policy.{name}") for name in MODULES]
    return {rule.__name__: rule for module in found for rule in module.RULES}


def broken(program: Recorded, kind: str, name: str, change: Change) -> Recorded:
    """The program with one resource changed."""
    mutated = copy.deepcopy(program)
    (one,) = [r for r in mutated.resources if (r["type"], r["name"]) == (f"aws:{kind}", name)]
    if change(one) is True:
        mutated.resources.remove(one)
    return mutated


@pytest.mark.parametrize("stack", STACKS)
def test_every_stack_keeps_every_rule(infra: Path, programs: dict[str, Recorded], stack: str) -> None:
    found = declared(programs[stack])
    assert {name: rule(found) for name, rule in rules().items() if rule(found)} == {}


@pytest.mark.parametrize(
    ("rule", "stack", "kind", "name", "change", "message"),
    [pytest.param(rule, *fault, id=f"{rule}-{i}") for rule, faults in FAULTS.items() for i, fault in enumerate(faults)],
)
def test_each_rule_notices_its_fault(
    infra: Path, programs: dict[str, Recorded], rule: str, stack: str, kind: str, name: str, change: Change, message: str
) -> None:
    problems = rules()[rule](declared(broken(programs[stack], kind, name, change)))
    assert any(message in problem for problem in problems), problems


def test_every_rule_has_a_planted_fault_and_says_what_it_is_for(infra: Path) -> None:
    assert set(FAULTS) == set(rules())
    assert all(rule.__doc__ for rule in rules().values())


def test_a_scratch_file_system_in_dev_keeps_every_rule(infra: Path, tmp_path: Path) -> None:
    from .conftest import record

    out = tmp_path / "dev.json"
    assert record("dev", out, "--set", "tenet:lustre=SCRATCH_2").returncode == 0
    program = Recorded("dev", **json.loads(out.read_text()))
    assert {name: rule(declared(program)) for name, rule in rules().items() if rule(declared(program))} == {}
    (files,) = program.of(LUSTRE)
    assert files["inputs"]["deploymentType"] == "SCRATCH_2" and "perUnitStorageThroughput" not in files["inputs"]


def test_rules_live_with_unknown_values(infra: Path, tmp_path: Path) -> None:
    """A first preview knows no ids; it must not be refused for that."""
    from .conftest import record

    out = tmp_path / "preview.json"
    assert record("prod", out, "--preview").returncode == 0
    found = declared(Recorded("prod", **json.loads(out.read_text())))
    assert {name: rule(found) for name, rule in rules().items() if rule(found)} == {}
