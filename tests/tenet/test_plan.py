"""The planner against runs that others published, against arithmetic done by hand, and against what cannot be."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.config import OptimConfig, ParallelConfig
from tenet import hardware
from tenet.errors import ConfigError
from tenet.hardware import INSTANCES
from tenet.planning import estimate, memory
from tenet.planning.forecast import Plan, count, overview, plan, plan_text, render, to_json
from tenet.runs import provenance
from tenet.settings.preset import load_preset
from tenet.settings.rewards import RewardPart

cached = functools.cache(load_preset)  # presets are frozen
PUBLISHED = Path(__file__).parent / "published"
DAY = 86_400


def published(name: str, **changes: Any) -> Plan:
    preset = cached(str(PUBLISHED / f"{name}.yaml"))
    return plan(preset, dataclasses.replace(preset.plan, **changes))


def planned(name: str, **changes: Any) -> Plan:
    preset = cached(name)
    return plan(preset, dataclasses.replace(preset.plan, **changes))


def within(value: float, expected: float, share: float = 0.15) -> bool:
    return abs(value / expected - 1) < share


# --- published runs, with the utilisation that they report -----------------------------------------------------------


def test_llama_405b_as_published() -> None:
    """3.8e25 FLOPs (paper) and 30.84M H100 hours (model card); the paper's 54 days are a window of the run, not all of
    it."""
    made = published("llama-3.1-405b")
    pretrain = made.stages[0]
    assert within(pretrain.flops, 3.8e25)
    assert within(pretrain.gpu_hours, 30.84e6)
    # What 16,384 H100s compute in 54 days at 41 %: most of the run, not all of it.
    window = 16_384 * 989.4e12 * 0.41 * 54 * DAY
    assert 0.7 < window / pretrain.flops < 0.9
    # 419 unexpected interruptions in the window, more than 90 % effective training time.
    assert within(made.interruptions.expected * 54 * DAY / pretrain.seconds, 419, 0.05)
    assert made.interruptions.lost < 0.1


def test_olmo_2_32b_as_published() -> None:
    pretrain = published("olmo-2-32b").stages[0]
    assert within(pretrain.tokens / pretrain.work_seconds / pretrain.devices, 1_800)


def test_bloom_as_published() -> None:
    assert within(published("bloom-176b").stages[0].gpu_hours, 1_082_990)


def test_tinyllama_as_published() -> None:
    pretrain = published("tinyllama-1.1b").stages[0]
    assert within(pretrain.seconds, 90 * DAY)
    assert within(pretrain.tokens / pretrain.work_seconds / 16, 24_000)


@pytest.mark.parametrize(("name", "days"), [("gpt3-175b", 34), ("megatron-1t", 84)])
def test_megatron_estimates_as_published(name: str, days: float) -> None:
    """Its authors' own estimates, which know no interruptions."""
    pretrain = published(name).stages[0]
    assert within(pretrain.work_seconds, days * DAY, 0.05)
    assert name != "gpt3-175b" or within(pretrain.flops, 3.14e23, 0.05)


@pytest.mark.parametrize(("name", "tokens"), [("olmo-2-32b", 1_800), ("tinyllama-1.1b", 24_000), ("torchtitan-8b", 6_667)])
def test_the_roofline_alone_comes_near(name: str, tokens: float) -> None:
    """Runs that shard as this repository does, without being told their utilisation. The matrix units' share is fitted
    to these."""
    pretrain = published(name, mfu=0.0).stages[0]
    assert within(pretrain.tokens / pretrain.work_seconds / pretrain.devices, tokens, 0.2)


def test_decoding_as_published() -> None:
    """Llama 3.1 8B in bf16 on one A100 40 GB, one request: about 75 tokens/s, 77 % of what the bandwidth allows."""
    serving = published("torchtitan-8b", serve="p4d.24xlarge", serve_batch=1, serve_prompt=1024, serve_answer=128).serving
    assert serving.bound == "memory" and serving.copies == 8
    without_prompt = 1 / (serving.token_seconds - serving.first_seconds / 128)
    assert within(without_prompt, 75, 0.05)


# --- arithmetic by hand ----------------------------------------------------------------------------------------------


