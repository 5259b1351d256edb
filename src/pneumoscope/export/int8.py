"""The answers of a net in whole numbers of 8 bits: a quarter of the memory, and several products in one instruction.

The graph is first written anew so that it says the same in fewer and wider steps, then its convolutions and what lies
between them are counted in steps of a scale: that of the weights is each filter's own, that of a layer's output comes
from what it holds on real images (static quantization). Normalization of the image and the head stay in float32.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pneumoscope.export.cells import part_rows, regroup_kernel
from pneumoscope.export.onnx_file import PARITY_BATCHES, check_parity, halve_weights, run_file

# What is counted in whole numbers, from the first convolution on up to the first node of another kind.
COUNTED = ("Conv", "Relu", "Add", "MaxPool", "Reshape", "Transpose", "Pad", "Slice")
BATCH = 8
# What may stand before the first convolution of cells: pixels stay in their order.
_PIXELWISE = {"Mul", "Sub", "Add", "Div", "Sqrt", "Reciprocal", "Neg", "ReduceMean", "Reshape", "InstanceNormalization"}
# What Keras makes of a Rescaling and a LayerNormalization of whole images, in the order of the alphabet.
_STANDARDIZATION = ["Add"] * 2 + ["Mul"] * 4 + ["Neg", "Reciprocal"] + ["ReduceMean"] * 2 + ["Sqrt", "Sub"]
_CELL = 4
# Products in a sum from which AMX saves more than its longer way costs where there is none.
_DEEP = 800


def write_int8(path: Path, int8_path: Path, images: np.ndarray) -> None:
    """Write a variant of a graph that computes its convolutions in whole numbers.

    Weights take 7 bits, because processors without VNNI add two products in 16.

    Args:
        path: a float32 graph that takes `image`, without heat-maps.
        int8_path: where to.
        images: `(n, H, W)` uint8, some hundreds such as will be read: the range of each layer is measured on them.

    Raises:
        ExportError: if the graph written anew in float32 does not answer as it did.
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
            op_types_to_quantize=list(COUNTED),
            nodes_to_quantize=_find_counted(onnx.load(simple)),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    model = onnx.load(int8_path)
    _move_zero(model)
    halve_weights(model)
    onnx.save(model, int8_path)


class _Batches:
    """Images in the form that ONNX Runtime asks for when it measures ranges."""

    def __init__(self, images: np.ndarray) -> None:
        starts = range(0, len(images), BATCH)
        self.batches: Iterator[dict[str, np.ndarray]] = (
            {"image": images[start : start + BATCH, ..., None].astype(np.float32)} for start in starts
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next inputs, or None behind the last."""
        return next(self.batches, None)


def _simplify(path: Path, simple_path: Path, images: np.ndarray) -> None:
    """Write the same computation with constants folded, pools in convolutions, and the first steps fewer and wider."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(simple_path)
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    model = onnx.load(simple_path)
    _fold_pools(model)
    _standardize_at_once(model)
    _gather_pixels(model)
    # Keeps the quantizer from asking for what was done above.
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    onnx.save(model, simple_path)
    inputs = {"image": images[: max(PARITY_BATCHES), ..., None].astype(np.float32)}
    expected = {len(inputs["image"]): run_file(path, inputs)}
    check_parity(simple_path, inputs, expected, tolerance=1e-3)


def _fold_pools(model: Any) -> None:
    """Let a convolution of single cells that follows a mean over 2 x 2 take that mean itself."""
    from onnx import numpy_helper

    tensors, users = _index(model)
    for pool in [node for node in model.graph.node if node.op_type == "AveragePool"]:
        conv = users[pool.output[0]][0]
        if len(users[pool.output[0]]) > 1 or conv.op_type != "Conv" or conv.input[1] not in tensors:
            continue
        kernel = numpy_helper.to_array(tensors[conv.input[1]])
        if kernel.shape[2:] != (1, 1) or _get(pool, "kernel_shape") != [2, 2] or _get(pool, "strides") != [2, 2]:
            continue
        conv.input[0] = pool.input[0]
        _set_kernel(conv, tensors, np.tile(kernel / 4, (1, 1, 2, 2)), strides=[2, 2], pads=[0, 0, 0, 0])
        model.graph.node.remove(pool)


def _standardize_at_once(model: Any) -> None:
    """Let one node free each image of its mean and its spread, where a net begins with that."""
    from onnx import helper, numpy_helper

    tensors, nodes = _index(model)[0], model.graph.node
    chain = nodes[: len(_STANDARDIZATION)]
    if sorted(node.op_type for node in chain) != _STANDARDIZATION or nodes[len(chain)].op_type != "Reshape":
        return
    scale, epsilon = (
        next(numpy_helper.to_array(tensors[name]).item() for name in node.input if name in tensors)
        for node in chain
        if node.op_type in ("Mul", "Add") and not tensors.keys().isdisjoint(node.input)
    )
    height, width = _get_sides(model)
    shape = np.array([-1, 1, height * width], np.int64)
    constants: dict[str, np.ndarray] = {"shape": shape, "scale": np.ones(1, "f4"), "offset": np.zeros(1, "f4")}
    for name, values in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(values, f"standard/{name}"))
    after = list(nodes[len(chain) :])
    row = helper.make_node("Reshape", ["image", "standard/shape"], ["standard/row"], name="standard/join")
    made = helper.make_node(
        "InstanceNormalization",
        ["standard/row", "standard/scale", "standard/offset"],
        [after[0].input[0]],
        name="standard/made",
        epsilon=epsilon / scale**2,
    )
    del nodes[:]
    nodes.extend([row, made, *after])


