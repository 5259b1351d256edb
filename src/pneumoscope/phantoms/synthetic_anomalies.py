"""Synthetic anomalies in the lungs of normals: training data without pneumonia images.

A consolidation brightens air to soft tissue. Haze is large, faint and streaked. A pasted patch moves tissue of the same
image into a lung (C.-L. Li, K. Sohn, J. Yoon and T. Pfister, "CutPaste: Self-Supervised Learning for Anomaly Detection
and Localization", CVPR 2021).
"""

import numpy as np

from pneumoscope.phantoms.lesions import draw_texture

ANOMALIES = ("consolidation", "haze", "paste")

# Ranges are sampled uniformly. Lengths are relative to the image side, gray levels to the full range.
_WEIGHTS = np.array([0.5, 0.35, 0.15])  # relative frequencies
_DENSITY = {"consolidation": (0.35, 0.95), "haze": (0.15, 0.5)}  # share of the air that is replaced
_RADIUS = {"consolidation": (0.07, 0.26), "haze": (0.22, 0.45)}  # semi-axes
_MAX_SPOTS = 3  # maximum number of ellipses per consolidation
_LINES = (0.0, 0.08)  # gray level of the streaks of haze
_TISSUE = (0.6, 0.85)  # quantile of the gray levels that is taken as soft tissue
_RAGGEDNESS = 0.35  # irregularity of the outline; 0 is an ellipse
_SOFTNESS = 0.8  # width of the edge, relative to the radius
_PATCH = (0.08, 0.3)  # side lengths of a pasted patch
_OUTSIDE = 0.25  # opacity outside the lung mask, relative to inside, because the segmentation is coarse


def add_anomalies(images: np.ndarray, lungs: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Add one synthetic anomaly to each image.

    Args:
        images: `(n, size, size)` uint8 normals.
        lungs: `(n, size, size)` bool, from `pneumoscope.phantoms.lungs.find_lungs`; an empty mask is replaced by the
            image center.
        rng: random generator.

    Returns:
        The changed images, and `(n,)` int, the index of each anomaly into `ANOMALIES`.

    """
    size = images.shape[1]
    classes = rng.choice(len(ANOMALIES), len(images), p=_WEIGHTS / _WEIGHTS.sum())
    bends, textures = draw_texture(len(images), size, 9, rng), draw_texture(len(images), size, size // 3, rng)
    center = np.zeros((size, size), bool)
    center[size // 4 : 3 * size // 4, size // 5 : 4 * size // 5] = True
    anomalous = images.copy()
    for number, (image, index) in enumerate(zip(images.astype(np.float32) / 255, classes, strict=True)):
        lung = lungs[number] if lungs[number].any() else center
        anomaly = ANOMALIES[index]
        if anomaly == "paste":
            changed = _paste_patch(image, lung, rng)
        else:
            filled = _draw_outline(lung, bends[number], anomaly, rng)
            lines = np.zeros_like(image)
            if anomaly == "haze":
                lines = np.clip(1 - np.abs(textures[number]) / 0.45, 0, 1) * rng.uniform(*_LINES)
            changed = _fill_air(image, filled, lines, rng)
        anomalous[number] = np.rint(255 * np.clip(changed, 0, 1)).astype(np.uint8)
    return anomalous, classes


def _draw_outline(lung: np.ndarray, bend: np.ndarray, anomaly: str, rng: np.random.Generator) -> np.ndarray:
    """Return `(size, size)` float32 in [0, 1], the share of air replaced at each pixel."""
    size = len(lung)
    rows, columns = np.indices(lung.shape, dtype=np.float32) / size
    inside = _OUTSIDE + (1 - _OUTSIDE) * _blur(lung.astype(np.float32), 0.015 * size)
    near = np.clip(2 * _blur(lung.astype(np.float32), 0.06 * size), 0, 1)  # limit of the drawn area
    filled = np.zeros(lung.shape, np.float32)
    for _ in range(2 if anomaly == "haze" else rng.integers(1, _MAX_SPOTS + 1)):
        row, column = rng.choice(np.argwhere(lung)) / size
        tall, broad = rng.uniform(*_RADIUS[anomaly], 2)
        distance = ((rows - row) / tall) ** 2 + ((columns - column) / broad) ** 2 + _RAGGEDNESS * bend
        step = np.clip((1 + _SOFTNESS / 2 - distance) / _SOFTNESS, 0, 1)
        filled = np.maximum(filled, rng.uniform(*_DENSITY[anomaly]) * step * step * (3 - 2 * step))
    filled *= inside
    filled *= near
    return filled


def _fill_air(image: np.ndarray, filled: np.ndarray, lines: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    tissue = np.quantile(image, rng.uniform(*_TISSUE))
    share = filled / max(float(filled.max()), 1e-6)
    brightened: np.ndarray = image + filled * np.maximum(tissue - image, 0) + lines * share
    return brightened


def _paste_patch(image: np.ndarray, lung: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paste a patch of the image into a lung, with a slight change of brightness and a soft edge."""
    size = len(image)
    height, width = (max(2, round(size * side)) for side in rng.uniform(*_PATCH, 2))
    top, left = rng.integers(0, (size - height + 1, size - width + 1))
    row, column = rng.choice(np.argwhere(lung))
    to_top, to_left = np.clip((row - height // 2, column - width // 2), 0, (size - height, size - width))
    patch = np.clip(image[top : top + height, left : left + width] * rng.uniform(0.85, 1.15), 0, 1)
    moved, share = image.copy(), np.zeros_like(image)
    moved[to_top : to_top + height, to_left : to_left + width] = patch
    share[to_top : to_top + height, to_left : to_left + width] = 1
    share = _blur(share, rng.uniform(0.2, 1.5))
    pasted: np.ndarray = image + share * (moved - image)
    return pasted


def _blur(values: np.ndarray, deviation: float) -> np.ndarray:
    import cv2

    return np.asarray(cv2.GaussianBlur(values, (0, 0), deviation))
