"""Keras graphs as ONNX files, kept only if their outputs are those of Keras."""

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
# Where the input of a rectifier is all but 0, rounding decides whether a gradient passes it: behind tens of them,
# single values of a heatmap jump.
HEATMAP_TOLERANCE = 3e-2
LARGE = 100_000
# Largest differences of int8 from float32 on images that neither was fitted to. A probability moves less than its
# calibration leaves open, and fewer decisions differ than between two trainings of the same architecture.
AGREEMENT = {"probabilities": 0.01, "decisions": 0.03, "embedding": 0.05, "score": 0.03, "auroc": 0.005}


def export_graph(
    graph: keras.Model,
    path: Path,
    inputs: dict[str, np.ndarray],
    *,
    reference: keras.Model | None = None,
    tolerance: float = FULL_TOLERANCE,
) -> dict[str, np.ndarray]:
    """Write a graph as ONNX, and compare it with Keras.

    Args:
        graph: one of `pneumoscope.export.keras_graphs`.
        path: of the `.onnx` file.
        inputs: by name, `(n, ...)` float32 to compare on, 4 or more.
        reference: the graph to compare with, where that is not `graph` itself.
        tolerance: see `check_parity`.

    Returns:
        The outputs of Keras for all of `inputs`, by name.

    Raises:
        ExportError: if an output differs; nothing is left at `path`.
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
    run(graph, PARITY_BATCHES[0])  # Keras exports only what was called once.
    with warnings.catch_warnings():
        # Keras looks up a name that NumPy no longer has.
        warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)
        graph.export(path, format="onnx", input_signature=[signature["image"] if single else signature], verbose=False)
    check_parity(path, inputs, {count: expected[count] for count in PARITY_BATCHES}, tolerance=tolerance)
    return expected[total]


def write_small(path: Path, small_path: Path, inputs: dict[str, np.ndarray]) -> None:
    """Write a variant of a float32 graph whose large weights are kept once and as float16; it computes in float32.

    Weights of under 100,000 numbers stay as they are: they are small, and rounding those of the first convolutions
    would move heatmaps, which jump where two pixels of a pool change their order.

    Args:
        path: of the float32 graph.
        small_path: where to.
        inputs: by name, `(n, ...)` float32 to compare both on, 4 or more.

    Raises:
        ExportError: if an output differs by more than 1 % of its length; nothing is left at `small_path`.
    """
    import onnx

    model = onnx.load(path)
    _merge_equal_weights(model)
    halve_weights(model)
    onnx.save(model, small_path)
    expected = {batch: run_file(path, _take(inputs, batch)) for batch in PARITY_BATCHES}
    check_parity(small_path, inputs, expected, tolerance=SMALL_TOLERANCE)


def halve_weights(model: Any) -> None:
    """Keep the large float32 weights of a loaded graph as float16, to be cast when it is opened."""
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
    """Write the part of a graph with the input `image` that some of its outputs need."""
    import onnx
    from onnx.utils import Extractor

    onnx.save(Extractor(onnx.load(path)).extract_model(["image"], list(outputs)), part_path)


def _merge_equal_weights(model: Any) -> None:
    """Keep large weights that are equal once: a graph uses kernels in the forward and in the backward pass."""
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
    """Make sure that the outputs of an ONNX file are as expected; delete it if not.

    Args:
        path: the file.
        inputs: by name, `(n, ...)` float32.
        expected: by batch size, the outputs by name.
        tolerance: largest difference allowed for an image, as a share of the length (Euclidean norm) of an output;
            heatmaps may differ by 3 % in any case.

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
                    f"the outputs of the exported graph differ from those of the model: {name} of a batch of {count} "
                    f"by {difference:.2g} of its length, expected {allowed:.2g} at most. The export was deleted."
                )


def _compare(actual: np.ndarray, expected: np.ndarray) -> float:
    """Return the length of the difference as a share of the expected length, of the image where it is largest.

    Single values may differ: where two pixels of a pool are all but equal, rounding decides which one is taken.
    """
    if actual.shape != expected.shape:
        return np.inf
    lengths, gaps = (np.linalg.norm(item.reshape(len(item), -1), axis=1) for item in (expected, actual - expected))
    return float((gaps / np.maximum(lengths, 1e-6)).max())


def measure_agreement(
    actual: dict[str, np.ndarray], expected: dict[str, np.ndarray], labels: np.ndarray
) -> dict[str, float]:
    """Return how far the outputs of one graph are from those of another.

    Args:
        actual, expected: by name, the outputs for the same images.
        labels: `(n,)` ints, 0 = normal.

    Returns:
        For a classifier the mean difference of a probability, the share of images with another likeliest class, and
        the mean difference of an embedding as a share of its length; for an anomaly detector the mean difference of the
        score as a share of it; and the difference of the AUROC of pneumonia, where both classes are present.
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
    """Return all outputs of an ONNX file by name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def _take(inputs: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    return {name: values[:count] for name, values in inputs.items()}
