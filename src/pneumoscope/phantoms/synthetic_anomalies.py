"""Synthetic anomalies in the lungs of normals, and their masks: training data without any pneumonia.

Opacities fill air towards the gray level of soft tissue, as fluid does, and leave brighter ribs as they are; the
interstitial kind is wide, faint and streaked; a pasted patch is real tissue in a wrong place (C.-L. Li, K. Sohn,
J. Yoon and T. Pfister, "CutPaste: Self-Supervised Learning for Anomaly Detection and Localization", CVPR 2021).
"""

from dataclasses import dataclass

import numpy as np

from pneumoscope.phantoms.lesions import draw_texture

Range = tuple[float, float]
ANOMALIES = ("consolidation", "haze", "paste")


@dataclass(frozen=True)
class SyntheticSettings:
    """What synthetic anomalies look like; ranges are sampled uniformly, lengths are shares of the image's side.

    Attributes:
        consolidation, haze, paste: relative frequency of each anomaly.
        density: of a consolidation, share of the air that it fills.
        radius: half axes of a consolidation.
        num_spots: how many of them, at most; each number is equally frequent.
        haze_density: of the interstitial opacity.
        haze_radius: its half axes; wide, so that it covers most of a lung.
        net: strength of its fine lines, share of the full range.
        tissue: quantile of the gray levels of the image that counts as soft tissue.
        ragged: how far a texture bends the outline; 0 is an ellipse.
        softness: width of the edge, share of the radius.
        patch: sides of a pasted patch.
        outside: share of the opacity that also lies beyond the outline of the lungs, which is only roughly known.
        visible: change of gray level, share of the full range, from which a pixel counts as anomalous.
    """

    consolidation: float = 0.5
    haze: float = 0.35
    paste: float = 0.15
    density: Range = (0.35, 0.95)
    radius: Range = (0.07, 0.26)
    num_spots: int = 3
    haze_density: Range = (0.15, 0.5)
    haze_radius: Range = (0.22, 0.45)
    net: Range = (0.0, 0.08)
    tissue: Range = (0.6, 0.85)
    ragged: float = 0.35
    softness: float = 0.8
    patch: Range = (0.08, 0.3)
    outside: float = 0.25
    visible: float = 0.03


@dataclass(frozen=True)
class SyntheticAnomalies:
    """Images with synthetic anomalies.

    Attributes:
        images: `(n, size, size)` uint8.
        masks: `(n, size, size)` bool, the visibly changed pixels.
        classes: `(n,)` int, index into `ANOMALIES`.
    """

    images: np.ndarray
    masks: np.ndarray
    classes: np.ndarray


