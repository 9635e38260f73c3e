"""From the stack to a launch: SkyPilot's configuration, written from what `pulumi stack output --json` says.

    pulumi stack output --json | tenet sky config > .sky.yaml
    pulumi stack output --json | tenet sky objects | kubectl apply -f -      # once, where the stack has a cluster

SkyPilot reads `.sky.yaml` in the folder it is started in. After that `sky launch sky/pretrain.yaml` stands in the
stack's network, on the stack's reservations, with the stack's identity, and can do no more than that identity may.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import yaml

from tenet.errors import ConfigError
from tenet.launch import kubernetes

HEADER = "# Written by `tenet sky config` from the outputs of the Pulumi stack; write it anew after each `pulumi up`.\n"
#: Outputs that must be there, with their type; infra/outputs.py exports them.
NEEDED: dict[str, type] = {
    "vpc_name": str,
    "gpu_subnet_names": list,
    "private_subnet_names": list,
    "efa_security_group_name": str,
    "node_instance_profile_name": str,
    "controller_instance_profile_name": str,
    "capacity_reservation_ids": list,
    "eks_cluster_name": str,
    "fsx_file_system_id": str,
    "fsx_dns_name": str,
    "fsx_mount_name": str,
    "checkpoints_bucket": str,
    "labels": dict,
}
#: May be empty: a stack without a reservation, a cluster or Lustre.
OPTIONAL = ("capacity_reservation_ids", "eks_cluster_name", "fsx_file_system_id", "fsx_dns_name", "fsx_mount_name")


def config_text(outputs: str) -> str:
    """SkyPilot's configuration as YAML, checked against SkyPilot's own schema.

    Args:
        outputs: JSON of the stack's outputs.

    Raises:
        ConfigError: an output is missing or not what it should be, or SkyPilot would not accept the result.
    """
    found = config(read(outputs))
    check(found)
    return HEADER + yaml.safe_dump(found, sort_keys=False)


def objects_text(outputs: str) -> str:
    """What the stack's Kubernetes cluster must hold before a launch, as YAML for `kubectl apply -f -`.

    Args:
        outputs: JSON of the stack's outputs.

    Raises:
        ConfigError: an output is missing or not what it should be, or the stack has no cluster.
    """
    return kubernetes.objects_text(read(outputs))


def config(outputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs of the stack as SkyPilot's configuration."""
    aws = {
        "vpc_names": [outputs["vpc_name"]],
        # The GPU subnet first; the others let machines without reservation stand in other zones.
        "subnet_names": [*outputs["gpu_subnet_names"], *outputs["private_subnet_names"]],
        "security_group_name": outputs["efa_security_group_name"],
        # Machines with several network cards cannot have a public address; shells go through SSM.
        "use_internal_ips": True,
        "use_ssm": True,
        # Without it SkyPilot copies the caller's own credentials to every machine. Controllers launch machines, others
        # do not.
        "remote_identity": [
            {"sky-*-controller-*": outputs["controller_instance_profile_name"]},
            {"*": outputs["node_instance_profile_name"]},
        ],
        "disk_encrypted": True,
        # Whoever launches may only launch what carries them (infra/identity/launching.py).
        "labels": outputs["labels"],
        "enforce_tags": ["instance", "volume"],
    }
    if outputs["capacity_reservation_ids"]:
        aws |= {"specific_reservations": outputs["capacity_reservation_ids"], "prioritize_reservations": True}
    found: dict[str, Any] = {"aws": aws, "jobs": {"bucket": f"s3://{outputs['checkpoints_bucket']}/sky"}}
    if outputs["eks_cluster_name"]:
        found["kubernetes"] = kubernetes.pods(outputs)
    return found


def check(found: dict[str, Any]) -> None:
    """Compare with SkyPilot's schema, which names a wrong key and the nearest right one.

    Raises:
        ConfigError: SkyPilot is not installed, or refuses it.
    """
    try:
        from sky.utils import common_utils, schemas
    except ImportError:
        raise ConfigError(
            "SkyPilot is not installed, so its configuration cannot be checked; "
            "`pip install -c constraints.txt -e '.[cloud]'` installs it"
        ) from None
    try:
        with tracebacks_kept():
            common_utils.validate_schema(found, schemas.get_config_schema(), "SkyPilot refuses the configuration: ")
    except ValueError as error:
        raise ConfigError(str(error)) from None


@contextlib.contextmanager
def tracebacks_kept() -> Iterator[None]:
    """SkyPilot turns tracebacks off for its own errors and leaves them off when one is raised: everything after would
    have none."""
    before = getattr(sys, "tracebacklimit", None)
    try:
        yield
    finally:
        if before is not None:
            sys.tracebacklimit = before
        elif hasattr(sys, "tracebacklimit"):
            del sys.tracebacklimit


def read(text: str) -> dict[str, Any]:
    """The stack's outputs, with all that is needed of them.

    Raises:
        ConfigError: no JSON, or an output is missing or not what it should be.
    """
    how = "pipe `pulumi stack output --json` into it"
    try:
        outputs = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"standard input is not the stack's outputs ({error}); {how}") from None
    if not isinstance(outputs, dict):
        raise ConfigError(f"standard input is a {type(outputs).__name__}, not the stack's outputs; {how}")
    for key, kind in NEEDED.items():
        if key not in outputs:
            raise ConfigError(f"the stack has no output {key}; is it this repository's, and is `pulumi up` done?")
        value = outputs[key]
        if not isinstance(value, kind) or (not value and key not in OPTIONAL):
            raise ConfigError(f"the stack's output {key} is {value!r}; a {kind.__name__} that is not empty is needed")
    return outputs
