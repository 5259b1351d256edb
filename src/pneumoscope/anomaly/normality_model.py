"""Normality model: features learned from synthetic anomalies, and a Gaussian of the normals.

An encoder is trained to classify normals and their copies with synthetic anomalies (C.-L. Li, K. Sohn, J. Yoon and
T. Pfister, "CutPaste: Self-Supervised Learning for Anomaly Detection and Localization", CVPR 2021). The anomaly score
is the Mahalanobis distance in its feature space; its class predictions are not used.

The encoder is a saved model (`pneumoscope.models.saved_model`); `gaussians.npz` in the same folder holds the Gaussians.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from pneumoscope.anomaly.detector import FitContext, Normals, select_normals
from pneumoscope.anomaly.evaluation import FALSE_POSITIVE_RATE, describe_training, evaluate_detector
from pneumoscope.anomaly.features import ENCODER_LAYERS, FeatureSource, build_source
from pneumoscope.anomaly.mahalanobis import Mahalanobis, fit_mahalanobis
from pneumoscope.classification.classifier import hash_table
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import ModelError
from pneumoscope.io.results import AnomalyResult, LearningCurve
from pneumoscope.io.write import atomic_write
from pneumoscope.models.settings import Augmentation, TrainingSettings
from pneumoscope.phantoms.lungs import find_lungs
from pneumoscope.phantoms.synthetic_anomalies import ANOMALIES, add_anomalies

if TYPE_CHECKING:
    import keras

    from pneumoscope.models.saved_model import SavedModel
    from pneumoscope.models.training import TrainingData

EPOCHS = 8
NUM_COPIES = 2  # copies of each normal with synthetic anomalies
SOURCE_NAME = "synthetic_anomalies"
GAUSSIANS_NAME = "gaussians.npz"
_POSES = Augmentation(rotation=7, zoom=0.08, shift=0.05, flip=0.5)
_EXPOSURES = Augmentation(gamma=0.3, contrast=0.2, brightness=0.08, blur=0.8, noise=0.02)
_ARRAYS = ("mean", "whitening", "patch_mean", "patch_whitening")


def normality_settings(epochs: int = EPOCHS) -> TrainingSettings:
    """Return the training settings of the encoder.

    Training is short, because longer training overfits the synthetic anomalies. The last epoch is kept, because the
    held-out normals set the threshold and must not select the epoch.
    """
    return TrainingSettings(
        configuration="normality",
        epochs=epochs,
        batch_size=16,
        learning_rate=1.5e-3,
        cosine=True,
        warmup=0.05,
        weight_decay=0.01,
        augmentation=_POSES,
    )


def train_normality_model(
    dataset: Dataset,
    out_dir: str | os.PathLike[str],
    *,
    settings: TrainingSettings | None = None,
    seed: int = 0,
    false_positive_rate: float = FALSE_POSITIVE_RATE,
) -> "tuple[SavedModel, AnomalyResult]":
    """Train the normality model on normals and evaluate it; see `evaluate_detector`.

    Args:
        dataset: with the splits `train`, `val` and `test`.
        out_dir: folder for the saved model and a checkpoint per epoch.
        settings: training settings; `normality_settings()` by default.
        seed: of initialization, batch order and synthetic anomalies.
        false_positive_rate: of the quantile threshold, in (0, 1).

    Raises:
        LabelError: if the dataset has no negative class.
        TrainingError: if train or validation has no normals.
    """
    from pneumoscope.models.saved_model import save_model

    settings, out_dir, normals = settings or normality_settings(), Path(out_dir), select_normals(dataset)
    source, curve = train_encoder(normals, out_dir=out_dir, settings=settings, seed=seed)
    model = fit_mahalanobis(source, normals.train.images, seed=seed)
    result = evaluate_detector(
        model,
        dataset,
        curve=curve,
        parameters=source.encoder.count_params(),
        false_positive_rate=false_positive_rate,
        seed=seed,
    )
    record = describe_training(result, dataset, settings, precision="float32", seed=seed)
    with atomic_write(out_dir / GAUSSIANS_NAME) as partial:
        np.savez(partial, **{name: getattr(model, name) for name in _ARRAYS})
    return save_model(source.encoder, out_dir, record), result


def train_normality_features(context: FitContext) -> FeatureSource:
    """Train the encoder of the normality model and return its patch features."""
    settings = normality_settings(context.epochs or EPOCHS)
    return train_encoder(context.normals, out_dir=context.out_dir, settings=settings, seed=context.seed)[0]


def train_encoder(
    normals: Normals, *, out_dir: Path, settings: TrainingSettings, seed: int = 0
) -> tuple[FeatureSource, LearningCurve]:
    """Train an encoder to classify normals and their copies with synthetic anomalies.

    The validation loss uses the held-out normals. An interrupted run resumes from the checkpoint in `out_dir`.

    Args:
        normals: normal radiographs.
        out_dir: folder for a checkpoint per epoch.
        settings: training settings.
        seed: of initialization, batch order and synthetic anomalies.
    """
    import keras

    from pneumoscope.models.architectures.encoder import build_encoder
    from pneumoscope.models.settings import choose_precision
    from pneumoscope.models.training import fit_model

    keras.config.set_dtype_policy(choose_precision())
    keras.utils.set_random_seed(seed)
    size = normals.train.images.shape[1]
    encoder = build_encoder(size=size)
    outputs = keras.layers.Dense(1 + len(ANOMALIES), activation="softmax", dtype="float32", name="anomaly")(
        encoder.output
    )
    curve = fit_model(
        keras.Model(encoder.input, outputs, name=SOURCE_NAME),
        _make_training_data(normals, settings, seed),
        settings,
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
        checkpoint_path=out_dir / "encoder.npz",
        seed=seed,
        title="normality model",
    )
    # Same weights in float32: distances depend on small differences.
    keras.config.set_dtype_policy("float32")
    exact = build_encoder(size=size)
    exact.set_weights(encoder.get_weights())
    return build_source(SOURCE_NAME, exact, ENCODER_LAYERS), curve


def load_normality_model(encoder: "keras.Model", bundle_dir: str | os.PathLike[str]) -> Mahalanobis:
    """Load the normality model: `encoder` with the Gaussians in `bundle_dir`.

    Raises:
        ModelError: if the Gaussians are missing or damaged.
    """
    path = Path(bundle_dir) / GAUSSIANS_NAME
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in _ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ModelError(f"{path} cannot be read ({error}); expected the Gaussians of a study. Train again.") from None
    return Mahalanobis(build_source(SOURCE_NAME, encoder, ENCODER_LAYERS), **arrays)


def _make_training_data(normals: Normals, settings: TrainingSettings, seed: int) -> "TrainingData":
    from pneumoscope.models.augmentation import augment_images
    from pneumoscope.models.training import TrainingData

    train = normals.train.images

    def make_batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return add_copies(augment_images(train[indices], settings.augmentation, rng), rng)

    def add_copies(images: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        lungs = find_lungs(images)
        copies, kinds = zip(*(add_anomalies(images, lungs, rng) for _ in range(NUM_COPIES)), strict=True)
        inputs = augment_images(np.concatenate([images, *copies]), _EXPOSURES, rng)
        classes = np.concatenate([np.zeros(len(images), int), *(1 + kind for kind in kinds)])
        return inputs[..., None], np.eye(1 + len(ANOMALIES), dtype=np.float32)[classes]

    validation = (*add_copies(normals.held_out.images, np.random.default_rng(seed)), None)
    return TrainingData(lambda rng: rng.permutation(len(train)), make_batch, validation, hash_table(normals.train))
