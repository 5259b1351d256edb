"""Patch features from layers of a model, and anomaly maps from patch distances.

A patch feature concatenates the channels of several layers at one position of the feature map. Each layer is averaged
over a 3 x 3 neighborhood and resized to the first layer: finer layers by averaging, coarser layers by interpolation
(K. Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022).
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
# Strides of 8, 4 and 16 pixels.
ENCODER_LAYERS = ("stage_2_1", "stage_1_1", "stage_3_1")
MAP_BLUR = 4 / 224  # standard deviation of the Gaussian blur of anomaly maps, relative to the image size


@dataclass(frozen=True)
class FeatureSource:
    """Patch feature extractor.

    Attributes:
        name: `imagenet` or `synthetic_anomalies`.
        encoder: model with the layers.
        extractor: maps `(n, H, W, 1)` float32 gray levels in [0, 255] to the outputs of `layers`, channels last.
        layers: layer names; the first defines the size of the feature map.
        join: maps layer outputs to patch features, `(n, h, w, d)` float32.
        patches: `extractor` followed by `join`.
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
    """Build a patch feature extractor from layers of a model.

    Args:
        name: name of the extractor.
        encoder: model of gray images `(n, S, S, 1)` with values in [0, 255].
        layers: names of layers with feature maps; the first defines the size of the result.
        input_size: side length of the images in pixels, if it differs from the model's input; images are resized.
        standardize: normalize each image to a mean of 128 and a standard deviation of 64, so that exposure does not
            affect the anomaly score.

    Raises:
        TrainingError: if the model lacks one of the layers.
    """
    import keras

    available = {layer.name for layer in encoder.layers}
    if missing := [layer for layer in layers if layer not in available]:
        raise TrainingError(f"{encoder.name} has no layer {', '.join(missing)}; expected layers with feature maps")
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
    """Return a MobileNet with ImageNet weights as patch feature extractor.

    Args:
        weights: file of `keras.applications` weights without top; None for random weights.
        input_size: side length of the images in pixels; images are resized to `IMAGENET_SIZE`.
    """
    import keras

    from pneumoscope.models.architectures.pretrained import build_transfer

    # Distances depend on small differences, which bfloat16 cannot represent.
    keras.config.set_dtype_policy("float32")
    encoder = build_transfer("mobilenet", weights=weights, size=IMAGENET_SIZE)
    return build_source("imagenet", encoder, IMAGENET_LAYERS, input_size=input_size, standardize=True)


def extract_patches(source: FeatureSource, images: np.ndarray) -> np.ndarray:
    """Return `(n, h, w, d)` float32 patch features of one batch of `(n, H, W)` uint8 images."""
    return np.asarray(source.patches.predict(images[..., None].astype(np.float32), batch_size=32, verbose=0))


def map_patches(measure: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """Return anomaly maps, bilinearly upsampled and blurred, `(n, H, W)` float32.

    Args:
        measure: maps images to patch distances, `(n, h, w)`.
        images: `(n, H, W)` uint8.
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
    """Return for each layer the position weights of the mean patch feature, `(h, w)` float32."""
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
    """Return `(n, d)` float32, the mean patch feature of each of `(n, H, W)` uint8 images."""
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
