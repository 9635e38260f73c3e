"""Proof without an account: each stack through the real AWS provider, and its plan through checkov.

    make infra-check [STACKS="local dev prod"] [CHECK_OPTIONS=--no-apply]

The first part needs a tool that runs a Pulumi program, writes what it registers as Terraform, and has Terraform and the
real AWS provider validate, plan, apply (against moto, on this machine), plan again and destroy it. It is no part of
this repository:

    TENET_PULUMI_ON_TERRAFORM   path of the tool
    TENET_TF_MIRROR             Terraform filesystem mirror that holds hashicorp/aws; terraform is on the PATH

Values that only the owner of an account knows come from infra/check.yaml; findings of checkov that stay, each with its
reason, from infra/checkov.yaml. An entry that nothing needs any more is a fault too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
STACKS = ("local", "dev", "prod")


def overrides(stack: str) -> list[str]:
    """Options that stand for an owner's own settings."""
    values = yaml.safe_load((ROOT / "infra" / "check.yaml").read_text()).get(stack) or {}
    pairs = (f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items())
    return [word for pair in pairs for word in ("--config", pair)]


def allowed_drift() -> list[str]:
    """Options for types that moto reads back as others than were made."""
    types = yaml.safe_load((ROOT / "infra" / "check.yaml").read_text())["drift of moto"]
    return [word for kind in types for word in ("--allow-drift", kind)]


def through_terraform(stack: str, work: Path, options: list[str]) -> int:
    """Run the tool; returns its exit code."""
    tool, mirror = os.environ["TENET_PULUMI_ON_TERRAFORM"], os.environ["TENET_TF_MIRROR"]
    command = [sys.executable, tool, str(ROOT), "--stack", stack, "--provider-mirror", mirror, "--work", str(work)]
    return subprocess.run([*command, *overrides(stack), *allowed_drift(), *options]).returncode


def findings(checkov: Path, plan: Path) -> list[tuple[str, str, str]]:
    """What checkov finds in a plan: check, its name, resource.

    Raises:
        RuntimeError: checkov could not read the plan.
    """
    command = [str(checkov), "-f", str(plan), "--framework", "terraform_plan", "--output", "json", "--quiet", "--skip-download"]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise RuntimeError(f"checkov did not run on {plan}: {done.stderr[-2000:]}") from None
    if report["summary"]["parsing_errors"] or not report["summary"]["passed"]:
        raise RuntimeError(f"checkov could not read {plan}: {report['summary']}")
    print(f"checkov {report['summary']['checkov_version']}: {report['summary']['passed']} passed", end="")
    return [(c["check_id"], c["check_name"], c["resource"]) for c in report["results"]["failed_checks"]]


def judge(found: list[tuple[str, str, str]], accepted: dict[str, dict[str, str]]) -> tuple[list[str], set[tuple[str, str]]]:
    """Findings that no entry accepts, and the entries that were needed.

    Args:
        accepted: check -> pattern of STACK/RESOURCE -> reason.
    """
    bad, used = [], set()
    for check, name, resource in found:
        pattern = next((p for p in accepted.get(check, {}) if fnmatch(resource, p)), None)
        if pattern is None:
            bad.append(f"{check} {resource}: {name}")
        else:
            used.add((check, pattern))
    return bad, used


def main() -> int:
    """Check the stacks in turn; returns 0 passed, 1 something failed, 2 not run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stacks", nargs="*", default=list(STACKS))
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "infra-check")
    parser.add_argument("--checkov", type=Path, default=ROOT / ".venv-checkov" / "bin" / "checkov")
    parser.add_argument("--no-apply", action="store_true", help="only validate: half a minute a stack; checkov then has no plan")
    chosen = parser.parse_args()
    for key in ("TENET_PULUMI_ON_TERRAFORM", "TENET_TF_MIRROR"):
        if not Path(os.environ.get(key, "/nowhere")).exists():
            print(f"infra-check did not run: {key} names no file or folder here; see infra/check.py", file=sys.stderr)
            return 2
    accepted: dict[str, dict[str, str]] = yaml.safe_load((ROOT / "infra" / "checkov.yaml").read_text())
    used: set[tuple[str, str]] = set()
    failed = False
    for stack in chosen.stacks:
        print(f"--- {stack}", flush=True)
        failed |= through_terraform(stack, chosen.work / stack, ["--no-apply"] if chosen.no_apply else []) != 0
        if chosen.no_apply:
            continue
        plan = chosen.work / stack / "terraform" / "plan.json"
        found = [(check, name, f"{stack}/{resource}") for check, name, resource in findings(chosen.checkov, plan)]
        bad, needed = judge(found, accepted)
        used |= needed
        print(f", {len(found) - len(bad)} accepted with a reason, {len(bad)} failed", flush=True)
        print("\n".join(bad))
        failed |= bool(bad)
    if set(chosen.stacks) == set(STACKS) and not chosen.no_apply:
        idle = [(check, pattern) for check, rows in accepted.items() for pattern in rows if (check, pattern) not in used]
        for check, pattern in idle:
            print(f"infra/checkov.yaml accepts {check} of {pattern}, which no stack has any more: take it out")
        failed |= bool(idle)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
