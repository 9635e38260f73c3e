"""What a finished run leaves, a later one finds; what was made in another way is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenet.corpus.dedup import earlier
from tenet.corpus.dedup.budget import LEAST_MEMORY
from tenet.corpus.dedup.earlier import FILE, EarlierRuns, Seen, SeenWriter
from tenet.corpus.dedup.exact import digest
from tenet.errors import ConfigError
from tests.tenet.corpus.test_dedup_near import HASH, edited, prose


def leave(path: Path, run: str, texts: list[str]) -> None:
    writer = SeenWriter(path, run)
    for text in texts:
        writer.add(digest(text), HASH(text))
    writer.close()


def follow(
    runs: list[Path], texts: list[str], folder: Path, threshold: float = 0.8, memory: int = LEAST_MEMORY
) -> dict[int, Seen]:
    search = EarlierRuns(runs, folder / "earlier", threshold, memory)
    for text in texts:
        search.add(digest(text), HASH(text))
    found = search.found()
    search.close()
    return found


TEXTS = [" ".join(prose(i, 300)) for i in range(60)]


def test_what_a_run_had_is_found_by_the_next(tmp_path: Path) -> None:
    leave(tmp_path / "one" / "corpus" / FILE, "runs/one", TEXTS[:20])
    leave(tmp_path / "two" / FILE, "runs/two", TEXTS[20:40])
    near = [" ".join(edited(prose(i, 300), 0.01, i)) for i in range(10, 30)]
    texts = [TEXTS[0].upper(), *near, *TEXTS[40:]]
    found = follow([tmp_path / "one", tmp_path / "two"], texts, tmp_path)
    assert found[0] == Seen("runs/one", 0, 1.0)
    assert [(found[1 + i].run, found[1 + i].document) for i in range(20)] == [
        ("runs/one" if i < 10 else "runs/two", i % 20 if i >= 10 else i + 10) if i < 10 else ("runs/two", i - 10)
        for i in range(20)
    ]
    assert all(0.7 < found[1 + i].similarity < 1 for i in range(20)) and len(found) == 21
    assert found[0].reason() == "seen in run runs/one (document 0)"
    assert found[1].reason().startswith("seen in run runs/one (document 10, about 0.")
    assert set(follow([tmp_path / "one", tmp_path / "two"], texts, tmp_path, threshold=1.1)) == {0}


def test_batches_and_chunks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(edited(prose(i, 300), 0.01, i)) for i in range(60)]
    leave(tmp_path / "a" / FILE, "a", TEXTS)
    expected = follow([tmp_path / "a"], texts, tmp_path)
    monkeypatch.setattr(earlier, "_BATCH", 7)
    monkeypatch.setattr(earlier, "check_memory", lambda memory: None)
    leave(tmp_path / "b" / FILE, "a", TEXTS)
    assert follow([tmp_path / "b"], texts, tmp_path, memory=10_000) == expected
    assert len(expected) == 60


def test_a_document_is_141_bytes(tmp_path: Path) -> None:
    leave(tmp_path / FILE, "a", [f"text {i}" for i in range(3000)])
    assert 3000 * 141 <= (tmp_path / FILE).stat().st_size < 3000 * 141 + 5000
    leave(tmp_path / "empty" / FILE, "a", [])
    assert follow([tmp_path / "empty"], ["text 1"], tmp_path) == {}
    assert follow([tmp_path], [], tmp_path) == {}


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(tmp_path / FILE, "a", TEXTS[:3])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / FILE).write_bytes(b"PAR1 no")
    with pytest.raises(ConfigError, match=r"holds no seen\.parquet; name a run whose corpus stage has finished"):
        follow([tmp_path / "nowhere"], [], tmp_path)
    with pytest.raises(ConfigError, match="is no list of documents seen"):
        follow([tmp_path / "other"], [], tmp_path)
    monkeypatch.setattr(earlier, "SEED", 1)
    with pytest.raises(ConfigError, match=r"was made with seed 20260, this version has 1"):
        follow([tmp_path], [], tmp_path)
