"""What a reader asks of a trained net, as one computation that ONNX can hold.

A classifier's graph gives probabilities, the embedding, and the heat-map of every class in its last convolutional
layer; a second, small one gives those of the earlier layers. Heat-maps need gradients, and ONNX has none: the graphs
walk back through the net themselves, with the rule of each kind of layer. They are those of
`pneumoscope.tasks.explain.gradcam` with gradients place by place.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from pneumoscope.errors import ExportError
from pneumoscope.models.geometry import receptive_fields

FLOOR = 1e-7


class ClassifierGraph(keras.Model):
    """A classifier that also tells its embedding and where its last convolutional layer looked.

    Input `(n, H, W, 1)` float32 in [0, 255]. Outputs by name: `probabilities` `(n, classes)` that sum to 1,
    `embedding` `(n, d)`, `heatmap_LAYER` `(n, classes, h, w)`, not negative, and `gradient`, that of each class's score
    at the end of the convolutions, from which a `LayersGraph` goes on.
    """

    def __init__(self, net: keras.Model, embedding_layer: str) -> None:
        super().__init__(name="classifier")
        self.net = net
        self.embedding_layer = embedding_layer
        unknown = [layer.name for layer in net.layers if not isinstance(layer, tuple(_BACKWARD))]
        if unknown or not isinstance(net.layers[-1], layers.Dense):
            known = ", ".join(kind.__name__ for kind in _BACKWARD)
            told = ", ".join(unknown) or "the last layer"
            raise ExportError(f"no rule to walk back through {told} of {net.name}; there are rules for {known}")

    def call(self, images: Any) -> dict[str, Any]:
        """Return all outputs by name."""
        chain, values = self.net.layers, _walk_forward(self.net.layers, images)
        embedding = values[[layer.name for layer in chain].index(self.embedding_layer)]
        # One row a class: the gradient of each class's score at what the last layer was given.
        kernel = chain[-1].kernel
        gradient = ops.broadcast_to(ops.transpose(kernel), (ops.shape(images)[0], *reversed(kernel.shape)))
        last, end = _find_convolutions(chain)[-1], _find_end(chain)
        gradient, _ = _walk_back(chain, values, gradient, len(chain) - 2, end)
        _, heatmaps = _walk_back(chain, values, gradient, end, last)
        return {"probabilities": _normalize(values[-1]), "embedding": embedding, "gradient": gradient, **heatmaps}


class LayersGraph(keras.Model):
    """Where the earlier convolutional layers of a classifier looked.

    Inputs: `image` as of a `ClassifierGraph`, and the `gradient` that it gave for it. Outputs by name:
    `heatmap_LAYER` `(n, classes, h, w)`, not negative, of each convolutional layer but the last.
    """

    def __init__(self, net: keras.Model) -> None:
        super().__init__(name="layers")
        self.net = net

    def call(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return all outputs by name."""
        end, places = _find_end(self.net.layers), _find_convolutions(self.net.layers)
        chain = self.net.layers[: end + 1]
        values = _walk_forward(chain, inputs["image"])
        _, heatmaps = _walk_back(chain, values, inputs["gradient"], end, places[0])
        return {name: heatmap for name, heatmap in heatmaps.items() if name != f"heatmap_{chain[places[-1]].name}"}


