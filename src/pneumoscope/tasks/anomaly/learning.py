"""How the nets of this room learn from normals."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope.models.settings import Augmentation, TrainingSettings
from pneumoscope.results import LearningCurve
from pneumoscope.tasks.anomaly.evaluation import Normals
from pneumoscope.tasks.classify import hash_table

if TYPE_CHECKING:
    import keras

    from pneumoscope.models.training import Loss

POSES = Augmentation(rotation=7, zoom=0.08, shift=0.05, flip=0.5)
EXPOSURES = Augmentation(gamma=0.3, contrast=0.2, brightness=0.08, blur=0.8, noise=0.02)

MakeBatch = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, Any]]


def normals_settings(epochs: int, *, learning_rate: float = 1e-3, batch_size: int = 32) -> TrainingSettings:
    """Return the recipe that the nets of this room share but for its length and pace; the last epoch is kept.

    Held-out normals set the threshold, so that no epoch may be chosen by them.
    """
    return TrainingSettings(
        profile="normals",
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        cosine=True,
        warmup=0.05,
        weight_decay=0.01,
        augmentation=POSES,
    )


def train_on_normals(
    model: "keras.Model",
    normals: Normals,
    settings: TrainingSettings,
    *,
    make_batch: MakeBatch,
    loss: "Loss",
    checkpoint_path: Path,
    seed: int,
) -> LearningCurve:
    """Train a net in place on the normals of `train`; a run that was stopped goes on where it was.

    Args:
        model: freshly built; its name is that of the recipe.
        normals: those held out are only measured.
        settings: the recipe; its augmentation is done before `make_batch`.
        make_batch: `(images (n, H, W) uint8, rng) -> (inputs, targets)`.
        loss: of `(targets, outputs)`.
        checkpoint_path: `.npz`.
        seed: of order, augmentation and batches.

    Raises:
        TrainingError: see `pneumoscope.models.training.fit_model`.
    """
    from pneumoscope.models.augmentation import augment_images
    from pneumoscope.models.training import TrainingData, fit_model

    images = normals.train.images

    def draw_order(rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(len(images))

    def augment_batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Any]:
        return make_batch(augment_images(images[indices], settings.augmentation, rng), rng)

    validation = make_batch(normals.held_out.images, np.random.default_rng(seed))
    data = TrainingData(draw_order, augment_batch, (*validation, None), hash_table(normals.train))
    return fit_model(
        model, data, settings, loss=loss, checkpoint_path=checkpoint_path, seed=seed, title=f"3 {model.name}"
    )


def prepare_nets(seed: int, *, precision: str | None = None) -> None:
    """Set the precision that nets are built in, the fastest of this machine by default, and seed their weights."""
    import keras

    from pneumoscope.models.settings import choose_precision

    keras.config.set_dtype_policy(precision or choose_precision())
    keras.utils.set_random_seed(seed)
