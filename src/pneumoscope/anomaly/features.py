"""Patch features of a frozen network with ImageNet weights, and anomaly maps from patch distances.

A patch feature concatenates the channels of several layers at one position of a coarse grid. Each layer is averaged to
this grid (K. Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022). The network was trained
on photographs only: no radiograph of any class decides what its features show.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.errors import TrainingError
from pneumoscope.progress import log, track

if TYPE_CHECKING:
    import keras

ARCHITECTURE = "efficientnet-lite0"
TRUNK = f"{ARCHITECTURE}-patches"
LEVELS = ("stage_4_3", "stage_5_3")  # last layers of the stages with a stride of `LEVEL_STRIDE` pixels
LEVEL_STRIDE = 16
STRIDE = 32  # pixels between the positions of the grid
BATCH_SIZE = 64
BORDER = 1 / 6  # share of the grid at each side that does not count for the score: arms, neck, letters
MAP_BLUR = 4 / 224  # standard deviation of the Gaussian blur of anomaly maps, relative to the image size
MAX_NORMALS = 5000


def build_trunk(size: int, *, weights: str | os.PathLike[str] | None = "imagenet") -> "keras.Model":
    """Return the frozen network up to the deepest of `LEVELS`.

    Input `(n, size, size, 1)` in [0, 255]; output `(n, h, w, d)` float32, the patch features on a grid with a step of
    `STRIDE` pixels. Each image is standardized to a mean of 128 and a standard deviation of 64, so that exposure has no
    effect.

    Args:
        size: side length of the images in pixels.
        weights: see `build_efficientnet_lite`.

    Raises:
        TrainingError: if the size is below 32, or the weights are not installed.
    """
    import keras

    from pneumoscope.models.flatten import flatten_model
    from pneumoscope.models.registry import build_architecture

    # Distances depend on small differences, which bfloat16 cannot represent.
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        network = build_architecture(ARCHITECTURE, num_outputs=1, size=size, weights=weights)
        inner = keras.Model(network.inputs, [network.get_layer(name).output for name in LEVELS], name="network")
        image = keras.Input((size, size, 1), name="image")
        standardize = keras.layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False, name="standardization")
        levels = []
        for name, features in zip(LEVELS, inner(keras.layers.Rescaling(64.0, 128.0)(standardize(image))), strict=True):
            pool = keras.layers.AveragePooling2D(STRIDE // LEVEL_STRIDE, padding="same", name=f"{name}_on_grid")
            levels.append(pool(features))
        patches = keras.layers.Concatenate(name="patches")(levels)
    finally:
        keras.config.set_dtype_policy(policy)
    trunk = flatten_model(keras.Model(image, patches, name=TRUNK))
    trunk.trainable = False
    return trunk


def extract_patches(trunk: "keras.Model", images: np.ndarray) -> np.ndarray:
    """Return `(n, h, w, d)` float32 patch features of `(n, H, W)` uint8 images."""
    parts = track(split_images(images), f"Patch features of {len(images):,} images")
    return np.concatenate([trunk.predict_on_batch(part[..., None].astype(np.float32)) for part in parts])


def extract_normals(trunk: "keras.Model", images: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return the patch features of normals to fit a detector: of all, or of `MAX_NORMALS` random ones.

    Raises:
        TrainingError: if there are no images.
    """
    if not len(images):
        raise TrainingError("there are 0 normals to fit a detector on; expected one or more")
    if len(images) > MAX_NORMALS:
        log.info("the detector is fitted on %d random normals of %d, to limit memory", MAX_NORMALS, len(images))
        images = images[np.sort(np.random.default_rng(seed).permutation(len(images))[:MAX_NORMALS])]
    return extract_patches(trunk, images)


def score_batches(score: Callable[[np.ndarray], np.ndarray], trunk: "keras.Model", images: np.ndarray) -> np.ndarray:
    """Return `(n,)` float32 anomaly scores of `(n, H, W)` uint8 images, in batches to limit memory.

    Args:
        score: maps patch features to scores.
        trunk: see `build_trunk`.
        images: `(n, H, W)` uint8.
    """
    scores = [score(extract_patches(trunk, part)) for part in np.array_split(images, -(-len(images) // 1024) or 1)]
    return np.concatenate(scores).astype(np.float32)


def crop_border(cells: np.ndarray) -> np.ndarray:
    """Return the cells of a grid, `(n, h, w, ...)`, without those at the border."""
    border = round(BORDER * cells.shape[1])
    return cells[:, border : cells.shape[1] - border, border : cells.shape[2] - border]


def pool_patches(patches: np.ndarray) -> np.ndarray:
    """Return the mean patch feature of each image without the border, `(n, d)`."""
    return np.asarray(crop_border(patches).mean(axis=(1, 2)))


def upsample_maps(distances: np.ndarray, size: int) -> np.ndarray:
    """Return patch distances `(n, h, w)`, bilinearly upsampled and blurred, as `(n, size, size)` float32."""
    import cv2

    maps = np.empty((len(distances), size, size), np.float32)
    for number, distance in enumerate(distances):
        pixels = cv2.resize(distance.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
        maps[number] = cv2.GaussianBlur(pixels, (0, 0), MAP_BLUR * size)
    return maps


def square_distances(queries: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """Return `(n, m)` float32, squared Euclidean distances of `(n, d)` and `(m, d)` features."""
    squares = -2 * (queries @ bank.T)
    squares += np.einsum("nd,nd->n", queries, queries)[:, None]
    squares += np.einsum("md,md->m", bank, bank)
    return np.asarray(np.maximum(squares, 0, out=squares))


def split_images(images: np.ndarray) -> list[np.ndarray]:
    """Return images in batches of at most `BATCH_SIZE`."""
    return [images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE)]
