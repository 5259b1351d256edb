"""Faithfulness of heatmaps: change of the probability when the hottest or coldest pixels are removed.

`predict` maps `(m, H, W)` uint8 images to `(m,)` floats, the probability of the explained class. `image` is `(H, W)`
uint8, `heatmap` is `(H, W)` floats.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array, diags_array, eye_array, kron
from scipy.sparse.linalg import spsolve
from scipy.stats import rankdata

Predict = Callable[[np.ndarray], np.ndarray]

ROAD_SHARES = (0.1, 0.3, 0.5)
_NOISE = 2.5  # gray levels


def measure_road(predict: Predict, image: np.ndarray, heatmap: np.ndarray, rng: np.random.Generator) -> float:
    """Return the ROAD metric: probability without the coldest pixels minus probability without the hottest.

    Y. Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods" (ROAD), ICML 2022. Removed
    pixels are replaced by the weighted mean of their neighbors plus noise, so that the mask carries no information.
    The metric is the mean over 10, 30 and 50 % of the pixels; the chance level is 0.
    """
    hottest = rankdata(-heatmap, method="ordinal").reshape(heatmap.shape) - 1  # 0 = the hottest pixel
    filled = []
    for share in ROAD_SHARES:
        count = round(share * hottest.size)
        filled += [_impute(image, hottest < count, rng), _impute(image, hottest >= hottest.size - count, rng)]
    probabilities = predict(np.stack(filled))
    return float((probabilities[1::2] - probabilities[::2]).mean())


def _impute(image: np.ndarray, missing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the image with missing pixels imputed: each is the weighted mean of its eight neighbors."""
    unknown = missing.ravel()
    weights = _weigh_neighbors(*image.shape)[unknown]
    system = diags_array(weights.sum(axis=1)) - weights[:, unknown]
    solved = spsolve(system.tocsc(), weights[:, ~unknown] @ image[~missing].astype(np.float64))
    filled = image.astype(np.float64)
    filled[missing] = solved + _NOISE * rng.standard_normal(len(solved))
    return np.rint(np.clip(filled, 0, 255)).astype(np.uint8)


@lru_cache(maxsize=1)
def _weigh_neighbors(height: int, width: int) -> csr_array:
    """Return the weight of each pixel for each, `(H * W, H * W)`: direct neighbors 1/6, diagonal ones 1/12, else 0."""
    beside = [diags_array([1.0, 1.0], offsets=[-1, 1], shape=(size, size)) for size in (height, width)]
    direct = kron(beside[0], eye_array(width)) + kron(eye_array(height), beside[1])
    return csr_array(direct / 6 + kron(*beside) / 12)
