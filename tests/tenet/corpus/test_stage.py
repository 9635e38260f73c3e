"""The whole stage on a few services: same bytes from any number of workers and after any kill, and planted rows are
thrown out."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tenet.corpus.tokens.shards import read_shard
from tenet.domains.loading import load_domain
from tenet.errors import ConfigError
from tenet.evaluate.task_rows import evaluation_texts
from tenet.files import read_json, read_jsonl
from tenet.runs.execute import execute
from tenet.settings.corpus import CorpusConfig, SourceConfig
from tenet.stages import corpus

ROOT = Path(__file__).resolve().parents[3]
#: Services of all three splits at the default shares.
BOTOCORE = SourceConfig("botocore", name="dynamodb,sqs,sns,transcribe,glacier,ecr")


def settings(**changes: Any) -> CorpusConfig:
    base = CorpusConfig(
        sources=(BOTOCORE,), max_bytes="all", group_cap=1.0, vocab_size=512, evaluation=("arc_easy",), instructions=200, preferences=60,
        requests=60, workers=2,
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def build(run: Path, config: CorpusConfig) -> Path:
    domain = load_domain("aws_api")
    execute(
        run,
        "corpus",
        (),
        config,
        corpus.run,
        seed=0,
        foreign={"model.max_position_embeddings": 512},
        workspace={"domain": domain},
    )
    return run / "corpus"


def contents(folder: Path) -> dict[str, bytes]:
    """All outputs; not the record of the run, its settings and its logs."""
    skip = ("run.json", "config.yaml")
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.name not in skip}
    return {name: content for name, content in found.items() if not name.startswith("checkpoints/")}


@pytest.fixture(scope="module")
def evaluation_text() -> str:
    """A real question with its answer, long enough to be found."""
    return next(text for _, _, text in evaluation_texts(("arc_easy",)) if len(text.split()) > 25)


@pytest.fixture(scope="module")
def extra(tmp_path_factory: pytest.TempPathFactory, evaluation_text: str) -> SourceConfig:
    """A folder with a planted benchmark question, a planted copy, and bad text."""
    folder = tmp_path_factory.mktemp("extra")
    story = " ".join(f"The traveller number {i} walked to the city of glass and then came back with a story." for i in range(8))
    leak = (
        f"I have read this in a book about the school exam of my child. {evaluation_text} It was a hard one, and that is "
        "all of what the people who wrote it have said to me about the day of the exam, with no word of the answer that they wanted."
    )
    fresh = [
        f"{name} went down to the river that morning because the boat with the letters of {name} had not come, and the people of "
        f"the village of {place} did not know what to do with the long summer. They spoke about it, they waited for it, and then they "
        f"have forgotten that it was ever late, as {name} always said in {place}."
        for name, place in (
            ("Anna", "Oak"),
            ("Bela", "Elm"),
            ("Cyril", "Ash"),
            ("Dora", "Fir"),
            ("Emil", "Yew"),
            ("Fanny", "Box"),
        )
    ]
    texts = {"leak": leak, "story": story, "short": "Too short to keep.", "symbols": "# " * 300} | {
        f"n{i}": t for i, t in enumerate(fresh)
    }
    rows = [{"id": name, "text": text} for name, text in texts.items()] + [{"id": "copy", "text": fresh[0] + "  !"}]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return SourceConfig("folder", name=str(folder), licence="CC0-1.0")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, extra: SourceConfig) -> Path:
    return build(tmp_path_factory.mktemp("run"), settings(sources=(BOTOCORE, extra)))


def test_planted_rows_are_thrown_out_for_the_right_reason(made: Path) -> None:
    reasons = {row["id"].rpartition("/")[2]: (row["filter"], row["reason"]) for row in read_jsonl(made / "removed.jsonl")}
    assert reasons["leak"] == ("contamination", "contaminated_arc_easy")
    assert reasons["short"] == ("quality", "gopher_short_doc")
    assert reasons["symbols"][0] in ("quality", "repetition")
    assert reasons["story"][0] == "repetition"
    assert {"copy", "n0"} & set(reasons)


def test_the_leak_is_nowhere_in_the_outputs(made: Path, evaluation_text: str) -> None:
    import gzip

    text = gzip.decompress((made / "documents" / "train.jsonl.gz").read_bytes()).decode()
    text += (made / "heldout" / "valid.jsonl").read_text() + (made / "heldout" / "test.jsonl").read_text()
    assert json.dumps(evaluation_text)[1:-1] not in text


def test_the_card_says_what_happened(made: Path) -> None:
    card = read_json(made / "card.json")
    rows = card["filters"]
    assert [row["filter"] for row in rows] == [
        "quality", "repetition", "contamination", "exact duplicate", "near duplicate", "held-out overlap", "group cap", "size",
    ]  # fmt: skip
    assert rows[0]["documents_in"] == card["documents"]["read"] and rows[-1]["documents_out"] == card["documents"]["kept"]
    assert all(row["documents_out"] == following["documents_in"] for row, following in pairwise(rows))
    assert len(read_jsonl(made / "removed.jsonl")) == card["documents"]["read"] - card["documents"]["kept"]
    assert card["heldout"] == {"valid": ["ecr"], "test": ["glacier", "transcribe"]}
    assert {row["licence"] for row in card["licences"]} == {"Apache-2.0", "CC0-1.0"}
    assert sum(row["bytes"] for row in card["licences"]) == card["bytes"]["kept"]


def test_shards_hold_the_documents_of_their_split(made: Path) -> None:
    manifest = read_json(made / "tokens" / "manifest.json")
    for shard in manifest["shards"]:
        tokens, ends = read_shard(made / "tokens" / shard["file"], verify=True)
        assert (len(tokens), len(ends)) == (shard["tokens"], shard["documents"])
    documents = read_jsonl(made / "heldout" / "test.jsonl")
    assert {d["metadata"]["service"] for d in documents} - {""} == {"glacier", "transcribe"}
    assert "\n\n".join(d["text"] for d in documents) == (made / "heldout" / "test.txt").read_text()
    assert (
        sum(len(d["text"].encode()) for d in documents)
        == next(s for s in manifest["shards"] if s["name"] == "test")["text_bytes"]
    )


def test_no_training_row_is_about_a_held_out_service(made: Path) -> None:
    held = {"ecr", "glacier", "transcribe"}
    for name in ("instructions", "preferences", "requests"):
        train, test = read_jsonl(made / name / "train.jsonl"), read_jsonl(made / name / "test.jsonl")
        assert train and test
        assert not {row["service"] for row in train} & held
        assert {row["service"] for row in test} - {""} <= {"glacier", "transcribe"}


def test_the_number_of_workers_changes_no_byte(made: Path, tmp_path: Path, extra: SourceConfig) -> None:
    assert contents(build(tmp_path / "one", settings(sources=(BOTOCORE, extra), workers=1))) == contents(made)


SCRIPT = """
import sys
from pathlib import Path
from tests.tenet.corpus.test_stage import build, settings, BOTOCORE, SourceConfig
from tenet.errors import TenetError
if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]), settings(sources=(BOTOCORE, SourceConfig("folder", name=sys.argv[2], licence="CC0-1.0"))))
    except TenetError as error:
        print(error)
        sys.exit(error.exit_code)
