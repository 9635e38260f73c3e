"""Sizes of vocabulary are trained at equal compute and compared on the same text, and a near tie is said to be one."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest

from tenet.cli.main import main
from tenet.errors import ConfigError
from tenet.files import read_json
from tenet.pipeline import run_stage
from tenet.pipeline.vocabulary import Size, best_shares, budget_of, check_sizes, held_documents, tokens_for, verdict
from tenet.settings.corpus import CorpusConfig, SourceConfig
from tenet.settings.preset import load_preset
from tests.tenet.corpus.test_own_text import english

PATH = str(Path(__file__).resolve().parents[1] / "presets" / "smoke.yaml")
SMOKE = load_preset(PATH)


def test_every_size_has_the_same_compute() -> None:
    budget = budget_of(SMOKE, 1024, 100_000)
    flops = {}
    for entries in (512, 1024, 8192):
        model = dataclasses.replace(SMOKE.model, vocab_size=entries)
        flops[entries] = tokens_for(SMOKE, entries, budget) * model.flops_per_token(SMOKE.pretrain.context)
        assert tokens_for(SMOKE, entries, budget) % SMOKE.pretrain.batch_tokens == 0
    assert all(value == pytest.approx(budget, rel=0.05) for value in flops.values())
    assert tokens_for(SMOKE, 8192, budget) < tokens_for(SMOKE, 512, budget) / 3, "the head of a large one takes its tokens"
    with pytest.raises(ConfigError, match=r"--budget 1e\+03: less than one step of 1,024 tokens at 512 entries"):
        tokens_for(SMOKE, 512, 1e3)


@pytest.mark.parametrize(
    ("sizes", "words"), [([512], "at least two"), ([512, 512], "at least two"), ([100, 512], "vocab_size is 100")]
)
def test_sizes_that_are_none_are_refused(sizes: list[int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_sizes(sizes)


def test_how_sure_is_counted_over_documents_and_seeds() -> None:
    pick = np.random.default_rng(0)
    lengths = pick.uniform(500, 2000, 40)
    clear = np.stack([lengths * rate + pick.normal(0, 5, (3, 40)) for rate in (2.0, 1.9, 2.1)])
    assert best_shares(clear, lengths) == [0.0, 1.0, 0.0]
    equal = np.stack([np.tile(lengths, (3, 1))] * 2)
    assert best_shares(equal, lengths) == [0.5, 0.5]
    noisy = np.stack([lengths * 2 + np.array([[-60.0], [0.0], [60.0]]) for _ in range(2)])
    noisy[1] += 5
    shares = best_shares(noisy, lengths)
    assert sum(shares) == pytest.approx(1) and 0.4 < shares[0] < 0.8, "between seeds there is more than between the two"


def size(entries: int, bits: float, low: float, best: float) -> Size:
    return Size(entries, entries, 1, 2, 3, 4, 1.0, bits, 0.0, bits - 1.0, low, low + 0.1, best, {})


def test_the_verdict_says_how_sure_it_is() -> None:
    clear = [size(512, 1.2, 0.1, 0.0), size(1024, 1.0, 0.0, 1.0), size(2048, 1.3, 0.2, 0.0)]
    assert verdict(clear, 3) == "1,024 entries: it has the fewest bits in 100% of the resamplings of documents and seeds"
    assert verdict(clear[:2], 3).endswith("; it is the largest that was tried, so a better one may lie beyond")
    tie = [size(512, 1.01, -0.02, 0.4), size(1024, 1.0, 0.0, 0.6)]
    assert verdict(tie, 3).startswith("512 entries, not surely: 1,024 is best by 0.0100, and it has the fewest bits in 60%")
    assert "one seed says nothing" in verdict(clear, 1)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pick, folder = random.Random(0), tmp_path / "texts"
    folder.mkdir()
    for i in range(36):
        (folder / f"{i}.txt").write_text(english(f"{i} {pick.random()}"))
    source = SourceConfig("folder", str(folder))
    corpus = CorpusConfig((source,), vocab_size=300, evaluation=(), heldout=(0.15, 0.2), workers=1)
    run_stage(tmp_path / "run", "corpus", dataclasses.replace(SMOKE, domain="", corpus=corpus, pipeline=("corpus",)))
    words = ["corpus", "vocabulary", "--run", str(tmp_path / "run"), "--preset", PATH, "--sizes", "280,400", "--seeds", "1"]
    assert main([*words, "--dry-run"]) == 0
    assert "2 sizes x 1 seeds at" in capsys.readouterr().out and not (tmp_path / "run" / "vocabulary").exists()
    budget = ["--budget", f"{budget_of(SMOKE, 300, 4096):.0f}"]
    assert main([*words, *budget]) == 0
    said = capsys.readouterr().out
    small, large = read_json(tmp_path / "run" / "vocabulary" / "vocabulary.json")
    assert (small["made"], large["made"]) == (280, 400) and small["tokens"] >= large["tokens"] > 0
    assert small["embedding"] < large["embedding"] and small["text_bytes"] < large["text_bytes"]
    assert set(small["fertility"]) == {"source texts", "language en"}
    assert small["fertility"]["language en"] > large["fertility"]["language en"], "a larger one needs fewer tokens for a byte"
    assert "chosen: " in said and "one seed says nothing" in said and "tokens a byte" in said
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "vocabulary").rglob("bits.json")}
    assert len(made) == 2 and main([*words, *budget]) == 0
    assert {path: path.stat().st_mtime_ns for path in made} == made, "a finished training was done again"
    assert main([*words[:-4], "--sizes", "few,many"]) == 2
    assert main([*words[:3], str(tmp_path / "nowhere"), *words[4:]]) == 2


def test_too_few_held_out_documents(tmp_path: Path) -> None:
    (tmp_path / "heldout").mkdir()
    for split in ("valid", "test"):
        (tmp_path / "heldout" / f"{split}.jsonl").write_text('{"id": "a", "text": "b"}\n')
    with pytest.raises(ConfigError, match="2 held-out documents; at least 8"):
        held_documents(tmp_path)
