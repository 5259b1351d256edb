"""Localization metrics of anomaly maps: pixel AUROC and per-region overlap (PRO)."""

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import Estimate
from pneumoscope.metrics.intervals import estimate

NUM_LEVELS = 400
MAX_FALSE_POSITIVE_RATE = 0.3


def evaluate_maps(maps: np.ndarray, masks: np.ndarray, *, patients: ArrayLike, seed: int = 0) -> dict[str, Estimate]:
    """Evaluate the localization of lesions by anomaly maps.

    `pro` is the per-region overlap, averaged over pixel false positive rates from 0 to 0.3 (P. Bergmann, M. Fauser,
    D. Sattlegger and C. Steger, "Uninformed Students", CVPR 2020). Thresholds are `NUM_LEVELS` quantiles of all values.

    Args:
        maps: `(n, H, W)` floats; higher values are more anomalous.
        masks: `(n, H, W)` bool, lesion masks; a mask may be empty.
        patients: `(n,)` str, the unit of the bootstrap.
        seed: of the bootstrap.

    Returns:
        `pixel_auroc` and `pro`, both in [0, 1]; NaN if all masks are empty or all are full.

    Raises:
        ValueError: if the shapes differ or a map is not finite.

    Example:
        >>> masks = np.zeros((2, 8, 8), bool)
        >>> masks[:, 2:4, 2:4] = True
        >>> metrics = evaluate_maps(masks.astype(float), masks, patients=["a", "b"])
        >>> metrics["pixel_auroc"].value, round(metrics["pro"].value, 3)
        (1.0, 1.0)
    """
    if maps.shape != masks.shape or maps.ndim != 3 or not np.isfinite(maps).all():
        raise ValueError(f"maps are {maps.shape}, masks {masks.shape}; expected both (n, H, W) and maps finite")
    levels = _rank_levels(maps)
    healthy, lesions = (
        np.stack([np.bincount(lv[part], minlength=NUM_LEVELS) for lv, part in zip(levels, parts, strict=True)])
        for parts in (~masks, masks)
    )
    overlaps, regions = _count_regions(levels, masks)

    def compute(weights: np.ndarray) -> dict[str, np.ndarray]:
        false_positive_rates = _share_from_above(weights @ healthy)
        return {
            "pixel_auroc": _integrate(false_positive_rates, _share_from_above(weights @ lesions), 1.0),
            "pro": _integrate(false_positive_rates, _mean_overlap(weights, overlaps, regions), MAX_FALSE_POSITIVE_RATE),
        }

    counts = dict.fromkeys(("pixel_auroc", "pro"), int(masks.any(axis=(1, 2)).sum()))
    return estimate(compute, patients, counts=counts, seed=seed)


def _rank_levels(maps: np.ndarray) -> np.ndarray:
    """Quantize maps to integers in [0, `NUM_LEVELS`); high values, where PRO is measured, get finer levels."""
    shares = 1 - (1 - np.linspace(0, 1, NUM_LEVELS + 1)[1:-1]) ** 1.5
    edges = np.unique(np.quantile(maps, shares))
    return np.searchsorted(edges, maps, side="left")


def _count_regions(levels: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return per image the summed share of region pixels at each level, and the number of regions."""
    from scipy.ndimage import label

    shares = np.zeros((len(masks), NUM_LEVELS))
    regions = np.zeros(len(masks))
    for number, mask in enumerate(masks):
        labeled, count = label(mask, structure=np.ones((3, 3)))
        regions[number] = count
        for region in range(1, count + 1):
            counts = np.bincount(levels[number][labeled == region], minlength=NUM_LEVELS)
            shares[number] += counts / counts.sum()
    return shares, regions


def _mean_overlap(weights: np.ndarray, overlaps: np.ndarray, regions: np.ndarray) -> np.ndarray:
    totals = (weights @ regions)[:, None]
    summed = np.cumsum((weights @ overlaps)[:, ::-1], axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.concatenate([np.zeros_like(totals), summed], axis=1) / totals)


def _share_from_above(counts: np.ndarray) -> np.ndarray:
    """Return `(r, levels + 1)` floats in [0, 1], the share of pixels at or above each level, highest level first."""
    summed = np.cumsum(counts[:, ::-1], axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.concatenate([np.zeros((len(counts), 1)), summed], axis=1) / summed[:, -1:])


def _integrate(rates: np.ndarray, overlaps: np.ndarray, max_rate: float) -> np.ndarray:
    """Return `(r,)` floats, the mean of `overlaps` over false positive `rates` from 0 to `max_rate`."""
    areas = np.full(len(rates), np.nan)
    for row, (across, up) in enumerate(zip(rates, overlaps, strict=True)):
        if np.isfinite(across).all() and np.isfinite(up).all():
            end = np.interp(max_rate, across, up)
            inside = across < max_rate
            areas[row] = np.trapezoid(np.append(up[inside], end), np.append(across[inside], max_rate)) / max_rate
    return areas
