"""The command blocks of docs/infra.md, told apart by what they need: what needs no AWS is run by a test as it
stands."""

from __future__ import annotations

import re

from .conftest import ROOT

#: What a line needs that is not on this machine -> how it is known.
NEEDS = {
    "AWS": re.compile(r"^aws |s3://|awskms|^tenet (deploy|rollback|import-to-bedrock)"),
    "a cluster": re.compile(r"^(kubectl|helm|eksctl|aws eks)\b"),
    "machines": re.compile(r"^sky "),
}
#: How a line of commands begins; everything else that is indented is a listing or what a program prints.
COMMAND = re.compile(r"^(pulumi|tenet|python|make|aws|kubectl|helm|eksctl|sky)\b")


def blocks() -> dict[str, list[list[str]]]:
    """Heading -> its blocks of commands, each a list of lines."""
    found: dict[str, list[list[str]]] = {}
    heading, block = "", list[str]()
    for line in [*(ROOT / "docs" / "infra.md").read_text().splitlines(), ""]:
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        if line.startswith("    "):
            block.append(line.strip())
        elif block:
            if all(COMMAND.match(row) for row in block):
                found.setdefault(heading, []).append(block)
            block = []
    return found


def needs(block: list[str]) -> set[str]:
    """What a block needs that is not here."""
    return {what for what, pattern in NEEDS.items() if any(pattern.search(line) for line in block)}


def runnable(heading: str) -> list[list[str]]:
    """Blocks of a section that need nothing from outside."""
    return [block for block in blocks()[heading] if not needs(block)]
