"""The report's autoencoder, which has only seen normals; what it cannot redraw is odd."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.errors import TrainingError
from pneumoscope.models.settings import TrainingSettings
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import Anomaly, LearningCurve
from pneumoscope.tasks.anomaly.evaluation import Normals, select_normals
from pneumoscope.tasks.anomaly.trained import describe_training, measure_anomaly
from pneumoscope.tasks.classify import hash_table

if TYPE_CHECKING:
    import keras

    from pneumoscope.models.bundle import Bundle
    from pneumoscope.models.training import TrainingData

DEAD_SPREAD = 0.02


def train_anomaly(
    dataset: Dataset,
    out_dir: str | os.PathLike[str],
    *,
    settings: TrainingSettings | None = None,
    seed: int = 0,
    false_alarm_rate: float = 0.05,
) -> "tuple[Bundle, Anomaly]":
    """Train the report's autoencoder on normals and measure what it flags; see `measure_anomaly`.

    Args:
        dataset: with the splits `train`, `val` and `test`.
        out_dir: where the bundle and the checkpoint of each epoch stand.
        settings: the recipe; `autoencoder_settings("best")` by default.
        seed: of the weights, the order and the augmentation.
        false_alarm_rate: share of normals that the quantile threshold may flag, in (0, 1).

    Raises:
        TrainingError: if there are no normals to train or to validate on, or the net came out dead.
    """
    from pneumoscope.models.bundle import save_bundle
    from pneumoscope.models.settings import autoencoder_settings, choose_precision

    settings, out_dir = settings or autoencoder_settings("best"), Path(out_dir)
    model, curve = _learn(select_normals(dataset), settings, out_dir / "checkpoint.npz", seed)
    anomaly = measure_anomaly(
        PaperAutoencoder(model),
        dataset,
        curve,
        parameters=model.count_params(),
        redraw=partial(reconstruct_images, model),
        false_alarm_rate=false_alarm_rate,
        seed=seed,
    )
    facts = describe_training(anomaly, dataset, settings, precision=choose_precision(), seed=seed)
    return save_bundle(model, out_dir, facts), anomaly


@dataclass(frozen=True)
class PaperAutoencoder:
    """The report's autoencoder as a detector.

    Attributes:
        net: as `pneumoscope.models.paper.build_autoencoder` builds it, trained.
    """

    net: "keras.Model"

    @property
    def num_bytes(self) -> int:
        """Size of the weights in 32-bit floats."""
        return 4 * self.net.count_params()

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that it takes."""
        return int(self.net.input_shape[1])

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, the mean squared error of each image."""
        return reconstruction_errors(self.net, images)

    def localize(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, the squared error of each pixel."""
        return np.square(reconstruct_images(self.net, images) - images.astype(np.float32) / 255)


def fit_autoencoder(normals: Normals, *, out_dir: Path, settings: TrainingSettings, seed: int = 0) -> PaperAutoencoder:
    """Train the report's autoencoder as a detector.

    Args:
        normals: those of `train` are learned from.
        out_dir: where the checkpoint stands.
        settings: the recipe.
        seed: of the weights, the order and the augmentation.

    Raises:
        TrainingError: if the net came out dead.
    """
    return PaperAutoencoder(_learn(normals, settings, out_dir / "autoencoder.npz", seed)[0])


def reconstruct_images(model: "keras.Model", images: np.ndarray) -> np.ndarray:
    """Return what the autoencoder makes of images.

    Args:
        model: the autoencoder.
        images: `(n, H, W)` uint8.

    Returns:
        `(n, H, W)` float32 in [0, 1], the mean of the three channels.
    """
    return model.predict(_to_color(images), batch_size=32, verbose=0).mean(axis=-1).astype(np.float32)


def reconstruction_errors(model: "keras.Model", images: np.ndarray) -> np.ndarray:
    """Return `(n,)` float32, the mean squared error of each image against its reconstruction, gray levels in [0, 1]."""
    errors = [
        np.square(reconstruct_images(model, part) - part.astype(np.float32) / 255).mean(axis=(1, 2))
        for part in np.array_split(images, -(-len(images) // 256))
    ]
    return np.concatenate(errors).astype(np.float32)


def check_alive(reconstructions: np.ndarray) -> None:
    """Make sure that an autoencoder draws something, and not the same for all.

    Args:
        reconstructions: `(n, H, W)` float32 in [0, 1] of different images.

    Raises:
        TrainingError: if they are of one gray level within or all alike among themselves.
    """
    within = float(np.std(reconstructions, axis=(1, 2)).mean())
    among = float(np.std(reconstructions, axis=0).mean()) if len(reconstructions) > 1 else within
    if within < DEAD_SPREAD or among < DEAD_SPREAD / 4:
        raise TrainingError(
            f"the autoencoder is dead: its drawings have a mean gray level of {reconstructions.mean():.3f}, spread by "
            f"{within:.4f} within an image and {among:.4f} among images; expected {DEAD_SPREAD} and {DEAD_SPREAD / 4}. "
            "Train it with another seed or for more epochs."
        )


def _learn(
    normals: Normals, settings: TrainingSettings, checkpoint_path: Path, seed: int
) -> "tuple[keras.Model, LearningCurve]":
    import keras

    from pneumoscope.models.paper import build_autoencoder
    from pneumoscope.models.settings import choose_precision
    from pneumoscope.models.training import fit_model

    keras.config.set_dtype_policy(choose_precision())
    keras.utils.set_random_seed(seed)
    model = build_autoencoder()
    curve = fit_model(
        model,
        _make_training_data(normals.train, normals.held_out, settings),
        settings,
        loss=keras.losses.MeanSquaredError(),
        checkpoint_path=checkpoint_path,
        seed=seed,
        title=f"3 autoencoder, {settings.profile}",
    )
    check_alive(reconstruct_images(model, normals.held_out.images))
    return model, curve


def _to_color(images: np.ndarray) -> np.ndarray:
    return np.repeat(images[..., None], 3, axis=-1)


def _make_training_data(train: Dataset, validation: Dataset, settings: TrainingSettings) -> "TrainingData":
    from pneumoscope.models.augmentation import augment_images
    from pneumoscope.models.training import TrainingData

    def draw_order(rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(len(train))

    def make_batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        inputs = _to_color(augment_images(train.images[indices], settings.augmentation, rng))
        return inputs, inputs.astype(np.float32) / 255

    inputs = _to_color(validation.images)
    targets = inputs.astype(np.float32) / 255
    return TrainingData(draw_order, make_batch, (inputs, targets, None), hash_table(train))
