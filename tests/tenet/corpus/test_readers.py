"""Every file is looked at: right text comes out of it, or it is named with the reason. Nothing ends in a traceback."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tenet.corpus import sources
from tenet.corpus.cards.card import file_rows, skipped_rows
from tenet.corpus.documents import PIECE, piece_size, pieces
from tenet.corpus.readers.decoding import NotRead, decode
from tenet.corpus.readers.local_files import FileNote
from tenet.corpus.readers.markup import docstrings, html_text, notebook_text
from tenet.errors import ConfigError, StageError
from tenet.settings.corpus import SourceConfig

ACCENTS = "Zoë paid the café in Málaga £12 for a piñata – “très cher”, said the façade’s owner. " * 20
GERMAN = "Der Müller brachte am Montag das Mehl über die Brücke; größer als schön war sie nicht. " * 20
RUSSIAN = "Мальчик шёл по лесу и думал о том, что было вчера вечером в деревне. " * 20
POLISH = "Zażółć gęślą jaźń, powiedział chłopiec, który szedł przez łąkę wśród żółtych kwiatów. " * 20
CHINESE = "院子里的梨树开花了，面包师回来时看见满地都是花瓣。" * 20


def opened(path: Path, most_refused: float = 0.05, **more: Any) -> tuple[list[dict[str, Any]], dict[str, FileNote]]:
    """Documents and notes of a folder or file."""
    items = list(sources.opened([SourceConfig("folder", name=str(path), **more)], most_refused)[0].items())
    found = [item for item in items if not isinstance(item, FileNote)]
    return found, {item.file.partition("/")[2]: item for item in items if isinstance(item, FileNote)}


# --- encodings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "encoding", "guessed"),
    [
        (ACCENTS, "utf-8", ""),
        (ACCENTS, "utf-8-sig", ""),
        (ACCENTS, "utf-16", ""),
        (ACCENTS, "utf-32", ""),
        (ACCENTS, "utf-16-le", "utf-16-le"),
        (ACCENTS, "utf-16-be", "utf-16-be"),
        (ACCENTS, "cp1252", "cp1252"),
        (GERMAN, "latin-1", "cp1252"),
        (RUSSIAN, "cp1251", "cp1251"),
        (POLISH, "cp1250", "cp1250"),
        (CHINESE, "gb18030", "gb18030"),
    ],
)
def test_text_comes_out_as_it_was_written(text: str, encoding: str, guessed: str) -> None:
    found = decode(text.encode(encoding))
    assert (found.text, found.guessed) == (text, guessed)
    assert decode(text.replace(". ", ".\r\n").encode(encoding)).text == text.replace(". ", ".\n")


def test_what_is_no_text_is_refused() -> None:
    for data, reason in (
        (random.Random(1).randbytes(5000), "binary"),
        (b"%PDF-1.7 text", "PDF"),
        (b"PK\x03\x04" + b"x" * 100, "EPUB"),
        (ACCENTS.encode()[:-40] + b"\xff\xfe" + ACCENTS.encode(), "broken UTF-8 at byte"),
        (b"\xff\xfe" + "x".encode("utf-16-le") + b"\x00", "not valid utf-16"),
    ):
        with pytest.raises(NotRead, match=reason):
            decode(data)
    assert decode(POLISH.encode("iso8859-2"), "iso8859-2").text == POLISH
    with pytest.raises(NotRead, match="not valid nosuch"):
        decode(b"x", "nosuch")


# --- a folder --------------------------------------------------------------------------------------------------------


def test_a_folder_as_people_have_it(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    (root / ".git").mkdir(parents=True)
    (root / ".git" / "config").write_text("secret")
    write = {
        "NOTES.TXT": b"UPPER suffix",
        "windows.txt": ACCENTS.encode("cp1252"),
        "wide.txt": ACCENTS.encode("utf-16"),
        "guide.rst": b"Guide\n=====\n\nText.",
        "page.HTML": b"<html><body><script>var x=1</script><p>Seen</p></body></html>",
        "page-as.txt": b"<!DOCTYPE html><html><body><nav>Menu</nav><p>Also seen</p></body></html>",
        "c4.json.gz": gzip.compress(b'{"text": "one", "url": ""}\n{"text": "two"}\n'),
        "list.json": b'[{"text": "three"}, {"text": "four"}]',
        "package.json": b'{\n  "name": "x"\n}\n',
        "b.txt.bz2": bz2.compress(b"packed b"),
        "x.md.xz": lzma.compress(b"packed x"),
        "named-wrong.txt": gzip.compress(b"packed without saying so"),
        "cut.txt.gz": gzip.compress(b"x" * 1000)[:20],
        "noise.txt": random.Random(2).randbytes(3000),
        "blank.md": b" \n\n ",
        "book.pdf": b"%PDF-1.4",
        "really-a-pdf.txt": b"%PDF-1.4 ...",
        "data.xml": b"<a/>",
        "LICENSE": b"all rights",
        ".hidden": b"x",
        "bad.parquet": b"nothing",
    }
    for name, content in write.items():
        (root / name).write_bytes(content)
    pq.write_table(pa.table({"text": ["five", None, " "], "id": [7, 8, 9]}), root / "rows.parquet")
    (root / "gone.txt").symlink_to(root / "nowhere.txt")
    found, notes = opened(root, most_refused=0.5)
    texts = {item["id"]: item["text"] for item in found}
    long = {key: text for key, text in texts.items() if "/wide.txt" in key or "/windows.txt" in key}
    assert {key: text for key, text in texts.items() if key not in long} == {
        "mine/NOTES.TXT": "UPPER suffix",
        "mine/b.txt.bz2": "packed b",
        "mine/c4.json.gz:1": "one",
        "mine/c4.json.gz:2": "two",
        "mine/guide.rst": "Guide\n=====\n\nText.",
        "mine/list.json:1": "three",
        "mine/list.json:2": "four",
        "mine/named-wrong.txt": "packed without saying so",
        "mine/page-as.txt": "Also seen\n",
        "mine/page.HTML": "Seen\n",
        "mine/rows.parquet:1/7": "five",
        "mine/x.md.xz": "packed x",
    }
    for name in ("wide", "windows"):
        assert " ".join(text for key, text in long.items() if f"/{name}.txt" in key).split() == ACCENTS.split()
    why = {name: note.reason for name, note in notes.items() if note.reason}
    assert why == {
        ".git/": "hidden folder",
        ".hidden": "hidden file",
        "LICENSE": "no suffix that says what it is",
        "bad.parquet": "not valid Parquet",
        "blank.md": "empty",
        "book.pdf": why["book.pdf"],
        "cut.txt.gz": why["cut.txt.gz"],
        "data.xml": "XML of another kind (root element a)",
        "gone.txt": "cannot be opened (No such file or directory)",
        "noise.txt": "binary",
        "package.json": "no column 'text' (there are name)",
        "really-a-pdf.txt": "no reader for PDF",
    }
    assert why["cut.txt.gz"].startswith("cannot be opened (Compressed file ended")
    assert why["book.pdf"].startswith("not a valid PDF")
    rows = notes["rows.parquet"]
    assert (rows.documents, rows.empty, rows.refused, rows.rows) == (1, 1, 1, [(2, "text is null")])
    counted = file_rows([note.as_dict() for note in notes.values()])
    assert counted["read"] == {"text": 7, "html": 2, "json": 2, "parquet": 1}
    assert sum(counted["read"].values()) + sum(counted["skipped"].values()) == len(write) + 3
    assert counted["encodings_guessed"] == [{"file": "mine/windows.txt", "encoding": "cp1252"}]
    lines = skipped_rows([note.as_dict() for note in notes.values()])
    assert {"file": "mine/rows.parquet", "row": 2, "reason": "text is null"} in lines and len(lines) == len(why) + 1


def test_a_single_file_is_parsed_or_refused(tmp_path: Path) -> None:
    page, pdf, plain = tmp_path / "a.html", tmp_path / "b.pdf", tmp_path / "README"
    page.write_text("<html><head><title>T</title></head><body><h1>Head</h1><p>One <b>bold</b> word.</p></body></html>")
    pdf.write_bytes(b"%PDF-1.4")
    plain.write_text("plain text")
    assert [item["text"] for item in opened(page)[0]] == ["T\n\n# Head\n\nOne bold word.\n"]
    assert [item["text"] for item in opened(plain)[0]] == ["plain text"]
    with pytest.raises(ConfigError, match=r"1 x not a valid PDF"):
        sources.check_source(SourceConfig("folder", name=str(pdf)))


def test_the_visible_text_of_a_page() -> None:
    page = """<!doctype html><html><head><title>A page</title><style>p {}</style></head><body><!-- no -->
    <h1>Head</h1><p>One <b>bold</b>
    and <a href="x">linked</a> word.<br>Next&nbsp;line.</p><ul><li>first</li><li>second</li></ul>
    <script>track()</script><pre>def f():
        return 1</pre><table><tr><td>a</td><td>b</td></tr></table></body></html>"""
    assert html_text(page) == (
        "A page\n\n# Head\n\nOne bold and linked word.\nNext line.\n\n- first\n- second\n\ndef f():\n        return 1\n\na | b\n"
    )
    with pytest.raises(NotRead, match="without visible text"):
        html_text("<html><script>x</script></html>")


def test_notebooks_and_modules() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"], "metadata": {}},
        {"cell_type": "code", "source": "1 + 1", "outputs": [{"data": {"text/plain": ["SECRET"]}}], "metadata": {}},
    ]
    assert notebook_text(json.dumps({"cells": cells})) == "# Title\ntext\n\n```python\n1 + 1\n```\n"
    for broken in ("{", "[]", '{"cells": [1]}'):
        with pytest.raises(NotRead, match="not a notebook"):
            notebook_text(broken)
    long = "Says what it does in more words than one would think that it needs. " * 2
    long = long.strip()
    module = f'"""{long}"""\n# a comment\nclass A:\n    """{long}"""\n    def f(self, x: int = 1):\n        """{long}"""\n        return x\n'
    doc = long
    assert docstrings(module, "pkg/a.py") == f"# pkg/a.py\n\n{doc}\n\n## A\n\n{doc}\n\n## A.f(self, x: int=1)\n\n{doc}\n"
    with pytest.raises(NotRead, match="not valid Python"):
        docstrings("def f(:", "x")
    with pytest.raises(NotRead, match="without docstrings"):
        docstrings("x = 1", "x")


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "newline", "end"),
    [
        ("utf-8", "\r\n", ""),
        ("utf-8", "\n", "\n\n"),
        ("utf-8-sig", "\n", ""),
        ("utf-16", "\n", ""),
        ("utf-8-sig", "\r\n", "\r\n"),
    ],
)
def test_json_lines_as_editors_leave_them(tmp_path: Path, encoding: str, newline: str, end: str) -> None:
    rows = [{"text": f"tëxt {i}", "id": i} for i in range(5)]
    content = newline.join(json.dumps(row, ensure_ascii=False) for row in rows[:3]) + newline * 2
    content += newline.join(json.dumps(row, ensure_ascii=False) for row in rows[3:]) + end
    (tmp_path / "rows.jsonl").write_bytes(content.encode(encoding))
    found, notes = opened(tmp_path / "rows.jsonl")
    assert [item["text"] for item in found] == [row["text"] for row in rows]
    assert notes["rows.jsonl"].refused == 0


def test_odd_rows_are_counted_by_line(tmp_path: Path) -> None:
    good = [{"text": f"row {i}", "metadata": json.dumps({"url": f"u{i}"})} for i in range(200)]
    odd = [
        '{"text": null}',
        '{"text": ["a", "b"]}',
        '{"text": ',
        '["text"]',
        '{"body": "x"}',
        '{"text": "\\ud800"}',
        '{"text": "  "}',
    ]
    lines = [json.dumps(row) for row in good] + odd
    (tmp_path / "rows.jsonl").write_bytes("\n".join(lines).encode() + b'\n{"text": "caf\xe9"}\n')
    found, notes = opened(tmp_path / "rows.jsonl")
    assert len(found) == 200 and found[7]["metadata"]["url"] == "u7"
    note = notes["rows.jsonl"]
    assert (note.refused, note.empty) == (7, 1)
    said = dict(note.rows)
    assert said[201] == "text is null" and said[202] == "text is a list, not text" and said[204] == "a list instead of an object"
    assert said[205] == "no column 'text' (there are body)" and said[206] == "text holds half a surrogate pair"
    assert said[203].startswith("not valid JSON") and said[208].startswith("not UTF-8")
    with pytest.raises(StageError, match=r"7 of 208 rows of .*rows\.jsonl.*most_refused \(1%\).*rows\.jsonl:201: text is null"):
        opened(tmp_path / "rows.jsonl", most_refused=0.01)


def test_a_wrong_column_is_refused_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"body": "x"}\n{"body": "y"}\n')
    with pytest.raises(ConfigError, match=r"no column 'text' \(there are body\)"):
        sources.check_source(SourceConfig("folder", name=str(tmp_path)))
    assert len(opened(tmp_path, column="body")[0]) == 2


def test_an_article_in_a_column_is_read_as_its_text(tmp_path: Path) -> None:
    article = (
        '<document xmlns="http://example.org/x"><title>Waves</title><content><section><title>Sound</title>'
        "<para>Sound is a <term>wave</term>.</para></section></content></document>"
    )
    rows = [{"text": article}, {"text": "<b>not</b> one element"}, {"text": "a < b and c > d"}, {"text": "<p></p>"}]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, notes = opened(tmp_path / "r.jsonl")
    assert [item["text"] for item in found] == [
        "# Waves\n\n## Sound\n\nSound is a wave.\n",
        "<b>not</b> one element",
        "a < b and c > d",
    ]
    assert notes["r.jsonl"].empty == 1


def test_rows_are_named_by_file_and_line_and_held_out_by_their_article(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": f"passage {i}", "id": f"article {i // 2}"} for i in range(4)]
    rows += [{"text": "no id", "id": None}, {"text": "own group", "group": "g"}, {"text": "x", "metadata": {"group": "g"}}]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, _ = opened(tmp_path / "r.jsonl")
    assert len({item["id"] for item in found}) == 7
    groups = [item["metadata"]["group"].rpartition("/")[2] for item in found]
    assert groups == ["article 0", "article 0", "article 1", "article 1", "5", "g", "g"]


# --- pieces ----------------------------------------------------------------------------------------------------------


def test_a_book_is_cut_between_paragraphs() -> None:
    paragraphs = [f"Paragraph {i}: " + "word " * (i % 40) + "\n" for i in range(200)]
    found = list(pieces("\n".join(paragraphs), 1000))
    assert len(found) > 10 and all(len(piece) <= 1100 for piece in found)
    assert "\n".join(found) == "\n".join(paragraphs)
    assert list(pieces(" \n\n \n")) == []


@pytest.mark.parametrize(
    "text",
    [
        "A sentence of seven words stands here. " * 14_000,  # a talk on one line
        "word " * 100_000,
        "x" * 100_000,
        "院子里的梨树开花了，面包师回来时看见满地都是花瓣。" * 5_000,
        "a line\n" * 20_000,
    ],
)
def test_no_piece_is_too_long_and_nothing_is_lost(text: str) -> None:
    found = list(pieces(text))
    assert max(map(len, found)) <= PIECE + 2 and len(found) >= len(text) // PIECE
    assert "".join("".join(found).split()) == "".join(text.split())


def test_a_small_corpus_comes_in_small_pieces(tmp_path: Path) -> None:
    (tmp_path / "small.txt").write_text("\n\n".join(f"Paragraph {i} of a small text. " * 5 for i in range(190)))
    found, _ = opened(tmp_path / "small.txt")
    assert 20 < len(found) < 40
    assert piece_size(100_000_000) == PIECE
