"""Rules of the training cluster: network cards, placement, disks, metadata service, control plane, node groups."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from configuration import instances
from policy.declared import Resource
from policy.selecting import listed, of, off, on, stack_of
from policy.unknown import if_known
from repository import INSTANCES

TEMPLATE, GROUP = "ec2/launchTemplate:LaunchTemplate", "eks/nodeGroup:NodeGroup"
LOGS = {"api", "audit", "authenticator", "controllerManager", "scheduler"}
TAGS = {"project", "stack", "owner", "cost-center"}


def _gpu(resources: list[Resource], kind: str) -> list[Resource]:
    """Templates or groups of GPU nodes: those in the component `Nodes`."""
    return [r for r in of(resources, kind) if "tenet:infra:Nodes" in r.parent]


def _clusters(resources: list[Resource], kind: str) -> list[Resource]:
    """Templates or groups of the cluster, its system nodes included."""
    return [r for r in of(resources, kind) if "tenet:infra:Nodes" in r.parent or "tenet:infra:Cluster" in r.parent]


def network_cards(resources: list[Resource]) -> list[str]:
    """A template has as many network cards as its machine, in the machine's pattern, and no public address."""
    problems = []
    for template in _gpu(resources, TEMPLATE):
        with if_known():
            machine = INSTANCES[template.inputs["instanceType"]]
            kinds, cards = instances.card_kinds(machine), listed(template.inputs.get("networkInterfaces"))
            wanted = [(i, 0 if i == 0 else 1, kind) for i, kind in enumerate(kinds)]
            found = [(c.get("networkCardIndex"), c.get("deviceIndex"), c.get("interfaceType")) for c in cards]
            if found != wanted:
                problems.append(f"{template.name}: {len(found)} cards, {machine.name} needs {len(wanted)}: {wanted[:2]}...")
            problems += [f"{template.name}: card {c['networkCardIndex']} has a public address" for c in cards if _public(c)]
            if any(len(listed(c.get("securityGroups"))) < 2 for c in cards):
                problems.append(f"{template.name}: needs the cluster's security group and that of training machines on each card")
    return problems


def _public(card: dict[str, Any]) -> bool:
    return str(card.get("associatePublicIpAddress", "")).lower() == "true"


def metadata_needs_a_token(resources: list[Resource]) -> list[str]:
    """No machine offers the old metadata service; containers are two hops away at most."""
    problems = []
    for template in of(resources, TEMPLATE):
        with if_known():
            options = template.inputs.get("metadataOptions", {})
            if options.get("httpTokens") != "required":
                problems.append(f"{template.name}: httpTokens is not required")
            if not 1 <= options.get("httpPutResponseHopLimit", 64) <= 2:
                problems.append(f"{template.name}: the metadata hop limit is more than 2")
    return problems


def disks_are_encrypted(resources: list[Resource]) -> list[str]:
    """Root volumes are gp3 and encrypted; GPU nodes make one scratch of their NVMe disks."""
    problems = []
    for template in of(resources, TEMPLATE):
        with if_known():
            disks = [d.get("ebs", {}) for d in listed(template.inputs.get("blockDeviceMappings"))]
            if not disks or any(str(d.get("encrypted")).lower() != "true" or d.get("volumeType") != "gp3" for d in disks):
                problems.append(f"{template.name}: its disk is not an encrypted gp3")
    for template in _gpu(resources, TEMPLATE):
        with if_known():
            if "strategy: RAID0" not in base64.b64decode(str(template.inputs.get("userData", ""))).decode():
                problems.append(f"{template.name}: its NVMe disks are not used as RAID0")
    return problems


def placement_fits_the_reservation(resources: list[Resource]) -> list[str]:
    """Capacity block: its market type and no placement group. Other reservation: targeted. None: a cluster placement
    group."""
    problems = []
    made = {r.name: r.inputs.get("strategy") for r in of(resources, "ec2/placementGroup:PlacementGroup")}
    for template in _gpu(resources, TEMPLATE):
        with if_known():
            inputs, name = template.inputs, template.name
            target = inputs.get("capacityReservationSpecification", {}).get("capacityReservationTarget", {})
            reserved = target.get("capacityReservationId")
            block = inputs.get("instanceMarketOptions", {}).get("marketType") == "capacity-block"
            placed = inputs.get("placement", {})
            if block and not reserved:
                problems.append(f"{name}: market type capacity-block without a reservation")
            if block and placed:
                problems.append(f"{name}: a capacity block must not have a placement group")
            if reserved and name in made:
                problems.append(f"{name}: a placement group of our own is forced on reservation {reserved}")
            if not reserved and (not placed or made.get(name) != "cluster"):
                problems.append(f"{name}: neither a reservation nor a cluster placement group")
    return problems


