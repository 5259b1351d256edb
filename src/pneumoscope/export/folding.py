"""A net with its normalizations folded into the convolutions before them: the same answers from fewer steps."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from pneumoscope.models.backprop import find_sources


def fold_normalization(net: keras.Model) -> keras.Model:
    """Return a copy in which no `BatchNormalization` follows a `Conv2D` directly.

    Once trained, normalizing what a convolution gives is one more factor and offset for each filter. Layers keep their
    names; the copy computes in the precision that is set.

    Args:
        net: a functional model of one input, such as those of `pneumoscope.models`.
    """
    sources = find_sources(net)
    kinds = {layer.name: layer for layer in net.layers}
    folded = {
        sources[layer.name][0]: layer
        for layer in net.layers
        if isinstance(layer, layers.BatchNormalization) and _folds_into(kinds[sources[layer.name][0]], sources)
    }
    inputs = keras.Input(net.input.shape[1:], name=net.layers[0].name)
    values: dict[str, Any] = {net.layers[0].name: inputs}
    for layer in net.layers[1:]:
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
    return keras.Model(inputs, values[net.layers[-1].name], name=net.name)


def _folds_into(layer: Any, sources: dict[str, list[str]]) -> bool:
    alone = sum(given.count(layer.name) for given in sources.values()) == 1
    return alone and type(layer) is layers.Conv2D and layer.activation is keras.activations.linear


def _fold(convolution: Any, normalization: Any) -> list[np.ndarray]:
    mean, variance, scale, offset = (
        np.asarray(ops.convert_to_numpy(values))
        for values in (
            normalization.moving_mean,
            normalization.moving_variance,
            normalization.gamma,
            normalization.beta,
        )
    )
    factor = scale / np.sqrt(variance + normalization.epsilon)
    kernel, *bias = (np.asarray(weights) for weights in convolution.get_weights())
    return [kernel * factor, offset + (sum(bias) - mean) * factor]
