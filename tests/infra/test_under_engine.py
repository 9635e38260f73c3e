"""The program and its rules under a real engine: what an engineer types, from the first preview to a stack that is gone
and comes back.

Each stack lives through one story, so the tests of a file run in their order. Skipped where there is no engine on the
PATH.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT
from .documented import runnable
from .under_engine import PACK, Clone, clone, patient

pytestmark = patient

UP = ("up", "--yes", "--skip-preview", "--suppress-progress")
NO_CHANGES = ("preview", "--expect-no-changes")
ROW = {
    "name": "extra",
    "kind": "odcr",
    "id": "cr-0a1b2c3d4e5f60790",
    "instanceType": "p5.48xlarge",
    "zone": "us-east-1a",
    "max": 8,
}


@pytest.fixture(scope="module")
def prod(in_time: None, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with stack prod, nothing made yet."""
    found = clone(tmp_path_factory.mktemp("prod"))
    found.stack("prod")
    return found


def spoken(text: str) -> list[str]:
    """Lines in which the policy pack says something; that it was not run is one too."""
    lines = [line for line in text.splitlines() if "[mandatory]" in line or "[advisory]" in line]
    return lines if "✅ tenet@" in text or lines else [f"the pack was not run: {text[-3000:]}"]


def test_a_first_preview_of_prod_keeps_every_rule(prod: Clone, record_property: Any) -> None:
    start = time.monotonic()
    assert not spoken(prod.pulumi("preview", "--stack", "prod", *PACK).ok())
    record_property("seconds", round(time.monotonic() - start, 1))


def test_up_makes_prod_and_every_value_arrives(prod: Clone) -> None:
    assert not spoken(prod.pulumi(*UP, "--stack", "prod", *PACK).ok())
    resources = prod.state("prod")
    assert len(resources) > 200
    for row in resources:
        for key, sources in (row.get("propertyDependencies") or {}).items():
            if sources:  # made from another resource: there, and whole
                assert not re.search(r"None|null", json.dumps(row["inputs"].get(key))), (row["urn"], key, row["inputs"].get(key))


def test_nothing_is_left_to_do(prod: Clone) -> None:
    assert not spoken(prod.pulumi(*NO_CHANGES, "--stack", "prod", *PACK).ok())


def test_nothing_is_left_to_do_after_a_refresh(prod: Clone) -> None:
    """AWS's own view of a security group lists rules that are declared beside it; the rules judge what is declared."""
    prod.pulumi("refresh", "--yes", "--skip-preview", "--stack", "prod").ok()
    groups = [row for row in prod.state("prod") if row["type"] == "aws:ec2/securityGroup:SecurityGroup"]
    assert groups and all(row["outputs"]["ingress"] for row in groups)
    assert not spoken(prod.pulumi(*NO_CHANGES, "--stack", "prod", *PACK).ok())


def test_outputs_become_the_launchers_configuration(prod: Clone) -> None:
    pytest.importorskip("sky")
    prod.pulumi("stack", "select", "prod").ok()
    ((line,),) = runnable("From stack to launch")
    prod.shell(line).ok()
    found = yaml.safe_load((prod.folder / ".sky.yaml").read_text())
    assert found["aws"]["vpc_names"] == ["tenet-prod-vpc"] and found["aws"]["security_group_name"] == "tenet-prod-nodes"
    assert len(found["aws"]["specific_reservations"]) == 3 and found["aws"]["labels"]["stack"] == "prod"
    bucket = next(row["outputs"]["bucket"] for row in prod.state("prod") if row["urn"].endswith("Bucket::storage-checkpoints"))
    assert bucket in found["jobs"]["bucket"]


def test_one_reservation_more_and_one_less(prod: Clone) -> None:
    """Lines of the stack's file are node groups: one line more makes one, one line less takes one away, nothing else
    moves."""
    rows = prod.settings("prod")["tenet:reservations"]
    prod.set("prod", {"tenet:reservations": [row for row in rows if row["name"] != "block-b"] + [ROW]})
    gone, new = f"unused-{rows[1]['id']}", f"unused-{ROW['id']}"
    assert prod.changes("prod") == {
        "create": sorted(["LaunchTemplate cluster-extra", "NodeGroup cluster-extra", f"MetricAlarm watch-{new}"]),
        "delete": sorted(["LaunchTemplate cluster-block-b", "NodeGroup cluster-block-b", f"MetricAlarm watch-{gone}"]),
    }
    prod.set("prod", {"tenet:reservations": rows})


