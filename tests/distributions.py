"""What is installed, what it needs and what is pinned, by the standards' own names."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def project() -> dict[str, Any]:
    """pyproject.toml's [project]; what pip wrote down at installation may be older."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(*extras: str) -> list[str]:
    """The project's own, with those of some extras."""
    asked = project()
    return [*asked["dependencies"], *(need for extra in extras for need in asked["optional-dependencies"][extra])]


def pins() -> dict[str, str]:
    """Name to version, as constraints.txt has them."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    return {str(canonicalize_name(name)): version for name, version in (line.split("==") for line in lines)}


def installed() -> dict[str, metadata.Distribution]:
    """Name to distribution, of this environment."""
    return {str(canonicalize_name(one.name)): one for one in metadata.distributions()}


def closure(needs: list[str]) -> set[str]:
    """Names of all that these requirements bring, as far as it is installed here."""
    here = installed()
    found: set[tuple[str, str]] = set()
    ahead = [(Requirement(need), "") for need in needs]
    while ahead:
        need, extra = ahead.pop()
        name = str(canonicalize_name(need.name))
        if name not in here or (need.marker and not need.marker.evaluate({"extra": extra})):
            continue
        for wanted in ("", *need.extras):
            if (name, wanted) not in found:
                found.add((name, wanted))
                ahead += [(Requirement(further), wanted) for further in here[name].requires or []]
    return {name for name, _ in found}
