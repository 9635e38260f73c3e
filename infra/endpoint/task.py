"""The serving task as plain data: fetch the version that the pointer names, check nothing is missing, serve it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PORT = 8080
#: Bytes of weights come in before the first answer: minutes for a large model.
LOAD_SECONDS = 900
#: Longer than the longest answer that the server allows (600 s and a grace of 30 s), so that none is cut by a
#: deployment.
DRAIN_SECONDS = 660
#: Seconds between two lines of the server about its load.
METRIC_SECONDS = 15
#: The user of the serving image, no root; its number stands in the Dockerfile too.
USER = 10001
#: Where the instance store is mounted: on the machine, and in both containers.
HOST_PATH, MODEL, KEYS = "/var/lib/tenet", "/weights/model", "/weights/keys.json"
#: AWS's own image of its command line; only fetches.
AWS_CLI = "public.ecr.aws/aws-cli/aws-cli:2.31.0"
#: `none` is the pointer's first value, before anything was deployed.
FETCH = f"""
[ "$VERSION" != none ] || {{ echo "the weights pointer is 'none': run tenet deploy first" >&2; exit 1; }}
rm -rf {MODEL} {KEYS} && mkdir -p {MODEL}
aws s3 sync --only-show-errors "s3://$BUCKET/store/$VERSION" {MODEL}
test -s {MODEL}/manifest.json || {{ echo "store/$VERSION has no manifest.json: it is not complete" >&2; exit 1; }}
"""
#: The server refuses a key file that anybody else can read.
WRITE_KEYS = f"""umask 077 && printf %s "$KEYS" > {KEYS} && chown {USER}:{USER} {KEYS}
"""


@dataclass(frozen=True, kw_only=True)
class TaskNames:
    """What the containers are told; most of it known only after the resources are made.

    Args:
        keys: ARN of the secret with the callers' keys, or empty.
        table: name of the table with the callers' keys, or empty.
    """

    image: str
    bucket: str
    pointer: str
    keys: str
    table: str
    log_group: str
    region: str
    gpus: int
    memory_gib: int


def containers(names: TaskNames) -> list[dict[str, Any]]:
    """Container definitions as ECS takes them."""
    return [_fetch(names), _serve(names)]


def _fetch(names: TaskNames) -> dict[str, Any]:
    secrets = [{"name": "VERSION", "valueFrom": names.pointer}]
    if names.keys:
        secrets.append({"name": "KEYS", "valueFrom": names.keys})
    return {
        "name": "fetch",
        "image": AWS_CLI,
        "essential": False,
        "memory": 1024,
        "entryPoint": ["sh", "-euc"],
        "command": [FETCH + (WRITE_KEYS if names.keys else "")],
        "environment": [{"name": "BUCKET", "value": names.bucket}, {"name": "AWS_REGION", "value": names.region}],
        "secrets": secrets,
        "mountPoints": [{"sourceVolume": "weights", "containerPath": "/weights", "readOnly": False}],
        "logConfiguration": _log(names, "fetch"),
    }


def _serve(names: TaskNames) -> dict[str, Any]:
    credentials = f"dynamodb:{names.table}" if names.table else KEYS
    options = ["--model", MODEL, "--credentials", credentials, "--load_seconds", str(METRIC_SECONDS)]
    # The load balancer ends TLS; nothing else reaches the task.
    options += ["--tls", "proxy"]
    return {
        "name": "serve",
        "image": names.image,
        "essential": True,
        "user": str(USER),
        # MiB; an eighth of the machine stays with the system, the agent and the page cache.
        "memory": names.memory_gib * 1024 * 7 // 8 - 1024,
        # Behind the image's entrypoint, `tenet`.
        "command": ["serve", *options, "--host", "0.0.0.0", "--port", str(PORT)],
        "environment": [{"name": "AWS_REGION", "value": names.region}],
        "dependsOn": [{"containerName": "fetch", "condition": "SUCCESS"}],
        "portMappings": [{"containerPort": PORT, "hostPort": PORT, "protocol": "tcp"}],
        "resourceRequirements": [{"type": "GPU", "value": str(names.gpus)}],
        "mountPoints": [{"sourceVolume": "weights", "containerPath": "/weights", "readOnly": True}],
        "linuxParameters": {"initProcessEnabled": True, "capabilities": {"drop": ["ALL"]}},
        # Longer than the server needs to let running answers end.
        "stopTimeout": 120,
        "logConfiguration": _log(names, "serve"),
    }


def _log(names: TaskNames, stream: str) -> dict[str, Any]:
    options = {"awslogs-group": names.log_group, "awslogs-region": names.region, "awslogs-stream-prefix": stream}
    return {"logDriver": "awslogs", "options": options}
