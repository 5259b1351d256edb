"""Export one trained model to ONNX with its card, for inference without Keras."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING

from pneumoscope.data.source import hash_file
from pneumoscope.errors import ExportError
from pneumoscope.inference.cards import (
    CARD_VERSIONS,
    MODEL_NAME,
    PARTS,
    ClassifierGraph,
    ExportedModel,
    LayerGrid,
    ModelGraph,
)
from pneumoscope.io.json_file import write_json
from pneumoscope.io.write import atomic_folder
from pneumoscope.models.card import CARD_NAME, TrainingRecord
from pneumoscope.phantoms.phantom import draw_phantoms

if TYPE_CHECKING:
    import keras

    from pneumoscope.models.saved_model import SavedModel

NUM_COMPARED = 8


def export_model(model_dir: str | os.PathLike[str], out_dir: str | os.PathLike[str] | None = None) -> Path:
    """Export one trained model to ONNX.

    Its outputs are compared with Keras on phantoms in batches of 1 and 4. If an output differs, the export is deleted.

    Args:
        model_dir: folder of a saved model, from `pneumoscope train` or a study.
        out_dir: output folder; by default `export` in `model_dir`. An existing export is replaced atomically.

    Returns:
        The output folder with `model.onnx` and `card.json`.

    Raises:
        ModelError: if there is no trained model.
        ExportError: if the outputs of the exported model differ from Keras.
    """
    from pneumoscope.models.saved_model import load_model

    model_dir = Path(model_dir)
    target = Path(out_dir) if out_dir else model_dir / "export"
    with replace_folder(target) as folder:
        saved = load_model(model_dir, precision="float32")
        graph = export_graphs(saved, model_dir, folder)
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


def export_graphs(saved: "SavedModel", model_dir: Path, folder: Path) -> ModelGraph:
    """Write the graph of the model in `model_dir`, compared with Keras on phantoms."""
    from pneumoscope.export.keras_graphs import build_classifier_graph, find_last_feature_map, has_activation_map
    from pneumoscope.export.onnx_file import export_graph
    from pneumoscope.models.receptive_field import receptive_fields

    model, embedding_layer = saved.model, saved.card.embedding_layer
    images = draw_phantoms(NUM_COMPARED, size=model.input_shape[1], seed=0).images
    if embedding_layer is None:
        return ModelGraph(tuple(export_graph(_build_anomaly_graph(model_dir), folder / MODEL_NAME, images)))
    outputs = export_graph(build_classifier_graph(model, embedding_layer), folder / MODEL_NAME, images)
    grid = None
    if has_activation_map(model):
        rows, columns = receptive_fields(model, find_last_feature_map(model))
        grid = LayerGrid(astuple(rows), astuple(columns))
    return ClassifierGraph(tuple(outputs), grid)


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
