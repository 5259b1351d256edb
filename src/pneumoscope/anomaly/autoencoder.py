"""Autoencoder of the reference study; the anomaly score is the reconstruction error."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.anomaly.detector import FitContext, Normals, select_normals
from pneumoscope.anomaly.evaluation import FALSE_POSITIVE_RATE, describe_training, evaluate_detector
from pneumoscope.classification.classifier import hash_table
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import TrainingError
from pneumoscope.io.results import AnomalyResult, LearningCurve
from pneumoscope.models.settings import TrainingSettings

if TYPE_CHECKING:
    import keras

    from pneumoscope.models.saved_model import SavedModel
    from pneumoscope.models.training import TrainingData

MIN_SPREAD = 0.02


def train_anomaly(
    dataset: Dataset,
    out_dir: str | os.PathLike[str],
    *,
    settings: TrainingSettings | None = None,
    seed: int = 0,
    false_positive_rate: float = FALSE_POSITIVE_RATE,
) -> "tuple[SavedModel, AnomalyResult]":
    """Train the reference autoencoder on normals and evaluate it; see `evaluate_detector`.

    Args:
        dataset: with the splits `train`, `val` and `test`.
        out_dir: folder for the saved model and a checkpoint per epoch.
        settings: training settings; `autoencoder_settings("improved")` by default.
        seed: of initialization, batch order and augmentation.
        false_positive_rate: of the quantile threshold, in (0, 1).

    Raises:
        LabelError: if the dataset has no negative class.
        TrainingError: if train or validation has no normals, or the reconstructions are constant.
    """
    from pneumoscope.models.saved_model import save_model
    from pneumoscope.models.settings import autoencoder_settings, choose_precision

    settings, out_dir = settings or autoencoder_settings("improved"), Path(out_dir)
    detector, curve = _train(select_normals(dataset), settings, out_dir / "checkpoint.npz", seed)
    result = evaluate_detector(
        detector,
        dataset,
        curve=curve,
        parameters=detector.model.count_params(),
        reconstruct=detector.reconstruct,
        false_positive_rate=false_positive_rate,
        seed=seed,
    )
    record = describe_training(result, dataset, settings, precision=choose_precision(), seed=seed)
    return save_model(detector.model, out_dir, record), result


@dataclass(frozen=True)
class ReferenceAutoencoder:
    """Anomaly detector by the reconstruction error of the reference autoencoder.

    Attributes:
        model: trained model from `pneumoscope.models.architectures.reference.build_autoencoder`.
    """

    model: "keras.Model"

    @property
    def image_size(self) -> int:
        """Side length of the input images in pixels."""
        return int(self.model.input_shape[1])

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """Return reconstructions of `(n, H, W)` uint8 images, `(n, H, W)` float32 in [0, 1], mean of three channels."""
        reconstructions: np.ndarray = self.model.predict(_to_color(images), batch_size=32, verbose=0)
        return np.asarray(reconstructions.mean(axis=-1), dtype=np.float32)

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, the mean squared error of each image, for gray levels in [0, 1]."""
        parts = np.array_split(images, -(-len(images) // 256))
        return np.concatenate([self.anomaly_maps(part).mean(axis=(1, 2)) for part in parts]).astype(np.float32)

    def anomaly_maps(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, the squared error of each pixel."""
        return np.asarray(np.square(self.reconstruct(images) - images.astype(np.float32) / 255))


def fit_autoencoder(context: FitContext) -> ReferenceAutoencoder:
    """Train the reference autoencoder as a detector.

    Raises:
        TrainingError: if the reconstructions are constant.
    """
    from pneumoscope.models.settings import autoencoder_settings

    settings = autoencoder_settings("reference", epochs=context.epochs)
    return _train(context.normals, settings, context.out_dir / "autoencoder.npz", context.seed)[0]


def check_reconstructions(reconstructions: np.ndarray) -> None:
    """Check that reconstructions vary within and between images.

    Args:
        reconstructions: `(n, H, W)` float32 in [0, 1].

    Raises:
        TrainingError: if the reconstructions are constant within or between images.
    """
    within = float(np.std(reconstructions, axis=(1, 2)).mean())
    among = float(np.std(reconstructions, axis=0).mean()) if len(reconstructions) > 1 else within
    if within < MIN_SPREAD or among < MIN_SPREAD / 4:
        raise TrainingError(
            f"the autoencoder collapsed: the mean of its reconstructions is {reconstructions.mean():.3f}, their "
            f"standard deviation {within:.4f} within images and {among:.4f} between images; expected {MIN_SPREAD} or "
            f"more within and {MIN_SPREAD / 4} or more between images. Train with another seed or for more epochs."
        )


def _train(
    normals: Normals, settings: TrainingSettings, checkpoint_path: Path, seed: int
) -> tuple[ReferenceAutoencoder, LearningCurve]:
    import keras

    from pneumoscope.models.architectures.reference import build_autoencoder
    from pneumoscope.models.settings import choose_precision
    from pneumoscope.models.training import fit_model

    keras.config.set_dtype_policy(choose_precision())
    keras.utils.set_random_seed(seed)
    model = build_autoencoder(size=normals.train.images.shape[1])
    curve = fit_model(
        model,
        _make_training_data(normals.train, normals.held_out, settings),
        settings,
        loss=keras.losses.MeanSquaredError(),
        checkpoint_path=checkpoint_path,
        seed=seed,
        title=f"autoencoder, {settings.configuration}",
    )
    detector = ReferenceAutoencoder(model)
    check_reconstructions(detector.reconstruct(normals.held_out.images))
    return detector, curve


def _to_color(images: np.ndarray) -> np.ndarray:
    return np.repeat(images[..., None], 3, axis=-1)


def _make_training_data(train: Dataset, validation: Dataset, settings: TrainingSettings) -> "TrainingData":
    from pneumoscope.models.augmentation import augment_images
    from pneumoscope.models.training import TrainingData

    def make_batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        inputs = _to_color(augment_images(train.images[indices], settings.augmentation, rng))
        return inputs, inputs.astype(np.float32) / 255

    inputs = _to_color(validation.images)
    targets = inputs.astype(np.float32) / 255
    return TrainingData(lambda rng: rng.permutation(len(train)), make_batch, (inputs, targets, None), hash_table(train))
