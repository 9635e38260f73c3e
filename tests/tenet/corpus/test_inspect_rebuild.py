"""A finished corpus answers where a text went, and comes again from its card."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tenet.cli.corpus.corpus_tools import source_flags
from tenet.cli.main import main
from tenet.corpus.cards.findings import moved
from tenet.corpus.cards.inspection import corpus_folder, documents, find, samples
from tenet.errors import ConfigError
from tenet.files import read_json
from tenet.settings.corpus import FiltersConfig, SourceConfig
from tests.tenet.corpus.test_own_text import build, english


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders, one of them small and wanted three times as often; a copy, some gibberish, a licence that is
    refused."""
    base = tmp_path_factory.mktemp("made")
    for name, count in (("many", 40), ("few", 20)):
        folder = base / name
        folder.mkdir()
        for i in range(count):
            (folder / f"{i:02}.txt").write_text(f"Page {name} number {i}. {english(f'{name} {i}')}")
    (base / "many" / "copy.txt").write_text((base / "many" / "00.txt").read_text())
    (base / "many" / "signs.txt").write_text("#### ++++ #### ++++ " * 40)
    rows = [{"text": english(f"row {i}"), "license": "CC-BY-NC-4.0" if i < 5 else "MIT"} for i in range(20)]
    (base / "few" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = tuple(SourceConfig("folder", str(base / n), licence="CC0-1.0", weight=w) for n, w in (("many", 1.0), ("few", 3.0)))
    build(base / "run", base, sources=sources, filters=FiltersConfig(refuse_licences=("noncommercial",)))
    return base


def test_each_document_is_in_one_place_and_none_is_lost(made: Path) -> None:
    folder, card = made / "run" / "corpus", read_json(made / "run" / "corpus" / "card.json")
    places = [place for place, _ in documents(folder)]
    assert len(places) == card["documents"]["read"] >= 82  # a long file makes two
    for split in ("train", "valid", "test"):
        assert places.count(split) == card["documents"][split] > 0
    first = card["filters"][0]
    assert first["filter"] == "licence" and first["documents_in"] == len(places) == first["documents_out"] + 5
    assert first["reasons"] == {"noncommercial: CC-BY-NC-4.0": 5}


def test_where_did_this_text_go(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made / "run" / "corpus"
    (hit,), total = find(folder, "page FEW   number 7.")
    assert total == 1 and hit.id == "few/07.txt" and hit.place in ("train", "valid", "test") and not hit.why
    copies = {hit.id: hit for hit in find(folder, "Page many number 0.")[0]}
    gone = next(hit for hit in copies.values() if hit.place == "removed")
    assert gone.why.startswith("exact duplicate: same as many/") and len(copies) == 2
    assert main(["corpus", "inspect", str(made / "run"), "--find", "signs.txt"]) == 0
    shown = capsys.readouterr().out
    assert "removed (quality: gopher" in shown and "1 found" in shown
    assert main(["corpus", "inspect", str(made / "run"), "--find", "nobody wrote this"]) == 0
    assert "0 found" in capsys.readouterr().out


def test_samples_and_overview(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made / "run" / "corpus"
    drawn = samples(folder, "removed", "licence", "noncommercial", count=3)
    assert len({hit.id for hit in drawn}) == 3 and all(hit.licence == "CC-BY-NC-4.0" for hit in drawn)
    assert samples(folder, "train", count=3, seed=1) != samples(folder, "train", count=3, seed=2)
    assert main(["corpus", "inspect", str(made / "run")]) == 0
    shown = capsys.readouterr().out
    assert "5 noncommercial: CC-BY-NC-4.0" in shown and "mix: " in shown and "few 75.0% asked" in shown
    with pytest.raises(ConfigError, match="--filter 'luck': there are licence, quality"):
        samples(folder, "removed", "luck")
    with pytest.raises(ConfigError, match="no finished corpus stage"):
        corpus_folder(made / "many")


def test_the_mix_is_in_the_tokens(made: Path) -> None:
    folder = made / "run" / "corpus"
    card, manifest = read_json(folder / "card.json"), read_json(folder / "tokens" / "manifest.json")
    many, few = card["mix"]
    assert few["epochs"] == pytest.approx(4, abs=0.2) and few["bytes"] / (few["bytes"] + many["bytes"]) == pytest.approx(
        0.75, abs=0.02
    )
    (train,) = [shard for shard in manifest["shards"] if shard["name"] == "train"]
    assert train["text_bytes"] == many["bytes"] + few["bytes"] and train["documents"] > card["documents"]["train"]


def test_a_corpus_comes_again_from_its_card_elsewhere(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved: list[Any] = []
    for name in ("many", "few"):
        moved.append(tmp_path / "elsewhere" / name)
        shutil.copytree(made / name, moved[-1])
    words = ["corpus", "rebuild", str(made / "run"), "--sources", *map(str, moved), "--run"]
    assert main([*words, str(tmp_path / "again")]) == 0
    said = capsys.readouterr().out
    hashes = read_json(made / "run" / "corpus" / "card.json")["recipe"]["sha256"]
    assert f"{len(hashes)} of {len(hashes)} hashes are equal" in said and "tokens/train.ds" in hashes
    assert main([*words, str(tmp_path / "again")]) == 2, "a run that has a corpus is not overwritten"
    (moved[0] / "05.txt").write_text(english("something else"))
    assert main([*words, str(tmp_path / "other")]) == 1
    assert "different: tokens/train.ds has other bytes" in capsys.readouterr().out


def test_cards_that_are_none(made: Path, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{}")
    assert main(["corpus", "rebuild", str(tmp_path / "card.json"), "--run", str(tmp_path / "r")]) == 2
    assert main(["corpus", "rebuild", str(made / "run"), "--sources", "one", "--run", str(tmp_path / "r")]) == 2
    assert main(["corpus", "rebuild", str(tmp_path / "nothing"), "--run", str(tmp_path / "r")]) == 2
    assert not (tmp_path / "r").exists()


def test_another_threshold_is_judged_without_reading_again(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made / "run" / "corpus"
    now = read_json(folder / "card.json")["filters"]
    (quality,) = [row for row in now if row["filter"] == "quality"]
    hashes = moved(folder, "gopher_too_many_hashes", 1e9)
    assert hashes.broken == 1 and hashes.broken_then == 0 and not hashes.back, "the signs break other rules too"
    stricter = moved(folder, "gopher_short_doc", 10_000)
    passed = sum(row["place"] != "removed" for row in rows_of(folder))
    assert len(stricter.gone) == passed and stricter.broken_then == stricter.asked >= passed
    assert quality["documents_in"] - quality["documents_out"] >= hashes.broken
    assert main(["corpus", "inspect", str(made / "run"), "--threshold", "gopher_short_doc=10000", "-n", "2"]) == 0
    assert f"{passed} would be removed: " in capsys.readouterr().out
    assert main(["corpus", "inspect", str(made / "run"), "--threshold", "gopher_short_doc"]) == 2
    assert main(["corpus", "inspect", str(made / "run"), "--threshold", "luck=1"]) == 2


def rows_of(folder: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(folder / "documents" / "numbers.parquet").to_pylist()
    return rows


def test_the_card_as_a_page_and_as_a_data_set(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "card", str(made / "run")]) == 0
    page, data_set = map(Path, capsys.readouterr().out.split(" (")[0].split())
    shown = page.read_text()
    card = read_json(made / "run" / "corpus" / "card.json")
    for said in ("noncommercial: CC-BY-NC-4.0", "Languages (all, by py3langid)", card["recipe"]["sha256"]["tokens/train.ds"]):
        assert said in shown
    croissant = read_json(data_set)
    assert croissant["license"] == ["CC0-1.0", "MIT"]
    for file in croissant["distribution"]:
        content = (made / "run" / "corpus" / file["contentUrl"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest() and file["contentSize"] == f"{len(content)} B"
    named = {file["@id"] for file in croissant["distribution"]}
    sources = [field["source"] for records in croissant["recordSet"] for field in records["field"]]
    assert len(sources) == 4 and {source["fileObject"]["@id"] for source in sources} == {"valid", "test"} <= named


def test_sources_by_name(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.yaml").write_text("x")
    words = ["--sources", str(made / "many"), "cpython", "owner/set:test", "--run", "r"]
    sources = json.loads(source_flags(words)[1])
    assert [s["kind"] for s in sources] == ["folder", "cpython", "huggingface"] and sources[2]["split"] == "test"
    assert (
        source_flags(words)[2:] == ["--run", "r"] and source_flags(["--sources", "[{kind: cpython}]"])[1] == "[{kind: cpython}]"
    )
    with pytest.raises(ConfigError, match=r"'no/such/file\.txt': no such file or folder"):
        source_flags(["--sources=no/such/file.txt"])
    assert main(["corpus", "--sources", str(made / "many"), "--dry-run", "--domain=", "--run", str(tmp_path / "r")]) == 0
    assert "source folder" in capsys.readouterr().out
