"""Under which names the one model answers. Clients switch features on by the id they are given, so any id may be an alias."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tenet.serving.errors import ServiceError

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


class ModelIds:
    """Ids of the one model.

    Args:
        model_id: the id it is known by.
        aliases: further ids, ARNs or profiles.
    """

    def __init__(self, model_id: str, aliases: Sequence[str] = ()) -> None:
        self.model_id = model_id
        self._known = {plain_id(name) for name in (model_id, *aliases)}

    def resolve(self, name: str) -> str:
        """The model's own id.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        if plain_id(name) not in self._known:
            raise ServiceError(
                "ResourceNotFoundException", f"Could not find the model you asked for. This endpoint serves {self.model_id}."
            )
        return self.model_id
