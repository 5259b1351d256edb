"""The interface of anomaly detectors, and the images and settings that they are fitted with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import TrainingError
from pneumoscope.labels import BINARY_CLASSES

BATCH_SIZE = 64


class Detector(Protocol):
    """An anomaly detector that was fitted on normals only."""

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32 anomaly scores of `(n, H, W)` uint8 images; higher is more anomalous."""

    def anomaly_maps(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32 anomaly scores of each pixel of `(n, H, W)` uint8 images."""


@dataclass(frozen=True)
class Normals:
    """Normal images that a detector may use.

    Attributes:
        train: normals of the split `train`, to fit on.
        held_out: normals of the split `val`, to choose thresholds on.
    """

    train: Dataset
    held_out: Dataset


@dataclass(frozen=True)
class FitContext:
    """Images and settings that a detector is fitted with.

    Attributes:
        normals: the images.
        out_dir: folder of checkpoints.
        epochs: of every training; None for each detector's own number.
        weights: file of ImageNet weights (`keras.applications` MobileNet 0.75, without top); None if there is none.
        seed: of all random choices.
    """

    normals: Normals
    out_dir: Path
    epochs: int | None = None
    weights: Path | None = None
    seed: int = 0


def select_normals(dataset: Dataset) -> Normals:
    """Return the normals of `train` and `val`.

    Raises:
        TrainingError: if either split has none.
    """
    parts = [dataset.split(name) for name in ("train", "val")]
    train, held_out = (part.select(part.labels(BINARY_CLASSES) == 0) for part in parts)
    if not len(train) or not len(held_out):
        raise TrainingError(f"{len(train)} normals to train on and {len(held_out)} held out; expected some of both")
    return Normals(train, held_out)


def split_images(images: np.ndarray) -> list[np.ndarray]:
    """Return images in batches of at most `BATCH_SIZE`, so that memory stays bounded."""
    return [images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE)]
