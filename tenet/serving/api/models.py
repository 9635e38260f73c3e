"""Under which names models answer. Clients switch features on by the id they are given, so any id may be an alias."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tenet.serving.engines.runner import Runner
from tenet.serving.protocol.exceptions import ServiceError

#: Inference profiles put the geography in front of the model's id.
_PROFILE = re.compile(r"(?:us|us-gov|eu|apac|jp|au|ca|global)\.(?=[^.]+\.)")
_ARN = re.compile(
    r"arn:aws[a-z-]*:bedrock:[a-z0-9-]*:\d*:"
    r"(?:foundation-model|inference-profile|application-inference-profile|imported-model|custom-model|provisioned-model)/(?P<id>.+)\Z"
)


def plain_id(name: str) -> str:
    """The id inside an ARN or an inference profile."""
    arn = _ARN.match(name)
    return _PROFILE.sub("", arn["id"] if arn else name, count=1)


@dataclass(frozen=True)
class Served:
    """A model and what runs it.

    Args:
        model_id: the id it is known by.
        runner: its engine's thread.
        created: seconds since 1970.
    """

    model_id: str
    runner: Runner
    created: float = field(default_factory=time.time)


class Models:
    """All that this endpoint serves: the model it was started with, and those that were imported since.

    Args:
        model_id: of the first model.
        runner: its engine's thread.
        aliases: its further ids, ARNs or profiles.
    """

    def __init__(self, model_id: str, runner: Runner, aliases: Sequence[str] = ()) -> None:
        self.first = Served(model_id, runner)
        self._known = {plain_id(name): self.first for name in (model_id, *aliases)}
        self.profiles = [name for name in (model_id, *aliases) if "inference-profile/" in name or _PROFILE.match(name)]

    def resolve(self, name: str) -> Served:
        """The model of an id, an inference profile or an ARN.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        served = self._known.get(plain_id(name))
        if served is None:
            raise ServiceError(
                "ResourceNotFoundException",
                f"Could not find the model you asked for. This endpoint serves {self.first.model_id}.",
            )
        return served

    def add(self, served: Served, names: Sequence[str]) -> None:
        """Serve one more model under these names."""
        self._known |= {plain_id(name): served for name in names}

    def knows(self, name: str) -> bool:
        """Whether a name is taken."""
        return plain_id(name) in self._known

    @property
    def foundation_ids(self) -> list[str]:
        """Ids of the first model that look like a foundation model's, its own first."""
        own = self.first.model_id
        ids = [name for name, served in self._known.items() if served is self.first and "." in name and "/" not in name]
        return list(dict.fromkeys([own, *ids]))

    @property
    def ids(self) -> list[str]:
        """Every id that is answered, the first model's own first."""
        return list(self._known)
