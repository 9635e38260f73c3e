"""The whole stage on people's own text: one file, another language, a folder of everything. No rows without a
domain."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tenet.corpus.documents import Document
from tenet.domains.loading import load_domain
from tenet.errors import ConfigError, StageError
from tenet.files import read_json, read_jsonl
from tenet.runs.execute import execute
from tenet.settings.corpus import CorpusConfig, SourceConfig
from tenet.stages import corpus

NOUNS = [
    "harbour",
    "lantern",
    "orchard",
    "quarry",
    "ferry",
    "mill",
    "bridge",
    "cellar",
    "gardener",
    "tailor",
    "baker",
    "pilot",
    "clerk",
    "stable",
    "ledger",
    "anchor",
    "kettle",
    "barrel",
]
VERBS = [
    "repaired",
    "painted",
    "carried",
    "measured",
    "borrowed",
    "counted",
    "polished",
    "delivered",
    "collected",
    "examined",
    "sorted",
    "described",
]


def english(seed: object, sentences: int = 12) -> str:
    """Words in the shape of English prose that no other seed gives."""
    pick = random.Random(f"own text {seed}")
    words = [*NOUNS, *VERBS, "the", "of", "and", "that", "with", "have"]
    return " ".join(" ".join(pick.choices(words, k=11)).capitalize() + "." for _ in range(sentences))


def build(run: Path, path: Path, **changes: Any) -> Path:
    settings: dict[str, Any] = {
        "sources": (SourceConfig("folder", name=str(path), licence="CC0-1.0"),), "evaluation": (), "vocab_size": 300, "workers": 1,
    }  # fmt: skip
    config = CorpusConfig(**{**settings, **changes})
    execute(run, "corpus", (), config, corpus.run, seed=0, foreign={"model.max_position_embeddings": 512})
    return run / "corpus"


def kept(folder: Path) -> list[Document]:
    train = gzip.decompress((folder / "documents" / "train.jsonl.gz").read_bytes()).decode().splitlines()
    return [json.loads(line) for line in train] + [
        row for split in ("valid", "test") for row in read_jsonl(folder / "heldout" / f"{split}.jsonl")
    ]


def test_one_book_is_split_within(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("\n\n".join(english(i) for i in range(60)))
    made = build(tmp_path / "run", tmp_path / "book.txt")
    card, summary = read_json(made / "card.json"), read_json(made / "summary.json")
    assert all(card["documents"][split] > 0 for split in ("train", "valid", "test"))
    assert card["documents"]["train"] > 0.8 * card["documents"]["kept"]
    assert card["heldout_how"].startswith("the last part of each file") and "the ends of 1 documents" in summary["headline"]
    assert not any((made / name).exists() for name in ("instructions", "preferences", "requests", "skipped.jsonl"))
    assert card["rows"] == {} and card["files"]["read"] == {"text": 1}
    assert {key for d in kept(made) for key in d["metadata"]} == {"source", "licence", "url", "kind", "group", "section"}
    last = max(kept(made), key=lambda d: int(d["id"].partition("#")[2] or 1))
    assert last["id"] in {row["id"] for row in read_jsonl(made / "heldout" / "test.jsonl")}


def test_what_was_left_out_stands_in_headline_and_files(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    rows = [{"text": english(i), "id": f"article-{i // 4}"} for i in range(80)] + [{"text": None}]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "paper.odt").write_bytes(b"PK\x03\x04 ...")
    (root / "windows.txt").write_bytes(("Zoë paid the café in Málaga. " + english("windows")).encode("cp1252"))
    made = build(tmp_path / "run", root)
    assert read_jsonl(made / "skipped.jsonl") == [
        {"file": "mine/paper.odt", "reason": "no reader for .odt", "bytes": 8},
        {"file": "mine/rows.jsonl", "row": 81, "reason": "text is null"},
    ]
    headline = read_json(made / "summary.json")["headline"]
    assert "1 files or folders not read (1 x no reader for .odt; skipped.jsonl); 1 rows refused" in headline
    card = read_json(made / "card.json")
    assert card["files"]["encodings_guessed"] == [{"file": "mine/windows.txt", "encoding": "cp1252"}]
    documents = kept(made)
    assert len(documents) == 81 and sum("Zoë paid the café in Málaga" in d["text"] for d in documents) == 1
    split_of: dict[str, set[str]] = {}
    for split in ("valid", "test"):
        for row in read_jsonl(made / "heldout" / f"{split}.jsonl"):
            split_of.setdefault(row["metadata"]["group"], set()).add(split)
    assert all(len(splits) == 1 for splits in split_of.values())  # passages of one article stay together


def test_too_little_text_says_so_with_numbers(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text(english(1))
    with pytest.raises(StageError, match=r"\d documents of 1 files or rows are left .* at least 10"):
        build(tmp_path / "run", tmp_path / "note.txt")


def test_a_filter_that_takes_all_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "signs.txt").write_text("\n\n".join("# " * 300 for _ in range(20)))
    with pytest.raises(StageError, match=r"none of them passed the filters; quality \(.*\) removed .*corpus\.filters"):
        build(tmp_path / "run", tmp_path / "signs.txt")


def test_rows_of_a_domain_are_written_by_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "book.txt").write_text("\n\n".join(english(i) for i in range(60)))
    asked = []

    def make(**given: Any) -> dict[str, list[dict[str, Any]]]:
        asked.append((given["split"], given["most"], min(map(len, given["documents"].values()))))
        return {"conversations": [{"messages": [{"role": "user", "content": given["split"]}]}], "prompts": []}

    guest = corpus.Guest(sources=(SourceConfig("folder", name=str(tmp_path / "book.txt")),), make_rows=make, groups="chapters")
    monkeypatch.setattr(corpus, "guest_of", lambda config, domain: guest)
    made = build(tmp_path / "run", tmp_path, sources=(), instructions="all", preferences=0, requests=7)
    assert [split for split, _, _ in asked] == ["train", "valid", "test"] and all(n for _, _, n in asked)
    assert asked[0][1] == {"conversations": None, "preferences": 0, "prompts": 7}
    assert read_jsonl(made / "instructions" / "test.jsonl") == [{"messages": [{"role": "user", "content": "test"}]}]
    assert "chapters held out" in read_json(made / "summary.json")["headline"]


def test_a_preview_opens_the_sources(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Title\n\nText.")
    config = CorpusConfig(sources=(SourceConfig("folder", name=str(tmp_path)),))
    assert any("1 text" in line for line in corpus.preview(config))
    with pytest.raises(ConfigError, match="sources is empty"):
        corpus.preview(CorpusConfig())
    shown = corpus.preview(CorpusConfig(sources=(SourceConfig("botocore", name="sqs"),)), load_domain("aws_api"))
    assert shown[0] == "source botocore sqs" and shown[1].startswith("    botocore/sqs/")
    with pytest.raises(ConfigError, match="no such file or folder"):
        corpus.preview(CorpusConfig(sources=(SourceConfig("folder", name="/nowhere"),)))
