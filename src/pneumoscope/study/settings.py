"""Settings of a study's models, for radiographs or for phantoms."""

from dataclasses import replace

from pneumoscope.models.settings import (
    PHANTOM_SIZE,
    TrainingSettings,
    adapt_to_phantoms,
    autoencoder_settings,
    configuration_settings,
)

PHANTOM_AUTOENCODER = {"epochs": 5, "batch_size": 4}


def classifier_settings(configuration: str, *, epochs: int | None = None, phantoms: bool = False) -> TrainingSettings:
    """Return the settings of a configuration's classifiers, for radiographs or for phantoms."""
    settings = configuration_settings(configuration, epochs=epochs)
    return adapt_to_phantoms(settings) if phantoms else settings


def anomaly_settings(configuration: str, *, epochs: int | None = None, phantoms: bool = False) -> TrainingSettings:
    """Return the settings of a configuration's anomaly detector; the one of `default` trains for at most `epochs`."""
    from pneumoscope.anomaly.normality_model import normality_settings

    if configuration == "default":
        settings = normality_settings()
        settings = settings if epochs is None else replace(settings, epochs=min(settings.epochs, epochs))
        return replace(settings, size=PHANTOM_SIZE) if phantoms else settings
    if not phantoms:
        return autoencoder_settings(configuration, epochs=epochs)
    settings = autoencoder_settings(configuration, epochs=epochs, min_epochs=PHANTOM_AUTOENCODER["epochs"])
    # A decay over so few epochs leaves the validation loss higher.
    return replace(settings, size=PHANTOM_SIZE, batch_size=PHANTOM_AUTOENCODER["batch_size"], cosine=False, warmup=0.0)
