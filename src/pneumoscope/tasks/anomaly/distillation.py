"""Where a student that learned from normals fails its teacher.

Source: H. Deng and X. Li, "Anomaly Detection via Reverse Distillation from One-Class Embedding", CVPR 2022. The student
is given the teacher's cells, squeezed into a narrow code, and draws them again from coarse to fine.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.progress import track
from pneumoscope.tasks.anomaly.detector import enlarge_maps, pool_largest, split_images
from pneumoscope.tasks.anomaly.features import FeatureSource
from pneumoscope.tasks.anomaly.mahalanobis import BLUR
from pneumoscope.tasks.anomaly.learning import normals_settings, train_on_normals
from pneumoscope.tasks.anomaly.evaluation import Normals

if TYPE_CHECKING:
    import keras

EPOCHS = 10
CODE = 96  # channels of the narrow code, at half the side of the coarsest layer


@dataclass(frozen=True)
class Distillation:
    """A teacher with its student.

    Attributes:
        net: `(n, H, W, 1)` gray levels in [0, 255] to `(n, h, w, layers)` float32 in [0, 2], one minus the cosine of
            teacher and student at each cell.
        top_share: share of the cells, the oddest, whose mean is the score; 0 is the oddest alone, as published.
    """

    net: "keras.Model"
    top_share: float = 0.0

    @property
    def num_bytes(self) -> int:
        """Size of both nets in 32-bit floats."""
        return 4 * self.net.count_params()

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, how much the student fails at the oddest cells."""
        parts = track(split_images(images), "Scoring by distillation")
        return np.concatenate([pool_largest(self._compare(part), self.top_share) for part in parts])

    def localize(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, how much the student fails at each pixel."""
        size = images.shape[1]
        return np.concatenate([enlarge_maps(self._compare(part), size, blur=BLUR) for part in split_images(images)])

    def _compare(self, images: np.ndarray) -> np.ndarray:
        return self.net.predict(images[..., None].astype(np.float32), batch_size=32, verbose=0).sum(axis=-1)


def fit_distillation(
    source: FeatureSource,
    normals: Normals,
    *,
    out_dir: Path,
    epochs: int = EPOCHS,
    top_share: float = 0.0,
    seed: int = 0,
) -> Distillation:
    """Train a student of a source's layers on normals.

    Args:
        source: the teacher; it stays as it is.
        normals: those of `train` are learned from.
        out_dir: where the checkpoint stands.
        epochs: passes.
        top_share: see `Distillation`.
        seed: of weights and order.

    Raises:
        TrainingError: see `train_on_normals`.
    """
    import keras

    keras.utils.set_random_seed(seed)
    net = build_student(source)
    shape = net.output_shape[1:]

    def make_batch(images: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return images[..., None].astype(np.float32), np.zeros((len(images), *shape), np.float32)

    train_on_normals(
        net,
        normals,
        normals_settings(epochs, learning_rate=2e-3, batch_size=16),
        make_batch=make_batch,
        loss=keras.losses.MeanAbsoluteError(),
        checkpoint_path=out_dir / f"distillation_{source.name}.npz",
        seed=seed,
    )
    return Distillation(net, top_share)


def build_student(source: FeatureSource) -> "keras.Model":
    """Return teacher and student as one net from images to their differences; only the student learns.

    Input `(n, H, W, 1)` in [0, 255]; output `(n, h, w, layers)`, h and w those of the finest layer.
    """
    import keras
    from keras import layers, ops

    inputs = keras.Input(source.net.input_shape[1:], name="image")
    taught = sorted(source.net(inputs), key=lambda cells: -cells.shape[1])
    coarsest = taught[-1].shape[1]
    gathered = [
        _convolve(layers.AveragePooling2D(cells.shape[1] // coarsest)(cells), CODE, f"gather_{number}", size=1)
        for number, cells in enumerate(taught, start=1)
    ]
    features = _convolve(layers.Concatenate(name="gathered")(gathered), CODE, "code", strides=2)
    maps = []
    for number, cells in reversed(list(enumerate(taught, start=1))):
        if cells.shape[1] != features.shape[1]:
            features = layers.Resizing(*cells.shape[1:3], name=f"up_{number}")(features)
        depth = min(cells.shape[-1], 192)
        features = _convolve(features, depth, f"draw_{number}")
        drawn = layers.Conv2D(cells.shape[-1], 1, dtype="float32", name=f"drawn_{number}")(features)
        unit = [ops.normalize(ops.cast(part, "float32"), axis=-1) for part in (cells, drawn)]
        difference = 1 - ops.sum(unit[0] * unit[1], axis=-1, keepdims=True)
        if cells.shape[1] != taught[0].shape[1]:
            difference = layers.Resizing(*taught[0].shape[1:3], dtype="float32", name=f"map_{number}")(difference)
        maps.append(difference)
    return keras.Model(inputs, layers.Concatenate(dtype="float32", name="maps")(maps), name="distillation")


def _convolve(
    inputs: "keras.KerasTensor", filters: int, name: str, *, size: int = 3, strides: int = 1
) -> "keras.KerasTensor":
    from keras import layers

    features = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False, name=name)(inputs)
    features = layers.BatchNormalization(momentum=0.9, name=f"{name}_normalization")(features)
    return layers.ReLU(name=f"{name}_relu")(features)
