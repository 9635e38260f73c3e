"""Every preset loads, has the size that its name says, and asks for as many devices as it divides its model over."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from pathlib import Path

import pytest

from tenet import hardware
from tenet.errors import ConfigError
from tenet.evaluate.tasks import load_task
from tenet.hardware import cluster_of
from tenet.pipeline.chain import chain
from tenet.settings.corpus import DOMAIN_KIND, SourceConfig
from tenet.settings.preset import PRESETS, load_preset
from tenet.stages.corpus import resolved

cached = functools.cache(load_preset)  # presets are frozen
NAMES = sorted(path.stem for path in PRESETS.glob("*.yaml"))
#: tiny and smol are not named after a count.
SIZED = {"160m": 160e6, "1b": 1e9, "8b": 8e9, "70b": 70e9, "400b": 400e9}


def test_the_sizes_are_there() -> None:
    assert set(SIZED) <= set(NAMES)


@pytest.mark.parametrize("name", SIZED)
def test_size_is_within_three_percent_of_the_name(name: str) -> None:
    assert cached(name).model.parameters() == pytest.approx(SIZED[name], rel=0.03)


@pytest.mark.parametrize("name", NAMES)
def test_shape_is_sound(name: str) -> None:
    preset = cached(name)
    assert preset.corpus.vocab_size == preset.model.vocab_size
    assert preset.about
    assert preset.pretrain.context <= preset.model.max_position_embeddings
    assert preset.finetune.context <= preset.model.max_position_embeddings


@pytest.mark.parametrize("name", NAMES)
def test_every_task_that_a_preset_names_is_there_without_the_demo(name: str) -> None:
    for task in cached(name).evaluate.tasks:
        assert task == "domain" or load_task(task), task


@pytest.mark.parametrize("name", SIZED)
def test_large_presets_name_public_sets_and_no_subject(name: str) -> None:
    preset = cached(name)
    assert not preset.domain and "/" in preset.finetune.data and "/" in preset.dpo.data and preset.reward.data == "hh-rlhf"
    chained = chain(preset, None)
    assert set(chained.left_out) == {"rlhf", "constitutional", "redteam"}
    assert chained.names[-3:] == ("evaluate", "deploy", "serve")
    assert "dpo" in chain(dataclasses.replace(preset, pipeline=("pretrain", "finetune", "dpo")), None).names


@pytest.mark.parametrize("name", NAMES)
def test_any_domain_brings_its_own_documents(name: str) -> None:
    """No preset holds another subject to the demo's sources; a large one reads them beside the web's."""
    mine = (SourceConfig(kind="folder", name="/docs"),)
    given = cached(name).corpus.sources
    found = resolved(given, mine)
    assert found[0] == mine[0] and DOMAIN_KIND not in {source.kind for source in found}
    assert {source.kind for source in found} <= {"folder", "huggingface"}
    assert bool(resolved(given, ())) == (name in SIZED)


@pytest.mark.parametrize("name", SIZED)
def test_tables_divide_for_the_hardware(name: str) -> None:
    model, tensor = cached(name).model, cached(name).pretrain.parallel.tensor
    for size in (model.vocab_size, model.hidden_size, model.intermediate_size):
        assert size % (64 if size == model.vocab_size else 128) == 0, size
        assert size % tensor == 0, size
    assert model.num_kv_heads % tensor == 0


@pytest.mark.parametrize("name", SIZED)
def test_devices_of_compute_parallel_and_cluster_agree(name: str) -> None:
    preset = cached(name)
    compute, parallel = preset.pretrain.compute, preset.pretrain.parallel
    cluster = cluster_of(preset.plan.cluster)
    assert isinstance(compute.devices, int)
    assert parallel.world == compute.devices * compute.nodes == cluster.devices
    assert parallel.tensor <= cluster.instance.count, "tensor parallel leaves the node"
    for stage in ("finetune", "reward", "rlhf", "constitutional", "redteam", "evaluate"):
        assert getattr(preset, stage).compute == compute, stage


@pytest.mark.parametrize("name", SIZED)
def test_a_batch_divides_over_the_ranks(name: str) -> None:
    preset = cached(name)
    pretrain = preset.pretrain
    rows = pretrain.batch_tokens // pretrain.context
    one_pass = pretrain.micro_batch * pretrain.parallel.shard * pretrain.parallel.replicate
    assert rows % one_pass == 0, f"{rows} rows over {one_pass}"


def test_long_contexts() -> None:
    assert cached("400b").model.max_position_embeddings >= 200_000
    for name in ("8b", "70b"):
        assert cached(name).model.max_position_embeddings >= 131_072
    # The slowest rotary frequency must not come round within the context.
    for name in ("8b", "70b", "400b"):
        model = cached(name).model
        slowest = 2 * math.pi * model.rope_theta ** (1 - 2 / model.head_dim)
        assert slowest > model.max_position_embeddings


@pytest.mark.parametrize("name", SIZED)
def test_web_text_is_not_cut_by_group(name: str) -> None:
    corpus = cached(name).corpus
    hub = [s for s in corpus.sources if s.kind == "huggingface"]
    assert hub and all(re.fullmatch(r"[\w.-]+/[\w.-]+", s.name) and s.licence for s in hub)
    assert corpus.group_cap == 1.0 and corpus.executor == "slurm"


def test_prices_exist_for_every_cluster() -> None:
    for name in SIZED:
        assert cluster_of(cached(name).plan.cluster).instance.dollars == hardware.INSTANCES["p5.48xlarge"].dollars


@pytest.mark.parametrize(
    ("right", "wrong", "key"),
    [
        ("num_kv_heads: 4 ", "num_kv_heads: 5 ", "num_kv_heads"),
        ("  z_loss: 1.0e-5", "  zloss: 1.0e-5", "zloss"),
        ("  context: 2048\n  batch_tokens: 524288", "  context: 9000\n  batch_tokens: 90000", "context"),
    ],
)
def test_a_wrong_key_or_shape_names_itself(tmp_path: Path, right: str, wrong: str, key: str) -> None:
    text = (PRESETS / "160m.yaml").read_text()
    assert right in text
    path = tmp_path / "broken.yaml"
    path.write_text(text.replace(right, wrong, 1))
    with pytest.raises(ConfigError, match=key) as caught:
        load_preset(str(path))
    assert "broken.yaml" in str(caught.value)
