"""Folded nets answer as before."""

import keras
import numpy as np
import pytest

from pneumoscope.export.folding import fold_normalization
from pneumoscope.models.architectures.compact_resnet import build_compact_resnet
from pneumoscope.models.architectures.reference import build_binary
from pneumoscope.models.backprop import list_views
from pneumoscope.phantoms.phantom import draw_phantoms


@pytest.mark.parametrize(("build", "left"), [(build_compact_resnet, 0), (build_binary, 1)])
def test_a_folded_net_answers_alike(build, left):
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(0)
    net, rng = build(), np.random.default_rng(0)
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, values.shape) for values in layer.get_weights()])
    images = draw_phantoms(4, size=128, seed=0).images[..., None]

    folded = fold_normalization(net)

    np.testing.assert_allclose(folded.predict(images, verbose=0), net.predict(images, verbose=0), atol=1e-4)
    assert list_views(folded) == list_views(net)
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers) == left
