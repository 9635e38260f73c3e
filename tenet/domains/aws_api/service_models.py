"""The AWS API as text: 20,000 operations with their documentation, from the service models inside botocore.

Every machine that can run Tenet has this text (Apache-2.0, about 30 MB of English), so the demo needs no data hub. The
models are read with gzip and json alone: building a botocore client for each of 445 services would take minutes.

`family` and `split_of` say which services are held out together, `pages.py` writes an operation as a document.
"""

from __future__ import annotations

import functools
import gzip
import html
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tenet.corpus import split as groups
from tenet.corpus.split import Split
from tenet.errors import ConfigError

LICENCE = "Apache-2.0"
#: Longest documentation kept of one operation and of one parameter.
DESCRIPTION, PARAMETER = 900, 160
SCALARS = ("string", "integer", "long", "boolean", "float", "double")

#: `aws` names a few services differently from botocore.
_CLI_NAMES = {"s3": "s3api", "config": "configservice", "codedeploy": "deploy"}

#: Services that document the same things under different first words, found by comparing their texts: forks (Neptune
#: and DocumentDB speak RDS's API), renamed products (Wisdom became Q Connect, CodeStar Connections became
#: CodeConnections) and successors.
_KIN = {
    "neptune": "rds",
    "neptunedata": "rds",
    "docdb": "rds",
    "wisdom": "connect",
    "qconnect": "connect",
    "customer-profiles": "connect",
    "voice-id": "connect",
    "appintegrations": "connect",
    "es": "opensearch",
    "osis": "opensearch",
    "codeconnections": "codestar",
    "eventbridgev2": "events",
    "schemas": "events",
    "pipes": "events",
    "scheduler": "events",
    "pinpoint-email": "ses",
    "mailmanager": "ses",
    "sms-voice": "pinpoint",
    "socialmessaging": "pinpoint",
    "endusermessaging": "pinpoint",
    "simpledbv2": "sdb",
    "datazone": "sagemaker",
    "dax": "dynamodb",
    "keyspacesstreams": "dynamodb",
    "keyspaces": "dynamodb",
    "memorydb": "elasticache",
    "application-autoscaling": "autoscaling",
    "application-signals": "cloudwatch",
    "logs": "cloudwatch",
    "rum": "cloudwatch",
    "synthetics": "cloudwatch",
    "oam": "cloudwatch",
    "observabilityadmin": "cloudwatch",
    "ebs": "ec2",
    "dlm": "ec2",
    "rbin": "ec2",
    "identitystore": "sso",
    "signin": "sso",
    "ecr-public": "ecr",
    "meteringmarketplace": "marketplace",
    "qbusiness": "q",
    "qapps": "q",
    "appconfigdata": "appconfig",
    "apigatewaymanagementapi": "apigateway",
    "cleanroomsml": "cleanrooms",
    "forecastquery": "forecast",
    "opensearchserverless": "opensearch",
    "databrew": "glue",
    "mgn": "drs",  # Application Migration Service and Elastic Disaster Recovery share one engine and its text
}
#: A service whose name begins so belongs to that family, whatever follows (s3control, lexv2-models, iotsitewise).
_STEMS = (
    "amplify", "apigateway", "bedrock", "chime", "cloudfront", "cloudhsm", "cloudsearch", "cloudtrail", "cloudwatch",
    "codeguru", "cognito", "comprehend", "connect", "dynamodb", "elasticache", "emr", "gamelift", "geo", "greengrass", "iam",
    "inspector", "iot", "ivs", "kinesis", "lambda", "lex", "macie", "managedblockchain", "marketplace", "mediapackage",
    "mediastore", "migrationhub", "opensearch", "pinpoint", "resiliencehub", "route53", "s3", "sagemaker", "servicecatalog",
    "ses", "ssm", "sso", "waf", "workmail", "workspaces",
)  # fmt: skip

