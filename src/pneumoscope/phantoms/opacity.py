"""Synthetic opacities in radiographs of normals, with lesion masks.

Lobes are filled as in phantoms (`pneumoscope.phantoms.lesions`), in lungs segmented by `pneumoscope.phantoms.lungs`.
The images test the localization of explanation methods. They do not simulate clinical pneumonia.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from pneumoscope.phantoms.anatomy import Chest
from pneumoscope.phantoms.lesions import draw_consolidations, sample_consolidations
from pneumoscope.phantoms.lungs import find_lungs

_STRENGTH = 0.9  # gray level of a filled lobe: 0 = air, 1 = soft tissue
_TISSUE_QUANTILE = 0.8  # quantile of the gray levels outside the lungs that is taken as soft tissue
_MARGIN_SHARE = 0.015  # softness of the lesion edge at the lung outline, relative to the image side
_VISIBLE_SHARE = 0.35  # minimum filling of a lesion pixel in the mask


def paste_opacity(images: np.ndarray, *, num_lobes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Fill lobes of each chest with a soft, textured opacity of the brightness of soft tissue.

    Args:
        images: `(n, H, W)` uint8, 0 = black, upright frontal chest radiographs without pneumonia.
        num_lobes: number of opacities; two may fall into the same lobe.
        seed: of lobe, position, size and density.

    Returns:
        images: `(n, H, W)` uint8, the radiographs with opacities.
        masks: `(n, H, W)` bool, lesion masks; empty if the lung segmentation is empty.
    """
    rng = np.random.default_rng(seed)
    lungs = find_lungs(images)
    chest = _measure_chests(lungs)
    filled = np.zeros(images.shape, np.float32)
    for _ in range(num_lobes):
        lesion = draw_consolidations(sample_consolidations(np.arange(len(images)), rng), chest, rng)
        filled = np.maximum(filled, lesion.filled)
    margins = (0, *(_MARGIN_SHARE * side for side in images.shape[1:]))
    filled *= gaussian_filter(chest.lungs, margins)
    tissue = np.array([_find_tissue(image, lung) for image, lung in zip(images, lungs, strict=True)])
    brighter = np.maximum(tissue[:, None, None] - images, 0)
    pasted = np.rint(np.minimum(images + _STRENGTH * filled * brighter, 255)).astype(np.uint8)
    return pasted, (filled > _VISIBLE_SHARE) & lungs


def _find_tissue(image: np.ndarray, lungs: np.ndarray) -> float:
    """Return the gray level of soft tissue, from the pixels outside the lungs in rows with lung."""
    rows = lungs.any(axis=1)
    return float(np.quantile(image[rows][~lungs[rows]], _TISSUE_QUANTILE)) if rows.any() else 0.0


def _measure_chests(lungs: np.ndarray) -> Chest:
    """Return the thorax coordinates of each pixel, estimated from the lung outline."""
    num_images, height, width = lungs.shape
    u, v, down, aside = (np.zeros(lungs.shape, np.float32) for _ in range(4))
    for number in range(num_images):
        rows, columns = np.flatnonzero(lungs[number].any(axis=1)), np.flatnonzero(lungs[number].any(axis=0))
        if not len(rows):
            continue
        middle, half = (columns[0] + columns[-1]) / 2, max((columns[-1] - columns[0]) / 2, 1)
        u[number] = (np.arange(width) - middle) / half
        down[number] = ((np.arange(height) - rows[0]) / max(rows[-1] - rows[0], 1))[:, None]
        v[number], aside[number] = 2 * down[number] - 1, np.abs(u[number])
    shares = lungs.astype(np.float32)
    return Chest(np.zeros_like(shares), shares, shares, u, v, down, aside)
