"""Rules of the network: private machines, room for them, a record of the traffic, doors that are closed."""

from __future__ import annotations

import ipaddress

from configuration import instances
from policy.declared import Resource
from policy.selecting import given, listed, names, of, on, same, stack_of
from policy.unknown import if_known
from repository import INSTANCES

WORLD = ("0.0.0.0/0", "::/0")
#: Services that machines in private subnets must reach without NAT where interface endpoints are declared.
NEEDED = {"ecr.api", "ecr.dkr", "sts", "logs", "ssm", "ssmmessages", "eks", "secretsmanager"}
SUBNET, GROUP = "ec2/subnet:Subnet", "ec2/securityGroup:SecurityGroup"
INGRESS, EGRESS = (f"vpc/securityGroup{way}Rule:SecurityGroup{way}Rule" for way in ("Ingress", "Egress"))


def names_resolve(resources: list[Resource]) -> list[str]:
    """The VPC resolves names: interface endpoints and FSx are found by them."""
    problems = []
    for vpc in of(resources, "ec2/vpc:Vpc"):
        for key in ("enableDnsSupport", "enableDnsHostnames"):
            with if_known():
                if not on(vpc.inputs.get(key)):
                    problems.append(f"{vpc.name}: {key} is not true")
    return problems


def default_group_is_closed(resources: list[Resource]) -> list[str]:
    """The VPC's default security group is adopted and has no rule."""
    groups = of(resources, "ec2/defaultSecurityGroup:DefaultSecurityGroup")
    problems = [f"{vpc.name}: its default security group is not declared" for vpc in of(resources, "ec2/vpc:Vpc") if not groups]
    for group in groups:
        with if_known():
            if group.inputs.get("ingress") or group.inputs.get("egress"):
                problems.append(f"{group.name}: the default security group has rules")
    return problems


def traffic_is_recorded(resources: list[Resource]) -> list[str]:
    """Each VPC has a flow log of all traffic."""
    vpcs, logs = of(resources, "ec2/vpc:Vpc"), of(resources, "ec2/flowLog:FlowLog")
    problems = [f"{vpcs[0].name}: no flow log"] if len(logs) < len(vpcs) else []
    for log in logs:
        with if_known():
            if log.inputs.get("trafficType") != "ALL":
                problems.append(f"{log.name}: does not record all traffic")
    return problems


def no_public_addresses(resources: list[Resource]) -> list[str]:
    """No subnet gives its machines public addresses."""
    problems = []
    for subnet in of(resources, SUBNET):
        with if_known():
            if subnet.inputs.get("mapPublicIpOnLaunch"):
                problems.append(f"{subnet.name}: gives public addresses")
    return problems


def subnets_fit(resources: list[Resource]) -> list[str]:
    """Subnets lie inside the VPC and beside each other."""
    problems: list[str] = []
    with if_known():
        vpcs = [ipaddress.IPv4Network(str(r.inputs["cidrBlock"])) for r in of(resources, "ec2/vpc:Vpc")]
        blocks = [(r.name, ipaddress.IPv4Network(str(r.inputs["cidrBlock"]))) for r in of(resources, SUBNET)]
        problems += [
            f"{name}: {block} lies outside the VPC" for name, block in blocks if not any(block.subnet_of(v) for v in vpcs)
        ]
        pairs = [(a, b) for i, a in enumerate(blocks) for b in blocks[i + 1 :] if a[1].overlaps(b[1])]
        problems += [f"{a[0]}: {a[1]} overlaps {b[0]}, {b[1]}" for a, b in pairs]
    return problems


def two_zones(resources: list[Resource]) -> list[str]:
    """Private and public subnets stand in two zones at least: control plane and load balancer need them."""
    problems = []
    for kind in ("private", "public"):
        with if_known():
            zones = {r.inputs["availabilityZone"] for r in of(resources, SUBNET) if f"-{kind}-" in r.name}
            if len(zones) < 2:
                problems.append(f"{kind} subnets stand in {len(zones)} zones, two are needed")
    return problems


def gpu_subnet_has_room(resources: list[Resource]) -> list[str]:
    """The GPU subnet has addresses for every node that the groups can grow to."""
    templates = {r.name: r for r in of(resources, "ec2/launchTemplate:LaunchTemplate")}
    subnets = [r for r in of(resources, SUBNET) if "-gpu-" in r.name]
    problems: list[str] = []
    with if_known():
        needed = 0
        for group in of(resources, "eks/nodeGroup:NodeGroup"):
            template = templates.get(group.name)
            machine = INSTANCES.get(template.inputs.get("instanceType", "")) if template else None
            if machine and "tenet:infra:Nodes" in group.parent:
                needed += int(group.inputs["scalingConfig"]["maxSize"]) * instances.addresses(machine)
        room = sum(ipaddress.IPv4Network(str(r.inputs["cidrBlock"])).num_addresses - 5 for r in subnets)
        problems += [f"{s.name}: {room} addresses, the node groups can need {needed}" for s in subnets if needed > room]
    return problems


