"""Files as editors, shells and exporters leave them: what is readable is read, what is not is named by file and
line."""

from __future__ import annotations

import gzip
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from tenet.errors import ConfigError
from tenet.rows import guess_kind, read_table
from tenet.rows.records import records


def chat(i: int) -> dict[str, Any]:
    asked, said = f"Where is lamp {i}?", f"Beside door {i}."
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}


CHATS = [chat(i) for i in range(6)]
LINES = [json.dumps(row) for row in CHATS]


def written(path: Path, text: str, encoding: str = "utf-8") -> str:
    path.write_bytes(text.encode(encoding))
    return str(path)


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("a.jsonl", "\n".join(LINES) + "\n", "utf-8"),
        ("a.jsonl", "\r\n".join(LINES), "utf-8"),
        ("a.jsonl", "\n".join(LINES) + "\n\n  \n", "utf-8"),
        ("a.jsonl", "\n\n" + "\n\n".join(LINES), "utf-8"),
        ("a.jsonl", "\n".join(LINES), "utf-8-sig"),
        ("a.jsonl", "\r\n".join(LINES), "utf-16"),
        ("A.JSONL", "\n".join(LINES), "utf-8"),
        ("a.json", json.dumps(CHATS), "utf-8"),
        ("a.json", json.dumps(CHATS, indent=2), "utf-8-sig"),
        ("a.json", "\n".join(LINES), "utf-8"),
        ("a.jsonl", json.dumps(CHATS), "utf-8"),
        ("a.json", json.dumps({"version": 1, "data": CHATS}, indent=1), "utf-8"),
    ],
)
def test_one_content_in_many_forms(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    table = read_table(written(tmp_path / name, text, encoding), "conversations")
    assert [row["messages"] for row in table.rows] == [row["messages"] for row in CHATS]
    assert not table.refused and table.format == "messages"


def test_packed_columns_and_tables(tmp_path: Path) -> None:
    content = "\n".join(LINES).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content))
    with pyarrow.output_stream(str(tmp_path / "a.jsonl.zst"), compression="zstd") as file:
        file.write(content)
    parquet.write_table(pyarrow.Table.from_pylist(CHATS), tmp_path / "a.parquet")
    quoted = ["messages"] + ['"' + json.dumps(row["messages"]).replace('"', '""') + '"' for row in CHATS]
    written(tmp_path / "a.csv", "\r\n".join(quoted) + "\r\n", "utf-8-sig")
    for name in ("a.jsonl.gz", "a.jsonl.zst", "a.parquet", "a.csv"):
        table = read_table(str(tmp_path / name), "conversations")
        assert [row["messages"] for row in table.rows] == [row["messages"] for row in CHATS], name


