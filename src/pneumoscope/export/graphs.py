"""The ONNX files of an export: Keras to float32, to a smaller variant, and to the int8 graph of predictions."""

from dataclasses import astuple, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.dataset import Dataset
from pneumoscope.inference.cards import ClassifierGraphs, LayerGrid, ModelGraph, Precision
from pneumoscope.inference.model_set import Graph, as_input
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.progress import log

if TYPE_CHECKING:
    import keras

    from pneumoscope.models.saved_model import SavedModel

FULL_NAME = "model.onnx"
SMALL_NAME = "model.float16.onnx"
LAYERS_NAME = "layers.onnx"
ANSWERS_NAME = "answers.onnx"
INT8_NAME = "answers.int8.onnx"
NUM_CALIBRATED = 400


def export_model_graph(
    bundle: "SavedModel", model_dir: Path, folder: Path, images: NDArray[np.uint8], *, keep_full: bool
) -> ModelGraph:
    """Write the graph of a model in `model_dir`, and of a classifier the graph of its earlier layers."""
    from pneumoscope.export.onnx_file import export_graph

    full = folder / FULL_NAME
    inputs = {"image": images[..., None].astype(np.float32)}
    if bundle.card.embedding_layer is not None:
        return _export_classifier_graphs(bundle.model, bundle.card.embedding_layer, folder, inputs, keep_full=keep_full)
    outputs = export_graph(_build_anomaly_graph(model_dir), full, inputs)
    return ModelGraph(file=FULL_NAME, outputs=tuple(sorted(outputs)))


def _export_classifier_graphs(
    model: "keras.Model", embedding: str, folder: Path, inputs: dict[str, NDArray[np.float32]], *, keep_full: bool
) -> ClassifierGraphs:
    from pneumoscope.export.folding import fold_normalization
    from pneumoscope.export.graph import ClassifierGraph, LayersGraph
    from pneumoscope.export.onnx_file import export_graph, write_small
    from pneumoscope.models.backprop import list_views
    from pneumoscope.models.receptive_field import receptive_fields

    full, full_layers = folder / FULL_NAME, folder / f"full.{LAYERS_NAME}"
    folded = fold_normalization(model)
    reference = ClassifierGraph(model, embedding)
    outputs = export_graph(ClassifierGraph(folded, embedding), full, inputs, reference=reference)
    write_small(full, folder / SMALL_NAME, inputs)
    if not keep_full:
        full.unlink()
    inputs = {**inputs, "gradient": outputs["gradient"]}
    layers_outputs = export_graph(LayersGraph(folded), full_layers, inputs, reference=LayersGraph(model))
    write_small(full_layers, folder / LAYERS_NAME, inputs)
    full_layers.unlink()
    fields = {name: receptive_fields(model, name) for name in list_views(model)}
    return ClassifierGraphs(
        file=FULL_NAME if keep_full else SMALL_NAME,
        outputs=tuple(sorted(outputs)),
        layers_file=LAYERS_NAME,
        layers_outputs=tuple(sorted(layers_outputs)),
        layers={name: LayerGrid(astuple(rows), astuple(columns)) for name, (rows, columns) in fields.items()},
    )


def _build_anomaly_graph(model_dir: Path) -> "keras.Model":
    from pneumoscope.anomaly.autoencoder import ReferenceAutoencoder
    from pneumoscope.anomaly.features import weigh_positions
    from pneumoscope.anomaly.registry import load_detector
    from pneumoscope.export.graph import AutoencoderGraph, GaussianGraph

    detector, _ = load_detector(model_dir, precision="float32")
    if isinstance(detector, ReferenceAutoencoder):
        return AutoencoderGraph(detector.model)
    whole, single = (detector.mean, detector.whitening), (detector.patch_mean, detector.patch_whitening)
    source = detector.source
    return GaussianGraph(source.extractor, source.join, weigh_positions(source), whole=whole, single=single)


def export_answers(bundle: "SavedModel", graph: ModelGraph, folder: Path, dataset: Dataset) -> ModelGraph:
    """Write the graph that predictions come from, and return the graphs with it.

    It is quantized to int8 where that agrees with float32 on validation. The ranges come from training images, and the
    correction of an anomaly score from training normals.
    """
    from pneumoscope.export.int8 import write_int8
    from pneumoscope.export.int8_scores import correct_int8_score
    from pneumoscope.export.onnx_file import AGREEMENT, extract_answers, measure_agreement

    full, int8 = folder / ANSWERS_NAME, folder / INT8_NAME
    train, val = dataset.split("train"), dataset.split("val")
    outputs = ["score"] if bundle.card.embedding_layer is None else ["probabilities", "embedding"]
    extract_answers(folder / graph.file, full, outputs)
    # Evenly spread, so that every class and all series of file names are among them.
    chosen = np.unique(np.linspace(0, len(train.images) - 1, NUM_CALIBRATED).astype(int))
    write_int8(full, int8, train.images[chosen])
    if outputs == ["score"]:
        correct_int8_score(int8, full, train.images[train.labels(THREE_CLASSES) == 0])
    actual, expected = (
        dict(zip(outputs, Graph(path).run(as_input(val.images), outputs), strict=True)) for path in (int8, full)
    )
    agreement = measure_agreement(actual, expected, val.labels(THREE_CLASSES))
    agrees = all(value <= AGREEMENT[name] for name, value in agreement.items())
    kept, dropped = (int8, full) if agrees else (full, int8)
    dropped.unlink()
    if not agrees:
        log.warning("the int8 graph of %s does not agree with float32 (%s); float32 is kept", folder.name, agreement)
    precision: Precision = "int8" if agrees else "float32"
    return replace(graph, answers_file=kept.name, answers_precision=precision, agreement_of_int8=agreement)
