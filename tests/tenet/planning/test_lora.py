"""What adapters cost, by hand."""

from __future__ import annotations

import dataclasses
import json

import pytest

from lightning_modules.config import LoraConfig
from tenet.hardware import cluster_of
from tenet.planning import estimate, memory
from tenet.planning.estimate import Work
from tenet.planning.forecast import plan, plan_text
from tenet.settings.preset import Preset, load_preset

LORA = LoraConfig(rank=16, targets=("q_proj", "v_proj", "down_proj"))
STAGES = ("finetune", "dpo", "rlhf")


def preset_of(lora: LoraConfig, stages: tuple[str, ...] = STAGES) -> Preset:
    preset = dataclasses.replace(load_preset("8b"), pipeline=("pretrain", *STAGES))
    for stage in stages:
        preset = dataclasses.replace(preset, **{stage: dataclasses.replace(getattr(preset, stage), lora=lora)})
    return preset


def work_of(preset: Preset, stage: str) -> Work:
    return next(work for work in estimate.work(preset) if work.stage == stage)


def test_parameters_of_adapters_by_hand() -> None:
    shape = load_preset("8b").model
    queries, values = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    by_hand = (shape.hidden_size + queries) + (shape.hidden_size + values) + (shape.intermediate_size + shape.hidden_size)
    assert shape.adapter_parameters(LORA) == 16 * shape.num_layers * by_hand
    for stage in STAGES:
        assert work_of(preset_of(LORA), stage).trained_parameters(shape) == shape.adapter_parameters(LORA)
        assert work_of(preset_of(LoraConfig()), stage).trained_parameters(shape) == shape.parameters()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_with_adapters_takes_less_of_everything(stage: str) -> None:
    whole, thin = preset_of(LoraConfig()), preset_of(LORA)
    where = cluster_of(whole.plan.cluster)
    old, new = (memory.stage_memory(p, where.devices, where.memory, work_of(p, stage)) for p in (whole, thin))
    adapters = whole.model.adapter_parameters(LORA) * 4 / 64
    assert new.gradients == pytest.approx(adapters) and new.optimiser == pytest.approx(2 * adapters)
    assert old.gradients == pytest.approx(4 * whole.model.parameters() / 64)
    reference = 2 * whole.model.parameters() / 64 if stage == "rlhf" else 0.0  # the policy without adapters is the reference
    assert old.weights - new.weights == pytest.approx(reference - adapters)
    work = work_of(whole, stage)
    saved = work.flops(whole.model) - work_of(thin, stage).flops(whole.model)
    assert saved == pytest.approx(work.trained * whole.model.flops_per_token(work.context) / 3)
    seconds = [next(s for s in plan(p).stages if s.stage == stage).seconds for p in (whole, thin)]
    assert seconds[1] < seconds[0]


def test_one_device_draws_from_matrices_with_adapters_merged() -> None:
    preset = load_preset("smol")
    thin = dataclasses.replace(preset, rlhf=dataclasses.replace(preset.rlhf, lora=LORA))
    where = cluster_of("local")
    old, new = (memory.stage_memory(p, 1, where.memory, work_of(p, "rlhf")) for p in (preset, thin))
    shapes = preset.model.projections()
    merged = 4 * preset.model.num_layers * sum(shapes[name][0] * shapes[name][1] for name in LORA.targets)
    adapters = 4 * preset.model.adapter_parameters(LORA)
    reference = 2 * preset.model.parameters()
    assert new.total < old.total
    drawing = new.cache > 0
    assert new.weights == pytest.approx(old.weights - reference + adapters + (merged if drawing else 0))


def test_the_plan_says_what_is_trained() -> None:
    thin = preset_of(LORA, ("finetune",))
    rows = {row["stage"]: row for row in json.loads(plan_text(thin, thin.plan, as_json=True))["stages"]}
    assert rows["finetune"]["trained"] == thin.model.adapter_parameters(LORA)
    assert rows["pretrain"]["trained"] == rows["dpo"]["trained"] == thin.model.parameters()
    text = plan_text(thin, thin.plan)
    assert "trained" in text and "a step of LoRA takes two thirds" in text
