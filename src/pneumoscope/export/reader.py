"""Export a classifier, with what belongs to it, as the ONNX models of a reader."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumoscope.classification.calibration_report import report_calibration, round_metrics
from pneumoscope.classification.classifier import hash_table
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.duplicates import hash_images
from pneumoscope.data.examples import is_labeled, label_positive
from pneumoscope.data.population import Population, describe_population
from pneumoscope.data.source import hash_file
from pneumoscope.errors import ExportError
from pneumoscope.export.ood import export_ood_detector
from pneumoscope.inference.cards import (
    CARD_VERSIONS,
    MODEL_NAME,
    REFERENCE_CASES_NAME,
    AnomalyCard,
    ClassifierCard,
    DataSummary,
    ExportedModel,
    HeatmapAudit,
    LayerGrid,
    ModelGraph,
    ReferenceCard,
)
from pneumoscope.inference.model_set import Graph, as_input
from pneumoscope.io.json_file import write_json
from pneumoscope.io.results import Evaluation
from pneumoscope.io.results.calibration import Calibration, CalibrationReport
from pneumoscope.io.write import atomic_folder
from pneumoscope.labels import LabelSet, match_labels
from pneumoscope.metrics.classification import evaluate_scores
from pneumoscope.models.card import CARD_NAME, TrainingRecord
from pneumoscope.neighbors.search import scale_to_length_one
from pneumoscope.phantoms.phantom import draw_phantoms, shows_phantoms
from pneumoscope.progress import log

if TYPE_CHECKING:
    import keras

    from pneumoscope.models.saved_model import SavedModel

NUM_COMPARED = 8
DATA_PARTS = ("anomaly", "references", "ood_detector")
NO_HEATMAPS = "the classifier does not end in global average pooling and one Dense layer"
NO_VALIDATION = "there are no validation images; thresholds are 0.5"
MAP_QUANTILES = (0.5, 0.999)  # quantiles of anomaly maps of held-out normals, displayed as 0 and 1


@dataclass(frozen=True)
class Evidence:
    """What is known about a classifier beside its data.

    Attributes:
        data_license: license of the training images.
        data_sha256: hash of the data; by default of the given images.
        held_out: cross-validated predictions by the protocol `series`, to calibrate on; None calibrates on validation.
        other_seeds: folders of models that differ only in the seed.
        coordinates: `(2,)` floats by name of the image, a map of the training images; by default the first two
            principal components of their embeddings.
        explanation: reliability of the heatmaps; None if not measured.
    """

    data_license: str = "not stated"
    data_sha256: str | None = None
    held_out: Evaluation | None = None
    other_seeds: Sequence[Path] = ()
    coordinates: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    explanation: HeatmapAudit | None = None


def export_reader(
    model: "SavedModel | str | os.PathLike[str]",
    out_dir: str | os.PathLike[str],
    *,
    dataset: Dataset | None = None,
    anomaly_dir: str | os.PathLike[str] | None = None,
    evidence: Evidence | None = None,
) -> Path:
    """Export a classifier as the models of a reader.

    Its outputs are compared with Keras on phantoms. With a dataset, the reader gets more parts: calibration, operating
    points and OOD thresholds are fitted on validation, the training images become reference cases, and test images are
    used once, for the metrics of the cards. What is left out is logged and named in the card.

    Args:
        model: saved model, its folder, or a `.keras` file.
        out_dir: new folder, or an earlier export, which is replaced atomically.
        dataset: images of the model's size with splits.
        anomaly_dir: folder of an anomaly detector, trained on the same data.
        evidence: what else is known about the classifier.

    Returns:
        `out_dir` with `classifier/` and, if they can be exported, `anomaly/` and `references/`.

    Raises:
        ModelError: if there is no classifier.
        LabelError: if the classes of the dataset do not match those of the model.
        ExportError: if the model has no ONNX form, or its outputs differ from Keras; nothing is written.
    """
    from pneumoscope.models.saved_model import SavedModel, load_model

    saved = model if isinstance(model, SavedModel) else load_model(model)
    label_set, evidence, out_dir = saved.card.label_set, evidence or Evidence(), Path(out_dir)
    if label_set is None:
        raise ExportError(f"{saved.card.architecture} is an anomaly detector; expected a classifier, or a whole study")
    data = None if dataset is None else _select_labeled(dataset, label_set, saved.card.input.shape[0])
    summary = None if data is None else _summarize(data, label_set, evidence)
    require_export_folder(out_dir)
    with atomic_folder(out_dir) as folder:
        (folder / "classifier").mkdir()
        graph = _write_classifier(saved, label_set, folder / "classifier")
        missing = {} if graph.heatmap else {"heatmaps": NO_HEATMAPS}
        if data is None or summary is None:
            missing |= {"calibration": NO_VALIDATION, **dict.fromkeys(DATA_PARTS, "there are no data at hand")}
            report = _leave_uncalibrated(label_set)
        else:
            predictor = Graph(folder / "classifier" / MODEL_NAME)
            outputs, embeddings = predictor.run(as_input(data.images), ["probabilities", "embedding"])
            report = _calibrate(outputs, data, label_set, saved.card.seed, evidence)
            if report.calibration.method.startswith("none, "):
                missing["calibration"] = report.calibration.method.removeprefix("none, ")
            missing |= _export_anomaly(folder / "anomaly", anomaly_dir, data, summary)
            missing |= _export_references(folder / "references", data, embeddings, evidence, label_set, summary)
        for part, reason in missing.items():
            log.warning("left out of this export: %s (%s)", part.replace("_", " "), reason)
        exported = vars(_describe_model(saved, graph, folder / "classifier"))
        known = {"explanation": evidence.explanation, "data": summary, "missing": missing}
        population = Population() if data is None else _describe_population(data)
        card = ClassifierCard(**exported | vars(report) | known, population=population)
        write_json(folder / "classifier" / CARD_NAME, card)
    return out_dir


def require_export_folder(out_dir: Path) -> None:
    """Make sure that a folder can be written: it is new, empty or an earlier export; else raise an `ExportError`."""
    if out_dir.exists() and not (out_dir / "classifier" / CARD_NAME).exists() and any(out_dir.iterdir()):
        raise ExportError(f"{out_dir} is not an export; expected a new folder or an existing export")


def _select_labeled(dataset: Dataset, label_set: LabelSet, size: int) -> Dataset:
    if dataset.images.shape[1] != size:
        actual = dataset.images.shape[1]
        raise ExportError(f"the images have {actual} pixels, the model takes {size}; load the data with size {size}")
    match_labels(dataset.label_set, label_set)
    labeled = is_labeled(dataset.labels(label_set))
    if labeled.all():
        return dataset
    log.warning("%d of %d images are left out: their class is unknown", (~labeled).sum(), len(labeled))
    return dataset.select(labeled)


def _summarize(data: Dataset, label_set: LabelSet, evidence: Evidence) -> DataSummary:
    labels, splits = data.labels(label_set), {}
    present = labels == 1 if label_set.multi_label else labels[:, None] == np.arange(len(label_set.classes))
    for name in ("train", "val", "test"):
        rows = data.rows(name)
        splits[name] = {"images": len(rows), "patients": len(set(data.patients[rows]))}
        splits[name] |= dict(zip(label_set.classes, present[rows].sum(axis=0).tolist(), strict=True))
    sha256, train = evidence.data_sha256 or hash_table(data), splits["train"]
    return DataSummary(sha256, evidence.data_license, train["images"], train["patients"], splits)


def _describe_population(data: Dataset) -> Population:
    train = data.table[data.table["split"] == "train"]
    return describe_population(train, "" if shows_phantoms(data) else data.known_set)


def _write_classifier(saved: "SavedModel", label_set: LabelSet, folder: Path) -> ModelGraph:
    from pneumoscope.export.keras_graphs import build_classifier_graph, find_activation_map_layer, locate_feature_map

    model = saved.model
    graph = build_classifier_graph(model, str(saved.card.embedding_layer), label_set, mirror=saved.card.mirror)
    outputs = _write_graph(graph, folder, model.input_shape[1])
    if not find_activation_map_layer(model):
        return ModelGraph(outputs)
    rows, columns = locate_feature_map(model)
    return ModelGraph(outputs, LayerGrid(astuple(rows), astuple(columns)))


def _write_graph(graph: "keras.Model", folder: Path, size: int) -> tuple[str, ...]:
    from pneumoscope.export.onnx_file import export_graph

    log.info("exporting the %s", folder.name)
    return tuple(export_graph(graph, folder / MODEL_NAME, draw_phantoms(NUM_COMPARED, size=size, seed=0).images))


def _describe_model(saved: "SavedModel", graph: ModelGraph, folder: Path) -> ExportedModel:
    """Return the card of an exported model with its files in `folder`."""
    card = saved.card
    return ExportedModel(
        **{field.name: getattr(card, field.name) for field in fields(TrainingRecord)},
        card_version=CARD_VERSIONS[folder.name],
        kind=folder.name,
        files=_hash_files(folder),
        architecture=card.architecture,
        parameters=card.parameters,
        input=card.input,
        keras=card.keras,
        graph=graph,
    )


def _hash_files(folder: Path) -> dict[str, str]:
    return {path.name: hash_file(path) for path in sorted(folder.iterdir())}


def _calibrate(
    outputs: NDArray[np.float32], data: Dataset, label_set: LabelSet, seed: int, evidence: Evidence
) -> CalibrationReport:
    from pneumoscope.models.prediction import predict_probabilities
    from pneumoscope.models.saved_model import load_model

    others = [load_model(folder) for folder in evidence.other_seeds]
    other_seeds = {
        one.card.seed: predict_probabilities(one.model, data.images, label_set, mirror=one.card.mirror)
        for one in others
    }
    held_out = evidence.held_out
    return report_calibration(outputs, data, seed, label_set=label_set, held_out=held_out, other_seeds=other_seeds)


def _leave_uncalibrated(label_set: LabelSet) -> CalibrationReport:
    count = len(label_set.classes)
    neutral = (1.0,) * (count if label_set.multi_label else 1) + (0.0,) * count
    return CalibrationReport(
        calibration=Calibration("none", NO_VALIDATION, neutral, (neutral,)),
        operating_points={},
        operating_points_from=NO_VALIDATION,
        metrics={},
    )


def _export_references(
    folder: Path,
    data: Dataset,
    embeddings: NDArray[np.float32],
    evidence: Evidence,
    label_set: LabelSet,
    summary: DataSummary,
) -> dict[str, str]:
    """Write the reference cases and the OOD detector with their card; return what was left out and why."""
    rows = data.rows("train")
    if not len(rows):
        return dict.fromkeys(("references", "ood_detector"), "there are no training images")
    folder.mkdir()
    names, coordinates = data.names[rows], evidence.coordinates
    np.savez_compressed(
        folder / REFERENCE_CASES_NAME,
        embeddings=embeddings[rows].astype(np.float16),
        labels=data.labels(label_set)[rows].astype(np.int16),
        names=names,
        patients=data.patients[rows],
        coordinates=np.stack([coordinates[name] for name in names]) if coordinates else _reduce(embeddings[rows]),
        sha256=data.table["sha256"].to_numpy().astype(str)[rows],
        hashes=hash_images(data.images[rows]),
    )
    missing = export_ood_detector(folder, data)
    card = ReferenceCard(
        card_version=CARD_VERSIONS["references"],
        kind="references",
        files=_hash_files(folder),
        label_set=label_set,
        data=summary,
    )
    write_json(folder / CARD_NAME, card)
    return missing


def _reduce(embeddings: NDArray[np.float32]) -> NDArray[np.floating]:
    """Return `(n, 2)`, the first two principal components of embeddings of length 1; zeros where there are fewer."""
    from sklearn.decomposition import PCA

    units = scale_to_length_one(embeddings)
    count = min(2, *units.shape)
    components = PCA(count, random_state=0).fit_transform(units) if len(units) > 1 else units[:, :count]
    return np.pad(components, ((0, 0), (0, 2 - count))).astype(np.float32)


def _export_anomaly(
    folder: Path, anomaly_dir: str | os.PathLike[str] | None, data: Dataset, summary: DataSummary
) -> dict[str, str]:
    """Write the anomaly detector with its card; return why it was left out, if it was."""
    from pneumoscope.models.saved_model import load_model

    if anomaly_dir is None:
        has_normals = data.label_set.multi_label or data.label_set.negative
        return {
            "anomaly": "a study trains the detector, this is a single model"
            if has_normals
            else "the labels have no negative class"
        }
    positive, val, test = label_positive(data), data.rows("val"), data.rows("test")
    normals, test = data.images[val[positive[val] == 0]], test[positive[test] >= 0]
    if not len(normals) or not len(test):
        return {"anomaly": f"{len(normals)} normals in validation and {len(test)} test images; it needs 1 of each"}
    folder.mkdir()
    saved = load_model(anomaly_dir)
    outputs = _write_graph(_build_anomaly_graph(Path(anomaly_dir)), folder, saved.model.input_shape[1])
    graph = Graph(folder / MODEL_NAME)
    normal_scores, maps = graph.run(as_input(normals), ["score", "map"])
    (scores,) = graph.run(as_input(data.images[test]), ["score"])
    low, high = np.quantile(maps, MAP_QUANTILES).astype(float).round(8).tolist()
    metrics = evaluate_scores(positive[test], scores, saved.card.thresholds or {}, patients=data.patients[test])
    card = AnomalyCard(
        **vars(_describe_model(saved, ModelGraph(outputs), folder)),
        normal_scores=tuple(np.sort(normal_scores).astype(float).round(8).tolist()),
        map_scale=(low, high),
        metrics={"test": round_metrics(metrics)},
        data=summary,
    )
    write_json(folder / CARD_NAME, card)
    return {}


def _build_anomaly_graph(model_dir: Path) -> "keras.Model":
    from pneumoscope.anomaly.autoencoder import ReferenceAutoencoder
    from pneumoscope.anomaly.registry import load_detector
    from pneumoscope.export.keras_graphs import AutoencoderGraph, NearestNormalsGraph

    detector, _ = load_detector(model_dir)
    if isinstance(detector, ReferenceAutoencoder):
        return AutoencoderGraph(detector.model)
    return NearestNormalsGraph(detector)
