"""Keras to ONNX: a graph as a file, kept only if it answers as Keras does."""

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
# Where what enters a rectifier is all but 0, rounding decides whether a gradient passes it: behind tens of them, single
# cells of a heat-map jump.
HEATMAP_TOLERANCE = 3e-2
LARGE = 100_000
# How far answers in whole numbers may be from those in float32 on images that neither was fitted to. A probability
# moves less than its calibration leaves open, and fewer decisions differ than between two trainings of the same net.
AGREEMENT = {"probabilities": 0.01, "decisions": 0.03, "embedding": 0.05, "score": 0.03, "auroc": 0.005}


def export_graph(
    graph: keras.Model,
    path: Path,
    inputs: dict[str, np.ndarray],
    *,
    reference: keras.Model | None = None,
    tolerance: float = FULL_TOLERANCE,
) -> dict[str, np.ndarray]:
    """Write a graph as ONNX, and hold it against Keras.

    Args:
        graph: one of `pneumoscope.export.graph`.
        path: of the `.onnx` file.
        inputs: by name, `(n, ...)` float32 to compare on, 4 or more.
        reference: what the file is to answer like, where that is not `graph` itself.
        tolerance: largest difference allowed for an image, as a share of the length (Euclidean norm) of an output.

    Returns:
        What Keras answers to all of `inputs`, by name.

    Raises:
        ExportError: if an answer differs; nothing is left at `path`.
    """
    signature: Any = {
        name: keras.InputSpec(shape=(None, *values.shape[1:]), dtype="float32", name=name)
        for name, values in inputs.items()
    }
    single = list(signature) == ["image"]
    given = {
        batch: inputs["image"][:batch] if single else _take(inputs, batch)
        for batch in (*PARITY_BATCHES, len(inputs["image"]))
    }
    answers = {batch: _to_numpy((reference or graph)(some)) for batch, some in given.items()}
    graph(given[PARITY_BATCHES[0]])  # Keras exports only what was called once.
    with warnings.catch_warnings():
        # Keras asks NumPy for a name that it no longer has.
        warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)
        graph.export(path, format="onnx", input_signature=[signature["image"] if single else signature], verbose=False)
    check_parity(path, inputs, {batch: answers[batch] for batch in PARITY_BATCHES}, tolerance=tolerance)
    return answers[len(inputs["image"])]


def write_small(path: Path, small_path: Path, inputs: dict[str, np.ndarray]) -> None:
    """Write a variant whose large weights are kept once and as float16; it computes in float32.

    Weights of under 100,000 numbers stay as they are: they weigh little, and rounding those of the first
    convolutions would move heat-maps, which jump where two pixels of a pool change their order.

    Args:
        path: the float32 graph.
        small_path: where to.
        inputs: by name, `(n, ...)` float32 to compare both on, 4 or more.

    Raises:
        ExportError: if an answer differs by more than 1 % of its length; nothing is left at `small_path`.
    """
    import onnx

    model = onnx.load(path)
    _keep_once(model)
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


def extract_answers(path: Path, answers_path: Path, outputs: Sequence[str]) -> None:
    """Write the part of a graph that some of its outputs need, for readers that ask for no pictures.

    Args:
        path: of the graph, which takes `image`.
        answers_path: where to.
        outputs: names of what is kept.
    """
    import onnx
    from onnx.utils import Extractor

    onnx.save(Extractor(onnx.load(path)).extract_model(["image"], list(outputs)), answers_path)


def _keep_once(model: Any) -> None:
    """Let large weights that are equal be the same: a graph uses kernels on the way forth and on the way back."""
    from onnx import numpy_helper

    first: dict[tuple[tuple[int, ...], bytes], str] = {}
    same: dict[str, str] = {}
    for tensor in list(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.size < LARGE:
            continue
        same[tensor.name] = first.setdefault((values.shape, values.tobytes()), tensor.name)
        if same[tensor.name] != tensor.name:
            model.graph.initializer.remove(tensor)
    for node in model.graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]


def check_parity(
    path: Path, inputs: dict[str, np.ndarray], expected: dict[int, dict[str, np.ndarray]], *, tolerance: float
) -> None:
    """Make sure that an ONNX file answers as expected; delete it if not.

    Args:
        path: the file.
        inputs: by name, `(n, ...)` float32.
        expected: by batch size, the outputs by name.
        tolerance: largest difference allowed for an image, as a share of the length (Euclidean norm) of an output;
            heat-maps may differ by 3 % in any case.

    Raises:
        ExportError: if an answer differs.
    """
    for batch, outputs in expected.items():
        found = run_file(path, _take(inputs, batch))
        for name, values in outputs.items():
            difference = _compare(found[name], values)
            allowed = max(tolerance, HEATMAP_TOLERANCE) if name.startswith("heatmap_") else tolerance
            if not difference <= allowed:
                path.unlink()
                raise ExportError(
                    f"the exported graph does not answer as the model does: {name} of a batch of {batch} differs by "
                    f"{difference:.2g} of its length, expected {allowed:.2g} at most. The export was deleted."
                )


def measure_agreement(
    found: dict[str, np.ndarray], expected: dict[str, np.ndarray], labels: np.ndarray
) -> dict[str, float]:
    """Return how far the answers of one graph are from those of another.

    Args:
        found, expected: by name, the outputs for the same images.
        labels: `(n,)` ints, 0 = normal.

    Returns:
        For a classifier the mean difference of a probability, the share of images with another likeliest class, and
        the mean difference of an embedding as a share of its length; for an autoencoder the mean difference of the
        score as a share of it; and the difference of the AUROC in telling normals, where there are others.
    """
    from sklearn.metrics import roc_auc_score

    if "score" in expected:
        measured = {"score": np.abs(found["score"] / expected["score"] - 1).mean()}
        sick = [answers["score"] for answers in (found, expected)]
    else:
        shares, others = found["probabilities"], expected["probabilities"]
        gaps = np.linalg.norm(found["embedding"] - expected["embedding"], axis=1)
        measured = {
            "probabilities": np.abs(shares - others).mean(),
            "decisions": (shares.argmax(axis=1) != others.argmax(axis=1)).mean(),
            "embedding": (gaps / np.maximum(np.linalg.norm(expected["embedding"], axis=1), 1e-6)).mean(),
        }
        sick = [1 - answers["probabilities"][:, 0] for answers in (found, expected)]
    if len(set((labels > 0).tolist())) == 2:
        areas = [roc_auc_score(labels > 0, values) for values in sick]
        measured["auroc"] = abs(areas[0] - areas[1])
    return {name: round(float(value), 6) for name, value in measured.items()}


def _compare(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the length of the difference as a share of the expected length, of the image where it is largest.

    Single cells may differ: where two pixels of a pool are all but equal, rounding decides which one is taken.
    """
    if found.shape != expected.shape:
        return np.inf
    lengths, gaps = (np.linalg.norm(item.reshape(len(item), -1), axis=1) for item in (expected, found - expected))
    return float((gaps / np.maximum(lengths, 1e-6)).max())


def run_file(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return all that an ONNX file answers, by name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def _take(inputs: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    return {name: values[:count] for name, values in inputs.items()}


def _to_numpy(outputs: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.array(ops.convert_to_numpy(value)) for name, value in outputs.items()}
