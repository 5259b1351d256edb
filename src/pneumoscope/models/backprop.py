"""Backpropagation of the scores of a classifier, built from ONNX-compatible layers, because ONNX has no gradients.

Each layer type has a rule that maps the gradient at its output to the gradient at its inputs. Gradients of several
consumers of a layer, as at a shortcut, are summed.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from pneumoscope.errors import ExportError

Values = dict[str, Any]


def check_supported(model: keras.Model) -> None:
    """Check that all layers between the first heatmap layer and the scores have a gradient rule.

    Raises:
        ExportError: if a layer has no rule; the message lists these layers.
    """
    unsupported = [layer.name for layer in model.operations if not isinstance(layer, tuple(_RULES))]
    heatmap_layers = () if unsupported else list_heatmap_layers(model)
    if heatmap_layers:
        first = [layer.name for layer in model.layers].index(heatmap_layers[0])
        unsupported = [layer.name for layer in model.layers[first + 1 :] if _find_rule(layer) is _back_input]
    if unsupported or not heatmap_layers or not isinstance(model.layers[-1], layers.Dense):
        supported = ", ".join(layer_type.__name__ for layer_type, rule in _RULES.items() if rule is not _back_input)
        names = ", ".join(unsupported) or "the last layer"
        raise ExportError(f"no gradient rule for {names} of {model.name}; supported layers are {supported}")


def list_heatmap_layers(model: keras.Model) -> tuple[str, ...]:
    """Return the names of the layers for heatmaps, in order from the input.

    These are convolutions with an activation. If convolution, normalization and ReLU are separate layers, they are the
    ReLU layers at inputs and outputs of residual blocks. In models with neither, they are the last ReLU layer at each
    resolution.
    """
    sources = layer_inputs(model)
    by_name = {layer.name: layer for layer in model.operations}
    num_uses = Counter(source for names in sources.values() for source in names)
    names = tuple(
        layer.name
        for layer in model.layers
        if (isinstance(layer, layers.Conv2D) and layer.activation is not keras.activations.linear)
        or (
            isinstance(layer, layers.ReLU)
            and (num_uses[layer.name] > 1 or isinstance(by_name[sources[layer.name][0]], layers.Add))
        )
    )
    last_of_size = {layer.output.shape[1:3]: layer.name for layer in model.layers if _rectifies(layer)}
    return names or tuple(last_of_size.values())


def _rectifies(layer: Any) -> bool:
    return isinstance(layer, layers.ReLU) or (
        isinstance(layer, layers.Activation) and layer.activation is keras.activations.relu
    )


def last_feature_map(model: keras.Model) -> str:
    """Return the name of the last layer with an output `(n, h, w, filters)`."""
    return str([layer.name for layer in model.layers[1:] if len(layer.output.shape) == 4][-1])


def layer_inputs(model: keras.Model) -> dict[str, list[str]]:
    """Return the names of the input layers of each layer by layer name."""
    producers = {id(layer.output): layer.name for layer in model.operations}
    return {
        layer.name: []
        if isinstance(layer, layers.InputLayer)
        else [producers[id(tensor)] for tensor in keras.tree.flatten(layer.input)]
        for layer in model.operations
    }


def forward(model: keras.Model, images: Any, end: str) -> Values:
    """Return the output of each layer up to `end` by layer name."""
    values: Values = {}
    sources = layer_inputs(model)
    for layer in model.layers:
        given = [values[source] for source in sources[layer.name]]
        values[layer.name] = layer(given if len(given) > 1 else given[0], training=False) if given else images
        if layer.name == end:
            break
    return values


def backpropagate(model: keras.Model, values: Values, gradient: Any, start: str, stop: str) -> tuple[Any, Values]:
    """Backpropagate from the output of layer `start` to the output of layer `stop`, and compute heatmaps.

    Args:
        model: classifier that passes `check_supported`.
        values: outputs of all layers from the input to `start` by layer name.
        gradient: `(n, classes, ...)`, gradient of each class score at the output of `start`.
        start, stop: layer names; every path from `start` to the input passes through `stop`.

    Returns:
        The gradient at the output of `stop`; and heatmaps `(n, classes, h, w)` by `heatmap_LAYER`, the positive part of
        activation times gradient, summed over filters.
    """
    sources, heatmap_layers, heatmaps = layer_inputs(model), list_heatmap_layers(model), {}
    gradients = {start: gradient}
    for layer in reversed(model.layers):
        if layer.name not in gradients:
            continue
        gradient, outputs = gradients.pop(layer.name), values[layer.name]
        if layer.name in heatmap_layers:
            heatmaps[f"heatmap_{layer.name}"] = ops.relu(ops.sum(gradient * outputs[:, None], axis=-1))
        if layer.name == stop:
            break
        rule = _find_rule(layer)
        for source in sources[layer.name]:
            back = rule(layer, gradient, values[source], outputs)
            gradients[source] = gradients[source] + back if source in gradients else back
    return gradient, heatmaps


def _require(condition: bool, layer: Any, expected: str) -> None:
    if not condition:
        raise ExportError(f"no gradient rule for {layer.name}; expected {expected}")


def _rectify(gradient: Any, outputs: Any) -> Any:
    return gradient * ops.cast(outputs[:, None] > 0, gradient.dtype)


def _back_activation(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    if layer.activation is keras.activations.linear:
        return gradient
    _require(layer.activation is keras.activations.relu, layer, "the activation relu or linear")
    return _rectify(gradient, outputs)


def _back_relu(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    _require(not layer.negative_slope and not layer.threshold, layer, "a slope and threshold of 0")
    gradient = _rectify(gradient, outputs)
    if layer.max_value is None:
        return gradient
    return gradient * ops.cast(outputs[:, None] < layer.max_value, gradient.dtype)


def _back_dense(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    gradient = _back_activation(layer, gradient, inputs, outputs)
    flat = ops.reshape(gradient, (-1, gradient.shape[-1]))
    # The kernel is not transposed, so that the graph stores it once.
    back = ops.transpose(ops.matmul(layer.kernel, ops.transpose(flat)))
    return ops.reshape(back, (-1, *gradient.shape[1:-1], layer.kernel.shape[0]))


def _back_convolution(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    _require(layer.dilation_rate == (1, 1) and layer.groups == 1, layer, "dilation and groups of 1")
    gradient = _back_activation(layer, gradient, inputs, outputs)
    flat = ops.reshape(gradient, (-1, *gradient.shape[2:]))
    back = ops.conv_transpose(flat, layer.kernel, layer.strides, padding=layer.padding)
    _require(back.shape[1:3] == inputs.shape[1:3], layer, "strides that divide its input")
    return ops.reshape(back, (-1, gradient.shape[1], *inputs.shape[1:]))


def _back_depthwise(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    plain = layer.dilation_rate == (1, 1) and layer.depth_multiplier == 1
    _require(plain, layer, "dilation and depth multiplier of 1")
    gradient = _back_activation(layer, gradient, inputs, outputs)
    flat = ops.reshape(gradient, (-1, *gradient.shape[2:]))
    margins = []
    for axis, (side, stride) in enumerate(zip(layer.kernel_size, layer.strides, strict=True), start=1):
        flat = _dilate(flat, stride, axis)
        size, reach = inputs.shape[axis], (outputs.shape[axis] - 1) * stride + side
        before = max(reach - size, 0) // 2 if layer.padding == "same" else 0
        margins.append((side - 1 - before, size + before - flat.shape[axis]))
    flat = ops.pad(flat, ((0, 0), *margins, (0, 0)))
    back = ops.depthwise_conv(flat, ops.flip(layer.kernel, (0, 1)), padding="valid")
    return ops.reshape(back, (-1, gradient.shape[1], *inputs.shape[1:]))


def _dilate(values: Any, stride: int, axis: int) -> Any:
    """Insert `stride - 1` zeros between the values along an axis."""
    if stride == 1:
        return values
    stacked = ops.stack([values, *[ops.zeros_like(values)] * (stride - 1)], axis=axis + 1)
    shape = list(values.shape[1:])
    shape[axis - 1] *= stride
    kept = (*[slice(None)] * axis, slice(shape[axis - 1] - stride + 1))
    return ops.reshape(stacked, (-1, *shape))[kept]


def _back_padding(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    (top, _), (left, _) = layer.padding
    height, width = inputs.shape[1:3]
    return gradient[:, :, top : top + height, left : left + width]


def _back_max_pooling(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    rows, columns = outputs.shape[1:3]
    parts, taken = [], None
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        # The first of equal values gets the whole gradient, as in the Keras backends.
        largest = inputs[:, row : 2 * rows : 2, column : 2 * columns : 2] == outputs
        first = largest if taken is None else ops.logical_and(largest, ops.logical_not(taken))
        taken = largest if taken is None else ops.logical_or(taken, largest)
        parts.append(gradient * ops.cast(first, gradient.dtype)[:, None])
    return _unpool(layer, parts, inputs, outputs)


def _back_average_pooling(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    return _unpool(layer, [gradient / 4] * 4, inputs, outputs)


def _unpool(layer: Any, parts: list[Any], inputs: Any, outputs: Any) -> Any:
    """Write four gradients into the four positions of each 2 x 2 pool; a remaining row or column gets zeros."""
    _require(layer.pool_size == (2, 2) and layer.strides == (2, 2), layer, "a pool and strides of 2 x 2")
    (height, width), (rows, columns) = inputs.shape[1:3], outputs.shape[1:3]
    pairs = [ops.stack(pair, axis=4) for pair in (parts[:2], parts[2:])]
    shape = (-1, parts[0].shape[1], 2 * rows, 2 * columns, inputs.shape[-1])
    back = ops.reshape(ops.stack(pairs, axis=3), shape)
    below, right = height - 2 * rows, width - 2 * columns
    return ops.pad(back, ((0, 0), (0, 0), (0, below), (0, right), (0, 0))) if below or right else back


def _back_mean(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    height, width = inputs.shape[1:3]
    return ops.tile(gradient[:, :, None, None] / (height * width), (1, 1, height, width, 1))


def _back_normalization(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    return gradient * (layer.gamma / ops.sqrt(layer.moving_variance + layer.epsilon))


def _back_flatten(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    return ops.reshape(gradient, (-1, gradient.shape[1], *inputs.shape[1:]))


def _back_input(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    raise ExportError(f"no gradient rule for {layer.name}; expected to stop at a later layer")


def _back_identity(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    return gradient


_Rule = Callable[[Any, Any, Any, Any], Any]


def _find_rule(layer: Any) -> _Rule:
    return next(rule for layer_type, rule in _RULES.items() if isinstance(layer, layer_type))


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
    layers.Activation: _back_activation,
    layers.Add: _back_identity,
    layers.MaxPooling2D: _back_max_pooling,
    layers.AveragePooling2D: _back_average_pooling,
    layers.GlobalAveragePooling2D: _back_mean,
    layers.Flatten: _back_flatten,
    layers.Dense: _back_dense,
    layers.Dropout: _back_identity,
}
