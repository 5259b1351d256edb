"""What exposure, gray levels, borders and the size of the file predict without any lung.

A logistic regression on a few such features, fitted on the training images, is the baseline: whatever it reaches, a
classifier can learn in place of the disease.
"""

import numpy as np
import pandas as pd
from PIL import Image

from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import CollectionError
from pneumoscope.labels import BINARY_CLASSES, THREE_CLASSES
from pneumoscope.metrics.operating_points import choose_operating_points

BORDER_SHARE = 0.1
NUM_BINS = 32

_CELLS = 32
_BORDER_CELLS = round(BORDER_SHARE * _CELLS)
_STRENGTH = 0.1  # inverse of the penalty, on features of unit spread: neighbors on the border are nearly equal


def describe_pixels(dataset: Dataset) -> dict[str, np.ndarray]:
    """Return features that show no lung, by name.

    Each is `(n, features)` float64: `exposure`, mean gray level; `histogram`, shares of pixels in 32 bins of gray;
    `borders`, the outer tenth of 32 x 32 boxes; and, where all files exist and differ in size, `file_size`, the
    logarithms of width, height and aspect.
    """
    images = dataset.images
    # One image at a time: whole numbers of all pixels at once would take gigabytes.
    counts = np.stack([np.bincount(image.ravel() // (256 // NUM_BINS), minlength=NUM_BINS) for image in images])
    inside = np.zeros((_CELLS, _CELLS), bool)
    inside[_BORDER_CELLS:-_BORDER_CELLS, _BORDER_CELLS:-_BORDER_CELLS] = True
    features = {
        "exposure": images.mean(axis=(1, 2), dtype=np.float64)[:, None],
        "histogram": counts / images[0].size,
        "borders": shrink_images(images, _CELLS)[:, ~inside].astype(np.float64),
    }
    sizes = _read_sizes(dataset.table)
    if sizes is not None and (sizes != sizes[0]).any():
        width, height = np.log(sizes).T
        features["file_size"] = np.stack([width, height, width - height], axis=1)
    return features


def shrink_images(images: np.ndarray, side: int) -> np.ndarray:
    """Return `(n, side, side)` uint8, the means of boxes of `(n, H, W)` uint8."""
    shrunk = [Image.fromarray(image).resize((side, side), Image.Resampling.BOX) for image in images]
    return np.stack([np.asarray(image) for image in shrunk])


def fit_pixel_baseline(features: np.ndarray, dataset: Dataset, *, split: str) -> tuple[np.ndarray, float]:
    """Fit a logistic regression on the training images and return its probabilities for another split.

    Classes weigh alike in the fit. The threshold on the probability of pneumonia is the best balanced one on the
    training images themselves, where so few features hardly overfit.

    Args:
        features: `(n, features)` floats, one row for each image of `dataset`.
        dataset: split into `train` and others.
        split: of the images to predict.

    Returns:
        `(m, classes)` float64 probabilities, normal first and of all three classes where every training image has
        its subtype; and the threshold.

    Raises:
        CollectionError: if the training images are of one class only.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    train = dataset.rows("train")
    labels = dataset.labels(THREE_CLASSES)[train]
    if (labels < 0).any():
        labels = dataset.labels(BINARY_CLASSES)[train]
    if not (labels > 0).any() or not (labels == 0).any():
        raise CollectionError("the training images are all of one class; expected normals and pneumonias to fit on")
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=2000))
    # On matrices as small as these, threads only wait for one another.
    with threadpool_limits(1):
        fitted.fit(features[train], labels)
    thresholds = choose_operating_points((labels > 0).astype(int), 1 - fitted.predict_proba(features[train])[:, 0])
    return fitted.predict_proba(features[dataset.rows(split)]), thresholds["balanced"]


def _read_sizes(table: pd.DataFrame) -> np.ndarray | None:
    """Return `(n, 2)` float64, width and height of each file, or None where not all exist."""
    sizes = []
    for path in table.get("path", [""]):
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
        except OSError:
            return None
    return np.array(sizes, dtype=np.float64)
