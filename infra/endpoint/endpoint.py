"""Where the weights are served: a TLS load balancer in front of GPU machines that ECS fills with one task each.

The pointer in SSM says which version of the weights store a task fetches when it starts. Move it, deploy the service
anew: one machine after another is replaced, and all goes back by itself when the new ones do not get healthy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from configuration.endpoint_settings import EndpointSettings
from configuration.settings import Settings
from endpoint.balancer import Balancer, BalancerArgs
from endpoint.cdn import Cdn, CdnArgs
from endpoint.firewall import Firewall, FirewallArgs
from endpoint.keys import Keys, KeysArgs, reading
from endpoint.machines import Machines, MachinesArgs
from endpoint.private_link import PrivateLink, PrivateLinkArgs
from endpoint.scaling import Scaling, ScalingArgs
from endpoint.task import HOST_PATH, LOAD_SECONDS, PORT, TaskNames, containers
from identity.documents import Document, as_json, assume_role, document, releasing, serving, starting

#: Images that a rollback may want; what was never tagged goes after a week.
KEPT_IMAGES = {
    "rules": [
        {
            "rulePriority": 1,
            "description": "untagged",
            "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7},
            "action": {"type": "expire"},
        },
        {
            "rulePriority": 2,
            "description": "all but the last fifty",
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 50},
            "action": {"type": "expire"},
        },
    ]
}


@dataclass(frozen=True, kw_only=True)
class EndpointArgs:
    """What the endpoint stands on."""

    settings: Settings
    endpoint: EndpointSettings
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
        url: the endpoint for clients; DNS must point `domain` to `cloud_front_dns`, or where that is empty to
            `load_balancer_dns`.
        private_link_name: service that others' interface endpoints name; empty without PrivateLink.
        pointer_name: SSM parameter with the version that is served.
        keys: where the callers' keys lie.
        cluster_name, service_name: what a deployment restarts.
        balancer_suffix, target_suffix: how CloudWatch names the load balancer and its targets.
        release_policy_arn: for whoever deploys.
    """

    def __init__(self, name: str, args: EndpointArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Endpoint", name, None, opts)
        self.name, self.args, self.settings = name, args, args.settings
        self.child = pulumi.ResourceOptions(parent=self)
        self.kept = pulumi.ResourceOptions(parent=self, protect=self.settings.protect, retain_on_delete=self.settings.protect)
        self._state()
        # One machine more than tasks, so that a deployment has room at full load; a stack of one replaces it in place.
        self.rolling = self.settings.endpoint_max > self.settings.endpoint_min > 0
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
        self.balancer_suffix, self.target_suffix = balancer.balancer.arn_suffix, balancer.target.arn_suffix
        self._service(balancer)
        self._doors(balancer)
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
        aws.ecr.LifecyclePolicy(self.name, repository=self.repository.name, policy=json.dumps(KEPT_IMAGES), opts=self.child)
        self.pointer = aws.ssm.Parameter(
            self.name,
            name=f"/tenet/{settings.stack}/weights",
            description="Version of the weights store that the endpoint serves; moved by whoever deploys",
            type="String",
            value="none",
            # The value belongs to deployments, not to this program.
            opts=pulumi.ResourceOptions.merge(self.kept, pulumi.ResourceOptions(ignore_changes=["value"])),
        )
        self.keys = Keys(self.name, KeysArgs(settings=settings, endpoint=self.args.endpoint, kms_key_arn=key), self.child)
        self.log = aws.cloudwatch.LogGroup(
            self.name, name=f"/tenet/{settings.stack}/serve", retention_in_days=settings.log_days, kms_key_id=key, opts=self.child
        )
        self.repository_url, self.pointer_name = self.repository.repository_url, self.pointer.name

    def _service(self, balancer: Balancer) -> None:
        settings = self.settings
        cluster = aws.ecs.Cluster(
            self.name, name=settings.prefix, settings=[{"name": "containerInsights", "value": "enabled"}], opts=self.child
        )
        machines = Machines(
            self.name,
            MachinesArgs(
                settings=settings,
                most=settings.endpoint_max + self.rolling,
                subnet_ids=self.args.private_subnet_ids,
                security_group_id=balancer.task_group.id,
                cluster=cluster,
            ),
            self.child,
        )
        service = aws.ecs.Service(
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
            deployment_minimum_healthy_percent=100 if self.rolling else 0,
            deployment_maximum_percent=200,
            # A zone that fails takes as few replicas with it as can be.
            ordered_placement_strategies=[{"type": "spread", "field": "attribute:ecs.availability-zone"}],
            propagate_tags="SERVICE",
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[machines.attached, *balancer.listeners], ignore_changes=["desiredCount"]
            ),
        )
        self.cluster_name, self.service_name = cluster.name, service.name
        arns = (self.args.weights.arn, self.pointer.arn, self.args.kms_key_arn, service.id)
        release = pulumi.Output.all(*arns).apply(lambda a: as_json(releasing(*a)))
        policy = aws.iam.Policy(
            f"{self.name}-release", description="Deploy and roll back weights", policy=release, opts=self.child
        )
        self.release_policy_arn = policy.arn
        Scaling(
            self.name,
            ScalingArgs(
                settings=settings,
                endpoint=self.args.endpoint,
                cluster_name=cluster.name,
                service_name=service.name,
                log_group_name=self.log.name,
                balancer_suffix=self.balancer_suffix,
            ),
            self.child,
        )

    def _doors(self, balancer: Balancer) -> None:
        """The firewall, and the ways in beside the balancer's own address."""
        args, settings = self.args, self.settings
        firewall = FirewallArgs(
            settings=settings, endpoint=args.endpoint, balancer_arn=balancer.balancer.arn, kms_key_arn=args.kms_key_arn
        )
        Firewall(self.name, firewall, self.child)
        self.private_link_name = pulumi.Output.from_input("")
        if args.endpoint.private_link:
            link = PrivateLinkArgs(
                settings=settings,
                vpc_id=args.vpc_id,
                subnet_ids=args.private_subnet_ids,
                balancer=balancer.balancer,
                balancer_group_id=balancer.group.id,
                listeners=balancer.listeners,
                principals=args.endpoint.private_link,
            )
            self.private_link_name = PrivateLink(self.name, link, self.child).service_name
        self.load_balancer_dns, self.cloud_front_dns = balancer.balancer.dns_name, pulumi.Output.from_input("")
        if args.endpoint.cloud_front_certificate:
            cdn = CdnArgs(
                settings=settings,
                balancer=balancer.balancer,
                balancer_group_id=balancer.group.id,
                certificate_arn=args.endpoint.cloud_front_certificate,
            )
            self.cloud_front_dns = Cdn(self.name, cdn, self.child).dns_name

    def _task(self) -> aws.ecs.TaskDefinition:
        args, settings = self.args, self.settings
        run, start = (
            aws.iam.Role(f"{self.name}-{kind}", assume_role_policy=self._account_role(), description=text, opts=self.child)
            for kind, text in (("task", "What the serving program may do"), ("start", "What starting it needs"))
        )
        may_run = pulumi.Output.all(args.weights.arn, args.kms_key_arn, self.keys.table_arn).apply(
            lambda a: as_json(document(*serving(a[0], a[1])["Statement"], *reading(a[2])))
        )
        aws.iam.RolePolicy(f"{self.name}-task", role=run.id, policy=may_run, opts=self.child)
        needs = pulumi.Output.all(self.repository.arn, self.log.arn, self.pointer.arn, self.keys.secret_arn, args.kms_key_arn)
        aws.iam.RolePolicy(
            f"{self.name}-start", role=start.id, policy=needs.apply(lambda a: as_json(_needed(starting(*a)))), opts=self.child
        )
        image = pulumi.Output.concat(self.repository_url, ":", settings.image_tag)
        names = pulumi.Output.all(
            image, args.weights.bucket, self.pointer.arn, self.keys.secret_arn, self.keys.table_name, self.log.name
        )
        return aws.ecs.TaskDefinition(
            self.name,
            family=f"{settings.prefix}-serve",
            network_mode="awsvpc",
            requires_compatibilities=["EC2"],
            task_role_arn=run.arn,
            execution_role_arn=start.arn,
            volumes=[{"name": "weights", "host_path": HOST_PATH}],
            container_definitions=names.apply(self._containers),
            opts=self.child,
        )

    def _account_role(self) -> str:
        return as_json(assume_role("ecs-tasks.amazonaws.com"))

    def _containers(self, values: list[str]) -> str:
        image, bucket, pointer, keys, table, log = values
        settings = self.settings
        names = TaskNames(
            image=image,
            bucket=bucket,
            pointer=pointer,
            keys=keys,
            table=table,
            log_group=log,
            region=settings.region,
            gpus=settings.instance.count,
            memory_gib=settings.instance.memory_gib,
        )
        return json.dumps(containers(names))


def _needed(policy: Document) -> Document:
    """Without what speaks of the secret where the keys lie in a table: it is about no resource then."""
    return document(*(statement for statement in policy["Statement"] if statement["Resource"] != [""]))
