"""The corpus as a Croissant data set (MLCommons, version 1.0): files with hashes, and the fields of a document, for
catalogues and loaders that read the format."""

from __future__ import annotations

from typing import Any

VERSION = "http://mlcommons.org/croissant/1.0"
#: The terms of the format, as its specification lists them.
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "conformsTo": "dct:conformsTo",
    **{
        name: f"cr:{name}"
        for name in (
            "citeAs", "column", "extract", "field", "fileProperty", "fileObject", "fileSet", "format", "includes",
            "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated",
            "replace", "separator", "source", "subField", "transform",
        )
    },
}  # fmt: skip
#: File below the corpus folder -> name of its record set.
RECORDS = {
    "documents/train.jsonl.gz": "train",
    "heldout/valid.jsonl": "valid",
    "heldout/test.jsonl": "test",
}
#: Members of a line that are text; its `metadata` (source, licence, url, ...) is an object, which has no type there.
FIELDS = ("id", "text")


def croissant(card: dict[str, Any], name: str, sizes: dict[str, int], made: str) -> dict[str, Any]:
    """The data set as JSON-LD.

    Args:
        card: of the corpus.
        name: of the data set.
        sizes: file below the corpus folder -> bytes.
        made: date on which it was made, ISO 8601.
    """
    hashes = card["recipe"]["sha256"]
    packed = {path for path in RECORDS if path.endswith(".gz")}
    files = [_file(path, hashes[path], sizes[path]) for path in RECORDS if path in hashes]
    documents = card["documents"]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "description": f"{documents['kept']:,} of {documents['read']:,} documents kept; {card['tokens']['train']:,} training tokens. "
        "Made by Tenet; card.json beside it says from what, by which filters, and what was removed.",
        "conformsTo": VERSION,
        "license": sorted({row["licence"] for row in card["licences"]}),
        "datePublished": made,
        "version": "1.0.0",
        "distribution": files,
        "recordSet": [_records(path, record) for path, record in RECORDS.items() if path in hashes and path not in packed],
    }


def _file(path: str, digest: str, size: int) -> dict[str, Any]:
    kind = "application/gzip" if path.endswith(".gz") else "application/jsonlines"
    return {
        "@type": "cr:FileObject", "@id": RECORDS[path], "name": path.replace("/", "-"), "contentUrl": path,
        "contentSize": f"{size} B", "encodingFormat": kind, "sha256": digest,
    }  # fmt: skip


def _records(path: str, record: str) -> dict[str, Any]:
    def field(name: str) -> dict[str, Any]:
        source = {"fileObject": {"@id": RECORDS[path]}, "extract": {"column": name}}
        return {"@type": "cr:Field", "@id": f"{record}-rows/{name}", "name": name, "dataType": "sc:Text", "source": source}

    return {
        "@type": "cr:RecordSet",
        "@id": f"{record}-rows",
        "name": f"{record}-rows",
        "field": [field(name) for name in FIELDS],
    }
