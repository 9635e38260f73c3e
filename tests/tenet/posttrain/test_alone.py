"""`tenet STAGE --model DIR --data FILE --run R`: no corpus, no domain, no other stage; what the run has by then is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenet.cli.main import main
from tests.lightning_modules.tiny import tiny_model
from tests.tenet.posttrain.alone import model_folder, rows_of

ROWS: dict[str, dict[str, Any]] = {
    "conversations": {
        "messages": [{"role": "user", "content": "Where is lamp {}?"}, {"role": "assistant", "content": "Lamp {}."}]
    },
    "pairs": {"prompt": "Where is lamp {}?", "chosen": "the lazy dog {}", "rejected": "the fox"},
    "ratings": {"prompt": "Where is lamp {}?", "completion": "the lazy dog", "label": True},
    "prompts": {"prompt": "Where is lamp {}?", "answer": "the lazy dog", "verifier": {"kind": "exact"}},
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    (folder / "model").mkdir()
    model_folder(folder / "model", tiny_model(3))
    for name, row in ROWS.items():
        rows = [json.loads(json.dumps(row).replace("{}", str(i))) for i in range(40)]
        rows_of(
            folder / f"{name}.jsonl", [{**row, "label": i % 2 == 0} if name == "ratings" else row for i, row in enumerate(rows)]
        )
    return folder


def stage(here: Path, name: str, data: str, *more: str) -> int:
    words = ["--preset", "tests/presets/smoke.yaml", "--domain=", "--model", str(here / "model"), "--run", str(here / "run")]
    return main([name, *words, "--data", str(here / f"{data}.jsonl"), "--steps", "2", *more])


@pytest.mark.parametrize(
    ("name", "data", "more"),
    [
        ("finetune", "conversations", ()),
        ("dpo", "ratings", ("--objective.loss", "kto", "--context", "96")),
        ("rlhf", "prompts", ("--max-tokens", "8")),
        ("reward", "pairs", ("--context", "96")),
    ],
)
def test_a_stage_runs_on_a_model_and_a_file_alone(
    here: Path, capsys: pytest.CaptureFixture[str], name: str, data: str, more: tuple[str, ...]
) -> None:
    assert stage(here, name, data, *more, "--dry-run") == 0
    assert "reads: nothing" in capsys.readouterr().out
    assert stage(here, name, data, *more) == 0
    record = json.loads((here / "run" / name / "run.json").read_text())
    assert record["status"] == "done" and not record["inputs"]


def test_what_the_run_has_by_then_is_used(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "run" / "corpus").mkdir(parents=True)
    (here / "run" / "corpus" / "run.json").write_text("{}")
    assert stage(here, "rlhf", "prompts", "--dry-run") == 0
    assert "reads: corpus" in capsys.readouterr().out


def test_data_of_the_corpus_still_needs_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--preset", "tests/presets/smoke.yaml", "--model", str(here / "model"), "--run", str(here / "other")]
    assert main(["finetune", *words, "--dry-run"]) == 2
    assert "NOT FINISHED: corpus" in capsys.readouterr().out
