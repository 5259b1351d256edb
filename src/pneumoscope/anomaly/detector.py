"""Interface of anomaly detectors, and the context to fit them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.examples import label_positive
from pneumoscope.errors import TrainingError


class Detector(Protocol):
    """Anomaly detector, fitted on normals only."""

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32 anomaly scores of `(n, H, W)` uint8 images; higher scores are more anomalous."""

    def anomaly_maps(self, images: np.ndarray) -> np.ndarray:
        """Return anomaly maps of `(n, H, W)` uint8 images, `(n, H, W)` float32."""


@dataclass(frozen=True)
class Normals:
    """Normal radiographs for fitting and thresholds.

    Attributes:
        train: normals of the split `train`, for fitting.
        held_out: normals of the split `val`, for thresholds.
    """

    train: Dataset
    held_out: Dataset


@dataclass(frozen=True)
class FitContext:
    """Images and settings to fit a detector.

    Attributes:
        normals: normal radiographs.
        out_dir: folder for checkpoints.
        epochs: number of epochs; None for the default of each detector.
        seed: random seed.
    """

    normals: Normals
    out_dir: Path
    epochs: int | None = None
    seed: int = 0


def select_normals(dataset: Dataset) -> Normals:
    """Return the normals of `train` and `val`: images of the negative class, or without any finding if multi-label.

    Raises:
        LabelError: if the dataset has no negative class.
        TrainingError: if either split has no normals.
    """
    if not dataset.label_set.multi_label:
        dataset.label_set.binary()  # an error without a negative class
    parts = [dataset.split(name) for name in ("train", "val")]
    train, held_out = (part.select(label_positive(part) == 0) for part in parts)
    if not len(train) or not len(held_out):
        raise TrainingError(f"train has {len(train)} normals, val {len(held_out)}; expected one or more in both")
    return Normals(train, held_out)