def test_row_by_hand() -> None:
    """8b on eight machines, utilisation given: every column from its definition."""
    preset = cached("8b")
    preset = dataclasses.replace(preset, pretrain=dataclasses.replace(preset.pretrain, parallel=ParallelConfig(shard=64)))
    config = dataclasses.replace(
        preset.plan, cluster="p5.48xlarge:8", mfu=0.5, region="us-west-2", pue=1.1, tokens=1e11, power=0.5, price="block"
    )
    row = plan(preset, config).stages[0]
    flops = 1e11 * preset.model.flops_per_token(8192)
    assert row.flops == pytest.approx(flops)
    assert row.work_seconds == pytest.approx(flops / (64 * 989.4e12 * 0.5))
    assert row.mfu == pytest.approx(0.5)
    assert row.seconds > row.work_seconds
    assert row.gpu_hours == pytest.approx(64 * row.seconds / 3600)
    assert row.dollars == pytest.approx(8 * 31.464 * row.seconds / 3600)
    assert row.kwh == pytest.approx(8 * 10.2 * 0.5 * row.seconds / 3600 * 1.1)
    assert row.kg_co2 == pytest.approx(row.kwh * 0.351)


def test_interruptions_by_hand() -> None:
    stop = planned("8b", mtbf=10_000.0, storage=4.0).interruptions
    assert stop.mtbf == pytest.approx(10_000 * 3600 / 256)
    # fp32 weights and two moments, written by 32 machines.
    assert stop.checkpoint == pytest.approx(12 * cached("8b").model.parameters() / (32 * 4e9))
    assert stop.best == pytest.approx(math.sqrt(2 * stop.checkpoint * stop.mtbf))
    assert 0 < stop.lost_at_best <= stop.lost < 1


def test_rlhf_counts_every_pass() -> None:
    preset = cached("160m")
    rl = preset.rlhf
    answers = rl.steps * rl.prompts * rl.group
    work = next(w for w in estimate.work(preset) if w.stage == "rlhf")
    assert work.generated == answers * rl.max_tokens
    assert work.trained == answers * 2 * rl.max_tokens  # a prompt as long as the answer
    assert work.answers == rl.prompts * rl.group
    without = dataclasses.replace(preset, rlhf=dataclasses.replace(rl, rewards=(RewardPart("verifier"),)))
    assert next(w for w in estimate.work(without) if w.stage == "rlhf").scored < work.scored


def test_a_frozen_reward_model_only_goes_forward() -> None:
    preset = cached("160m")
    frozen = dataclasses.replace(preset, reward=dataclasses.replace(preset.reward, freeze=True))
    whole, forward = (next(w for w in estimate.work(p) if w.stage == "reward") for p in (preset, frozen))
    assert forward.flops(preset.model) == pytest.approx(whole.flops(preset.model) / 3)


def test_memory_by_part() -> None:
    """AdamW in fp32: 4 bytes of weights, 4 of gradients, 8 of moments a parameter; Muon keeps one moment for the
    blocks."""
    preset = cached("400b")
    parts, n = memory.training_memory(preset), preset.model.parameters()
    cut = 512 * 4
    assert parts.gradients == pytest.approx(4 * n / cut)
    assert parts.optimiser == pytest.approx(8 * n / cut)
    assert parts.weights == pytest.approx(4 * n / cut + 2 * 4 * preset.model.layer_parameters() / 4)
    assert memory.optimiser_values(preset.model, OptimConfig(muon_lr=0.01)) < 1.05 * n


def test_recomputation_and_tensor_ranks_save_activations() -> None:
    preset = cached("70b")

    def bytes_of(**changes: Any) -> float:
        parallel = dataclasses.replace(preset.pretrain.parallel, **changes)
        changed = dataclasses.replace(preset, pretrain=dataclasses.replace(preset.pretrain, parallel=parallel))
        return memory.activations(preset.model, 8192, changed)

    assert bytes_of(recompute="full") < bytes_of(recompute="selective") < bytes_of(recompute="none")
    assert bytes_of(tensor=4) == pytest.approx(2 * bytes_of(tensor=8))


def memory_of(name: str, stage: str) -> memory.Memory:
    preset, where = cached(name), hardware.cluster_of(cached(name).plan.cluster)
    work = next(w for w in estimate.work(preset) if w.stage == stage)
    return memory.stage_memory(preset, where.devices, where.memory, work)