def test_csv_with_semicolons_and_a_line_break_in_a_cell(tmp_path: Path) -> None:
    text = 'question;answer\nOne?;"first\nsecond"\n\nTwo?;yes;too many\nThree?;no\n'
    path = written(tmp_path / "a.csv", text)
    table = read_table(path, "conversations", most_refused=0.5)
    assert [row["messages"][1]["content"] for row in table.rows] == ["first\nsecond", "no"]
    assert [(one.line, one.reason) for one in table.refused] == [(5, "it has 3 columns, the first line names 2")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"messages": [', "not valid JSON"),
        ("[1, 2]", "a JSON list, not an object"),
        ("null", "a JSON null, not an object"),
        ('{"messages": [{"role": "user", "content": "\\ud83d"}]}', "lone surrogate"),
        ('{"text": "caf\udce9"}', "not UTF-8 (byte 0xe9"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes("\n".join([*LINES[:3], line, *LINES[3:]]).encode("utf-8", "surrogateescape"))
    table = read_table(str(path), "conversations", most_refused=0.5)
    assert [(one.file, one.line) for one in table.refused] == [(str(path), 4)]
    assert reason in table.refused[0].reason and len(table.rows) == 6


def test_items_of_an_array_have_lines_and_its_end_is_looked_for(tmp_path: Path) -> None:
    text = "[\n" + LINES[0] + ",\n\n3,\n" + LINES[1] + "\n]\n"
    assert [(r.line, r.problem) for r in records(Path(written(tmp_path / "a.json", text)))] == [
        (2, ""),
        (4, "a JSON number, not an object"),
        (5, ""),
    ]
    cut = list(records(Path(written(tmp_path / "b.json", "[" + LINES[0] + ",\n" + LINES[1]))))
    assert "cut short" in cut[-1].problem and len(cut) == 3
    more = list(records(Path(written(tmp_path / "c.json", "[" + LINES[0] + "]\n" + LINES[1]))))
    assert "follows after the end" in more[-1].problem


def test_nan_is_null_and_counted(tmp_path: Path) -> None:
    line = LINES[0][:-1] + ', "score": NaN}'
    table = read_table(written(tmp_path / "a.jsonl", line), "conversations")
    assert table.rows[0]["score"] is None and table.unused == {"NaN or Infinity, read as null": 1}


@pytest.mark.parametrize(
    ("name", "content"), [("a.jsonl.gz", b"no gzip"), ("a.jsonl.zst", b"no zstd"), ("a.parquet", b"no parquet")]
)
def test_what_is_not_what_its_name_says(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=name):
        read_table(str(tmp_path / name), "conversations")


def test_a_packed_file_cut_short(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(LINES).encode())[:-20])
    with pytest.raises(ConfigError, match="cut short"):
        read_table(str(tmp_path / "a.jsonl.gz"), "conversations")


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    written(tmp_path / "my_pairs.jsonl", "\n".join(LINES))
    written(tmp_path / "notes.txt", "x")
    with pytest.raises(ConfigError, match=r"my_paris.jsonl: no such file; did you mean .*my_pairs.jsonl\?"):
        read_table(str(tmp_path / "my_paris.jsonl"), "conversations")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="the folder holds no file of rows"):
        read_table(str(tmp_path / "empty"), "conversations")
    with pytest.raises(ConfigError, match="kinds that can be read are"):
        read_table(str(tmp_path / "notes.txt"), "conversations")
    for name in ("data/pairs.jsonl", "./owner/name", "pairs", "owner/name/more"):
        with pytest.raises(ConfigError, match="no such file"):
            read_table(name, "conversations")
    with pytest.raises(ConfigError, match="is empty"):
        read_table(written(tmp_path / "empty.jsonl", "\n\n"), "conversations")


def test_a_hub_name_goes_to_the_hub_with_its_split(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="needs the package `datasets`"):
        read_table("owner/name", "conversations")
    asked = []

    def load_dataset(name: str, split: str, streaming: bool) -> Iterator[dict[str, Any]]:
        asked.append((name, split))
        if name == "owner/gone":
            raise ConnectionError("offline")
        return iter(CHATS)

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    table = read_table("owner/name:train_sft", "conversations")
    assert len(table.rows) == 6 and asked == [("owner/name", "train_sft")]
    assert {row["source"] for row in table.rows} == {"owner/name:train_sft"}
    with pytest.raises(ConfigError, match="ConnectionError: offline"):
        read_table("owner/gone", "conversations")
    code = [{"prompt": "x", "verifier": "python:os:getcwd"}]
    module.load_dataset = lambda *_, **__: iter(code)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="hub may not name code"):
        read_table("owner/name", "prompts")


def test_a_folder_is_all_its_files_each_in_its_own_shape(tmp_path: Path) -> None:
    written(tmp_path / "b.csv", "instruction,output\nName a colour.,Red.\n")
    written(tmp_path / "a.jsonl", '{"prompt": "Where is the lamp?", "completion": "Upstairs."}\n{"prompt": "?"}\n')
    written(tmp_path / "c.json", '[{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}]')
    written(tmp_path / "notes.txt", "x")
    written(tmp_path / ".hidden.jsonl", "x")
    (tmp_path / "more").mkdir()
    table = read_table(str(tmp_path), "conversations", most_refused=0.5)
    assert [row["messages"][-1]["content"] for row in table.rows] == ["Upstairs.", "Red.", "Hello"]
    assert [row["id"] for row in table.rows] == ["a.jsonl:1", "b.csv:2", "c.json:1"]
    assert [(Path(one.file).name, one.line) for one in table.refused] == [("a.jsonl", 2)]
    assert {"files not read (.txt)": 1, "folders not read": 1}.items() <= table.unused.items()
    assert guess_kind(str(tmp_path)) == "conversations"
    before = table.sha256
    written(tmp_path / "b.csv", "instruction,output\nName a colour.,Blue.\n")
    assert before != read_table(str(tmp_path), "conversations", most_refused=0.5).sha256 != ""


def test_a_folder_of_one_file_names_what_else_lies_there(tmp_path: Path) -> None:
    written(tmp_path / "a.jsonl", '{"prompt": "Where is the lamp?", "completion": "Upstairs."}\n')
    written(tmp_path / "notes.txt", "x")
    assert read_table(str(tmp_path), "conversations").unused == {"files not read (.txt)": 1}
    assert read_table(str(tmp_path / "a.jsonl"), "conversations").unused == {}
