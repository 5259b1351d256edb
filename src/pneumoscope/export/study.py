"""Export the model set of a study: classifier, anomaly detector, reference cases and OOD detector."""

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from pneumoscope.classification.calibration_report import report_calibration, round_metrics
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import ExportError, PneumoscopeError
from pneumoscope.export.model import (
    describe_model,
    export_graphs,
    hash_files,
    replace_folder,
)
from pneumoscope.inference.cards import (
    CARD_VERSIONS,
    MODEL_NAME,
    OOD_DETECTOR_NAME,
    REFERENCE_CASES_NAME,
    AnomalyCard,
    ClassifierCard,
    DataSummary,
    HeatmapAudit,
    ModelGraph,
    ReferenceCard,
    SubtypeAudit,
)
from pneumoscope.inference.model_set import Graph, as_input
from pneumoscope.inference.ood import fit_ood_detector
from pneumoscope.io.json_file import parse_json, write_json
from pneumoscope.io.study_folder import Ledger, find_stage, list_other_seeds, load_stage, model_dir
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.metrics.classification import evaluate_scores
from pneumoscope.models.card import CARD_NAME
from pneumoscope.phantoms.phantom import shows_phantoms
from pneumoscope.progress import log

if TYPE_CHECKING:
    from pneumoscope.models.saved_model import SavedModel

MAP_QUANTILES = (0.5, 0.999)  # quantiles of anomaly maps of held-out normals, displayed as 0 and 1

Audit = TypeVar("Audit", HeatmapAudit, SubtypeAudit)


@dataclass(frozen=True)
class _Study:
    """Data of a study for the export."""

    folder: Path
    configuration: str
    seed: int
    dataset: Dataset
    data: DataSummary


def export_study(
    study_dir: str | os.PathLike[str],
    dataset: Dataset,
    out_dir: str | os.PathLike[str],
    *,
    configuration: str = "improved",
    data_license: str = "not stated",
    explain_results: str | os.PathLike[str] | None = None,
    label_audit: str | os.PathLike[str] | None = None,
) -> Path:
    """Export the model set of a study: classifier, anomaly detector, reference cases and OOD detector.

    Calibration, operating points, scores of normals and OOD thresholds are fitted on validation images or held-out
    series. Test images are used once, for the metrics of the cards.

    Args:
        study_dir: folder of the study.
        dataset: dataset of the study with splits, from `pneumoscope.study.pipeline.reopen_study`.
        out_dir: folder for `classifier/`, `anomaly/` and `references/`. An existing export is replaced atomically.
        configuration: configuration of the models.
        data_license: license of the training images, for the cards.
        explain_results: `explain.json` of `pneumoscope research explain`; adds heatmap reliability to the card.
        label_audit: `labels.json` of `pneumoscope research labels`; adds subtype reliability to the card.

    Returns:
        `out_dir`, for `pneumoscope read --models`.

    Raises:
        PneumoscopeError: if the study has no finished models of the configuration, or a JSON file is missing, damaged
            or of other data.
        ExportError: if the outputs of an exported model differ from Keras.
    """
    out_dir = Path(out_dir)
    study = _open_study(Path(study_dir), dataset, configuration, data_license)
    embedding_map = load_stage(study.folder, configuration, "map_three_class")
    coordinates = dict(zip(embedding_map.names.tolist(), embedding_map.coordinates, strict=True))
    explanation = _load_audit(HeatmapAudit, explain_results, study)
    subtypes = _load_audit(SubtypeAudit, label_audit, study)
    with replace_folder(out_dir) as folder:
        embeddings = _export_classifier(study, folder / "classifier", explanation, subtypes)
        _export_anomaly(study, folder / "anomaly")
        _export_references(study, folder / "references", embeddings, coordinates)
    return out_dir


def _open_study(study_dir: Path, dataset: Dataset, configuration: str, data_license: str) -> _Study:
    request = Ledger.open(study_dir, resume=True).facts["request"]
    if not request:
        raise ExportError(f"{study_dir} holds no study; expected a folder that `pneumoscope study` wrote")
    dataset = dataset.select(dataset.labels(THREE_CLASSES) >= 0)
    splits = {split: _count(dataset.split(split)) for split in ("train", "val", "test")}
    train = splits["train"]
    data = DataSummary(request["data_sha256"], data_license, train["images"], train["patients"], splits)
    return _Study(study_dir, configuration, request["seed"], dataset, data)


def _count(dataset: Dataset) -> dict[str, int]:
    """Return the number of images, of patients, and of images of each class."""
    classes, patients = Counter(dataset.table["subtype"]), set(dataset.table["patient"])
    return {"images": len(dataset.table), "patients": len(patients), **{name: classes[name] for name in THREE_CLASSES}}


def _predict_other_seeds(study_dir: Path, configuration: str, dataset: Dataset) -> dict[int, NDArray[np.floating]]:
    """Return the probabilities of models with other seeds by seed, if the study trained any."""
    from pneumoscope.classification.classifier import predict_probabilities
    from pneumoscope.models.saved_model import load_model

    models = [load_model(folder, precision="float32") for folder in list_other_seeds(study_dir, configuration)]
    return {saved.card.seed: predict_probabilities(saved.model, dataset.images) for saved in models}


