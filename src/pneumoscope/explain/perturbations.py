"""Perturbation methods: they hide parts of the image and need no gradients.

`images` are `(n, H, W)` uint8, `chosen` are one-hot classes, `(n, classes)` float32, from `Scorer.choose`. Each method
returns `(n, H, W)` float32 in [0, 1]; the maximum of each map is 1, or 0 if the map is empty.
"""

import numpy as np
from scipy.ndimage import map_coordinates

from pneumoscope.explain.gradients import blur_images
from pneumoscope.explain.scorer import Method, Scorer
from pneumoscope.models.receptive_field import scale_to_peak
from pneumoscope.progress import track

PATCH_SHARE = 1 / 8
NUM_MASKS = 400
MASK_GRID = 8
SHOWN_SHARE = 0.5


def occlusion(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Blur a sliding square patch and return the drop of the score.

    M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014. The side of a patch
    is an eighth of the image, the stride half a patch. The value of a pixel is the mean drop of the patches that
    contain it.
    """
    height, width = images.shape[1:]
    patches = _tile_patches(height, width)
    blurred = blur_images(images)
    maps = np.zeros(images.shape, np.float32)
    for number in track(range(len(images)), "Occlusion"):
        image = images[number].astype(np.float32)
        whole = float((scorer.score(image[None]) @ chosen[number])[0])
        falls = whole - scorer.score(np.where(patches, blurred[number], image)) @ chosen[number]
        maps[number] = np.tensordot(falls, patches, axes=1) / patches.sum(axis=0)
    return scale_to_peak(np.maximum(maps, 0))


def _tile_patches(height: int, width: int) -> np.ndarray:
    """Return `(patches, H, W)` bool, square patches that cover the image and overlap by half."""
    side = max(2, round(PATCH_SHARE * min(height, width)))
    rows, columns = (sorted({*range(0, size - side, max(1, side // 2)), size - side}) for size in (height, width))
    patches = np.zeros((len(rows) * len(columns), height, width), bool)
    for number, (row, column) in enumerate((row, column) for row in rows for column in columns):
        patches[number, row : row + side, column : column + side] = True
    return patches


def rise(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Average 400 random soft masks, weighted by the score of the masked image.

    V. Petsiuk, A. Das and K. Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC
    2018, with the blurred image as background. Masks are upsampled and shifted binary 8 x 8 grids with half of the
    values 1. Scores are centered, so that 400 masks suffice; the authors use thousands.
    """
    masks = _sample_masks(images.shape[1:], np.random.default_rng(seed))
    opened = masks.mean(axis=0)
    blurred = blur_images(images)
    maps = np.zeros(images.shape, np.float32)
    for number in track(range(len(images)), "RISE"):
        shown = masks * images[number] + (1 - masks) * blurred[number]
        scores = scorer.score(shown) @ chosen[number]
        maps[number] = np.tensordot(scores - scores.mean(), masks, axes=1) / (NUM_MASKS * opened)
    return scale_to_peak(np.maximum(maps, 0))


def _sample_masks(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return `(masks, H, W)` float32 in [0, 1]."""
    grids = (rng.random((NUM_MASKS, MASK_GRID + 1, MASK_GRID + 1)) < SHOWN_SHARE).astype(np.float32)
    shifts = rng.random((NUM_MASKS, 2))
    masks = np.empty((NUM_MASKS, *shape), np.float32)
    for number, (grid, shift) in enumerate(zip(grids, shifts, strict=True)):
        places = [np.arange(size) * (MASK_GRID - 1) / size + start for size, start in zip(shape, shift, strict=True)]
        masks[number] = map_coordinates(grid, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")
    return masks


METHODS: dict[str, Method] = {"occlusion": occlusion, "rise": rise}
SLOW_METHODS = tuple(METHODS)  # hundreds of predictions per image
