"""Conversion of Keras graphs to ONNX, with a parity check of the outputs."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from pneumoscope.errors import ExportError

PARITY_BATCHES = (1, 4)
FULL_TOLERANCE = 1e-3
SMALL_TOLERANCE = 1e-2
# If the input of a ReLU is close to 0, rounding decides whether its gradient is 0 or 1. Single heatmap values can jump.
HEATMAP_TOLERANCE = 3e-2
LARGE = 100_000
# Maximum differences of int8 and float32 on held-out images. They are below the uncertainty of the calibration and
# below the differences between two training runs of the same architecture.
AGREEMENT = {"probabilities": 0.01, "decisions": 0.03, "embedding": 0.05, "score": 0.03, "auroc": 0.005}


def export_graph(
    graph: keras.Model,
    path: Path,
    inputs: dict[str, np.ndarray],
    *,
    reference: keras.Model | None = None,
    tolerance: float = FULL_TOLERANCE,
) -> dict[str, np.ndarray]:
    """Write a graph as ONNX file, and compare it with Keras.

    Args:
        graph: a graph of `pneumoscope.export.keras_graphs`.
        path: path of the `.onnx` file.
        inputs: inputs for the comparison by name, `(n, ...)` float32, `n` of 4 or more.
        reference: graph to compare with; by default `graph`.
        tolerance: see `check_parity`.

    Returns:
        The outputs of Keras for `inputs` by name.

    Raises:
        ExportError: if an output differs; `path` is deleted.
    """
    signature: Any = {
        name: keras.InputSpec(shape=(None, *values.shape[1:]), dtype="float32", name=name)
        for name, values in inputs.items()
    }
    single = list(signature) == ["image"]

    def run(model: keras.Model, count: int) -> dict[str, np.ndarray]:
        outputs = model(inputs["image"][:count] if single else _take(inputs, count))
        return {name: np.array(ops.convert_to_numpy(value)) for name, value in outputs.items()}

    total = len(inputs["image"])
    expected = {count: run(reference or graph, count) for count in (*PARITY_BATCHES, total)}
    run(graph, PARITY_BATCHES[0])  # Keras only exports models that have been called.
    with warnings.catch_warnings():
        # Keras uses a name that NumPy removed.
        warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)
        graph.export(path, format="onnx", input_signature=[signature["image"] if single else signature], verbose=False)
    check_parity(path, inputs, {count: expected[count] for count in PARITY_BATCHES}, tolerance=tolerance)
    return expected[total]


def write_small(path: Path, small_path: Path, inputs: dict[str, np.ndarray]) -> None:
    """Write a variant of a float32 graph with large weights stored as float16; it computes in float32.

    Weights with fewer than 100,000 values stay float32: they are small, and rounding in the first convolutions would
    change heatmaps at max pooling. Equal weights are stored once.

    Args:
        path: path of the float32 graph.
        small_path: path of the variant.
        inputs: inputs for the comparison by name, `(n, ...)` float32, `n` of 4 or more.

    Raises:
        ExportError: if an output differs by more than 1 % of its norm; `small_path` is deleted.
    """
    import onnx

    model = onnx.load(path)
    _merge_equal_weights(model)
    halve_weights(model)
    onnx.save(model, small_path)
    expected = {batch: run_file(path, _take(inputs, batch)) for batch in PARITY_BATCHES}
    check_parity(small_path, inputs, expected, tolerance=SMALL_TOLERANCE)


def halve_weights(model: Any) -> None:
    """Store the large float32 weights of a loaded graph as float16 with a cast to float32."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < LARGE:
            continue
        values, name = numpy_helper.to_array(tensor), tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}/float16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def extract_outputs(path: Path, part_path: Path, outputs: Sequence[str]) -> None:
    """Write the subgraph from the input `image` to some of the outputs."""
    import onnx
    from onnx.utils import Extractor

    onnx.save(Extractor(onnx.load(path)).extract_model(["image"], list(outputs)), part_path)


