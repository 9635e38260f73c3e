"""Where the weights are served: a TLS load balancer in front of GPU machines that ECS fills with one task each.

The pointer in SSM says which version of the weights store a task fetches when it starts. Move it, deploy the service anew: one
machine after another is replaced, and all goes back by itself when the new ones do not get healthy.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from identity import as_json, assume_role, releasing, serving, starting
from settings import Settings
from task import PORT, TaskNames, containers

#: Amazon's image with driver and ECS agent; EC2 resolves the parameter at each launch, so new machines have the fixes of the day.
IMAGE = "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/gpu/recommended/image_id"
#: Bytes of weights come in before the first answer: minutes for a large model.
LOAD_SECONDS = 900


@dataclass(frozen=True, kw_only=True)
class EndpointArgs:
    """What the endpoint stands on."""

    settings: Settings
    vpc_id: pulumi.Input[str]
    public_subnet_ids: list[pulumi.Output[str]]
    private_subnet_ids: list[pulumi.Output[str]]
    weights: aws.s3.Bucket
    logs: aws.s3.Bucket
    log_policy: aws.s3.BucketPolicy
    kms_key_arn: pulumi.Input[str]


class Endpoint(pulumi.ComponentResource):
    """Image repository, load balancer, machines, service and the pointer.

    Attributes:
        repository_url: where the serving image is pushed.
        url: the endpoint for clients; DNS must point `domain` to `load_balancer_dns`.
        pointer_name: SSM parameter with the version that is served.
        keys_secret: Secrets Manager secret with the callers' keys, put there by an operator.
        release_policy_arn: for whoever deploys.
    """

    def __init__(self, name: str, args: EndpointArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Endpoint", name, None, opts)
        self.name, self.args, self.settings = name, args, args.settings
        self.child = pulumi.ResourceOptions(parent=self)
        self.kept = pulumi.ResourceOptions(parent=self, protect=self.settings.protect, retain_on_delete=self.settings.protect)
        self._state()
        self.balancer_group, self.task_group = self._groups()
        target = self._balancer()
        self._service(target)
        self.url = f"https://{self.settings.domain}"
        self.register_outputs({"url": self.url, "repository_url": self.repository_url, "pointer_name": self.pointer_name})

    def _state(self) -> None:
        """What outlives a deployment: images, the pointer, the keys, the log."""
        settings, key = self.settings, self.args.kms_key_arn
        self.repository = aws.ecr.Repository(
            self.name,
            name=f"{settings.prefix}-serve",
            image_tag_mutability="IMMUTABLE",  # a tag that can move makes going back a guess
            image_scanning_configuration={"scan_on_push": True},
            encryption_configurations=[{"encryption_type": "KMS", "kms_key": key}],
            force_delete=not settings.protect,
            opts=self.kept,
        )
        self.pointer = aws.ssm.Parameter(
            self.name,
            name=f"/tenet/{settings.stack}/weights",
            description="Version of the weights store that the endpoint serves; moved by tenet deploy",
            type="String",
            value="none",
            # The value belongs to deployments, not to this program.
            opts=pulumi.ResourceOptions.merge(self.kept, pulumi.ResourceOptions(ignore_changes=["value"])),
        )
        self.keys = aws.secretsmanager.Secret(
            self.name,
            name=f"tenet/{settings.stack}/keys",
            description="Callers' keys, as tenet serve writes them",
            kms_key_id=key,
            opts=self.kept,
        )
        self.log = aws.cloudwatch.LogGroup(
            self.name, name=f"/tenet/{settings.stack}/serve", retention_in_days=settings.log_days, kms_key_id=key, opts=self.child
        )
        release = pulumi.Output.all(self.args.weights.arn, self.pointer.arn, key).apply(lambda a: as_json(releasing(*a)))
        policy = aws.iam.Policy(
            f"{self.name}-release", description="Deploy and roll back weights", policy=release, opts=self.child
        )
        self.repository_url, self.pointer_name = self.repository.repository_url, self.pointer.name
        self.keys_secret = self.keys.name
        self.release_policy_arn = policy.arn

    def _groups(self) -> tuple[aws.ec2.SecurityGroup, aws.ec2.SecurityGroup]:
        """Clients reach the balancer on 443 (80 only sends them there), the balancer reaches the tasks, the tasks reach out."""
        balancer, task = (
            aws.ec2.SecurityGroup(f"{self.name}-{kind}", vpc_id=self.args.vpc_id, description=text, opts=self.child)
            for kind, text in (("balancer", "Clients to the load balancer"), ("task", "Load balancer to the tasks"))
        )
        for cidr in self.settings.client_cidrs:
            for port in (80, 443):
                aws.vpc.SecurityGroupIngressRule(
                    f"{self.name}-{cidr.replace('/', '-')}-{port}",
                    security_group_id=balancer.id,
                    description="Clients",
                    cidr_ipv4=cidr,
                    ip_protocol="tcp",
                    from_port=port,
                    to_port=port,
                    opts=self.child,
                )
        port_range = {"ip_protocol": "tcp", "from_port": PORT, "to_port": PORT}
        aws.vpc.SecurityGroupEgressRule(
            f"{self.name}-to-task",
            security_group_id=balancer.id,
            referenced_security_group_id=task.id,
            **port_range,
            opts=self.child,
        )
        aws.vpc.SecurityGroupIngressRule(
            f"{self.name}-from-balancer",
            security_group_id=task.id,
            referenced_security_group_id=balancer.id,
            **port_range,
            opts=self.child,
        )
        aws.vpc.SecurityGroupEgressRule(
            f"{self.name}-out",
            security_group_id=task.id,
            description="AWS services over HTTPS",
            cidr_ipv4="0.0.0.0/0",
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            opts=self.child,
        )
        return balancer, task

    def _balancer(self) -> aws.lb.TargetGroup:
        settings = self.settings
        balancer = aws.lb.LoadBalancer(
            self.name,
            name=settings.prefix,
            load_balancer_type="application",
            internal=not settings.public,
            subnets=self.args.public_subnet_ids if settings.public else self.args.private_subnet_ids,
            security_groups=[self.balancer_group.id],
            idle_timeout=LOAD_SECONDS,  # between two bytes: a queued answer may be silent for long
            drop_invalid_header_fields=True,
            enable_deletion_protection=settings.protect,
            access_logs={"bucket": self.args.logs.bucket, "prefix": "alb", "enabled": True},
            # AWS writes a test file when logging is switched on, so it must be allowed to by then.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.args.log_policy]),
        )
        target = aws.lb.TargetGroup(
            self.name,
            name=settings.prefix,
            port=PORT,
            protocol="HTTP",
            target_type="ip",
            vpc_id=self.args.vpc_id,
            deregistration_delay=300,  # streams that run may end
            load_balancing_algorithm_type="least_outstanding_requests",  # answers differ in length by a factor of a hundred
            health_check={"path": "/readyz", "matcher": "200", "interval": 15, "healthy_threshold": 2, "unhealthy_threshold": 4},
            opts=self.child,
        )
        redirect = {"protocol": "HTTPS", "port": "443", "status_code": "HTTP_301"}
        self.listeners = [
            aws.lb.Listener(
                f"{self.name}-https",
                load_balancer_arn=balancer.arn,
                port=443,
                protocol="HTTPS",
                ssl_policy="ELBSecurityPolicy-TLS13-1-2-2021-06",
                certificate_arn=self._certificate(),
                default_actions=[{"type": "forward", "target_group_arn": target.arn}],
                opts=self.child,
            ),
            aws.lb.Listener(
                f"{self.name}-http",
                load_balancer_arn=balancer.arn,
                port=80,
                protocol="HTTP",
                default_actions=[{"type": "redirect", "redirect": redirect}],
                opts=self.child,
            ),
        ]
        self.load_balancer_dns = balancer.dns_name
        return target

    def _certificate(self) -> pulumi.Input[str]:
        if self.settings.certificate_arn:
            return self.settings.certificate_arn
        return aws.acm.Certificate(self.name, domain_name=self.settings.domain, validation_method="DNS", opts=self.child).arn

    def _service(self, target: aws.lb.TargetGroup) -> None:
        settings = self.settings
        cluster = aws.ecs.Cluster(
            self.name, name=settings.prefix, settings=[{"name": "containerInsights", "value": "enabled"}], opts=self.child
        )
        provider = self._machines(cluster)
        attached = aws.ecs.ClusterCapacityProviders(
            self.name, cluster_name=cluster.name, capacity_providers=[provider.name], opts=self.child
        )
        aws.ecs.Service(
            self.name,
            name="serve",
            cluster=cluster.arn,
            task_definition=self._task().arn,
            desired_count=settings.endpoint_min,
            capacity_provider_strategies=[{"capacity_provider": provider.name, "weight": 1, "base": 0}],
            network_configuration={"subnets": self.args.private_subnet_ids, "security_groups": [self.task_group.id]},
            load_balancers=[{"target_group_arn": target.arn, "container_name": "serve", "container_port": PORT}],
            health_check_grace_period_seconds=LOAD_SECONDS,
            deployment_circuit_breaker={"enable": True, "rollback": True},
            # Where there are spare machines the new task starts first; a stack of one machine has to stop the old one.
            deployment_minimum_healthy_percent=100 if settings.endpoint_max > settings.endpoint_min > 0 else 0,
            deployment_maximum_percent=200,
            propagate_tags="SERVICE",
            opts=pulumi.ResourceOptions(parent=self, depends_on=[attached, *self.listeners], ignore_changes=["desiredCount"]),
        )
        self.cluster_name = cluster.name

    def _machines(self, cluster: aws.ecs.Cluster) -> aws.ecs.CapacityProvider:
        """A group of GPU machines that grows and shrinks with the tasks that want to run."""
        settings = self.settings
        template = self._template(cluster)
        group = aws.autoscaling.Group(
            self.name,
            min_size=settings.endpoint_min,
            max_size=settings.endpoint_max,
            vpc_zone_identifiers=self.args.private_subnet_ids,
            launch_template={"id": template.id, "version": "$Latest"},
            protect_from_scale_in=True,  # ECS decides which machine may go: an empty one
            health_check_type="EC2",
            tags=[
                {"key": "Name", "value": f"{settings.prefix}-serve", "propagate_at_launch": True},
                {"key": "AmazonECSManaged", "value": "true", "propagate_at_launch": True},
            ],
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["desiredCapacity"]),
        )
        scaling = {"status": "ENABLED", "target_capacity": 100, "minimum_scaling_step_size": 1, "maximum_scaling_step_size": 2}
        return aws.ecs.CapacityProvider(
            self.name,
            name=f"{settings.prefix}-gpu",
            auto_scaling_group_provider={
                "auto_scaling_group_arn": group.arn,
                "managed_scaling": scaling,
                "managed_termination_protection": "ENABLED",
            },
            opts=self.child,
        )

    def _template(self, cluster: aws.ecs.Cluster) -> aws.ec2.LaunchTemplate:
        settings = self.settings
        role = aws.iam.Role(f"{self.name}-machine", assume_role_policy=as_json(assume_role("ec2.amazonaws.com")), opts=self.child)
        for policy in ("service-role/AmazonEC2ContainerServiceforEC2Role", "AmazonSSMManagedInstanceCore"):
            aws.iam.RolePolicyAttachment(
                f"{self.name}-{policy.split('/')[-1]}",
                role=role.name,
                policy_arn=f"arn:aws:iam::aws:policy/{policy}",
                opts=self.child,
            )
        profile = aws.iam.InstanceProfile(f"{self.name}-machine", role=role.name, opts=self.child)
        # The provider's default tags do not reach what the group launches.
        tags = {"Name": f"{settings.prefix}-serve", "project": "tenet", "stack": settings.stack}
        return aws.ec2.LaunchTemplate(
            self.name,
            image_id=IMAGE,
            instance_type=settings.instance.name,
            update_default_version=True,
            iam_instance_profile={"arn": profile.arn},
            vpc_security_group_ids=[self.task_group.id],
            # Tasks have roles of their own; a hop limit of 1 keeps them away from the machine's.
            metadata_options={"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1},
            block_device_mappings=[
                {
                    "device_name": "/dev/xvda",
                    "ebs": {"volume_type": "gp3", "volume_size": 200, "encrypted": "true", "delete_on_termination": "true"},
                }
            ],
            tag_specifications=[{"resource_type": kind, "tags": tags} for kind in ("instance", "volume")],
            user_data=cluster.name.apply(user_data),
            opts=self.child,
        )

    def _task(self) -> aws.ecs.TaskDefinition:
        args, settings = self.args, self.settings
        run, start = (
            aws.iam.Role(f"{self.name}-{kind}", assume_role_policy=self._account_role(), description=text, opts=self.child)
            for kind, text in (("task", "What the serving program may do"), ("start", "What starting it needs"))
        )
        may_run = pulumi.Output.all(args.weights.arn, args.kms_key_arn).apply(lambda a: as_json(serving(*a)))
        aws.iam.RolePolicy(f"{self.name}-task", role=run.id, policy=may_run, opts=self.child)
        needs = pulumi.Output.all(self.repository.arn, self.log.arn, self.pointer.arn, self.keys.arn, args.kms_key_arn)
        aws.iam.RolePolicy(
            f"{self.name}-start", role=start.id, policy=needs.apply(lambda a: as_json(starting(*a))), opts=self.child
        )
        image = pulumi.Output.concat(self.repository_url, ":", settings.image_tag)
        names = pulumi.Output.all(image, args.weights.bucket, self.pointer.arn, self.keys.arn, self.log.name)
        return aws.ecs.TaskDefinition(
            self.name,
            family=f"{settings.prefix}-serve",
            network_mode="awsvpc",
            requires_compatibilities=["EC2"],
            task_role_arn=run.arn,
            execution_role_arn=start.arn,
            volumes=[{"name": "weights", "host_path": "/var/lib/tenet"}],
            container_definitions=names.apply(self._containers),
            opts=self.child,
        )

    def _account_role(self) -> str:
        return as_json(assume_role("ecs-tasks.amazonaws.com"))

    def _containers(self, values: list[str]) -> str:
        image, bucket, pointer, keys, log = values
        settings = self.settings
        names = TaskNames(
            image=image,
            bucket=bucket,
            pointer=pointer,
            keys=keys,
            log_group=log,
            region=settings.region,
            gpus=settings.instance.count,
            memory_gib=settings.instance.memory_gib,
        )
        return json.dumps(containers(names))


def user_data(cluster: str) -> str:
    """Base64 of the first boot: join the cluster, and keep tasks away from the machine's own credentials."""
    values = (f"ECS_CLUSTER={cluster}", "ECS_ENABLE_GPU_SUPPORT=true", "ECS_AWSVPC_BLOCK_IMDS=true")
    lines = ["#!/bin/bash", *(f"echo {value} >> /etc/ecs/ecs.config" for value in values)]
    return base64.b64encode("\n".join(lines).encode()).decode()
