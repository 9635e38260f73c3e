"""Where everything runs: one VPC, machines in private subnets, a way out through NAT, S3 without leaving the network.

SkyPilot finds the VPC and subnets by their Name tag, so those names are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from configuration import addresses
from configuration.settings import Settings
from identity.documents import as_json, assume_role, write_logs

#: AWS services that machines call, reached inside the network where `interfaceEndpoints` is on.
SERVICES = (
    "ec2",
    "ecr.api",
    "ecr.dkr",
    "ecs",
    "ecs-agent",
    "ecs-telemetry",
    "eks",
    "eks-auth",
    "kms",
    "logs",
    "monitoring",
    "secretsmanager",
    "ssm",
    "ssmmessages",
    "sts",
)


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """What the network is made from."""

    settings: Settings
    gpu_zone: str
    gpu_cidr: str
    kms_key_arn: pulumi.Input[str]


class Network(pulumi.ComponentResource):
    """VPC, subnets, routes, endpoints and a record of the traffic.

    Attributes:
        vpc_id, public_subnet_ids, private_subnet_ids, gpu_subnet_id: for what is put into it.
        vpc_name, private_subnet_names, gpu_subnet_names: Name tags, for SkyPilot.
        node_group, node_group_name: security group of training machines.
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
        zones = settings.zones
        private, public = addresses.private(settings.cidr, len(zones)), addresses.public(settings.cidr, len(zones))
        self.private = [self._subnet("private", zone, str(block)) for zone, block in zip(zones, private, strict=True)]
        self.public = [self._subnet("public", zone, str(block)) for zone, block in zip(zones, public, strict=True)]
        gpu = self._subnet("gpu", args.gpu_zone, args.gpu_cidr)
        self.gpu_subnet_id = gpu.id
        self.gpu_subnet_names = [f"{settings.prefix}-gpu-{args.gpu_zone}"]
        self.private_subnet_names = [f"{settings.prefix}-private-{zone}" for zone in settings.zones]
        self.public_subnet_ids = [subnet.id for subnet in self.public]
        self.private_subnet_ids = [subnet.id for subnet in self.private]
        self._routes(gpu)
        self.node_group, self.node_group_name = self._node_group(), f"{settings.prefix}-nodes"
        self._record_traffic()
        self.register_outputs(
            {"vpc_id": self.vpc_id, "vpc_name": self.vpc_name, "private_subnet_names": self.private_subnet_names}
        )

    def _subnet(self, kind: str, zone: str, cidr: str) -> aws.ec2.Subnet:
        settings = self.args.settings
        return aws.ec2.Subnet(
            f"{self.name}-{kind}-{zone}",
            vpc_id=self.vpc_id,
            cidr_block=cidr,
            availability_zone=zone,
            map_public_ip_on_launch=False,
            tags={"Name": f"{settings.prefix}-{kind}-{zone}"},
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _routes(self, gpu: aws.ec2.Subnet) -> None:
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
            if zone == self.args.gpu_zone:  # GPU machines leave through the gateway of their own zone
                aws.ec2.RouteTableAssociation(f"{self.name}-gpu-{zone}", route_table_id=table.id, subnet_id=gpu.id, opts=child)
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

    def _node_group(self) -> aws.ec2.SecurityGroup:
        """Training machines reach each other on every port, and the world over HTTP(S) for packages. Nobody else
        reaches them.

        EFA drops what is not allowed from the group and to the group, so the rule outwards names the group too.
        SkyPilot finds the group by its name, and opens SSH to the world in one that has no rule: this one has.
        """
        settings, child, label = self.args.settings, pulumi.ResourceOptions(parent=self), f"{self.name}-nodes"
        group = aws.ec2.SecurityGroup(
            label,
            name=f"{settings.prefix}-nodes",
            vpc_id=self.vpc_id,
            description="Training machines among themselves",
            tags={"Name": f"{settings.prefix}-nodes"},
            # Another name or VPC makes a new group; the old one cannot go before it, and both cannot have the name.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        itself = {"security_group_id": group.id, "referenced_security_group_id": group.id, "ip_protocol": "-1"}
        aws.vpc.SecurityGroupIngressRule(f"{label}-in", **itself, opts=child)
        aws.vpc.SecurityGroupEgressRule(f"{label}-among", **itself, opts=child)
        for port, text in ((80, "Package mirrors"), (443, "AWS services and packages")):
            aws.vpc.SecurityGroupEgressRule(
                f"{label}-out-{port}",
                security_group_id=group.id,
                description=text,
                cidr_ipv4="0.0.0.0/0",
                ip_protocol="tcp",
                from_port=port,
                to_port=port,
                opts=child,
            )
        return group

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
