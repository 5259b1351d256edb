"""Training: checkpoints, the chosen epoch, and frozen layers."""

import csv
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pneumoscope.errors import TrainingError
from pneumoscope.io.results import LearningCurve
from pneumoscope.models import training
from pneumoscope.models.settings import TrainingSettings
from pneumoscope.models.training import TrainingData, fit_model

SETTINGS = TrainingSettings(
    epochs=4, batch_size=16, cosine=True, weight_decay=0.02, averaging=0.5, max_gradient=1.0, frozen_until="hidden_2"
)
HIDDEN = tuple(f"hidden_{number}" for number in range(1, 6))


def build_deep() -> "keras.Model":
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(5)
    features = inputs = keras.Input((6,))
    for name in HIDDEN:
        features = keras.layers.Dense(8, activation="tanh", name=name)(features)
    features = keras.layers.BatchNormalization(name="normalization")(features)
    features = keras.layers.Dropout(0.2)(features)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="output")(features), name="deep")


def make_data() -> TrainingData:
    """Return vectors whose class is the sign of their first value."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(48, 6)).astype(np.float32) * np.array([4, 1, 1, 1, 1, 1], np.float32)
    targets = np.eye(2, dtype=np.float32)[(values[:, 0] > 0).astype(int)]
    return TrainingData(
        draw_order=lambda rng: rng.permutation(32),
        make_batch=lambda indices, rng: (values[indices], targets[indices]),
        validation=(values[32:], targets[32:], None),
        sha256="made up",
    )


def fit(
    checkpoint: Path, settings: TrainingSettings = SETTINGS, *, data: TrainingData | None = None, **options: Any
) -> tuple["keras.Model", LearningCurve]:
    model, loss = build_deep(), keras.losses.CategoricalCrossentropy()
    options = {"loss": loss, "checkpoint_path": checkpoint, "seed": 1, "title": "deep", **options}
    return model, fit_model(model, data or make_data(), settings, **options)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple["keras.Model", LearningCurve, Path]:
    """Return the model and curve of a whole run, and the folder of its checkpoint after each epoch."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    log_epoch = training._log_epoch

    def keep(title: str, epochs: int, state: training._State) -> None:
        log_epoch(title, epochs, state)
        copyfile(folder / "checkpoint.npz", folder / f"after-{state.epoch}.npz")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_log_epoch", keep)
        return *fit(folder / "checkpoint.npz"), folder


def test_frozen_layers_keep_their_weights(uninterrupted, tmp_path: Path) -> None:
    start = dict(zip([weight.path for weight in build_deep().weights], build_deep().get_weights(), strict=True))
    model = uninterrupted[0]
    for weight, value in zip(model.weights, model.get_weights(), strict=True):
        frozen = weight.path.startswith(("hidden_1", "hidden_2"))
        assert np.array_equal(start[weight.path], value) is frozen
    with pytest.raises(TrainingError, match="frozen_until is 'block'; expected a layer of deep, such as hidden_"):
        fit(tmp_path / "checkpoint.npz", replace(SETTINGS, frozen_until="block"))


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
def test_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path: Path, uninterrupted, stopped_after: int) -> None:
    whole_model, whole, folder = uninterrupted
    copyfile(folder / f"after-{stopped_after}.npz", tmp_path / "checkpoint.npz")

    resumed_model, resumed = fit(tmp_path / "checkpoint.npz")

    np.testing.assert_allclose(resumed.loss, whole.loss, rtol=1e-6)
    np.testing.assert_allclose(resumed.val_loss, whole.val_loss, rtol=1e-6)
    for first, second in zip(resumed_model.get_weights(), whole_model.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-7)


def test_training_lowers_the_loss_and_the_curve_holds_the_accuracy(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=8, learning_rate=0.05, frozen_until=None, keep_best=True)
    model, curve = fit(tmp_path / "checkpoint.npz", settings)
    assert curve.loss[-1] < curve.loss[0]
    assert curve.val_accuracy[curve.chosen_epoch - 1] > 0.8
    values, targets, _ = make_data().validation
    accuracy = (model.predict(values, verbose=0).argmax(axis=1) == targets.argmax(axis=1)).mean()
    assert accuracy == pytest.approx(curve.val_accuracy[curve.chosen_epoch - 1])


