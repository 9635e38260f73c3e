"""Every command that an error names works as it stands, but for the word VALUE: it is typed into a real engine, and
then previewed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from .under_engine import Clone, clone, patient

pytestmark = patient

#: What an owner would type for VALUE, by the key in the command.
ANSWERS = {
    "tenet:domain": "tenet.internal",
    "tenet:gpuZone": "us-east-1a",
    "tenet:zones[0]": "us-east-1a",
    "tenet:zones[1]": "us-east-1b",
    "tenet:alertEmails[0]": "ml-platform@tenet.internal",
    "tenet:clusterAdmins[0]": "arn:aws:iam::210987654321:role/ml-platform-admin",
    "tenet:reservations[0].id": "cr-0a1b2c3d4e5f60718",
    "tenet:reservations[1].id": "cr-0a1b2c3d4e5f60719",
    "tenet:reservations[2].id": "cr-0a1b2c3d4e5f6071a",
    "tenet:reservations[0].zone": "us-east-1a",
    "tenet:reservations[0].max": "4",
    "tenet:logDays": "90",
    "tenet:watchBudget": "50000",
    "aws:region": "us-east-1",
    "aws:allowedAccountIds[0]": "012345678901",
    "aws:defaultTags.tags.project": "tenet",
    "aws:defaultTags.tags.owner": "ml-platform",
    "aws:defaultTags.tags.cost-center": "research",
}


@pytest.fixture(scope="module")
def bare(in_time: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """The stacks as they are committed, placeholders and all."""
    found = clone(tmp_path_factory.mktemp("advice"))
    for stack in ("dev", "prod"):
        found.pulumi("stack", "init", stack).ok()
    yield found


def advice(text: str) -> list[str]:
    """Commands in the engine's last words, in their order."""
    return list(dict.fromkeys(re.findall(r"`(pulumi config (?:set|rm) [^`]*)`", text.split("Diagnostics:")[-1])))


def typed(command: str) -> str:
    """The command with an owner's answer in place of VALUE."""
    return command.replace("VALUE", shlex.quote(ANSWERS[shlex.split(command)[-2]]) if "VALUE" in command else "")


def follow(stack: Clone, name: str) -> list[str]:
    """What the preview advises; each command is typed as it stands."""
    commands = advice(stack.pulumi("preview", "--stack", name).refused())
    for command in commands:
        stack.shell(typed(command)).ok()
    return commands


def test_all_placeholders_of_a_stack_are_told_at_once(bare: Clone) -> None:
    told = follow(bare, "prod")
    assert len(told) == 7 and all("--stack prod" in command for command in told)
    assert "create" in bare.pulumi("preview", "--stack", "prod").ok()
    # What was typed is what the file says: an account stays the text that it is, with the zero in front.
    assert bare.settings("prod")["aws:allowedAccountIds"] == ["012345678901"]
    assert bare.settings("prod")["tenet:reservations"][1]["id"] == "cr-0a1b2c3d4e5f60719"


def test_a_new_stack_is_led_to_its_first_preview(bare: Clone) -> None:
    bare.pulumi("stack", "init", "research").ok()
    assert len(follow(bare, "research")) == 10
    assert "create" in bare.pulumi("preview", "--stack", "research").ok()


def test_what_a_change_makes_missing_and_what_is_misspelt_is_told_with_it(bare: Clone) -> None:
    """Protection asks for more; a line of a list may lack a key, a number may be a text, and a key may be nobody's."""
    row = {"name": "a", "kind": "odcr", "instanceType": "p5.48xlarge", "zone": "us-east-1a", "max": "four"}
    bare.set("dev", {"tenet:protect": True, "tenet:endpointMin": 2, "tenet:endpointMax": 4, "tenet:reservations": [row]})
    misspelt = ["aws:allowedAccountId", "tenet:privateLinks", "tenet:reservations[0].id", "tennet:domain"]
    for key in misspelt:
        bare.shell(f"pulumi config set --stack dev {shlex.quote(key)} true").ok()
    refused = bare.pulumi("preview", "--stack", "dev").refused()
    assert "tenet:privateLinks is no setting; did you mean tenet:privateLink?" in refused
    assert "aws:allowedAccountId is no setting; did you mean aws:allowedAccountIds?" in refused
    commands = [shlex.split(command) for command in advice(refused)]
    assert sorted(words[-1] for words in commands if words[2] == "rm") == misspelt
    assert {words[-2] for words in commands if words[2] == "set"} == {
        "aws:allowedAccountIds[0]",
        "tenet:domain",
        "tenet:reservations[0].max",
        "tenet:reservations[0].id",
        "tenet:clusterAdmins[0]",
        "tenet:alertEmails[0]",
    }
    for command in advice(refused):
        bare.shell(typed(command)).ok()
    assert "create" in bare.pulumi("preview", "--stack", "dev").ok()


@pytest.mark.parametrize("name", ["research-zurich-inference-and-training", "my_stack", "Research"])
def test_a_stack_whose_names_aws_would_refuse_is_refused_before_anything_is_declared(bare: Clone, name: str) -> None:
    bare.pulumi("stack", "init", name).ok()
    text = (bare.folder / "Pulumi.research.yaml").read_text().replace("stack: research", f"stack: {name}")
    own = bare.folder / f"Pulumi.{name}.yaml"
    salt = "".join(line for line in own.read_text().splitlines(True) if line.startswith("encryptionsalt")) if own.exists() else ""
    own.write_text("".join(line for line in text.splitlines(True) if not line.startswith("encryptionsalt")) + salt)
    refused = bare.pulumi("preview", "--stack", name).refused()
    assert f"the stack's name is '{name}'" in refused and "aws:" not in refused.split("Resources:")[-1]
