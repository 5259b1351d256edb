"""Classifiers of any tool as ONNX files: layouts of the input, and outputs that are no probabilities."""

import numpy as np
import pytest

from pneumoscope.errors import ModelError
from pneumoscope.inference.onnx_model import open_onnx
from pneumoscope.labels import LabelSet

LABELS = LabelSet(("healthy", "covid"), "healthy")
IMAGES = np.stack([np.full((32, 32), level, np.uint8) for level in (51, 204)])


def write_model(path, shape, *, factor=1.0):
    """Write a model whose one output is the mean gray level times a factor."""
    onnx = pytest.importorskip("onnx")
    make = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["flat"]),
        onnx.helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1], keepdims=1),
        onnx.helper.make_node("Mul", ["mean", "factor"], ["y"]),
    ]
    weights = [onnx.numpy_helper.from_array(np.array([factor], np.float32), "factor")]
    graph = onnx.helper.make_graph(nodes, "g", [make("x", 1, shape)], [make("y", 1, [shape[0], 1])], weights)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), path)


@pytest.mark.parametrize(
    ("shape", "size"), [((1, 3, 32, 32), None), (("n", 1, "h", "w"), 32), (("n", 32, 32, 3), None)]
)
def test_the_layout_of_the_input_is_found(tmp_path, shape, size):
    write_model(tmp_path / "m.onnx", shape)
    model = open_onnx(tmp_path / "m.onnx", LABELS, preprocess="0-1", size=size)

    np.testing.assert_allclose(model.predict_images(IMAGES), [[0.8, 0.2], [0.2, 0.8]], atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (("n", 1, 32, 32), {}, "name what .* expects of gray levels"),
        (("n", 1, 32, 32), {"preprocess": "imagenet-torch"}, "of three channels, for imagenet-torch"),
        (("n", 1, "h", "w"), {"preprocess": "0-1"}, "a size named with --size"),
        (("n", 1, 32, 48), {"preprocess": "0-1"}, "expected squares"),
        (("n", 1024), {"preprocess": "0-1"}, "expected one input"),
        (("n", 1, 32, 32), {"preprocess": "none"}, "range from 51 to 204; .* logits"),
    ],
)
def test_another_model_is_an_error(tmp_path, shape, options, message):
    write_model(tmp_path / "m.onnx", shape)

    with pytest.raises(ModelError, match=message):
        open_onnx(tmp_path / "m.onnx", LABELS, **options).predict_images(IMAGES)
