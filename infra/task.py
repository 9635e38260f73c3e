"""The serving task as plain data: fetch the version that the pointer names, check nothing is missing, serve it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PORT = 8080
#: Bytes of weights come in before the first answer: minutes for a large model.
LOAD_SECONDS = 900
#: Where the instance store is mounted in both containers.
MODEL, KEYS = "/weights/model", "/weights/keys.json"
#: AWS's own image of its command line; only fetches.
AWS_CLI = "public.ecr.aws/aws-cli/aws-cli:2.31.0"
#: `none` is the pointer's first value, before anything was deployed.
FETCH = f"""
[ "$VERSION" != none ] || {{ echo "the weights pointer is 'none': run tenet deploy first" >&2; exit 1; }}
rm -rf {MODEL} && mkdir -p {MODEL}
aws s3 sync --only-show-errors "s3://$BUCKET/store/$VERSION" {MODEL}
test -s {MODEL}/manifest.json || {{ echo "store/$VERSION has no manifest.json: it is not complete" >&2; exit 1; }}
umask 077 && printf %s "$KEYS" > {KEYS}
"""


@dataclass(frozen=True, kw_only=True)
class TaskNames:
    """What the containers are told; all of it known only after the resources are made."""

    image: str
    bucket: str
    pointer: str
    keys: str
    log_group: str
    region: str
    gpus: int
    memory_gib: int


def containers(names: TaskNames) -> list[dict[str, Any]]:
    """Container definitions as ECS takes them."""
    volume = [{"sourceVolume": "weights", "containerPath": "/weights", "readOnly": False}]
    fetch = {
        "name": "fetch",
        "image": AWS_CLI,
        "essential": False,
        "memory": 1024,
        "entryPoint": ["sh", "-euc"],
        "command": [FETCH],
        "environment": [{"name": "BUCKET", "value": names.bucket}, {"name": "AWS_REGION", "value": names.region}],
        "secrets": [{"name": "VERSION", "valueFrom": names.pointer}, {"name": "KEYS", "valueFrom": names.keys}],
        "mountPoints": volume,
        "logConfiguration": _log(names, "fetch"),
    }
    serve = {
        "name": "serve",
        "image": names.image,
        "essential": True,
        # MiB; an eighth of the machine stays with the system, the agent and the page cache.
        "memory": names.memory_gib * 1024 * 7 // 8 - 1024,
        "command": ["tenet", "serve", "--model", MODEL, "--credentials", KEYS, "--host", "0.0.0.0", "--port", str(PORT)],
        "dependsOn": [{"containerName": "fetch", "condition": "SUCCESS"}],
        "portMappings": [{"containerPort": PORT, "hostPort": PORT, "protocol": "tcp"}],
        "resourceRequirements": [{"type": "GPU", "value": str(names.gpus)}],
        "mountPoints": volume,
        # Longer than the server needs to let running answers end.
        "stopTimeout": 120,
        "logConfiguration": _log(names, "serve"),
    }
    return [fetch, serve]


def _log(names: TaskNames, stream: str) -> dict[str, Any]:
    options = {"awslogs-group": names.log_group, "awslogs-region": names.region, "awslogs-stream-prefix": stream}
    return {"logDriver": "awslogs", "options": options}