class AutoencoderGraph(keras.Model):
    """An autoencoder that tells its score.

    Input `(n, H, W, 1)` float32 in [0, 255]. Outputs: `reconstruction` `(n, H, W)` in [0, 1], the mean of the
    channels, and `score` `(n,)`, its mean squared error against the image.

    It computes the same in a third of the time: the channels of a gray image are alike, so that the first kernel is
    summed over them; and a convolution of doubled cells is four of the cells themselves, each with a smaller kernel.
    """

    def __init__(self, net: keras.Model) -> None:
        super().__init__(name="anomaly")
        self.net = net

    def call(self, images: Any) -> dict[str, Any]:
        """Return all outputs by name."""
        values, doubled = images, False
        for layer in self.net.layers[1:]:
            if isinstance(layer, layers.UpSampling2D):
                doubled = True
            elif isinstance(layer, layers.Conv2D):
                kernel = ops.sum(layer.kernel, axis=2, keepdims=True) if values.shape[-1] == 1 else layer.kernel
                sums = _convolve_doubled(values, kernel) if doubled else ops.conv(values, kernel, padding="same")
                values, doubled = layer.activation(sums + layer.bias), False
            else:
                values = layer(values)
        drawn = ops.mean(values, axis=-1)
        return {"reconstruction": drawn, "score": ops.mean(ops.square(drawn - images[..., 0] / 255), axis=(1, 2))}


def _convolve_doubled(cells: Any, kernel: Any) -> Any:
    """Return the 3 x 3 convolution of cells of which each was made 2 x 2 alike, without making them."""
    (height, width), channels = cells.shape[1:3], kernel.shape[-1]
    padded = ops.pad(cells, ((0, 0), (1, 1), (1, 1), (0, 0)))
    # Of three neighbors in a row, two lie in the same cell: the first two, or the last two.
    pairs = [
        lambda taps, axis: [ops.take(taps, [0], axis), ops.sum(ops.take(taps, [1, 2], axis), axis, keepdims=True)],
        lambda taps, axis: [ops.sum(ops.take(taps, [0, 1], axis), axis, keepdims=True), ops.take(taps, [2], axis)],
    ]
    rows = []
    for row, by_row in enumerate(pairs):
        tall = ops.concatenate(by_row(kernel, 0), axis=0)
        parts = [
            ops.conv(
                padded[:, row : row + height + 1, column : column + width + 1],
                ops.concatenate(by_column(tall, 1), axis=1),
                padding="valid",
            )
            for column, by_column in enumerate(pairs)
        ]
        rows.append(ops.stack(parts, axis=3))
    return ops.reshape(ops.stack(rows, axis=2), (-1, 2 * height, 2 * width, channels))


def describe_layers(net: keras.Model) -> dict[str, dict[str, list[int]]]:
    """Return by convolutional layer which pixels its cells see, `[low, high, step]` for each axis."""
    found = {}
    for layer in net.layers:
        if isinstance(layer, layers.Conv2D):
            rows, columns = receptive_fields(net, layer.name)
            found[layer.name] = {"rows": list(vars(rows).values()), "columns": list(vars(columns).values())}
    return found


def _find_convolutions(chain: list[Any]) -> list[int]:
    return [number for number, layer in enumerate(chain) if isinstance(layer, layers.Conv2D)]


def _find_end(chain: list[Any]) -> int:
    """Return the place of the last layer whose output still is a grid of cells."""
    return max(number for number, layer in enumerate(chain) if number and len(layer.output.shape) == 4)


def _walk_forward(chain: list[Any], images: Any) -> list[Any]:
    """Return the output of each layer, the input first."""
    values = [images]
    for layer in chain[1:]:
        values.append(layer(values[-1], training=False))
    return values


def _walk_back(chain: list[Any], values: list[Any], gradient: Any, start: int, stop: int) -> tuple[Any, dict[str, Any]]:
    """Go from the output of layer `start` to that of layer `stop`, with the heat-maps of the layers on the way.

    Args:
        chain: the net's layers.
        values: the output of each.
        gradient: `(n, classes, ...)`, at the output of layer `start`.
        start, stop: places in the chain.

    Returns:
        The gradient at the output of layer `stop`, and the heat-maps by output name.
    """
    heatmaps = {}
    for number in range(start, stop - 1, -1):
        layer = chain[number]
        if isinstance(layer, layers.Conv2D):
            heatmaps[f"heatmap_{layer.name}"] = ops.relu(ops.sum(gradient * values[number][:, None], axis=-1))
        if number > stop:
            walk = next(rule for kind, rule in _BACKWARD.items() if isinstance(layer, kind))
            gradient = walk(layer, gradient, values[number - 1], values[number])
    return gradient, heatmaps


