"""What a reader asks of a trained net, as one computation that ONNX can hold.

A classifier's graph gives probabilities, the embedding, and the heat-map of every class in its last view; a second
one gives those of the earlier views. Heat-maps are those of `pneumoscope.tasks.explain.gradcam` with gradients place
by place; see `pneumoscope.models.backward`.
"""

from typing import Any

import keras
from keras import layers, ops

from pneumoscope.models.backward import check_rules, find_end, list_views, walk_back, walk_forward
from pneumoscope.models.geometry import receptive_fields

FLOOR = 1e-7


class ClassifierGraph(keras.Model):
    """A classifier that also tells its embedding and where its last view looked.

    Input `(n, H, W, 1)` float32 in [0, 255]. Outputs by name: `probabilities` `(n, classes)` that sum to 1,
    `embedding` `(n, d)`, `heatmap_LAYER` `(n, classes, h, w)`, not negative, and `gradient`, that of each class's score
    at the end of the convolutions, from which a `LayersGraph` goes on.

    Raises:
        ExportError: if the net has a layer that cannot be walked back.
    """

    def __init__(self, net: keras.Model, embedding_layer: str) -> None:
        super().__init__(name="classifier")
        self.net = net
        self.embedding_layer = embedding_layer
        check_rules(net)

    def call(self, images: Any) -> dict[str, Any]:
        """Return all outputs by name."""
        output, before = self.net.layers[-1], self.net.layers[-2].name
        values = walk_forward(self.net, images, output.name)
        # One row a class: the gradient of each class's score at what the last layer was given.
        kernel = output.kernel
        gradient = ops.broadcast_to(ops.transpose(kernel), (ops.shape(images)[0], *reversed(kernel.shape)))
        end, last = find_end(self.net), list_views(self.net)[-1]
        gradient, seen = walk_back(self.net, values, gradient, before, end)
        _, heatmaps = walk_back(self.net, values, gradient, end, last)
        return {
            "probabilities": _normalize(values[output.name]),
            "embedding": values[self.embedding_layer],
            "gradient": gradient,
            **seen,
            **heatmaps,
        }


class LayersGraph(keras.Model):
    """Where the earlier views of a classifier looked.

    Inputs: `image` as of a `ClassifierGraph`, and the `gradient` that it gave for it. Outputs by name:
    `heatmap_LAYER` `(n, classes, h, w)`, not negative, of each view but the last.
    """

    def __init__(self, net: keras.Model) -> None:
        super().__init__(name="layers")
        self.net = net

    def call(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return all outputs by name."""
        end, views = find_end(self.net), list_views(self.net)
        values = walk_forward(self.net, inputs["image"], end)
        _, heatmaps = walk_back(self.net, values, inputs["gradient"], end, views[0])
        return {name: heatmap for name, heatmap in heatmaps.items() if name != f"heatmap_{views[-1]}"}


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
    """Return by view which pixels its cells see, `[low, high, step]` for each axis."""
    found = {}
    for name in list_views(net):
        rows, columns = receptive_fields(net, name)
        found[name] = {"rows": list(vars(rows).values()), "columns": list(vars(columns).values())}
    return found


def _normalize(outputs: Any) -> Any:
    """Outputs that do not sum to 1 (a sigmoid each) are divided by their sum."""
    clipped = ops.clip(outputs, FLOOR, 1)
    return clipped / ops.sum(clipped, axis=-1, keepdims=True)
