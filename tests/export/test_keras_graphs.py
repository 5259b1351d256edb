"""The exported graphs give the outputs of Keras, heatmaps included, or are not kept."""

import keras
import numpy as np
import onnxruntime
import pytest

from pneumoscope.errors import ExportError
from pneumoscope.explain.methods import explain
from pneumoscope.explain.scorer import list_layers
from pneumoscope.export.keras_graphs import (
    AutoencoderGraph,
    ClassifierGraph,
    GaussianGraph,
    LayersGraph,
    fold_normalization,
)
from pneumoscope.export.onnx_file import export_graph, write_small
from pneumoscope.models.architectures.compact_resnet import build_compact_resnet
from pneumoscope.models.architectures.pretrained import build_transfer
from pneumoscope.models.architectures.reference import build_autoencoder, build_binary, build_three_class
from pneumoscope.models.backprop import list_heatmap_layers
from pneumoscope.models.receptive_field import receptive_fields, upsample
from pneumoscope.phantoms.phantom import draw_phantoms


@pytest.fixture(autouse=True)
def in_float32():
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(1)


@pytest.fixture(scope="module")
def images():
    return draw_phantoms(5, size=128, seed=0).images


@pytest.fixture(scope="module")
def inputs(images):
    return {"image": images[..., None].astype(np.float32)}


@pytest.fixture(scope="module")
def small(images):
    """Return `(5, 30, 30)` images."""
    return images[:, ::4, ::4][:, :30, :30]


def check_heatmaps(model, images, names):
    """The heatmaps of a graph are those of the gradients of Keras' backend."""
    batch = {"image": images[..., None].astype(np.float32)}
    outputs = ClassifierGraph(model, "embedding")(batch["image"])
    outputs |= LayersGraph(model)({**batch, "gradient": outputs["gradient"]})
    assert {f"heatmap_{layer}" for layer in list_layers(model)} < set(outputs)
    for layer in names:
        heatmaps = np.array(outputs[f"heatmap_{layer}"])
        fields = receptive_fields(model, layer)
        for label in (0, heatmaps.shape[1] - 1):
            expected = explain(model, images, method="hirescam", layer=layer, class_indices=np.full(len(images), label))
            actual = upsample(heatmaps[:, label], *fields, images.shape[1:])
            np.testing.assert_allclose(actual, expected, atol=1e-3)


