"""Whole numbers answer as float32 does, on nets of other shapes than those that their steps were written for too."""

import keras
import numpy as np
import onnx
import pytest

from pneumoscope.anomaly.features import ENCODER_LAYERS, build_source, weigh_positions
from pneumoscope.anomaly.mahalanobis import fit_mahalanobis
from pneumoscope.export.cells import part_rows, regroup_kernel
from pneumoscope.export.graph import AutoencoderGraph, ClassifierGraph, GaussianGraph
from pneumoscope.export.int8 import write_int8
from pneumoscope.export.int8_scores import correct_int8_score
from pneumoscope.export.onnx_file import AGREEMENT, export_graph, extract_answers, measure_agreement, run_file
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
def answers(request, tmp_path_factory, images, inputs):
    """Return a folder with `plain.onnx` and `int8.onnx`."""
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(3)
    folder = tmp_path_factory.mktemp("answers")
    export_graph(ClassifierGraph(request.param(), "embedding"), folder / "full.onnx", inputs)
    extract_answers(folder / "full.onnx", folder / "plain.onnx", OUTPUTS)
    write_int8(folder / "plain.onnx", folder / "int8.onnx", images[:16])
    return folder


def count_nodes(path, kind):
    return sum(node.op_type == kind for node in onnx.load(path).graph.node)


def test_a_classifier_answers_alike_in_whole_numbers(answers, inputs):
    found, expected = (run_file(answers / name, inputs) for name in ("int8.onnx", "plain.onnx"))
    agreement = measure_agreement(found, expected, np.zeros(len(inputs["image"])))

    assert set(found) == set(OUTPUTS)
    assert agreement["probabilities"] < AGREEMENT["probabilities"]
    assert agreement["embedding"] < AGREEMENT["embedding"]
    assert count_nodes(answers / "int8.onnx", "QuantizeLinear") >= count_nodes(answers / "plain.onnx", "Conv")
    assert count_nodes(answers / "int8.onnx", "AveragePool") == 0


def test_the_answers_of_one_image_do_not_depend_on_the_batch(answers, inputs):
    together = run_file(answers / "int8.onnx", inputs)
    alone = run_file(answers / "int8.onnx", {"image": inputs["image"][5:6]})

    for name in OUTPUTS:
        np.testing.assert_allclose(together[name][5:6], alone[name], rtol=1e-5, atol=1e-6)


def test_an_autoencoder_scores_alike_in_whole_numbers(tmp_path, images, inputs):
    net = build_autoencoder()
    expected = np.array(AutoencoderGraph(net)(inputs["image"])["score"])
    export_graph(AutoencoderGraph(net), tmp_path / "whole.onnx", inputs)
    extract_answers(tmp_path / "whole.onnx", tmp_path / "plain.onnx", ["score"])
    write_int8(tmp_path / "plain.onnx", tmp_path / "int8.onnx", images[:16])
    correct_int8_score(tmp_path / "int8.onnx", tmp_path / "plain.onnx", images[:16])

    np.testing.assert_allclose(run_file(tmp_path / "plain.onnx", inputs)["score"], expected, rtol=1e-4)
    np.testing.assert_allclose(run_file(tmp_path / "int8.onnx", inputs)["score"], expected, rtol=AGREEMENT["score"])
    measured = {"image": images[:16, ..., None].astype(np.float32)}
    plain, small = (run_file(tmp_path / name, measured)["score"] for name in ("plain.onnx", "int8.onnx"))
    assert small.mean() == pytest.approx(plain.mean(), rel=1e-4)


def test_a_distance_from_normals_is_fitted_anew_to_rounded_features(tmp_path, images, inputs):
    source = build_source("random", build_encoder(size=128), ENCODER_LAYERS)
    found = fit_mahalanobis(source, images)
    whole, single = (found.mean, found.whitening), (found.patch_mean, found.patch_whitening)
    graph = GaussianGraph(source.extractor, source.join, weigh_positions(source), whole=whole, single=single)
    exact, plain, small = (tmp_path / f"{name}.onnx" for name in ("whole", "plain", "int8"))
    export_graph(graph, exact, inputs)
    extract_answers(exact, plain, ["score"])
    write_int8(plain, small, images[:16])
    measured = {"image": images[..., None].astype(np.float32)}
    expected, rounded = (run_file(path, measured)["score"] for path in (plain, small))
    correct_int8_score(small, plain, images)
    mended = run_file(small, measured)["score"]

    np.testing.assert_allclose(expected, found.score(images), rtol=1e-2)
    assert np.abs(mended / expected - 1).mean() < min(0.02, 0.7 * np.abs(rounded / expected - 1).mean())


def test_answers_that_were_mixed_up_do_not_agree(answers, inputs):
    expected = run_file(answers / "plain.onnx", inputs)
    mixed = {"probabilities": np.roll(expected["probabilities"], 1, axis=1), "embedding": 2 * expected["embedding"]}

    agreement = measure_agreement(mixed, expected, np.array([0, 1] * 4))

    assert set(agreement) == {"probabilities", "decisions", "embedding", "auroc"}
    assert agreement["decisions"] > AGREEMENT["decisions"]
    assert agreement["embedding"] > AGREEMENT["embedding"]


@pytest.mark.parametrize(("side", "strides", "before"), [(2, 1, 1), (2, 1, 0), (4, 2, 0), (2, 2, 0), (2, 2, 1)])
def test_a_convolution_of_cells_is_that_of_their_pixels(side, strides, before):
    rng = np.random.default_rng(0)
    pixels, kernel = rng.normal(size=(1, 16, 16, 2)).astype(np.float32), rng.normal(size=(3, 3, 2, 5))
    wide, (first, last) = regroup_kernel(kernel.astype(np.float32), side=side, strides=strides, before=before)

    behind = strides * (16 // strides - 1) + 3 - before - 16
    around = np.pad(pixels, ((0, 0), (before, behind), (before, behind), (0, 0)))
    expected = np.array(keras.ops.conv(around, kernel.astype(np.float32), strides=strides))
    cells = np.pad(gather(pixels, side), ((0, 0), (first, last), (first, last), (0, 0)))
    found = np.array(keras.ops.conv(cells, wide))

    np.testing.assert_allclose(found, gather(expected, side // strides), atol=1e-4)


@pytest.mark.parametrize("before", [0, 1])
def test_rows_need_not_be_gathered_for_a_convolution_of_cells(before):
    rng = np.random.default_rng(0)
    pixels, kernel = (rng.normal(size=size).astype(np.float32) for size in ((1, 16, 16, 2), (3, 3, 2, 5)))
    wide, (first, last) = regroup_kernel(kernel, side=4, strides=2, before=before)
    cells = np.pad(gather(pixels, 4), ((0, 0), (first, last), (first, last), (0, 0)))
    expected = np.array(keras.ops.conv(cells, wide))

    narrow, (above, below) = part_rows(wide, (first, last), side=4)
    rows = np.pad(pixels.reshape(1, 16, 4, 8), ((0, 0), (above, below), (first, last), (0, 0)))
    found = np.array(keras.ops.conv(rows, narrow, strides=(4, 1)))

    assert narrow.shape[0] == 5
    np.testing.assert_allclose(found, expected, atol=1e-4)


def gather(pixels, side):
    n, height, width, depth = pixels.shape
    parted = pixels.reshape(n, height // side, side, width // side, side, depth).transpose(0, 1, 3, 2, 4, 5)
    return parted.reshape(n, height // side, width // side, side * side * depth)
