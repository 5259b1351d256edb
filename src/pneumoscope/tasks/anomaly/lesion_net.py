"""A net that tells normals from their own spoiled copies, and where they are spoiled.

After V. Zavrtanik, M. Kristan and D. Skočaj, "DRAEM: A Discriminatively Trained Reconstruction Embedding for Surface
Anomaly Detection", ICCV 2021, without its redrawing half, and with opacities in place of textures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.models.settings import Augmentation
from pneumoscope.radiographs.lungs import find_lungs
from pneumoscope.tasks.anomaly.detector import enlarge_maps
from pneumoscope.tasks.anomaly.learning import (
    EXPOSURES,
    normals_settings,
    prepare_nets,
    train_on_normals,
)
from pneumoscope.tasks.anomaly.evaluation import Normals
from pneumoscope.tasks.anomaly.synthetic_anomalies import SpoilSettings, spoil_images

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class LesionNetSettings:
    """How the net is built and trained.

    Attributes:
        epochs: passes over the normals; each is seen beside a spoiled copy.
        batch_size: normals a step; twice as many images.
        learning_rate: peak.
        stem, stages: see `pneumoscope.models.flagship.stack_stages`.
        dropout: rate before the answer.
        map_weight: of the loss of the map beside that of the answer.
        spoiling: what is drawn.
        exposures: random changes of normals and spoiled copies alike, after drawing, so that no trace of the pen
            tells them apart.
    """

    epochs: int = 12
    batch_size: int = 16
    learning_rate: float = 1e-3
    stem: tuple[int, int] = (16, 32)
    stages: Sequence[tuple[int, int, int]] = ((32, 2, 1), (64, 2, 2), (128, 2, 2))
    dropout: float = 0.2
    map_weight: float = 1.0
    spoiling: SpoilSettings = field(default_factory=SpoilSettings)
    exposures: Augmentation = EXPOSURES


@dataclass(frozen=True)
class LesionNet:
    """A trained net.

    Attributes:
        net: `(n, H, W, 1)` gray levels to `answer` `(n, 1)`, a log odds, and `map` `(n, h, w, 1)` in [0, 1].
    """

    net: "keras.Model"

    @property
    def num_bytes(self) -> int:
        """Size of the weights in 32-bit floats."""
        return 4 * self.net.count_params()

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, the log odds of being spoiled, a mean of the image's and its mirror image's."""
        views = [self.net.predict(view[..., None], batch_size=64, verbose=0) for view in (images, images[..., ::-1])]
        return np.mean([view["answer"][:, 0] for view in views], axis=0).astype(np.float32)

    def localize(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32 in [0, 1], the probability of each pixel to be spoiled."""
        maps = self.net.predict(images[..., None], batch_size=64, verbose=0)["map"][..., 0]
        return enlarge_maps(maps, images.shape[1])


def fit_lesion_net(
    normals: Normals, *, out_dir: Path, settings: LesionNetSettings | None = None, seed: int = 0
) -> LesionNet:
    """Train the net on normals and their spoiled copies.

    Args:
        normals: those of `train` are learned from.
        out_dir: where the checkpoint stands.
        settings: `LesionNetSettings()` by default.
        seed: of weights, order and drawings.

    Raises:
        TrainingError: see `train_on_normals`.
    """
    from pneumoscope.models.augmentation import augment_images

    settings = settings or LesionNetSettings()
    prepare_nets(seed)
    size = normals.train.images.shape[1]
    net = build_lesion_net(size, stem=settings.stem, stages=settings.stages, dropout=settings.dropout)
    cells = net.output["map"].shape[1]

    def make_batch(images: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        copies = spoil_images(images, find_lungs(images), settings.spoiling, rng)
        inputs = augment_images(np.concatenate([images, copies.images]), settings.exposures, rng)
        shares = _reduce_masks(np.concatenate([np.zeros_like(copies.masks), copies.masks]), cells)
        answers = np.repeat([0, 1], len(images)).astype(np.float32)[:, None]
        return inputs[..., None], {"answer": answers, "map": shares[..., None]}

    train_on_normals(
        net,
        normals,
        normals_settings(settings.epochs, learning_rate=settings.learning_rate, batch_size=settings.batch_size),
        make_batch=make_batch,
        loss=_build_losses(settings.map_weight),
        checkpoint_path=out_dir / "lesion_net.npz",
        seed=seed,
    )
    return LesionNet(net)


def build_lesion_net(
    size: int, *, stem: tuple[int, int], stages: Sequence[tuple[int, int, int]], dropout: float
) -> "keras.Model":
    """Return an encoder of residual stages with a decoder to the cells of the first stage.

    Input `(n, size, size, 1)` in [0, 255]; outputs by name, float32: `answer` `(n, 1)`, a log odds, and `map`
    `(n, size / 4, size / 4, 1)` in [0, 1].
    """
    import keras
    from keras import layers

    from pneumoscope.models.encoder import standardize_images
    from pneumoscope.models.flagship import stack_stages

    inputs = keras.Input((size, size, 1), name="image")
    deepest = stack_stages(standardize_images(inputs), stem, stages)
    trunk = keras.Model(inputs, deepest)
    features = deepest
    for stage, (filters, blocks, _) in reversed(list(enumerate(stages[:-1], start=1))):
        features = layers.UpSampling2D(interpolation="bilinear", name=f"up_{stage}")(features)
        across = trunk.get_layer(f"stage_{stage}_{blocks}").output
        features = layers.Concatenate(name=f"join_{stage}")([features, across])
        features = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"decode_{stage}")(features)
        features = layers.BatchNormalization(momentum=0.9, name=f"decode_{stage}_normalization")(features)
        features = layers.ReLU(name=f"decode_{stage}_relu")(features)
    found = layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="map")(features)
    # The widest and the strongest of what was found speak for the answer, beside what the trunk saw.
    seen = [
        layers.GlobalAveragePooling2D(dtype="float32", name="embedding")(deepest),
        layers.GlobalMaxPooling2D(dtype="float32", name="strongest")(found),
        layers.GlobalAveragePooling2D(dtype="float32", name="widest")(found),
    ]
    joined = layers.Dropout(dropout, name="dropout")(layers.Concatenate(dtype="float32", name="evidence")(seen))
    answer = layers.Dense(1, dtype="float32", name="answer")(joined)
    return keras.Model(inputs, {"answer": answer, "map": found}, name="lesion_net")


def _build_losses(map_weight: float) -> "dict[str, keras.losses.Loss]":
    import keras
    from keras import ops

    class OverlapLoss(keras.losses.Loss):
        """Cross-entropy of the cells, and one minus the soft Dice coefficient of each map."""

        def call(self, y_true: "keras.KerasTensor", y_pred: "keras.KerasTensor") -> "keras.KerasTensor":
            entropy = ops.mean(keras.losses.binary_crossentropy(y_true, y_pred), axis=(1, 2))
            both, either = (ops.sum(cells, axis=(1, 2, 3)) for cells in (y_true * y_pred, y_true + y_pred))
            return map_weight * (entropy + 1 - (2 * both + 1) / (either + 1))

    return {"answer": keras.losses.BinaryCrossentropy(from_logits=True), "map": OverlapLoss()}


def _reduce_masks(masks: np.ndarray, cells: int) -> np.ndarray:
    """Return `(n, cells, cells)` float32, the share of each cell that a mask covers."""
    n, size = masks.shape[:2]
    return masks.reshape(n, cells, size // cells, cells, size // cells).mean(axis=(2, 4), dtype=np.float32)
