"""All settings of the stack that is run, read before anything is declared."""

from __future__ import annotations

from configuration.endpoint_settings import EndpointSettings
from configuration.reading import Reader
from configuration.settings import Settings
from configuration.training_settings import TrainingSettings


def load() -> tuple[Settings, TrainingSettings, EndpointSettings]:
    """Read and check the stack's configuration.

    Raises:
        SettingError: names every key that is missing, misspelt, mistyped or a placeholder; then the first value that
            cannot be.
    """
    reader = Reader()
    own = Settings.read(reader)
    training = TrainingSettings.read(reader, own["protect"])
    endpoint = EndpointSettings.read(reader, own["protect"])
    reader.finish()
    settings = Settings(**own)
    return (
        settings,
        TrainingSettings(stack=settings, **training),
        EndpointSettings(protect=settings.protect, public=settings.public, **endpoint),
    )
