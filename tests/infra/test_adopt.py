"""The file for `pulumi import`: what was retained and is missing, with the components around it; under an engine in
test_under_engine.py."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import ROOT

STACK = "urn:pulumi:prod::tenet::pulumi:pulumi:Stack::tenet-prod"
STORE = "urn:pulumi:prod::tenet::tenet:infra:Storage::storage"
BUCKET = "urn:pulumi:prod::tenet::tenet:infra:Storage$aws:s3/bucket:Bucket::storage-weights"
POLICY = "urn:pulumi:prod::tenet::tenet:infra:Storage$aws:s3/bucketPolicy:BucketPolicy::storage-weights"
PROVIDER = "urn:pulumi:prod::tenet::pulumi:providers:aws::default_7_51_1"


def row(urn: str, parent: str = "", **more: Any) -> dict[str, Any]:
    return {"urn": urn, "type": urn.split("::")[2].split("$")[-1], "parent": parent, **more}


ROWS = [
    row(STACK),
    row(PROVIDER, id="one", inputs={"version": "7.51.1"}),
    row(STORE, STACK),
    row(BUCKET, STORE, id="storage-weights-1a2b3c4", retainOnDelete=True, provider=f"{PROVIDER}::one"),
    row(POLICY, STORE, id="storage-weights-1a2b3c4", provider=f"{PROVIDER}::one"),
]


@pytest.fixture
def adopt(infra: Path) -> ModuleType:
    return importlib.import_module("adopt")


@pytest.mark.parametrize(
    "wrap", [lambda r: {"deployment": {"resources": r}}, lambda r: {"checkpoint": {"latest": {"resources": r}}}]
)
def test_what_was_retained_comes_back_below_its_component(adopt: ModuleType, wrap: Any) -> None:
    """From an export, and from a checkpoint of the backend's history."""
    component, bucket = adopt.adoption(adopt.resources(wrap(ROWS)), {})["resources"]
    assert component["component"] and (component["type"], component["logicalName"]) == ("tenet:infra:Storage", "storage")
    assert bucket["parent"] == component["name"] and bucket["id"] == "storage-weights-1a2b3c4" and bucket["version"] == "7.51.1"
    assert (bucket["type"], bucket["logicalName"]) == ("aws:s3/bucket:Bucket", "storage-weights")


def test_a_component_that_is_still_there_is_named_and_not_made(adopt: ModuleType) -> None:
    found = adopt.adoption({r["urn"]: r for r in ROWS}, {STACK: row(STACK), STORE: row(STORE, STACK)})
    (bucket,) = found["resources"]
    assert found["nameTable"] == {bucket["parent"]: STORE}


def test_nothing_is_adopted_over_what_the_stack_has(adopt: ModuleType) -> None:
    before = {r["urn"]: r for r in ROWS}
    with pytest.raises(ValueError, match="nothing to adopt"):
        adopt.adoption(before, before)
    other = {**before, BUCKET: {**before[BUCKET], "id": "storage-weights-9f9f9f9"}}
    with pytest.raises(
        ValueError, match="is storage-weights-1a2b3c4 in the earlier state, and the stack has made storage-weights-9f9f9f9 since"
    ):
        adopt.adoption(before, other)


def test_the_command_says_what_it_wants(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "infra" / "adopt.py")]
    wrong = subprocess.run([*command, str(tmp_path / "none.json")], input=json.dumps({}), capture_output=True, text=True)
    assert wrong.returncode == 1 and "No such file" in wrong.stderr and "Traceback" not in wrong.stderr
    usage = subprocess.run(command, input="", capture_output=True, text=True)
    assert usage.returncode == 1 and "usage: pulumi stack export | python infra/adopt.py BEFORE.json > adopt.json" in usage.stderr
