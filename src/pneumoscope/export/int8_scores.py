"""Correction of the anomaly score of an int8 graph.

Quantization shifts features a little, and a Mahalanobis distance weighs a direction the more the less normals vary in
it. So the Gaussian is fitted again, to the quantized features of normals. A score without a Gaussian, such as a
reconstruction error, is scaled: quantization raises it for every image.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pneumoscope.anomaly.mahalanobis import fit_gaussian
from pneumoscope.export.onnx_file import run_file

SCORE = "score"


def correct_int8_score(int8_path: Path, path: Path, normals: np.ndarray) -> None:
    """Make an int8 graph score as the same graph in float32 does.

    Args:
        int8_path: of the graph with the output `score`; changed in place.
        path: of the float32 graph.
        normals: `(n, H, W)` uint8, those that the model was fitted on.
    """
    import onnx
    from onnx import helper, numpy_helper

    inputs = {"image": normals[..., None].astype(np.float32)}
    model = onnx.load(int8_path)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    gaussian = _find_gaussian(model, tensors)
    if gaussian is not None:
        features, *names = gaussian
        for name, values in zip(names, fit_gaussian(_run_to(model, features, inputs)), strict=True):
            tensors[name].CopyFrom(numpy_helper.from_array(values, name))
    else:
        exact, rounded = (run_file(graph, inputs)[SCORE] for graph in (path, int8_path))
        (maker,) = (node for node in model.graph.node if SCORE in node.output)
        maker.output[:] = [f"{SCORE}/rounded"]
        factor = np.array(np.mean(exact) / np.mean(rounded), np.float32)
        model.graph.initializer.append(numpy_helper.from_array(factor, f"{SCORE}/factor"))
        model.graph.node.append(helper.make_node("Mul", [f"{SCORE}/rounded", f"{SCORE}/factor"], [SCORE]))
    onnx.save(model, int8_path)


def _find_gaussian(model: Any, tensors: dict[str, Any]) -> tuple[str, str, str] | None:
    """Return the names of the features, and of the mean and the whitening matrix that are applied to them."""
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        before = makers.get(node.input[0]) if node.op_type == "MatMul" else None
        if before is not None and before.op_type == "Sub":
            features, mean = before.input
            if mean in tensors and node.input[1] in tensors:
                return features, mean, node.input[1]
    return None


def _run_to(model: Any, name: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return the value of an inner tensor of a graph."""
    import onnx

    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "extended.onnx"
        onnx.save(extended, path)
        return run_file(path, inputs)[name]
