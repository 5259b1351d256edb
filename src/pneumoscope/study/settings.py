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


def anomaly_settings(
    configuration: str, *, epochs: int | None = None, phantoms: bool = False
) -> TrainingSettings | None:
    """Return the settings of a configuration's autoencoder; None for the normality model, which is not trained.

    `reference` and `improved` have the autoencoder, other configurations the normality model.
    """
    if configuration not in ("reference", "improved"):
        return None
    if not phantoms:
        return autoencoder_settings(configuration, epochs=epochs)
    settings = autoencoder_settings(configuration, epochs=epochs, min_epochs=PHANTOM_AUTOENCODER["epochs"])
    # A decay over so few epochs leaves the validation loss higher.
    return replace(settings, size=PHANTOM_SIZE, batch_size=PHANTOM_AUTOENCODER["batch_size"], cosine=False, warmup=0.0)
