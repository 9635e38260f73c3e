"""What the AWS domain makes by code: rows of each kind, the operations that prompt templates are filled from, its
verifier and its source.

`tenet/domains/loading.py` reads the names in capitals and the functions here; see `DomainCode` for what each is.
"""

from __future__ import annotations

from tenet.domains.aws_api import sources
from tenet.domains.aws_api.facts import goal_of, of_split
from tenet.domains.aws_api.instructions import instruction_rows
from tenet.domains.aws_api.preferences import preference_rows
from tenet.domains.aws_api.requests import request_rows
from tenet.domains.aws_api.safety import documented_goals
from tenet.domains.aws_api.service_models import operations, services, split_of
from tenet.domains.aws_api.verifier import VERIFIERS as VERIFIERS
from tenet.domains.aws_api.verifier import AwsTools
from tenet.domains.domain import Row, RowRequest

#: Rows of the held-out splits, as a share of what training may have: enough for an interval of a few points.
HELD_ROWS = 0.125
#: Services whose operations fill the prompts of a split; more only take longer to read.
SERVICES = 80
READERS = {sources.KIND: sources.documents}
check_source = sources.check_source
ENVIRONMENT = AwsTools


def make_rows(request: RowRequest) -> dict[str, list[Row]]:
    """Conversations of every split; preferences and prompts of train and test (nothing is chosen on their validation
    rows)."""
    chosen = of_split(operations(sources.services_of(request.sources)), request.split, request.heldout)
    rows = {"conversations": instruction_rows(chosen, request.split, request.seed, _most(request, "conversations"))}
    if request.split != "valid":
        rows["preferences"] = preference_rows(chosen, request.seed, _most(request, "preferences"))
        rows["prompts"] = request_rows(chosen, request.seed, _most(request, "prompts"))
    return rows


def _most(request: RowRequest, kind: str) -> int | None:
    """Most rows of a kind in this split: one at least where any were asked for."""
    most = request.most.get(kind)
    if most is None or request.split == "train":
        return most
    return max(round(most * HELD_ROWS), min(most, 1))


def make_tables(request: RowRequest) -> dict[str, list[Row]]:
    """`operations`: service, its title, name, first sentence and goal ("delete a table") of each operation of a
    split."""
    names = [name for name in services() if split_of(name, request.heldout) == request.split]
    if len(names) > SERVICES:
        import torch

        chosen = torch.randperm(len(names), generator=torch.Generator().manual_seed(request.seed))[:SERVICES].tolist()
        names = [names[i] for i in sorted(chosen)]
    found = operations(names)
    table = [
        {"service": o.service, "service_title": o.service_title, "name": o.name, "sentence": o.sentence, "goal": goal_of(o)}
        for o in found
    ]
    return {"operations": table}


def make_goals(request: RowRequest, count: int, seed: int) -> list[Row]:
    """Goals from the documentation: what an operation does, in one's own account and in somebody else's."""
    return documented_goals(make_tables(request)["operations"], count, seed)
