"""Fit the out-of-distribution (OOD) detector of a reader to training images."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from pneumoscope.data.dataset import Dataset
from pneumoscope.inference.cards import MODEL_NAME, OOD_DETECTOR_NAME
from pneumoscope.inference.model_set import Graph, as_input, find_ood_source
from pneumoscope.inference.ood import CHECKS, ORIENTATIONS, OODDetector, pool_features
from pneumoscope.phantoms.phantom import draw_phantoms, shows_phantoms

MIN_TRAINING = 48
MAX_FITTED = 2000  # images of a split
MAX_VARIED = 1000
MAX_PER_ORIENTATION = 500
NUM_PHANTOMS = 40  # of each of `PHANTOM_SCALES`
PHANTOM_SCALES = (1, 2, 3)  # sizes to draw phantoms at, in sizes of the images
MAX_WHITENED = 192  # dimensions of the Mahalanobis distance
SHRINKAGE = 0.1  # of the covariance toward its mean variance
RIDGE = 10.0  # penalty of the orientations, times the number of features
# A check is typical up to this quantile over the validation images.
SPREAD_QUANTILE = 0.995
# Lower bounds of the spread, in the unit of the check: on training images these shares may all be 0.
LEAST_SPREADS = {"black": 0.15, "white": 0.1, "jumps": 0.01, "bars": 0.1}
# Thresholds in units of the score that 1 % of the validation images exceed. Images of other scanners need a margin.
SCORE_QUANTILE, FLAGGED_FROM, REJECTED_FROM = 0.99, 1.25, 2.0

Extract = Callable[[np.ndarray], np.ndarray]


def export_ood_detector(folder: Path, data: Dataset) -> dict[str, str]:
    """Write the OOD detector of a reader; return why it was left out, if it was.

    Args:
        folder: `references` of an export; `classifier` and, if there is one, `anomaly` are beside it.
        data: images of the size of the models, with splits.
    """
    rng = np.random.default_rng(0)
    train, val = (np.sort(rng.permutation(data.rows(name))[:MAX_FITTED]) for name in ("train", "val"))
    if len(train) < MIN_TRAINING or not len(val):
        counts = f"{len(train)} training and {len(val)} validation images"
        return {"ood_detector": f"{counts}; it needs {MIN_TRAINING} and 1"}
    classifier, anomaly = (folder.parent / part / MODEL_NAME for part in ("classifier", "anomaly"))
    graph, output = find_ood_source(Graph(classifier), Graph(anomaly) if anomaly.exists() else None)
    detector = fit_ood_detector(
        data.images[train],
        data.images[val],
        lambda images: graph.run(as_input(images), [output])[0],
        detect_phantoms=not shows_phantoms(data),
    )
    np.savez_compressed(folder / OOD_DETECTOR_NAME, **detector.to_arrays())
    return {}


def fit_ood_detector(
    train_images: np.ndarray,
    validation_images: np.ndarray,
    extract: Extract,
    *,
    detect_phantoms: bool = True,
    seed: int = 0,
) -> OODDetector:
    """Fit an OOD detector to training images and choose its thresholds on validation images.

    Less than 1 % of the validation images are flagged. Of invalid inputs, only `ORIENTATIONS` take part.

    Args:
        train_images: `(n, H, W)` uint8, square; 48 images or more.
        validation_images: `(n, H, W)` uint8, of other patients; 1 image or more.
        extract: maps `(n, H, W)` uint8 images to `(n, h, w, d)` or `(n, d)` float32 features.
        detect_phantoms: whether to name synthetic phantoms. Use False where the training images are phantoms.
        seed: seed of the images that are varied or turned.

    Raises:
        ValueError: if there are too few images.
    """
    if len(train_images) < MIN_TRAINING or not len(validation_images):
        counts = f"{len(train_images)} training and {len(validation_images)} validation images"
        raise ValueError(
            f"{counts} are too few to fit an OOD detector; expected at least {MIN_TRAINING} training images and "
            "1 validation image"
        )
    rng = np.random.default_rng(seed)
    features = extract(train_images)
    distances = _fit_distance(features, train_images, extract, rng)
    orientations = _fit_orientations(features, train_images, extract, rng)
    detector = OODDetector(
        **distances,
        **orientations,
        phantom_mean=distances["mean"],
        phantom_radius=0.0,
        typical=np.zeros(len(CHECKS), np.float32),
        spread=np.ones(len(CHECKS), np.float32),
        flagged_from=np.inf,
        rejected_from=np.inf,
    )
    if detect_phantoms:
        detector = _learn_phantoms(detector, train_images.shape[1], extract)
    return _choose_thresholds(detector, validation_images, extract(validation_images))


def _fit_distance(
    features: np.ndarray, images: np.ndarray, extract: Extract, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return mean and whitening. The covariance includes the effect of usual processing of an image."""
    means = pool_features(features)
    rows = rng.permutation(len(images))[:MAX_VARIED]
    varied = pool_features(extract(np.stack([_vary(image, rng) for image in images[rows]])))
    changes = varied - means[rows]
    variances, axes = np.linalg.eigh(np.cov(means.T) + changes.T @ changes / len(changes))
    variances = (1 - SHRINKAGE) * variances + SHRINKAGE * variances.mean()
    whitening = (axes / np.sqrt(variances))[:, -MAX_WHITENED:]
    return {"mean": means.mean(axis=0), "whitening": whitening.astype(np.float32)}


