"""Random augmentation of radiographs."""

import cv2
import numpy as np

from pneumoscope.models.settings import Augmentation


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


def mix_pairs(
    images: np.ndarray, targets: np.ndarray, concentration: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Mix each image and its target with another image of the batch. All pairs have the same proportion.

    Source: H. Zhang, M. Cisse, Y. Dauphin and D. Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018.

    Args:
        images: `(n, ...)` numbers.
        targets: `(n, classes)` floats.
        concentration: both parameters of the beta distribution of the proportion.
        rng: random generator.

    Returns:
        Mixed images and targets, float32, in the order of the input. The share of the image itself is 0.5 or more.
    """
    share = rng.beta(concentration, concentration)
    own, order = max(share, 1 - share), rng.permutation(len(images))
    mixed = [own * values + (1 - own) * values[order] for values in (images, targets)]
    return mixed[0].astype(np.float32), mixed[1].astype(np.float32)


def _augment(image: np.ndarray, ranges: Augmentation, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape
    if ranges.local_contrast and rng.random() < ranges.local_contrast:
        image = cv2.createCLAHE(rng.uniform(1, 3), (4, 4)).apply(image)
    changed = cv2.warpAffine(
        image, _sample_pose(height, width, ranges, rng), (width, height), borderMode=cv2.BORDER_REFLECT_101
    )
    changed = cv2.LUT(changed, _sample_exposure(ranges, rng)).reshape(height, width)
    if ranges.blur and rng.random() < 0.5:
        changed = _change_sharpness(changed, ranges.blur, rng)
    if ranges.noise and rng.random() < 0.5:
        grain = rng.normal(0, 255 * rng.uniform(0, ranges.noise), changed.shape)
        changed = np.clip(np.rint(changed + grain), 0, 255).astype(np.uint8)
    if ranges.erase:
        _erase(changed, ranges.erase, rng)
    if ranges.frame and rng.random() < 0.5:
        _hide_frame(changed, ranges.frame, rng)
    return changed


def _sample_pose(height: int, width: int, ranges: Augmentation, rng: np.random.Generator) -> np.ndarray:
    angle = np.deg2rad(rng.uniform(-ranges.rotation, ranges.rotation))
    zoom = 1 + rng.uniform(-ranges.zoom, ranges.zoom, 2)
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


def _change_sharpness(image: np.ndarray, largest: float, rng: np.random.Generator) -> np.ndarray:
    blurred = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.1 * largest, largest))
    if rng.random() < 0.5:
        return blurred
    return cv2.addWeighted(image, 1.7, blurred, -0.7, 0)


def _erase(image: np.ndarray, largest: float, rng: np.random.Generator) -> None:
    """Fill one rectangle with one gray level, in place."""
    height, width = image.shape
    sides = (rng.uniform(0, largest, 2) * (height, width)).astype(int)
    top, left = rng.integers(0, (height - sides[0] + 1, width - sides[1] + 1))
    image[top : top + sides[0], left : left + sides[1]] = rng.integers(0, 256)


def _hide_frame(image: np.ndarray, widest: float, rng: np.random.Generator) -> None:
    """Fill a strip along each side with one gray level, in place."""
    height, width = image.shape
    top, bottom, left, right = (rng.uniform(0, widest, 4) * (height, height, width, width)).astype(int)
    level = rng.integers(0, 256)
    image[:top] = image[height - bottom :] = level
    image[:, :left] = image[:, width - right :] = level
