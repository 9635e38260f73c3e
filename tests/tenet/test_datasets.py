"""Where a stage's data setting leads, and that nothing is measured where nothing is left."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tenet.domains.domain import Domain
from tenet.errors import ConfigError
from tenet.posttrain.datasets import load, load_prompts, open_table, too_long
from tenet.posttrain.training import length_baseline, longer
from tenet.rows import group_of
from tenet.runs.workspace import Workspace
from tenet.verifiers import VERIFIERS


def workspace(tmp_path: Path, reads: tuple[str, ...] = (), domain: Domain | None = None) -> Workspace:
    return Workspace(tmp_path / "work", tmp_path, "finetune", reads, 0, lambda *_: None, domain=domain)


def chat(i: int, **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"Where is lamp {i}?"}, {"role": "assistant", "content": f"Beside door {i}."}]
    return {"messages": turns, **more}


def pair(i: int) -> dict[str, Any]:
    return {"prompt": f"Where is lamp {i}?", "chosen": "Here.", "rejected": "I could not say.", "id": f"pair/{i}"}


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_file_is_split_and_said(tmp_path: Path) -> None:
    rows = [chat(i, license="MIT") for i in range(100)]
    rows[4] = {"messages": []}
    data = load(lines(tmp_path / "mine.jsonl", rows), "conversations", workspace(tmp_path))
    assert len(data.train) + len(data.test) == 99 and data.used.endswith("mine.jsonl")
    assert {group_of(row) for row in data.train}.isdisjoint(group_of(row) for row in data.test)
    assert data.facts["licences"] == {"MIT": 99} and data.facts["refused"] == 1
    assert data.facts["first_refused"][0].startswith("mine.jsonl:5: ")
    with pytest.raises(ConfigError, match=r"at most 0% may"):
        load(str(tmp_path / "mine.jsonl"), "conversations", workspace(tmp_path), most_refused=0.0)


def test_the_domains_own_rows_come_from_the_corpus_or_from_its_file(tmp_path: Path) -> None:
    for name, count in (("train", 9), ("test", 3)):
        lines(tmp_path / "corpus" / "instructions" / f"{name}.jsonl", [chat(i, id=f"{name}/{i}") for i in range(count)])
    made = load(
        "domain", "conversations", workspace(tmp_path, ("corpus",), Domain(name="d", folder=tmp_path, conversations="rows.py"))
    )
    assert (len(made.train), len(made.test), made.used) == (9, 3, "conversations of the domain d")
    own = lines(tmp_path / "d" / "conversations.jsonl", [chat(i) for i in range(40)])
    named = load("domain", "conversations", workspace(tmp_path, (), Domain(name="d", folder=tmp_path, conversations=own)))
    assert len(named.train) + len(named.test) == 40 and named.used == "conversations.jsonl"
    with pytest.raises(ConfigError, match=r"finetune.data is 'domain', and there are no conversations of a domain"):
        load("domain", "conversations", workspace(tmp_path))


def test_what_preferences_ask_is_asked_beside_a_domains_prompts(tmp_path: Path) -> None:
    for name in ("train", "test"):
        prompts = [{"prompt": f"{i} + 1?", "verifier": {"kind": "number", "answer": i + 1}, "kind": "request"} for i in range(14)]
        lines(tmp_path / "corpus" / "requests" / f"{name}.jsonl", prompts)
        lines(tmp_path / "corpus" / "preferences" / f"{name}.jsonl", [pair(i) for i in range(10)])
    ws = workspace(tmp_path, ("corpus",))
    data = load_prompts("domain", ws, VERIFIERS, learned=True)
    assert [row["kind"] for row in data.train] == ["request"] * 14 + ["describe"] * 2
    assert len(data.test) == 24 and "verifier" not in data.test[-1]
    assert len(load_prompts("domain", ws, VERIFIERS, learned=False).train) == 14


def test_human_preferences_by_their_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n\nHuman: Hi {}\n\nAssistant: Hello.\n\nHow are you?\n\nHuman: Fine\n\nAssistant: {}"
    for part in ("a", "b"):
        (tmp_path / "hh_rlhf" / part).mkdir(parents=True)
        rows = [{"chosen": text.format(i, "Good."), "rejected": text.format(i, "Bad.")} for i in range(20)]
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (tmp_path / "hh_rlhf" / part / "test.jsonl.gz").write_bytes(gzip.compress(content))
    monkeypatch.setenv("TENET_DATA", str(tmp_path))
    table = open_table("hh-rlhf", "preferences")
    assert len(table.rows) == 40 and table.format == "HH transcripts" and table.sha256
    row = table.rows[0]
    assert [m["role"] for m in row["prompt"]] == ["user", "assistant", "user"]
    assert row["prompt"][1]["content"] == "Hello.\n\nHow are you?" and row["licence"] == ""
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("Good.", "Bad.")
    monkeypatch.setenv("TENET_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="or set TENET_DATA to a folder with a local copy"):
        open_table("hh-rlhf", "preferences")


def test_a_misspelt_file_never_trains_on_something_else(tmp_path: Path) -> None:
    lines(tmp_path / "my_pairs.jsonl", [pair(i) for i in range(40)])
    with pytest.raises(ConfigError, match=r"no such file; did you mean .*my_pairs.jsonl"):
        load(str(tmp_path / "my_paris.jsonl"), "preferences", workspace(tmp_path, ("corpus",)))


def test_rows_that_are_all_too_long_are_refused_with_numbers() -> None:
    too_long("finetune", "held-out conversations", [500, 100], 384)
    with pytest.raises(
        ConfigError, match=r"finetune.context is 384 .*held-out conversations fits; the shortest of 2 has 500 tokens"
    ):
        too_long("finetune", "held-out conversations", [512, 500], 384)
    with pytest.raises(ConfigError, match="there are none"):
        too_long("reward", "held-out pairs", [], 384)


def test_answers_of_one_length_are_half_right_by_length() -> None:
    def row(chosen: str, rejected: str) -> dict[str, Any]:
        return {"chosen": [{"role": "assistant", "content": chosen}], "rejected": [{"role": "assistant", "content": rejected}]}

    rows = [row("Open.", "Shut."), row("Opened.", "Shut."), row("Op.", "Shut.")]
    assert [longer(one) for one in rows] == [0.5, 1.0, 0.0]
    assert length_baseline([0.5] * 8) == 0.5 and length_baseline([1.0, 1.0, 0.5, 0.0]) == 0.625
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "find", "arguments": {}}}]}
    assert longer({"chosen": [call], "rejected": [{"role": "assistant", "content": "No."}]}) == 1.0
