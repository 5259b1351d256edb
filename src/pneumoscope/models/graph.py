"""What a reader asks of a trained net, as one computation that ONNX can hold.

A classifier's graph gives probabilities, the embedding, and the heat-map of every class in its last view; a second
one gives those of the earlier views. Heat-maps are those of `pneumoscope.tasks.explain.gradcam` with gradients place
by place; see `pneumoscope.models.backward`.
"""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from pneumoscope.errors import ExportError
from pneumoscope.models.backward import check_rules, find_end, list_views, walk_back, walk_forward
from pneumoscope.models.cells import double_kernel, regroup_kernel
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


class ScoreGraph(keras.Model):
    """The score of an autoencoder alone, as arithmetic that whole numbers of 8 bits do fast.

    Input and `score` as of an `AutoencoderGraph`. Four pixels that share a pool, or that are drawn from one cell, are
    four channels of one place; see `pneumoscope.models.cells`.

    Raises:
        ExportError: if the net does not begin with a convolution and a pool, or does not end in a doubling and another.
    """

    def __init__(self, net: keras.Model) -> None:
        super().__init__(name="anomaly")
        self.net = net
        self.steps = [layer for layer in net.layers[1:] if not isinstance(layer, layers.Rescaling)]
        ends = [type(layer) for layer in (*self.steps[:2], *self.steps[-2:])]
        if ends != [layers.Conv2D, layers.MaxPooling2D, layers.UpSampling2D, layers.Conv2D]:
            told = ", ".join(kind.__name__ for kind in ends)
            raise ExportError(
                f"no rule for {net.name}, which begins and ends in {told}; expected a convolution and a "
                "pool, and a doubling and a convolution"
            )
        self.kernels = {
            layer.name: [np.array(ops.convert_to_numpy(weight)) for weight in (layer.kernel, layer.bias)]
            for layer in self.steps
            if isinstance(layer, layers.Conv2D)
        }

    def call(self, images: Any) -> dict[str, Any]:
        """Return all outputs by name."""
        # One row and column of zeros on each side: so each four is drawn of four fours, not of nine.
        pixels = _gather_fours(ops.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))))
        values, doubled, in_fours = self._begin(pixels), False, False
        for layer in self.steps[2:]:
            values, in_fours = _spread_fours(values) if in_fours else values, False
            if isinstance(layer, layers.UpSampling2D):
                doubled = True
            elif isinstance(layer, layers.Conv2D) and doubled:
                kernel, bias = self.kernels[layer.name]
                around = ops.pad(values, ((0, 0), (1, 1), (1, 1), (0, 0)))
                values = layer.activation(ops.conv(around, double_kernel(kernel), padding="valid") + np.tile(bias, 4))
                doubled, in_fours = False, True
            else:
                values = layer(values)
        colors = values.shape[-1] // 4
        drawn = ops.matmul(values, np.repeat(np.eye(4, dtype=np.float32), colors, axis=0) / colors)
        inside = _gather_fours(np.pad(np.ones((1, *images.shape[1:]), np.float32), ((0, 0), (1, 1), (1, 1), (0, 0))))
        return {"score": ops.sum(ops.square(drawn - pixels / 255) * inside, axis=(1, 2, 3)) / np.prod(images.shape[1:])}

    def _begin(self, pixels: Any) -> Any:
        """Return the pooled output of the first convolution: the largest of four neighbors is one of four groups."""
        kernel, bias = self.kernels[self.steps[0].name]
        # The channels of a gray image are alike.
        gray = kernel.sum(axis=2, keepdims=True) / 255
        wide, _ = regroup_kernel(gray, side=2, strides=1, before=0)
        values = self.steps[0].activation(ops.conv(pixels, wide, padding="valid") + np.tile(bias, 4))
        rows, columns = values.shape[1:3]
        return ops.max_pool(ops.reshape(values, (-1, rows, 4 * columns, len(bias))), (1, 4), (1, 4))


def _gather_fours(images: Any) -> Any:
    """Put each 2 x 2 pixels of `(n, H, W, 1)` into the four channels of one place."""
    rows, columns = (side // 2 for side in images.shape[1:3])
    parted = ops.reshape(images, (-1, rows, 2, columns, 2))
    return ops.reshape(ops.transpose(parted, (0, 1, 3, 2, 4)), (-1, rows, columns, 4))


def _spread_fours(values: Any) -> Any:
    """Make 2 x 2 places of each of `(n, h, w, 4 * d)`, without the outermost ones."""
    rows, columns, depth = values.shape[1], values.shape[2], values.shape[3] // 4
    parted = ops.transpose(ops.reshape(values, (-1, rows, columns, 2, 2, depth)), (0, 1, 3, 2, 4, 5))
    return ops.reshape(parted, (-1, 2 * rows, 2 * columns, depth))[:, 1:-1, 1:-1]


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
