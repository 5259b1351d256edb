"""The exported graphs: they answer as Keras does, heat-maps included, or are not kept."""

import keras
import numpy as np
import onnxruntime
import pytest

from pneumoscope.errors import ExportError
from pneumoscope.models.flagship import build_flagship
from pneumoscope.models.geometry import draw_up, receptive_fields
from pneumoscope.models.graph import AutoencoderGraph, ClassifierGraph, LayersGraph
from pneumoscope.models.onnx_file import export_graph, write_small
from pneumoscope.models.paper import build_autoencoder, build_binary, build_three_class
from pneumoscope.radiographs.phantoms import draw_phantoms
from pneumoscope.tasks.explain.explanation import list_layers
from pneumoscope.tasks.explain.gradcam import compute_gradcam

pytestmark = pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")


@pytest.fixture(scope="module")
def images():
    return draw_phantoms(5, size=128, seed=0).images


@pytest.fixture(scope="module")
def inputs(images):
    return {"image": images[..., None].astype(np.float32)}


@pytest.mark.parametrize("build", [build_binary, build_three_class, build_flagship])
def test_the_graph_walks_back_as_the_gradient_tape_does(build, images, inputs):
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(1)
    net = build()
    answers = ClassifierGraph(net, "embedding")(inputs["image"])
    answers |= LayersGraph(net)({**inputs, "gradient": answers["gradient"]})

    for layer in list_layers(net):
        cells = np.array(answers[f"heatmap_{layer}"])
        fields = receptive_fields(net, layer)
        for label in range(cells.shape[1]):
            expected = compute_gradcam(net, images, layer=layer, class_indices=np.full(len(images), label))
            drawn = draw_up(cells[:, label], *fields, images.shape[1:])
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

    answers = export_graph(AutoencoderGraph(build_autoencoder()), path, inputs)

    expected = np.square(answers["reconstruction"] - inputs["image"][..., 0] / 255).mean(axis=(1, 2))
    np.testing.assert_allclose(answers["score"], expected, rtol=1e-4)


def test_an_export_that_answers_otherwise_is_not_kept(tmp_path, inputs):
    keras.config.set_dtype_policy("float32")
    path = tmp_path / "autoencoder.onnx"

    with pytest.raises(ExportError, match="does not answer as the model does"):
        export_graph(AutoencoderGraph(build_autoencoder()), path, inputs, tolerance=0.0)

    assert list(tmp_path.iterdir()) == []


def test_a_net_of_unknown_layers_is_refused_by_name():
    inputs = keras.Input((128, 128, 1))
    features = keras.layers.GlobalMaxPooling2D(name="pool_all")(keras.layers.Conv2D(4, 3)(inputs))
    net = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(features))

    with pytest.raises(ExportError, match="pool_all"):
        ClassifierGraph(net, "embedding")
