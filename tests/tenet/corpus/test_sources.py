"""Every source gives the same kind of document, in shares that add up, or says what to do."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tenet.corpus import sources
from tenet.corpus.documents import document
from tenet.corpus.readers.local_files import FileNote
from tenet.domains.aws_api import sources as demo
from tenet.errors import ConfigError, StageError
from tenet.settings.corpus import SourceConfig


@pytest.fixture(autouse=True)
def botocore() -> None:
    """The demo's kind, as the stage registers it."""
    sources.register(demo.KIND, demo.documents, demo.check_source)


def ids(source: SourceConfig, world: int = 1) -> list[str]:
    return [document["id"] for rank in range(world) for document in sources.read(source, rank, world)]


def notes(source: SourceConfig) -> dict[str, FileNote]:
    return {item.file: item for item in sources.opened([source])[0].items() if isinstance(item, FileNote)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "texts"
    (root / "deep").mkdir(parents=True)
    (root / "a.txt").write_text("first text")
    (root / "empty.txt").write_text("  \n")
    (root / "picture.png").write_bytes(b"\x89PNG")
    (root / "deep" / "b.md.gz").write_bytes(gzip.compress("second tëxt".encode()))
    rows = [
        {"text": "third", "id": "x", "metadata": {"source": "books", "licence": "CC0-1.0", "url": "https://example.org"}},
        {"text": "fourth", "license": "MIT"},
    ]
    (root / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_a_folder_of_every_kind_of_file(folder: Path) -> None:
    found = list(sources.read(SourceConfig("folder", name=str(folder), licence="GPL-3.0")))
    assert [(d["id"], d["text"], d["metadata"]["source"], d["metadata"]["licence"]) for d in found] == [
        ("texts/a.txt", "first text", "texts", "GPL-3.0"),
        ("texts/c.jsonl:1/x", "third", "books", "CC0-1.0"),  # a row's own licence wins, the source fills gaps
        ("texts/c.jsonl:2", "fourth", "texts", "MIT"),
        ("texts/deep/b.md.gz", "second tëxt", "texts", "GPL-3.0"),
    ]
    assert all(d["metadata"]["group"] for d in found)
    assert {name: note.reason for name, note in notes(SourceConfig("folder", name=str(folder))).items() if note.reason} == {
        "texts/empty.txt": "empty",
        "texts/picture.png": "no reader for .png",
    }


def test_one_file_is_a_source_too(folder: Path) -> None:
    assert ids(SourceConfig("folder", name=str(folder / "a.txt"))) == ["a.txt/a.txt"]


@pytest.mark.parametrize("world", [1, 3, 8])
@pytest.mark.parametrize("kind", ["folder", "botocore", "cpython"])
def test_shares_add_up_to_the_whole(kind: Any, world: int, folder: Path) -> None:
    source = SourceConfig(kind, name={"folder": str(folder), "botocore": "sqs,sts,ecr", "cpython": ""}[kind])
    whole = ids(source)
    assert len(whole) == len(set(whole)) > 3
    assert sorted(ids(source, world)) == sorted(whole)


def test_two_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for name in ("shop", "wiki"):
        (tmp_path / name / "texts").mkdir(parents=True)
        (tmp_path / name / "texts" / "1.txt").write_text(f"a text of the {name}")
    both = sources.opened([SourceConfig("folder", name=str(tmp_path / name / "texts")) for name in ("shop", "wiki")])
    found = [item for source in both for item in source.items() if not isinstance(item, FileNote)]
    assert [item["id"] for item in found] == ["texts/1.txt", "texts-2/1.txt"]
    assert len({item["metadata"]["group"] for item in found}) == 2


def test_a_limit_holds_over_all_shares() -> None:
    source = SourceConfig("botocore", name="sqs,sts,ecr", max_bytes=10_000)
    texts = [document["text"] for rank in range(4) for document in sources.read(source, rank, 4)]
    assert 8_000 < sum(len(text.encode()) for text in texts) <= 10_000


def test_a_domain_brings_its_own_kind_of_source() -> None:
    def read(source: SourceConfig, rank: int = 0, world: int = 1) -> Iterator[dict[str, Any]]:
        yield from [document(f"text {i}", f"mine/{i}", "mine", "MIT") for i in range(5)][rank::world]

    sources.register("made_up", read)
    try:
        assert sorted(ids(SourceConfig("made_up"), 2)) == [f"mine/{i}" for i in range(5)]
    finally:
        del sources.READERS["made_up"]
    with pytest.raises(ConfigError, match=r"kind 'made_up': there are .*cpython, folder, huggingface"):
        sources.check_source(SourceConfig("made_up"))


def test_what_cannot_be_read_is_refused_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "a.xml").write_text("<a/>")
    (tmp_path / "books" / "b.XML").write_text("<b/>")
    (tmp_path / "books" / "c.pdf").write_bytes(b"%PDF-1.7")
    for source, message in (
        (SourceConfig("folder", name=str(tmp_path / "missing")), "no such file or folder"),
        (SourceConfig("folder"), "no such file or folder"),
        (SourceConfig("folder", name=str(tmp_path / "nothing")), "no files to read there .it is empty"),
        (
            SourceConfig("folder", name=str(tmp_path / "books")),
            r"1 x XML of another kind \(root element a\).*1 x not a valid PDF.*\.md",
        ),
        (SourceConfig("folder", name=str(tmp_path / "books" / "c.pdf")), r"1 x not a valid PDF"),
        (SourceConfig("folder", name=str(tmp_path), max_bytes=0), "max_bytes is 0, which takes nothing"),
        (SourceConfig("botocore", name="sqs,nosuch"), "no service nosuch"),
        (SourceConfig("huggingface", name="some/set"), "HF_HUB_OFFLINE"),
    ):
        with pytest.raises(ConfigError, match=message):
            sources.check_source(source)


def test_a_preview_counts_files_and_shows_a_document(folder: Path) -> None:
    head, first = sources.preview([SourceConfig("folder", name=str(folder), licence="MIT")])
    assert head.endswith("texts: 1 json, 1 not read: no reader for .png, 3 text")
    assert first == "    texts/a.txt (MIT): first text"
    with pytest.raises(ConfigError, match="no such file"):
        sources.preview([SourceConfig("folder", name="/nowhere")])


# --- Hugging Face ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, ...]]]:
    """A stand-in for the package `datasets` that streams five rows."""
    calls: list[tuple[Any, ...]] = []

    def load_dataset(name: str, subset: str | None, split: str, streaming: bool) -> list[dict[str, Any]]:
        calls.append((name, subset, split, streaming))
        if name == "gone":
            raise FileNotFoundError("no such data set")
        if name == "holes":
            return [{"body": None if i % 2 else f"row {i}"} for i in range(10)]
        return [{"body": f"row {i}", "url": f"https://example.org/{i}"} for i in range(5)]

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)
    yield calls


