"""Faults in the program's source, one for each rule of the policy pack: what somebody might write, and what the rule
says of it."""

from __future__ import annotations

from typing import NamedTuple


class Plant(NamedTuple):
    """A fault.

    Args:
        file: of the program, below infra/.
        before: text that stands in it once; after: text in its place.
        says: pattern of each message of the rule.
        count: messages, one for each resource that the fault is in.
    """

    file: str
    before: str
    after: str
    says: str
    count: int


def granting(action: str, where: str) -> str:
    """An argument `policy` that is known in a preview: written out, not made from ARNs."""
    return f"""policy='{{"Statement": [{{"Effect": "Allow", "Action": "{action}", "Resource": "{where}"}}]}}'"""


SPOT = (
    'mixed_instances_policy={"instances_distribution": {"on_demand_percentage_above_base_capacity": 0}, '
    '"launch_template": {"launch_template_specification": {"launch_template_id": template.id}}},'
)
TRUST_ALL = '"""{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}"""'
#: File of rules -> rule -> its fault.
PLANTS: dict[str, dict[str, Plant]] = {
    "cluster": {
        "network_cards": Plant(
            "configuration/instances.py", "0 if card == 0 else 1", "0", r"cluster-\S+: 32 cards, p5.48xlarge needs 32", 3
        ),
        "metadata_needs_a_token": Plant(
            "training/nodes.py",
            '"http_tokens": "required"',
            '"http_tokens": "optional"',
            "httpTokens is not required",
            4,
        ),
        "disks_are_encrypted": Plant(
            "training/nodes.py", '"encrypted": "true"', '"encrypted": "false"', "its disk is not an encrypted gp3", 4
        ),
        "placement_fits_the_reservation": Plant(
            "training/nodes.py",
            'if r.placement_group:\n            found["placement"] = {"group_name": r.placement_group}',
            'if True:\n            found["placement"] = {"group_name": r.placement_group or "forced"}',
            "a capacity block must not have a placement group",
            2,
        ),
        "markets_agree": Plant(
            "training/nodes.py",
            '"CAPACITY_BLOCK"',
            '"ON_DEMAND"',
            "cluster-block-.: capacity type ON_DEMAND does not fit",
            2,
        ),
        "control_plane_is_closed": Plant(
            "training/cluster.py",
            '"endpoint_private_access": True',
            '"endpoint_private_access": False',
            "no private endpoint",
            1,
        ),
        "node_groups": Plant(
            "training/nodes.py",
            'node_repair_config={"enabled": True}',
            'node_repair_config={"enabled": False}',
            "broken nodes are not replaced",
            3,
        ),
        "tags_reach_machines": Plant(
            "training/nodes.py",
            '{**settings.tags, "Name": name}',
            '{"Name": name}',
            "s have no tag cost-center, owner",
            8,
        ),
        "nodes_are_sizes": Plant(
            "__main__.py",
            "export_training(training",
            'aws.ec2.Instance("planted", ami="ami-1", instance_type="m7i.large")\nexport_training(training',
            "planted: a single machine",
            1,
        ),
    },
    "endpoint": {
        "balancers_speak_tls": Plant(
            "endpoint/balancer.py",
            "ELBSecurityPolicy-TLS13-1-2-2021-06",
            "ELBSecurityPolicy-2016-08",
            "is ELBSecurityPolicy-2016-08",
            1,
        ),
        "balancers_let_streams_run": Plant(
            "endpoint/balancer.py",
            "drop_invalid_header_fields=True",
            "drop_invalid_header_fields=False",
            "dropInvalidHeaderFields",
            1,
        ),
        "balancers_are_guarded": Plant(
            "endpoint/balancer.py",
            "enable_deletion_protection=settings.protect",
            "enable_deletion_protection=False",
            "enableDeletionProtection is not true",
            1,
        ),
        "firewall_spares_prompts": Plant(
            "endpoint/firewall.py", '"authorization"', '"cookie"', "writes API keys into the log", 1
        ),
        "services_go_back_by_themselves": Plant(
            "endpoint/endpoint.py", '"rollback": True', '"rollback": False', "must enable rollback", 1
        ),
        "services_follow_their_load": Plant(
            "endpoint/scaling.py",
            "max_capacity=self.settings.endpoint_max",
            "max_capacity=5000",
            "maxCapacity is 5000;",
            1,
        ),
        "serving_machines_are_not_taken_away": Plant(
            "endpoint/machines.py",
            "protect_from_scale_in=True",
            "protect_from_scale_in=False",
            "protectFromScaleIn must",
            1,
        ),
        "production_does_not_serve_on_spot": Plant(
            "endpoint/machines.py",
            'launch_template={"id": template.id, "version": "$Latest"},',
            SPOT,
            "is below 100",
            1,
        ),
        "images_do_not_change": Plant(
            "endpoint/endpoint.py", '"IMMUTABLE"', '"MUTABLE"', "imageTagMutability must be IMMUTABLE", 1
        ),
        "tables_can_be_restored": Plant(
            "endpoint/keys.py",
            'recovery={"enabled": True}',
            'recovery={"enabled": False}',
            "pointInTimeRecovery must",
            1,
        ),
        "private_link_is_by_name": Plant(
            "endpoint/private_link.py",
            "acceptance_required=True",
            "acceptance_required=False",
            "acceptanceRequired must",
            1,
        ),
    },
    "identity": {
        "rights_are_narrow": Plant(
            "ground/network.py",
            "policy=group.arn.apply(lambda arn: as_json(write_logs(arn)))",
            granting("ec2:TerminateInstances", "*"),
            "ec2:TerminateInstances on every resource",
            1,
        ),
        "no_broad_managed_policies": Plant(
            "endpoint/machines.py",
            "AmazonSSMManagedInstanceCore",
            "AmazonSSMFullAccess",
            "policy/AmazonSSMFullAccess; write a policy",
            1,
        ),
        "nobody_is_everyone": Plant(
            "ground/network.py",
            'as_json(assume_role("vpc-flow-logs.amazonaws.com"))',
            TRUST_ALL,
            "iam/role:Role 'network-flow' allows sts:AssumeRole to everybody",
            1,
        ),
        "serving_only_reads": Plant(
            "endpoint/endpoint.py",
            "policy=may_run",
            granting("s3:PutObject", "arn:aws:s3:::mine/store/*"),
            "'endpoint-task' lets a serving task do s3:PutObject",
            1,
        ),
        "training_cannot_touch_what_is_served": Plant(
            "identity/roles.py",
            "policy=arns.apply(lambda a: as_json(training(*a)))",
            granting("s3:GetObject", "arn:aws:s3:::weights/store/*"),
            "lets a training machine do s3:GetObject on arn:aws:s3:::weights/store",
            2,
        ),
        "bedrock_acts_for_this_account_only": Plant(
            "identity/bedrock_import.py",
            '"StringEquals": {"aws:SourceAccount": account},',
            "",
            "trusts Bedrock without aws:SourceAccount",
            1,
        ),
    },
    "network": {
        "names_resolve": Plant(
            "ground/network.py",
            "enable_dns_hostnames=True",
            "enable_dns_hostnames=False",
            "network: enableDnsHostnames is not true",
            1,
        ),
        "default_group_is_closed": Plant(
            "ground/network.py",
            "ingress=[], egress=[]",
            'ingress=[{"protocol": "-1", "from_port": 0, "to_port": 0, "self": True}], egress=[]',
            "the default security group has rules",
            1,
        ),
        "traffic_is_recorded": Plant(
            "ground/network.py", 'traffic_type="ALL"', 'traffic_type="REJECT"', "does not record all traffic", 1
        ),
        "no_public_addresses": Plant(
            "ground/network.py",
            "map_public_ip_on_launch=False",
            'map_public_ip_on_launch=kind == "gpu"',
            "network-gpu-\\S+: gives public",
            1,
        ),
        "subnets_fit": Plant(
            "ground/network.py",
            "cidr_block=cidr,",
            'cidr_block="10.30.0.0/24" if (kind, zone[-1]) == ("public", "c") else cidr,',
            "network-public-us-east-1c: 10.30.0.0/24 lies outside",
            1,
        ),
        "two_zones": Plant(
            "ground/network.py",
            "availability_zone=zone,",
            'availability_zone=settings.zones[0] if kind == "private" else zone,',
            "private subnets stand in 1 zones",
            1,
        ),
        "gpu_subnet_has_room": Plant(
            "ground/network.py",
            "args.gpu_zone, args.gpu_cidr)",
            'args.gpu_zone, "10.20.128.0/24")',
            "251 addresses, the node groups can need 4096",
            1,
        ),
        "s3_stays_inside": Plant(
            "ground/network.py",
            "route_table_ids=route_tables",
            "route_table_ids=route_tables[:1]",
            "network-s3: serves 1 of 3",
            1,
        ),
        "services_stay_inside": Plant("ground/network.py", '    "sts",\n', "", "no interface endpoint for sts", 1),
        "training_group_talks_to_itself": Plant(
            "ground/network.py",
            'aws.vpc.SecurityGroupEgressRule(f"{label}-among", **itself, opts=child)',
            "pass",
            "network-nodes: does not allow all traffic to itself",
            1,
        ),
        "doors_are_closed": Plant(
            "ground/network.py",
            "cidr_ipv4=settings.cidr",
            'cidr_ipv4="0.0.0.0/0"',
            "network-endpoints: open to the world",
            1,
        ),
        "names_are_fixed": Plant("ground/network.py", 'tags={"Name": self.vpc_name}', "tags={}", "network: has no fixed name", 1),
    },
    "storage": {
        "buckets_are_private": Plant(
            "ground/storage.py",
            "block_public_acls=True",
            'block_public_acls=kind != "reports"',
            "storage-reports: blockPublicAcls",
            1,
        ),
        "buckets_are_encrypted": Plant(
            "ground/storage.py",
            '"bucket_key_enabled": kind != "logs"',
            '"bucket_key_enabled": kind not in ("logs", "reports")',
            "storage-reports: not encrypted",
            1,
        ),
        "buckets_keep_versions": Plant(
            "ground/storage.py",
            '{"status": "Enabled"},\n            opts=child',
            '{"status": "Enabled" if kind != "reports" else "Suspended"},\n            opts=child',
            "storage-reports: versioning is not on",
            1,
        ),
        "buckets_refuse_plain_http": Plant(
            "ground/storage.py",
            "policy=policy, opts=waits",
            'policy=policy if kind != "reports" else as_json({"Statement": []}), opts=waits',
            "storage-reports: its policy does not deny requests without TLS",
            1,
        ),
        "nothing_current_expires": Plant(
            "ground/storage.py",
            "Kind(old_days=7, tier=True)",
            "Kind(old_days=1, tier=True)",
            "storage-checkpoints: old versions must",
            1,
        ),
        "key_is_ours": Plant(
            "watching/watch.py",
            "deletion_window_in_days=30",
            "deletion_window_in_days=7",
            "watch: its deletion window is not 30 days",
            1,
        ),
        "lustre_is_whole": Plant(
            "training/lustre.py",
            'log_configuration={"destination": log.arn, "level": "WARN_ERROR"},',
            "",
            "lustre: does not log",
            1,
        ),
        "lustre_stands_beside_gpus": Plant(
            "__main__.py",
            " subnet_id=network.gpu_subnet_id",
            " subnet_id=network.private_subnet_ids[0]",
            r"cluster-\S+: not in the subnet of lustre",
            3,
        ),
        "state_is_kept_in_prod": Plant(
            "training/lustre.py",
            "retain_on_delete=kept",
            "retain_on_delete=False",
            "lustre: protect is True, retain is False",
            1,
        ),
    },
    "watch": {
        "costs_are_watched": Plant(
            "watching/watch.py", ', (100, "FORECASTED"))', ")", "no budget tells anybody of forecasted cost", 1
        ),
        "alarms_watch_what_serves": Plant(
            "watching/alarms.py",
            '"metric_name": "HealthyHostCount"',
            '"metric_name": "UnHealthyHostCount"',
            "no replica that answers",
            1,
        ),
        "alarms_reach_somebody": Plant(
            "watching/watch.py", "kms_master_key_id=key.id, ", "", "sns/topic:Topic 'watch' is not encrypted", 1
        ),
        "everything_is_tagged": Plant(
            "endpoint/machines.py",
            'tags = {**settings.tags, "Name"',
            'tags = {"Name"',
            "'endpoint' gives its (instance|volume)s no cost-center, owner, project, stack",
            2,
        ),
        "endpoint_state_is_kept": Plant(
            "endpoint/endpoint.py",
            'ResourceOptions.merge(self.kept, pulumi.ResourceOptions(ignore_changes=["value"]))',
            'ResourceOptions(parent=self, protect=True, ignore_changes=["value"])',
            "ssm/parameter:Parameter 'endpoint' is not retained",
            1,
        ),
        "secrets_are_references": Plant(
            "endpoint/endpoint.py",
            "        self.pointer = aws",
            '        aws.ssm.Parameter("planted", name="/x/db-password", type="String", value="x", opts=self.kept)\n        self.pointer = aws',
            "'planted' holds a secret in plain",
            1,
        ),
        "names_fit": Plant(
            "endpoint/balancer.py",
            "name=self.settings.prefix,\n            port",
            'name=self.settings.prefix + "x" * 30,\n            port',
            "has 40 characters; AWS takes 32",
            1,
        ),
        "only_the_right_account": Plant(
            "__main__.py",
            "export_training(training",
            'aws.Provider("elsewhere", region="eu-west-1", default_tags={"tags": settings.tags})\nexport_training(training',
            "provider 'elsewhere' works in any account",
            1,
        ),
    },
}
