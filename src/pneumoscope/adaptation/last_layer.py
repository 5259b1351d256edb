"""The last layer of an ONNX classifier: the Dense layer between embedding and probabilities."""

from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope.errors import ModelError

MAX_DIFFERENCE = 1e-3


def read_last_layer(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel `(d, outputs)` and bias `(outputs,)`, float64, of the last layer of a classifier.

    Raises:
        ModelError: if the last layer is no Dense layer with constant weights.
    """
    import onnx

    model = onnx.load(path)
    kernel, bias = _find_last_layer(model, path)
    return _to_array(kernel), _to_array(bias)


def replace_last_layer(path: Path, kernel: np.ndarray, bias: np.ndarray) -> None:
    """Replace kernel and bias of the last layer, also where the class activation maps use the kernel.

    Args:
        path: ONNX file, which is overwritten.
        kernel: `(d, outputs)` floats.
        bias: `(outputs,)` floats.

    Raises:
        ModelError: if the last layer is no Dense layer with constant weights.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    old_kernel, old_bias = _find_last_layer(model, path)
    changes = [(_to_array(old_kernel), kernel)]
    if kernel.shape[1] == 1:  # class activation maps of one sigmoid unit
        changes.append(tuple(np.concatenate([-values, values], axis=1) for values in changes[0]))  # type: ignore[arg-type]
    changes += [(old.T, new.T) for old, new in changes]
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        new = bias if tensor.name == old_bias.name else None
        for before, after in changes:
            if values.squeeze().shape == before.squeeze().shape and np.allclose(values.squeeze(), before.squeeze()):
                new = after
        if new is not None:
            tensor.CopyFrom(numpy_helper.from_array(new.reshape(values.shape).astype(values.dtype), tensor.name))
    onnx.save(model, path)


def _find_last_layer(model: Any, path: Path) -> tuple[Any, Any]:
    """Return the initializers of kernel and bias."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    names, bias = ["probabilities"], None
    for name in names:  # grows: breadth-first search from the output
        if (node := producers.get(name)) is None:
            continue
        found = [constants[one] for one in node.input if one in constants]
        if node.op_type == "MatMul" and len(found) == 1 and bias is not None:
            return found[0], bias
        if node.op_type == "Gemm" and len(found) == 2 and not any(one.i for one in node.attribute):
            return found[0], found[1]
        if node.op_type == "Add" and len(found) == 1:
            bias = found[0]
        names += [one for one in node.input if one not in constants and one not in names]
    raise ModelError(
        f"the last layer of {path} is no Dense layer with a bias; expected one to fit it. Adapt calibration and "
        "thresholds only, without --last-layer"
    )


def _to_array(tensor: Any) -> np.ndarray:
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor).astype(np.float64)
    return np.asarray(values if values.ndim == 2 else values.ravel())