def add_anomalies(
    images: np.ndarray, lungs: np.ndarray, settings: SyntheticSettings, rng: np.random.Generator
) -> SyntheticAnomalies:
    """Draw one anomaly into each image.

    Args:
        images: `(n, size, size)` uint8 normals.
        lungs: `(n, size, size)` bool, see `pneumoscope.phantoms.lungs.find_lungs`; where an image has none, its
            center counts as lung.
        settings: what is drawn.
        rng: source of all randomness.

    Raises:
        ValueError: if the shapes differ.
    """
    if images.shape != lungs.shape or images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"images are {images.shape} {images.dtype}, lungs {lungs.shape}; expected (n, H, W) uint8, both"
        )
    size = images.shape[1]
    weights = np.array([getattr(settings, name) for name in ANOMALIES])
    classes = rng.choice(len(ANOMALIES), len(images), p=weights / weights.sum())
    bends, textures = draw_texture(len(images), size, 9, rng), draw_texture(len(images), size, size // 3, rng)
    anomalous, masks = images.copy(), np.zeros(images.shape, bool)
    for number, (image, anomaly) in enumerate(zip(images.astype(np.float32) / 255, classes, strict=True)):
        lung = lungs[number] if lungs[number].any() else _mark_center(size)
        if ANOMALIES[anomaly] == "paste":
            changed = _paste_patch(image, lung, settings, rng)
        else:
            wide = ANOMALIES[anomaly] == "haze"
            filled = _draw_outline(lung, bends[number], settings, wide=wide, rng=rng)
            lines = np.clip(1 - np.abs(textures[number]) / 0.45, 0, 1) * rng.uniform(*settings.net) if wide else 0.0
            changed = _fill_air(image, filled, lines, settings, rng)
        masks[number] = _close_gaps(np.abs(changed - image) >= settings.visible)
        anomalous[number] = np.rint(255 * np.clip(changed, 0, 1)).astype(np.uint8)
    return SyntheticAnomalies(anomalous, masks, classes)


def _mark_center(size: int) -> np.ndarray:
    center = np.zeros((size, size), bool)
    center[size // 4 : 3 * size // 4, size // 5 : 4 * size // 5] = True
    return center


def _draw_outline(
    lung: np.ndarray, bend: np.ndarray, settings: SyntheticSettings, *, wide: bool, rng: np.random.Generator
) -> np.ndarray:
    """Return `(size, size)` float32 in [0, 1], how much of the air each pixel loses."""
    size = len(lung)
    rows, columns = np.indices(lung.shape, dtype=np.float32) / size
    inside = _blur(lung.astype(np.float32), 0.015 * size)
    inside = settings.outside + (1 - settings.outside) * inside
    near = _blur(lung.astype(np.float32), 0.06 * size)  # nothing is drawn beyond this
    filled = np.zeros(lung.shape, np.float32)
    for _ in range(2 if wide else rng.integers(1, settings.num_spots + 1)):
        row, column = rng.choice(np.argwhere(lung)) / size
        tall, broad = rng.uniform(*(settings.haze_radius if wide else settings.radius), 2)
        distance = ((rows - row) / tall) ** 2 + ((columns - column) / broad) ** 2 + settings.ragged * bend
        step = np.clip((1 + settings.softness / 2 - distance) / settings.softness, 0, 1)
        density = rng.uniform(*(settings.haze_density if wide else settings.density))
        filled = np.maximum(filled, density * step * step * (3 - 2 * step))
    return filled * inside * np.clip(2 * near, 0, 1)


def _fill_air(
    image: np.ndarray,
    filled: np.ndarray,
    lines: np.ndarray | float,
    settings: SyntheticSettings,
    rng: np.random.Generator,
) -> np.ndarray:
    tissue = np.quantile(image, rng.uniform(*settings.tissue))
    share = filled / max(float(filled.max()), 1e-6)
    return image + filled * np.maximum(tissue - image, 0) + lines * share


def _paste_patch(
    image: np.ndarray, lung: np.ndarray, settings: SyntheticSettings, rng: np.random.Generator
) -> np.ndarray:
    """Move a rectangle of the image into a lung, its brightness a little changed and its edge a little soft."""
    size = len(image)
    height, width = (max(2, round(size * side)) for side in rng.uniform(*settings.patch, 2))
    top, left = rng.integers(0, (size - height + 1, size - width + 1))
    row, column = rng.choice(np.argwhere(lung))
    to_top, to_left = np.clip((row - height // 2, column - width // 2), 0, (size - height, size - width))
    patch = np.clip(image[top : top + height, left : left + width] * rng.uniform(0.85, 1.15), 0, 1)
    moved, share = image.copy(), np.zeros_like(image)
    moved[to_top : to_top + height, to_left : to_left + width] = patch
    share[to_top : to_top + height, to_left : to_left + width] = 1
    share = _blur(share, rng.uniform(0.2, 1.5))
    return image + share * (moved - image)


def _blur(values: np.ndarray, deviation: float) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(values, (0, 0), deviation)


def _close_gaps(mask: np.ndarray) -> np.ndarray:
    """Close the gaps that ribs and streaks leave, so that a lesion is one region."""
    from scipy.ndimage import binary_closing, binary_opening

    padded = np.pad(mask, 3)
    return binary_opening(binary_closing(padded, iterations=2), iterations=1)[3:-3, 3:-3]
