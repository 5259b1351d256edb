"""Multi-atlas lung segmentation with phantoms as atlas; it needs no trained model and no patient data.

An image is compared with phantoms of varied anatomy and pose (`pneumoscope.phantoms.anatomy`). The lung masks of the
most similar phantoms vote on each pixel, weighted by similarity (J. E. Iglesias and M. R. Sabuncu, Medical Image
Analysis 24, 2015). Because the atlas is normal, a consolidated lobe is segmented as lung.

The segmentation is coarse: Dice coefficient 0.92 on phantoms outside the atlas. On pediatric radiographs it was only
checked visually, and is plausible on most. It is less accurate on rotated, distorted and tightly cropped radiographs,
with a large heart, and with lungs of unequal size.
"""

from functools import cache

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from pneumoscope.data.image import check_images
from pneumoscope.phantoms.anatomy import draw_chest, sample_cases

NUM_CHESTS = 3000
NUM_VOTING = 20
GRID_SIZE = 32

_SIDE = 64
_CHESTS_AT_ONCE = 16
_IMAGES_AT_ONCE = 256
_SHARPNESS = 20.0  # exponent of the weights per unit of correlation
_NOISE = 3.0  # gray levels; contrast below this level is not amplified

# Pediatric radiographs vary more than phantoms: offsets and factors for the sampled parameters.
_SHIFTS = {"shift_u": (-0.10, 0.10), "shift_v": (-0.08, 0.12), "turn": (-0.06, 0.06), "lung_top": (0.0, 0.14)}
_SCALES = {"scale": (0.85, 1.02), "aspect": (0.90, 1.12), "heart_width": (0.65, 1.0), "heart_length": (0.80, 1.0)}
_SCALES |= {"mediastinum": (0.70, 1.05)}


def find_lungs(images: np.ndarray) -> np.ndarray:
    """Segment the lungs.

    Args:
        images: `(n, H, W)` uint8, 0 = black, upright frontal chest radiographs; H and W are 32 or more.

    Returns:
        `(n, H, W)` bool, both lungs without the areas behind heart and diaphragm.
    """
    check_images(images)
    height, width = images.shape[1:]
    descriptors, lungs = _draw_atlas()
    masks = np.empty(images.shape, bool)
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        rows = range(start, min(start + _IMAGES_AT_ONCE, len(images)))
        small = [Image.fromarray(images[row]).resize((GRID_SIZE, GRID_SIZE), Image.Resampling.BOX) for row in rows]
        similarities = _describe(np.stack([np.asarray(grids, dtype=np.float32) for grids in small])) @ descriptors.T
        for row, similarity in zip(rows, similarities, strict=True):
            nearest = np.argpartition(similarity, -NUM_VOTING)[-NUM_VOTING:]
            votes = np.exp(_SHARPNESS * (similarity[nearest] - similarity[nearest].max()))
            shares = np.tensordot(votes / votes.sum(), lungs[nearest].astype(np.float32), axes=1)
            masks[row] = np.asarray(Image.fromarray(shares).resize((width, height), Image.Resampling.BILINEAR)) > 0.5
    return masks


@cache
def _draw_atlas() -> tuple[np.ndarray, np.ndarray]:
    """Return the atlas: descriptors `(chests, 1024)` float32 of unit length, lung masks `(chests, 64, 64)` bool."""
    rng = np.random.default_rng(0)
    cases = sample_cases(np.arange(NUM_CHESTS), rng)
    for name, bounds in _SHIFTS.items():
        cases[name] += rng.uniform(*bounds, NUM_CHESTS)
    for name, bounds in _SCALES.items():
        cases[name] *= rng.uniform(*bounds, NUM_CHESTS)
    descriptors, lungs = [], []
    for start in range(0, NUM_CHESTS, _CHESTS_AT_ONCE):
        chest = draw_chest(cases[start : start + _CHESTS_AT_ONCE], _SIDE)
        gray = 255 * (1 - np.exp(-1.1 * np.maximum(chest.solid - chest.air, 0))) ** 1.4
        grids = gray.reshape(len(gray), GRID_SIZE, _SIDE // GRID_SIZE, GRID_SIZE, _SIDE // GRID_SIZE).mean(axis=(2, 4))
        descriptors.append(_describe(grids))
        lungs.append(chest.lungs > 0.5)
    return np.concatenate(descriptors), np.concatenate(lungs)


def _describe(grids: np.ndarray) -> np.ndarray:
    """Return `(n, 1024)` float32 descriptors of zero mean and unit length: normalized local contrast."""
    around = (0, 0.3 * GRID_SIZE, 0.3 * GRID_SIZE)
    relative = grids - gaussian_filter(grids, around, mode="nearest")
    relative /= np.sqrt(gaussian_filter(relative * relative, around, mode="nearest")) + _NOISE
    flat = gaussian_filter(relative, (0, 0.7, 0.7)).reshape(len(grids), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    descriptors: np.ndarray = flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6)
    return descriptors
