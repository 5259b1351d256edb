import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pneumoscope.models.architectures.reference import build_autoencoder, build_binary, build_three_class


def test_binary_has_the_report_s_parameters_and_shapes() -> None:
    model = build_binary()
    assert model.count_params() == 3_404_674
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 3_354_498
    assert sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights) == 50_176
    sides = [model.get_layer(f"pool_{number}").output.shape[1:3] for number in (1, 2, 3)]
    assert sides == [(63, 63), (30, 30), (14, 14)]
    assert model.get_layer("flatten").output.shape[1] == 25_088
    assert model.get_layer("output").activation is keras.activations.sigmoid


def test_three_class_has_the_report_s_parameters_and_shapes() -> None:
    model = build_three_class()
    assert model.count_params() == 4_287_491
    sides = [model.get_layer(f"pool_{number}").output.shape[1:3] for number in (1, 2, 3)]
    assert sides == [(64, 64), (32, 32), (16, 16)]
    assert model.get_layer("flatten").output.shape[1] == 32_768
    assert model.get_layer("output").activation is keras.activations.softmax


def test_autoencoder_has_the_report_s_parameters_and_shapes() -> None:
    model = build_autoencoder()
    assert model.count_params() == 52_067
    assert model.get_layer("code").output.shape[1:] == (16, 16, 16)
    assert model.output_shape[1:] == (128, 128, 3)


@pytest.mark.parametrize("build", [build_binary, build_three_class])
def test_embedding_has_128_numbers_and_output_is_float32(build) -> None:
    model = build()
    assert model.get_layer("embedding").output.shape[1] == 128
    assert keras.backend.standardize_dtype(model.output.dtype) == "float32"
