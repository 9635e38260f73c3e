"""`tenet feedback` as people start it: a process that is killed and started again, models that answer, what it
refuses."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.generation.protocol import Sampling
from tenet.cli.answers.feedback import feedback_command, fill
from tenet.cli.main import main
from tenet.errors import ConfigError, StageError
from tenet.feedback import answering
from tenet.feedback.answering import draw_answers
from tenet.feedback.journal import Journal
from tenet.feedback.ledger import Ledger
from tenet.feedback.sides import open_source
from tests.processes import ROOT
from tests.tenet.evaluate.tiny import model_folder
from tests.tenet.feedback.made import ask, prompt_row, write_rows
from tests.tenet.scripted import scripted_server


def answered(folder: Path, count: int = 6) -> list[str]:
    """Words of the command for prompts that two files answer."""
    prompts = [{"prompt": f"Question {i}?"} for i in range(count)]
    write_rows(folder / "prompts.jsonl", prompts)
    for side in "ab":
        said = "the same" if side == "a" else "the other"
        rows = [{**row, "answer": "equal" if i == 0 else f"{said} {i}"} for i, row in enumerate(prompts)]
        write_rows(folder / f"{side}.jsonl", rows)
    named = {"--a": "a.jsonl", "--b": "b.jsonl", "--prompts": "prompts.jsonl", "--out": "out"}
    return [word for flag, name in named.items() for word in (flag, str(folder / name))]


@contextlib.contextmanager
def started(words: list[str]) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The command as a process: it, the address of its page and the token of the link."""
    command = [sys.executable, "-m", "tenet.cli", "feedback", *words, "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    guard = threading.Timer(60, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("open "):
                break
        address, _, rest = said[-1].removeprefix("open ").strip().partition("/#token=")
        assert address.startswith("http://127.0.0.1:"), said
        yield process, address, rest.partition("&")[0]
    finally:
        guard.cancel()
        process.kill()
        process.communicate()


def test_a_kill_loses_no_judgement_and_the_same_command_goes_on(tmp_path: Path) -> None:
    words = answered(tmp_path)
    with started([*words, "--annotator", "ann"]) as (process, address, token):
        _, found = ask(address, "next", {"annotator": "ann"}, token)
        assert found["progress"]["left"] == 5  # of six pairs one has equal answers
        for _ in range(2):
            body = {"annotator": "ann", "item": found["item"]["id"], "verdict": "first", "seconds": 0.1}
            _, found = ask(address, "judgement", body, token)
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    assert len(Ledger(tmp_path / "out").judgements()) == 2
    with started(words) as (process, address, again):
        assert again == token  # a page that is still open goes on by itself
        _, then = ask(address, "next", {"annotator": "ann"}, token)
        assert then["item"] == found["item"] and then["progress"]["judged"] == 2
        while then["item"]:
            _, then = ask(address, "judgement", {"annotator": "ann", "item": then["item"]["id"], "verdict": "tie"}, token)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
        assert process.returncode == 0 and "5 of 5 pairs judged" in said
    assert main(["feedback", "report", "--out", str(tmp_path / "out")]) == 0
    assert main(["feedback", "export", "--out", str(tmp_path / "out"), "--to", str(tmp_path / "rows.jsonl")]) == 0
    assert main(["data", "check", str(tmp_path / "rows.jsonl")]) == 0


def parsed(words: list[str]) -> Any:
    from tenet.cli.answers.feedback import _parser

    return _parser().parse_args(words)


def test_one_model_gives_two_samples(tmp_path: Path) -> None:
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"Question {i}?"} for i in range(4)])
    words = ["--a", str(model_folder(tmp_path / "model")), "--prompts", str(tmp_path / "prompts.jsonl"), "--max-tokens", "8"]
    ledger = Ledger(tmp_path / "out", create=True)
    fill(ledger, parsed([*words, "--out", str(tmp_path / "out"), "--temperature", "1"]))
    items = ledger.items()
    assert len(items) == 4 and all(item.a.text != item.b.text for item in items.values())
    again = Ledger(tmp_path / "again", create=True)
    fill(again, parsed([*words, "--out", str(tmp_path / "again"), "--temperature", "1"]))
    assert again.items() == items
    with pytest.raises(ConfigError, match="begun with settings seed 0, now it is 3"):
        fill(ledger, parsed([*words, "--out", str(tmp_path / "out"), "--temperature", "1", "--seed", "3"]))


