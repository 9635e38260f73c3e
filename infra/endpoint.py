"""Where the weights are served: a TLS load balancer in front of GPU machines that ECS fills with one task each.

The pointer in SSM says which version of the weights store a task fetches when it starts. Move it, deploy the service anew: one
machine after another is replaced, and all goes back by itself when the new ones do not get healthy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from balancer import Balancer, BalancerArgs
from identity import as_json, assume_role, releasing, serving, starting
from machines import Machines, MachinesArgs
from settings import Settings
from task import LOAD_SECONDS, PORT, TaskNames, containers


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
        balancer = Balancer(
            name,
            BalancerArgs(
                settings=self.settings,
                vpc_id=args.vpc_id,
                subnet_ids=args.public_subnet_ids if self.settings.public else args.private_subnet_ids,
                logs=args.logs,
                log_policy=args.log_policy,
            ),
            self.child,
        )
        self.load_balancer_dns = balancer.dns_name
        self._service(balancer)
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
            description="Version of the weights store that the endpoint serves; moved by whoever deploys",
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

    def _service(self, balancer: Balancer) -> None:
        settings = self.settings
        cluster = aws.ecs.Cluster(
            self.name, name=settings.prefix, settings=[{"name": "containerInsights", "value": "enabled"}], opts=self.child
        )
        machines = Machines(
            self.name,
            MachinesArgs(
                settings=settings,
                subnet_ids=self.args.private_subnet_ids,
                security_group_id=balancer.task_group.id,
                cluster=cluster,
            ),
            self.child,
        )
        aws.ecs.Service(
            self.name,
            name="serve",
            cluster=cluster.arn,
            task_definition=self._task().arn,
            desired_count=settings.endpoint_min,
            capacity_provider_strategies=[{"capacity_provider": machines.provider.name, "weight": 1, "base": 0}],
            network_configuration={"subnets": self.args.private_subnet_ids, "security_groups": [balancer.task_group.id]},
            load_balancers=[{"target_group_arn": balancer.target.arn, "container_name": "serve", "container_port": PORT}],
            health_check_grace_period_seconds=LOAD_SECONDS,
            deployment_circuit_breaker={"enable": True, "rollback": True},
            # Where there are spare machines the new task starts first; a stack of one machine has to stop the old one.
            deployment_minimum_healthy_percent=100 if settings.endpoint_max > settings.endpoint_min > 0 else 0,
            deployment_maximum_percent=200,
            propagate_tags="SERVICE",
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[machines.attached, *balancer.listeners], ignore_changes=["desiredCount"]
            ),
        )
        self.cluster_name = cluster.name

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