def test_a_new_image_is_one_update_of_the_service(prod: Clone) -> None:
    """A task's definition is never changed but made anew; the service takes it, and nothing else moves."""
    prod.set("prod", {"tenet:imageTag": "v2"})
    changed = prod.changes("prod")
    assert changed.pop("update") == ["Service endpoint"]
    assert {row for rows in changed.values() for row in rows} == {"TaskDefinition endpoint"}
    prod.set("prod", {"tenet:imageTag": "none"})


def test_the_engine_refuses_to_destroy_prod(prod: Clone) -> None:
    refused = prod.pulumi("destroy", "--yes", "--stack", "prod").refused()
    told, held = set(re.findall(r"state unprotect '(urn:[^']+)'", refused)), set(kept(prod))
    # The key is not even come to: what it encrypts goes before it, and does not go.
    assert len(held) == 12 and held - told == {urn for urn in held if urn.endswith("Key::storage")}


def kept(stack: Clone) -> dict[str, str]:
    """What is retained: URN -> id."""
    return {row["urn"]: row["id"] for row in stack.state("prod") if row.get("retainOnDelete")}


def test_prod_goes_on_purpose_keeps_its_state_and_comes_back_with_it(prod: Clone) -> None:
    """As docs/infra.md says it, line by line: the state is copied, unprotected, destroyed; what was left in the account
    is taken back."""
    before, (away, back) = kept(prod), runnable("Taking it down")
    for line in away:
        prod.shell(line).ok()
    account = Path(prod.env["TENET_ACCOUNT"])
    assert prod.state("prod") == [] and {path.stem for path in account.glob("*.json")} == set(before.values())
    adopt, take, update = back
    prod.shell(adopt).ok()
    prod.shell(take).ok()
    assert {row["urn"]: row["id"] for row in prod.state("prod") if row["urn"] in before} == before
    assert not spoken(prod.shell(update).ok())
    assert kept(prod) == before and all(row["protect"] for row in prod.state("prod") if row["urn"] in before)


def test_without_adoption_a_new_prod_meets_names_that_exist(prod: Clone) -> None:
    """Why it has to be adopted: the same account, and a stack that knows nothing of it."""
    prod.shell("pulumi stack export --stack prod --file now.json").ok()
    again = prod.shell("pulumi stack export --stack prod | python infra/adopt.py now.json")
    assert again.code != 0 and "nothing to adopt: the stack has all that was retained" in again.text
    other = Clone(prod.folder, {**prod.env, "PULUMI_BACKEND_URL": f"file://{prod.folder}"})
    other.pulumi("stack", "init", "prod").ok()
    met = other.pulumi(*UP, "--stack", "prod")
    assert met.code != 0 and "exists already in the account" in met.text


# --- dev and local -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone without a stack, and without a backend but what somebody logs in to."""
    found = clone(tmp_path_factory.mktemp("dev"))
    env = {key: value for key, value in found.env.items() if key != "PULUMI_BACKEND_URL"}
    # pip finds everything installed; it may not look further.
    return Clone(found.folder, {**env, "HOME": str(found.folder.parent), "PIP_NO_INDEX": "1"})


def test_the_first_commands_of_the_page_lead_to_a_preview(dev: Clone) -> None:
    (lines,) = runnable("First time")
    *first, preview = lines
    for line in first:
        dev.shell(line).ok()
    assert not spoken(dev.shell(preview).ok())


def test_the_engine_reads_the_project_file(dev: Clone) -> None:
    """By its own schema, not by PyYAML's: every key of the file is one of the stack's settings, with its default."""
    found = json.loads(dev.pulumi("config", "--json", "--stack", "dev").ok())
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert set(declared) <= {key.removeprefix("tenet:") for key in found}
    assert found["tenet:cidr"]["value"] == "10.20.0.0/16"


@pytest.mark.usefixtures("in_time")
def test_dev_is_made_and_goes_away_whole(dev: Clone) -> None:
    assert not spoken(dev.pulumi(*UP, "--stack", "dev", *PACK).ok())
    assert not spoken(dev.pulumi(*NO_CHANGES, "--stack", "dev", *PACK).ok())
    dev.pulumi("destroy", "--yes", "--skip-preview", "--suppress-progress", "--stack", "dev").ok()
    assert list(Path(dev.env["TENET_ACCOUNT"]).glob("*.json")) == []


def test_local_keeps_every_rule(dev: Clone) -> None:
    dev.stack("local")
    assert not spoken(dev.pulumi("preview", "--stack", "local", *PACK).ok())
