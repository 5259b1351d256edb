"""Any `.keras` file as a flat model of gray levels from 0 to 255."""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope.errors import ModelError
from pneumoscope.models.flatten import check_ends, find_embedding_layer, find_last_layer, flatten_model, list_operations
from pneumoscope.progress import log

if TYPE_CHECKING:
    import keras

_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
# Factor and offset of gray levels from 0 to 255, for all channels or for each. With `imagenet-caffe`, the order of the
# channels is blue, green, red.
PREPROCESSING: dict[str, tuple[Any, Any]] = {
    "0-1": (1 / 255, 0.0),
    "minus-1-1": (1 / 127.5, -1.0),
    "imagenet-torch": ((1 / (255 * _DEVIATION)).tolist(), (-_MEAN / _DEVIATION).tolist()),
    "imagenet-caffe": ([1.0, 1.0, 1.0], [-103.939, -116.779, -123.68]),
    "none": (1.0, 0.0),
}
# Layers that may stand before the layer that rescales.
_KEEP_LEVELS = ("Random", "Resizing", "CenterCrop", "Concatenate", "Reshape", "Auto")
# Rescaling with a larger factor and without such an offset is not meant for gray levels from 0 to 255.
_MAX_FACTOR, _MIN_OFFSET = 0.1, -100.0


def open_keras(path: str | os.PathLike[str]) -> "keras.Model":
    """Open a `.keras` file in safe mode, which executes no code from the file.

    Raises:
        ModelError: if the file is missing, damaged, or has other layers than those of Keras.
    """
    import keras

    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path} does not exist; expected a .keras file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
            check_ends(model)
    except Exception as error:  # Keras raises errors of all types for damaged files
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path} cannot be opened: {reason}. Expected a functional or sequential model, saved as .keras, with "
            "layers of Keras only (no Lambda, no custom layers)"
        ) from None
    return model


def wrap_model(
    model: "keras.Model", *, preprocess: str | None = None, size: int | None = None, with_weights: bool = True
) -> "keras.Model":
    """Return a flat float32 copy of a classifier that takes gray levels `(n, size, size, 1)` from 0 to 255.

    Args:
        model: functional or sequential model of images with one or three channels, channels last.
        preprocess: one of `PREPROCESSING`; not needed if the model begins with Rescaling or Normalization.
        size: side length of the images, if the model takes any, or if its weights are not copied.
        with_weights: see `flatten_model`.

    Raises:
        ModelError: if the model takes or gives something else, or its preprocessing is not known.
    """
    import keras

    side, channels = _check_input(model, size, fixed=with_weights)
    if len(model.output_shape) != 2:
        raise ModelError(f"{model.name} gives {model.output_shape}; expected (n, classes), as a classifier gives")
    factor, offset = PREPROCESSING[_choose_preprocessing(model, preprocess)]
    if channels == 1 and isinstance(factor, list):
        raise ModelError(f"{preprocess} is defined for three channels; {model.name} takes one")
    image = inputs = keras.Input((side, side, 1), name="image")
    if channels == 3:
        inputs = keras.layers.Concatenate(dtype="float32", name="colors")([inputs] * 3)
    if (factor, offset) != PREPROCESSING["none"]:
        inputs = keras.layers.Rescaling(factor, offset, dtype="float32", name="preprocessing")(inputs)
    try:
        return flatten_model(model, image=image, inputs=inputs, with_weights=with_weights)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{model.name} does not take images of {side} x {side}: {reason}") from None


def activate_logits(model: "keras.Model", *, independent: bool) -> None:
    """Give a classifier without a last activation one, in place: softmax, or sigmoid for independent or single outputs.

    The change is logged.
    """
    import keras

    last = find_last_layer(model)
    if isinstance(last, keras.layers.Dense) and last.activation is keras.activations.linear:
        name = "sigmoid" if independent or last.units == 1 else "softmax"
        last.activation = keras.activations.get(name)
        log.warning("%s gives logits: a %s is added to its last layer", model.name, name)


def build_like(
    path: str | os.PathLike[str],
    num_outputs: int,
    size: int,
    channels: int = 1,
    *,
    activation: str = "softmax",
    dropout: float = 0.0,
) -> "keras.Model":
    """Return the architecture of a `.keras` file with random weights and a new head, for gray images.

    Without Rescaling or Normalization in the file, gray levels are divided by 255.
    """
    import keras

    source = open_keras(path)
    found = _find_rescaling(source)
    if found is None:
        log.warning("%s rescales nothing itself: gray levels are divided by 255", path)
    body = wrap_model(source, preprocess="none" if found else "0-1", size=size, with_weights=False)
    features = body.get_layer(find_embedding_layer(body)).output
    if dropout:
        features = keras.layers.Dropout(dropout, name="new_dropout")(features)
    outputs = keras.layers.Dense(num_outputs, activation=activation, dtype="float32", name="new_output")(features)
    return keras.Model(body.inputs[0], outputs, name=source.name if Path(path).stem == "model" else Path(path).stem)


def _check_input(model: "keras.Model", size: int | None, *, fixed: bool) -> tuple[int, int]:
    """Return side length and number of channels of the images; `size` decides unless the weights are `fixed`."""
    shape = model.inputs[0].shape[1:]
    if len(shape) != 3 or shape[-1] not in (None, 1, 3):
        raise ModelError(f"{model.name} takes {shape}; expected (height, width, channels) with one or three channels")
    height, width, channels = shape if fixed or size is None else (size, size, shape[-1])
    side = height or width or size
    if side is None:
        raise ModelError(f"{model.name} takes images of any size; name one with --size")
    if {height or side, width or side, size or side} != {side}:
        expected = f"{height} x {width}" if size is None else f"{size} x {size}"
        raise ModelError(f"{model.name} takes images of {height} x {width}; expected {expected}, and equal sides")
    return side, channels or 1


def _choose_preprocessing(model: "keras.Model", preprocess: str | None) -> str:
    found = _find_rescaling(model)
    if preprocess is None and found is None:
        raise ModelError(
            f"{model.name} does not begin with Rescaling or Normalization: name what it expects of gray levels from 0 "
            f"to 255 with --preprocess {'|'.join(PREPROCESSING)}"
        )
    if preprocess is None:
        log.info("%s rescales gray levels itself, with its layer %s", model.name, found)
        return "none"
    if preprocess not in PREPROCESSING:
        raise ModelError(f"preprocess is {preprocess!r}, expected one of {', '.join(PREPROCESSING)}")
    if found is not None and preprocess != "none":
        log.warning("gray levels are rescaled twice: by %s, and by the layer %s of the model", preprocess, found)
    return preprocess


def _find_rescaling(model: "keras.Model") -> str | None:
    """Return the path of the first layer that takes gray levels from 0 to 255 to a small range, if it comes first."""
    import keras

    for path, layer in list_operations(model):
        if isinstance(layer, keras.layers.Normalization):
            return path
        if isinstance(layer, keras.layers.Rescaling):
            small = np.max(np.abs(layer.scale)) <= _MAX_FACTOR or np.min(layer.offset) < _MIN_OFFSET
            return path if small else None
        if not type(layer).__name__.startswith(_KEEP_LEVELS):
            return None
    return None
