"""Faithfulness of heatmaps: change of the probability when the hottest or coldest pixels are removed.

`predict` maps `(m, H, W)` uint8 images to `(m,)` floats, the probability of the explained class. `image` is `(H, W)`
uint8, `heatmap` is `(H, W)` floats.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.linalg import spsolve

Predict = Callable[[np.ndarray], np.ndarray]

ROAD_SHARES = (0.1, 0.3, 0.5)
_NOISE = 2.5  # gray levels
# Neighbors of a pixel as (down, right, weight): direct neighbors have twice the weight of diagonal ones.
_AROUND = [(0, 1, 1 / 6), (1, 0, 1 / 6), (0, -1, 1 / 6), (-1, 0, 1 / 6)] + [
    (down, right, 1 / 12) for down in (-1, 1) for right in (-1, 1)
]


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


def _rank(heatmap: np.ndarray) -> np.ndarray:
    """Return `(H, W)` int, the rank of each pixel, 0 for the hottest."""
    ranks = np.empty(heatmap.size, np.int64)
    ranks[np.argsort(-heatmap.ravel(), kind="stable")] = np.arange(heatmap.size)
    return ranks.reshape(heatmap.shape)
