"""Settings: configurations, changes by name, and TOML."""

from dataclasses import replace
from pathlib import Path

import pytest

from pneumoscope.errors import TrainingError
from pneumoscope.models.settings import (
    PHANTOM_SIZE,
    Augmentation,
    TrainingSettings,
    adapt_to_phantoms,
    augmentation_preset,
    autoencoder_settings,
    configuration_settings,
    override_settings,
)
from pneumoscope.models.settings_file import read_settings, settings_to_toml


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"size": 0}])
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected to be"):
        replace(TrainingSettings(), **wrong)
    with pytest.raises(ValueError, match="configuration is 'magic', expected one of reference"):
        configuration_settings("magic")


def test_settings_for_phantoms_keep_what_a_configuration_is() -> None:
    reference, improved = (configuration_settings(name, epochs=4) for name in ("reference", "improved"))
    short = adapt_to_phantoms(improved)

    assert adapt_to_phantoms(reference) == replace(reference, size=PHANTOM_SIZE, batch_size=16)
    assert short.size == PHANTOM_SIZE and short.epochs == 6
    assert short.cosine and short.keep_best and short.augmentation != Augmentation()
    assert autoencoder_settings("reference", epochs=4).epochs == 8
    assert autoencoder_settings("reference", epochs=4, min_epochs=5).epochs == 5


def test_a_shorter_run_averages_over_the_same_share_of_its_epochs() -> None:
    whole, quarter = configuration_settings("improved"), configuration_settings("improved", epochs=10)

    # The weight of the first epoch at the end.
    assert quarter.averaging**10 == pytest.approx(whole.averaging**whole.epochs)
    assert configuration_settings("improved", epochs=whole.epochs) == whole
    assert configuration_settings("reference", epochs=6).averaging == 0


def test_settings_are_changed_by_name() -> None:
    settings = configuration_settings("improved")
    changed = override_settings(settings, epochs=10, size=None, optimizer="sgd", augmentation="light", weights="none")
    expected = configuration_settings("improved", epochs=10)
    assert changed == replace(expected, optimizer="sgd", augmentation=augmentation_preset("light"))
    assert override_settings(settings, epochs=10, averaging=0.5).averaging == 0.5
    pretrained = configuration_settings("default")
    assert override_settings(pretrained, size=64).weights == "imagenet"
    other = override_settings(pretrained, architecture="mobilenet", size=64)
    assert other.weights is None and other.frozen_until is None
    assert override_settings(settings, augmentation={"flip": 1}).augmentation == Augmentation(flip=1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 3}, "no setting epoch; expected one of configuration, epochs, "),
        ({"epochs": 2.5}, "epochs: Input should be a valid integer, not 2.5"),
        ({"epochs": 0}, "epochs is 0, expected to be 1 or more"),
        ({"patience": 0}, "patience is 0, expected to be 1 or more"),
        ({"optimizer": "lion"}, "optimizer: Input should be 'adam' or 'adamw' or 'sgd', not lion"),
        ({"learning_rate": -1}, "learning_rate -1.0 is expected to be above 0"),
        ({"augmentation": "wild"}, "augmentation is 'wild', expected one of none, light, default, strong"),
        ({"augmentation": {"spin": 3}}, "no range of the augmentation spin; expected one of rotation"),
    ],
)
def test_a_wrong_change_is_an_error(change: dict, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        override_settings(TrainingSettings(), **change)


def test_toml_holds_all_settings(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    for name in ("reference", "improved", "default", "large"):
        settings = replace(configuration_settings(name, epochs=3), architecture='a"b\\ção', patience=4)
        path.write_text(settings_to_toml(settings), encoding="utf-8")
        assert override_settings(TrainingSettings(), **read_settings(path)) == settings
    path.write_text("batch-size = 8")
    assert read_settings(path) == {"batch_size": 8}
    for text in ("epochs: 3", None):
        path.write_text(text) if text else path.unlink()
        with pytest.raises(TrainingError, match=r"settings.toml cannot be read \(.*expected a TOML file"):
            read_settings(path)
