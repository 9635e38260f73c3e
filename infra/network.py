"""Where everything runs: one VPC, machines in private subnets, a way out through NAT, S3 without leaving the network.

SkyPilot finds the VPC and subnets by their Name tag, so those names are fixed.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from identity import as_json, assume_role, write_logs
from settings import SUBNET_BITS, Settings

#: AWS services that machines call, reached inside the network where `interfaceEndpoints` is on.
SERVICES = (
    "ecr.api",
    "ecr.dkr",
    "ecs",
    "ecs-agent",
    "ecs-telemetry",
    "kms",
    "logs",
    "secretsmanager",
    "ssm",
    "ssmmessages",
    "sts",
)


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """What the network is made from."""

    settings: Settings
    kms_key_arn: pulumi.Input[str]


class Network(pulumi.ComponentResource):
    """VPC, subnets, routes, endpoints and a record of the traffic.

    Attributes:
        vpc_id, public_subnet_ids, private_subnet_ids: for what is put into it.
        vpc_name, private_subnet_names: Name tags, for SkyPilot.
    """

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Network", name, None, opts)
        self.args, self.name = args, name
        settings, child = args.settings, pulumi.ResourceOptions(parent=self)
        self.vpc_name = f"{settings.prefix}-vpc"
        vpc = aws.ec2.Vpc(
            name,
            cidr_block=settings.cidr,
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags={"Name": self.vpc_name},
            opts=child,
        )
        self.vpc_id = vpc.id
        # Adopting the default group with no rules closes it: nothing can be reached by forgetting to name a group.
        aws.ec2.DefaultSecurityGroup(f"{name}-closed", vpc_id=vpc.id, ingress=[], egress=[], opts=child)
        blocks = list(ipaddress.IPv4Network(settings.cidr).subnets(prefixlen_diff=SUBNET_BITS))
        # The last /20 is cut into the public subnets, which hold only gateways and load balancers.
        self.private = [self._subnet("private", i, str(blocks[i])) for i in range(len(settings.zones))]
        self.public = [self._subnet("public", i, str(block)) for i, block in enumerate(self._small(blocks[-1]))]
        self.private_subnet_names = [f"{settings.prefix}-private-{zone}" for zone in settings.zones]
        self.public_subnet_ids = [subnet.id for subnet in self.public]
        self.private_subnet_ids = [subnet.id for subnet in self.private]
        self._routes()
        self._record_traffic()
        self.register_outputs(
            {"vpc_id": self.vpc_id, "vpc_name": self.vpc_name, "private_subnet_names": self.private_subnet_names}
        )

    def _small(self, block: ipaddress.IPv4Network) -> list[ipaddress.IPv4Network]:
        return list(block.subnets(new_prefix=24))[: len(self.args.settings.zones)]

    def _subnet(self, kind: str, index: int, cidr: str) -> aws.ec2.Subnet:
        settings = self.args.settings
        zone = settings.zones[index]
        return aws.ec2.Subnet(
            f"{self.name}-{kind}-{zone}",
            vpc_id=self.vpc_id,
            cidr_block=cidr,
            availability_zone=zone,
            map_public_ip_on_launch=False,
            tags={"Name": f"{settings.prefix}-{kind}-{zone}"},
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _routes(self) -> None:
        settings, child = self.args.settings, pulumi.ResourceOptions(parent=self)
        gateway = aws.ec2.InternetGateway(self.name, vpc_id=self.vpc_id, tags={"Name": settings.prefix}, opts=child)
        public = aws.ec2.RouteTable(
            f"{self.name}-public", vpc_id=self.vpc_id, tags={"Name": f"{settings.prefix}-public"}, opts=child
        )
        out = aws.ec2.Route(
            f"{self.name}-public", route_table_id=public.id, destination_cidr_block="0.0.0.0/0", gateway_id=gateway.id, opts=child
        )
        for zone, subnet in zip(settings.zones, self.public, strict=True):
            aws.ec2.RouteTableAssociation(f"{self.name}-public-{zone}", route_table_id=public.id, subnet_id=subnet.id, opts=child)
        nats = [self._nat(i, pulumi.ResourceOptions(parent=self, depends_on=[out])) for i in range(settings.nat_gateways)]
        tables = []
        for index, zone in enumerate(settings.zones):
            label = f"{self.name}-private-{zone}"
            table = aws.ec2.RouteTable(label, vpc_id=self.vpc_id, tags={"Name": f"{settings.prefix}-private-{zone}"}, opts=child)
            nat = nats[index % len(nats)]
            aws.ec2.Route(label, route_table_id=table.id, destination_cidr_block="0.0.0.0/0", nat_gateway_id=nat.id, opts=child)
            aws.ec2.RouteTableAssociation(label, route_table_id=table.id, subnet_id=self.private[index].id, opts=child)
            tables.append(table.id)
        self._endpoints(tables)

    def _nat(self, index: int, opts: pulumi.ResourceOptions) -> aws.ec2.NatGateway:
        label = f"{self.name}-{self.args.settings.zones[index]}"
        tags = {"Name": f"{self.args.settings.prefix}-{self.args.settings.zones[index]}"}
        address = aws.ec2.Eip(label, domain="vpc", tags=tags, opts=opts)
        return aws.ec2.NatGateway(label, allocation_id=address.id, subnet_id=self.public[index].id, tags=tags, opts=opts)

    def _endpoints(self, route_tables: list[pulumi.Output[str]]) -> None:
        settings, child = self.args.settings, pulumi.ResourceOptions(parent=self)
        # Training data and weights come this way: free, and not through NAT, which is paid by the gigabyte.
        aws.ec2.VpcEndpoint(
            f"{self.name}-s3",
            vpc_id=self.vpc_id,
            service_name=f"com.amazonaws.{settings.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=route_tables,
            opts=child,
        )
        if not settings.interface_endpoints:
            return
        group = aws.ec2.SecurityGroup(
            f"{self.name}-endpoints", vpc_id=self.vpc_id, description="HTTPS from the network to AWS services", opts=child
        )
        aws.vpc.SecurityGroupIngressRule(
            f"{self.name}-endpoints",
            security_group_id=group.id,
            description="HTTPS from inside the network",
            cidr_ipv4=settings.cidr,
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            opts=child,
        )
        for service in SERVICES:
            aws.ec2.VpcEndpoint(
                f"{self.name}-{service}",
                vpc_id=self.vpc_id,
                service_name=f"com.amazonaws.{settings.region}.{service}",
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=self.private_subnet_ids,
                security_group_ids=[group.id],
                opts=child,
            )

    def _record_traffic(self) -> None:
        settings, child = self.args.settings, pulumi.ResourceOptions(parent=self)
        group = aws.cloudwatch.LogGroup(
            f"{self.name}-flow",
            name=f"/tenet/{settings.stack}/flow",
            retention_in_days=settings.log_days,
            kms_key_id=self.args.kms_key_arn,
            opts=child,
        )
        role = aws.iam.Role(
            f"{self.name}-flow", assume_role_policy=as_json(assume_role("vpc-flow-logs.amazonaws.com")), opts=child
        )
        aws.iam.RolePolicy(
            f"{self.name}-flow", role=role.id, policy=group.arn.apply(lambda arn: as_json(write_logs(arn))), opts=child
        )
        aws.ec2.FlowLog(
            self.name, vpc_id=self.vpc_id, traffic_type="ALL", log_destination=group.arn, iam_role_arn=role.arn, opts=child
        )
