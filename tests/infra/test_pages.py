"""What is said about the stacks: the picture, the costs, and how findings of checkov are judged."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from .conftest import ROOT, Recorded


@pytest.fixture
def picture(infra: Path) -> ModuleType:
    return importlib.import_module("picture")


def test_the_committed_picture_is_what_prod_declares(picture: ModuleType, programs: dict[str, Recorded]) -> None:
    page = (ROOT / "docs" / "infra.md").read_text()
    assert picture.placed(page, picture.mermaid(programs["prod"].resources)) == page, "run `make infra-picture`"


def test_the_picture_follows_the_program(picture: ModuleType, programs: dict[str, Recorded]) -> None:
    prod, dev = (picture.mermaid(programs[stack].resources) for stack in ("prod", "dev"))
    assert "p5.48xlarge, 0 to 128" in prod and "-- import --> LustreFileSystem_lustre" in prod
    assert "p5.48xlarge" not in dev and "FSx" not in dev and "g6e.xlarge, 0 to 2" in dev
    with pytest.raises(ValueError, match="the page has no lines"):
        picture.placed("a page", prod)


def test_costs_add_up(infra: Path, programs: dict[str, Recorded]) -> None:
    cost = importlib.import_module("cost")
    found = {label: (idle, busy) for label, idle, busy in cost.monthly(programs["prod"].resources)}
    assert found["LustreFileSystem"] == (pytest.approx(76_800 * 0.34),) * 2
    assert found["reserved cluster-long"] == (pytest.approx(128 * 55.04 * 730),) * 2
    assert found["machines endpoint"] == (pytest.approx(2 * 10.49 * 730), pytest.approx(9 * 10.49 * 730))  # eight and one to roll
    assert found["VpcEndpoint"][0] == pytest.approx(len(importlib.import_module("ground.network").SERVICES) * 3 * 7.3)
    dev = {label: idle for label, idle, _ in cost.monthly(programs["dev"].resources)}
    assert dev["machines cluster-small"] == dev["machines endpoint"] == 0


def test_a_finding_without_a_reason_fails(infra: Path) -> None:
    check = importlib.import_module("check")
    accepted = {"CKV_1": {"dev/aws_s3_bucket.storage-*": "why"}}
    found = [("CKV_1", "one", f"{stack}/aws_s3_bucket.storage-logs") for stack in ("dev", "prod")]
    found.append(("CKV_2", "two", "dev/aws_lb.x"))
    bad, used = check.judge(found, accepted)
    assert bad == ["CKV_1 prod/aws_s3_bucket.storage-logs: one", "CKV_2 dev/aws_lb.x: two"]
    assert used == {("CKV_1", "dev/aws_s3_bucket.storage-*")}


def test_every_accepted_finding_has_a_reason() -> None:
    accepted = yaml.safe_load((ROOT / "infra" / "checkov.yaml").read_text())
    assert all(len(reason) > 30 for rows in accepted.values() for reason in rows.values()) and all(accepted.values())


def test_without_the_tool_the_check_says_why_it_does_not_run(
    infra: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check = importlib.import_module("check")
    monkeypatch.delenv("TENET_PULUMI_ON_TERRAFORM", raising=False)
    monkeypatch.setattr("sys.argv", ["check.py", "dev"])
    assert check.main() == 2
    assert "did not run: TENET_PULUMI_ON_TERRAFORM names no file" in capsys.readouterr().err


def test_check_overrides_replace_placeholders_and_nothing_else(infra: Path) -> None:
    """A value in infra/check.yaml stands for a placeholder of the stack file: it must not make the stack another
    one."""
    reading = importlib.import_module("configuration.reading")
    filled = yaml.safe_load((ROOT / "infra" / "check.yaml").read_text())
    for stack, values in ((stack, filled[stack]) for stack in ("dev", "prod")):
        committed = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
        for key in set(values) & set(committed):
            assert any(text in str(committed[key]) for text in reading.PLACEHOLDERS), key
            assert not any(text in str(values[key]) for text in reading.PLACEHOLDERS), key
    lines = yaml.safe_load((ROOT / "Pulumi.prod.yaml").read_text())["config"]["tenet:reservations"]
    assert [{**r, "id": ""} for r in lines] == [{**r, "id": ""} for r in filled["prod"]["tenet:reservations"]]
