"""Keras models with all outputs of an exported model, built from ONNX-compatible layers.

Heatmaps are HiResCAM with gradients from `pneumoscope.models.backprop`.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from pneumoscope.models.backprop import (
    backpropagate,
    check_supported,
    forward,
    last_feature_map,
    layer_inputs,
    list_heatmap_layers,
)

FLOOR = 1e-7


class ClassifierGraph(keras.Model):
    """Classifier with the outputs probabilities, embedding and heatmap of the last layer.

    Input `(n, H, W, 1)` float32 in [0, 255]. Outputs by name: `probabilities` `(n, classes)`, rows sum to 1;
    `embedding` `(n, d)`; `heatmap_LAYER` `(n, classes, h, w)`, 0 or more; and `gradient`, the gradient of each class
    score at the last feature map, an input of `LayersGraph`.

    Raises:
        ExportError: if a layer of the model has no gradient rule.
    """

    def __init__(self, model: keras.Model, embedding_layer: str) -> None:
        super().__init__(name="classifier")
        self.model = model
        self.embedding_layer = embedding_layer
        check_supported(model)

    def call(self, images: Any) -> dict[str, Any]:
        """Return all outputs by name."""
        output, before = self.model.layers[-1], self.model.layers[-2].name
        values = forward(self.model, images, output.name)
        # One row per class: the gradient of the class score at the input of the last layer.
        kernel = output.kernel
        gradient = ops.broadcast_to(ops.transpose(kernel), (ops.shape(images)[0], *reversed(kernel.shape)))
        end, last = last_feature_map(self.model), list_heatmap_layers(self.model)[-1]
        gradient, later_heatmaps = backpropagate(self.model, values, gradient, before, end)
        _, heatmaps = backpropagate(self.model, values, gradient, end, last)
        return {
            "probabilities": _normalize(values[output.name]),
            "embedding": values[self.embedding_layer],
            "gradient": gradient,
            **later_heatmaps,
            **heatmaps,
        }


class LayersGraph(keras.Model):
    """Heatmaps of all layers of a classifier except the last.

    Inputs: `image`, as for `ClassifierGraph`, and `gradient`, its output for that image. Outputs by name:
    `heatmap_LAYER` `(n, classes, h, w)`, 0 or more.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name="layers")
        self.model = model

    def call(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return all outputs by name."""
        end, names = last_feature_map(self.model), list_heatmap_layers(self.model)
        values = forward(self.model, inputs["image"], end)
        _, heatmaps = backpropagate(self.model, values, inputs["gradient"], end, names[0])
        return {name: heatmap for name, heatmap in heatmaps.items() if name != f"heatmap_{names[-1]}"}


class AutoencoderGraph(keras.Model):
    """Autoencoder with anomaly score and anomaly map.

    Input `(n, H, W, 1)` float32 in [0, 255]. Outputs: `map` `(n, H, W)`, the squared reconstruction error for gray
    levels in [0, 1]; `score` `(n,)`, the mean of `map`.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name="anomaly")
        self.model = model

    def call(self, images: Any) -> dict[str, Any]:
        """Return all outputs by name."""
        reconstruction = ops.mean(self.model(ops.repeat(images, self.model.input_shape[-1], axis=-1)), axis=-1)
        errors = ops.square(reconstruction - images[..., 0] / 255)
        return {"map": errors, "score": ops.mean(errors, axis=(1, 2))}


class GaussianGraph(keras.Model):
    """Mahalanobis distances of the image features and of the patch features.

    Input `(n, H, W, 1)` float32 in [0, 255]. Outputs: `map` `(n, h, w)`, the distance of each patch feature; `score`
    `(n,)`, the distance of the mean patch feature.

    Attributes:
        model: maps images to the feature maps of several layers.
        join: maps these feature maps to patch features, `(n, h, w, d)`.
        weights: position weights of the mean patch feature for each layer, `(h, w)` float32.
        whole, single: mean `(d,)` and whitening matrix `(d, d)` float32, of mean patch features and of patch features.
    """

    def __init__(
        self,
        model: keras.Model,
        join: keras.Model,
        weights: Sequence[np.ndarray],
        *,
        whole: tuple[np.ndarray, np.ndarray],
        single: tuple[np.ndarray, np.ndarray],
    ) -> None:
        super().__init__(name="anomaly")
        self.model, self.join = model, join
        self.place_weights = [layer.reshape(1, -1) for layer in weights]
        self.whole, self.single = whole, single

    def call(self, images: Any) -> dict[str, Any]:
        """Return all outputs by name."""
        feature_maps = self.model(images)
        means = [
            ops.matmul(weights, ops.reshape(features, (-1, weights.size, features.shape[-1])))[:, 0]
            for weights, features in zip(self.place_weights, feature_maps, strict=True)
        ]
        return {
            "map": _measure_distance(self.join(feature_maps), *self.single),
            "score": _measure_distance(ops.concatenate(means, axis=-1), *self.whole),
        }


def _measure_distance(values: Any, mean: np.ndarray, whitening: np.ndarray) -> Any:
    return ops.sqrt(ops.sum(ops.square(ops.matmul(values - mean, whitening)), axis=-1))


def _normalize(outputs: Any) -> Any:
    """Divide outputs, such as independent sigmoids, by their sum."""
    clipped = ops.clip(outputs, FLOOR, 1)
    return clipped / ops.sum(clipped, axis=-1, keepdims=True)


def fold_normalization(model: keras.Model) -> keras.Model:
    """Return a copy of a functional model with `BatchNormalization` folded into the preceding `Conv2D`.

    Layers keep their names. The copy uses the current dtype policy.
    """
    sources = layer_inputs(model)
    by_name = {layer.name: layer for layer in model.layers}
    folded = {
        sources[layer.name][0]: layer
        for layer in model.layers
        if isinstance(layer, layers.BatchNormalization) and _can_fold(by_name[sources[layer.name][0]], sources)
    }
    first, *others = model.layers
    inputs = keras.Input(model.input.shape[1:], name=first.name)
    values: dict[str, Any] = {first.name: inputs}
    for layer in others:
        given = [values[source] for source in sources[layer.name]]
        if layer in folded.values():
            values[layer.name] = given[0]
            continue
        config = {**layer.get_config(), "dtype": keras.config.dtype_policy().name}
        if layer.name in folded:
            config["use_bias"] = True
        copy = type(layer).from_config(config)
        values[layer.name] = copy(given if len(given) > 1 else given[0])
        copy.set_weights(_fold(layer, folded[layer.name]) if layer.name in folded else layer.get_weights())
    return keras.Model(inputs, values[others[-1].name], name=model.name)


def _can_fold(layer: Any, sources: dict[str, list[str]]) -> bool:
    num_uses = sum(names.count(layer.name) for names in sources.values())
    return num_uses == 1 and type(layer) is layers.Conv2D and layer.activation is keras.activations.linear


def _fold(convolution: Any, normalization: Any) -> list[np.ndarray]:
    """Return kernel and bias of a convolution with folded batch normalization."""
    scale, offset, mean, variance = normalization.get_weights()
    kernel, *bias = convolution.get_weights()
    factor = scale / np.sqrt(variance + normalization.epsilon)
    return [kernel * factor, offset + (sum(bias) - mean) * factor]
