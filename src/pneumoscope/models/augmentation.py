"""Random augmentation of radiographs."""

import cv2
import numpy as np

from pneumoscope.models.settings import Augmentation

FILTERED_SHARE = 0.3


def augment_images(images: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Return augmented copies of images: pose, then exposure, then an erased rectangle.

    Args:
        images: `(n, H, W)` uint8.
        augmentation: ranges of the random changes.
        rng: random generator; the same state gives the same images.

    Returns:
        `(n, H, W)` uint8.
    """
    if augmentation == Augmentation():
        return images
    return np.stack([_augment(image, augmentation, rng) for image in images])


def _augment(image: np.ndarray, ranges: Augmentation, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape
    changed = cv2.warpAffine(
        image, _sample_pose(height, width, ranges, rng), (width, height), borderMode=cv2.BORDER_REFLECT_101
    )
    changed = cv2.LUT(changed, _sample_exposure(ranges, rng)).reshape(height, width)
    if ranges.blur and rng.random() < FILTERED_SHARE:
        changed = cv2.GaussianBlur(changed, (0, 0), rng.uniform(0.1 * ranges.blur, ranges.blur))
    if ranges.noise and rng.random() < FILTERED_SHARE:
        grain = rng.normal(0, 255 * rng.uniform(0, ranges.noise), changed.shape)
        changed = np.clip(np.rint(changed + grain), 0, 255).astype(np.uint8)
    if ranges.erase and rng.random() < ranges.erase_share:
        _erase(changed, ranges.erase, rng)
    return changed


def _sample_pose(height: int, width: int, ranges: Augmentation, rng: np.random.Generator) -> np.ndarray:
    angle = np.deg2rad(rng.uniform(-ranges.rotation, ranges.rotation))
    zoom = 1 + rng.uniform(-ranges.zoom, ranges.zoom, 2)
    if ranges.crop or ranges.pad:
        zoom /= np.exp(rng.uniform(np.log(1 - ranges.crop), np.log(1 + ranges.pad)))
    shift = rng.uniform(-ranges.shift, ranges.shift, 2) * (width, height)
    if rng.random() < ranges.flip:
        zoom[0] = -zoom[0]
    if ranges.aspect:
        zoom *= np.exp(np.array([1, -1]) * rng.uniform(-ranges.aspect, ranges.aspect))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * zoom
    center = np.array([width - 1, height - 1]) / 2
    return np.column_stack([turn, center - turn @ center + shift])


def _sample_exposure(ranges: Augmentation, rng: np.random.Generator) -> np.ndarray:
    gamma = np.exp(rng.uniform(-ranges.gamma, ranges.gamma))
    contrast = 1 + rng.uniform(-ranges.contrast, ranges.contrast)
    brightness = rng.uniform(-ranges.brightness, ranges.brightness)
    levels = np.linspace(0, 1, 256) ** gamma
    changed = np.clip((levels - 0.5) * contrast + 0.5 + brightness, 0, 1)
    return np.asarray(np.rint(255 * changed), dtype=np.uint8)


def _erase(image: np.ndarray, largest: float, rng: np.random.Generator) -> None:
    """Fill one rectangle with one gray level, in place."""
    height, width = image.shape
    sides = (rng.uniform(0, largest, 2) * (height, width)).astype(int)
    top, left = rng.integers(0, (height - sides[0] + 1, width - sides[1] + 1))
    image[top : top + sides[0], left : left + sides[1]] = rng.integers(0, 256)
