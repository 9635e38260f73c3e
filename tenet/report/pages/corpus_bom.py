"""`bom.cdx.json` of a corpus: a bill of materials (CycloneDX 1.6) of the text itself, for those who must say what went in.

The corpus with the hashes of its files; each source as data with licences, hash, counts in and out and the web domains that pages
are of; the packages whose version can change a result. The documents one by one, with address, licence and time, are
the files that it names by hash. Same card, same bytes.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import uuid
from typing import Any

from tenet.report.pages.bom import file_of, hash_of, licence_of, packages_of, written

Card = dict[str, Any]


def corpus_bom(card: Card, name: str, record: dict[str, Any]) -> str:
    """The document as JSON.

    Args:
        card: of the corpus.
        name: of the corpus.
        record: run.json of the stage: code, packages, and when it ended.
    """
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType

    identity = hashlib.sha256(json.dumps(card["recipe"]["sha256"], sort_keys=True).encode()).hexdigest()
    document = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"tenet corpus:{name}:{identity}"))
    document.metadata.timestamp = datetime.datetime.fromisoformat(record.get("end") or "1970-01-01T00:00:00+00:00")
    document.metadata.component = _corpus(card, name, identity)
    code = str(record.get("code", "unknown"))
    document.metadata.tools.components.add(Component(name="tenet", type=ComponentType.APPLICATION, version=code))
    domains = [_domain(row) for row in card["domains"]["largest"]]
    return written(document, [*(_source(card, row) for row in card["sources"]), *domains, *packages_of(record)])


def _properties(facts: dict[str, Any]) -> list[Any]:
    from cyclonedx.model import Property

    return [Property(name=f"tenet:{name}", value=str(value)) for name, value in facts.items()]


def _corpus(card: Card, name: str, identity: str) -> Any:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
    from cyclonedx.model.component import Component, ComponentType

    documents, size = card["documents"], card["bytes"]
    facts = {
        "documents-read": documents["read"],
        "documents-kept": documents["kept"],
        "bytes-read": size["read"],
        "bytes-kept": size["kept"],
        **{f"tokens-{split}": count for split, count in card["tokens"].items()},
        **{f"removed-by-{_word(row['filter'])}": row["documents_in"] - row["documents_out"] for row in card["filters"]},
        **{f"language-{code}": row["documents"] for code, row in card["languages"]["languages"].items()},
        "personal-data-masked": sum(sum(kinds.values()) for kinds in card["personal_data"].values()),
        "pages-opted-out": sum(card["opted_out"].values()),
        "domains": card["domains"]["domains"],
    }
    return Component(
        name=name,
        bom_ref="corpus",
        type=ComponentType.DATA,
        version=identity[:12],
        description="training text, filtered, with a held-out part",
        licenses=_licences(row["licence"] for row in card["licences"]),
        components=[file_of(path, digest) for path, digest in card["recipe"]["sha256"].items()],
        properties=_properties(facts),
        external_references=[ExternalReference(type=ExternalReferenceType.OTHER, url=XsUri("card.html"))],
    )


def _word(name: str) -> str:
    return name.replace(" ", "-")


def _licences(names: Any) -> list[Any]:
    return [licence_of(name) for name in sorted(set(map(str, names)))]


def _source(card: Card, row: dict[str, Any]) -> Any:
    from cyclonedx.model.component import Component, ComponentType

    facts = {
        "documents-read": row["documents"],
        "documents-kept": row["documents_kept"],
        "bytes-read": row["bytes"],
        "bytes-kept": row["bytes_kept"],
        **{f"removed-by-{_word(name)}": count for name, count in row["removed"].items()},
    }
    return Component(
        name=str(row["source"]),
        bom_ref=f"source:{row['source']}",
        type=ComponentType.DATA,
        description="a source of the corpus; the hash is of all text that was read from it, in the order of ids",
        hashes=[hash_of(row["sha256"])],
        licenses=_licences(entry["licence"] for entry in card["licences"] if entry["source"] == row["source"]),
        properties=_properties(facts),
    )


def _domain(row: dict[str, Any]) -> Any:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=row["domain"],
        bom_ref=f"domain:{row['domain']}",
        type=ComponentType.DATA,
        description="pages of one web domain that are kept",
        licenses=_licences(row["licences"]),
        properties=_properties({"documents-kept": row["documents"], "bytes-kept": row["bytes"]}),
        external_references=[ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(f"https://{row['domain']}/"))],
    )
