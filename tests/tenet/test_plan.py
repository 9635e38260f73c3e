"""The planner against runs that others published, against arithmetic done by hand, and against what cannot be."""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.config import OptimConfig, ParallelConfig
from tenet import estimate, hardware, runs
from tenet.config import Preset, load_preset
from tenet.errors import ConfigError
from tenet.plan import actual, cluster_of, overview, plan, plan_for, plan_text, render, to_json
from tenet.runs import Summary

cached = functools.cache(load_preset)  # presets are frozen
PUBLISHED = Path(__file__).parent / "published"
DAY = 86_400


def published(name: str) -> Preset:
    return cached(str(PUBLISHED / f"{name}.yaml"))


def within(value: float, expected: float, share: float = 0.15) -> bool:
    return abs(value / expected - 1) < share


def test_llama_405b_as_published() -> None:
    """3.8e25 FLOPs (paper) and 30.84M H100 hours (model card); the paper's 54 days are a window of the run, not all of it."""
    preset = published("llama-3.1-405b")
    pretrain = plan_for(preset, preset.plan).stages[0]
    assert within(pretrain.flops, 3.8e25)
    assert within(pretrain.gpu_hours, 30.84e6)
    # What 16,384 H100s compute in 54 days at 41 %: most of the run, not all of it.
    window = 16_384 * 989.4e12 * 0.41 * 54 * DAY
    assert 0.7 < window / pretrain.flops < 0.9


def test_tinyllama_as_published() -> None:
    preset = published("tinyllama-1.1b")
    pretrain = plan_for(preset, preset.plan).stages[0]
    assert within(pretrain.seconds, 90 * DAY)
    assert within(pretrain.tokens / pretrain.seconds / 16, 24_000)


def test_gpt3_as_published() -> None:
    preset = published("gpt3-175b")
    pretrain = plan_for(preset, preset.plan).stages[0]
    assert within(pretrain.flops, 3.14e23, 0.05)
    assert within(pretrain.seconds, 34 * DAY, 0.05)


def test_row_by_hand() -> None:
    """8b on one p5.48xlarge: every column from its definition."""
    preset = dataclasses.replace(cached("8b"))
    preset = dataclasses.replace(preset, pretrain=dataclasses.replace(preset.pretrain, parallel=ParallelConfig(shard=8)))
    row = plan(preset, "p5.48xlarge:1", mfu=0.5, region="us-west-2", pue=1.1, tokens=1e9).stages[0]
    flops = 1e9 * preset.model.flops_per_token(8192)
    seconds = flops / (8 * 989.4e12 * 0.5)
    assert row.flops == pytest.approx(flops)
    assert row.seconds == pytest.approx(seconds)
    assert row.gpu_hours == pytest.approx(8 * seconds / 3600)
    assert row.dollars == pytest.approx(55.04 * seconds / 3600)
    assert row.kwh == pytest.approx(10.2 * seconds / 3600 * 1.1)
    assert row.kg_co2 == pytest.approx(row.kwh * 0.351)


def test_generation_is_forward_only_and_slow() -> None:
    work = estimate.Work("x", generated=1000, context=64)
    model = cached("160m").model
    trained, generated = work.flops(model)
    assert trained == 0
    assert generated == pytest.approx(1000 * model.flops_per_token(64) / 3)
    same = plan(cached("160m"), "p5.48xlarge:1").stages
    rlhf = next(s for s in same if s.stage == "rlhf")
    assert rlhf.seconds > rlhf.flops / (8 * 989.4e12 * 0.4)


def test_rlhf_counts_every_pass() -> None:
    preset = cached("160m")
    rl = preset.rlhf
    answers = rl.steps * rl.prompts * rl.group
    work = next(w for w in estimate.work(preset) if w.stage == "rlhf")
    assert work.generated == answers * rl.max_tokens
    assert work.trained == answers * 2 * rl.max_tokens  # a prompt as long as the answer
    without = dataclasses.replace(preset, rlhf=dataclasses.replace(rl, reward_model=0.0))
    assert next(w for w in estimate.work(without) if w.stage == "rlhf").scored < work.scored


def test_memory_by_part() -> None:
    """AdamW in fp32: 4 bytes of weights, 4 of gradients, 8 of moments a parameter; Muon keeps one moment for the blocks."""
    preset = cached("400b")
    parts, n = estimate.training_memory(preset), preset.model.parameters()
    cut = 256 * 8
    assert parts.gradients == pytest.approx(4 * n / cut)
    assert parts.optimiser == pytest.approx(8 * n / cut)
    assert parts.weights == pytest.approx(4 * n / cut + 2 * 4 * preset.model.layer_parameters() / 8)
    assert estimate.optimiser_values(preset.model, OptimConfig(muon_lr=0.01)) < 1.05 * n


def test_recomputation_and_tensor_ranks_save_activations() -> None:
    preset = cached("70b")

    def bytes_of(**changes: Any) -> float:
        parallel = dataclasses.replace(preset.pretrain.parallel, **changes)
        changed = dataclasses.replace(preset, pretrain=dataclasses.replace(preset.pretrain, parallel=parallel))
        return estimate.activations(preset.model, 8192, changed)

    assert bytes_of(recompute="full") < bytes_of(recompute="selective") < bytes_of(recompute="none")
    assert bytes_of(tensor=4) == pytest.approx(2 * bytes_of(tensor=8))