_BLOCK = re.compile(r"<(note|important|warning|caution)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_BREAK = re.compile(r"</(p|li|dt|dd|h\d|ul|ol|dl|note|important)>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_SPACE = re.compile(r"\s+")
# A sentence ends at . ! or ? before a blank and a capital, digit or bracket, but not after an abbreviation.
_SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\betc)(?<!\bNo)(?<!\bInc)[.!?](?=\s+[\"(A-Z0-9]|$)")


@dataclass(frozen=True)
class Parameter:
    """One member of an operation's input."""

    name: str
    type: str
    required: bool
    enum: tuple[str, ...]
    doc: str
    #: Type of a list's members; empty for other types.
    item: str = ""
    #: Smallest length of a string or smallest number, and the largest; the validator checks the first.
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Operation:
    """One operation of one service, with its documentation as plain text."""

    service: str
    service_title: str
    name: str
    cli_service: str
    cli_command: str
    description: str
    sentence: str
    parameters: tuple[Parameter, ...]
    input_shape: str

    @property
    def id(self) -> str:
        """Stable name across the corpus: service/Operation."""
        return f"{self.service}/{self.name}"

    @property
    def required(self) -> tuple[Parameter, ...]:
        """Parameters that a request must have."""
        return tuple(parameter for parameter in self.parameters if parameter.required)


@functools.cache
def version() -> str:
    """Version of the botocore that is read; service models change weekly."""
    return metadata.version("botocore")


def plain_text(documentation: str) -> str:
    """HTML of a service model as text on one line."""
    text = _TAG.sub("", _BREAK.sub(" ", documentation))
    return _SPACE.sub(" ", html.unescape(text)).strip()


def lead(documentation: str) -> str:
    """The paragraph that says what an operation does, as text.

    Notes in front of it ("not supported for directory buckets") and banners ("This API works with the following fleet
    types: EC2") are passed over.
    """
    body = _BLOCK.sub(" ", documentation)
    paragraphs = [text for text in map(plain_text, body.split("</p>")) if text]
    for text in paragraphs:
        if text.endswith((".", "!")) or ":" not in text:
            return text
    return paragraphs[0] if paragraphs else plain_text(documentation)


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends a sentence; the whole text where there is none."""
    match = _SENTENCE_END.search(text)
    return text[: match.end()] if match else text


def family(service: str) -> str:
    """Name under which a service is split: versions, data planes, aliases and forks of one service are one family.

    Rows of `elbv2` in training and of `elb` in the test would make the test a memory test: they share whole paragraphs.
    So a service is filed under (1) the family it is kin to, (2) the stem it begins with, or (3) the first word of its
    name without a version.
    """
    for name in (service, service.partition("-")[0]):
        if name in _KIN:
            return _KIN[name]
    for stem in _STEMS:
        if service.startswith(stem):
            return stem
    word = service.partition("-")[0]
    return re.sub(r"(?<=[a-z]{3})(v\d|2)$", "", word)


@functools.cache
def split_of(service: str, heldout: tuple[float, float] = (0.04, 0.08)) -> Split:
    """The split of a service: by a hash of its family, so that adding services or changing seeds moves nothing.

    Args:
        service: botocore's name, e.g. "dynamodb".
        heldout: shares of families held out for validation and for test.
    """
    return groups.split_of(family(service), heldout)


def services() -> list[str]:
    """Names of all services that botocore describes, sorted."""
    return sorted(path.name for path in _data().iterdir() if path.is_dir() and any(path.glob("*/service-2.json.gz")))


def operations(only: Collection[str] | None = None) -> list[Operation]:
    """All operations, sorted by service and name.

    Args:
        only: names of services to read; None reads all 445 in about four seconds.

    Raises:
        ConfigError: a name that botocore does not know.
    """
    names = services() if only is None else sorted(only)
    return [operation for name in names for operation in _service_operations(name)]


def _data() -> Path:
    import botocore

    return Path(botocore.__file__).parent / "data"


def service_model(service: str) -> dict[str, Any]:
    """The newest `service-2.json` of a service.

    Raises:
        ConfigError: botocore does not know the service.
    """
    files = sorted((_data() / service).glob("*/service-2.json.gz"))  # API versions are dates: the last one is current
    if not files:
        raise ConfigError(
            f"service {service!r} is not in botocore {version()}; `tenet.domains.aws_api.service_models.services()` lists the names"
        )
    with gzip.open(files[-1]) as file:
        model: dict[str, Any] = json.load(file)
    return model


@functools.lru_cache(maxsize=512)
def _service_operations(service: str) -> tuple[Operation, ...]:
    from botocore import xform_name

    model = service_model(service)
    title = model["metadata"].get("serviceFullName", service)
    shapes = model["shapes"]
    found = []
    for name, entry in sorted(model["operations"].items()):
        raw = entry.get("documentation", "")
        description = plain_text(raw)
        shape = entry.get("input", {}).get("shape", "")
        found.append(
            Operation(
                service=service,
                service_title=title,
                name=name,
                cli_service=_CLI_NAMES.get(service, service),
                cli_command=xform_name(name, "-"),
                description=clip(description, DESCRIPTION),
                sentence=first_sentence(lead(raw)),
                parameters=_parameters(shapes[shape], shapes) if shape else (),
                input_shape=shape,
            )
        )
    return tuple(found)


def _parameters(shape: dict[str, Any], shapes: dict[str, Any]) -> tuple[Parameter, ...]:
    required = set(shape.get("required", ()))
    found = []
    for name, member in shape.get("members", {}).items():
        target = shapes[member["shape"]]
        kind = target["type"]
        # Only the beginning is shown: stripping all 184,000 texts whole would double the time of this module.
        doc = first_sentence(plain_text(_BLOCK.sub(" ", member.get("documentation", ""))[: 4 * PARAMETER]))
        found.append(
            Parameter(
                name=name,
                type=kind,
                required=name in required,
                enum=tuple(target.get("enum", ())),
                doc=clip(doc, PARAMETER),
                item=shapes[target["member"]["shape"]]["type"] if kind == "list" else "",
                low=target.get("min"),
                high=target.get("max"),
            )
        )
    return tuple(sorted(found, key=lambda parameter: not parameter.required))


def clip(text: str, size: int) -> str:
    """At most `size` characters: whole sentences where one fits, else whole words and an ellipsis."""
    if len(text) <= size:
        return text
    ends = [match.end() for match in _SENTENCE_END.finditer(text, 0, size + 1)]
    if ends and ends[-1] >= size // 3:
        return text[: ends[-1]]
    return text[: size - 4].rsplit(" ", 1)[0].rstrip(" ,;:(") + " ..."
