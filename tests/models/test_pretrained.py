"""Pretrained backbones: one flat graph, the expected gray levels, weights that fit."""

from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pneumoscope.errors import TrainingError
from pneumoscope.models.architectures.pretrained import BACKBONES, build_transfer
from pneumoscope.models.flatten import flatten_model
from pneumoscope.models.keras_file import PREPROCESSING

SIZE = 32
GRAY = np.arange(256, dtype=np.float32)
OWN_PREPROCESSING = {
    "mobilenet": "mobilenet",
    "mobilenet-v2": "mobilenet_v2",
    "densenet121": "densenet",
    "resnet50": "resnet",
    "resnet50v2": "resnet_v2",
    "vgg16": "vgg16",
    "inceptionv3": "inception_v3",
    "xception": "xception",
}


@pytest.fixture(scope="module")
def model() -> "keras.Model":
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(0)
    return build_transfer("mobilenet", size=SIZE)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return random weights of MobileNet as Keras saves them."""
    keras.utils.set_random_seed(7)
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    keras.applications.MobileNet((SIZE, SIZE, 3), alpha=0.75, include_top=False, weights=None).save_weights(path)
    return path


def run_to(model: "keras.Model", layer: str, images: np.ndarray) -> np.ndarray:
    return np.asarray(keras.Model(model.input, model.get_layer(layer).output)(images))


def test_every_layer_has_a_name_in_one_flat_graph(model) -> None:
    images = np.full((2, SIZE, SIZE, 1), 90.0, dtype=np.float32)
    features = run_to(model, "conv_pw_13_relu", images)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    np.testing.assert_allclose(run_to(model, "embedding", images), features.mean(axis=(1, 2)), rtol=1e-4)
    assert keras.backend.standardize_dtype(model.output.dtype) == "float32"
    np.testing.assert_allclose(np.asarray(model(images)).sum(axis=1), 1, atol=1e-6)


def test_gray_is_repeated_and_scaled_as_the_backbone_expects(model) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 1)).astype(np.float32)
    expected = keras.applications.mobilenet.preprocess_input(np.repeat(images, 3, axis=-1))
    np.testing.assert_allclose(run_to(model, "rescaling", images), expected, atol=1e-5)


def scale(name: str) -> np.ndarray:
    """Return `(256, 3)`, what a backbone is shown for each gray level."""
    factor, offset = PREPROCESSING[BACKBONES[name].preprocess]
    return np.broadcast_to(GRAY[:, None] * np.array(factor) + np.array(offset), (256, 3))


@pytest.mark.parametrize("name", OWN_PREPROCESSING)
def test_scaling_is_that_of_preprocess_input(name: str) -> None:
    preprocess = getattr(keras.applications, OWN_PREPROCESSING[name]).preprocess_input
    colors = np.repeat(GRAY[None, :, None, None], 3, axis=-1)
    np.testing.assert_allclose(scale(name), preprocess(colors)[0, :, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "build", "last"),
    [
        ("mobilenet-v3-small", keras.applications.MobileNetV3Small, keras.layers.Rescaling),
        ("efficientnetv2-b3", keras.applications.EfficientNetV2B3, keras.layers.Normalization),
    ],
)
def test_scaling_is_that_of_the_layers_left_out(name: str, build, last: type) -> None:
    own = build(input_shape=(SIZE, SIZE, 3), include_top=False, weights=None, include_preprocessing=True)
    layer = next(layer for layer in own.layers if isinstance(layer, last))
    colors = np.zeros((1, SIZE, SIZE, 3), dtype=np.float32)
    colors[0, :8] = GRAY.reshape(8, 32, 1)
    np.testing.assert_allclose(scale(name), run_to(own, layer.name, colors)[0, :8].reshape(256, 3), atol=1e-4)


def test_a_model_inside_of_a_model_is_flattened() -> None:
    keras.utils.set_random_seed(0)
    inner = keras.Sequential(
        [keras.layers.Conv2D(4, 3, name="inner_1"), keras.layers.LayerNormalization(name="inner_2")]
    )
    inputs = keras.Input((8, 8, 1))
    features = inner(keras.layers.Conv2D(2, 3, name="before")(inputs))
    nested = keras.Model(inputs, features + keras.layers.Conv2D(4, 1, name="after")(features))
    images = np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float32)

    flat = flatten_model(nested)

    assert [layer.name for layer in flat.layers[1:]] == ["before", "inner_1", "inner_2", "after"]
    np.testing.assert_array_equal(np.asarray(flat(images)), np.asarray(nested(images)))


def test_weights_are_loaded_from_a_file(weights_file: Path) -> None:
    keras.utils.set_random_seed(8)
    one, other = (build_transfer("mobilenet", weights=weights_file, size=size) for size in (SIZE, 2 * SIZE))
    for layer in ("conv1", "conv_pw_13"):
        np.testing.assert_array_equal(one.get_layer(layer).get_weights()[0], other.get_layer(layer).get_weights()[0])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet", {"size": 64}, "there is no backbone 'resnet'; expected one of mobilenet, "),
        ("xception", {"size": 70}, "images of 70 x 70 are too small for xception; expected 71 or more"),
        ("mobilenet", {"channels": 3}, "channels is 3, expected 1 for mobilenet"),
        (
            "mobilenet",
            {"weights": "nowhere.h5"},
            "nowhere.h5 does not exist; expected a file for mobilenet without top",
        ),
    ],
)
def test_a_wrong_argument_is_an_error(name: str, options: dict, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        build_transfer(name, **options)


def test_weights_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    other.save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "text.h5").write_text("no weights")
    for name in ("other.weights.h5", "text.h5"):
        with pytest.raises(TrainingError, match=rf"{name} do not match.*keras.applications.MobileNet, alpha 0.75"):
            build_transfer("mobilenet", weights=tmp_path / name, size=SIZE)


def test_a_failed_download_names_the_alternatives(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise Exception("URL fetch failure")

    monkeypatch.setattr("keras.applications.MobileNetV2", fail)
    with pytest.raises(TrainingError, match=r"mobilenet-v2 cannot be downloaded \(URL fetch failure\).*--weights FILE"):
        build_transfer("mobilenet-v2", weights="imagenet", size=SIZE)
