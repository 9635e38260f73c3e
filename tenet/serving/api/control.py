"""Model import of the Bedrock control plane as "load this checkpoint".

    POST /model-import-jobs   s3Uri s3://local/NAME   ->   the folder NAME below `serve.imports` is loaded and served beside the
                                                          first model, under the name and the ARN of the imported model

Only folders below that one can be named, and only so many models are loaded: a key to ask is no key to the disk.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenet.serving.api.listing import iso_time, listed, query_of
from tenet.serving.api.models import Models, Served
from tenet.serving.engines.runner import Runner
from tenet.serving.http.request import Call
from tenet.serving.protocol.exceptions import ServiceError, invalid
from tenet.serving.protocol.limits import Limits, parse_json
from tenet.serving.protocol.service_model import CONTROL, check_body

#: Imported models that may be loaded at once; each holds its weights in memory.
MOST_IMPORTS = 4
_PREFIX = "arn:aws:bedrock:us-east-1:000000000000:"
_SOURCE = re.compile(r"s3://local/(?P<name>[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}))/?\Z")


@dataclass(frozen=True)
class _Import:
    job: str
    job_name: str
    model: str
    name: str
    role: str
    uri: str
    served: Served
    started: float = field(default_factory=time.time)

    @property
    def status(self) -> str:
        runner = self.served.runner
        return "Failed" if runner.failure else "Completed" if runner.backend is not None else "InProgress"


class Control:
    """Loads further models and describes them.

    Args:
        models: what is served.
        limits: bounds of one request.
        imports: folder with the checkpoints that may be imported; None refuses all.
        load: a model folder to an engine's thread, not yet started.
    """

    def __init__(self, models: Models, limits: Limits, imports: Path | None, load: Callable[[Path], Runner]) -> None:
        self._models, self._limits, self._imports, self._load = models, limits, imports, load
        self._jobs: dict[str, _Import] = {}
        self._tokens: dict[tuple[str, str], _Import] = {}  # (key, clientRequestToken): a repeated request is no second job

    def close(self) -> None:
        """Stop the engines of imported models."""
        for job in self._jobs.values():
            job.served.runner.close()

    async def create_import_job(self, call: Call, name: str, body: bytes) -> None:
        """POST /model-import-jobs."""
        content = parse_json(body, self._limits)
        check_body(CONTROL, "CreateModelImportJob", content)
        for key in ("vpcConfig", "importedModelKmsKeyId"):
            if key in content:
                raise invalid(key, "is not supported by this endpoint; leave it out.")
        token = (call.key, content.get("clientRequestToken", ""))
        if token[1] and (made := self._tokens.get(token)):
            await call.json({"jobArn": _job_arn(made)}, 201)
            return
        job = self._new(content["jobName"], content["importedModelName"], content["roleArn"], content["modelDataSource"])
        if token[1]:
            self._tokens[token] = job
        await call.json({"jobArn": _job_arn(job)}, 201)

    def _new(self, job_name: str, model: str, role: str, source: dict[str, Any]) -> _Import:
        uri = source["s3DataSource"]["s3Uri"]
        folder = self._folder(uri)
        if any(job.job_name == job_name for job in self._jobs.values()):
            raise ServiceError("ConflictException", f"An import job with the name {job_name} exists already.")
        if self._models.knows(model):
            raise ServiceError("ConflictException", f"A model with the name {model} exists already.")
        if len(self._jobs) >= MOST_IMPORTS:
            raise ServiceError("ServiceQuotaExceededException", f"At most {MOST_IMPORTS} models can be imported.")
        model_id = secrets.token_hex(6)
        runner = self._load(folder)
        job = _Import(secrets.token_hex(6), job_name, model_id, model, role, uri, Served(model, runner))
        self._jobs[job.job] = job
        self._models.add(job.served, [model, model_id])
        runner.start()
        return job

    def _folder(self, uri: str) -> Path:
        place = "modelDataSource.s3DataSource.s3Uri"
        if self._imports is None:
            raise ServiceError("AccessDeniedException", "This endpoint imports no models; start it with --imports FOLDER.")
        match = _SOURCE.match(uri)
        if match is None:
            raise invalid(place, "must be s3://local/NAME, where NAME is a folder that this endpoint may import.")
        folder = self._imports / match["name"]
        if not folder.resolve().is_relative_to(self._imports.resolve()) or not (folder / "config.json").is_file():
            raise invalid(place, "there is no model of that name to import.")
        return folder

    async def get_import_job(self, call: Call, name: str, body: bytes) -> None:
        """GET /model-import-jobs/{id, name or ARN}."""
        wanted = name.rpartition("/")[2]
        job = next((one for one in self._jobs.values() if wanted in (one.job, one.job_name)), None)
        if job is None:
            raise ServiceError("ResourceNotFoundException", "There is no such import job.")
        failed = {"failureMessage": "The model could not be loaded."} if job.status == "Failed" else {}
        await call.json(
            {
                "jobArn": _job_arn(job),
                "jobName": job.job_name,
                "importedModelName": job.name,
                "importedModelArn": _model_arn(job),
                "roleArn": job.role,
                "modelDataSource": {"s3DataSource": {"s3Uri": job.uri}},
                "status": job.status,
                "creationTime": iso_time(job.started),
                **failed,
            }
        )

    async def list_import_jobs(self, call: Call, name: str, body: bytes) -> None:
        """GET /model-import-jobs."""
        summaries = [
            {
                "jobArn": _job_arn(job),
                "jobName": job.job_name,
                "status": job.status,
                "creationTime": iso_time(job.started),
                "lastModifiedTime": iso_time(job.started),
                "importedModelArn": _model_arn(job),
                "importedModelName": job.name,
            }
            for job in self._jobs.values()
        ]
        query = query_of(call, "ListModelImportJobs")
        await call.json(listed(summaries, query, "modelImportJobSummaries", "jobName"))

    async def list_imported_models(self, call: Call, name: str, body: bytes) -> None:
        """GET /imported-models: those that are loaded."""
        summaries = [
            {
                "modelArn": _model_arn(job),
                "modelName": job.name,
                "creationTime": iso_time(job.started),
                "instructSupported": True,
            }
            for job in self._jobs.values()
            if job.status == "Completed"
        ]
        query = query_of(call, "ListImportedModels")
        await call.json(listed(summaries, query, "modelSummaries", "modelName"))

    async def get_imported_model(self, call: Call, name: str, body: bytes) -> None:
        """GET /imported-models/{id, name or ARN}."""
        wanted = name.rpartition("/")[2]
        job = next((one for one in self._jobs.values() if wanted in (one.model, one.name)), None)
        if job is None or job.status != "Completed":
            raise ServiceError("ResourceNotFoundException", "There is no such imported model.")
        await call.json(
            {
                "modelArn": _model_arn(job),
                "modelName": job.name,
                "jobName": job.job_name,
                "jobArn": _job_arn(job),
                "modelDataSource": {"s3DataSource": {"s3Uri": job.uri}},
                "creationTime": iso_time(job.started),
                "instructSupported": True,
            }
        )


def _job_arn(job: _Import) -> str:
    return f"{_PREFIX}model-import-job/{job.job}"


def _model_arn(job: _Import) -> str:
    return f"{_PREFIX}imported-model/{job.model}"