def s3_stays_inside(resources: list[Resource]) -> list[str]:
    """Every route table that leads out through NAT leads to S3 through the gateway endpoint."""
    private = {r.name for r in of(resources, "ec2/route:Route") if given(r.inputs, "natGatewayId")}
    problems = []
    with if_known():
        s3 = [r for r in _endpoints(resources, "Gateway") if r.inputs["serviceName"].endswith(".s3")]
        if not s3:
            return ["no gateway endpoint for S3"]
        served = sum(len(listed(r.inputs.get("routeTableIds"))) for r in s3)
        if served < len(private):
            problems.append(f"{s3[0].name}: serves {served} of {len(private)} private route tables")
    return problems


def services_stay_inside(resources: list[Resource]) -> list[str]:
    """In prod, and wherever there are interface endpoints, all that machines need are there, with private names."""
    problems = []
    with if_known():
        found = _endpoints(resources, "Interface")
        if not found and not any(stack_of(r) == "prod" for r in of(resources, "ec2/vpc:Vpc")):
            return []
        services = {r.inputs["serviceName"].split(".", 3)[3] for r in found}
        problems += [f"no interface endpoint for {service}" for service in sorted(NEEDED - services)]
        problems += [f"{r.name}: privateDnsEnabled is not true" for r in found if not on(r.inputs.get("privateDnsEnabled"))]
    return problems


def _endpoints(resources: list[Resource], kind: str) -> list[Resource]:
    """VPC endpoints of a kind, Gateway or Interface."""
    return [r for r in of(resources, "ec2/vpcEndpoint:VpcEndpoint") if r.inputs.get("vpcEndpointType") == kind]


def training_group_talks_to_itself(resources: list[Resource]) -> list[str]:
    """The group of training machines allows all traffic from itself and to itself: EFA needs both."""
    problems = []
    for group in of(resources, GROUP):
        if not group.name.endswith("-nodes"):
            continue
        for kind, way in ((INGRESS, "from"), (EGRESS, "to")):
            with if_known():
                mine = [r for r in of(resources, kind) if r.name.startswith(group.name)]
                if not any(r.inputs.get("ipProtocol") == "-1" and _to_itself(r) for r in mine):
                    problems.append(f"{group.name}: does not allow all traffic {way} itself")
    if not any(name.endswith("-nodes") for name in names(resources, GROUP)):
        problems.append("no security group of training machines")
    return problems


def _to_itself(rule: Resource) -> bool:
    return same(rule, "referencedSecurityGroupId", rule, "securityGroupId")


def doors_are_closed(resources: list[Resource]) -> list[str]:
    """The world reaches 443 (and 80, which only redirects) of a balancer; nobody reaches port 22 from outside; rules
    stand alone."""
    problems = []
    for rule in of(resources, INGRESS):
        with if_known():
            low, high = rule.inputs.get("fromPort"), rule.inputs.get("toPort")
            world = rule.inputs.get("cidrIpv4") in WORLD or rule.inputs.get("cidrIpv6") in WORLD
            if world and not ("Balancer" in rule.parent and low == high and low in (80, 443)):
                problems.append(f"{rule.name}: open to the world")
            cidr = rule.inputs.get("cidrIpv4") or rule.inputs.get("cidrIpv6")
            if cidr and (low is None or high is None or low <= 22 <= high):
                problems.append(f"{rule.name}: SSH is reachable by address")
    for group in of(resources, GROUP):
        with if_known():
            if group.inputs.get("ingress") or group.inputs.get("egress"):
                problems.append(f"{group.name}: has rules inside; declare them as resources")
    return problems


def names_are_fixed(resources: list[Resource]) -> list[str]:
    """VPCs, subnets and the training group have a Name tag, each its own: SkyPilot finds them by it."""
    problems, taken = [], set[str]()
    tagged = [(r, r.inputs.get("tags", {})) for kind in ("ec2/vpc:Vpc", SUBNET) for r in of(resources, kind)]
    groups = [(r, {"Name": r.inputs.get("name")}) for r in of(resources, GROUP) if r.name.endswith("-nodes")]
    for resource, names_of in [*tagged, *groups]:
        with if_known():
            name = names_of.get("Name")
            if not name:
                problems.append(f"{resource.name}: has no fixed name")
            elif name in taken:
                problems.append(f"{resource.name}: the name {name} is used twice")
            else:
                taken.add(name)
    return problems


RULES = (
    names_resolve,
    default_group_is_closed,
    traffic_is_recorded,
    no_public_addresses,
    subnets_fit,
    two_zones,
    gpu_subnet_has_room,
    s3_stays_inside,
    services_stay_inside,
    training_group_talks_to_itself,
    doors_are_closed,
    names_are_fixed,
)