def markets_agree(resources: list[Resource]) -> list[str]:
    """Group and template say the same market; spot never in prod."""
    templates, problems = {r.name: r.inputs for r in of(resources, TEMPLATE)}, []
    for group in _clusters(resources, GROUP):
        with if_known():
            market = group.inputs.get("capacityType")
            if market == "SPOT" and stack_of(group) == "prod":
                problems.append(f"{group.name}: spot in prod")
            block = templates.get(group.name, {}).get("instanceMarketOptions", {}).get("marketType") == "capacity-block"
            if block is not (market == "CAPACITY_BLOCK"):
                problems.append(f"{group.name}: capacity type {market} does not fit its template")
    for template in of(resources, TEMPLATE):
        with if_known():
            if template.inputs.get("instanceMarketOptions", {}).get("marketType") == "spot" and stack_of(template) == "prod":
                problems.append(f"{template.name}: spot in prod")
    return problems


def control_plane_is_closed(resources: list[Resource]) -> list[str]:
    """Private endpoint, public one off or limited, secrets under our key, all logs, access by declared entries
    alone."""
    problems: list[str] = []
    for cluster in of(resources, "eks/cluster:Cluster"):
        with if_known():
            problems += _doors(cluster)
        with if_known():
            problems += _records(cluster)
        with if_known():
            if stack_of(cluster) == "prod" and not on(cluster.inputs.get("deletionProtection")):
                problems.append(f"{cluster.name}: no deletion protection")
        if not of(resources, "eks/podIdentityAssociation:PodIdentityAssociation"):
            problems.append(f"{cluster.name}: pods have no identity of their own")
    return problems


def _doors(cluster: Resource) -> Iterator[str]:
    """How the control plane is reached, and by whom."""
    vpc, access = cluster.inputs.get("vpcConfig", {}), cluster.inputs.get("accessConfig", {})
    if not on(vpc.get("endpointPrivateAccess")):
        yield f"{cluster.name}: no private endpoint"
    cidrs = listed(vpc.get("publicAccessCidrs"))
    if not off(vpc.get("endpointPublicAccess")) and (not cidrs or "0.0.0.0/0" in cidrs):
        yield f"{cluster.name}: its endpoint is open to the world"
    if access.get("authenticationMode") != "API" or not off(access.get("bootstrapClusterCreatorAdminPermissions")):
        yield f"{cluster.name}: access is not by declared entries alone"


def _records(cluster: Resource) -> Iterator[str]:
    """What it writes down, and how."""
    if "secrets" not in listed(cluster.inputs.get("encryptionConfig", {}).get("resources")):
        yield f"{cluster.name}: secrets are not under our key"
    if set(listed(cluster.inputs.get("enabledClusterLogTypes"))) != LOGS:
        yield f"{cluster.name}: does not log all of {', '.join(sorted(LOGS))}"


def node_groups(resources: list[Resource]) -> list[str]:
    """GPU groups can be empty, keep other pods away, are repaired and updated in steps, and stand in one subnet."""
    problems = []
    for group in _clusters(resources, GROUP):
        with if_known():
            if not on(group.inputs.get("nodeRepairConfig", {}).get("enabled")):
                problems.append(f"{group.name}: broken nodes are not replaced")
            if not group.inputs.get("updateConfig"):
                problems.append(f"{group.name}: says not how many nodes an update may take away")
    for group in _gpu(resources, GROUP):
        with if_known():
            taints = [(t.get("key"), t.get("effect")) for t in listed(group.inputs.get("taints"))]
            if ("nvidia.com/gpu", "NO_SCHEDULE") not in taints:
                problems.append(f"{group.name}: no taint nvidia.com/gpu")
            if group.inputs["scalingConfig"]["minSize"] and group.inputs.get("capacityType") == "CAPACITY_BLOCK":
                problems.append(f"{group.name}: a capacity block ends, so its group must be able to be empty")
            if len(listed(group.inputs.get("subnetIds"))) != 1:
                problems.append(f"{group.name}: not in one zone")
    return problems


def tags_reach_machines(resources: list[Resource]) -> list[str]:
    """Templates tag machines and volumes: the provider's default tags stop at the template."""
    problems = []
    for template in _clusters(resources, TEMPLATE):
        with if_known():
            rows = listed(template.inputs.get("tagSpecifications"))
            found = {t["resourceType"]: set(t.get("tags", {})) for t in rows}
            for kind in ("instance", "volume"):
                if missing := TAGS - found.get(kind, set()):
                    problems.append(f"{template.name}: {kind}s have no tag {', '.join(sorted(missing))}")
    return problems


def nodes_are_sizes(resources: list[Resource]) -> list[str]:
    """No machine is a resource: two thousand nodes declare what two do."""
    return [f"{r.name}: a single machine; declare groups" for r in of(resources, "ec2/instance:Instance")]


RULES = (
    network_cards,
    metadata_needs_a_token,
    disks_are_encrypted,
    placement_fits_the_reservation,
    markets_agree,
    control_plane_is_closed,
    node_groups,
    tags_reach_machines,
    nodes_are_sizes,
)
