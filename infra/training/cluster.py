"""The training cluster: a Kubernetes control plane that only the network reaches, a few machines for its own pods, GPU
nodes."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from configuration.settings import Settings
from configuration.training_settings import SYSTEM_NODES, TrainingSettings
from identity.documents import as_json, assume_role, pod_role
from training.nodes import Nodes, NodesArgs, base

#: Everything that the control plane can log.
LOGS = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
#: Before any node: pods have no network and no identity without them.
FIRST = ("vpc-cni", "kube-proxy", "eks-pod-identity-agent")
#: Once there are nodes to run on. The monitoring agent sees what node repair acts on.
LATER = ("coredns", "eks-node-monitoring-agent", "aws-fsx-csi-driver")
#: Add-ons that call AWS -> their service account, and the policy of Amazon's that it needs.
IDENTITIES = {
    "vpc-cni": ("aws-node", "AmazonEKS_CNI_Policy"),
    "aws-fsx-csi-driver": ("fsx-csi-controller-sa", "AmazonFSxReadOnlyAccess"),
}
#: Few addresses held ready: the subnet is sized for nodes' cards and a handful of pods each (instances.POD_ADDRESSES).
CNI = {"env": {"MINIMUM_IP_TARGET": "6", "WARM_IP_TARGET": "2"}}
NODE_POLICIES = ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonSSMManagedInstanceCore")


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """Where the cluster stands and what its nodes and pods may do."""

    settings: TrainingSettings
    private_subnet_ids: list[pulumi.Output[str]]
    gpu_subnet_id: pulumi.Input[str]
    node_group_id: pulumi.Input[str]
    pod_role_arn: pulumi.Input[str]
    kms_key_arn: pulumi.Input[str]


class Cluster(pulumi.ComponentResource):
    """EKS, its add-ons and access, a system node group and one GPU node group for each reservation.

    Attributes:
        name_output: of the cluster, for `aws eks update-kubeconfig --alias`.
    """

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Cluster", name, None, opts)
        self.name, self.args, self.settings = name, args, args.settings
        self.stack: Settings = args.settings.stack
        self.child = pulumi.ResourceOptions(parent=self)
        self.cluster = self._control_plane()
        self.name_output = self.cluster.name
        self._access()
        groups = self._groups()
        role = aws.iam.Role(f"{name}-node", assume_role_policy=as_json(assume_role("ec2.amazonaws.com")), opts=self.child)
        # Nodes join, pull images and answer SSM; no data, pods have roles of their own. Without the policies they do
        # not get ready.
        ready: list[pulumi.Resource] = [self._attach(f"{name}-node-{policy}", role, policy) for policy in NODE_POLICIES]
        ready += [self._addon(addon, []) for addon in FIRST]
        system = self._system(role, ready)
        for addon in LATER:
            self._addon(addon, [system])
        for reservation in self.settings.reservations:
            nodes = NodesArgs(
                settings=self.stack,
                cluster=self.cluster,
                role_arn=role.arn,
                subnet_id=args.gpu_subnet_id,
                security_group_ids=groups,
                ready=ready,
            )
            Nodes(f"{name}-{reservation.name}", reservation, nodes, self.child)
        self.register_outputs({"name": self.name_output})

    def _control_plane(self) -> aws.eks.Cluster:
        settings, stack = self.settings, self.stack
        log = aws.cloudwatch.LogGroup(
            self.name,
            name=f"/aws/eks/{stack.prefix}/cluster",  # where EKS writes; made here, it has a retention and our key
            retention_in_days=stack.log_days,
            kms_key_id=self.args.kms_key_arn,
            opts=self.child,
        )
        role = aws.iam.Role(self.name, assume_role_policy=as_json(assume_role("eks.amazonaws.com")), opts=self.child)
        policy = self._attach(f"{self.name}-control-plane", role, "AmazonEKSClusterPolicy")
        return aws.eks.Cluster(
            self.name,
            name=stack.prefix,
            role_arn=role.arn,
            version=settings.kubernetes_version,
            vpc_config={
                "subnet_ids": self.args.private_subnet_ids,
                "endpoint_private_access": True,
                "endpoint_public_access": bool(settings.cluster_cidrs),
                **({"public_access_cidrs": list(settings.cluster_cidrs)} if settings.cluster_cidrs else {}),
            },
            # Access is what is declared here: whoever ran the first update is no administrator for ever.
            access_config={"authentication_mode": "API", "bootstrap_cluster_creator_admin_permissions": False},
            bootstrap_self_managed_addons=False,  # they are add-ons, below
            encryption_config={"provider": {"key_arn": self.args.kms_key_arn}, "resources": ["secrets"]},
            enabled_cluster_log_types=LOGS,
            upgrade_policy={"support_type": "STANDARD"},  # the extended one costs six times as much
            deletion_protection=stack.protect,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[log, policy],
                protect=stack.protect,
                retain_on_delete=stack.protect,
                # The first is read when a cluster is made and would replace it later; the second is an operator's in an
                # emergency.
                ignore_changes=["accessConfig.bootstrapClusterCreatorAdminPermissions", "upgradePolicy"],
            ),
        )

    def _attach(self, label: str, role: aws.iam.Role, policy: str) -> aws.iam.RolePolicyAttachment:
        arn = f"arn:aws:iam::aws:policy/{policy}"
        return aws.iam.RolePolicyAttachment(label, role=role.name, policy_arn=arn, opts=self.child)

    def _access(self) -> None:
        """Administrators by name, and the role that training pods get in place of their node's. Nodes are let in by EKS
        itself."""
        for arn in self.settings.cluster_admins:
            label = f"{self.name}-{arn.split('/')[-1]}"
            entry = aws.eks.AccessEntry(label, cluster_name=self.cluster.name, principal_arn=arn, opts=self.child)
            aws.eks.AccessPolicyAssociation(
                label,
                cluster_name=self.cluster.name,
                principal_arn=arn,
                policy_arn="arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
                access_scope={"type": "cluster"},
                opts=pulumi.ResourceOptions(parent=self, depends_on=[entry]),
            )
        aws.eks.PodIdentityAssociation(
            f"{self.name}-training",
            cluster_name=self.cluster.name,
            namespace="tenet",
            service_account="training",
            role_arn=self.args.pod_role_arn,
            opts=self.child,
        )

    def _groups(self) -> list[pulumi.Input[str]]:
        """The cluster's own group, which reaches the control plane, and that of training machines. A template with
        network cards replaces what EKS would attach, so both are named."""
        return [self.cluster.vpc_config.cluster_security_group_id, self.args.node_group_id]

    def _addon(self, addon: str, after: list[pulumi.Resource]) -> aws.eks.Addon:
        account, policy = IDENTITIES.get(addon, ("", ""))
        identity = []
        if policy:
            role = aws.iam.Role(f"{self.name}-{addon}", assume_role_policy=as_json(pod_role()), opts=self.child)
            self._attach(f"{self.name}-{addon}", role, policy)
            identity = [{"role_arn": role.arn, "service_account": account}]
        return aws.eks.Addon(
            f"{self.name}-{addon}",
            cluster_name=self.cluster.name,
            addon_name=addon,
            configuration_values=json.dumps(CNI) if addon == "vpc-cni" else None,
            pod_identity_associations=identity or None,
            resolve_conflicts_on_update="OVERWRITE",
            opts=pulumi.ResourceOptions(parent=self, depends_on=after),
        )

    def _system(self, role: aws.iam.Role, ready: list[pulumi.Resource]) -> aws.eks.NodeGroup:
        """Small machines for DNS and controllers: GPU nodes take no pod without a GPU, and may all be gone. EKS gives
        them the cluster's security group, as the template names none."""
        label, least = f"{self.name}-system", 2 if self.stack.protect else 1
        template = aws.ec2.LaunchTemplate(
            label,
            instance_type="m7i.large",
            **base(self.stack, f"{self.stack.prefix}-system"),
            opts=self.child,
        )
        return aws.eks.NodeGroup(
            label,
            cluster_name=self.cluster.name,
            node_group_name="system",
            node_role_arn=role.arn,
            subnet_ids=self.args.private_subnet_ids,
            ami_type="AL2023_x86_64_STANDARD",
            capacity_type="ON_DEMAND",
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            scaling_config={"min_size": least, "max_size": SYSTEM_NODES, "desired_size": least},
            update_config={"max_unavailable": 1},
            node_repair_config={"enabled": True},
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=ready, ignore_changes=["scalingConfig.desiredSize"], delete_before_replace=True
            ),
        )
