"""Receptive fields of the positions of a layer, from kernel sizes, strides and paddings.

Source: A. Araujo, W. Norris and J. Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019;
here as first and last pixel instead of size and center.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Field:
    """Receptive fields of the positions of a layer along one axis.

    The receptive field of position `i` is the pixels `low + i * step` to `high + i * step`, inclusive. With padding it
    extends beyond the image.

    Attributes:
        low, high: first and last pixel of position 0.
        step: pixels between adjacent positions.

    Example:
        >>> Field(low=0, high=17, step=4).centers(3)
        array([ 8.5, 12.5, 16.5])
    """

    low: int
    high: int
    step: int

    def centers(self, num_positions: int) -> np.ndarray:
        """Return `(num_positions,)` float64, the pixel coordinates of the centers of the receptive fields."""
        return (self.low + self.high) / 2 + self.step * np.arange(num_positions)

    def pixels(self, position: int) -> np.ndarray:
        """Return `(high - low + 1,)` int, the pixels of one receptive field; some may lie outside the image."""
        return np.arange(self.low, self.high + 1) + position * self.step


def receptive_fields(model: "keras.Model", layer: str) -> tuple[Field, Field]:
    """Return the receptive fields of a layer along rows and columns.

    Args:
        model: built Keras functional or sequential model with one image input, channels last.
        layer: name of a layer with output `(n, height, width, filters)`.

    Raises:
        ValueError: if the layer does not exist or has no feature map.
    """
    fields = _fields_by_layer(model)
    if layer not in fields:
        reason = "has no feature map" if layer in {item.name for item in model.layers} else "does not exist"
        raise ValueError(f"layer {layer!r} {reason}; expected one of {', '.join(fields)}")
    return fields[layer]


def upsample(maps: np.ndarray, rows: Field, columns: Field, shape: tuple[int, ...]) -> np.ndarray:
    """Upsample feature maps to the size of the image, and divide each by its maximum.

    Interpolation is linear between the centers of the receptive fields, and decays to 0 outside the outermost ones.

    Args:
        maps: `(n, h, w)` float32, 0 or more.
        rows, columns: receptive fields of the layer.
        shape: height and width of the image.

    Returns:
        `(n, H, W)` float32 in [0, 1]; maps of zeros are unchanged.
    """
    down = _weigh_pixels(rows, maps.shape[1], shape[0])
    across = _weigh_pixels(columns, maps.shape[2], shape[1])
    return scale_to_peak(down.T @ maps @ across)


def scale_to_peak(maps: np.ndarray) -> np.ndarray:
    """Divide each of `(n, H, W)` maps (values of 0 or more) by its maximum; maps of zeros are unchanged."""
    largest = maps.max(axis=(1, 2), keepdims=True)
    return np.asarray(np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0))


def _weigh_pixels(field: Field, num_positions: int, size: int) -> np.ndarray:
    """Return `(num_positions, size)` float32, the interpolation weight of each position at each pixel."""
    distances = np.abs(np.arange(size) - field.centers(num_positions)[:, None])
    return np.asarray(np.maximum(1 - distances / field.step, 0), dtype=np.float32)


def _fields_by_layer(model: "keras.Model") -> dict[str, tuple[Field, Field]]:
    import keras

    pixel = Field(low=0, high=0, step=1)
    by_tensor = {id(model.inputs[0]): (pixel, pixel)}
    by_layer: dict[str, tuple[Field, Field]] = {}
    for layer in getattr(model, "operations", model.layers):
        if isinstance(layer, keras.layers.InputLayer):
            continue
        inputs = keras.tree.flatten(layer.input)
        # Inputs of one position scale whole feature maps, as squeeze and excitation does.
        inputs = [tensor for tensor in inputs if tensor.shape[1:3] != (1, 1)] or inputs
        sources = [by_tensor.get(id(tensor)) for tensor in inputs]
        fields = [source for source in sources if source is not None]
        if len(fields) == len(sources) and _keeps_grid(layer, inputs):
            rows, columns = (_step_through(layer, [field[axis] for field in fields], axis=axis) for axis in (0, 1))
            by_tensor[id(layer.output)] = by_layer[layer.name] = (rows, columns)
    return by_layer


def _keeps_grid(layer: Any, inputs: list[Any]) -> bool:
    """Return whether the positions of a layer's output correspond to positions of its inputs."""
    if _is_window(layer):
        return True
    shapes = [tensor.shape for tensor in (*inputs, layer.output)]
    return all(len(shape) == 4 and shape[1:3] == shapes[0][1:3] for shape in shapes)


def _is_window(layer: Any) -> bool:
    from keras import layers

    return isinstance(
        layer,
        layers.Conv2D
        | layers.DepthwiseConv2D
        | layers.SeparableConv2D
        | layers.MaxPooling2D
        | layers.AveragePooling2D
        | layers.ZeroPadding2D,
    )


def _step_through(layer: Any, sources: list[Field], *, axis: int) -> Field:
    """Return the receptive field after one layer along one axis; several inputs give the union."""
    source = Field(
        min(field.low for field in sources), max(field.high for field in sources), max(field.step for field in sources)
    )
    if not _is_window(layer):
        return source
    if not hasattr(layer, "strides"):
        added = layer.padding[axis][0] * source.step
        return Field(source.low - added, source.high - added, source.step)
    kernel = (layer.kernel_size if hasattr(layer, "kernel_size") else layer.pool_size)[axis]
    reach = (kernel - 1) * getattr(layer, "dilation_rate", (1, 1))[axis]
    stride = layer.strides[axis]
    before = 0
    if layer.padding == "same":
        size, length = layer.input.shape[1 + axis], layer.output.shape[1 + axis]
        before = max((length - 1) * stride + reach + 1 - size, 0) // 2
    return Field(source.low - before * source.step, source.high + (reach - before) * source.step, source.step * stride)
