"""Weights behind the endpoint of a cloud stack: verify, upload, move the pointer, wait, ask; and back again when it
does not answer.

The pointer is an SSM parameter that each new task of the service reads. Until it moves nothing has changed; from then
on every way out of here but a kill moves it back. A kill in between leaves the running tasks on the old weights and a
pointer to weights that were verified; the next `tenet deploy` or `tenet rollback` puts that straight.
"""

from __future__ import annotations

import json
import re
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from tenet.errors import ConfigError, StageError
from tenet.files import read_json
from tenet.serving.access.credentials import Keys
from tenet.serving.releases import publish
from tenet.serving.releases.s3 import S3Store
from tenet.serving.releases.store import Pointer

#: A large model takes minutes to fetch and load, one machine after another.
WAIT_SECONDS, POLL_SECONDS = 3600.0, 10.0
#: Under what Bedrock's role may read; nothing deletes there.
IMPORTED = "store/imported"
_NEVER = "none"  # the pointer's first value, before anything was deployed
Say = Callable[[str], None]


@dataclass(frozen=True)
class Stack:
    """What a deployment needs to know of the cloud, as `pulumi stack output --json` names it."""

    weights_bucket: str
    endpoint_model_parameter: str
    endpoint_cluster_name: str
    endpoint_service_name: str
    endpoint_url: str
    region: str
    import_role_arn: str = ""
    kms_key_arn: str = ""

    @classmethod
    def read(cls, path: Path) -> Stack:
        """From a file.

        Raises:
            ConfigError: it cannot be read, or an output is missing.
        """
        try:
            content = read_json(path)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"--stack {path}: not readable as JSON ({error}); write it with pulumi stack output --json"
            ) from None
        names = cls.__dataclass_fields__
        if not isinstance(content, dict):
            raise ConfigError(f"--stack {path}: must be an object of outputs; write it with pulumi stack output --json")
        missing = [name for name in list(names)[:6] if not isinstance(content.get(name), str) or not content[name]]
        if missing:
            raise ConfigError(
                f"--stack {path}: output {missing[0]} is missing; run pulumi up, then pulumi stack output --json again"
            )
        return cls(**{name: content[name] for name in names if isinstance(content.get(name), str)})

    def client(self, service: str) -> Any:
        """A boto3 client in the stack's region."""
        return boto3.client(service, region_name=self.region)

    @property
    def store(self) -> S3Store:
        """Where its weights lie; the tasks look under the same prefix."""
        return S3Store(self.weights_bucket, "store", self.client("s3"))


@dataclass(frozen=True)
class Patience:
    """How long to wait for the service, and how often to look; seconds."""

    wait: float = WAIT_SECONDS
    poll: float = POLL_SECONDS


def release(
    model_dir: Path,
    stack: Stack,
    keep: int = 3,
    keys: Keys | None = None,
    patience: Patience = Patience(),
    say: Say = lambda text: None,
) -> str:
    """Serve a model folder from the stack.

    Args:
        model_dir: Hugging Face folder.
        stack: where.
        keep: versions kept for rollback, the new one included.
        keys: to ask the new version through the endpoint; without them only its readiness is looked at.
        patience: how long to wait.
        say: told of each step.

    Returns:
        the version that is served.

    Raises:
        ConfigError: nothing was changed.
        StageError: the old version is served (again).
    """
    if keep < 2:
        raise ConfigError(f"--keep is {keep}; rollback needs at least 2 versions")
    version = publish.upload(model_dir, stack.store)
    say(f"{version}: uploaded, hashes equal, loads, answers as the checkpoint does")
    kept = _kept(stack)
    _flip(stack, version, keys, patience, say)
    pointer = Pointer(version, (*[one for one in kept if one != version][-(keep - 1) :], version))
    stack.store.point(pointer)
    stack.store.sweep(pointer)
    return version


def rollback(stack: Stack, to: str | None = None, keys: Keys | None = None, patience: Patience = Patience()) -> str:
    """Serve an earlier version again, after its files were verified.

    Raises:
        ConfigError: there is no such version.
        StageError: its files are damaged, or it does not answer; what was served still is.
    """
    kept, served = _kept(stack), _pointer(stack)
    if to is None:
        position = kept.index(served) if served in kept else 0
        if position == 0:
            raise ConfigError(f"{stack.store.where}: {served} is the oldest version kept; there is nothing to roll back to")
        to = kept[position - 1]
    if to not in kept:
        raise ConfigError(f"--to {to}: not in {stack.store.where}; kept are {', '.join(kept)}")
    with tempfile.TemporaryDirectory() as cache:
        publish.checked(stack.store, to, Path(cache))
    _flip(stack, to, keys, patience, lambda text: None)
    stack.store.point(Pointer(to, tuple(kept)))
    return to


