"""Keras models to ONNX files with a parity check."""

import logging
import warnings
from pathlib import Path

import keras
import numpy as np
from keras import ops

from pneumoscope.errors import ExportError
from pneumoscope.inference.model_set import Graph

PARITY_BATCHES = (1, 4)
TOLERANCE = 1e-3


def export_graph(graph: keras.Model, path: Path, images: np.ndarray, *, tolerance: float = TOLERANCE) -> list[str]:
    """Write a graph as ONNX and compare its outputs with Keras.

    Args:
        graph: model with the input `image` and named outputs, see `pneumoscope.export.keras_graphs`.
        path: output file.
        images: `(n, H, W)` uint8 to compare on, 4 or more.
        tolerance: largest difference of an output, as a fraction of its Euclidean norm.

    Returns:
        The names of the outputs, sorted.

    Raises:
        ExportError: if an output differs or Keras cannot export the model; the file is deleted.
    """
    inputs = images[..., None].astype(np.float32)
    outputs = {count: graph(inputs[:count]) for count in PARITY_BATCHES}
    signature = keras.InputSpec(shape=(None, *inputs.shape[1:]), dtype="float32", name="image")
    # tf2onnx logs the traceback of each optimization that it skips.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # Keras uses a name that NumPy has removed.
            warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)
            graph.export(path, format="onnx", input_signature=[signature], verbose=False)
        names = sorted(outputs[PARITY_BATCHES[0]])
        file = Graph(path)
        results = {
            count: dict(zip(names, file.run({"image": inputs[:count]}, names), strict=True)) for count in outputs
        }
    except Exception as error:  # Keras, tf2onnx and ONNX Runtime raise classes of their own
        path.unlink(missing_ok=True)
        raise ExportError(
            f"this network cannot be exported to ONNX, because a layer has no ONNX form: {str(error)[:300]}. Choose "
            "another architecture, or use the Keras model"
        ) from None
    for count, expected in outputs.items():
        actual = results[count]
        for name, values in expected.items():
            difference = _compare(actual[name], np.asarray(ops.convert_to_numpy(values)))
            if not difference <= tolerance:
                path.unlink()
                raise ExportError(
                    f"the exported graph differs from the model: relative difference {difference:.2g} of {name} in a "
                    f"batch of {count}; expected {tolerance:.2g} or less. The export was deleted."
                )
    return names


def _compare(actual: np.ndarray, expected: np.ndarray) -> float:
    """Return the norm of the difference over the norm of the expected values, for the worst image."""
    if actual.shape != expected.shape:
        return np.inf
    lengths, gaps = (np.linalg.norm(item.reshape(len(item), -1), axis=1) for item in (expected, actual - expected))
    return float((gaps / np.maximum(lengths, 1e-6)).max())