@pytest.mark.parametrize("build", [build_binary, build_three_class, build_compact_resnet])
def test_heatmaps_are_those_of_the_backend_s_gradients(build, images):
    model = build()
    names = list_layers(model)
    check_heatmaps(model, images, {names[0], names[len(names) // 2], names[-1]})


def build_depthwise(padding: str, strides: int) -> keras.Model:
    """Return a model of the layers of MobileNet, whose rectification saturates at times."""
    inputs, wide = keras.Input((30, 30, 1)), keras.initializers.Constant(300)
    features = keras.layers.Concatenate()([inputs, inputs, inputs])
    features = keras.layers.Rescaling(1 / 64)(features)
    features = keras.layers.ReLU(6.0, name="fine")(keras.layers.Conv2D(6, 3, padding="same")(features))
    if padding == "valid":
        features = keras.layers.ZeroPadding2D(((0, 1), (2, 1)))(features)
    features = keras.layers.DepthwiseConv2D(3, strides, padding=padding)(features)
    features = keras.layers.BatchNormalization(gamma_initializer=wide)(features)
    features = keras.layers.Activation("relu", name="middle")(features)
    features = keras.layers.Conv2D(8, 1)(keras.layers.DepthwiseConv2D(3, 2, padding="same")(features))
    features = keras.layers.ReLU(6.0, name="coarse")(features)
    features = keras.layers.GlobalAveragePooling2D(name="embedding")(features)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="output")(features))


@pytest.mark.parametrize(
    ("padding", "strides", "names"),
    [
        ("valid", 2, ("fine", "middle", "coarse")),
        ("same", 2, ("fine", "middle", "coarse")),
        ("same", 1, ("middle", "coarse")),
    ],
)
def test_heatmaps_of_depthwise_convolutions_are_those_of_the_backend(padding, strides, names, small):
    keras.utils.set_random_seed(3)
    model = build_depthwise(padding, strides)

    assert list_layers(model) == names
    features = keras.Model(model.input, model.get_layer("coarse").output)(small[..., None].astype(np.float32))
    assert 0.05 < (np.asarray(features) == 6).mean() < 0.5
    check_heatmaps(model, small, names)


def test_depthwise_convolutions_are_exported(tmp_path, small):
    model, batch = build_depthwise("valid", 2), {"image": small[..., None].astype(np.float32)}

    outputs = export_graph(ClassifierGraph(model, "embedding"), tmp_path / "model.onnx", batch)
    batch["gradient"] = outputs["gradient"]
    earlier = export_graph(LayersGraph(model), tmp_path / "layers.onnx", batch)

    assert set(earlier) == {"heatmap_fine", "heatmap_middle"}
    assert {"probabilities", "embedding", "heatmap_coarse"} <= set(outputs)


def test_a_small_variant_gives_the_outputs_of_keras(tmp_path, inputs):
    full, small = tmp_path / "full.onnx", tmp_path / "small.onnx"

    expected = export_graph(ClassifierGraph(build_three_class(), "embedding"), full, inputs)
    write_small(full, small, inputs)

    assert small.stat().st_size < 0.6 * full.stat().st_size
    session = onnxruntime.InferenceSession(small, providers=["CPUExecutionProvider"])
    names = ["probabilities", "embedding", "heatmap_conv_3"]
    for name, actual in zip(names, session.run(names, inputs), strict=True):
        np.testing.assert_allclose(actual, expected[name], atol=0.01 * np.abs(expected[name]).max())
    assert expected["probabilities"].sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_the_score_of_an_autoencoder_is_its_squared_error(tmp_path, inputs):
    model = build_autoencoder()

    outputs = export_graph(AutoencoderGraph(model), tmp_path / "autoencoder.onnx", inputs)

    reconstructions = np.array(model(inputs["image"].repeat(3, axis=-1))).mean(axis=-1)
    np.testing.assert_allclose(outputs["map"], np.square(reconstructions - inputs["image"][..., 0] / 255), atol=1e-5)
    np.testing.assert_allclose(outputs["score"], outputs["map"].mean(axis=(1, 2)), rtol=1e-4)


def test_distances_from_normals_are_those_of_mahalanobis(tmp_path, inputs):
    image = keras.Input((128, 128, 1))
    fine = keras.layers.Conv2D(3, 3, padding="same")(image)
    coarse = keras.layers.Conv2D(2, 16, 16)(fine)
    joined = keras.layers.Concatenate()([keras.layers.AveragePooling2D(16)(fine), coarse])
    model, join = keras.Model(image, [fine, coarse]), keras.Model([fine, coarse], joined)
    weights = [np.full((side, side), 1 / side**2, np.float32) for side in (128, 8)]
    patches, rng = keras.Model(image, joined), np.random.default_rng(0)
    normals = rng.normal(size=(400, 5)).astype(np.float32) @ rng.normal(size=(5, 5)).astype(np.float32)
    precision = np.linalg.inv(np.cov(normals.T))
    gaussian = normals.mean(axis=0), np.linalg.cholesky(precision).astype(np.float32)

    graph = GaussianGraph(model, join, weights, whole=gaussian, single=gaussian)
    outputs = export_graph(graph, tmp_path / "gaussian.onnx", inputs)

    features = np.array(patches(inputs["image"]), dtype=np.float64)
    for name, values in (("map", features), ("score", features.mean(axis=(1, 2)))):
        offsets = values - normals.mean(axis=0)
        expected = np.sqrt(np.einsum("...i,ij,...j->...", offsets, precision, offsets))
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-3)


def test_an_export_with_other_outputs_is_not_kept(tmp_path, inputs):
    with pytest.raises(ExportError, match="differs from the model"):
        export_graph(AutoencoderGraph(build_autoencoder()), tmp_path / "a.onnx", inputs, tolerance=0.0)

    assert list(tmp_path.iterdir()) == []


def test_mobilenet_has_a_heatmap_of_each_size():
    model = build_transfer("mobilenet", size=64)
    ClassifierGraph(model, "embedding")
    assert list_layers(model) == tuple(f"conv_pw_{number}_relu" for number in (1, 3, 5, 11, 13))
    assert [receptive_fields(model, layer)[0].step for layer in list_layers(model)] == [2, 4, 8, 16, 32]


def build_with(layer, *, twice=False):
    """Return a classifier with a layer that has no rule behind its first heatmap."""
    inputs = keras.Input((16, 16, 1))
    features = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    features = layer([features, features] if twice else features)
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D()(features)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(features))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: build_with(keras.layers.GlobalMaxPooling2D(name="pool_all")), "no gradient rule for pool_all of"),
        (lambda: build_with(keras.layers.Concatenate(name="joined"), twice=True), "no gradient rule for joined of"),
        (lambda: build_transfer("mobilenet-v3-small", size=32), "no gradient rule for .*squeeze_excite_mul"),
    ],
    ids=["unknown", "joined", "backbone"],
)
def test_a_layer_without_a_rule_is_an_error(build, message):
    with pytest.raises(ExportError, match=message):
        ClassifierGraph(build(), "embedding")


@pytest.mark.parametrize(("build", "num_left"), [(build_compact_resnet, 0), (build_binary, 1)])
def test_folding_normalizations_keeps_the_outputs(build, num_left, inputs):
    model, rng = build(), np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, values.shape) for values in layer.get_weights()])

    folded = fold_normalization(model)

    expected = model.predict(inputs["image"], verbose=0)
    np.testing.assert_allclose(folded.predict(inputs["image"], verbose=0), expected, atol=1e-4)
    assert list_heatmap_layers(folded) == list_heatmap_layers(model)
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers) == num_left
