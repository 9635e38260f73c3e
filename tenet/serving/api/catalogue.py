"""What is served, as the control plane of Bedrock describes it: foundation models and inference profiles. Some clients
look a model up before they ask it anything."""

from __future__ import annotations

import re
from typing import Any

from tenet.serving.api.listing import iso_time, listed, query_of
from tenet.serving.api.models import Models, plain_id
from tenet.serving.http.request import Call
from tenet.serving.protocol.exceptions import ServiceError

#: How Amazon writes the providers of aliases; others get a capital letter.
_PROVIDERS = {
    "ai21": "AI21 Labs",
    "deepseek": "DeepSeek",
    "luma": "Luma AI",
    "minimax": "MiniMax",
    "mistral": "Mistral AI",
    "moonshot": "Moonshot AI",
    "moonshotai": "Moonshot AI",
    "nvidia": "NVIDIA",
    "openai": "OpenAI",
    "stability": "Stability AI",
    "twelvelabs": "TwelveLabs",
    "zai": "Z.AI",
}
_FILTERS = {
    "byOutputModality": "outputModalities",
    "byCustomizationType": "customizationsSupported",
    "byInferenceType": "inferenceTypesSupported",
}
_NOT_A_NAME = re.compile(r"[^0-9a-zA-Z]+")
_APPLICATION = ":application-inference-profile/"


class Catalogue:
    """Describes models.

    Args:
        models: what is served.
    """

    def __init__(self, models: Models) -> None:
        self._models = models

    # --- foundation models ---------------------------------------------------------------------------------------------

    async def list_foundation_models(self, call: Call, name: str, body: bytes) -> None:
        """GET /foundation-models with its four filters."""
        query = query_of(call, "ListFoundationModels")
        found = [_summary(one) for one in self._models.foundation_ids]
        if provider := query.get("byProvider", "").casefold():
            found = [one for one in found if provider in (one["providerName"].casefold(), one["modelId"].partition(".")[0])]
        for key, about in _FILTERS.items():
            if key in query:
                found = [one for one in found if query[key] in one[about]]
        await call.json({"modelSummaries": found})

    async def get_foundation_model(self, call: Call, name: str, body: bytes) -> None:
        """GET /foundation-models/{id}; a profile is described by its model."""
        await call.json({"modelDetails": _summary(self._model_of(name))})

    # --- inference profiles --------------------------------------------------------------------------------------------

    async def list_inference_profiles(self, call: Call, name: str, body: bytes) -> None:
        """GET /inference-profiles: aliases that are profiles, and one of this geography for each model."""
        query = query_of(call, "ListInferenceProfiles")
        names = dict.fromkeys([*self._models.profiles, *(f"us.{one}" for one in self._models.foundation_ids if "." in one)])
        found = [self._profile(one) for one in names]
        if "type" in query:
            found = [one for one in found if one["type"] == query["type"]]
        await call.json(listed(found, query, "inferenceProfileSummaries"))

    async def get_inference_profile(self, call: Call, name: str, body: bytes) -> None:
        """GET /inference-profiles/{id or ARN}."""
        short = {one.rpartition("/")[2]: one for one in self._models.profiles}
        wanted = short.get(name, name)
        if "inference-profile/" not in wanted and plain_id(wanted) == wanted:
            raise ServiceError("ResourceNotFoundException", "There is no such inference profile.")
        await call.json(self._profile(wanted))

    def _profile(self, name: str) -> dict[str, Any]:
        served, application = self._models.resolve(name), _APPLICATION in name
        short = name.rpartition("/")[2]
        geography = "" if application else f"{short.partition('.')[0].upper()} "
        return {
            "inferenceProfileName": _NOT_A_NAME.sub(" ", f"{geography}{self._model_of(name)}")[:64].strip(),
            "inferenceProfileId": short,
            "inferenceProfileArn": name
            if name.startswith("arn:")
            else f"arn:aws:bedrock:us-east-1:000000000000:inference-profile/{short}",
            "models": [{"modelArn": _summary(self._model_of(name))["modelArn"]}],
            "status": "ACTIVE",
            "type": "APPLICATION" if application else "SYSTEM_DEFINED",
            "createdAt": iso_time(served.created),
            "updatedAt": iso_time(served.created),
        }

    def _model_of(self, name: str) -> str:
        """The model's id behind any of its names; the name of a profile without one in it is the first model's."""
        served, plain = self._models.resolve(name), plain_id(name)
        return plain if "." in plain and "/" not in plain else served.model_id


def _summary(model_id: str) -> dict[str, Any]:
    provider, _, rest = model_id.partition(".")
    return {
        "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{model_id}",
        "modelId": model_id,
        "modelName": (rest or model_id)[:20],
        "providerName": _PROVIDERS.get(provider, provider.capitalize())[:20],
        "inputModalities": ["TEXT"],
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": True,
        "customizationsSupported": [],
        "inferenceTypesSupported": ["ON_DEMAND"],
        "modelLifecycle": {"status": "ACTIVE"},
    }