def test_answers_do_not_depend_on_where_a_start_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(str(model_folder(tmp_path / "model")), "--a")
    rows = [prompt_row(i) for i in range(7)]
    sampling = Sampling(max_tokens=6, temperature=1.0, seed=4)
    whole = draw_answers(source, rows, sampling, Journal(tmp_path / "whole.jsonl"))
    monkeypatch.setattr(answering, "CHUNK", 3)
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "killed.jsonl").write_text("".join(lines[:2]) + lines[2][:9])
    assert draw_answers(source, rows, sampling, Journal(tmp_path / "killed.jsonl")) == whole
    assert (tmp_path / "killed.jsonl").read_text() == "".join(lines)
    with pytest.raises(StageError, match="answers to other prompts"):
        draw_answers(source, rows[1:], sampling, Journal(tmp_path / "killed.jsonl"))


def test_an_endpoint_is_a_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that the endpoint refuses is left out alone, and counted."""
    prompts = [{"prompt": f"Question {i}?"} for i in range(3)] + [{"prompt": "word " * 20000}]
    write_rows(tmp_path / "prompts.jsonl", prompts)
    write_rows(tmp_path / "a.jsonl", [{**row, "answer": "from a file"} for row in prompts])
    with scripted_server(lambda asked: f"heard {asked}") as server:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.keys.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.keys.secret_key)
        words = ["--a", str(tmp_path / "a.jsonl"), "--b", f"{server.endpoint}#{server.model_id}"]
        ledger = Ledger(tmp_path / "out", create=True)
        fill(ledger, parsed([*words, "--prompts", str(tmp_path / "prompts.jsonl"), "--out", str(tmp_path / "out")]))
    assert {item.b.text for item in ledger.items().values()} == {f"heard Question {i}?" for i in range(3)}
    assert ledger.meta("left_out") == {"refused": 1, "identical": 0}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--overlap", "1.5"], "--overlap is 1.5"),
        (["--guidelines", "absent.txt"], "--guidelines absent.txt: no such file"),
        (["--b", ""], "a file holds one answer a prompt"),
        (["--max-tokens", "0"], "--max-tokens is 0; it must be 1 or more"),
        (["--host", "192.0.2.1", "--port", "0"], "--host 192.0.2.1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path: Path, more: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        feedback_command([*answered(tmp_path), *more])
    assert not (tmp_path / "out").exists()


def test_one_model_without_chance_has_nothing_to_compare(tmp_path: Path) -> None:
    words = ["--a", str(tmp_path), "--prompts", "p.jsonl", "--out", str(tmp_path / "out"), "--temperature", "0"]
    with pytest.raises(ConfigError, match="both answers would be the same"):
        feedback_command(words)


def test_equal_answers_alone_are_no_comparison(tmp_path: Path) -> None:
    words = answered(tmp_path, count=1)
    with pytest.raises(ConfigError, match=r"no pair to judge, all are left out \(1 identical"):
        fill(Ledger(tmp_path / "out", create=True), parsed(words))


def test_the_help_names_both_words(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("feedback", "compare-answers", "feedback report", "feedback export"):
        with pytest.raises(SystemExit) as ended:
            main([*word.split(), "--help"])
        assert ended.value.code == 0 and f"tenet {word}" in capsys.readouterr().out
    main(["--help"])
    said = capsys.readouterr().out
    assert "tenet feedback" in said and "tenet compare-answers" in said
