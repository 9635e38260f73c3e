"""The rows of a domain in their splits, whether code makes them or files hold them: what the corpus stage is handed.

Rows that name documents of the corpus go where those went. Rows of a file that name none (a team's own conversations)
are held out by their group or first question, in the same shares.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from tenet.domains.domain import BY_CODE, KINDS, Domain, DomainCode, Row, RowRequest, Split
from tenet.domains.holdout import split_rows
from tenet.errors import ConfigError
from tenet.rows import read_table
from tenet.rows import split as split_by_group
from tenet.settings.corpus import SourceConfig

#: Rows of the held-out splits, as a share of what training may have: enough for an interval of a few points.
HELD_ROWS = 0.125
Documents = Mapping[Split, Sequence[Row]]
Tables = dict[str, dict[Split, list[Row]]]


def row_maker(
    domain: Domain, code: DomainCode, sources: tuple[SourceConfig, ...], left_out: dict[str, int] | None = None
) -> Callable[..., dict[str, list[Row]]]:
    """A function (split, seed, heldout, most, documents) -> kind -> rows, `documents` being those of every split.

    Args:
        code: of the domain (`tenet.domains.loading.load_code`).
        sources: of the run.
        left_out: takes, by kind, how many rows of a file belong to no split, since their texts stand in several.
    """
    values = {kind: getattr(domain, kind) for kind in KINDS if getattr(domain, kind)}
    files = {kind: value for kind, value in values.items() if value != BY_CODE}
    read = functools.cache(lambda kind: read_table(files[kind], kind, verifiers=code.verifiers).rows)
    #: The splits of a file's rows, kept from one split to the next.
    tables: Tables = {}

    def make(
        *, split: Split, seed: int, heldout: tuple[float, float], most: Mapping[str, int | None], documents: Documents
    ) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        if len(files) < len(values) and code.make_rows is not None:
            made = code.make_rows(RowRequest(split=split, seed=seed, heldout=heldout, most=most, sources=sources))
            found = {kind: rows for kind, rows in made.items() if values.get(kind) == BY_CODE}
        for kind in files:
            if kind not in tables:
                tables[kind], lost = split_table(read(kind), documents, heldout, seed)
                if lost and left_out is not None:
                    left_out[kind] = lost
            found[kind] = tables[kind][split][: _most(most.get(kind), split)]
        return found

    return make


def _most(most: int | None, split: Split) -> int | None:
    if most is None or split == "train":
        return most
    return max(round(most * HELD_ROWS), min(most, 1))


def split_table(
    rows: Sequence[Row], documents: Documents, heldout: tuple[float, float], seed: int
) -> tuple[dict[Split, list[Row]], int]:
    """Rows of a file in their splits, and how many have texts in several and are left out.

    Raises:
        ConfigError: there are too few to hold some out.
    """
    splits: dict[str, Split] = {item["id"]: split for split, items in documents.items() for item in items}
    groups = {item["id"]: item["metadata"]["group"] for items in documents.values() for item in items}
    known = set(groups.values())
    bound = [row for row in rows if row.get("documents") or row.get("group") in known]
    found, lost = split_rows(bound, splits, groups, heldout)
    free = [row for row in rows if not (row.get("documents") or row.get("group") in known)]
    for split, some in _free(free, heldout, seed, bool(bound)).items():
        found[split] += some
    return found, len(lost)


def _free(rows: Sequence[Row], heldout: tuple[float, float], seed: int, others: bool) -> dict[Split, list[Row]]:
    """Rows about no document of the corpus; where others are held out anyway, the few of these may all be for
    training."""
    if not rows:
        return {}
    try:
        train, held = split_by_group(rows, sum(heldout), seed)
    except ConfigError:
        if others:
            return {"train": list(rows)}
        raise
    try:
        test, valid = split_by_group(held, heldout[0] / sum(heldout), seed)
    except ConfigError:  # one group is held out: it is what the test asks
        test, valid = held, []
    return {"train": train, "valid": valid, "test": test}
