"""The source kind `botocore`: one page of text for each operation, held out by family of services."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tenet.domains.aws_api import pages, service_models
from tenet.domains.domain import Row
from tenet.errors import ConfigError
from tenet.settings.corpus import SourceConfig

KIND = "botocore"
#: Largest share of the text that one service may have: EC2 has 830 operations of 20,000.
CAP = 0.03


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


def documents(source: SourceConfig, rank: int = 0, world: int = 1) -> Iterator[Row]:
    """One page for each operation; `name` may list services, separated by commas."""
    origin = f"botocore {service_models.version()}"
    for operation, text in pages.pages(_services(source)[rank::world]):
        metadata = {
            "source": origin,
            "licence": service_models.LICENCE,
            "url": f"https://docs.aws.amazon.com/cli/latest/reference/{operation.cli_service}/{operation.cli_command}.html",
            "service": operation.service,
            "kind": "reference",
            "group": service_models.family(operation.service),
            "_fixed": True,  # rows are held out by the same families
            "_cap": operation.service,
            "_cap_share": CAP,
        }
        yield {"text": text, "id": f"botocore/{operation.id}", "metadata": metadata}


def _services(source: SourceConfig) -> list[str]:
    return sorted(name.strip() for name in source.name.split(",")) if source.name else service_models.services()
