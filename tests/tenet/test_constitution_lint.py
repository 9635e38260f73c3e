"""`tenet constitution check`: what a constitution cannot be refused for and its author should know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tenet.cli.main import main
from tenet.constitution.lint import alike, lint
from tenet.constitution.principles import load_constitution

PROMPTS = [f"Question {i} about bread?" for i in range(60)]
WHOLE = {
    "principle": "Answer in at most two sentences.",
    "opposite": "Answer at great length.",
    "check": {"max_sentences": 2, "min_words": 1},
    "prompts": PROMPTS,
    "look_alike": ["Tell me everything about bread."] * 1 + ["Write an essay about rye.", "Write a long letter to a miller."],
}


def found(folder: Path, *principles: Any) -> list[str]:
    path = folder / "constitution.yaml"
    path.write_text(yaml.safe_dump({"principles": [{"id": f"p{i}", **one} for i, one in enumerate(principles)]}))
    return [str(finding) for finding in lint(load_constitution(path))]


def test_a_whole_principle_has_no_remark(tmp_path: Path) -> None:
    assert found(tmp_path, WHOLE) == []


@pytest.mark.parametrize(
    "change, said",
    [
        ({"opposite": None}, "hint: p0: has no `opposite`"),
        ({"opposite": "answer in at most two sentences"}, "problem: p0: its opposite says the same"),
        ({"check": None}, "hint: p0: has no `check`"),
        ({"check": {"max_sentences": 2}}, "problem: p0: an empty answer passes its check"),
        ({"look_alike": None}, "hint: p0: has no `look_alike`"),
        ({"prompts": {"train": PROMPTS, "test": ["Why?"]}}, "hint: p0: 1 held-out prompts"),
        (
            {"prompts": {"train": PROMPTS, "test": PROMPTS[:12]}},
            "problem: p0: 12 of its test prompts are train prompts, too ('Question 0 about bread?', of p0)",
        ),
        (
            {"continues": False, "opening": ["One. Two. Three."]},
            "problem: p0: its own opening 'One. Two. Three.' breaks its check",
        ),
    ],
)
def test_each_remark(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    principle = {key: value for key, value in {**WHOLE, **change}.items() if value is not None}
    remarks = found(tmp_path, principle)
    assert remarks and all(remark.startswith(said) for remark in remarks), remarks


def test_two_that_say_the_same_and_two_that_say_contraries(tmp_path: Path) -> None:
    other = {**WHOLE, "principle": "Answer in at most two short sentences.", "opposite": "Write a book."}
    assert any("p0/p1: they share 80%" in remark for remark in found(tmp_path, WHOLE, other))
    contrary = {**WHOLE, "principle": "Never answer in at most two sentences.", "opposite": "Write a telegram."}
    assert any("p0/p1: they seem to ask for contraries; p0 wins" in remark for remark in found(tmp_path, WHOLE, contrary))
    opposed = {**WHOLE, "principle": "Answer at a great length.", "opposite": "Be brief."}
    assert any("p0/p1: they seem to ask for contraries" in remark for remark in found(tmp_path, WHOLE, opposed))
    apart = {**WHOLE, "principle": "Say where a figure comes from.", "opposite": "Keep sources to yourself."}
    assert found(tmp_path, WHOLE, apart) == []
    assert alike("It answers questions.", "Answering a question") == 1.0


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found(tmp_path, {**WHOLE, "check": {"max_sentences": 2}})
    path = str(tmp_path / "constitution.yaml")
    assert main(["constitution", "check", path]) == 0
    assert "1 principles, 1 problems, 0 hints" in capsys.readouterr().out
    assert main(["constitution", "check", path, "--strict", "--json"]) == 1
    assert [one["principle"] for one in json.loads(capsys.readouterr().out)] == ["p0"]
    assert main(["constitution", "check", str(tmp_path / "none.yaml")]) == 2


def test_the_demos_own_constitution_has_no_problem() -> None:
    constitution = load_constitution(Path("tenet/domains/aws_api/constitution.yaml"))
    assert [one for one in lint(constitution) if one.level == "problem"] == []
