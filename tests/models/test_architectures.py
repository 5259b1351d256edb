import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pneumoscope.explain.layers import list_heatmap_layers
from pneumoscope.models.architectures.compact_resnet import build_compact_resnet
from pneumoscope.models.architectures.reference import build_autoencoder, build_binary, build_multiclass
from pneumoscope.phantoms.phantom import draw_phantoms


@pytest.mark.parametrize(
    ("build", "num_parameters", "sides", "flat", "activation"),
    [
        (build_binary, 3_404_674, (63, 30, 14), 25_088, "sigmoid"),
        (build_multiclass, 4_287_491, (64, 32, 16), 32_768, "softmax"),
    ],
)
def test_classifiers_have_the_parameters_and_shapes_of_the_reference_study(
    build, num_parameters, sides, flat, activation
) -> None:
    model = build()
    assert model.count_params() == num_parameters
    shapes = [model.get_layer(f"pool_{number}").output.shape[1:3] for number in (1, 2, 3)]
    assert shapes == [(side, side) for side in sides]
    assert model.get_layer("flatten").output.shape[1] == flat
    assert model.get_layer("output").activation is keras.activations.get(activation)
    assert model.get_layer("embedding").output.shape[1] == 128
    assert keras.backend.standardize_dtype(model.output.dtype) == "float32"


def test_the_autoencoder_has_the_parameters_and_shapes_of_the_reference_study() -> None:
    model = build_autoencoder()
    assert model.count_params() == 52_067
    assert model.get_layer("code").output.shape[1:] == (16, 16, 16)
    assert model.output_shape[1:] == (128, 128, 3)


def test_the_compact_resnet_has_the_stated_size() -> None:
    model = build_compact_resnet()
    assert model.count_params() == 1_325_115
    assert [model.get_layer(name).output.shape[1] for name in list_heatmap_layers(model)] == [32, 16, 8, 8]


def test_the_compact_resnet_is_invariant_to_brightness_and_contrast() -> None:
    keras.config.set_dtype_policy("float32")
    model = build_compact_resnet()
    images = draw_phantoms(4, size=128, seed=0).images[..., None].astype(np.float32)
    standardize = keras.Model(model.input, model.get_layer("standardization").output)

    plain, faint = (standardize.predict(batch, verbose=0) for batch in (images, 0.5 * images + 60))

    assert plain.std(axis=(1, 2, 3)).min() > 0.9
    assert np.abs(faint - plain).mean() < 0.05