def test_memory_of_the_other_stages() -> None:
    """Policy optimisation has two frozen bf16 models beside it, learning from preferences one; evaluation only
    answers."""
    n = cached("8b").model.parameters()
    fine, rlhf, ai, last = (memory_of("8b", stage) for stage in ("finetune", "rlhf", "constitutional", "evaluate"))
    assert fine.optimiser == rlhf.optimiser == memory_of("8b", "pretrain").optimiser
    # One device holds a copy of 16 GB that answers, or the activations, whichever is larger.
    for parts, frozen in ((rlhf, 2), (ai, 1)):
        drawn = 2 * n if parts.cache else 0
        assert parts.weights == pytest.approx(fine.weights + frozen * 2 * n / 64 + drawn)
    assert last.weights == pytest.approx(2 * n) and last.gradients == last.optimiser == 0 and last.cache > 0


def test_drawing_answers_leaves_room_for_the_training_state() -> None:
    parts, capacity = memory_of("8b", "rlhf"), hardware.ACCELERATORS["H100"].memory
    assert parts.cache > 0 and parts.total <= memory.USABLE * capacity


# --- what must always hold -------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["160m", "1b", "8b"]), st.integers(0, 3), st.floats(0.05, 0.9))
def test_time_falls_with_utilisation_and_flops_stay(name: str, doubling: int, mfu: float) -> None:
    machines = int(cached(name).plan.cluster.partition(":")[2])
    slow, fast = planned(name, mfu=mfu), planned(name, mfu=min(1.0, 1.1 * mfu))
    assert fast.stages[0].seconds < slow.stages[0].seconds
    assert fast.total.seconds < slow.total.seconds
    rows = cached(name).pretrain.batch_tokens // cached(name).pretrain.context
    more = machines * 2**doubling
    if more * 8 <= rows:
        bigger = planned(name, mfu=mfu, cluster=f"p5.48xlarge:{more}")
        assert bigger.total.flops == pytest.approx(slow.total.flops)
        assert bigger.stages[0].work_seconds <= slow.stages[0].work_seconds * (1 + 1e-9)


@pytest.mark.parametrize("name", ["tiny", "160m", "8b", "400b"])
def test_sums_are_sums(name: str) -> None:
    made = planned(name)
    for field in ("tokens", "flops", "seconds", "gpu_hours", "dollars", "joules", "kwh", "kg_co2"):
        assert getattr(made.total, field) == pytest.approx(sum(getattr(stage, field) for stage in made.stages))
    assert [row.parts.stage for row in made.memory] == [stage.stage for stage in made.stages]
    for row in made.memory:
        p = row.parts
        assert p.total == pytest.approx(p.weights + p.gradients + p.optimiser + p.activations + p.cache)
    assert all(0 <= stage.mfu <= 1 for stage in made.stages)


@given(st.floats(0, 999).map(lambda x: round(x, 3)), st.sampled_from([("", 1), ("k", 1e3), ("M", 1e6), ("B", 1e9), ("T", 1e12)]))
def test_counts_are_read_as_people_write_them(number: float, unit: tuple[str, float]) -> None:
    assert count(f"{number:f}{unit[0]}") == pytest.approx(number * unit[1])


@pytest.mark.parametrize(
    ("text", "value"), [("8T", 8e12), ("300B", 3e11), ("2.4M", 2.4e6), ("8e12", 8e12), (8e12, 8e12), ("1,000", 1000)]
)
def test_counts(text: float | str, value: float) -> None:
    assert count(text) == value


