"""Patch features of images from layers of a network, and anomaly maps from distances of patches.

A patch is one position of a feature map: the channels of several layers there, each averaged over its 3 x 3
neighborhood (K. Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022), finer layers averaged
and coarser ones interpolated to the size of the first.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.anomaly.detector import split_images
from pneumoscope.errors import TrainingError
from pneumoscope.progress import track

if TYPE_CHECKING:
    import keras

IMAGENET_SIZE = 224
IMAGENET_LAYERS = ("conv_pw_5_relu", "conv_pw_3_relu", "conv_pw_11_relu")
# At strides of 8, 4 and 16 pixels.
ENCODER_LAYERS = ("stage_2_1", "stage_1_1", "stage_3_1")
MAP_BLUR = 4 / 224  # standard deviation of the blur of anomaly maps, as a share of the image size


@dataclass(frozen=True)
class FeatureSource:
    """A network that patch features are taken from.

    Attributes:
        name: of the source: `imagenet` or `synthetic_anomalies`.
        encoder: the network of the layers.
        extractor: `(n, H, W, 1)` float32 gray levels in [0, 255] to the outputs of `layers`, channels last.
        layers: their names; the first gives the size of the feature map.
        join: outputs of the layers to `(n, h, w, d)` float32 patches.
        patches: images to patches, one after the other.
    """

    name: str
    encoder: "keras.Model"
    extractor: "keras.Model"
    layers: tuple[str, ...]
    join: "keras.Model"
    patches: "keras.Model"


def build_source(
    name: str,
    encoder: "keras.Model",
    layers: Sequence[str],
    *,
    input_size: int | None = None,
    standardize: bool = False,
) -> FeatureSource:
    """Return a source of patch features from layers of a network.

    Args:
        name: of the source.
        encoder: gray images `(n, S, S, 1)` in [0, 255] to anything.
        layers: names of layers with feature maps; the first gives the size of the result.
        input_size: side of the images in pixels, where that is not the network's own.
        standardize: bring each image to a mean of 128 and a standard deviation of 64 first, so that exposure does not
            raise the anomaly score.

    Raises:
        TrainingError: if the network has no such layer.
    """
    import keras

    available = {layer.name for layer in encoder.layers}
    if missing := [layer for layer in layers if layer not in available]:
        raise TrainingError(
            f"{encoder.name} has no layer {', '.join(missing)}; name layers with feature maps that it has"
        )
    size = encoder.input_shape[1]
    inner = keras.Model(encoder.inputs, [encoder.get_layer(layer).output for layer in layers], name=f"{name}_layers")
    inner.trainable = False
    images = inputs = keras.Input((input_size or size, input_size or size, 1), name="image")
    if input_size not in (None, size):
        images = keras.layers.Resizing(size, size, interpolation="bilinear", dtype="float32", name="resize")(images)
    if standardize:
        images = keras.layers.LayerNormalization(
            axis=(1, 2, 3), center=False, scale=False, dtype="float32", name="standardization_of_source"
        )(images)
        images = keras.layers.Rescaling(64.0, 128.0, dtype="float32", name="gray_levels")(images)
    outputs = inner(images)
    outputs = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    extractor = keras.Model(inputs, outputs, name=name)
    extractor.trainable = False
    grid = outputs[0].shape[1]
    parts = [_resize_to_grid(features, grid, layer) for features, layer in zip(outputs, layers, strict=True)]
    joined = keras.layers.Concatenate(dtype="float32", name="patches")(parts) if len(parts) > 1 else parts[0]
    join = keras.Model(outputs, joined, name=f"{name}_join")
    patches = keras.Model(inputs, joined, name=f"{name}_patches")
    return FeatureSource(name, encoder, extractor, tuple(layers), join, patches)


def load_imagenet_source(weights: str | os.PathLike[str] | None, *, input_size: int) -> FeatureSource:
    """Return a MobileNet with ImageNet weights as a source.

    Args:
        weights: file of `keras.applications` weights without top; None for random ones.
        input_size: side of the images in pixels; they are resized to `IMAGENET_SIZE`.
    """
    import keras

    from pneumoscope.models.architectures.pretrained import build_transfer

    # Distances depend on small differences, which bfloat16 would round away.
    keras.config.set_dtype_policy("float32")
    encoder = build_transfer("mobilenet", weights=weights, size=IMAGENET_SIZE)
    return build_source("imagenet", encoder, IMAGENET_LAYERS, input_size=input_size, standardize=True)


def extract_patches(source: FeatureSource, images: np.ndarray) -> np.ndarray:
    """Return `(n, h, w, d)` float32 patch features of a few `(n, H, W)` uint8 images; all are kept in memory."""
    return np.asarray(source.patches.predict(images[..., None].astype(np.float32), batch_size=32, verbose=0))


def map_patches(measure: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """Return `(n, H, W)` float32 anomaly maps, from a function of images to `(n, h, w)` distances of their patches.

    Maps are interpolated bilinearly and blurred.
    """
    import cv2

    size = images.shape[1]
    maps = np.empty((len(images), size, size), np.float32)
    distances = (distance for part in split_images(images) for distance in measure(part))
    for number, distance in enumerate(distances):
        pixels = cv2.resize(distance.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
        maps[number] = cv2.GaussianBlur(pixels, (0, 0), MAP_BLUR * size)
    return maps


def weigh_positions(source: FeatureSource) -> list[np.ndarray]:
    """Return for each layer the weights by which the mean patch of an image averages positions, `(h, w)` float32."""
    import keras

    grid, weights = source.patches.output_shape[1], []
    for layer, features in zip(source.layers, source.extractor.outputs, strict=True):
        side = features.shape[1]
        single = keras.Input((side, side, 1))
        impulses = np.eye(side * side, dtype=np.float32).reshape(-1, side, side, 1)
        spread = keras.Model(single, _resize_to_grid(single, grid, layer)).predict(impulses, verbose=0)
        weights.append(spread.mean(axis=(1, 2, 3)).reshape(side, side))
    return weights


def average_patches(source: FeatureSource, images: np.ndarray) -> np.ndarray:
    """Return `(n, d)` float32, the mean patch of each of `(n, H, W)` uint8 images."""
    parts = track(split_images(images), f"Embedding by {source.name}")
    return np.concatenate([extract_patches(source, part).mean(axis=(1, 2)) for part in parts])


def _resize_to_grid(features: "keras.KerasTensor", grid: int, layer: str) -> "keras.KerasTensor":
    import keras

    pool = keras.layers.AveragePooling2D(3, strides=1, padding="same", dtype="float32", name=f"{layer}_averaged")
    averaged = pool(features)
    side = averaged.shape[1]
    if side > grid and side % grid == 0:
        return keras.layers.AveragePooling2D(side // grid, dtype="float32", name=f"{layer}_on_grid")(averaged)
    if side != grid:
        return keras.layers.Resizing(grid, grid, dtype="float32", name=f"{layer}_on_grid")(averaged)
    return averaged
