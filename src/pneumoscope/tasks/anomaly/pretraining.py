"""A net that learned from normals alone, without any label: what stays of a film when it is changed at random.

Source: A. Bardes, J. Ponce and Y. LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised
Learning", ICLR 2022.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.models.settings import Augmentation
from pneumoscope.tasks.anomaly.features import ENCODER_LAYERS, FeatureSource, build_source
from pneumoscope.tasks.anomaly.learning import normals_settings, prepare_nets, train_on_normals
from pneumoscope.tasks.anomaly.evaluation import Normals

if TYPE_CHECKING:
    import keras

EPOCHS = 20
VIEWS = Augmentation(
    rotation=10,
    zoom=0.2,
    aspect=0.08,
    shift=0.1,
    gamma=0.4,
    contrast=0.3,
    brightness=0.1,
    blur=1.0,
    noise=0.03,
    erase=0.3,
)
# Weights of invariance, variance and covariance, as published.
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0


def pretrain_source(
    normals: Normals,
    *,
    out_dir: Path,
    epochs: int = EPOCHS,
    seed: int = 0,
) -> FeatureSource:
    """Train an encoder on pairs of changed copies of normals, and return it as a source of patches.

    Args:
        normals: those of `train` are learned from.
        out_dir: where the checkpoint stands.
        epochs: passes.
        seed: of weights, order and changes.

    Raises:
        TrainingError: see `train_on_normals`.
    """
    import keras

    from pneumoscope.models.augmentation import augment_images
    from pneumoscope.models.encoder import build_encoder

    prepare_nets(seed)
    encoder = build_encoder(size=normals.train.images.shape[1])
    pair = _build_pair(encoder)
    dimension = pair.output_shape[-1]

    def make_batch(images: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        views = np.stack([augment_images(images, VIEWS, rng) for _ in range(2)], axis=-1)
        return views, np.zeros((len(images), 2, dimension), np.float32)

    train_on_normals(
        pair,
        normals,
        normals_settings(epochs, learning_rate=2e-3, batch_size=64),
        make_batch=make_batch,
        loss=build_vicreg_loss(),
        checkpoint_path=out_dir / "pretraining.npz",
        seed=seed,
    )
    # The same weights in 32 bits: distances are told from small differences.
    keras.config.set_dtype_policy("float32")
    exact = build_encoder(size=normals.train.images.shape[1])
    exact.set_weights(encoder.get_weights())
    return build_source("self_supervised", exact, ENCODER_LAYERS)


def build_vicreg_loss() -> "keras.losses.Loss":
    """Return the loss of `(n, 2, d)` embeddings of two views; targets are not looked at."""
    import keras
    from keras import ops

    def spread(view: "keras.KerasTensor") -> "keras.KerasTensor":
        centered = view - ops.mean(view, axis=0, keepdims=True)
        count = ops.cast(ops.maximum(ops.shape(view)[0] - 1, 1), "float32")
        covariance = ops.matmul(ops.transpose(centered), centered) / count
        variances = ops.diagonal(covariance)
        narrow = ops.mean(ops.relu(1 - ops.sqrt(variances + 1e-4)))
        shared = (ops.sum(ops.square(covariance)) - ops.sum(ops.square(variances))) / view.shape[-1]
        return VARIANCE * narrow + COVARIANCE * shared

    class VicregLoss(keras.losses.Loss):
        """Views of one film are alike, films differ, and channels tell different things."""

        def call(self, y_true: "keras.KerasTensor", y_pred: "keras.KerasTensor") -> "keras.KerasTensor":
            first, second = y_pred[:, 0], y_pred[:, 1]
            alike = INVARIANCE * ops.mean(ops.square(first - second), axis=-1)
            return alike + spread(first) + spread(second)

    return VicregLoss()


def _build_pair(encoder: "keras.Model") -> "keras.Model":
    """Return the encoder with its expander on two views, `(n, size, size, 2)` to `(n, 2, d)`."""
    import keras
    from keras import layers

    size, width = encoder.input_shape[1], 2 * encoder.output_shape[-1]
    views = keras.Input((size, size, 2), name="views")
    embedding = keras.Input(encoder.output_shape[1:], name="embedding")
    features = layers.Dense(width, use_bias=False, name="expand_1")(embedding)
    features = layers.BatchNormalization(momentum=0.9, name="expand_1_normalization")(features)
    features = layers.ReLU(name="expand_1_relu")(features)
    expander = keras.Model(embedding, layers.Dense(width, dtype="float32", name="expand_2")(features), name="expander")
    told = [expander(encoder(views[..., number : number + 1])) for number in (0, 1)]
    return keras.Model(views, keras.ops.stack(told, axis=1), name="pretraining")
