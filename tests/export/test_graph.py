"""The exported graphs: they answer as Keras does, heat-maps included, or are not kept."""

import keras
import numpy as np
import onnxruntime
import pytest

from pneumoscope.errors import ExportError
from pneumoscope.explain.methods import explain
from pneumoscope.explain.scorer import list_layers
from pneumoscope.export.graph import AutoencoderGraph, ClassifierGraph, GaussianGraph, LayersGraph
from pneumoscope.export.onnx_file import export_graph, write_small
from pneumoscope.models.architectures.compact_resnet import build_compact_resnet
from pneumoscope.models.architectures.pretrained import build_transfer
from pneumoscope.models.architectures.reference import build_autoencoder, build_binary, build_three_class
from pneumoscope.models.receptive_field import receptive_fields, upsample
from pneumoscope.phantoms.phantom import draw_phantoms


@pytest.fixture(scope="module")
def images():
    return draw_phantoms(5, size=128, seed=0).images


@pytest.fixture(scope="module")
def inputs(images):
    return {"image": images[..., None].astype(np.float32)}


@pytest.mark.parametrize("build", [build_binary, build_three_class, build_compact_resnet])
def test_the_graph_walks_back_as_the_gradient_tape_does(build, images, inputs):
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(1)
    net = build()
    answers = ClassifierGraph(net, "embedding")(inputs["image"])
    answers |= LayersGraph(net)({**inputs, "gradient": answers["gradient"]})

    views = list_layers(net)
    assert {f"heatmap_{layer}" for layer in views} < set(answers)
    for layer in {views[0], views[len(views) // 2], views[-1]}:
        cells = np.array(answers[f"heatmap_{layer}"])
        fields = receptive_fields(net, layer)
        for label in (0, cells.shape[1] - 1):
            expected = explain(net, images, method="hirescam", layer=layer, class_indices=np.full(len(images), label))
            drawn = upsample(cells[:, label], *fields, images.shape[1:])
            np.testing.assert_allclose(drawn, expected, atol=1e-3)


def test_a_classifier_answers_alike_outside_of_keras(tmp_path, inputs):
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(2)
    net = build_three_class()
    full, small = tmp_path / "full.onnx", tmp_path / "small.onnx"

    expected = export_graph(ClassifierGraph(net, "embedding"), full, inputs)
    write_small(full, small, inputs)

    assert small.stat().st_size < 0.6 * full.stat().st_size
    session = onnxruntime.InferenceSession(small, providers=["CPUExecutionProvider"])
    names = ["probabilities", "embedding", "heatmap_conv_3"]
    for name, found in zip(names, session.run(names, inputs), strict=True):
        np.testing.assert_allclose(found, expected[name], atol=0.01 * np.abs(expected[name]).max())
    assert expected["probabilities"].sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_an_autoencoder_scores_by_its_squared_error(tmp_path, inputs):
    keras.config.set_dtype_policy("float32")
    path = tmp_path / "autoencoder.onnx"

    net = build_autoencoder()

    answers = export_graph(AutoencoderGraph(net), path, inputs)

    drawn = np.array(net(inputs["image"].repeat(3, axis=-1))).mean(axis=-1)
    np.testing.assert_allclose(answers["map"], np.square(drawn - inputs["image"][..., 0] / 255), atol=1e-5)
    np.testing.assert_allclose(answers["score"], answers["map"].mean(axis=(1, 2)), rtol=1e-4)


def test_distances_from_normals_are_those_of_mahalanobis(tmp_path, inputs):
    keras.config.set_dtype_policy("float32")
    image = keras.Input((128, 128, 1))
    fine = keras.layers.Conv2D(3, 3, padding="same")(image)
    coarse = keras.layers.Conv2D(2, 16, 16)(fine)
    joined = keras.layers.Concatenate()([keras.layers.AveragePooling2D(16)(fine), coarse])
    net, join = keras.Model(image, [fine, coarse]), keras.Model([fine, coarse], joined)
    weights = [np.full((side, side), 1 / side**2, np.float32) for side in (128, 8)]
    patches, rng = keras.Model(image, joined), np.random.default_rng(0)
    normals = rng.normal(size=(400, 5)).astype(np.float32) @ rng.normal(size=(5, 5)).astype(np.float32)
    precision = np.linalg.inv(np.cov(normals.T))
    gaussian = normals.mean(axis=0), np.linalg.cholesky(precision).astype(np.float32)

    graph = GaussianGraph(net, join, weights, whole=gaussian, single=gaussian)
    answers = export_graph(graph, tmp_path / "gaussian.onnx", inputs)

    seen = np.array(patches(inputs["image"]), dtype=np.float64)
    for name, values in (("map", seen), ("score", seen.mean(axis=(1, 2)))):
        offsets = values - normals.mean(axis=0)
        expected = np.sqrt(np.einsum("...i,ij,...j->...", offsets, precision, offsets))
        np.testing.assert_allclose(answers[name], expected, rtol=1e-3)


def test_an_export_that_answers_otherwise_is_not_kept(tmp_path, inputs):
    keras.config.set_dtype_policy("float32")
    path = tmp_path / "autoencoder.onnx"

    with pytest.raises(ExportError, match="does not answer as the model does"):
        export_graph(AutoencoderGraph(build_autoencoder()), path, inputs, tolerance=0.0)

    assert list(tmp_path.iterdir()) == []


def build_depthwise(padding: str, strides: int) -> keras.Model:
    """Return a net of the layers that small nets for telephones are made of, its rectification full at times."""
    inputs, wide = keras.Input((30, 30, 1)), keras.initializers.Constant(300)
    features = keras.layers.Concatenate()([inputs, inputs, inputs])
    features = keras.layers.Rescaling(1 / 64)(features)
    features = keras.layers.ReLU(6.0, name="fine")(keras.layers.Conv2D(6, 3, padding="same")(features))
    if padding == "valid":
        features = keras.layers.ZeroPadding2D(((0, 1), (2, 1)))(features)
    features = keras.layers.DepthwiseConv2D(3, strides, padding=padding)(features)
    features = keras.layers.Activation("relu", name="middle")(
        keras.layers.BatchNormalization(gamma_initializer=wide)(features)
    )
    features = keras.layers.Conv2D(8, 1)(keras.layers.DepthwiseConv2D(3, 2, padding="same")(features))
    features = keras.layers.ReLU(6.0, name="coarse")(features)
    features = keras.layers.GlobalAveragePooling2D(name="embedding")(features)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="output")(features))


