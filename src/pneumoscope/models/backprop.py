"""The gradients of a classifier's scores by arithmetic that ONNX can hold, which has no gradients of its own.

Each kind of layer has a rule for the way back: from the gradient at its output to that at its inputs. A net whose
layers all have one can be walked back from its scores to its first convolution. Where paths meet on the way back,
as before a short cut, their gradients add up.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from pneumoscope.errors import ExportError

Values = dict[str, Any]


def check_rules(net: keras.Model) -> None:
    """Make sure that a classifier can be walked back.

    Raises:
        ExportError: naming the layers that there is no rule for.
    """
    unknown = [layer.name for layer in net.operations if not isinstance(layer, tuple(_RULES))]
    views = () if unknown else list_views(net)
    if views:
        first = [layer.name for layer in net.layers].index(views[0])
        unknown = [layer.name for layer in net.layers[first + 1 :] if _find_rule(layer) is _back_input]
    if unknown or not views or not isinstance(net.layers[-1], layers.Dense):
        known = ", ".join(kind.__name__ for kind, rule in _RULES.items() if rule is not _back_input)
        told = ", ".join(unknown) or "the last layer"
        raise ExportError(f"no rule to walk back through {told} of {net.name}; there are rules for {known}")


def list_views(net: keras.Model) -> tuple[str, ...]:
    """Return the names of the layers that heat-maps are taken of, from the input on.

    They are the convolutional layers that rectify by themselves and, where convolution, normalization and
    rectification are layers of their own, the rectified cells that residual blocks start from and end in. In a net that
    has neither, they are the last rectified layers before the grid gets coarser.
    """
    sources = find_sources(net)
    kinds = {layer.name: layer for layer in net.operations}
    uses = Counter(source for given in sources.values() for source in given)
    views = tuple(
        layer.name
        for layer in net.layers
        if (isinstance(layer, layers.Conv2D) and layer.activation is not keras.activations.linear)
        or (
            isinstance(layer, layers.ReLU)
            and (uses[layer.name] > 1 or isinstance(kinds[sources[layer.name][0]], layers.Add))
        )
    )
    last_of_grid = {layer.output.shape[1:3]: layer.name for layer in net.layers if _rectifies(layer)}
    return views or tuple(last_of_grid.values())


def _rectifies(layer: Any) -> bool:
    return isinstance(layer, layers.ReLU) or (
        isinstance(layer, layers.Activation) and layer.activation is keras.activations.relu
    )


def find_end(net: keras.Model) -> str:
    """Return the name of the last layer whose output still is a grid of cells."""
    return [layer.name for layer in net.layers[1:] if len(layer.output.shape) == 4][-1]


def walk_forward(net: keras.Model, images: Any, end: str) -> Values:
    """Return the output of each layer up to `end`, by name."""
    values: Values = {}
    sources = find_sources(net)
    for layer in net.layers:
        given = [values[source] for source in sources[layer.name]]
        values[layer.name] = layer(given if len(given) > 1 else given[0], training=False) if given else images
        if layer.name == end:
            break
    return values


def backprop(net: keras.Model, values: Values, gradient: Any, start: str, stop: str) -> tuple[Any, Values]:
    """Go from the output of the layer `start` to that of `stop`, with the heat-maps of the views on the way.

    Args:
        net: a classifier for which `check_rules` finds nothing.
        values: the output of each layer from the input to `start`, by name.
        gradient: `(n, classes, ...)`, of each class's score, at the output of `start`.
        start, stop: names of layers; every path from `start` back to the input leads through `stop`.

    Returns:
        The gradient at the output of `stop`, and by `heatmap_LAYER` the heat-maps `(n, classes, h, w)`: activation
        times gradient, summed over the filters, where above 0.
    """
    sources, views, heatmaps = find_sources(net), list_views(net), {}
    gradients = {start: gradient}
    for layer in reversed(net.layers):
        if layer.name not in gradients:
            continue
        gradient, outputs = gradients.pop(layer.name), values[layer.name]
        if layer.name in views:
            heatmaps[f"heatmap_{layer.name}"] = ops.relu(ops.sum(gradient * outputs[:, None], axis=-1))
        if layer.name == stop:
            break
        rule = _find_rule(layer)
        for source in sources[layer.name]:
            back = rule(layer, gradient, values[source], outputs)
            gradients[source] = gradients[source] + back if source in gradients else back
    return gradient, heatmaps


def find_sources(net: keras.Model) -> dict[str, list[str]]:
    """Return by layer the names of the layers whose outputs it takes."""
    makers = {id(layer.output): layer.name for layer in net.operations}
    return {
        layer.name: []
        if isinstance(layer, layers.InputLayer)
        else [makers[id(tensor)] for tensor in keras.tree.flatten(layer.input)]
        for layer in net.operations
    }


def _rectify(gradient: Any, outputs: Any) -> Any:
    return gradient * ops.cast(outputs[:, None] > 0, gradient.dtype)


def _back_activation(layer: Any, gradient: Any, outputs: Any) -> Any:
    if layer.activation is keras.activations.linear:
        return gradient
    if layer.activation is not keras.activations.relu:
        raise ExportError(f"no rule to walk back through the activation of {layer.name}; known are relu and linear")
    return _rectify(gradient, outputs)


def _back_relu(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    if layer.negative_slope or layer.threshold:
        raise ExportError(f"no rule to walk back through {layer.name}; expected no slope or threshold but 0")
    gradient = _rectify(gradient, outputs)
    if layer.max_value is None:
        return gradient
    return gradient * ops.cast(outputs[:, None] < layer.max_value, gradient.dtype)


def _back_activation_alone(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    return _back_activation(layer, gradient, outputs)


def _back_dense(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    gradient = _back_activation(layer, gradient, outputs)
    flat = ops.reshape(gradient, (-1, gradient.shape[-1]))
    # The kernel stays as it stands, so that the graph holds it once.
    back = ops.transpose(ops.matmul(layer.kernel, ops.transpose(flat)))
    return ops.reshape(back, (-1, *gradient.shape[1:-1], layer.kernel.shape[0]))


def _back_convolution(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    if layer.dilation_rate != (1, 1) or layer.groups != 1:
        raise ExportError(f"no rule to walk back through {layer.name}; expected dilation and groups of 1")
    gradient = _back_activation(layer, gradient, outputs)
    flat = ops.reshape(gradient, (-1, *gradient.shape[2:]))
    # The kernel stays as it stands, so that the graph holds it once.
    back = ops.conv_transpose(flat, layer.kernel, layer.strides, padding=layer.padding)
    if back.shape[1:3] != inputs.shape[1:3]:
        raise ExportError(f"no rule to walk back through {layer.name}; expected strides that divide its input")
    return ops.reshape(back, (-1, gradient.shape[1], *inputs.shape[1:]))


def _back_depthwise(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    if layer.dilation_rate != (1, 1) or layer.depth_multiplier != 1:
        raise ExportError(f"no rule to walk back through {layer.name}; expected dilation and depth multiplier of 1")
    gradient = _back_activation(layer, gradient, outputs)
    flat = ops.reshape(gradient, (-1, *gradient.shape[2:]))
    margins = []
    for axis, (side, stride) in enumerate(zip(layer.kernel_size, layer.strides, strict=True), start=1):
        flat = _part_cells(flat, stride, axis)
        size, reached = inputs.shape[axis], (outputs.shape[axis] - 1) * stride + side
        before = max(reached - size, 0) // 2 if layer.padding == "same" else 0
        margins.append((side - 1 - before, size + before - flat.shape[axis]))
    flat = ops.pad(flat, ((0, 0), *margins, (0, 0)))
    back = ops.depthwise_conv(flat, ops.flip(layer.kernel, (0, 1)), padding="valid")
    return ops.reshape(back, (-1, gradient.shape[1], *inputs.shape[1:]))


def _part_cells(cells: Any, stride: int, axis: int) -> Any:
    """Put zeros between the cells of an axis, one less than the stride."""
    if stride == 1:
        return cells
    parted = ops.stack([cells, *[ops.zeros_like(cells)] * (stride - 1)], axis=axis + 1)
    shape = list(cells.shape[1:])
    shape[axis - 1] *= stride
    kept = (*[slice(None)] * axis, slice(shape[axis - 1] - stride + 1))
    return ops.reshape(parted, (-1, *shape))[kept]


def _back_padding(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    (top, _), (left, _) = layer.padding
    height, width = inputs.shape[1:3]
    return gradient[:, :, top : top + height, left : left + width]


def _back_max_pooling(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    _check_halving(layer)
    (height, width), (rows, columns) = inputs.shape[1:3], outputs.shape[1:3]
    routed, taken = [], None
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        # The first of equals gets all, as in the gradients of Keras' backends.
        largest = inputs[:, row : 2 * rows : 2, column : 2 * columns : 2] == outputs
        first = largest if taken is None else ops.logical_and(largest, ops.logical_not(taken))
        taken = largest if taken is None else ops.logical_or(taken, largest)
        routed.append(gradient * ops.cast(first, gradient.dtype)[:, None])
    return _spread(routed, gradient, inputs, outputs, (height, width))


def _back_average_pooling(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    _check_halving(layer)
    return _spread([gradient / 4] * 4, gradient, inputs, outputs, inputs.shape[1:3])


def _check_halving(layer: Any) -> None:
    if layer.pool_size != (2, 2) or layer.strides != (2, 2):
        raise ExportError(f"no rule to walk back through {layer.name}; expected a pool and strides of 2 x 2")


def _spread(parts: list[Any], gradient: Any, inputs: Any, outputs: Any, shape: tuple[int, int]) -> Any:
    """Put four gradients into the four corners of each 2 x 2 pool; a row or column left over gets none."""
    rows, columns = outputs.shape[1:3]
    pairs = [ops.stack(pair, axis=4) for pair in (parts[:2], parts[2:])]
    back = ops.reshape(ops.stack(pairs, axis=3), (-1, gradient.shape[1], 2 * rows, 2 * columns, inputs.shape[-1]))
    left = shape[0] - 2 * rows, shape[1] - 2 * columns
    return ops.pad(back, ((0, 0), (0, 0), (0, left[0]), (0, left[1]), (0, 0))) if any(left) else back


def _back_mean(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    height, width = inputs.shape[1:3]
    return ops.tile(gradient[:, :, None, None] / (height * width), (1, 1, height, width, 1))


def _back_normalization(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    return gradient * (layer.gamma / ops.sqrt(layer.moving_variance + layer.epsilon))


def _back_flatten(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    return ops.reshape(gradient, (-1, gradient.shape[1], *inputs.shape[1:]))


def _back_input(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    raise ExportError(f"no rule to walk back through {layer.name}; expected to stop at a layer behind it")


def _pass(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    return gradient


_Rule = Callable[[Any, Any, Any, Any], Any]


def _find_rule(layer: Any) -> _Rule:
    return next(rule for kind, rule in _RULES.items() if isinstance(layer, kind))


_RULES: dict[type, _Rule] = {
    layers.InputLayer: _back_input,
    layers.Concatenate: _back_input,
    layers.Rescaling: _back_input,
    layers.LayerNormalization: _back_input,
    layers.DepthwiseConv2D: _back_depthwise,
    layers.Conv2D: _back_convolution,
    layers.ZeroPadding2D: _back_padding,
    layers.BatchNormalization: _back_normalization,
    layers.ReLU: _back_relu,
    layers.Activation: _back_activation_alone,
    layers.Add: _pass,
    layers.MaxPooling2D: _back_max_pooling,
    layers.AveragePooling2D: _back_average_pooling,
    layers.GlobalAveragePooling2D: _back_mean,
    layers.Flatten: _back_flatten,
    layers.Dense: _back_dense,
    layers.Dropout: _pass,
}
