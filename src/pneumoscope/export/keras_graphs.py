"""Keras models with all outputs of an exported model."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

FLOOR = 1e-7


def build_classifier_graph(model: keras.Model, embedding_layer: str) -> keras.Model:
    """Return a classifier with its probabilities, embedding, last feature map and heatmaps as outputs.

    Outputs by name:

    - `probabilities` `(n, classes)`; rows sum to 1.
    - `embedding` `(n, d)`.
    - `feature_map` `(n, h, w, filters)`, the output of the last convolutional layers.
    - `heatmaps` `(n, classes, h, w)`, not negative: the class activation map (B. Zhou et al., "Learning Deep Features
      for Discriminative Localization", CVPR 2016), which is the feature map times the kernel of the last layer. Only
      if the classifier ends in global average pooling and one Dense layer.

    Args:
        model: functional or sequential classifier, `(n, H, W, 1)` float32 in [0, 255] to `(n, classes)`.
        embedding_layer: name of the layer of the embedding.
    """
    features = model.get_layer(find_last_feature_map(model)).output
    outputs = {
        "probabilities": _normalize(model.output),
        "embedding": model.get_layer(embedding_layer).output,
        "feature_map": features,
    }
    if has_activation_map(model):
        kernel = ops.convert_to_numpy(model.layers[-1].kernel)
        outputs["heatmaps"] = ops.relu(ops.transpose(ops.matmul(features, kernel), (0, 3, 1, 2)))
    return keras.Model(model.inputs[0], outputs, name="classifier")


def find_last_feature_map(model: keras.Model) -> str:
    """Return the name of the last layer with an output `(n, h, w, filters)`."""
    return str([layer.name for layer in model.layers[1:] if len(layer.output.shape) == 4][-1])


def has_activation_map(model: keras.Model) -> bool:
    """Whether a classifier ends in global average pooling of its last feature map and one Dense layer."""
    start = [layer.name for layer in model.layers].index(find_last_feature_map(model))
    head = [type(layer) for layer in model.layers[start + 1 :] if not isinstance(layer, layers.Dropout)]
    return head == [layers.GlobalAveragePooling2D, layers.Dense]


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
    """Divide outputs that do not sum to 1, such as independent sigmoids, by their sum."""
    clipped = ops.clip(outputs, FLOOR, 1)
    return clipped / ops.sum(clipped, axis=-1, keepdims=True)
