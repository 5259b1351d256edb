"""Receptive fields of the cells of a layer, from the kernels, strides and paddings on the way to it.

The recurrence is that of Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks",
Distill 2019, in whole pixels instead of size and center.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Field:
    """The pixels that the cells of a layer see, along one axis.

    Cell `i` sees the pixels `low + i * step` to `high + i * step`, both included. They reach beyond the
    image where layers pad.

    Attributes:
        low, high: first and last pixel seen by cell 0.
        step: pixels from one cell to the next.

    Example:
        >>> Field(low=0, high=17, step=4).centers(3)
        array([ 8.5, 12.5, 16.5])
    """

    low: int
    high: int
    step: int

    def centers(self, num_cells: int) -> np.ndarray:
        """Return `(num_cells,)` float64, the pixel coordinate in the middle of what each cell sees."""
        return (self.low + self.high) / 2 + self.step * np.arange(num_cells)

    def pixels(self, cell: int) -> np.ndarray:
        """Return `(high - low + 1,)` int, the pixels that one cell sees; some may lie outside of the image."""
        return np.arange(self.low, self.high + 1) + cell * self.step


def receptive_fields(model: "keras.Model", layer: str) -> tuple[Field, Field]:
    """Return what the cells of a layer see, along rows and along columns.

    Args:
        model: a built Keras functional or sequential model with one image input, channels last.
        layer: name of a layer whose output is `(n, height, width, filters)`.

    Raises:
        ValueError: if the model has no layer of that name, or it has no grid of cells; lists those that do.
    """
    fields = _fields_by_layer(model)
    if layer not in fields:
        reason = "has no grid of cells" if layer in {item.name for item in model.layers} else "is not in the model"
        raise ValueError(f"layer {layer!r} {reason}; name one of the layers with a grid of cells: {', '.join(fields)}")
    return fields[layer]


def upsample(maps: np.ndarray, rows: Field, columns: Field, shape: tuple[int, ...]) -> np.ndarray:
    """Upsample feature maps to the size of the image, and scale each so that its largest value is 1.

    Interpolation is linear between the centers of the receptive fields, and falls to 0 beyond the outermost cells.

    Args:
        maps: `(n, h, w)` float32, not negative.
        rows, columns: receptive fields of the cells.
        shape: height and width of the image.

    Returns:
        `(n, H, W)` float32 in [0, 1]; a map of zeros stays so.
    """
    down = _weigh_pixels(rows, maps.shape[1], shape[0])
    across = _weigh_pixels(columns, maps.shape[2], shape[1])
    return scale_to_peak(down.T @ maps @ across)


def scale_to_peak(maps: np.ndarray) -> np.ndarray:
    """Return `(n, H, W)` maps of 0 or more, each over its largest value; a map of zeros stays so."""
    largest = maps.max(axis=(1, 2), keepdims=True)
    return np.asarray(np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0))


def _weigh_pixels(field: Field, num_cells: int, size: int) -> np.ndarray:
    """Return `(num_cells, size)` float32, the weight of each cell at each pixel."""
    distances = np.abs(np.arange(size) - field.centers(num_cells)[:, None])
    return np.asarray(np.maximum(1 - distances / field.step, 0), dtype=np.float32)


def _fields_by_layer(model: "keras.Model") -> dict[str, tuple[Field, Field]]:
    import keras

    pixel = Field(low=0, high=0, step=1)
    by_tensor = {id(model.inputs[0]): (pixel, pixel)}
    by_layer: dict[str, tuple[Field, Field]] = {}
    for layer in getattr(model, "operations", model.layers):
        if isinstance(layer, keras.layers.InputLayer):
            continue
        sources = [by_tensor.get(id(tensor)) for tensor in keras.tree.flatten(layer.input)]
        fields = [source for source in sources if source is not None]
        if len(fields) == len(sources) and _keeps_grid(layer):
            rows, columns = (_step_through(layer, [field[axis] for field in fields], axis=axis) for axis in (0, 1))
            by_tensor[id(layer.output)] = by_layer[layer.name] = (rows, columns)
    return by_layer


def _keeps_grid(layer: Any) -> bool:
    """Whether the cells of a layer's output can be traced to cells of its input."""
    import keras

    if _is_window(layer):
        return True
    shapes = [tensor.shape for tensor in keras.tree.flatten([layer.input, layer.output])]
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
    """Follow the cells through one layer along one axis; where paths meet, their fields are joined."""
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
        size, cells = layer.input.shape[1 + axis], layer.output.shape[1 + axis]
        before = max((cells - 1) * stride + reach + 1 - size, 0) // 2
    return Field(source.low - before * source.step, source.high + (reach - before) * source.step, source.step * stride)
