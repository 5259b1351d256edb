import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pneumoscope.errors import TrainingError
from pneumoscope.io.results import LearningCurve
from pneumoscope.models.settings import Augmentation, TrainingSettings
from pneumoscope.models.training import TrainingData, fit_model

SETTINGS = TrainingSettings(
    configuration="improved",
    epochs=4,
    batch_size=8,
    cosine=True,
    warmup=0.1,
    weight_decay=0.01,
    averaging=0.5,
    keep_best=True,
)


def build_tiny() -> "keras.Model":
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(5)
    inputs = keras.Input((8, 8, 1))
    features = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
    features = keras.layers.BatchNormalization()(keras.layers.Flatten()(features))
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Dropout(0.3)(features))
    return keras.Model(inputs, outputs, name="tiny")


def make_data() -> TrainingData:
    """Return images that are bright in the upper or in the lower half."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = rng.integers(0, 100, (60, 8, 8, 1)).astype(np.uint8)
    images[labels == 0, :4] += 120
    images[labels == 1, 4:] += 120
    targets = np.eye(2, dtype=np.float32)[labels]

    def make_batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return images[indices] + rng.integers(0, 20, (len(indices), 8, 8, 1), dtype=np.uint8), targets[indices]

    return TrainingData(
        draw_order=lambda rng: rng.permutation(40),
        make_batch=make_batch,
        validation=(images[40:], targets[40:], np.ones(20, np.float32)),
        sha256="made up",
    )


def fit(checkpoint: Path, settings: TrainingSettings = SETTINGS) -> tuple["keras.Model", LearningCurve]:
    model = build_tiny()
    curve = fit_model(
        model,
        make_data(),
        settings,
        loss=keras.losses.CategoricalCrossentropy(),
        checkpoint_path=checkpoint,
        seed=1,
        title="tiny",
    )
    return model, curve


def test_a_net_learns_and_the_curve_tells(tmp_path: Path) -> None:
    model, curve = fit(tmp_path / "checkpoint.npz", replace(SETTINGS, epochs=12, learning_rate=0.01))
    assert curve.loss[-1] < curve.loss[0]
    assert curve.val_accuracy[curve.chosen_epoch - 1] > 0.9
    images, targets, _ = make_data().validation
    decided = model.predict(images, verbose=0).argmax(axis=1)
    assert (decided == targets.argmax(axis=1)).mean() == pytest.approx(curve.val_accuracy[curve.chosen_epoch - 1])


def test_the_kept_epoch_is_the_best_or_the_last(tmp_path: Path) -> None:
    _, best = fit(tmp_path / "best.npz", replace(SETTINGS, learning_rate=0.05))
    _, last = fit(tmp_path / "last.npz", replace(SETTINGS, learning_rate=0.05, keep_best=False))
    assert best.chosen_epoch == int(np.argmin(best.val_loss)) + 1
    assert last.chosen_epoch == SETTINGS.epochs


def test_a_broken_run_ends_as_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_model, whole = fit(tmp_path / "whole.npz")
    from pneumoscope.models import training

    log_epoch = training._log_epoch

    def stop_after_two(title: str, epochs: int, state: training._State) -> None:
        log_epoch(title, epochs, state)
        if state.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_log_epoch", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "broken.npz")
    monkeypatch.undo()
    resumed_model, resumed = fit(tmp_path / "broken.npz")
    np.testing.assert_allclose(resumed.loss, whole.loss, rtol=1e-6)
    np.testing.assert_allclose(resumed.val_loss, whole.val_loss, rtol=1e-6)
    for first, second in zip(resumed_model.get_weights(), whole_model.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-7)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_training import SETTINGS, fit
from dataclasses import replace
fit(Path(sys.argv[1]), replace(SETTINGS, epochs=2000))
"""


def test_kill_nine_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.npz"
    command = [sys.executable, "-c", KILLED, str(checkpoint), str(Path(__file__).parent)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with np.load(checkpoint, allow_pickle=False) as archive:
        head = json.loads(str(archive["head"]))
    assert head["epoch"] >= 1
    assert len(head["curves"]["loss"]) == head["epoch"]


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    fit(tmp_path / "checkpoint.npz")
    with pytest.raises(TrainingError, match="comes from other settings or data"):
        fit(tmp_path / "checkpoint.npz", replace(SETTINGS, learning_rate=0.5))


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match="is no checkpoint"):
        fit(tmp_path / "checkpoint.npz")


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss became"):
        fit(tmp_path / "checkpoint.npz", TrainingSettings(epochs=3, batch_size=8, learning_rate=float("nan")))


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="expected to be 1 or more"):
        TrainingSettings(epochs=0)
    assert TrainingSettings().augmentation == Augmentation()
