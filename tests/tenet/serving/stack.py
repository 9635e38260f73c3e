"""A cloud stack that moto serves over real HTTP: the bucket, the pointer and the ECS service of one endpoint."""

from __future__ import annotations

import contextlib
import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from tenet.serving.releases.ecs_rollout import Stack

PARAMETER = "/tenet/test/weights"
OUTPUTS = {
    "weights_bucket": "weights",
    "endpoint_model_parameter": PARAMETER,
    "endpoint_cluster_name": "tenet",
    "endpoint_service_name": "serve",
    "endpoint_url": "https://model.invalid",
    "region": "us-east-1",
    "import_role_arn": "arn:aws:iam::123456789012:role/import",
    "kms_key_arn": "",
    "gpu_subnet_names": ["others", "are ignored"],
}


@contextlib.contextmanager
def made_up(folder: Path, **outputs: str) -> Iterator[Stack]:
    """The stack, read from its outputs, for as long as the block runs; this process talks to moto in that time."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    urllib.request.urlopen(
        urllib.request.Request(f"{url}/moto-api/reset", method="POST")
    ).close()  # moto's state is the process's, not the server's
    settings = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    with mock.patch.dict(os.environ, settings):
        (folder / "outputs.json").write_text(json.dumps(OUTPUTS | outputs))
        stack = Stack.read(folder / "outputs.json")
        stack.client("s3").create_bucket(Bucket="weights")
        stack.client("ssm").put_parameter(Name=PARAMETER, Value="none", Type="String")
        ecs = stack.client("ecs")
        ecs.create_cluster(clusterName="tenet")
        ecs.register_task_definition(family="serve", containerDefinitions=[{"name": "serve", "image": "x", "memory": 64}])
        ecs.create_service(cluster="tenet", serviceName="serve", taskDefinition="serve", desiredCount=0)
        yield stack
    server.stop()


def pointer(stack: Stack) -> str:
    """The version that its tasks would read now."""
    return str(stack.client("ssm").get_parameter(Name=PARAMETER)["Parameter"]["Value"])
