"""Selection of images to evaluate explanation methods on."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.classification.classifier import predict_probabilities
from pneumoscope.data.dataset import Dataset
from pneumoscope.explain.scorer import choose_class
from pneumoscope.io.results import require
from pneumoscope.labels import BINARY_CLASSES
from pneumoscope.phantoms.opacity import paste_opacity

if TYPE_CHECKING:
    import keras

RISE_IN_PROBABILITY = 2.0


@dataclass(frozen=True)
class Cases:
    """Images with the class to explain.

    Attributes:
        images: `(n, H, W)` uint8.
        masks: `(n, H, W)` bool, lesion masks; an unknown mask is empty.
        class_indices: `(n,)` int, the class to explain.
        labels: `(n,)` int, 1 = pneumonia, 0 = normal, -1 = unknown.
        patients: `(n,)` str.
    """

    images: np.ndarray
    masks: np.ndarray
    class_indices: np.ndarray
    labels: np.ndarray
    patients: np.ndarray

    def __post_init__(self) -> None:
        require(self.masks.shape == self.images.shape, f"masks are {self.masks.shape}, expected {self.images.shape}")
        for name in ("class_indices", "labels", "patients"):
            given = getattr(self, name).shape
            require(given == (len(self),), f"{name} are {given}, expected ({len(self)},)")

    def __len__(self) -> int:
        return len(self.images)

    def select(self, rows: np.ndarray | slice) -> "Cases":
        """Return the subset given by a boolean mask, indices or a slice."""
        return Cases(**{name: values[rows] for name, values in vars(self).items()})


def choose_lesions(model: "keras.Model", dataset: Dataset, *, num_images: int, seed: int = 0) -> Cases:
    """Return images with lesion masks that the classifier detects.

    If the dataset has masks, the images are true positives of test. Otherwise they are normals of test and validation
    with synthetic opacities (`paste_opacity`) that at least double the probability of pneumonia. The class to explain
    is the most probable pneumonia class. The selection does not depend on an explanation method.

    Args:
        model: classifier with class 0 = normal.
        dataset: with the split `test`.
        num_images: maximum number of images.
        seed: of the selection and of the opacities.
    """
    labels, split = dataset.labels(BINARY_CLASSES), dataset.table["split"].to_numpy()
    order = np.random.default_rng(seed).permutation(len(dataset))
    if dataset.masks is not None:
        rows = order[(labels[order] == 1) & (split[order] == "test")]
        images, masks = dataset.images[rows], dataset.masks[rows]
        probabilities = predict_probabilities(model, images)
        detected = (choose_class(probabilities) > 0) & masks.any(axis=(1, 2))
    else:
        # Four times as many, because not all are detected.
        rows = order[(labels[order] == 0) & np.isin(split[order], ["val", "test"])][: 4 * num_images]
        images, masks = paste_opacity(dataset.images[rows], seed=seed)
        probabilities, before = predict_probabilities(model, images), predict_probabilities(model, dataset.images[rows])
        rose = 1 - probabilities[:, 0] >= RISE_IN_PROBABILITY * (1 - before[:, 0])
        detected = rose & masks.any(axis=(1, 2))
    classes = 1 + probabilities[:, 1:].argmax(axis=1)
    patients = dataset.patients[rows]
    return Cases(images, masks, classes, np.ones(len(rows), int), patients).select(
        np.flatnonzero(detected)[:num_images]
    )


def choose_test_images(model: "keras.Model", dataset: Dataset, *, num_images: int, seed: int = 0) -> Cases:
    """Return at most `num_images` test images with the predicted class, alternating normal and pneumonia.

    Args:
        model: classifier with class 0 = normal.
        dataset: with the split `test`.
        num_images: maximum number of images.
        seed: of the selection.

    Raises:
        ValueError: if there is no labeled test image.
    """
    labels, split = dataset.labels(BINARY_CLASSES), dataset.table["split"].to_numpy()
    order = np.random.default_rng(seed).permutation(len(dataset))
    order = order[(labels[order] >= 0) & (split[order] == "test")]
    if not len(order):
        raise ValueError("the dataset has 0 labeled test images, expected 1 or more to explain")
    turns = np.empty(len(order))
    for label in (0, 1):
        turns[labels[order] == label] = np.arange((labels[order] == label).sum()) + label / 2
    rows = order[np.argsort(turns, kind="stable")][:num_images]
    images = dataset.images[rows]
    masks = np.zeros(images.shape, bool) if dataset.masks is None else dataset.masks[rows]
    decided = choose_class(predict_probabilities(model, images))
    return Cases(images, masks, decided, labels[rows], dataset.patients[rows])
