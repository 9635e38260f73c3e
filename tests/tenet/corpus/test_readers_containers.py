"""Tables, archives, web archives and data sets in shards: their rows and members, and what is named in their place when
they are broken."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenet.corpus import sources
from tenet.corpus.readers.filenotes import FileNote
from tenet.corpus.readers.formats import archives
from tenet.settings.corpus import SourceConfig
from tests.tenet.corpus.test_readers import opened
from tests.tenet.corpus.test_readers_formats import zipped


def zst(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("delimiter", "name"), [(",", "t.csv"), (";", "t.csv"), ("\t", "t.tsv")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_a_table_with_a_text_column(tmp_path: Path, delimiter: str, name: str, encoding: str) -> None:
    d = delimiter
    content = f'id{d}text{d}url\r\n1{d}"one, t\u00ebxt;\r\nin two lines"{d}u1\r\n2{d}caf\u00e9{d}u2\r\n3{d}too short\r\n\r\n4{d}""{d}u4\r\n'
    (tmp_path / name).write_bytes(content.encode(encoding))
    found, notes = opened(tmp_path / name, most_refused=0.5)
    assert [(item["text"], item["metadata"]["url"]) for item in found] == [("one, tëxt;\nin two lines", "u1"), ("café", "u2")]
    assert found[0]["id"] == f"{name}/{name}:2/1"
    note = notes[name]
    assert (note.documents, note.empty, note.rows) == (2, 1, [(5, "2 fields where the header has 3")])
    assert opened(tmp_path / name, column="body", most_refused=1)[1][name].reason.startswith(
        "no column 'body' (there are id, text, url"
    )


def test_arrow_files_and_streams(tmp_path: Path) -> None:
    table = pa.table({"text": ["one", None, "two"], "licence": ["MIT", "MIT", "CC0-1.0"], "other": [1, 2, 3]})
    with pa.OSFile(str(tmp_path / "file.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "saved").mkdir()
    with (
        pa.OSFile(str(tmp_path / "saved" / "data-00000-of-00001.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=1)
    (tmp_path / "saved" / "state.json").write_text('{\n "_fingerprint": "x"\n}')
    stream = (tmp_path / "saved" / "data-00000-of-00001.arrow").read_bytes()
    (tmp_path / "packed.arrow.zst").write_bytes(zst((tmp_path / "file.arrow").read_bytes()))
    (tmp_path / "cut.arrow").write_bytes(stream[: len(stream) * 2 // 3])
    (tmp_path / "no.arrow").write_bytes(b"nothing like it")
    found, notes = opened(tmp_path, most_refused=0.5)
    for name in ("file.arrow", "saved/data-00000-of-00001.arrow", "packed.arrow.zst"):
        texts = [(item["text"], item["metadata"]["licence"]) for item in found if f"/{name}:" in item["id"]]
        assert texts == [("one", "MIT"), ("two", "CC0-1.0")] and notes[name].rows == [(2, "text is null")]
    assert "broken behind row" in notes["cut.arrow"].reason and notes["no.arrow"].reason.startswith("not valid Arrow")
    assert notes["saved/state.json"].reason.startswith("no column 'text'")


def test_a_flipped_bit_in_arrow_costs_a_row_and_not_the_process(tmp_path: Path) -> None:
    table = pa.table({"text": [f"row {n} of the table" for n in range(8)]})
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data = (tmp_path / "x.arrow").read_bytes()
    (tmp_path / "x.arrow").write_bytes(data.replace(b"row 3", b"row \xff"))
    offset = data.index((18).to_bytes(4, "little") + (36).to_bytes(4, "little"), data.index(b"text"))
    (tmp_path / "y.arrow").write_bytes(data[: offset + 3] + b"\x7f" + data[offset + 4 :])
    found, notes = opened(tmp_path, most_refused=0.5)
    assert [item["text"][4] for item in found if "/x.arrow:" in item["id"]] == list("0124567")
    assert notes["x.arrow"].rows[0][0] == 4 and notes["x.arrow"].rows[0][1].startswith("broken value")
    assert notes["y.arrow"].documents + notes["y.arrow"].refused == 8 and notes["y.arrow"].refused >= 1


# --- packed and in archives -------------------------------------------------------------------------------------------


def tarred(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return held.getvalue()


def test_archives_are_folders(tmp_path: Path) -> None:
    mit = b"Permission is hereby granted, free of charge, to any person obtaining a copy"
    inside = {
        "LICENSE": mit,
        "src/a.c": b"int x;\n",
        "b.txt.gz": gzip.compress(b"text b"),
        "rows.jsonl": b'{"text": "row"}\n{"text": 1}\n',
        "deep.zip": b"PK\x03\x04",
        "pic.png": b"\x89PNG",
        ".hidden": b"x",
    }
    (tmp_path / "a.zip").write_bytes(zipped(dict(inside)))
    for name, pack in (("b.tar", bytes), ("c.tar.gz", gzip.compress), ("d.tar.xz", lzma.compress), ("e.tar.bz2", bz2.compress)):
        (tmp_path / name).write_bytes(pack(tarred(inside)))
    (tmp_path / "f.tar.zst").write_bytes(zst(tarred(inside)))
    found, notes = opened(tmp_path, most_refused=0.5)
    for name in ("a.zip", "b.tar", "c.tar.gz", "d.tar.xz", "e.tar.bz2", "f.tar.zst"):
        mine = {item["id"].partition("!/")[2]: item for item in found if f"/{name}!/" in item["id"]}
        assert {key: item["text"] for key, item in mine.items()} == {
            "src/a.c": "int x;\n",
            "b.txt.gz": "text b",
            "rows.jsonl:1": "row",
        }
        assert mine["src/a.c"]["metadata"]["licence"] == "MIT"
        assert notes[name].kind == "archive" and notes[name].documents == 3 and notes[name].bytes > 0
        assert notes[f"{name}!/deep.zip"].reason == "archive inside an archive (unpack it first)"
        assert notes[f"{name}!/pic.png"].reason == "no reader for .png" and notes[f"{name}!/.hidden"].reason == "hidden file"
        assert notes[f"{name}!/rows.jsonl"].rows == [(2, "text is a int, not text")]
        assert name == "a.zip" or notes[f"{name}!/link.txt"].reason == "link or device"


def test_bombs_and_broken_archives_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = zipped({"good.txt": "good", "zeros.txt": b"0" * 3_000_000})
    (tmp_path / "bomb.zip").write_bytes(whole)
    (tmp_path / "cut.tar.gz").write_bytes(
        gzip.compress(tarred({"good.txt": b"good " * 5_000, "z.txt": bytes(range(256)) * 400}))[:-300]
    )
    (tmp_path / "none.zip").write_bytes(b"PK\x03\x04nothing")
    monkeypatch.setattr(archives, "_FREE", 1_000_000)
    found, notes = opened(tmp_path)
    assert any(item["id"].endswith("bomb.zip!/good.txt") for item in found)
    assert "unpacks to more than it may" in notes["bomb.zip"].reason
    assert notes["cut.tar.gz"].reason.startswith("archive cannot be read on") and "good.txt" in "".join(
        item["id"] for item in found
    )
    assert notes["none.zip"].reason.startswith("archive cannot be read on")


def test_zst_is_read_everywhere_and_a_cut_one_is_named(tmp_path: Path) -> None:
    text = "zëst " * 2_000
    (tmp_path / "a.txt.zst").write_bytes(zst(text.encode()) + zst(b"second frame"))
    (tmp_path / "r.jsonl.zst").write_bytes(zst(b'{"text": "row"}\n'))
    (tmp_path / "cut.txt.zst").write_bytes(zst(text.encode())[:-6])
    found, notes = opened(tmp_path)
    assert "".join(item["text"] for item in found if "a.txt.zst" in item["id"]).endswith("second frame")
    assert [item["text"] for item in found if "jsonl" in item["id"]] == ["row"]
    assert notes["cut.txt.zst"].reason == "cannot be opened (Truncated compressed stream)"


# --- web archives -----------------------------------------------------------------------------------------------------


def record(kind: str, body: bytes, address: str = "http://example.org/", **headers: str) -> bytes:
    named = {"WARC-Type": kind, "WARC-Target-URI": address, "WARC-Date": "2024-05-01T10:00:00Z", **headers}
    head = "".join(f"{key}: {value}\r\n" for key, value in named.items())
    return f"WARC/1.0\r\nWARC-Record-ID: <urn:uuid:1>\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body + b"\r\n\r\n"


def response(body: str | bytes, content: str = "text/html", status: str = "200 OK", more: str = "") -> bytes:
    data = body.encode() if isinstance(body, str) else body
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content}\r\n{more}Content-Length: {len(data)}\r\n\r\n".encode()
    return record("response", head + data, **{"Content-Type": "application/http; msgtype=response"})


PAGE = "<html><body><p>The baker rose at four.</p></body></html>"


def test_web_archives(tmp_path: Path) -> None:
    noai = '<html><head><meta name="robots" content="index, NoAI"></head><body><p>Mine.</p></body></html>'
    russian = "<html><body><p>Мальчик шёл по лесу.</p></body></html>"
    records = [
        record("warcinfo", b"software: x\r\n"),
        response(PAGE),
        response(PAGE, status="404 Not Found"),
        response(b"\x89PNG", "image/png"),
        response(PAGE, more="TDM-Reservation: 1\r\n"),
        response(PAGE, more="X-Robots-Tag: noindex, noai\r\n"),
        response(noai),
        response(PAGE, more="tdm-reservation: 0\r\n"),
        response(russian.encode("koi8-r"), "text/html; charset=koi8-r"),
        response(gzip.compress(PAGE.encode()), more="Content-Encoding: gzip\r\n"),
        response("<html><body><script>x</script></body></html>"),
        response(b"<html><body><p>" + "größer ".encode() * 9 + b"\xff\xfe</p></body></html>"),
        record("conversion", "Текст".encode(), **{"Content-Type": "text/plain"}),
    ]
    (tmp_path / "a.warc").write_bytes(b"".join(records))
    (tmp_path / "b.warc.gz").write_bytes(b"".join(map(gzip.compress, records)))
    (tmp_path / "c.warc.zst").write_bytes(b"".join(map(zst, records)))
    (tmp_path / "d.wet.gz").write_bytes(gzip.compress(records[-1]))
    (tmp_path / "cut.warc").write_bytes(b"".join(records[:2]) + records[1][:-20])
    (tmp_path / "noise.warc").write_bytes(b"".join(records[:2]) + b"nonsense\r\n\r\n" + records[1])
    (tmp_path / "no.warc").write_bytes(b"nothing")
    found, notes = opened(tmp_path)
    for name in ("a.warc", "b.warc.gz", "c.warc.zst"):
        mine = [item for item in found if f"/{name}:" in item["id"]]
        baker = "The baker rose at four.\n"
        assert [item["text"] for item in mine] == [baker, baker, "Мальчик шёл по лесу.\n", baker, "Текст"]
        assert mine[0]["id"].endswith(f"/{name}:2")
        assert mine[0]["metadata"]["url"] == "http://example.org/" and mine[0]["metadata"]["time"] == "2024-05-01T10:00:00Z"
        note = notes[name]
        assert note.unused == {
            "warcinfo record": 1,
            "status 404": 1,
            "image/png": 1,
            "opted out (TDM reservation)": 3,
            "HTML without visible text": 1,
        }
        assert note.refused == 1 and note.rows[0][0] == 12 and note.rows[0][1].startswith("broken UTF-8")
        assert note.documents + note.refused + sum(note.unused.values()) == len(records)
    assert notes["d.wet.gz"].documents == 1 and notes["no.warc"].reason.startswith("not valid WARC")
    assert notes["cut.warc"].documents == 1 and notes["cut.warc"].rows[0][1].startswith("cut off: ")
    assert notes["noise.warc"].documents == 1 and "the file is broken from here on" in notes["noise.warc"].rows[0][1]


def test_the_web_archives_of_others(data: Path | None) -> None:
    if data is None:
        pytest.skip("../shared/data is not beside this checkout; the archives that the tests above write cover the code")
    found, notes = opened(data / "warc_samples")
    assert {note.reason for note in notes.values() if note.reason} == {
        "no reader for .arc",
        "no reader for .bad",
        "no suffix that says what it is",
    }
    assert sum(note.documents for note in notes.values()) == len(found) == 8
    assert notes["example-trunc.warc"].refused == 1


@pytest.fixture
def data() -> Path | None:
    """The shared data, where it is."""
    there = Path(__file__).parents[4] / "shared" / "data"
    return there if (there / "manifest.json").exists() else None


@settings(max_examples=40, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from(["pdf", "docx", "epub", "xml", "tex", "warc", "arrow", "csv", "zip", "tar", "parquet", "html", "c"]),
)
def test_noise_is_named_whatever_its_name(tmp_path_factory: pytest.TempPathFactory, noise: bytes, suffix: str) -> None:
    folder = tmp_path_factory.mktemp("noise")
    (folder / f"x.{suffix}").write_bytes(noise)
    items: list[Any] = list(opened(folder, most_refused=1.0)[1].values())
    assert [type(item) for item in items] == [FileNote] and (items[0].reason or items[0].kind)


def test_a_data_set_in_shards_is_shared_out_by_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shards(list[dict[str, str]]):
        num_shards = 5
        opened: ClassVar[list[int]] = []

        def shard(self, num_shards: int, index: int) -> list[dict[str, str]]:
            assert num_shards == 5
            self.opened.append(index)
            return [{"text": f"shard {index} row {n}"} for n in range(3)]

    module = ModuleType("datasets")
    module.load_dataset = lambda *args, **more: Shards()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)
    source = SourceConfig("huggingface", name="some/set")
    whole = [item["id"] for item in sources.read(source)]
    assert len(set(whole)) == 15 and whole[4] == "some/set/train-00001-of-00005:1"
    Shards.opened.clear()
    assert [item["text"][:7] for item in sources.read(source, 1, 3)] == ["shard 1"] * 3 + ["shard 4"] * 3
    assert Shards.opened == [1, 4]
    for world in (2, 7):
        assert sorted(item["id"] for rank in range(world) for item in sources.read(source, rank, world)) == sorted(whole)
    assert json.dumps(whole)
