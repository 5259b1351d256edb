"""What a reader asks of a trained net, as one computation that ONNX can hold.

A classifier's graph gives probabilities, the embedding, and the heat-map of every class in its last view; a second
one gives those of the earlier views. Heat-maps are those of `pneumoscope.explain.cams` with gradients place
by place; see `pneumoscope.models.backprop`.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from pneumoscope.models.backprop import backprop, check_rules, find_end, list_views, walk_forward

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
        gradient, seen = backprop(self.net, values, gradient, before, end)
        _, heatmaps = backprop(self.net, values, gradient, end, last)
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
        _, heatmaps = backprop(self.net, values, inputs["gradient"], end, views[0])
        return {name: heatmap for name, heatmap in heatmaps.items() if name != f"heatmap_{views[-1]}"}


class AutoencoderGraph(keras.Model):
    """An autoencoder that tells how odd an image is, and where.

    Input `(n, H, W, 1)` float32 in [0, 255]. Outputs: `map` `(n, H, W)`, the squared difference of the image and what
    the autoencoder makes of it, gray levels in [0, 1], and `score` `(n,)`, its mean.
    """

    def __init__(self, net: keras.Model) -> None:
        super().__init__(name="anomaly")
        self.net = net

    def call(self, images: Any) -> dict[str, Any]:
        """Return all outputs by name."""
        drawn = ops.mean(self.net(ops.repeat(images, self.net.input_shape[-1], axis=-1)), axis=-1)
        errors = ops.square(drawn - images[..., 0] / 255)
        return {"map": errors, "score": ops.mean(errors, axis=(1, 2))}


class GaussianGraph(keras.Model):
    """How far an image, and each of its patches, is from normals that are taken to be Gaussian.

    Input `(n, H, W, 1)` float32 in [0, 255]. Outputs: `map` `(n, h, w)`, the Mahalanobis distance of each patch, and
    `score` `(n,)`, that of their mean among the means of normals.

    Attributes:
        net: images to the cells of some layers.
        join: those to `(n, h, w, d)` patches.
        weights: for each layer `(h, w)` float32, how much each cell counts in the mean of all patches.
        whole, single: mean `(d,)` and whitening matrix `(d, d)`, float32: of images' mean patches, and of patches.
    """

    def __init__(
        self,
        net: keras.Model,
        join: keras.Model,
        weights: Sequence[np.ndarray],
        *,
        whole: tuple[np.ndarray, np.ndarray],
        single: tuple[np.ndarray, np.ndarray],
    ) -> None:
        super().__init__(name="anomaly")
        self.net, self.join = net, join
        self.cell_weights = [layer.reshape(1, -1) for layer in weights]
        self.whole, self.single = whole, single

    def call(self, images: Any) -> dict[str, Any]:
        """Return all outputs by name."""
        layers = self.net(images)
        means = [
            ops.matmul(weights, ops.reshape(cells, (-1, weights.size, cells.shape[-1])))[:, 0]
            for weights, cells in zip(self.cell_weights, layers, strict=True)
        ]
        return {
            "map": _measure_distance(self.join(layers), *self.single),
            "score": _measure_distance(ops.concatenate(means, axis=-1), *self.whole),
        }


def _measure_distance(values: Any, mean: np.ndarray, whitening: np.ndarray) -> Any:
    return ops.sqrt(ops.sum(ops.square(ops.matmul(values - mean, whitening)), axis=-1))


def _normalize(outputs: Any) -> Any:
    """Outputs that do not sum to 1 (a sigmoid each) are divided by their sum."""
    clipped = ops.clip(outputs, FLOOR, 1)
    return clipped / ops.sum(clipped, axis=-1, keepdims=True)