def _gather_pixels(model: Any) -> None:
    """Let the first two convolutions run over cells, of four pixels of a row and then of 2 x 2, where both halve sides.

    The pixels of a row lie side by side already, so that nothing has to be put elsewhere.
    """
    from onnx import numpy_helper

    tensors = _index(model)[0]
    nodes = model.graph.node
    start = next((place for place, node in enumerate(nodes) if node.op_type == "Conv"), 0)
    before, chain = list(nodes[:start]), nodes[start : start + 3]
    height, width = _get_sides(model)
    if (
        [node.op_type for node in chain] != ["Conv", "Relu", "Conv"]
        or any(_get(node, "strides") != [2, 2] for node in (chain[0], chain[2]))
        or not before
        or before[-1].op_type != "Reshape"
        or not {node.op_type for node in before[:-1]} <= _PIXELWISE
        or height % _CELL
        or width % _CELL
    ):
        return
    for conv, side in ((chain[0], _CELL), (chain[2], _CELL // 2)):
        kernel = numpy_helper.to_array(tensors[conv.input[1]]).transpose(2, 3, 1, 0)
        wide, (first, last) = regroup_kernel(kernel, side=side, strides=2, before=_get(conv, "pads")[0])
        strides, pads = [1, 1], [first, first, last, last]
        if side == _CELL:
            wide, (above, below) = part_rows(wide, (first, last), side=side)
            strides, pads = [side, 1], [above, first, below, last]
        _set_kernel(conv, tensors, wide.transpose(3, 2, 0, 1), strides=strides, pads=pads)
        for name in conv.input[2:]:
            _replace(tensors[name], np.tile(numpy_helper.to_array(tensors[name]), (side // 2) ** 2))
    _begin_with_cells(model, before, height, width)


def _begin_with_cells(model: Any, before: list[Any], height: int, width: int) -> None:
    """Take four pixels of a row for the channels of one, after all that is done to pixels."""
    from onnx import helper, numpy_helper

    shape = np.array([-1, height, width // _CELL, _CELL], np.int64)
    model.graph.initializer.append(numpy_helper.from_array(shape, "cells/shape"))
    last = before[-1]
    model.graph.initializer.remove(_index(model)[0][last.input[1]])
    made = helper.make_node("Reshape", [last.input[0], "cells/shape"], ["cells"], name="cells/join")
    turned = helper.make_node("Transpose", ["cells"], [last.output[0]], name="cells/first", perm=[0, 3, 1, 2])
    nodes = [*before[:-1], made, turned, *model.graph.node[len(before) :]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _find_counted(model: Any) -> list[str]:
    """Return the names of the nodes that are to count in whole numbers."""
    counted: list[str] = []
    left: set[str] = set()
    begun = False
    for node in model.graph.node:
        begun = begun or node.op_type == "Conv"
        if begun and node.op_type in COUNTED and left.isdisjoint(node.input):
            counted.append(node.name)
        elif begun:
            left |= set(node.output)
    return counted


def _move_zero(model: Any) -> None:
    """Let the weight 0 be the whole number 1.

    For weights around 0 ONNX Runtime has a way of its own, which does not use the matrix unit (AMX) of processors that
    have one; with it the deep convolutions take less than half of the time.
    """
    from onnx import TensorProto, numpy_helper

    tensors = _index(model)[0]
    for node in model.graph.node:
        kernel = tensors.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if kernel is not None and kernel.data_type == TensorProto.INT8 and np.prod(kernel.dims[1:]) >= _DEEP:
            for tensor in (kernel, tensors[node.input[2]]):
                _replace(tensor, (numpy_helper.to_array(tensor) + 1).astype(np.int8))


def _index(model: Any) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return the constants by name, and by name of a value the nodes that take it."""
    users: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return {tensor.name: tensor for tensor in model.graph.initializer}, users


def _get_sides(model: Any) -> tuple[int, int]:
    height, width = (dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:3])
    return height, width


def _get(node: Any, name: str) -> list[int]:
    return next((list(attribute.ints) for attribute in node.attribute if attribute.name == name), [])


def _set_kernel(conv: Any, tensors: dict[str, Any], kernel: np.ndarray, *, strides: list[int], pads: list[int]) -> None:
    from onnx import helper

    _replace(tensors[conv.input[1]], kernel)
    kept = [item for item in conv.attribute if item.name not in ("strides", "pads", "kernel_shape", "auto_pad")]
    del conv.attribute[:]
    changed = {"strides": strides, "pads": pads, "kernel_shape": list(kernel.shape[2:])}
    conv.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in changed.items())])


def _replace(tensor: Any, values: np.ndarray) -> None:
    from onnx import numpy_helper

    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
