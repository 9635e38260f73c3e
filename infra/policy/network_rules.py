"""Rules of the network: private machines, room for them, a record of the traffic, doors that are closed."""

from __future__ import annotations

import ipaddress

from policy.resource import Resource
from policy.select import ident, listed, names, of, stack_of

WORLD = ("0.0.0.0/0", "::/0")
#: Services that machines in private subnets must reach without NAT where interface endpoints are declared.
NEEDED = {"ecr.api", "ecr.dkr", "sts", "logs", "ssm", "ssmmessages", "eks", "secretsmanager"}
SUBNET = "ec2/subnet:Subnet"
INGRESS, EGRESS = (f"vpc/securityGroup{way}Rule:SecurityGroup{way}Rule" for way in ("Ingress", "Egress"))


def names_resolve(resources: list[Resource]) -> list[str]:
    """The VPC resolves names: interface endpoints and FSx are found by them."""
    return [
        f"{r.name}: {key} is not true"
        for r in of(resources, "ec2/vpc:Vpc")
        for key in ("enableDnsSupport", "enableDnsHostnames")
        if r.inputs.get(key) is not True
    ]


def default_group_is_closed(resources: list[Resource]) -> list[str]:
    """The VPC's default security group is adopted and has no rule."""
    groups = of(resources, "ec2/defaultSecurityGroup:DefaultSecurityGroup")
    missing = [f"{vpc.name}: its default security group is not declared" for vpc in of(resources, "ec2/vpc:Vpc") if not groups]
    return missing + [
        f"{g.name}: the default security group has rules" for g in groups if g.inputs.get("ingress") or g.inputs.get("egress")
    ]


def traffic_is_recorded(resources: list[Resource]) -> list[str]:
    """Each VPC has a flow log of all traffic."""
    vpcs, logs = of(resources, "ec2/vpc:Vpc"), of(resources, "ec2/flowLog:FlowLog")
    partial = [f"{log.name}: does not record all traffic" for log in logs if log.inputs.get("trafficType") != "ALL"]
    return partial + ([f"{vpcs[0].name}: no flow log"] if len(logs) < len(vpcs) else [])


def no_public_addresses(resources: list[Resource]) -> list[str]:
    """No subnet gives its machines public addresses."""
    return [f"{r.name}: gives public addresses" for r in of(resources, SUBNET) if r.inputs.get("mapPublicIpOnLaunch")]


def subnets_fit(resources: list[Resource]) -> list[str]:
    """Subnets lie inside the VPC and beside each other."""
    vpcs = [ipaddress.IPv4Network(r.inputs["cidrBlock"]) for r in of(resources, "ec2/vpc:Vpc")]
    blocks = [(r.name, ipaddress.IPv4Network(r.inputs["cidrBlock"])) for r in of(resources, SUBNET)]
    outside = [f"{name}: {block} lies outside the VPC" for name, block in blocks if not any(block.subnet_of(v) for v in vpcs)]
    pairs = [(a, b) for i, a in enumerate(blocks) for b in blocks[i + 1 :] if a[1].overlaps(b[1])]
    return outside + [f"{a[0]}: {a[1]} overlaps {b[0]}, {b[1]}" for a, b in pairs]


def two_zones(resources: list[Resource]) -> list[str]:
    """Private and public subnets stand in two zones at least: control plane and load balancer need them."""
    problems = []
    for kind in ("private", "public"):
        zones = {r.inputs["availabilityZone"] for r in of(resources, SUBNET) if f"-{kind}-" in r.name}
        if len(zones) < 2:
            problems.append(f"{kind} subnets stand in {len(zones)} zones, two are needed")
    return problems


def gpu_subnet_has_room(resources: list[Resource]) -> list[str]:
    """The GPU subnet has addresses for every node that the groups can grow to."""
    import instances

    from tenet.hardware import INSTANCES

    templates = {r.name: r for r in of(resources, "ec2/launchTemplate:LaunchTemplate")}
    subnets = [r for r in of(resources, SUBNET) if "-gpu-" in r.name]
    needed = 0
    for group in of(resources, "eks/nodeGroup:NodeGroup"):
        template = templates.get(group.name)
        machine = INSTANCES.get(template.inputs.get("instanceType", "")) if template else None
        if machine and "tenet:infra:Nodes" in group.parent:
            needed += int(group.inputs["scalingConfig"]["maxSize"]) * instances.addresses(machine)
    room = sum(ipaddress.IPv4Network(r.inputs["cidrBlock"]).num_addresses - 5 for r in subnets)
    return [f"{s.name}: {room} addresses, the node groups can need {needed}" for s in subnets if needed > room]


