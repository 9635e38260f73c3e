"""A subject whose every file is its owners' own, through all ten steps by settings alone: nothing here is made by
`tenet new`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tenet.cli.main import main
from tenet.domains.loading import load_domain
from tenet.pipeline.chain import chain, input_files
from tenet.settings.preset import load_preset
from tests.tenet.bakery import PRINCIPLES, judge, write_bakery, write_preset
from tests.tenet.scripted import scripted_server

# At the size of the smoke preset: what is asserted is that each file arrived, not what so small a model learnt from it.
STAGES = [
    "corpus",
    "plan",
    "model",
    "pretrain",
    "finetune",
    "reward",
    "rlhf",
    "constitutional",
    "redteam",
    "evaluate",
    "deploy",
    "serve",
]


@pytest.fixture(scope="module")
def run(in_time: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    write_bakery(folder)
    with scripted_server(judge) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", server.keys.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", server.keys.secret_key)
        preset = write_preset(folder / "preset.yaml", server.endpoint, server.model_id)
        assert main(["run", "--preset", str(preset), "--run", str(folder / "run")]) == 0
    return folder / "run"


def summary(run: Path, stage: str) -> dict[str, Any]:
    return json.loads((run / stage / "summary.json").read_text())  # type: ignore[no-any-return]


def test_no_stage_is_left_out(run: Path) -> None:
    assert json.loads((run / "pipeline.json").read_text()) == {"stages": STAGES, "left_out": {}, "domain": "bakery"}
    for stage in STAGES:
        assert (run / stage / "report.html").is_file(), stage


def test_each_file_was_what_its_stage_worked_on(run: Path) -> None:
    used = {stage: summary(run, stage) for stage in STAGES}
    counts = used["finetune"]["conversations"], used["reward"]["pairs"], used["rlhf"]["prompts"]
    # Of 200, 200 and 100: some are for validation, and the test rows are not counted.
    assert counts == (175, 175, 91), counts
    assert used["rlhf"]["data"] == "prompts of the domain bakery" and used["finetune"]["licences"] == {"CC0-1.0": 190}
    kinds = {
        json.loads(line)["verifier"]["kind"] for line in (run / "corpus" / "requests" / "train.jsonl").read_text().splitlines()
    }
    assert kinds == {"exact", "number", "regex", "json_schema", "python"}
    principles = used["constitutional"]["principles"]
    assert [one["title"] + "." for one in principles.values()] == PRINCIPLES
    assert {one["judged_by"] for one in principles.values()} == {"judge"}
    assert used["constitutional"]["training"]["mended"] == 30
    goals = [json.loads(line) for line in (run / "redteam" / "rows.jsonl").read_text().splitlines()]
    assert {row["category"] for row in goals if "category" in row} >= {"poison", "theft"}
    assert set(used["evaluate"]["results"]) == {"flour", "price"} and all(
        row["n"] == 8 for task in used["evaluate"]["results"].values() for row in task.values()
    )
    assert set(used["evaluate"]["not_asked"]) == {"sold_out"} and used["evaluate"]["headline"].endswith("not asked: sold_out")
    assert used["serve"]["question"] == "What does the Harbour loaf cost?" and used["serve"]["answer"]


def test_no_row_of_the_demo_came_along(run: Path) -> None:
    for path in (*run.glob("corpus/*/*.jsonl"), *run.glob("*/rows.jsonl"), run / "corpus" / "card.json"):
        text = path.read_text().lower()
        assert "aws" not in text and "bucket" not in text and "botocore" not in text, path


def test_code_of_a_verifier_is_an_input_of_policy_optimisation(run: Path) -> None:
    assert [file["name"] for file in json.loads((run / "rlhf" / "run.json").read_text())["files"]] == ["pay.py"]
    for path in run.glob("corpus/requests/*.jsonl"):
        assert "folder" not in path.read_text(), "the rows of a run name no place on this machine"
    preset, domain = load_preset(str(run.parent / "preset.yaml")), load_domain(str(run.parent / "bakery"))
    before = [file.sha256 for file in input_files("rlhf", chain(preset, domain))]
    with (run.parent / "bakery" / "pay.py").open("a") as file:
        file.write("# changed\n")
    assert [file.sha256 for file in input_files("rlhf", chain(preset, domain))] != before


def test_rows_of_a_task_are_an_input_of_evaluation(run: Path) -> None:
    named = [file["name"] for file in json.loads((run / "evaluate" / "run.json").read_text())["files"]]
    tasks = ["flour.yaml", "price.yaml", "sold_out.yaml"]
    assert named == [*tasks, "flour.jsonl", "price.jsonl", "flour.jsonl"]
    preset, domain = load_preset(str(run.parent / "preset.yaml")), load_domain(str(run.parent / "bakery"))
    before = [file.sha256 for file in input_files("evaluate", chain(preset, domain))]
    with (run.parent / "bakery" / "tasks" / "price.jsonl").open("a") as file:
        file.write("\n")
    after = [file.sha256 for file in input_files("evaluate", chain(preset, domain))]
    assert [one != other for one, other in zip(before, after, strict=True)] == [False] * 4 + [True, False]


def test_a_reward_model_of_another_tokenizer_does_not_judge(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run / "finetune" / "model", tmp_path / "other")
    tokenizer = json.loads((tmp_path / "other" / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    config.pop("tokenizer_fingerprint")
    (tmp_path / "other" / "config.json").write_text(json.dumps(config))
    shutil.copytree(run / "corpus", tmp_path / "run" / "corpus")
    shutil.copytree(run / "reward", tmp_path / "run" / "reward")
    words = [
        "rlhf",
        "--preset",
        str(run.parent / "preset.yaml"),
        "--run",
        str(tmp_path / "run"),
        "--model",
        str(tmp_path / "other"),
    ]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "the model's tokenizer is not that of" in said and "tenet reward --model" in said, said
    assert not list((tmp_path / "run").glob("rlhf*"))
