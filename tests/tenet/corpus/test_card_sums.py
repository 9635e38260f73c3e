"""The card adds up, names web domains and who asked to be left out, and is a valid bill of materials."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tenet.cli.main import main
from tenet.corpus.cards.addresses import NO_ADDRESS
from tenet.corpus.cards.sums import check, faults
from tenet.errors import StageError
from tenet.files import read_json
from tenet.settings.corpus import FiltersConfig, SourceConfig
from tests.tenet.corpus.test_own_text import build, english
from tests.tenet.corpus.test_readers_containers import record


def response(address: str, text: str, header: str = "") -> bytes:
    """A WARC record of a page."""
    page = f"<html><body><article><h1>{address}</h1><p>{text}</p></article></body></html>"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n{header}Content-Length: {len(page)}\r\n\r\n"
    http = (head + page).encode()
    return record("response", http, address, **{"Content-Type": "application/http; msgtype=response"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A web archive with opted-out pages, a table with addresses, a folder with a copy and a page that opts out."""
    base = tmp_path_factory.mktemp("sums")
    pages = [response(f"https://www.one.example/{i}", english(f"one {i}")) for i in range(12)]
    pages += [response(f"https://two.example/{i}", english(f"two {i}", 20)) for i in range(3)]
    pages += [response(f"https://no.example/{i}", english(f"no {i}"), "X-Robots-Tag: noai\r\n") for i in range(4)]
    (base / "site.warc").write_bytes(b"".join(pages))
    rows = [{"text": english(f"row {i}"), "url": f"https://two.example/r{i}", "license": "MIT"} for i in range(10)]
    reserved = f"<html><head><meta name='tdm-reservation' content='1'></head><body><p>{english('row x')}</p></body></html>"
    rows += [{"text": reserved, "url": "https://rows.example/x"}, {"text": english("refused"), "license": "CC-BY-NC-4.0"}]
    (base / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = base / "own"
    folder.mkdir()
    for i in range(20):
        (folder / f"{i}.txt").write_text(english(f"own {i}"))
    (folder / "copy.txt").write_text(english("own 3"))
    (folder / "signs.txt").write_text("#### ++++ #### ++++ " * 40)
    (folder / "reserved.html").write_text(reserved)
    sources = tuple(SourceConfig("folder", str(base / name), licence="CC0-1.0") for name in ("site.warc", "rows.jsonl", "own"))
    return build(base / "run", base, sources=sources, filters=FiltersConfig(refuse_licences=("noncommercial",)))


def test_every_number_of_the_card_adds_up(made: Path) -> None:
    card = read_json(made / "card.json")
    assert faults(card) == []
    gone = {row["filter"]: row["documents_in"] - row["documents_out"] for row in card["filters"]}
    assert gone["licence"] == 1 and gone["exact duplicate"] == 1 and gone["quality"] + gone["repetition"] >= 1
    own = next(row for row in card["sources"] if "own" in row["source"])
    assert own["removed"]["exact duplicate"] == 1 and own["documents"] == own["documents_kept"] + sum(own["removed"].values())


def test_a_number_that_is_changed_is_noticed(made: Path) -> None:
    """Every count that the card has, one more: at least one sum is wrong."""
    card = read_json(made / "card.json")
    places: list[tuple[Any, Any]] = [(card["documents"], key) for key in card["documents"]]
    places += [(card["bytes"], key) for key in card["bytes"]]
    for row in card["filters"]:
        places += [(row, key) for key in ("documents_in", "documents_out", "bytes_in", "bytes_out")]
        places += [(row["reasons"], key) for key in row["reasons"]]
    for row in card["sources"]:
        places += [(row, key) for key in ("documents", "bytes", "documents_kept", "bytes_kept")]
        places += [(row["removed"], key) for key in row["removed"]]
    places += [(row, key) for row in card["licences"] for key in ("documents", "bytes")]
    for holder, key in places:
        holder[key] += 1
        assert faults(card), key
        holder[key] -= 1
    assert len(places) > 60 and not faults(card)
    wrong = copy.deepcopy(card)
    wrong["documents"]["kept"] += 1
    with pytest.raises(StageError, match=r"sums of the card do not add up \(documents kept and those of the splits: 4\d and 4\d"):
        check(wrong)


def test_domains_and_opt_outs_are_named(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = read_json(made / "card.json")
    domains = card["domains"]
    assert domains["domains"] == 2 and domains["documents"] == 25
    two, one = ({row["domain"]: row for row in domains["largest"]}[name] for name in ("two.example", "one.example"))
    assert (two["documents"], two["licences"], one["documents"]) == (13, ["CC0-1.0", "MIT"], 12)
    assert domains["bytes"] == one["bytes"] + two["bytes"] and domains["largest"][0]["bytes"] >= domains["largest"][1]["bytes"]
    assert card["opted_out"] == {"no.example": 4, NO_ADDRESS: 1, "rows.example": 1}
    assert card["files"]["rows_refused"] == 0, "an opted-out row is no fault of the file"
    assert main(["corpus", "inspect", str(made.parent)]) == 0
    said = capsys.readouterr().out
    assert "web domains: 2, 25 documents with an address" in said and "asked to be left out: 4 of no.example" in said


def test_the_bill_of_materials_is_valid_and_says_what_went_in(made: Path, tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert main(["corpus", "card", str(made.parent), "--out", str(tmp_path)]) == 0
    text = (tmp_path / "bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document, card = json.loads(text), read_json(made / "card.json")
    corpus = document["metadata"]["component"]
    assert corpus["type"] == "data" and {one["license"]["id"] for one in corpus["licenses"]} == {"CC0-1.0", "MIT"}
    for file in corpus["components"]:
        assert file["hashes"][0]["content"] == hashlib.sha256((made / file["name"]).read_bytes()).hexdigest()
    facts = {one["name"]: one["value"] for one in corpus["properties"]}
    assert facts["tenet:documents-kept"] == str(card["documents"]["kept"]) and facts["tenet:pages-opted-out"] == "6"
    parts = {part["bom-ref"]: part for part in document["components"]}
    for row in card["sources"]:
        part = parts[f"source:{row['source']}"]
        assert part["hashes"][0]["content"] == row["sha256"]
        assert {"name": "tenet:documents-kept", "value": str(row["documents_kept"])} in part["properties"]
    assert parts["domain:two.example"]["externalReferences"][0]["url"] == "https://two.example/"
    assert next(d["dependsOn"] for d in document["dependencies"] if d["ref"] == "corpus") == sorted(parts)
    page = (tmp_path / "card.html").read_text()
    assert "Web domains by size" in page and "no.example" in page and "asked to be left out" in page
    again = tmp_path / "again"
    assert main(["corpus", "card", str(made.parent), "--out", str(again)]) == 0
    assert (again / "bom.cdx.json").read_text() == text


def test_a_card_of_an_earlier_version_is_refused(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = read_json(made / "card.json")
    (tmp_path / "card.json").write_text(json.dumps({key: value for key, value in card.items() if key != "domains"}))
    for word in ("inspect", "card"):
        assert main(["corpus", word, str(tmp_path)]) == 2
        assert "is of an earlier version; make the corpus again" in capsys.readouterr().err
