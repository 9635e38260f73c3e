"""Pretraining in phases: refused where it cannot be, counted by source, told in the run's table and in the plan."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_modules.data.shards import TokenRows
from tenet.corpus.tokens.origins import FILE, read_origins, write_origins
from tenet.errors import ConfigError, StageError
from tenet.files import read_json
from tenet.pipeline import run_stage
from tenet.planning.forecast import plan
from tenet.settings.corpus import CorpusConfig, SourceConfig
from tenet.settings.phases import PhaseConfig, ends, rate_of
from tenet.settings.preset import Preset, load_preset
from tenet.settings.training import PretrainConfig
from tenet.stages.training.curriculum import curriculum
from tests.tenet.corpus.test_own_text import english

SMOKE = load_preset(str(Path(__file__).resolve().parents[1] / "presets" / "smoke.yaml"))
PHASES = (
    PhaseConfig(0.1, schedule="warmup", name="start"),
    PhaseConfig(0.7, schedule="constant"),
    PhaseConfig(0.2, {"books": 3.0, "web": 1.0}, "annealing", "decay", 0.1),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Preset]:
    """A corpus of two sources, read twice and once."""
    folder = tmp_path_factory.mktemp("curriculum")
    for name, count in (("web", 40), ("books", 20)):
        (folder / name).mkdir()
        for i in range(count):
            (folder / name / f"{i}.txt").write_text(english(f"{name} {i}"))
    sources = (SourceConfig("folder", str(folder / "web"), weight=2.0), SourceConfig("folder", str(folder / "books"), weight=2.0))
    corpus = CorpusConfig(sources=sources, vocab_size=320, evaluation=(), max_bytes="all", workers=1)
    pretrain = dataclasses.replace(SMOKE.pretrain, tokens=20 * 1024.0, phases=PHASES)
    preset = dataclasses.replace(SMOKE, domain="", corpus=corpus, pretrain=pretrain, pipeline=("corpus", "pretrain"))
    run_stage(folder / "run", "corpus", preset)
    return folder / "run", preset


def test_the_shard_knows_its_sources(made: tuple[Path, Preset]) -> None:
    """Every document of the shard is decoded and is of the source that the file says."""
    from lightning_modules.data.chat import ChatTokenizer
    from tenet.corpus.cards.inspection import documents
    from tenet.corpus.tokens.shards import read_shard

    folder = made[0] / "corpus"
    tokens, ends_at = read_shard(folder / "tokens" / "train.ds")
    chat = ChatTokenizer.from_folder(folder / "tokenizer")
    of_text = {item["text"]: item["id"].partition("/")[0] for place, item in documents(folder) if place == "train"}
    found = read_origins(folder / "tokens", len(ends_at))
    origins = found.sources
    assert sorted(origins) == ["books", "web"]
    begins = np.concatenate(([0], ends_at[:-1])).astype(int)
    for i, (begin, end) in enumerate(zip(begins, ends_at.astype(int), strict=True)):
        source = of_text[chat.decode(tokens[begin : end - 1].tolist())]
        assert [name for name, which in origins.items() if which[i]] == [source]
    books = {text for text, source in of_text.items() if source == "books"}
    assert origins["books"].sum() == 4 * len(books) and (origins["books"] & ~found.again).sum() == len(books)


def test_a_run_in_phases_says_what_it_read(made: tuple[Path, Preset]) -> None:
    run, preset = made
    run_stage(run, "pretrain", preset)
    figures = {figure["name"]: figure for figure in read_json(run / "pretrain" / "summary.json")["figures"]}
    assert figures["training tokens"]["value"] == 20 * 1024
    told = {name: (figures[name]["value"], figures[name]["note"]) for name in figures if name.startswith("phase")}
    assert told == {
        "phase 1, start": (2048, "2 steps: 100.0% the whole mix; rate: warmup"),
        "phase 2": (14 * 1024, "14 steps: 100.0% the whole mix; rate: constant"),
        "phase 3, annealing": (4096, "4 steps: 75.0% books, 25.0% web; rate: decay"),
    }
    books, web = figures["passes over books"], figures["passes over web"]
    assert books["value"] > web["value"] > 0
    assert books["note"].startswith("the mix has its text 4.00 times") and 1 < float(web["note"].split()[5]) < 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"phases": (PhaseConfig(0.5), PhaseConfig(0.5, {"nosuch": 1}))}, r"phases 2: no source 'nosuch'.*there are books, web"),
        (
            {"phases": (PhaseConfig(1.0, {"books": 1}),), "max_epochs": 1, "tokens": 1e6},
            r"books would be read [\d.]+ times, .*max_epochs is 1",
        ),
        ({"phases": (PhaseConfig(1.0, {"books": 1}),), "context": 256, "batch_tokens": 2**20}, "cannot be dealt to"),
    ],
)
def test_phases_that_do_not_fit_the_corpus_are_refused(made: tuple[Path, Preset], changes: dict[str, Any], words: str) -> None:
    config = dataclasses.replace(made[1].pretrain, **changes)
    rows = TokenRows(made[0] / "corpus" / "tokens" / "train.ds", config.context)
    with pytest.raises((ConfigError, ValueError), match=words):
        curriculum(config, rows, made[0] / "corpus" / "tokens", 0, 0, 3 if "context" in changes else 1)


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ((PhaseConfig(0.8), PhaseConfig(0.3)), r"shares 0\.8 \+ 0\.3 sum to 1\.1"),
        ((PhaseConfig(0.0), PhaseConfig(1.0)), r"phases 1: share is 0"),
        ((PhaseConfig(1.0, {"a": -1.0}),), r"phases 1: the weight of a is -1"),
        ((PhaseConfig(0.5, schedule="decay"), PhaseConfig(0.5)), r"phases 2: no schedule, and other phases have one"),
        ((PhaseConfig(1.0, rate=0.5),), r"rate is 0\.5; it is a factor"),
        ((PhaseConfig(1.0, schedule="decay", rate=2.0),), r"rate is 2"),
        ((PhaseConfig(0.999), PhaseConfig(0.001)), r"phases 2: a share of 0\.001 of 100 steps is none"),
    ],
)
def test_phases_that_cannot_be_are_refused_before_anything_is_read(phases: tuple[PhaseConfig, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PretrainConfig(tokens=100 * 4096, phases=phases)


def test_the_rate_is_put_together_from_the_phases() -> None:
    factor = rate_of(PHASES, 20)
    assert ends(PHASES, 20) == [2, 16, 20] and factor is not None
    found = [round(factor(step), 4) for step in range(20)]
    assert found == [0.5, *[1.0] * 15, 1.0, 0.775, 0.55, 0.325]
    assert rate_of((PhaseConfig(1.0),), 20) is None
    again = (
        PhaseConfig(0.5, schedule="decay", rate=0.2),
        PhaseConfig(0.25, schedule="constant"),
        PhaseConfig(0.25, schedule="warmup"),
    )
    factor = rate_of(again, 8)
    assert factor is not None and [round(factor(step), 4) for step in range(8)] == [1.0, 0.8, 0.6, 0.4, 0.2, 0.2, 0.6, 1.0]


def test_the_plan_counts_the_phases() -> None:
    preset = dataclasses.replace(SMOKE, pretrain=dataclasses.replace(SMOKE.pretrain, phases=PHASES))
    lines = [line for line in plan(preset).assumptions if "pretrain.phases" in line]
    assert lines == [
        "phase 1 (start): 10% of the steps, 4.1k tokens, the corpus as it is mixed; rate: warmup (preset: pretrain.phases)",
        "phase 2: 70% of the steps, 28.7k tokens, the corpus as it is mixed; rate: constant (preset: pretrain.phases)",
        "phase 3 (annealing): 20% of the steps, 8.19k tokens, 75% books, 25% web; rate: decay to 0.1 of the peak (preset: pretrain.phases)",
    ]
    assert not [line for line in plan(SMOKE).assumptions if "phase" in line]


def test_a_fit_stopped_in_a_phase_ends_with_the_same_bytes(made: tuple[Path, Preset], tmp_path: Path) -> None:
    """Stopped in the annealing, at a step that is no checkpoint's: rows and rate go on where they were."""
    from lightning_modules.data.steps import StepLoader
    from lightning_modules.model.decoder import Decoder
    from lightning_modules.modules.pretrain import PretrainModule
    from lightning_modules.training.trainer import fit

    config, tokens = made[1].pretrain, made[0] / "corpus" / "tokens"

    def trained(folder: Path, seed: int, stop: threading.Event, at: int = -1) -> Decoder:
        batches = curriculum(config, TokenRows(tokens / "train.ds", config.context), tokens, 0, 0, 1).batches

        def fetch(step: int) -> Any:
            if step == at:
                stop.set()
            return batches(step)

        module = PretrainModule(Decoder(SMOKE.model).initialise(seed), config.optim, 20, rate=rate_of(config.phases, 20))
        fit(
            module, StepLoader(fetch, 20), steps=20, folder=folder, compute=config.compute, stop=stop, tell=lambda *_: None,
            checkpoint_every=8,
        )  # fmt: skip
        return module.model

    whole = trained(tmp_path / "whole", 1, threading.Event())
    trained(tmp_path / "cut", 1, threading.Event(), at=17)
    again = trained(tmp_path / "cut", 99, threading.Event())
    for one, two in zip(whole.parameters(), again.parameters(), strict=True):
        assert one.detach().equal(two.detach())


def test_origins_of_another_shard_are_refused(tmp_path: Path) -> None:
    write_origins(tmp_path, ["a"], [0, 0], [False, False])
    assert not (tmp_path / FILE).exists() and read_origins(tmp_path, 2).sources == {}
    write_origins(tmp_path, ["a", "b"], [0, 1, 0], [False, False, True])
    found = read_origins(tmp_path, 3)
    assert found.again.tolist() == [False, False, True]
    assert {name: which.tolist() for name, which in found.sources.items()} == {
        "a": [True, False, True],
        "b": [False, True, False],
    }
    with pytest.raises(StageError, match="3 documents, the shard has 4"):
        read_origins(tmp_path, 4)
