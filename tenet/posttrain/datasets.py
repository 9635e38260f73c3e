"""What a training stage learns from and is judged on: the domain's own rows, a file, or a public data set by name.

The shapes that files have, and what is refused, are the affair of tenet/rows. Here it is decided where a setting points
to, and what is held out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tenet.errors import ConfigError
from tenet.rows import Kind, Row, Table, read_files, read_table, split
from tenet.runs.workspace import Workspace
from tenet.verifiers import Verifier

#: Folder of local copies of public data sets; `hh_rlhf/` in it is found by the name "hh-rlhf".
DATA_VARIABLE = "TENET_DATA"
HH_NAMES = ("hh-rlhf", "Anthropic/hh-rlhf")
#: Value of a setting that means the domain's own rows.
OWN = "domain"
#: Where the corpus stage writes rows that a domain makes by code.
FOLDERS: dict[str, str] = {"conversations": "instructions", "preferences": "preferences", "prompts": "requests"}
#: Of the prompts without a verifier, one to this many with one: answers that are described are long.
LEARNED = 7


class Data(NamedTuple):
    """Rows of a stage.

    Args:
        train, test: held out by group.
        used: where they came from.
        facts: for the summary: what was refused and not used, and under which licences the rows are.
    """

    train: list[Row]
    test: list[Row]
    used: str
    facts: dict[str, Any]


def load(
    data: str, kind: Kind, ws: Workspace, *, most_refused: float = 0.05, verifiers: Mapping[str, Verifier] | None = None
) -> Data:
    """Training and held-out rows of one kind.

    Args:
        data: "domain", a file, or a data set on the hub; "hh-rlhf" for Anthropic's human preferences (local copy or
            hub).
        verifiers: those that the domain adds, for prompts.

    Raises:
        ConfigError: the data cannot be had or used; says what to do.
    """
    if data != OWN:
        return _split(open_table(data, kind, most_refused, verifiers), ws, data)
    named = str(getattr(ws.domain, kind, "")) if ws.domain else ""
    made = ws.input("corpus") / FOLDERS[kind] if ws.has("corpus") else None
    if made is not None and (made / "train.jsonl").is_file():
        beside = _beside(named, ws.domain.folder if ws.domain else None)
        tables = [
            read_table(str(made / f"{name}.jsonl"), kind, verifiers=verifiers, functions=beside) for name in ("train", "test")
        ]
        return Data(
            tables[0].rows, tables[1].rows, f"{kind} of the domain {ws.domain.name if ws.domain else ''}".strip(), _facts(*tables)
        )
    if named and not named.endswith("rows.py"):
        return _split(open_table(named, kind, most_refused, verifiers), ws, Path(named).name)
    raise ConfigError(f"{ws.stage}.data is {OWN!r}, and there are no {kind} of a domain; name a file or a data set (--data FILE)")


def _beside(named: str, domain: Path | None) -> Path | None:
    """Where the code lies that a domain's prompts name: rows in a run name it as the domain's file does."""
    path = Path(named)  # a domain's files are absolute; anything else is no file, whatever lies in the working directory
    if not path.is_absolute():
        return domain
    return path if path.is_dir() else path.parent


def load_prompts(data: str, ws: Workspace, verifiers: Mapping[str, Verifier], learned: bool, most_refused: float = 0.05) -> Data:
    """Prompts for policy optimisation.

    Args:
        learned: a reward model has a say. Beside a domain's own prompts, which have verifiers, what its preferences ask
            is then asked too.
    """
    found = load(data, "prompts", ws, most_refused=most_refused, verifiers=verifiers)
    if data != OWN or not learned or any("verifier" not in row for row in found.train):
        return found
    pairs = load(data, "preferences", ws)
    train, test = (
        [{"prompt": r["prompt"], "id": r["id"], "kind": "describe"} for r in rows] for rows in (pairs.train, pairs.test)
    )
    return found._replace(train=found.train + train[: len(found.train) // LEARNED], test=found.test + test)


def open_table(data: str, kind: Kind, most_refused: float = 0.05, verifiers: Mapping[str, Verifier] | None = None) -> Table:
    """`read_table`, and Anthropic's human preferences by their short name."""
    if data not in HH_NAMES:
        return read_table(data, kind, most_refused=most_refused, verifiers=verifiers)
    folder = os.environ.get(DATA_VARIABLE)
    local = sorted(Path(folder).glob("hh_rlhf/**/*.jsonl.gz")) if folder else []
    if local:
        return read_files(data, local, kind, most_refused=most_refused)
    try:
        return read_table(HH_NAMES[1], kind, most_refused=most_refused)
    except ConfigError as error:
        raise ConfigError(f"{error}; or set {DATA_VARIABLE} to a folder with a local copy in hh_rlhf/") from None


def _split(table: Table, ws: Workspace, used: str) -> Data:
    try:
        train, test = split(table.rows, seed=ws.seed)
    except ConfigError as error:
        raise ConfigError(f"{used}: {error}") from None
    return Data(train, test, used, _facts(table))


def _facts(*tables: Table) -> dict[str, Any]:
    """What a reader must know of the data; nothing where nothing was refused or left unused."""
    licences: dict[str, int] = {}
    for table in tables:
        for name, count in table.licences.items():
            licences[name or "not stated"] = licences.get(name or "not stated", 0) + count
    facts: dict[str, Any] = {"licences": licences}
    refused = [one for table in tables for one in table.refused]
    if refused:
        facts["refused"] = len(refused)
        facts["first_refused"] = [f"{Path(one.file).name}:{one.line}: {one.reason}" for one in refused[:3]]
    if unused := {name: count for table in tables for name, count in table.unused.items()}:
        facts["unused"] = unused
    return facts


def too_long(stage: str, what: str, lengths: list[int], context: int) -> None:
    """Refuse rows that all exceed the context: nothing could be learnt from them, or measured on them.

    Args:
        what: e.g. "held-out conversations". lengths: of all of them, in tokens.

    Raises:
        ConfigError: with the numbers and the setting to change.
    """
    if all(length > context for length in lengths):
        shortest = f"; the shortest of {len(lengths)} has {min(lengths)} tokens" if lengths else ": there are none"
        raise ConfigError(f"{stage}.context is {context} tokens and none of the {what} fits{shortest}; enlarge {stage}.context")