def _load_audit(audit_type: type[Audit], path: str | os.PathLike[str] | None, study: _Study) -> Audit | None:
    if path is None:
        return None
    try:
        audit = parse_json(audit_type, Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PneumoscopeError(
            f"{path} cannot be read ({error}); expected a file of `pneumoscope research explain` or `research labels`"
        ) from None
    if audit.data_sha256 != study.data.sha256:
        raise PneumoscopeError(
            f"{path} was measured on other data or with another seed than {study.folder}; expected the same study"
        )
    if isinstance(audit, HeatmapAudit) and audit.configuration != study.configuration:
        raise PneumoscopeError(
            f"{path} was measured on the configuration {audit.configuration}, expected {study.configuration}; run "
            f"`pneumoscope research explain --configuration {study.configuration}`"
        )
    return replace(audit, metrics=round_metrics(audit.metrics))


def _export_classifier(
    study: _Study, folder: Path, explanation: HeatmapAudit | None, subtypes: SubtypeAudit | None
) -> NDArray[np.float32]:
    """Write the classifier with its card, and return the embeddings of all images."""
    saved, graph, predictor = _export_part(study, folder, "three_class")
    probabilities, embeddings = predictor.run(as_input(study.dataset.images), ["probabilities", "embedding"])
    # Cross-validated predictions for held-out file-name series, if the study has any.
    held_out = find_stage(study.folder, study.configuration, "held_out")
    report = report_calibration(
        probabilities,
        study.dataset,
        study.seed,
        held_out=held_out,
        other_seeds=_predict_other_seeds(study.folder, study.configuration, study.dataset),
    )
    model = describe_model(saved, graph, folder)
    card = ClassifierCard(**vars(model), **vars(report), data=study.data, explanation=explanation, subtypes=subtypes)
    write_json(folder / CARD_NAME, card)
    return embeddings


def _export_anomaly(study: _Study, folder: Path) -> None:
    """Write the anomaly detector with its card: scores and map scale of held-out normals, metrics on test."""
    saved, graph, predictor = _export_part(study, folder, "anomaly")
    val, test = study.dataset.split("val"), study.dataset.split("test")
    normals = val.select(val.labels(THREE_CLASSES) == 0)
    normal_scores, scores = (predictor.run(as_input(part.images), ["score"])[0] for part in (normals, test))
    (maps,) = predictor.run(as_input(normals.images), ["map"])
    low, high = np.quantile(maps, MAP_QUANTILES).astype(float).round(8).tolist()
    labels, patients = (test.labels(THREE_CLASSES) > 0).astype(int), test.patients
    metrics = evaluate_scores(labels, scores, saved.card.thresholds or {}, patients=patients)
    card = AnomalyCard(
        **vars(describe_model(saved, graph, folder)),
        normal_scores=tuple(np.sort(normal_scores).astype(float).round(8).tolist()),
        map_scale=(low, high),
        metrics={"test": round_metrics(metrics)},
        data=study.data,
    )
    write_json(folder / CARD_NAME, card)


def _export_references(
    study: _Study, folder: Path, embeddings: NDArray[np.float32], coordinates: dict[str, NDArray[np.floating]]
) -> None:
    """Write the reference cases and the OOD detector with their card."""
    folder.mkdir()
    dataset = study.dataset
    train, val = dataset.rows("train"), dataset.rows("val")
    table = dataset.table.iloc[train]
    np.savez_compressed(
        folder / REFERENCE_CASES_NAME,
        embeddings=embeddings[train].astype(np.float16),
        labels=dataset.labels(THREE_CLASSES)[train].astype(np.uint8),
        names=table["name"].to_numpy().astype(str),
        patients=table["patient"].to_numpy().astype(str),
        coordinates=np.stack([coordinates[name] for name in table["name"]]).astype(np.float32),
    )
    detect_phantoms = not shows_phantoms(dataset)
    detector = fit_ood_detector(dataset.images[train], dataset.images[val], detect_phantoms=detect_phantoms)
    np.savez_compressed(folder / OOD_DETECTOR_NAME, **detector.to_arrays())
    card = ReferenceCard(
        card_version=CARD_VERSIONS["references"],
        kind="references",
        files=hash_files(folder),
        classes=THREE_CLASSES,
        data=study.data,
    )
    write_json(folder / CARD_NAME, card)


def _export_part(study: _Study, folder: Path, name: str) -> "tuple[SavedModel, ModelGraph, Graph]":
    """Export a model of the study; return the model, the description of its graph, and the graph."""
    from pneumoscope.models.saved_model import load_model

    log.info("exporting the %s", folder.name)
    folder.mkdir()
    folder_of_model = model_dir(study.folder, study.configuration, name)
    saved = load_model(folder_of_model, precision="float32")
    return saved, export_graphs(saved, folder_of_model, folder), Graph(folder / MODEL_NAME)