def _normalize(outputs: Any) -> Any:
    """Outputs that do not sum to 1 (a sigmoid each) are divided by their sum."""
    clipped = ops.clip(outputs, FLOOR, 1)
    return clipped / ops.sum(clipped, axis=-1, keepdims=True)


def _back_activation(layer: Any, gradient: Any, outputs: Any) -> Any:
    if layer.activation is keras.activations.linear:
        return gradient
    if layer.activation is not keras.activations.relu:
        raise ExportError(f"no rule to walk back through the activation of {layer.name}; known are relu and linear")
    return gradient * ops.cast(outputs[:, None] > 0, gradient.dtype)


def _back_dense(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    gradient = _back_activation(layer, gradient, outputs)
    flat = ops.reshape(gradient, (-1, gradient.shape[-1]))
    # The kernel stays as it stands, so that the graph holds it once.
    back = ops.transpose(ops.matmul(layer.kernel, ops.transpose(flat)))
    return ops.reshape(back, (-1, *gradient.shape[1:-1], layer.kernel.shape[0]))


def _back_convolution(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    if layer.strides != (1, 1) or layer.dilation_rate != (1, 1) or layer.groups != 1:
        raise ExportError(f"no rule to walk back through {layer.name}; expected strides, dilation and groups of 1")
    gradient = _back_activation(layer, gradient, outputs)
    flat = ops.reshape(gradient, (-1, *gradient.shape[2:]))
    if layer.padding == "valid":
        rows, columns = (side - 1 for side in layer.kernel_size)
        flat = ops.pad(flat, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    kernel = ops.transpose(ops.flip(layer.kernel, (0, 1)), (0, 1, 3, 2))
    back = ops.conv(flat, kernel, padding=layer.padding)
    return ops.reshape(back, (-1, gradient.shape[1], *inputs.shape[1:]))


def _back_pooling(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    if layer.pool_size != (2, 2) or layer.strides != (2, 2):
        raise ExportError(f"no rule to walk back through {layer.name}; expected a pool and strides of 2 x 2")
    (height, width), (rows, columns) = inputs.shape[1:3], outputs.shape[1:3]
    routed, taken = [], None
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        # The first of equals gets all, as in the gradients of Keras' backends.
        largest = inputs[:, row : 2 * rows : 2, column : 2 * columns : 2] == outputs
        first = largest if taken is None else ops.logical_and(largest, ops.logical_not(taken))
        taken = largest if taken is None else ops.logical_or(taken, largest)
        routed.append(gradient * ops.cast(first, gradient.dtype)[:, None])
    pairs = [ops.stack(pair, axis=4) for pair in (routed[:2], routed[2:])]
    back = ops.reshape(ops.stack(pairs, axis=3), (-1, gradient.shape[1], 2 * rows, 2 * columns, inputs.shape[-1]))
    return ops.pad(back, ((0, 0), (0, 0), (0, height - 2 * rows), (0, width - 2 * columns), (0, 0)))


def _back_normalization(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    return gradient * (layer.gamma / ops.sqrt(layer.moving_variance + layer.epsilon))


def _back_flatten(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    return ops.reshape(gradient, (-1, gradient.shape[1], *inputs.shape[1:]))


def _pass(layer: Any, gradient: Any, inputs: Any, outputs: Any) -> Any:
    return gradient


_Rule = Callable[[Any, Any, Any, Any], Any]

_BACKWARD: dict[type, _Rule] = {
    layers.InputLayer: _pass,
    layers.Rescaling: _pass,
    layers.Conv2D: _back_convolution,
    layers.MaxPooling2D: _back_pooling,
    layers.Flatten: _back_flatten,
    layers.BatchNormalization: _back_normalization,
    layers.Dense: _back_dense,
    layers.Dropout: _pass,
}