# --- what cannot be --------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_said() -> None:
    preset = cached("400b")
    whole = dataclasses.replace(preset, pretrain=dataclasses.replace(preset.pretrain, parallel=ParallelConfig(shard=8)))
    made = plan(whole, dataclasses.replace(preset.plan, cluster="p5.48xlarge:1", serve=""))
    assert not made.memory[0].fits and not made.serving.fits
    text = render(made)
    assert "DOES NOT FIT" in text and " NO" in text and "DO NOT FIT on p5.48xlarge:1" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cluster": "p5.48xlrge:2"}, r"plan.cluster.*p5.48xlrge.*did you mean p5.48xlarge"),
        ({"serve": "g6e.xlrge"}, r"plan.serve.*g6e.xlrge.*did you mean g6e.xlarge"),
        ({"mfu": 1.5}, r"plan.mfu is 1.5"),
        ({"matrix_efficiency": -0.5}, r"plan.matrix_efficiency is -0.5"),
        ({"network_efficiency": 0.0}, r"plan.network_efficiency is 0"),
        ({"overlap": 2.0}, r"plan.overlap is 2"),
        ({"mtbf": 0.0}, r"plan.mtbf is 0"),
        ({"restart_minutes": -1.0}, r"plan.restart_minutes is -1"),
        ({"gather_bytes": 3}, r"plan.gather_bytes is 3"),
        ({"pue": 0.9}, r"plan.pue is 0.9"),
        ({"tokens": -1.0}, r"plan.tokens is -1"),
        ({"tokens": "8X"}, r"plan.tokens is '8X'.*8T, 300B, 2.4M or 8e12"),
        ({"region": "mars-1"}, r"plan.region.*mars-1.*us-east-1"),
        ({"cluster": "p5e.48xlarge:1"}, r"plan.price is 'on-demand'; for p5e.48xlarge .* has block"),
        ({"cluster": "p5.48xlarge:64"}, r"512 groups .* is 256 rows; use at most 32 machines"),
        ({"mtbf": 0.01}, r"pretrain.checkpoint_every: .* never end on p5.48xlarge:1"),
    ],
)
def test_wrong_settings_name_their_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned("160m", **change)


def test_cluster_that_the_sharding_does_not_divide() -> None:
    with pytest.raises(ConfigError, match=r"24 devices; pretrain.parallel of 70b needs a multiple of 1024.*--fit"):
        planned("70b", cluster="p5.48xlarge:3")


# --- this machine, files, the command line ---------------------------------------------------------------------------


def test_local_counts_the_cores_it_uses() -> None:
    preset = cached("160m")
    compute = dataclasses.replace(preset.pretrain.compute, threads=1)
    one = dataclasses.replace(preset, pretrain=dataclasses.replace(preset.pretrain, compute=compute))
    made = plan(one, dataclasses.replace(preset.plan, cluster="local", serve="", mfu=0.4, tokens=1e6))
    assert made.devices == 1 and made.total.dollars == 0 and math.isinf(made.interruptions.mtbf)
    pretrain = made.stages[0]
    assert pretrain.work_seconds == pytest.approx(pretrain.flops / (hardware.CORE_FLOPS * 0.4))
    assert pretrain.joules == pytest.approx(pretrain.seconds * provenance.WATTS_PER_CORE)


def test_tables_and_json_say_the_same() -> None:
    preset = cached("8b")
    made = plan(preset)
    content = json.loads(
        plan_text(preset, preset.plan, as_json=True), parse_constant=lambda name: pytest.fail(f"{name} is no JSON")
    )
    assert content == json.loads(json.dumps(to_json(made)))
    assert content["total"]["dollars"] == pytest.approx(sum(s["dollars"] for s in content["stages"]))
    text = plan_text(preset, preset.plan)
    for stage in content["stages"]:
        assert stage["stage"] in text
    assert f"{preset.model.parameters():,}" in text
    folded = " ".join(text.split())
    assert all(" ".join(line.split()) in folded for line in made.assumptions)


def test_every_setting_is_named_by_the_assumption_that_it_changes() -> None:
    preset = cached("8b")
    text = "\n".join(plan(preset).assumptions)
    for field in dataclasses.fields(preset.plan):
        assert f"--{field.name}" in text, field.name


def test_overview_is_sorted_and_fits() -> None:
    made = overview()
    assert [m.parameters for m in made] == sorted(m.parameters for m in made)
    assert not [(m.preset, row.parts.stage) for m in made for row in m.memory if not row.fits]
    assert all(m.serving.fits for m in made)


def test_presets_name_machines_of_the_table() -> None:
    served = {path.stem: cached(path.stem).plan.serve for path in (Path(__file__).parents[2] / "presets").glob("*.yaml")}
    assert all(not name or name.partition(":")[0] in INSTANCES for name in served.values())
