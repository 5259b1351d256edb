"""Keras models with all outputs of an exported model."""

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from pneumoscope.anomaly.features import crop_border
from pneumoscope.anomaly.knn import NUM_NEIGHBORS, NearestNormals
from pneumoscope.inference.model_set import PATCHES_OUTPUT
from pneumoscope.labels import LabelSet
from pneumoscope.models.receptive_field import Field, receptive_fields

FLOOR = 1e-7


def build_classifier_graph(
    model: keras.Model, embedding_layer: str, label_set: LabelSet, *, mirror: bool = False
) -> keras.Model:
    """Return a classifier with its probabilities, embedding, last feature map and heatmaps as outputs.

    Outputs by name:

    - `probabilities` `(n, classes)`; rows sum to 1 unless the classes are multi-label. One sigmoid unit becomes two
      columns.
    - `embedding` `(n, d)`.
    - `feature_map` `(n, h, w, filters)`, the output of the last convolutional layers, if there are any.
    - `heatmaps` `(n, classes, h, w)`, not negative: the class activation map (B. Zhou et al., "Learning Deep Features
      for Discriminative Localization", CVPR 2016), which is the feature map times the kernel of the last Dense layer.
      Only if the classifier ends in global average pooling and this layer.

    Args:
        model: functional classifier, `(n, H, W, channels)` float32 in [0, 255] to `(n, outputs)`.
        embedding_layer: name of the layer of the embedding.
        label_set: its classes.
        mirror: whether the probabilities are the mean of an image and its mirror image.
    """
    embedding = model.get_layer(embedding_layer).output
    outputs = {
        "probabilities": _normalize(model.output, label_set),
        "embedding": embedding
        if len(embedding.shape) == 2
        else ops.reshape(embedding, (-1, math.prod(embedding.shape[1:]))),
    }
    if layer := find_last_feature_map(model):
        outputs["feature_map"] = features = model.get_layer(layer).output
        if dense := find_activation_map_layer(model):
            kernel = ops.convert_to_numpy(dense.kernel)
            if kernel.shape[1] < len(label_set.classes):  # one sigmoid unit: evidence for the second class
                kernel = np.concatenate([-kernel, kernel], axis=1)
            outputs["heatmaps"] = ops.relu(ops.transpose(ops.matmul(features, kernel), (0, 3, 1, 2)))
    graph = keras.Model(model.inputs[0], outputs, name="classifier")
    height, width, channels = model.input_shape[1:]
    if channels == 1 and not mirror:
        return graph
    image = keras.Input((height, width, 1), name="image")
    if not mirror:
        return keras.Model(image, graph(ops.repeat(image, channels, axis=-1)), name="classifier")
    pairs = ops.reshape(ops.stack([image, ops.flip(image, axis=2)], axis=1), (-1, height, width, 1))
    both = graph(ops.repeat(pairs, channels, axis=-1))
    both = {name: ops.reshape(values, (-1, 2, *values.shape[1:])) for name, values in both.items()}
    outputs = {name: values[:, 0] for name, values in both.items()}
    return keras.Model(image, outputs | {"probabilities": ops.mean(both["probabilities"], axis=1)}, name="classifier")


def find_last_feature_map(model: keras.Model) -> str | None:
    """Return the name of the last layer with an output `(n, h, w, filters)`; None if there is none."""
    names = [layer.name for layer in model.layers[1:] if len(getattr(layer.output, "shape", ())) == 4]
    return str(names[-1]) if names else None


def find_activation_map_layer(model: keras.Model) -> keras.layers.Dense | None:
    """Return the last Dense layer if it follows global average pooling of the last feature map, else None.

    Only such classifiers have class activation maps.
    """
    if (last := find_last_feature_map(model)) is None:
        return None
    start = [layer.name for layer in model.layers].index(last)
    ignored = (layers.Dropout, layers.Softmax, layers.Activation)
    head = [layer for layer in model.layers[start + 1 :] if not isinstance(layer, ignored)]
    return head[1] if [type(layer) for layer in head] == [layers.GlobalAveragePooling2D, layers.Dense] else None


def locate_feature_map(model: keras.Model) -> tuple[Field, Field]:
    """Return the receptive fields of the last feature map along rows and columns.

    If a layer sees the whole image, such as squeeze-and-excitation, these are the tiles of an even grid.
    """
    layer = str(find_last_feature_map(model))
    try:
        return receptive_fields(model, layer)
    except ValueError:
        sides = zip(model.input_shape[1:3], model.get_layer(layer).output.shape[1:3], strict=True)
        rows, columns = (Field(0, side // count - 1, side // count) for side, count in sides)
        return rows, columns


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


class NearestNormalsGraph(keras.Model):
    """Distances of the image features and of the patch features from the nearest normals.

    Input `(n, H, W, 1)` float32 in [0, 255]. Outputs: `map` `(n, h, w)`, the distance of each patch feature; `patches`
    `(n, h, w, d)`, the patch features; `score` `(n,)`, the distance of the mean patch feature without the border.

    Attributes:
        detector: see `pneumoscope.anomaly.knn`.
    """

    def __init__(self, detector: NearestNormals) -> None:
        super().__init__(name="anomaly")
        self.trunk, self.features = detector.trunk, detector.features
        self.shape = detector.patches.shape[1:]
        self.positions = detector.patches.reshape(len(detector.patches), -1, self.shape[-1]).transpose(1, 0, 2)

    def call(self, images: Any) -> dict[str, Any]:
        """Return all outputs by name."""
        patches = self.trunk(images)
        height, width, depth = self.shape
        pooled = ops.mean(crop_border(patches), axis=(1, 2))
        by_position = ops.transpose(ops.reshape(patches, (-1, height * width, depth)), (1, 0, 2))
        distances = _measure_nearest(by_position, self.positions)
        return {
            "map": ops.reshape(ops.transpose(distances), (-1, height, width)),
            PATCHES_OUTPUT: patches * 1.0,  # an output of its own, which no other output shares
            "score": _measure_nearest(pooled, self.features),
        }


def _measure_nearest(features: Any, normals: np.ndarray) -> Any:
    """Return the mean distances `(..., n)` of `(..., n, d)` features from the nearest of `(..., m, d)` normals."""
    # Centered features keep float32 exact: the distances are small differences of large squares.
    center = normals.mean(axis=-2, keepdims=True)
    features, normals = features - center, normals - center
    squares = ops.sum(ops.square(features), axis=-1, keepdims=True) + np.square(normals).sum(axis=-1)[..., None, :]
    squares = squares - 2 * ops.matmul(features, np.swapaxes(normals, -1, -2))
    nearest, _ = ops.top_k(-squares, min(NUM_NEIGHBORS, normals.shape[-2]))
    return ops.mean(ops.sqrt(ops.maximum(-nearest, 0)), axis=-1)


def _normalize(outputs: Any, label_set: LabelSet) -> Any:
    """Return a column for each class. Single-label outputs, such as one sigmoid per class, are divided by their sum."""
    clipped = ops.clip(outputs, FLOOR, 1 - FLOOR)
    if label_set.multi_label:
        return clipped
    if outputs.shape[-1] == 1:
        return ops.concatenate([1 - clipped, clipped], axis=-1)
    clipped = ops.clip(outputs, FLOOR, 1)
    return clipped / ops.sum(clipped, axis=-1, keepdims=True)