def _merge_equal_weights(model: Any) -> None:
    """Store equal large weights once: forward and backward pass use the same kernels."""
    from onnx import numpy_helper

    first: dict[tuple[tuple[int, ...], bytes], str] = {}
    kept: dict[str, str] = {}
    for tensor in list(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.size < LARGE:
            continue
        kept[tensor.name] = first.setdefault((values.shape, values.tobytes()), tensor.name)
        if kept[tensor.name] != tensor.name:
            model.graph.initializer.remove(tensor)
    for node in model.graph.node:
        node.input[:] = [kept.get(name, name) for name in node.input]


def check_parity(
    path: Path, inputs: dict[str, np.ndarray], expected: dict[int, dict[str, np.ndarray]], *, tolerance: float
) -> None:
    """Check the outputs of an ONNX file, and delete the file if they differ.

    Args:
        path: path of the ONNX file.
        inputs: inputs by name, `(n, ...)` float32.
        expected: expected outputs by batch size and name.
        tolerance: maximum difference per image, relative to the Euclidean norm of the output; for heatmaps at least
            3 %.

    Raises:
        ExportError: if an output differs.
    """
    for count, outputs in expected.items():
        actual = run_file(path, _take(inputs, count))
        for name, values in outputs.items():
            difference = _compare(actual[name], values)
            allowed = max(tolerance, HEATMAP_TOLERANCE) if name.startswith("heatmap_") else tolerance
            if not difference <= allowed:
                path.unlink()
                raise ExportError(
                    f"the exported graph differs from the model: relative difference of {name} is {difference:.2g} at "
                    f"batch size {count}, expected {allowed:.2g} or less. The export was deleted."
                )


def _compare(actual: np.ndarray, expected: np.ndarray) -> float:
    """Return the maximum over images of the relative difference in the Euclidean norm.

    Single values are not compared, because rounding can change the argmax of a pool.
    """
    if actual.shape != expected.shape:
        return np.inf
    lengths, gaps = (np.linalg.norm(item.reshape(len(item), -1), axis=1) for item in (expected, actual - expected))
    return float((gaps / np.maximum(lengths, 1e-6)).max())


def measure_agreement(
    actual: dict[str, np.ndarray], expected: dict[str, np.ndarray], labels: np.ndarray
) -> dict[str, float]:
    """Return the differences between the outputs of two graphs.

    Args:
        actual, expected: outputs for the same images by name.
        labels: `(n,)` ints, 0 = normal.

    Returns:
        For a classifier: mean absolute difference of probabilities, share of images with another predicted class, and
        mean relative difference of embeddings. For an anomaly detector: mean relative difference of scores. For both:
        the difference of the AUROC of pneumonia, if both classes occur.
    """
    from sklearn.metrics import roc_auc_score

    if "score" in expected:
        differences = {"score": np.abs(actual["score"] / expected["score"] - 1).mean()}
        scores = [outputs["score"] for outputs in (actual, expected)]
    else:
        probabilities, others = actual["probabilities"], expected["probabilities"]
        gaps = np.linalg.norm(actual["embedding"] - expected["embedding"], axis=1)
        differences = {
            "probabilities": np.abs(probabilities - others).mean(),
            "decisions": (probabilities.argmax(axis=1) != others.argmax(axis=1)).mean(),
            "embedding": (gaps / np.maximum(np.linalg.norm(expected["embedding"], axis=1), 1e-6)).mean(),
        }
        scores = [1 - probabilities[:, 0], 1 - others[:, 0]]
    if len(set((labels > 0).tolist())) == 2:
        differences["auroc"] = abs(roc_auc_score(labels > 0, scores[0]) - roc_auc_score(labels > 0, scores[1]))
    return {name: round(float(value), 6) for name, value in differences.items()}


def run_file(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run an ONNX file and return its outputs by name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def _take(inputs: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    return {name: values[:count] for name, values in inputs.items()}
