"""Feature maps of one image, and the image patches that activate the filters of a layer most."""

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
    """Return the feature maps of an image.

    Args:
        model: a built Keras functional model of `(n, H, W, 1)` images with values 0 to 255.
        image: `(H, W)` uint8.
        layers: names of layers whose output is `(n, h, w, filters)`.

    Returns:
        By layer name `(filters, h, w)` float32, in the units of the layer's activation.
    """
    import keras

    copy = copy_linear(model)
    extractor = keras.Model(copy.input, {name: copy.get_layer(name).output for name in layers})
    maps = extractor(image[None, ..., None].astype(np.float32), training=False)
    return {name: np.moveaxis(keras.ops.convert_to_numpy(maps[name])[0], -1, 0).copy() for name in layers}


def find_patches(
    model: "keras.Model", images: np.ndarray, *, layers: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the image patches that activate the strongest filters of each layer most.

    A filter is strong by its mean activation over all images and places. Each patch is the receptive
    field of the filter's maximum over an image, so that no image gives two patches to a
    filter (after Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014).
    Where it reaches beyond the image, the image's border is repeated.

    Args:
        model: a built Keras functional model of `(n, H, W, 1)` images with values 0 to 255.
        images: `(n, H, W)` uint8; they pass in batches, and only one mean, maximum and place a filter is kept.
        layers: names of layers whose output is `(n, h, w, filters)`.

    Returns:
        patches: by layer name `(filters, patches, 32, 32)` float32 in [0, 1], strongest first: of 8 filters
            9 patches each, or as many as there are images and filters that are active on any of them.
        filters: by layer name `(filters,)` int, which filters those are.

    Raises:
        ValueError: if a layer is not there or has no grid of cells.
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
            cell = divmod(int(place[image, filters[name][rank]]), width)
            patches[name][rank, number] = _cut(images[image], cell, (rows, columns))
    return patches, filters


def _summarize(flat: "keras.Model", layers: tuple[str, ...], images: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Return by layer `(n, filters)` mean, maximum and place of the maximum of each filter over an image."""
    import keras
    from keras import ops

    extractor = keras.Model(flat.input, {name: flat.get_layer(name).output for name in layers})
    batches: dict[str, list] = {name: [] for name in layers}
    for start in range(0, len(images), BATCH_SIZE):
        maps = extractor(images[start : start + BATCH_SIZE, ..., None].astype(np.float32), training=False)
        for name, cells in maps.items():
            flat = ops.reshape(cells, (cells.shape[0], -1, cells.shape[-1]))
            summary = ops.mean(flat, axis=1), ops.max(flat, axis=1), ops.argmax(flat, axis=1)
            batches[name].append([ops.convert_to_numpy(part) for part in summary])
    return {name: [np.concatenate(parts) for parts in zip(*batches[name], strict=True)] for name in layers}


def _cut(image: np.ndarray, cell: tuple[int, int], fields: tuple[Field, Field]) -> np.ndarray:
    """Return what a cell sees as `(32, 32)` float32 in [0, 1]."""
    within = [
        np.clip(field.pixels(place), 0, size - 1) for field, place, size in zip(fields, cell, image.shape, strict=True)
    ]
    patch = Image.fromarray(image[np.ix_(*within)])
    return np.asarray(patch.resize((PATCH_SIZE, PATCH_SIZE), Image.Resampling.BILINEAR), dtype=np.float32) / 255