def import_to_bedrock(model_dir: Path, stack: Stack, name: str) -> str:
    """Start a Custom Model Import of a model folder; returns the job's ARN.

    Raises:
        ConfigError: the stack has no role for it.
        StageError: the upload or the job was refused.
    """
    if not stack.import_role_arn:
        raise ConfigError(
            "--stack: output import_role_arn is missing; this stack has no role that Bedrock may take to read weights"
        )
    # Beside the versions that the endpoint keeps: a job reads for minutes, and the next deployment sweeps what it does
    # not keep.
    place = S3Store(stack.weights_bucket, IMPORTED, stack.client("s3"))
    version = publish.upload(model_dir, place)
    request = {
        "jobName": f"{name}-{version}-{int(time.time())}",
        "importedModelName": f"{name}-{version}",
        "roleArn": stack.import_role_arn,
        "modelDataSource": {"s3DataSource": {"s3Uri": f"s3://{stack.weights_bucket}/{IMPORTED}/{version}/"}},
    }
    if stack.kms_key_arn:
        request["importedModelKmsKeyId"] = stack.kms_key_arn
    try:
        return str(stack.client("bedrock").create_model_import_job(**request)["jobArn"])
    except (ClientError, BotoCoreError) as error:
        raise StageError(f"Custom Model Import of {version}: {error}; its files lie in {request['modelDataSource']}") from error


# --- the pointer -------------------------------------------------------------------------------------------------------


def _pointer(stack: Stack) -> str:
    try:
        return str(stack.client("ssm").get_parameter(Name=stack.endpoint_model_parameter)["Parameter"]["Value"])
    except (ClientError, BotoCoreError) as error:
        raise StageError(f"SSM parameter {stack.endpoint_model_parameter}: {error}; nothing was changed") from error


def _kept(stack: Stack) -> list[str]:
    """Versions that can be served, oldest first; what the pointer names is one of them even if a kill kept it off the
    list."""
    found, served = stack.store.pointer(), _pointer(stack)
    kept = list(found.versions) if found else []
    return kept if served in (*kept, _NEVER) else [*kept, served]


def _flip(stack: Stack, version: str, keys: Keys | None, patience: Patience, say: Say) -> None:
    """Serve a version, or what was served before."""
    before = _pointer(stack)
    try:
        _serve(stack, version)
        say(f"{version}: pointer moved, the service is being replaced")
        _wait(stack, version, patience)
        _ask(stack, keys)
    except BaseException as error:
        if before == _NEVER:
            raise StageError(
                f"{version} does not answer ({error}); nothing was served before, so it stays the pointer"
            ) from error
        _serve(stack, before)
        raise StageError(f"{version} does not answer ({error}); rolled back to {before}, its tasks are being started") from error


def _serve(stack: Stack, version: str) -> None:
    """Move the pointer, then have the service start new tasks, which read it."""
    stack.client("ssm").put_parameter(Name=stack.endpoint_model_parameter, Value=version, Type="String", Overwrite=True)
    stack.client("ecs").update_service(
        cluster=stack.endpoint_cluster_name, service=stack.endpoint_service_name, forceNewDeployment=True
    )


def _wait(stack: Stack, version: str, patience: Patience) -> None:
    """Until one deployment is left, all its tasks run, and the endpoint says that it serves this version."""
    ecs, deadline, why = stack.client("ecs"), time.monotonic() + patience.wait, "it was not looked at"
    while time.monotonic() < deadline:
        found = ecs.describe_services(cluster=stack.endpoint_cluster_name, services=[stack.endpoint_service_name])["services"]
        if not found:
            raise StageError(f"there is no service {stack.endpoint_service_name} in {stack.endpoint_cluster_name}")
        service = found[0]
        states = [one.get("rolloutState", "COMPLETED") for one in service["deployments"]]
        if "FAILED" in states:
            raise StageError("its deployment failed")
        if states != ["COMPLETED"] or service["runningCount"] != service["desiredCount"]:
            why = f"the service is not steady: {service['runningCount']} of {service['desiredCount']} tasks run"
        elif (served := _ready(stack)) == version:
            return
        else:
            why = f"{stack.endpoint_url}/readyz says {served or 'nothing'}"
        time.sleep(patience.poll)
    raise StageError(f"after {patience.wait:.0f} s {why}")


def _ready(stack: Stack) -> str:
    """The version that the endpoint serves, or what is wrong with it."""
    if not re.match(r"https?://", stack.endpoint_url):
        raise StageError(f"output endpoint_url is {stack.endpoint_url!r}; it must begin with https://")
    try:
        with urllib.request.urlopen(f"{stack.endpoint_url}/readyz", timeout=10, context=ssl.create_default_context()) as answer:
            return str(json.load(answer).get("version", "no version"))
    except (OSError, ValueError) as error:  # URLError and HTTPError are OSErrors
        return str(error)


def _ask(stack: Stack, keys: Keys | None) -> None:
    """One question through the endpoint, as any client asks it."""
    if keys is None:
        return
    from tenet.serving.clients.client import client

    models = client(stack.endpoint_url, keys, "bedrock").list_foundation_models()["modelSummaries"]
    messages = [{"role": "user", "content": [{"text": publish.QUESTION}]}]
    client(stack.endpoint_url, keys).converse(modelId=models[0]["modelId"], messages=messages, inferenceConfig={"maxTokens": 8})
