"""`tenet data check`: what it says is true, and its exit code too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenet.cli.main import main
from tests.tenet.evaluate.tiny import model_folder


def chat(i: int) -> dict[str, Any]:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"Where is lamp {i}?"},
        {"role": "assistant", "content": "Here."},
    ]
    return {"messages": turns}  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(chat(i)) + "\n" for i in range(40)))
    return path


def found(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["data", "check", *words, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_what_is_trained_on_is_marked(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(rows)]) == 0
    out = capsys.readouterr().out
    assert "40 rows of conversations" in out and "format     messages" in out and "bytes for tokens (no --model)" in out
    assert "<|im_start|>assistant\n    ⟦Here.<|im_end|>⟧" in out and "⟦Where" not in out
    assert "40 different ones; held out: " in out


def test_with_a_model_lengths_are_tokens(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(model_folder(tmp_path / "model"))
    plain, told = found(capsys, str(rows)), found(capsys, str(rows), "--model", model, "--context", "20")
    assert "tokens" not in plain and plain["kind"] == told["kind"] == "conversations"
    assert told["tokens"]["longest"] > 20 and told["longer_than_context"] == {"context": 20, "rows": 40}
    assert model in told["seen_with"] and told["characters"] == plain["characters"]
    assert main(["data", "check", str(rows), "--model", str(tmp_path)]) == 2
    assert main(["data", "check", str(rows), "--context", "20"]) == 2


def test_too_much_refused_ends_with_2_and_says_where(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with rows.open("a") as file:
        file.write('{"messages": []}\n' + "{broken\n" * 4)
    assert main(["data", "check", str(rows)]) == 2
    shown = capsys.readouterr()
    assert f"{rows}:42 and 3 more: not valid JSON" in shown.out and "refused    5 of 45" in shown.out
    assert "5 of 45 records make no row of conversations" in shown.err
    assert main(["data", "check", str(rows), "--most-refused", "0.2"]) == 0


def test_a_pair_and_a_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs, prompts = tmp_path / "pairs.jsonl", tmp_path / "prompts.jsonl"
    pairs.write_text("".join(json.dumps({"prompt": f"{i}?", "chosen": "Yes.", "rejected": "No, no."}) + "\n" for i in range(5)))
    prompts.write_text(
        "".join(json.dumps({"prompt": f"{i} + 1?", "answer": i + 1, "verifier": "number"}) + "\n" for i in range(5))
    )
    pair = found(capsys, str(pairs))
    assert pair["kind"] == "preferences" and "⟦Yes.<|im_end|>⟧\n--- rejected:\n⟦No, no.<|im_end|>⟧" in pair["row"]["text"]
    prompt = found(capsys, str(prompts))
    assert prompt["kind"] == "prompts" and prompt["verifiers"] == {"number": 5}
    assert prompt["row"]["text"].endswith('--- judged by: {"kind": "number", "answer": 1}')
    assert main(["data", "check", str(pairs), "--kind", "conversations"]) == 2
    assert "it is a preference pair" in capsys.readouterr().out


def test_nothing_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(tmp_path / "gone.jsonl")]) == 2
    (tmp_path / "odd.jsonl").write_text('{"a": 1}\n')
    assert main(["data", "check", str(tmp_path / "odd.jsonl")]) == 2
    assert "its columns ('a') make rows of no kind" in capsys.readouterr().err