def test_what_does_not_fit_is_said() -> None:
    preset = cached("400b")
    whole = dataclasses.replace(preset, pretrain=dataclasses.replace(preset.pretrain, parallel=ParallelConfig(shard=8)))
    made = plan(whole, "p5.48xlarge:1")
    assert not made.memory[0].fits
    assert " NO " in render(made)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cluster": "p5.48xlrge:2"}, r"plan.cluster.*p5.48xlrge.*did you mean p5.48xlarge"),
        ({"cluster": "p5.48xlarge:none"}, r"plan.cluster is 'p5.48xlarge:none'.*TYPE:COUNT"),
        ({"cluster": "local:3"}, r"plan.cluster is 'local:3'"),
        ({"mfu": 1.5}, r"plan.mfu is 1.5"),
        ({"pue": 0.9}, r"plan.pue is 0.9"),
        ({"tokens": -1.0}, r"plan.tokens is -1"),
        ({"region": "mars-1"}, r"plan.region.*mars-1.*us-east-1"),
    ],
)
def test_wrong_settings_name_their_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(cached("160m"), **{"cluster": "p5.48xlarge:1", **change})


def test_cluster_that_the_sharding_does_not_divide() -> None:
    with pytest.raises(ConfigError, match=r"24 devices; pretrain.parallel of 70b needs a multiple of 512"):
        plan(cached("70b"), "p5.48xlarge:3")


def test_local_counts_the_cores_it_uses() -> None:
    preset = cached("160m")
    compute = dataclasses.replace(preset.pretrain.compute, threads=1)
    one = dataclasses.replace(preset, pretrain=dataclasses.replace(preset.pretrain, compute=compute))
    made = plan(one, "local", tokens=1e6)
    assert made.devices == 1 and made.total.dollars == 0
    pretrain = made.stages[0]
    assert pretrain.seconds == pytest.approx(pretrain.flops / (hardware.CORE_FLOPS * 0.4))
    assert pretrain.joules == pytest.approx(pretrain.seconds * runs.WATTS_PER_CORE)


def test_every_row_of_the_table_has_a_source() -> None:
    for row in (*hardware.ACCELERATORS.values(), *hardware.INSTANCES.values()):
        assert len(row.source) > 10, row.name
    for machine in hardware.INSTANCES.values():
        # A node draws at least what its boards may, and a block is cheaper than on demand.
        assert machine.watts >= machine.count * machine.device.watts, machine.name
        assert machine.block is None or machine.block < machine.dollars, machine.name
        assert machine.count == 1 or machine.flops == machine.count * machine.device.bf16


def test_tables_and_json_say_the_same() -> None:
    preset = cached("8b")
    made = plan_for(preset, preset.plan)
    content = json.loads(plan_text(preset, preset.plan, as_json=True))
    assert content == json.loads(json.dumps(to_json(made)))
    assert content["total"]["dollars"] == pytest.approx(sum(s["dollars"] for s in content["stages"]))
    text = plan_text(preset, preset.plan)
    for stage in content["stages"]:
        assert stage["stage"] in text
    assert f"{preset.model.parameters():,}" in text
    assert all(line[:40] in text for line in made.assumptions)


def test_planned_against_actual(tmp_path: Path) -> None:
    preset = cached("160m")
    plan_record = {"plan": to_json(plan(preset, "local"))}

    def make_plan(config: Any, ws: runs.Workspace) -> Summary:
        runs.write_json(ws.dir / "plan.json", plan_record)
        return Summary("planned")

    def train(config: Any, ws: runs.Workspace) -> Summary:
        return Summary("trained", flops=1e12)

    runs.execute(tmp_path, "plan", (), {}, make_plan, seed=0)
    runs.execute(tmp_path, "pretrain", (), {}, train, seed=0)
    runs.execute(tmp_path, "corpus", (), {}, train, seed=0)
    (row,) = actual(tmp_path)
    planned = plan_record["plan"]["stages"][0]
    assert row["stage"] == "pretrain"
    assert row["planned_seconds"] == pytest.approx(planned["seconds"])
    assert row["flops_ratio"] == pytest.approx(1e12 / planned["flops"])


def test_stage_writes_its_plan_and_that_of_every_preset(tmp_path: Path) -> None:
    from tenet.stages import run_stage

    record = run_stage(tmp_path, "plan", "160m")
    content = runs.read_json(tmp_path / "plan" / "plan.json")
    summary = runs.summary_of(tmp_path, "plan")
    assert record["status"] == "done"
    assert content["plan"]["preset"] == "160m"
    assert {"160m", "1b", "8b", "70b", "400b"} <= {p["preset"] for p in content["presets"]}
    assert summary["figures"][0]["value"] == pytest.approx(content["plan"]["total"]["seconds"] / 3600, rel=1e-3)
    assert all(f["value"] > 0 for f in summary["figures"])


def test_all_presets_in_two_seconds_without_torch() -> None:
    code = (
        "import sys, time; from tenet.plan import overview; start = time.process_time(); plans = overview();"
        "print(len(plans), time.process_time() - start, 'torch' in sys.modules or 'lightning' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert int(out[0]) >= 5
    # CPU seconds, not wall: the machine that runs the tests may be busy.
    assert float(out[1]) < 4.0
    assert out[2] == "False"


def test_overview_is_sorted_and_fits() -> None:
    start = time.process_time()
    made = overview()
    assert [m.parameters for m in made] == sorted(m.parameters for m in made)
    assert not [(m.preset, row.parts.stage) for m in made for row in m.memory if not row.fits]
    assert all(m.cluster.startswith("p5.48xlarge") for m in made)
    assert time.process_time() - start < 10


def test_cluster_names() -> None:
    assert cluster_of("p5.48xlarge").name == "p5.48xlarge:1"
    assert cluster_of("p5.48xlarge:256").devices == 2048
    assert cluster_of("local").name == "local"
