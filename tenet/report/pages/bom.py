"""`runs/NAME/card/bom.cdx.json`: a machine-learning bill of materials (CycloneDX 1.6) of what the run serves.

The model with the hashes of its files, the data sources with licences and hashes, and the packages whose version can
change a result. Same run, same bytes: the serial number comes from the hashes, the time is that of the last step.
"""

from __future__ import annotations

import datetime
import hashlib
import uuid
from typing import Any

from tenet.report.served import Served


def bom(model: Served) -> str:
    """The document as JSON."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType

    document = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"tenet:{model.version}:{_identity(model)}"))
    document.metadata.timestamp = datetime.datetime.fromisoformat(model.record["end"])
    document.metadata.component = _model(model)
    document.metadata.tools.components.add(Component(name="tenet", type=ComponentType.APPLICATION, version=_code(model)))
    return written(document, [*_data(model), *packages_of(model.record)])


def written(document: Any, parts: list[Any]) -> str:
    """A bill whose subject depends on its parts, as JSON."""
    from cyclonedx.output.json import JsonV1Dot6

    for part in parts:
        document.components.add(part)
    document.register_dependency(document.metadata.component, parts)
    return str(JsonV1Dot6(document).output_as_string(indent=2)) + "\n"


def hash_of(sha256: str) -> Any:
    """A SHA-256 in hex."""
    from cyclonedx.model import HashAlgorithm, HashType

    return HashType(alg=HashAlgorithm.SHA_256, content=sha256)


def file_of(path: str, sha256: str) -> Any:
    """A file as a component."""
    from cyclonedx.model.component import Component, ComponentType

    return Component(name=path, bom_ref=f"file:{path}", type=ComponentType.FILE, hashes=[hash_of(sha256)])


def _identity(model: Served) -> str:
    return hashlib.sha256("".join(entry["sha256"] for entry in model.weights).encode()).hexdigest()


def _code(model: Served) -> str:
    return str(model.record.get("code", "unknown"))


def _model(model: Served) -> Any:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, Property, XsUri
    from cyclonedx.model.component import Component, ComponentType

    files = [file_of(entry["path"], entry["sha256"]) for entry in model.weights]
    facts = {
        "trained-by": ", ".join(stage.name for stage in model.made_by),
        "training-tokens": str(sum(stage.record["tokens"] for stage in model.made_by)),
        "joules": f"{sum(stage.record.get('joules') or 0.0 for stage in model.stages.values()):.0f}",
        "joules-are": str(model.record.get("joules_are", "origin unknown")),
    }
    return Component(
        name=model.name,
        bom_ref="model",
        type=ComponentType.MACHINE_LEARNING_MODEL,
        version=model.version or _identity(model)[:12],
        description=f"weights of the step {model.chosen}",
        components=files,
        properties=[Property(name=f"tenet:{name}", value=value) for name, value in facts.items()],
        external_references=[ExternalReference(type=ExternalReferenceType.MODEL_CARD, url=XsUri("README.md"))],
    )


def _data(model: Served) -> list[Any]:
    from cyclonedx.model.component import Component, ComponentType

    licences: dict[str, set[str]] = {}
    for entry in model.card.get("licences", []):
        licences.setdefault(str(entry.get("source", "")), set()).add(str(entry.get("licence")))
    return [
        Component(
            name=str(source["source"]),
            bom_ref=f"data:{source['source']}",
            type=ComponentType.DATA,
            hashes=[hash_of(source["sha256"])] if source.get("sha256") else [],
            licenses=[licence_of(name) for name in sorted(licences.get(str(source["source"]), ()))],
        )
        for source in model.card.get("sources", [])
    ]


def licence_of(name: str) -> Any:
    """By its SPDX id where it has one."""
    from cyclonedx.model.license import DisjunctiveLicense
    from cyclonedx.spdx import is_supported_id

    return DisjunctiveLicense(id=name) if is_supported_id(name) else DisjunctiveLicense(name=name)


def packages_of(record: dict[str, Any]) -> list[Any]:
    """The packages of a stage's run.json."""
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    return [
        Component(
            name=name,
            bom_ref=f"package:{name}",
            type=ComponentType.LIBRARY,
            version=version,
            purl=PackageURL("pypi", None, name, version),
        )
        for name, version in sorted(record.get("packages", {}).items())
    ]
