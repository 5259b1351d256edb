"""Nets whose weights are shuffled step by step: a heat-map that stays the same then tells nothing of the net.

J. Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.models.linear import copy_linear

if TYPE_CHECKING:
    import keras


def randomize_cascading(
    model: "keras.Model", *, num_stages: int = 3, seed: int = 0
) -> Iterator[tuple[float, "keras.Model"]]:
    """Yield a net with more and more of its layers shuffled, from the last to the first.

    The values of each weight of a layer change places among themselves, so that each layer keeps their spread; a
    normalization's statistics and scales are shuffled like all others.

    Args:
        model: a built Keras functional or sequential classifier, which stays as it is.
        num_stages: the first shuffles the last layer alone, the last one all layers.
        seed: of the shuffling.

    Yields:
        The share of the layers with weights that are shuffled, in (0, 1], and the net: the same object each time,
        with scores as outputs, changed when the next is asked for.
    """
    rng = np.random.default_rng(seed)
    net = copy_linear(model)
    layers = [layer for layer in net.layers if layer.weights][::-1]
    ends = np.unique(np.linspace(1, len(layers), num_stages).round().astype(int))
    done = 0
    for end in ends:
        for layer in layers[done:end]:
            layer.set_weights([rng.permuted(value.ravel()).reshape(value.shape) for value in layer.get_weights()])
        done = end
        yield end / len(layers), net