def test_a_hub_set_is_streamed_in_shares(hub: list[tuple[Any, ...]]) -> None:
    source = SourceConfig("huggingface", name="some/set", subset="en", column="body", licence="ODC-By-1.0")
    [first, *_] = sources.read(source)
    assert (first["text"], first["metadata"]["licence"]) == ("row 0", "ODC-By-1.0")
    assert hub[0] == ("some/set", "en", "train", True)
    assert sorted(ids(source, 2)) == [f"some/set/train:{i}" for i in range(5)]


def test_hub_errors_say_what_to_do(hub: list[tuple[Any, ...]]) -> None:
    with pytest.raises(ConfigError, match="kind: folder"):
        ids(SourceConfig("huggingface", name="gone"))
    with pytest.raises(ConfigError, match=r"no column 'text'.*body"):
        ids(SourceConfig("huggingface", name="some/set"))
    with pytest.raises(StageError, match=r"5 of 10 rows of holes cannot be read.*holes:1: body is null"):
        ids(SourceConfig("huggingface", name="holes", column="body"))


def test_a_missing_package_is_named(hub: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match="pip install datasets"):
        sources.check_source(SourceConfig("huggingface", name="some/set"))


def test_real_books_are_read(shared_data: Path) -> None:
    source = SourceConfig("folder", name=str(shared_data / "gutenberg"), licence="public domain", max_bytes=3_000_000)
    found = list(sources.read(source))
    assert len(found) > 100 and sum(len(d["text"]) for d in found) > 2_500_000