def test_the_kept_epoch_is_the_best_or_the_last(tmp_path: Path) -> None:
    _, best = fit(tmp_path / "best.npz", replace(SETTINGS, learning_rate=0.05, keep_best=True))
    _, last = fit(tmp_path / "last.npz", replace(SETTINGS, learning_rate=0.05))
    assert best.chosen_epoch == int(np.argmin(best.val_loss)) + 1
    assert last.chosen_epoch == SETTINGS.epochs


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_an_error(tmp_path: Path, uninterrupted) -> None:
    checkpoint = tmp_path / "checkpoint.npz"
    copyfile(uninterrupted[2] / "after-1.npz", checkpoint)
    with pytest.raises(TrainingError, match="comes from a run with other settings or data"):
        fit(checkpoint, replace(SETTINGS, learning_rate=0.5))
    checkpoint.write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match="is not a checkpoint"):
        fit(checkpoint)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss became"):
        fit(tmp_path / "checkpoint.npz", TrainingSettings(epochs=3, learning_rate=float("nan")))


def test_a_run_with_more_epochs_is_continued(tmp_path: Path, uninterrupted, caplog: pytest.LogCaptureFixture) -> None:
    copyfile(uninterrupted[2] / "after-4.npz", tmp_path / "checkpoint.npz")
    with caplog.at_level("INFO"):
        _, curve = fit(tmp_path / "checkpoint.npz", replace(SETTINGS, epochs=7, averaging=0.2))
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    np.testing.assert_array_equal(curve.loss[:4], uninterrupted[1].loss)
    assert "continuing after epoch 4 of 4; the learning rate is planned anew for epochs 5 to 7" in caplog.text
    assert [int(row["epoch"]) for row in rows] == [*range(1, 8)]
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates[3] == rates[6] == 0 and rates[4] > rates[5] > 0
    with pytest.raises(TrainingError, match=r"other settings or data \(epochs\)"):
        fit(tmp_path / "checkpoint.npz", replace(SETTINGS, epochs=5))


def test_at_a_constant_rate_a_continued_run_is_one_run(tmp_path: Path) -> None:
    settings = TrainingSettings(epochs=3, optimizer="sgd", weight_decay=0.01)
    whole, _ = fit(tmp_path / "whole.npz", settings)
    fit(tmp_path / "parts.npz", replace(settings, epochs=2))
    parts, _ = fit(tmp_path / "parts.npz", settings)
    for first, second in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-7)


def test_training_stops_without_patience_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    settings = TrainingSettings(epochs=15, learning_rate=1.0, patience=2)
    _, curve = fit(tmp_path / "checkpoint.npz", settings)
    assert len(curve.loss) == curve.chosen_epoch + 2 < 15
    assert curve.chosen_epoch == int(np.argmin(curve.val_loss)) + 1
    _, longer = fit(tmp_path / "checkpoint.npz", replace(settings, epochs=16))
    assert len(longer.loss) > len(curve.loss)


def test_a_training_starts_from_other_weights_and_may_weight_its_examples(tmp_path: Path) -> None:
    other = build_deep()
    other.set_weights([weight + 1 for weight in other.get_weights()])
    other.save(tmp_path / "other.keras")
    data = make_data()
    without = replace(data, make_batch=lambda rows, rng: (*data.make_batch(rows, rng), np.zeros(len(rows), np.float32)))
    options = {"init_from": tmp_path / "other.keras", "tensorboard": tmp_path / "board"}
    if keras.backend.backend() != "tensorflow":
        with pytest.raises(TrainingError, match="expected tensorflow for TensorBoard"):
            fit(tmp_path / "checkpoint.npz", TrainingSettings(epochs=1), data=without, **options)
        options.pop("tensorboard")
    model, _ = fit(tmp_path / "checkpoint.npz", TrainingSettings(epochs=1), data=without, **options)
    np.testing.assert_allclose(*(one.get_layer("hidden_1").get_weights()[0] for one in (model, other)))
    np.testing.assert_allclose(*(one.get_layer("output").get_weights()[0] for one in (model, build_deep())))
    for path in (tmp_path / "board").glob("*"):
        assert all(name in path.read_bytes() for name in (b"val_loss", b"learning_rate", b"scalars"))
