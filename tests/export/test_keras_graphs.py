"""The exported graphs give the outputs of Keras, or are not kept."""

import keras
import numpy as np
import pytest

from pneumoscope.anomaly.features import build_trunk, upsample_maps
from pneumoscope.anomaly.knn import fit_knn
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import ExportError
from pneumoscope.explain.methods import explain
from pneumoscope.explain.scorer import list_layers
from pneumoscope.export.keras_graphs import (
    AutoencoderGraph,
    NearestNormalsGraph,
    build_classifier_graph,
    find_activation_map_layer,
    find_last_feature_map,
    locate_feature_map,
)
from pneumoscope.export.onnx_file import export_graph
from pneumoscope.inference.model_set import Graph, as_input
from pneumoscope.models.architectures.pretrained import build_transfer
from pneumoscope.models.architectures.reference import build_autoencoder, build_binary, build_multiclass
from pneumoscope.models.prediction import predict_probabilities
from pneumoscope.models.receptive_field import upsample
from pneumoscope.models.registry import build_architecture
from pneumoscope.phantoms.phantom import draw_phantoms, phantom_dataset


def build_tiny():
    return build_architecture("tiny", num_outputs=3)


@pytest.fixture(autouse=True)
def in_float32():
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(1)


@pytest.fixture(scope="module")
def images():
    return draw_phantoms(5, size=128, seed=0).images


def as_inputs(images):
    return images[..., None].astype(np.float32)


def run(graph, path, images):
    """Export a graph, and return the outputs of the file."""
    names = export_graph(graph, path, images)
    return dict(zip(names, Graph(path).run(as_input(images), names), strict=True))


@pytest.mark.parametrize("build", [build_tiny, build_multiclass, build_binary])
def test_a_classifier_gives_its_probabilities_and_embedding(build, images, tmp_path):
    model = build()
    labels = KERMANY_LABELS if model.output_shape[-1] == 3 else KERMANY_LABELS.binary()
    outputs = run(build_classifier_graph(model, "embedding", labels), tmp_path / "model.onnx", images)
    expected = model.predict(as_inputs(images), verbose=0)
    embedding = keras.Model(model.input, model.get_layer("embedding").output).predict(as_inputs(images), verbose=0)

    np.testing.assert_allclose(outputs["probabilities"], expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(outputs["embedding"], embedding, atol=1e-4)
    assert outputs["feature_map"].ndim == 4


def test_heatmaps_are_the_gradients_of_the_last_feature_map(images, tmp_path):
    model = build_tiny()
    graph = build_classifier_graph(model, "embedding", KERMANY_LABELS)
    heatmaps = run(graph, tmp_path / "model.onnx", images)["heatmaps"]
    layer = find_last_feature_map(model)

    assert list_layers(model)[-1] == layer
    for label in range(3):
        expected = explain(model, images, method="hirescam", layer=layer, class_indices=np.full(len(images), label))
        actual = upsample(heatmaps[:, label], *locate_feature_map(model), images.shape[1:])
        np.testing.assert_allclose(actual, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (build_tiny, True),
        (build_multiclass, False),
        (build_binary, False),
        (lambda: build_transfer("mobilenet", size=32), True),
        (lambda: build_transfer("mobilenet-v3-small", size=32), True),
    ],
    ids=["tiny", "multiclass", "binary", "mobilenet", "mobilenet-v3-small"],
)
def test_networks_that_end_in_pooling_and_one_dense_layer_have_heatmaps(build, expected):
    model = build()
    graph = build_classifier_graph(model, "embedding", KERMANY_LABELS)

    assert (find_activation_map_layer(model) is not None) is expected
    assert locate_feature_map(model)[0].step > 0
    assert ("heatmaps" in graph.output_names or "heatmaps" in graph.output) is expected


def test_the_score_of_an_autoencoder_is_its_squared_error(tmp_path, images):
    model = build_autoencoder()

    outputs = run(AutoencoderGraph(model), tmp_path / "autoencoder.onnx", images)

    reconstructions = np.array(model(as_inputs(images).repeat(3, axis=-1))).mean(axis=-1)
    np.testing.assert_allclose(outputs["map"], np.square(reconstructions - as_inputs(images)[..., 0] / 255), atol=1e-5)
    np.testing.assert_allclose(outputs["score"], outputs["map"].mean(axis=(1, 2)), rtol=1e-4)


def test_distances_from_normals_are_those_of_the_detector(tmp_path, images):
    normals = phantom_dataset(num_train=30, num_test=3, size=images.shape[1], seed=2).images
    detector = fit_knn(build_trunk(images.shape[1]), normals)

    outputs = run(NearestNormalsGraph(detector), tmp_path / "normals.onnx", images)

    np.testing.assert_allclose(outputs["score"], detector.score(images), rtol=1e-3)
    maps = upsample_maps(outputs["map"], images.shape[1])
    np.testing.assert_allclose(maps, detector.anomaly_maps(images), rtol=1e-3)
    assert (tmp_path / "normals.onnx").stat().st_size < 12e6


def test_a_network_without_an_onnx_form_is_an_error(tmp_path, images):
    graph = build_classifier_graph(build_transfer("convnext-tiny", size=32), "embedding", KERMANY_LABELS)

    with pytest.raises(ExportError, match="cannot be exported to ONNX"):
        export_graph(graph, tmp_path / "a.onnx", images[:, ::4, ::4])

    assert list(tmp_path.iterdir()) == []


def test_an_export_with_other_outputs_is_not_kept(tmp_path, images):
    with pytest.raises(ExportError, match="differs from the model"):
        export_graph(AutoencoderGraph(build_autoencoder()), tmp_path / "a.onnx", images, tolerance=0.0)

    assert list(tmp_path.iterdir()) == []


def test_mirrored_probabilities_are_the_mean_of_both_sides(tmp_path, images):
    model = build_tiny()
    outputs = run(build_classifier_graph(model, "embedding", KERMANY_LABELS, mirror=True), tmp_path / "a.onnx", images)
    plain = run(build_classifier_graph(model, "embedding", KERMANY_LABELS), tmp_path / "b.onnx", images)

    expected = predict_probabilities(model, images, KERMANY_LABELS, mirror=True)
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)
    assert np.abs(outputs["probabilities"] - plain["probabilities"]).max() > 1e-4
    for name in ("embedding", "heatmaps", "feature_map"):
        np.testing.assert_allclose(outputs[name], plain[name], atol=1e-4)
