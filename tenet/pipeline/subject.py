"""What steps 6 and 7 take from the subject: its files, the tables that fill prompts, the goals that it makes. Rooms get
plain arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tenet.domains.domain import RowRequest
from tenet.domains.loading import load_code
from tenet.errors import ConfigError
from tenet.runs.workspace import Workspace

Row = dict[str, Any]
#: A setting with one of these values means the subject's own part.
OWN = ("", "domain")


def file_of(ws: Workspace, part: str, given: str) -> Path:
    """The file that a setting names, or the subject's.

    Args:
        part: "constitution" or "goals".

    Raises:
        ConfigError: neither is there.
    """
    found = Path(given) if given not in OWN else getattr(ws.domain, part, None)
    if found is None:
        raise ConfigError(
            f"{ws.stage}.{part} is {given!r} and there is no domain with one; name a file, or a domain with --domain"
        )
    return found


def tables(ws: Workspace) -> Mapping[str, Callable[[str], Sequence[Row]]]:
    """Tables that prompts may be filled from, by name: split -> rows. Made when they are asked for: a domain may read
    much for them."""
    make = load_code(ws.domain).make_tables if ws.domain is not None else None
    if make is None:
        return {}
    made = functools.cache(lambda split: make(_request(ws, split)))
    return _Tables(lambda name: lambda split: made(split)[name], lambda: list(made("train")))


class _Tables(Mapping[str, Callable[[str], Sequence[Row]]]):
    """Names are known only when the domain has made its tables, so they are asked for late."""

    def __init__(self, get: Callable[[str], Callable[[str], Sequence[Row]]], names: Callable[[], list[str]]) -> None:
        self._get, self._names = get, names

    def __getitem__(self, name: str) -> Callable[[str], Sequence[Row]]:
        if name not in self._names():
            raise KeyError(name)
        return self._get(name)

    def __iter__(self) -> Any:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())


def made_goals(ws: Workspace, count: int, seed: int) -> list[Row]:
    """Pairs of train goals that the subject makes from its documents; none where it makes none."""
    make = load_code(ws.domain).make_goals if ws.domain is not None else None
    return make(_request(ws, "train"), count, seed) if make is not None and count else []


def _request(ws: Workspace, split: str) -> RowRequest:
    sources = ws.domain.sources if ws.domain is not None else ()
    return RowRequest(split=split, seed=ws.seed, heldout=tuple(ws.setting("corpus.heldout")), sources=sources)  # type: ignore[arg-type]
