"""The model card and the bill of materials: what they say stands in the run's files, and other tools can read them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tenet.files import read_json, sha256, write_bytes, write_json
from tenet.report import index, rules
from tenet.report.pages.bom import bom
from tenet.report.pages.modelcard import as_page, model_card
from tenet.report.served import Served, served
from tests.tenet.report.pages import assert_opens_from_disk


@pytest.fixture(scope="module")
def model(made: Path) -> Served:
    found = served(made)
    assert found is not None
    return found


def test_the_card_can_be_read_by_the_hub(model: Served) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard(model_card(model))
    assert card.data.library_name == "transformers" and card.data.license == "other"
    values = {result.dataset_name: result.metric_value for result in card.data.eval_results}
    assert values == {task: by["redteam"]["value"] for task, by in model.stages["evaluate"].summary["results"].items()}


def test_the_card_tells_training_data_safety_and_doubts(model: Served) -> None:
    card = model_card(model)
    for part in (
        "1,200,000",
        "botocore 1.44",
        "Apache-2.0, PSF-2.0",
        "5.86 %",
        "70 → 30 %",
        "22 to 39 %",
    ):
        assert part in card, part
    for stage in model.stages.values():
        for doubt in [doubt for doubt in rules.doubts(stage) if not doubt.startswith(rules.ENERGY)][:1]:
            assert f"- {stage.name}: {doubt}" in card
    assert card.count("\n- ") > 8
    assert "1,300,000 parameters, preset `tiny`" in card and "not deployed" in card


def test_a_gate_that_refused_and_the_weights_that_were_chosen_are_said(run: Path) -> None:
    write_json(run / "deploy" / "deployment.json", {"store": "store", "version": "9a8b", "chosen": "constitutional"})
    summary = read_json(run / "redteam" / "summary.json")
    write_json(run / "redteam" / "summary.json", {**summary, "gate": {"promoted": False, "reasons": ["refusals rose"]}})
    write_bytes(run / "constitutional" / "model" / "model.safetensors", b"weights")
    model = served(run)
    assert model is not None and (model.chosen, model.version) == ("constitutional", "9a8b")
    card = model_card(model)
    assert (
        "weights of the step `constitutional`, version `9a8b`" in card and "kept the red team's fix back (refusals rose)" in card
    )
    assert "redteam" not in [stage.name for stage in model.made_by]


def test_the_card_as_a_page_keeps_what_a_model_wrote_as_text(run: Path) -> None:
    summary = read_json(run / "rlhf" / "summary.json")
    write_json(run / "rlhf" / "summary.json", {**summary, "headline": "<script src='//x'></script> | a <img src='//y'>\n# h"})
    model = served(run)
    assert model is not None
    page = as_page(model_card(model), "demo")
    assert_opens_from_disk(page)
    assert "script src" in page and "<h1>h</h1>" not in page


def components(document: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in document["components"] if part["type"] == kind}


def test_the_bill_of_materials_is_valid_and_names_weights_data_and_packages(model: Served, made: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = bom(model)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    weights = document["metadata"]["component"]
    assert weights["type"] == "machine-learning-model"
    assert weights["components"][0]["hashes"][0]["content"] == sha256(made / "redteam" / "model" / "model.safetensors")
    data = components(document, "data")["botocore 1.44"]
    assert data["hashes"][0]["content"] == "ab" * 32
    assert components(document, "library")["torch"]["purl"].startswith("pkg:pypi/torch@2.")
    (needs,) = [d["dependsOn"] for d in document["dependencies"] if d["ref"] == "model"]
    assert {"data:botocore 1.44", "package:torch"} <= set(needs)


def test_the_same_run_gives_the_same_card_and_bill(made: Path) -> None:
    first, second = served(made), served(made)
    assert first and second and bom(first) == bom(second) and model_card(first) == model_card(second)


def test_other_weights_give_another_bill(model: Served, run: Path) -> None:
    record = read_json(run / "redteam" / "run.json")
    outputs = [{**entry, "sha256": "0" * 64} for entry in record["outputs"]]
    write_json(run / "redteam" / "run.json", {**record, "outputs": outputs})
    other = served(run)
    assert other and json.loads(bom(other))["serialNumber"] != json.loads(bom(model))["serialNumber"]


def test_the_index_writes_and_links_them(reported: Path, run: Path) -> None:
    for name in ("README.md", "index.html", "bom.cdx.json"):
        assert (reported / "card" / name).stat().st_size > 500 and f"card/{name}" in (reported / "index.html").read_text()
    for name in ("pretrain", "finetune", "dpo", "reward", "rlhf", "constitutional", "redteam", "evaluate", "deploy", "serve"):
        shutil.rmtree(run / name)
    assert "no stage has made a model yet" in index(run).read_text() and not (run / "card").exists()