"""


def start(run: Path, extra: SourceConfig) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(run), extra.name], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen[str], pattern: str = "*") -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline and not list(path.glob(pattern)):
        time.sleep(0.02)


def test_killed_at_any_point_it_ends_with_the_same_bytes(made: Path, tmp_path: Path, extra: SourceConfig) -> None:
    work = tmp_path / "corpus.partial"
    for path, pattern in (
        (work / "checkpoints/documents/kept", "*"),
        (work / "checkpoints/duplicates", "*/near"),
        (work, "instructions/*"),
        (work, "tokens/*.ds"),
    ):
        process = start(tmp_path, extra)
        wait_for(path, process, pattern)
        process.kill()
        process.wait()
        assert not (tmp_path / "corpus").exists()
    assert contents(build(tmp_path, settings(sources=(BOTOCORE, extra)))) == contents(made)


def test_sigterm_ends_with_75_and_the_next_run_goes_on(made: Path, tmp_path: Path, extra: SourceConfig) -> None:
    process = start(tmp_path, extra)
    wait_for(tmp_path / "corpus.partial/checkpoints/documents/kept", process)
    os.kill(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    assert "run the same command to go on" in output
    assert contents(build(tmp_path, settings(sources=(BOTOCORE, extra)))) == contents(made)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": (SourceConfig("nosuch"),)}, "kind 'nosuch': there are .*folder"),
        ({"max_bytes": 0}, "max_bytes is 0, which takes nothing; `all`"),
        ({"instructions": -1}, "instructions is -1; 0 makes none"),
        ({"group_cap": 0.0}, "group_cap is 0"),
        ({"most_refused": 2.0}, "most_refused is 2"),
        ({"decontaminate": 0}, "decontaminate is 0"),
        ({"near_duplicate": 0.0}, "near_duplicate is 0"),
        ({"heldout": (0.0, 0.1)}, "heldout"),
        ({"heldout": (0.3, 0.3)}, "heldout"),
        ({"workers": 0}, "workers is 0"),
        ({"executor": "slurm"}, "no sbatch"),
        ({"executor": "ray"}, "pip install ray"),
        ({"vocab_size": 100}, "vocab_size is 100"),
        ({"tokenizer": "/nowhere"}, "/nowhere"),
        ({"sources": (SourceConfig("folder", name="/nowhere"),)}, "/nowhere"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_read(
    changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # no sbatch, even on a login node
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    begin = time.monotonic()
    with pytest.raises(ConfigError, match=message):
        build(tmp_path, settings(**changes))
    assert not (tmp_path / "corpus.partial" / "checkpoints").exists()
    assert time.monotonic() - begin < 5
