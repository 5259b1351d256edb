"""Where the lungs are, from the look of a whole film: no learned net, and no film of a person.

An image is compared with chests drawn in many builds and poses (`pneumoscope.phantoms.anatomy`); the true lungs of
the drawn chests most like it, weighed by likeness, vote on each pixel (multi-atlas segmentation, see Iglesias and
Sabuncu, Medical Image Analysis 24, 2015). What comes out is where a healthy chest of that build and pose has air
beside the heart: a lobe that sickness has filled counts as lung as well, as it should where lungs are hidden or kept.

The outline is coarse. On drawn chests that are not among those compared with, its Dice coefficient is 0.92, which
flatters it: they come from the same pen. On films of children it was judged by eye only, and is plausible on most.
Rotated, squeezed and tightly cropped films, a heart much larger than drawn, and one lung much smaller than the other
come out worse.
"""

from functools import cache

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from pneumoscope.phantoms.anatomy import draw_chest, sample_cases

NUM_CHESTS = 3000
NUM_VOTING = 20
CELLS = 32

_SIDE = 64
_CHESTS_AT_ONCE = 16
_IMAGES_AT_ONCE = 256
_LIKENESS = 20.0  # how much more a chest says for each unit of correlation, as exponent
_FAINTEST = 3.0  # gray levels: what is fainter is noise, not to be raised to full contrast

# Films of children differ more than phantoms: added to what was sampled, or multiplied with it.
_SHIFTS = {"shift_u": (-0.10, 0.10), "shift_v": (-0.08, 0.12), "turn": (-0.06, 0.06), "lung_top": (0.0, 0.14)}
_SCALES = {
    "scale": (0.85, 1.02),
    "aspect": (0.90, 1.12),
    "heart_width": (0.65, 1.0),
    "heart_length": (0.80, 1.0),
    "mediastinum": (0.70, 1.05),
}


def find_lungs(images: np.ndarray) -> np.ndarray:
    """Return which pixels show lung.

    Args:
        images: `(n, H, W)` uint8, 0 = black, upright frontal chest films, sides of 32 or more.

    Returns:
        `(n, H, W)` bool, both lungs without the parts that heart and diaphragm cover.

    Raises:
        ValueError: if the images have another shape or type.
    """
    if images.ndim != 3 or images.dtype != np.uint8 or min(images.shape[1:]) < CELLS:
        expected = f"(n, H, W) uint8 with sides of {CELLS} or more"
        raise ValueError(f"images are {images.shape} {images.dtype}, expected {expected}")
    height, width = images.shape[1:]
    looks, lungs = _draw_atlas()
    found = np.empty(images.shape, bool)
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        rows = range(start, min(start + _IMAGES_AT_ONCE, len(images)))
        small = [Image.fromarray(images[row]).resize((CELLS, CELLS), Image.Resampling.BOX) for row in rows]
        likenesses = _describe(np.stack([np.asarray(cells, dtype=np.float32) for cells in small])) @ looks.T
        for row, likeness in zip(rows, likenesses, strict=True):
            nearest = np.argpartition(likeness, -NUM_VOTING)[-NUM_VOTING:]
            votes = np.exp(_LIKENESS * (likeness[nearest] - likeness[nearest].max()))
            shares = np.tensordot(votes / votes.sum(), lungs[nearest].astype(np.float32), axes=1)
            found[row] = np.asarray(Image.fromarray(shares).resize((width, height), Image.Resampling.BILINEAR)) > 0.5
    return found


@cache
def _draw_atlas() -> tuple[np.ndarray, np.ndarray]:
    """Return looks `(chests, 1024)` float32 of unit length, and lungs `(chests, 64, 64)` bool, of drawn chests."""
    rng = np.random.default_rng(0)
    cases = sample_cases(np.arange(NUM_CHESTS), rng)
    for name, bounds in _SHIFTS.items():
        cases[name] += rng.uniform(*bounds, NUM_CHESTS)
    for name, bounds in _SCALES.items():
        cases[name] *= rng.uniform(*bounds, NUM_CHESTS)
    looks, lungs = [], []
    for start in range(0, NUM_CHESTS, _CHESTS_AT_ONCE):
        chest = draw_chest(cases[start : start + _CHESTS_AT_ONCE], _SIDE)
        gray = 255 * (1 - np.exp(-1.1 * np.maximum(chest.solid - chest.air, 0))) ** 1.4
        cells = gray.reshape(len(gray), CELLS, _SIDE // CELLS, CELLS, _SIDE // CELLS).mean(axis=(2, 4))
        looks.append(_describe(cells))
        lungs.append(chest.lungs > 0.5)
    return np.concatenate(looks), np.concatenate(lungs)


def _describe(cells: np.ndarray) -> np.ndarray:
    """Return `(n, 1024)` float32 of mean 0 and length 1: gray levels against those around, in units of their spread."""
    around = (0, 0.3 * CELLS, 0.3 * CELLS)
    relative = cells - gaussian_filter(cells, around, mode="nearest")
    relative /= np.sqrt(gaussian_filter(relative * relative, around, mode="nearest")) + _FAINTEST
    flat = gaussian_filter(relative, (0, 0.7, 0.7)).reshape(len(cells), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6)
