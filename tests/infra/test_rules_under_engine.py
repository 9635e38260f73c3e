"""Each rule, broken once in the program's source, speaks in the first preview of a new prod under a real engine, and no
other does.

A preview takes ten seconds, so the faults of two files of rules that have little to do with each other are planted
together; no two touch one property. Then exactly those rules must speak, each message must be what its fault was
planted for, and there must be as many messages as faults make: a rule that spoke of another's fault would be found by
its message.
"""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT
from .plants import PLANTS
from .under_engine import PACK, Clone, clone, patient

pytestmark = patient


@pytest.fixture(scope="module")
def prod(in_time: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A prod of which nothing is made, with everything switched on that a rule speaks of."""
    found = clone(tmp_path_factory.mktemp("rules"))
    found.stack("prod")
    found.set("prod", {"tenet:privateLink": ["arn:aws:iam::210987654321:root"]})
    yield found


@pytest.fixture
def planted(prod: Clone) -> Iterator[Clone]:
    """Whatever a test plants is gone after it."""
    yield prod
    shutil.rmtree(prod.folder / "infra")
    shutil.copytree(ROOT / "infra", prod.folder / "infra", ignore=shutil.ignore_patterns("__pycache__"))


def spoken(text: str) -> dict[str, list[str]]:
    """Rule -> its messages, in what the engine prints of a policy pack."""
    found: dict[str, list[str]] = {}
    for rule, said in re.findall(
        r"\[mandatory\] +([a-z0-9-]+)[^\n]*\n((?:(?! *-? *\[mandatory\])[^\n]*\n)*)", text.split("Policies:")[-1]
    ):
        found.setdefault(rule.replace("-", "_"), []).append(said.strip())
    return found


PAIRS = [("cluster", "watch"), ("endpoint", "storage"), ("network", "identity")]


@pytest.mark.parametrize("rules", PAIRS, ids="-".join)
def test_exactly_the_rules_whose_faults_are_planted_speak(planted: Clone, rules: tuple[str, str]) -> None:
    plants = {**PLANTS[rules[0]], **PLANTS[rules[1]]}
    planted.plant((file, before, after) for file, before, after, _, _ in plants.values())
    done = planted.pulumi("preview", "--stack", "prod", "--suppress-progress", *PACK)
    found = spoken(done.text)
    assert done.code != 0 and set(found) == set(plants), done.text[-6000:]
    for rule, (_, _, _, says, count) in plants.items():
        assert [bool(re.search(says, said)) for said in found[rule]] == [True] * count, (rule, found[rule])


def test_every_rule_is_planted(infra: Path) -> None:
    registry = importlib.import_module("policy.registry")
    names = {name: rule.__module__.split(".")[1].removesuffix("_rules") for name, rule in registry.RULES.items()}
    assert {rule: module for module, rules in PLANTS.items() for rule in rules} == names
    assert {module for pair in PAIRS for module in pair} == set(PLANTS)


@pytest.mark.usefixtures("in_time")
def test_what_a_preview_cannot_know_is_refused_by_the_update(tmp_path: Path) -> None:
    """The right to read a whole bucket: its ARN, and so the text of the policy, is known once the bucket is made."""
    dev = clone(tmp_path)
    dev.stack("dev")
    dev.plant(
        [
            (
                "identity/documents.py",
                'allow(["s3:GetObject"], [f"{weights}/store/*"]),\n        allow(["kms:Decrypt"], [key]',
                'allow(["s3:GetObject"], [f"{weights}/*"]),\n        allow(["kms:Decrypt"], [key]',
            )
        ]
    )
    assert spoken(dev.pulumi("preview", "--stack", "dev", *PACK).ok()) == {}
    done = dev.pulumi("up", "--yes", "--skip-preview", "--suppress-progress", "--stack", "dev", *PACK)
    found: dict[str, Any] = spoken(done.text)
    assert (
        done.code != 0
        and list(found) == ["serving_only_reads"]
        and "'endpoint-task' lets a serving task read" in found["serving_only_reads"][0]
    )
