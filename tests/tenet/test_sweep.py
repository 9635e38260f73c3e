"""A sweep trains variants of one corpus alike, compares them by document, and does nothing twice."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from lightning_modules.model.decoder import Decoder
from tenet.cli.main import main
from tenet.errors import ConfigError
from tenet.files import read_json
from tenet.pipeline.sweep import WINDOWS_TOKENS, _bits, held_texts, interval, variants
from tenet.settings.corpus import CorpusConfig, SourceConfig
from tests.tenet.corpus.test_own_text import english


def test_variants_take_one_thing_away() -> None:
    config = CorpusConfig(sources=(SourceConfig("folder", "a"), SourceConfig("folder", "b")))
    made = variants(config, ["passages=50,filters.gopher=off"])
    assert list(made) == [
        "as it is",
        "without repair",
        "without limits",
        "without near duplicates",
        "without source a",
        "without source b",
        "passages=50,filters.gopher=off",
    ]
    assert [s.name for s in made["without source a"].sources] == ["b"]
    own = made["passages=50,filters.gopher=off"]
    assert own.passages == 50 and own.filters.gopher == "off" and own.sources == config.sources
    with pytest.raises(ConfigError, match="'luck' is no setting of the corpus"):
        variants(config, ["luck=1"])
    with pytest.raises(ConfigError, match="--variant passages=many"):
        variants(config, ["passages=many"])


def test_the_interval_is_that_of_a_ratio() -> None:
    sizes = np.array([100.0] * 50 + [1000.0] * 50)
    low, high = interval(sizes * 0.5, sizes)
    assert low == pytest.approx(0.5) and high == pytest.approx(0.5)
    noise = np.random.default_rng(1).normal(0, 30, 100)
    low, high = interval(noise, sizes)
    assert low < noise.sum() / sizes.sum() < high


@pytest.mark.usefixtures("in_time")
def test_a_sweep_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pick = random.Random(0)
    for folder, count in (("good", 30), ("held", 10)):
        (tmp_path / folder).mkdir()
        for i in range(count):
            (tmp_path / folder / f"{i}.txt").write_text(english(f"{folder} {i}"))
    signs = [{"text": " ".join(pick.choices(["#", "@@", "++", "%%%", "qz"], k=150))} for _ in range(30)]
    (tmp_path / "signs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in signs))
    words = ["corpus", "sweep", "--preset", "tests/presets/smoke.yaml", "--domain=", "--held", str(tmp_path / "held")]
    words += ["--sources", str(tmp_path / "good"), str(tmp_path / "signs.jsonl"), "--seeds", "1", "--tokens", "20480"]
    words += ["--only", "without limits", "--out", str(tmp_path / "out")]
    assert main([*words, "--dry-run"]) == 0
    assert "2 variants x 1 seeds of 20,480 tokens: as it is, without limits" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert main(words) == 0
    base, signs_kept = read_json(tmp_path / "out" / "sweep.json")
    assert (
        base["difference"] == base["low"] == base["high"] == 0
        and signs_kept["low"] <= signs_kept["difference"] <= signs_kept["high"]
    )
    assert signs_kept["documents"] > base["documents"] and signs_kept["difference"] > 0, "signs teach nothing about English"
    assert "without limits" in capsys.readouterr().out
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("bits.json")}
    assert len(made) == 2 and main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in made} == made, "a finished variant was computed again"
    assert main([*words, "--only", "luck"]) == 2


def test_the_memory_of_scoring_does_not_grow_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All windows begin alike; scored at once they would be one row, and its mask the square of the held-out text."""
    from lightning_modules.data.chat import ChatTokenizer
    from lightning_modules.generation import scoring
    from lightning_modules.model.hub import save_model
    from tenet.corpus.tokens.tokenizer import write_tokenizer
    from tests.lightning_modules.tiny import raw_tokenizer, tiny_model

    write_tokenizer(raw_tokenizer(), tmp_path / "tokenizer")
    chat = ChatTokenizer.from_folder(tmp_path / "tokenizer")
    save_model(tiny_model(1), tmp_path / "model", tmp_path / "tokenizer", chat.stop_ids, chat.end_of_text)
    asked: list[int] = []
    plain = scoring.score

    def counted(model: Decoder, pairs: list[scoring.Pair]) -> list[scoring.Score]:
        asked.append(sum(len(answer) for _, answer in pairs))
        return plain(model, pairs)

    monkeypatch.setattr(scoring, "score", counted)
    texts = [english(i, 30) for i in range(6)]
    together = _bits(tmp_path / "model", texts, 64)
    assert max(asked) <= WINDOWS_TOKENS < sum(asked)
    alone = [_bits(tmp_path / "model", [text], 64)[0] for text in texts]
    assert together == pytest.approx(alone, rel=1e-4) and min(alone) > 0


def test_too_few_held_out_documents(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(english(1))
    with pytest.raises(ConfigError, match="1 documents; at least 8"):
        held_texts(tmp_path / "one.txt")
