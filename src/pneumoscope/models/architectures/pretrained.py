"""Classifiers on backbones of `keras.applications`, pretrained on ImageNet.

Each model is flat, without nested models, so every layer is accessible by name.
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope.errors import TrainingError
from pneumoscope.models.registry import register_architecture

if TYPE_CHECKING:
    import keras

MIN_SIZE = 32
IMAGENET = "imagenet"


@dataclass(frozen=True)
class Backbone:
    """A model of `keras.applications` with its input normalization `gray level * scale + offset` per channel.

    Attributes:
        builder: name of the function in `keras.applications`.
        scale, offset: normalization of each channel, equal to `preprocess_input` of the model.
        options: further arguments of the function.
    """

    builder: str
    scale: Sequence[float]
    offset: Sequence[float]
    options: dict[str, Any] = field(default_factory=dict)


_FROM_MINUS_ONE_TO_ONE: dict[str, Any] = {"scale": [1 / 127.5] * 3, "offset": [-1.0] * 3}
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_STANDARDIZED: dict[str, Any] = {
    "scale": [1 / (255 * deviation) for deviation in _DEVIATION],
    "offset": [-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)],
}
_NOT_SCALED_TWICE = {"include_preprocessing": False}

BACKBONES: dict[str, Backbone] = {
    "mobilenet": Backbone("MobileNet", **_FROM_MINUS_ONE_TO_ONE, options={"alpha": 0.75}),
    "mobilenet-v2": Backbone("MobileNetV2", **_FROM_MINUS_ONE_TO_ONE),
    "mobilenet-v3-small": Backbone("MobileNetV3Small", **_FROM_MINUS_ONE_TO_ONE, options=_NOT_SCALED_TWICE),
    "mobilenet-v3-large": Backbone("MobileNetV3Large", **_FROM_MINUS_ONE_TO_ONE, options=_NOT_SCALED_TWICE),
    "efficientnetv2-b0": Backbone("EfficientNetV2B0", **_STANDARDIZED, options=_NOT_SCALED_TWICE),
    "densenet121": Backbone("DenseNet121", **_STANDARDIZED),
    "resnet50v2": Backbone("ResNet50V2", **_FROM_MINUS_ONE_TO_ONE),
    "convnext-tiny": Backbone("ConvNeXtTiny", **_STANDARDIZED, options=_NOT_SCALED_TWICE),
}


def build_transfer(
    backbone: str,
    num_outputs: int = 3,
    size: int = 160,
    channels: int = 1,
    *,
    weights: str | os.PathLike[str] | None = None,
    dropout: float = 0.2,
) -> "keras.Model":
    """Return a classifier on a pretrained backbone; the model has the name of the backbone.

    Input `(n, size, size, 1)` in [0, 255]; output `(n, num_outputs)` float32, softmax. The layer `embedding` is the
    global average of the last feature map.

    Args:
        backbone: one of `BACKBONES`.
        num_outputs: number of classes.
        size: side length of the images in pixels, 32 or more.
        channels: 1; the gray channel is repeated for the backbone.
        weights: weights of the backbone: a Keras weights file without top; `imagenet`, downloaded and cached by Keras;
            or None for random weights.
        dropout: dropout rate before the last layer.

    Raises:
        TrainingError: if the backbone does not exist, `size` or `channels` is invalid, or the weights are missing or
            belong to another model.
    """
    import keras
    from keras import layers

    if backbone not in BACKBONES:
        raise TrainingError(f"there is no backbone {backbone!r}; expected one of {', '.join(BACKBONES)}")
    if size < MIN_SIZE:
        raise TrainingError(f"images of {size} x {size} are too small for {backbone}; expected {MIN_SIZE} or more")
    if channels != 1:
        raise TrainingError(f"channels is {channels}, expected 1 for {backbone}")
    scaling = BACKBONES[backbone]
    inputs = keras.Input((size, size, 1), name="image")
    colors = layers.Concatenate(name="colors")([inputs, inputs, inputs])
    # Normalize in float32: bfloat16 would round gray levels before the offset is subtracted.
    colors = layers.Rescaling(scaling.scale, scaling.offset, dtype="float32", name="rescaling")(colors)
    model = _build_backbone(backbone, weights, colors)
    features = layers.GlobalAveragePooling2D(dtype="float32", name="embedding")(model.output)
    features = layers.Dropout(dropout, name="dropout")(features)
    outputs = layers.Dense(num_outputs, activation="softmax", dtype="float32", name="output")(features)
    return keras.Model(model.inputs[0], outputs, name=backbone)


for _name in BACKBONES:
    register_architecture(_name)(partial(build_transfer, _name))


def _build_backbone(name: str, weights: str | os.PathLike[str] | None, colors: "keras.KerasTensor") -> "keras.Model":
    import keras

    backbone = BACKBONES[name]
    options = {"input_tensor": colors, "input_shape": colors.shape[1:], "include_top": False, **backbone.options}
    build = partial(getattr(keras.applications, backbone.builder), **options)
    if weights == IMAGENET:
        return _flatten(_download(name, build))
    model = build(weights=None)
    if weights is not None:
        _load_weights(model, name, Path(weights))
    return _flatten(model)


def _download(name: str, build: Any) -> "keras.Model":
    with warnings.catch_warnings():
        # Keras warns if the weights were trained on another image size, which is harmless here.
        warnings.filterwarnings("ignore", message="`input_shape` is undefined")
        try:
            return build(weights=IMAGENET)
        except Exception as error:  # Keras raises a plain Exception if a download fails
            raise TrainingError(
                f"the ImageNet weights of {name} cannot be downloaded ({error}). Download them elsewhere and pass the "
                "file with --weights FILE, or train from random weights with --weights none."
            ) from None


def _load_weights(model: "keras.Model", name: str, path: Path) -> None:
    if not path.is_file():
        raise TrainingError(
            f"the weights file {path} does not exist; expected a file for {name} without top, imagenet, or none"
        )
    try:
        with warnings.catch_warnings():
            # Keras only warns about layers missing from the file.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        options = "".join(f", {option} {value}" for option, value in BACKBONES[name].options.items() if value)
        raise TrainingError(
            f"the weights in {path} do not match: {error} Expected weights of keras.applications."
            f"{BACKBONES[name].builder}{options}, saved without top. Use another file or another backbone."
        ) from None


def _flatten(model: "keras.Model") -> "keras.Model":
    """Return the model with nested models replaced by their layers."""
    import keras

    if not any(isinstance(layer, keras.Sequential) for layer in model.layers):
        return model

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        if not isinstance(layer, keras.Sequential):
            return layer(*inputs, **options)
        (features,) = inputs
        for inner in layer.layers:
            features = inner(features)
        return features

    flat = keras.models.clone_model(model, call_function=call)
    flat.set_weights(model.get_weights())
    return flat
