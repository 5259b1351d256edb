"""A graph quantized to int8: a quarter of the memory, and several products in one instruction.

Pools are folded into convolutions first. Then the convolutions and what lies between them are quantized: weights with
one scale for each filter, activations with a scale measured on real images (static quantization). The normalization of
the image and the head stay in float32. Quantization shifts anomaly scores, which are corrected.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pneumoscope.anomaly.mahalanobis import fit_gaussian
from pneumoscope.export.onnx_file import PARITY_BATCHES, check_parity, halve_weights, run_file
from pneumoscope.inference.model_set import as_input

# Nodes that are quantized, from the first convolution on up to the first node of another kind.
QUANTIZED = ("Conv", "Relu", "Add", "MaxPool", "Reshape", "Transpose", "Pad", "Slice")
BATCH_SIZE = 8
SCORE = "score"
# Products in a sum from which AMX saves more than its longer way costs where there is none.
_LARGE_SUM = 800


def write_int8(path: Path, int8_path: Path, images: np.ndarray) -> None:
    """Write a variant of a graph that computes its convolutions in int8.

    Weights take 7 bits, because processors without VNNI add two products in 16.

    Args:
        path: a float32 graph that takes `image`, without heatmaps.
        int8_path: where to.
        images: `(n, H, W)` uint8, some hundreds of the expected kind: the range of each layer is measured on them.

    Raises:
        ExportError: if the simplified float32 graph does not give the outputs of the original.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with TemporaryDirectory() as folder:
        simple = Path(folder) / "simple.onnx"
        _simplify(path, simple, images)
        quantize_static(
            simple,
            int8_path,
            _Batches(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED),
            nodes_to_quantize=_list_quantized_nodes(onnx.load(simple)),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    model = onnx.load(int8_path)
    _move_zero_point(model)
    halve_weights(model)
    onnx.save(model, int8_path)


class _Batches:
    """Images in the form in which ONNX Runtime reads them to measure ranges."""

    def __init__(self, images: np.ndarray) -> None:
        self.batches = (as_input(images[start : start + BATCH_SIZE]) for start in range(0, len(images), BATCH_SIZE))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next inputs, or None behind the last."""
        return next(self.batches, None)


def _simplify(path: Path, simple_path: Path, images: np.ndarray) -> None:
    """Write the same computation with constants folded and pools in convolutions."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(simple_path)
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    model = onnx.load(simple_path)
    _fold_pools(model)
    # Marks the graph as preprocessed, so that the quantizer does not warn.
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    onnx.save(model, simple_path)
    inputs = as_input(images[: max(PARITY_BATCHES)])
    check_parity(simple_path, inputs, {len(inputs["image"]): run_file(path, inputs)}, tolerance=1e-3)


def _fold_pools(model: Any) -> None:
    """Let a 1 x 1 convolution that follows a mean over 2 x 2 take that mean itself: a pool would stay in float32."""
    from onnx import helper, numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for pool in [node for node in model.graph.node if node.op_type == "AveragePool"]:
        users = [node for node in model.graph.node if pool.output[0] in node.input]
        if len(users) > 1 or users[0].op_type != "Conv" or users[0].input[1] not in tensors:
            continue
        (conv,), kernel = users, numpy_helper.to_array(tensors[users[0].input[1]])
        halves = all(_get_ints(pool, name) == [2, 2] for name in ("kernel_shape", "strides"))
        if kernel.shape[2:] != (1, 1) or not halves:
            continue
        conv.input[0] = pool.input[0]
        _set_values(tensors[conv.input[1]], np.tile(kernel / 4, (1, 1, 2, 2)))
        changes = {"strides": [2, 2], "pads": [0, 0, 0, 0], "kernel_shape": [2, 2]}
        others = [item for item in conv.attribute if item.name not in (*changes, "auto_pad")]
        del conv.attribute[:]
        conv.attribute.extend([*others, *(helper.make_attribute(*change) for change in changes.items())])
        model.graph.node.remove(pool)


def _list_quantized_nodes(model: Any) -> list[str]:
    """Return the names of the nodes to quantize."""
    quantized: list[str] = []
    float_values: set[str] = set()
    for node in model.graph.node:
        if not quantized and node.op_type != "Conv":
            continue
        if node.op_type in QUANTIZED and float_values.isdisjoint(node.input):
            quantized.append(node.name)
        else:
            float_values |= set(node.output)
    return quantized


def _move_zero_point(model: Any) -> None:
    """Represent the weight 0 by the integer 1.

    For weights around 0 ONNX Runtime has a way of its own, which does not use the matrix unit (AMX) of processors that
    have one; with it the deep convolutions take less than half of the time.
    """
    from onnx import TensorProto, numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        kernel = tensors.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if kernel is not None and kernel.data_type == TensorProto.INT8 and np.prod(kernel.dims[1:]) >= _LARGE_SUM:
            for tensor in (kernel, tensors[node.input[2]]):
                _set_values(tensor, (numpy_helper.to_array(tensor) + 1).astype(np.int8))


def correct_int8_score(int8_path: Path, path: Path, normals: np.ndarray) -> None:
    """Correct the anomaly score of an int8 graph, which quantization shifts.

    A Gaussian is fitted again, to the quantized features of normals: a Mahalanobis distance weighs a direction the more
    the less normals vary in it. Another score, such as a reconstruction error, is scaled.

    Args:
        int8_path: of the graph with the output `score`; changed in place.
        path: of the float32 graph.
        normals: `(n, H, W)` uint8, those that the model was fitted on.
    """
    import onnx
    from onnx import helper, numpy_helper

    inputs = as_input(normals)
    model = onnx.load(int8_path)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    gaussian = _find_gaussian(model, tensors)
    if gaussian is not None:
        features, *names = gaussian
        for name, values in zip(names, fit_gaussian(_run_to(model, features, inputs)), strict=True):
            _set_values(tensors[name], values)
    else:
        exact, quantized = (run_file(graph, inputs)[SCORE] for graph in (path, int8_path))
        (node,) = (node for node in model.graph.node if SCORE in node.output)
        node.output[:] = [f"{SCORE}/quantized"]
        factor = np.array(np.mean(exact) / np.mean(quantized), np.float32)
        model.graph.initializer.append(numpy_helper.from_array(factor, f"{SCORE}/factor"))
        model.graph.node.append(helper.make_node("Mul", [f"{SCORE}/quantized", f"{SCORE}/factor"], [SCORE]))
    onnx.save(model, int8_path)


def _find_gaussian(model: Any, tensors: dict[str, Any]) -> tuple[str, str, str] | None:
    """Return the names of the features, and of the mean and the whitening matrix that are applied to them."""
    producers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        before = producers.get(node.input[0]) if node.op_type == "MatMul" else None
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


def _get_ints(node: Any, name: str) -> list[int]:
    return next((list(attribute.ints) for attribute in node.attribute if attribute.name == name), [])


def _set_values(tensor: Any, values: np.ndarray) -> None:
    from onnx import numpy_helper

    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
