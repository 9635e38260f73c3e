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
    from cyclonedx.output.json import JsonV1Dot6

    document = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"tenet:{model.version}:{_identity(model)}"))
    document.metadata.timestamp = datetime.datetime.fromisoformat(model.record["end"])
    document.metadata.component = _model(model)
    document.metadata.tools.components.add(Component(name="tenet", type=ComponentType.APPLICATION, version=_code(model)))
    parts = [*_data(model), *_packages(model)]
    for part in parts:
        document.components.add(part)
    document.register_dependency(document.metadata.component, parts)
    return str(JsonV1Dot6(document).output_as_string(indent=2)) + "\n"


def _identity(model: Served) -> str:
    return hashlib.sha256("".join(entry["sha256"] for entry in model.weights).encode()).hexdigest()


def _code(model: Served) -> str:
    return str(model.record.get("code", "unknown"))


def _model(model: Served) -> Any:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
    from cyclonedx.model.component import Component, ComponentType

    files = [
        Component(
            name=entry["path"],
            bom_ref=f"file:{entry['path']}",
            type=ComponentType.FILE,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=entry["sha256"])],
        )
        for entry in model.weights
    ]
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
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    licences: dict[str, set[str]] = {}
    for entry in model.card.get("licences", []):
        licences.setdefault(str(entry.get("source", "")), set()).add(str(entry.get("licence")))
    return [
        Component(
            name=str(source["source"]),
            bom_ref=f"data:{source['source']}",
            type=ComponentType.DATA,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=source["sha256"])] if source.get("sha256") else [],
            licenses=[_licence(name) for name in sorted(licences.get(str(source["source"]), ()))],
        )
        for source in model.card.get("sources", [])
    ]


def _licence(name: str) -> Any:
    """By its SPDX id where it has one."""
    from cyclonedx.model.license import DisjunctiveLicense
    from cyclonedx.spdx import is_supported_id

    return DisjunctiveLicense(id=name) if is_supported_id(name) else DisjunctiveLicense(name=name)


def _packages(model: Served) -> list[Any]:
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
        for name, version in sorted(model.record.get("packages", {}).items())
    ]
