"""Classifiers on backbones of `keras.applications`, pretrained on ImageNet.

Each model is flat, without nested models, so every layer is accessible by name.
"""

import os
import warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope.errors import TrainingError
from pneumoscope.models.flatten import flatten_model
from pneumoscope.models.keras_file import PREPROCESSING
from pneumoscope.models.registry import Activation, register_architecture

if TYPE_CHECKING:
    import keras

IMAGENET = "imagenet"


@dataclass(frozen=True)
class Backbone:
    """A model of `keras.applications`.

    Attributes:
        builder: name of the function in `keras.applications`.
        preprocess: key of `PREPROCESSING` that equals `preprocess_input` of the model.
        options: further arguments of the function.
        min_size: smallest side length of the images in pixels.
    """

    builder: str
    preprocess: str
    options: dict[str, Any] = field(default_factory=dict)
    min_size: int = 32


_NOT_SCALED_TWICE = {"include_preprocessing": False}

BACKBONES: dict[str, Backbone] = {
    "mobilenet": Backbone("MobileNet", "minus-1-1", {"alpha": 0.75}),
    "mobilenet-v2": Backbone("MobileNetV2", "minus-1-1"),
    "mobilenet-v3-small": Backbone("MobileNetV3Small", "minus-1-1", _NOT_SCALED_TWICE),
    "mobilenet-v3-large": Backbone("MobileNetV3Large", "minus-1-1", _NOT_SCALED_TWICE),
    **{
        f"efficientnetv2-b{number}": Backbone(f"EfficientNetV2B{number}", "imagenet-torch", _NOT_SCALED_TWICE)
        for number in range(4)
    },
    "densenet121": Backbone("DenseNet121", "imagenet-torch"),
    "resnet50": Backbone("ResNet50", "imagenet-caffe"),
    "resnet50v2": Backbone("ResNet50V2", "minus-1-1"),
    "convnext-tiny": Backbone("ConvNeXtTiny", "imagenet-torch", _NOT_SCALED_TWICE),
    "vgg16": Backbone("VGG16", "imagenet-caffe"),
    "inceptionv3": Backbone("InceptionV3", "minus-1-1", min_size=75),
    "xception": Backbone("Xception", "minus-1-1", min_size=71),
}


def build_transfer(
    backbone: str,
    num_outputs: int = 3,
    size: int = 160,
    channels: int = 1,
    *,
    weights: str | os.PathLike[str] | None = None,
    dropout: float = 0.2,
    activation: Activation = "softmax",
) -> "keras.Model":
    """Return a classifier on a pretrained backbone; the model has the name of the backbone.

    Input `(n, size, size, 1)` in [0, 255]; output `(n, num_outputs)` float32. The layer `embedding` is the
    global average of the last feature map.

    Args:
        backbone: one of `BACKBONES`.
        num_outputs: number of classes.
        size: side length of the images in pixels, `min_size` or more.
        channels: 1; the gray channel is repeated for the backbone.
        weights: weights of the backbone: a Keras weights file without top; `imagenet`, downloaded and cached by Keras;
            or None for random weights.
        dropout: dropout rate before the last layer.
        activation: of the last layer.

    Raises:
        TrainingError: if the backbone does not exist, `size` or `channels` is invalid, or the weights are missing or
            belong to another model.
    """
    import keras
    from keras import layers

    if backbone not in BACKBONES:
        raise TrainingError(f"there is no backbone {backbone!r}; expected one of {', '.join(BACKBONES)}")
    smallest = BACKBONES[backbone].min_size
    if size < smallest:
        raise TrainingError(f"images of {size} x {size} are too small for {backbone}; expected {smallest} or more")
    if channels != 1:
        raise TrainingError(f"channels is {channels}, expected 1 for {backbone}")
    factor, offset = PREPROCESSING[BACKBONES[backbone].preprocess]
    inputs = keras.Input((size, size, 1), name="image")
    colors = layers.Concatenate(name="colors")([inputs, inputs, inputs])
    # Normalize in float32: bfloat16 would round gray levels before the offset is subtracted.
    colors = layers.Rescaling(factor, offset, dtype="float32", name="rescaling")(colors)
    model = _build_backbone(backbone, weights, colors)
    features = layers.GlobalAveragePooling2D(dtype="float32", name="embedding")(model.output)
    features = layers.Dropout(dropout, name="dropout")(features)
    outputs = layers.Dense(num_outputs, activation=activation, dtype="float32", name="output")(features)
    return keras.Model(model.inputs[0], outputs, name=backbone)


for _name in BACKBONES:
    register_architecture(_name)(partial(build_transfer, _name))


def _build_backbone(name: str, weights: str | os.PathLike[str] | None, colors: "keras.KerasTensor") -> "keras.Model":
    import keras

    backbone = BACKBONES[name]
    options = {"input_tensor": colors, "input_shape": colors.shape[1:], "include_top": False, **backbone.options}
    build = partial(getattr(keras.applications, backbone.builder), **options)
    if weights == IMAGENET:
        return _replace_nested(_download(name, build))
    model = build(weights=None)
    if weights is not None:
        _load_weights(model, name, Path(weights))
    return _replace_nested(model)


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


def _replace_nested(model: "keras.Model") -> "keras.Model":
    import keras

    return flatten_model(model) if any(isinstance(layer, keras.Model) for layer in model.layers) else model
