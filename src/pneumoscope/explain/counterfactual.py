"""Counterfactual examples: nearest training images of the other class, and brightness differences in the lungs."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from pneumoscope.data.dataset import Dataset
from pneumoscope.io.results import require
from pneumoscope.labels import BINARY_CLASSES
from pneumoscope.neighbors.knn import find_similar
from pneumoscope.phantoms.lungs import find_lungs

REGIONS = ("right upper", "right lower", "left upper", "left lower")
_SOFT_SHARE = 0.03


@dataclass(frozen=True)
class Counterfactual:
    """Nearest training images of the other class, and the difference of an image to them.

    Attributes:
        rows: `(k,)` int, nearest images of the other class, indices into the dataset.
        distances: `(k,)` float32, embedding distances.
        brightness: mean brightness of the image minus that of the neighbors by lung quarter (patient's side), in units
            of the standard deviation of an image; positive if the image is brighter.
        difference: `(H, W)` float32, smoothed brightness difference at each pixel, in the same unit.
    """

    rows: np.ndarray
    distances: np.ndarray
    brightness: dict[str, float]
    difference: np.ndarray

    def __post_init__(self) -> None:
        require(
            self.rows.shape == self.distances.shape,
            f"distances are {self.distances.shape}, expected {self.rows.shape}: one per row",
        )
        require(set(self.brightness) == set(REGIONS), f"brightness has keys {set(self.brightness)}, expected {REGIONS}")


def contrast_with_other_class(
    image: np.ndarray,
    embedding: np.ndarray,
    *,
    label: int,
    embeddings: np.ndarray,
    dataset: Dataset,
    patient: str | None = None,
) -> Counterfactual:
    """Return the nearest training images of the other class, and the difference of the image to their mean.

    Images are standardized and compared pixel by pixel without registration. Only large-scale differences are
    meaningful.

    Args:
        image: `(H, W)` uint8.
        embedding: `(d,)` floats, embedding of the image.
        label: predicted or true class of the image, 0 = normal, 1 = pneumonia.
        embeddings: `(n, d)` floats, embeddings of the dataset.
        dataset: reference images.
        patient: patient of the image; its images are excluded. None if unknown.

    Raises:
        ValueError: if there is no training image of the other class.
    """
    others = np.flatnonzero((dataset.labels(BINARY_CLASSES) == 1 - label) & (dataset.table["split"] == "train"))
    if not len(others):
        raise ValueError(f"the dataset has 0 training images of class {BINARY_CLASSES[1 - label]}, expected 1 or more")
    nearest, distances = find_similar(embedding, embeddings[others], dataset.select(others), patient=patient)
    rows = others[nearest]
    lungs = find_lungs(image[None])[0]
    standardized = _standardize(np.concatenate([image[None], dataset.images[rows]]))
    sides = (0, *(_SOFT_SHARE * side for side in image.shape))
    smoothed = gaussian_filter(standardized, sides, mode="nearest")
    difference = smoothed[0] - smoothed[1:].mean(axis=0)
    return Counterfactual(rows, np.asarray(distances, np.float32), _average_quarters(difference, lungs), difference)


def _standardize(images: np.ndarray) -> np.ndarray:
    values = images.astype(np.float32)
    spread = values.std(axis=(1, 2), keepdims=True)
    return np.asarray((values - values.mean(axis=(1, 2), keepdims=True)) / np.where(spread > 0, spread, 1))


def _average_quarters(difference: np.ndarray, lungs: np.ndarray) -> dict[str, float]:
    """Return the mean of each lung quarter, NaN if empty. The left side of the image is the patient's right side."""
    rows, columns = np.nonzero(lungs)
    if not len(rows):
        return dict.fromkeys(REGIONS, float("nan"))
    upper, right = rows < np.median(rows), columns < (columns.min() + columns.max()) / 2
    values = difference[rows, columns]
    quarters = zip(REGIONS, (right & upper, right & ~upper, ~right & upper, ~right & ~upper), strict=True)
    return {name: float(values[part].mean()) if part.any() else float("nan") for name, part in quarters}
