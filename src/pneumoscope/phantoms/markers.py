"""Detection of markers: letters and plates near the border of a radiograph, such as an R for the right side.

Markers are a confounder: they depend on where and when a radiograph was acquired. The detector finds bright spots up to
the width of a letter. It misses faint letters; electrodes and bone tips near the border are false positives.
"""

import numpy as np
from scipy.ndimage import find_objects, grey_opening, label

from pneumoscope.data.image import check_images

MIN_CONTRAST = 45.0  # gray levels
EDGE_SHARE = 0.22
MAX_SIDE_SHARE = 0.14

_MIN_GRAY = 70
_MIN_PIXELS = 4
_MARGIN = 2  # pixels, for the blurred edge after resizing
_RING_CONTRAST = 0.6 * MIN_CONTRAST


def find_markers(images: np.ndarray) -> np.ndarray:
    """Return `(n, H, W)` bool, True inside the bounding boxes of markers.

    Args:
        images: `(n, H, W)` uint8, 0 = black.
    """
    check_images(images)
    return np.stack([_find_in_one(image) for image in images]) if len(images) else np.zeros(images.shape, bool)


def _find_in_one(image: np.ndarray) -> np.ndarray:
    gray = image.astype(np.float32)
    widest = max(3, round(0.1 * min(image.shape))) | 1
    bright = (gray - grey_opening(gray, (widest, widest)) > MIN_CONTRAST) & (image > _MIN_GRAY)
    parts, _ = label(bright, np.ones((3, 3)))
    markers = np.zeros(image.shape, bool)
    for number, (rows, columns) in enumerate(find_objects(parts), start=1):
        spot = parts[rows, columns] == number
        middles = [(part.start + part.stop) / 2 / side for part, side in zip((rows, columns), image.shape, strict=True)]
        near_edge = min(min(middle, 1 - middle) for middle in middles) < EDGE_SHARE
        small = max(spot.shape) <= MAX_SIDE_SHARE * min(image.shape) and min(spot.shape) >= 2
        if near_edge and small and spot.sum() >= _MIN_PIXELS:
            box = tuple(slice(max(part.start - _MARGIN, 0), part.stop + _MARGIN) for part in (rows, columns))
            ring = np.ones(image.shape, bool)
            ring[rows, columns] = False
            # A bone tip is also bright, but continues as bone.
            if gray[rows, columns][spot].mean() - np.quantile(gray[box][ring[box]], 0.9) >= _RING_CONTRAST:
                markers[box] = True
    return markers
