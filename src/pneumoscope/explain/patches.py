"""Feature maps of one image, and the image patches with the highest activation of a filter."""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pneumoscope.explain.scorer import BATCH_SIZE
from pneumoscope.models.linear import copy_linear
from pneumoscope.models.receptive_field import Field, receptive_fields

if TYPE_CHECKING:
    import keras

NUM_FILTERS = 8
NUM_PATCHES = 9
PATCH_SIZE = 32


def map_features(model: "keras.Model", image: np.ndarray, *, layers: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the feature maps of an image by layer name, `(filters, h, w)` float32 each.

    Args:
        model: built Keras functional model of `(n, H, W, 1)` images with values 0 to 255.
        image: `(H, W)` uint8.
        layers: names of layers with output `(n, h, w, filters)`.
    """
    import keras

    copy = copy_linear(model)
    extractor = keras.Model(copy.input, {name: copy.get_layer(name).output for name in layers})
    maps = extractor(image[None, ..., None].astype(np.float32), training=False)
    return {name: np.moveaxis(keras.ops.convert_to_numpy(maps[name])[0], -1, 0).copy() for name in layers}


def find_patches(
    model: "keras.Model", images: np.ndarray, *, layers: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the image patches with the highest activation, for the filters with the highest mean activation.

    A patch is the receptive field of the maximum of a feature map (after M. D. Zeiler and R. Fergus, "Visualizing and
    Understanding Convolutional Networks", ECCV 2014). An image contributes at most one patch per filter. Outside the
    image, border pixels are repeated.

    Args:
        model: a built Keras functional model of `(n, H, W, 1)` images with values 0 to 255.
        images: `(n, H, W)` uint8.
        layers: names of layers whose output is `(n, h, w, filters)`.

    Returns:
        Patches by layer name, `(filters, patches, 32, 32)` float32 in [0, 1], highest activation first, at most 8
        filters with 9 patches; and filter indices by layer name, `(filters,)` int. Inactive filters are excluded.

    Raises:
        ValueError: if a layer does not exist or has no feature map.
    """
    flat = copy_linear(model)
    fields = {name: receptive_fields(flat, name) for name in layers}
    summaries = _summarize(flat, layers, images)
    patches, filters = {}, {}
    for name, (rows, columns) in fields.items():
        width = flat.get_layer(name).output.shape[2]
        mean, largest, place = summaries[name]
        strongest = np.argsort(-mean.mean(axis=0), kind="stable")[:NUM_FILTERS]
        filters[name] = strongest[largest[:, strongest].max(axis=0) > 0]
        highest = np.argsort(-largest[:, filters[name]], axis=0, kind="stable")[:NUM_PATCHES].T
        patches[name] = np.zeros((*highest.shape, PATCH_SIZE, PATCH_SIZE), dtype=np.float32)
        for rank, number in np.ndindex(highest.shape):
            image = highest[rank, number]
            position = divmod(int(place[image, filters[name][rank]]), width)
            patches[name][rank, number] = _cut(images[image], position, (rows, columns))
    return patches, filters


def _summarize(flat: "keras.Model", layers: tuple[str, ...], images: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Return by layer the mean, maximum and position of the maximum of each feature map, `(n, filters)` each."""
    import keras
    from keras import ops

    extractor = keras.Model(flat.input, {name: flat.get_layer(name).output for name in layers})
    batches: dict[str, list[list[np.ndarray]]] = {name: [] for name in layers}
    for start in range(0, len(images), BATCH_SIZE):
        maps = extractor(images[start : start + BATCH_SIZE, ..., None].astype(np.float32), training=False)
        for name, features in maps.items():
            pixels = ops.reshape(features, (features.shape[0], -1, features.shape[-1]))
            summary = ops.mean(pixels, axis=1), ops.max(pixels, axis=1), ops.argmax(pixels, axis=1)
            batches[name].append([ops.convert_to_numpy(part) for part in summary])
    return {name: [np.concatenate(parts) for parts in zip(*batches[name], strict=True)] for name in layers}


def _cut(image: np.ndarray, position: tuple[int, int], fields: tuple[Field, Field]) -> np.ndarray:
    """Return the receptive field of a position as `(32, 32)` float32 in [0, 1]."""
    within = [
        np.clip(field.pixels(place), 0, size - 1)
        for field, place, size in zip(fields, position, image.shape, strict=True)
    ]
    patch = Image.fromarray(image[np.ix_(*within)])
    return np.asarray(patch.resize((PATCH_SIZE, PATCH_SIZE), Image.Resampling.BILINEAR), dtype=np.float32) / 255