@pytest.mark.parametrize(
    ("padding", "strides", "views"),
    [
        ("valid", 2, ("fine", "middle", "coarse")),
        ("same", 2, ("fine", "middle", "coarse")),
        ("same", 1, ("middle", "coarse")),
    ],
)
def test_the_graph_walks_back_through_layers_of_one_channel_each(padding, strides, views, images):
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(3)
    net, small = build_depthwise(padding, strides), images[:, ::4, ::4][:, :30, :30]
    assert list_layers(net) == views
    answers = ClassifierGraph(net, "embedding")(small[..., None].astype(np.float32))
    answers |= LayersGraph(net)({"image": small[..., None].astype(np.float32), "gradient": answers["gradient"]})

    cells = np.asarray(keras.Model(net.input, net.get_layer("coarse").output)(small[..., None].astype(np.float32)))
    assert 0.05 < (cells == 6).mean() < 0.5
    for layer in list_layers(net):
        fields = receptive_fields(net, layer)
        for label in range(3):
            expected = explain(net, small, method="hirescam", layer=layer, class_indices=np.full(len(small), label))
            drawn = upsample(np.array(answers[f"heatmap_{layer}"])[:, label], *fields, small.shape[1:])
            np.testing.assert_allclose(drawn, expected, atol=1e-3)


def test_a_net_of_one_channel_layers_answers_alike_outside_of_keras(tmp_path, images):
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(4)
    net, small = build_depthwise("valid", 2), images[:, ::4, ::4][:, :30, :30, None].astype(np.float32)

    answers = export_graph(ClassifierGraph(net, "embedding"), tmp_path / "net.onnx", {"image": small})
    layers_inputs = {"image": small, "gradient": answers["gradient"]}
    earlier = export_graph(LayersGraph(net), tmp_path / "layers.onnx", layers_inputs)

    assert set(earlier) == {"heatmap_fine", "heatmap_middle"}
    assert {"probabilities", "embedding", "heatmap_coarse"} <= set(answers)


def test_mobilenet_has_a_view_of_each_coarseness():
    net = build_transfer("mobilenet", size=64)
    ClassifierGraph(net, "embedding")
    assert list_layers(net) == tuple(f"conv_pw_{number}_relu" for number in (1, 3, 5, 11, 13))
    assert [receptive_fields(net, layer)[0].step for layer in list_layers(net)] == [2, 4, 8, 16, 32]


def test_a_net_of_unknown_layers_is_refused_by_name():
    inputs = keras.Input((128, 128, 1))
    features = keras.layers.GlobalMaxPooling2D(name="pool_all")(keras.layers.Conv2D(4, 3)(inputs))
    net = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(features))

    with pytest.raises(ExportError, match="pool_all"):
        ClassifierGraph(net, "embedding")


def test_a_backbone_without_a_way_back_is_told_by_its_layers():
    with pytest.raises(ExportError, match=r"no rule to walk back through .*squeeze_excite_mul"):
        ClassifierGraph(build_transfer("mobilenet-v3-small", size=32), "embedding")


def test_joined_channels_behind_the_first_view_are_told():
    inputs = keras.Input((16, 16, 1))
    features = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    features = keras.layers.Concatenate(name="joined")([features, features])
    features = keras.layers.GlobalAveragePooling2D(name="embedding")(features)
    net = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(features))

    with pytest.raises(ExportError, match="through joined of"):
        ClassifierGraph(net, "embedding")
