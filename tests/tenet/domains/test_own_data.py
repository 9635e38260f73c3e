"""docs/own-data.md as a person would follow it: its files are written, its commands run as they stand, in the order of
the page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tenet.cli.main import main
from tenet.constitution.principles import load_constitution
from tenet.domains.domain import RowRequest
from tenet.domains.loading import load_code, load_domain
from tenet.pipeline import STAGES
from tenet.redteam.goals_file import load_goals
from tests.tenet.domains.texts import MARKDOWN, RST, write_garden

PAGE = Path(__file__).resolve().parents[3] / "docs" / "own-data.md"
_BLOCK = re.compile(r"(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<kind>\w+)(?P<long> long)?\n(?P<text>.*?)```", re.DOTALL)


def blocks() -> list[re.Match[str]]:
    return list(_BLOCK.finditer(PAGE.read_text(encoding="utf-8")))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the page."""
    monkeypatch.chdir(tmp_path)
    write_garden(tmp_path / "docs")
    (tmp_path / "docs" / "station.md").write_text(MARKDOWN)
    (tmp_path / "docs" / "with.rst").write_text(RST)
    return tmp_path


def test_the_page_can_be_followed(project: Path) -> None:
    ran = []
    for block in blocks():
        if block["file"]:
            (project / block["file"]).parent.mkdir(parents=True, exist_ok=True)
            (project / block["file"]).write_text(block["text"], encoding="utf-8")
        elif block["kind"] == "sh" and not block["long"]:
            for line in block["text"].strip().splitlines():
                words = shlex.split(line)
                assert words[0] == "tenet" and main(words[1:]) == 0, line
                ran.append(words[1])
    assert ran == ["new", "data", "data", "data"]
    domain = load_domain("my_assistant")
    assert (domain.persona.name, domain.about) == ("Pat", "the handbook of the pump station")
    assert domain.constitution and domain.goals and "quiz" in [path.stem for path in domain.tasks]
    assert [p.principle for p in load_constitution(domain.constitution).principles][2] == "Answer in whole sentences."
    assert load_goals(domain.goals).has_look_alikes("test")
    rows = load_code(domain).make_rows(RowRequest(split="test"))  # type: ignore[misc]
    assert rows["conversations"][0]["messages"][1]["content"] == "pumpctl start new"


def test_long_commands_name_stages_and_settings_that_there_are(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As far as a dry run goes: flags are read, the domain is loaded, its part is there."""
    assert main(["new", "my_assistant", "--documents", "docs"]) == 0
    for block in blocks():
        if block["file"]:
            (project / block["file"]).parent.mkdir(parents=True, exist_ok=True)
            (project / block["file"]).write_text(block["text"], encoding="utf-8")
    stages = []
    for block in blocks():
        for line in block["text"].strip().splitlines() if block["long"] else ():
            words = shlex.split(line)[1:]
            if words[0] in STAGES:
                stages.append(words[0])
                capsys.readouterr()
                code = main([*words, "--preset", "tiny", "--dry-run"])
                said = capsys.readouterr()
                # 2, since the stages before it have not run; nothing else is wrong.
                assert code in (0, 2) and f", {words[0]}: " in said.out and not said.err, f"{line}: {said.err}"
                assert "NOT FINISHED" in said.out and "my_assistant" in said.out
    assert stages == ["finetune", "reward", "dpo", "rlhf", "constitutional", "redteam", "evaluate"]
