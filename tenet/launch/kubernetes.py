"""The stack's Kubernetes cluster as SkyPilot finds it: where pods stand, as whom, with which disk, and how much of a
machine they ask for.

    pulumi stack output --json | tenet sky config > .sky.yaml              # what `pods` says is its part `kubernetes`
    pulumi stack output --json | tenet sky objects | kubectl apply -f -    # once: what those pods need to be there

Left alone, SkyPilot puts pods into `default` under an account of its own making, which no role of AWS hangs on. Here
they get the account that the stack links to the training role. SkyPilot then makes no account and no rights, so what it
would have made is written here, but for its rights to everything: only what it calls.
"""

from __future__ import annotations

import math
from typing import Any

import yaml

from tenet.errors import ConfigError
from tenet.hardware import INSTANCES, Instance
from tenet.launch.catalog import accelerator

#: The account that infra/training/cluster.py links to the training role.
NAMESPACE, ACCOUNT = "tenet", "training"
#: Where SkyPilot keeps its helper that mounts buckets; it makes the namespace only for accounts of its own.
SYSTEM = "skypilot-system"
#: Name of Lustre's volume and claim, and where pods find it; what sky/setup.sh mounts on machines of EC2 is at the same
#: place.
LUSTRE, MOUNT = "lustre", "/fsx"
#: The least that FSx sells. Nothing compares it with the file system: a static volume is bound by its name.
LUSTRE_SIZE = "1200Gi"
READ = ["get", "list", "watch"]
WRITE = [*READ, "create", "update", "patch", "delete", "deletecollection"]
OBJECTS_HEADER = "# Written by `tenet sky objects` from the outputs of the Pulumi stack, for `kubectl apply -f -`.\n"


def pods(outputs: dict[str, Any]) -> dict[str, Any]:
    """SkyPilot's configuration `kubernetes` for the stack's cluster."""
    found: dict[str, Any] = {
        # The context's name when it was made by `aws eks update-kubeconfig --alias NAME`.
        "allowed_contexts": [outputs["eks_cluster_name"]],
        "namespace": NAMESPACE,
        "remote_identity": ACCOUNT,
        # Ports of a task are open to the cluster's pods. SkyPilot's default is a public load balancer for each.
        "ports": "podip",
    }
    if outputs["fsx_file_system_id"]:
        found["pod_config"] = {
            "spec": {
                "volumes": [{"name": LUSTRE, "persistentVolumeClaim": {"claimName": LUSTRE}}],
                "containers": [{"volumeMounts": [{"name": LUSTRE, "mountPath": MOUNT}]}],
            }
        }
    return found


def objects_text(outputs: dict[str, Any]) -> str:
    """See `objects`; as YAML for `kubectl apply -f -`.

    Raises:
        ConfigError: the stack has no cluster.
    """
    return OBJECTS_HEADER + yaml.safe_dump_all(objects(outputs), sort_keys=False)


def objects(outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """What the cluster must hold before pods are launched: namespaces, account, rights, and Lustre where the stack has
    it.

    Raises:
        ConfigError: the stack has no cluster.
    """
    if not outputs["eks_cluster_name"]:
        raise ConfigError("the stack has no cluster (output eks_cluster_name is empty); tenet:reservations, not [], makes one")
    found = [
        _object("v1", "Namespace", NAMESPACE),
        _object("v1", "Namespace", SYSTEM),
        _object("v1", "ServiceAccount", ACCOUNT, NAMESPACE),
        # A head pod takes its own cluster down after `autostop`; a controller in a pod starts and ends others.
        *_rights(
            NAMESPACE,
            _rule("", WRITE, "pods", "services", "configmaps", "persistentvolumeclaims", "events"),
            _rule("", ["get", "create"], "pods/exec", "pods/portforward", "pods/log"),
            _rule("apps", WRITE, "deployments"),
        ),
        *_rights(SYSTEM, _rule("apps", ["get", "list", "create", "patch"], "daemonsets")),
        # What is free, and where: SkyPilot looks before it asks.
        *_rights(
            "",
            _rule("", READ, "nodes", "namespaces", "pods", "persistentvolumes"),
            _rule("node.k8s.io", READ, "runtimeclasses"),
            _rule("storage.k8s.io", READ, "storageclasses"),
        ),
    ]
    return found + (_lustre(outputs) if outputs["fsx_file_system_id"] else [])


def _object(version: str, kind: str, name: str, namespace: str = "", **more: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


def _rule(group: str, verbs: list[str], *resources: str) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}


def _rights(namespace: str, *rules: dict[str, Any]) -> list[dict[str, Any]]:
    """A role of the account in one namespace, or in all of the cluster, and its binding."""
    kind, name = ("Role", ACCOUNT) if namespace else ("ClusterRole", f"{NAMESPACE}-{ACCOUNT}")
    group = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}
    reference = {"kind": kind, "name": name, "apiGroup": group}
    return [
        _object(f"{group}/v1", kind, name, namespace, rules=list(rules)),
        _object(f"{group}/v1", f"{kind}Binding", name, namespace, subjects=[subject], roleRef=reference),
    ]


def _lustre(outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """The file system as a volume that is there already, and the namespace's claim to it."""
    shared: dict[str, Any] = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    volume = f"{NAMESPACE}-{LUSTRE}"
    driver = {
        "driver": "fsx.csi.aws.com",
        "volumeHandle": outputs["fsx_file_system_id"],
        "volumeAttributes": {"dnsname": outputs["fsx_dns_name"], "mountname": outputs["fsx_mount_name"]},
    }
    held = {"capacity": {"storage": LUSTRE_SIZE}, "persistentVolumeReclaimPolicy": "Retain", "mountOptions": ["noatime", "flock"]}
    asked = {"resources": {"requests": {"storage": LUSTRE_SIZE}}, "volumeName": volume}
    return [
        _object("v1", "PersistentVolume", volume, spec={**shared, **held, "csi": driver}),
        _object("v1", "PersistentVolumeClaim", LUSTRE, NAMESPACE, spec={**shared, **asked}),
    ]


def room(machine: Instance) -> tuple[int, int]:
    """CPUs and memory in GB that a pod may ask of a machine: all but what kubelet, network and device plugins take, and
    the kernel, which never shows a fiftieth of the memory. The same numbers, with a `+`, choose the machine on EC2."""
    cpus = machine.vcpus - max(1, math.ceil(machine.vcpus / 48))
    return cpus, min(machine.memory_gib - 3, int(machine.memory_gib * 0.93))


def machine_of(gpus: str, key: str = "--gpus") -> Instance:
    """The smallest row of tenet/hardware.py with these accelerators, written as SkyPilot does: H100:8.

    Raises:
        ConfigError: no machine has just these.
    """
    name, _, count = gpus.partition(":")
    fitting = [row for row in INSTANCES.values() if accelerator(row) == name and str(row.count) == (count or "1")]
    if not fitting:
        known = ", ".join(dict.fromkeys(f"{accelerator(row)}:{row.count}" for row in INSTANCES.values()))
        raise ConfigError(f"{key} is {gpus!r}; machines of tenet/hardware.py have {known}")
    return min(fitting, key=lambda row: (row.vcpus, row.memory_gib))
