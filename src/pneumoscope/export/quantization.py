"""Static int8 quantization of ONNX graphs.

Average pools are first folded into convolutions. Convolutions and the nodes between them are quantized, with one weight
scale per filter and activation scales calibrated on images. Image normalization and the classification head stay in
float32. Quantization shifts anomaly scores; `correct_int8_score` corrects them.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pneumoscope.anomaly.mahalanobis import fit_gaussian
from pneumoscope.export.onnx_file import PARITY_BATCHES, check_parity, halve_weights, run_file
from pneumoscope.inference.model_set import as_input

# Node types that are quantized, from the first convolution to the first node of another type.
QUANTIZED = ("Conv", "Relu", "Add", "MaxPool", "Reshape", "Transpose", "Pad", "Slice")
BATCH_SIZE = 8
SCORE = "score"
# Minimum number of products per sum at which AMX saves more time than the other encoding costs without AMX.
_LARGE_SUM = 800


def write_int8(path: Path, int8_path: Path, images: np.ndarray) -> None:
    """Write a variant of a graph with int8 convolutions.

    Weights use 7 bits, because processors without VNNI accumulate two products in 16 bits.

    Args:
        path: path of a float32 graph with the input `image`, without heatmaps.
        int8_path: path of the variant.
        images: `(n, H, W)` uint8, a few hundred representative images to calibrate the activation ranges.

    Raises:
        ExportError: if the outputs of the simplified float32 graph differ from the original.
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
    """Calibration data reader for ONNX Runtime."""

    def __init__(self, images: np.ndarray) -> None:
        self.batches = (as_input(images[start : start + BATCH_SIZE]) for start in range(0, len(images), BATCH_SIZE))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next inputs, or None at the end."""
        return next(self.batches, None)


def _simplify(path: Path, simple_path: Path, images: np.ndarray) -> None:
    """Write the graph with constants folded and average pools folded into convolutions."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(simple_path)
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    model = onnx.load(simple_path)
    _fold_pools(model)
    # Mark the graph as preprocessed to avoid a warning of the quantizer.
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    onnx.save(model, simple_path)
    inputs = as_input(images[: max(PARITY_BATCHES)])
    check_parity(simple_path, inputs, {len(inputs["image"]): run_file(path, inputs)}, tolerance=1e-3)


def _fold_pools(model: Any) -> None:
    """Fold 2 x 2 average pools into the following 1 x 1 convolution, because pools would stay in float32."""
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
    """Move the zero point of the weights from 0 to 1.

    For a zero point of 0, ONNX Runtime selects a kernel that does not use AMX. With AMX, large convolutions take less
    than half the time.
    """
    from onnx import TensorProto, numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        kernel = tensors.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if kernel is not None and kernel.data_type == TensorProto.INT8 and np.prod(kernel.dims[1:]) >= _LARGE_SUM:
            for tensor in (kernel, tensors[node.input[2]]):
                _set_values(tensor, (numpy_helper.to_array(tensor) + 1).astype(np.int8))


def correct_int8_score(int8_path: Path, path: Path, normals: np.ndarray) -> None:
    """Correct the shift of the anomaly score of an int8 graph.

    The Gaussian of a Mahalanobis distance is fitted again on the quantized features of normals. Other scores, such as a
    reconstruction error, are scaled.

    Args:
        int8_path: path of the int8 graph with the output `score`; modified in place.
        path: path of the float32 graph.
        normals: `(n, H, W)` uint8, training normals.
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
    """Return the names of the features, the mean and the whitening matrix of the Gaussian, if any."""
    producers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        before = producers.get(node.input[0]) if node.op_type == "MatMul" else None
        if before is not None and before.op_type == "Sub":
            features, mean = before.input
            if mean in tensors and node.input[1] in tensors:
                return features, mean, node.input[1]
    return None


def _run_to(model: Any, name: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return the value of an intermediate tensor of a graph."""
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
