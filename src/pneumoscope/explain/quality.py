"""Heatmap metrics: localization, repeatability, and the parameter-randomization check.

`heatmaps` are `(n, H, W)` floats of 0 or more, `masks` are `(n, H, W)` bool.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import binary_dilation, shift
from scipy.stats import rankdata

from pneumoscope.models.linear import copy_linear

if TYPE_CHECKING:
    import keras

TOLERANCE = 4  # tolerance of the pointing game in pixels
SHIFT = 3  # pixels


def hit_lesion(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return `(n,)` float64, 1 if the maximum of a map lies within 4 pixels of the lesion, else 0; an empty map is 0.

    Source: pointing game, J. Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016.
    """
    peaks, near = heatmaps.reshape(len(heatmaps), -1).argmax(axis=1), dilate_masks(masks).reshape(len(masks), -1)
    hits = near[np.arange(len(masks)), peaks] & heatmaps.any(axis=(1, 2))
    return np.asarray(hits, dtype=np.float64)


def dilate_masks(masks: np.ndarray) -> np.ndarray:
    """Return masks dilated by 4 pixels; their area share is the chance level of `hit_lesion`."""
    return np.stack([binary_dilation(mask, iterations=TOLERANCE) for mask in masks]) if len(masks) else masks


def measure_share_inside(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of the heat inside the mask, `(n,)` float64 in [0, 1]; NaN for an empty map."""
    heat = heatmaps.sum(axis=(1, 2), dtype=np.float64)
    inside = (heatmaps * masks).sum(axis=(1, 2), dtype=np.float64)
    return np.asarray(np.divide(inside, heat, out=np.full(len(heat), np.nan), where=heat > 0))


def correlate_ranks(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the Spearman rank correlation of each pair of maps, `(n,)` float64; 0 if a map is constant."""
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    centered = [values - values.mean(axis=1, keepdims=True) for values in ranks]
    lengths = np.linalg.norm(centered[0], axis=1) * np.linalg.norm(centered[1], axis=1)
    products = (centered[0] * centered[1]).sum(axis=1)
    return np.asarray(np.divide(products, lengths, out=np.zeros(len(products)), where=lengths > 0))


def shift_images(images: np.ndarray) -> np.ndarray:
    """Return images or maps `(n, H, W)` shifted by 3 pixels down and to the right; border pixels are repeated."""
    return np.asarray(shift(images, (0, SHIFT, SHIFT), order=0, mode="nearest"))


def measure_repeatability(heatmaps: np.ndarray, shifted: np.ndarray) -> np.ndarray:
    """Return the rank correlation of `(n, H, W)` maps of images and of `shift_images`, `(n,)` float64 in [-1, 1]."""
    return correlate_ranks(heatmaps[:, :-SHIFT, :-SHIFT], shifted[:, SHIFT:, SHIFT:])


def randomize_cascading(
    model: "keras.Model", *, num_stages: int = 3, seed: int = 0
) -> Iterator[tuple[float, "keras.Model"]]:
    """Yield a model whose layers are randomized cumulatively, from the last to the first.

    Parameter-randomization check of J. Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018: a heatmap that
    does not change does not depend on the trained weights. The values of each weight tensor are permuted, including
    normalization layers, so that each layer keeps its weight distribution.

    Args:
        model: built Keras functional or sequential classifier; it is not modified.
        num_stages: number of stages; the first randomizes only the last layer, the last randomizes all layers.
        seed: of the permutations.

    Yields:
        The share of randomized layers in (0, 1], and the model with logits as outputs. The same model object is
        modified in each stage.
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
