"""The outputs of int8 graphs agree with float32."""

import keras
import numpy as np
import onnx
import pytest

from pneumoscope.anomaly.features import ENCODER_LAYERS, build_source, weigh_positions
from pneumoscope.anomaly.mahalanobis import fit_mahalanobis
from pneumoscope.export.keras_graphs import AutoencoderGraph, ClassifierGraph, GaussianGraph
from pneumoscope.export.onnx_file import AGREEMENT, export_graph, extract_outputs, measure_agreement, run_file
from pneumoscope.export.quantization import correct_int8_score, write_int8
from pneumoscope.models.architectures.compact_resnet import build_compact_resnet
from pneumoscope.models.architectures.encoder import build_encoder
from pneumoscope.models.architectures.reference import build_autoencoder, build_three_class
from pneumoscope.phantoms.phantom import draw_phantoms

OUTPUTS = ["probabilities", "embedding"]


@pytest.fixture(scope="module")
def images():
    return draw_phantoms(24, size=128, seed=3).images


@pytest.fixture(scope="module")
def inputs(images):
    return {"image": images[16:, ..., None].astype(np.float32)}


@pytest.fixture(autouse=True)
def in_float32():
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(3)


@pytest.fixture(scope="module", params=[build_compact_resnet, build_three_class], ids=["default", "three_class"])
def graphs(request, tmp_path_factory, images, inputs):
    """Return a folder with `plain.onnx` and `int8.onnx`."""
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(3)
    folder = tmp_path_factory.mktemp("graphs")
    export_graph(ClassifierGraph(request.param(), "embedding"), folder / "full.onnx", inputs)
    extract_outputs(folder / "full.onnx", folder / "plain.onnx", OUTPUTS)
    write_int8(folder / "plain.onnx", folder / "int8.onnx", images[:16])
    return folder


def count_nodes(path, kind):
    return sum(node.op_type == kind for node in onnx.load(path).graph.node)


def test_an_int8_classifier_agrees_with_float32(graphs, inputs):
    actual, expected = (run_file(graphs / name, inputs) for name in ("int8.onnx", "plain.onnx"))
    agreement = measure_agreement(actual, expected, np.zeros(len(inputs["image"])))

    assert set(actual) == set(OUTPUTS)
    assert agreement["probabilities"] < AGREEMENT["probabilities"]
    assert agreement["embedding"] < AGREEMENT["embedding"]
    assert count_nodes(graphs / "int8.onnx", "QuantizeLinear") >= count_nodes(graphs / "plain.onnx", "Conv")
    assert count_nodes(graphs / "int8.onnx", "AveragePool") == 0


def test_the_outputs_for_one_image_do_not_depend_on_the_batch(graphs, inputs):
    together = run_file(graphs / "int8.onnx", inputs)
    alone = run_file(graphs / "int8.onnx", {"image": inputs["image"][5:6]})

    for name in OUTPUTS:
        np.testing.assert_allclose(together[name][5:6], alone[name], rtol=1e-5, atol=1e-6)


def test_the_score_of_an_int8_autoencoder_agrees_with_float32(tmp_path, images, inputs):
    model = build_autoencoder()
    expected = np.array(AutoencoderGraph(model)(inputs["image"])["score"])
    export_graph(AutoencoderGraph(model), tmp_path / "whole.onnx", inputs)
    extract_outputs(tmp_path / "whole.onnx", tmp_path / "plain.onnx", ["score"])
    write_int8(tmp_path / "plain.onnx", tmp_path / "int8.onnx", images[:16])
    correct_int8_score(tmp_path / "int8.onnx", tmp_path / "plain.onnx", images[:16])

    np.testing.assert_allclose(run_file(tmp_path / "plain.onnx", inputs)["score"], expected, rtol=1e-4)
    np.testing.assert_allclose(run_file(tmp_path / "int8.onnx", inputs)["score"], expected, rtol=AGREEMENT["score"])
    measured = {"image": images[:16, ..., None].astype(np.float32)}
    plain, small = (run_file(tmp_path / name, measured)["score"] for name in ("plain.onnx", "int8.onnx"))
    assert small.mean() == pytest.approx(plain.mean(), rel=1e-4)


def test_the_gaussian_is_fitted_again_to_quantized_features(tmp_path, images, inputs):
    source = build_source("random", build_encoder(size=128), ENCODER_LAYERS)
    detector = fit_mahalanobis(source, images)
    whole = detector.mean, detector.whitening
    single = detector.patch_mean, detector.patch_whitening
    graph = GaussianGraph(source.extractor, source.join, weigh_positions(source), whole=whole, single=single)
    exact, plain, small = (tmp_path / f"{name}.onnx" for name in ("whole", "plain", "int8"))
    export_graph(graph, exact, inputs)
    extract_outputs(exact, plain, ["score"])
    write_int8(plain, small, images[:16])
    measured = {"image": images[..., None].astype(np.float32)}
    expected, quantized = (run_file(path, measured)["score"] for path in (plain, small))
    correct_int8_score(small, plain, images)
    corrected = run_file(small, measured)["score"]

    np.testing.assert_allclose(expected, detector.score(images), rtol=1e-2)
    assert np.abs(corrected / expected - 1).mean() < min(0.02, 0.7 * np.abs(quantized / expected - 1).mean())


def test_permuted_outputs_do_not_agree(graphs, inputs):
    expected = run_file(graphs / "plain.onnx", inputs)
    permuted = {"probabilities": np.roll(expected["probabilities"], 1, axis=1), "embedding": 2 * expected["embedding"]}

    agreement = measure_agreement(permuted, expected, np.array([0, 1] * 4))

    assert set(agreement) == {"probabilities", "decisions", "embedding", "auroc"}
    assert agreement["decisions"] > AGREEMENT["decisions"]
    assert agreement["embedding"] > AGREEMENT["embedding"]
