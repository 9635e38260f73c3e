"""The source kind `botocore`: one page of text for each operation, held out by family of services."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tenet.corpus.documents import Document, document
from tenet.domains.aws_api import conversations, pages, preferences, requests, service_models
from tenet.domains.aws_api.facts import of_split
from tenet.errors import ConfigError
from tenet.settings.corpus import SourceConfig

KIND = "botocore"
#: Largest share of the text that one service may have: EC2 has 830 operations of 20,000.
CAP = 0.03
#: Rows of the validation and test splits, as a share of what training may have: enough for an interval of a few points.
HELD_ROWS = 0.125


def check_source(source: SourceConfig) -> None:
    """Refuse services that botocore does not describe.

    Raises:
        ConfigError: names them.
    """
    unknown = set(_services(source)) - set(service_models.services())
    if unknown:
        raise ConfigError(
            f"corpus.sources name {source.name!r}: botocore {service_models.version()} has no service {', '.join(sorted(unknown))}"
        )


def services_of(wanted: Iterable[SourceConfig]) -> list[str] | None:
    """Services that the sources name; None (all of them) where a source takes all or none is of this kind."""
    named = [source for source in wanted if source.kind == KIND]
    if not named or any(not source.name for source in named):
        return None
    return sorted({service for source in named for service in _services(source)})


def documents(source: SourceConfig, rank: int = 0, world: int = 1) -> Iterator[Document]:
    """One page for each operation; `name` may list services, separated by commas."""
    origin = f"botocore {service_models.version()}"
    for operation, text in pages.pages(_services(source)[rank::world]):
        yield document(
            text,
            f"botocore/{operation.id}",
            origin,
            service_models.LICENCE,
            url=f"https://docs.aws.amazon.com/cli/latest/reference/{operation.cli_service}/{operation.cli_command}.html",
            service=operation.service,
            kind="reference",
            group=service_models.family(operation.service),
            _fixed=True,  # rows are held out by the same families
            _cap=operation.service,
            _cap_share=CAP,
        )


def row_maker(wanted: Iterable[SourceConfig]) -> Callable[..., dict[str, list[dict[str, Any]]]]:
    """Conversations, preferences and prompts about the operations of the services that the sources name."""
    names = services_of(wanted)
    operations = functools.cache(lambda: service_models.operations(names))  # seconds: not before the settings are checked

    def make(
        *, split: service_models.Split, seed: int, heldout: tuple[float, float], most: dict[str, int | None], **_: Any
    ) -> Any:
        chosen = of_split(operations(), split, heldout)
        share = 1.0 if split == "train" else HELD_ROWS
        kinds = {"conversations": lambda n: conversations.instruction_rows(chosen, split, seed, n)}
        if split != "valid":
            kinds["preferences"] = lambda n: preferences.preference_rows(chosen, seed, n)
            kinds["prompts"] = lambda n: requests.request_rows(chosen, seed, n)
        found = {}
        for kind, rows in kinds.items():
            count = most[kind]
            some = None if count is None else max(round(count * share), min(count, 1))
            found[kind] = [] if some == 0 else rows(some or 0)
        return found

    return make


def _services(source: SourceConfig) -> list[str]:
    return sorted(name.strip() for name in source.name.split(",")) if source.name else service_models.services()