def s3_stays_inside(resources: list[Resource]) -> list[str]:
    """Every route table that leads out through NAT leads to S3 through the gateway endpoint."""
    private = {r.name for r in of(resources, "ec2/route:Route") if r.inputs.get("natGatewayId")}
    gateways = [r for r in of(resources, "ec2/vpcEndpoint:VpcEndpoint") if r.inputs.get("vpcEndpointType") == "Gateway"]
    s3 = [r for r in gateways if r.inputs["serviceName"].endswith(".s3")]
    if not s3:
        return ["no gateway endpoint for S3"]
    served = sum(len(listed(r.inputs.get("routeTableIds"))) for r in s3)
    return [] if served >= len(private) else [f"{s3[0].name}: serves {served} of {len(private)} private route tables"]


def services_stay_inside(resources: list[Resource]) -> list[str]:
    """In prod, and wherever there are interface endpoints, all that machines need are there, with private names."""
    found = [r for r in of(resources, "ec2/vpcEndpoint:VpcEndpoint") if r.inputs.get("vpcEndpointType") == "Interface"]
    if not found and not any(stack_of(r) == "prod" for r in of(resources, "ec2/vpc:Vpc")):
        return []
    services = {r.inputs["serviceName"].split(".", 3)[3] for r in found}
    named = [f"{r.name}: privateDnsEnabled is not true" for r in found if r.inputs.get("privateDnsEnabled") is not True]
    return named + [f"no interface endpoint for {service}" for service in sorted(NEEDED - services)]


def training_group_talks_to_itself(resources: list[Resource]) -> list[str]:
    """The group of training machines allows all traffic from itself and to itself: EFA needs both."""
    problems = []
    for group in of(resources, "ec2/securityGroup:SecurityGroup"):
        if not group.name.endswith("-nodes"):
            continue
        for kind, way in ((INGRESS, "from"), (EGRESS, "to")):
            own = [
                r
                for r in of(resources, kind)
                if r.name.startswith(group.name)
                and r.inputs.get("ipProtocol") == "-1"
                and ident(r.inputs.get("referencedSecurityGroupId")) == ident(r.inputs.get("securityGroupId"))
            ]
            if not own:
                problems.append(f"{group.name}: does not allow all traffic {way} itself")
    if not any(name.endswith("-nodes") for name in names(resources, "ec2/securityGroup:SecurityGroup")):
        problems.append("no security group of training machines")
    return problems


def doors_are_closed(resources: list[Resource]) -> list[str]:
    """The world reaches 443 (and 80, which only redirects) of a balancer; nobody reaches port 22 from outside; rules stand alone."""
    problems = []
    for rule in of(resources, INGRESS):
        low, high = rule.inputs.get("fromPort"), rule.inputs.get("toPort")
        world = rule.inputs.get("cidrIpv4") in WORLD or rule.inputs.get("cidrIpv6") in WORLD
        if world and not ("Balancer" in rule.parent and low == high and low in (80, 443)):
            problems.append(f"{rule.name}: open to the world")
        cidr = rule.inputs.get("cidrIpv4") or rule.inputs.get("cidrIpv6")
        if cidr and (low is None or high is None or low <= 22 <= high):
            problems.append(f"{rule.name}: SSH is reachable by address")
    for group in of(resources, "ec2/securityGroup:SecurityGroup"):
        if group.inputs.get("ingress") or group.inputs.get("egress"):
            problems.append(f"{group.name}: has rules inside; declare them as resources")
    return problems


def names_are_fixed(resources: list[Resource]) -> list[str]:
    """VPCs, subnets and the training group have a Name tag, each its own: SkyPilot finds them by it."""
    tagged = [(r, r.inputs.get("tags", {}).get("Name")) for kind in ("ec2/vpc:Vpc", SUBNET) for r in of(resources, kind)]
    tagged += [(r, r.inputs.get("name")) for r in of(resources, "ec2/securityGroup:SecurityGroup") if r.name.endswith("-nodes")]
    given = [name for _, name in tagged]
    problems = [f"{r.name}: has no fixed name" for r, name in tagged if not name]
    return problems + [f"{r.name}: the name {name} is used twice" for r, name in tagged if name and given.count(name) > 1]


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
