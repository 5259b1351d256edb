"""Metrics of heatmaps: localization, repeatability, and dependence on the trained weights."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import binary_dilation, shift
from scipy.stats import rankdata

from pneumoscope.models.linear import copy_linear

if TYPE_CHECKING:
    import keras

TOLERANCE = 4  # pixels between a peak and the lesion


def hit_lesion(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return `(n,)` float64, 1 where a map peaks within 4 pixels of the lesion's mask, else 0: the pointing game.

    J. Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016.
    """
    return hit_masks(heatmaps, widen_masks(masks))


def hit_masks(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return `(n,)` float64, 1 where the peak of the map lies in the mask, else 0; a map without heat is a miss."""
    peaks = heatmaps.reshape(len(heatmaps), -1).argmax(axis=1)
    hits = masks.reshape(len(masks), -1)[np.arange(len(masks)), peaks] & heatmaps.any(axis=(1, 2))
    return np.asarray(hits, dtype=np.float64)


def widen_masks(masks: np.ndarray) -> np.ndarray:
    """Return masks widened by 4 pixels; their share of the image is the chance of a random peak."""
    return np.stack([binary_dilation(mask, iterations=TOLERANCE) for mask in masks]) if len(masks) else masks


def measure_share_inside(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of each map's heat inside its mask, `(n,)` float64 in [0, 1], NaN for a map without heat."""
    heat = heatmaps.sum(axis=(1, 2), dtype=np.float64)
    inside = (heatmaps * masks).sum(axis=(1, 2), dtype=np.float64)
    return np.asarray(np.divide(inside, heat, out=np.full(len(heat), np.nan), where=heat > 0))


def measure_overlap(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each lesion with the hottest part of the map of the same size.

    `masks` are not empty. Pixels without heat are never part of the hottest.
    """
    overlaps = []
    for heatmap, mask in zip(heatmaps, masks, strict=True):
        hottest = np.zeros(mask.size, bool)
        hottest[np.argsort(-heatmap.ravel(), kind="stable")[: mask.sum()]] = True
        hottest &= heatmap.ravel() > 0
        overlaps.append((hottest & mask.ravel()).sum() / (hottest | mask.ravel()).sum())
    return np.array(overlaps, dtype=np.float64)


def correlate_ranks(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation of each pair of maps, `(n,)` float64; 0 where a map is constant."""
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    centered = [values - values.mean(axis=1, keepdims=True) for values in ranks]
    lengths = np.linalg.norm(centered[0], axis=1) * np.linalg.norm(centered[1], axis=1)
    products = (centered[0] * centered[1]).sum(axis=1)
    return np.asarray(np.divide(products, lengths, out=np.zeros(len(products)), where=lengths > 0))


def shift_images(images: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return images or maps `(n, H, W)` moved down and to the right, with their border repeated behind them."""
    return np.asarray(shift(images, (0, rows, columns), order=0, mode="nearest"))


def measure_repeatability(heatmaps: np.ndarray, shifted: np.ndarray, *, rows: int, columns: int) -> np.ndarray:
    """Return the rank correlation of maps with those of shifted images, shifted back, `(n,)` float64 in [-1, 1].

    `shifted` are the maps of the images after `shift_images` by `rows` and `columns` of 0 or more.
    """
    height, width = heatmaps.shape[1:]
    return correlate_ranks(heatmaps[:, : height - rows, : width - columns], shifted[:, rows:, columns:])


def randomize_cascading(
    model: "keras.Model", *, num_stages: int = 3, seed: int = 0
) -> Iterator[tuple[float, "keras.Model"]]:
    """Yield a model with more and more of its layers randomized, from the last to the first.

    J. Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018: a heatmap that stays the same does not depend
    on the trained weights. The values of each weight, those of normalizations included, are permuted, so that each
    layer keeps their distribution.

    Args:
        model: a built Keras functional or sequential classifier, which is not changed.
        num_stages: the first randomizes the last layer alone, the last one all layers.
        seed: of the permutations.

    Yields:
        The share of the layers with weights that are randomized, in (0, 1], and the model: the same object each time,
        with scores as outputs, changed in the next step.
    """
    rng = np.random.default_rng(seed)
    randomized = copy_linear(model)
    layers = [layer for layer in randomized.layers if layer.weights][::-1]
    ends = np.unique(np.linspace(1, len(layers), num_stages).round().astype(int))
    done = 0
    for end in ends:
        for layer in layers[done:end]:
            layer.set_weights([rng.permuted(value.ravel()).reshape(value.shape) for value in layer.get_weights()])
        done = end
        yield end / len(layers), randomized
