"""Faithfulness metrics of heatmaps: change of the probability when the hottest or coldest pixels are removed.

`predict` maps `(m, H, W)` uint8 images to `(m,)` floats, the probability of the explained class. `image` is `(H, W)`
uint8, `heatmap` is `(H, W)` floats.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.linalg import spsolve

from pneumoscope.explain.gradients import blur_images

Predict = Callable[[np.ndarray], np.ndarray]

NUM_STEPS = 10
ROAD_SHARES = (0.1, 0.3, 0.5)
TILE_SIDE = 8
SUBSET_SHARES = (0.1, 0.3, 0.5)
NUM_SUBSETS = 16
_NOISE = 2.5  # gray levels
# Neighbors of a pixel as (down, right, weight): direct neighbors have twice the weight of diagonal ones.
_AROUND = [(0, 1, 1 / 6), (1, 0, 1 / 6), (0, -1, 1 / 6), (-1, 0, 1 / 6)] + [
    (down, right, 1 / 12) for down in (-1, 1) for right in (-1, 1)
]


def measure_deletion(predict: Predict, image: np.ndarray, heatmap: np.ndarray, *, insert: bool = False) -> float:
    """Return the deletion or insertion metric: the mean probability in [0, 1] over 10 steps.

    V. Petsiuk, A. Das and K. Saenko, "RISE", BMVC 2018. Deletion blurs the hottest pixels first; lower is better. With
    `insert`, insertion restores the hottest pixels of the blurred image first; higher is better.
    """
    blurred = np.rint(blur_images(image[None])[0]).astype(np.uint8)
    start, end = (blurred, image) if insert else (image, blurred)
    hottest = _rank(heatmap)
    counts = np.linspace(0, hottest.size, NUM_STEPS + 1).round()
    return float(
        np.trapezoid(predict(np.stack([np.where(hottest < count, end, start) for count in counts]))) / NUM_STEPS
    )


def measure_road(predict: Predict, image: np.ndarray, heatmap: np.ndarray, rng: np.random.Generator) -> float:
    """Return the ROAD metric: probability without the coldest pixels minus probability without the hottest.

    Y. Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods" (ROAD), ICML 2022. Removed
    pixels are replaced by the weighted mean of their neighbors plus noise, so that the mask carries no information.
    The metric is the mean over 10, 30 and 50 % of the pixels; the chance level is 0.
    """
    hottest = _rank(heatmap)
    filled = []
    for share in ROAD_SHARES:
        count = round(share * hottest.size)
        filled += [_impute(image, hottest < count, rng), _impute(image, hottest >= hottest.size - count, rng)]
    probabilities = predict(np.stack(filled))
    return float((probabilities[1::2] - probabilities[::2]).mean())


def _impute(image: np.ndarray, missing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the image with missing pixels imputed: each is the weighted mean of its eight neighbors."""
    height, width = image.shape
    numbers = np.full((height + 2, width + 2), -1)
    inner = numbers[1:-1, 1:-1]
    inner[missing] = np.arange(missing.sum())
    padded = np.pad(image.astype(np.float64), 1)
    inside = np.pad(np.ones(image.shape, bool), 1)
    rows, columns = np.nonzero(missing)
    rows, columns = rows + 1, columns + 1
    own = np.arange(len(rows))
    entries, total, right_side = [(own, own, np.zeros(len(own)))], np.zeros(len(own)), np.zeros(len(own))
    for down, right, weight in _AROUND:
        place = rows + down, columns + right
        total += weight * inside[place]
        other = numbers[place]
        also_missing = other >= 0
        entries.append((own[also_missing], other[also_missing], np.full(also_missing.sum(), -weight)))
        right_side += weight * padded[place] * (inside[place] & ~also_missing)
    entries[0] = (own, own, total)
    at, to, weights = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    solved = spsolve(coo_array((weights, (at, to)), shape=(len(own), len(own))).tocsc(), right_side)
    filled = image.astype(np.float64)
    filled[missing] = solved + _NOISE * rng.standard_normal(len(own))
    return np.rint(np.clip(filled, 0, 255)).astype(np.uint8)


def measure_sensitivity(predict: Predict, image: np.ndarray, heatmap: np.ndarray, rng: np.random.Generator) -> float:
    """Return sensitivity-n: the correlation of removed heat and drop of the log-odds over random subsets.

    M. Ancona et al., "Towards Better Understanding of Gradient-based Attribution Methods", ICLR 2018, section 4. Here a
    subset is a set of blurred tiles of 8 x 8 pixels. The metric is the mean over subsets of 10, 30 and 50 % of the
    tiles, with 16 subsets each; NaN if heat or log-odds are constant.
    """
    rows, columns = (-(-side // TILE_SIDE) for side in image.shape)
    blurred = np.rint(blur_images(image[None])[0]).astype(np.uint8)
    subsets = []
    for share in SUBSET_SHARES:
        order = rng.random((NUM_SUBSETS, rows * columns)).argsort(axis=1)
        subsets.append((order < round(share * rows * columns)).reshape(NUM_SUBSETS, rows, columns))
    tiles = np.concatenate(subsets).repeat(TILE_SIDE, axis=1).repeat(TILE_SIDE, axis=2)
    taken = tiles[:, : image.shape[0], : image.shape[1]]
    probabilities = np.clip(predict(np.where(taken, blurred, image)), 1e-6, 1 - 1e-6)
    falls, heat = np.log((1 - probabilities) / probabilities), (taken * heatmap).sum(axis=(1, 2))
    pairs = zip(np.split(falls, len(SUBSET_SHARES)), np.split(heat, len(SUBSET_SHARES)), strict=True)
    correlations = [np.corrcoef(fall, warm)[0, 1] for fall, warm in pairs if np.ptp(fall) > 0 and np.ptp(warm) > 0]
    return float(np.mean(correlations)) if correlations else float("nan")


def _rank(heatmap: np.ndarray) -> np.ndarray:
    """Return `(H, W)` int, the rank of each pixel, 0 for the hottest."""
    ranks = np.empty(heatmap.size, np.int64)
    ranks[np.argsort(-heatmap.ravel(), kind="stable")] = np.arange(heatmap.size)
    return ranks.reshape(heatmap.shape)