def _vary(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a radiograph slightly tilted, cropped, sharpened or blurred, with noise, gamma and JPEG compression."""
    height, width = image.shape
    border = int(np.median(image[[0, -1]]))
    picture = Image.fromarray(image).rotate(rng.uniform(-6, 6), Image.Resampling.BILINEAR, fillcolor=border)
    share = rng.uniform(0.88, 1, 2) * (width, height)
    left, top = rng.uniform(0, 1, 2) * ((width, height) - share)
    box = (left, top, left + share[0], top + share[1])
    picture = picture.resize((width, height), Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(picture, dtype=np.float32)
    details = pixels - np.asarray(picture.filter(ImageFilter.GaussianBlur(1)), dtype=np.float32)
    varied = pixels + rng.uniform(-0.7, 0.8) * details + rng.normal(0, rng.uniform(0, 3), pixels.shape)
    varied = 255 * np.clip(varied / 255, 0, 1) ** np.exp(rng.uniform(-0.3, 0.3))
    stream = io.BytesIO()
    Image.fromarray(np.rint(varied).astype(np.uint8)).save(stream, "JPEG", quality=int(rng.integers(60, 96)))
    return np.asarray(Image.open(stream))


def _fit_orientations(
    features: np.ndarray, images: np.ndarray, extract: Extract, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return weights and bias of a ridge regression to upright and `ORIENTATIONS`, relative to upright."""
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    parts, labels = [features[rng.permutation(len(images))[: 2 * MAX_PER_ORIENTATION]]], []
    for change in ORIENTATIONS.values():
        rows = rng.permutation(len(images))[:MAX_PER_ORIENTATION]
        parts.append(extract(np.ascontiguousarray(change(images[rows]))))
    for number, part in enumerate(parts):
        labels += [number] * len(part)
    inputs = np.concatenate([part.reshape(len(part), -1) for part in parts])
    scaler = StandardScaler().fit(inputs)
    ridge = Ridge(RIDGE * inputs.shape[1]).fit(scaler.transform(inputs), np.eye(len(parts))[labels])
    weights = ridge.coef_.T / scaler.scale_[:, None]
    bias = ridge.intercept_ - scaler.mean_ @ weights
    weights, bias = weights[:, 1:] - weights[:, :1], bias[1:] - bias[0]
    return {"weights": weights.astype(np.float32), "bias": bias.astype(np.float32)}


def _learn_phantoms(detector: OODDetector, size: int, extract: Extract) -> OODDetector:
    drawn = [draw_phantoms(NUM_PHANTOMS, size=scale * size, seed=scale).images for scale in PHANTOM_SCALES]
    pictures = [
        Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for part in drawn for image in part
    ]
    features = extract(np.stack([np.asarray(picture) for picture in pictures]))
    mean = pool_features(features).mean(axis=0)
    return replace(detector, phantom_mean=mean, phantom_radius=float(detector.measure_distance(features, mean).max()))


def _choose_thresholds(detector: OODDetector, images: np.ndarray, features: np.ndarray) -> OODDetector:
    values = detector.measure(images, features)
    typical = np.median(values, axis=0)
    least = [LEAST_SPREADS.get(name, 1e-3) for name in CHECKS]
    spread = np.maximum(np.quantile(values, SPREAD_QUANTILE, axis=0) - typical, least)
    detector = replace(detector, typical=typical.astype(np.float32), spread=spread.astype(np.float32))
    limit = float(np.quantile(detector.score(images, features), SCORE_QUANTILE))
    return replace(detector, flagged_from=FLAGGED_FROM * limit, rejected_from=REJECTED_FROM * limit)
