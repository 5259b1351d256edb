"""Export one trained model to ONNX with its card, for inference without Keras."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.source import hash_file
from pneumoscope.errors import ExportError
from pneumoscope.inference.cards import (
    CARD_VERSIONS,
    INT8_NAME,
    LAYERS_NAME,
    MODEL_NAME,
    PARTS,
    PREDICTION_NAME,
    SMALL_NAME,
    ClassifierGraphs,
    ExportedModel,
    LayerGrid,
    ModelGraph,
)
from pneumoscope.inference.model_set import Graph, as_input
from pneumoscope.io.json_file import write_json
from pneumoscope.io.write import atomic_folder
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.models.card import CARD_NAME, TrainingRecord
from pneumoscope.phantoms.phantom import draw_phantoms
from pneumoscope.progress import log

if TYPE_CHECKING:
    import keras

    from pneumoscope.models.saved_model import SavedModel

NUM_COMPARED = 8
NUM_CALIBRATION_IMAGES = 400


def export_model(model_dir: str | os.PathLike[str], out_dir: str | os.PathLike[str] | None = None) -> Path:
    """Export one trained model to ONNX, in float32 and with float16 weights.

    Both files are compared with Keras on phantoms in batches of 1 and 4. If an output differs, the export is deleted.

    Args:
        model_dir: folder of a saved model, from `pneumoscope train` or a study.
        out_dir: output folder; by default `export` in `model_dir`. An existing export is replaced atomically.

    Returns:
        The output folder with `model.onnx`, `model.float16.onnx`, `card.json`, and `layers.onnx` for a classifier.

    Raises:
        ModelError: if there is no trained model.
        ExportError: if the outputs of the exported model differ from Keras.
    """
    from pneumoscope.models.saved_model import load_model

    model_dir = Path(model_dir)
    target = Path(out_dir) if out_dir else model_dir / "export"
    with replace_folder(target) as folder:
        saved = load_model(model_dir, precision="float32")
        images = draw_phantoms(NUM_COMPARED, size=saved.model.input_shape[1], seed=0).images
        graph = export_graphs(saved, model_dir, folder, images, keep_full=True)
        write_json(folder / CARD_NAME, describe_model(saved, graph, folder))
    return target


@contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `target` on success; `target` must be new or an existing export."""
    is_export = (target / CARD_NAME).exists() or (target / PARTS[0] / CARD_NAME).exists()
    if target.exists() and not is_export and not (target.is_dir() and not any(target.iterdir())):
        raise ExportError(f"{target} is not an export; expected a new folder or an existing export")
    with atomic_folder(target) as partial:
        yield partial


def describe_model(saved: "SavedModel", graph: ModelGraph, folder: Path) -> ExportedModel:
    """Return the card of an exported model with its files in `folder`."""
    card = saved.card
    kind = "anomaly" if card.embedding_layer is None else "classifier"
    return ExportedModel(
        **{field.name: getattr(card, field.name) for field in fields(TrainingRecord)},
        card_version=CARD_VERSIONS[kind],
        kind=kind,
        files=hash_files(folder),
        architecture=card.architecture,
        parameters=card.parameters,
        input=card.input,
        keras=card.keras,
        graph=graph,
    )


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a folder by name."""
    return {path.name: hash_file(path) for path in sorted(folder.iterdir())}


def export_graphs(
    saved: "SavedModel", model_dir: Path, folder: Path, images: NDArray[np.uint8], *, keep_full: bool
) -> ModelGraph:
    """Write the graph of the model in `model_dir`, and for a classifier the graph of the other heatmap layers."""
    from pneumoscope.export.onnx_file import export_graph

    if saved.card.embedding_layer is not None:
        return _export_classifier_graphs(saved.model, saved.card.embedding_layer, folder, images, keep_full=keep_full)
    outputs = export_graph(_build_anomaly_graph(model_dir), folder / MODEL_NAME, as_input(images))
    return ModelGraph(file=MODEL_NAME, outputs=tuple(sorted(outputs)))


def _export_classifier_graphs(
    model: "keras.Model", embedding: str, folder: Path, images: NDArray[np.uint8], *, keep_full: bool
) -> ClassifierGraphs:
    from pneumoscope.export.keras_graphs import ClassifierGraph, LayersGraph, fold_normalization
    from pneumoscope.export.onnx_file import export_graph, write_small
    from pneumoscope.models.backprop import list_heatmap_layers
    from pneumoscope.models.receptive_field import receptive_fields

    inputs, full, full_layers = as_input(images), folder / MODEL_NAME, folder / f"full.{LAYERS_NAME}"
    folded = fold_normalization(model)
    reference = ClassifierGraph(model, embedding)
    outputs = export_graph(ClassifierGraph(folded, embedding), full, inputs, reference=reference)
    write_small(full, folder / SMALL_NAME, inputs)
    if not keep_full:
        full.unlink()
    inputs["gradient"] = outputs["gradient"]
    layers_outputs = export_graph(LayersGraph(folded), full_layers, inputs, reference=LayersGraph(model))
    write_small(full_layers, folder / LAYERS_NAME, inputs)
    full_layers.unlink()
    receptive = {name: receptive_fields(model, name) for name in list_heatmap_layers(model)}
    return ClassifierGraphs(
        file=MODEL_NAME if keep_full else SMALL_NAME,
        outputs=tuple(sorted(outputs)),
        layers_file=LAYERS_NAME,
        layers_outputs=tuple(sorted(layers_outputs)),
        layers={name: LayerGrid(astuple(rows), astuple(columns)) for name, (rows, columns) in receptive.items()},
    )


def _build_anomaly_graph(model_dir: Path) -> "keras.Model":
    from pneumoscope.anomaly.autoencoder import ReferenceAutoencoder
    from pneumoscope.anomaly.features import weigh_positions
    from pneumoscope.anomaly.registry import load_detector
    from pneumoscope.export.keras_graphs import AutoencoderGraph, GaussianGraph

    detector, _ = load_detector(model_dir, precision="float32")
    if isinstance(detector, ReferenceAutoencoder):
        return AutoencoderGraph(detector.model)
    whole, single = (detector.mean, detector.whitening), (detector.patch_mean, detector.patch_whitening)
    source = detector.source
    return GaussianGraph(source.extractor, source.join, weigh_positions(source), whole=whole, single=single)


def export_prediction_graph(saved: "SavedModel", graph: ModelGraph, folder: Path, dataset: Dataset) -> ModelGraph:
    """Write the graph for predictions, and return `graph` with it.

    The graph is quantized to int8 if its outputs agree with float32 on validation. Quantization is calibrated on
    training images; an anomaly score is corrected on training normals.
    """
    from pneumoscope.export.onnx_file import AGREEMENT, extract_outputs, measure_agreement
    from pneumoscope.export.quantization import correct_int8_score, write_int8

    full, int8 = folder / PREDICTION_NAME, folder / INT8_NAME
    train, val = dataset.split("train"), dataset.split("val")
    outputs = ["score"] if saved.card.embedding_layer is None else ["probabilities", "embedding"]
    extract_outputs(folder / graph.file, full, outputs)
    # Evenly spaced, so that all classes and file-name series are included.
    chosen = np.unique(np.linspace(0, len(train.images) - 1, NUM_CALIBRATION_IMAGES).astype(int))
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
        log.warning("the int8 graph of %s differs from float32 (%s); float32 is used", folder.name, agreement)
    return replace(
        graph,
        answers_file=kept.name,
        answers_precision="int8" if agrees else "float32",
        agreement_of_int8=agreement,
    )
