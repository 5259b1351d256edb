"""Centrality of heatmaps and pointing game, to test claims of the reference study."""

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.explain.quality import dilate_masks, hit_lesion
from pneumoscope.io.results import Estimate
from pneumoscope.metrics.intervals import estimate, estimate_mean

LUNG_CENTER = (0.47, 0.50)
LUNG_AXES = (0.36, 0.42)


def measure_centrality(heatmaps: np.ndarray) -> np.ndarray:
    """Return the concentration of each heatmap in the central lung region.

    The lung region is an ellipse around both lungs of the mean training radiograph of the Kermany data set: center at
    0.47 of the height and 0.50 of the width, semi-axes 0.36 of the height and 0.42 of the width. The central region is
    the same ellipse with half the area. Centrality is the share of the heat in the central region divided by its share
    of the pixels: 1 for a uniform map, about 2 with all heat in the center, 0 with all heat at the edge. Heat outside
    the lung region is ignored.

    Args:
        heatmaps: `(n, H, W)` floats of 0 or more.

    Returns:
        `(n,)` float64 in [0, 2]; NaN for a map without heat in the lung region.

    Example:
        >>> measure_centrality(np.ones((1, 128, 128))).round(6)
        array([1.])
    """
    down, across = (
        ((np.arange(size) + 0.5) / size - center) / axis
        for size, center, axis in zip(heatmaps.shape[1:], LUNG_CENTER, LUNG_AXES, strict=True)
    )
    radius = np.hypot(down[:, None], across)  # 0 at the lung center, 1 on the outline
    lungs, middle = radius <= 1, radius <= np.sqrt(0.5)
    heat = heatmaps[:, lungs].sum(axis=1, dtype=np.float64)
    heat_in_middle = heatmaps[:, middle].sum(axis=1, dtype=np.float64)
    share = np.divide(heat_in_middle, heat, out=np.full(len(heat), np.nan), where=heat > 0)
    return np.asarray(share * lungs.sum() / middle.sum())


def estimate_centrality(
    heatmaps: np.ndarray, labels: np.ndarray, patients: ArrayLike, *, seed: int = 0
) -> dict[str, Estimate]:
    """Return the mean centrality of normals and of other images, and the difference normals - others.

    Args:
        heatmaps: `(n, H, W)` floats of 0 or more; maps without heat in the lung region are excluded.
        labels: `(n,)` ints, 0 = normal, 1 = other, -1 = unknown.
        patients, seed: of the bootstrap, see `estimate`.

    Returns:
        `centrality_negative` and `centrality_positive` in [0, 2], `centrality_difference` in [-2, 2]; NaN if one of
        both is missing.
    """
    centrality = measure_centrality(heatmaps)
    defined = ~np.isnan(centrality)
    groups = {"negative": defined & (labels == 0), "positive": defined & (labels == 1)}

    def compute(weights: np.ndarray) -> dict[str, np.ndarray]:
        means = {f"centrality_{name}": _mean(centrality, weights, group) for name, group in groups.items()}
        return {**means, "centrality_difference": means["centrality_negative"] - means["centrality_positive"]}

    counts = {f"centrality_{name}": int(group.sum()) for name, group in groups.items()}
    counts["centrality_difference"] = sum(counts.values())
    return estimate(compute, patients, counts=counts, seed=seed)


def _mean(values: np.ndarray, weights: np.ndarray, group: np.ndarray) -> np.ndarray:
    total = weights[:, group].sum(axis=1)
    sums = weights[:, group] @ values[group]
    return np.asarray(np.divide(sums, total, out=np.full(len(total), np.nan), where=total > 0))


def estimate_peak_in_lesion(
    heatmaps: np.ndarray, masks: np.ndarray, patients: ArrayLike, *, seed: int = 0
) -> dict[str, Estimate]:
    """Return the pointing-game accuracy and its chance level; see `hit_lesion`.

    Args:
        heatmaps: `(n, H, W)` float32; an empty map is a miss.
        masks: `(n, H, W)` bool, lesion masks; images with an empty mask are excluded.
        patients, seed: of the bootstrap, see `estimate`.

    Returns:
        `peak_in_lesion`, the accuracy; `lesion_area`, the chance level. NaN if all masks are empty.
    """
    present = masks.any(axis=(1, 2))
    if not present.any():
        return dict.fromkeys(("peak_in_lesion", "lesion_area"), Estimate(np.nan, np.nan, np.nan, n=0))
    masks, patients = masks[present], np.asarray(patients)[present]
    return {
        "peak_in_lesion": estimate_mean(hit_lesion(heatmaps[present], masks), patients, seed=seed),
        "lesion_area": estimate_mean(dilate_masks(masks).mean(axis=(1, 2)), patients, seed=seed),
    }
