"""Pixel baselines: logistic regressions on exposure, gray levels, borders and file size.

These features do not show the lungs. A classifier can reach the metrics of a baseline by shortcut learning alone.
"""

import numpy as np
import pandas as pd
from PIL import Image

from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import CollectionError
from pneumoscope.metrics.operating_points import choose_operating_points

BORDER_SHARE = 0.1
NUM_BINS = 32

_SIDE = 32
_BORDER = round(BORDER_SHARE * _SIDE)
_INVERSE_PENALTY = 0.1  # strong regularization, because neighboring border pixels are highly correlated


def describe_pixels(dataset: Dataset) -> dict[str, np.ndarray]:
    """Return features that do not show the lungs, each `(n, features)` float64.

    - `exposure`: mean gray level.
    - `histogram`: shares of pixels in 32 bins of gray levels.
    - `borders`: the outer tenth of the image, reduced to 32 x 32 pixels.
    - `file_size`: logarithms of width, height and aspect ratio; only if all files exist and their sizes differ.
    """
    images = dataset.images
    # One image at a time: `np.bincount` of all pixels would take gigabytes of memory.
    counts = np.stack([np.bincount(image.ravel() // (256 // NUM_BINS), minlength=NUM_BINS) for image in images])
    inside = np.zeros((_SIDE, _SIDE), bool)
    inside[_BORDER:-_BORDER, _BORDER:-_BORDER] = True
    features = {
        "exposure": images.mean(axis=(1, 2), dtype=np.float64)[:, None],
        "histogram": counts / images[0].size,
        "borders": shrink_images(images, _SIDE)[:, ~inside].astype(np.float64),
    }
    sizes = _read_sizes(dataset.table)
    if sizes is not None and (sizes != sizes[0]).any():
        width, height = np.log(sizes).T
        features["file_size"] = np.stack([width, height, width - height], axis=1)
    return features


def shrink_images(images: np.ndarray, side: int) -> np.ndarray:
    """Reduce `(n, H, W)` uint8 images to `(n, side, side)` uint8 by block means."""
    shrunk = [Image.fromarray(image).resize((side, side), Image.Resampling.BOX) for image in images]
    return np.stack([np.asarray(image) for image in shrunk])


def fit_pixel_baseline(features: np.ndarray, dataset: Dataset, *, split: str) -> tuple[np.ndarray, float]:
    """Fit a logistic regression with balanced class weights on the training images and predict another split.

    The threshold is the balanced operating point on the training images. With so few features, overfitting is small.

    Args:
        features: `(n, features)` floats, one row per image of `dataset`.
        dataset: a split dataset.
        split: split to predict.

    Returns:
        `(m, classes)` float64 probabilities, and the threshold on the probability of the positive class. The classes
        are those of the dataset if all training images have one, else the negative and the positive class.

    Raises:
        CollectionError: if the training images contain one class only.
        LabelError: if the dataset has no negative class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    train = dataset.rows("train")
    binary = dataset.label_set.binary()
    labels, positive = dataset.labels()[train], dataset.labels(binary)[train]
    label_set = dataset.label_set
    if set(labels.tolist()) != set(range(len(label_set.classes))):
        labels, label_set = positive, binary
    if len(set(positive.tolist())) < 2:
        raise CollectionError(f"the training images contain one class only; expected {' and '.join(binary.classes)}")
    fitted = make_pipeline(
        StandardScaler(), LogisticRegression(C=_INVERSE_PENALTY, class_weight="balanced", max_iter=2000)
    )
    # Matrices this small are faster in one thread.
    with threadpool_limits(1):
        fitted.fit(features[train], labels)
    thresholds = choose_operating_points(positive, label_set.score_positive(fitted.predict_proba(features[train])))
    return fitted.predict_proba(features[dataset.rows(split)]), thresholds["balanced"]


def _read_sizes(table: pd.DataFrame) -> np.ndarray | None:
    """Return width and height of each file, `(n, 2)` float64, or None if a file is missing."""
    sizes = []
    for path in table.get("path", [""]):
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
        except OSError:
            return None
    return np.array(sizes, dtype=np.float64)
